//! Owns the open files of one torrent: few, whatever the number of its files.
//!
//! Invariant: no more than [`HANDLES_MAX`] are open; the one unused for longest is closed first. When
//! the system has no more to give, ours are closed before anybody hears of it.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::PathBuf;

use super::raw;

/// Open files of one torrent at once. (libtorrent: 40 for all torrents.)
pub(super) const HANDLES_MAX: usize = 64;

/// Open files by number, the one used last at the end.
#[derive(Debug, Default)]
pub(super) struct Handles {
    open: Vec<(usize, File)>,
}

impl Handles {
    /// The file of this number, opened if need be: at this path, for writing too or not.
    pub(super) fn get(
        &mut self,
        number: usize,
        at: impl Fn() -> (PathBuf, bool),
    ) -> io::Result<&File> {
        if let Some(place) = self.open.iter().position(|(open, _)| *open == number) {
            self.open[place..].rotate_left(1);
        } else {
            let (path, writes) = at();
            let open = || OpenOptions::new().read(true).write(writes).open(&path);
            if self.open.len() == HANDLES_MAX {
                self.open.remove(0);
            }
            let opened = match open() {
                Err(error) if raw::is_out_of_handles(&error) && !self.open.is_empty() => {
                    self.open.clear();
                    open()
                }
                opened => opened,
            };
            self.open.push((number, opened?));
        }
        Ok(&self.open.last().expect("found or pushed").1)
    }

    /// Closes all.
    pub(super) fn clear(&mut self) {
        self.open.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_unused_for_longest_goes_first() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |number: usize| {
            let path = dir.path().join(number.to_string());
            move || (path.clone(), false)
        };
        let mut handles = Handles::default();
        for number in 0..HANDLES_MAX + 10 {
            std::fs::write(at(number)().0, "x").expect("written");
            handles.get(number, at(number)).expect("opened");
            handles.get(0, at(0)).expect("still open");
        }
        assert_eq!(handles.open.len(), HANDLES_MAX);
        let open = |number| handles.open.iter().any(|(open, _)| *open == number);
        assert!(open(0) && open(20) && !open(1) && !open(10));
    }
}

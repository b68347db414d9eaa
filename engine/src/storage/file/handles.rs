//! Owns the open files of one torrent: few, whatever the number of its files.
//!
//! Invariant: no more than [`HANDLES_MAX`] are open; the one unused for longest is closed first. When
//! the system has no more to give, ours are closed before anybody hears of it, and from then on half as
//! many are kept: sockets, checkpoints and folders that are synced need some, too.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::PathBuf;

use super::raw;

/// Open files of one torrent at once. (libtorrent: 40 for all torrents.)
pub(super) const HANDLES_MAX: usize = 64;

/// Open files by number, the one used last at the end.
#[derive(Debug)]
pub(super) struct Handles {
    open: Vec<(usize, File)>,
    /// At least 1.
    open_max: usize,
}

impl Default for Handles {
    fn default() -> Handles {
        Handles {
            open: Vec::new(),
            open_max: HANDLES_MAX,
        }
    }
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
            if self.open.len() >= self.open_max {
                self.open.remove(0);
            }
            let opened = self.with_room(open)?;
            self.open.push((number, opened));
        }
        Ok(&self.open.last().expect("found or pushed").1)
    }

    /// Does what needs an open file more; a second time, with ours closed, when there was none to be had.
    pub(super) fn with_room<T>(
        &mut self,
        mut open: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        match open() {
            Err(error) if raw::is_out_of_handles(&error) && !self.open.is_empty() => {
                self.open_max = (self.open.len() / 2).max(1);
                self.clear();
                open()
            }
            opened => opened,
        }
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

    #[cfg(unix)]
    #[test]
    fn when_there_are_no_more_half_are_left_to_others() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        std::fs::write(&path, "x").expect("written");
        let mut handles = Handles::default();
        for number in 0..20 {
            handles
                .get(number, || (path.clone(), false))
                .expect("opened");
        }
        let tries = std::cell::Cell::new(0);
        let second = handles.with_room(|| {
            tries.set(tries.get() + 1);
            match tries.get() {
                1 => Err(rustix::io::Errno::MFILE.into()),
                tries => Ok(tries),
            }
        });
        assert_eq!(second.expect("the second succeeds"), 2);
        assert!(handles.open.is_empty(), "ours made room");
        for number in 0..20 {
            handles
                .get(number, || (path.clone(), false))
                .expect("opened");
        }
        assert_eq!(handles.open.len(), 10);
    }
}

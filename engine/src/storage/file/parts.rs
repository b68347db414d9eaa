//! Owns the part file: bytes of files that are not wanted, as far as they share a piece with one that is.
//!
//! Invariant: where a byte lies depends on the metainfo alone, not on what is wanted now, so it is
//! found again whatever was chosen in between. Pieces with bytes of several files come first, in
//! order, one slot of a piece's length each; a piece inside one file, which only arrives when a
//! choice changed while it was under way, has its slot behind them.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::PathBuf;

use super::raw;
use crate::ids::PieceIndex;
use crate::metainfo::{FileEntry, Geometry};

/// Bytes moved at once when a file becomes wanted.
const MOVE_BYTES: usize = 256 * 1024;

/// The part file of one torrent; on disk only once something was written to it.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) path: PathBuf,
    geometry: Geometry,
    /// Pieces with bytes of several files, in order.
    shared: Vec<PieceIndex>,
    /// Open, and whether for writing too.
    file: Option<(File, bool)>,
    pub(super) unsynced: bool,
}

impl Parts {
    pub(super) fn new(path: PathBuf, geometry: Geometry, files: &[FileEntry]) -> Parts {
        let mut shared = Vec::new();
        let mut last = None;
        for file in files.iter().filter(|file| file.is_wanted() && file.len > 0) {
            let pieces = file.pieces(geometry);
            if last == Some(pieces.start) {
                let number = u32::try_from(pieces.start).expect("32 bits");
                shared.push(PieceIndex(number));
            }
            last = Some(pieces.end - 1);
        }
        shared.dedup();
        Parts {
            path,
            geometry,
            shared,
            file: None,
            unsynced: false,
        }
    }

    /// Where a place in the content lies in the part file.
    fn place(&self, at: u64) -> u64 {
        let piece_bytes = u64::from(self.geometry.piece_bytes);
        let number = at / piece_bytes;
        let slot = match self
            .shared
            .binary_search_by_key(&number, |p| u64::from(p.0))
        {
            Ok(rank) => rank as u64,
            Err(_) => self.shared.len() as u64 + number,
        };
        slot * piece_bytes + at % piece_bytes
    }

    fn open(&mut self, writes: bool) -> io::Result<&File> {
        if self.file.as_ref().is_none_or(|(_, open)| writes && !open) {
            let mut options = OpenOptions::new();
            options.read(true).write(writes).create(writes);
            self.file = Some((options.open(&self.path)?, writes));
        }
        Ok(&self.file.as_ref().expect("just opened").0)
    }

    /// Reads bytes of the content from `at`, inside one piece; returns how many are there.
    pub(super) fn read(&mut self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let place = self.place(at);
        match self.open(false) {
            Ok(file) => raw::read_fully(file, buffer, place),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Writes bytes of the content from `at`, inside one piece.
    pub(super) fn write(&mut self, data: &[u8], at: u64) -> io::Result<()> {
        let place = self.place(at);
        raw::write_all(self.open(true)?, data, place)?;
        self.unsynced = true;
        Ok(())
    }

    /// Copies what is here of a file into the file itself. The part file is there.
    pub(super) fn bring(&mut self, offset: u64, len: u64, into: &File) -> io::Result<()> {
        let have = fs::metadata(&self.path)?.len();
        let piece_bytes = u64::from(self.geometry.piece_bytes);
        let mut buffer = vec![0; MOVE_BYTES];
        let mut at = offset;
        while at < offset + len {
            let piece_end = (at / piece_bytes + 1) * piece_bytes;
            if self.place(at) >= have {
                at = piece_end;
                continue;
            }
            let rest = piece_end.min(offset + len) - at;
            let portion = usize::try_from(rest).unwrap_or(MOVE_BYTES).min(MOVE_BYTES);
            let read = self.read(&mut buffer[..portion], at)?;
            raw::write_all(into, &buffer[..read], at - offset)?;
            at += portion as u64;
        }
        Ok(())
    }

    /// Nobody needs it any more.
    pub(super) fn remove(&mut self) -> io::Result<()> {
        self.file = None;
        self.unsynced = false;
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_pieces_come_first_and_places_do_not_overlap() {
        let sizes = [25, 5, 0, 35, 3, 3, 29];
        let mut offset = 0;
        let files = sizes.map(|len| {
            let file = FileEntry::plain(vec!["f".into()], len, offset);
            offset += len;
            file
        });
        let geometry = Geometry::new(100, 10).expect("sizes");
        let parts = Parts::new("x".into(), geometry, &files);
        let shared: Vec<_> = parts.shared.iter().map(|piece| piece.0).collect();
        // 0..25, 25..30, 30..65, 65..68, 68..71, 71..100
        assert_eq!(shared, [2, 6, 7]);
        let places: Vec<_> = (0..100).map(|at| parts.place(at)).collect();
        assert_eq!((places[25], places[68], places[0]), (5, 18, 30));
        let distinct: std::collections::BTreeSet<_> = places.iter().collect();
        assert_eq!(distinct.len(), 100);
    }
}

//! Owns which files of a torrent a user wants, and what follows for pieces and disk.
//!
//! Invariant: a pattern that names no file is an error, and so is a choice that leaves nothing to get.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use globset::{GlobBuilder, GlobMatcher};
use skep_engine::bits::BitSet;
use skep_engine::metainfo::{FileEntry, Metainfo, Priority, piece_priorities};

use crate::failure::{Exit, Failure};
use crate::humane::{count, plain, size};

/// Patterns for paths inside the torrent, as `skep torrent show` prints them.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Files")]
pub struct Patterns {
    /// Get only files that match: "*.mkv", "docs/**"; may be given more than once.
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    only: Vec<GlobMatcher>,
    /// Leave these files out, whatever --only says.
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    skip: Vec<GlobMatcher>,
    /// Get these files before the others.
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    first: Vec<GlobMatcher>,
}

/// A user's choice among the files of one torrent.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Per file.
    files: Vec<Priority>,
    /// Per piece; `None` when everything is wanted alike.
    pub pieces: Option<Vec<Priority>>,
}

impl Choice {
    /// What these patterns choose.
    pub fn of(patterns: &Patterns, meta: &Metainfo) -> Result<Choice, Failure> {
        let paths: Vec<String> = meta.files.iter().map(path).collect();
        let all = [&patterns.only, &patterns.skip, &patterns.first];
        for matcher in all.into_iter().flatten() {
            if !paths.iter().any(|path| matcher.is_match(path)) {
                return Err(Failure::with_help(
                    Exit::Wrong,
                    format!(
                        "no file of the torrent matches `{}`",
                        plain(matcher.glob().glob())
                    ),
                    "`skep torrent show FILE.torrent` lists them",
                ));
            }
        }
        let any = |matchers: &[GlobMatcher], path: &str| matchers.iter().any(|m| m.is_match(path));
        let priority = |path: &String| {
            let left_out = !patterns.only.is_empty() && !any(&patterns.only, path);
            match () {
                () if left_out || any(&patterns.skip, path) => Priority::Skip,
                () if any(&patterns.first, path) => Priority::High,
                () => Priority::Normal,
            }
        };
        Choice::from_files(paths.iter().map(priority).collect(), meta)
    }

    fn from_files(files: Vec<Priority>, meta: &Metainfo) -> Result<Choice, Failure> {
        let wanted = |(file, priority): (&FileEntry, &Priority)| {
            file.is_wanted() && *priority != Priority::Skip
        };
        if !meta.files.iter().zip(&files).any(wanted) {
            return Err(Failure::new(Exit::Wrong, "nothing is left to get"));
        }
        let plain = files.iter().all(|p| *p == Priority::Normal);
        let pieces = (!plain).then(|| piece_priorities(meta.geometry, &meta.files, &files));
        Ok(Choice { files, pieces })
    }

    /// The same among these files alone, if there are any: a magnet link may name them by number (BEP 53).
    /// Numbers that no file has are skipped.
    pub fn among(
        mut self,
        numbers: &[RangeInclusive<u32>],
        meta: &Metainfo,
    ) -> Result<Choice, Failure> {
        if numbers.is_empty() {
            return Ok(self);
        }
        for (number, priority) in (0..).zip(&mut self.files) {
            if !numbers.iter().any(|range| range.contains(&number)) {
                *priority = Priority::Skip;
            }
        }
        Choice::from_files(self.files, meta)
    }

    /// How much is wanted, for people.
    pub fn described(&self, meta: &Metainfo) -> String {
        let files = meta.files.iter().zip(&self.files);
        let wanted = files.filter(|(f, p)| f.is_wanted() && **p != Priority::Skip);
        let (number, bytes) = wanted.fold((0, 0), |(n, sum), (file, _)| (n + 1, sum + file.len));
        match self.pieces {
            None => size(meta.geometry.total),
            Some(_) => format!(
                "{} in {} of {}",
                size(bytes),
                number,
                count(meta.files.len() as u64, "file")
            ),
        }
    }

    /// Numbers of the files that are not wanted.
    pub fn skipped(&self) -> BTreeSet<usize> {
        let numbered = self.files.iter().enumerate();
        let skipped = numbered.filter(|(_, p)| **p == Priority::Skip);
        skipped.map(|(number, _)| number).collect()
    }

    /// The pieces that are wanted.
    pub fn wanted(&self, meta: &Metainfo) -> BitSet {
        let mut wanted = BitSet::full(meta.geometry.pieces);
        for (piece, priority) in meta.geometry.all_pieces().zip(self.pieces.iter().flatten()) {
            if *priority == Priority::Skip {
                wanted.remove(piece);
            }
        }
        wanted
    }
}

/// A file's path inside the torrent, without the torrent's own folder.
fn path(file: &FileEntry) -> String {
    match file.path.as_slice() {
        [only] => only.clone(),
        [_folder, inside @ ..] => inside.join("/"),
        [] => String::new(),
    }
}

fn pattern(text: &str) -> Result<GlobMatcher, String> {
    let glob = GlobBuilder::new(text).literal_separator(true).build();
    glob.map(|glob| glob.compile_matcher())
        .map_err(|error| error.kind().to_string())
}

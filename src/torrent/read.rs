//! Owns the reading of a metainfo file that was named on the command line.
//!
//! Invariant: no more than the largest metainfo file is read, whatever the name leads to; what is
//! wrong is told with its place in the file.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use skep_engine::direct::url::{UrlError, http_target};
use skep_engine::metainfo::bencode::{self, INPUT_BYTES_MAX};
use skep_engine::metainfo::{Metainfo, MetainfoError};
use skep_engine::tracker::target::{TrackerTarget, tracker_target};

use super::excerpt::excerpt;
use crate::failure::{Exit, Failure, tell};
use crate::humane::plain;

/// Reads and parses a metainfo file.
///
/// # Errors
/// [`Exit::Wrong`], with the place of what is wrong.
pub fn read(path: &Path) -> Result<Metainfo, Failure> {
    let unreadable = |error| {
        let text = format!("cannot read {}: {error}", path.display());
        Failure::new(Exit::Wrong, text)
    };
    let mut bytes = Vec::new();
    // One byte more than allowed is enough for the parser to say so.
    let most = INPUT_BYTES_MAX as u64 + 1;
    File::open(path)
        .and_then(|file| file.take(most).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    Metainfo::parse(&bytes).map_err(|error| {
        let text = format!("{}: {}", path.display(), plain(&error.to_string()));
        let failure = Failure::new(Exit::Wrong, text);
        match place(&error, &bytes) {
            Some(span) if !bytes.is_empty() => failure.showing(excerpt(&bytes, span)),
            _ => failure,
        }
    })
}

/// The trackers of a torrent that this client can ask, in the order of the metainfo file.
#[derive(Debug, Default)]
pub struct Trackers {
    /// What people call them.
    pub names: Vec<String>,
    /// What the engine calls them.
    pub targets: Vec<TrackerTarget>,
    /// How many each tier has.
    pub tiers: Vec<u32>,
    /// The others: name, and why they are left out.
    pub skipped: Vec<(String, String)>,
}

impl Trackers {
    /// All trackers that a metainfo file names.
    pub fn of(meta: &Metainfo) -> Trackers {
        Trackers::of_tiers(&meta.announce)
    }

    /// All trackers of these tiers.
    pub fn of_tiers(tiers: &[Vec<String>]) -> Trackers {
        let mut trackers = Trackers::default();
        for tier in tiers {
            let before = trackers.targets.len();
            for url in tier {
                match tracker_target(url) {
                    Ok(target) => {
                        trackers.names.push(plain(url));
                        trackers.targets.push(target);
                    }
                    Err(why) => trackers.skipped.push((plain(url), why.to_string())),
                }
            }
            let usable = trackers.targets.len() - before;
            if usable > 0 {
                trackers
                    .tiers
                    .push(u32::try_from(usable).unwrap_or(u32::MAX));
            }
        }
        trackers
    }

    /// True when there is none that this client can ask.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Tells the user which trackers are left out, and why.
    pub fn tell_skipped(&self) {
        for (name, why) in &self.skipped {
            tell(&format!("note: {name} is skipped: {why}\n"));
        }
    }
}

/// The web seeds of a torrent that this client can ask (BEP 19); the user is told of the others.
pub fn web_seeds(meta: &Metainfo) -> Vec<String> {
    let usable = |url: &&String| match http_target(url) {
        Ok(_) => true,
        Err(UrlError::Https) => {
            let why = "https:// is not supported, only http:// is";
            tell(&format!(
                "note: web seed {} is skipped: {why}\n",
                plain(url)
            ));
            false
        }
        Err(why) => {
            tell(&format!(
                "note: web seed {} is skipped: {why}\n",
                plain(url)
            ));
            false
        }
    };
    meta.web_seeds.iter().filter(usable).cloned().collect()
}

/// The bytes that an error is about, as far as that is known.
fn place(error: &MetainfoError, file: &[u8]) -> Option<Range<usize>> {
    let info = || bencode::top_level_span(file, b"info").ok().flatten();
    let inside = |key: &str| {
        let info = info()?;
        let span = bencode::top_level_span(&file[info.clone()], key.as_bytes());
        let span = span.ok().flatten()?;
        Some(info.start + span.start..info.start + span.end)
    };
    let start = |span: Range<usize>| span.start..span.start + 1;
    match error {
        MetainfoError::Bencode(error) => Some(error.at..error.at + 1),
        MetainfoError::WrongType { at, .. } => Some(*at..at + 1),
        MetainfoError::NoInfo => Some(info().map_or(0..1, start)),
        MetainfoError::PieceLength(_) => inside("piece length"),
        MetainfoError::HashBytes(_) | MetainfoError::HashCount { .. } => {
            inside("pieces").map(start)
        }
        MetainfoError::NegativeSize { .. } => {
            inside("length").or_else(|| inside("files").map(start))
        }
        MetainfoError::NoSafeName { file: 0 } => inside("name"),
        MetainfoError::TooLarge | MetainfoError::NoSafeName { .. } => inside("files").map(start),
        MetainfoError::NoContent => inside("length").or_else(|| inside("files").map(start)),
        _ => info().map(start),
    }
}

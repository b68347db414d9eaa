//! Owns the reading of a metainfo file that was named on the command line.
//!
//! Invariant: no more than the largest metainfo file is read, whatever the name leads to; what is
//! wrong is told with its place in the file.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use skep_engine::metainfo::bencode::{self, INPUT_BYTES_MAX};
use skep_engine::metainfo::{Metainfo, MetainfoError};
use skep_engine::tracker::http::{HttpTarget, announce_target};

use super::excerpt::excerpt;
use crate::failure::{Exit, Failure};
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

/// The first tracker of a torrent that this client can ask.
pub fn tracker(meta: &Metainfo) -> Option<(String, HttpTarget)> {
    let urls = meta.announce.iter().flatten();
    urls.filter_map(|url| Some((plain(url), announce_target(url).ok()?)))
        .next()
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

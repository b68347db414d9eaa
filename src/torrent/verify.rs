//! Owns `skep torrent verify`: which of a torrent's files are here, whole and right.
//!
//! Invariant: it reads; nothing on disk is changed, made or remembered. A file is complete only when every
//! piece with a byte of it has its hash.

use std::path::Path;

use serde_json::json;
use skep_engine::PieceIndex;
use skep_engine::bits::BitSet;
use skep_engine::metainfo::{FileEntry, Metainfo};
use skep_engine::storage::file::{FileOptions, FileStorage, OpenMode};

use super::read::read;
use crate::args::VerifyArgs;
use crate::failure::{COLUMNS, Exit, Failure, print};
use crate::humane::{count, lines, percent, plain, size};
use crate::real::get::not_openable;
use crate::real::on_this_thread;
use crate::real::peer::check;
use crate::real::signals::Signals;

/// Columns of the state and the size on the left.
const LEFT: usize = 26;

/// What was found of one file.
struct Found<'a> {
    file: &'a FileEntry,
    /// Bytes of it in pieces that have their hash.
    verified: u64,
    state: &'static str,
}

/// Runs the command.
pub fn run(args: &VerifyArgs) -> Result<Exit, Failure> {
    let meta = read(&args.torrent)?;
    let options = FileOptions::default();
    let disk = FileStorage::open(&args.dir, &meta, OpenMode::Check, &options);
    let mut disk = disk.map_err(|error| not_openable(&error))?;
    let have = on_this_thread(async {
        let mut signals = Signals::new()?;
        check(&mut disk, meta.geometry, &mut signals).await
    })?;
    let files = meta.files.iter().filter(|file| file.is_wanted());
    let found: Vec<_> = files
        .map(|file| look(&args.dir, &meta, &have, file))
        .collect();
    let whole = found.iter().all(|found| found.state == "complete");
    print(&match args.json {
        true => as_json(&meta, &have, &found, whole),
        false => for_people(&meta, &have, &found),
    })?;
    Ok(if whole { Exit::Ok } else { Exit::Failed })
}

fn look<'a>(dir: &Path, meta: &Metainfo, have: &BitSet, file: &'a FileEntry) -> Found<'a> {
    let geometry = meta.geometry;
    let mut verified = 0;
    for number in file.pieces(geometry) {
        let piece = PieceIndex(u32::try_from(number).expect("a piece's number has 32 bits"));
        if have.contains(piece) {
            let start = geometry.offset(piece);
            let end = start + u64::from(geometry.piece_len(piece));
            verified += end.min(file.offset + file.len) - start.max(file.offset);
        }
    }
    let path = dir.join(file.path.join("/"));
    let mut partial = path.clone().into_os_string();
    partial.push(".part");
    let len = |path: &Path| {
        path.metadata()
            .ok()
            .filter(|found| found.is_file())
            .map(|found| found.len())
    };
    let state = match (len(&path), len(Path::new(&partial))) {
        (None, None) => "missing",
        (None, Some(_)) => "unfinished",
        (Some(have), _) if have != file.len => "wrong size",
        (Some(_), _) if verified == file.len => "complete",
        (Some(_), _) => "wrong",
    };
    Found {
        file,
        verified,
        state,
    }
}

fn as_json(meta: &Metainfo, have: &BitSet, found: &[Found<'_>], whole: bool) -> String {
    let files: Vec<_> = found
        .iter()
        .map(|found| {
            json!({
                "path": found.file.path.join("/"),
                "bytes": found.file.len,
                "verified": found.verified,
                "state": found.state,
            })
        })
        .collect();
    let object = json!({
        "info_hash": meta.info_hash.to_string(),
        "name": meta.name,
        "complete": whole,
        "pieces": meta.geometry.pieces,
        "pieces_verified": have.count(),
        "files": files,
    });
    format!("{object}\n")
}

fn for_people(meta: &Metainfo, have: &BitSet, found: &[Found<'_>]) -> String {
    let mut text = String::new();
    for found in found {
        let part = match found.state {
            "complete" | "missing" => String::new(),
            _ => percent(found.verified, found.file.len),
        };
        let path = plain(&found.file.path.join("/"));
        let path = lines(&path, COLUMNS - LEFT).join(&format!("\n{:LEFT$}", ""));
        text += &format!(
            "{:10} {part:>4}{:>10} {path}\n",
            found.state,
            size(found.file.len)
        );
    }
    let (pieces, verified) = (u64::from(meta.geometry.pieces), u64::from(have.count()));
    let whole = found
        .iter()
        .filter(|found| found.state == "complete")
        .count() as u64;
    text += &format!(
        "{} of {} complete, {verified} of {} verified\n",
        whole,
        count(found.len() as u64, "file"),
        count(pieces, "piece"),
    );
    text
}

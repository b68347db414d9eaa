//! Owns `skep torrent show`: what a metainfo file says, for people or as JSON.
//!
//! Invariant: every line fits 80 columns, and texts from the file cannot steer the terminal.

use jiff::Timestamp;
use serde_json::json;
use skep_engine::metainfo::Metainfo;

use super::read::read;
use crate::args::ShowArgs;
use crate::failure::{COLUMNS, Exit, Failure, print};
use crate::humane::{count, grouped, lines, plain, size};

/// Columns of the names on the left.
const LEFT: usize = 12;

/// Runs the command.
pub fn run(args: &ShowArgs) -> Result<Exit, Failure> {
    let meta = read(&args.torrent)?;
    let text = if args.json {
        as_json(&meta)
    } else {
        for_people(&meta)
    };
    print(&text)?;
    Ok(Exit::Ok)
}

fn as_json(meta: &Metainfo) -> String {
    let files = meta.files.iter();
    let files: Vec<_> = files
        .map(|file| json!({ "path": file.path.join("/"), "bytes": file.len }))
        .collect();
    let object = json!({
        "name": meta.name,
        "info_hash": meta.info_hash.to_string(),
        "bytes": meta.geometry.total,
        "piece_bytes": meta.geometry.piece_bytes,
        "pieces": meta.geometry.pieces,
        "single_file": meta.single_file,
        "files": files,
        "trackers": meta.announce,
        "private": meta.private,
        "comment": meta.comment,
        "created_by": meta.created_by,
        "creation_date": meta.creation_date,
    });
    format!("{object}\n")
}

fn for_people(meta: &Metainfo) -> String {
    let mut text = essentials(meta);
    let geometry = meta.geometry;
    let whole = u64::from(geometry.piece_bytes) * u64::from(geometry.pieces);
    let last = match whole - geometry.total {
        0 => String::new(),
        less => format!(
            ", the last {}",
            size(u64::from(geometry.piece_bytes) - less)
        ),
    };
    let pieces = count(u64::from(geometry.pieces), "piece");
    let each = size(u64::from(geometry.piece_bytes));
    text += &entry("pieces", &format!("{pieces} of {each}{last}"));
    if meta.announce.is_empty() {
        text += &entry("tracker", "none");
    }
    for (number, tier) in (1..).zip(&meta.announce) {
        for url in tier {
            let tier = format!("tracker {number}");
            let name = if meta.announce.len() > 1 {
                &tier
            } else {
                "tracker"
            };
            text += &entry(name, url);
        }
    }
    let private = "yes: peers may come from the trackers only";
    text += &entry("private", if meta.private { private } else { "no" });
    if let Some(comment) = &meta.comment {
        text += &entry("comment", comment);
    }
    if let Some(program) = &meta.created_by {
        text += &entry("created by", program);
    }
    if let Some(seconds) = meta.creation_date {
        let date = Timestamp::from_second(seconds);
        let impossible = |_| format!("{seconds} s after 1970, which is no date");
        text += &entry(
            "created",
            &date.map_or_else(impossible, |date| date.to_string()),
        );
    }
    if meta.single_file {
        return text;
    }
    text += &entry("files", &grouped(meta.files.len() as u64));
    for file in &meta.files {
        // The first component is the torrent's name, which stands above.
        let path = plain(&file.path[1..].join("/"));
        let shown = lines(&path, COLUMNS - LEFT - 2).join(&format!("\n{:LEFT$}  ", ""));
        text += &format!("{:>LEFT$}  {shown}\n", size(file.len));
    }
    text
}

/// Name, info-hash and size.
pub fn essentials(meta: &Metainfo) -> String {
    let total = meta.geometry.total;
    let bytes = if total < 1024 {
        size(total)
    } else {
        format!("{} ({} bytes)", size(total), grouped(total))
    };
    entry("name", &meta.name)
        + &entry("info-hash", &meta.info_hash.to_string())
        + &entry("size", &bytes)
}

/// One line, or more when the value is long.
fn entry(name: &str, value: &str) -> String {
    let shown = lines(&plain(value), COLUMNS - LEFT).join(&format!("\n{:LEFT$}", ""));
    format!("{name:LEFT$}{shown}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_engine::metainfo::create::{CreateOptions, Layout, encode};

    #[test]
    fn hostile_texts_fit_and_do_not_steer() {
        let long = "漢\u{1b}[2J\u{202e}x ".repeat(80);
        let options = CreateOptions {
            announce: vec![format!("http://{long}"), "udp://b".into()],
            comment: Some(long.clone()),
            created_by: Some(long),
            creation_date: Some(i64::MAX),
            ..CreateOptions::default()
        };
        let files = ["a".repeat(200), "漢".repeat(70)].map(|name| (vec![name], 1));
        let layout = Layout::Folder(files.to_vec());
        let bytes = encode("n", &layout, 16384, &[[0; 20]], &options);
        let text = for_people(&Metainfo::parse(&bytes).expect("a torrent"));
        for line in text.lines() {
            assert!(textwrap::core::display_width(line) <= COLUMNS, "{line}");
            assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'));
        }
    }
}

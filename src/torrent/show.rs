//! Owns `skep torrent show`: what a metainfo file says, for people or as JSON.
//!
//! Invariant: every line fits 80 columns, and texts from the file cannot steer the terminal.

use jiff::Timestamp;
use serde_json::json;
use skep_engine::metainfo::{FileKind, Metainfo};

use super::read::read;
use crate::args::ShowArgs;
use crate::failure::{COLUMNS, Exit, Failure, print};
use crate::humane::{count, grouped, lines, plain, size};

/// Columns of the names on the left.
const LEFT: usize = 12;

/// Runs the command.
pub fn run(args: &ShowArgs) -> Result<Exit, Failure> {
    let meta = read(&args.torrent)?;
    let text = match (args.json, args.magnet) {
        (true, _) => as_json(&meta),
        (_, true) => meta.magnet_link() + "\n",
        _ => for_people(&meta),
    };
    print(&text)?;
    Ok(Exit::Ok)
}

fn as_json(meta: &Metainfo) -> String {
    let files = meta
        .files
        .iter()
        .filter(|file| file.kind != FileKind::Padding);
    let files: Vec<_> = files
        .map(|file| {
            let target = match &file.kind {
                FileKind::Link { target } => Some(target),
                _ => None,
            };
            json!({
                "path": file.path.join("/"),
                "as_found": file.found,
                "bytes": file.len,
                "executable": file.executable,
                "hidden": file.hidden,
                "link_to": target,
            })
        })
        .collect();
    let padding: u64 = meta
        .padding()
        .iter()
        .map(|range| range.end - range.start)
        .sum();
    let object = json!({
        "name": meta.name,
        "name_as_found": meta.found_name,
        "info_hash": meta.info_hash.to_string(),
        "info_hash_v2": meta.v2_info_hash.map(hex),
        "magnet": meta.magnet_link(),
        "bytes": meta.geometry.total,
        "padding_bytes": padding,
        "piece_bytes": meta.geometry.piece_bytes,
        "pieces": meta.geometry.pieces,
        "single_file": meta.single_file,
        "files": files,
        "trackers": meta.announce,
        "web_seeds": meta.web_seeds,
        "private": meta.private,
        "source": meta.source,
        "comment": meta.comment,
        "created_by": meta.created_by,
        "creation_date": meta.creation_date,
    });
    format!("{object}\n")
}

fn hex(hash: [u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
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
    for url in &meta.web_seeds {
        text += &entry("web seed", url);
    }
    let private = "yes: peers may come from the trackers only";
    text += &entry("private", if meta.private { private } else { "no" });
    if let Some(source) = &meta.source {
        text += &entry("source", source);
    }
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
    text += &entry("magnet", &meta.magnet_link());
    if !meta.single_file {
        text += &files(meta);
    }
    text
}

/// The table of files. Padding is counted, not listed.
fn files(meta: &Metainfo) -> String {
    let padding: Vec<_> = meta
        .files
        .iter()
        .filter(|file| file.kind == FileKind::Padding)
        .collect();
    let shown = grouped((meta.files.len() - padding.len()) as u64);
    let mut text = match padding.iter().map(|file| file.len).sum() {
        0 => entry("files", &shown),
        bytes => entry(
            "files",
            &format!("{shown}, and {} of padding between them", size(bytes)),
        ),
    };
    for file in meta
        .files
        .iter()
        .filter(|file| file.kind != FileKind::Padding)
    {
        // The first component is the torrent's name, which stands above.
        let mut shown = file.path[1..].join("/");
        if let FileKind::Link { target } = &file.kind {
            shown += &format!(" (a link to {target}: not created)");
        }
        if file.executable {
            shown += " (a program)";
        }
        if file.hidden {
            shown += " (hidden)";
        }
        if let Some(found) = &file.found {
            shown += &format!(" (in the torrent: {found})");
        }
        let shown = lines(&plain(&shown), COLUMNS - LEFT - 2).join(&format!("\n{:LEFT$}  ", ""));
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
    let mut text = entry("name", &meta.name);
    if let Some(found) = &meta.found_name {
        text += &entry("as found", found);
    }
    text += &entry("info-hash", &meta.info_hash.to_string());
    if let Some(hash) = meta.v2_info_hash {
        text += &entry(
            "v2",
            &format!("{} (a hybrid: the v1 part is used)", hex(hash)),
        );
    }
    text + &entry("size", &bytes)
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
            announce: vec![vec![format!("http://{long}")], vec!["udp://b".into()]],
            web_seeds: vec![format!("http://{long}")],
            source: Some(long.clone()),
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

//! Owns the rows without a swarm: metainfo files of ours read by others, and theirs read by us. Info-hash,
//! sizes and files must be the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::clients::{python, script};
use crate::place::Place;
use crate::row::{Need, Row, Shown};
use crate::scene::{FILES, Scene, output};
use crate::support::Skep;

const URL: &str = "http://127.0.0.1:6969/announce";
const BACKUP: &str = "http://127.0.0.1:6970/announce";

/// What a metainfo file says.
#[derive(PartialEq, Eq, Debug)]
struct Meta {
    info_hash: String,
    piece_bytes: u64,
    pieces: u64,
    /// Path and bytes, padding left out.
    files: BTreeMap<String, u64>,
    trackers: Vec<String>,
}

pub fn rows() -> Vec<Row> {
    let row = |name: &str, needs: &[Need], run: fn(&Scene) -> String| Row {
        name: name.to_owned(),
        needs: needs.to_vec(),
        run: Box::new(move || {
            let note = run(&Scene::new());
            Shown { bytes: 0, note }
        }),
    };
    let show = Need::Program("transmission-show");
    vec![
        row(
            "our torrent file read by libtorrent",
            &[Need::Libtorrent],
            |scene| {
                let file = scene.torrent(URL);
                agreed(scene, &file, &by_libtorrent(&file), &[URL])
            },
        ),
        row(
            "our torrent file read by transmission-show",
            &[show],
            |scene| {
                let file = scene.torrent(URL);
                agreed_with_transmission(scene, &file, &[URL], true)
            },
        ),
        row(
            "mktorrent's torrent file read by us",
            &[Need::Program("mktorrent"), show],
            mktorrent,
        ),
        row(
            "transmission-create's torrent file read by us",
            &[Need::Program("transmission-create"), show],
            transmission_create,
        ),
        row(
            "libtorrent's torrent file read by us",
            &[Need::Libtorrent],
            |scene| by_us_as_by_libtorrent(scene, "v1"),
        ),
        row(
            "libtorrent's torrent file of both versions read by us",
            &[Need::Libtorrent],
            |scene| by_us_as_by_libtorrent(scene, "hybrid"),
        ),
    ]
}

fn mktorrent(scene: &Scene) -> String {
    let file = scene.path("theirs.torrent");
    let mut command = Place::loopback().command("mktorrent");
    command
        .args(["-l", "16", "-a", URL, "-a", BACKUP, "-o"])
        .args([&file, &scene.path("album")]);
    output(command);
    agreed_with_transmission(scene, &file, &[URL, BACKUP], true)
}

fn transmission_create(scene: &Scene) -> String {
    let file = scene.path("theirs.torrent");
    let mut command = Place::loopback().command("transmission-create");
    command
        .args(["-s", "64", "-t", URL, "-t", BACKUP, "-o"])
        .args([&file, &scene.path("album")]);
    output(command);
    // It leaves out empty files.
    agreed_with_transmission(scene, &file, &[URL, BACKUP], false)
}

fn by_us_as_by_libtorrent(scene: &Scene, kind: &str) -> String {
    let file = scene.path("theirs.torrent");
    let mut command = Place::loopback().command(python().expect("the row needs it"));
    command
        .arg(script("lt_meta.py"))
        .arg("create")
        .args([&scene.path("album"), &file])
        .args([kind, URL]);
    output(command);
    agreed(scene, &file, &by_libtorrent(&file), &[URL])
}

/// What we and another program read in a file is the same, and what was put in.
fn agreed(scene: &Scene, file: &Path, theirs: &Meta, trackers: &[&str]) -> String {
    let ours = by_us(scene, file);
    assert_eq!(&ours, theirs);
    assert_eq!(ours.files, content(true));
    assert_eq!(ours.trackers, trackers);
    format!("{}, {} files", ours.info_hash, ours.files.len())
}

/// The same with `transmission-show`, which rounds sizes.
fn agreed_with_transmission(scene: &Scene, file: &Path, trackers: &[&str], empty: bool) -> String {
    let ours = by_us(scene, file);
    assert_eq!(ours.files, content(empty));
    assert_eq!(ours.trackers, trackers);
    let mut command = Place::loopback().command("transmission-show");
    command.arg(file);
    let said = output(command);
    let has = |words: &str| assert!(said.contains(words), "{words:?} in {said}");
    has(&format!("Hash: {}\n", ours.info_hash));
    has(&format!("Piece Count: {}\n", ours.pieces));
    has("Piece Size: 64.00 KiB\n");
    has("Total Size: 22.03 MB\n");
    assert_eq!(ours.piece_bytes, 64 * 1024);
    for path in ours.files.keys() {
        has(&format!("  {path} ("));
    }
    for url in trackers {
        has(&format!("  {url}\n"));
    }
    format!("{}, {} files", ours.info_hash, ours.files.len())
}

fn content(with_empty: bool) -> BTreeMap<String, u64> {
    let files = FILES.iter().filter(|(_, bytes)| with_empty || *bytes > 0);
    files
        .map(|(path, bytes)| (format!("album/{path}"), *bytes as u64))
        .collect()
}

fn by_us(scene: &Scene, file: &Path) -> Meta {
    let file = file.to_str().expect("text");
    let args = ["torrent", "show", file, "--json"];
    let ended = Skep::run(scene.dir(), "show", &args);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    meta(&ended.out)
}

fn by_libtorrent(file: &PathBuf) -> Meta {
    let mut command = Place::loopback().command(python().expect("the row needs it"));
    command.arg(script("lt_meta.py")).arg("show").arg(file);
    meta(&output(command))
}

/// Both print one object with these keys, and perhaps others.
fn meta(text: &str) -> Meta {
    let object: Value = serde_json::from_str(text).expect("one object");
    let number = |value: &Value| value.as_u64().expect("a number");
    let word = |value: &Value| value.as_str().expect("text").to_owned();
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let files = list(&object["files"]).into_iter();
    let files = files.map(|file| (word(&file["path"]), number(&file["bytes"])));
    let trackers = list(&object["trackers"]).into_iter();
    // Ours are in tiers.
    let trackers = trackers.flat_map(|tier| tier.as_array().cloned().unwrap_or(vec![tier]));
    Meta {
        info_hash: word(&object["info_hash"]),
        piece_bytes: number(&object["piece_bytes"]),
        pieces: number(&object["pieces"]),
        files: files.filter(|(path, _)| !path.contains("/.pad/")).collect(),
        trackers: trackers.map(|url| word(&url)).collect(),
    }
}

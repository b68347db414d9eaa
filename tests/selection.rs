//! Getting some of a torrent's files, as a user does: what is wanted arrives, what is not leaves no
//! file, and the rest can be had later without fetching anything twice.
#![cfg(unix)]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "other processes run on the wall clock"
)]

mod support;

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::{Ended, Skep, content, until};
use tempfile::TempDir;

/// Files of the album and their bytes; pieces of 64 KiB straddle them.
const FILES: [(&str, usize); 4] = [
    ("a.bin", 900_000),
    ("b.bin", 700_001),
    ("docs/empty", 0),
    ("docs/read me.txt", 5000),
];

/// A directory with `album`, its metainfo file, a tracker and a seed.
struct Scene {
    dir: TempDir,
    _tracker: Skep,
    seed: Skep,
}

impl Scene {
    fn new(create: &[&str]) -> Scene {
        let dir = tempfile::tempdir().expect("a directory");
        let at = dir.path();
        fs::create_dir_all(at.join("album/docs")).expect("made");
        for (file, bytes) in FILES {
            fs::write(at.join("album").join(file), content(bytes)).expect("written");
        }
        let mut tracker = Skep::start(at, "track", &["track", "--listen", "127.0.0.1:0"]);
        let url = tracker.says("announce URL: ");
        let named = ["torrent", "create", "album", "-o", "album.torrent"];
        let more = ["--announce", &url, "--piece", "64KiB"];
        let made = Skep::run(at, "create", &[&named[..], &more, create].concat());
        assert_eq!(made.code, Some(0), "{made:?}");
        let mut seed = Skep::start(at, "seed", &["seed", "album.torrent", "--data", "album"]);
        seed.says("seeding album");
        fs::create_dir(at.join("out")).expect("made");
        Scene {
            dir,
            _tracker: tracker,
            seed,
        }
    }

    fn get(&self, patterns: &[&str]) -> Ended {
        let get = ["get", "album.torrent", "--dir", "out", "--json"];
        Skep::run(self.dir.path(), "get", &[&get[..], patterns].concat())
    }

    /// The files that are there, hidden ones and unfinished ones included.
    fn there(&self) -> Vec<String> {
        fn walk(at: &Path, found: &mut Vec<std::path::PathBuf>) {
            for entry in fs::read_dir(at).expect("a directory") {
                let path = entry.expect("an entry").path();
                match path.is_dir() {
                    true => walk(&path, found),
                    false => found.push(path),
                }
            }
        }
        let out = self.dir.path().join("out");
        let mut found = Vec::new();
        walk(&out, &mut found);
        let names = found.iter().map(|path| {
            let inside = path.strip_prefix(&out).expect("inside");
            inside.display().to_string()
        });
        let mut names: Vec<_> = names.filter(|n| !n.ends_with(".resume")).collect();
        names.sort();
        names
    }

    fn is_true(&self, file: &str) -> bool {
        let read = |dir: &str| fs::read(self.dir.path().join(dir).join(file)).expect("there");
        read("album") == read("out/album")
    }
}

fn downloaded(ended: &Ended) -> u64 {
    let object: Value = serde_json::from_str(&ended.out).expect("one object");
    assert_eq!(object["complete"], true, "what was wanted");
    object["downloaded"].as_u64().expect("a number")
}

#[test]
fn some_files_now_and_the_rest_later_without_fetching_twice() {
    let scene = Scene::new(&[]);
    let some = scene.get(&[
        "--only",
        "b.bin",
        "--only",
        "docs/**",
        "--skip",
        "docs/empty",
    ]);
    assert_eq!(some.code, Some(0), "{some:?}");
    let there = scene.there();
    let (parts, files) = there.split_first().expect("files");
    assert!(
        parts.starts_with('.') && parts.ends_with(".parts"),
        "{there:?}"
    );
    assert_eq!(files, ["album/b.bin", "album/docs/read me.txt"]);
    assert!(scene.is_true("b.bin") && scene.is_true("docs/read me.txt"));
    let first = downloaded(&some);
    assert!(first < 710_000 + 2 * 65_536, "whole pieces alone: {first}");
    let rest = scene.get(&[]);
    assert_eq!(rest.code, Some(0), "{rest:?}");
    let total: usize = FILES.iter().map(|(_, bytes)| bytes).sum();
    assert_eq!(first + downloaded(&rest), total as u64, "nothing twice");
    assert!(FILES.iter().all(|(file, _)| scene.is_true(file)));
    assert_eq!(scene.there().len(), FILES.len(), "nothing is left beside");
    scene.seed.signal("INT");
    let seeded = scene.seed.ended();
    assert!(seeded.out.contains("uploaded 1.5 MiB"), "{seeded:?}");
}

#[test]
fn what_is_wanted_first_comes_first_and_padding_is_never_fetched() {
    let scene = Scene::new(&["--pad"]);
    let at = scene.dir.path();
    let get = ["get", "album.torrent", "--dir", "out"];
    let slow = ["--first", "docs/*", "--download-limit", "400 kB/s"];
    let getter = Skep::start(at, "get", &[&get[..], &slow].concat());
    let last = at.join("out/album/docs/read me.txt.part");
    let blocks = |file: &Path| {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(file).map_or(0, |m| m.blocks())
    };
    let others = until("the file that is wanted first", || {
        (blocks(&last) > 0).then(|| blocks(&at.join("out/album/a.bin.part")))
    });
    // 100 kB pass at once; then 400 kB a second.
    assert!(others * 512 < 400_000, "{others} sectors of the others");
    let ended = getter.ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(scene.there().len(), FILES.len());
    assert!(FILES.iter().all(|(file, _)| scene.is_true(file)));
}

#[test]
fn a_pattern_without_a_file_and_a_choice_of_nothing_are_errors() {
    let scene = Scene::new(&[]);
    for (patterns, why) in [
        (
            &["--only", "c.bin"][..],
            "no file of the torrent matches `c.bin`",
        ),
        (&["--skip", "**"], "nothing is left to get"),
    ] {
        let ended = scene.get(patterns);
        assert_eq!(ended.code, Some(64), "{ended:?}");
        assert!(ended.err.contains(why), "{ended:?}");
        assert!(scene.there().is_empty());
    }
}

//! Web seeds (BEP 19) between processes: `skep get` with `skep serve`, on loopback.
#![cfg(unix)]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "other processes run on the wall clock"
)]

mod support;

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use support::{Ended, Skep, content};
use tempfile::TempDir;

/// The files of the album: none ends with a piece.
const FILES: [(&str, usize); 4] = [
    ("one #1.flac", 1_000_001),
    ("empty", 0),
    ("sub/two & half.flac", 700_003),
    ("three.flac", 333),
];
const TOTAL: usize = 1_000_001 + 700_003 + 333;

struct Scene {
    dir: TempDir,
}

impl Scene {
    /// `good/album`, and `bad/album` with the same names and sizes and other bytes.
    fn new() -> Scene {
        let scene = Scene {
            dir: tempfile::tempdir().expect("a directory"),
        };
        let all = content(TOTAL);
        let mut start = 0;
        for (name, len) in FILES {
            let bytes = &all[start..start + len];
            start += len;
            let wrong: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
            for (root, bytes) in [("good", bytes), ("bad", &wrong[..])] {
                let path = scene.path(root).join("album").join(name);
                fs::create_dir_all(path.parent().expect("a folder")).expect("made");
                fs::write(path, bytes).expect("written");
            }
        }
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file server of a directory, and its URL.
    fn serve(&self, root: &str) -> (Skep, String) {
        let args = ["serve", root, "--listen", "127.0.0.1:0"];
        let mut server = Skep::start(self.dir.path(), &format!("serve-{root}"), &args);
        let rest = server.says("at http://");
        (server, format!("http://{rest}"))
    }

    /// `album.torrent` with these sources.
    fn torrent(&self, sources: &[&str]) {
        let args = ["torrent", "create", "good/album", "-o", "album.torrent"];
        let args = [&args[..], &["--piece", "32 KiB"], sources].concat();
        let ended = Skep::run(self.dir.path(), "create", &args);
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }

    fn start_get(&self, more: &[&str]) -> Skep {
        fs::create_dir_all(self.path("got")).expect("a directory");
        let args = ["get", "album.torrent", "--dir", "got", "--json"];
        Skep::start(self.dir.path(), "get", &[&args[..], more].concat())
    }

    fn get(&self, more: &[&str]) -> Ended {
        self.start_get(more).ended()
    }

    fn is_got(&self, ended: &Ended) -> Value {
        assert_eq!(ended.code, Some(0), "{ended:?}");
        for (name, _) in FILES {
            let read = |root: &str| fs::read(self.path(root).join(name)).expect("it is there");
            assert!(read("got/album") == read("good/album"), "{name} differs");
        }
        let report: Value = serde_json::from_str(&ended.out).expect("one object");
        assert_eq!(report["complete"], true);
        report
    }
}

#[test]
fn a_web_seed_alone_is_enough() {
    let scene = Scene::new();
    let (server, url) = scene.serve("good");
    scene.torrent(&["--web-seed", &url]);
    let ended = scene.get(&[]);
    let report = scene.is_got(&ended);
    assert_eq!(report["web_seeds"][0]["url"], url.as_str());
    assert_eq!(report["web_seeds"][0]["received"], TOTAL);
    assert_eq!(report["wasted"], 0);
    assert_eq!(report["peers"].as_array().map(Vec::len), Some(0));
    assert!(ended.err.contains("from 1 web seed;"), "{ended:?}");
    server.signal("INT");
    let log = server.ended().out;
    assert!(log.contains("206  GET /album/one%20%231.flac"), "{log}");
    assert!(
        log.contains("206  GET /album/sub/two%20%26%20half.flac"),
        "{log}"
    );
    assert!(!log.contains("/empty"), "it has no bytes: {log}");
}

#[test]
fn a_web_seed_of_wrong_bytes_is_banned_and_the_content_comes_from_a_seed() {
    let scene = Scene::new();
    let (_server, url) = scene.serve("bad");
    let args = ["track", "--listen", "127.0.0.1:0"];
    let mut tracker = Skep::start(scene.dir.path(), "track", &args);
    let announce = tracker.says("announce URL: ");
    scene.torrent(&["--announce", &announce, "--web-seed", &url]);
    // The seed comes when the ban is said: beside a web seed it may have given everything first.
    let mut get = scene.start_get(&[]);
    get.says(&format!("web seed {url}: banned; it is not asked again"));
    let args = ["seed", "album.torrent", "--data", "good/album"];
    let _seed = Skep::start(scene.dir.path(), "seed", &args);
    let ended = get.ended();
    let report = scene.is_got(&ended);
    assert_eq!(report["web_seeds"][0]["banned"], true, "{report}");
    assert_eq!(report["peers"][0]["banned"], false, "{report}");
}

#[test]
fn a_web_seed_without_the_content_is_left_for_one_that_has_it() {
    let scene = Scene::new();
    fs::create_dir_all(scene.path("none")).expect("a directory");
    let (_none, none) = scene.serve("none");
    let (server, good) = scene.serve("good");
    scene.torrent(&["--web-seed", &none, "--web-seed", &good]);
    // The good one is stopped until the other has answered: it may have given everything first.
    server.signal("STOP");
    let mut get = scene.start_get(&[]);
    get.says("it does not have the content (status 404)");
    server.signal("CONT");
    let ended = get.ended();
    let report = scene.is_got(&ended);
    let seeds = report["web_seeds"].as_array().expect("web seeds").iter();
    let gave: Vec<_> = seeds
        .map(|seed| (&seed["url"], &seed["received"]))
        .collect();
    assert!(
        gave.contains(&(&Value::from(good), &Value::from(TOTAL))),
        "{gave:?}"
    );
}

#[test]
fn a_web_seed_is_not_asked_where_the_user_does_not_want_it() {
    let scene = Scene::new();
    let (server, url) = scene.serve("good");
    scene.torrent(&["--web-seed", &url, "--web-seed", "https://tls.example/"]);
    let ended = scene.get(&["--no-web-seeds"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.contains("web seed (http://)"), "{ended:?}");
    server.signal("INT");
    let log = server.ended().out;
    assert!(!log.contains("GET"), "{log}");
    let shown = Skep::run(
        scene.dir.path(),
        "show",
        &["torrent", "show", "album.torrent"],
    );
    assert!(shown.out.contains(&url), "{shown:?}");
}

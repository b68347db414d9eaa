//! Owns what a row is played with: content, its metainfo file, our tracker, our seed and our getters.
//!
//! Invariant: every file lies in one temporary directory; every process ends with its value.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::place::Place;
use crate::support::{Ended, Process, Skep, content};

/// The content: odd sizes, an empty file, a folder in the folder.
pub const FILES: [(&str, usize); 5] = [
    ("a side.flac", 11 * 1024 * 1024 + 1),
    ("art/cover.png", 6 * 1024 * 1024 - 3),
    ("art/one", 1),
    ("empty.txt", 0),
    ("z side.flac", 4 * 1024 * 1024 + 12_345),
];

/// Bytes of the content.
pub const TOTAL: u64 = 11 * 1024 * 1024 + 1 + 6 * 1024 * 1024 - 3 + 1 + 4 * 1024 * 1024 + 12_345;

/// A directory with content.
pub struct Scene {
    dir: TempDir,
}

impl Scene {
    /// `album` in a directory that others may read, too.
    pub fn new() -> Scene {
        let readable = fs::Permissions::from_mode(0o755);
        let dir = tempfile::Builder::new().permissions(readable).tempdir();
        let scene = Scene {
            dir: dir.expect("a directory"),
        };
        fs::create_dir_all(scene.path("album/art")).expect("a folder");
        for (file, bytes) in FILES {
            fs::write(scene.path("album").join(file), content(bytes)).expect("written");
        }
        scene
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// A new directory for a client.
    pub fn home(&self, name: &str) -> PathBuf {
        let home = self.path(name);
        fs::create_dir_all(&home).expect("a directory");
        home
    }

    /// A new directory for a client that has the content.
    pub fn home_of_seed(&self, name: &str) -> PathBuf {
        let home = self.home(name);
        fs::create_dir_all(home.join("album/art")).expect("a folder");
        for (file, _) in FILES {
            let file = Path::new("album").join(file);
            fs::copy(self.dir().join(&file), home.join(&file)).expect("copied");
        }
        home
    }

    /// Our program with these arguments.
    pub fn skep(&self, at: &Place, name: &str, args: &[&str]) -> Process {
        let mut command = at.command(env!("CARGO_BIN_EXE_skep"));
        command.args(args);
        Process::start(self.dir(), name, command)
    }

    /// Our tracker and its announce URL for HTTP.
    pub fn tracker(&self, at: &Place) -> (Process, String) {
        let listen = format!("{}:0", at.ip);
        // Clients that come late are found soon.
        let args = [
            "track",
            "--listen",
            &listen,
            "--interval",
            "2 s",
            "--verbose",
        ];
        let mut tracker = self.skep(at, "track", &args);
        let url = tracker.says("announce URL: ");
        (tracker, url)
    }

    /// Makes `album.torrent`.
    pub fn torrent(&self, url: &str) -> PathBuf {
        let args = [
            "--piece",
            "64 KiB",
            "--announce",
            url,
            "-o",
            "album.torrent",
        ];
        let args = [&["torrent", "create", "album"], &args[..]].concat();
        let ended = Skep::run(self.dir(), "create", &args);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        self.path("album.torrent")
    }

    /// Our seed, serving.
    pub fn seed(&self, at: &Place, more: &[&str]) -> Process {
        let args = [&["seed", "album.torrent", "--data", "album"], more].concat();
        let mut seed = self.skep(at, "our-seed", &args);
        seed.says("seeding album ");
        seed
    }

    /// Our getter, into a directory of this name.
    pub fn get(&self, at: &Place, name: &str, more: &[&str]) -> Process {
        self.home(name);
        let args = ["get", "album.torrent", "--dir", name, "--json"];
        self.skep(at, name, &[&args, more].concat())
    }

    /// Panics unless the album in this directory is the same, byte by byte.
    pub fn verify(&self, home: &Path, empty_files: bool) {
        for (file, bytes) in FILES {
            if bytes == 0 && !empty_files {
                continue;
            }
            let read = |album: PathBuf| {
                let path = album.join(file);
                fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            };
            let got = read(home.join("album"));
            assert_eq!(got.len(), bytes, "{file} in {}", home.display());
            assert!(got == read(self.path("album")), "{file} differs");
        }
    }
}

/// What a getter of ours reports of itself.
pub struct Report(Value);

impl Report {
    /// Of a getter that has finished.
    pub fn of(ended: &Ended) -> Report {
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        let report: Value = serde_json::from_str(&ended.out).expect("one object");
        assert_eq!(report["complete"], true, "{ended:?}");
        assert_eq!(report["hash_failed"], 0, "{ended:?}");
        Report(report)
    }

    /// Whether it met a client whose id begins so.
    pub fn met(&self, prefix: &str) -> bool {
        let prefix: String = prefix.bytes().map(|byte| format!("{byte:02x}")).collect();
        let mut peers = self.0["peers"].as_array().expect("peers").iter();
        peers.any(|peer| peer["id"].as_str().expect("an id").starts_with(&prefix))
    }

    /// Bytes that came from clients whose id begins so, and bytes that went to them.
    pub fn with(&self, prefix: &str) -> (u64, u64) {
        let prefix: String = prefix.bytes().map(|byte| format!("{byte:02x}")).collect();
        let peers = self.0["peers"].as_array().expect("peers").iter();
        let theirs = peers.filter(|peer| {
            let id = peer["id"].as_str().expect("an id");
            id.starts_with(&prefix)
        });
        let bytes = |peer: &Value, way: &str| peer[way].as_u64().expect("bytes");
        theirs.fold((0, 0), |(received, sent), peer| {
            (
                received + bytes(peer, "received"),
                sent + bytes(peer, "sent"),
            )
        })
    }
}

/// Runs a program to its end, which must be a good one; what it printed.
pub fn output(mut command: Command) -> String {
    let done = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let err = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {said}{err}");
    said
}

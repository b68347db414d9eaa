//! The engine on real sockets, as a user runs it: one process per peer, on loopback.
//!
//! Every process takes any free port and says which; nothing waits for a fixed time.
#![cfg(unix)]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "other processes run on the wall clock"
)]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{Ended, Skep, content, until};
use tempfile::TempDir;

const MIB: usize = 1024 * 1024;

/// A directory with content, its metainfo file and a tracker.
struct Scene {
    dir: TempDir,
    tracker: Skep,
}

impl Scene {
    /// A tracker that nobody knows yet.
    fn new() -> Scene {
        let dir = tempfile::tempdir().expect("a directory");
        let listen = ["track", "--listen", "127.0.0.1:0", "--verbose"];
        let tracker = Skep::start(dir.path(), "track", &listen);
        Scene { dir, tracker }
    }

    /// `film.bin` of so many bytes, and `film.torrent`.
    fn film(bytes: usize) -> Scene {
        let mut scene = Scene::new();
        fs::write(scene.path("film.bin"), content(bytes)).expect("written");
        scene.torrent("film.bin", "film.torrent");
        scene
    }

    fn torrent(&mut self, content: &str, torrent: &str) {
        let url = self.tracker.says("announce URL: ");
        let args = [
            "torrent",
            "create",
            content,
            "--announce",
            &url,
            "-o",
            torrent,
        ];
        assert_eq!(Skep::run(self.dir.path(), "create", &args).code, Some(0));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn seed(&self) -> Skep {
        let args = ["seed", "film.torrent", "--data", "film.bin"];
        Skep::start(self.dir.path(), "seed", &args)
    }

    /// Begins to get the film into a directory of this name.
    fn get(&self, name: &str, more: &[&str]) -> Skep {
        fs::create_dir_all(self.path(name)).expect("a directory");
        let args = [&["get", "film.torrent", "--dir", name], more].concat();
        Skep::start(self.dir.path(), name, &args)
    }

    fn has_film(&self, name: &str) -> bool {
        same(&self.path("film.bin"), &self.path(name).join("film.bin"))
    }

    /// How often the tracker was told this.
    fn told(&self, event: &str) -> usize {
        self.tracker
            .said()
            .matches(&format!(" s  {event} "))
            .count()
    }
}

fn same(a: &Path, b: &Path) -> bool {
    fs::read(a).expect("readable") == fs::read(b).expect("readable")
}

/// The one object on stdout.
fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

#[test]
fn whom_a_list_names_is_neither_dialled_nor_let_in() {
    let scene = Scene::film(MIB);
    let list = "127.0.0.0 - 127.255.255.255 , 000 , loopback\nnonsense\n";
    fs::write(scene.path("list.dat"), list).expect("written");
    let _seed = scene.seed();
    let mut shut = scene.get("shut", &["--ip-filter", "list.dat", "--json"]);
    shut.says("1 line not understood, the first is line 2: ");
    shut.says("refusing 1 range of addresses");
    until("the tracker knows both", || {
        (scene.told("started") == 2).then_some(())
    });
    let open = scene.get("open", &["--json"]).ended();
    assert_eq!(open.code, Some(0), "{open:?}");
    shut.signal("INT");
    let shut = shut.ended();
    assert_eq!(shut.code, Some(1), "{shut:?}");
    let report = json(&shut);
    let peers = report["peers"].as_array().expect("peers").len();
    assert_eq!((peers, &report["downloaded"]), (0, &0.into()), "{report}");

    let args = [
        "get",
        "film.torrent",
        "--dir",
        "open",
        "--ip-filter",
        "film.bin",
    ];
    let wrong = Skep::run(scene.dir.path(), "wrong", &args);
    assert_eq!(wrong.code, Some(64), "{wrong:?}");
    assert!(wrong.err.contains("film.bin: line "), "{wrong:?}");
}

#[test]
fn four_processes_move_a_file_and_the_swarm_outlives_its_seed() {
    let scene = Scene::film(16 * MIB);
    let mut seed = scene.seed();
    let seed_at = seed.says("seeding film.bin (16 MiB) at 0.0.0.0:");
    let first = scene.get("first", &["--seed-for", "1 h", "--json"]);
    let second = scene.get("second", &["--json"]).ended();
    assert_eq!(second.code, Some(0), "{second:?}");
    assert!(scene.has_film("second"));
    until("the first is complete", || {
        scene.path("first/film.bin").exists().then_some(())
    });
    seed.signal("INT");
    let seed = seed.ended();
    assert_eq!(seed.code, Some(0), "{seed:?}");
    assert!(seed.out.contains("uploaded "), "{seed:?}");

    let third = scene.get("third", &["--json"]).ended();
    assert_eq!(third.code, Some(0), "{third:?}");
    assert!(scene.has_film("third"));
    let report = json(&third);
    assert_eq!(report["complete"], true);
    assert_eq!(report["bytes"], 16 * MIB);
    assert_eq!(report["downloaded"], 16 * MIB);
    assert_eq!(report["hash_failed"], 0);
    let peers = report["peers"].as_array().expect("peers");
    let received: u64 = peers
        .iter()
        .filter_map(|peer| peer["received"].as_u64())
        .sum();
    assert_eq!(received, 16 * MIB as u64, "all of it from peers");
    let at = |peer: &Value| peer["addr"].as_str().expect("text").to_owned();
    assert!(
        peers
            .iter()
            .all(|peer| !at(peer).ends_with(&format!(":{seed_at}")))
    );

    first.signal("INT");
    let first = first.ended();
    assert_eq!(first.code, Some(0), "complete, and asked to end: {first:?}");
    assert!(scene.has_film("first"));
    let given = json(&first)["uploaded"].as_u64().expect("bytes");
    assert!(
        given >= 16 * MIB as u64,
        "the third had nobody else: {given}"
    );
    until("all said good-bye", || {
        (scene.told("stopped") == 4).then_some(())
    });
}

#[test]
fn a_folder_arrives_whole_and_a_file_that_is_there_already_stays() {
    let mut scene = Scene::new();
    let files = [
        ("album/a.flac", 70_000),
        ("album/art/cover.png", 20_000),
        ("album/z", 1),
    ];
    fs::create_dir_all(scene.path("album/art")).expect("a folder");
    for (file, bytes) in files {
        fs::write(scene.path(file), content(bytes)).expect("written");
    }
    scene.torrent("album", "film.torrent");
    let args = ["seed", "film.torrent", "--data", "album"];
    let _seed = Skep::start(scene.dir.path(), "seed", &args);
    fs::create_dir_all(scene.path("home/album")).expect("a folder");
    fs::copy(scene.path("album/a.flac"), scene.path("home/album/a.flac")).expect("copied");
    let ended = scene.get("home", &["--json"]).ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for (file, _) in files {
        assert!(
            same(&scene.path(file), &scene.path("home").join(file)),
            "{file}"
        );
    }
    // Four whole pieces of 16 KiB lie in the file that was there.
    assert_eq!(json(&ended)["downloaded"], 90_001 - 4 * 16_384);
}

#[test]
fn another_file_in_the_way_is_not_touched() {
    let scene = Scene::film(MIB);
    for (bytes, says) in [(5, "with 5 bytes"), (MIB, "is not the torrent's")] {
        let (name, there) = (format!("in-the-way-{bytes}"), vec![7; bytes]);
        fs::create_dir(scene.path(&name)).expect("a directory");
        fs::write(scene.path(&name).join("film.bin"), &there).expect("written");
        let ended = scene.get(&name, &[]).ended();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.err.contains(says), "{ended:?}");
        let after = fs::read(scene.path(&name).join("film.bin")).expect("readable");
        assert!(after == there);
        let files = fs::read_dir(scene.path(&name)).expect("a directory");
        assert_eq!(files.count(), 1, "nothing else appeared");
    }
}

#[test]
fn a_name_that_is_taken_meanwhile_fails_the_end_and_nothing_is_replaced() {
    let scene = Scene::film(MIB);
    let mut getter = scene.get("home", &["--json"]);
    getter.says("listening at ");
    fs::write(scene.path("home/film.bin"), "mine").expect("written");
    let _seed = scene.seed();
    let ended = getter.ended();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.contains("the disk failed"), "{ended:?}");
    assert_eq!(json(&ended)["complete"], false);
    let mine = fs::read_to_string(scene.path("home/film.bin")).expect("readable");
    assert_eq!(mine, "mine");
    until("it said good-bye", || {
        (scene.told("stopped") == 1).then_some(())
    });
}

#[test]
fn a_missing_directory_is_a_wrong_command() {
    let scene = Scene::film(MIB);
    let args = ["get", "film.torrent", "--dir", "nowhere"];
    let ended = Skep::run(scene.dir.path(), "get", &args);
    assert_eq!(ended.code, Some(64));
    assert!(
        ended.err.contains("nowhere is not an existing directory"),
        "{ended:?}"
    );
    assert!(!scene.path("nowhere").exists());
}

#[test]
fn after_kill_9_what_was_verified_is_not_fetched_again() {
    let scene = Scene::film(8 * MIB);
    // A swarm that holds the first five of eight MiB only.
    let (film, part) = (fs::read(scene.path("film.bin")).expect("readable"), 5 * MIB);
    fs::create_dir(scene.path("half")).expect("a directory");
    fs::write(scene.path("half/film.bin.part"), &film[..part]).expect("written");
    let mut half = scene.get("half", &[]);
    half.says("getting film.bin (8 MiB), 5 MiB of it here already");
    let victim = scene.get("home", &[]);
    let there = || fs::read(scene.path("home/film.bin.part")).unwrap_or_default();
    until("five MiB are there", || {
        there().starts_with(&film[..part]).then_some(())
    });
    victim.signal("KILL");
    assert_eq!(victim.ended().code, None, "killed");
    assert!(!scene.path("home/film.bin").exists());

    let _seed = scene.seed();
    let ended = scene.get("home", &["--json"]).ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.err.contains("5 MiB of it here already"), "{ended:?}");
    assert_eq!(json(&ended)["downloaded"], 3 * MIB);
    assert!(scene.has_film("home") && !scene.path("home/film.bin.part").exists());
    assert_eq!(
        half.ended().code,
        Some(0),
        "the other one got the rest, too"
    );
    assert!(scene.has_film("half"));

    let again = scene.get("home", &["--json"]).ended();
    assert_eq!(again.code, Some(0), "all of it is there: {again:?}");
    assert_eq!(json(&again)["downloaded"], 0);
}

#[test]
fn changed_content_is_not_seeded() {
    let scene = Scene::film(MIB);
    let mut film = fs::read(scene.path("film.bin")).expect("readable");
    film[MIB / 2] ^= 1;
    fs::write(scene.path("film.bin"), film).expect("written");
    let ended = scene.seed().ended();
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.err.contains("1 of 64 pieces in film.bin differ"),
        "{ended:?}"
    );
    assert_eq!(scene.told("started"), 0);
}

#[test]
fn ctrl_c_says_good_bye_to_the_tracker() {
    let scene = Scene::film(MIB);
    let getter = scene.get("home", &["--json"]);
    until("it has joined", || {
        (scene.told("started") == 1).then_some(())
    });
    getter.signal("TERM");
    let ended = getter.ended();
    assert_eq!(ended.code, Some(1), "the content is missing: {ended:?}");
    assert_eq!(json(&ended)["complete"], false);
    assert!(ended.err.contains("ended with 1 MiB missing"), "{ended:?}");
    until("it said good-bye", || {
        (scene.told("stopped") == 1).then_some(())
    });
    let tracker = scene.tracker;
    tracker.signal("INT");
    assert_eq!(tracker.ended().code, Some(0));
}

/// A torrent whose tracker is this socket.
fn with_tracker(listener: &TcpListener) -> Scene {
    let scene = Scene::film(MIB);
    let url = format!(
        "http://{}/announce",
        listener.local_addr().expect("an address")
    );
    let args = [
        "torrent",
        "create",
        "film.bin",
        "--announce",
        &url,
        "-o",
        "film.torrent",
        "--force",
    ];
    let ended = Skep::run(scene.dir.path(), "create", &args);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    scene
}

#[test]
fn a_tracker_that_answers_nonsense_is_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let scene = with_tracker(&listener);
    let mut getter = scene.get("home", &[]);
    for nonsense in [
        "\0\u{1b}[2J nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nd8:intervali",
    ] {
        let (mut stream, _) = listener.accept().expect("it asks");
        let _ = stream.read(&mut [0; 1024]).expect("a request");
        stream.write_all(nonsense.as_bytes()).expect("answered");
        drop(stream);
        getter.says("it is tried again");
    }
    until("both were told", || {
        (getter.said().matches("it is tried again").count() == 2).then_some(())
    });
    assert!(!getter.said().contains('\u{1b}'));
    drop(listener);
    getter.signal("INT");
    assert_eq!(getter.ended().code, Some(1));
}

#[test]
fn a_second_ctrl_c_does_not_wait_for_a_silent_tracker() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let scene = with_tracker(&listener);
    let mut getter = scene.get("home", &[]);
    let _silent = listener.accept().expect("it asks");
    getter.signal("INT");
    getter.says("leaving");
    getter.signal("INT");
    let ended = getter.ended();
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("ended at once"), "{ended:?}");
}

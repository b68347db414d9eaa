//! `skep get` by a magnet link, with processes on real sockets: from the swarm to the content, a second run
//! that asks nobody, peers that the link names, files that it names, and links that lead nowhere.
#![cfg(unix)]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "processes run on the wall clock"
)]

mod support;

use std::fs;

use support::{Ended, Skep, content};
use tempfile::TempDir;

/// A tracker, a seed of two files, and the link of what it seeds.
struct Scene {
    dir: TempDir,
    _tracker: Skep,
    _seed: Skep,
    seed_at: String,
    link: String,
}

impl Scene {
    fn new(more: &[&str]) -> Scene {
        let dir = tempfile::tempdir().expect("a directory");
        let at = dir.path();
        fs::create_dir_all(at.join("album")).expect("a folder");
        // 1,300 pieces: the metainfo has two blocks.
        fs::write(at.join("album/a.bin"), content(20_000_000)).expect("written");
        fs::write(at.join("album/b.bin"), content(1_300_000)).expect("written");
        let mut tracker = Skep::start(at, "track", &["track", "--listen", "127.0.0.1:0"]);
        let url = tracker.says("announce URL: ");
        let create = [
            "torrent",
            "create",
            "album",
            "--piece",
            "16 KiB",
            "--announce",
        ];
        let create = [&create[..], &[url.trim(), "-o", "album.torrent"], more].concat();
        assert_eq!(Skep::run(at, "create", &create).code, Some(0));
        let seed = [
            "seed",
            "album.torrent",
            "--data",
            "album",
            "--listen",
            "127.0.0.1:0",
        ];
        let mut seed = Skep::start(at, "seed", &seed);
        let said = seed.says("seeding album ");
        let seed_at = said.rsplit(" at ").next().expect("where").trim().to_owned();
        let show = Skep::run(
            at,
            "show",
            &["torrent", "show", "album.torrent", "--magnet"],
        );
        let link = show.out.trim().to_owned();
        Scene {
            dir,
            _tracker: tracker,
            _seed: seed,
            seed_at,
            link,
        }
    }

    fn get(&self, link: &str, to: &str, more: &[&str]) -> Ended {
        let _ = fs::create_dir(self.dir.path().join(to));
        let args = [&["get", link, "--dir", to], more].concat();
        Skep::run(self.dir.path(), "get", &args)
    }

    fn same(&self, file: &str, to: &str) {
        let read = |at: String| fs::read(self.dir.path().join(at)).expect("a file");
        let (got, wanted) = (
            read(format!("{to}/album/{file}")),
            read(format!("album/{file}")),
        );
        assert!(got == wanted, "{file} in {to} differs");
    }

    /// The link without its tracker.
    fn bare(&self) -> &str {
        self.link.split("&tr=").next().expect("a link")
    }
}

#[test]
fn a_link_leads_to_the_content_and_the_second_run_asks_nobody() {
    let scene = Scene::new(&[]);
    let got = scene.get(&scene.link, "one", &["--save-torrent", "saved.torrent"]);
    assert_eq!(got.code, Some(0), "{got:?}");
    assert!(got.err.contains("got the metainfo"), "{}", got.err);
    scene.same("a.bin", "one");
    scene.same("b.bin", "one");
    let at = scene.dir.path();
    let scrape = Skep::run(at, "scrape", &["scrape", &scene.link, "--json"]);
    assert_eq!(scrape.code, Some(0), "{scrape:?}");
    let hash = &scene.link["magnet:?xt=urn:btih:".len()..][..40];
    assert!(scrape.out.contains(hash), "{scrape:?}");
    let show = Skep::run(
        at,
        "again",
        &["torrent", "show", "saved.torrent", "--magnet"],
    );
    assert_eq!(show.out.trim(), scene.link);
    let again = scene.get(&scene.link, "one", &[]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(!again.err.contains("metainfo"), "{}", again.err);
    assert!(
        again.err.contains("all of it is there already"),
        "{}",
        again.err
    );
    let saved = scene.get(&scene.link, "one", &["--save-torrent", "saved.torrent"]);
    assert_eq!(saved.code, Some(1), "nothing is replaced: {saved:?}");
}

#[test]
fn a_link_may_name_peers_and_files() {
    let scene = Scene::new(&[]);
    let port = scene.seed_at.rsplit(':').next().expect("a port");
    let link = format!("{}&x.pe=127.0.0.1:{port}&so=1,7", scene.bare());
    let got = scene.get(&link, "one", &[]);
    assert_eq!(got.code, Some(0), "{got:?}");
    scene.same("b.bin", "one");
    assert!(!scene.dir.path().join("one/album/a.bin").exists());
    // Also when the metainfo is there already.
    let rest = format!("{}&x.pe=localhost:{port}", scene.bare());
    let got = scene.get(&rest, "one", &["--only", "a.bin"]);
    assert_eq!(got.code, Some(0), "{got:?}");
    scene.same("a.bin", "one");
    let none = scene.get(&rest, "one", &["--only", "c.bin"]);
    assert_eq!(none.code, Some(64), "{none:?}");
}

#[test]
fn the_web_seeds_of_a_link_give_what_peers_do_not() {
    let Scene {
        dir,
        _tracker,
        _seed: seed,
        seed_at,
        link,
    } = Scene::new(&[]);
    let at = dir.path();
    let serve = ["serve", ".", "--listen", "127.0.0.1:0"];
    let mut server = Skep::start(at, "serve", &serve);
    let url = format!("http://{}", server.says("at http://"));
    let port = seed_at.rsplit(':').next().expect("a port");
    let bare = link.split("&tr=").next().expect("a link");
    let link = format!("{bare}&x.pe=127.0.0.1:{port}&ws={}", url.trim());
    fs::create_dir(at.join("one")).expect("a folder");
    let get = |name, only: &str| {
        let args = ["get", &link, "--dir", "one", "--json", "--only", only];
        let ended = Skep::run(at, name, &args);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let object: serde_json::Value = serde_json::from_str(&ended.out).expect("one object");
        let web = object["web_seeds"].as_array().expect("a list").clone();
        let received = web.iter().filter_map(|seed| seed["received"].as_u64());
        received.sum::<u64>()
    };
    get("first", "b.bin");
    // The metainfo is kept, the peer is gone: all of the rest is the web seed's.
    drop(seed);
    assert!(get("second", "a.bin") >= 19_900_000);
    let read = |path: &str| fs::read(at.join(path)).expect("a file");
    assert!(read("one/album/a.bin") == read("album/a.bin"));
}

#[test]
fn links_that_lead_nowhere_say_so() {
    let scene = Scene::new(&[]);
    for (link, code, said) in [
        (scene.bare(), 1, "names no tracker"),
        (
            &format!("{}&ws=http://127.0.0.1:1/", scene.bare()),
            1,
            "its web seeds",
        ),
        ("magnet:?xt=urn:btih:12", 64, "40 hexadecimal digits"),
        ("magnet:?dn=film", 64, "names no torrent"),
    ] {
        let ended = scene.get(link, "one", &[]);
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert!(ended.err.contains(said), "{}", ended.err);
    }
    let file = scene.get("album.torrent", "one", &["--save-torrent", "x.torrent"]);
    assert_eq!(file.code, Some(64), "{file:?}");
}

#[test]
fn of_a_private_torrent_nobody_gives_the_metainfo_and_the_user_may_leave() {
    let scene = Scene::new(&["--private"]);
    fs::create_dir(scene.dir.path().join("one")).expect("a folder");
    let args = ["get", &scene.link, "--dir", "one"];
    let mut get = Skep::start(scene.dir.path(), "get", &args);
    get.says("told of 1 peer");
    get.signal("INT");
    let ended = get.ended();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.err.contains("before any peer had given"),
        "{}",
        ended.err
    );
    assert!(!scene.dir.path().join("one/album").exists());
}

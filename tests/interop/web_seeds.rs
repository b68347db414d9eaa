//! Owns the rows of web seeds (BEP 19): clients get an album from our file server, and we get it from nginx.
//! There is no tracker, no peer, and no file but the last begins or ends with a piece.

use std::path::Path;

use serde_json::Value;

use crate::clients::{python, script};
use crate::direct::nginx;
use crate::place::{Place, free_port};
use crate::row::{Need, Row, Shown};
use crate::scene::{Scene, TOTAL};
use crate::support::{Process, Skep, until};

pub fn rows() -> Vec<Row> {
    let row = |name: &str, need: Need, run: fn() -> Shown| Row {
        name: name.to_owned(),
        needs: vec![need],
        run: Box::new(run),
    };
    vec![
        row(
            "aria2 with skep serve as its web seed",
            Need::Program("aria2c"),
            aria2,
        ),
        row(
            "libtorrent with skep serve as its web seed",
            Need::Libtorrent,
            libtorrent,
        ),
        row(
            "skep get with nginx as its web seed",
            Need::Program("nginx"),
            from_nginx,
        ),
    ]
}

/// Our server of the scene's directory, and a torrent of the album whose one source it is.
fn served(scene: &Scene, at: &Place) -> Process {
    let listen = format!("{}:0", at.ip);
    let mut server = scene.skep(at, "serve", &["serve", ".", "--listen", &listen]);
    let url = format!("http://{}", server.says("at http://"));
    torrent(scene, &url);
    server
}

fn torrent(scene: &Scene, url: &str) {
    let args = [
        "torrent",
        "create",
        "album",
        "--piece",
        "64 KiB",
        "--web-seed",
        url,
        "-o",
        "album.torrent",
    ];
    let ended = Skep::run(scene.dir(), "create", &args);
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// Ends the server and counts what it sent of the album, in requests for parts.
fn parts(server: Process) -> Shown {
    server.signal("INT");
    let log = server.ended().out;
    let parts = log.matches("  206  GET /album/").count();
    assert!(parts > 0, "{log}");
    Shown {
        bytes: TOTAL,
        note: format!("{parts} requests"),
    }
}

fn aria2() -> Shown {
    let (scene, at) = (Scene::new(), Place::loopback());
    let server = served(&scene, &at);
    let home = scene.home("aria2");
    let mut command = at.command("aria2c");
    command
        .args(["--no-conf", "--enable-dht=false", "--enable-dht6=false"])
        .args(["--bt-enable-lpd=false", "--enable-peer-exchange=false"])
        .args(["--disable-ipv6=true", "--file-allocation=none"])
        .args(["--seed-time=0", "--show-console-readout=false"])
        .arg(format!("--listen-port={}", free_port()))
        .arg(format!("--dir={}", home.display()))
        .arg(scene.path("album.torrent"));
    let ended = Process::start(scene.dir(), "aria2-said", command).ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    scene.verify(&home, true);
    parts(server)
}

fn libtorrent() -> Shown {
    let (scene, at) = (Scene::new(), Place::loopback());
    let server = served(&scene, &at);
    let home = scene.home("libtorrent");
    let python = python().expect("the row needs it");
    let mut command = at.command(python);
    command
        .arg(script("lt_peer.py"))
        .arg(scene.path("album.torrent"))
        .arg(&home)
        .arg(format!("{}:0", at.ip));
    let peer = Process::start(scene.dir(), "libtorrent-said", command);
    until("libtorrent is complete", || {
        peer.said().contains("\"complete\"").then_some(())
    });
    let ended = peer.ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    scene.verify(&home, true);
    parts(server)
}

fn from_nginx() -> Shown {
    let (scene, at) = (Scene::new(), Place::loopback());
    let root: &Path = &scene.path("");
    let (_nginx, url) = nginx(&scene, &at, root, "0");
    torrent(&scene, &url);
    let ended = scene.get(&at, "ours", &[]).ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    scene.verify(&scene.path("ours"), true);
    let report: Value = serde_json::from_str(&ended.out).expect("one object");
    assert_eq!(report["web_seeds"][0]["url"], url.as_str(), "{report}");
    assert_eq!(report["web_seeds"][0]["received"], TOTAL, "{report}");
    assert_eq!(report["wasted"], 0, "{report}");
    Shown {
        bytes: TOTAL,
        note: String::new(),
    }
}

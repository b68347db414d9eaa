//! Owns the rows with a tracker nobody here wrote: our seed announces to opentracker, and a libtorrent peer
//! finds it there.

use std::fs;
use std::net::TcpStream;

use serde_json::Value;

use crate::clients::{Client, Joining};
use crate::place::{Place, free_port};
use crate::row::{Need, Row, Shown};
use crate::scene::{Scene, TOTAL, output};
use crate::support::{Process, until};

pub fn rows() -> Vec<Row> {
    let row = |over: &str, scheme: &'static str| Row {
        name: format!("libtorrent finds our seed at opentracker over {over}"),
        needs: vec![Need::Program("opentracker"), Need::Libtorrent],
        run: Box::new(move || meets(scheme)),
    };
    vec![row("HTTP", "http"), row("UDP", "udp")]
}

fn meets(scheme: &str) -> Shown {
    let (scene, at) = (Scene::new(), Place::loopback());
    let port = free_port();
    let torrent = scene.torrent(&format!("{scheme}://{}:{port}/announce", at.ip));
    let _tracker = opentracker(&scene, &at, port);
    let seed = scene.seed(&at, &[]);
    let home = scene.home("theirs");
    let peer = Client::Libtorrent.start(&Joining {
        at: &at,
        torrent: &torrent,
        home: &home,
        up_kib_s: 0,
    });
    peer.complete();
    peer.ended();
    scene.verify(&home, true);
    seed.signal("INT");
    assert_eq!(seed.ended().code, Some(0));
    Shown {
        bytes: TOTAL,
        note: String::new(),
    }
}

/// Debian's build serves the torrents of its white list alone.
fn opentracker(scene: &Scene, at: &Place, port: u16) -> Process {
    let mut show = at.command(env!("CARGO_BIN_EXE_skep"));
    show.args(["torrent", "show", "--json"])
        .arg(scene.path("album.torrent"));
    let shown: Value = serde_json::from_str(&output(show)).expect("one object");
    let hash = shown["info_hash"].as_str().expect("a hash");
    fs::write(scene.path("white.txt"), format!("{hash}\n")).expect("written");
    let (ip, port_text) = (at.ip.to_string(), port.to_string());
    let mut command = at.command("opentracker");
    command
        .args([
            "-i",
            &ip,
            "-p",
            &port_text,
            "-P",
            &port_text,
            "-w",
            "white.txt",
        ])
        .arg("-d")
        .arg(scene.dir());
    let process = Process::start(scene.dir(), "opentracker", command);
    until("opentracker listens", || {
        TcpStream::connect((at.ip, port)).ok().map(drop)
    });
    process
}

//! Owns the rows of magnet links and of peer exchange: others get our metainfo and we get theirs, and each
//! side tells the other of a peer.

use std::path::{Path, PathBuf};

use crate::clients::{Client, Joining};
use crate::place::Place;
use crate::row::{Need, Row, Shown};
use crate::scene::{Report, Scene, TOTAL};
use crate::support::Process;

pub fn rows() -> Vec<Row> {
    let row = |name: &str, client: Client, run: fn() -> Shown| Row {
        name: name.to_owned(),
        needs: vec![Need::client(client)],
        run: Box::new(run),
    };
    vec![
        row("aria2 by our magnet link", Client::Aria2, || {
            they_get(Client::Aria2, true)
        }),
        row("libtorrent by our magnet link", Client::Libtorrent, || {
            they_get(Client::Libtorrent, true)
        }),
        row(
            "libtorrent by our link without a tracker",
            Client::Libtorrent,
            || they_get(Client::Libtorrent, false),
        ),
        row(
            "we by a magnet link from libtorrent",
            Client::Libtorrent,
            || we_get(Client::Libtorrent),
        ),
        row("we by a magnet link from aria2", Client::Aria2, || {
            we_get(Client::Aria2)
        }),
        row(
            "peer exchange with libtorrent, both ways",
            Client::Libtorrent,
            exchange,
        ),
    ]
}

/// The link of `album.torrent`, as our program prints it.
fn link(scene: &Scene, torrent: &Path) -> String {
    let torrent = torrent.to_str().expect("a name");
    let args = ["torrent", "show", torrent, "--magnet"];
    let ended = scene.skep(&Place::loopback(), "link", &args).ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.out.trim().to_owned()
}

/// The link without its trackers, but with a peer.
fn to_peer(link: &str, at: &str) -> String {
    let parts = link.split('&').filter(|part| !part.starts_with("tr="));
    let parts: Vec<_> = parts.collect();
    format!("{}&x.pe={at}", parts.join("&"))
}

/// Where a seed of ours says that it listens.
fn seed_at(scene: &Scene, at: &Place, more: &[&str]) -> (Process, String) {
    let args = [
        "seed",
        "album.torrent",
        "--data",
        "album",
        "--listen",
        "127.0.0.1:0",
    ];
    let mut seed = scene.skep(at, "our-seed", &[&args, more].concat());
    let said = seed.says("seeding album ");
    let listens = said.rsplit(" at ").next().expect("an address").trim();
    let listens = listens.to_owned();
    (seed, listens)
}

fn they_get(client: Client, tracked: bool) -> Shown {
    let (scene, at) = (Scene::new(), Place::loopback());
    let (_tracker, url) = scene.tracker(&at);
    let torrent = scene.torrent(&url);
    let (seed, listens) = seed_at(&scene, &at, &[]);
    let mut link = link(&scene, &torrent);
    if !tracked {
        link = to_peer(&link, &listens);
    }
    let home = scene.home("theirs");
    let peer = client.start(&Joining {
        at: &at,
        torrent: &PathBuf::from(link),
        home: &home,
        up_kib_s: 0,
    });
    peer.complete();
    peer.ended();
    scene.verify(&home, client.creates_empty_files());
    seed.signal("INT");
    assert_eq!(seed.ended().code, Some(0));
    Shown {
        bytes: TOTAL,
        note: String::new(),
    }
}

fn we_get(client: Client) -> Shown {
    let (scene, at) = (Scene::new(), Place::loopback());
    let (_tracker, url) = scene.tracker(&at);
    let torrent = scene.torrent(&url);
    let peer = client.start(&Joining {
        at: &at,
        torrent: &torrent,
        home: &scene.home_of_seed("theirs"),
        up_kib_s: 0,
    });
    let link = link(&scene, &torrent);
    let home = scene.home("ours");
    let args = [
        "get",
        &link,
        "--dir",
        "ours",
        "--json",
        "--save-torrent",
        "saved.torrent",
    ];
    let ended = scene.skep(&at, "ours-get", &args).ended();
    let (received, _) = Report::of(&ended).with(client.id_prefix());
    assert_eq!(received, TOTAL, "all of it from it: {ended:?}");
    assert!(ended.err.contains("got the metainfo"), "{ended:?}");
    scene.verify(&home, true);
    peer.ended();
    // The second time nobody needs to be asked.
    let again = scene.skep(&at, "again", &args[..5]).ended();
    assert!(
        again.err.contains("all of it is there already"),
        "{again:?}"
    );
    Shown {
        bytes: TOTAL,
        note: String::new(),
    }
}

/// Nobody has a tracker. Two of libtorrent's know our seed alone: if they meet, one learned of the other
/// from us. A getter of ours knows one of them alone: if it meets our seed, one of ours learned of the other
/// from libtorrent. The seed is slow, so that nobody has everything before libtorrent tells (once a minute).
fn exchange() -> Shown {
    let (scene, at) = (Scene::new(), Place::loopback());
    let torrent = scene.torrent("http://127.0.0.1:9/announce");
    let link = link(&scene, &torrent);
    let (seed, listens) = seed_at(&scene, &at, &["--upload-limit", "250 KiB/s"]);
    let to_seed = PathBuf::from(to_peer(&link, &listens));
    let start = |name: &str| {
        Client::Libtorrent.start_with(
            &Joining {
                at: &at,
                torrent: &to_seed,
                home: &scene.home(name),
                up_kib_s: 0,
            },
            &["--pex"],
        )
    };
    let (one, other) = (start("one"), start("other"));
    let port = one.value("\"port\": ");
    scene.home("ours");
    let to_one = to_peer(&link, &format!("127.0.0.1:{port}"));
    let get = [
        "get",
        &to_one,
        "--dir",
        "ours",
        "--json",
        "--listen",
        "127.0.0.1:0",
    ];
    let get = scene.skep(&at, "ours-get", &get);
    let met = |prefix: &str| {
        let hex: String = prefix.bytes().map(|byte| format!("{byte:02x}")).collect();
        format!("\"met\", \"id\": \"{hex}")
    };
    one.says(&met(Client::Libtorrent.id_prefix()));
    let ended = get.ended();
    let report = Report::of(&ended);
    assert!(report.met(Client::Libtorrent.id_prefix()), "{ended:?}");
    assert!(report.met("-SK"), "it met our seed: {ended:?}");
    scene.verify(&scene.path("ours"), true);
    one.ended();
    other.ended();
    seed.signal("INT");
    assert_eq!(seed.ended().code, Some(0));
    Shown {
        bytes: TOTAL,
        note: String::new(),
    }
}

//! Owns the rows with two peers: each client downloads from our seed, and we download from each of them.

use crate::clients::{ALL, Client, Joining};
use crate::place::Place;
use crate::row::{Need, Row, Shown};
use crate::scene::{Report, Scene, TOTAL};

/// How peers reach the tracker.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Via {
    Http,
    Udp,
}

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for client in ALL {
        for via in [Via::Http, Via::Udp] {
            // aria2 has no UDP trackers while its DHT is off.
            if via == Via::Udp && client == Client::Aria2 {
                continue;
            }
            let over = match via {
                Via::Http => "HTTP",
                Via::Udp => "UDP",
            };
            let mut needs = vec![Need::client(client)];
            if client == Client::Transmission {
                needs.push(Need::OwnAddress);
            }
            rows.push(Row {
                name: format!("{} from our seed, tracker over {over}", client.name()),
                needs: needs.clone(),
                run: Box::new(move || they_get(client, via, &[])),
            });
            rows.push(Row {
                name: format!("we from {}, tracker over {over}", client.name()),
                needs,
                run: Box::new(move || we_get(client, via)),
            });
        }
    }
    // They have to believe a peer that says it has nothing and then names a piece at a time.
    for client in [Client::Aria2, Client::Libtorrent] {
        rows.push(Row {
            name: format!("{} from our super-seed", client.name()),
            needs: vec![Need::client(client)],
            run: Box::new(move || they_get(client, Via::Http, &["--super-seed"])),
        });
    }
    rows
}

fn place(client: Client) -> Place {
    match client {
        Client::Transmission => Place::own().expect("the row needs it"),
        _ => Place::loopback(),
    }
}

fn url(http: &str, via: Via) -> String {
    match via {
        Via::Http => http.to_owned(),
        Via::Udp => http.replace("http://", "udp://"),
    }
}

fn they_get(client: Client, via: Via, how: &[&str]) -> Shown {
    let (scene, at) = (Scene::new(), place(client));
    let (tracker, http) = scene.tracker(&at);
    let torrent = scene.torrent(&url(&http, via));
    let seed = scene.seed(&at, how);
    let home = scene.home("theirs");
    let peer = client.start(&Joining {
        at: &at,
        torrent: &torrent,
        home: &home,
        up_kib_s: 0,
    });
    peer.complete();
    peer.ended();
    scene.verify(&home, client.creates_empty_files());
    seed.signal("INT");
    let seed = seed.ended();
    assert_eq!(seed.code, Some(0), "{seed:?}");
    drop(tracker);
    Shown {
        bytes: TOTAL,
        note: seed.out.lines().last().unwrap_or_default().to_owned(),
    }
}

fn we_get(client: Client, via: Via) -> Shown {
    let (scene, at) = (Scene::new(), place(client));
    let (_tracker, http) = scene.tracker(&at);
    let torrent = scene.torrent(&url(&http, via));
    let peer = client.start(&Joining {
        at: &at,
        torrent: &torrent,
        home: &scene.home_of_seed("theirs"),
        up_kib_s: 0,
    });
    let ended = scene.get(&at, "ours", &[]).ended();
    let (received, _) = Report::of(&ended).with(client.id_prefix());
    assert_eq!(received, TOTAL, "all of it from it: {ended:?}");
    scene.verify(&scene.path("ours"), true);
    peer.ended();
    Shown {
        bytes: TOTAL,
        note: String::new(),
    }
}

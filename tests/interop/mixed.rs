//! Owns the rows with a mixed swarm: one seed, one of each client, two of ours; everybody completes, and bytes
//! flow from theirs to ours and back.
//!
//! The seed is slow, so that they need each other. Transmission takes its time to begin, so the others join
//! when it has begun.

use std::path::Path;

use crate::clients::{ALL, Client, Joining, Peer};
use crate::place::{Lan, Place};
use crate::row::{Need, Row, Shown};
use crate::scene::{Report, Scene, TOTAL};

/// What the seed sends per second.
const SEED_KIB_S: u64 = 2048;

/// Ours: two.
const OURS: [&str; 2] = ["ours-1", "ours-2"];

pub fn rows() -> Vec<Row> {
    let row = |name: &str, seed: Option<Client>| {
        let clients = ALL.map(Need::client);
        Row {
            name: name.to_owned(),
            needs: [&clients[..], &[Need::Namespaces]].concat(),
            run: Box::new(move || mixed(seed)),
        }
    };
    vec![
        row("a mixed swarm from our seed", None),
        row(
            "a mixed swarm from libtorrent's seed",
            Some(Client::Libtorrent),
        ),
    ]
}

/// Everybody has a namespace: the tracker, the seed, three of theirs, two of ours.
fn mixed(seed: Option<Client>) -> Shown {
    let lan = Lan::new(7).expect("the row needs it");
    let [tracker_at, seed_at, theirs_at @ .., ours_1_at, ours_2_at] = lan.places.as_slice() else {
        panic!("seven places");
    };
    let scene = Scene::new();
    let (_tracker, url) = scene.tracker(tracker_at);
    let torrent = scene.torrent(&url);
    let start = |client: Client, at: &Place, home: &Path, up_kib_s| {
        client.start(&Joining {
            at,
            torrent: &torrent,
            home,
            up_kib_s,
        })
    };

    let limit = format!("{SEED_KIB_S} KiB/s");
    let (mut our_seed, mut their_seed) = (None, None);
    match seed {
        None => our_seed = Some(scene.seed(seed_at, &["--upload-limit", &limit])),
        Some(client) => {
            their_seed = Some(start(
                client,
                seed_at,
                &scene.home_of_seed("seed"),
                SEED_KIB_S,
            ))
        }
    }
    let join = |client: Client| {
        let index = ALL.iter().position(|one| *one == client);
        let at = &theirs_at[index.expect("one of all")];
        (client, start(client, at, &scene.home(client.name()), 0))
    };
    let transmission = join(Client::Transmission);
    transmission.1.says("checking just-completed piece");
    let theirs = [join(Client::Aria2), join(Client::Libtorrent), transmission];
    let ours = [ours_1_at, ours_2_at].into_iter().zip(OURS);
    let ours = ours
        .map(|(at, name)| (name, scene.get(at, name, &["--seed-for", "1 h"])))
        .collect::<Vec<_>>();

    for (_, peer) in &theirs {
        peer.complete();
    }
    let mut reports = Vec::new();
    for (name, process) in ours {
        let done = scene.path(name).join("album/z side.flac");
        crate::support::until(&format!("{name} is complete"), || {
            done.exists().then_some(())
        });
        process.signal("INT");
        reports.push(Report::of(&process.ended()));
        scene.verify(&scene.path(name), true);
    }
    // What their seed sent is not counted as exchange.
    let note = exchange(&reports, seed);
    for (client, peer) in theirs {
        peer.ended();
        scene.verify(&scene.path(client.name()), client.creates_empty_files());
    }
    their_seed.map(Peer::ended);
    if let Some(seed) = our_seed {
        seed.signal("INT");
        assert_eq!(seed.ended().code, Some(0));
    }
    Shown {
        bytes: TOTAL * 5,
        note,
    }
}

/// Who gave what to whom; panics when nothing flowed one way.
fn exchange(reports: &[Report], seed: Option<Client>) -> String {
    let (mut from_theirs, mut to_theirs) = (0, 0);
    let mut parts = Vec::new();
    for client in ALL {
        let (mut received, mut sent) = (0, 0);
        for report in reports {
            let (more_received, more_sent) = report.with(client.id_prefix());
            received += more_received;
            sent += more_sent;
        }
        parts.push(format!(
            "{} {:.1}/{:.1}",
            client.name(),
            received as f64 / (1024.0 * 1024.0),
            sent as f64 / (1024.0 * 1024.0)
        ));
        if seed != Some(client) {
            from_theirs += received;
        }
        to_theirs += sent;
    }
    let note = format!("MiB we had from/gave to: {}", parts.join(", "));
    assert!(from_theirs > 0 && to_theirs > 0, "{note}");
    note
}

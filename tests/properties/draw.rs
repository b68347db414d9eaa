//! Owns how a swarm is drawn, and into which direction one that fails is shrunk.
//!
//! Invariant: the first choice of everything is the plain one, so that what is left of a swarm
//! after shrinking is what its failure needs: one peer, no fault, little content, default switches.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use skep_sim::explore::{
    Arrival, AttackDraft, AttackKind, Change, Churn, DirectDraft, DiskDraft, Down, FaultDraft,
    FaultKindDraft, Group, HoldersDraft, LeecherDraft, LinkDraft, Setting, Sides, SwarmDraft,
    Target,
};

const KIB: u64 = 1024;

/// A swarm.
pub fn swarm() -> impl Strategy<Value = SwarmDraft> {
    let content = content();
    let peers = (
        holders(),
        vec(leechers(), 1..=3),
        vec(attackers(), 0..=2),
        vec(fault(), 0..=3),
    );
    // An answer of a few peers is drawn often, or whom it never names nobody can find.
    let tracker = select(vec![
        (60u64, 50u32),
        (20, 50),
        (300, 50),
        (1800, 50),
        (60, 4),
        (20, 4),
    ]);
    let rest = (30..240u64, tracker, any::<bool>(), weighted(0.25, direct()));
    (0..1000u64, content, link(), peers, rest, engine()).prop_map(
        |(seed, (files, piece), link, peers, rest, engine)| {
            let (seeds, leechers, attackers, faults) = peers;
            let (churn_s, (announce_s, answer_peers), udp, direct) = rest;
            let draft = SwarmDraft {
                seed,
                files,
                piece,
                link,
                seeds,
                leechers,
                attackers,
                direct,
                faults,
                churn_s,
                announce_s,
                answer_peers,
                udp,
                engine,
            };
            with_room(one_outage(whole_files_fit(in_time(hiding_in_time(draft)))))
        },
    )
}

/// Who hides what it has gives a pair of pieces per round trip, and per choke round where interest must wait
/// for one: many small pieces take longer than any settling time.
fn hiding_in_time(mut draft: SwarmDraft) -> SwarmDraft {
    let pieces: u64 = draft.files.iter().sum::<u64>() / draft.piece;
    draft.seeds.super_seeding &= pieces < 300;
    if draft.seeds.super_seeding {
        draft.engine.retain(|s| s.field != "unchoke_on_interest");
    }
    draft
}

/// Who serves no parts needs a connection that lasts for a whole file; clients would begin anew for ever.
fn whole_files_fit(mut draft: SwarmDraft) -> SwarmDraft {
    let total: u64 = draft.files.iter().sum();
    if let (Some(direct), Some(reset_s)) = (&mut draft.direct, draft.link.reset_s) {
        let rate = direct.servers.up.min(direct.clients.down) * 1000;
        let clients = u64::from(direct.clients.count);
        direct.range_errors &= total * clients / rate < reset_s / 4;
    }
    draft
}

/// Whoever meets two outages of the trackers may wait for longer than any settling time before the third try; a
/// tracker that has forgotten everybody hears of them again after an interval.
fn one_outage(mut draft: SwarmDraft) -> SwarmDraft {
    let mut outages = 0;
    draft.faults.retain(|fault| {
        outages += usize::from(matches!(fault.kind, FaultKindDraft::Tracker { .. }));
        !matches!(fault.kind, FaultKindDraft::Tracker { .. })
            || outages == 1 && draft.announce_s <= 60
    });
    draft
}

/// Two places are left for honest peers: one whom attackers surround cannot finish.
fn with_room(mut draft: SwarmDraft) -> SwarmDraft {
    let attackers: u32 = draft.attackers.iter().map(|a| a.group.count).sum();
    let places = draft
        .engine
        .iter_mut()
        .filter(|s| s.field == "connections_max");
    for Setting { value, .. } in places {
        let drawn: u32 = value.parse().expect("drawn as a number");
        *value = drawn.max(attackers + 2).to_string();
    }
    draft
}

/// Moments are drawn in thousandths of the time that the download takes; here they become time.
fn in_time(mut draft: SwarmDraft) -> SwarmDraft {
    let ideal_ms = draft.ideal_ms();
    let seconds = |share: u64| (share * ideal_ms / 1_000_000).max(1);
    for fault in &mut draft.faults {
        fault.at_ms = (fault.at_ms * ideal_ms / 1000).max(1);
        if let FaultKindDraft::Down { down_s, .. } = &mut fault.kind {
            *down_s = down_s.map(seconds);
        }
        if let FaultKindDraft::Leave { back_s, .. } = &mut fault.kind {
            *back_s = back_s.map(seconds);
        }
    }
    for leechers in &mut draft.leechers {
        leechers.arrive = match leechers.arrive {
            Arrival::Start => Arrival::Start,
            Arrival::At(at) => Arrival::At(seconds(at)),
            Arrival::Spread(time) => Arrival::Spread(seconds(time)),
            Arrival::Poisson(gap) => Arrival::Poisson(seconds(gap)),
            Arrival::Decay(time) => Arrival::Decay(seconds(time)),
        };
    }
    let of_leechers = draft.leechers.iter_mut().map(|l| &mut l.churn);
    let of_clients = draft.direct.iter_mut().map(|d| &mut d.churn);
    for churn in of_leechers.chain(of_clients).flatten() {
        churn.session_s = seconds(churn.session_s);
        churn.away_s = seconds(churn.away_s) + 1;
    }
    draft
}

/// Files and the size of a piece: round, odd, tiny, ending one byte into a piece.
fn content() -> impl Strategy<Value = (Vec<u64>, u64)> {
    let piece = select(vec![
        16 * KIB,
        32 * KIB,
        64 * KIB,
        256 * KIB,
        10_000,
        16 * KIB + 1,
        50_000,
        100_001,
        1,
    ]);
    let round = (1..40u64).prop_map(|n| (n, 0));
    let odd = (0..40u64).prop_map(|n| (n, 1));
    let any = (0..40u64, 1..16 * KIB);
    let whole = prop_oneof![3 => round, 2 => odd, 2 => any, 1 => Just((0, 1))];
    let several = vec(
        select(vec![1u64, 0, 777, 16 * KIB, 100_000, 300_000]),
        0..=3,
    );
    // Metainfo of more than one block has more than 800 pieces.
    let many = weighted(0.05, 800..2500u64);
    (piece, whole, several, many).prop_map(|(piece, (pieces, over), several, many)| {
        if let Some(pieces) = many {
            return (vec![pieces * KIB], KIB);
        }
        // A piece of one byte is for torrents of a few bytes.
        let first = (pieces * piece + over % (piece * 4)).clamp(1, 3 << 20);
        let mut files = vec![first];
        if piece >= KIB {
            files.extend(several);
        }
        (files, piece)
    })
}

fn link() -> impl Strategy<Value = LinkDraft> {
    let latency = prop_oneof![Just(20u64), 0..=300u64];
    let jitter = prop_oneof![Just(0u64), 0..=100u64];
    let loss = prop_oneof![2 => Just(0u64), 1 => 1..=500u64];
    let reset = weighted(0.3, select(vec![600u64, 120, 45]));
    (latency, jitter, loss, reset).prop_map(|(latency_ms, jitter_ms, loss_e4, reset_s)| LinkDraft {
        latency_ms,
        jitter_ms,
        loss_e4,
        reset_s,
    })
}

/// 20 kB/s to 20 MB/s.
fn rate() -> impl Strategy<Value = u64> {
    select(vec![1000u64, 500, 250, 100, 50, 20, 2000, 5000, 20_000])
}

fn group(most: u32) -> impl Strategy<Value = Group> {
    (1..=most, rate(), rate(), weighted(0.2, 0..=300u64)).prop_map(
        |(count, up, down, latency_ms)| Group {
            count,
            up,
            down,
            latency_ms,
        },
    )
}

fn choker() -> impl Strategy<Value = Option<&'static str>> {
    weighted(0.25, Just("seed-round-robin"))
}

fn holders() -> impl Strategy<Value = HoldersDraft> {
    (group(2), choker(), weighted(0.2, Just(()))).prop_map(|(group, choker, hides)| HoldersDraft {
        group,
        choker,
        super_seeding: hides.is_some(),
    })
}

fn leechers() -> impl Strategy<Value = LeecherDraft> {
    let have = prop_oneof![3 => Just(0u64), 1 => 1..100u64];
    let magnet = weighted(0.25, Just(()));
    let picker = weighted(0.4, select(vec!["random", "sequential"]));
    let arrive = prop_oneof![
        3 => Just(Arrival::Start),
        1 => (1..800u64).prop_map(Arrival::At),
        1 => (1..1000u64).prop_map(Arrival::Spread),
        1 => (1..200u64).prop_map(Arrival::Poisson),
        1 => (1..300u64).prop_map(Arrival::Decay),
    ];
    let seed_for = weighted(0.3, select(vec![60u64, 5, 0]));
    (
        group(5),
        (magnet, have),
        picker,
        choker(),
        arrive,
        weighted(0.3, churn()),
        seed_for,
    )
        .prop_map(
            |(group, (magnet, have), picker, choker, arrive, churn, seed_for_s)| LeecherDraft {
                group,
                magnet: magnet.is_some(),
                have,
                picker,
                choker,
                arrive,
                churn,
                seed_for_s,
            },
        )
}

fn churn() -> impl Strategy<Value = Churn> {
    (50..2000u64, 0..=100u64, 10..1000u64).prop_map(|(session_s, rejoin, away_s)| Churn {
        session_s,
        rejoin,
        away_s,
    })
}

fn direct() -> impl Strategy<Value = DirectDraft> {
    let have = prop_oneof![3 => Just(0u64), 1 => 1..100u64];
    let switches = (any::<bool>(), weighted(0.3, Just(())));
    let churn = weighted(0.3, churn());
    (group(2), group(3), have, switches, churn).prop_map(
        |(servers, clients, have, (web_seed, liar), churn)| DirectDraft {
            servers,
            clients,
            have,
            web_seed,
            range_errors: liar.is_some(),
            churn,
        },
    )
}

fn attackers() -> impl Strategy<Value = AttackDraft> {
    let kind = prop_oneof![
        Just(AttackKind::FreeRider),
        Just(AttackKind::NeverDeliver),
        (1..=100u64).prop_map(AttackKind::CorruptBlocks),
        Just(AttackKind::MetadataLiar),
    ];
    (group(2), kind).prop_map(|(group, kind)| AttackDraft { group, kind })
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        3 => (0..8u32).prop_map(Target::Leecher),
        1 => Just(Target::HalfOfHonest),
        1 => (0..2u32).prop_map(Target::Seed),
        1 => (0..2u32).prop_map(Target::Server),
    ]
}

fn fault() -> impl Strategy<Value = FaultDraft> {
    // Early ones fall into the first connections.
    let at = prop_oneof![1 => 1..60u64, 4 => 1..1000u64];
    let how = select(vec![Down::Crash, Down::Restart, Down::PowerLoss]);
    let down = (how, target(), weighted(0.8, 0..1500u64))
        .prop_map(|(how, who, down_s)| FaultKindDraft::Down { how, who, down_s });
    let reset =
        (target(), 1..=100u64).prop_map(|(who, share)| FaultKindDraft::Reset { who, share });
    let change = prop_oneof![
        select(vec![100u64, 20, 5, 2000]).prop_map(Change::Rate),
        (1..1000u64).prop_map(Change::Delay),
        (1..=20u64).prop_map(Change::Loss),
    ];
    let link = (target(), change, 1..90u64).prop_map(|(who, change, for_s)| FaultKindDraft::Link {
        who,
        change,
        for_s,
    });
    let sides = prop_oneof![
        (0..3u32).prop_map(Sides::SeedsFromGroup),
        (0..3u32).prop_map(Sides::OneFromGroup),
    ];
    // On both sides of the user timeout.
    let partition = (sides, any::<bool>(), 1..150u64).prop_map(|(sides, one_way, for_s)| {
        FaultKindDraft::Partition {
            sides,
            one_way,
            for_s,
        }
    });
    let peer = || {
        prop_oneof![
            3 => (0..8u32).prop_map(Target::Leecher),
            1 => (0..2u32).prop_map(Target::Seed),
        ]
    };
    let how = prop_oneof![
        Just(DiskDraft::Full),
        Just(DiskDraft::ReadError),
        select(vec![200u64, 20]).prop_map(DiskDraft::Slow),
    ];
    let disk = (how, peer(), 1..90u64).prop_map(|(how, who, for_s)| FaultKindDraft::Disk {
        how,
        who,
        for_s,
    });
    // At most one retry falls into it; the one after that waits for five minutes.
    let modes = vec!["down", "timeout", "garbage", "empty", "dead-peers"];
    let tracker =
        (select(modes), 1..60u64).prop_map(|(mode, for_s)| FaultKindDraft::Tracker { mode, for_s });
    let pause = (peer(), 1..90u64).prop_map(|(who, for_s)| FaultKindDraft::Pause { who, for_s });
    let leave = (peer(), weighted(0.8, 1..1500u64))
        .prop_map(|(who, back_s)| FaultKindDraft::Leave { who, back_s });
    let kind = prop_oneof![
        3 => down, 1 => reset, 1 => link, 2 => partition, 1 => disk, 1 => tracker, 1 => pause, 1 => leave,
    ];
    (at, kind).prop_map(|(at_ms, kind)| FaultDraft { at_ms, kind })
}

/// Some fields away from their defaults.
fn engine() -> impl Strategy<Value = Vec<Setting>> {
    const FIELDS: &[(&str, &[&str])] = &[
        ("partial_first", &["\"always\"", "\"never\""]),
        ("endgame", &["\"off\"", "\"all\""]),
        ("endgame_requesters", &["1", "4"]),
        ("upload_slots", &["8", "2", "1"]),
        ("unchoke_on_interest", &["false"]),
        ("redundant_have", &["true"]),
        ("close_seed_to_seed", &["false"]),
        ("connections_max", &["6", "4", "3", "2"]),
        ("dials_max", &["1"]),
        ("send_buffer", &["\"16 KiB\"", "\"256 KiB\""]),
        ("pipeline_start", &["1", "40"]),
        ("pipeline_cap", &["40"]),
        ("request_queue_max", &["5"]),
        ("choke_hold_min", &["\"0 s\""]),
        ("choke_interval", &["\"2 s\""]),
        ("strikes_max", &["1"]),
        ("snub_after", &["\"5 s\""]),
        ("request_timeout_max", &["\"10 s\""]),
        ("fetch_sync_bytes", &["\"64 KiB\""]),
        ("fetch_unread_max", &["\"32 KiB\""]),
        ("fetch_retries", &["0", "1"]),
        ("pex", &["false"]),
        ("super_seed_pieces", &["1", "5"]),
        ("super_seed_wait", &["\"5 s\""]),
        ("metadata_drafts_max", &["1"]),
        ("metadata_pipeline", &["1"]),
        ("metadata_timeout", &["\"2 s\""]),
        ("web_seed_connections", &["1"]),
        ("download_limit", &["\"100 kB/s\""]),
        ("serve_block_bytes", &["\"16 KiB\""]),
    ];
    let fields: Vec<_> = FIELDS
        .iter()
        .map(|(field, values)| {
            let values: Vec<&str> = values.to_vec();
            weighted(0.12, select(values)).prop_map(move |value| {
                value.map(|value| Setting {
                    field,
                    value: value.to_owned(),
                })
            })
        })
        .collect();
    fields.prop_map(|fields| fields.into_iter().flatten().collect())
}

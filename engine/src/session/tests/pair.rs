//! Several sessions that talk to each other: everybody completes, and the books balance.

use super::swarm::{Link, RATE, Recipe, Trouble, recipe};
use super::*;

use proptest::prelude::*;

use crate::config::{Endgame, PartialFirst};

#[test]
fn a_seed_and_a_leecher_move_the_content_at_the_rate_of_the_uplink() {
    let mut swarm = Recipe {
        leechers: 1,
        ..recipe()
    }
    .swarm();
    swarm.run(secs(60));
    swarm.balance();
    let done = swarm.members[1].completed.expect("complete").as_secs_f64();
    let bound = 2_000_000.0 / RATE as f64;
    assert!(
        done > bound && done < 1.2 * bound,
        "{done} s, bound {bound} s"
    );
    assert_eq!(swarm.members[1].torrent.totals().wasted, 0);
    assert_eq!(swarm.members[0].torrent.totals().sent, 2_000_000);
}

#[test]
fn a_seed_and_three_leechers_share_and_the_books_balance() {
    let mut swarm = recipe().swarm();
    swarm.run(secs(120));
    swarm.balance();
    let sent: Vec<u64> = swarm
        .members
        .iter()
        .map(|m| m.torrent.totals().sent)
        .collect();
    assert!(sent[0] < 5_000_000, "the leechers gave too: {sent:?}");
    let end = swarm.now.after(secs(150));
    while swarm.step(end) {}
    for member in &swarm.members {
        assert_eq!(member.torrent.peers_connected(), 0, "seeds have parted");
    }
}

#[test]
fn the_same_swarm_twice_is_the_same() {
    let run = || {
        let mut swarm = recipe().swarm();
        swarm.run(secs(120));
        let ends: Vec<_> = swarm
            .members
            .iter()
            .map(|m| (m.completed, m.torrent.totals()))
            .collect();
        (swarm.steps, ends)
    };
    assert_eq!(run(), run());
}

#[test]
fn a_leecher_that_dies_does_not_stop_the_others() {
    let mut swarm = recipe().swarm();
    let half = swarm.now.after(secs(5));
    while swarm.step(half) {}
    let gone: Vec<_> = swarm.members[2].links.values().copied().collect();
    for Link { to, conn } in gone {
        swarm.members[to].links.remove(&conn);
        swarm.feed(to, Input::Gone { conn });
    }
    swarm.members[2].links.clear();
    let end = swarm.now.after(secs(120));
    while !(swarm.members[1].torrent.complete() && swarm.members[3].torrent.complete()) {
        assert!(swarm.step(end), "{}", swarm.stalled());
    }
}

fn recipes() -> impl Strategy<Value = Recipe> {
    let sizes = prop_oneof![
        Just((1, 16384)),
        Just((16384 * 5, 16384)),
        Just((65536 * 5, 65536)),
        Just((65536 * 5 + 1, 65536)),
        (1_u64..300_000, 1_u32..5).prop_map(|(total, n)| (total, n * 10_000 + 7)),
        (1_u64..2_000, 1_u32..300).prop_map(|(total, piece)| (total, 100 + piece)),
    ];
    let partial = [
        PartialFirst::Always,
        PartialFirst::UnlessRarer,
        PartialFirst::Never,
    ];
    let endgame = [Endgame::Off, Endgame::Bounded, Endgame::All];
    (
        sizes,
        any::<u64>(),
        prop::sample::select(vec!["rarest-first", "random", "sequential"]),
        prop::sample::select(partial.to_vec()),
        prop::sample::select(endgame.to_vec()),
        1_u8..5,
        modern(),
    )
        .prop_map(
            |(size, seed, picker, partial_first, endgame, leechers, modern)| Recipe {
                total: size.0,
                piece_bytes: size.1,
                seed,
                picker,
                partial_first,
                endgame,
                leechers,
                ..modern
            },
        )
}

/// Who speaks what, under which limits, and what goes wrong.
fn modern() -> impl Strategy<Value = Recipe> {
    let limit = || prop_oneof![3 => Just(0), 1 => 50_000_u64..400_000];
    let trouble = prop::sample::select(vec![
        Trouble::Nothing,
        Trouble::ChangesItsMind,
        Trouble::SeedLosesPiece,
        Trouble::DiskFails,
    ]);
    let speaks = || prop_oneof![Just(0xff), any::<u8>()];
    let flags = (any::<bool>(), 0_u32..4);
    (speaks(), speaks(), limit(), limit(), flags, trouble).prop_map(
        |(fast, extended, upload_limit, download_limit, (padded, allowed_fast), trouble)| Recipe {
            fast,
            extended,
            upload_limit,
            download_limit,
            padded,
            allowed_fast,
            trouble,
            ..recipe()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 120,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn whatever_the_sizes_and_strategies_everybody_completes(recipe in recipes()) {
        let mut swarm = recipe.swarm();
        swarm.run_through(recipe.trouble, secs(120));
        if recipe.trouble == Trouble::Nothing && !recipe.padded {
            swarm.balance();
        }
        swarm.conserved();
        prop_assert!(swarm.steps < 20_000, "{} steps", swarm.steps);
    }
}

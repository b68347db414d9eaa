//! What the session makes of what strategies may do: decline, weigh, give credit, have more slots.

use super::*;
use crate::choker::{
    Between, BlockTitForTat, ChokeDecision, ChokeRound, Choker, Terms, UnchokeAll, Verdict,
};
use crate::config::RateLimit;
use crate::picker::{PickView, PiecePicker, Window};

/// Starts nothing for so many times, then the first candidate.
struct Hesitant(u32);

impl PiecePicker for Hesitant {
    fn name(&self) -> &'static str {
        "hesitant"
    }

    fn pick(
        &mut self,
        _: &PickView<'_>,
        candidates: &[PieceIndex],
        _: &mut ChaCha8Rng,
    ) -> Option<PieceIndex> {
        let declines = self.0 > 0;
        self.0 = self.0.saturating_sub(1);
        candidates.first().copied().filter(|_| !declines)
    }
}

#[test]
fn who_declines_is_asked_again_a_second_later() {
    let plan = Plan::new(4, 2);
    let mut setup = plan.setup();
    setup.picker = Box::new(Hesitant(3));
    let mut rig = plan.start_with(setup);
    let source = rig.source(1);
    assert_eq!(rig.asked(source), [], "the first time");
    rig.wait(ms(1900));
    assert_eq!(rig.asked(source), [], "the second time");
    rig.wait(ms(1200));
    assert!(!rig.asked(source).is_empty());
    rig.serve_all(source);
}

#[test]
fn who_declines_for_ever_asks_for_nothing_and_loses_nothing() {
    let plan = Plan::new(4, 2);
    let mut setup = plan.setup();
    setup.picker = Box::new(Hesitant(u32::MAX));
    let mut rig = plan.start_with(setup);
    let source = rig.source(1);
    rig.wait(secs(100));
    assert_eq!(rig.asked(source), []);
    assert_eq!(rig.torrent.totals().gained, 0);
}

/// Everybody who wants something, by these weights in order.
struct Weighing(Vec<u32>);

impl Choker for Weighing {
    fn name(&self) -> &'static str {
        "weighing"
    }

    fn decide(&mut self, round: &ChokeRound<'_>, _: &mut ChaCha8Rng) -> ChokeDecision {
        let weights = self.0.iter().map(|weight| Verdict {
            unchoke: true,
            optimistic: false,
            terms: Terms {
                weight: *weight,
                credit: None,
            },
        });
        weights.take(round.peers.len()).collect()
    }
}

/// Blocks sent to each of three takers by weight, in so many turns of a network that takes one block at a time from
/// each in turn, as an uplink shared by connections does; `stuck` ones never read.
fn shares(weights: &[u32], limit: u64, stuck: Option<usize>) -> Vec<usize> {
    let plan = Plan::new(8, 16)
        .seed()
        .config(|c| (c.upload_limit, c.choke_interval) = (RateLimit(limit), secs(1)));
    let mut setup = plan.setup();
    setup.choker = Box::new(Weighing(weights.to_vec()));
    let mut rig = plan.start_with(setup);
    let takers: Vec<_> = (1..=3).map(|n| rig.taker(n)).collect();
    rig.wait(secs(2));
    for conn in &takers {
        for block in 0..1200 {
            rig.say(*conn, Message::Request(at(block % 8, block / 8 % 16)));
        }
    }
    let mut counts = vec![0; 3];
    let mut queued = [0; 3];
    for turn in 0..900 {
        rig.wait(ms(100));
        for (i, conn) in takers.iter().enumerate() {
            let heard = rig.heard(*conn);
            let blocks = heard.iter().filter(|m| matches!(m, Message::Piece { .. }));
            let blocks = blocks.count();
            counts[i] += blocks;
            queued[i] += blocks as u64 * 16_397;
        }
        let mut next = (0..3).map(|step| (turn + step) % 3);
        let next = next.find(|i| queued[*i] > 0 && stuck != Some(*i));
        if let Some(i) = next {
            queued[i] -= 16_397;
            let (conn, queued) = (takers[i], queued[i]);
            rig.feed(Input::SendRoom { conn, queued });
        }
    }
    counts
}

#[test]
fn bandwidth_goes_by_weight_without_a_limit_and_with_one() {
    for limit in [0, 120_000] {
        let counts = shares(&[1500, 1000, 500], limit, None);
        let sum: usize = counts.iter().sum();
        assert!(sum > 500, "{counts:?}");
        for (count, share) in counts.iter().zip([0.5, 1.0 / 3.0, 1.0 / 6.0]) {
            let got = *count as f64 / sum as f64;
            assert!((got - share).abs() < 0.03, "{counts:?} at {limit}");
        }
    }
}

#[test]
fn one_that_does_not_read_holds_nobody_else_up() {
    let counts = shares(&[1500, 1000, 500], 0, Some(0));
    assert!(counts[0] < 10, "{counts:?}");
    let ratio = counts[1] as f64 / counts[2] as f64;
    assert!((1.8..2.2).contains(&ratio), "{counts:?}");
    assert!(counts[1] + counts[2] > 500, "{counts:?}");
}

#[test]
fn a_block_goes_out_only_while_there_is_credit() {
    let block = u64::from(BLOCK_BYTES);
    let plan = Plan::new(8, 2).having(&[0, 1, 2, 3]);
    let mut setup = plan.setup();
    setup.choker = Box::new(BlockTitForTat { delta: 2 * block });
    let mut rig = plan.start_with(setup);
    let peer = rig.holder(1, &[4, 5]);
    rig.say(peer, Message::Unchoke);
    rig.say(peer, Message::Interested);
    let sent = |rig: &Rig| rig.torrent.totals().sent / block;
    for piece in 0..4 {
        rig.say(peer, Message::Request(at(piece, 0)));
        rig.say(peer, Message::Request(at(piece, 1)));
        rig.feed(Input::SendRoom {
            conn: peer,
            queued: 0,
        });
    }
    assert_eq!(sent(&rig), 3, "the last one while it owed two");
    let asked = rig.asked(peer);
    rig.give(peer, asked[0]);
    assert_eq!(sent(&rig), 4, "one for one");
    // Whoever spent its credit is choked by the next round, and keeps it on another connection.
    rig.wait(secs(11));
    assert!(!rig.unchoked(peer));
}

#[test]
fn everybody_may_be_unchoked_at_once() {
    let plan = Plan::new(8, 2).having(&[0]);
    let mut setup = plan.setup();
    setup.choker = Box::new(UnchokeAll);
    let mut rig = plan.start_with(setup);
    let takers: Vec<_> = (1..=9).map(|n| rig.taker(n)).collect();
    assert!(takers.iter().all(|conn| rig.unchoked(*conn)), "at once");
    rig.wait(secs(25));
    assert!(
        takers.iter().all(|conn| rig.unchoked(*conn)),
        "and for long"
    );
    let between = Between {
        slots: u32::MAX,
        terms: Terms::default(),
    };
    assert_eq!(rig.torrent.between(), between);
}

#[test]
fn the_player_sets_the_window() {
    let plan = Plan::new(20, 1).config(|c| {
        // A piece a second.
        (c.play_rate, c.play_buffer) = (RateLimit(u64::from(BLOCK_BYTES)), secs(2));
        c.pipeline_start = 1;
    });
    let mut setup = plan.setup();
    setup.picker = Box::new(Window { w: 2 });
    let mut rig = plan.start_with(setup);
    let source = rig.source(1);
    let first = rig.asked(source);
    assert!(first.iter().all(|range| range.piece.0 < 2), "{first:?}");
    for range in first {
        rig.give(source, range);
    }
    rig.serve_all(source);
    assert!(rig.torrent.finished());
    rig.wait(secs(60));
    assert_eq!(rig.torrent.player.stalls(), 0);
}

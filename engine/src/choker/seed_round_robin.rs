//! Owns the strategy `seed-round-robin` (libtorrent): everybody gets a turn, longest-unserved first.
//!
//! Invariant: a peer whose turn is not over keeps its slot while it is interested; nobody waits
//! while a slot is free.

use rand_chacha::ChaCha8Rng;

use super::{ChokeDecision, ChokePeer, ChokeRound, Choker, Verdict, ranked};

/// Turns by quota. A turn is over when the quota was given *and* its time has passed, or, for a
/// peer too slow to take its quota, when three times that time has passed: slow peers must not
/// hold the slots. Who hardly asks for anything has had its turn at once.
#[derive(Clone, Copy, Debug)]
pub struct SeedRoundRobin;

/// Turns' worth of time after which a slow peer's turn ends anyway.
const SLOW_TURNS: u32 = 3;

impl Choker for SeedRoundRobin {
    fn name(&self) -> &'static str {
        "seed-round-robin"
    }

    fn decide(&mut self, round: &ChokeRound<'_>, rng: &mut ChaCha8Rng) -> ChokeDecision {
        let turn_over = |peer: &ChokePeer| {
            let held = round.now.since(peer.since);
            (peer.given >= round.quota && held >= round.quota_time)
                || held >= round.quota_time * SLOW_TURNS
                || peer.idle
        };
        // First those whose turn goes on, then who waits longest, then those whose turn is over.
        let order = ranked(
            round.peers,
            rng,
            |peer| peer.interested && (peer.unchoked || peer.changeable),
            |peer| match (peer.unchoked, turn_over(peer)) {
                (true, false) => (0, peer.since.0),
                (false, _) => (1, peer.waiting_since.0),
                (true, true) => (2, peer.since.0),
            },
        );
        let mut verdicts = vec![Verdict::default(); round.peers.len()];
        for i in order.into_iter().take(round.slots as usize) {
            verdicts[i].unchoke = true;
        }
        verdicts
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests;
    use super::*;
    use crate::time::Now;
    use rand_chacha::rand_core::SeedableRng;
    use std::time::Duration;

    fn at(secs: u64) -> Now {
        Now::START.after(Duration::from_secs(secs))
    }

    fn peer(unchoked: bool, since: u64, given: u64) -> ChokePeer {
        ChokePeer {
            unchoked,
            given,
            since: at(since),
            waiting_since: at(since),
            ..tests::peer()
        }
    }

    fn unchoked(now: u64, slots: u32, peers: &[ChokePeer]) -> Vec<bool> {
        let round = ChokeRound {
            now: at(now),
            seeding: true,
            slots,
            ..tests::round(peers)
        };
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        SeedRoundRobin
            .decide(&round, &mut rng)
            .iter()
            .map(|v| v.unchoke)
            .collect()
    }

    #[test]
    fn a_turn_lasts_until_quota_and_time_are_both_over() {
        let waiting = peer(false, 0, 0);
        assert_eq!(
            unchoked(50, 1, &[peer(true, 0, 5000), waiting]),
            [true, false]
        );
        assert_eq!(
            unchoked(70, 1, &[peer(true, 0, 500), waiting]),
            [true, false]
        );
        assert_eq!(
            unchoked(70, 1, &[peer(true, 0, 5000), waiting]),
            [false, true]
        );
    }

    #[test]
    fn a_slow_peer_gives_its_slot_up_after_three_turns() {
        assert_eq!(
            unchoked(181, 1, &[peer(true, 0, 5), peer(false, 100, 0)]),
            [false, true]
        );
    }

    #[test]
    fn a_slot_is_not_left_free_and_the_longest_waiting_goes_first() {
        assert_eq!(unchoked(200, 2, &[peer(true, 0, 9000)]), [true]);
        let three = [peer(false, 30, 0), peer(false, 10, 0), peer(false, 20, 0)];
        assert_eq!(unchoked(200, 2, &three), [false, true, true]);
    }

    #[test]
    fn the_uninterested_get_no_slot() {
        let mut idle = peer(false, 0, 0);
        idle.interested = false;
        assert_eq!(unchoked(200, 2, &[idle, peer(false, 50, 0)]), [false, true]);
    }
}

//! Owns the strategy `tit-for-tat` (BEP 3): slots for those who give, one for a stranger.
//!
//! Invariants: never more interested peers unchoked than slots; the optimistic slot moves only when
//! its interval is over, its holder left or lost interest, or earned a regular slot.

use std::cmp::Reverse;

use rand_chacha::ChaCha8Rng;

use super::{ChokeDecision, ChokePeer, ChokeRound, Choker, SeedRoundRobin, Verdict, ranked};

/// Reciprocation while leeching, turns while seeding.
#[derive(Clone, Copy, Debug)]
pub struct TitForTat {
    seeding: SeedRoundRobin,
}

impl Default for TitForTat {
    fn default() -> Self {
        TitForTat {
            seeding: SeedRoundRobin,
        }
    }
}

impl Choker for TitForTat {
    fn name(&self) -> &'static str {
        "tit-for-tat"
    }

    fn decide(&mut self, round: &ChokeRound<'_>, rng: &mut ChaCha8Rng) -> ChokeDecision {
        if round.seeding {
            return self.seeding.decide(round, rng);
        }
        let mut verdicts = vec![Verdict::default(); round.peers.len()];
        let regular = round.slots.saturating_sub(round.optimistic_slots);
        reciprocate(round, regular, &mut verdicts, rng);
        optimistic(round, &mut verdicts, rng);
        verdicts
    }
}

/// Regular slots: who gave most. On ties who is unchoked stays (against fibrillation). A peer that
/// ranks high but wants nothing is unchoked too and costs no slot until it wants something.
fn reciprocate(round: &ChokeRound<'_>, slots: u32, verdicts: &mut [Verdict], rng: &mut ChaCha8Rng) {
    let order = ranked(
        round.peers,
        rng,
        |peer| {
            let worthy = !peer.snubbed && (peer.interested || peer.received > 0);
            worthy && (peer.unchoked || peer.changeable)
        },
        |peer| {
            let sits = peer.unchoked && !peer.optimistic;
            (Reverse(peer.received), !sits)
        },
    );
    let mut left = slots;
    for i in order {
        if left == 0 {
            break;
        }
        verdicts[i].unchoke = true;
        left -= u32::from(round.peers[i].interested);
    }
}

const OPTIMISTIC: Verdict = Verdict {
    optimistic: true,
    ..Verdict::UNCHOKED
};

/// Optimistic slots, of the round's slots: longest-waiting first.
pub(super) fn optimistic(round: &ChokeRound<'_>, verdicts: &mut [Verdict], rng: &mut ChaCha8Rng) {
    let free =
        |verdicts: &[Verdict], i: usize, peer: &ChokePeer| peer.interested && !verdicts[i].unchoke;
    let mut left = round.optimistic_slots.min(round.slots);
    if !round.rotate {
        for (i, peer) in round.peers.iter().enumerate() {
            if left > 0 && peer.optimistic && free(verdicts, i, peer) {
                verdicts[i] = OPTIMISTIC;
                left -= 1;
            }
        }
    }
    // Who holds the slot now comes last: it keeps it only when nobody else waits.
    let order = ranked(
        round.peers,
        rng,
        |peer| peer.interested && (peer.unchoked || peer.changeable),
        |peer| (peer.optimistic, peer.waiting_since),
    );
    for i in order {
        if left > 0 && free(verdicts, i, &round.peers[i]) {
            verdicts[i] = OPTIMISTIC;
            left -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests;
    use super::*;
    use crate::time::Now;
    use rand_chacha::rand_core::SeedableRng;

    fn peer(received: u64) -> ChokePeer {
        ChokePeer {
            received,
            ..tests::peer()
        }
    }

    fn decide(peers: &[ChokePeer], rotate: bool) -> (Vec<usize>, Vec<usize>) {
        decide_with(peers, rotate, 3)
    }

    /// Who gets a regular slot, and who an optimistic one.
    fn decide_with(peers: &[ChokePeer], rotate: bool, seed: u64) -> (Vec<usize>, Vec<usize>) {
        let round = ChokeRound {
            rotate,
            ..tests::round(peers)
        };
        let verdicts = TitForTat::default().decide(&round, &mut ChaCha8Rng::seed_from_u64(seed));
        let which = |f: fn(&Verdict) -> bool| {
            (0..peers.len())
                .filter(|&i| f(&verdicts[i]))
                .collect::<Vec<_>>()
        };
        (
            which(|v| v.unchoke && !v.optimistic),
            which(|v| v.optimistic),
        )
    }

    #[test]
    fn the_three_best_givers_and_one_stranger() {
        let peers = [peer(10), peer(50), peer(40), peer(5), peer(30), peer(0)];
        let (regular, optimistic) = decide(&peers, true);
        assert_eq!(regular, [1, 2, 4]);
        assert_eq!(optimistic.len(), 1);
    }

    #[test]
    fn a_better_giver_that_wants_nothing_costs_no_slot() {
        let mut rich = peer(90);
        rich.interested = false;
        let (regular, _) = decide(&[rich, peer(50), peer(40), peer(30), peer(0)], true);
        assert_eq!(regular, [0, 1, 2, 3]);
    }

    #[test]
    fn a_snubbing_peer_gets_no_regular_slot() {
        let mut snub = peer(90);
        snub.snubbed = true;
        let (regular, optimistic) = decide(&[snub, peer(50), peer(40), peer(30)], true);
        assert_eq!(regular, [1, 2, 3]);
        assert_eq!(optimistic, [0]);
    }

    #[test]
    fn the_optimistic_slot_stays_until_its_time_is_over_and_then_moves_to_the_longest_waiting() {
        let mut holder = peer(0);
        holder.unchoked = true;
        holder.optimistic = true;
        let mut late = peer(0);
        late.waiting_since = Now(9);
        let mut early = peer(0);
        early.waiting_since = Now(5);
        let peers = [peer(50), peer(40), peer(30), holder, late, early];
        assert_eq!(decide(&peers, false).1, [3]);
        assert_eq!(decide(&peers, true).1, [5]);
    }

    #[test]
    fn of_equals_who_is_unchoked_stays_and_who_was_choked_just_now_waits() {
        let mut sits = peer(30);
        sits.unchoked = true;
        sits.waiting_since = Now(9);
        for seed in 0..20 {
            let peers = [peer(30), peer(30), peer(50), sits, peer(30)];
            assert!(decide_with(&peers, true, seed).0.contains(&3), "{seed}");
        }
        let mut fresh = peer(90);
        fresh.changeable = false;
        let (regular, optimistic) = decide(&[fresh, peer(50), peer(40), peer(30)], true);
        assert_eq!((regular, optimistic), (vec![1, 2, 3], vec![]));
    }

    #[test]
    fn equals_are_told_apart_by_the_seeded_generator() {
        let peers = [peer(0); 12];
        let chosen: std::collections::BTreeSet<_> = (0..60)
            .flat_map(|seed| decide_with(&peers, true, seed).1)
            .collect();
        assert_eq!(chosen.len(), 12, "everybody's turn comes");
        assert_eq!(decide_with(&peers, true, 7), decide_with(&peers, true, 7));
    }

    #[test]
    fn a_holder_that_earns_a_regular_slot_frees_the_optimistic_one_at_once() {
        let mut holder = peer(99);
        holder.unchoked = true;
        holder.optimistic = true;
        let (regular, optimistic) = decide(&[peer(50), peer(40), peer(30), holder], false);
        assert_eq!(regular, [0, 1, 3]);
        assert_eq!(optimistic, [2]);
    }
}

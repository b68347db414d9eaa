//! Owns the strategy `seed-fastest` (the original seed of BitTorrent: Cohen 2003; libtorrent's `fastest_upload`): slots for
//! those who take fastest, and the optimistic slots to find faster ones.
//!
//! It empties a seed fastest and leaves who is slow to the others; `seed-round-robin` is what came after it.

use std::cmp::Reverse;

use rand_chacha::ChaCha8Rng;

use super::tit_for_tat::optimistic;
use super::{ChokeDecision, ChokeRound, Choker, Verdict, ranked};

/// Who takes fastest, leecher or seed.
#[derive(Clone, Copy, Debug)]
pub struct SeedFastest;

impl Choker for SeedFastest {
    fn name(&self) -> &'static str {
        "seed-fastest"
    }

    fn decide(&mut self, round: &ChokeRound<'_>, rng: &mut ChaCha8Rng) -> ChokeDecision {
        let mut verdicts = vec![Verdict::default(); round.peers.len()];
        let regular = round.slots.saturating_sub(round.optimistic_slots);
        // Of those who take nothing the longest waiting: at first there is nobody else.
        let order = ranked(
            round.peers,
            rng,
            |peer| peer.interested && (peer.unchoked || peer.changeable),
            |peer| (Reverse(peer.sent_last), !peer.unchoked, peer.waiting_since),
        );
        for i in order.into_iter().take(regular as usize) {
            verdicts[i] = Verdict::UNCHOKED;
        }
        optimistic(round, &mut verdicts, rng);
        verdicts
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{peer, round, unchoked};
    use super::super::{ChokePeer, ChokeRound};
    use super::*;

    fn takes(sent_last: u64) -> ChokePeer {
        ChokePeer {
            unchoked: sent_last > 0,
            sent_last,
            ..peer()
        }
    }

    #[test]
    fn the_three_fastest_takers_and_one_stranger() {
        let peers = [takes(5), takes(90), takes(40), takes(70), takes(0)];
        let round = ChokeRound {
            rotate: true,
            seeding: true,
            ..round(&peers)
        };
        let chosen = unchoked(&mut SeedFastest, &round);
        assert_eq!(chosen.len(), 4);
        assert!(
            [1, 2, 3].iter().all(|fast| chosen.contains(fast)),
            "{chosen:?}"
        );
    }

    #[test]
    fn while_nobody_takes_anything_all_slots_are_given() {
        let peers = [peer(); 6];
        assert_eq!(unchoked(&mut SeedFastest, &round(&peers)).len(), 4);
    }
}

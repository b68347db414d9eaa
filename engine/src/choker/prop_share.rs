//! Owns the strategy `prop-share` (Levin, LaCurts, Spring and Bhattacharjee 2008, "BitTorrent is an auction"): bandwidth in
//! proportion to what each gave in the last round.
//!
//! A part of it is for newcomers, who have given nothing: the round's optimistic slots, or all slots while nobody gives.
//! So giving more always gets more, where in an auction for equal slots the last byte above the others is what counts.

use rand_chacha::ChaCha8Rng;

use super::tit_for_tat::optimistic;
use super::{Between, ChokeDecision, ChokeRound, Choker, SeedRoundRobin, Verdict, weights};

/// Weighted reciprocation while leeching, turns while seeding.
#[derive(Clone, Copy, Debug)]
pub struct PropShare {
    /// The newcomers' part of the bandwidth, parts per million (the paper: 200,000).
    newcomers: u32,
    /// Slots in use after the last round.
    used: u32,
    seeding: SeedRoundRobin,
}

const MILLION: u64 = 1_000_000;

impl PropShare {
    /// With the newcomers' part of the bandwidth, parts per million.
    #[must_use]
    pub fn new(newcomers: u32) -> PropShare {
        PropShare {
            newcomers: newcomers.min(1_000_000),
            used: 0,
            seeding: SeedRoundRobin,
        }
    }
}

impl Choker for PropShare {
    fn name(&self) -> &'static str {
        "prop-share"
    }

    fn decide(&mut self, round: &ChokeRound<'_>, rng: &mut ChaCha8Rng) -> ChokeDecision {
        if round.seeding {
            return self.seeding.decide(round, rng);
        }
        let mut verdicts = vec![Verdict::default(); round.peers.len()];
        let mut given = 0;
        let mut givers = 0;
        for (verdict, peer) in verdicts.iter_mut().zip(round.peers) {
            let may = peer.interested && (peer.unchoked || peer.changeable);
            if may && peer.received_last > 0 {
                *verdict = Verdict::UNCHOKED;
                given += peer.received_last;
                givers += 1;
            }
        }
        let strangers = round.slots.saturating_sub(givers);
        let optimistic_slots = strangers.max(round.optimistic_slots);
        let slots = optimistic_slots;
        optimistic(
            &ChokeRound {
                slots,
                optimistic_slots,
                ..*round
            },
            &mut verdicts,
            rng,
        );
        let chosen: Vec<usize> = (0..verdicts.len())
            .filter(|&i| verdicts[i].unchoke)
            .collect();
        self.used = u32::try_from(chosen.len()).unwrap_or(u32::MAX);
        let strangers = chosen.iter().filter(|&&i| verdicts[i].optimistic).count() as u64;
        // In bytes, as if the newcomers had given their part.
        let rest = MILLION - u64::from(self.newcomers);
        let part = match rest {
            0 => u64::MAX / 2,
            rest => (u128::from(given) * u128::from(self.newcomers) / u128::from(rest))
                .min(u128::from(u64::MAX / 2)) as u64,
        };
        let bids = chosen.iter().map(|&i| match verdicts[i].optimistic {
            true if givers == 0 => 1,
            true => part / strangers,
            false => round.peers[i].received_last,
        });
        let bids: Vec<u64> = bids.collect();
        for (i, weight) in chosen.into_iter().zip(weights(&bids)) {
            verdicts[i].terms.weight = weight;
        }
        verdicts
    }

    fn between(&self, seeding: bool, slots: u32) -> Between {
        Between::equal(match seeding {
            true => slots,
            false => slots.max(self.used),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{peer, round};
    use super::super::{ChokePeer, Terms};
    use super::*;
    use rand_chacha::rand_core::SeedableRng;

    fn gave(received_last: u64) -> ChokePeer {
        ChokePeer {
            received_last,
            ..peer()
        }
    }

    /// Weights of the unchoked, 0 for who is choked.
    fn decide(choker: &mut PropShare, peers: &[ChokePeer]) -> Vec<u32> {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let verdicts = choker.decide(&round(peers), &mut rng);
        let weight = |v: &Verdict| v.terms.weight * u32::from(v.unchoke);
        verdicts.iter().map(weight).collect()
    }

    #[test]
    fn bandwidth_is_in_proportion_to_what_each_gave() {
        let mut choker = PropShare::new(200_000);
        let gives = [400, 200, 100, 100].map(gave);
        let mut peers = gives.to_vec();
        peers.extend([peer(); 3]);
        let weights = decide(&mut choker, &peers);
        // Of 5,000 for five, one fifth for the stranger.
        assert_eq!(weights[..4], [2000, 1000, 500, 500]);
        let strangers: Vec<_> = weights[4..].iter().filter(|w| **w > 0).collect();
        assert_eq!(strangers, [&1000]);
        assert_eq!(choker.between(false, 4).slots, 5);
    }

    #[test]
    fn while_nobody_gives_all_slots_are_for_newcomers_with_equal_parts() {
        let weights = decide(&mut PropShare::new(200_000), &[peer(); 6]);
        let chosen: Vec<_> = weights.into_iter().filter(|w| *w > 0).collect();
        assert_eq!(chosen, [Terms::EQUAL; 4]);
    }

    #[test]
    fn everybody_who_gives_has_a_slot_however_many_they_are() {
        let peers = [gave(10); 12];
        let weights = decide(&mut PropShare::new(0), &peers);
        assert_eq!(weights, [Terms::EQUAL; 12]);
    }
}

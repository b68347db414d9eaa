//! Owns the strategy `rate-based` (libtorrent's `rate_based_choker`): tit for tat with as many slots as pay.
//!
//! Of those who hold a slot, fastest first, each has to take more per second than the one before had to: `rate` and then
//! `step` more each time. Slots are those that do, and one more.

use rand_chacha::ChaCha8Rng;

use super::{Between, ChokeDecision, ChokeRound, Choker, TitForTat};

/// The least slots: one for merit, one for a stranger.
const SLOTS_MIN: u32 = 2;

/// The number of slots follows the rates.
#[derive(Clone, Copy, Debug)]
pub struct RateBased {
    rate: u64,
    step: u64,
    /// As of the last round.
    slots: Option<u32>,
    within: TitForTat,
}

impl RateBased {
    /// What the fastest has to take for a second slot, bytes per second, and how much more for each further one.
    #[must_use]
    pub fn new(rate: u64, step: u64) -> RateBased {
        RateBased {
            rate,
            step,
            slots: None,
            within: TitForTat::default(),
        }
    }

    fn count(&self, round: &ChokeRound<'_>) -> u32 {
        let holders = round.peers.iter().filter(|p| p.unchoked && p.interested);
        let mut sent: Vec<u64> = holders.map(|peer| peer.sent_last).collect();
        sent.sort_unstable_by(|a, b| b.cmp(a));
        let mut threshold = self.rate;
        let mut slots = 1;
        for sent in sent {
            let rate = u128::from(sent) * 1000 / round.interval.as_millis().max(1);
            if rate < u128::from(threshold) {
                break;
            }
            threshold = threshold.saturating_add(self.step);
            slots += 1;
        }
        slots.max(SLOTS_MIN)
    }
}

impl Choker for RateBased {
    fn name(&self) -> &'static str {
        "rate-based"
    }

    fn decide(&mut self, round: &ChokeRound<'_>, rng: &mut ChaCha8Rng) -> ChokeDecision {
        let slots = self.count(round);
        self.slots = Some(slots);
        let round = ChokeRound { slots, ..*round };
        self.within.decide(&round, rng)
    }

    fn between(&self, _seeding: bool, slots: u32) -> Between {
        Between::equal(self.slots.unwrap_or(slots))
    }
}

#[cfg(test)]
mod tests {
    use super::super::ChokePeer;
    use super::super::tests::{peer, round, unchoked};
    use super::*;

    /// Slots after a round in which holders took so many KiB per second each.
    fn slots(takes: &[u64]) -> u32 {
        let holder = |kib: &u64| ChokePeer {
            unchoked: true,
            sent_last: kib * 10 * 1024,
            received: 1,
            ..peer()
        };
        let mut peers: Vec<_> = takes.iter().map(holder).collect();
        peers.extend([peer(); 20]);
        let mut choker = RateBased::new(1024, 2048);
        let chosen = unchoked(&mut choker, &round(&peers));
        let slots = choker.between(false, 4).slots;
        assert_eq!(chosen.len(), slots as usize, "all of them are given");
        slots
    }

    #[test]
    fn one_more_than_those_that_take_more_and_more() {
        // Thresholds 1, 3, 5, 7 KiB/s.
        assert_eq!(slots(&[100, 100, 100]), 4);
        assert_eq!(slots(&[6, 6, 6, 6]), 4, "the fourth would need 7");
        assert_eq!(slots(&[100, 2]), 2);
    }

    #[test]
    fn nobody_takes_much_and_two_slots_stay() {
        assert_eq!(slots(&[0, 0, 0]), 2);
        assert_eq!(
            RateBased::new(1, 1).between(false, 4).slots,
            4,
            "before the first round"
        );
    }
}

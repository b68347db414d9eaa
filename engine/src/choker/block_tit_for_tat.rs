//! Owns the strategy `block-tit-for-tat` (Bharambe, Herley and Padmanabhan 2006, "Analyzing and improving a BitTorrent
//! network's performance mechanisms"): the next block only while given - received <= delta.
//!
//! What was given and received is counted over all time and all connections of a peer. Whoever has credit left may have a
//! slot, who is least in debt first; whose credit is spent waits until it gives. A seed asks nothing back.

use rand_chacha::ChaCha8Rng;

use super::{
    Between, ChokeDecision, ChokePeer, ChokeRound, Choker, SeedRoundRobin, Terms, Verdict, ranked,
};

/// Blocks for blocks while leeching, turns while seeding.
#[derive(Clone, Copy, Debug)]
pub struct BlockTitForTat {
    /// Bytes that a peer may be in debt when its next block goes out (the paper: two blocks of 256 KiB).
    pub delta: u64,
}

impl BlockTitForTat {
    fn terms(&self) -> Terms {
        Terms {
            credit: Some(self.delta),
            ..Terms::default()
        }
    }
}

/// What a peer got and did not give, less what it gave and did not get.
fn debt(peer: &ChokePeer) -> i128 {
    i128::from(peer.sent_ever) - i128::from(peer.received_ever)
}

impl Choker for BlockTitForTat {
    fn name(&self) -> &'static str {
        "block-tit-for-tat"
    }

    fn decide(&mut self, round: &ChokeRound<'_>, rng: &mut ChaCha8Rng) -> ChokeDecision {
        if round.seeding {
            return SeedRoundRobin.decide(round, rng);
        }
        let order = ranked(
            round.peers,
            rng,
            |peer| {
                let credit = debt(peer) <= i128::from(self.delta);
                peer.interested && credit && (peer.unchoked || peer.changeable)
            },
            |peer| (debt(peer), peer.waiting_since),
        );
        let mut verdicts = vec![Verdict::default(); round.peers.len()];
        for i in order.into_iter().take(round.slots as usize) {
            verdicts[i] = Verdict {
                terms: self.terms(),
                ..Verdict::UNCHOKED
            };
        }
        verdicts
    }

    fn between(&self, seeding: bool, slots: u32) -> Between {
        Between {
            slots,
            terms: match seeding {
                true => Terms::default(),
                false => self.terms(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{peer, round, unchoked};
    use super::*;

    fn trader(sent_ever: u64, received_ever: u64) -> ChokePeer {
        ChokePeer {
            sent_ever,
            received_ever,
            ..peer()
        }
    }

    #[test]
    fn who_is_least_in_debt_comes_first_and_whose_credit_is_spent_waits() {
        let mut choker = BlockTitForTat { delta: 100 };
        let peers = [
            trader(500, 399),
            trader(500, 450),
            trader(0, 0),
            trader(10, 90),
        ];
        assert_eq!(unchoked(&mut choker, &round(&peers)), [1, 2, 3]);
        let many: Vec<_> = (0..6).map(|sent| trader(10 * sent, 0)).collect();
        assert_eq!(unchoked(&mut choker, &round(&many)), [0, 1, 2, 3]);
    }

    #[test]
    fn credit_holds_between_rounds_too_and_a_seed_asks_nothing_back() {
        let choker = BlockTitForTat { delta: 7 };
        assert_eq!(choker.between(false, 4).terms.credit, Some(7));
        assert_eq!(choker.between(true, 4).terms.credit, None);
        let peers = [trader(500, 0)];
        let seeding = ChokeRound {
            seeding: true,
            ..round(&peers)
        };
        assert_eq!(unchoked(&mut { choker }, &seeding), [0]);
    }
}

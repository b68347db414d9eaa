//! Owns the strategy `bittyrant` (Piatek, Isdal, Anderson, Krishnamurthy and Venkataramani 2007, "Do incentives build
//! robustness in BitTorrent?"): slots by return on upload.
//!
//! Of each peer it estimates what it gives per round once it reciprocates, and what has to be uploaded to it for that. Who
//! gives most for what it costs comes first, until the uplink is spent; each gets bandwidth as its cost. An estimate of a cost
//! falls by a tenth when the peer has reciprocated for three rounds, and rises by a fifth when it does not (the paper's
//! gamma, delta and r). There are no optimistic slots: who is not known is worth as much as it costs.
//!
//! Invariant: estimates are kept for the peers of the last round alone.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;

use super::{
    Between, ChokeDecision, ChokePeer, ChokeRound, Choker, SeedRoundRobin, Verdict, ranked, weights,
};
use crate::ids::{BLOCK_BYTES, ConnId};

/// Rounds of reciprocation after which a peer is asked to do it for less.
const LOYAL_ROUNDS: u32 = 3;

/// What is known of one peer, bytes per round.
#[derive(Clone, Copy, Debug)]
struct Estimate {
    gives: u64,
    costs: u64,
    /// Rounds in a row in which it reciprocated.
    loyal: u32,
}

/// The best return on upload while leeching, turns while seeding.
#[derive(Clone, Debug)]
pub struct BitTyrant {
    /// The uplink, bytes per second; 0: the limit on uploads, or the most that was sent in a round so far.
    capacity: u64,
    known: BTreeMap<ConnId, Estimate>,
    /// The most that was sent in a round.
    most: u64,
    /// Slots in use after the last round.
    used: u32,
    seeding: SeedRoundRobin,
}

impl BitTyrant {
    /// With this uplink, bytes per second; 0: it is estimated.
    #[must_use]
    pub fn new(capacity: u64) -> BitTyrant {
        BitTyrant {
            capacity,
            known: BTreeMap::new(),
            most: 0,
            used: 0,
            seeding: SeedRoundRobin,
        }
    }

    /// What may be uploaded in a round.
    fn budget(&mut self, round: &ChokeRound<'_>) -> u64 {
        let sent = round.peers.iter().map(|peer| peer.sent_last).sum();
        self.most = self.most.max(sent);
        let per_second = match self.capacity {
            0 => round.upload_limit,
            capacity => capacity,
        };
        match u64::try_from(u128::from(per_second) * round.interval.as_millis() / 1000) {
            Ok(0) => self.most,
            Ok(budget) => budget,
            Err(_) => u64::MAX,
        }
    }

    /// What the last round says of a peer.
    fn learn(&mut self, peer: &ChokePeer, fair: u64) -> Estimate {
        let new = Estimate {
            gives: fair,
            costs: fair,
            loyal: 0,
        };
        let mut known = self.known.get(&peer.conn).copied().unwrap_or(new);
        if peer.received_last > 0 {
            known.gives = peer.received_last;
        }
        let reciprocates = peer.unchokes_us || peer.received_last > 0;
        match (peer.unchoked, reciprocates) {
            (true, true) => {
                known.loyal += 1;
                if known.loyal >= LOYAL_ROUNDS {
                    known.costs -= known.costs / 10;
                }
            }
            (true, false) => {
                known.loyal = 0;
                known.costs = known.costs.saturating_add(known.costs / 5);
            }
            (false, _) => known.loyal = 0,
        }
        known.costs = known.costs.max(u64::from(BLOCK_BYTES));
        known
    }
}

impl Choker for BitTyrant {
    fn name(&self) -> &'static str {
        "bittyrant"
    }

    fn decide(&mut self, round: &ChokeRound<'_>, rng: &mut ChaCha8Rng) -> ChokeDecision {
        if round.seeding {
            return self.seeding.decide(round, rng);
        }
        let budget = self.budget(round);
        // An equal part each, until something is known.
        let fair = (budget / u64::from(round.slots.max(1))).max(u64::from(BLOCK_BYTES));
        let known = round.peers.iter().map(|p| (p.conn, self.learn(p, fair)));
        let known: BTreeMap<ConnId, Estimate> = known.collect();
        self.known = known;
        let worth = |peer: &ChokePeer| {
            let of = self.known[&peer.conn];
            u128::from(of.gives) * 1000 / u128::from(of.costs)
        };
        let order = ranked(
            round.peers,
            rng,
            |peer| peer.interested && (peer.unchoked || peer.changeable),
            |peer| (Reverse(worth(peer)), peer.waiting_since),
        );
        let mut verdicts = vec![Verdict::default(); round.peers.len()];
        let (mut chosen, mut spent) = (Vec::new(), Vec::new());
        let mut left = budget;
        for i in order {
            let costs = self.known[&round.peers[i].conn].costs;
            // One slot in any case; while nothing is known of the uplink, as many as the engine has.
            let few = chosen.is_empty() || budget == 0 && chosen.len() < round.slots as usize;
            if !few && costs > left {
                break;
            }
            left = left.saturating_sub(costs);
            verdicts[i] = Verdict::UNCHOKED;
            chosen.push(i);
            spent.push(costs);
        }
        for (i, weight) in chosen.iter().zip(weights(&spent)) {
            verdicts[*i].terms.weight = weight;
        }
        self.used = u32::try_from(chosen.len()).unwrap_or(u32::MAX);
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
    use super::super::tests::{self, peer, round, unchoked};
    use super::*;

    const KB: u64 = 1000;

    fn trader(conn: u32, received_last: u64) -> ChokePeer {
        ChokePeer {
            conn: tests::conn(conn),
            unchoked: true,
            unchokes_us: received_last > 0,
            received_last,
            sent_last: 100 * KB,
            ..peer()
        }
    }

    /// An uplink of 40 kB/s: 400 kB a round, of which each of four slots is worth a quarter.
    fn tyrant() -> BitTyrant {
        BitTyrant::new(40 * KB)
    }

    #[test]
    fn who_gives_most_for_its_cost_comes_first_until_the_uplink_is_spent() {
        let peers = [
            trader(0, 50 * KB),
            trader(1, 500 * KB),
            trader(2, 90 * KB),
            trader(3, 300 * KB),
            trader(4, 200 * KB),
            trader(5, 70 * KB),
        ];
        assert_eq!(unchoked(&mut tyrant(), &round(&peers)), [1, 2, 3, 4]);
    }

    #[test]
    fn who_reciprocates_is_asked_to_do_it_for_less_and_more_fit_in() {
        let peers: Vec<_> = (0..8).map(|conn| trader(conn, 200 * KB)).collect();
        let mut tyrant = tyrant();
        let rounds = (0..12).map(|_| unchoked(&mut tyrant, &round(&peers)).len());
        let rounds: Vec<usize> = rounds.collect();
        assert_eq!(rounds[..2], [4, 4]);
        assert!(rounds[11] >= 7, "{rounds:?}");
        assert_eq!(tyrant.between(false, 4).slots as usize, rounds[11]);
    }

    #[test]
    fn who_does_not_reciprocate_costs_more_and_more() {
        let peers = [trader(0, 0), trader(1, 100 * KB)];
        let mut tyrant = tyrant();
        for _ in 0..3 {
            unchoked(&mut tyrant, &round(&peers));
        }
        assert_eq!(tyrant.known[&tests::conn(0)].costs, 172_800);
        assert_eq!(tyrant.known[&tests::conn(1)].costs, 90_000);
    }

    #[test]
    fn without_a_known_uplink_it_is_the_most_that_was_sent() {
        let fresh: Vec<_> = (0..9)
            .map(|conn| ChokePeer {
                conn: tests::conn(conn),
                ..peer()
            })
            .collect();
        let mut tyrant = BitTyrant::new(0);
        assert_eq!(unchoked(&mut tyrant, &round(&fresh)).len(), 4);
        let peers: Vec<_> = (0..4).map(|conn| trader(conn, 10 * KB)).collect();
        unchoked(&mut tyrant, &round(&peers));
        assert_eq!(tyrant.most, 400 * KB);
    }
}

//! Whom to give upload slots: the seam [`Choker`] and the strategies behind it.
//!
//! Invariant: a choker sees a snapshot and returns a decision; it cannot touch the session. One
//! verdict per peer of the round, in the same order. What it decides of bandwidth ([`Terms`]) the session carries out.

mod anti_leech;
mod bittyrant;
mod block_tit_for_tat;
mod prop_share;
mod rate_based;
mod seed_fastest;
mod seed_round_robin;
mod tit_for_tat;
mod unchoke_all;

use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use crate::ids::ConnId;
use crate::picker::{Params, param};
use crate::time::Now;

pub use anti_leech::AntiLeech;
pub use bittyrant::BitTyrant;
pub use block_tit_for_tat::BlockTitForTat;
pub use prop_share::PropShare;
pub use rate_based::RateBased;
pub use seed_fastest::SeedFastest;
pub use seed_round_robin::SeedRoundRobin;
pub use tit_for_tat::TitForTat;
pub use unchoke_all::UnchokeAll;

/// One peer as a choke round sees it.
#[derive(Clone, Copy, Debug)]
pub struct ChokePeer {
    /// Its connection: what a strategy knows it by that remembers peers.
    pub conn: ConnId,
    /// It wants something that we have.
    pub interested: bool,
    /// We answer its requests now.
    pub unchoked: bool,
    /// It holds an optimistic slot now.
    pub optimistic: bool,
    /// It owes us blocks and sent none for too long.
    pub snubbed: bool,
    /// It answers our requests now.
    pub unchokes_us: bool,
    /// Requested payload bytes received from it in the last two rounds (20 s by default).
    pub received: u64,
    /// Of them, those of the last round alone.
    pub received_last: u64,
    /// Payload bytes sent to it in the last round; 0 for who is choked.
    pub sent_last: u64,
    /// Payload bytes received from it, of use, at all times and on all connections.
    pub received_ever: u64,
    /// Payload bytes sent to it at all times and on all connections.
    pub sent_ever: u64,
    /// Pieces that it has.
    pub pieces: u32,
    /// Payload bytes sent to it since it was unchoked.
    pub given: u64,
    /// When it was last unchoked, or choked, or connected.
    pub since: Now,
    /// It has a slot and hardly uses it: it asks for nothing now, and took little since it was unchoked.
    pub idle: bool,
    /// Its place in the queue for a slot, earliest first: a newcomer's is when it connected; who
    /// was choked goes three optimistic intervals behind (BEP 3: newcomers have three times the
    /// chance).
    pub waiting_since: Now,
    /// Its state may change now: the last change is longer ago than the shortest hold.
    pub changeable: bool,
}

/// The snapshot of one round.
#[derive(Clone, Copy, Debug)]
pub struct ChokeRound<'a> {
    /// The moment.
    pub now: Now,
    /// Time between rounds.
    pub interval: Duration,
    /// Pieces of the content.
    pub pieces: u32,
    /// Payload that may be sent per second; 0: no limit.
    pub upload_limit: u64,
    /// We have everything.
    pub seeding: bool,
    /// Slots, optimistic ones included.
    pub slots: u32,
    /// Optimistic slots among them.
    pub optimistic_slots: u32,
    /// The optimistic interval is over: the slot moves on.
    pub rotate: bool,
    /// Bytes after which a seed moves on, once `quota_time` is over too.
    pub quota: u64,
    /// Time after which a seed moves on, once `quota` is given too.
    pub quota_time: Duration,
    /// The peers of whom there is something to decide: who wants something, is unchoked, or gave payload in this
    /// round or the one before. All others stay choked.
    pub peers: &'a [ChokePeer],
}

/// What an unchoked peer gets of the bandwidth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// Its share, in relation to the others': [`Terms::EQUAL`] for everybody is no matter of shares, and the network
    /// divides the uplink. At least 1.
    pub weight: u32,
    /// The next block goes out only while what it was sent at all times less what it gave is at most this; `None`: always.
    pub credit: Option<u64>,
}

impl Terms {
    /// The weight of who is not weighed.
    pub const EQUAL: u32 = 1000;
}

impl Default for Terms {
    fn default() -> Terms {
        Terms {
            weight: Terms::EQUAL,
            credit: None,
        }
    }
}

/// What becomes of one peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Verdict {
    /// Answer its requests.
    pub unchoke: bool,
    /// It holds an optimistic slot.
    pub optimistic: bool,
    /// What it gets.
    pub terms: Terms,
}

impl Verdict {
    /// Unchoked, with the share of everybody.
    const UNCHOKED: Verdict = Verdict {
        unchoke: true,
        optimistic: false,
        terms: Terms {
            weight: Terms::EQUAL,
            credit: None,
        },
    };
}

/// What is true between rounds, and before the first one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Between {
    /// Interested peers that may be unchoked at once: while there are fewer, who wants something is unchoked at once
    /// (`unchoke_on_interest`).
    pub slots: u32,
    /// What these get.
    pub terms: Terms,
}

impl Between {
    /// So many slots, all alike.
    #[must_use]
    pub fn equal(slots: u32) -> Between {
        Between {
            slots,
            terms: Terms::default(),
        }
    }
}

/// What becomes of the round's peers, in the order of [`ChokeRound::peers`].
pub type ChokeDecision = Vec<Verdict>;

/// A choking strategy.
pub trait Choker {
    /// Its name in scenario files.
    fn name(&self) -> &'static str;

    /// Decides one round.
    fn decide(&mut self, round: &ChokeRound<'_>, rng: &mut ChaCha8Rng) -> ChokeDecision;

    /// Slots from the last round to the next; `slots` are those of the engine's configuration. A round never unchokes
    /// more interested peers than this says right after it.
    fn between(&self, _seeding: bool, slots: u32) -> Between {
        Between::equal(slots)
    }
}

/// A strategy that this crate knows.
#[derive(Clone, Copy, Debug)]
pub struct KnownChoker {
    /// Its name in scenario files.
    pub name: &'static str,
    /// Its rule in a line.
    pub rule: &'static str,
    /// Names of its parameters.
    pub params: &'static [&'static str],
    build: fn(&Params) -> Box<dyn Choker>,
}

/// All strategies that this crate knows.
pub const KNOWN: &[KnownChoker] = &[
    KnownChoker {
        name: "tit-for-tat",
        rule: "the interested peers that gave most, and one optimistic slot; a seed goes round robin",
        params: &[],
        build: |_| Box::new(TitForTat::default()),
    },
    KnownChoker {
        name: "seed-round-robin",
        rule: "longest-unserved first, each for a quota of pieces and a minute",
        params: &[],
        build: |_| Box::new(SeedRoundRobin),
    },
    KnownChoker {
        name: "seed-fastest",
        rule: "the peers that take fastest, and one optimistic slot",
        params: &[],
        build: |_| Box::new(SeedFastest),
    },
    KnownChoker {
        name: "anti-leech",
        rule: "those who have just begun and those who are almost done",
        params: &[],
        build: |_| Box::new(AntiLeech),
    },
    KnownChoker {
        name: "rate-based",
        rule: "tit for tat, with one more slot while the slowest holder takes enough",
        params: &["rate", "step"],
        build: |params| {
            let rate = |name, default| param(params, name, default) as u64;
            Box::new(RateBased::new(rate("rate", 1024.0), rate("step", 2048.0)))
        },
    },
    KnownChoker {
        name: "prop-share",
        rule: "bandwidth in proportion to what each gave in the last round, a part of it for newcomers",
        params: &["newcomers"],
        build: |params| Box::new(PropShare::new(param(params, "newcomers", 200_000.0) as u32)),
    },
    KnownChoker {
        name: "bittyrant",
        rule: "by what each gives for what it costs, as far as the uplink reaches",
        params: &["capacity"],
        build: |params| Box::new(BitTyrant::new(param(params, "capacity", 0.0) as u64)),
    },
    KnownChoker {
        name: "block-tit-for-tat",
        rule: "the next block only while given - received <= delta",
        params: &["delta"],
        build: |params| {
            Box::new(BlockTitForTat {
                delta: param(params, "delta", 262_144.0) as u64,
            })
        },
    },
    KnownChoker {
        name: "unchoke-all",
        rule: "everybody interested",
        params: &[],
        build: |_| Box::new(UnchokeAll),
    },
];

/// The strategy of that name, if this crate knows it.
#[must_use]
pub fn by_name(name: &str, params: &Params) -> Option<Box<dyn Choker>> {
    KNOWN
        .iter()
        .find(|known| known.name == name)
        .map(|known| (known.build)(params))
}

/// The positions of the peers that `keep`, best first by `key` (smallest first), ties at random.
fn ranked<K: Ord>(
    peers: &[ChokePeer],
    rng: &mut ChaCha8Rng,
    keep: impl Fn(&ChokePeer) -> bool,
    key: impl Fn(&ChokePeer) -> K,
) -> Vec<usize> {
    use rand::seq::SliceRandom;
    let mut order: Vec<usize> = (0..peers.len()).filter(|&i| keep(&peers[i])).collect();
    order.shuffle(rng);
    order.sort_by_key(|&i| key(&peers[i]));
    order
}

/// The numbers as weights whose mean is [`Terms::EQUAL`]: whoever is unchoked between rounds gets about as much as others.
/// Nobody's is 0.
fn weights(numbers: &[u64]) -> Vec<u32> {
    let sum: u128 = numbers.iter().map(|n| u128::from(*n)).sum();
    let all = u128::from(Terms::EQUAL) * numbers.len() as u128;
    let weight = |n: &u64| u128::from(*n) * all / sum.max(1);
    let weights = numbers.iter().map(weight);
    weights
        .map(|weight| u32::try_from(weight.max(1)).unwrap_or(u32::MAX))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand_chacha::rand_core::SeedableRng;

    pub(super) fn conn(slot: u32) -> ConnId {
        ConnId {
            slot,
            generation: 0,
        }
    }

    /// Somebody who wants something, is choked, and gave and took nothing yet.
    pub(super) fn peer() -> ChokePeer {
        ChokePeer {
            conn: conn(0),
            interested: true,
            unchoked: false,
            optimistic: false,
            snubbed: false,
            unchokes_us: false,
            received: 0,
            received_last: 0,
            sent_last: 0,
            received_ever: 0,
            sent_ever: 0,
            pieces: 0,
            given: 0,
            since: Now(0),
            waiting_since: Now(0),
            changeable: true,
            idle: false,
        }
    }

    /// A round of a leecher at 100 s with four slots, one of them optimistic.
    pub(super) fn round(peers: &[ChokePeer]) -> ChokeRound<'_> {
        ChokeRound {
            now: Now::START.after(Duration::from_secs(100)),
            interval: Duration::from_secs(10),
            pieces: 100,
            upload_limit: 0,
            seeding: false,
            slots: 4,
            optimistic_slots: 1,
            rotate: false,
            quota: 1000,
            quota_time: Duration::from_secs(60),
            peers,
        }
    }

    /// Whom a choker unchokes.
    pub(super) fn unchoked(choker: &mut dyn Choker, round: &ChokeRound<'_>) -> Vec<usize> {
        let verdicts = choker.decide(round, &mut ChaCha8Rng::seed_from_u64(3));
        let places = (0..verdicts.len()).filter(|&i| verdicts[i].unchoke);
        places.collect()
    }

    fn any_peer() -> impl Strategy<Value = ChokePeer> {
        let flags = (any::<[bool; 6]>(), 0u32..=100);
        let bytes = (prop::array::uniform5(0u64..3_000_000), 0u64..100, 0u64..100);
        (flags, bytes).prop_map(|((flags, pieces), (bytes, since, waiting))| {
            let [
                interested,
                unchoked,
                optimistic,
                snubbed,
                unchokes_us,
                changeable,
            ] = flags;
            let [received_last, before, sent_last, ever, given] = bytes;
            let at = |s| Now::START.after(Duration::from_secs(s));
            ChokePeer {
                interested,
                unchoked,
                optimistic: unchoked && optimistic,
                snubbed,
                unchokes_us,
                changeable,
                pieces,
                received_last,
                received: received_last + before,
                received_ever: received_last + before,
                sent_last,
                sent_ever: sent_last + ever,
                given,
                since: at(since),
                waiting_since: at(waiting),
                idle: unchoked && given == 0,
                ..peer()
            }
        })
    }

    /// They unchoke who gave much and wants nothing too, which costs no slot.
    const KEEPING_A_PLACE: &[&str] = &["tit-for-tat", "rate-based"];

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn slots_are_bounded_and_for_who_wants_something(
            rounds in prop::collection::vec(prop::collection::vec(any_peer(), 0..30), 1..4),
            slots in 0u32..8, optimistic in 0u32..3, flags in any::<[bool; 2]>(), seed in any::<u64>(),
            limit in prop_oneof![Just(0u64), 1u64..1_000_000],
            number in 0.0f64..3_000_000.0,
        ) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let [seeding, rotate] = flags;
            for known in KNOWN {
                let params: Params = known.params.iter().map(|p| ((*p).to_owned(), number)).collect();
                for params in [Params::new(), params] {
                    let mut choker = by_name(known.name, &params).expect("known");
                    prop_assert_eq!(choker.name(), known.name);
                    for peers in &rounds {
                        let mut peers = peers.clone();
                        for (peer, number) in peers.iter_mut().zip(0..) {
                            peer.conn = conn(number);
                        }
                        let round = ChokeRound {
                            seeding, rotate, slots, upload_limit: limit,
                            optimistic_slots: optimistic.min(slots),
                            ..round(&peers)
                        };
                        let verdicts = choker.decide(&round, &mut rng);
                        prop_assert_eq!(verdicts.len(), peers.len());
                        let there = choker.between(seeding, slots).slots;
                        let mut used = 0;
                        for (verdict, peer) in verdicts.iter().zip(&peers) {
                            used += u32::from(verdict.unchoke && peer.interested);
                            prop_assert!(verdict.unchoke || !verdict.optimistic);
                            prop_assert!(verdict.terms.weight > 0);
                            // Nobody is unchoked that was choked just now.
                            prop_assert!(!verdict.unchoke || peer.unchoked || peer.changeable);
                            let place = KEEPING_A_PLACE.contains(&known.name) && peer.received > 0;
                            prop_assert!(!verdict.unchoke || peer.interested || place, "{}", known.name);
                        }
                        prop_assert!(used <= there, "{}: {used} of {there}", known.name);
                    }
                }
            }
        }
    }

    #[test]
    fn weights_are_in_proportion_and_their_mean_is_equal() {
        assert_eq!(weights(&[30, 10, 20, 0]), [2000, 666, 1333, 1]);
        assert_eq!(weights(&[]), []);
        assert_eq!(weights(&[0, 0]), [1, 1]);
    }
}

//! Whom to give upload slots: the seam [`Choker`] and the strategies behind it.
//!
//! Invariant: a choker sees a snapshot and returns a decision; it cannot touch the session. One
//! verdict per peer of the round, in the same order.

mod seed_round_robin;
mod tit_for_tat;

use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use crate::picker::Params;
use crate::time::Now;

pub use seed_round_robin::SeedRoundRobin;
pub use tit_for_tat::TitForTat;

/// One peer as a choke round sees it.
#[derive(Clone, Copy, Debug)]
pub struct ChokePeer {
    /// It wants something that we have.
    pub interested: bool,
    /// We answer its requests now.
    pub unchoked: bool,
    /// It holds an optimistic slot now.
    pub optimistic: bool,
    /// It owes us blocks and sent none for too long.
    pub snubbed: bool,
    /// Requested payload bytes received from it in the last two rounds (20 s by default).
    pub received: u64,
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

/// What becomes of one peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Verdict {
    /// Answer its requests.
    pub unchoke: bool,
    /// It holds an optimistic slot.
    pub optimistic: bool,
}

/// What becomes of the round's peers, in the order of [`ChokeRound::peers`].
pub type ChokeDecision = Vec<Verdict>;

/// A choking strategy.
pub trait Choker {
    /// Its name in scenario files.
    fn name(&self) -> &'static str;

    /// Decides one round.
    fn decide(&mut self, round: &ChokeRound<'_>, rng: &mut ChaCha8Rng) -> ChokeDecision;
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

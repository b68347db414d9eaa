//! Owns who sent what is wrong.
//!
//! Invariant: a peer is banned on proof alone: it sent every block of a bad piece, or a block of
//! its differs from the verified one (smart ban by digest). Suspicion only disconnects, and is
//! taken back when somebody else is proven guilty. A ban is never forgotten within a run.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use crate::config::EngineConfig;
use crate::ids::{PeerId, PieceIndex};
use crate::prefetch;
use crate::storage::BlockDigest;

/// Who sent a block, also after its connection is gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct SenderId(pub(super) u32);

impl SenderId {
    /// A connection without a handshake, and padding, which nobody sends.
    pub(super) const NOBODY: SenderId = SenderId(u32::MAX);
}

/// What one remote peer gave and took, also after its connection is gone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Sender {
    /// Where it was last seen.
    pub addr: SocketAddr,
    /// Its id there.
    #[serde(serialize_with = "as_text")]
    pub id: PeerId,
    /// A web seed's URL (BEP 19).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Its client, as it calls itself (BEP 10); empty when it did not say.
    pub client: String,
    /// Payload bytes of use received from it.
    pub received: u64,
    /// Payload bytes sent to it.
    pub sent: u64,
    /// Payload bytes of no use received from it.
    pub wasted: u64,
    /// Bad pieces it had a hand in, unproven.
    pub strikes: u32,
    /// It sent wrong blocks.
    pub banned: bool,
    /// Blocks from it that nobody asked for and that nothing explains.
    #[serde(skip)]
    pub(super) strays: u32,
    /// It had a place, carried nothing, and lost it to somebody else.
    #[serde(skip)]
    pub(super) barren: bool,
    /// It snubbed us, and has sent nothing that we asked for since.
    #[serde(skip)]
    pub(super) owes: bool,
}

impl Sender {
    /// Who gave and took nothing yet.
    fn new(addr: SocketAddr, id: PeerId) -> Sender {
        Sender {
            addr,
            id,
            url: None,
            client: String::new(),
            received: 0,
            sent: 0,
            wasted: 0,
            strikes: 0,
            banned: false,
            strays: 0,
            barren: false,
            owes: false,
        }
    }

    /// Payload of use that it gave us, and that it got of us.
    pub(super) fn carried(&self) -> u64 {
        self.received + self.sent
    }
}

fn as_text<S: serde::Serializer>(id: &PeerId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

/// What follows from a hashed piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sentence {
    /// Proven.
    Ban(SenderId),
    /// Too many strikes.
    Disconnect(SenderId),
}

/// One bad copy of a piece: for each block who sent it and its digest.
type BadCopy = Vec<(SenderId, BlockDigest)>;

/// Bad copies remembered per piece; older ones are forgotten first.
const BAD_COPIES_MAX: usize = 8;

/// All senders and the evidence.
#[derive(Debug, Default)]
pub(super) struct Blame {
    senders: Vec<Sender>,
    by_key: BTreeMap<(IpAddr, Option<PeerId>), SenderId>,
    bad_copies: BTreeMap<PieceIndex, Vec<BadCopy>>,
    /// The piece of each bad copy, oldest copy first.
    order: VecDeque<PieceIndex>,
    /// Digests in all bad copies.
    kept: usize,
    /// Bans so far; none is ever taken back.
    bans: u32,
}

impl Blame {
    /// Books in which these are banned already.
    pub(super) fn with_banned(banned: &[(SocketAddr, PeerId)]) -> Blame {
        let mut blame = Blame::default();
        for (addr, id) in banned {
            if let Some(sender) = blame.sender(*addr, *id, u32::MAX, |_| true) {
                blame.ban(sender);
            }
        }
        blame
    }

    /// The sender behind a handshake. An address is one sender, whatever ids it uses; on loopback,
    /// where many clients share an address, the id tells them apart.
    /// `None`: there are `max` already, and none that `keep` lets go was of no consequence.
    pub(super) fn sender(
        &mut self,
        addr: SocketAddr,
        id: PeerId,
        max: u32,
        keep: impl Fn(SenderId) -> bool,
    ) -> Option<SenderId> {
        let key = key(addr, id);
        if let Some(known) = self.by_key.get(&key) {
            let sender = &mut self.senders[known.0 as usize];
            (sender.addr, sender.id) = (addr, id);
            return Some(*known);
        }
        let place = self.place(Sender::new(addr, id), max, keep)?;
        self.by_key.insert(key, place);
        Some(place)
    }

    /// A web seed, known by its URL alone: what a peer at the same address does is not its doing. Whoever
    /// asks for a sender later must keep it.
    pub(super) fn web_seed(
        &mut self,
        addr: SocketAddr,
        url: &str,
        max: u32,
        keep: impl Fn(SenderId) -> bool,
    ) -> Option<SenderId> {
        let mut sender = Sender::new(addr, PeerId([0; 20]));
        sender.url = Some(url.to_owned());
        self.place(sender, max, keep)
    }

    /// A place among the senders, perhaps that of one of no consequence.
    fn place(
        &mut self,
        sender: Sender,
        max: u32,
        keep: impl Fn(SenderId) -> bool,
    ) -> Option<SenderId> {
        let count = u32::try_from(self.senders.len()).expect("at most senders_max");
        Some(if count < max {
            self.senders.push(sender);
            SenderId(count)
        } else {
            let place = (0..count).map(SenderId).find(|s| {
                let known = &self.senders[s.0 as usize];
                let gave = known.received + known.wasted + u64::from(known.strikes);
                gave == 0 && !known.banned && !keep(*s)
            })?;
            let old = std::mem::replace(&mut self.senders[place.0 as usize], sender);
            self.by_key.remove(&key(old.addr, old.id));
            place
        })
    }

    /// Whether an address is banned before it says who it is.
    pub(super) fn banned_addr(&self, addr: SocketAddr) -> bool {
        let known = || self.by_key.get(&(addr.ip(), None));
        self.bans > 0 && known().is_some_and(|s| self.banned(*s))
    }

    pub(super) fn banned(&self, sender: SenderId) -> bool {
        self.senders
            .get(sender.0 as usize)
            .is_some_and(|s| s.banned)
    }

    pub(super) fn get(&self, sender: SenderId) -> Option<&Sender> {
        self.senders.get(sender.0 as usize)
    }

    /// Asks for what is known of a sender's deeds.
    pub(super) fn prefetch(&self, sender: SenderId) {
        if let Some(sender) = self.senders.get(sender.0 as usize) {
            prefetch::front(&sender.received);
        }
    }

    pub(super) fn get_mut(&mut self, sender: SenderId) -> Option<&mut Sender> {
        self.senders.get_mut(sender.0 as usize)
    }

    /// Whether who is at an address had its place, and carried nothing so far.
    pub(super) fn barren_addr(&self, addr: SocketAddr) -> bool {
        let known = self.by_key.get(&(addr.ip(), None)).copied();
        known.is_some_and(|sender| self.is_barren(sender))
    }

    /// Whether a sender had its place, and carried nothing so far.
    pub(super) fn is_barren(&self, sender: SenderId) -> bool {
        let sender = self.senders.get(sender.0 as usize);
        sender.is_some_and(|s| s.barren && s.carried() == 0)
    }

    /// Whether a sender snubbed us, and has sent nothing that we asked for since.
    pub(super) fn owes(&self, sender: SenderId) -> bool {
        self.senders.get(sender.0 as usize).is_some_and(|s| s.owes)
    }

    /// Payload of use that a sender gave us, and that it got of us, over all its connections.
    pub(super) fn carried(&self, sender: SenderId) -> u64 {
        let sender = self.senders.get(sender.0 as usize);
        sender.map_or(0, Sender::carried)
    }

    pub(super) fn senders(&self) -> &[Sender] {
        &self.senders
    }

    /// Whether the good copy's digests would prove something.
    pub(super) fn wants_digests(&self, piece: PieceIndex) -> bool {
        self.bad_copies.contains_key(&piece)
    }

    /// A piece failed its hash.
    pub(super) fn bad_piece(
        &mut self,
        piece: PieceIndex,
        senders: &[SenderId],
        digests: &[BlockDigest],
        config: &EngineConfig,
    ) -> Vec<Sentence> {
        let who = distinct(senders.iter().copied());
        if let [only] = who[..] {
            self.ban(only);
            return vec![Sentence::Ban(only)];
        }
        let copies = self.bad_copies.get(&piece).map_or(0, Vec::len);
        if copies == BAD_COPIES_MAX {
            self.forget_copy(piece);
        }
        self.kept += senders.len();
        while self.kept > config.bad_blocks_max as usize
            && let Some(oldest) = self.order.front().copied()
        {
            self.forget_copy(oldest);
        }
        self.order.push_back(piece);
        self.bad_copies.entry(piece).or_default().push(
            senders
                .iter()
                .copied()
                .zip(digests.iter().copied())
                .collect(),
        );
        let mut sentences = Vec::new();
        for sender in who {
            if let Some(s) = self.get_mut(sender) {
                s.strikes += 1;
                if s.strikes >= config.strikes_max {
                    sentences.push(Sentence::Disconnect(sender));
                }
            }
        }
        sentences
    }

    /// Forgets the oldest bad copy of a piece.
    fn forget_copy(&mut self, piece: PieceIndex) {
        if let Some(at) = self.order.iter().position(|p| *p == piece) {
            self.order.remove(at);
        }
        if let Some(copies) = self.bad_copies.get_mut(&piece) {
            self.kept -= copies.remove(0).len();
            if copies.is_empty() {
                self.bad_copies.remove(&piece);
            }
        }
    }

    /// A piece passed its hash: whose earlier blocks differ is proven to have lied, and the others
    /// of those copies are cleared.
    pub(super) fn good_piece(
        &mut self,
        piece: PieceIndex,
        digests: Option<&[BlockDigest]>,
    ) -> Vec<Sentence> {
        let Some(copies) = self.bad_copies.remove(&piece) else {
            return Vec::new();
        };
        self.order.retain(|p| *p != piece);
        self.kept -= copies.iter().map(Vec::len).sum::<usize>();
        let Some(good) = digests else {
            return Vec::new();
        };
        let mut guilty = Vec::new();
        for copy in &copies {
            let who = distinct(copy.iter().map(|(s, _)| *s));
            let lied = |sender: &SenderId| {
                copy.iter()
                    .zip(good)
                    .any(|((s, digest), good)| s == sender && digest != good)
            };
            for sender in who {
                if lied(&sender) {
                    guilty.push(sender);
                } else if let Some(s) = self.get_mut(sender) {
                    s.strikes = s.strikes.saturating_sub(1);
                }
            }
        }
        guilty.sort_unstable();
        guilty.dedup();
        guilty.retain(|s| self.ban(*s));
        guilty.into_iter().map(Sentence::Ban).collect()
    }

    /// Bans; false when it was banned before.
    pub(super) fn ban(&mut self, sender: SenderId) -> bool {
        let new = self
            .get_mut(sender)
            .is_some_and(|s| !std::mem::replace(&mut s.banned, true));
        self.bans += u32::from(new);
        new
    }
}

fn key(addr: SocketAddr, id: PeerId) -> (IpAddr, Option<PeerId>) {
    (addr.ip(), addr.ip().is_loopback().then_some(id))
}

/// Each sender once; padding has none.
fn distinct(senders: impl Iterator<Item = SenderId>) -> Vec<SenderId> {
    let mut who: Vec<_> = senders.filter(|s| *s != SenderId::NOBODY).collect();
    who.sort_unstable();
    who.dedup();
    who
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(blame: &mut Blame, addr: SocketAddr, id: u8) -> SenderId {
        let sender = blame.sender(addr, PeerId([id; 20]), 10, |_| false);
        sender.expect("there is room")
    }

    fn three() -> (Blame, [SenderId; 3]) {
        let mut blame = Blame::default();
        let ids = [1u8, 2, 3].map(|n| {
            let addr = SocketAddr::from(([10, 0, 0, n], 6881));
            sender(&mut blame, addr, n)
        });
        (blame, ids)
    }

    #[test]
    fn who_sent_the_whole_bad_piece_is_banned_at_once() {
        let config = EngineConfig::default();
        let (mut blame, [a, ..]) = three();
        let sentences = blame.bad_piece(PieceIndex(0), &[a, a], &[[0; 20]; 2], &config);
        assert_eq!(sentences, [Sentence::Ban(a)]);
        assert!(blame.banned(a) && blame.banned_addr(SocketAddr::from(([10, 0, 0, 1], 9))));
    }

    #[test]
    fn the_good_copy_names_exactly_the_liar() {
        let config = EngineConfig::default();
        let (mut blame, [a, b, c]) = three();
        let piece = PieceIndex(3);
        assert_eq!(
            blame.bad_piece(piece, &[a, b, c], &[[1; 20], [9; 20], [3; 20]], &config),
            []
        );
        assert!(blame.wants_digests(piece));
        let sentences = blame.good_piece(piece, Some(&[[1; 20], [2; 20], [3; 20]]));
        assert_eq!(sentences, [Sentence::Ban(b)]);
        assert_eq!(blame.senders()[0].strikes, 0, "the innocent are cleared");
        assert!(!blame.wants_digests(piece));
    }

    #[test]
    fn suspicion_alone_disconnects_and_never_bans() {
        let config = EngineConfig::default();
        let (mut blame, [a, b, _]) = three();
        for n in 0..4 {
            assert_eq!(
                blame.bad_piece(PieceIndex(n), &[a, b], &[[0; 20]; 2], &config),
                []
            );
        }
        let fifth = blame.bad_piece(PieceIndex(4), &[a, b], &[[0; 20]; 2], &config);
        assert_eq!(fifth, [Sentence::Disconnect(a), Sentence::Disconnect(b)]);
        assert!(!blame.banned(a));
    }

    #[test]
    fn on_loopback_the_id_tells_clients_apart() {
        let mut blame = Blame::default();
        let addr = SocketAddr::from(([127, 0, 0, 1], 6881));
        assert_ne!(sender(&mut blame, addr, 1), sender(&mut blame, addr, 2));
    }

    #[test]
    fn who_gave_nothing_is_forgotten_when_there_are_too_many() {
        let (mut blame, [a, b, c]) = three();
        blame.get_mut(a).expect("known").received = 1;
        let addr = SocketAddr::from(([10, 0, 0, 9], 6881));
        let keep = |s| s == b;
        assert_eq!(blame.sender(addr, PeerId([9; 20]), 3, keep), Some(c));
        assert_eq!(blame.senders()[2].addr, addr);
        blame.ban(c);
        let more = SocketAddr::from(([10, 0, 0, 10], 6881));
        assert_eq!(
            blame.sender(more, PeerId([9; 20]), 3, keep),
            None,
            "a ban stays"
        );
        assert_eq!(blame.sender(more, PeerId([9; 20]), 3, |_| false), Some(b));
    }

    #[test]
    fn the_oldest_evidence_goes_when_there_is_too_much() {
        let (mut blame, [a, b, _]) = three();
        let config = EngineConfig {
            bad_blocks_max: 6,
            strikes_max: 100,
            ..EngineConfig::default()
        };
        for n in [0, 0, 1, 2, 3] {
            blame.bad_piece(PieceIndex(n), &[a, b], &[[0; 20]; 2], &config);
        }
        let kept: Vec<_> = (0..4)
            .filter(|n| blame.wants_digests(PieceIndex(*n)))
            .collect();
        assert_eq!(kept, [1, 2, 3]);
        assert_eq!(blame.order.len(), 3);
    }
}

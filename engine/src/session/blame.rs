//! Owns who sent what is wrong.
//!
//! Invariant: a peer is banned on proof alone: it sent every block of a bad piece, or a block of
//! its differs from the verified one (smart ban by digest). Suspicion only disconnects, and is
//! taken back when somebody else is proven guilty. A ban is never forgotten within a run.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use crate::ids::{PeerId, PieceIndex};
use crate::storage::BlockDigest;

/// Who sent a block, also after its connection is gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct SenderId(pub(super) u32);

impl SenderId {
    /// A connection without a handshake.
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
}

impl Blame {
    /// The sender behind a handshake. An address is one sender, whatever ids it uses; on loopback,
    /// where many clients share an address, the id tells them apart.
    pub(super) fn sender(&mut self, addr: SocketAddr, id: PeerId) -> SenderId {
        let key = (addr.ip(), addr.ip().is_loopback().then_some(id));
        let next = SenderId(u32::try_from(self.senders.len()).expect("fewer senders than 2^32"));
        let sender = *self.by_key.entry(key).or_insert(next);
        if sender == next {
            let (received, sent, wasted) = (0, 0, 0);
            self.senders.push(Sender {
                addr,
                id,
                received,
                sent,
                wasted,
                strikes: 0,
                banned: false,
            });
        } else {
            let known = &mut self.senders[sender.0 as usize];
            (known.addr, known.id) = (addr, id);
        }
        sender
    }

    /// Whether an address is banned before it says who it is.
    pub(super) fn banned_addr(&self, addr: SocketAddr) -> bool {
        self.by_key
            .get(&(addr.ip(), None))
            .is_some_and(|s| self.banned(*s))
    }

    pub(super) fn banned(&self, sender: SenderId) -> bool {
        self.senders
            .get(sender.0 as usize)
            .is_some_and(|s| s.banned)
    }

    pub(super) fn get_mut(&mut self, sender: SenderId) -> Option<&mut Sender> {
        self.senders.get_mut(sender.0 as usize)
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
        strikes_max: u32,
    ) -> Vec<Sentence> {
        let mut who = senders.to_vec();
        who.sort_unstable();
        who.dedup();
        if let [only] = who[..] {
            self.ban(only);
            return vec![Sentence::Ban(only)];
        }
        let copies = self.bad_copies.entry(piece).or_default();
        if copies.len() == BAD_COPIES_MAX {
            copies.remove(0);
        }
        copies.push(
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
                if s.strikes >= strikes_max {
                    sentences.push(Sentence::Disconnect(sender));
                }
            }
        }
        sentences
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
        let Some(good) = digests else {
            return Vec::new();
        };
        let mut guilty = Vec::new();
        for copy in &copies {
            let mut who: Vec<_> = copy.iter().map(|(s, _)| *s).collect();
            who.sort_unstable();
            who.dedup();
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
    fn ban(&mut self, sender: SenderId) -> bool {
        self.get_mut(sender)
            .is_some_and(|s| !std::mem::replace(&mut s.banned, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> (Blame, [SenderId; 3]) {
        let mut blame = Blame::default();
        let ids = [1u8, 2, 3].map(|n| {
            let addr = SocketAddr::from(([10, 0, 0, n], 6881));
            blame.sender(addr, PeerId([n; 20]))
        });
        (blame, ids)
    }

    #[test]
    fn who_sent_the_whole_bad_piece_is_banned_at_once() {
        let (mut blame, [a, ..]) = three();
        let sentences = blame.bad_piece(PieceIndex(0), &[a, a], &[[0; 20]; 2], 5);
        assert_eq!(sentences, [Sentence::Ban(a)]);
        assert!(blame.banned(a) && blame.banned_addr(SocketAddr::from(([10, 0, 0, 1], 9))));
    }

    #[test]
    fn the_good_copy_names_exactly_the_liar() {
        let (mut blame, [a, b, c]) = three();
        let piece = PieceIndex(3);
        assert_eq!(
            blame.bad_piece(piece, &[a, b, c], &[[1; 20], [9; 20], [3; 20]], 5),
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
        let (mut blame, [a, b, _]) = three();
        for n in 0..4 {
            assert_eq!(
                blame.bad_piece(PieceIndex(n), &[a, b], &[[0; 20]; 2], 5),
                []
            );
        }
        let fifth = blame.bad_piece(PieceIndex(4), &[a, b], &[[0; 20]; 2], 5);
        assert_eq!(fifth, [Sentence::Disconnect(a), Sentence::Disconnect(b)]);
        assert!(!blame.banned(a));
    }

    #[test]
    fn on_loopback_the_id_tells_clients_apart() {
        let mut blame = Blame::default();
        let addr = SocketAddr::from(([127, 0, 0, 1], 6881));
        assert_ne!(
            blame.sender(addr, PeerId([1; 20])),
            blame.sender(addr, PeerId([2; 20]))
        );
    }
}

//! Owns the roll of connections: by slot, what is asked of all of them together.
//!
//! Invariant: it says what the peers say; [`Roll::note`] follows every change of theirs. A question
//! about all peers reads a few lines of memory here, in place of some of each peer.

use std::net::IpAddr;
use std::time::Duration;

use crate::ids::PeerId;
use crate::time::Now;

use super::peer::Peer;

/// What is true of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Marks(u8);

impl Marks {
    const NONE: Marks = Marks(0);
    /// Its handshake was accepted, or it is a web seed.
    pub(super) const ACTIVE: Marks = Marks(1);
    pub(super) const WEB: Marks = Marks(1 << 1);
    /// It has something that we want.
    pub(super) const WANTED: Marks = Marks(1 << 2);
    /// It wants something of ours.
    pub(super) const WANTS: Marks = Marks(1 << 3);
    /// We answer its requests.
    pub(super) const UNCHOKED: Marks = Marks(1 << 4);
    pub(super) const OPTIMISTIC: Marks = Marks(1 << 5);
    /// It gave us payload in this choke round or the one before.
    pub(super) const GAVE: Marks = Marks(1 << 6);

    pub(super) const fn and(self, other: Marks) -> Marks {
        Marks(self.0 | other.0)
    }

    fn of(peer: &Peer) -> Marks {
        let marks = [
            (peer.active(), Marks::ACTIVE),
            (peer.web, Marks::WEB),
            (peer.am_interested, Marks::WANTED),
            (peer.interested, Marks::WANTS),
            (peer.unchoked, Marks::UNCHOKED),
            (peer.optimistic, Marks::OPTIMISTIC),
            (peer.down.gave(), Marks::GAVE),
        ];
        let true_ones = marks.iter().filter(|(is, _)| *is);
        true_ones.fold(Marks::NONE, |all, (_, mark)| all.and(*mark))
    }
}

/// All slots.
#[derive(Debug, Default)]
pub(super) struct Roll {
    marks: Vec<Marks>,
    /// Since when nobody has wanted anything on a connection; never, where somebody does.
    still: Vec<Now>,
    ips: Vec<Option<IpAddr>>,
    ids: Vec<Option<PeerId>>,
}

impl Roll {
    /// What is known of the peer in this slot changed; `None`: it is gone.
    pub(super) fn note(&mut self, slot: usize, peer: Option<&Peer>) {
        if self.marks.len() <= slot {
            self.marks.resize(slot + 1, Marks::NONE);
            self.still.resize(slot + 1, Now::NEVER);
            self.ips.resize(slot + 1, None);
            self.ids.resize(slot + 1, None);
        }
        self.marks[slot] = peer.map_or(Marks::NONE, Marks::of);
        self.still[slot] = peer.map_or(Now::NEVER, Peer::still_since);
        self.ips[slot] = peer.filter(|p| !p.web).map(|p| p.addr.ip());
        self.ids[slot] = peer.and_then(|p| p.id);
    }

    /// The peer in this slot gave us payload.
    pub(super) fn gave(&mut self, slot: usize) {
        self.marks[slot] = self.marks[slot].and(Marks::GAVE);
    }

    /// Slots of peers of whom all of `all` is true, something of `any`, and nothing of `none`.
    pub(super) fn which(
        &self,
        all: Marks,
        any: Marks,
        none: Marks,
    ) -> impl Iterator<Item = usize> + '_ {
        let fits = move |marks: &Marks| {
            marks.0 & all.0 == all.0 && marks.0 & any.0 != 0 && marks.0 & none.0 == 0
        };
        let slots = self.marks.iter().enumerate();
        slots.filter_map(move |(slot, marks)| fits(marks).then_some(slot))
    }

    /// Slots of peers of whom all of this is true.
    pub(super) fn all(&self, all: Marks) -> impl Iterator<Item = usize> + '_ {
        self.which(all, all, Marks::NONE)
    }

    /// Slots of connections on which nobody has wanted anything for so long, and since when.
    pub(super) fn still_for(
        &self,
        time: Duration,
        now: Now,
    ) -> impl Iterator<Item = (Now, usize)> + '_ {
        let slots = self.still.iter().enumerate();
        let slots = slots.filter(move |(_, since)| since.after(time) <= now);
        slots.map(|(slot, since)| (*since, slot))
    }

    /// The id of the peer in this slot.
    pub(super) fn id(&self, slot: usize) -> Option<PeerId> {
        self.ids[slot]
    }

    /// The slot of the peer with this id, of those whose address may be its.
    pub(super) fn with_id(&self, id: PeerId, its: impl Fn(IpAddr) -> bool) -> Option<usize> {
        let mut slots = self.ids.iter().zip(&self.ips);
        slots.position(|(known, ip)| *known == Some(id) && ip.is_none_or(&its))
    }

    /// The ids of connected peers, in order, with their addresses.
    pub(super) fn ids(&self) -> Vec<(PeerId, IpAddr)> {
        let peers = self.ids.iter().zip(&self.ips);
        let mut ids: Vec<_> = peers
            .filter_map(|(id, ip)| Some(((*id)?, (*ip)?)))
            .collect();
        ids.sort_unstable();
        ids
    }

    /// Connections to one address, whatever the port.
    pub(super) fn at(&self, ip: IpAddr) -> u32 {
        let there = self.ips.iter().filter(|known| **known == Some(ip));
        u32::try_from(there.count()).expect("at most connections_max")
    }

    /// The address with the most connections, and how many; no loopback address.
    pub(super) fn largest(&self) -> Option<(IpAddr, u32)> {
        let ips = self.ips.iter().flatten().filter(|ip| !ip.is_loopback());
        let mut ips: Vec<IpAddr> = ips.copied().collect();
        ips.sort_unstable();
        let alike = ips.chunk_by(|a, b| a == b);
        let largest = alike.max_by_key(|there| there.len())?;
        let count = u32::try_from(largest.len()).expect("at most connections_max");
        Some((largest[0], count))
    }

    /// Whether it says what these peers say.
    pub(super) fn agrees(&self, peers: &[Option<Peer>]) -> bool {
        let mut anew = Roll::default();
        for (slot, peer) in peers.iter().enumerate() {
            anew.note(slot, peer.as_ref());
        }
        // It has no place yet for slots that nobody was ever in.
        (self.marks.len()..peers.len()).all(|slot| peers[slot].is_none())
            && self.marks.iter().zip(&anew.marks).all(|(a, b)| a == b)
            && self.still.iter().zip(&anew.still).all(|(a, b)| a == b)
            && self.ips.iter().zip(&anew.ips).all(|(a, b)| a == b)
            && self.ids.iter().zip(&anew.ids).all(|(a, b)| a == b)
    }
}

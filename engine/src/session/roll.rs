//! Owns the roll of connections: by slot, what is asked of all of them together.
//!
//! Invariant: it says what the peers say; [`Roll::note`] follows every change of theirs. A question
//! about all peers reads a few lines of memory here, in place of some of each peer.

use std::net::IpAddr;
use std::time::Duration;

use crate::ids::PeerId;
use crate::prefetch;
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

/// Connections of one address that are no crowd: two peers may have dialled each other.
pub(super) const NO_CROWD: u32 = 2;

/// All slots.
#[derive(Debug, Default)]
pub(super) struct Roll {
    marks: Vec<Marks>,
    /// Since when nobody has wanted anything on a connection; never, where somebody does.
    still: Vec<Now>,
    /// Since when a connection has stood; never, before the handshake and of web seeds.
    stands: Vec<Now>,
    ips: Vec<Option<IpAddr>>,
    ids: Vec<Option<PeerId>>,
    /// The ids' tails and their slots, in order: where ids differ, and one number. Two ids may share one.
    by_id: Vec<(u64, usize)>,
    /// Connections of each address, in order of address.
    by_ip: Vec<(IpAddr, u32)>,
    /// Connections beyond the second of their address, of all together: mostly there is no crowd to look for.
    crowd: u32,
}

impl Roll {
    /// Asks for the marks.
    pub(super) fn prefetch(&self) {
        prefetch::front(&*self.marks);
    }

    /// What is known of the peer in this slot changed; `None`: it is gone.
    pub(super) fn note(&mut self, slot: usize, peer: Option<&Peer>) {
        if self.marks.len() <= slot {
            self.marks.resize(slot + 1, Marks::NONE);
            self.still.resize(slot + 1, Now::NEVER);
            self.stands.resize(slot + 1, Now::NEVER);
            self.ips.resize(slot + 1, None);
            self.ids.resize(slot + 1, None);
        }
        self.marks[slot] = peer.map_or(Marks::NONE, Marks::of);
        self.still[slot] = peer.map_or(Now::NEVER, Peer::still_since);
        let stands = peer.filter(|p| p.active() && !p.web);
        self.stands[slot] = stands.map_or(Now::NEVER, |p| p.since);
        let ip = peer.filter(|p| !p.web).map(|p| p.addr.ip());
        if ip != self.ips[slot] {
            self.move_to(slot, ip);
        }
        let id = peer.and_then(|p| p.id);
        if id != self.ids[slot] {
            self.rename(slot, id);
        }
    }

    fn move_to(&mut self, slot: usize, ip: Option<IpAddr>) {
        let before = std::mem::replace(&mut self.ips[slot], ip);
        let place = |by_ip: &[(IpAddr, u32)], ip| by_ip.binary_search_by_key(&ip, |(ip, _)| *ip);
        if let Some(before) = before {
            let place = place(&self.by_ip, before).expect("its connections are counted");
            let (_, there) = &mut self.by_ip[place];
            self.crowd -= u32::from(*there > NO_CROWD);
            *there -= 1;
            if *there == 0 {
                self.by_ip.remove(place);
            }
        }
        if let Some(ip) = ip {
            let place = match place(&self.by_ip, ip) {
                Ok(place) => place,
                Err(place) => {
                    self.by_ip.insert(place, (ip, 0));
                    place
                }
            };
            let (_, there) = &mut self.by_ip[place];
            *there += 1;
            self.crowd += u32::from(*there > NO_CROWD);
        }
    }

    fn rename(&mut self, slot: usize, id: Option<PeerId>) {
        let before = std::mem::replace(&mut self.ids[slot], id);
        if let Some(before) = before {
            let place = self.by_id.binary_search(&(before.tail(), slot));
            self.by_id.remove(place.expect("each is there once"));
        }
        if let Some(id) = id {
            let named = (id.tail(), slot);
            let place = self.by_id.partition_point(|known| *known < named);
            self.by_id.insert(place, named);
        }
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
        long_since(&self.still, time, now)
    }

    /// Slots of connections that have stood for so long, and since when.
    pub(super) fn standing_for(
        &self,
        time: Duration,
        now: Now,
    ) -> impl Iterator<Item = (Now, usize)> + '_ {
        long_since(&self.stands, time, now)
    }

    /// The id of the peer in this slot.
    pub(super) fn id(&self, slot: usize) -> Option<&PeerId> {
        self.ids[slot].as_ref()
    }

    /// The slot of the peer with this id, of those whose address may be its; of several the first.
    pub(super) fn with_id(&self, id: PeerId, its: impl Fn(IpAddr) -> bool) -> Option<usize> {
        let tail = id.tail();
        let from = self.by_id.partition_point(|(known, _)| *known < tail);
        let named = self.by_id[from..].iter();
        let named = named.take_while(|(known, _)| *known == tail);
        let mut named = named.filter(|(_, slot)| self.ids[*slot] == Some(id));
        let found = named.find(|(_, slot)| self.ips[*slot].is_none_or(&its));
        found.map(|(_, slot)| *slot)
    }

    /// Connections to one address, whatever the port.
    pub(super) fn at(&self, ip: IpAddr) -> u32 {
        let place = self.by_ip.binary_search_by_key(&ip, |(ip, _)| *ip);
        place.map_or(0, |place| self.by_ip[place].1)
    }

    /// The address with the most connections, and how many, if more than [`NO_CROWD`]; no loopback address.
    pub(super) fn largest(&self) -> Option<(IpAddr, u32)> {
        if self.crowd == 0 {
            return None;
        }
        let crowds = self.by_ip.iter().copied();
        let crowds = crowds.filter(|(ip, there)| *there > NO_CROWD && !ip.is_loopback());
        crowds.max_by_key(|(_, there)| *there)
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
            && self.stands.iter().zip(&anew.stands).all(|(a, b)| a == b)
            && self.ips.iter().zip(&anew.ips).all(|(a, b)| a == b)
            && self.ids.iter().zip(&anew.ids).all(|(a, b)| a == b)
            && self.by_id == anew.by_id
            && (&self.by_ip, self.crowd) == (&anew.by_ip, anew.crowd)
    }
}

/// Slots whose moment is so long ago, and their moments.
fn long_since(
    moments: &[Now],
    time: Duration,
    now: Now,
) -> impl Iterator<Item = (Now, usize)> + '_ {
    let slots = moments.iter().enumerate();
    let slots = slots.filter(move |(_, since)| since.after(time) <= now);
    slots.map(|(slot, since)| (*since, slot))
}

//! Owns peer exchange (BEP 11): whom we tell of which of our connections, and what we take of what
//! others tell.
//!
//! Invariants: a peer is told at most once per `pex_interval`, never of itself, and only of peers that
//! we are connected to and know where to reach, or were and had told it of; what a peer tells goes to
//! the dial book, whose limits hold for it, and nowhere else. Of private torrents nothing is told and
//! nothing heard (BEP 27).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::EngineConfig;
use crate::time::Now;
use crate::wire::pex::{Pex, REACHABLE, SEED};

use super::blame::Blame;
use super::dial::DialBook;
use super::event::Event;
use super::peer::Peer;
use super::torrent::{Phase, Torrent};

/// The exchange with one peer.
#[derive(Debug, Default)]
pub(super) struct PexTalk {
    /// Its id for `ut_pex`; 0: it takes none.
    id: u8,
    /// Contacts that it knows from us, and was not told to be gone.
    told: Told,
    /// The state of our contacts of which there is nothing more to tell it.
    settled: Option<u64>,
    /// When it may be told next; `None`: it never offered to listen.
    next: Option<Now>,
    /// It was told once already: what follows are differences.
    begun: bool,
    /// When it told us last, and was heeded.
    heard: Option<Now>,
}

/// Addresses that a peer was told, in order: with many peers that know many each, the largest thing that is
/// kept of a connection.
#[derive(Debug, Default)]
struct Told {
    v4: Vec<(Ipv4Addr, u16)>,
    v6: Vec<(Ipv6Addr, u16)>,
}

impl Told {
    fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    fn iter(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let v4 = self.v4.iter().map(|at| SocketAddr::from(*at));
        v4.chain(self.v6.iter().map(|at| SocketAddr::from(*at)))
    }

    fn change<'a>(
        &mut self,
        added: impl Iterator<Item = &'a SocketAddr>,
        dropped: &BTreeSet<SocketAddr>,
    ) {
        if !dropped.is_empty() {
            self.v4.retain(|at| !dropped.contains(&(*at).into()));
            self.v6.retain(|at| !dropped.contains(&(*at).into()));
        }
        for addr in added {
            match addr.ip() {
                IpAddr::V4(ip) => self.v4.push((ip, addr.port())),
                IpAddr::V6(ip) => self.v6.push((ip, addr.port())),
            }
        }
        self.v4.sort_unstable();
        self.v6.sort_unstable();
        self.v4.shrink_to_fit();
        self.v6.shrink_to_fit();
    }
}

/// Whom we are connected to, by address, with their slots: what every peer is told of.
#[derive(Debug, Default)]
pub(super) struct Contacts {
    /// The state of our contacts when this was gathered.
    state: Option<u64>,
    list: Vec<(SocketAddr, usize)>,
}

impl Peer {
    /// Where others can reach it, as far as we know.
    fn contact(&self) -> Option<SocketAddr> {
        match self.inbound {
            // A web server is no peer, and whoever has the metainfo file knows of it.
            false if self.web => None,
            false => Some(self.addr),
            true => Some(SocketAddr::new(self.addr.ip(), self.said.port?)),
        }
    }
}

impl Torrent {
    /// Whether this torrent's peers are told of each other by us.
    pub(super) fn exchanges_peers(&self) -> bool {
        self.config.pex && !self.private
    }

    /// A peer takes `ut_pex` under this id from now on; 0: no more.
    pub(super) fn on_pex_offered(&mut self, slot: usize, id: u8, now: Now) {
        let first = now.after(self.config.pex_delay);
        let exchanges = self.exchanges_peers();
        let talk = &mut self.peer(slot).pex;
        talk.id = id;
        if exchanges && id != 0 {
            let next = *talk.next.get_or_insert(first);
            self.arm_peer(slot, next);
        }
    }

    /// Tells a peer what changed, when it is time.
    pub(super) fn pex_timer(&mut self, slot: usize, now: Now) {
        let talk = &self.peer(slot).pex;
        let Some(next) = talk.next.filter(|_| talk.id != 0) else {
            return;
        };
        if next > now {
            return self.arm_peer(slot, next);
        }
        let following = now.after(self.config.pex_interval);
        self.peer(slot).pex.next = Some(following);
        self.arm_peer(slot, following);
        if self.phase == Phase::Running {
            self.send_pex(slot, now);
        }
    }

    fn send_pex(&mut self, slot: usize, now: Now) {
        let state = Some(self.contacts_state);
        if self.peer(slot).pex.settled == state {
            return;
        }
        self.gather_contacts();
        let contacts = self.contacts_for(slot);
        let config = &self.config;
        let (added_max, dropped_max) = (config.pex_added_max, config.pex_dropped_max as usize);
        // What it was told is bounded, however connections come and go between two messages.
        let told_max = 2 * config.connections_max as usize;
        let first_max = config.pex_first_max;
        let peer = self.peer(slot);
        let talk = &mut peer.pex;
        let room = told_max.saturating_sub(talk.told.len());
        let added_max = if talk.begun { added_max } else { first_max } as usize;
        let (new, gone) = differences(&contacts, &talk.told);
        let added_max = added_max.min(room);
        if new.len() <= added_max && gone.len() <= dropped_max {
            talk.settled = state;
        }
        let dropped: BTreeSet<SocketAddr> = gone.into_iter().take(dropped_max).collect();
        let flags = |addr: SocketAddr| (addr, self.flags_of(addr, slot));
        let added: BTreeMap<_, _> = new.into_iter().take(added_max).map(flags).collect();
        if added.is_empty() && dropped.is_empty() {
            return;
        }
        let peer = self.peer(slot);
        let talk = &mut peer.pex;
        talk.begun = true;
        talk.told.change(added.keys(), &dropped);
        let (id, addr) = (talk.id, peer.addr);
        let (count, gone) = (count(added.len()), count(dropped.len()));
        self.send(slot, Pex { added, dropped }.message(id), now);
        self.emit(Event::PexSent {
            peer: addr,
            added: count,
            dropped: gone,
        });
    }

    /// Gathers whom we are connected to, if that changed.
    fn gather_contacts(&mut self) {
        let state = Some(self.contacts_state);
        if self.contacts.state == state {
            return;
        }
        self.contacts.state = state;
        self.contacts.list.clear();
        for (slot, peer) in self.peers.iter().enumerate() {
            let peer = peer.as_ref().filter(|p| p.active());
            if let Some(addr) = peer.and_then(|p| p.contact()) {
                let addr = SocketAddr::new(addr.ip(), addr.port());
                self.contacts.list.push((addr, slot));
            }
        }
        self.contacts.list.sort_unstable();
    }

    /// Whom the peer in this slot may be told of, in order.
    fn contacts_for(&self, slot: usize) -> Vec<SocketAddr> {
        let to = self.peers[slot].as_ref().expect("the caller looked");
        let itself = to.contact();
        let itself = itself.map(|addr| SocketAddr::new(addr.ip(), addr.port()));
        let others = self.contacts.list.iter().filter(|(addr, other)| {
            // An address of this machine, or of none, means nothing elsewhere.
            *other != slot && Some(*addr) != itself && means_something(addr.ip(), to.addr.ip())
        });
        let mut contacts: Vec<_> = others.map(|(addr, _)| *addr).collect();
        contacts.dedup();
        contacts
    }

    /// What is said of an address: by whoever is connected from there, but for the peer in this slot.
    fn flags_of(&self, addr: SocketAddr, slot: usize) -> u8 {
        let list = &self.contacts.list;
        let first = list.partition_point(|(other, _)| *other < addr);
        let there = list[first..].iter().take_while(|(other, _)| *other == addr);
        let there = there.filter(|(_, other)| *other != slot);
        there.fold(0, |flags, (_, other)| {
            let peer = self.peers[*other].as_ref().expect("it is connected");
            let seed = peer.upload_only || self.bitfields[*other].is_full();
            let seed = if seed { SEED } else { 0 };
            flags | seed | if peer.inbound { 0 } else { REACHABLE }
        })
    }

    /// A peer tells whom it is connected to.
    pub(super) fn on_pex(
        &mut self,
        slot: usize,
        payload: &[u8],
        now: Now,
    ) -> Result<(), &'static str> {
        let me = self.our_ip.map(|(ip, _)| SocketAddr::new(ip, self.port));
        let hearing = Hearing {
            peers: &mut self.peers,
            dial: &mut self.dial,
            blame: &self.blame,
            config: &self.config,
            me,
        };
        let event = hearing.hear(slot, payload, now)?;
        let learned = matches!(event, Event::PexReceived { learned: 1.., .. });
        self.emit(event);
        if learned {
            self.find_peers(now);
        }
        Ok(())
    }
}

/// What hearing of contacts takes, with and without metainfo.
pub(super) struct Hearing<'a> {
    pub(super) peers: &'a mut [Option<Peer>],
    pub(super) dial: &'a mut DialBook,
    pub(super) blame: &'a Blame,
    pub(super) config: &'a EngineConfig,
    /// Our own address, as far as we know.
    pub(super) me: Option<SocketAddr>,
}

impl Hearing<'_> {
    /// Takes what the peer in this slot tells; returns what to emit.
    pub(super) fn hear(self, slot: usize, payload: &[u8], now: Now) -> Result<Event, &'static str> {
        let config = self.config;
        let peer = self.peers[slot].as_mut().expect("the caller looked");
        let (addr, sender) = (peer.addr, peer.sender);
        let pause = config.pex_interval_min;
        if peer.pex.heard.is_some_and(|heard| now < heard.after(pause)) {
            return Ok(Event::PexIgnored { peer: addr });
        }
        let added_max = match peer.pex.heard.replace(now) {
            Some(_) => config.pex_added_max,
            None => config.pex_first_max,
        };
        let pex = Pex::read(payload, added_max as usize, config.pex_dropped_max as usize)
            .map_err(|_| "a peer exchange that is none")?;
        let told = pex.added.iter().filter(|(contact, _)| {
            means_something(contact.ip(), addr.ip())
                && Some(**contact) != self.me
                && !self.blame.banned_addr(**contact)
        });
        let told = told.map(|(contact, flags)| (*contact, flags & SEED != 0));
        let learned = self.dial.learn_from_peer(told, sender, config);
        // Who is connected already, by a dial of its own, is not dialled.
        let unnamed = pex
            .added
            .keys()
            .any(|contact| self.dial.is_unnamed(*contact));
        for peer in self.peers.iter().flatten().filter(|_| unnamed) {
            if let (Some(contact), Some(id)) = (peer.contact(), peer.id)
                && pex.added.contains_key(&contact)
            {
                self.dial.seen_id(contact, id);
            }
        }
        Ok(Event::PexReceived {
            peer: addr,
            added: count(pex.added.len()),
            dropped: count(pex.dropped.len()),
            learned,
        })
    }
}

/// What is in the first list alone, and what in the second; both are in order.
fn differences(contacts: &[SocketAddr], told: &Told) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
    let (mut new, mut gone) = (Vec::new(), Vec::new());
    let mut told = told.iter().peekable();
    for addr in contacts {
        while let Some(before) = told.next_if(|told| told < addr) {
            gone.push(before);
        }
        if told.next_if_eq(addr).is_none() {
            new.push(*addr);
        }
    }
    gone.extend(told);
    (new, gone)
}

fn count(contacts: usize) -> u32 {
    u32::try_from(contacts).expect("an extension message is bounded")
}

/// Whether an address can be a peer's for both ends of a connection: neither nobody's nor everybody's,
/// and one of this machine only between two ends on it.
fn means_something(contact: IpAddr, other_end: IpAddr) -> bool {
    let broadcast = matches!(contact, IpAddr::V4(ip) if ip.is_broadcast());
    let nobody = contact.is_unspecified() || contact.is_multicast() || broadcast;
    !nobody && (!contact.is_loopback() || other_end.is_loopback())
}

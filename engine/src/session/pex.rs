//! Owns peer exchange (BEP 11): whom we tell of which of our connections, and what we take of what
//! others tell.
//!
//! Invariants: a peer is told at most once per `pex_interval`, never of itself, and only of peers that
//! we are connected to and know where to reach, or were and had told it of; what a peer tells goes to
//! the dial book, whose limits hold for it, and nowhere else. Of private torrents nothing is told and
//! nothing heard (BEP 27).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

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
    /// Contacts that it knows from us, and was not told to be gone; in order.
    told: Vec<SocketAddr>,
    /// The state of our contacts of which there is nothing more to tell it.
    settled: Option<u64>,
    /// When it may be told next; `None`: it never offered to listen.
    next: Option<Now>,
    /// It was told once already: what follows are differences.
    begun: bool,
    /// When it told us last, and was heeded.
    heard: Option<Now>,
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
            self.arm(next);
        }
    }

    /// Tells a peer what changed, when it is time.
    pub(super) fn pex_timer(&mut self, slot: usize, now: Now) {
        let talk = &self.peer(slot).pex;
        let Some(next) = talk.next.filter(|_| talk.id != 0) else {
            return;
        };
        if next > now {
            return self.arm(next);
        }
        let following = now.after(self.config.pex_interval);
        self.peer(slot).pex.next = Some(following);
        self.arm(following);
        if self.phase == Phase::Running {
            self.send_pex(slot, now);
        }
    }

    fn send_pex(&mut self, slot: usize, now: Now) {
        let state = Some(self.contacts_state);
        if self.peer(slot).pex.settled == state {
            return;
        }
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
        let added: BTreeMap<SocketAddr, u8> = new.into_iter().take(added_max).collect();
        let dropped: BTreeSet<SocketAddr> = gone.into_iter().take(dropped_max).collect();
        if added.is_empty() && dropped.is_empty() {
            return;
        }
        talk.begun = true;
        talk.told.retain(|addr| !dropped.contains(addr));
        talk.told.extend(added.keys());
        talk.told.sort_unstable();
        let (id, addr) = (talk.id, peer.addr);
        let (count, gone) = (count(added.len()), count(dropped.len()));
        self.send(slot, Pex { added, dropped }.message(id), now);
        self.emit(Event::PexSent {
            peer: addr,
            added: count,
            dropped: gone,
        });
    }

    /// Whom we are connected to, but for the peer in this slot, with their flags; in order.
    fn contacts_for(&self, slot: usize) -> Vec<(SocketAddr, u8)> {
        let to = self.peers[slot].as_ref().expect("the caller looked");
        let itself = to.contact();
        let mut contacts = Vec::with_capacity(self.peers.len());
        for (other, peer) in self.peers.iter().enumerate() {
            let Some(peer) = peer.as_ref().filter(|p| other != slot && p.active()) else {
                continue;
            };
            let Some(addr) = peer.contact().filter(|addr| Some(*addr) != itself) else {
                continue;
            };
            // An address of this machine, or of none, means nothing elsewhere.
            if !means_something(addr.ip(), to.addr.ip()) {
                continue;
            }
            let seed = peer.said.upload_only || self.bitfields[other].is_full();
            let seed = if seed { SEED } else { 0 };
            contacts.push((addr, seed | if peer.inbound { 0 } else { REACHABLE }));
        }
        contacts.sort_unstable();
        contacts.dedup_by(|again, first| {
            let same = again.0 == first.0;
            first.1 |= if same { again.1 } else { 0 };
            same
        });
        contacts
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
    pub(super) peers: &'a mut [Option<Box<Peer>>],
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
fn differences(
    contacts: &[(SocketAddr, u8)],
    told: &[SocketAddr],
) -> (Vec<(SocketAddr, u8)>, Vec<SocketAddr>) {
    let (mut new, mut gone) = (Vec::new(), Vec::new());
    let mut told = told.iter().peekable();
    for (addr, flags) in contacts {
        while let Some(before) = told.next_if(|told| *told < addr) {
            gone.push(*before);
        }
        if told.next_if_eq(&addr).is_none() {
            new.push((*addr, *flags));
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

//! Owns peer exchange (BEP 11): whom we tell of which of our connections, and what we take of what
//! others tell.
//!
//! Invariants: a peer is told at most once per `pex_interval`, never of itself, and only of peers that
//! we are connected to and know where to reach, or were and had told it of; whose time has come is told
//! in the next choke round, so that nobody is woken for one of them; what a peer tells goes to
//! the dial book, whose limits hold for it, and nowhere else. Of private torrents nothing is told and
//! nothing heard (BEP 27).

use std::cmp::Ordering;
use std::net::{IpAddr, SocketAddr};

use crate::config::EngineConfig;
use crate::time::Now;
use crate::wire::pex::{Pex, REACHABLE, Rank, SEED};

use super::addresses::Addresses;
use super::blame::Blame;
use super::dial::{DialBook, Told};
use super::event::Event;
use super::peer::Peer;
use super::roll::Roll;
use super::torrent::Torrent;

/// The exchange with one peer.
#[derive(Debug, Default)]
pub(super) struct PexTalk {
    /// Its id for `ut_pex`; 0: it takes none.
    id: u8,
    /// Contacts that it knows from us, and was not told to be gone: with many peers that know many each, the
    /// largest thing that is kept of a connection.
    told: Addresses,
    /// The state of our contacts of which there is nothing more to tell it.
    settled: Option<u64>,
    /// It was told once already: what follows are differences.
    begun: bool,
    /// When it told us last, and was heeded.
    heard: Option<Now>,
}

/// When a peer is told next.
#[derive(Clone, Copy, Default, Debug)]
enum Turn {
    /// It never offered to listen.
    #[default]
    Never,
    /// In the first choke round from then on.
    From(Now),
    /// It knows all there is to tell, and may be told of a change from then on.
    Content(Now),
}

/// Whom we are connected to: what every peer is told of.
#[derive(Debug, Default)]
pub(super) struct Contacts {
    /// By slot. Where nobody comes and goes no peer is looked at.
    turns: Vec<Turn>,
    /// The state in which they were told last that there is something new.
    stirred: u64,
    /// Changes whenever the list does.
    state: u64,
    /// In order of address.
    list: Vec<Contact>,
}

/// A peer that we are connected to and know where to reach.
#[derive(Debug)]
struct Contact {
    addr: SocketAddr,
    /// What its place in the list depends on, before its slot.
    rank: Rank,
    slot: usize,
    /// We dialled it.
    reachable: bool,
}

impl Contacts {
    fn place(&self, addr: SocketAddr, slot: usize) -> Result<usize, usize> {
        self.list
            .binary_search_by_key(&(Rank::of(addr), slot), |c| (c.rank, c.slot))
    }

    /// The peer in this slot listens; it may be told from then on, if nothing was said of it yet.
    fn listens(&mut self, slot: usize, first: Now) {
        if self.turns.len() <= slot {
            self.turns.resize(slot + 1, Turn::Never);
        }
        if matches!(self.turns[slot], Turn::Never) {
            self.turns[slot] = Turn::From(first);
        }
    }

    /// Where the peer in this slot can be reached is known now, if it is.
    pub(super) fn add(&mut self, slot: usize, peer: &Peer) {
        if let Some(addr) = peer.contact()
            && let Err(at) = self.place(addr, slot)
        {
            let reachable = !peer.inbound;
            let contact = Contact {
                rank: Rank::of(addr),
                addr,
                slot,
                reachable,
            };
            self.list.insert(at, contact);
            self.state += 1;
        }
    }

    /// The peer in this slot says where it listens, if it does.
    pub(super) fn moved(&mut self, slot: usize, peer: &mut Peer, port: Option<u16>) {
        if port.is_some_and(|port| peer.said.port != Some(port)) {
            self.remove(slot, peer);
            peer.said.port = port;
            self.add(slot, peer);
        }
    }

    /// The peer in this slot is not there any more.
    pub(super) fn gone(&mut self, slot: usize, peer: &Peer) {
        if let Some(turn) = self.turns.get_mut(slot) {
            *turn = Turn::Never;
        }
        self.remove(slot, peer);
    }

    fn remove(&mut self, slot: usize, peer: &Peer) {
        if let Some(addr) = peer.contact()
            && let Ok(at) = self.place(addr, slot)
        {
            self.list.remove(at);
            self.state += 1;
        }
    }
}

impl Peer {
    /// Where others can reach it, as far as we know.
    pub(super) fn contact(&self) -> Option<SocketAddr> {
        let port = match self.inbound {
            // A web server is no peer, and whoever has the metainfo file knows of it.
            false if self.web => return None,
            false => self.addr.port(),
            true => self.said.port?,
        };
        Some(SocketAddr::new(self.addr.ip(), port))
    }
}

impl Torrent {
    /// Whether this torrent's peers are told of each other by us.
    pub(super) fn exchanges_peers(&self) -> bool {
        self.config.pex && !self.private
    }

    /// A peer takes `ut_pex` under this id from now on; 0: no more.
    pub(super) fn on_pex_offered(&mut self, slot: usize, id: u8, now: Now) {
        self.peer(slot).pex.id = id;
        if self.exchanges_peers() && id != 0 {
            let first = now.after(self.config.pex_delay);
            self.contacts.listens(slot, first);
        }
    }

    /// Tells those whose time has come what changed.
    pub(super) fn pex_round(&mut self, now: Now) {
        for slot in 0..self.contacts.turns.len() {
            let Turn::From(due) = self.contacts.turns[slot] else {
                continue;
            };
            if due > now || self.peer(slot).pex.id == 0 {
                continue;
            }
            let told = self.send_pex(slot, now);
            let following = now.after(self.config.pex_interval);
            let state = Some(self.contacts.state);
            let all = self.peer(slot).pex.settled == state;
            self.contacts.turns[slot] = match (all, told) {
                (true, true) => Turn::Content(following),
                (true, false) => Turn::Content(due),
                (false, _) => Turn::From(following),
            };
        }
    }

    /// Perhaps somebody came or went: those who knew all there was are told of it soon.
    pub(super) fn contacts_changed(&mut self, now: Now) {
        if self.contacts.stirred == self.contacts.state {
            return;
        }
        self.contacts.stirred = self.contacts.state;
        let soon = now.after(self.config.pex_delay);
        for turn in &mut self.contacts.turns {
            if let Turn::Content(next) = *turn {
                *turn = Turn::From(next.max(soon));
            }
        }
    }

    /// Tells a peer what changed; whether anything did.
    fn send_pex(&mut self, slot: usize, now: Now) -> bool {
        let state = Some(self.contacts.state);
        if self.peer(slot).pex.settled == state {
            return false;
        }
        let (change, all) = self.pex_change(slot);
        let peer = self.peer(slot);
        let talk = &mut peer.pex;
        if all {
            talk.settled = state;
        }
        if change.added.is_empty() && change.dropped.is_empty() {
            return false;
        }
        talk.begun = true;
        let added = change.added.iter().map(|(addr, _)| *addr);
        talk.told.change(added, &change.dropped);
        let (id, addr) = (talk.id, peer.addr);
        self.send(slot, change.message(id), now);
        self.emit(Event::PexSent {
            peer: addr,
            added: count(change.added.len()),
            dropped: count(change.dropped.len()),
        });
        true
    }

    /// What the peer in this slot is to be told, and whether that is all there is: what it was told before
    /// and our contacts are walked side by side.
    fn pex_change(&self, slot: usize) -> (Pex, bool) {
        let config = &self.config;
        let to = self.peers[slot].as_ref().expect("the caller looked");
        let (talk, itself) = (&to.pex, to.contact());
        let (first, later) = (config.pex_first_max, config.pex_added_max);
        let added_max = if talk.begun { later } else { first } as usize;
        // What it was told is bounded, however connections come and go between two messages.
        let told_max = 2 * config.connections_max as usize;
        let added_max = added_max.min(told_max.saturating_sub(talk.told.len()));
        let dropped_max = config.pex_dropped_max as usize;
        let mut change = Pex::default();
        let mut all = true;
        let mut leaves = |change: &mut Pex, addr| match change.dropped.len() < dropped_max {
            true => change.dropped.push(addr),
            false => all = false,
        };
        let mut all_added = true;
        let mut told = talk.told.iter();
        let mut next_told = told.next();
        for there in self.contacts.list.chunk_by(|a, b| a.rank == b.rank) {
            let addr = there[0].addr;
            // An address of this machine, or of none, means nothing elsewhere.
            if there.iter().all(|c| c.slot == slot)
                || Some(addr) == itself
                || !means_something(addr.ip(), to.addr.ip())
            {
                continue;
            }
            let mut known = false;
            let rank = there[0].rank;
            while let Some(before) = next_told {
                match Rank::of(before).cmp(&rank) {
                    Ordering::Less => leaves(&mut change, before),
                    Ordering::Equal => known = true,
                    Ordering::Greater => break,
                }
                next_told = told.next();
            }
            if known {
                continue;
            }
            if change.added.len() < added_max {
                let others = there.iter().filter(|c| c.slot != slot);
                let flags = others.map(|c| self.pex_flags(c));
                change.added.push((addr, flags.fold(0, |all, f| all | f)));
            } else {
                all_added = false;
            }
        }
        for before in next_told.into_iter().chain(told) {
            leaves(&mut change, before);
        }
        (change, all && all_added)
    }

    fn pex_flags(&self, contact: &Contact) -> u8 {
        let peer = self.peers[contact.slot].as_ref();
        let peer = peer.expect("a contact is connected");
        let seed = peer.upload_only || self.bitfields[contact.slot].is_full();
        let seed = if seed { SEED } else { 0 };
        seed | if contact.reachable { REACHABLE } else { 0 }
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
            peer: self.peers[slot].as_mut().expect("the caller looked"),
            contacts: &self.contacts,
            roll: &self.roll,
            dial: &mut self.dial,
            blame: &self.blame,
            config: &self.config,
            me,
        };
        let event = hearing.hear(payload, now)?;
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
    /// Who tells.
    pub(super) peer: &'a mut Peer,
    pub(super) contacts: &'a Contacts,
    pub(super) roll: &'a Roll,
    pub(super) dial: &'a mut DialBook,
    pub(super) blame: &'a Blame,
    pub(super) config: &'a EngineConfig,
    /// Our own address, as far as we know.
    pub(super) me: Option<SocketAddr>,
}

impl Hearing<'_> {
    /// Takes what a peer tells; returns what to emit.
    pub(super) fn hear(self, payload: &[u8], now: Now) -> Result<Event, &'static str> {
        let (config, peer) = (self.config, self.peer);
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
                && Some(*contact) != self.me
                && !self.blame.banned_addr(*contact)
        });
        // Both are in order: one walk finds who is connected already.
        let mut contacts = self.contacts.list.as_slice();
        let told = told.map(|(addr, flags)| {
            let mut connected = None;
            let place = Rank::of(*addr);
            while let [next, rest @ ..] = contacts {
                match next.rank.cmp(&place) {
                    Ordering::Less => {}
                    Ordering::Equal => connected = Some(next.slot),
                    Ordering::Greater => break,
                }
                contacts = rest;
            }
            Told {
                addr,
                seed: flags & SEED != 0,
                id: connected.and_then(|slot| self.roll.id(slot)),
            }
        });
        let learned = self.dial.learn_from_peer(told, sender, config);
        Ok(Event::PexReceived {
            peer: addr,
            added: count(pex.added.len()),
            dropped: count(pex.dropped.len()),
            learned,
        })
    }
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

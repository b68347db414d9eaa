//! Owns the addresses that may be dialled, and when.
//!
//! Invariant: an address is dialled at most once at a time, never while a peer known to live there
//! is connected, and less and less often while it does not answer. Bounded; what peers tell never
//! takes the place of what trackers told, and no peer fills the book alone. While nothing changes the
//! book is not searched for somebody to dial.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::config::EngineConfig;
use crate::ids::PeerId;
use crate::time::Now;
use crate::tracker::announce::PeerAddr;

use super::addresses::Addresses;
use super::blame::SenderId;

mod choosing;

/// A dial that waited for so long probably leads to nobody (TCP has tried three times).
const HOPELESS_AFTER: Duration = Duration::from_secs(4);

/// What is known of one address.
#[derive(Clone, Debug)]
struct Contact {
    state: State,
    /// Dials in a row that led to nothing.
    failures: u8,
    /// Not before this.
    next: Now,
    /// Who lives there: told by the tracker, or seen in a handshake. Of most nobody knows.
    id: Option<Box<PeerId>>,
    /// Told by the tracker: a handshake with another id is refused.
    id_told: bool,
    /// Seen to have everything or to want nothing more, or told so by who told the address.
    seed: bool,
    /// The peer that told it; nobody: a tracker or the user, whose word counts for more.
    teller: SenderId,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Idle,
    /// Since when is in the book's list of dials.
    Dialling,
    Connected,
    /// Ourselves, or banned.
    Never,
}

impl Contact {
    /// A contact that may be dialled at once.
    fn new(teller: SenderId) -> Contact {
        Contact {
            state: State::Idle,
            failures: 0,
            next: Now::START,
            id: None,
            id_told: false,
            seed: false,
            teller,
        }
    }

    /// What trackers told comes first, and who did not answer twice in a row comes later.
    fn turn(&self) -> Turn {
        (self.hearsay(), self.failures.saturating_sub(1))
    }

    /// Told by a peer alone.
    fn hearsay(&self) -> bool {
        self.teller != SenderId::NOBODY
    }
}

/// What a peer tells of somebody.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'a> {
    pub(super) addr: &'a SocketAddr,
    /// It has everything, as the teller says.
    pub(super) seed: bool,
    /// Who lives there, as we know ourselves: it is connected already, by a dial of its own.
    pub(super) id: Option<&'a PeerId>,
}

/// Whether two addresses may be those of one host: the same, or one of each family.
pub(super) fn same_host(a: IpAddr, b: IpAddr) -> bool {
    a == b || a.is_ipv4() != b.is_ipv4()
}

/// Who is worth a dial.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Wanted {
    /// Seeds are of no use: we have everything.
    pub(super) seeding: bool,
    /// Only addresses that have neither a connection nor a dial.
    pub(super) elsewhere: bool,
}

/// All known addresses.
#[derive(Clone, Debug, Default)]
pub(super) struct DialBook {
    addrs: Addresses,
    /// What is known of each, in the same order: a search for somebody to dial reads it from end to end.
    contacts: Vec<Contact>,
    /// Addresses that are being dialled, and since when, oldest first.
    dials: Vec<(Now, SocketAddr)>,
    /// The last search found nobody to dial.
    quiet: Option<Quiet>,
    /// Hosts where nobody shook hands yet, of those that were dialled in vain.
    barren: BTreeMap<IpAddr, Barren>,
    /// The most ports that any of them ever had: mostly too few for somebody to be passed over.
    ports_most: u32,
    /// Room for a search.
    alike: Vec<usize>,
}

/// In which turn a contact is dialled: the lowest first.
type Turn = (bool, u8);

/// A host where dials led to nobody.
#[derive(Clone, Copy, Debug)]
struct Barren {
    /// Ports of it that were dialled.
    ports: u32,
    /// When further ones may be.
    until: Now,
}

/// That nobody may be dialled: it holds until something in the book changes or a connection ends.
#[derive(Clone, Copy, Debug)]
struct Quiet {
    /// It was asked for who is of use to a seed.
    seeding: bool,
    /// Then the first idle address may be dialled.
    until: Now,
}

impl DialBook {
    /// Takes addresses from a tracker, up to the maximum, but those that are refused.
    pub(super) fn learn(&mut self, peers: &[PeerAddr], me: PeerId, config: &EngineConfig) {
        for peer in peers {
            let refused = config.ip_filter.refuses(peer.addr.ip());
            if peer.id == Some(me) || peer.addr.port() == 0 || refused {
                continue;
            }
            // An IPv4 address in IPv6's clothes is that address: it has one place and one cap.
            let addr = SocketAddr::new(peer.addr.ip().to_canonical(), peer.addr.port());
            let full = self.contacts.len() >= config.addresses_max as usize;
            let known = self.knows(addr);
            if full && !known && !self.forget_worst(false) && !self.forget_hearsay() {
                continue;
            }
            if !known {
                self.insert(addr, Contact::new(SenderId::NOBODY));
            }
            self.quiet = None;
            let contact = self.get_mut(addr).expect("just seen or inserted");
            contact.teller = SenderId::NOBODY;
            if let Some(id) = peer.id {
                contact.id = Some(Box::new(id));
                contact.id_told = true;
            }
        }
    }

    /// Takes addresses that a peer told, in their order, up to `pex_contacts_max` of one teller; how many were
    /// new. They take no place from what trackers told.
    pub(super) fn learn_from_peer<'a>(
        &mut self,
        told: impl Iterator<Item = Told<'a>>,
        teller: SenderId,
        config: &EngineConfig,
    ) -> u32 {
        let mut new = Vec::new();
        // Behind the one before.
        let mut from = 0;
        for told in told.filter(|told| told.addr.port() != 0) {
            match self.addrs.place_from(from, *told.addr) {
                Err(place) => {
                    from = place;
                    if !config.ip_filter.refuses(told.addr.ip()) {
                        new.push(told);
                    }
                }
                Ok(place) => {
                    from = place + 1;
                    if let Some(id) = told.id {
                        self.name(place, id);
                    }
                }
            }
        }
        if new.is_empty() {
            return 0;
        }
        self.quiet = None;
        let its = self.contacts.iter().filter(|c| c.teller == teller);
        let room = (config.pex_contacts_max as usize).saturating_sub(its.count());
        let mut learned = 0;
        for told in new.into_iter().take(room) {
            let full = self.contacts.len() >= config.addresses_max as usize;
            if full && !self.forget_worst(true) {
                break;
            }
            let mut contact = Contact::new(teller);
            contact.seed = told.seed;
            contact.id = told.id.copied().map(Box::new);
            self.insert(*told.addr, contact);
            learned += 1;
        }
        learned
    }

    /// Adds an address that is not known.
    fn insert(&mut self, addr: SocketAddr, contact: Contact) {
        self.quiet = None;
        if let Err(place) = self.addrs.place(addr) {
            self.addrs.insert(place, addr);
            self.contacts.insert(place, contact);
        }
    }

    fn knows(&self, addr: SocketAddr) -> bool {
        self.addrs.place(addr).is_ok()
    }

    fn get(&self, addr: SocketAddr) -> Option<&Contact> {
        self.addrs.place(addr).ok().map(|at| &self.contacts[at])
    }

    fn get_mut(&mut self, addr: SocketAddr) -> Option<&mut Contact> {
        let place = self.addrs.place(addr).ok();
        place.map(|at| &mut self.contacts[at])
    }

    /// Addresses that are being dialled.
    pub(super) fn dialled(&self) -> Vec<SocketAddr> {
        let mut dialled: Vec<_> = self.dials.iter().map(|(_, addr)| *addr).collect();
        dialled.sort_unstable();
        dialled
    }

    /// The addresses that are worth passing on: told by trackers or the user, or connected.
    pub(super) fn worth(&self) -> Vec<PeerAddr> {
        let contacts = self.addrs.iter().zip(&self.contacts);
        let worth = contacts.filter(|(_, c)| match c.state {
            State::Never => false,
            State::Connected => true,
            State::Idle | State::Dialling => !c.hearsay(),
        });
        let worth = worth.map(|(addr, c)| PeerAddr {
            addr,
            id: c.id.as_deref().copied().filter(|_| c.id_told),
        });
        worth.collect()
    }

    /// Forgets every address that is not being dialled; bans and ourselves are remembered.
    pub(super) fn forget(&mut self) {
        let keep = |c: &Contact| matches!(c.state, State::Dialling | State::Never);
        let mut kept = self.contacts.iter().map(keep);
        self.addrs.retain(|_| kept.next() == Some(true));
        self.contacts.retain(keep);
        self.quiet = None;
    }

    /// Forgets the idle address that failed most often, if one failed at all; with `hearsay` only
    /// among those that peers told.
    fn forget_worst(&mut self, hearsay: bool) -> bool {
        let idle = self.contacts.iter().enumerate();
        let failing = idle.filter(|(_, c)| c.state == State::Idle && c.failures > 0);
        let failing = failing.filter(|(_, c)| !hearsay || c.hearsay());
        let worst = failing.max_by_key(|(_, c)| c.failures);
        let worst = worst.map(|(place, _)| place);
        self.remove(worst)
    }

    /// Forgets an idle address that a peer told: a tracker has a better one.
    fn forget_hearsay(&mut self) -> bool {
        let mut idle = self.contacts.iter();
        let found = idle.position(|c| c.state == State::Idle && c.hearsay());
        self.remove(found)
    }

    /// Whether there was somebody to forget.
    fn remove(&mut self, place: Option<usize>) -> bool {
        let Some(place) = place else { return false };
        self.quiet = None;
        self.addrs.remove(place);
        self.contacts.remove(place);
        true
    }

    /// Dials to one address, whatever the port.
    fn dialling_at(&self, ip: IpAddr) -> u32 {
        let taken = self.dials.iter().filter(|(_, addr)| addr.ip() == ip);
        u32::try_from(taken.count()).expect("at most dials_max")
    }

    /// Ports of a host that were dialled, without a handshake at any of them.
    fn tried_at(&self, ip: IpAddr, now: Now) -> u32 {
        let barren = self.barren.get(&ip);
        barren.filter(|b| now < b.until).map_or(0, |b| b.ports)
    }

    /// Whether some host may have had so many ports dialled in vain that others of it are not for now.
    fn any_barren(&self, config: &EngineConfig) -> bool {
        self.ports_most >= config.dial_ports_max.max(1)
    }

    /// Whether so many ports of an address's host were dialled in vain that no further one is for now.
    fn is_barren(&self, place: usize, now: Now, config: &EngineConfig) -> bool {
        self.any_barren(config) && {
            let ip = self.addrs.get(place).ip();
            self.tried_at(ip, now) >= config.dial_ports_max.max(1)
        }
    }

    /// When further ports of some host may be dialled.
    fn next_port(&self, now: Now, config: &EngineConfig) -> Now {
        if !self.any_barren(config) {
            return Now::NEVER;
        }
        let later = self.barren.values().map(|b| b.until);
        let later = later.filter(|until| *until > now);
        later.min().unwrap_or(Now::NEVER)
    }

    /// A port of a host was dialled for the first time, and nobody shook hands.
    fn port_failed(&mut self, ip: IpAddr, now: Now, config: &EngineConfig) {
        if ip.is_loopback() {
            return;
        }
        let max = config.addresses_max as usize;
        if self.barren.len() >= max {
            self.barren.retain(|_, b| now < b.until);
        }
        if self.barren.len() >= max && !self.barren.contains_key(&ip) {
            return;
        }
        let ports = self.tried_at(ip, now) + 1;
        self.ports_most = self.ports_most.max(ports);
        let until = now.after(config.dial_backoff_max);
        self.barren.insert(ip, Barren { ports, until });
    }

    /// A connection ended: who is there may be dialled again.
    pub(super) fn left(&mut self) {
        self.quiet = None;
    }

    /// A dial was answered by a connection.
    pub(super) fn connected(&mut self, addr: SocketAddr) {
        self.leave_dialling(addr);
        if let Some(contact) = self.get_mut(addr) {
            contact.state = State::Connected;
        }
    }

    /// A dial was not answered.
    pub(super) fn failed(&mut self, addr: SocketAddr, now: Now, config: &EngineConfig) {
        self.leave_dialling(addr);
        self.back_off(addr, now, config);
    }

    /// A connection that we dialled ended. One that was of use is dialled again soon, others later.
    pub(super) fn ended(
        &mut self,
        addr: SocketAddr,
        of_use: bool,
        now: Now,
        config: &EngineConfig,
    ) {
        if of_use && let Some(contact) = self.get_mut(addr) {
            contact.failures = 0;
        }
        self.back_off(addr, now, config);
    }

    fn back_off(&mut self, addr: SocketAddr, now: Now, config: &EngineConfig) {
        self.quiet = None;
        let ip = addr.ip();
        let first = self.get(addr).is_some_and(|c| {
            // An id that was told and not seen says nothing.
            c.failures == 0 && (c.id.is_none() || c.id_told) && c.state != State::Never
        });
        if first {
            self.port_failed(ip, now, config);
        }
        let at_host = self.tried_at(ip, now).saturating_sub(1);
        let Some(contact) = self.get_mut(addr) else {
            return;
        };
        if contact.state == State::Never {
            return;
        }
        contact.state = State::Idle;
        // Of one host all ports count.
        let times = u32::from(contact.failures).max(at_host).min(16);
        let doubled = config.dial_backoff_min.saturating_mul(1 << times);
        contact.next = now.after(doubled.min(config.dial_backoff_max));
        contact.failures = contact.failures.saturating_add(1);
    }

    fn leave_dialling(&mut self, addr: SocketAddr) {
        if let Some(at) = self.dials.iter().position(|(_, dialled)| *dialled == addr) {
            self.dials.remove(at);
        }
    }

    /// The id that a tracker named for an address.
    pub(super) fn told_id(&self, addr: SocketAddr) -> Option<PeerId> {
        self.get(addr)
            .filter(|c| c.id_told)
            .and_then(|c| c.id.as_deref().copied())
    }

    /// A handshake at this address showed who lives there.
    pub(super) fn seen_id(&mut self, addr: SocketAddr, id: PeerId) {
        if self.barren.remove(&addr.ip()).is_some() {
            self.quiet = None;
        }
        if let Ok(place) = self.addrs.place(addr) {
            self.name(place, &id);
        }
    }

    fn name(&mut self, place: usize, id: &PeerId) {
        // What the tracker told stands: somebody else may claim the port.
        let contact = &mut self.contacts[place];
        if !contact.id_told && contact.id.as_deref() != Some(id) {
            contact.id = Some(Box::new(*id));
            self.quiet = None;
        }
    }

    /// Whoever is at this address was of no use for long: others are dialled before it.
    pub(super) fn spurn(&mut self, addr: SocketAddr) {
        if let Some(contact) = self.get_mut(addr) {
            contact.failures = contact.failures.saturating_add(2);
        }
    }

    /// The peer at this address has everything, or wants nothing more.
    pub(super) fn seen_seed(&mut self, addr: SocketAddr) {
        if let Some(contact) = self.get_mut(addr) {
            contact.seed = true;
        }
    }

    /// This address is never dialled again: ourselves, or banned.
    pub(super) fn never(&mut self, addr: SocketAddr) {
        self.leave_dialling(addr);
        self.quiet = None;
        if let Some(contact) = self.get_mut(addr) {
            contact.state = State::Never;
        }
    }

    /// Dials that had no answer in time; they count as failed.
    pub(super) fn overdue(&mut self, now: Now, config: &EngineConfig) -> Vec<SocketAddr> {
        let late = self.dials.iter();
        let late = late.take_while(|(since, _)| since.after(config.connect_timeout) <= now);
        let mut overdue: Vec<_> = late.map(|(_, addr)| *addr).collect();
        overdue.sort_unstable();
        for addr in &overdue {
            self.failed(*addr, now, config);
        }
        overdue
    }

    /// Dials waiting for an answer.
    pub(super) fn dialling(&self) -> u32 {
        u32::try_from(self.dials.len()).expect("at most dials_max")
    }

    /// Of them: those that may well be answered.
    pub(super) fn hopeful(&self, now: Now) -> u32 {
        let hopeless = |(since, _): &(Now, SocketAddr)| since.after(HOPELESS_AFTER) <= now;
        let hopeful = self.dials.len() - self.dials.partition_point(hopeless);
        u32::try_from(hopeful).expect("at most dials_max")
    }

    /// When something here is due: a dial to give up, or, with `room` for one, an address to dial.
    pub(super) fn next_due(&self, room: bool, now: Now, config: &EngineConfig) -> Now {
        let oldest = self.dials.first();
        let given_up = oldest.map_or(Now::NEVER, |(since, _)| since.after(config.connect_timeout));
        let idle = match self.quiet {
            _ if !room => Now::NEVER,
            Some(quiet) if now < quiet.until => quiet.until,
            _ => self.next_idle(now),
        };
        given_up.min(idle)
    }
}

#[cfg(test)]
mod tests;

//! Owns the addresses that may be dialled, and when.
//!
//! Invariant: an address is dialled at most once at a time, never while a peer known to live there
//! is connected, and less and less often while it does not answer. Bounded; what peers tell never
//! takes the place of what trackers told, and no peer fills the book alone. While nothing changes the
//! book is not searched for somebody to dial.

use std::net::{IpAddr, SocketAddr};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::config::EngineConfig;
use crate::ids::PeerId;
use crate::time::Now;
use crate::tracker::announce::PeerAddr;

use super::blame::SenderId;
use super::peer::Peer;

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
    /// Seen to have everything, or told so by who told the address.
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

    /// Told by a peer alone.
    fn hearsay(&self) -> bool {
        self.teller != SenderId::NOBODY
    }
}

/// The connections that there are, for what speaks against one more.
#[derive(Clone, Copy)]
pub(super) struct Neighbours<'a>(pub(super) &'a [Option<Box<Peer>>]);

impl Neighbours<'_> {
    /// The ids of connected peers, in order.
    fn ids(self) -> Vec<PeerId> {
        let mut ids: Vec<_> = self.0.iter().flatten().filter_map(|p| p.id).collect();
        ids.sort_unstable();
        ids
    }

    /// Connections to one address, whatever the port.
    pub(super) fn at(self, ip: IpAddr) -> u32 {
        let there = self.0.iter().flatten();
        let there = there.filter(|p| !p.web && p.addr.ip() == ip);
        u32::try_from(there.count()).expect("at most connections_max")
    }
}

/// All known addresses.
#[derive(Debug, Default)]
pub(super) struct DialBook {
    /// In order of address: a search for somebody to dial reads it from end to end.
    contacts: Vec<(SocketAddr, Contact)>,
    /// Addresses that are being dialled, and since when, oldest first.
    dials: Vec<(Now, SocketAddr)>,
    /// The last search found nobody to dial.
    quiet: Option<Quiet>,
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
    /// Takes addresses from a tracker, up to the maximum.
    pub(super) fn learn(&mut self, peers: &[PeerAddr], me: PeerId, config: &EngineConfig) {
        for peer in peers {
            if peer.id == Some(me) || peer.addr.port() == 0 {
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
                self.insert(vec![(addr, Contact::new(SenderId::NOBODY))]);
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

    /// Takes addresses that a peer told, with whether they are seeds, up to `pex_contacts_max` of one
    /// teller; how many were new. They take no place from what trackers told.
    pub(super) fn learn_from_peer(
        &mut self,
        told: impl Iterator<Item = (SocketAddr, bool)>,
        teller: SenderId,
        config: &EngineConfig,
    ) -> u32 {
        let known = |addr: SocketAddr| addr.port() == 0 || self.knows(addr);
        let told: Vec<_> = told.filter(|(addr, _)| !known(*addr)).collect();
        if told.is_empty() {
            return 0;
        }
        let its = self.contacts.iter().filter(|(_, c)| c.teller == teller);
        let room = (config.pex_contacts_max as usize).saturating_sub(its.count());
        let mut new = Vec::new();
        for (addr, seed) in told.into_iter().take(room) {
            let full = self.contacts.len() + new.len() >= config.addresses_max as usize;
            if full && !self.forget_worst(true) {
                break;
            }
            let mut contact = Contact::new(teller);
            contact.seed = seed;
            new.push((addr, contact));
        }
        let learned = u32::try_from(new.len()).expect("at most addresses_max");
        self.insert(new);
        learned
    }

    /// Adds addresses that are not known.
    fn insert(&mut self, new: Vec<(SocketAddr, Contact)>) {
        self.quiet = None;
        self.contacts.extend(new);
        // Two runs that are in order are merged.
        self.contacts.sort_by_key(|(addr, _)| *addr);
    }

    fn at(&self, addr: SocketAddr) -> Option<usize> {
        self.contacts.binary_search_by_key(&addr, |(a, _)| *a).ok()
    }

    fn knows(&self, addr: SocketAddr) -> bool {
        self.at(addr).is_some()
    }

    fn get(&self, addr: SocketAddr) -> Option<&Contact> {
        self.at(addr).map(|at| &self.contacts[at].1)
    }

    fn get_mut(&mut self, addr: SocketAddr) -> Option<&mut Contact> {
        self.at(addr).map(|at| &mut self.contacts[at].1)
    }

    /// Addresses that are being dialled.
    pub(super) fn dialled(&self) -> Vec<SocketAddr> {
        let mut dialled: Vec<_> = self.dials.iter().map(|(_, addr)| *addr).collect();
        dialled.sort_unstable();
        dialled
    }

    /// The addresses that are worth passing on: told by trackers or the user, or connected.
    pub(super) fn worth(&self) -> Vec<PeerAddr> {
        let worth = self.contacts.iter().filter(|(_, c)| match c.state {
            State::Never => false,
            State::Connected => true,
            State::Idle | State::Dialling => !c.hearsay(),
        });
        let worth = worth.map(|(addr, c)| PeerAddr {
            addr: *addr,
            id: c.id.as_deref().copied().filter(|_| c.id_told),
        });
        worth.collect()
    }

    /// Forgets every address that is not being dialled; bans and ourselves are remembered.
    pub(super) fn forget(&mut self) {
        let keep = |c: &Contact| matches!(c.state, State::Dialling | State::Never);
        self.contacts.retain(|(_, c)| keep(c));
        self.quiet = None;
    }

    /// Forgets the idle address that failed most often, if one failed at all; with `hearsay` only
    /// among those that peers told.
    fn forget_worst(&mut self, hearsay: bool) -> bool {
        let idle = self.contacts.iter();
        let failing = idle.filter(|(_, c)| c.state == State::Idle && c.failures > 0);
        let failing = failing.filter(|(_, c)| !hearsay || c.hearsay());
        let worst = failing.max_by_key(|(_, c)| c.failures);
        let worst = worst.map(|(addr, _)| *addr);
        worst.is_some_and(|addr| self.remove(addr))
    }

    /// Forgets an idle address that a peer told: a tracker has a better one.
    fn forget_hearsay(&mut self) -> bool {
        let mut idle = self.contacts.iter();
        let found = idle.find(|(_, c)| c.state == State::Idle && c.hearsay());
        let found = found.map(|(addr, _)| *addr);
        found.is_some_and(|addr| self.remove(addr))
    }

    fn remove(&mut self, addr: SocketAddr) -> bool {
        self.quiet = None;
        let at = self.at(addr);
        at.map(|at| self.contacts.remove(at)).is_some()
    }

    /// Dials to one address, whatever the port.
    fn dialling_at(&self, ip: IpAddr) -> u32 {
        let taken = self.dials.iter().filter(|(_, addr)| addr.ip() == ip);
        u32::try_from(taken.count()).expect("at most dials_max")
    }

    /// Addresses to dial now, at most `room`, chosen at random among those that are due; what trackers
    /// told comes first.
    pub(super) fn choose(
        &mut self,
        now: Now,
        room: u32,
        seeding: bool,
        neighbours: Neighbours<'_>,
        config: &EngineConfig,
        rng: &mut ChaCha8Rng,
    ) -> Vec<SocketAddr> {
        let room = room.min(config.dials_max.saturating_sub(self.dialling())) as usize;
        if room == 0 || self.is_quiet(seeding, now) {
            return Vec::new();
        }
        let due = self.due(now, neighbours);
        let candidates = due.filter(|(_, c)| !(c.seed && seeding && config.close_seed_to_seed));
        let (mut due, mut hearsay) = (Vec::new(), Vec::new());
        for (addr, contact) in candidates {
            match contact.hearsay() {
                false => due.push(*addr),
                true => hearsay.push(*addr),
            }
        }
        if due.is_empty() && hearsay.is_empty() {
            let until = self.next_idle(now);
            self.quiet = Some(Quiet { seeding, until });
            return Vec::new();
        }
        let mut chosen = Vec::new();
        while chosen.len() < room {
            if due.is_empty() {
                due = std::mem::take(&mut hearsay);
            }
            if due.is_empty() {
                break;
            }
            let addr = due.swap_remove(rng.random_range(0..due.len()));
            let ip = addr.ip();
            let taken = neighbours.at(ip) + self.dialling_at(ip);
            if taken >= config.connections_per_address && !ip.is_loopback() {
                continue;
            }
            let contact = self.get_mut(addr).expect("chosen from the contacts");
            contact.state = State::Dialling;
            self.dials.push((now, addr));
            chosen.push(addr);
        }
        chosen
    }

    /// Contacts that may be dialled now.
    fn due(
        &self,
        now: Now,
        neighbours: Neighbours<'_>,
    ) -> impl Iterator<Item = &(SocketAddr, Contact)> {
        let due = self.contacts.iter();
        let mut ids = None;
        due.filter(move |(_, c)| c.state == State::Idle && c.next <= now)
            .filter(move |(_, c)| {
                c.id.as_ref().is_none_or(|id| {
                    let ids = ids.get_or_insert_with(|| neighbours.ids());
                    ids.binary_search(id).is_err()
                })
            })
    }

    /// Whether it is known that there is nobody to dial.
    pub(super) fn is_quiet(&self, seeding: bool, now: Now) -> bool {
        self.quiet
            .is_some_and(|q| q.seeding == seeding && now < q.until)
    }

    /// A connection ended: who is there may be dialled again.
    pub(super) fn left(&mut self) {
        self.quiet = None;
    }

    /// Whether there is somebody to dial now.
    pub(super) fn any_due(&self, now: Now, neighbours: Neighbours<'_>) -> bool {
        !self.is_quiet(false, now) && self.due(now, neighbours).next().is_some()
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
        let Some(contact) = self.get_mut(addr) else {
            return;
        };
        if contact.state == State::Never {
            return;
        }
        contact.state = State::Idle;
        let doubled = config
            .dial_backoff_min
            .saturating_mul(1 << contact.failures.min(16));
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
        // What the tracker told stands: somebody else may claim the port.
        if let Some(contact) = self.get_mut(addr).filter(|c| !c.id_told)
            && contact.id.as_deref() != Some(&id)
        {
            contact.id = Some(Box::new(id));
            self.quiet = None;
        }
    }

    /// Whether this address is known, and nobody knows who lives there.
    pub(super) fn is_unnamed(&self, addr: SocketAddr) -> bool {
        self.get(addr).is_some_and(|c| c.id.is_none())
    }

    /// The peer at this address has everything.
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

    /// When the first idle address may be dialled, of those that may not be dialled yet. Who may be
    /// already and is not chosen waits for a connection to end, not for time.
    fn next_idle(&self, now: Now) -> Now {
        let idle = self.contacts.iter().map(|(_, c)| c);
        let idle = idle.filter(|c| c.state == State::Idle && c.next > now);
        idle.map(|c| c.next).min().unwrap_or(Now::NEVER)
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
mod tests {
    use super::*;
    use crate::ids::ConnId;
    use rand_chacha::rand_core::SeedableRng;
    use std::time::Duration;

    fn addr(n: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, n], 6881))
    }

    fn book(n: u8) -> (DialBook, EngineConfig) {
        let config = EngineConfig::default();
        let mut book = DialBook::default();
        let peers: Vec<_> = (1..=n)
            .map(|n| PeerAddr {
                addr: addr(n),
                id: None,
            })
            .collect();
        book.learn(&peers, PeerId([0; 20]), &config);
        (book, config)
    }

    fn choose(book: &mut DialBook, now: Now, room: u32, config: &EngineConfig) -> Vec<SocketAddr> {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        book.choose(now, room, false, Neighbours(&[]), config, &mut rng)
    }

    #[test]
    fn failures_back_off_5_10_20_seconds_up_to_ten_minutes() {
        let (mut book, config) = book(1);
        let mut now = Now::START;
        for wait in [5, 10, 20, 40, 80, 160, 320, 600, 600] {
            assert_eq!(choose(&mut book, now, 9, &config), [addr(1)]);
            book.failed(addr(1), now, &config);
            let due = now.after(Duration::from_secs(wait));
            assert_eq!(book.next_due(true, now, &config), due);
            assert_eq!(choose(&mut book, Now(due.0 - 1), 9, &config), []);
            now = due;
        }
    }

    #[test]
    fn a_dial_without_answer_is_given_up_after_the_connect_timeout() {
        let (mut book, config) = book(2);
        assert_eq!(choose(&mut book, Now::START, 1, &config).len(), 1);
        let limit = Now::START.after(config.connect_timeout);
        assert_eq!(book.overdue(Now(limit.0 - 1), &config), []);
        assert_eq!(book.overdue(limit, &config).len(), 1);
        assert_eq!(book.dialling(), 0);
    }

    #[test]
    fn dials_are_bounded_and_never_doubled() {
        let (mut book, config) = book(40);
        assert_eq!(
            choose(&mut book, Now::START, 100, &config).len(),
            config.dials_max as usize
        );
        assert_eq!(choose(&mut book, Now::START, 100, &config), []);
    }

    #[test]
    fn one_address_is_not_dialled_on_all_its_ports() {
        let (mut book, config) = book(0);
        let told = |ip: [u8; 4]| {
            (1..=100).map(move |port| PeerAddr {
                addr: SocketAddr::from((ip, port)),
                id: None,
            })
        };
        let victim: Vec<_> = told([10, 0, 0, 1]).collect();
        book.learn(&victim, PeerId([0; 20]), &config);
        let dials = choose(&mut book, Now::START, 100, &config).len();
        assert_eq!(dials, config.connections_per_address as usize);
    }

    #[test]
    fn an_address_has_one_place_however_it_is_written() {
        let (mut book, config) = book(1);
        let mapped = PeerAddr {
            addr: "[::ffff:10.0.0.1]:6881".parse().expect("an address"),
            id: None,
        };
        book.learn(&[mapped], PeerId([0; 20]), &config);
        assert_eq!(choose(&mut book, Now::START, 9, &config), [addr(1)]);
    }

    #[test]
    fn a_full_book_forgets_who_never_answers() {
        let (mut book, mut config) = book(3);
        config.addresses_max = 3;
        let new = [PeerAddr {
            addr: addr(9),
            id: None,
        }];
        book.learn(&new, PeerId([0; 20]), &config);
        assert_eq!(book.contacts.len(), 3, "nobody failed yet");
        choose(&mut book, Now::START, 1, &config);
        let mut contacts = book.contacts.iter();
        let dialled = contacts.find(|(_, c)| c.state != State::Idle);
        let dialled = dialled.expect("one").0;
        book.failed(dialled, Now::START, &config);
        book.learn(&new, PeerId([0; 20]), &config);
        assert!(book.knows(addr(9)) && !book.knows(dialled));
    }

    fn hear(book: &mut DialBook, ports: std::ops::Range<u16>, n: u32, c: &EngineConfig) -> u32 {
        let told = ports.map(|port| (SocketAddr::from(([10, 9, 9, 9], port)), false));
        book.learn_from_peer(told, SenderId(n), c)
    }

    #[test]
    fn one_peer_does_not_fill_the_book() {
        let (mut book, mut config) = book(1);
        config.pex_contacts_max = 10;
        assert_eq!(hear(&mut book, 0..8, 1, &config), 7, "port 0 is nobody");
        assert_eq!(hear(&mut book, 0..8, 1, &config), 0, "nothing new");
        assert_eq!(hear(&mut book, 100..200, 1, &config), 3);
        assert_eq!(hear(&mut book, 200..300, 2, &config), 10, "another peer");
        assert_eq!(book.contacts.len(), 21);
    }

    #[test]
    fn what_peers_told_makes_room_for_what_trackers_tell_and_never_the_other_way() {
        let (mut book, mut config) = book(2);
        config.addresses_max = 4;
        assert_eq!(hear(&mut book, 1..9, 1, &config), 2);
        let told = |n| PeerAddr {
            addr: addr(n),
            id: None,
        };
        book.learn(&[told(3), told(4), told(5)], PeerId([0; 20]), &config);
        let known: Vec<_> = book.contacts.iter().map(|(addr, _)| *addr).collect();
        assert_eq!(known, [1, 2, 3, 4].map(addr));
        for _ in 0..4 {
            choose(&mut book, Now::START, 1, &config);
        }
        for n in 1..=4 {
            book.failed(addr(n), Now::START, &config);
        }
        assert_eq!(
            hear(&mut book, 1..9, 1, &config),
            0,
            "failing ones stay too"
        );
    }

    #[test]
    fn what_trackers_told_is_dialled_first_also_when_a_peer_told_it_before() {
        let (mut book, config) = book(0);
        hear(&mut book, 1..9, 1, &config);
        let told = [1, 2, 3].map(|n| PeerAddr {
            addr: addr(n),
            id: None,
        });
        let again = PeerAddr {
            addr: SocketAddr::from(([10, 9, 9, 9], 5)),
            id: None,
        };
        book.learn(&told, PeerId([0; 20]), &config);
        book.learn(&[again], PeerId([0; 20]), &config);
        let mut first = choose(&mut book, Now::START, 4, &config);
        first.sort_unstable();
        assert_eq!(first, [addr(1), addr(2), addr(3), again.addr]);
        assert_eq!(choose(&mut book, Now::START, 9, &config).len(), 7);
    }

    #[test]
    fn a_peer_that_is_connected_otherwise_is_not_dialled() {
        let (mut book, config) = book(1);
        book.seen_id(addr(1), PeerId([7; 20]));
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let conn = ConnId {
            slot: 0,
            generation: 0,
        };
        let mut peer = Peer::new(conn, addr(9), true, Now::START, &config);
        peer.id = Some(PeerId([7; 20]));
        let peers = [Some(Box::new(peer))];
        let chosen = book.choose(Now(0), 5, false, Neighbours(&peers), &config, &mut rng);
        assert_eq!(chosen, []);
    }
}

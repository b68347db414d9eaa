//! Owns the search for somebody to dial.
//!
//! Invariant: who is chosen is due, is not known to be connected, and is one of those whose turn is first; while
//! nothing changes nobody is searched for in vain twice.

use std::net::SocketAddr;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::config::EngineConfig;
use crate::time::Now;

use super::super::roll::Roll;
use super::{Contact, DialBook, Quiet, State, Turn, Wanted, same_host};

/// Of contacts that are due and fit the next turn behind `before`, and the places of those who have it.
fn best_of<'a>(
    due: impl Iterator<Item = (usize, &'a Contact)>,
    before: Option<Turn>,
    fits: impl Fn((usize, &'a Contact)) -> bool,
    alike: &mut Vec<usize>,
) -> Option<Turn> {
    alike.clear();
    let mut best = None;
    for (place, contact) in due {
        let turn = contact.turn();
        let late = before.is_some_and(|before| turn <= before);
        // Whether it fits takes longest to find out.
        if late || best.is_some_and(|best| best < turn) || !fits((place, contact)) {
            continue;
        }
        if best != Some(turn) {
            alike.clear();
            best = Some(turn);
        }
        alike.push(place);
    }
    best
}

impl DialBook {
    /// Addresses to dial now, at most `room`, chosen at random among those that are due; what trackers told
    /// comes first, and who did not answer twice in a row comes later: a list of the dead keeps nobody from
    /// the living.
    pub(in crate::session) fn choose(
        &mut self,
        now: Now,
        room: u32,
        wanted: Wanted,
        roll: &Roll,
        config: &EngineConfig,
        rng: &mut ChaCha8Rng,
    ) -> Vec<SocketAddr> {
        let Wanted { seeding, elsewhere } = wanted;
        let room = room.min(config.dials_max.saturating_sub(self.dialling())) as usize;
        if room == 0 || self.is_quiet(seeding, now) {
            return Vec::new();
        }
        let seeds = !(seeding && config.close_seed_to_seed);
        let mut chosen = Vec::new();
        let mut alike = std::mem::take(&mut self.alike);
        let mut before = None;
        // Mostly the first turn finds enough; nobody is looked at closely who comes later.
        while chosen.len() < room {
            let fits = |due: (usize, &Contact)| {
                (!elsewhere || self.is_elsewhere(due.0, roll))
                    && self.is_free(due, now, roll, config)
            };
            let best = best_of(self.due(now, seeds), before, fits, &mut alike);
            if best.is_none() {
                if before.is_none() && !elsewhere {
                    self.be_quiet(seeding, now, config);
                }
                break;
            }
            before = best;
            while chosen.len() < room && !alike.is_empty() {
                let place = alike.swap_remove(rng.random_range(0..alike.len()));
                if self.may_dial(place, now, roll, config) {
                    let addr = self.addrs.get(place);
                    self.contacts[place].state = State::Dialling;
                    self.dials.push((now, addr));
                    chosen.push(addr);
                }
            }
        }
        self.alike = alike;
        chosen
    }

    /// Whether a contact that is due may be dialled beside the connections and dials there are.
    fn may_dial(&self, place: usize, now: Now, roll: &Roll, config: &EngineConfig) -> bool {
        let ip = self.addrs.get(place).ip();
        let dials = self.dialling_at(ip);
        if roll.at(ip) + dials >= config.connections_per_address && !ip.is_loopback() {
            return false;
        }
        let tried = self.tried_at(ip, now);
        let untried = self.contacts[place].failures == 0;
        !(untried && tried > 0 && tried + dials >= config.dial_ports_max.max(1))
    }

    /// Contacts whose time has come, with their places; with `seeds` also those that have everything.
    fn due(&self, now: Now, seeds: bool) -> impl Iterator<Item = (usize, &Contact)> {
        let contacts = self.contacts.iter().enumerate();
        contacts.filter(move |(_, c)| c.state == State::Idle && c.next <= now && (seeds || !c.seed))
    }

    /// Whether nobody who may live there is connected, and its host is none where dials lead to nobody.
    fn is_free(
        &self,
        (place, contact): (usize, &Contact),
        now: Now,
        roll: &Roll,
        config: &EngineConfig,
    ) -> bool {
        let connected = contact.id.as_deref().is_some_and(|id| {
            let ip = self.addrs.get(place).ip();
            // Who says that id elsewhere may be somebody else.
            let its = |other| !config.ids_by_address || same_host(other, ip);
            roll.with_id(*id, its).is_some()
        });
        !connected && (contact.failures > 0 || !self.is_barren(place, now, config))
    }

    /// Whether it is known that there is nobody to dial.
    pub(in crate::session) fn is_quiet(&self, seeding: bool, now: Now) -> bool {
        self.quiet
            .is_some_and(|q| q.seeding == seeding && now < q.until)
    }

    /// Whether an address has neither a connection nor a dial.
    fn is_elsewhere(&self, place: usize, roll: &Roll) -> bool {
        let ip = self.addrs.get(place).ip();
        roll.at(ip) + self.dialling_at(ip) == 0
    }

    /// Whether there is somebody to dial now at an address that has neither a connection nor a dial.
    pub(in crate::session) fn any_due_elsewhere(
        &self,
        now: Now,
        roll: &Roll,
        config: &EngineConfig,
    ) -> bool {
        let mut due = self.due(now, true);
        due.any(|due| self.is_elsewhere(due.0, roll) && self.is_free(due, now, roll, config))
    }

    /// Whether there is somebody to dial now.
    pub(in crate::session) fn any_due(
        &mut self,
        now: Now,
        roll: &Roll,
        config: &EngineConfig,
    ) -> bool {
        if self.is_quiet(false, now) {
            return false;
        }
        let free = |due| self.is_free(due, now, roll, config);
        let any = self.due(now, true).any(free);
        if !any {
            self.be_quiet(false, now, config);
        }
        any
    }

    /// A search found nobody to dial.
    fn be_quiet(&mut self, seeding: bool, now: Now, config: &EngineConfig) {
        let until = self.next_idle(now).min(self.next_port(now, config));
        self.quiet = Some(Quiet { seeding, until });
    }

    /// When the first idle address may be dialled, of those that may not be dialled yet. Who may be
    /// already and is not chosen waits for a connection to end, not for time.
    pub(super) fn next_idle(&self, now: Now) -> Now {
        let idle = self.contacts.iter();
        let idle = idle.filter(|c| c.state == State::Idle && c.next > now);
        idle.map(|c| c.next).min().unwrap_or(Now::NEVER)
    }
}

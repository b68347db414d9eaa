//! Owns what is seen of a run: every event passes through here once, in order, to the trace, the
//! checks and the statistics.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use skep_engine::Now;
use skep_engine::metainfo::Geometry;
use skep_engine::node::file_server::ServerEvent;
use skep_engine::node::tracker_server::TrackerEvent;
use skep_engine::session::event::{Event, Waste};

use crate::actor::client::ClientEvent;
use crate::check::{self, Addresses, Check, Failure, Log, Scene, Seen};
use crate::content::Content;
use crate::disk::Disk;
use crate::disk::condition::Firings;
use crate::fault::FaultNews;
use crate::oracle::SwarmCopies;
use crate::scenario::Plan;
use crate::scenario::plan::{EndKind, FaultKind, Role, UserAction};
use crate::trace::{Attack, Trace, WorldEvent};

use super::crowds::Crowds;
use super::diary::Diary;

mod announced;
mod camera;
mod copies;
mod faults;
mod measures;
pub(super) mod present;
mod tally;

pub use announced::Announced;
use camera::Camera;
pub(super) use measures::Measures;
pub use measures::{Measured, Playback};
use present::Present;
pub(super) use tally::{Sample, Tally};

/// Everything that is seen of a run.
pub(super) struct Recorder {
    pub(super) plan: Rc<Plan>,
    content: Arc<Content>,
    pub(super) disks: Vec<Rc<RefCell<Disk>>>,
    addresses: Addresses,
    /// What honest peers have to do with attackers.
    pub(super) crowds: Crowds,
    /// Hosts that are web seeds.
    web_seeds: BTreeSet<IpAddr>,
    pub(super) trace: Trace,
    /// Those that look at once come first.
    pub(super) checks: Vec<(Box<dyn Check>, Log)>,
    /// How many these are.
    at_once: usize,
    pub(super) tallies: Vec<Tally>,
    /// How often each fault of the plan did something.
    pub(super) firings: Vec<u64>,
    /// The same of what disks and trackers do, which they count themselves.
    pub(super) counters: Vec<Firings>,
    /// Faults that began and are not over.
    active: BTreeSet<usize>,
    pub(super) sometimes: BTreeMap<&'static str, u64>,
    pub(super) blocks: u64,
    /// Payload sent by seeds before the first completion.
    pub(super) seed_until_second: Option<u64>,
    /// Copies of each piece among the honest peers online.
    pub(super) copies: SwarmCopies,
    pub(super) copies_min: Option<u32>,
    /// Leechers online.
    pub(super) present: Present,
    sent: u64,
    capacity: f64,
    uplinks: u64,
    /// What each host adds to `uplinks` now.
    uplink_of: Vec<u64>,
    capacity_at: Now,
    pub(super) samples: Vec<Sample>,
    pub(super) first_failure: Option<Now>,
    /// Something changed that may end the run, since this was set to false.
    pub(super) changed: bool,
    /// Who waits for the state to change.
    pub(super) waker: Option<Waker>,
    /// How peers stand to each other, where that is wanted.
    pub(super) diary: Option<Diary>,
    /// What is measured because the scenario asks for it.
    pub(super) measures: Option<Measures>,
    /// What films the run, where a film is wanted.
    camera: Option<Camera>,
    /// Events that wait until all of their time are there; `None`: they come in order.
    held: Option<Vec<(Now, Held)>>,
}

/// An event that waits.
enum Held {
    Host(usize, WorldEvent),
    Tracker(String, TrackerEvent),
    Fault(usize, FaultNews),
}

impl Recorder {
    pub(super) fn new(
        plan: Rc<Plan>,
        content: Arc<Content>,
        disks: Vec<Rc<RefCell<Disk>>>,
        trace: Trace,
    ) -> Recorder {
        let plan_hosts = plan.hosts.len();
        let addresses = Addresses::of(plan.hosts.iter().map(|host| host.ip));
        let (at_once, later): (Vec<_>, Vec<_>) =
            check::all(&plan).into_iter().partition(|c| c.at_once());
        let looks_at_once = at_once.len();
        let checks = at_once.into_iter().chain(later);
        let checks = checks.map(|c| (c, Log::default())).collect();
        Recorder {
            tallies: vec![Tally::default(); plan.hosts.len()],
            firings: vec![0; plan.faults.len()],
            counters: plan.faults.iter().map(|_| Firings::default()).collect(),
            active: BTreeSet::new(),
            copies: (0..content.geometry().pieces)
                .map(|_| Cell::new(0))
                .collect(),
            web_seeds: {
                let hosts = plan.hosts.iter().filter(|host| host.web_seed);
                hosts.map(|host| IpAddr::V4(host.ip)).collect()
            },
            measures: Measures::asked_for(&plan),
            camera: Camera::asked_for(&plan, content.geometry()),
            plan,
            content,
            disks,
            addresses,
            crowds: Crowds::default(),
            trace,
            checks,
            at_once: looks_at_once,
            sometimes: BTreeMap::new(),
            blocks: 0,
            seed_until_second: None,
            copies_min: None,
            present: Present::default(),
            sent: 0,
            capacity: 0.0,
            uplinks: 0,
            uplink_of: vec![0; plan_hosts],
            capacity_at: Now::START,
            samples: Vec::new(),
            first_failure: None,
            changed: true,
            waker: None,
            diary: None,
            held: None,
        }
    }

    /// The sizes of the content.
    pub(super) fn geometry(&self) -> Geometry {
        self.content.geometry()
    }

    /// From now on events are held until [`Recorder::catch_up`]: they come host by host.
    pub(super) fn hold(&mut self) {
        self.held = Some(Vec::new());
    }

    /// Takes the events that were held, in the order of time, and of hosts in one moment.
    pub(super) fn catch_up(&mut self) {
        let Some(mut events) = self.held.take() else {
            return;
        };
        events.sort_by_key(|(at, _)| *at);
        for (at, event) in events.drain(..) {
            match event {
                Held::Host(host, event) => self.take_host(at, host, &event),
                Held::Tracker(name, event) => self.take_tracker(at, &name, event),
                Held::Fault(number, news) => self.take_fault(at, number, news),
            }
        }
        self.held = Some(events);
    }

    /// An event of a host has happened.
    pub(super) fn on_host(&mut self, at: Now, host: usize, event: &WorldEvent) {
        let seen = Seen {
            at,
            host: Some(host),
            event,
        };
        self.check(&seen, true);
        match &mut self.held {
            Some(held) => held.push((at, Held::Host(host, event.clone()))),
            None => self.take_host(at, host, event),
        }
    }

    /// Takes the next event of a host.
    fn take_host(&mut self, at: Now, host: usize, event: &WorldEvent) {
        let index = u32::try_from(host).expect("hosts are bounded");
        let plan = &self.plan;
        let name = || plan.hosts[host].name.as_str();
        self.trace.push(at, index, name, event);
        self.film_host(at, host, event);
        self.count(at, host, event);
        let seen = Seen {
            at,
            host: Some(host),
            event,
        };
        self.check(&seen, false);
    }

    /// An event of a tracker has happened.
    pub(super) fn on_tracker(&mut self, at: Now, name: &str, event: TrackerEvent) {
        match &mut self.held {
            Some(held) => held.push((at, Held::Tracker(name.to_owned(), event))),
            None => self.take_tracker(at, name, event),
        }
    }

    /// Takes the next event of a tracker.
    fn take_tracker(&mut self, at: Now, name: &str, event: TrackerEvent) {
        if let TrackerEvent::Announced {
            from, given, event, ..
        } = &event
        {
            self.on_announced(from.ip(), *event, *given);
        }
        let event = WorldEvent::Tracker(event);
        self.trace.push(at, u32::MAX, || name, &event);
        let seen = Seen {
            at,
            host: None,
            event: &event,
        };
        self.check(&seen, false);
    }

    /// Lets the checks that look at once, or the others, look at an event.
    fn check(&mut self, seen: &Seen<'_>, at_once: bool) {
        let scene = Scene {
            plan: &self.plan,
            content: &self.content,
            disks: &self.disks,
            addresses: &self.addresses,
        };
        let (first, others) = self.checks.split_at_mut(self.at_once);
        for (check, log) in if at_once { first } else { others } {
            let before = log.failed;
            check.on_event(seen, &scene, log);
            if log.failed > before && self.first_failure.is_none() {
                self.first_failure = Some(seen.at);
                self.changed = true;
                if let Some(waker) = self.waker.take() {
                    waker.wake();
                }
            }
        }
    }

    fn happened(&mut self, word: &'static str) {
        *self.sometimes.entry(word).or_default() += 1;
    }

    fn count(&mut self, at: Now, host: usize, event: &WorldEvent) {
        match event {
            WorldEvent::Joined => self.on_joined(at, host),
            WorldEvent::Ended(kind) => self.on_ended(at, host, *kind),
            WorldEvent::Attack(attack) => {
                let tally = &mut self.tallies[host];
                match attack {
                    Attack::Acted => tally.acted += 1,
                    Attack::Sent { len, .. } => tally.uploaded += u64::from(*len),
                    Attack::Received { len, .. } => tally.gained += u64::from(*len),
                    Attack::Completed => tally.completed = Some(at),
                }
            }
            WorldEvent::Peer(event) => self.count_peer(at, host, event),
            WorldEvent::Server(ServerEvent::Sent { bytes, .. }) => {
                self.tallies[host].uploaded += u64::from(*bytes);
                self.sent += u64::from(*bytes);
            }
            WorldEvent::Client(event) => self.count_client(at, host, event),
            WorldEvent::Tracker(_) | WorldEvent::Server(_) | WorldEvent::Fault(..) => {}
        }
    }

    fn count_peer(&mut self, at: Now, host: usize, event: &Event) {
        if let Some(diary) = &mut self.diary {
            diary.note(at, host, event, &self.addresses);
        }
        if let Some(measures) = &mut self.measures {
            let geometry = self.content.geometry();
            measures.note(at, host, event, geometry, &self.addresses);
        }
        if let Some(peer) = Crowds::about(event)
            && let Some(other) = self.addresses.host_at(peer.ip())
            && self.plan.hosts[other].role == Role::Attacker
        {
            self.crowds.on_event((host, other), peer, event);
        }
        let tally = &mut self.tallies[host];
        match event {
            Event::Started { have } => {
                tally.paused = false;
                tally.whole = *have == self.content.geometry().pieces;
                if *have > 0 && (tally.crashed || tally.churned > 0) {
                    self.happened("resumed");
                }
                self.wake();
            }
            Event::BlockReceived { peer, len, .. } => {
                tally.gained += u64::from(*len);
                tally.first_block.get_or_insert(at);
                self.blocks += 1;
                if self.web_seeds.contains(&peer.ip()) {
                    self.happened("web-seed-used");
                }
            }
            Event::BlockWasted { len, why, .. } => match why {
                Waste::Duplicate => tally.duplicates += u64::from(*len),
                Waste::Unrequested => tally.unrequested += u64::from(*len),
            },
            Event::BlockSent { len, .. } => {
                tally.uploaded += u64::from(*len);
                self.sent += u64::from(*len);
            }
            Event::PieceVerified { piece, good: true } => {
                tally.first_piece.get_or_insert(at);
                let copies = &self.copies[piece.at()];
                copies.set(copies.get() + 1);
            }
            Event::PieceVerified { piece, good: false } => {
                tally.hash_failed += u64::from(self.content.geometry().piece_len(*piece));
                self.happened("hash-failed");
            }
            Event::Completed => {
                tally.completed.get_or_insert(at);
                tally.whole = true;
                if std::mem::take(&mut tally.leeches) {
                    self.present.change(at, false);
                }
                self.note_second_seed();
                self.sample(at);
                self.wake();
            }
            Event::Banned { peer, .. } => {
                if let Some(banned) = self.addresses.host_at(peer.ip()) {
                    let banned = &mut self.tallies[banned];
                    banned.banned_by += 1;
                    banned.first_ban.get_or_insert(at);
                }
                self.happened("peer-banned");
            }
            Event::Buffered(held) => tally.buffered = tally.buffered.max(held.bytes()),
            Event::PieceShown { .. } => self.happened("piece-shown"),
            Event::SuperSeedingEnded => self.happened("super-seeding-ended"),
            Event::WebSeedLeft { .. } => self.happened("web-seed-failed"),
            Event::EndgameEntered => self.happened("endgame-entered"),
            Event::AnnounceFailed { tracker, .. } => {
                tally.failed_tracker = Some(*tracker);
                self.announce_failed(*tracker);
                self.happened("tracker-retry");
            }
            Event::Announced { tracker, .. } => {
                let failed = tally.failed_tracker.take();
                if failed.is_some_and(|failed| failed != *tracker) {
                    self.happened("tracker-fail-over");
                }
            }
            Event::MetadataComplete { .. } => {
                tally.got_metainfo = true;
                self.happened("metadata-complete");
            }
            Event::MetadataFailed { .. } => self.happened("metadata-failed"),
            Event::PexReceived { learned: 1.., .. } => self.happened("pex-learned"),
            Event::AnnounceResent { tracker } => {
                self.announce_failed(*tracker);
                self.happened("udp-resent");
            }
            Event::StorageFailed { .. } => self.happened("disk-failed"),
            Event::Paused => {
                tally.paused = true;
                self.happened("paused");
            }
            Event::Resumed => {
                tally.paused = false;
                self.happened("went-on");
            }
            Event::DialFailed { .. } => tally.dials_failed += 1,
            Event::Snubbed { .. } => self.happened("peer-snubbed"),
            Event::RequestTimedOut { .. } => self.happened("request-timed-out"),
            _ => {}
        }
    }

    fn count_client(&mut self, at: Now, host: usize, event: &ClientEvent) {
        let tally = &mut self.tallies[host];
        match event {
            ClientEvent::Started { kept } => {
                tally.whole = self.disks[host].borrow().is_whole();
                if *kept > 0 && (tally.crashed || tally.churned > 0) {
                    self.happened("resumed");
                }
                self.wake();
            }
            ClientEvent::Received { bytes, .. } => {
                tally.gained += u64::from(*bytes);
                tally.first_block.get_or_insert(at);
            }
            ClientEvent::StartedOver { dropped, .. } => {
                // What was kept of an earlier fetch was not received in this run.
                let received = tally.gained.min(*dropped);
                tally.gained -= received;
                tally.dropped += received;
                self.happened("fetch-started-over");
            }
            ClientEvent::Retrying { .. } => self.happened("fetch-retried"),
            ClientEvent::GaveUp { server, .. } => tally.failed_server = Some(*server),
            ClientEvent::Asked { server, .. } => {
                let failed = tally.failed_server.take();
                if failed.is_some_and(|failed| IpAddr::V4(failed) != server.ip()) {
                    self.happened("server-fail-over");
                }
            }
            ClientEvent::Completed => {
                tally.completed.get_or_insert(at);
                tally.whole = true;
                self.sample(at);
                self.wake();
            }
            ClientEvent::DiskFailed { .. } => self.happened("disk-failed"),
            ClientEvent::Resumed { .. } | ClientEvent::Fetched { .. } => {}
        }
    }

    fn on_joined(&mut self, at: Now, host: usize) {
        if let Some(diary) = &mut self.diary {
            diary.turn_page(host);
        }
        let tally = &mut self.tallies[host];
        tally.joined.get_or_insert(at);
        tally.stays += 1;
        tally.online_since = Some(at);
        // A server has the content, and has no session to tell of it.
        tally.whole |= self.plan.hosts[host].role == Role::Server;
        if self.plan.hosts[host].role == Role::Leecher && !tally.whole {
            tally.leeches = true;
            self.present.change(at, true);
        }
        if self.plan.hosts[host].role.peer() {
            self.change_copies(host, true);
        }
        self.set_uplink(at, host);
        // Users who join do so at the moment of the plan; nothing else that a stay shows begins one.
        let joins = FaultKind::User(UserAction::Join);
        for (number, fault) in self.plan.faults.iter().enumerate() {
            if fault.kind == joins && fault.at == at && fault.hosts.contains(&host) {
                self.firings[number] += 1;
            }
        }
        for number in &self.active {
            let fault = &self.plan.faults[*number];
            if matches!(fault.kind, FaultKind::Link(_)) && fault.hosts.contains(&host) {
                self.firings[*number] += 1;
            }
        }
    }

    fn on_ended(&mut self, at: Now, host: usize, kind: Option<EndKind>) {
        if let Some(measures) = &mut self.measures {
            measures.left(host, at);
        }
        self.crowds.forget(host);
        let tally = &mut self.tallies[host];
        match kind {
            Some(EndKind::Crash | EndKind::PowerLoss) => {
                tally.crashed = true;
                self.stay_ended(at, host);
            }
            Some(EndKind::Leave) => tally.churned += 1,
            Some(EndKind::UserLeft) => {
                tally.churned += 1;
                self.user_left(at, host);
            }
            None => {}
        }
        let tally = &mut self.tallies[host];
        if let Some(since) = tally.online_since.take() {
            tally.online_ns += at.0 - since.0;
        }
        if std::mem::take(&mut tally.leeches) {
            self.present.change(at, false);
        }
        if self.plan.hosts[host].role.peer() {
            self.change_copies(host, false);
            self.note_copies();
        }
        self.set_uplink(at, host);
        self.wake();
    }

    /// Whether a host's uplink is there to carry content.
    fn uploads(&self, host: usize) -> bool {
        !matches!(self.plan.hosts[host].role, Role::Attacker | Role::Client)
    }

    /// A leecher is complete; if it is the first one, what the seeds have sent so far is what a second
    /// seed cost.
    fn note_second_seed(&mut self) {
        let hosts = self.plan.hosts.iter().zip(&self.tallies);
        let seeds = hosts.filter(|(h, _)| h.role == Role::Seed);
        let sent = || seeds.map(|(_, t)| t.uploaded).sum();
        self.seed_until_second.get_or_insert_with(sent);
    }

    fn integrate(&mut self, at: Now) {
        self.capacity += at.since(self.capacity_at).as_secs_f64() * self.uplinks as f64;
        self.capacity_at = at;
    }

    fn sample(&mut self, at: Now) {
        self.integrate(at);
        self.samples.push(Sample {
            sent: self.sent,
            capacity: self.capacity,
        });
    }

    fn wake(&mut self) {
        self.changed = true;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Ends the checks; returns what failed and how often each evaluated.
    pub(super) fn finish(&mut self, at: Now) -> (Vec<Failure>, BTreeMap<&'static str, u64>) {
        let scene = Scene {
            plan: &self.plan,
            content: &self.content,
            disks: &self.disks,
            addresses: &self.addresses,
        };
        let mut failures = Vec::new();
        let mut evaluations = BTreeMap::new();
        for (check, log) in &mut self.checks {
            check.at_end(at, &scene, log);
            evaluations.insert(check.name(), log.evaluations);
            for (at, host, message) in &log.failures {
                let more = log.failed - log.failures.len() as u64;
                let tail = if more > 0 {
                    format!(" (and {more} more)")
                } else {
                    String::new()
                };
                let message = format!("{message}{tail}; promised: {}", check.sentence());
                failures.push(Failure {
                    peer: host.map(|h| self.plan.hosts[h].name.clone()),
                    ..Failure::of(check.name(), *at, message)
                });
            }
        }
        (failures, evaluations)
    }
}

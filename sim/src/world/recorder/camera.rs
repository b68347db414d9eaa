//! Owns the camera: it makes the [`Film`] of a run, where one is wanted.
//!
//! Invariant: it is told of every event after all earlier slices were closed, so that what stands at the end of a
//! slice is what stood there; it answers nothing, so that a filmed run is the same run.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use skep_engine::Now;
use skep_engine::metainfo::Geometry;
use skep_engine::node::file_server::ServerEvent;
use skep_engine::session::event::{CloseReason, Event};

use super::Recorder;
use crate::actor::client::ClientEvent;
use crate::check::Addresses;
use crate::film::{
    FLOWS_MAX, FaultSpan, Film, Flow, MARKS_MAX, Mark, MarkKind, PAIRS_MAX, ROWS_MAX, SLICES_MAX,
    Slice, Unchokes, WHOLE,
};
use crate::scenario::Plan;
use crate::scenario::plan::EndKind;
use crate::trace::{Attack, WorldEvent};

/// Milliseconds of a slice in the beginning.
const SLICE_MS: u64 = 100;
const NS_PER_MS: u64 = 1_000_000;

/// What makes a film.
#[derive(Debug)]
pub(in crate::world) struct Camera {
    film: Film,
    /// What the slice that is going on has seen.
    flows: BTreeMap<(u32, u32), u64>,
    sent: u64,
    capacity: u64,
    /// Flows of all closed slices.
    kept_flows: usize,
    hosts: Vec<Host>,
    /// By who unchokes, and whom.
    unchokes: BTreeMap<(u32, u32), Pair>,
    geometry: Geometry,
    pieces_per_row: usize,
}

/// One host.
#[derive(Clone, Debug, Default)]
struct Host {
    /// Pieces; of a client of direct download bytes.
    held: u64,
    /// That, in parts of [`WHOLE`], as the last slice has it.
    told: u8,
    /// Marks that are made once.
    marked: [bool; MarkKind::ALL.len()],
}

/// One peer and another that it unchokes.
#[derive(Clone, Copy, Debug, Default)]
struct Pair {
    since: Option<Now>,
    ns: u64,
    times: u32,
}

impl Pair {
    fn end(&mut self, at: Now) {
        if let Some(since) = self.since.take() {
            self.ns += at.0 - since.0;
        }
    }
}

impl Camera {
    /// The camera of a plan that wants a film.
    pub(super) fn asked_for(plan: &Plan, geometry: Geometry) -> Option<Camera> {
        plan.filmed.then(|| Camera {
            film: Film {
                slice_ms: SLICE_MS,
                ..Film::default()
            },
            flows: BTreeMap::new(),
            sent: 0,
            capacity: 0,
            kept_flows: 0,
            hosts: vec![Host::default(); plan.hosts.len()],
            unchokes: BTreeMap::new(),
            geometry,
            pieces_per_row: (geometry.pieces as usize).div_ceil(ROWS_MAX).max(1),
        })
    }

    /// The end of the slice that is going on, if it is over at this moment.
    fn due(&self, at: Now) -> Option<Now> {
        let end = Now((self.film.length_ms() + self.film.slice_ms) * NS_PER_MS);
        (end <= at).then_some(end)
    }

    /// The slice that is going on is over.
    fn close(&mut self, copies: &[Cell<u32>], sent: u64, capacity: u64) {
        let rows = copies.chunks(self.pieces_per_row);
        let least = |row: &[Cell<u32>]| row.iter().map(Cell::get).min().unwrap_or(0);
        let flows = std::mem::take(&mut self.flows).into_iter();
        let slice = Slice {
            flows: flows
                .map(|((from, to), bytes)| Flow { from, to, bytes })
                .collect(),
            copies: rows
                .map(|row| u16::try_from(least(row)).unwrap_or(u16::MAX))
                .collect(),
            progress: self.progress(),
            sent: sent - self.sent,
            capacity: capacity.saturating_sub(self.capacity),
        };
        (self.sent, self.capacity) = (sent, capacity);
        self.kept_flows += slice.flows.len();
        self.film.slices.push(slice);
        // An even number, so that each has a neighbour.
        while self.film.slices.len().is_multiple_of(2)
            && (self.film.slices.len() >= SLICES_MAX || self.kept_flows > FLOWS_MAX)
        {
            self.coarsen();
        }
    }

    /// Who has another part of the content than the last slice says.
    fn progress(&mut self) -> Vec<(u32, u8)> {
        let (pieces, total) = (u64::from(self.geometry.pieces), self.geometry.total);
        let mut changed = Vec::new();
        for (number, host) in self.hosts.iter_mut().enumerate() {
            let whole = match host.held > pieces {
                true => total,
                false => pieces,
            };
            let parts = (host.held * u64::from(WHOLE) / whole.max(1)).min(u64::from(WHOLE));
            let parts = u8::try_from(parts).expect("at most the whole");
            if parts != host.told {
                host.told = parts;
                changed.push((index(number), parts));
            }
        }
        changed
    }

    /// Each two slices become one.
    fn coarsen(&mut self) {
        let mut slices = std::mem::take(&mut self.film.slices).into_iter();
        self.kept_flows = 0;
        while let (Some(first), Some(second)) = (slices.next(), slices.next()) {
            let slice = join(first, second);
            self.kept_flows += slice.flows.len();
            self.film.slices.push(slice);
        }
        self.film.slice_ms *= 2;
    }

    fn flow(&mut self, from: usize, to: &SocketAddr, bytes: u32, addresses: &Addresses) {
        if let Some(to) = addresses.host_at(to.ip()) {
            *self.flows.entry((index(from), index(to))).or_default() += u64::from(bytes);
        }
    }

    fn mark(&mut self, at: Now, host: usize, what: MarkKind) {
        let again = matches!(what, MarkKind::Joined | MarkKind::Left | MarkKind::Crashed);
        if std::mem::replace(&mut self.hosts[host].marked[what as usize], true) && !again {
            return;
        }
        if self.film.marks.len() < MARKS_MAX {
            self.film.marks.push(Mark {
                at_ms: at.0 / NS_PER_MS,
                host: index(host),
                what,
            });
        } else {
            self.film.marks_missed += 1;
        }
    }

    /// Takes an event of a host.
    fn note(&mut self, at: Now, host: usize, event: &WorldEvent, addresses: &Addresses) {
        match event {
            WorldEvent::Joined => self.mark(at, host, MarkKind::Joined),
            WorldEvent::Ended(kind) => {
                let crashed = matches!(kind, Some(EndKind::Crash | EndKind::PowerLoss));
                let what = match crashed {
                    true => MarkKind::Crashed,
                    false => MarkKind::Left,
                };
                self.mark(at, host, what);
                let of = (index(host), 0)..=(index(host), u32::MAX);
                self.unchokes
                    .range_mut(of)
                    .for_each(|(_, pair)| pair.end(at));
            }
            WorldEvent::Peer(event) => self.note_peer(at, host, event, addresses),
            WorldEvent::Attack(Attack::Sent { to, len }) => self.flow(host, to, *len, addresses),
            WorldEvent::Attack(Attack::Completed) => self.completed(at, host),
            WorldEvent::Server(ServerEvent::Sent { to, bytes, .. }) => {
                self.flow(host, to, *bytes, addresses);
            }
            WorldEvent::Client(event) => self.note_client(at, host, event),
            WorldEvent::Attack(Attack::Acted | Attack::Received { .. })
            | WorldEvent::Tracker(_)
            | WorldEvent::Server(_)
            | WorldEvent::Fault(..) => {}
        }
    }

    fn note_peer(&mut self, at: Now, host: usize, event: &Event, addresses: &Addresses) {
        let find = |peer: &SocketAddr| addresses.host_at(peer.ip());
        match event {
            Event::Started { have } => self.hosts[host].held = u64::from(*have),
            Event::BlockSent { peer, len, .. } => self.flow(host, peer, *len, addresses),
            Event::PieceVerified { good: true, .. } => {
                self.hosts[host].held += 1;
                self.mark(at, host, MarkKind::FirstPiece);
            }
            Event::PieceLost { .. } => {
                let held = &mut self.hosts[host].held;
                *held = held.saturating_sub(1);
            }
            Event::Completed => self.completed(at, host),
            Event::InterestedBy { peer, on: true } => {
                if let Some(other) = find(peer) {
                    self.mark(at, other, MarkKind::Interested);
                }
            }
            Event::UnchokedBy { on: true, .. } => self.mark(at, host, MarkKind::Unchoked),
            Event::Banned { peer, .. } => {
                if let Some(other) = find(peer) {
                    self.mark(at, other, MarkKind::Banned);
                }
            }
            Event::Unchoked { peer, .. } => {
                if let Some(other) = find(peer) {
                    self.unchoked(at, host, other);
                }
            }
            Event::Choked { peer } => self.choked(at, host, find(peer)),
            Event::PeerGone { peer, why } if *why != CloseReason::Duplicate => {
                self.choked(at, host, find(peer));
            }
            _ => {}
        }
    }

    fn note_client(&mut self, at: Now, host: usize, event: &ClientEvent) {
        match event {
            ClientEvent::Started { kept } => self.hosts[host].held = *kept,
            ClientEvent::Received { bytes, .. } => {
                self.hosts[host].held += u64::from(*bytes);
                self.mark(at, host, MarkKind::FirstPiece);
            }
            ClientEvent::StartedOver { dropped, .. } => {
                let held = &mut self.hosts[host].held;
                *held = held.saturating_sub(*dropped);
            }
            ClientEvent::Completed => self.completed(at, host),
            _ => {}
        }
    }

    fn completed(&mut self, at: Now, host: usize) {
        self.hosts[host].held = u64::from(self.geometry.pieces);
        self.mark(at, host, MarkKind::Complete);
    }

    fn unchoked(&mut self, at: Now, by: usize, whom: usize) {
        let key = (index(by), index(whom));
        if self.unchokes.len() >= PAIRS_MAX && !self.unchokes.contains_key(&key) {
            self.film.unchokes_missed += 1;
            return;
        }
        let pair = self.unchokes.entry(key).or_default();
        if pair.since.is_none() {
            pair.since = Some(at);
            pair.times += 1;
        }
    }

    fn choked(&mut self, at: Now, by: usize, whom: Option<usize>) {
        let key = whom.map(|whom| (index(by), index(whom)));
        if let Some(pair) = key.and_then(|key| self.unchokes.get_mut(&key)) {
            pair.end(at);
        }
    }

    /// The film, when the run is over.
    fn develop(mut self, plan: &Plan, end: Now) -> Film {
        for pair in self.unchokes.values_mut() {
            pair.end(end);
        }
        let unchokes = self
            .unchokes
            .into_iter()
            .map(|((by, whom), pair)| Unchokes {
                by,
                whom,
                ms: pair.ns / NS_PER_MS,
                times: pair.times,
            });
        self.film.unchokes = unchokes.collect();
        let began = plan.faults.iter().filter(|fault| fault.at <= end);
        let spans = began.map(|fault| FaultSpan {
            name: fault.name.clone(),
            began_ms: fault.at.0 / NS_PER_MS,
            ended_ms: fault.until.map(|until| until.min(end).0 / NS_PER_MS),
            hosts: fault.hosts.iter().copied().map(index).collect(),
        });
        self.film.faults = spans.collect();
        self.film
    }
}

/// Two slices, one after the other, as one.
fn join(first: Slice, second: Slice) -> Slice {
    let mut flows: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    for flow in first.flows.iter().chain(&second.flows) {
        *flows.entry((flow.from, flow.to)).or_default() += flow.bytes;
    }
    let progress: BTreeMap<u32, u8> = first.progress.into_iter().chain(second.progress).collect();
    let flow = |((from, to), bytes)| Flow { from, to, bytes };
    Slice {
        flows: flows.into_iter().map(flow).collect(),
        copies: second.copies,
        progress: progress.into_iter().collect(),
        sent: first.sent + second.sent,
        capacity: first.capacity + second.capacity,
    }
}

fn index(host: usize) -> u32 {
    u32::try_from(host).expect("hosts are bounded")
}

impl Recorder {
    /// Closes the slices of a film that are over at a moment, before anything that happens in it is seen.
    pub(super) fn close_slices(&mut self, at: Now) {
        let Some(camera) = &mut self.camera else {
            return;
        };
        while let Some(end) = camera.due(at) {
            let since = end.since(self.capacity_at).as_secs_f64();
            let capacity = self.capacity + since * self.uplinks as f64;
            camera.close(&self.copies, self.sent, capacity.round() as u64);
        }
    }

    /// Films an event of a host, if there is a camera.
    pub(super) fn film_host(&mut self, at: Now, host: usize, event: &WorldEvent) {
        self.close_slices(at);
        if let Some(camera) = &mut self.camera {
            camera.note(at, host, event, &self.addresses);
        }
    }

    /// The film of a run that is over.
    pub(in crate::world) fn take_film(&mut self, end: Now) -> Option<Film> {
        self.close_slices(end);
        self.integrate(end);
        let mut camera = self.camera.take()?;
        // What is left of the last slice.
        if end.0 > camera.film.length_ms() * NS_PER_MS || camera.film.slices.is_empty() {
            camera.close(&self.copies, self.sent, self.capacity.round() as u64);
        }
        Some(camera.develop(&self.plan, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Outcome, Verdict};
    use crate::scenario::Scenario;

    /// A seed, three leechers of which one crashes and comes back, a poisoner; a partition.
    fn scenario() -> Scenario {
        let text = r#"
name = "filmed"
about = "Everybody finishes, and is seen to."
run = { time_limit = "10 min", settle = "2 min" }
torrent = { size = "2 MiB", piece = "64 KiB" }
[[group]]
name = "seed"
role = "seed"
up = "128 KiB/s"
down = "128 KiB/s"
[[group]]
name = "home"
role = "leecher"
count = 3
up = "64 KiB/s"
down = "1 MiB/s"
[[group]]
name = "liar"
role = "attacker"
attack = "corrupt-blocks"
up = "64 KiB/s"
down = "1 MiB/s"
[[fault.crash]]
at = "8 s"
who = "home[1]"
down = "5 s"
[[fault.partition]]
at = "15 s"
for = "3 s"
between = ["home[0]", "seed"]
"#;
        Scenario::parse("filmed.toml", text).expect("a good file")
    }

    fn run(scenario: &Scenario) -> Outcome {
        crate::world::run(&scenario.expand(1), None).expect("no trace to write")
    }

    #[test]
    fn a_filmed_run_is_the_same_run() {
        let plain = run(&scenario());
        let filmed = run(&scenario().filmed());
        assert_eq!(plain.film, None);
        assert!(filmed.film.is_some());
        let rest = Outcome {
            film: None,
            cpu_seconds: plain.cpu_seconds,
            ..filmed
        };
        assert_eq!(rest, plain);
    }

    #[test]
    fn a_film_shows_what_the_outcome_says() {
        let outcome = run(&scenario().filmed());
        assert_eq!(outcome.verdict, Verdict::Pass, "{:?}", outcome.failures);
        let film = outcome.film.as_ref().expect("it was filmed");
        let honest = |host: u32| outcome.peers[host as usize].honest();
        // Who sent how much, by flows, in the slices, and in the outcome.
        let mut sent = vec![0; outcome.peers.len()];
        for flow in film.slices.iter().flat_map(|slice| &slice.flows) {
            sent[flow.from as usize] += flow.bytes;
            assert_ne!(flow.from, flow.to);
        }
        let uploaded: Vec<u64> = outcome.peers.iter().map(|p| p.uploaded).collect();
        assert_eq!(sent, uploaded);
        let honest_sent: u64 = (0..)
            .zip(&sent)
            .filter(|(h, _)| honest(*h))
            .map(|(_, s)| s)
            .sum();
        assert_eq!(film.slices.iter().map(|s| s.sent).sum::<u64>(), honest_sent);
        // What stands at the end.
        let mut held = vec![0; outcome.peers.len()];
        for (host, parts) in film.slices.iter().flat_map(|slice| &slice.progress) {
            held[*host as usize] = *parts;
        }
        assert_eq!(held[..4], [WHOLE; 4]);
        let rarest = film.slices.last().and_then(|s| s.copies.iter().min());
        assert_eq!(rarest.copied().map(u32::from), Some(outcome.copies_end));
        let end_ms = (outcome.sim_seconds * 1e3) as u64;
        assert!(film.length_ms() >= end_ms && film.length_ms() < end_ms + 2 * film.slice_ms);
        // What happened to whom.
        let of = |host: u32, what: MarkKind| {
            let marks = film
                .marks
                .iter()
                .filter(move |m| m.host == host && m.what == what);
            marks.map(|m| m.at_ms).collect::<Vec<_>>()
        };
        for host in 1..4 {
            let completed = outcome.peers[host as usize]
                .completed_s
                .expect("it finished");
            assert_eq!(of(host, MarkKind::Complete), [(completed * 1e3) as u64]);
            for first in [
                MarkKind::Interested,
                MarkKind::Unchoked,
                MarkKind::FirstPiece,
            ] {
                assert_eq!(of(host, first).len(), 1, "{first:?} of {host}");
            }
        }
        assert_eq!(of(2, MarkKind::Joined), [0, 13_000]);
        assert_eq!(of(2, MarkKind::Crashed), [8_000]);
        assert_eq!(of(4, MarkKind::Banned).len(), 1);
        assert!(film.marks.is_sorted_by_key(|m| m.at_ms));
        // Nobody unchokes for longer than the run is, and the seed unchoked every leecher.
        assert!(film.unchokes.iter().all(|u| u.ms <= end_ms && u.times > 0));
        let by_seed = film.unchokes.iter().filter(|u| u.by == 0 && u.whom < 4);
        assert_eq!(by_seed.count(), 3);
        let faults: Vec<_> = film
            .faults
            .iter()
            .map(|f| (f.began_ms, f.ended_ms))
            .collect();
        assert_eq!(faults, [(8_000, Some(13_000)), (15_000, Some(18_000))]);
    }

    #[test]
    fn a_film_stays_small_and_loses_nothing() {
        let plan = scenario().filmed().expand(1);
        let geometry = Geometry::new(2 << 20, 64 << 10).expect("good sizes");
        let mut camera = Camera::asked_for(&plan, geometry).expect("it is wanted");
        let copies = vec![Cell::new(1); geometry.pieces as usize];
        let (slices, pairs) = (5_000_u64, 300_u64);
        for slice in 1..=slices {
            for pair in 0..pairs {
                let pair = u32::try_from((pair + slice) % 1_000).expect("small");
                *camera.flows.entry((pair, pair + 1)).or_default() += 10;
            }
            let now = Now(slice * SLICE_MS * NS_PER_MS);
            if camera.due(now).is_some() {
                camera.close(&copies, slice * pairs * 10, 0);
            }
        }
        let open: u64 = camera.flows.values().copied().sum();
        let film = camera.film;
        assert!(film.slices.len() <= SLICES_MAX, "{}", film.slices.len());
        assert!(film.length_ms().abs_diff(slices * SLICE_MS) <= film.slice_ms);
        let flows = || film.slices.iter().flat_map(|slice| &slice.flows);
        assert!(flows().count() <= FLOWS_MAX + 2_000, "{}", flows().count());
        let kept: u64 = flows().map(|f| f.bytes).sum();
        assert_eq!(kept + open, slices * pairs * 10);
        assert_eq!(
            film.slices.iter().map(|s| s.sent).sum::<u64>(),
            slices * pairs * 10
        );
    }
}

//! Owns the timeline of a run in Chrome's trace event format, which ui.perfetto.dev opens: what every peer did when.
//!
//! Invariants: an event is written when it happens and nothing of it is kept; on a track moments never go back, and
//! every slice that begins ends. The file is one JSON array.
//!
//! A host is a process; its tracks are its stays (`life`: online, and inside that leecher or seed), its upload slots
//! (a slice per peer that it unchokes), the pieces that it fetches, and moments such as bans. Counters: connections,
//! pieces, bytes per second in and out. Faults have a process of their own, and so has each tracker.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};
use skep_engine::Now;
use skep_engine::node::file_server::ServerEvent;
use skep_engine::node::tracker_server::TrackerEvent;
use skep_engine::session::event::Event;
use skep_sim::actor::client::ClientEvent;
use skep_sim::fault::FaultNews;
use skep_sim::scenario::Plan;
use skep_sim::scenario::plan::EndKind;
use skep_sim::trace::{Attack, WorldEvent};
use skep_sim::watch::Listener;

mod lanes;
mod pen;

use lanes::Lanes;
use pen::{Pen, Rate, SECOND};

/// The track of a host's moments, and that of its stays.
const MOMENTS: u32 = 1;
const LIFE: u32 = 2;
/// First tracks of what happens several times at once.
const PAUSES: u32 = 3;
const SLOTS: u32 = 100;
const PIECES: u32 = 1_000;
const TRANSFERS: u32 = 10_000;

/// Writes the timeline of one run.
pub struct Timeline<W: Write> {
    out: Pen<W>,
    /// Names by address.
    names: BTreeMap<IpAddr, String>,
    hosts: Vec<Host>,
    /// Processes of trackers and faults, by name.
    others: BTreeMap<String, u32>,
    /// Tracks of faults that are going on.
    begun: Vec<[u32; 2]>,
    pieces: u32,
}

/// A host's tracks.
#[derive(Default)]
struct Host {
    pid: u32,
    online: bool,
    /// What is open on the track of its stays, inside `online`.
    state: Option<&'static str>,
    slots: Lanes<SocketAddr>,
    fetched: Lanes<u32>,
    transfers: Lanes<u64>,
    paused: bool,
    connections: u32,
    pieces: u32,
    received: Rate,
    sent: Rate,
}

impl<W: Write> Timeline<W> {
    /// A timeline of a run of that plan. The output should be buffered.
    #[must_use]
    pub fn new(plan: &Plan, out: W) -> Timeline<W> {
        let named = plan.hosts.iter();
        let names = named.map(|host| (IpAddr::V4(host.ip), host.name.clone()));
        let mut timeline = Timeline {
            out: Pen::new(out),
            names: names.collect(),
            hosts: Vec::new(),
            others: BTreeMap::new(),
            begun: Vec::new(),
            pieces: plan.torrent.pieces(),
        };
        for (pid, host) in (1..).zip(&plan.hosts) {
            timeline.out.process(pid, &host.name);
            timeline.out.track([pid, MOMENTS], "moments");
            timeline.out.track([pid, LIFE], "life");
            timeline.hosts.push(Host {
                pid,
                slots: Lanes::new(SLOTS, "slot"),
                fetched: Lanes::new(PIECES, "fetching"),
                transfers: Lanes::new(TRANSFERS, "transfer"),
                ..Host::default()
            });
        }
        timeline
    }

    fn name_of(&self, peer: SocketAddr) -> String {
        let name = self.names.get(&peer.ip()).cloned();
        name.unwrap_or_else(|| peer.to_string())
    }

    /// The process of a tracker or of a fault.
    fn other(&mut self, name: &str) -> u32 {
        if let Some(pid) = self.others.get(name) {
            return *pid;
        }
        let number = self.hosts.len() + self.others.len() + 1;
        let pid = u32::try_from(number).expect("hosts are bounded");
        self.out.process(pid, name);
        self.out.track([pid, MOMENTS], "moments");
        self.others.insert(name.to_owned(), pid);
        pid
    }

    fn on_host(&mut self, at: Now, host: usize, event: &WorldEvent) {
        let track = [self.hosts[host].pid, MOMENTS];
        match event {
            WorldEvent::Joined => self.on_joined(at, host),
            WorldEvent::Ended(kind) => self.on_ended(at, host, *kind),
            WorldEvent::Peer(event) => self.on_peer(at, host, event),
            WorldEvent::Server(event) => self.on_server(at, host, event),
            WorldEvent::Client(event) => self.on_client(at, host, event),
            WorldEvent::Attack(Attack::Acted) => {
                self.out.moment(at, track, "acted", Value::Null);
            }
            WorldEvent::Attack(Attack::Completed) => {
                self.out.moment(at, track, "complete", Value::Null);
            }
            WorldEvent::Attack(Attack::Sent { len, .. }) => self.sent(at, host, *len),
            WorldEvent::Attack(Attack::Received { len, .. }) => self.received(at, host, *len),
            WorldEvent::Tracker(_) | WorldEvent::Fault(..) => {}
        }
    }

    fn on_joined(&mut self, at: Now, host: usize) {
        let host = &mut self.hosts[host];
        if !std::mem::replace(&mut host.online, true) {
            self.out.begin(at, [host.pid, LIFE], "online", Value::Null);
        }
    }

    fn on_ended(&mut self, at: Now, host: usize, kind: Option<EndKind>) {
        let pid = self.hosts[host].pid;
        let how = match kind {
            None | Some(EndKind::UserLeft) => "left",
            Some(EndKind::Leave) => "churned",
            Some(EndKind::Crash) => "crashed",
            Some(EndKind::PowerLoss) => "power lost",
        };
        self.out.moment(at, [pid, MOMENTS], how, Value::Null);
        self.close(at, host);
    }

    /// Everything that is open at a host ends.
    fn close(&mut self, at: Now, host: usize) {
        let host = &mut self.hosts[host];
        let pid = host.pid;
        host.slots.end_all(|tid| self.out.end(at, [pid, tid]));
        host.fetched.end_all(|tid| self.out.end(at, [pid, tid]));
        host.transfers.end_all(|tid| self.out.end(at, [pid, tid]));
        if std::mem::take(&mut host.paused) {
            self.out.end(at, [pid, PAUSES]);
        }
        if host.state.take().is_some() {
            self.out.end(at, [pid, LIFE]);
            // Viewers draw a counter up to its last sample: that of a seed would be a point.
            self.out.count(at.0, pid, "pieces", host.pieces.into());
        }
        if std::mem::take(&mut host.online) {
            self.out.end(at, [pid, LIFE]);
        }
        if std::mem::take(&mut host.connections) > 0 {
            self.out.count(at.0, pid, "connections", 0);
        }
        host.turn_rates(at.0 / SECOND + 1, &mut self.out);
    }

    /// A host is a leecher or a seed from now on.
    fn becomes(&mut self, at: Now, host: usize, state: &'static str) {
        let host = &mut self.hosts[host];
        let track = [host.pid, LIFE];
        if !host.online || host.state == Some(state) {
            return;
        }
        if host.state.replace(state).is_some() {
            self.out.end(at, track);
        }
        self.out.begin(at, track, state, Value::Null);
    }

    /// Its user pauses, or goes on.
    fn pauses(&mut self, at: Now, host: usize, on: bool) {
        let host = &mut self.hosts[host];
        let track = [host.pid, PAUSES];
        match (std::mem::replace(&mut host.paused, on), on) {
            (false, true) => {
                self.out.track(track, "user");
                self.out.begin(at, track, "paused", Value::Null);
            }
            (true, false) => self.out.end(at, track),
            _ => {}
        }
    }

    fn pieces(&mut self, at: Now, host: usize, pieces: u32) {
        let host = &mut self.hosts[host];
        host.pieces = pieces;
        self.out.count(at.0, host.pid, "pieces", pieces.into());
    }

    fn received(&mut self, at: Now, host: usize, bytes: u32) {
        let host = &mut self.hosts[host];
        let (pid, rate) = (host.pid, &mut host.received);
        rate.add(at, bytes.into(), pid, RECEIVED, &mut self.out);
    }

    fn sent(&mut self, at: Now, host: usize, bytes: u32) {
        let host = &mut self.hosts[host];
        let (pid, rate) = (host.pid, &mut host.sent);
        rate.add(at, bytes.into(), pid, SENT, &mut self.out);
    }

    fn connections(&mut self, at: Now, host: usize, more: bool) {
        let host = &mut self.hosts[host];
        host.connections = match more {
            true => host.connections + 1,
            false => host.connections.saturating_sub(1),
        };
        let now = host.connections.into();
        self.out.count(at.0, host.pid, "connections", now);
    }

    fn slot_ends(&mut self, at: Now, host: usize, peer: SocketAddr) {
        let host = &mut self.hosts[host];
        if let Some(tid) = host.slots.end(&peer) {
            self.out.end(at, [host.pid, tid]);
        }
    }

    fn on_peer(&mut self, at: Now, host: usize, event: &Event) {
        let pid = self.hosts[host].pid;
        let moments = [pid, MOMENTS];
        match event {
            Event::Started { have } => {
                self.pieces(at, host, *have);
                let state = if *have == self.pieces {
                    "seed"
                } else {
                    "leecher"
                };
                self.becomes(at, host, state);
            }
            Event::Completed => {
                self.becomes(at, host, "seed");
                self.out.moment(at, moments, "complete", Value::Null);
            }
            Event::Finished => {
                let text = "has what its user wants";
                self.out.moment(at, moments, text, Value::Null);
            }
            Event::PeerJoined { .. } => self.connections(at, host, true),
            Event::PeerGone { peer, why } => {
                self.slot_ends(at, host, *peer);
                self.connections(at, host, false);
                let peer = self.name_of(*peer);
                let args = json!({ "peer": peer, "why": why });
                self.out.moment(at, moments, "connection gone", args);
            }
            Event::Unchoked { peer, optimistic } => {
                self.slot_ends(at, host, *peer);
                let name = self.name_of(*peer);
                let host = &mut self.hosts[host];
                let (tid, new) = host.slots.begin(*peer);
                if let Some(name) = new {
                    self.out.track([pid, tid], &name);
                }
                let args = json!({ "optimistic": optimistic });
                self.out.begin(at, [pid, tid], &name, args);
            }
            Event::Choked { peer } => self.slot_ends(at, host, *peer),
            Event::PieceStarted { piece, copies } => {
                let host = &mut self.hosts[host];
                if let Some(tid) = host.fetched.end(&piece.0) {
                    self.out.end(at, [pid, tid]);
                }
                let (tid, new) = host.fetched.begin(piece.0);
                if let Some(name) = new {
                    self.out.track([pid, tid], &name);
                }
                let name = format!("piece {}", piece.0);
                let args = json!({ "copies": copies });
                self.out.begin(at, [pid, tid], &name, args);
            }
            Event::PieceVerified { piece, good } => {
                let host_state = &mut self.hosts[host];
                if let Some(tid) = host_state.fetched.end(&piece.0) {
                    self.out.end(at, [pid, tid]);
                }
                if *good {
                    let pieces = self.hosts[host].pieces + 1;
                    self.pieces(at, host, pieces);
                } else {
                    let args = json!({ "piece": piece.0 });
                    self.out.moment(at, moments, "hash failed", args);
                }
            }
            Event::PieceLost { piece } => {
                let pieces = self.hosts[host].pieces.saturating_sub(1);
                self.pieces(at, host, pieces);
                self.becomes(at, host, "leecher");
                let args = json!({ "piece": piece.0 });
                self.out.moment(at, moments, "piece lost", args);
            }
            Event::BlockReceived { len, .. } => self.received(at, host, *len),
            Event::BlockSent { len, .. } => self.sent(at, host, *len),
            Event::Banned { peer, piece } => {
                let args = json!({ "peer": self.name_of(*peer), "piece": piece.0 });
                self.out.moment(at, moments, "banned", args);
            }
            Event::Snubbed { peer } => {
                let args = json!({ "peer": self.name_of(*peer) });
                self.out.moment(at, moments, "snubbed", args);
            }
            Event::Paused => self.pauses(at, host, true),
            Event::Resumed => self.pauses(at, host, false),
            Event::EndgameEntered => self.out.moment(at, moments, "end-game", Value::Null),
            Event::AnnounceFailed { why, .. } => {
                let args = json!({ "why": why });
                self.out.moment(at, moments, "announce failed", args);
            }
            Event::StorageFailed { why } => {
                let args = json!({ "why": why });
                self.out.moment(at, moments, "disk failed", args);
            }
            Event::MetadataComplete { .. } => {
                self.out
                    .moment(at, moments, "has the metainfo", Value::Null);
            }
            _ => {}
        }
    }

    fn on_server(&mut self, at: Now, host: usize, event: &ServerEvent) {
        let pid = self.hosts[host].pid;
        match event {
            ServerEvent::Answered {
                to,
                request,
                path,
                status,
                first,
                bytes,
            } if *bytes > 0 => {
                let name = format!("{path} to {}", self.name_of(*to));
                let args = json!({ "status": status, "first": first, "bytes": bytes });
                self.transfer_begins(at, host, *request, &name, args);
            }
            ServerEvent::Answered { path, status, .. } => {
                let args = json!({ "path": path, "status": status });
                self.out.moment(at, [pid, MOMENTS], "answered", args);
            }
            ServerEvent::Sent { bytes, .. } => self.sent(at, host, *bytes),
            ServerEvent::Ended { request, .. } => self.transfer_ends(at, host, *request),
            ServerEvent::TurnedAway { from } => {
                let args = json!({ "peer": self.name_of(*from) });
                self.out.moment(at, [pid, MOMENTS], "turned away", args);
            }
        }
    }

    fn on_client(&mut self, at: Now, host: usize, event: &ClientEvent) {
        let moments = [self.hosts[host].pid, MOMENTS];
        match event {
            ClientEvent::Asked { file, server, from } => {
                let name = format!("file {file} from {}", self.name_of(*server));
                self.transfer_ends(at, host, u64::from(*file));
                let args = json!({ "from": from });
                self.transfer_begins(at, host, u64::from(*file), &name, args);
            }
            ClientEvent::Received { bytes, .. } => self.received(at, host, *bytes),
            ClientEvent::Fetched { file } => self.transfer_ends(at, host, u64::from(*file)),
            ClientEvent::Retrying { file, why } => {
                self.transfer_ends(at, host, u64::from(*file));
                let args = json!({ "file": file, "why": why });
                self.out.moment(at, moments, "tries again", args);
            }
            ClientEvent::GaveUp { file, why, .. } => {
                self.transfer_ends(at, host, u64::from(*file));
                let args = json!({ "file": file, "why": why });
                self.out.moment(at, moments, "gave up", args);
            }
            ClientEvent::DiskFailed { why, .. } => {
                let args = json!({ "why": why });
                self.out.moment(at, moments, "disk failed", args);
            }
            ClientEvent::StartedOver { dropped, why, .. } => {
                let args = json!({ "dropped": dropped, "why": why });
                self.out.moment(at, moments, "started over", args);
            }
            ClientEvent::Completed => {
                self.out.moment(at, moments, "complete", Value::Null);
            }
            ClientEvent::Started { .. } | ClientEvent::Resumed { .. } => {}
        }
    }

    fn transfer_begins(&mut self, at: Now, host: usize, key: u64, name: &str, args: Value) {
        let host = &mut self.hosts[host];
        let (tid, new) = host.transfers.begin(key);
        if let Some(name) = new {
            self.out.track([host.pid, tid], &name);
        }
        self.out.begin(at, [host.pid, tid], name, args);
    }

    fn transfer_ends(&mut self, at: Now, host: usize, key: u64) {
        let host = &mut self.hosts[host];
        if let Some(tid) = host.transfers.end(&key) {
            self.out.end(at, [host.pid, tid]);
        }
    }

    fn on_tracker(&mut self, at: Now, name: &str, event: &TrackerEvent) {
        let pid = self.other(name);
        let track = [pid, MOMENTS];
        match event {
            TrackerEvent::Announced {
                from,
                event,
                given,
                seeds,
                leechers,
                ..
            } => {
                let args = json!({ "peer": self.name_of(*from), "what": event, "given": given });
                self.out.moment(at, track, "announced", args);
                self.out.count(at.0, pid, "seeds", (*seeds).into());
                self.out.count(at.0, pid, "leechers", (*leechers).into());
            }
            TrackerEvent::Refused { reason, .. } => {
                let args = json!({ "reason": reason });
                self.out.moment(at, track, "refused", args);
            }
            TrackerEvent::Scraped { .. } => self.out.moment(at, track, "scraped", Value::Null),
            TrackerEvent::Ignored { .. } => self.out.moment(at, track, "ignored", Value::Null),
        }
    }

    fn on_fault(&mut self, at: Now, name: &str, number: u32, news: FaultNews) {
        let pid = self.other("faults");
        // Two faults may have one name, and no two one number.
        let track = [pid, LIFE + number];
        match news {
            FaultNews::Began => {
                self.out.track(track, name);
                self.out.begin(at, track, name, Value::Null);
                self.begun.push(track);
            }
            FaultNews::Ended => {
                if let Some(place) = self.begun.iter().position(|t| *t == track) {
                    self.begun.swap_remove(place);
                    self.out.end(at, track);
                }
            }
            FaultNews::Did(times) => {
                let args = json!({ "fault": name, "times": times });
                self.out.moment(at, [pid, MOMENTS], name, args);
            }
            FaultNews::Flipped { host, piece } => {
                let host = self.hosts[host as usize].pid;
                let args = json!({ "piece": piece.0 });
                self.out.moment(at, [host, MOMENTS], "bit flipped", args);
            }
        }
    }
}

const RECEIVED: &str = "received, B/s";
const SENT: &str = "sent, B/s";

impl Host {
    fn turn_rates<W: Write>(&mut self, second: u64, pen: &mut Pen<W>) {
        self.received.turn(second, self.pid, RECEIVED, pen);
        self.sent.turn(second, self.pid, SENT, pen);
    }
}

impl<W: Write> Listener for Timeline<W> {
    fn on_event(&mut self, at: Now, host: Option<usize>, name: &str, event: &WorldEvent) {
        match (host, event) {
            (Some(host), event) => self.on_host(at, host, event),
            (None, WorldEvent::Tracker(event)) => self.on_tracker(at, name, event),
            (None, WorldEvent::Fault(number, news)) => self.on_fault(at, name, *number, *news),
            (None, _) => {}
        }
    }

    fn finish(&mut self, at: Now) -> io::Result<()> {
        for host in 0..self.hosts.len() {
            self.close(at, host);
        }
        for track in std::mem::take(&mut self.begun) {
            self.out.end(at, track);
        }
        self.out.finish()
    }
}

//! Owns the trace of a run: every event in order, as a rolling hash with checkpoints and, if wanted, as
//! lines.
//!
//! Invariant: the hash covers (time in ns, host, event) of every event, in order, and nothing else;
//! same build, same scenario, same seed: the same hash, and the same at every checkpoint.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::num::ParseIntError;
use std::str::FromStr;

use serde::Serialize;
use skep_engine::node::file_server::ServerEvent;
use skep_engine::node::spawn::current_task;
use skep_engine::node::tracker_server::TrackerEvent;
use skep_engine::session::event::Event;
use skep_engine::{Now, PieceIndex};

use crate::actor::client::ClientEvent;
use crate::fault::FaultNews;
use crate::scenario::plan::EndKind;
use crate::watch::Listener;

/// One event of a run: of a peer, of the tracker, of an end of direct download, of an attacker, or of the
/// world.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum WorldEvent {
    /// A host's user starts the client.
    Joined,
    /// A host's client ended by plan or, with `None`, because its user left.
    Ended(Option<EndKind>),
    /// Something in an honest peer's session.
    Peer(Event),
    /// Something at the tracker.
    Tracker(TrackerEvent),
    /// Something at a file server.
    Server(ServerEvent),
    /// Something at a client of direct download.
    Client(ClientEvent),
    /// An attacker acted.
    Attack(Attack),
    /// A scheduled fault, by its position in the plan.
    Fault(u32, FaultNews),
}

/// What an attacker did.
#[derive(Clone, PartialEq, Eq, Hash, Debug, serde::Serialize)]
#[serde(tag = "event")]
pub enum Attack {
    /// Its harm was done once; what it is depends on the attack.
    #[serde(rename = "attack-acted")]
    Acted,
    /// It sent so many payload bytes, to whom.
    #[serde(rename = "attack-sent")]
    Sent {
        /// The receiver.
        to: std::net::SocketAddr,
        /// Bytes.
        len: u32,
    },
    /// It received so many payload bytes.
    #[serde(rename = "attack-received")]
    Received {
        /// The sender.
        from: std::net::SocketAddr,
        /// Bytes.
        len: u32,
    },
    /// It holds the whole content.
    #[serde(rename = "attack-completed")]
    Completed,
}

/// A 64-bit rolling hash with fixed constants, the same on every platform and in every build.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceHash(u64);

impl Default for TraceHash {
    fn default() -> Self {
        TraceHash(0x736b_6570_2074_7263)
    }
}

/// 2^64 over the golden ratio, odd.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

impl TraceHash {
    fn mix(&mut self, word: u64) {
        let wide = u128::from(self.0 ^ word) * u128::from(MULTIPLIER);
        let (high, low) = ((wide >> 64) as u64, wide as u64);
        self.0 = high ^ low ^ word.rotate_left(23);
    }
}

impl FromStr for TraceHash {
    type Err = ParseIntError;

    /// As it is printed: hexadecimal.
    fn from_str(text: &str) -> Result<TraceHash, ParseIntError> {
        u64::from_str_radix(text, 16).map(TraceHash)
    }
}

impl fmt::Display for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Hasher for TraceHash {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
        self.mix(bytes.len() as u64);
    }
    fn write_u8(&mut self, n: u8) {
        self.mix(u64::from(n));
    }
    fn write_u16(&mut self, n: u16) {
        self.mix(u64::from(n));
    }
    fn write_u32(&mut self, n: u32) {
        self.mix(u64::from(n));
    }
    fn write_u64(&mut self, n: u64) {
        self.mix(n);
    }
    fn write_usize(&mut self, n: usize) {
        self.mix(n as u64);
    }
    fn write_isize(&mut self, n: isize) {
        self.mix(n as u64);
    }
}

/// Events between two checkpoints of a short run.
const CHECKPOINT_EVENTS: u64 = 4096;
/// Checkpoints at most: of a run with more, every other one is dropped, and so on.
const CHECKPOINTS_MAX: usize = 1024;

/// The rolling hash at regular moments of a run, so that two runs that differ can be told to have been
/// equal until one of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoints {
    /// Events from one to the next; 4,096 times a power of two.
    pub every: u64,
    /// The hash after `every` events, after twice as many, and so on.
    pub hashes: Vec<TraceHash>,
    next: u64,
}

impl Default for Checkpoints {
    fn default() -> Self {
        Checkpoints::of(CHECKPOINT_EVENTS, Vec::new())
    }
}

impl Checkpoints {
    /// As another process says it has them.
    #[must_use]
    pub fn of(every: u64, hashes: Vec<TraceHash>) -> Checkpoints {
        let next = every * (hashes.len() as u64 + 1);
        Checkpoints {
            every,
            hashes,
            next,
        }
    }

    fn note(&mut self, hash: TraceHash) {
        self.hashes.push(hash);
        if self.hashes.len() == CHECKPOINTS_MAX {
            let mut number = 0;
            self.hashes.retain(|_| {
                number += 1;
                number % 2 == 0
            });
            self.every *= 2;
        }
        self.next = self.every * (self.hashes.len() as u64 + 1);
    }

    /// The hash after so many events, if there is a checkpoint.
    fn after(&self, events: u64) -> Option<TraceHash> {
        let number = usize::try_from(events / self.every).ok()?;
        self.hashes.get(number.checked_sub(1)?).copied()
    }

    /// Events after which both runs were still equal, by their checkpoints: at least 0.
    #[must_use]
    pub fn equal_until(&self, other: &Checkpoints) -> u64 {
        let every = self.every.max(other.every);
        let mut moments = (1..).map(|number| number * every);
        let differs = moments.find(|&events| {
            let (ours, others) = (self.after(events), other.after(events));
            ours.is_none() || ours != others
        });
        differs.unwrap_or(every) - every
    }
}

/// Where the lines of a trace go: one JSON object per event.
pub struct Lines {
    out: Box<dyn Write>,
    /// With the number, the hash and the task of each event, from this number (0 is the first) on.
    probe_from: Option<u64>,
}

impl Lines {
    /// Every event, for readers.
    #[must_use]
    pub fn new(out: Box<dyn Write>) -> Lines {
        Lines {
            out,
            probe_from: None,
        }
    }

    /// Events from number `from` on, for comparing with another run.
    #[must_use]
    pub fn probe(out: Box<dyn Write>, from: u64) -> Lines {
        Lines {
            out,
            probe_from: Some(from),
        }
    }
}

/// Where a trace goes.
pub struct Trace {
    hash: TraceHash,
    events: u64,
    checkpoints: Checkpoints,
    lines: Option<Lines>,
    listeners: Vec<Box<dyn Listener>>,
    failed: Option<io::Error>,
}

/// What a line for comparing has more.
#[derive(Serialize)]
struct Probe {
    /// The event's number, from 0.
    n: u64,
    /// After it.
    hash: String,
    /// The task that was running.
    task: &'static str,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    probe: Option<Probe>,
    t_ns: u64,
    host: &'a str,
    #[serde(flatten)]
    what: What<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum What<'a> {
    Peer(&'a Event),
    Tracker(&'a TrackerEvent),
    Server(&'a ServerEvent),
    Client(&'a ClientEvent),
    Attack(&'a Attack),
    World(World),
}

/// What happens to hosts, and what becomes of faults. A fault's line has its name in place of a host's.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum World {
    /// The user of a host starts its client.
    Joined,
    /// A host's client ended, and does not come back.
    Left,
    /// A host's client ended by plan, and may come back.
    Churned,
    /// A host's client died: its connections are reset.
    Crashed,
    /// A host lost its power: it falls silent, and what was not synced is lost.
    PowerLost,
    /// A fault is there.
    FaultBegan {
        /// Its number, from 0, in the order of their moments.
        fault: u32,
    },
    /// A fault did something.
    FaultDid {
        /// Its number.
        fault: u32,
        /// So many times.
        times: u64,
    },
    /// A fault turned a stored bit of a piece.
    FaultFlipped {
        /// Its number.
        fault: u32,
        /// Whose disk: the host's number, from 0.
        host_number: u32,
        /// Which piece.
        piece: PieceIndex,
    },
    /// A fault is over.
    FaultEnded {
        /// Its number.
        fault: u32,
    },
}

impl Trace {
    /// A trace that also writes one JSON object per event, if `lines` is given.
    #[must_use]
    pub fn new(lines: Option<Lines>) -> Trace {
        Trace {
            hash: TraceHash::default(),
            events: 0,
            checkpoints: Checkpoints::default(),
            lines,
            listeners: Vec::new(),
            failed: None,
        }
    }

    /// With those who also hear every event.
    #[must_use]
    pub fn heard_by(self, listeners: Vec<Box<dyn Listener>>) -> Trace {
        Trace { listeners, ..self }
    }

    /// Takes the next event. Only lines and listeners ask for the name of its host.
    pub fn push<'a>(
        &mut self,
        at: Now,
        host: u32,
        name: impl FnOnce() -> &'a str,
        event: &WorldEvent,
    ) {
        (at.0, host, event).hash(&mut self.hash);
        self.events += 1;
        if self.events == self.checkpoints.next {
            self.checkpoints.note(self.hash);
        }
        if self.lines.is_none() && self.listeners.is_empty() {
            return;
        }
        let name = name();
        if self.lines.is_some() && self.failed.is_none() {
            self.write(at, name, event);
        }
        let host = (host != u32::MAX).then_some(host as usize);
        for listener in &mut self.listeners {
            listener.on_event(at, host, name, event);
        }
    }

    fn write(&mut self, at: Now, name: &str, event: &WorldEvent) {
        let n = self.events - 1;
        let Some(lines) = self.lines.as_mut() else {
            return;
        };
        let probe = match lines.probe_from {
            Some(from) if n < from => return,
            Some(_) => Some(Probe {
                n,
                hash: self.hash.to_string(),
                task: current_task(),
            }),
            None => None,
        };
        let line = Line {
            probe,
            t_ns: at.0,
            host: name,
            what: what(event),
        };
        let written = serde_json::to_writer(&mut lines.out, &line).map_err(io::Error::from);
        self.failed = written.and_then(|()| lines.out.write_all(b"\n")).err();
    }

    /// The checkpoints so far.
    #[must_use]
    pub fn checkpoints(&self) -> &Checkpoints {
        &self.checkpoints
    }

    /// The hash and the number of events so far.
    #[must_use]
    pub fn hash(&self) -> (TraceHash, u64) {
        (self.hash, self.events)
    }

    /// Ends the lines and what listeners write.
    ///
    /// # Errors
    /// When something could not be written.
    pub fn finish(&mut self, at: Now) -> io::Result<()> {
        for listener in &mut self.listeners {
            listener.finish(at)?;
        }
        match (self.failed.take(), &mut self.lines) {
            (Some(error), _) => Err(error),
            (None, Some(lines)) => lines.out.flush(),
            (None, None) => Ok(()),
        }
    }
}

fn what(event: &WorldEvent) -> What<'_> {
    let world = match event {
        WorldEvent::Peer(event) => return What::Peer(event),
        WorldEvent::Tracker(event) => return What::Tracker(event),
        WorldEvent::Server(event) => return What::Server(event),
        WorldEvent::Client(event) => return What::Client(event),
        WorldEvent::Attack(event) => return What::Attack(event),
        WorldEvent::Joined => World::Joined,
        WorldEvent::Ended(None | Some(EndKind::UserLeft)) => World::Left,
        WorldEvent::Ended(Some(EndKind::Leave)) => World::Churned,
        WorldEvent::Ended(Some(EndKind::Crash)) => World::Crashed,
        WorldEvent::Ended(Some(EndKind::PowerLoss)) => World::PowerLost,
        WorldEvent::Fault(fault, news) => match *news {
            FaultNews::Began => World::FaultBegan { fault: *fault },
            FaultNews::Did(times) => World::FaultDid {
                fault: *fault,
                times,
            },
            FaultNews::Flipped { host, piece } => World::FaultFlipped {
                fault: *fault,
                host_number: host,
                piece,
            },
            FaultNews::Ended => World::FaultEnded { fault: *fault },
        },
    };
    What::World(world)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(events: &[(u64, u32, WorldEvent)]) -> TraceHash {
        let mut trace = Trace::new(None);
        for (at, host, event) in events {
            trace.push(Now(*at), *host, || "h", event);
        }
        trace.hash().0
    }

    #[test]
    fn the_hash_sees_time_host_event_and_order() {
        let join = |at, host| (at, host, WorldEvent::Joined);
        let base = hash(&[join(1, 1), join(2, 2)]);
        assert_eq!(base, hash(&[join(1, 1), join(2, 2)]));
        for other in [
            hash(&[join(1, 1), join(3, 2)]),
            hash(&[join(1, 1), join(2, 3)]),
            hash(&[join(2, 2), join(1, 1)]),
            hash(&[join(1, 1)]),
            hash(&[join(1, 1), (2, 2, WorldEvent::Ended(None))]),
        ] {
            assert_ne!(base, other);
        }
    }

    fn checkpoints(events: u64, odd: Option<u64>) -> Checkpoints {
        let mut trace = Trace::new(None);
        for number in 0..events {
            let host = u32::from(odd == Some(number));
            trace.push(Now(number), host, || "h", &WorldEvent::Joined);
        }
        trace.checkpoints().clone()
    }

    #[test]
    fn checkpoints_tell_until_when_two_runs_were_equal() {
        let whole = checkpoints(20_000, None);
        assert_eq!((whole.every, whole.hashes.len()), (4096, 4));
        assert_eq!(whole.equal_until(&whole), 16_384);
        assert_eq!(whole.equal_until(&checkpoints(20_000, Some(0))), 0);
        assert_eq!(whole.equal_until(&checkpoints(20_000, Some(8191))), 4096);
        assert_eq!(whole.equal_until(&checkpoints(20_000, Some(8192))), 8192);
        assert_eq!(whole.equal_until(&checkpoints(9_000, None)), 8192);
        let told = Checkpoints::of(whole.every, whole.hashes.clone());
        assert_eq!(told, whole);
        assert_eq!(whole.hashes[0].to_string().parse(), Ok(whole.hashes[0]));
    }

    #[test]
    fn a_long_run_has_few_checkpoints_that_compare_with_a_short_ones() {
        let long = checkpoints(CHECKPOINT_EVENTS * 1500, None);
        assert_eq!((long.every, long.hashes.len()), (8192, 750));
        let short = checkpoints(20_000, None);
        assert_eq!(short.equal_until(&long), 16_384);
        assert_eq!(long.equal_until(&short), 16_384);
    }

    #[test]
    fn a_line_for_comparing_has_number_hash_and_task() {
        let out = crate::watch::Kept::default();
        let mut trace = Trace::new(Some(Lines::probe(Box::new(out.clone()), 1)));
        for number in 0..3 {
            trace.push(Now(number), 0, || "h", &WorldEvent::Joined);
        }
        trace.finish(Now(2)).unwrap();
        let text = out.take_text();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["n"], 1);
        assert_eq!(lines[0]["task"], "");
        assert_eq!(lines[1]["hash"], trace.hash().0.to_string());
    }

    /// Pins the algorithm: a changed constant would make old hashes useless without a word.
    #[test]
    fn the_hash_is_the_same_in_every_build() {
        let mut hash = TraceHash::default();
        hash.write_u64(7);
        hash.write(b"skep and more");
        assert_eq!(hash.to_string(), "317923a42756d3e8");
    }
}

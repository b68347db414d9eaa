//! Owns the trace of a run: every event in order, as a rolling hash and, if wanted, as lines.
//!
//! Invariant: the hash covers (time in ns, host, event) of every event, in order, and nothing else;
//! same build, same scenario, same seed: the same hash.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::io::{self, Write};

use serde::Serialize;
use skep_engine::Now;
use skep_engine::node::file_server::ServerEvent;
use skep_engine::node::tracker_server::TrackerEvent;
use skep_engine::session::event::Event;

use crate::actor::client::ClientEvent;
use crate::fault::FaultNews;
use crate::scenario::plan::EndKind;

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
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Attack {
    /// Its harm was done once; what it is depends on the attack.
    Acted,
    /// It sent so many payload bytes, to whom.
    Sent {
        /// The receiver.
        to: std::net::SocketAddr,
        /// Bytes.
        len: u32,
    },
    /// It received so many payload bytes.
    Received {
        /// The sender.
        from: std::net::SocketAddr,
        /// Bytes.
        len: u32,
    },
    /// It holds the whole content.
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

/// Where a trace goes.
pub struct Trace {
    hash: TraceHash,
    events: u64,
    lines: Option<Box<dyn Write>>,
    failed: Option<io::Error>,
}

#[derive(Serialize)]
struct Line<'a> {
    t_ns: u64,
    host: &'a str,
    #[serde(flatten)]
    what: What<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum What<'a> {
    Peer(&'a Event),
    Other { event: &'static str, detail: String },
}

impl Trace {
    /// A trace that also writes one JSON object per event, if `lines` is given.
    #[must_use]
    pub fn new(lines: Option<Box<dyn Write>>) -> Trace {
        Trace {
            hash: TraceHash::default(),
            events: 0,
            lines,
            failed: None,
        }
    }

    /// Takes the next event.
    pub fn push(&mut self, at: Now, host: u32, name: &str, event: &WorldEvent) {
        (at.0, host, event).hash(&mut self.hash);
        self.events += 1;
        if let Some(lines) = &mut self.lines
            && self.failed.is_none()
        {
            let line = Line {
                t_ns: at.0,
                host: name,
                what: what(event),
            };
            let written = serde_json::to_writer(&mut *lines, &line).map_err(io::Error::from);
            self.failed = written.and_then(|()| lines.write_all(b"\n")).err();
        }
    }

    /// The hash and the number of events so far.
    #[must_use]
    pub fn hash(&self) -> (TraceHash, u64) {
        (self.hash, self.events)
    }

    /// Ends the lines.
    ///
    /// # Errors
    /// When a line could not be written.
    pub fn finish(&mut self) -> io::Result<()> {
        match (self.failed.take(), &mut self.lines) {
            (Some(error), _) => Err(error),
            (None, Some(lines)) => lines.flush(),
            (None, None) => Ok(()),
        }
    }
}

fn what(event: &WorldEvent) -> What<'_> {
    let (event, detail) = match event {
        WorldEvent::Peer(event) => return What::Peer(event),
        WorldEvent::Joined => ("joined", String::new()),
        WorldEvent::Ended(None) => ("left", String::new()),
        WorldEvent::Ended(Some(EndKind::Leave)) => ("churned", String::new()),
        WorldEvent::Ended(Some(EndKind::UserLeft)) => ("left", String::new()),
        WorldEvent::Ended(Some(EndKind::Crash)) => ("crashed", String::new()),
        WorldEvent::Ended(Some(EndKind::PowerLoss)) => ("power-lost", String::new()),
        WorldEvent::Tracker(event) => ("tracker", format!("{event:?}")),
        WorldEvent::Server(event) => ("server", format!("{event:?}")),
        WorldEvent::Client(event) => ("client", format!("{event:?}")),
        WorldEvent::Attack(event) => ("attack", format!("{event:?}")),
        WorldEvent::Fault(_, news) => ("fault", format!("{news:?}")),
    };
    What::Other { event, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(events: &[(u64, u32, WorldEvent)]) -> TraceHash {
        let mut trace = Trace::new(None);
        for (at, host, event) in events {
            trace.push(Now(*at), *host, "h", event);
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

    /// Pins the algorithm: a changed constant would make old hashes useless without a word.
    #[test]
    fn the_hash_is_the_same_in_every_build() {
        let mut hash = TraceHash::default();
        hash.write_u64(7);
        hash.write(b"skep and more");
        assert_eq!(hash.to_string(), "317923a42756d3e8");
    }
}

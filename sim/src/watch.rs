//! Owns who hears a run beside its outcome: the lines of its trace, listeners of its events, and a capture of its
//! traffic.
//!
//! Invariant: who hears changes nothing: with and without, a run has the same trace.

use std::io;

use skep_engine::Now;

use crate::network::packet::PacketSink;
use crate::trace::{Lines, WorldEvent};

mod kept;

pub use kept::Kept;

/// Hears every event of a run, in order.
pub trait Listener {
    /// Something happened. `host` is a position in the plan, none for trackers and faults; `name` is its name, or
    /// theirs.
    fn on_event(&mut self, at: Now, host: Option<usize>, name: &str, event: &WorldEvent);

    /// The run is over.
    ///
    /// # Errors
    /// When what it wrote could not be written.
    fn finish(&mut self, at: Now) -> io::Result<()>;
}

/// Who hears a run; nobody by default.
#[derive(Default)]
pub struct Watchers {
    /// Takes the trace, one JSON object per event.
    pub lines: Option<Lines>,
    /// Hear the events.
    pub listeners: Vec<Box<dyn Listener>>,
    /// Takes the packets that arrive. Only the fabric has any.
    pub packets: Option<Box<dyn PacketSink>>,
}

impl From<Option<Lines>> for Watchers {
    fn from(lines: Option<Lines>) -> Watchers {
        Watchers {
            lines,
            ..Watchers::default()
        }
    }
}

//! Owns asking for what a run keeps of a host, before the host's turn.
//!
//! Invariant: nothing is decided by it, nor by where memory lies; see [`skep_engine::prefetch`]. That a host asks in a
//! turn of its own is seen all the same: what has its turn in the same millisecond has it in another order, so whether
//! hosts do so follows from the plan alone.

use std::cell::RefCell;
use std::rc::Rc;

use skep_engine::prefetch;

use super::recorder::Recorder;
use crate::actor::engine_peer::Books;

/// Hosts of a run from which on each asks for its memory in a turn of its own. Those of fewer fit the caches well
/// enough: with a hundred it was measured to gain nothing.
pub(super) const MANY: usize = 200;

/// What a run keeps of one host.
pub(super) struct HostBooks {
    pub(super) recorder: Rc<RefCell<Recorder>>,
    pub(super) host: usize,
}

impl Books for HostBooks {
    fn prefetch(&self) {
        let recorder = self.recorder.borrow();
        prefetch::value(&recorder.tallies[self.host]);
        for (check, _) in &recorder.checks {
            check.prefetch(self.host);
        }
    }

    fn prefetch_lists(&self) {
        for (check, _) in &self.recorder.borrow().checks {
            check.prefetch_lists(self.host);
        }
    }
}

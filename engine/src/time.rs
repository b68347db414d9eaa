//! Owns [`Now`], the only notion of time the session knows.
//!
//! Invariant: integers only, nanoseconds since the start of the run (simulated) or of the process
//! (real); never read from a clock here.

use std::fmt;
use std::time::Duration;

/// A moment: nanoseconds since the start of the run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Now(pub u64);

impl Now {
    /// The start of the run.
    pub const START: Now = Now(0);
    /// Later than everything: a timer that is not armed.
    pub const NEVER: Now = Now(u64::MAX);

    /// This moment plus `by`, saturating at [`Now::NEVER`].
    #[must_use]
    pub fn after(self, by: Duration) -> Now {
        let ns = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        Now(self.0.saturating_add(ns))
    }

    /// Time since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Now) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Seconds since the start, for people and reports.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl fmt::Display for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} s", self.as_secs_f64())
    }
}

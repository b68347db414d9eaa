//! Owns how the network reads the paused clock of its run.
//!
//! Invariant: the reading is that of tokio's clock, always. That one moves only while the runtime is parked, which
//! its metrics count, so it is asked once after each time: whoever wakes first sees that it has moved.

use tokio::runtime::{Handle, RuntimeFlavor, RuntimeMetrics};
use tokio::time::Instant;

/// Time since the start of a run, ns.
#[derive(Debug)]
pub(super) struct PausedClock {
    epoch: Instant,
    /// Of the runtime that all hosts live on; `None`: it is not known when the clock moves.
    runtime: Option<RuntimeMetrics>,
    /// How often that one had parked at the last reading.
    parks: Option<u64>,
    reading: u64,
}

impl PausedClock {
    /// A clock that starts at `epoch`.
    pub(super) fn new(epoch: Instant) -> PausedClock {
        let handle = Handle::try_current().ok();
        let alone = |handle: &Handle| handle.runtime_flavor() == RuntimeFlavor::CurrentThread;
        PausedClock {
            epoch,
            runtime: handle.filter(alone).map(|handle| handle.metrics()),
            parks: None,
            reading: 0,
        }
    }

    /// The moment that the clock calls 0.
    pub(super) fn epoch(&self) -> Instant {
        self.epoch
    }

    /// The time now.
    pub(super) fn read(&mut self) -> u64 {
        let parks = self.runtime.as_ref().map(|rt| rt.worker_park_count(0));
        if parks.is_none() || parks != self.parks {
            self.parks = parks;
            let ns = Instant::now().duration_since(self.epoch).as_nanos();
            self.reading = u64::try_from(ns).expect("a run is shorter than 584 years");
        }
        self.reading
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn it_is_the_clock_of_the_runtime_whoever_wakes() {
        let epoch = Instant::now();
        let mut clock = PausedClock::new(epoch);
        assert!(clock.runtime.is_some());
        assert_eq!(clock.read(), 0);
        for ms in [1, 5, 5, 70_000] {
            let to = epoch + Duration::from_millis(ms);
            tokio::time::sleep_until(to).await;
            tokio::task::yield_now().await;
            assert_eq!(clock.read(), ms * 1_000_000);
        }
    }
}

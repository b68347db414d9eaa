//! Virtual time never goes back, and no instant holds more events than a swarm could make.

use skep_engine::Now;

use super::{Check, Log, Scene, Seen};

/// Events of all hosts in one instant beyond which one of them is thought to spin. Thousands of peers
/// that join and dial at once stay far below a million.
const PER_INSTANT_MAX: u64 = 1_000_000;

/// Looks at the time of every event.
#[derive(Default)]
pub(super) struct TimeAdvances {
    last: Now,
    in_instant: u64,
}

impl Check for TimeAdvances {
    fn name(&self) -> &'static str {
        "time-advances"
    }

    fn sentence(&self) -> &'static str {
        "virtual time advances and never goes back"
    }

    fn on_event(&mut self, seen: &Seen<'_>, _scene: &Scene<'_>, log: &mut Log) {
        if seen.at != self.last {
            self.in_instant = 0;
        }
        self.in_instant += 1;
        let (last, many) = (self.last, self.in_instant > PER_INSTANT_MAX);
        log.require(seen.at >= last && !many, seen.at, seen.host, || {
            if many {
                format!("more than {PER_INSTANT_MAX} events at one instant")
            } else {
                format!("time went back from {last}")
            }
        });
        self.last = self.last.max(seen.at);
    }
}

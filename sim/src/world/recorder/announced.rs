//! Owns the count of what honest peers tell trackers once: `started`, `completed` and `stopped`.
//!
//! Invariant: only what a tracker answered counts. How often each is due comes from what the host did, not
//! from what it says.

use std::net::IpAddr;

use skep_engine::tracker::announce::AnnounceEvent;

use super::{Recorder, Tally};

/// How often a host told trackers each, and how often too much.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Announced {
    /// `started`.
    pub started: u32,
    /// `completed`.
    pub completed: u32,
    /// `stopped`.
    pub stopped: u32,
    /// Of these, what came again: more than one `started` or `stopped` for each stay, more than one `completed`, or
    /// one of a host that completed nothing.
    pub repeated: u32,
}

impl Announced {
    fn heard(&mut self, event: AnnounceEvent) {
        match event {
            AnnounceEvent::Started => self.started += 1,
            AnnounceEvent::Completed => self.completed += 1,
            AnnounceEvent::Stopped => self.stopped += 1,
            AnnounceEvent::Periodic | AnnounceEvent::Paused => {}
        }
    }

    /// What is too much, after so many stays, of a host that completed the content or did not.
    fn judged(mut self, stays: u32, completed: bool) -> Announced {
        self.repeated = self.started.saturating_sub(stays)
            + self.completed.saturating_sub(u32::from(completed))
            + self.stopped.saturating_sub(stays);
        self
    }
}

impl Tally {
    /// What this host told trackers.
    pub(in crate::world) fn announced(&self) -> Announced {
        self.announced.judged(self.stays, self.completed.is_some())
    }
}

impl Recorder {
    /// An announce of whoever is at this address met a tracker that misbehaves.
    pub(in crate::world) fn on_announce_met(&mut self, from: IpAddr, told: u32) {
        if let Some(host) = self.addresses.host_at(from) {
            self.tallies[host].announces += 1;
            self.tallies[host].told += told;
        }
    }

    /// A tracker answered an announce of whoever is at this address.
    pub(super) fn on_announced(&mut self, from: IpAddr, event: AnnounceEvent, told: u32) {
        self.on_announce_met(from, told);
        if let Some(host) = self.addresses.host_at(from) {
            self.tallies[host].announced.heard(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_again_is_told_from_what_is_due() {
        use AnnounceEvent::{Completed, Paused, Periodic, Started, Stopped};
        let repeated = |events: &[AnnounceEvent], stays, completed| {
            let mut announced = Announced::default();
            events.iter().for_each(|event| announced.heard(*event));
            announced.judged(stays, completed).repeated
        };
        assert_eq!(
            repeated(&[Started, Periodic, Completed, Paused, Stopped], 1, true),
            0
        );
        assert_eq!(repeated(&[Started, Stopped, Started, Stopped], 2, false), 0);
        assert_eq!(repeated(&[Started, Started], 1, false), 1);
        assert_eq!(
            repeated(&[Started, Completed], 1, false),
            1,
            "a seed completes nothing"
        );
        assert_eq!(repeated(&[Started, Completed, Completed], 2, true), 1);
        assert_eq!(repeated(&[Started, Stopped, Stopped], 1, true), 1);
    }
}

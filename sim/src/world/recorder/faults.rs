//! Owns what the recorder makes of faults: which are there, and how often each did something.
//!
//! Invariant: a firing is counted where it happens, once.

use std::rc::Rc;

use skep_engine::Now;

use super::{Held, Recorder};
use crate::check::Seen;
use crate::fault::FaultNews;
use crate::fault::network::link_of;
use crate::scenario::plan::{FaultKind, FaultPlan, TrackerFault, UserAction};
use crate::trace::WorldEvent;

impl Recorder {
    /// There is news of a fault of the plan.
    pub(in crate::world) fn on_fault(&mut self, at: Now, number: usize, news: FaultNews) {
        match &mut self.held {
            Some(held) => held.push((at, Held::Fault(number, news))),
            None => self.take_fault(at, number, news),
        }
    }

    /// Takes the next news of a fault.
    pub(super) fn take_fault(&mut self, at: Now, number: usize, news: FaultNews) {
        self.close_slices(at);
        let plan = Rc::clone(&self.plan);
        let fault = u32::try_from(number).expect("faults are bounded");
        let event = WorldEvent::Fault(fault, news);
        self.trace
            .push(at, u32::MAX, || &plan.faults[number].name, &event);
        match news {
            FaultNews::Began => {
                self.active.insert(number);
                self.links_changed(at, number);
                let online = |host: &&usize| self.tallies[**host].online_since.is_some();
                let online = plan.faults[number].hosts.iter().filter(online).count();
                if matches!(plan.faults[number].kind, FaultKind::Link(_)) {
                    self.firings[number] += online as u64;
                }
            }
            FaultNews::Did(times) => self.firings[number] += times,
            FaultNews::Flipped { host, piece } => {
                self.firings[number] += 1;
                // It was a copy.
                if self.tallies[host as usize].online_since.is_some() {
                    let copies = &self.copies[piece.at()];
                    copies.set(copies.get().saturating_sub(1));
                    self.note_copies();
                }
            }
            FaultNews::Ended => {
                self.active.remove(&number);
                self.links_changed(at, number);
            }
        }
        let seen = Seen {
            at,
            host: None,
            event: &event,
        };
        self.check(&seen, false);
    }

    /// The links of a fault's hosts are other ones, if that is what it does.
    fn links_changed(&mut self, at: Now, number: usize) {
        let plan = Rc::clone(&self.plan);
        if matches!(plan.faults[number].kind, FaultKind::Link(_)) {
            for host in &plan.faults[number].hosts {
                self.set_uplink(at, *host);
            }
        }
    }

    /// A host came or went, or its link is another one.
    pub(super) fn set_uplink(&mut self, at: Now, host: usize) {
        let online = self.tallies[host].online_since.is_some();
        let up = if online && self.uploads(host) {
            link_of(&self.plan, host, self.active.iter().copied()).up
        } else {
            0
        };
        self.integrate(at);
        self.uplinks = self.uplinks - self.uplink_of[host] + up;
        self.uplink_of[host] = up;
    }

    /// A host's stay ended as these faults planned.
    pub(super) fn stay_ended(&mut self, at: Now, host: usize) {
        for (number, fault) in self.plan.faults.iter().enumerate() {
            if fault.in_sessions() && fault.at == at && fault.hosts.contains(&host) {
                self.firings[number] += 1;
            }
        }
    }

    /// A host's user ended the client as planned: the last such fault did it. The client took its leave first.
    pub(super) fn user_left(&mut self, at: Now, host: usize) {
        let leaves = FaultKind::User(UserAction::Leave);
        let faults = self.plan.faults.iter();
        let hit = |f: &&FaultPlan| f.kind == leaves && f.at <= at && f.hosts.contains(&host);
        let last = faults.enumerate().rfind(|(_, f)| hit(f));
        if let Some((number, _)) = last {
            self.firings[number] += 1;
        }
    }

    /// An announce to a tracker led to nothing: a tracker that is down cannot count that itself.
    pub(super) fn announce_failed(&mut self, tracker: u32) {
        for number in &self.active {
            if let FaultKind::Tracker {
                which,
                mode: TrackerFault::Down,
            } = &self.plan.faults[*number].kind
                && which.contains(&(tracker as usize))
            {
                self.firings[*number] += 1;
            }
        }
    }
}

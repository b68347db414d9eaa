//! What must hold in every run: one file per invariant.
//!
//! Invariant: a check reads events and the disks, never a session; it counts how often it
//! evaluated, so that one that never saw anything can be told from one that held.

mod addresses;
mod availability;
mod bans_hold;
mod block_states;
mod bound_respected;
mod buffers_bounded;
mod bytes_conserved;
mod false_bans;
mod no_wrong_byte;
mod time_advances;

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use serde::Serialize;
use skep_engine::Now;

use crate::content::Content;
use crate::disk::Disk;
use crate::scenario::Plan;
use crate::stall::Stall;
use crate::trace::WorldEvent;

pub use addresses::Addresses;
pub(crate) use buffers_bounded::bound as buffers_bound;

/// Something that did not hold.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Failure {
    /// The check, expectation or rule.
    pub check: String,
    /// The peer at which it was seen, if at one.
    pub peer: Option<String>,
    /// When, simulated seconds.
    pub at_s: f64,
    /// What was seen.
    pub message: String,
    /// Of a peer that could have finished and did not: what it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stall: Option<Box<Stall>>,
}

impl Failure {
    /// Of no peer in particular.
    #[must_use]
    pub fn of(check: impl Into<String>, at: Now, message: String) -> Failure {
        Failure {
            check: check.into(),
            peer: None,
            at_s: at.as_secs_f64(),
            message,
            stall: None,
        }
    }
}

/// What checks may look at beside the event.
pub struct Scene<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The content.
    pub content: &'a Arc<Content>,
    /// The disks, by host.
    pub disks: &'a [Rc<RefCell<Disk>>],
    /// Positions of hosts by address.
    pub addresses: &'a Addresses,
}

impl Scene<'_> {
    /// The host at an address, by position in the plan.
    #[must_use]
    pub fn host_at(&self, ip: IpAddr) -> Option<usize> {
        self.addresses.host_at(ip)
    }

    /// Whether a host is no attacker's.
    #[must_use]
    pub fn honest(&self, host: usize) -> bool {
        self.plan.hosts[host].role.honest()
    }
}

/// One event as a check sees it.
pub struct Seen<'a> {
    /// When.
    pub at: Now,
    /// Whose: a position in the plan's hosts; `None` for the tracker.
    pub host: Option<usize>,
    /// What.
    pub event: &'a WorldEvent,
}

/// One invariant.
pub trait Check {
    /// Its name in output.
    fn name(&self) -> &'static str;
    /// What it promises, in one sentence.
    fn sentence(&self) -> &'static str;
    /// It looks at a disk as it is at the moment of the event. On turmoil, where hosts take their turns, it
    /// sees each host's events as they happen, and the others see all of them in the order of time.
    fn at_once(&self) -> bool {
        false
    }
    /// Asks for what it keeps of a host; see [`skep_engine::prefetch`].
    fn prefetch(&self, _host: usize) {}
    /// As [`Check::prefetch`], once that is there: asks for what it leads to.
    fn prefetch_lists(&self, _host: usize) {}
    /// Looks at one event.
    fn on_event(&mut self, seen: &Seen<'_>, scene: &Scene<'_>, log: &mut Log);
    /// Looks at the end of the run.
    fn at_end(&mut self, _at: Now, _scene: &Scene<'_>, _log: &mut Log) {}
}

/// How often a check evaluated, and what it found.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Evaluations.
    pub evaluations: u64,
    /// Findings; the first few are kept, all are counted.
    pub failures: Vec<(Now, Option<usize>, String)>,
    /// Findings in all.
    pub failed: u64,
}

/// Findings kept per check.
const FAILURES_KEPT: usize = 5;

impl Log {
    /// Evaluates once: `holds`, or a finding at this host.
    pub fn require(
        &mut self,
        holds: bool,
        at: Now,
        host: Option<usize>,
        message: impl FnOnce() -> String,
    ) {
        self.evaluations += 1;
        if !holds {
            self.failed += 1;
            if self.failures.len() < FAILURES_KEPT {
                self.failures.push((at, host, message()));
            }
        }
    }
}

/// The names of all invariants, as scenario files may give them.
pub const NAMES: &[&str] = &[
    "no-wrong-byte",
    "bytes-conserved",
    "bound-respected",
    "availability",
    "block-states",
    "buffers-bounded",
    "false-bans",
    "bans-hold",
    "time-advances",
];

/// All invariants, fresh.
#[must_use]
pub fn all(plan: &Plan) -> Vec<Box<dyn Check>> {
    vec![
        Box::new(no_wrong_byte::NoWrongByte::new(plan)),
        Box::new(bytes_conserved::BytesConserved::new(plan)),
        Box::new(bound_respected::BoundRespected::new(plan)),
        Box::new(availability::Availability),
        Box::new(block_states::BlockStates),
        Box::new(buffers_bounded::BuffersBounded::new(plan)),
        Box::new(false_bans::FalseBans),
        Box::new(bans_hold::BansHold::default()),
        Box::new(time_advances::TimeAdvances::default()),
    ]
}

//! Owns when faults begin and end.
//!
//! Invariant: at one moment, first those end that are over, then those begin that are due, each in the order
//! of the plan; the moments are those of the plan.

use std::time::Duration;

use skep_engine::Now;

use super::{FaultNews, Reach};
use crate::scenario::Plan;
use crate::scenario::plan::{FaultKind, FaultPlan};

/// Whether a fault begins; else it ends. Ends come first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Edge {
    Ends,
    Begins,
}

/// What happens when, in order.
fn moments(plan: &Plan) -> Vec<(Now, Edge, usize)> {
    let faults = plan.faults.iter().enumerate();
    let timed = faults.filter(|(_, fault)| !fault.in_sessions());
    let mut moments: Vec<_> = timed
        .flat_map(|(number, fault)| {
            let ends = fault.until.map(|until| (until, Edge::Ends, number));
            [(fault.at, Edge::Begins, number)].into_iter().chain(ends)
        })
        .collect();
    moments.sort_unstable();
    moments
}

/// Whether the plan has faults for the timeline.
#[must_use]
pub fn is_needed(plan: &Plan) -> bool {
    plan.faults.iter().any(|fault| !fault.in_sessions())
}

/// Begins and ends every fault at its moment.
pub async fn run(reach: Reach) {
    for (at, edge, number) in moments(&reach.plan) {
        tokio::time::sleep_until(reach.epoch + Duration::from_nanos(at.0)).await;
        let fault = &reach.plan.faults[number];
        match edge {
            Edge::Begins => {
                (reach.tell)(number, FaultNews::Began);
                begin(&reach, number, fault);
            }
            Edge::Ends => {
                end(&reach, number, fault);
                (reach.tell)(number, FaultNews::Ended);
            }
        }
    }
}

fn begin(_reach: &Reach, _number: usize, fault: &FaultPlan) {
    match &fault.kind {
        FaultKind::Crash | FaultKind::PowerLoss | FaultKind::Restart => {}
        FaultKind::Partition { .. } | FaultKind::Link(_) | FaultKind::Reset { .. } => {}
        FaultKind::Disk(_) | FaultKind::Tracker { .. } | FaultKind::User(_) => {}
    }
}

fn end(_reach: &Reach, _number: usize, fault: &FaultPlan) {
    match &fault.kind {
        FaultKind::Crash | FaultKind::PowerLoss | FaultKind::Restart => {}
        FaultKind::Partition { .. } | FaultKind::Link(_) | FaultKind::Reset { .. } => {}
        FaultKind::Disk(_) | FaultKind::Tracker { .. } | FaultKind::User(_) => {}
    }
}

//! Owns when faults begin and end.
//!
//! Invariant: at one moment, first those end that are over, then those begin that are due, each in the order
//! of the plan; the moments are those of the plan.

use std::time::Duration;

use skep_engine::Now;

use super::{FaultNews, Reach, disks, network, users};
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
    // Ascending: of two changes of one link, the later one in the plan counts.
    let mut active: Vec<usize> = Vec::new();
    for (at, edge, number) in moments(&reach.plan) {
        tokio::time::sleep_until(reach.epoch + Duration::from_nanos(at.0)).await;
        let fault = &reach.plan.faults[number];
        match edge {
            Edge::Begins => {
                (reach.tell)(number, FaultNews::Began);
                if fault.until.is_some() {
                    let place = active.partition_point(|other| *other < number);
                    active.insert(place, number);
                }
                begin(&reach, number, fault, &active);
            }
            Edge::Ends => {
                active.retain(|other| *other != number);
                end(&reach, number, fault, &active);
                (reach.tell)(number, FaultNews::Ended);
            }
        }
    }
}

fn begin(reach: &Reach, number: usize, fault: &FaultPlan, active: &[usize]) {
    match &fault.kind {
        FaultKind::Partition { a, b, direction } => network::cut(reach, number, a, b, *direction),
        FaultKind::Link(_) => network::set_links(reach, number, active),
        FaultKind::Reset { share_ppm } => network::reset(reach, number, *share_ppm),
        FaultKind::Disk(what) => disks::begin(reach, number, fault, *what),
        FaultKind::User(action) => users::act(reach, number, fault, *action),
        FaultKind::Tracker { .. } => {}
        FaultKind::Crash | FaultKind::PowerLoss | FaultKind::Restart => {}
    }
}

fn end(reach: &Reach, number: usize, fault: &FaultPlan, active: &[usize]) {
    match &fault.kind {
        FaultKind::Partition { .. } => network::heal(reach, number),
        FaultKind::Link(_) => network::set_links(reach, number, active),
        FaultKind::Disk(_) => disks::end(reach, number, fault),
        FaultKind::Tracker { .. } | FaultKind::User(_) => {}
        FaultKind::Crash | FaultKind::PowerLoss | FaultKind::Restart | FaultKind::Reset { .. } => {}
    }
}

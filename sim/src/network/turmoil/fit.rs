//! Owns what turmoil cannot do: a plan that asks for it is refused, with the reason.

use std::time::Duration;

use super::{DELAY_MIN, HOSTS_MAX};
use crate::scenario::Plan;
use crate::scenario::plan::FaultKind;

/// Why a plan does not run on turmoil.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// Every host of turmoil looks at every link on every tick.
    #[error("it has {0} hosts, trackers included; turmoil takes {HOSTS_MAX}")]
    Hosts(usize),
    /// turmoil's clock moves in ticks: a path must take longer than it takes to carry anything.
    #[error(
        "{name} has a latency of {:.1} ms; turmoil takes {} ms or more",
        .latency.as_secs_f64() * 1e3,
        DELAY_MIN.as_millis()
    )]
    Latency {
        /// The host.
        name: String,
        /// Its latency.
        latency: Duration,
    },
    /// turmoil only carries: what faults do to packets and links, the fabric does.
    #[error("it has faults of the network ({0}), and only the fabric knows them")]
    Fault(String),
    /// A path is the mean of its ends' links there.
    #[error("it has regions, and only the fabric knows them")]
    Regions,
}

/// Whether a plan runs on turmoil. Everything that only the fabric can do is named here.
///
/// # Errors
/// The first thing that turmoil cannot do.
pub fn fits_turmoil(plan: &Plan) -> Result<(), Unfit> {
    let hosts = plan.hosts.len() + plan.trackers.len();
    if hosts > HOSTS_MAX {
        return Err(Unfit::Hosts(hosts));
    }
    if let Some(host) = plan.hosts.iter().find(|h| h.link.latency < DELAY_MIN) {
        return Err(Unfit::Latency {
            name: host.name.clone(),
            latency: host.link.latency,
        });
    }
    if let Some(fault) = plan.faults.iter().find(|f| of_network(&f.kind)) {
        return Err(Unfit::Fault(fault.name.clone()));
    }
    if !plan.regions.is_empty() {
        return Err(Unfit::Regions);
    }
    Ok(())
}

fn of_network(fault: &FaultKind) -> bool {
    match fault {
        FaultKind::Partition { .. } | FaultKind::Link(_) => true,
        FaultKind::Reset { .. } | FaultKind::PowerLoss => true,
        FaultKind::Crash | FaultKind::Restart | FaultKind::User(_) => false,
        FaultKind::Disk(_) | FaultKind::Tracker { .. } => false,
    }
}

//! Owns what turmoil cannot do: a plan that asks for it is refused, with the reason.

use std::time::Duration;

use super::{DELAY_MIN, HOSTS_MAX};
use crate::scenario::Plan;

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
    /// The same of a delay between regions.
    #[error(
        "it has regions that are {:.1} ms apart; turmoil takes {} ms or more",
        .0.as_secs_f64() * 1e3,
        DELAY_MIN.as_millis()
    )]
    Region(Duration),
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
    let delays = plan.regions.iter().flatten();
    if let Some(&delay) = delays.filter(|delay| **delay < DELAY_MIN).min() {
        return Err(Unfit::Region(delay));
    }
    Ok(())
}

//! Owns what the paths of a host are computed from: its link as it is now, and its region.
//!
//! Invariant: a path is computed in one place, for both networks.

use std::time::Duration;

use super::link::Path;
use crate::scenario::plan::LinkPlan;

/// Where a host is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) link: LinkPlan,
    /// The delay of its link in the plan: what is above it now is added to its paths.
    latency: Duration,
    /// Its place in the matrix of regions.
    pub(super) region: Option<usize>,
}

impl Place {
    /// With the link of the plan, and in no region.
    pub(super) fn new(link: LinkPlan) -> Place {
        Place {
            latency: link.latency,
            link,
            region: None,
        }
    }

    /// The path to another host as it is now. `regions` has one-way delays from region to region, row to column.
    /// Paths between hosts that are both in a region have these in place of the mean of their links' delays.
    pub(super) fn path_to(&self, far: &Place, regions: &[Vec<Duration>]) -> Path {
        let (Some(a), Some(b)) = (self.region, far.region) else {
            return Path::new(&self.link, &far.link);
        };
        let above = |place: &Place| place.link.latency.saturating_sub(place.latency);
        let more = (above(self) + above(far)) / 2;
        let ns = |delay: Duration| u64::try_from((delay + more).as_nanos()).unwrap_or(u64::MAX);
        let (there, back) = (ns(regions[a][b]), ns(regions[b][a]));
        Path::with_delays(&self.link, &far.link, there, back)
    }

    /// How often connections to another host break: as often as the more fragile link.
    pub(super) fn reset_every(&self, far: &Place) -> Option<Duration> {
        match (self.link.reset_every, far.link.reset_every) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

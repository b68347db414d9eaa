//! Owns the steady state of a swarm that peers join one after the other: how many leechers there are, how fast they come,
//! how long they stay.
//!
//! Invariant: worked out from what each peer did, after the run. A third of the time in which they come passes first.

use crate::outcome::{Outcome, PeerOutcome};
use crate::scenario::plan::Role;

/// Part of the arrivals' time that passes before the state is called steady.
const WARM_UP: f64 = 1.0 / 3.0;
/// Arrivals below which nothing is said.
const ARRIVALS_MIN: usize = 20;

/// What holds on average from the end of the warm-up to the last arrival.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Steady {
    /// Leechers online at a time.
    pub leechers: f64,
    /// Leechers that join, per second.
    pub rate: f64,
    /// Seconds from joining to the whole content, of those who joined in this time.
    pub time_s: f64,
}

impl Steady {
    /// Leechers over rate x time: 1 by Little's law (Little 1961), but for what the ends of the time cut off.
    #[must_use]
    pub fn little(&self) -> f64 {
        self.leechers / (self.rate * self.time_s)
    }
}

/// When a peer that joined as a leecher was no leecher any more.
fn until(peer: &PeerOutcome) -> f64 {
    peer.completed_s.unwrap_or(peer.joined_s + peer.online_s)
}

/// The steady state of a run; `None` where too few come, or all at once. Of who comes and goes the time away counts as
/// time in the swarm.
#[must_use]
pub fn steady(outcome: &Outcome) -> Option<Steady> {
    let leechers = outcome.peers.iter().filter(|p| p.role == Role::Leecher);
    let leechers: Vec<&PeerOutcome> = leechers.collect();
    let joins = || leechers.iter().map(|p| p.joined_s);
    let first = joins().fold(f64::INFINITY, f64::min);
    let to = joins().fold(f64::NEG_INFINITY, f64::max);
    let from = first + (to - first) * WARM_UP;
    let came: Vec<_> = leechers.iter().filter(|p| p.joined_s > from).collect();
    let times = came
        .iter()
        .filter_map(|p| Some(p.completed_s? - p.joined_s));
    let times: Vec<f64> = times.collect();
    if came.len() < ARRIVALS_MIN || times.is_empty() {
        return None;
    }
    let overlap = |peer: &&PeerOutcome| (until(peer).min(to) - peer.joined_s.max(from)).max(0.0);
    let time = to - from;
    Some(Steady {
        leechers: leechers.iter().map(overlap).sum::<f64>() / time,
        rate: came.len() as f64 / time,
        time_s: times.iter().sum::<f64>() / times.len() as f64,
    })
}

//! Owns what else is known of how fast a swarm can be: the k-th completion, the mean of all, and an ideal for reference.
//!
//! Invariant: the k-th completion's limit is a true lower bound, and that of the last one is never above
//! [`super::last_completion`]. Nothing here is asserted of a run: it is printed beside it.

use super::{fastest, flash_crowd, missing, smallest_piece, sources_for_leechers, takers};
use crate::scenario::plan::{HostPlan, Plan, Role};

/// Limits beside that of the last completion.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Curve {
    /// The k-th completion comes no earlier, seconds, k from 1 on; empty where arrivals, departures, partial content or
    /// clients leave nothing to say.
    pub kth: Vec<f64>,
    /// (F/C)(1 + floor(log2 N)/M), seconds (Mundinger, Weber and Weiss 2008): what equal uplinks C need to give N peers M
    /// pieces when whole pieces are forwarded. No limit here: blocks of one piece beat it.
    pub mundinger: Option<f64>,
}

impl Curve {
    /// No mean completion is earlier, seconds.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        let sum: f64 = self.kth.iter().sum();
        (!self.kth.is_empty()).then(|| sum / self.kth.len() as f64)
    }
}

/// What is known of a plan in which everybody is there and empty from the start to the end.
#[must_use]
pub fn curve(plan: &Plan) -> Curve {
    let leechers = takers(plan, Role::Leecher);
    let content = plan.torrent.total();
    let of = |role: Role| plan.hosts.iter().filter(move |h| h.role == role).count();
    let alone = of(Role::Client) + of(Role::Server) == 0;
    let empty = leechers.iter().all(|h| missing(plan, h) == content);
    let all = of(Role::Leecher);
    if !alone || !flash_crowd(plan) || all == 0 || leechers.len() < all || !empty {
        return Curve::default();
    }
    let sources = plan.hosts.iter().filter(|h| sources_for_leechers(h));
    let sources: Vec<&HostPlan> = sources.collect();
    let up = |hosts: &[&HostPlan]| -> f64 { hosts.iter().map(|h| fastest(plan, h).0 as f64).sum() };
    let (from_sources, others) = (up(&sources), up(&leechers));
    if from_sources <= 0.0 {
        return Curve::default();
    }
    let bytes = content as f64;
    let piece = u64::from(plan.torrent.piece_bytes);
    // Nobody uploads before a first piece is verified.
    let first = smallest_piece(content, piece) as f64 / from_sources;
    let down = leechers.iter().map(|h| fastest(plan, h).1 as f64);
    let mut down: Vec<f64> = down.collect();
    down.sort_by(|a, b| b.total_cmp(a));
    let kth = (1_u32..).zip(&down).map(|(k, down)| {
        let carried = (f64::from(k) * bytes + first * others) / (from_sources + others);
        // Of any k the slowest is no faster than the k-th fastest of all.
        carried.max(bytes / from_sources).max(bytes / down)
    });
    let kth = kth.collect();
    let rate = leechers[0].link.up;
    let mut uplinks = sources.iter().chain(&leechers).map(|h| h.link.up);
    let equal = sources.len() == 1 && uplinks.all(|up| up == rate);
    let mundinger = equal.then(|| {
        let (rounds, pieces) = (leechers.len().ilog2(), content.div_ceil(piece));
        bytes / rate as f64 * (1.0 + f64::from(rounds) / pieces as f64)
    });
    Curve { kth, mundinger }
}

#[cfg(test)]
mod tests {
    use super::super::last_completion;
    use super::super::tests::plan;
    use super::*;

    #[test]
    fn the_kth_completion_needs_k_contents_from_all_uplinks() {
        // 16 MiB in 16 pieces at 1 MiB/s each: one source and 40 leechers.
        let plan = plan("seed", "leecher", 40, "", "");
        let curve = curve(&plan);
        assert_eq!(curve.kth.len(), 40);
        assert_eq!(curve.kth[0], 16.0, "the source's uplink");
        // Of 40 MiB/s nothing is sent in the first second.
        let last = (40.0 * 16.0 + 40.0) / 41.0;
        assert!((curve.kth[39] - last).abs() < 1e-9);
        assert!(curve.kth.is_sorted());
        assert_eq!(curve.kth[39], last_completion(&plan).seconds);
        // floor(log2 40) = 5 of 16 pieces.
        assert_eq!(curve.mundinger, Some(16.0 * (1.0 + 5.0 / 16.0)));
        let mean = curve.mean().expect("a crowd");
        assert!(mean >= 16.0 && mean < last, "{mean}");
    }

    #[test]
    fn a_slow_downlink_binds_whoever_has_it_and_nobody_else() {
        let slow = "[[group]]\nname = \"slow\"\nrole = \"leecher\"\nup = \"1 MiB/s\"\ndown = \"256 KiB/s\"";
        let curve = curve(&plan("seed", "leecher", 2, "", slow));
        assert_eq!(curve.kth, [16.0, 16.0, 64.0]);
    }

    #[test]
    fn where_not_all_are_there_and_empty_nothing_is_said() {
        let crash = "[[fault.crash]]\nat = \"4 s\"\nwho = \"home\"\ndown = \"20 s\"";
        for (keys, more) in [
            (r#"have = "50%""#, ""),
            (r#"arrive = { at = "1 s" }"#, ""),
            ("", crash),
        ] {
            let none = curve(&plan("seed", "leecher", 3, keys, more));
            assert_eq!(none, Curve::default(), "{keys}{more}");
        }
        let clients = curve(&plan("server", "client", 3, "", ""));
        assert_eq!(clients.mean(), None);
    }
}

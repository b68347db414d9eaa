//! Owns the draws that both networks make: when a connection breaks, and which connections a fault resets.

use std::time::Duration;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::seed;

/// A draw from the exponential distribution, ns.
pub(super) fn exponential_ns(mean: Duration, rng: &mut ChaCha8Rng) -> u64 {
    // In (0, 1]: the logarithm is finite.
    let unit = ((rng.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
    (-libm::log(unit) * mean.as_nanos() as f64) as u64
}

/// A connection that a fault may reset.
pub(super) struct Candidate<'a, C> {
    /// Who dialled, and from which port.
    pub(super) from: &'a str,
    pub(super) port: u16,
    /// Who was dialled.
    pub(super) to: &'a str,
    /// What names the connection; no two have the same.
    pub(super) conn: C,
}

/// The connections that the fault of that name resets: a share of them in parts per million, rounded up.
pub(super) fn share_of<'a, C: Copy + Ord>(
    seed: u64,
    fault: &str,
    share_ppm: u32,
    candidates: impl Iterator<Item = Candidate<'a, C>>,
) -> Vec<C> {
    let draw = |c: Candidate<'a, C>| {
        let purpose = format!("fault/{fault}/{}:{}/{}", c.from, c.port, c.to);
        (seed::stream(seed, &purpose).next_u64(), c.conn)
    };
    let mut drawn: Vec<(u64, C)> = candidates.map(draw).collect();
    let wanted = (drawn.len() as u64 * u64::from(share_ppm)).div_ceil(1_000_000);
    drawn.sort_unstable();
    drawn.truncate(usize::try_from(wanted).expect("at most the connections"));
    drawn.into_iter().map(|(_, conn)| conn).collect()
}

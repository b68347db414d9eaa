//! Owns the random draws of a plan: uniform, exponential, log-normal.
//!
//! Invariant: a draw takes the same numbers from its stream whatever they turn out to be; logarithms
//! come from `libm`, so that they are the same on every platform; the result is an integer at once.

use std::f64::consts::TAU;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use super::model::Stay;

/// The quantile of the standard normal distribution at 95 %.
const Z95: f64 = 1.644_853_626_951_472_2;

/// A whole number below `limit`; 0 when the limit is 0. One word of the stream.
pub(crate) fn below(rng: &mut ChaCha8Rng, limit: u64) -> u64 {
    let product = u128::from(rng.next_u64()) * u128::from(limit);
    u64::try_from(product >> 64).expect("the upper half")
}

/// A number above 0 and at most 1. One word of the stream.
fn unit(rng: &mut ChaCha8Rng) -> f64 {
    ((rng.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64
}

/// A duration from `low` to below `high`; `low` when there is nothing between them.
pub(super) fn uniform(rng: &mut ChaCha8Rng, low: Duration, high: Duration) -> Duration {
    let width = u64::try_from(high.saturating_sub(low).as_nanos()).unwrap_or(u64::MAX);
    low + Duration::from_nanos(below(rng, width))
}

/// Exponential with this mean.
pub(super) fn exponential(rng: &mut ChaCha8Rng, mean: Duration) -> Duration {
    scaled(mean, -libm::log(unit(rng)))
}

/// Log-normal with this median and 95th percentile. Two words of the stream.
pub(super) fn lognormal(rng: &mut ChaCha8Rng, median: Duration, p95: Duration) -> Duration {
    let sigma = libm::log(p95.as_nanos() as f64 / median.as_nanos() as f64) / Z95;
    let (radius, angle) = (unit(rng), unit(rng));
    let normal = libm::sqrt(-2.0 * libm::log(radius)) * libm::cos(TAU * angle);
    scaled(median, libm::exp(sigma * normal))
}

/// How long a stay lasts; at least one millisecond.
pub(super) fn stay(rng: &mut ChaCha8Rng, stay: Stay) -> Duration {
    let drawn = match stay {
        Stay::Exponential(mean) => exponential(rng, mean),
        Stay::Uniform(low, high) => uniform(rng, low, high),
        Stay::Fixed(time) => time,
    };
    drawn.max(Duration::from_millis(1))
}

/// A duration times a factor, to the nanosecond.
fn scaled(duration: Duration, factor: f64) -> Duration {
    Duration::from_nanos((duration.as_nanos() as f64 * factor + 0.5) as u64)
}

/// Rounded up to whole milliseconds.
pub(super) fn whole_ms(duration: Duration) -> Duration {
    let ms = duration.as_nanos().div_ceil(1_000_000);
    Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::stream;

    #[test]
    fn means_and_quantiles_are_those_asked_for() {
        const N: u32 = 20_000;
        let second = Duration::from_secs(1);
        let mut rng = stream(1, "draw");
        let sum: Duration = (0..N).map(|_| exponential(&mut rng, second)).sum();
        assert!((sum / N).abs_diff(second) < second / 50, "{:?}", sum / N);
        let sum: Duration = (0..N).map(|_| uniform(&mut rng, second, second * 3)).sum();
        assert!(
            (sum / N).abs_diff(second * 2) < second / 50,
            "{:?}",
            sum / N
        );
        let below = |limit: Duration, rng: &mut ChaCha8Rng| {
            (0..N)
                .filter(|_| lognormal(rng, second, second * 4) < limit)
                .count()
        };
        assert!(below(second, &mut rng).abs_diff(N as usize / 2) < N as usize / 50);
        assert!(below(second * 4, &mut rng).abs_diff(N as usize * 19 / 20) < N as usize / 50);
    }

    #[test]
    fn rounding_is_up_to_whole_milliseconds() {
        assert_eq!(whole_ms(Duration::from_nanos(1)), Duration::from_millis(1));
        assert_eq!(whole_ms(Duration::from_millis(7)), Duration::from_millis(7));
        assert_eq!(whole_ms(Duration::ZERO), Duration::ZERO);
    }
}

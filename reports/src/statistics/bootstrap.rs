//! Owns the 95 % interval of a mean, by the studentised bootstrap (Efron 1979, Hall 1992): the values are drawn again
//! with replacement, and how the mean of such a sample lies about the mean of the values, in standard errors of the
//! sample, is taken for how that mean lies about the true one.
//!
//! Each end is the further one of this and of Student's t. The bootstrap alone knows of skew but falls short where few
//! values come from long tails; t alone knows nothing of skew. Percentile and BCa intervals fall short of both at 20
//! values. `tests/coverage.rs` measures what the intervals cover.
//!
//! Invariant: both ends are finite, and the mean lies between them.

use rand_chacha::rand_core::Rng;
use skep_sim::seed;

use super::{error, mean, student};

/// Samples that are drawn.
pub const RESAMPLES: usize = 10_000;

/// Of fewer values the interval is Student's alone: there are too few different samples.
pub const BOOTSTRAP_MIN: usize = 6;

/// A sample whose variance is less than this part of its mean square holds one value again and again.
const SPREAD_MIN: f64 = 1e-12;

/// Between these lies the mean that the values are drawn around, with a probability of 95 %.
#[must_use]
pub fn interval(values: &[f64]) -> Option<[f64; 2]> {
    let (mean, error) = (mean(values)?, error(values)?);
    let t = student::quantile(values.len() - 1);
    let [below, above] = if values.len() < BOOTSTRAP_MIN || error == 0.0 {
        [t, t]
    } else {
        let [low, high] = studentised(values, mean);
        [high.max(t), (-low).max(t)]
    };
    Some([mean - below * error, mean + above * error])
}

/// The 2.5 % and the 97.5 % point of the samples' t.
fn studentised(values: &[f64], mean: f64) -> [f64; 2] {
    let n = values.len() as f64;
    let apart: Vec<f64> = values.iter().map(|v| v - mean).collect();
    let mut rng = seed::stream(0, "statistics/bootstrap");
    let mut draw = || {
        // The upper half of the product is uniform below the length.
        let product = u64::from(rng.next_u32()) * apart.len() as u64;
        apart[(product >> 32) as usize]
    };
    let mut all = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..values.len() {
            let value = draw();
            sum += value;
            squares += value * value;
        }
        let spread = squares - sum * sum / n;
        // A sample of one value again and again has no t.
        if spread > squares * SPREAD_MIN {
            all.push(sum / n / (spread / (n - 1.0) / n).sqrt());
        }
    }
    let mut point = |share: f64| {
        let rank = (share * all.len() as f64).ceil().max(1.0) as usize - 1;
        let place = rank.min(all.len().checked_sub(1)?);
        let (_, value, _) = all.select_nth_unstable_by(place, f64::total_cmp);
        Some(*value)
    };
    [0.025, 0.975].map(|share| point(share).unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_few_values_it_is_students() {
        assert_eq!(interval(&[1.0]), None);
        assert_eq!(interval(&[]), None);
        assert_eq!(interval(&[2.0, 2.0, 2.0]), Some([2.0, 2.0]));
        // Mean 3, deviation sqrt(2.5), error sqrt(0.5), t(4) = 2.776.
        let [low, high] = interval(&[1.0, 2.0, 3.0, 4.0, 5.0]).expect("five values");
        assert!((low - 1.037).abs() < 1e-3 && (high - 4.963).abs() < 1e-3);
    }

    #[test]
    fn it_is_longer_towards_the_tail_and_never_shorter_than_students() {
        let skewed: Vec<f64> = (0..20).map(|i| libm::exp(f64::from(i) / 5.0)).collect();
        let [low, high] = interval(&skewed).expect("an interval");
        let (mean, error) = (mean(&skewed).expect("some"), error(&skewed).expect("some"));
        let half = student::quantile(19) * error;
        assert!(
            high - mean > 1.2 * half,
            "{high}: the tail may be longer than it looks"
        );
        assert!(mean - low >= half);
        let mirrored: Vec<f64> = skewed.iter().map(|v| -v).collect();
        let [below, above] = interval(&mirrored).expect("an interval");
        assert!((below + high).abs() < 0.05 * half && (above + low).abs() < 0.05 * half);
    }

    #[test]
    fn values_that_hardly_differ_have_a_finite_interval_and_equal_ones_none_of_width() {
        assert_eq!(interval(&[0.0; 20]), Some([0.0, 0.0]));
        let mut one = [0.0; 20];
        one[7] = 1.0;
        let [low, high] = interval(&one).expect("an interval");
        assert!(low < 0.0 && high > 0.05 && high.is_finite());
    }

    #[test]
    fn the_same_values_give_the_same_interval() {
        let values: Vec<f64> = (0..12).map(|i| f64::from(i * i % 7)).collect();
        assert_eq!(interval(&values), interval(&values));
    }
}

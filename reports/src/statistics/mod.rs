//! Owns what is computed from several numbers of one kind: their mean and median, the interval of the mean, and
//! whether a mean of paired differences may be chance.
//!
//! Invariant: an interval is never narrower than the numbers allow: of a single one there is none. The same numbers
//! give the same results, on every machine: resampling draws from a stream of its own, begun anew each time.

mod bootstrap;
mod sign_flip;
mod student;

pub use bootstrap::{BOOTSTRAP_MIN, RESAMPLES, interval};
pub use sign_flip::{holm, p_min, sign_flip};

/// The mean; of nothing there is none.
#[must_use]
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The median: of an even number of values the mean of the two in the middle.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    let upper = *sorted.get(half)?;
    Some(if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[half - 1], upper)
    } else {
        upper
    })
}

/// The standard error of the mean; of a single value there is none.
fn error(values: &[f64]) -> Option<f64> {
    let freedom = values.len().checked_sub(1).filter(|n| *n > 0)?;
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
    Some((squares / freedom as f64 / values.len() as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_two() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn the_error_is_that_of_the_mean() {
        assert_eq!(error(&[1.0]), None);
        // Deviation sqrt(2.5), of five values.
        let error = error(&[1.0, 2.0, 3.0, 4.0, 5.0]).expect("five values");
        assert!((error - 0.5_f64.sqrt()).abs() < 1e-12);
    }
}

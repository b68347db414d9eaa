//! Owns what is computed from several numbers of one kind.
//!
//! Invariant: an interval is never narrower than the numbers allow: of a single one there is none.

/// The mean; of nothing there is none.
#[must_use]
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Between these lies the mean that the values are drawn around, with a probability of 95 % (Student's t).
#[must_use]
pub fn interval(values: &[f64]) -> Option<[f64; 2]> {
    let freedom = values.len().checked_sub(1).filter(|n| *n > 0)?;
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
    let error = (squares / freedom as f64 / values.len() as f64).sqrt();
    let half = quantile_of_t(freedom) * error;
    Some([mean - half, mean + half])
}

/// Student's t for 1 to 30 degrees of freedom: beyond it, to both sides, lie 5 %.
const T: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];

/// For more, rounded up to the last of these that is not above.
const T_ABOVE: [(usize, f64); 4] = [(120, 1.980), (60, 2.000), (40, 2.021), (30, 2.042)];

fn quantile_of_t(freedom: usize) -> f64 {
    if let Some(t) = T.get(freedom - 1) {
        return *t;
    }
    let above = T_ABOVE.iter().find(|(from, _)| freedom >= *from);
    above.map_or(T[0], |(_, t)| *t)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_around_the_mean_and_narrows_with_more_values() {
        assert_eq!(interval(&[1.0]), None);
        assert_eq!(interval(&[]), None);
        assert_eq!(interval(&[2.0, 2.0, 2.0]), Some([2.0, 2.0]));
        // Mean 3, deviation sqrt(2.5), error sqrt(0.5), t(4) = 2.776.
        let [low, high] = interval(&[1.0, 2.0, 3.0, 4.0, 5.0]).expect("five values");
        assert!((low - 1.037).abs() < 1e-3 && (high - 4.963).abs() < 1e-3);
    }

    #[test]
    fn the_quantile_falls_towards_the_normal_distributions() {
        let values: Vec<f64> = [1, 2, 30, 31, 45, 100, 1000].map(quantile_of_t).into();
        assert_eq!(values, [12.706, 4.303, 2.042, 2.042, 2.021, 2.0, 1.98]);
    }
}

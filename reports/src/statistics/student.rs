//! Owns Student's t: how far the mean of so many values may be from its estimate, in standard errors, were they drawn
//! from a normal distribution.

/// Student's t for 1 to 30 degrees of freedom: beyond it, to both sides, lie 5 %.
const T: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];

/// For more, rounded up to the last of these that is not above.
const T_ABOVE: [(usize, f64); 4] = [(120, 1.980), (60, 2.000), (40, 2.021), (30, 2.042)];

/// The two-sided 5 % point for this many degrees of freedom, at least 1.
pub(super) fn quantile(freedom: usize) -> f64 {
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
    fn it_falls_towards_the_normal_distributions() {
        let values: Vec<f64> = [1, 2, 30, 31, 45, 100, 1000].map(quantile).into();
        assert_eq!(values, [12.706, 4.303, 2.042, 2.042, 2.021, 2.0, 1.98]);
    }
}

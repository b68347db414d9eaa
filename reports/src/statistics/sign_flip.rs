//! Owns the sign-flip test, the permutation test of paired differences (Fisher 1935), and Holm's correction (1979).
//!
//! Invariant: a p is never 0, and never below what so many pairs can show at all ([`p_min`]).

use rand_chacha::rand_core::Rng;
use skep_sim::seed;

/// Up to this many differences all combinations of signs are tried; of more, [`FLIPS`] at random.
const ALL_MAX: usize = 17;
/// Random combinations of signs.
const FLIPS: u32 = 100_000;
/// Sums that differ by less than this part of the largest possible one are equal.
const TIE: f64 = 1e-12;

/// How probable a mean so far from 0, to either side, is if each difference could as well have had the other sign:
/// if it were all the same which of the two a seed had. `None` of nothing.
#[must_use]
pub fn sign_flip(differences: &[f64]) -> Option<f64> {
    if differences.is_empty() {
        return None;
    }
    let seen: f64 = differences.iter().sum::<f64>().abs();
    let largest: f64 = differences.iter().map(|d| d.abs()).sum();
    let as_far = |signs: &[u64]| {
        let flipped = differences.iter().enumerate();
        let sum: f64 = flipped
            .map(|(at, d)| match (signs[at / 64] >> (at % 64)) & 1 {
                0 => *d,
                _ => -d,
            })
            .sum();
        sum.abs() >= seen - TIE * largest
    };
    if differences.len() <= ALL_MAX {
        // The last sign is left as it is: the other half of the combinations has the same sums, negated.
        let all = 1_u64 << (differences.len() - 1);
        let count = (0..all).filter(|signs| as_far(&[*signs])).count();
        return Some(count as f64 / all as f64);
    }
    let mut rng = seed::stream(0, "statistics/sign-flip");
    let mut signs = vec![0; differences.len().div_ceil(64)];
    let mut count = 0;
    for _ in 0..FLIPS {
        signs.fill_with(|| rng.next_u64());
        count += u32::from(as_far(&signs));
    }
    // What was seen is one of the combinations.
    Some(f64::from(count + 1) / f64::from(FLIPS + 1))
}

/// The smallest p that this many differences can have.
#[must_use]
pub fn p_min(differences: usize) -> f64 {
    match differences {
        0 => 1.0,
        n if n <= ALL_MAX => 1.0 / (1_u64 << (n - 1)) as f64,
        _ => 1.0 / f64::from(FLIPS + 1),
    }
}

/// The p of a family, corrected so that the probability of a single false finding among them stays what each p says.
/// What has no p is no member.
#[must_use]
pub fn holm(family: &[Option<f64>]) -> Vec<Option<f64>> {
    let mut order: Vec<(usize, f64)> = family
        .iter()
        .enumerate()
        .filter_map(|(at, p)| Some((at, (*p)?)))
        .collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut corrected = vec![None; family.len()];
    let mut least: f64 = 0.0;
    for (rank, (at, p)) in order.iter().enumerate() {
        let left = (order.len() - rank) as f64;
        least = least.max((p * left).min(1.0));
        corrected[*at] = Some(least);
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_differences_are_tried_in_all_ways() {
        assert_eq!(sign_flip(&[]), None);
        assert_eq!(sign_flip(&[3.0]), Some(1.0), "one pair shows nothing");
        // Of eight combinations two are as far from 0 as 6: all of one sign.
        assert_eq!(sign_flip(&[1.0, 2.0, 3.0]), Some(0.25));
        // 1 + 2 - 3 = 0: every combination is as far.
        assert_eq!(sign_flip(&[1.0, 2.0, -3.0]), Some(1.0));
        assert_eq!(sign_flip(&[0.0; 9]), Some(1.0));
        assert_eq!(sign_flip(&[0.1; 17]), Some(p_min(17)));
    }

    #[test]
    fn many_are_tried_at_random_and_agree_with_all() {
        let values: Vec<f64> = (0..17)
            .map(|i| f64::from(i * 7 % 11) - 4.0 + f64::from(i % 2))
            .collect();
        let all = sign_flip(&values).expect("seventeen");
        // An eighteenth that changes nothing.
        let more: Vec<f64> = values.iter().copied().chain([0.0]).collect();
        let random = sign_flip(&more).expect("eighteen");
        assert!(
            all > 0.01 && (all - random).abs() < 0.005,
            "{all} against {random}"
        );
        assert_eq!(sign_flip(&[1.0; 100]), Some(p_min(100)));
    }

    #[test]
    fn holm_multiplies_the_smallest_by_all_and_never_turns_the_order() {
        let found = holm(&[Some(0.04), None, Some(0.01), Some(0.03), Some(0.9)]);
        let wanted = [Some(0.09), None, Some(0.04), Some(0.09), Some(0.9)];
        for (found, wanted) in found.iter().zip(wanted) {
            let close = match (found, wanted) {
                (Some(found), Some(wanted)) => (found - wanted).abs() < 1e-12,
                (found, wanted) => *found == wanted,
            };
            assert!(close, "{found:?} is not {wanted:?}");
        }
    }
}

//! Owns `[[expect.compare]]`: whether one value of `[vary]` is better than another by as much as a file says.
//!
//! Invariant: differences are paired by seed, and every seed must have one; it holds when all of their 95 %
//! interval lies beyond what is expected.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use skep_sim::scenario::expect::{Difference, Expectation, ExpectationKind};
use skep_sim::scenario::metrics::MetricName;

use crate::compare::VariantRuns;
use crate::statistics::{interval, mean};
use crate::table::percent;

/// One expectation of a comparison with what was measured.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Expected {
    /// The metric.
    pub metric: String,
    /// The value of `[vary]` that should be better.
    pub better: String,
    /// The other.
    pub than: String,
    /// By how much, as in the file.
    pub by: String,
    /// By how much it was better in each seed, as a part of the other's value; `None`: one of the two has none.
    pub by_seed: Vec<Option<f64>>,
    /// Their mean.
    pub mean: Option<f64>,
    /// Their 95 % interval.
    pub interval: Option<[f64; 2]>,
    /// Whether the expectation holds.
    pub holds: bool,
}

/// Holds what a file expects against its runs. What a command line took out of the comparison is left out.
#[must_use]
pub fn expected(expect: &[Expectation], variants: &[VariantRuns]) -> Vec<Expected> {
    let compared = expect.iter().filter_map(|expectation| {
        let ExpectationKind::Compare {
            metric,
            better,
            than,
            by,
        } = &expectation.kind
        else {
            return None;
        };
        let (first, second) = two(variants, better, than)?;
        let by_seed = by_seed(metric, first, second);
        Some(Expected {
            metric: metric.full(),
            better: better.clone(),
            than: than.clone(),
            by: expectation.text.clone(),
            ..judged(by_seed, by)
        })
    });
    compared.collect()
}

/// The runs of the two values, with the first value of every other key.
fn two<'r>(
    variants: &'r [VariantRuns],
    better: &str,
    than: &str,
) -> Option<(&'r VariantRuns, &'r VariantRuns)> {
    let first = variants.first()?;
    let axis = (0..first.choices.len()).find(|axis| {
        let has = |label: &str| variants.iter().any(|v| v.choices[*axis].1 == label);
        has(better) && has(than)
    })?;
    let find = |label: &str| {
        let mut wanted = first.choices.clone();
        label.clone_into(&mut wanted[axis].1);
        variants.iter().find(|v| v.choices == wanted)
    };
    Some((find(better)?, find(than)?))
}

fn by_seed(metric: &MetricName, better: &VariantRuns, than: &VariantRuns) -> Vec<Option<f64>> {
    let name = metric.full();
    let runs = better.runs.iter().zip(&than.runs);
    let one = runs.map(|(better, than)| {
        let better = better.value(&name)?;
        let than = than.value(&name)?;
        let gain = match metric.more_is_better() {
            true => better - than,
            false => than - better,
        };
        (than != 0.0).then(|| gain / than)
    });
    one.collect()
}

fn judged(by_seed: Vec<Option<f64>>, by: &Difference) -> Expected {
    let pairs: Vec<f64> = by_seed.iter().flatten().copied().collect();
    let interval = interval(&pairs);
    let beyond = interval.is_some_and(|interval| by.holds(interval));
    Expected {
        metric: String::new(),
        better: String::new(),
        than: String::new(),
        by: String::new(),
        mean: mean(&pairs),
        interval,
        holds: beyond && pairs.len() == by_seed.len(),
        by_seed,
    }
}

/// What was expected and what was measured, in lines of at most 80 columns.
#[must_use]
pub fn text(all: &[Expected]) -> String {
    let mut out = String::new();
    for expected in all {
        let Expected {
            metric,
            better,
            than,
            by,
            ..
        } = expected;
        // Writing to a string cannot fail.
        let _ = writeln!(out, "\n  expected: {metric} of {better}");
        let _ = writeln!(out, "    better than of {than} by {by}");
        let (with, of) = (
            expected.by_seed.iter().flatten().count(),
            expected.by_seed.len(),
        );
        let measured = match (expected.mean, expected.interval) {
            (Some(mean), Some([low, high])) => format!(
                "{}, 95% of it: {} .. {}",
                signed(mean),
                signed(low),
                signed(high)
            ),
            (Some(mean), None) => format!("{}, and one seed says little", signed(mean)),
            (None, _) => "nothing".to_owned(),
        };
        let holds = if expected.holds {
            "holds"
        } else {
            "DOES NOT HOLD"
        };
        let _ = writeln!(
            out,
            "    measured {measured}, {with} of {of} seeds: {holds}"
        );
    }
    out
}

fn signed(part: f64) -> String {
    let sign = if part < 0.0 { "-" } else { "+" };
    format!("{sign}{}", percent(part.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(text: &str) -> Difference {
        Difference::parse(text).expect("a difference")
    }

    #[test]
    fn all_of_the_interval_lies_beyond_what_is_expected() {
        let sure = vec![Some(0.10), Some(0.11), Some(0.12), Some(0.11)];
        assert!(judged(sure.clone(), &by(">= 5%")).holds);
        assert!(
            !judged(sure, &by(">= 11%")).holds,
            "the mean alone is not enough"
        );
        let about = vec![Some(0.46), Some(0.52), Some(0.50)];
        assert!(judged(about.clone(), &by("40% .. 60%")).holds);
        assert!(!judged(about, &by("45% .. 50%")).holds);
        let unsure = vec![Some(0.5), Some(-0.2), Some(0.1)];
        assert!(!judged(unsure, &by("> 0%")).holds);
    }

    #[test]
    fn a_seed_without_a_value_and_a_single_seed_prove_nothing() {
        let gap = vec![Some(0.10), Some(0.11), Some(0.10), None];
        assert!(!judged(gap, &by("> 0%")).holds);
        assert!(!judged(vec![Some(0.9)], &by("> 0%")).holds);
    }

    #[test]
    fn the_text_says_what_was_expected_and_what_was_measured() {
        let expected = Expected {
            metric: "completion.p95".to_owned(),
            better: "rarest-first".to_owned(),
            than: "sequential".to_owned(),
            by: ">= 5%".to_owned(),
            ..judged(vec![Some(0.1), Some(0.12)], &by(">= 5%"))
        };
        let said = text(&[expected]);
        assert!(said.contains("completion.p95 of rarest-first"), "{said}");
        assert!(said.contains("2 of 2 seeds: DOES NOT HOLD"), "{said}");
        assert!(
            said.lines().all(|line| line.chars().count() <= 80),
            "{said}"
        );
    }
}

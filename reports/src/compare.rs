//! Owns a comparison: variants on the same seeds, so that differences are paired.
//!
//! Invariant: a difference is taken seed by seed, this variant minus the first; a seed in which
//! either has no value (nobody completed, say) has none, and the number of pairs is shown.

use std::fmt::Write;

use serde::Serialize;
use skep_sim::evaluate;
use skep_sim::outcome::{Outcome, Verdict};
use skep_sim::scenario::expect::Expectation;
use skep_sim::scenario::metrics::{MetricName, Unit};

use crate::expected::{self, Expected};
use crate::statistics::{interval, mean};
use crate::sweep::{self, Sweep};
use crate::table::{bytes, cell, lines, paragraph, percent, seconds, table};

/// What is compared.
const METRICS: &[&str] = &[
    "completion.p50",
    "completion.p95",
    "completion.max",
    "first_piece.p50",
    "seed.uploaded",
    "wasted",
    "share.jain",
];

/// One variant's runs.
#[derive(Clone, Debug)]
pub struct VariantRuns {
    /// Which keys it sets, in words.
    pub label: String,
    /// Axis and label of each value, in the order of the file.
    pub choices: Vec<(String, String)>,
    /// One outcome per seed, in the order of the seeds.
    pub outcomes: Vec<Outcome>,
}

/// A comparison, as `compare.json` holds it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Comparison {
    /// The scenario.
    pub scenario: String,
    /// The seeds.
    pub seeds: Vec<u64>,
    /// The variants, first the one that the others are compared with.
    pub variants: Vec<Variant>,
    /// One per metric.
    pub metrics: Vec<Row>,
    /// The same over a number, when one axis has nothing but numbers.
    pub sweep: Option<Sweep>,
    /// What the file expects of the comparison, and whether it holds.
    pub expected: Vec<Expected>,
}

/// One variant.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Variant {
    /// Which keys it sets, in words.
    pub label: String,
    /// Runs by verdict that is not `pass`.
    pub not_passed: usize,
    /// The hash of each run's trace, by seed.
    pub trace_hashes: Vec<String>,
}

/// One metric over all variants.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Row {
    /// The metric.
    pub metric: String,
    /// One per variant.
    pub values: Vec<Values>,
}

/// One metric of one variant.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Values {
    /// By seed.
    pub by_seed: Vec<Option<f64>>,
    /// Over the seeds that have one.
    pub mean: Option<f64>,
    /// This variant minus the first, paired by seed; `None` for the first.
    pub difference: Option<Difference>,
}

/// Paired differences.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Difference {
    /// Pairs.
    pub pairs: usize,
    /// Their mean.
    pub mean: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// The mean of all seeds there could be is between these with a probability of 95 %; of one pair nothing is
    /// known.
    pub interval: Option<[f64; 2]>,
}

/// Compares variants that ran on the same seeds.
///
/// # Panics
/// When a variant lacks a seed.
#[must_use]
pub fn compare(
    scenario: &str,
    seeds: &[u64],
    variants: &[VariantRuns],
    expect: &[Expectation],
) -> Comparison {
    for variant in variants {
        let ran: Vec<u64> = variant.outcomes.iter().map(|o| o.seed).collect();
        assert_eq!(ran, seeds, "every variant runs on the same seeds");
    }
    let sweep = sweep::sweep(scenario, variants);
    let expected = expected::expected(expect, variants);
    let metrics = METRICS.iter().map(|name| row(name, variants)).collect();
    let variants = variants.iter().map(|v| Variant {
        label: v.label.clone(),
        not_passed: v
            .outcomes
            .iter()
            .filter(|o| o.verdict != Verdict::Pass)
            .count(),
        trace_hashes: v.outcomes.iter().map(|o| o.trace_hash.clone()).collect(),
    });
    let (scenario, seeds) = (scenario.to_owned(), seeds.to_vec());
    Comparison {
        scenario,
        seeds,
        variants: variants.collect(),
        metrics,
        sweep,
        expected,
    }
}

fn row(name: &str, variants: &[VariantRuns]) -> Row {
    let metric = MetricName::parse(name).expect("a metric of ours");
    let by_seed: Vec<Vec<Option<f64>>> = variants
        .iter()
        .map(|v| {
            v.outcomes
                .iter()
                .map(|o| evaluate::metric(o, &metric))
                .collect()
        })
        .collect();
    let values = by_seed.iter().enumerate().map(|(at, values)| Values {
        by_seed: values.clone(),
        mean: mean(&values.iter().flatten().copied().collect::<Vec<_>>()),
        difference: if at == 0 {
            None
        } else {
            difference(values, &by_seed[0])
        },
    });
    Row {
        metric: name.to_owned(),
        values: values.collect(),
    }
}

fn difference(values: &[Option<f64>], base: &[Option<f64>]) -> Option<Difference> {
    let pairs: Vec<f64> = values
        .iter()
        .zip(base)
        .filter_map(|(v, b)| Some((*v)? - (*b)?))
        .collect();
    Some(Difference {
        pairs: pairs.len(),
        mean: mean(&pairs)?,
        min: pairs.iter().copied().fold(f64::INFINITY, f64::min),
        max: pairs.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        interval: interval(&pairs),
    })
}

/// The comparison as text: a sweep's own table, or the metrics with their paired differences; then what was
/// expected of it.
#[must_use]
pub fn text(comparison: &Comparison) -> String {
    let mut out = match &comparison.sweep {
        Some(sweep) => sweep::text(sweep),
        None => differences(comparison),
    };
    out.push_str(&expected::text(&comparison.expected));
    out
}

/// The metrics of all variants.
fn differences(comparison: &Comparison) -> String {
    let mut out = String::new();
    out.push_str(&paragraph(&format!(
        "{}: {} variants on {} seeds; differences are paired by seed, to the first",
        comparison.scenario,
        comparison.variants.len(),
        comparison.seeds.len()
    )));
    for (at, variant) in comparison.variants.iter().enumerate() {
        let bad = match variant.not_passed {
            0 => String::new(),
            n => format!("  ({n} of {} runs did not pass)", comparison.seeds.len()),
        };
        let _ = writeln!(out, "  [{}] {}{bad}", at + 1, variant.label);
    }
    out.push('\n');
    let mut table = table(
        &["metric", "", "mean", "difference", "95% of it", "seeds"],
        2,
    );
    for row in &comparison.metrics {
        let metric = MetricName::parse(&row.metric).expect("a metric of ours");
        let show = |value: f64| shown(value, metric.metric.unit);
        for (at, values) in row.values.iter().enumerate() {
            let signed = |v: f64| format!("{}{}", if v < 0.0 { "-" } else { "+" }, show(v.abs()));
            let (mean_of, range, pairs) = match values.difference {
                None => (String::new(), String::new(), String::new()),
                Some(d) => (
                    signed(d.mean),
                    d.interval.map_or("-".to_owned(), |[low, high]| {
                        format!("{} .. {}", signed(low), signed(high))
                    }),
                    d.pairs.to_string(),
                ),
            };
            let cells = [
                if at == 0 {
                    row.metric.clone()
                } else {
                    String::new()
                },
                format!("[{}]", at + 1),
                values.mean.map_or("-".to_owned(), show),
                mean_of,
                range,
                pairs,
            ];
            table.add_row(cells.iter().map(cell));
        }
    }
    out.push_str(&lines(&table));
    out
}

fn shown(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Seconds => seconds(Some(value)),
        Unit::Bytes => bytes(value.round() as u64),
        Unit::Fraction => percent(value),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_paired_and_seeds_without_a_value_have_none() {
        let base = [Some(10.0), Some(20.0), None, Some(5.0)];
        let other = [Some(12.0), Some(19.0), Some(3.0), None];
        let d = difference(&other, &base).expect("two pairs");
        assert_eq!((d.pairs, d.mean, d.min, d.max), (2, 0.5, -1.0, 2.0));
        assert_eq!(difference(&[None], &[Some(1.0)]), None);
    }
}

//! Owns the comparison of a scenario's variants: every metric with its paired differences, and what they come to.
//!
//! Invariant: what is compared ran on the same seeds under the same circumstances; a seed in which one of two variants
//! has no value (nobody finished, say) is no pair, and the number of pairs is shown.

mod differences;
mod format;
#[cfg(feature = "parquet")]
mod parquet_file;
mod record;
mod tables;
mod text;

use skep_sim::outcome::Verdict;
use skep_sim::scenario::expect::{Expectation, ExpectationKind};
use skep_sim::scenario::metrics::{MetricName, Unit};

pub use format::{
    Axis, Choice, Comparison, Difference, FORMAT, Finding, MetricInfo, Relative, Run, Values,
    Variant,
};
#[cfg(test)]
pub(crate) use record::tests::record as record_of;
pub use record::{Peer, Record, UNFINISHED, X_BOUND};
pub use tables::{Cell, Kind, Table, peers, runs};
pub use text::text;

use crate::statistics::mean;
use crate::{expected, sweep};

/// What is compared beside what a file expects.
const METRICS: &[&str] = &[
    "completion.p50",
    "completion.mean",
    "completion.p95",
    "completion.max",
    X_BOUND,
    UNFINISHED,
    "first_piece.p50",
    "utilisation",
    "seed.uploaded",
    "wasted",
    "control",
    "share.jain",
    "share.max",
    "copies.min",
];

/// The metric that a comparison is made for when its file expects nothing.
const QUESTION: &str = "completion.p50";

/// One variant's runs.
#[derive(Clone, Debug)]
pub struct VariantRuns {
    /// Which keys it sets, in words.
    pub label: String,
    /// Axis and label of each value, in the order of the file.
    pub choices: Vec<(String, String)>,
    /// One per seed, in the order of the seeds.
    pub runs: Vec<Record>,
}

/// What is compared, in words.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The scenario's name.
    pub scenario: &'a str,
    /// What it says of itself.
    pub about: &'a str,
    /// The version of Skep that made the runs.
    pub skep: &'a str,
    /// The command that makes the same comparison again.
    pub again: &'a str,
    /// The seeds.
    pub seeds: &'a [u64],
    /// What the file expects.
    pub expect: &'a [Expectation],
}

/// Compares variants that ran on the same seeds.
///
/// # Panics
/// When a variant lacks a seed, or there is none.
#[must_use]
pub fn compare(subject: &Subject<'_>, variants: &[VariantRuns]) -> Comparison {
    for variant in variants {
        let ran: Vec<u64> = variant.runs.iter().map(|o| o.seed).collect();
        assert_eq!(ran, subject.seeds, "every variant runs on the same seeds");
    }
    let axes = axes(variants);
    let compared = compared(&axes, subject.expect);
    let mut all = variants.iter().flat_map(|v| &v.runs);
    let unfinished = all.any(|run| run.unfinished > 0);
    let metrics = metrics(subject.expect, unfinished);
    Comparison {
        format: FORMAT.to_owned(),
        skep: subject.skep.to_owned(),
        scenario: subject.scenario.to_owned(),
        about: subject.about.to_owned(),
        again: subject.again.to_owned(),
        seeds: subject.seeds.to_vec(),
        variants: variants.iter().map(|v| variant(v, &metrics)).collect(),
        differences: differences::differences(variants, &axes[compared].key, &metrics),
        sweep: sweep::sweep(subject.scenario, variants),
        expected: expected::expected(subject.expect, variants),
        compared: axes[compared].key.clone(),
        axes,
        metrics,
    }
}

/// The axes, with the values of each in the order of the variants.
fn axes(variants: &[VariantRuns]) -> Vec<Axis> {
    let first = variants.first().expect("at least one variant");
    let axis = |(at, (key, _)): (usize, &(String, String))| {
        let mut labels: Vec<String> = Vec::new();
        for variant in variants {
            let label = &variant.choices[at].1;
            if !labels.contains(label) {
                labels.push(label.clone());
            }
        }
        Axis {
            key: key.clone(),
            labels,
        }
    };
    first.choices.iter().enumerate().map(axis).collect()
}

/// Which axis is compared: the one that the file expects something of; or else the first whose values are words; or
/// else the first.
fn compared(axes: &[Axis], expect: &[Expectation]) -> usize {
    let has = |axis: &Axis, label: &String| axis.labels.contains(label);
    let expected = expect
        .iter()
        .find_map(|expectation| match &expectation.kind {
            ExpectationKind::Compare { better, than, .. } => axes
                .iter()
                .position(|axis| has(axis, better) && has(axis, than)),
            _ => None,
        });
    let varies = |axis: &Axis| axis.labels.len() > 1;
    let words = |axis: &Axis| {
        let number = |label: &String| label.starts_with(|c: char| c.is_ascii_digit());
        varies(axis) && !axis.labels.iter().all(number)
    };
    expected
        .or_else(|| axes.iter().position(words))
        .or_else(|| axes.iter().position(varies))
        .unwrap_or(0)
}

/// What is measured: first what the comparison is made for. Where not everybody finishes that is asked first of all: times
/// are of runs in which everybody did.
fn metrics(expect: &[Expectation], unfinished: bool) -> Vec<MetricInfo> {
    let mut asked: Vec<String> = Vec::new();
    if unfinished {
        asked.push(UNFINISHED.to_owned());
    }
    for expectation in expect {
        if let ExpectationKind::Compare { metric, .. } = &expectation.kind
            && !asked.contains(&metric.full())
        {
            asked.push(metric.full());
        }
    }
    if asked.iter().all(|name| name == UNFINISHED) {
        asked.push(QUESTION.to_owned());
    }
    let others = METRICS.iter().map(|name| (*name).to_owned());
    let others: Vec<String> = others.filter(|name| !asked.contains(name)).collect();
    let asked = asked.iter().map(|name| info(name, false));
    asked
        .chain(others.iter().map(|name| info(name, true)))
        .collect()
}

fn info(name: &str, exploratory: bool) -> MetricInfo {
    let (unit, more_is_better) = match name {
        X_BOUND => (Unit::Number, false),
        UNFINISHED => (Unit::Count, false),
        _ => {
            let metric = MetricName::parse(name).expect("a metric of ours, or of the file");
            (metric.metric.unit, metric.more_is_better())
        }
    };
    let unit = match unit {
        Unit::Seconds => "seconds",
        Unit::Bytes => "bytes",
        Unit::Fraction => "fraction",
        Unit::Number => "number",
        Unit::Count => "count",
    };
    MetricInfo {
        name: name.to_owned(),
        unit: unit.to_owned(),
        more_is_better,
        exploratory,
    }
}

fn variant(variant: &VariantRuns, metrics: &[MetricInfo]) -> Variant {
    let values = |metric: &MetricInfo| {
        let by_seed: Vec<Option<f64>> = variant
            .runs
            .iter()
            .map(|run| run.value(&metric.name))
            .collect();
        let all: Vec<f64> = by_seed.iter().flatten().copied().collect();
        Values {
            mean: mean(&all),
            by_seed,
        }
    };
    let run = |run: &Record| Run {
        seed: run.seed,
        verdict: run.verdict.clone(),
        trace_hash: run.trace_hash.clone(),
        completions_s: run.completions_s(),
        unfinished: run.unfinished,
        bound_s: run.bound_s,
        bound_term: run.bound_term.clone(),
    };
    Variant {
        label: variant.label.clone(),
        choices: choices(&variant.choices),
        not_passed: variant.runs.iter().filter(|run| !run.passed()).count(),
        runs: variant.runs.iter().map(run).collect(),
        values: metrics.iter().map(values).collect(),
    }
}

fn choices(choices: &[(String, String)]) -> Vec<Choice> {
    let choice = |(key, label): &(String, String)| Choice {
        key: key.clone(),
        label: label.clone(),
    };
    choices.iter().map(choice).collect()
}

/// Whether a run broke an invariant: its numbers are worth nothing.
#[must_use]
pub fn broken(run: &Record) -> bool {
    run.verdict == Verdict::Invariant.word()
}

#[cfg(test)]
pub(crate) mod tests;

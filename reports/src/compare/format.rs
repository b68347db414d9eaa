//! Owns the form of `compare.json`: these structs are its description.
//!
//! Invariant: nothing in it depends on when, where, how fast or on how many threads the runs were made, so that the
//! same comparison gives the same bytes. What has no value is `null`. Times are simulated seconds, sizes bytes,
//! shares fractions of 1. Fields may be added, none renamed within a [`FORMAT`].

use serde::{Deserialize, Serialize};

use crate::expected::Expected;
use crate::sweep::Sweep;

/// The form described here, as [`Comparison::format`] says it.
pub const FORMAT: &str = "skep-compare/1";

/// A comparison: every variant of a scenario on the same seeds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Comparison {
    /// [`FORMAT`].
    pub format: String,
    /// The version of Skep that made the runs.
    pub skep: String,
    /// The scenario's name.
    pub scenario: String,
    /// What the scenario says of itself.
    pub about: String,
    /// The command that makes the same comparison again, without where its results go.
    pub again: String,
    /// The seeds, in the order of every `by_seed`.
    pub seeds: Vec<u64>,
    /// What varies, in the order of the file; the variants are all combinations, the last axis changing fastest.
    pub axes: Vec<Axis>,
    /// The key of the axis whose values are compared with its first. The values of the other axes are
    /// circumstances: only what has the same circumstances is compared.
    pub compared: String,
    /// The variants.
    pub variants: Vec<Variant>,
    /// What is measured, in the order of [`Variant::values`].
    pub metrics: Vec<MetricInfo>,
    /// Every value of the compared axis against the first one, for each circumstance and metric: metrics in their
    /// order, then circumstances, then values.
    pub differences: Vec<Difference>,
    /// The same over a number, when one axis has nothing but numbers.
    pub sweep: Option<Sweep>,
    /// What the file expects of the comparison, and whether it holds.
    pub expected: Vec<Expected>,
}

/// One key of `[vary]`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Axis {
    /// The key.
    pub key: String,
    /// Its values, in words.
    pub labels: Vec<String>,
}

/// One value of one axis.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Choice {
    /// The axis.
    pub key: String,
    /// The value, in words.
    pub label: String,
}

/// One variant.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Variant {
    /// Its values, in words, with commas between them.
    pub label: String,
    /// One value of each axis.
    pub choices: Vec<Choice>,
    /// Runs whose verdict is not `pass`.
    pub not_passed: usize,
    /// One per seed.
    pub runs: Vec<Run>,
    /// One per metric.
    pub values: Vec<Values>,
}

/// One run of a variant.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Run {
    /// Its seed.
    pub seed: u64,
    /// Its verdict: `pass`, `unfinishable`, `vacuous`, `liveness`, `expectation` or `invariant`.
    pub verdict: String,
    /// The hash of its trace.
    pub trace_hash: String,
    /// Seconds from joining to the whole content, ascending, of the honest leechers and clients that finished.
    pub completions_s: Vec<f64>,
    /// How many of them did not finish.
    pub unfinished: usize,
    /// The physical limit of the last completion, seconds since the start of the run.
    pub bound_s: f64,
    /// Which term of that limit binds.
    pub bound_term: String,
}

/// A metric of one variant.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Values {
    /// By seed; `null` where the run has none.
    pub by_seed: Vec<Option<f64>>,
    /// Over the seeds that have one.
    pub mean: Option<f64>,
}

/// What is measured of every run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MetricInfo {
    /// Its name, as `skep check --metrics` lists it, or `x bound`: the last completion over the run's own physical
    /// limit.
    pub name: String,
    /// `seconds`, `bytes`, `fraction`, `number` or `count`.
    pub unit: String,
    /// Whether a larger value is the better one.
    pub more_is_better: bool,
    /// Whether the comparison was made to look at it. All others are *exploratory*: among so many, some will differ
    /// by chance, and what they show is a reason to look, not an answer.
    pub exploratory: bool,
}

/// One value of the compared axis against the first one, under the same circumstances, by one metric.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Difference {
    /// The metric.
    pub metric: String,
    /// The values of all other axes.
    pub circumstances: Vec<Choice>,
    /// The first value of the compared axis: its place in [`Comparison::variants`].
    pub base: usize,
    /// The other value: its place in [`Comparison::variants`].
    pub other: usize,
    /// The other's value minus the base's, by seed; `null` where one of the two has none.
    pub by_seed: Vec<Option<f64>>,
    /// Pairs: seeds in which both have a value. Everything below is about these.
    pub n: usize,
    /// The mean of the differences: the effect.
    pub mean: Option<f64>,
    /// Their median.
    pub median: Option<f64>,
    /// The 95 % interval of the mean, by bootstrap over the seeds; see [`crate::statistics::interval`]. Of one pair
    /// there is none.
    pub interval: Option<[f64; 2]>,
    /// The same as a part of the base's value in each seed; `null` where the base is 0 in a seed.
    pub relative: Option<Relative>,
    /// How probable so large a mean is, to either side, if it were all the same which of the two a seed had:
    /// the sign-flip test, see [`crate::statistics::sign_flip`].
    pub p: Option<f64>,
    /// That, corrected after Holm for all differences of its family.
    pub holm_p: Option<f64>,
    /// How many differences the family has: those of all metrics that are not exploratory, or else those of the
    /// same metric.
    pub family: usize,
    /// What it comes to.
    pub finding: Finding,
    /// The same in one sentence.
    pub sentence: String,
}

/// A difference as a part of the base's value.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Relative {
    /// The mean over the seeds.
    pub mean: f64,
    /// Its 95 % interval.
    pub interval: Option<[f64; 2]>,
}

/// What a difference comes to. It is `better` or `worse` only if the corrected p is below 5 % *and* the interval does
/// not hold 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Finding {
    /// Exactly 0 in every seed; a special case of the next.
    #[serde(rename = "no difference seen, identical")]
    Identical,
    /// It may be chance.
    #[serde(rename = "no difference seen")]
    NotSeen,
    /// The other is better than the base.
    #[serde(rename = "better")]
    Better,
    /// The other is worse than the base.
    #[serde(rename = "worse")]
    Worse,
    /// Fewer pairs than could show anything, however large the difference.
    #[serde(rename = "too few seeds")]
    TooFew,
}

impl Finding {
    /// The words, as in `compare.json`.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Finding::Identical => "no difference seen, identical",
            Finding::NotSeen => "no difference seen",
            Finding::Better => "better",
            Finding::Worse => "worse",
            Finding::TooFew => "too few seeds",
        }
    }
}

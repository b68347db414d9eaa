//! Owns the paired differences of a comparison, and what each comes to.
//!
//! Invariant: nothing is called better or worse that the interval or the corrected test leaves open.

use std::collections::BTreeMap;

use super::format::{Choice, Difference, Finding, MetricInfo, Relative};
use super::text::sentence;
use super::{VariantRuns, choices};
use crate::statistics::{holm, interval, mean, median, p_min, sign_flip};

/// Differences may be chance as long as this is not above their p.
pub(super) const LEVEL: f64 = 0.05;

/// Every value of the compared axis against its first, by metric and circumstances.
pub(super) fn differences(
    variants: &[VariantRuns],
    compared: &str,
    metrics: &[MetricInfo],
) -> Vec<Difference> {
    let pairs = pairs(variants, compared);
    let mut all = Vec::new();
    for metric in metrics {
        for (circumstances, base, other) in &pairs {
            let by_seed = differ(&variants[*base], &variants[*other], metric, |b, o| {
                Some(o - b)
            });
            let parts = differ(&variants[*base], &variants[*other], metric, |b, o| {
                (b != 0.0).then(|| (o - b) / b)
            });
            all.push(measured(
                metric,
                circumstances,
                [*base, *other],
                by_seed,
                &parts,
            ));
        }
    }
    judge(&mut all, metrics);
    let label = |at: usize| {
        let mut of = variants[at].choices.iter();
        of.find(|(key, _)| key == compared)
            .map_or("", |(_, label)| label.as_str())
    };
    for (at, difference) in all.iter_mut().enumerate() {
        let metric = &metrics[at / pairs.len()];
        difference.sentence = sentence(
            difference,
            metric,
            label(difference.base),
            label(difference.other),
        );
    }
    all
}

/// Which variants are compared with which, and under what circumstances.
fn pairs(variants: &[VariantRuns], compared: &str) -> Vec<(Vec<Choice>, usize, usize)> {
    let circumstances = |variant: &VariantRuns| -> Vec<Choice> {
        let mut all = choices(&variant.choices);
        all.retain(|choice| choice.key != compared);
        all
    };
    // The order is that of the first variant under each.
    let mut places: BTreeMap<Vec<Choice>, usize> = BTreeMap::new();
    let mut all: Vec<(Vec<Choice>, Vec<usize>)> = Vec::new();
    for (at, variant) in variants.iter().enumerate() {
        let under = circumstances(variant);
        let place = *places.entry(under.clone()).or_insert_with(|| {
            all.push((under, Vec::new()));
            all.len() - 1
        });
        all[place].1.push(at);
    }
    let mut pairs = Vec::new();
    for (under, members) in all {
        for other in &members[1..] {
            pairs.push((under.clone(), members[0], *other));
        }
    }
    pairs
}

fn differ(
    base: &VariantRuns,
    other: &VariantRuns,
    metric: &MetricInfo,
    of: impl Fn(f64, f64) -> Option<f64>,
) -> Vec<Option<f64>> {
    let runs = base.runs.iter().zip(&other.runs);
    runs.map(|(base, other)| of(base.value(&metric.name)?, other.value(&metric.name)?))
        .collect()
}

fn measured(
    metric: &MetricInfo,
    circumstances: &[Choice],
    [base, other]: [usize; 2],
    by_seed: Vec<Option<f64>>,
    parts: &[Option<f64>],
) -> Difference {
    let pairs: Vec<f64> = by_seed.iter().flatten().copied().collect();
    let parts: Vec<f64> = parts.iter().flatten().copied().collect();
    let relative = mean(&parts).filter(|_| parts.len() == pairs.len());
    Difference {
        metric: metric.name.clone(),
        circumstances: circumstances.to_vec(),
        base,
        other,
        n: pairs.len(),
        mean: mean(&pairs),
        median: median(&pairs),
        interval: interval(&pairs),
        relative: relative.map(|mean| Relative {
            mean,
            interval: interval(&parts),
        }),
        p: sign_flip(&pairs),
        by_seed,
        // What follows needs all differences.
        holm_p: None,
        family: 0,
        finding: Finding::NotSeen,
        sentence: String::new(),
    }
}

/// Corrects each family, and says what every difference comes to.
fn judge(all: &mut [Difference], metrics: &[MetricInfo]) {
    let exploratory = |name: &str| metrics.iter().any(|m| m.name == name && m.exploratory);
    let mut families: BTreeMap<Option<String>, Vec<usize>> = BTreeMap::new();
    for (at, difference) in all.iter().enumerate() {
        let family = exploratory(&difference.metric).then(|| difference.metric.clone());
        families.entry(family).or_default().push(at);
    }
    for members in families.values() {
        let family: Vec<Option<f64>> = members.iter().map(|at| all[*at].p).collect();
        for (at, p) in members.iter().zip(holm(&family)) {
            all[*at].holm_p = p;
            all[*at].family = members.len();
        }
    }
    for difference in all {
        let of = metrics.iter().find(|m| m.name == difference.metric);
        difference.finding = finding(difference, of.is_some_and(|m| m.more_is_better));
    }
}

fn finding(difference: &Difference, more_is_better: bool) -> Finding {
    let (Some(mean), Some(p)) = (difference.mean, difference.holm_p) else {
        return Finding::TooFew;
    };
    if difference.by_seed.iter().flatten().all(|d| *d == 0.0) {
        return Finding::Identical;
    }
    if difference.n < pairs_needed(difference.family) {
        return Finding::TooFew;
    }
    let open = difference
        .interval
        .is_none_or(|[low, high]| low <= 0.0 && high >= 0.0);
    match (open || p >= LEVEL, (mean > 0.0) == more_is_better) {
        (true, _) => Finding::NotSeen,
        (false, true) => Finding::Better,
        (false, false) => Finding::Worse,
    }
}

/// Pairs below which nothing can be seen in a family of this size, however large the difference: not even the
/// smallest p of so few would be small enough.
pub(super) fn pairs_needed(family: usize) -> usize {
    (1..)
        .find(|n| p_min(*n) * (family.max(1) as f64) < LEVEL || *n == PAIRS_ASKED_MAX)
        .unwrap_or(PAIRS_ASKED_MAX)
}

/// In a family of more than 5,000 more pairs would be of no use.
const PAIRS_ASKED_MAX: usize = 18;

//! Owns a comparison as text: what was asked, answered in a sentence for each pair of variants; the means; then what
//! else differs.
//!
//! Invariant: no line is wider than 80 columns, whatever the variants are called.

use std::fmt::Write;

use super::differences::pairs_needed;
use super::format::{Comparison, Difference, Finding, MetricInfo};
use crate::table::{COLUMNS, bytes, cell, lines, paragraph, percent, seconds, table};
use crate::{expected, sweep};

/// Exploratory differences that are told; the file has all.
const EXPLORED_MAX: usize = 12;
/// Characters of a label in a table.
const LABEL_MAX: usize = 31;

/// The comparison as text: a sweep's own table where it is one; the answers; the means; what else differs; what was
/// expected of it.
#[must_use]
pub fn text(comparison: &Comparison) -> String {
    let mut out = String::new();
    match &comparison.sweep {
        Some(sweep) => out.push_str(&sweep::text(sweep)),
        None => {
            let (variants, seeds) = (comparison.variants.len(), comparison.seeds.len());
            out.push_str(&paragraph(&format!(
                "{}: {variants} variants on {seeds} seeds, differences paired by seed",
                comparison.scenario,
            )));
        }
    }
    answers(&mut out, comparison);
    means(&mut out, comparison);
    explored(&mut out, comparison);
    out.push_str(&expected::text(&comparison.expected));
    out
}

/// What the comparison was made for.
fn answers(out: &mut String, comparison: &Comparison) {
    for metric in comparison.metrics.iter().filter(|m| !m.exploratory) {
        let of = |d: &&Difference| d.metric == metric.name;
        let all: Vec<&Difference> = comparison.differences.iter().filter(of).collect();
        let Some(first) = all.first() else { continue };
        let seen = |d: &&&Difference| matches!(d.finding, Finding::Better | Finding::Worse);
        let count = all.iter().filter(seen).count();
        let head = format!(
            "{}: {count} of {} differ from the first value of {}. 95% intervals by bootstrap over the seeds, p by \
             sign flips, corrected after Holm for {}.",
            metric.name,
            all.len(),
            comparison.compared,
            first.family,
        );
        let _ = writeln!(out, "\n{}", filled(&head, "", ""));
        summary(out, comparison, &all);
        for difference in all {
            let _ = writeln!(out, "{}", filled(&difference.sentence, "  ", "    "));
        }
    }
}

/// Where there are several circumstances: what was found for each value, and under which of them.
fn summary(out: &mut String, comparison: &Comparison, all: &[&Difference]) {
    let label = |at: usize| {
        let mut choices = comparison.variants[at].choices.iter();
        let choice = choices.find(|choice| choice.key == comparison.compared);
        choice.map_or("", |choice| choice.label.as_str())
    };
    let mut others: Vec<&str> = Vec::new();
    for difference in all {
        if !others.contains(&label(difference.other)) {
            others.push(label(difference.other));
        }
    }
    if all.len() == others.len() {
        return;
    }
    for other in others {
        let mut found: Vec<(&str, Vec<String>)> = Vec::new();
        for difference in all.iter().filter(|d| label(d.other) == other) {
            let words = match difference.finding {
                Finding::Identical => Finding::NotSeen.words(),
                finding => finding.words(),
            };
            let under: Vec<&str> = difference
                .circumstances
                .iter()
                .map(|choice| choice.label.as_str())
                .collect();
            let under = under.join(" and ");
            match found.iter_mut().find(|(known, _)| *known == words) {
                Some((_, places)) => places.push(under),
                None => found.push((words, vec![under])),
            }
        }
        let parts: Vec<String> = found
            .iter()
            .map(|(words, under)| format!("{words} with {}", under.join(", ")))
            .collect();
        let said = format!("* {other}: {}", parts.join("; "));
        let _ = writeln!(out, "{}", filled(&said, "  ", "    "));
    }
    out.push('\n');
}

/// The means of all variants; of a sweep its own table is enough.
fn means(out: &mut String, comparison: &Comparison) {
    if comparison.sweep.is_some() {
        return;
    }
    const SHOWN: [(&str, &str); 5] = [
        ("completion.p50", "p50"),
        ("completion.max", "last"),
        (super::X_BOUND, "x bound"),
        (super::UNFINISHED, "unfinished"),
        ("wasted", "waste"),
    ];
    let header = ["means over the seeds"]
        .into_iter()
        .chain(SHOWN.iter().map(|(_, short)| *short))
        .chain(["failed"]);
    let mut table = table(&header.collect::<Vec<_>>(), 1);
    for variant in &comparison.variants {
        let mean = |(name, _): &(&str, &str)| {
            let at = comparison.metrics.iter().position(|m| m.name == *name);
            let at = at.expect("always measured");
            let value = variant.values[at].mean;
            value.map_or("-".to_owned(), |v| shown(v, &comparison.metrics[at]))
        };
        let label = std::iter::once(clipped(&variant.label));
        let failed = std::iter::once(match variant.not_passed {
            0 => "-".to_owned(),
            some => format!("{some}/{}", comparison.seeds.len()),
        });
        table.add_row(label.chain(SHOWN.iter().map(mean)).chain(failed).map(cell));
    }
    let _ = write!(out, "\n{}", lines(&table));
}

/// What differs beside it.
fn explored(out: &mut String, comparison: &Comparison) {
    let exploratory = |d: &&Difference| {
        let mut of = comparison.metrics.iter();
        of.any(|m| m.name == d.metric && m.exploratory)
    };
    let seen = |d: &&Difference| matches!(d.finding, Finding::Better | Finding::Worse);
    let all = comparison.differences.iter().filter(exploratory);
    let (count, seen): (usize, Vec<&Difference>) =
        (all.clone().count(), all.filter(seen).collect());
    let head = format!(
        "Exploratory, among {count} differences of other metrics (corrected within each metric only; a reason to look, \
         not an answer): {} seen.",
        if seen.is_empty() {
            "none".to_owned()
        } else {
            seen.len().to_string()
        },
    );
    let _ = writeln!(out, "\n{}", filled(&head, "", ""));
    for difference in seen.iter().take(EXPLORED_MAX) {
        let _ = writeln!(out, "{}", filled(&difference.sentence, "  ", "    "));
    }
    if seen.len() > EXPLORED_MAX {
        let _ = writeln!(
            out,
            "  ... and {} more, in compare.json",
            seen.len() - EXPLORED_MAX
        );
    }
}

/// A difference in one sentence.
pub(super) fn sentence(d: &Difference, metric: &MetricInfo, base: &str, other: &str) -> String {
    let under: Vec<&str> = d.circumstances.iter().map(|c| c.label.as_str()).collect();
    let under = match under.is_empty() {
        true => String::new(),
        false => format!("{}: ", under.join(", ")),
    };
    let about = format!("{under}{other} against {base}, {}", metric.name);
    let (Some(mean), Some(p)) = (d.mean, d.holm_p) else {
        return format!("{about}: nothing to compare, no seed has a value of both.");
    };
    let signed = |value: f64| {
        let sign = if value < 0.0 { "-" } else { "+" };
        format!("{sign}{}", shown(value.abs(), metric))
    };
    let part = |value: f64| {
        format!(
            "{}{}",
            if value < 0.0 { "-" } else { "+" },
            percent(value.abs())
        )
    };
    // A part of a fraction would be read as a difference of fractions.
    let relative = d.relative.filter(|_| metric.unit != "fraction");
    let (effect, range) = match relative {
        Some(relative) => (
            format!("{}, {}", signed(mean), part(relative.mean)),
            relative.interval.map(|range| range.map(part)),
        ),
        None => (signed(mean), d.interval.map(|range| range.map(signed))),
    };
    let range = range.map_or(String::new(), |[low, high]| format!(" [{low} .. {high}]"));
    let pairs = match d.by_seed.len() {
        all if all == d.n => format!("{} seeds", d.n),
        all => format!("{} of {all} seeds", d.n),
    };
    let tested = format!("{}, {pairs}", probability(p));
    match d.finding {
        Finding::Identical => format!("{about}: no difference seen, exactly equal in {pairs}."),
        Finding::NotSeen => format!("{about}: no difference seen ({effect}{range}, {tested})."),
        Finding::Better => format!("{about}: better, {effect}{range} ({tested})."),
        Finding::Worse => format!("{about}: worse, {effect}{range} ({tested})."),
        Finding::TooFew => format!(
            "{about}: {effect}{range} in {pairs}, too few to tell it from chance: {} are needed.",
            pairs_needed(d.family)
        ),
    }
}

fn probability(p: f64) -> String {
    if p < 0.001 {
        "p < 0.001".to_owned()
    } else if p < 0.1 {
        format!("p = {p:.3}")
    } else {
        format!("p = {p:.2}")
    }
}

fn shown(value: f64, metric: &MetricInfo) -> String {
    match metric.unit.as_str() {
        "seconds" => seconds(Some(value)),
        "bytes" => bytes(value.round() as u64),
        // Waste is a part of a per cent.
        "fraction" if value.abs() < 0.01 => format!("{:.2}%", value * 100.0),
        "fraction" => percent(value),
        "count" => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

fn clipped(label: &str) -> String {
    if label.chars().count() <= LABEL_MAX {
        return label.to_owned();
    }
    let mut short: String = label.chars().take(LABEL_MAX - 1).collect();
    short.push('…');
    short
}

fn filled(text: &str, first: &str, rest: &str) -> String {
    let options = textwrap::Options::new(usize::from(COLUMNS))
        .initial_indent(first)
        .subsequent_indent(rest);
    textwrap::fill(text, options)
}

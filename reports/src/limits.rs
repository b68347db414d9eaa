//! Owns the lines of a run that hold it against what is possible: the limit and which term of it binds, the completions
//! before the last one, direct download, Little's law.
//!
//! Invariant: a line stands where its number can be told, and nowhere else; no line is longer than 80 columns.

use std::fmt::Write;

use skep_sim::bounds::Bound;
use skep_sim::outcome::{Little, Outcome};
use textwrap::Options;

use crate::summary::times;
use crate::table::{COLUMNS, cell, plain, seconds};

/// The lines.
#[must_use]
pub fn text(outcome: &Outcome) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let limit = seconds(Some(outcome.bound.seconds));
    let _ = writeln!(out, "  limit   {limit}; last completion {}", last(outcome));
    let shape = Options::new(usize::from(COLUMNS))
        .initial_indent("  binds   ")
        .subsequent_indent("          ");
    out.push_str(&plain(&textwrap::fill(&binds(outcome), shape)));
    out.push('\n');
    completions(&mut out, outcome);
    if let Some(gain) = outcome.gain() {
        let _ = writeln!(
            out,
            "  direct  download to the same hosts takes {}: the swarm's gain is {gain:.2}",
            seconds(outcome.both_ways.direct),
        );
    }
    if let Some(little) = &outcome.little {
        let Little {
            leechers,
            rate,
            time_s,
        } = *little;
        let _ = writeln!(
            out,
            "  little  {leechers:.2} leechers on average, {rate:.3} per s x {} ({:.1}% apart)",
            seconds(Some(time_s)),
            little.apart() * 100.0,
        );
    }
    out
}

/// The term that binds, and the others.
fn binds(outcome: &Outcome) -> String {
    let others = outcome.terms.iter().skip(1);
    let others =
        others.map(|Bound { seconds: s, term }| format!("{term} {}", cell(seconds(Some(*s)))));
    let others: Vec<String> = others.collect();
    match others.is_empty() {
        true => outcome.bound.term.to_owned(),
        false => format!("{}; less: {}", outcome.bound.term, others.join(", ")),
    }
}

fn last(outcome: &Outcome) -> String {
    match (outcome.completions().last(), outcome.times_bound()) {
        (Some(last), Some(_)) => format!(
            "{} = {} bound",
            seconds(Some(*last)),
            times(outcome.times_bound())
        ),
        (Some(last), None) => seconds(Some(*last)),
        (None, _) => "none".to_owned(),
    }
}

/// What is told of all completions together.
fn completions(out: &mut String, outcome: &Outcome) {
    let times_s = outcome.completions();
    if let (Some(limit), Some((k, over))) = (outcome.curve.mean(), outcome.nearest()) {
        let all = outcome.curve.kth.len();
        let mean = times_s.iter().sum::<f64>() / times_s.len() as f64;
        let mean = match times_s.len() == all {
            true => format!(
                "mean {} = {} {}; ",
                seconds(Some(mean)),
                times(Some(mean / limit)),
                seconds(Some(limit))
            ),
            false => String::new(),
        };
        let _ = writeln!(
            out,
            "  others  {mean}nearest to its limit: no. {k}, {}",
            times(Some(over)),
        );
    }
    if let Some(ideal) = outcome.curve.mundinger {
        let _ = writeln!(
            out,
            "  ideal   {} with whole pieces and equal uplinks (a reference, no limit)",
            seconds(Some(ideal)),
        );
    }
}

//! Owns the page of a comparison: the answers in sentences first, then who finished when, then the differences.
//!
//! Invariant: it says what `compare.json` says; it tests and decides nothing.

use plotly::common::{ErrorData, ErrorType, Marker, MarkerSymbol, Mode};
use plotly::layout::{Axis, HoverMode};
use plotly::{Layout, Plot, Scatter};
use serde::Serialize;
use serde_json::json;

use super::charts::{self, Curve, Drawn};
use super::page::{self, Chart, PageError};
use super::palette::{label, series};
use crate::compare::{Choice, Comparison, Difference, Finding, MetricInfo, Variant};
use crate::table::{bytes, percent, seconds};

/// Circumstances whose distributions are drawn, at most.
const DISTRIBUTIONS_MAX: usize = 8;

/// An answer: a difference of a metric that the comparison is made for.
#[derive(Serialize)]
struct Answer {
    metric: String,
    sentence: String,
    class: &'static str,
}

/// A difference in a row.
#[derive(Serialize)]
struct DifferenceRow {
    metric: String,
    exploratory: bool,
    circumstances: String,
    what: String,
    mean: String,
    interval: String,
    part: String,
    n: usize,
    p: String,
    finding: &'static str,
    class: &'static str,
}

/// A variant in a row.
#[derive(Serialize)]
struct VariantRow {
    color: String,
    label: String,
    not_passed: usize,
    runs: usize,
    unfinished: usize,
    means: Vec<String>,
}

/// The page of a comparison; `text` is its scenario file, if that is known.
///
/// # Errors
/// By a bug in a template.
pub fn comparison_page(comparison: &Comparison, text: Option<&str>) -> Result<String, PageError> {
    let missed = comparison.expected.iter().filter(|e| !e.holds).count();
    let not_passed: usize = comparison.variants.iter().map(|v| v.not_passed).sum();
    let runs: usize = comparison.variants.iter().map(|v| v.runs.len()).sum();
    let broken = |v: &Variant| v.runs.iter().any(|run| run.verdict == "invariant");
    let broken = comparison.variants.iter().any(broken);
    let verdict = match (broken, missed, comparison.expected.len()) {
        (true, ..) => "an invariant broke: these numbers are worth nothing".to_owned(),
        (_, 0, 0) => "compared".to_owned(),
        (_, 0, 1) => "as expected".to_owned(),
        (_, 0, n) => format!("all {n} expectations hold"),
        (_, missed, n) => format!("{missed} of {n} expectations missed"),
    };
    let main: Vec<&MetricInfo> = comparison
        .metrics
        .iter()
        .filter(|m| !m.exploratory)
        .collect();
    let differences = comparison.differences.iter();
    let hashes = comparison.variants.iter().map(|variant| {
        let runs = variant.runs.iter();
        let runs = runs.map(|run| (run.seed, &run.verdict, &run.trace_hash));
        (&variant.label, runs.collect::<Vec<_>>())
    });
    let expected = comparison.expected.iter().map(expected_row);
    let context = json!({
        "title": format!("{}, compared", comparison.scenario),
        "scenario": comparison.scenario,
        "about": comparison.about,
        "again": comparison.again,
        "skep": comparison.skep,
        "axes": comparison.axes.iter().map(|axis| &axis.key).collect::<Vec<_>>(),
        "compared": comparison.compared,
        "seeds": comparison.seeds,
        "verdict": verdict,
        // Where nothing was expected nothing is good or bad.
        "judged": match (broken || missed > 0, comparison.expected.is_empty()) {
            (true, _) => "bad",
            (false, true) => "even",
            (false, false) => "good",
        },
        "runs": runs,
        "not_passed": not_passed,
        "text": text,
        "answers": answers(comparison),
        "expected": expected.collect::<Vec<_>>(),
        "differences": differences.map(|d| difference_row(comparison, d)).collect::<Vec<_>>(),
        "metrics": main.iter().map(|m| &m.name).collect::<Vec<_>>(),
        "variants": variant_rows(comparison, &main),
        "charts": charts_of(comparison, &main),
        "hashes": hashes.collect::<Vec<_>>(),
    });
    page::fill("comparison.html", &context)
}

fn answers(comparison: &Comparison) -> Vec<Answer> {
    let main = |d: &&Difference| metric(comparison, &d.metric).is_some_and(|m| !m.exploratory);
    let differences = comparison.differences.iter().filter(main);
    differences
        .map(|d| Answer {
            metric: d.metric.clone(),
            sentence: d.sentence.clone(),
            class: class(d.finding),
        })
        .collect()
}

fn metric<'a>(comparison: &'a Comparison, name: &str) -> Option<&'a MetricInfo> {
    comparison.metrics.iter().find(|m| m.name == name)
}

fn class(finding: Finding) -> &'static str {
    match finding {
        Finding::Better => "good",
        Finding::Worse => "bad",
        _ => "even",
    }
}

/// The value of the compared axis of a variant, in words.
fn value<'a>(comparison: &Comparison, variant: &'a Variant) -> &'a str {
    let choice = variant
        .choices
        .iter()
        .find(|c| c.key == comparison.compared);
    choice.map_or(variant.label.as_str(), |c| c.label.as_str())
}

fn words(circumstances: &[Choice]) -> String {
    let words: Vec<String> = circumstances
        .iter()
        .map(|c| format!("{} = {}", c.key, c.label))
        .collect();
    words.join(", ")
}

/// The variants under each circumstance, in their order.
fn by_circumstance(comparison: &Comparison) -> Vec<(String, Vec<&Variant>)> {
    let mut all: Vec<(String, Vec<&Variant>)> = Vec::new();
    for variant in &comparison.variants {
        let others = variant
            .choices
            .iter()
            .filter(|c| c.key != comparison.compared);
        let name = words(&others.cloned().collect::<Vec<_>>());
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some((_, variants)) => variants.push(variant),
            None => all.push((name, vec![variant])),
        }
    }
    all
}

/// The colour of a value of the compared axis: the same everywhere.
fn color(comparison: &Comparison, variant: &Variant) -> String {
    let axis = comparison
        .axes
        .iter()
        .find(|a| a.key == comparison.compared);
    let label = value(comparison, variant);
    let place = axis.and_then(|a| a.labels.iter().position(|l| l == label));
    series(place.unwrap_or(0))
}

fn charts_of(comparison: &Comparison, main: &[&MetricInfo]) -> Vec<Chart> {
    const DIFFERENCES: [&str; 4] = [
        "difference-0",
        "difference-1",
        "difference-2",
        "difference-3",
    ];
    const COMPLETIONS: [&str; DISTRIBUTIONS_MAX] = [
        "completion-0",
        "completion-1",
        "completion-2",
        "completion-3",
        "completion-4",
        "completion-5",
        "completion-6",
        "completion-7",
    ];
    let mut all = Vec::new();
    for (id, metric) in DIFFERENCES.into_iter().zip(main) {
        if let Some(drawn) = forest(comparison, metric) {
            let better = if metric.more_is_better {
                "right"
            } else {
                "left"
            };
            let note = format!(
                "Each value of {} against the first, paired by seed: the mean with its 95 % interval, and each seed as a \
                 small circle. Better is to the {better}; a bar that crosses the line may be chance.",
                comparison.compared,
            );
            all.push(page::chart(
                id,
                &format!("Paired differences: {}", metric.name),
                note,
                true,
                drawn,
            ));
        }
    }
    let circumstances = by_circumstance(comparison);
    let alone = circumstances.len() == 1;
    for (id, (name, variants)) in COMPLETIONS.into_iter().zip(&circumstances) {
        let curve = |variant: &&Variant| {
            let mut times: Vec<f64> = variant
                .runs
                .iter()
                .flat_map(|r| r.completions_s.iter().copied())
                .collect();
            times.sort_by(f64::total_cmp);
            Curve {
                name: value(comparison, variant).to_owned(),
                color: color(comparison, variant),
                of: times.len() + variant.runs.iter().map(|r| r.unfinished).sum::<usize>(),
                times,
                dashed: false,
            }
        };
        let curves: Vec<Curve> = variants.iter().map(curve).collect();
        let title = match name.as_str() {
            "" => "Completion".to_owned(),
            name => format!("Completion, {name}"),
        };
        let note = format!(
            "All leechers of all {} seeds together.",
            comparison.seeds.len()
        );
        all.push(page::chart(
            id,
            &title,
            note,
            alone,
            charts::distribution(&curves),
        ));
    }
    all
}

/// A number of a metric, drawn as a part of the base where that can be said.
fn drawn(difference: &Difference) -> Option<(f64, Option<[f64; 2]>)> {
    match &difference.relative {
        Some(relative) => Some((relative.mean, relative.interval)),
        None => Some((difference.mean?, difference.interval)),
    }
}

/// The differences of a metric, one below the other.
fn forest(comparison: &Comparison, metric: &MetricInfo) -> Option<Drawn> {
    let of: Vec<&Difference> = comparison
        .differences
        .iter()
        .filter(|d| d.metric == metric.name)
        .collect();
    // Parts of the base for all rows, or for none: one axis has one unit.
    let parts = of.iter().all(|d| d.relative.is_some());
    let rows: Vec<(usize, &Difference, f64, Option<[f64; 2]>)> = of
        .iter()
        .enumerate()
        .filter_map(|(row, d)| {
            let (mean, interval) = match parts {
                true => drawn(d)?,
                false => (d.mean?, d.interval),
            };
            Some((row, *d, mean, interval))
        })
        .collect();
    if rows.is_empty() {
        return None;
    }
    let mut plot = Plot::new();
    if parts {
        let (mut x, mut y) = (Vec::new(), Vec::new());
        for (row, difference, ..) in &rows {
            let base = &comparison.variants[difference.base];
            let at = comparison
                .metrics
                .iter()
                .position(|m| m.name == metric.name)?;
            let bases = &base.values[at].by_seed;
            for (change, base) in difference.by_seed.iter().zip(bases) {
                if let (Some(change), Some(base)) = (change, base)
                    && *base != 0.0
                {
                    x.push(change / base);
                    y.push(*row as f64);
                }
            }
        }
        let marker = Marker::new()
            .symbol(MarkerSymbol::CircleOpen)
            .size(5)
            .color("var(--muted)")
            .opacity(0.65);
        plot.add_trace(
            Scatter::new(x, y)
                .mode(Mode::Markers)
                .name("one seed")
                .marker(marker)
                .hover_template("%{x:+.1%}<extra>one seed</extra>"),
        );
    }
    for (finding, name, symbol, ink) in [
        ("good", "better", MarkerSymbol::Diamond, "var(--good)"),
        ("bad", "worse", MarkerSymbol::Square, "var(--bad)"),
        (
            "even",
            "no difference seen",
            MarkerSymbol::CircleOpen,
            "var(--ink)",
        ),
    ] {
        let rows: Vec<_> = rows
            .iter()
            .filter(|r| class(r.1.finding) == finding)
            .collect();
        if rows.is_empty() {
            continue;
        }
        let above: Vec<f64> = rows
            .iter()
            .map(|r| r.3.map_or(0.0, |[_, high]| high - r.2))
            .collect();
        let below: Vec<f64> = rows
            .iter()
            .map(|r| r.3.map_or(0.0, |[low, _]| r.2 - low))
            .collect();
        let error = ErrorData::new(ErrorType::Data)
            .array(above)
            .array_minus(below)
            .symmetric(false)
            .thickness(2.0)
            .width(5)
            .color(ink);
        let x: Vec<f64> = rows.iter().map(|r| r.2).collect();
        let y: Vec<f64> = rows.iter().map(|r| r.0 as f64).collect();
        let trace = Scatter::new(x, y)
            .mode(Mode::Markers)
            .name(name)
            .error_x(error)
            .marker(Marker::new().symbol(symbol).size(10).color(ink))
            .text_array(
                rows.iter()
                    .map(|r| label(&r.1.sentence))
                    .collect::<Vec<_>>(),
            )
            .hover_template("%{text}<extra></extra>");
        plot.add_trace(trace);
    }
    let name = |d: &Difference| {
        let other = label(value(comparison, &comparison.variants[d.other]));
        match d.circumstances.is_empty() {
            true => other,
            false => {
                let short: Vec<String> = d.circumstances.iter().map(|c| label(&c.label)).collect();
                format!(
                    "{other}  <span style=\"font-size:11px\">{}</span>",
                    short.join(", ")
                )
            }
        }
    };
    let base = label(value(comparison, &comparison.variants[of[0].base]));
    let x = match parts {
        true => Axis::new()
            .title(format!("{} against {base}", metric.name))
            .tick_format("+.0%"),
        false => Axis::new().title(format!(
            "{} minus that of {base}, {}",
            metric.name, metric.unit
        )),
    };
    let y = Axis::new()
        .tick_values((0..of.len()).map(|row| row as f64).collect())
        .tick_text(of.iter().map(|d| name(d)).collect())
        .range(vec![of.len() as f64 - 0.4, -0.6])
        .zero_line(false)
        .auto_margin(true);
    plot.set_layout(
        Layout::new()
            .x_axis(x.zero_line(true).zero_line_width(2))
            .y_axis(y)
            .hover_mode(HoverMode::Closest)
            .show_legend(true),
    );
    Some((plot, 130 + of.len() * 30))
}

fn shown(value: f64, unit: &str) -> String {
    match unit {
        "seconds" => seconds(Some(value)),
        "bytes" => bytes(value.round() as u64),
        "fraction" => percent(value),
        "count" => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

fn signed(value: f64, unit: &str) -> String {
    let sign = if value < 0.0 { '−' } else { '+' };
    format!("{sign}{}", shown(value.abs(), unit))
}

fn difference_row(comparison: &Comparison, difference: &Difference) -> DifferenceRow {
    let info = metric(comparison, &difference.metric);
    let unit = info.map_or("number", |m| m.unit.as_str());
    let of = |place: usize| value(comparison, &comparison.variants[place]).to_owned();
    let range = |interval: Option<[f64; 2]>, show: &dyn Fn(f64) -> String| {
        interval.map_or("-".to_owned(), |[low, high]| {
            format!("{} to {}", show(low), show(high))
        })
    };
    DifferenceRow {
        metric: difference.metric.clone(),
        exploratory: info.is_none_or(|m| m.exploratory),
        circumstances: words(&difference.circumstances),
        what: format!("{} against {}", of(difference.other), of(difference.base)),
        mean: difference.mean.map_or("-".to_owned(), |v| signed(v, unit)),
        interval: range(difference.interval, &|v| signed(v, unit)),
        part: difference
            .relative
            .map_or("-".to_owned(), |r| signed(r.mean, "fraction")),
        n: difference.n,
        p: difference.holm_p.map_or("-".to_owned(), probability),
        finding: difference.finding.words(),
        class: class(difference.finding),
    }
}

fn probability(p: f64) -> String {
    match p < 0.001 {
        true => "< 0.001".to_owned(),
        false => format!("{p:.3}"),
    }
}

fn expected_row(expected: &crate::expected::Expected) -> (String, String, bool) {
    let what = format!(
        "{}: {} better than {} by {}",
        expected.metric, expected.better, expected.than, expected.by
    );
    let was = match (expected.mean, expected.interval) {
        (Some(mean), Some([low, high])) => {
            format!(
                "{}, 95 % interval {} to {}",
                percent(mean),
                percent(low),
                percent(high)
            )
        }
        (Some(mean), None) => percent(mean),
        _ => "nothing to compare".to_owned(),
    };
    (what, was, expected.holds)
}

fn variant_rows(comparison: &Comparison, main: &[&MetricInfo]) -> Vec<VariantRow> {
    let mean = |variant: &Variant, metric: &MetricInfo| {
        let at = comparison
            .metrics
            .iter()
            .position(|m| m.name == metric.name);
        let value = at.and_then(|at| variant.values.get(at)?.mean);
        value.map_or("-".to_owned(), |v| shown(v, &metric.unit))
    };
    comparison
        .variants
        .iter()
        .map(|variant| VariantRow {
            color: color(comparison, variant),
            label: variant.label.clone(),
            not_passed: variant.not_passed,
            runs: variant.runs.len(),
            unfinished: variant.runs.iter().map(|r| r.unfinished).sum(),
            means: main.iter().map(|m| mean(variant, m)).collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{Subject, VariantRuns, compare, record_of};

    const HOSTILE: &str = "</script><script>alert(1)</script>";

    fn comparison(name: &str) -> Comparison {
        let variant = |label: &str, shift: f64| VariantRuns {
            label: label.to_owned(),
            choices: vec![("group.home.picker".to_owned(), label.to_owned())],
            runs: (0..8)
                .map(|seed| record_of(seed, &[10.0 + seed as f64 + shift, 30.0 + shift]))
                .collect(),
        };
        let seeds: Vec<u64> = (0..8).collect();
        let subject = Subject {
            scenario: name,
            about: name,
            skep: "0.1.0",
            again: name,
            seeds: &seeds,
            expect: &[],
        };
        compare(
            &subject,
            &[
                variant(name, 0.0),
                variant("slower", 5.0),
                variant("same", 0.0),
            ],
        )
    }

    #[test]
    fn a_page_says_what_the_comparison_says() {
        let comparison = comparison("quick");
        let page = comparison_page(&comparison, Some("name = \"x\"")).expect("a page");
        for difference in comparison
            .differences
            .iter()
            .filter(|d| metric(&comparison, &d.metric).is_some_and(|m| !m.exploratory))
        {
            let sentence = difference
                .sentence
                .replace('\'', "&#x27;")
                .replace('"', "&quot;");
            assert!(page.contains(&sentence), "{sentence}");
        }
        for part in [
            "chart-difference-0",
            "chart-completion-0",
            "name = &quot;x&quot;",
            "no difference seen",
        ] {
            assert!(page.contains(part), "{part}");
        }
        assert!(comparison.expected.is_empty() && page.contains("class=\"verdict even\""));
    }

    #[test]
    fn names_of_a_scenario_are_text_everywhere() {
        let page = comparison_page(&comparison(HOSTILE), Some(HOSTILE)).expect("a page");
        assert!(page.contains("&lt;script&gt;alert(1)"));
        assert!(!page.contains("<script>alert(1)"));
        assert_eq!(
            page.matches("<script").count(),
            page.matches("</script>").count()
        );
    }
}

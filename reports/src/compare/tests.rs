//! A comparison as a whole, of runs that are made up.

use super::*;
use crate::compare::record_of;

/// Variants by the picker and, if there is one, the uplink; each seed's last completion.
fn variants(of: &[(&str, Option<&str>, &[f64])]) -> Vec<VariantRuns> {
    let variant = |(picker, up, times): &(&str, Option<&str>, &[f64])| {
        let mut choices = vec![("picker".to_owned(), (*picker).to_owned())];
        choices.extend(up.map(|up| ("up".to_owned(), up.to_owned())));
        let labels: Vec<&str> = choices.iter().map(|(_, label)| label.as_str()).collect();
        VariantRuns {
            label: labels.join(", "),
            runs: (0..)
                .zip(*times)
                .map(|(seed, time)| record_of(seed, &[*time]))
                .collect(),
            choices,
        }
    };
    of.iter().map(variant).collect()
}

fn compared_of(variants: &[VariantRuns]) -> Comparison {
    let seeds: Vec<u64> = variants[0].runs.iter().map(|run| run.seed).collect();
    let subject = Subject {
        scenario: "example",
        about: "An example.",
        skep: "0.0.0",
        again: "skep compare example.toml",
        seeds: &seeds,
        expect: &[],
    };
    compare(&subject, variants)
}

const BASE: [f64; 12] = [
    10.0, 11.0, 12.0, 9.5, 10.2, 10.9, 11.3, 12.1, 9.9, 10.7, 11.8, 10.4,
];

#[test]
fn identical_variants_differ_by_exactly_nothing_and_are_said_not_to_differ() {
    let comparison = compared_of(&variants(&[("a", None, &BASE), ("b", None, &BASE)]));
    assert!(!comparison.differences.is_empty());
    for difference in comparison.differences.iter().filter(|d| d.n > 0) {
        assert!(difference.by_seed.iter().all(|d| *d == Some(0.0)));
        assert_eq!(difference.mean, Some(0.0));
        assert_eq!(difference.interval, Some([0.0, 0.0]));
        assert_eq!(difference.p, Some(1.0));
        assert_eq!(difference.finding, Finding::Identical);
    }
    let said = text(&comparison).replace("\n    ", " ");
    let wanted = "b against a, completion.p50: no difference seen, exactly equal in 12 seeds.";
    assert!(said.contains(wanted), "{said}");
}

#[test]
fn a_difference_is_seen_where_it_is_and_not_where_it_is_chance() {
    let slower = BASE.map(|t| t * 1.1);
    let noise: [f64; 12] = std::array::from_fn(|i| BASE[i] + if i % 2 == 0 { 0.3 } else { -0.29 });
    let comparison = compared_of(&variants(&[
        ("a", Some("1 Mbit/s"), &BASE),
        ("a", Some("8 Mbit/s"), &BASE),
        ("b", Some("1 Mbit/s"), &slower),
        ("b", Some("8 Mbit/s"), &noise),
    ]));
    assert_eq!(comparison.compared, "picker");
    let of = |d: &&Difference| d.metric == "completion.p50";
    let found: Vec<&Difference> = comparison.differences.iter().filter(of).collect();
    let places: Vec<_> = found.iter().map(|d| (d.base, d.other)).collect();
    assert_eq!(places, [(0, 2), (1, 3)], "under the same circumstances");
    assert_eq!(found[0].finding, Finding::Worse);
    let relative = found[0].relative.expect("the base is not 0");
    assert!((relative.mean - 0.1).abs() < 1e-9);
    assert_eq!(found[1].finding, Finding::NotSeen);
    assert_eq!((found[0].family, found[0].n), (2, 12));
    // All signs alike, of 2^12 combinations; the smaller of two.
    assert_eq!(found[0].p, Some(1.0 / 2048.0));
    assert_eq!(found[0].holm_p, Some(1.0 / 1024.0));
    let said = text(&comparison).replace("\n    ", " ");
    assert!(said.contains("1 of 2 differ"), "{said}");
    let summary = "* b: worse with 1 Mbit/s; no difference seen with 8 Mbit/s\n";
    assert!(said.contains(summary), "{said}");
    assert!(
        said.contains("8 Mbit/s: b against a, completion.p50: no difference seen"),
        "{said}"
    );
}

#[test]
fn too_few_seeds_are_said_to_be_too_few() {
    let (base, slower) = (&BASE[..5], BASE.map(|t| t * 2.0));
    let comparison = compared_of(&variants(&[("a", None, base), ("b", None, &slower[..5])]));
    let first = &comparison.differences[0];
    assert_eq!(first.finding, Finding::TooFew);
    assert!(
        first.sentence.ends_with("6 are needed."),
        "{}",
        first.sentence
    );
}

#[test]
fn a_seed_without_a_value_is_no_pair_and_the_count_says_so() {
    let mut variants = variants(&[("a", None, &BASE), ("b", None, &BASE.map(|t| t + 1.0))]);
    variants[1].runs[3].unfinished = 2;
    let comparison = compared_of(&variants);
    let of = |d: &&Difference| d.metric == "completion.p50";
    let first = comparison.differences.iter().find(of).expect("compared");
    assert_eq!((first.n, first.by_seed[3]), (11, None));
    assert!(
        first.sentence.contains("11 of 12 seeds"),
        "{}",
        first.sentence
    );
    let of = |d: &&Difference| d.metric == UNFINISHED;
    let unfinished = comparison
        .differences
        .iter()
        .find(of)
        .expect("always compared");
    assert_eq!((unfinished.n, unfinished.mean), (12, Some(2.0 / 12.0)));
    assert_eq!(comparison.metrics[0].name, UNFINISHED);
    assert!(!comparison.metrics[0].exploratory && !comparison.metrics[1].exploratory);
}

#[test]
fn the_text_fits_80_columns_whatever_the_names_are() {
    let long =
        "a picker with a name that somebody thought about for a long time, and then some more";
    let other = format!("{long}, but another one");
    let slower = BASE.map(|t| t * 1.5);
    let comparison = compared_of(&variants(&[
        (long, Some("a circumstance that wants explaining"), &BASE),
        (
            &other,
            Some("a circumstance that wants explaining"),
            &slower,
        ),
    ]));
    let said = text(&comparison);
    assert!(
        said.lines().all(|line| line.chars().count() <= 80),
        "{said}"
    );
}

#[test]
fn compare_json_is_read_back_as_it_was_written() {
    let comparison = compared_of(&variants(&[
        ("a", None, &BASE),
        ("b", None, &BASE.map(|t| t * 1.01)),
    ]));
    let json = serde_json::to_string_pretty(&comparison).expect("numbers and words");
    let back: Comparison = serde_json::from_str(&json).expect("ours");
    assert_eq!(back, comparison);
}

#[test]
fn the_tables_have_a_row_per_run_and_per_host() {
    let variants = variants(&[("a, or \"b\"", Some("1"), &BASE), ("c", Some("1"), &BASE)]);
    let (runs, peers) = (runs(&variants), peers(&variants));
    assert_eq!((runs.rows.len(), peers.rows.len()), (24, 24));
    let csv = runs.csv();
    let mut lines = csv.lines();
    let header = lines.next().expect("names");
    assert!(
        header.starts_with("picker,up,seed,verdict,trace_hash,"),
        "{header}"
    );
    let first = lines.next().expect("a run");
    assert!(
        first.starts_with("\"a, or \"\"b\"\"\",1,0,pass,0,"),
        "{first}"
    );
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    assert_eq!(reader.records().filter(Result::is_ok).count(), 24);
    assert!(
        peers.csv().contains(",0.30000000000000004,"),
        "the last bit too"
    );
}

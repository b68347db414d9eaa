//! Owns a campaign as JUnit XML, for the programs that show what tests did: a suite per scenario, a case per seed, and
//! one for what only all seeds together can tell.
//!
//! Invariant: a case failed if and only if its run counts as a failure of `skep run`; it then holds what did not hold,
//! and the line that makes the run again.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use skep_sim::campaign;
use skep_sim::check::Failure;
use skep_sim::outcome::Verdict;
use skep_sim::scenario::Scenario;

use crate::summary;

/// The case of what only all seeds together can tell.
const TOGETHER: &str = "all seeds";

/// One scenario's runs. `again` is the line that makes the run of a seed again, or all of them.
#[must_use]
pub fn suite(
    scenario: &Scenario,
    report: &campaign::Report,
    again: impl Fn(Option<u64>) -> String,
) -> TestSuite {
    let mut suite = TestSuite::new(scenario.name());
    suite.add_property(("file", scenario.file()));
    for outcome in &report.outcomes {
        let name = format!("seed {}", outcome.seed);
        let again = again(Some(outcome.seed));
        let mut case = case(scenario, &name, outcome.verdict, &outcome.failures, &again);
        // What the run cost; its own time is simulated.
        case.set_time(Duration::from_secs_f64(outcome.cpu_seconds.max(0.0)));
        case.add_property(("trace_hash", outcome.trace_hash.as_str()));
        case.add_property(("verdict", outcome.verdict.word()));
        suite.add_test_case(case);
    }
    let verdict = if report.failures.is_empty() {
        Verdict::Pass
    } else {
        report.verdict
    };
    suite.add_test_case(case(
        scenario,
        TOGETHER,
        verdict,
        &report.failures,
        &again(None),
    ));
    suite
}

fn case(
    scenario: &Scenario,
    name: &str,
    verdict: Verdict,
    failures: &[Failure],
    again: &str,
) -> TestCase {
    let mut status = TestCaseStatus::success();
    if verdict.failed() {
        status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        let first = failures.first();
        let message = first.map_or_else(|| verdict.word().to_owned(), |f| f.message.clone());
        status.set_type(verdict.word());
        status.set_message(message);
        status.set_description(summary::failures(failures, again));
    }
    let mut case = TestCase::new(name, status);
    case.set_classname(scenario.name());
    case
}

/// All suites as one file.
#[must_use]
pub fn campaign(suites: Vec<TestSuite>) -> String {
    let mut report = Report::new("skep run");
    report.add_test_suites(suites);
    let xml = report.to_string();
    xml.expect("XML in memory")
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_engine::Now;
    use skep_sim::campaign::{Job, run_one};

    const FILE: &str = r#"
name = "tiny & quick"
[torrent]
size = "128 KiB"
[[group]]
name = "seed"
role = "seed"
up = "1 MiB/s"
down = "1 MiB/s"
[[group]]
name = "home"
role = "leecher"
up = "1 MiB/s"
down = "1 MiB/s"
"#;

    #[test]
    fn it_is_read_back_with_what_did_not_hold_and_how_to_see_it_again() {
        let scenario = Scenario::parse("tiny.toml", FILE).expect("right");
        let run = |seed| {
            let job = Job {
                scenario: &scenario,
                seed,
            };
            run_one(job, None).expect("a run")
        };
        let mut outcomes = vec![run(0), run(1)];
        outcomes[1].verdict = Verdict::Expectation;
        let message = "expected <= 1%: measured 2% & \u{1}more".to_owned();
        outcomes[1].failures = vec![Failure::of("expect wasted", Now::START, message)];
        let report = campaign::Report {
            outcomes,
            failures: Vec::new(),
            verdict: Verdict::Expectation,
        };
        let again = |seed: Option<u64>| format!("skep run tiny.toml {seed:?}");
        let xml = campaign(vec![suite(&scenario, &report, again)]);
        let read = Report::deserialize_from_str(&xml).expect("JUnit XML");
        assert_eq!((read.tests, read.failures, read.errors), (3, 1, 0));
        let suite = &read.test_suites[0];
        assert_eq!(suite.name.as_str(), "tiny & quick");
        let names: Vec<&str> = suite.test_cases.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["seed 0", "seed 1", "all seeds"]);
        let TestCaseStatus::NonSuccess {
            message,
            description,
            ..
        } = &suite.test_cases[1].status
        else {
            panic!("it failed: {xml}");
        };
        assert!(
            message
                .as_ref()
                .is_some_and(|m| m.as_str().contains("measured 2% & "))
        );
        let said = description.as_ref().expect("in words").as_str();
        assert!(said.contains("skep run tiny.toml Some(1)"), "{said}");
        assert!(matches!(
            suite.test_cases[0].status,
            TestCaseStatus::Success { .. }
        ));
    }
}

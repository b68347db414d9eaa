//! `skep run` and `skep compare` as a user calls them: exit codes, what stdout holds, what is written. Interrupted
//! comparisons: `resumed_comparison.rs`.

use std::path::Path;
use std::process::{Command, Output};

use quick_junit::{Report, TestCaseStatus};
use serde_json::Value;

/// Runs `skep` in the project's folder.
fn skep(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(args)
        .output()
        .expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// The exit code of one run of `first-swarm` with keys changed.
fn exit_with(set: &[&str]) -> Option<i32> {
    let mut args = vec!["run", "scenarios/first-swarm.toml", "--seed", "0", "--json"];
    for key in set {
        args.extend(["--set", key]);
    }
    skep(&args).status.code()
}

#[test]
fn the_exit_code_says_what_did_not_hold() {
    assert_eq!(exit_with(&[]), Some(0));
    assert_eq!(exit_with(&["expect.wasted='< 0.0001%'"]), Some(1));
    // Nobody can finish in a second, and nobody is expected to: only liveness is left to fail.
    let slow = ["run.time_limit='2 s'", "run.settle='1 s'"];
    let mut nothing_expected = slow.to_vec();
    nothing_expected.push("expect={}");
    assert_eq!(exit_with(&nothing_expected), Some(2));
    assert_eq!(exit_with(&["group.home.upp='1 Mbit/s'"]), Some(64));
}

#[test]
fn a_failure_ends_with_the_line_that_reproduces_it() {
    let set = "expect.wasted=< 0.0001%";
    let ran = skep(&["run", "scenarios/first-swarm.toml", "--set", set]);
    assert_eq!(ran.status.code(), Some(1));
    let said = text(&ran.stderr);
    let last = said.lines().last().expect("something was said");
    let again = format!("again: skep run scenarios/first-swarm.toml --seed 0 --set '{set}'");
    assert_eq!(last.trim(), again);
}

#[test]
fn the_network_of_the_command_line_is_the_one_that_runs_and_is_reproduced() {
    let file = "scenarios/first-swarm.toml";
    let set = [
        "--set",
        "run.network=fabric",
        "--set",
        "expect.wasted=< 0.0001%",
    ];
    let ran = skep(&[&["run", file, "--network", "turmoil"], &set[..]].concat());
    assert_eq!(ran.status.code(), Some(1), "{}", text(&ran.stderr));
    assert!(text(&ran.stdout).contains("network turmoil"));
    let said = text(&ran.stderr);
    let again = said.lines().last().expect("something was said");
    assert!(again.ends_with("--network turmoil"), "{again}");
}

#[test]
fn what_turmoil_cannot_do_is_refused_before_anything_runs() {
    let crowd = "scenarios/endgame/steal-waste-175-seeds.toml";
    let near = ["--set", "link.latency=2 ms"];
    let swarm = "scenarios/first-swarm.toml";
    for (args, why) in [
        (vec![swarm, crowd], "it has 177 hosts"),
        (
            vec![swarm, near[0], near[1]],
            "seed has a latency of 2.0 ms",
        ),
    ] {
        let ran = skep(&[&["run", "--network", "turmoil"], &args[..]].concat());
        assert_eq!(ran.status.code(), Some(64));
        let said = text(&ran.stderr).replace('\n', " ");
        assert!(said.contains(why), "{said}");
        assert!(ran.stdout.is_empty(), "{}", text(&ran.stdout));
    }
}

#[test]
fn a_run_in_full_fits_80_columns() {
    for file in [
        "scenarios/first-swarm.toml",
        "scenarios/poisoned-swarm.toml",
    ] {
        let shown = text(&skep(&["run", file, "--seed", "0"]).stdout);
        for line in shown.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        for word in [
            "limit", "waste", "copies", "checks", "trace", "time", "x bound",
        ] {
            assert!(shown.contains(word), "{word} is missing in\n{shown}");
        }
    }
}

#[test]
fn json_is_one_object_per_run_with_the_fields_that_are_promised() {
    let ran = skep(&[
        "run",
        "scenarios/first-swarm.toml",
        "--seeds",
        "0..3",
        "--json",
    ]);
    let said = text(&ran.stdout);
    let runs: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object"))
        .collect();
    assert_eq!(runs.len(), 3);
    for (seed, run) in runs.iter().enumerate() {
        assert_eq!(run["seed"], seed);
        assert_eq!(
            (&run["verdict"], &run["network"]),
            (&"pass".into(), &"fabric".into())
        );
        for field in [
            "scenario",
            "trace_hash",
            "sim_seconds",
            "cpu_seconds",
            "blocks",
            "bound_seconds",
            "content_bytes",
            "failures",
            "seed_uploaded",
            "seed_until_second",
            "checks",
            "buffered_max",
            "buffered_bound",
        ] {
            assert!(!run[field].is_null(), "{field}");
        }
        let peers = run["peers"].as_array().expect("a list");
        assert_eq!(peers.len(), 5);
        for peer in peers {
            let seed = peer["role"] == "seed";
            assert_eq!(peer["completed_s"].is_null(), seed, "{peer}");
            for field in [
                "name",
                "group",
                "joined_s",
                "downloaded",
                "uploaded",
                "wasted",
                "banned",
            ] {
                assert!(!peer[field].is_null(), "{field}");
            }
        }
    }
}

#[test]
fn a_comparison_is_paired_by_seed_and_written() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("pickers");
    let out = out.to_str().expect("UTF-8");
    let compared = skep(&[
        "compare",
        "scenarios/compare/endgames.toml",
        "--seeds",
        "0..2",
        "--set",
        "torrent.size=1 MiB",
        "--out",
        out,
    ]);
    assert_eq!(
        compared.status.code(),
        Some(0),
        "{}",
        text(&compared.stderr)
    );
    assert!(
        text(&compared.stdout)
            .lines()
            .all(|line| line.chars().count() <= 80 || line.contains(out))
    );
    let json = std::fs::read_to_string(Path::new(out).join("compare.json")).expect("written");
    let comparison: Value = serde_json::from_str(&json).expect("an object");
    let variants = comparison["variants"].as_array().expect("a list");
    assert_eq!(variants.len(), 3);
    let metrics = comparison["metrics"].as_array().expect("a list");
    let differences = comparison["differences"].as_array().expect("a list");
    assert_eq!(
        differences.len(),
        metrics.len() * 2,
        "each against the first"
    );
    for difference in differences {
        let place = |key: &str| difference[key].as_u64().expect("a place") as usize;
        let (base, other) = (place("base"), place("other"));
        assert_eq!(base, 0);
        let metric = metrics
            .iter()
            .position(|m| m["name"] == difference["metric"]);
        let value = |variant: usize, seed: usize| {
            let values = &variants[variant]["values"][metric.expect("listed")];
            values["by_seed"][seed].as_f64()
        };
        let pairs = [0, 1].map(|seed| Some(value(other, seed)? - value(base, seed)?));
        let [Some(first), Some(second)] = pairs else {
            continue;
        };
        assert_eq!(difference["n"], 2, "{difference}");
        let mean = difference["mean"].as_f64().expect("a number");
        assert!(
            (mean - (first + second) / 2.0).abs() <= 1e-9 * mean.abs().max(1.0),
            "{difference}"
        );
    }
    let rows = |name: &str| {
        let csv = std::fs::read_to_string(Path::new(out).join(name)).expect("written");
        csv.lines().count() - 1
    };
    assert_eq!((rows("runs.csv"), rows("peers.csv")), (6, 66));
}

#[test]
fn what_varies_may_come_from_the_command_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("out");
    let compare = |vary: &[&str]| {
        let mut args = vec!["compare", "scenarios/first-swarm.toml", "--seeds", "0..2"];
        args.extend([
            "--set",
            "torrent.size=1 MiB",
            "--out",
            out.to_str().expect("UTF-8"),
        ]);
        for vary in vary {
            args.extend(["--vary", vary]);
        }
        skep(&args)
    };
    // The same value in two ways of writing.
    let compared = compare(&["engine.endgame=bounded,\"bounded\""]);
    assert_eq!(
        compared.status.code(),
        Some(64),
        "{}",
        text(&compared.stderr)
    );
    let compared =
        compare(&["group.home.picker=rarest-first, { name = \"rarest-first\", random_first = 4 }"]);
    assert_eq!(
        compared.status.code(),
        Some(0),
        "{}",
        text(&compared.stderr)
    );
    let said = text(&compared.stdout).replace("\n    ", " ");
    assert!(
        said.contains("no difference seen, exactly equal in 2 seeds"),
        "{said}"
    );
    let json = std::fs::read_to_string(out.join("compare.json")).expect("written");
    let comparison: Value = serde_json::from_str(&json).expect("an object");
    for difference in comparison["differences"].as_array().expect("a list") {
        assert_eq!(
            difference["finding"], "no difference seen, identical",
            "{difference}"
        );
        let by_seed = difference["by_seed"].as_array().expect("a list");
        assert!(by_seed.iter().all(|d| *d == 0.0), "{difference}");
    }
    let again = comparison["again"].as_str().expect("a line");
    assert!(
        again.starts_with("skep compare scenarios/first-swarm.toml --seeds 0..2 --vary"),
        "{again}"
    );
    let wrong = compare(&["group.home.picker=rarest-first,rarest"]);
    assert_eq!(wrong.status.code(), Some(64));
    assert!(
        text(&wrong.stderr).contains("rarest"),
        "{}",
        text(&wrong.stderr)
    );
}

#[test]
fn a_campaign_is_told_to_programs_that_show_tests() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("junit.xml");
    let file = file.to_str().expect("UTF-8");
    let set = "expect.wasted=< 0.0001%";
    let mut args = vec![
        "run",
        "scenarios/first-swarm.toml",
        "--seeds",
        "0..2",
        "--set",
        set,
    ];
    args.extend(["--junit", file]);
    let ran = skep(&args);
    assert_eq!(ran.status.code(), Some(1), "{}", text(&ran.stderr));
    let xml = std::fs::read_to_string(file).expect("written");
    let report = Report::deserialize_from_str(&xml).expect("JUnit XML");
    assert_eq!((report.tests, report.failures), (3, 2), "{xml}");
    let failed = &report.test_suites[0].test_cases[1];
    let TestCaseStatus::NonSuccess {
        message,
        description,
        ..
    } = &failed.status
    else {
        panic!("it failed: {xml}");
    };
    let message = message.as_ref().expect("what did not hold").as_str();
    assert!(
        message.contains("expected < 0.0001%: measured"),
        "{message}"
    );
    let description = description.as_ref().expect("in words").as_str();
    let again = "skep run scenarios/first-swarm.toml --seed 1 --set 'expect.wasted=< 0.0001%'";
    assert!(description.contains(again), "{description}");
}

/// What is added to a scenario.
const COMPARED: &str = r#"
[vary]
"group.home.picker" = ["rarest-first", "sequential"]

[[expect.compare]]
metric = "completion.p95"
better = "rarest-first"
than = "sequential"
by = ">= 5%"
"#;

#[test]
fn what_is_expected_of_a_comparison_decides_its_exit_code() {
    let dir = tempfile::tempdir().expect("a folder");
    let place = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let swarm = std::fs::read_to_string("scenarios/pieces/all-sequential-swarm.toml");
    let small = swarm
        .expect("a scenario")
        .replace("size = \"16 MiB\"", "size = \"2 MiB\"")
        .replace("seeds = \"0..8\"", "seeds = \"0..3\"");
    let (small, _) = small.split_once("[expect]").expect("it expects something");
    let small = format!("{small}{COMPARED}");
    let other_way = small
        .replace("better = \"rarest-first\"", "better = \"sequential\"")
        .replace("than = \"sequential\"", "than = \"rarest-first\"");
    for (file, holds) in [(small, true), (other_way, false)] {
        std::fs::write(place("pickers.toml"), &file).expect("written");
        let compared = skep(&["compare", &place("pickers.toml"), "--out", &place("out")]);
        let said = text(&compared.stdout);
        let (code, word) = if holds {
            (0, "holds")
        } else {
            (1, "DOES NOT HOLD")
        };
        assert_eq!(compared.status.code(), Some(code), "{said}");
        assert!(said.contains(&format!("3 of 3 seeds: {word}")), "{said}");
        let json = std::fs::read_to_string(Path::new(&place("out")).join("compare.json"));
        let comparison: Value = serde_json::from_str(&json.expect("written")).expect("an object");
        let expected = &comparison["expected"][0];
        assert_eq!(expected["holds"], holds);
        assert_eq!(expected["interval"].as_array().map(Vec::len), Some(2));
    }
}

#[test]
fn a_comparison_over_a_number_has_its_own_table_and_a_chart() {
    let dir = tempfile::tempdir().expect("a folder");
    let place = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let mut drawn = Vec::new();
    for name in ["a.svg", "b.svg"] {
        let (out, chart) = (place("out"), place(name));
        let mut args = vec!["compare", "scenarios/compare/direct-vs-swarm.toml"];
        args.extend(["--seeds", "0..2", "--set", "torrent.size=512 KiB"]);
        args.extend(["--out", &out, "--chart", &chart]);
        let compared = skep(&args);
        let said = text(&compared.stdout);
        assert_eq!(
            compared.status.code(),
            Some(0),
            "{}",
            text(&compared.stderr)
        );
        let lines = || {
            said.lines()
                .filter(|line| !line.contains(dir.path().to_str().expect("UTF-8")))
        };
        assert!(lines().all(|line| line.chars().count() <= 80), "{said}");
        assert!(lines().any(|line| line.contains("direct download") && line.contains("swarm")));
        drawn.push(std::fs::read_to_string(&chart).expect("a picture"));
    }
    assert_eq!(drawn[0], drawn[1], "the same bytes");
    let json = std::fs::read_to_string(Path::new(&place("out")).join("compare.json"));
    let comparison: Value = serde_json::from_str(&json.expect("written")).expect("an object");
    let numbers = comparison["sweep"]["numbers"].as_array().expect("a list");
    assert_eq!(numbers.len(), 7);
}

#[test]
fn a_chart_needs_a_number_and_says_so_before_anything_runs() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("out");
    let svg = dir.path().join("a.svg");
    let (out, svg) = (out.to_str().expect("UTF-8"), svg.to_str().expect("UTF-8"));
    let pickers = "scenarios/compare/pickers.toml";
    let ran = skep(&["compare", pickers, "--out", out, "--chart", svg]);
    assert_eq!(ran.status.code(), Some(64));
    assert!(
        text(&ran.stderr).contains("has no chart"),
        "{}",
        text(&ran.stderr)
    );
    assert!(!Path::new(out).exists());
}

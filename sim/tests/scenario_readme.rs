//! `scenarios/README.md` tells the truth: every scenario is in its tables once, every file that it links to is
//! there, and every test that it names is in the file that it names for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use skep_sim::scenario::Scenario;
use skep_sim::scenario::plan::Role;
use skep_sim::scenario::strategies::{ATTACKS, CHOKERS, Family, PICKERS};

/// What the simulations of libtorrent cover.
const AREAS: [&str; 21] = [
    "swarm",
    "transfer",
    "choking fairness",
    "super-seeding",
    "fast extension",
    "protocol errors",
    "duplicate ids",
    "timeouts",
    "announce events",
    "intervals",
    "tiers",
    "fail-over",
    "scrape",
    "web seeds",
    "PEX",
    "metadata",
    "pause and resume",
    "disk full and recovery",
    "failed allocations",
    "checking",
    "IP filter",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios")
}

/// The links of a line, words and target.
fn links(line: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("](") {
        let words = before.rsplit_once('[').expect("a link has a `[`").1;
        let (target, tail) = after.split_once(')').expect("a link has a `)`");
        found.push((words, target));
        rest = tail;
    }
    found
}

/// Scenario files below a folder, as paths from `scenarios/`.
fn scenarios(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder of scenarios") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            scenarios(&path, found);
        } else if path.extension().is_some_and(|e| e == "toml") {
            let inside = path.strip_prefix(root()).expect("below the root");
            found.push(inside.display().to_string());
        }
    }
}

#[test]
fn every_scenario_has_its_line_and_every_link_leads_somewhere() {
    let text = fs::read_to_string(root().join("README.md")).expect("scenarios/README.md");
    // Rows of the tables of scenarios begin with a link; those of the table of coverage do not.
    let mut rows: BTreeMap<&str, usize> = BTreeMap::new();
    let mut tests = 0;
    for line in text.lines() {
        for (words, target) in links(line) {
            if target.starts_with('#') {
                let heading = |l: &&str| l.starts_with("## ");
                let slug = |l: &str| l[3..].to_lowercase().replace(' ', "-");
                let there = text.lines().filter(heading).any(|l| slug(l) == target[1..]);
                assert!(there, "no heading {target}");
                continue;
            }
            let path = root().join(target);
            assert!(path.is_file(), "{target}: no such file");
            if let Some(test) = words.strip_prefix('`').and_then(|w| w.strip_suffix('`')) {
                let code = fs::read_to_string(&path).expect("a readable file");
                assert!(code.contains(&format!("fn {test}(")), "{target}: no {test}");
                tests += 1;
            } else if let Some(stem) = target.strip_suffix(".toml")
                && !target.starts_with("..")
            {
                let name = stem.rsplit('/').next().expect("a name");
                assert_eq!(words, name, "a scenario is called by its name");
            }
        }
        if let Some(row) = line.strip_prefix("| [") {
            let (_, target) = links(&line[2..])[0];
            let about = row.rsplit_once(") | ").map_or("", |(_, about)| about);
            assert!(about.len() > "x |".len(), "{target}: what should happen?");
            *rows.entry(target).or_default() += 1;
        }
    }
    let mut files = Vec::new();
    scenarios(&root(), &mut files);
    for file in &files {
        assert_eq!(rows.get(file.as_str()), Some(&1), "{file}: its rows");
    }
    assert_eq!(rows.len(), files.len(), "a row for each file");
    assert!(tests >= 21, "the table of coverage names {tests} tests");
    for area in AREAS {
        let row = format!("| {area} | ");
        let rows = text.lines().filter(|line| line.starts_with(&row)).count();
        assert_eq!(rows, 1, "{area}: its rows in the table of coverage");
    }
}

#[test]
fn every_attack_has_a_scenario() {
    let mut files = Vec::new();
    scenarios(&root(), &mut files);
    let mut acted = BTreeSet::new();
    for file in files {
        let path = root().join(file);
        let text = fs::read_to_string(&path).expect("a readable file");
        let scenario = Scenario::parse(&path.display().to_string(), &text).expect("a good file");
        let hosts = scenario.expand(0).hosts;
        acted.extend(hosts.into_iter().filter_map(|h| Some(h.attack?.name)));
    }
    for attack in ATTACKS.known {
        // Its file is a canary's.
        let canary = attack.name == "unseeded";
        assert!(canary || acted.contains(attack.name), "{}", attack.name);
    }
}

#[test]
fn every_strategy_has_a_scenario() {
    let mut files = Vec::new();
    scenarios(&root(), &mut files);
    let (mut pickers, mut chokers) = (BTreeSet::new(), BTreeSet::new());
    for file in files {
        let path = root().join(file);
        let text = fs::read_to_string(&path).expect("a readable file");
        let scenario = Scenario::parse(&path.display().to_string(), &text).expect("a good file");
        for host in scenario.expand(scenario.seeds()[0]).hosts {
            match host.role {
                Role::Leecher => {
                    pickers.insert(host.picker.name);
                    chokers.insert(host.choker.name);
                }
                Role::Seed => drop(chokers.insert(host.choker.name)),
                _ => {}
            }
        }
    }
    let without = |family: &Family, used: &BTreeSet<String>| -> Vec<&str> {
        let names = family.known.iter().map(|named| named.name);
        names.filter(|name| !used.contains(*name)).collect()
    };
    // Nobody seeds round robin by name: it is what tit for tat does once complete.
    assert_eq!(
        without(&PICKERS, &pickers),
        ["random"],
        "a variant of comparisons"
    );
    assert_eq!(without(&CHOKERS, &chokers), ["seed-round-robin"]);
}

#[test]
fn links_are_found() {
    let line = "| [a](b/a.toml) | x; [`t`](../t.rs), y |";
    assert_eq!(links(line), [("a", "b/a.toml"), ("`t`", "../t.rs")]);
    assert!(links("nothing [here] (at all)").is_empty());
}

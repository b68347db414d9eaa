//! The scenario files of the project are right, expand, and name the schema that describes them.

use std::fs;
use std::path::{Path, PathBuf};

use skep_sim::scenario::Scenario;
use skep_sim::scenario::plan::FaultKind;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios")
}

/// Every scenario file with its depth below `scenarios/`.
fn files(folder: &Path, depth: usize) -> Vec<(PathBuf, usize)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder of scenarios") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path, depth + 1));
        } else if path.extension().is_some_and(|e| e == "toml") {
            found.push((path, depth));
        }
    }
    found.sort();
    found
}

#[test]
fn every_file_is_right_and_every_variant_expands() {
    let files = files(&root(), 0);
    assert!(files.len() >= 9, "{} files", files.len());
    for (path, depth) in files {
        let text = fs::read_to_string(&path).expect("a readable file");
        let name = path.display().to_string();
        let first = format!("#:schema {}schema.json\n", "../".repeat(depth));
        assert!(text.starts_with(&first), "{name} begins with {first}");
        let scenario = Scenario::parse(&name, &text).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        let stem = path.file_stem().and_then(|s| s.to_str());
        assert_eq!(Some(scenario.name()), stem, "named like its file");
        assert!(
            !scenario.model().about.is_empty(),
            "{name} says what should happen"
        );
        for variant in scenario.variants() {
            let variant = scenario
                .with(&variant.set)
                .unwrap_or_else(|e| panic!("{name}: {e:?}"));
            for seed in variant.seeds() {
                let plan = variant.expand(*seed);
                for fault in &plan.faults {
                    let hits = match &fault.kind {
                        FaultKind::Tracker { which, .. } => which.len(),
                        _ => fault.hosts.len(),
                    };
                    assert!(hits > 0, "{name}: {} hits nobody", fault.name);
                }
            }
        }
    }
}

/// The committed schema is the one that the tables give. After a change of the tables:
/// `cargo run -- check --schema > scenarios/schema.json`, or, without the command line,
/// `cargo test -p skep-sim --test scenario_files -- --ignored`.
#[test]
fn the_committed_schema_is_current() {
    let text = fs::read_to_string(root().join("schema.json")).expect("scenarios/schema.json");
    let committed: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert!(
        committed == skep_sim::scenario::schema(),
        "scenarios/schema.json is old; run: cargo run -- check --schema > scenarios/schema.json"
    );
}

#[test]
#[ignore = "writes scenarios/schema.json"]
fn write_the_schema() {
    let text = serde_json::to_string_pretty(&skep_sim::scenario::schema()).expect("JSON");
    fs::write(root().join("schema.json"), text + "\n").expect("a writable file");
}

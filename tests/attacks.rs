//! `skep attacks` as a user calls it: what it measures, and what it says when there is nothing to measure.

use std::process::{Command, Output};

use serde_json::Value;

/// Runs `skep attacks` in the project's folder.
fn attacks(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg("attacks")
        .args(args)
        .output()
        .expect("the program starts")
}

fn rows(args: &[&str]) -> Vec<Value> {
    let ran = attacks(&[args, &["--json"]].concat());
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    let lines = String::from_utf8(ran.stdout).expect("UTF-8");
    let rows = lines.lines();
    rows.map(|line| serde_json::from_str(line).expect("one object per line"))
        .collect()
}

#[test]
fn an_attack_costs_the_honest_time_and_more_without_the_defence() {
    let file = "scenarios/attacks/sybil.toml";
    let set = ["--seeds", "0..4", "--without", "slots-per-address"];
    let rows = rows(&[&[file][..], &set].concat());
    assert_eq!(rows.len(), 2);
    for (row, without) in rows.iter().zip([Value::Null, "slots-per-address".into()]) {
        assert_eq!(row["attacks"][0], "sybil");
        assert_eq!(row["without"], without);
        assert_eq!((&row["runs"], &row["acted"]), (&4.into(), &4.into()));
        assert_eq!(
            (&row["unfinished"], &row["false_bans"]),
            (&0.into(), &0.into())
        );
    }
    let slower = |row: &Value| row["slower"].as_f64().expect("all finished");
    assert!(slower(&rows[0]) > 0.0);
    let beyond = rows[1]["cost_95"][0].as_f64().expect("four pairs");
    assert!(beyond > 0.0, "{}", rows[1]);
    assert!(rows[0]["cost_95"].is_null());
}

#[test]
fn liars_are_banned_and_nobody_else_is() {
    let file = "scenarios/attacks/mass-ban.toml";
    let rows = rows(&[file, "--seeds", "0..2", "--without", "parole"]);
    for row in &rows {
        assert_eq!(
            (&row["banned"], &row["false_bans"]),
            (&1.0.into(), &0.into())
        );
        assert!(row["ban_s"].as_f64().expect("banned") > 0.0);
        assert!(row["waste"].as_f64().expect("a share") > 0.1);
        assert!(row["buffered"].as_u64().expect("bytes") > 16 * 1024);
    }
}

#[test]
fn what_there_is_to_say_fits_a_terminal() {
    let ran = attacks(&["scenarios/attacks/mass-ban.toml", "--seeds", "0..2"]);
    let said = String::from_utf8(ran.stdout).expect("UTF-8");
    assert!(said.starts_with("mass-ban: corrupt-blocks (47.1% of the peers, 2 seeds"));
    assert!(
        said.lines().all(|line| line.chars().count() <= 80),
        "{said}"
    );
    assert!(said.contains("all defences") && said.contains("no difference without: "));
}

#[test]
fn without_attackers_or_with_an_unknown_defence_it_says_so() {
    let wrong = |args: &[&str]| {
        let ran = attacks(args);
        assert_eq!(ran.status.code(), Some(64));
        String::from_utf8(ran.stderr).expect("UTF-8")
    };
    let said = wrong(&["scenarios/first-swarm.toml"]);
    assert!(
        said.contains("none of these scenarios has an attacker"),
        "{said}"
    );
    let said = wrong(&["scenarios/attacks", "--without", "smart-bam"]);
    assert!(said.contains("no defence is called `smart-bam`"), "{said}");
    assert!(said.contains("smart-ban"), "{said}");
}

//! A comparison that is killed half-way and made again, and one on other threads: the same files, byte for byte.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this waits for another process, in real time, and looks at when files were written"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

/// Variants times seeds.
const RUNS: usize = 12;
/// What a comparison writes beside its runs.
const FILES: [&str; 3] = ["compare.json", "runs.csv", "peers.csv"];

fn compare(out: &Path, threads: &str, more: &[&str]) -> Command {
    compare_seeds(out, "0..4", threads, more)
}

fn compare_seeds(out: &Path, seeds: &str, threads: &str, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args([
            "compare",
            "scenarios/compare/endgames.toml",
            "--seeds",
            seeds,
        ])
        .args(["--set", "torrent.size=2 MiB", "--threads", threads, "--out"])
        .arg(out)
        .args(more)
        .stdout(Stdio::null());
    command
}

/// Runs it to its end; returns what it says on stderr.
fn finish(mut command: Command) -> String {
    let ran = command.output().expect("the program starts");
    let said = String::from_utf8(ran.stderr).expect("UTF-8");
    assert_eq!(ran.status.code(), Some(0), "{said}");
    said
}

/// The finished runs, with when each was written.
fn runs(out: &Path) -> BTreeMap<PathBuf, SystemTime> {
    let Ok(files) = fs::read_dir(out.join("runs")) else {
        return BTreeMap::new();
    };
    files
        .map(|file| file.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "json"))
        .map(|path| {
            let written = fs::metadata(&path).and_then(|data| data.modified());
            (path, written.expect("it has a time"))
        })
        .collect()
}

fn files(out: &Path) -> Vec<Vec<u8>> {
    let read = |name: &&str| fs::read(out.join(name)).expect("written");
    FILES.iter().map(read).collect()
}

#[test]
fn interrupted_or_not_on_one_thread_or_two_the_files_are_the_same() {
    let dir = tempfile::tempdir().expect("a folder");
    let (whole, cut) = (dir.path().join("whole"), dir.path().join("cut"));
    finish(compare(&whole, "1", &[]));
    assert_eq!(runs(&whole).len(), RUNS);

    let mut child = compare(&cut, "1", &[]).spawn().expect("the program starts");
    while runs(&cut).len() < RUNS / 3 {
        assert!(
            child.try_wait().expect("it can be asked").is_none(),
            "killed too late"
        );
        sleep(Duration::from_millis(2));
    }
    child.kill().expect("it is there");
    child.wait().expect("it ends");
    let kept = runs(&cut);
    assert!(kept.len() < RUNS && !cut.join("compare.json").exists());
    // What a kill may leave, and a file that a failing disk shortened.
    fs::write(cut.join("runs/.tmpAbCdEf"), "half of a ru").expect("written");
    let (torn, _) = kept.first_key_value().expect("a run");
    let text = fs::read_to_string(torn).expect("a run");
    fs::write(torn, &text[..text.len() / 2]).expect("written");

    let said = finish(compare(&cut, "2", &[]));
    let there = kept.len() - 1;
    assert!(
        said.contains(&format!("{there} of {RUNS} runs are kept")),
        "{said}"
    );
    let now = runs(&cut);
    assert_eq!(now.len(), RUNS);
    for (path, written) in kept.iter().filter(|(path, _)| *path != torn) {
        assert_eq!(now[path], *written, "{} was not made again", path.display());
    }
    assert!(!cut.join("runs/.tmpAbCdEf").exists());
    assert_eq!(files(&cut), files(&whole));
    // And once more, from kept runs alone.
    finish(compare(&cut, "0", &[]));
    assert_eq!(files(&cut), files(&whole));
}

#[test]
fn a_run_of_another_scenario_is_not_taken_for_this_ones() {
    let dir = tempfile::tempdir().expect("a folder");
    let (out, fresh) = (dir.path().join("out"), dir.path().join("fresh"));
    finish(compare(&out, "0", &[]));
    let slower = ["--set", "group.home.up=1 Mbit/s"];
    let said = finish(compare(&out, "0", &slower));
    assert!(!said.contains("kept"), "{said}");
    finish(compare(&fresh, "0", &slower));
    assert_eq!(files(&out), files(&fresh));
    // More seeds: those that were there stay.
    let said = finish(compare_seeds(&out, "0..5", "0", &slower));
    assert!(said.contains("12 of 15 runs are kept"), "{said}");
}

#[test]
fn two_at_once_in_one_folder_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("out");
    let mut first = compare(&out, "1", &[]).spawn().expect("the program starts");
    while runs(&out).is_empty() {
        assert!(first.try_wait().expect("it can be asked").is_none());
        sleep(Duration::from_millis(2));
    }
    let second = compare(&out, "1", &[])
        .output()
        .expect("the program starts");
    assert_eq!(second.status.code(), Some(64));
    let said = String::from_utf8(second.stderr).expect("UTF-8");
    assert!(
        said.contains("another comparison is being made in"),
        "{said}"
    );
    first.kill().expect("it is there");
    first.wait().expect("it ends");
}

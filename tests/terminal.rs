//! Owns what every command looks like in a terminal: 80 columns whatever names are long, colours where they are wanted,
//! silence when it is asked for, completions and manual pages.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A name as long as a scenario's author may like.
const LONG: &str =
    "a-swarm-whose-name-is-so-long-that-it-alone-would-fill-most-of-a-line-of-a-terminal";
/// With five letters before it, the longest name of a group.
const GROUP: &str = "whose-name-is-as-long-as-it-may-be0";

/// A swarm with long names; with `more` of the file.
fn scenario(dir: &Path, name: &str, more: &str) -> String {
    let text = format!(
        r#"
name = "{name}"
about = "A swarm of long names."
run = {{ time_limit = "10 min", settle = "1 min", seeds = "0..6" }}
torrent = {{ size = "1 MiB", piece = "64 KiB" }}
[[group]]
name = "seed-{GROUP}"
role = "seed"
up = "4 Mbit/s"
down = "20 Mbit/s"
[[group]]
name = "home-{GROUP}"
role = "leecher"
count = 3
up = "2 Mbit/s"
down = "20 Mbit/s"
{more}
"#
    );
    let file = format!("{}.toml", &name[..12]);
    fs::write(dir.join(&file), text).expect("written");
    file
}

fn skep(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut skep = Command::new(env!("CARGO_BIN_EXE_skep"));
    skep.args(args).current_dir(dir).env_clear();
    skep.envs(env.iter().copied()).stdin(Stdio::null());
    skep.output().expect("skep runs")
}

fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8(both).expect("UTF-8")
}

/// Lines that are too wide. What is there to be copied is not broken: a command, the path of a file; nor is a line of a
/// file that is shown where it is wrong, with its number.
fn too_wide(text: &str) -> Vec<&str> {
    let quoted = |line: &str| {
        let number = line.split_once(" | ").map(|(number, _)| number.trim());
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    };
    let heads = ["  again: ", "  written: "];
    let copied = |line: &str| quoted(line) || heads.iter().any(|head| line.starts_with(head));
    let wide = |line: &&str| textwrap::core::display_width(line) > 80 && !copied(line);
    text.lines().filter(wide).collect()
}

fn dir() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

#[test]
fn every_table_fits_80_columns() {
    let (dir, name) = (dir(), format!("swarm-{LONG}"));
    let at = dir.path();
    let plain = scenario(at, &name, "");
    let failing = format!(
        "[expect]\n\"completion.max\" = \"<= 1 s\"\n\"completion.max.home-{GROUP}\" = \"<= 1 s\"\n"
    );
    let failing = scenario(at, &format!("failing-swarm-{LONG}"), &failing);
    let attacked = format!(
        "[[group]]\nname = \"liar-{GROUP}\"\nrole = \"attacker\"\nattack = \"liar\"\nup = \"2 Mbit/s\"\ndown = \"2 Mbit/s\"\n"
    );
    let attacked = scenario(at, &format!("attacked-{LONG}"), &attacked);
    let varied =
        format!("[vary]\n\"group.home-{GROUP}.picker\" = [\"rarest-first\", \"random\"]\n");
    let varied = scenario(at, &format!("varied-swarm-{LONG}"), &varied);
    let swept = format!("[vary]\n\"group.home-{GROUP}.count\" = [1, 2]\n");
    let swept = scenario(at, &format!("swept-swarm-{LONG}"), &swept);
    let broken = scenario(
        at,
        &format!("broken-swarm-{LONG}"),
        &format!("pikcer = \"{LONG}\"\n"),
    );
    fs::write(at.join(format!("{LONG}.bin")), vec![7; 100_000]).expect("written");
    let content = format!("{LONG}.bin");
    let url = format!("http://tracker.example/{LONG}");
    let torrent = "t.torrent";
    let commands: &[(&[&str], &[i32])] = &[
        (&["run", &plain], &[0]),
        (&["run", &plain, "--seed", "0"], &[0]),
        (
            &["run", &plain, "--network", "turmoil", "--seeds", "0..5"],
            &[0],
        ),
        (&["run", &failing, "--seed", "0"], &[1]),
        (&["run", &failing], &[1]),
        (&["run", &plain, "--seeds", "0..2", "--pcap", "p"], &[64]),
        (
            &[
                "run",
                &plain,
                "--seed",
                "0",
                "--pcap",
                "p",
                "--network",
                "turmoil",
            ],
            &[64],
        ),
        (&["run", &plain, "--seed", "0", "--check-determinism"], &[0]),
        (&["run", &attacked, "--seed", "0"], &[0, 4]),
        (&["check", &plain, &failing, &attacked, &varied], &[0]),
        (&["check", &broken], &[64]),
        (&["check", "--metrics"], &[0]),
        (
            &[
                "attacks",
                &attacked,
                "--seeds",
                "0..2",
                "--without",
                "snubbing",
            ],
            &[0],
        ),
        (
            &["compare", &varied, "--seeds", "0..3", "--out", "o"],
            &[0, 1],
        ),
        (
            &["compare", &swept, "--seeds", "0..3", "--out", "o"],
            &[0, 1],
        ),
        (
            &[
                "torrent",
                "create",
                &content,
                "--announce",
                &url,
                "-o",
                torrent,
            ],
            &[0],
        ),
        (&["torrent", "show", torrent], &[0]),
        (&["torrent", "verify", torrent, "--dir", "."], &[0]),
    ];
    let mut wide = Vec::new();
    for (args, codes) in commands {
        let output = skep(at, args, &[]);
        let said = said(&output);
        assert!(
            output
                .status
                .code()
                .is_some_and(|code| codes.contains(&code)),
            "{args:?}: {said}"
        );
        let lines = too_wide(&said).into_iter();
        wide.extend(lines.map(|line| format!("{args:?}: {line}")));
        assert!(
            !said.contains('\u{1b}'),
            "{args:?}: no terminal, no colours"
        );
    }
    assert!(wide.is_empty(), "{wide:#?}");
}

/// Every command and its subcommands, by what its help lists.
fn commands(at: &Path) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut open = vec![Vec::new()];
    while let Some(command) = open.pop() {
        let args: Vec<&str> = command
            .iter()
            .map(String::as_str)
            .chain(["--help"])
            .collect();
        let help = said(&skep(at, &args, &[]));
        let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        let listed = listed.take_while(|line| line.starts_with("  "));
        let names = listed.filter(|line| !line.starts_with("   "));
        let names: Vec<&str> = names
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        for name in names.into_iter().filter(|name| *name != "help") {
            let deeper = command.iter().cloned().chain([name.to_owned()]).collect();
            open.push(deeper);
        }
        found.push(command);
    }
    found
}

#[test]
fn the_help_of_every_command_has_an_example_and_fits_80_columns() {
    let dir = dir();
    let all = commands(dir.path());
    assert!(all.len() > 15, "{all:?}");
    for command in all {
        let args: Vec<&str> = command
            .iter()
            .map(String::as_str)
            .chain(["--help"])
            .collect();
        let output = skep(dir.path(), &args, &[]);
        let help = said(&output);
        assert_eq!(too_wide(&help), [""; 0], "{command:?}");
        let example = format!("  skep {}", command.join(" "));
        assert!(
            help.contains(example.trim_end()),
            "{command:?} has no example"
        );
        assert!(help.contains("--quiet"), "{command:?}");
    }
}

#[test]
fn colours_are_where_they_are_wanted() {
    let dir = dir();
    let at = dir.path();
    let broken = scenario(at, "broken-swarm", "pikcer = \"random\"\n");
    let coloured =
        |args: &[&str], env: &[(&str, &str)]| said(&skep(at, args, env)).contains('\u{1b}');
    for args in [&["check", &broken][..], &["run", "--nonsense"], &["--help"]] {
        assert!(!coloured(args, &[]), "{args:?}: no terminal");
        assert!(
            coloured(args, &[("CLICOLOR_FORCE", "1")]),
            "{args:?}: forced"
        );
        assert!(
            !coloured(args, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]),
            "{args:?}: refused"
        );
    }
}

#[test]
fn a_quiet_command_tells_what_went_wrong_and_nothing_else() {
    let dir = dir();
    let at = dir.path();
    let plain = scenario(at, "plain-swarm-", "");
    let failing = scenario(
        at,
        "failing-swarm",
        "[expect]\n\"completion.max\" = \"<= 1 s\"\n",
    );
    for args in [
        &["run", &plain, "--quiet"][..],
        &["-q", "check", &plain, &failing],
    ] {
        let output = skep(at, args, &[]);
        assert_eq!(said(&output), "", "{args:?}");
        assert_eq!(output.status.code(), Some(0));
    }
    let output = skep(at, &["run", "-q", &failing, "--seed", "0"], &[]);
    assert!(said(&output).contains("completion.max"), "{output:?}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn what_cannot_be_written_is_said_with_its_name() {
    if !Path::new("/dev/full").exists() {
        return;
    }
    let dir = dir();
    let plain = scenario(dir.path(), "plain-swarm-", "");
    for option in ["--pcap", "--trace", "--perfetto"] {
        let args = ["run", &plain, "--seed", "0", option, "/dev/full"];
        let output = skep(dir.path(), &args, &[]);
        let said = said(&output);
        assert!(
            said.contains("cannot write /dev/full: "),
            "{option}: {said}"
        );
        assert_eq!(output.status.code(), Some(1), "{option}");
        let args = ["run", &plain, "--seed", "0", option, "nowhere/file"];
        let output = skep(dir.path(), &args, &[]);
        assert_eq!(output.status.code(), Some(64), "{option}: {output:?}");
        let args = ["run", &plain, "--seeds", "0..2", option, "file"];
        let output = skep(dir.path(), &args, &[]);
        assert_eq!(output.status.code(), Some(64), "{option}: {output:?}");
        assert!(
            !dir.path().join("file").exists(),
            "{option}: refused before"
        );
    }
}

/// Hands a script to a program that only reads it; nothing where that program is not.
fn read_by(program: &str, args: &[&str], script: &[u8]) {
    let mut command = Command::new(program);
    command
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        writeln!(std::io::stderr(), "SKIPPED: {program} is missing").expect("stderr");
        return;
    };
    child
        .stdin
        .take()
        .expect("piped")
        .write_all(script)
        .expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{program}: {output:?}");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert_eq!(complaints, "", "{program}");
}

#[test]
fn shells_read_their_completions() {
    let dir = dir();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = skep(dir.path(), &["completions", shell], &[]);
        assert!(output.status.success(), "{shell}: {output:?}");
        let script = String::from_utf8(output.stdout.clone()).expect("UTF-8");
        for word in ["compare", "perfetto", "super-seed"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        match shell {
            "bash" => read_by("bash", &["-n"], &output.stdout),
            "zsh" => read_by("zsh", &["-n"], &output.stdout),
            "fish" => read_by("fish", &["--no-execute"], &output.stdout),
            _ => {}
        }
    }
    assert_eq!(
        skep(dir.path(), &["completions", "dos"], &[]).status.code(),
        Some(64)
    );
}

#[test]
fn manual_pages_are_manual_pages() {
    let dir = dir();
    let at = dir.path();
    let page = skep(at, &["man"], &[]).stdout;
    assert!(page.windows(3).any(|w| w == b".TH"), "a title");
    read_by("groff", &["-man", "-Wbreak", "-z", "-Tutf8"], &page);
    assert!(skep(at, &["man", "pages/man1"], &[]).status.success());
    let pages = fs::read_dir(at.join("pages/man1")).expect("a directory");
    let pages: Vec<_> = pages.map(|page| page.expect("a page").path()).collect();
    assert_eq!(
        pages.len(),
        commands(at).len(),
        "one per command: {pages:?}"
    );
    for page in pages {
        read_by(
            "groff",
            &["-man", "-Wbreak", "-z", "-Tutf8"],
            &fs::read(page).expect("a page"),
        );
    }
    fs::write(at.join("taken"), "").expect("written");
    assert_eq!(skep(at, &["man", "taken"], &[]).status.code(), Some(64));
}

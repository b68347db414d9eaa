//! What a user reads: help, errors with their places, metainfo files; and the exit codes.
//!
//! Every command runs as a process without a terminal and without an environment.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use insta::assert_snapshot;
use tempfile::TempDir;

fn dir() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// What a command said, and its exit code.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

fn run(dir: &Path, args: &[&str]) -> Ended {
    // Neither a terminal nor the environment has a say in the output.
    let mut skep = Command::new(env!("CARGO_BIN_EXE_skep"));
    let skep = skep
        .args(args)
        .current_dir(dir)
        .env_clear()
        .stdin(Stdio::null());
    let output = skep.output().expect("skep runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Ended {
        code: output.status.code(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// Everything that a command said, and its exit code.
fn shown(dir: &Path, args: &[&str]) -> String {
    let ended = run(dir, args);
    for line in ended.out.lines().chain(ended.err.lines()) {
        let columns = line.chars().count();
        assert!(
            columns <= 80 || line.starts_with('{') || line.starts_with("error: "),
            "{columns} columns: {line}"
        );
    }
    let Ended { code, out, err } = ended;
    let code = code.expect("it ended by itself");
    format!("{out}{err}[{code}]")
}

#[test]
fn help() {
    let dir = dir();
    let at = dir.path();
    assert_snapshot!("help", shown(at, &["--help"]));
    // Their options are not this file's matter, their width is.
    assert!(shown(at, &["run", "--help"]).ends_with("[0]"));
    assert!(shown(at, &["compare", "--help"]).ends_with("[0]"));
    assert_snapshot!("help_check", shown(at, &["check", "--help"]));
    assert_snapshot!(
        "help_torrent_create",
        shown(at, &["torrent", "create", "--help"])
    );
    assert_snapshot!(
        "help_torrent_show",
        shown(at, &["torrent", "show", "--help"])
    );
    assert_snapshot!(
        "help_torrent_verify",
        shown(at, &["torrent", "verify", "--help"])
    );
    assert_snapshot!("help_track", shown(at, &["track", "--help"]));
    assert_snapshot!("help_seed", shown(at, &["seed", "--help"]));
    assert_snapshot!("help_get", shown(at, &["get", "--help"]));
    assert_snapshot!("help_scrape", shown(at, &["scrape", "--help"]));
    assert_snapshot!("help_serve", shown(at, &["serve", "--help"]));
    assert_snapshot!("help_fetch", shown(at, &["fetch", "--help"]));
}

#[test]
fn exit_codes() {
    let dir = dir();
    fs::write(dir.path().join("bad.torrent"), "nonsense").expect("written");
    fs::write(dir.path().join("bad.toml"), "nonsense").expect("written");
    let flash_crowd = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/flash-crowd.toml");
    for (args, code) in [
        (&["--version"][..], 0),
        (&["help"], 0),
        (&["torrent", "create", "--help"], 0),
        (&["check", flash_crowd], 0),
        (&["check", "--metrics"], 0),
        (&[], 64),
        (&["torrent"], 64),
        (&["fly"], 64),
        (&["get"], 64),
        (&["track", "--listen", "here"], 64),
        (&["track", "--interval", "30"], 64),
        (&["torrent", "show", "missing.torrent"], 64),
        (&["torrent", "show", "bad.torrent"], 64),
        (&["seed", "bad.torrent", "--data", "."], 64),
        (&["get", "bad.torrent", "--dir", "."], 64),
        (&["check", "missing.toml"], 64),
        (&["check", "bad.toml"], 64),
        (&["check", "bad.toml", flash_crowd], 64),
        (&["check", "."], 64),
        (
            &[
                "torrent",
                "create",
                "x",
                "--announce",
                "http://a",
                "-o",
                "missing/x",
            ],
            1,
        ),
        (&["track", "--listen", "192.0.2.1:6969"], 1),
    ] {
        let ended = run(dir.path(), args);
        assert_eq!(ended.code, Some(code), "{args:?}: {ended:?}");
        let out_is_for_results = code == 0 || args.contains(&flash_crowd) || ended.out.is_empty();
        assert!(out_is_for_results, "{args:?}: {ended:?}");
    }
}

#[test]
fn wrong_arguments() {
    let dir = dir();
    let shown = |args: &[&str]| shown(dir.path(), args);
    assert_snapshot!(
        "a_duration_without_a_unit",
        shown(&["get", "f", "--dir", "d", "--seed-for", "10"])
    );
    let create = ["torrent", "create", "f", "-o", "t", "--announce"];
    assert_snapshot!(
        "a_tracker_of_an_unknown_kind",
        shown(&[&create[..], &["ftp://a"]].concat())
    );
    let piece = ["http://a", "--piece", "100 KiB"];
    assert_snapshot!(
        "a_piece_that_is_no_power_of_two",
        shown(&[&create[..], &piece].concat())
    );
}

#[test]
fn a_metainfo_file_is_made_and_shown() {
    let dir = dir();
    let at = dir.path();
    fs::create_dir_all(at.join("album/art")).expect("a folder");
    fs::write(at.join("album/a.flac"), vec![1; 700_000]).expect("written");
    fs::write(at.join("album/art/cover.png"), vec![2; 1000]).expect("written");
    let long = "b".repeat(90);
    fs::write(at.join("album").join(long), "").expect("written");
    let mut args = vec!["torrent", "create", "album", "-o", "album.torrent"];
    args.extend(["--announce", "http://127.0.0.1:6969/announce"]);
    args.extend(["--announce", "udp://tracker.example:80"]);
    args.extend([
        "--piece",
        "256KiB",
        "--private",
        "--comment",
        "one\n\u{1b}[31mtwo",
    ]);
    assert_snapshot!("create", shown(at, &args));
    assert_snapshot!("create_again", shown(at, &args));
    args.push("--force");
    assert_eq!(run(at, &args).code, Some(0));
    assert_snapshot!("show", shown(at, &["torrent", "show", "album.torrent"]));
    assert_snapshot!(
        "show_json",
        shown(at, &["torrent", "show", "album.torrent", "--json"])
    );
    let left: Vec<_> = fs::read_dir(at).expect("a directory").collect();
    let temporary = |name: &str| name.starts_with(".skep");
    let names = left
        .into_iter()
        .map(|entry| entry.expect("an entry").file_name());
    assert!(
        !names
            .into_iter()
            .any(|name| temporary(&name.to_string_lossy()))
    );
}

#[test]
fn odd_metainfo_files_are_shown_with_what_was_made_of_them() {
    let dir = dir();
    let at = dir.path();
    let files = "d6:lengthi20000e4:pathl2:..5:a\u{1b}[2Jee\
                 d4:attr1:p6:lengthi12768e4:pathl4:.pad5:12768ee\
                 d4:attr2:xh6:lengthi5e4:pathl3:runee\
                 d4:attr1:l4:pathl4:linke12:symlink pathl2:..6:passwdee";
    let hashes = "h".repeat(60);
    let info = format!(
        "d5:filesl{files}e12:meta versioni2e4:name5:../x/12:piece lengthi16384e6:pieces60:{hashes}\
         6:source4:HERE7:privatei1ee"
    );
    let torrent = format!(
        "d13:announce-listll8:http://a8:http://bel7:udp://cee4:info{info}8:url-list9:http://w/e"
    );
    fs::write(at.join("odd.torrent"), torrent).expect("written");
    assert_snapshot!("show_odd", shown(at, &["torrent", "show", "odd.torrent"]));
    let magnet = run(at, &["torrent", "show", "odd.torrent", "--magnet"]);
    assert!(magnet.out.starts_with("magnet:?xt=urn:btih:") && magnet.out.lines().count() == 1);
    let json = run(at, &["torrent", "show", "odd.torrent", "--json"]);
    assert!(
        !json.out.contains('\u{1b}') && json.out.contains("../a"),
        "{json:?}"
    );
}

#[test]
fn content_is_verified_file_by_file() {
    let dir = dir();
    let at = dir.path();
    fs::create_dir_all(at.join("d/sub")).expect("a folder");
    for (name, len) in [
        ("a", 40_000),
        ("b", 20_000),
        ("c", 5),
        ("e", 0),
        ("sub/f", 30_000),
        ("sub/g", 9),
    ] {
        let bytes: Vec<u8> = (0..len)
            .map(|at: u32| at.to_le_bytes()[0] ^ at.to_le_bytes()[1])
            .collect();
        fs::write(at.join("d").join(name), bytes).expect("written");
    }
    let create = [
        "torrent",
        "create",
        "d",
        "-o",
        "d.torrent",
        "--pad",
        "--piece",
        "16KiB",
    ];
    let more = [
        "--tracker",
        "http://a/x, http://b/x",
        "--tracker",
        "udp://c:80",
        "--source",
        "S",
        "--web-seed",
        "https://w/",
        "--date",
        "7",
    ];
    let created = run(at, &[&create[..], &more].concat());
    assert_eq!(created.code, Some(0), "{created:?}");
    assert_snapshot!("show_padded", shown(at, &["torrent", "show", "d.torrent"]));
    let verify = ["torrent", "verify", "d.torrent", "--dir", "."];
    assert_snapshot!("verify_complete", shown(at, &verify));
    fs::write(at.join("d/b"), vec![9; 20_000]).expect("written");
    fs::rename(at.join("d/sub/f"), at.join("d/sub/f.part")).expect("renamed");
    fs::write(at.join("d/c"), "longer than it should be").expect("written");
    fs::remove_file(at.join("d/e")).expect("removed");
    assert_snapshot!("verify_damaged", shown(at, &verify));
    let json = run(at, &[&verify[..], &["--json"]].concat());
    assert_eq!(json.code, Some(1));
    assert!(json.out.contains(r#""state":"wrong size""#), "{json:?}");
    let names = fs::read_dir(at)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name());
    assert!(
        !names
            .into_iter()
            .any(|name| name.to_string_lossy().starts_with('.')),
        "nothing is left behind"
    );
    let nowhere = run(at, &["torrent", "verify", "d.torrent", "--dir", "nowhere"]);
    assert_eq!(nowhere.code, Some(64), "{nowhere:?}");
}

#[test]
fn broken_metainfo_files_show_the_place() {
    let dir = dir();
    let at = dir.path();
    let info = |info: &str| format!("d8:announce8:http://a4:infod{info}ee");
    let hash = "6:pieces20:hhhhhhhhhhhhhhhhhhhh";
    for (name, bytes) in [
        ("empty", String::new()),
        (
            "a web page",
            "<!DOCTYPE html>\n<title>404</title>".to_owned(),
        ),
        (
            "cut",
            info(&format!("6:lengthi9e4:name1:n12:piece lengthi16384e{hash}"))[..70].to_owned(),
        ),
        ("no info", "d8:announce8:http://ae".to_owned()),
        (
            "no name",
            info(&format!("6:lengthi9e12:piece lengthi16384e{hash}")),
        ),
        (
            "a negative size",
            info(&format!(
                "6:lengthi-9e4:name1:n12:piece lengthi16384e{hash}"
            )),
        ),
        (
            "a name that is a number",
            info(&format!("6:lengthi9e4:namei7e12:piece lengthi16384e{hash}")),
        ),
        (
            "no piece length",
            info(&format!("6:lengthi9e4:name1:n12:piece lengthi0e{hash}")),
        ),
        (
            "too few hashes",
            info(&format!(
                "6:lengthi99999e4:name1:n12:piece lengthi16384e{hash}"
            )),
        ),
        (
            "a name that leads out",
            info(&format!(
                "6:lengthi9e4:name2:..12:piece lengthi16384e{hash}"
            )),
        ),
    ] {
        fs::write(at.join("x.torrent"), bytes).expect("written");
        let name = format!("broken_torrent_{}", name.replace(' ', "_"));
        assert_snapshot!(name, shown(at, &["torrent", "show", "x.torrent"]));
    }
}

const SCENARIO: &str = r#"name = "tiny"

[torrent]
size = "1 MiB"

[[group]]
name = "seed"
role = "seed"
up = "1 MiB/s"
down = "1 MiB/s"

[[group]]
name = "home"
role = "leecher"
count = 4
up = "2 Mbit/s"
down = "20 Mbit/s"
picker = "random"

[expect]
"completion.max" = "<= 1.6 x bound"
"#;

#[test]
fn scenarios_are_checked() {
    let dir = dir();
    let at = dir.path();
    fs::write(at.join("tiny.toml"), SCENARIO).expect("written");
    assert_snapshot!("check_ok", shown(at, &["check", "tiny.toml"]));
    for (name, from, to) in [
        ("a misspelt key", "picker =", "pickr ="),
        ("a missing unit", r#""1 MiB""#, r#""1""#),
        ("an unknown strategy", r#""random""#, r#""rarest-frist""#),
        ("a negative count", "count = 4", "count = -4"),
        ("an impossible expectation", "<= 1.6 x bound", "< 1 x bound"),
    ] {
        assert!(SCENARIO.contains(from));
        fs::write(at.join("tiny.toml"), SCENARIO.replacen(from, to, 1)).expect("written");
        let name = format!("check_{}", name.replace(' ', "_"));
        assert_snapshot!(name, shown(at, &["check", "tiny.toml"]));
    }
}

#[test]
fn the_schema_that_is_printed_is_the_committed_one() {
    let dir = dir();
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/schema.json");
    let committed = fs::read_to_string(schema).expect("the schema");
    let printed = run(dir.path(), &["check", "--schema"]).out;
    // Not compared by `assert_eq!`, which would print both.
    let mut lines = printed.lines().zip(committed.lines());
    let differs = lines.find(|(printed, committed)| printed != committed);
    assert_eq!(
        differs, None,
        "to write it: skep check --schema > scenarios/schema.json"
    );
    assert_eq!(printed.len(), committed.len(), "one has more lines");
}

//! Processes that are killed and disks that are full: what was verified is kept, nothing verified is
//! fetched twice, and the same command goes on.
//!
//! Every process takes any free port and says which; moments are chosen by what is on disk.
#![cfg(unix)]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "other processes run on the wall clock"
)]

mod support;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::Value;
use support::{Ended, Skep, until};
use tempfile::TempDir;

const MIB: u64 = 1024 * 1024;

/// Times that the getter is killed.
const KILLS: u64 = 20;

/// Bytes of the content.
const CONTENT: u64 = 64 * MIB;

/// What the seed sends per second, so that no more is on its way than the limit's burst of 250 ms.
const UPLOAD: u64 = 16_000_000;

/// Bytes of a piece.
const PIECE: u64 = 256 * 1024;

/// What one kill may cost: the blocks that are on their way, and those of pieces that are not whole
/// yet, of which one seed leaves one or two.
const UNSYNCED_MAX: u64 = UPLOAD / 4 + 2 * PIECE;

/// A directory with `film.bin`, its metainfo file, a tracker and a seed.
struct Scene {
    dir: TempDir,
    _tracker: Skep,
    seed: Skep,
}

impl Scene {
    fn new(bytes: u64) -> Scene {
        let dir = tempfile::tempdir().expect("a directory");
        let at = dir.path();
        let mut tracker = Skep::start(at, "track", &["track", "--listen", "127.0.0.1:0"]);
        let url = tracker.says("announce URL: ");
        fs::write(
            at.join("film.bin"),
            support::content(usize::try_from(bytes).expect("fits memory")),
        )
        .expect("written");
        let create = ["torrent", "create", "film.bin", "-o", "film.torrent"];
        let more = ["--announce", &url, "--piece", "256KiB"];
        let made = Skep::run(at, "create", &[&create[..], &more].concat());
        assert_eq!(made.code, Some(0), "{made:?}");
        let limit = format!("{UPLOAD} B/s");
        let seed = ["seed", "film.torrent", "--data", "film.bin", "--json"];
        let limited = [&seed[..], &["--upload-limit", &limit]].concat();
        let mut seed = Skep::start(at, "seed", &limited);
        seed.says("seeding film.bin");
        Scene {
            dir,
            _tracker: tracker,
            seed,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn get(&self, more: &[&str]) -> Skep {
        let args = [&["get", "film.torrent", "--dir", "home"], more].concat();
        Skep::start(self.dir.path(), "get", &args)
    }

    /// Ends the seed; what it has sent, bytes.
    fn given(self) -> u64 {
        self.seed.signal("INT");
        json(&self.seed.ended())["uploaded"]
            .as_u64()
            .expect("bytes")
    }
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

/// Bytes that a file takes on disk: holes do not count.
fn taken(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.blocks() * 512)
}

fn same(a: &Path, b: &Path) -> bool {
    fs::read(a).expect("readable") == fs::read(b).expect("readable")
}

#[test]
fn a_getter_killed_twenty_times_fetches_nothing_verified_twice() {
    let scene = Scene::new(CONTENT);
    fs::create_dir(scene.path("home")).expect("a directory");
    let part = scene.path("home/film.bin.part");
    let mut rng = ChaCha8Rng::seed_from_u64(0x0005_1c11);
    let mut kept = 0;
    let mut table = String::from("kill   aim MiB  on disk MiB  verified MiB\n");
    for kill in 0..KILLS {
        // Random moments, some of them before the first block, most of them while blocks arrive.
        let aim = CONTENT / (KILLS + 12) * kill + rng.next_u64() % (CONTENT / 16);
        let late = Duration::from_micros(rng.next_u64() % 3000);
        let getter = scene.get(&[]);
        let began = Instant::now();
        // Look often: a wait of milliseconds is a MiB.
        while taken(&part) < aim && !scene.path("home/film.bin").exists() {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "in vain: {aim} on disk"
            );
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(late);
        getter.signal("KILL");
        assert_eq!(getter.ended().code, None, "killed");
        assert!(
            !scene.path("home/film.bin").exists(),
            "it must not have finished: {table}"
        );
        let verify = [
            "torrent",
            "verify",
            "film.torrent",
            "--dir",
            "home",
            "--json",
        ];
        let verified = json(&Skep::run(scene.dir.path(), "verify", &verify));
        let verified = verified["pieces_verified"].as_u64().expect("pieces") * PIECE;
        assert!(
            verified >= kept,
            "nothing verified is lost: {table}{verified}"
        );
        kept = verified;
        let mib = |bytes: u64| bytes as f64 / MIB as f64;
        let row = (mib(aim), mib(taken(&part)), mib(verified));
        writeln!(
            table,
            "{:4}  {:8.1}  {:11.1}  {:12.1}",
            kill + 1,
            row.0,
            row.1,
            row.2
        )
        .expect("text");
    }
    let last = scene.get(&["--json"]).ended();
    assert_eq!(last.code, Some(0), "{last:?}");
    assert!(same(&scene.path("film.bin"), &scene.path("home/film.bin")));
    assert!(!part.exists());
    assert_eq!(
        json(&last)["downloaded"],
        CONTENT - kept,
        "nothing verified is fetched"
    );
    let sent = scene.given();
    let over = sent.saturating_sub(CONTENT);
    println!("{table}content {CONTENT}, sent by the seed {sent}: {over} over in {KILLS} kills");
    assert!(sent >= CONTENT, "the seed was the only source");
    assert!(
        over <= KILLS * UNSYNCED_MAX,
        "{table}{over} bytes were sent twice"
    );
}

#[test]
fn after_a_clean_end_nothing_is_checked_again() {
    let scene = Scene::new(4 * MIB);
    fs::create_dir(scene.path("home")).expect("a directory");
    let first = scene.get(&["--json"]).ended();
    assert_eq!(first.code, Some(0), "{first:?}");
    let hidden: Vec<_> = fs::read_dir(scene.path("home"))
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name())
        .filter(|name| name.to_string_lossy().ends_with(".resume"))
        .collect();
    assert_eq!(hidden.len(), 1);
    // Content that changed while its stamp did not is what resume data cannot see, and a check does.
    let film = scene.path("home/film.bin");
    let stamp = fs::metadata(&film)
        .and_then(|found| found.modified())
        .expect("a stamp");
    let mut bytes = fs::read(&film).expect("there");
    bytes[MIB as usize] ^= 1;
    fs::write(&film, bytes).expect("written");
    let file = fs::File::options().write(true).open(&film).expect("opened");
    file.set_modified(stamp).expect("set");
    drop(file);
    let trusted = scene.get(&["--json"]).ended();
    assert_eq!(trusted.code, Some(0), "{trusted:?}");
    let checked = scene.get(&["--json", "--recheck"]).ended();
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert!(checked.err.contains("is not the torrent's"), "{checked:?}");
    let verify = ["torrent", "verify", "film.torrent", "--dir", "home"];
    let verify = Skep::run(scene.dir.path(), "verify", &verify);
    assert_eq!(verify.code, Some(1));
    assert!(
        verify.out.contains("wrong       93%") && verify.out.contains("15 of 16 pieces"),
        "{verify:?}"
    );
}

#[test]
fn two_processes_do_not_write_the_same_files() {
    let scene = Scene::new(MIB);
    fs::create_dir(scene.path("home")).expect("a directory");
    let mut first = scene.get(&["--seed-for", "1 h"]);
    first.says("getting film.bin");
    let args = ["get", "film.torrent", "--dir", "home"];
    until("the first seeds", || {
        scene.path("home/film.bin").exists().then_some(())
    });
    let second = Skep::run(scene.dir.path(), "second", &args);
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(
        second.err.contains("another process is at work"),
        "{second:?}"
    );
    first.signal("KILL");
    drop(first);
    let third = Skep::run(scene.dir.path(), "third", &args);
    assert_eq!(
        third.code,
        Some(0),
        "a lock ends with its process: {third:?}"
    );
}

/// Runs a script in which `$1` is the program.
fn script(dir: &Path, before: &[&str], text: &str) -> Ended {
    let (sh, args) = (
        before.first().unwrap_or(&"sh"),
        before.get(1..).unwrap_or(&[]),
    );
    let mut command = Command::new(sh);
    command.args(args);
    if !before.is_empty() {
        command.arg("sh");
    }
    let skep = env!("CARGO_BIN_EXE_skep");
    let output = command
        .args(["-c", text, "sh", skep])
        .current_dir(dir)
        .output();
    let output = output.expect("a shell runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Ended {
        code: output.status.code(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

#[test]
fn a_file_that_may_not_grow_is_a_full_disk_and_the_same_command_goes_on() {
    let scene = Scene::new(8 * MIB);
    fs::create_dir(scene.path("home")).expect("a directory");
    // 1,000 blocks of 512 or 1,024 bytes, whatever this shell counts in.
    let limited = "trap '' XFSZ; ulimit -f 1000; exec \"$1\" get film.torrent --dir home --json";
    let ended = script(scene.dir.path(), &[], limited);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended
            .err
            .contains("the disk is full: 8 MiB more needed in home"),
        "{ended:?}"
    );
    assert!(
        ended.err.contains("run the same command again"),
        "{ended:?}"
    );
    let ended = scene.get(&["--json"]).ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(same(&scene.path("film.bin"), &scene.path("home/film.bin")));
}

#[test]
fn a_disk_that_becomes_full_pauses_with_a_clear_message_and_blames_nobody() {
    let scene = Scene::new(24 * MIB);
    // A small disk in a name space of its own: nobody but root may mount elsewhere.
    let small = ["unshare", "--user", "--map-root-user", "--mount"];
    let probe = script(
        scene.dir.path(),
        &small,
        "mount -t tmpfs -o size=1m none /mnt",
    );
    if probe.code != Some(0) {
        println!(
            "skipped: no small disk can be mounted here: {}",
            probe.err.trim()
        );
        return;
    }
    let text = "mkdir -p home && mount -t tmpfs -o size=8m none home || exit 99
        \"$1\" get film.torrent --dir home --json > first.json 2> first.err; echo $? > first.code
        \"$1\" get film.torrent --dir home --preallocate full 2> full.err; echo $? > full.code
        mount -o remount,size=64m none home
        \"$1\" get film.torrent --dir home --json > second.json 2> second.err; echo $? > second.code
        cmp film.bin home/film.bin";
    let ended = script(scene.dir.path(), &small, text);
    let read = |name: &str| fs::read_to_string(scene.path(name)).expect(name);
    assert_eq!(
        ended.code,
        Some(0),
        "{ended:?} {} {}",
        read("first.err"),
        read("second.err")
    );
    for name in ["first", "full"] {
        let said = read(&format!("{name}.err"));
        assert_eq!(read(&format!("{name}.code")).trim(), "1", "{said}");
        assert!(
            said.contains("the disk is full: ") && said.contains("more needed in home"),
            "{said}"
        );
        assert!(
            said.contains("verified pieces are kept; make room"),
            "{said}"
        );
    }
    let first: Value = serde_json::from_str(&read("first.json")).expect("json");
    assert_eq!(first["complete"], false);
    for peer in first["peers"].as_array().expect("peers") {
        assert_eq!(peer["banned"], false);
    }
    assert_eq!(read("second.code").trim(), "0", "{}", read("second.err"));
    let second: Value = serde_json::from_str(&read("second.json")).expect("json");
    let (kept, rest) = (first["downloaded"].as_u64(), second["downloaded"].as_u64());
    let (kept, rest) = (kept.expect("bytes"), rest.expect("bytes"));
    println!("kept {kept}, then fetched {rest} of {}", 24 * MIB);
    assert!(
        rest <= 20 * MIB,
        "what was verified is kept: {kept} and {rest}"
    );
}

#[test]
fn many_files_need_few_handles() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = dir.path();
    let mut tracker = Skep::start(at, "track", &["track", "--listen", "127.0.0.1:0"]);
    let url = tracker.says("announce URL: ");
    fs::create_dir(at.join("many")).expect("a folder");
    for number in 0..300_u32 {
        let bytes = vec![number.to_le_bytes()[0]; 1000];
        fs::write(at.join(format!("many/{number}")), bytes).expect("written");
    }
    let create = [
        "torrent",
        "create",
        "many",
        "-o",
        "many.torrent",
        "--announce",
        &url,
    ];
    assert_eq!(Skep::run(at, "create", &create).code, Some(0));
    let mut seed = Skep::start(at, "seed", &["seed", "many.torrent", "--data", "many"]);
    seed.says("seeding many");
    fs::create_dir(at.join("home")).expect("a directory");
    // Fewer than it would like to keep open.
    let limited = "ulimit -n 30; exec \"$1\" get many.torrent --dir home";
    let ended = script(at, &[], limited);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for number in 0..300_u32 {
        let name = format!("many/{number}");
        assert!(
            same(&at.join(&name), &at.join("home").join(&name)),
            "{name}"
        );
    }
}

#[test]
fn a_seed_that_is_told_to_checks_again_and_serves_no_piece_that_changed() {
    let mut scene = Scene::new(4 * MIB);
    let at = scene.dir.path();
    let film = at.join("film.bin");
    let mut changed = fs::read(&film).expect("there");
    let whole = changed.clone();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    fs::write(&film, &changed).expect("written");
    scene.seed.signal("USR1");
    scene.seed.says("piece 15 is no longer on the disk");
    let out = at.join("out");
    fs::create_dir(&out).expect("a directory");
    let get = Skep::start(at, "get", &["get", "film.torrent", "--dir", "out"]);
    let good = 15 * usize::try_from(PIECE).expect("fits memory");
    until("all that is still true", || {
        let part = fs::read(out.join("film.bin.part")).ok()?;
        (part.get(..good)? == &whole[..good]).then_some(())
    });
    get.signal("INT");
    let ended = get.ended();
    assert!(ended.err.contains("256 KiB missing"), "{ended:?}");
    assert!(!ended.err.contains("failed its hash"), "{ended:?}");
    // A seed that lost content does not end as if all were well.
    scene.seed.signal("INT");
    let ended = scene.seed.ended();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.err.contains("1 piece no longer on the disk"),
        "{ended:?}"
    );
}

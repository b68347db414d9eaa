//! Direct download between processes: `skep serve` and `skep fetch` on loopback, and raw requests to the server.
#![cfg(unix)]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "other processes run on the wall clock"
)]

mod support;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use support::{Ended, Skep, content, until};
use tempfile::TempDir;

const BYTES: usize = 3 * 1024 * 1024 + 17;

/// A file that has not been changed for a while.
fn put(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("written");
    let old = SystemTime::now() - Duration::from_secs(3600);
    let file = fs::File::options().write(true).open(path).expect("opened");
    file.set_modified(old).expect("its time set");
}

struct Scene {
    dir: TempDir,
}

impl Scene {
    /// `files/film.mkv`, and an empty `got`.
    fn new() -> Scene {
        let scene = Scene {
            dir: tempfile::tempdir().expect("a directory"),
        };
        for dir in ["files/sub", "got", "outside"] {
            fs::create_dir_all(scene.path(dir)).expect("a directory");
        }
        put(&scene.path("files/film.mkv"), &content(BYTES));
        scene
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// A server, and its address.
    fn serve(&self, more: &[&str]) -> (Skep, String) {
        self.serve_at("127.0.0.1:0", more)
    }

    fn serve_at(&self, at: &str, more: &[&str]) -> (Skep, String) {
        let mut args = vec!["serve", "files", "--listen", at];
        args.extend(more);
        let mut server = Skep::start(self.dir.path(), "serve", &args);
        let rest = server.says("at http://");
        (server, rest.trim_end_matches('/').to_owned())
    }

    fn fetch_args<'a>(url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let mut args = vec!["fetch", url, "--dir", "got", "--json"];
        args.extend(more);
        args
    }

    fn fetch(&self, url: &str, more: &[&str]) -> Ended {
        Skep::run(self.dir.path(), "fetch", &Scene::fetch_args(url, more))
    }

    /// Starts a fetch, and interrupts it when something of it is there.
    fn interrupted(&self, url: &str, signal: &str) -> Ended {
        let fetch = Skep::start(self.dir.path(), "broken", &Scene::fetch_args(url, &[]));
        until("a part is there", || {
            let part = fs::metadata(self.path("got/film.mkv.part")).ok()?;
            (part.len() > 0).then_some(())
        });
        fetch.signal(signal);
        fetch.ended()
    }

    fn is_got(&self) {
        let got = fs::read(self.path("got/film.mkv")).expect("it is there");
        assert!(got == fs::read(self.path("files/film.mkv")).expect("it is there"));
        let names: Vec<_> = fs::read_dir(self.path("got"))
            .expect("a directory")
            .collect();
        assert_eq!(names.len(), 1, "nothing else is left: {names:?}");
    }
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

#[test]
fn a_file_arrives_byte_identical_and_is_never_replaced() {
    let scene = Scene::new();
    let (server, at) = scene.serve(&[]);
    let url = format!("http://{at}/film.mkv");
    let ended = scene.fetch(&url, &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    scene.is_got();
    let report = json(&ended);
    assert_eq!(report["complete"], true);
    assert_eq!([&report["bytes"], &report["received"]], [BYTES, BYTES]);
    let again = scene.fetch(&url, &[]);
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.err.contains("already there"), "{again:?}");
    assert_eq!(json(&again)["complete"], false);
    let other = scene.fetch(&url, &["--sha256", &"00".repeat(32)]);
    assert_eq!(other.code, Some(1), "{other:?}");
    assert!(other.err.contains("another SHA-256"), "{other:?}");
    assert_eq!(json(&other)["complete"], false);
    scene.is_got();
    server.signal("INT");
    let ended = server.ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.out.contains("200  GET /film.mkv: 3.0 MiB in "),
        "{ended:?}"
    );
}

#[test]
fn interrupted_it_goes_on_where_it_was() {
    for signal in ["INT", "KILL"] {
        let scene = Scene::new();
        let (slow, at) = scene.serve(&["--upload-limit", "1 MB/s"]);
        let url = format!("http://{at}/film.mkv");
        let broken = scene.interrupted(&url, signal);
        let code = (signal == "INT").then_some(1);
        assert_eq!(broken.code, code, "{broken:?}");
        assert!(scene.path("got/film.mkv.part").exists() && !scene.path("got/film.mkv").exists());
        let ended = scene.fetch(&url, &[]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        scene.is_got();
        let report = json(&ended);
        if signal == "INT" {
            let from = report["resumed_from"].as_u64().expect("it was resumed");
            assert!(from > 0);
            assert_eq!(report["received"], BYTES as u64 - from);
        }
        drop(slow);
    }
}

#[test]
fn a_server_that_goes_away_and_comes_back_is_waited_for() {
    let scene = Scene::new();
    let (server, at) = scene.serve(&["--upload-limit", "1 MB/s"]);
    let url = format!("http://{at}/film.mkv");
    let mut fetch = Skep::start(scene.dir.path(), "fetch", &Scene::fetch_args(&url, &[]));
    until("a part is there", || {
        let part = fs::metadata(scene.path("got/film.mkv.part")).ok()?;
        (part.len() > 0).then_some(())
    });
    drop(server);
    fetch.says("tried again in");
    let _server = scene.serve_at(&at, &[]);
    let ended = fetch.ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    scene.is_got();
    let report = json(&ended);
    assert!(report["retries"].as_u64() > Some(0), "{report}");
    assert_eq!(
        [&report["received"], &report["started_over"]],
        [BYTES, 0],
        "each byte once"
    );
}

#[test]
fn a_file_that_has_changed_is_fetched_from_its_start() {
    let scene = Scene::new();
    let (_server, at) = scene.serve(&["--upload-limit", "1 MB/s"]);
    let url = format!("http://{at}/film.mkv");
    scene.interrupted(&url, "INT");
    let mut other = content(BYTES);
    other[5] ^= 1;
    fs::write(scene.path("files/film.mkv"), other).expect("written");
    let ended = scene.fetch(&url, &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    scene.is_got();
    let report = json(&ended);
    assert_eq!([&report["started_over"], &report["received"]], [1, BYTES]);
    assert!(ended.err.contains("another file there now"), "{ended:?}");
}

#[test]
fn only_the_file_with_the_digest_gets_its_name() {
    let scene = Scene::new();
    fs::write(scene.path("files/abc"), "abc").expect("written");
    let (_server, at) = scene.serve(&[]);
    let url = format!("http://{at}/abc");
    let wrong = scene.fetch(&url, &["--sha256", &"00".repeat(32)]);
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert!(wrong.err.contains("SHA-256"), "{wrong:?}");
    assert!(!scene.path("got/abc").exists() && scene.path("got/abc.part").exists());
    for _ in 0..2 {
        let right = scene.fetch(&url, &["--sha256", digest]);
        assert_eq!(right.code, Some(0), "{right:?}");
    }
    assert_eq!(
        fs::read(scene.path("got/abc")).expect("it is there"),
        b"abc"
    );
}

#[cfg(unix)]
#[test]
fn a_name_from_the_url_does_not_steer_the_terminal() {
    let scene = Scene::new();
    fs::write(scene.path("files/\u{202e}gpj.exe"), "abc").expect("written");
    let (_server, at) = scene.serve(&[]);
    let url = format!("http://{at}/%E2%80%AEgpj.exe");
    for code in [0, 1] {
        let ended = scene.fetch(&url, &[]);
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert!(ended.err.contains("\\u{202e}gpj.exe"), "{ended:?}");
        assert!(!ended.err.contains('\u{202e}'), "{ended:?}");
    }
}

#[test]
fn what_cannot_be_fetched_is_said_and_leaves_nothing() {
    let scene = Scene::new();
    let (_server, at) = scene.serve(&[]);
    for (url, code, says) in [
        (format!("http://{at}/nothing"), 1, "404"),
        (format!("http://{at}/"), 64, "--name"),
        (
            "https://127.0.0.1/a".to_owned(),
            64,
            "https:// is not supported",
        ),
    ] {
        let ended = scene.fetch(&url, &[]);
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert!(ended.err.contains(says), "{ended:?}");
        // What clap refuses has its own advice.
        assert!(ended.err.contains("help"), "{ended:?}");
    }
    let refused = scene.fetch("http://127.0.0.1:1/a", &["--retries", "0"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("refused"), "{refused:?}");
    assert!(
        refused.err.contains("help: check host and port"),
        "{refused:?}"
    );
    assert_eq!(
        fs::read_dir(scene.path("got"))
            .expect("a directory")
            .count(),
        0
    );
}

/// What the server answers to these bytes, until it closes the connection.
fn raw(at: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(at).expect("connected");
    // A server that has heard enough does not listen to the rest.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{error}"),
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(at: &str, path: &str, fields: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n");
    raw(at, request.as_bytes())
}

#[test]
fn nothing_outside_the_directory_is_served() {
    let scene = Scene::new();
    put(&scene.path("outside/secret"), b"the secret");
    put(&scene.path("files/.hidden"), b"the secret");
    put(&scene.path("files/sub/inside"), b"inside");
    let link = |target: &Path, name: &str| symlink(target, scene.path("files").join(name));
    link(&scene.path("outside/secret"), "absolute").expect("a link");
    link(Path::new("../outside/secret"), "relative").expect("a link");
    link(Path::new("../outside"), "folder").expect("a link");
    link(Path::new("sub/inside"), "good").expect("a link");
    let (_server, at) = scene.serve(&[]);
    assert!(
        get(&at, "/good", "").ends_with("\r\n\r\ninside"),
        "a link inside is followed"
    );
    let secret = scene.path("outside/secret");
    let absolute = format!("/{}", secret.display());
    let encoded = absolute.replace('/', "%2f");
    for path in [
        "/../outside/secret",
        "/sub/../../outside/secret",
        "/%2e%2e/outside/secret",
        "/..%2foutside%2fsecret",
        "/sub/%2e%2e%2f%2e%2e/outside/secret",
        "/..\\outside\\secret",
        "/..%5coutside%5csecret",
        "/absolute",
        "/relative",
        "/folder/",
        "/folder/secret",
        "/.hidden",
        "/%2ehidden",
        "/good%00",
        &absolute,
        &encoded,
    ] {
        let answer = get(&at, path, "");
        assert!(answer.starts_with("HTTP/1.1 4"), "{path}: {answer}");
        assert!(!answer.contains("the secret"), "{path}: {answer}");
    }
    let listing = get(&at, "/", "");
    for (name, listed) in [
        ("good", true),
        ("sub/", true),
        ("absolute", false),
        ("folder", false),
        ("hidden", false),
    ] {
        assert_eq!(listing.contains(name), listed, "{name}: {listing}");
    }
}

#[test]
fn a_head_of_a_mebibyte_is_refused_and_the_server_lives_on() {
    let scene = Scene::new();
    let (_server, at) = scene.serve(&[]);
    let long = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "x".repeat(1 << 20)
    );
    let answer = raw(&at, long.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let answer = raw(&at, &[0; 100_000]);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 400 "),
        "{answer}"
    );
    let answer = get(&at, "/film.mkv", "Range: bytes=-1\r\n");
    assert!(answer.starts_with("HTTP/1.1 206 "), "{answer}");
    assert!(answer.contains(&format!(
        "content-range: bytes {0}-{0}/{BYTES}\r\n",
        BYTES - 1
    )));
}

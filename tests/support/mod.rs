//! Owns the running of `skep` as a process of its own, with its output in files.
//!
//! Invariant: no process outlives its test, and no wait is longer than [`PATIENCE`].

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks until there is something to see.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(began.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// A running `skep`.
pub struct Skep {
    name: String,
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

/// What a process left behind.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Skep {
    /// Starts it in `dir`; `name` tells its output from that of others.
    pub fn start(dir: &Path, name: &str, args: &[&str]) -> Skep {
        let (out, err) = (
            dir.join(name).with_extension("out"),
            dir.join(name).with_extension("err"),
        );
        let child = Command::new(env!("CARGO_BIN_EXE_skep"))
            .args(args)
            .current_dir(dir)
            // Neither a terminal nor the environment has a say in the output.
            .env_clear()
            .stdin(Stdio::null())
            .stdout(File::create(&out).expect("a file"))
            .stderr(File::create(&err).expect("a file"))
            .spawn();
        Skep {
            name: name.to_owned(),
            child: child.expect("skep starts"),
            out,
            err,
        }
    }

    /// Runs it to its end.
    pub fn run(dir: &Path, name: &str, args: &[&str]) -> Ended {
        Skep::start(dir, name, args).ended()
    }

    /// Everything it has said so far.
    pub fn said(&self) -> String {
        let read = |path| fs::read_to_string(path).expect("text");
        read(&self.out) + &read(&self.err)
    }

    /// Waits until it says this; returns the rest of the line.
    pub fn says(&mut self, words: &str) -> String {
        let name = self.name.clone();
        until(&format!("{name} says {words:?}"), || {
            let said = self.said();
            let rest = said.split_once(words).map(|(_, rest)| rest);
            // A line is whole when the next one begins.
            let line = rest.and_then(|rest| rest.split_once('\n'));
            if line.is_none() {
                let ended = self.child.try_wait().expect("its state");
                assert!(ended.is_none(), "{name} ended: {said}");
            }
            line.map(|(line, _)| line.to_owned())
        })
    }

    /// Sends a signal by its name.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), &pid])
            .status();
        assert!(sent.expect("kill runs").success());
    }

    /// Waits for its end.
    pub fn ended(mut self) -> Ended {
        let status = until(&format!("{} ends", self.name), || {
            self.child.try_wait().expect("its state")
        });
        let read = |path| fs::read_to_string(path).expect("text");
        Ended {
            code: status.code(),
            out: read(&self.out),
            err: read(&self.err),
        }
    }
}

impl Drop for Skep {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! Owns one process of a test: its output in files, its signals, its end.
//!
//! Invariant: it does not outlive its value, and is ended by its own id. When its test fails, the end
//! of what it said is shown.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::until;

/// Bytes of a log that are shown when a test fails.
const TAIL_BYTES: usize = 3000;

/// A running process.
pub struct Process {
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

impl Process {
    /// Starts it in `dir`; `name` tells its output from that of others.
    pub fn start(dir: &Path, name: &str, mut command: Command) -> Process {
        let (out, err) = (
            dir.join(name).with_extension("out"),
            dir.join(name).with_extension("err"),
        );
        let child = command
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(File::create(&out).expect("a file"))
            .stderr(File::create(&err).expect("a file"))
            .spawn();
        Process {
            name: name.to_owned(),
            child: child.unwrap_or_else(|error| panic!("{name} starts: {error}")),
            out,
            err,
        }
    }

    /// Everything it has said so far.
    pub fn said(&self) -> String {
        let read = |path| String::from_utf8_lossy(&fs::read(path).expect("a file")).into_owned();
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

    /// Waits for its end; its input ends at once.
    pub fn ended(mut self) -> Ended {
        drop(self.child.stdin.take());
        let status = until(&format!("{} ends", self.name), || {
            self.child.try_wait().expect("its state")
        });
        let read = |path| String::from_utf8_lossy(&fs::read(path).expect("a file")).into_owned();
        Ended {
            code: status.code(),
            out: read(&self.out),
            err: read(&self.err),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let said = self.said();
            let tail = said.len().saturating_sub(TAIL_BYTES);
            let tail = said.ceil_char_boundary(tail);
            eprintln!("--- the end of what {} said:\n{}", self.name, &said[tail..]);
        }
    }
}

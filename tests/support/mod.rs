//! Owns what tests with processes share: the running of `skep` as a process of its own, waiting, and
//! content to move.
//!
//! Invariant: no process outlives its test, and no wait is longer than [`PATIENCE`].

mod process;

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

pub use process::{Ended, Process};

/// The longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(180);

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

/// Bytes that do not repeat.
pub fn content(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33).to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

/// A running `skep`.
pub struct Skep(Process);

impl Skep {
    /// Starts it in `dir`; `name` tells its output from that of others.
    pub fn start(dir: &Path, name: &str, args: &[&str]) -> Skep {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        // Neither a terminal nor the environment has a say in the output.
        command.args(args).env_clear();
        Skep(Process::start(dir, name, command))
    }

    /// Runs it to its end.
    pub fn run(dir: &Path, name: &str, args: &[&str]) -> Ended {
        Skep::start(dir, name, args).ended()
    }

    /// Waits for its end.
    pub fn ended(self) -> Ended {
        self.0.ended()
    }
}

impl Deref for Skep {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.0
    }
}

impl DerefMut for Skep {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.0
    }
}

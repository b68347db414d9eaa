//! Owns the finished runs of a comparison: one file each, below `runs/` of its folder.
//!
//! Invariant: a file appears whole or not at all, and counts only for exactly what it is the run of: the digest in it
//! is of the expanded plan (so of the scenario with everything that was set, of the files it names, and of the seed)
//! and of the program itself, strategies of the user's own included. Whatever else lies there is run again.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use skep_reports::compare::Record;
use skep_sim::own;
use skep_sim::scenario::Plan;

use crate::failure::{Exit, Failure};
use crate::whole;

/// Longest part of a file's name that the variant gives.
const NAME_MAX: usize = 100;
/// How the names of files begin that were being written when the program was killed.
const UNFINISHED: &str = ".tmp";

/// The finished runs of one folder. One process at a time has them.
pub struct Kept {
    folder: PathBuf,
    /// Digest of the program.
    program: String,
    /// Held as long as this lives.
    _lock: File,
}

/// One file.
#[derive(Serialize, Deserialize)]
struct Finished {
    digest: String,
    run: Record,
}

impl Kept {
    /// Those of this folder, which is made if it is not there.
    pub fn open(dir: &Path) -> Result<Kept, Failure> {
        let folder = dir.join("runs");
        let cannot = |what: &str, error: io::Error| {
            Failure::new(Exit::Wrong, format!("cannot {what}: {error}"))
        };
        let shown = folder.display();
        fs::create_dir_all(&folder).map_err(|e| cannot(&format!("make {shown}"), e))?;
        let lock = folder.join(".lock");
        let lock = File::create(lock).map_err(|e| cannot(&format!("write below {shown}"), e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let text = format!("another comparison is being made in {}", dir.display());
                return Err(Failure::new(Exit::Wrong, text));
            }
            Err(TryLockError::Error(e)) => return Err(cannot(&format!("lock {shown}"), e)),
        }
        let files = fs::read_dir(&folder).map_err(|e| cannot(&format!("read {shown}"), e))?;
        for file in files.flatten() {
            if file.file_name().to_string_lossy().starts_with(UNFINISHED) {
                fs::remove_file(file.path()).map_err(|e| cannot(&format!("clear {shown}"), e))?;
            }
        }
        Ok(Kept {
            folder,
            program: program()?,
            _lock: lock,
        })
    }

    /// What the run of this plan depends on, in short.
    pub fn digest(&self, plan: &Plan) -> String {
        // What is of the user's own is code, and code is in the program.
        let plan = Plan {
            own: &own::NONE,
            ..plan.clone()
        };
        hex(Sha256::digest(format!("{}\n{plan:?}", self.program)))
    }

    /// The run of that name, if it is the one of that digest.
    pub fn find(&self, name: &str, digest: &str) -> Option<Record> {
        let text = fs::read_to_string(self.path(name)).ok()?;
        let finished: Finished = serde_json::from_str(&text).ok()?;
        (finished.digest == digest).then_some(finished.run)
    }

    /// Keeps a run.
    pub fn keep(&self, name: &str, digest: String, run: Record) -> Result<Record, Failure> {
        let finished = Finished { digest, run };
        let text = serde_json::to_string(&finished).expect("numbers and words");
        whole::replace(&self.path(name), format!("{text}\n"))?;
        Ok(finished.run)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }
}

/// What the files of these variants are called, without the seed: their labels as far as every file system takes them,
/// with a number where two would be the same.
pub fn names<'l>(labels: impl Iterator<Item = &'l str>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for label in labels {
        let mut name = String::new();
        for c in label.chars() {
            let plain = c.is_ascii_alphanumeric() || c == '.';
            match plain {
                true if name.len() < NAME_MAX => name.push(c.to_ascii_lowercase()),
                false if !name.ends_with('-') && !name.is_empty() => name.push('-'),
                _ => {}
            }
        }
        let name = name.trim_end_matches('-');
        let free = |name: &String| !names.contains(name);
        let numbered = (2..).map(|n| format!("{name}-{n}"));
        let mut all = std::iter::once(name.to_owned()).chain(numbered);
        let name = all.find(free).expect("numbers do not end");
        names.push(name);
    }
    names
}

/// The digest of the program that runs.
fn program() -> Result<String, Failure> {
    let read = std::env::current_exe().and_then(|path| {
        let (mut file, mut hasher) = (File::open(path)?, Sha256::new());
        let mut block = vec![0; 1 << 20];
        loop {
            match file.read(&mut block)? {
                0 => return Ok(hex(hasher.finalize())),
                read => hasher.update(&block[..read]),
            }
        }
    });
    read.map_err(|error| {
        let text = format!("cannot read this program, whose runs are kept: {error}");
        Failure::new(Exit::Failed, text)
    })
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_for_every_file_system_and_all_different() {
        let labels = [
            "rarest-first, 1 Mbit/s",
            "rarest first, 1 Mbit.s",
            "RAREST-first 1 mbit-s",
            "",
            "../x",
        ];
        let wanted = [
            "rarest-first-1-mbit-s",
            "rarest-first-1-mbit.s",
            "rarest-first-1-mbit-s-2",
            "",
            "..-x",
        ];
        assert_eq!(names(labels.into_iter()), wanted);
        let long = "x".repeat(300);
        assert!(names([long.as_str()].into_iter())[0].len() <= NAME_MAX);
    }
}

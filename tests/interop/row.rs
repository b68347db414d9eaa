//! Owns a row of the table: what it needs, what became of it, and the table itself.
//!
//! Invariant: a row that did not run says why. With `SKEP_REQUIRE_CLIENTS=1` a missing client fails its row;
//! only network namespaces may be missing.

use std::env;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use crate::clients::{Client, installed, python};
use crate::place::{Lan, Place};

/// What a row needs.
#[derive(Clone, Copy)]
pub enum Need {
    /// A program in the path.
    Program(&'static str),
    /// A Python with libtorrent.
    Libtorrent,
    /// An address that is not loopback.
    OwnAddress,
    /// Network namespaces.
    Namespaces,
}

impl Need {
    /// What this client needs to be started.
    pub fn client(client: Client) -> Need {
        match client {
            Client::Aria2 => Need::Program("aria2c"),
            Client::Transmission => Need::Program("transmission-daemon"),
            Client::Libtorrent => Need::Libtorrent,
        }
    }

    /// Why it is not met.
    fn missing(self) -> Option<String> {
        let unless = |met: bool, why: String| (!met).then_some(why);
        match self {
            Need::Program(name) => unless(installed(name), format!("{name} is not installed")),
            Need::Libtorrent => unless(python().is_some(), "no Python with libtorrent".into()),
            Need::OwnAddress => Place::own().err(),
            Need::Namespaces => Lan::new(1).err(),
        }
    }

    fn may_be_missing(self) -> bool {
        match self {
            Need::Namespaces => true,
            _ => env::var_os("SKEP_REQUIRE_CLIENTS").is_none_or(|value| value != "1"),
        }
    }
}

/// What a row has shown.
pub struct Shown {
    /// Bytes of content that arrived and were compared.
    pub bytes: u64,
    /// More than that.
    pub note: String,
}

/// A row.
pub struct Row {
    pub name: String,
    pub needs: Vec<Need>,
    pub run: Box<dyn FnOnce() -> Shown + Send>,
}

enum Fate {
    Skipped(String),
    Passed(Shown, Duration),
    Failed,
}

/// What became of all rows.
#[derive(Clone, Default)]
pub struct Table(Arc<Mutex<Vec<(String, Fate)>>>);

impl Table {
    /// The test of a row, which enters itself here.
    pub fn trial(&self, row: Row) -> Trial {
        let table = self.clone();
        let Row { name, needs, run } = row;
        Trial::test(name.clone(), move || {
            for need in needs {
                let Some(why) = need.missing() else { continue };
                if !need.may_be_missing() {
                    table.enter(name, Fate::Failed);
                    return Err(Failed::from(why));
                }
                println!("skipped: {name}: {why}");
                table.enter(name, Fate::Skipped(why));
                return Ok(());
            }
            let entry = Entry {
                table,
                name,
                fate: Fate::Failed,
            };
            run_timed(entry, run);
            Ok(())
        })
    }

    fn enter(&self, name: String, fate: Fate) {
        let mut rows = self.0.lock().expect("nobody panics while entering");
        rows.push((name, fate));
    }

    /// The table, in the order of the names, and how many rows were skipped.
    pub fn print(&self) {
        let mut rows = self.0.lock().expect("nobody panics while entering");
        if rows.is_empty() {
            return;
        }
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        println!("{:54}{:>12}{:>9}", "row", "MiB", "seconds");
        let mut skipped = 0;
        for (name, fate) in rows.iter() {
            match fate {
                Fate::Skipped(why) => {
                    skipped += 1;
                    println!("{name:54}     skipped: {why}");
                }
                Fate::Failed => println!("{name:54}      FAILED"),
                Fate::Passed(shown, time) => {
                    let mib = shown.bytes as f64 / (1024.0 * 1024.0);
                    let seconds = time.as_secs_f64();
                    println!("{name:54}{mib:12.1}{seconds:9.1}  {}", shown.note);
                }
            }
        }
        println!("{} rows, {skipped} skipped\n", rows.len());
    }
}

/// Enters its fate when it is dropped, also by a panic.
struct Entry {
    table: Table,
    name: String,
    fate: Fate,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let fate = std::mem::replace(&mut self.fate, Fate::Failed);
        self.table.enter(std::mem::take(&mut self.name), fate);
    }
}

fn run_timed(mut entry: Entry, run: Box<dyn FnOnce() -> Shown + Send>) {
    let began = Instant::now();
    let shown = run();
    entry.fate = Fate::Passed(shown, began.elapsed());
}

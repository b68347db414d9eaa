//! Interop: Skep with clients, trackers and metainfo programs that nobody here wrote, as processes of their
//! own. One test per row of the table that is printed at the end: what was transferred, and the time from
//! the start of the first process to the end of the last.
//!
//! `.ci/run` installs what is needed. Elsewhere a row whose programs are missing is skipped, with its
//! reason. Every process is a child that is ended by its own id; every port is a free one.
#![cfg(unix)]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "other processes run on the wall clock"
)]

mod clients;
mod direct;
mod downloads;
mod magnets;
mod mixed;
mod opentracker;
mod place;
mod row;
mod scene;
#[path = "../support/mod.rs"]
mod support;
mod torrent_files;
mod web_seeds;

use std::process::ExitCode;

use libtest_mimic::Arguments;
use row::Table;

/// Rows at a time: they spend most of their time waiting.
const AT_A_TIME: usize = 6;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_A_TIME);
    let table = Table::default();
    let rows = [
        mixed::rows(),
        downloads::rows(),
        magnets::rows(),
        opentracker::rows(),
        torrent_files::rows(),
        direct::rows(),
        web_seeds::rows(),
    ];
    let trials = rows.into_iter().flatten();
    let trials = trials.map(|row| table.trial(row)).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    table.print();
    conclusion.exit_code()
}

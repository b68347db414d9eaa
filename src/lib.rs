//! Skep's command line, as a library: reads the arguments, runs one command, ends with its exit code. A program that
//! brings strategies of its own calls [`main_with`]; `examples/own_strategy.rs` is one.
//!
//! Invariant: whatever happens ends with one of the codes of `Exit`; a panic is a bug in Skep, says so
//! and ends with 70. Results go to stdout, everything that is only for the eye to stderr.

mod args;
mod attacks;
mod bench;
mod check;
mod compare;
mod determinism;
mod failure;
mod humane;
mod own;
mod real;
mod report;
mod run;
mod shell;
mod terminal;
mod torrent;
mod watch;
mod whole;

use std::ffi::OsString;
use std::io::Write;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};
use std::process::ExitCode;

use clap::Parser;
use skep_sim::own::Own;

use args::{Args, Command};
use failure::{Exit, Failure};

/// The whole program: the command of the process's arguments, with these strategies beside Skep's. What `main`
/// returns.
#[must_use]
pub fn main_with(own: &'static Own) -> ExitCode {
    run_with(std::env::args_os(), own)
}

/// The same with arguments as given, the program's name first. Of several calls in one process the first one says what
/// strategies there are.
#[must_use]
pub fn run_with(
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    own: &'static Own,
) -> ExitCode {
    set_hook(Box::new(report_bug));
    own::say(own);
    guarded(|| match Args::try_parse_from(args) {
        Ok(args) => {
            terminal::be_quiet(args.quiet);
            dispatch(&args.command)
        }
        Err(error) => {
            // Help and the version are what was asked for; everything else is a wrong command.
            let exit = if error.use_stderr() {
                Exit::Wrong
            } else {
                Exit::Ok
            };
            // Nobody is left to hear that it could not be printed.
            let _ = error.print();
            Ok(exit)
        }
    })
    .into()
}

fn dispatch(command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::Run(args) => run::run(args),
        Command::Compare(args) => compare::run(args),
        Command::Report(args) => report::run(args),
        Command::Attacks(args) => attacks::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Check(args) => check::run(args),
        Command::Torrent(args::TorrentCommand::Create(args)) => torrent::create::run(args),
        Command::Torrent(args::TorrentCommand::Show(args)) => torrent::show::run(args),
        Command::Torrent(args::TorrentCommand::Verify(args)) => torrent::verify::run(args),
        Command::Track(args) => real::track::run(args),
        Command::Seed(args) => real::seed::run(args),
        Command::Get(args) => real::get::run(args),
        Command::Scrape(args) => real::scrape::run(args),
        Command::Serve(args) => real::serve::run(args),
        Command::Fetch(args) => real::fetch::run(args),
        Command::Completions(args) => shell::completions(args),
        Command::Man(args) => shell::man(args),
    }
}

/// Runs a command; draws what went wrong, and turns a panic into its exit code.
fn guarded(command: impl FnOnce() -> Result<Exit, Failure>) -> Exit {
    match catch_unwind(AssertUnwindSafe(command)) {
        Ok(Ok(exit)) => exit,
        Ok(Err(failure)) => failure.tell(),
        Err(_) => Exit::Bug,
    }
}

/// What the user hears of a panic: what it said, where, and what to do.
fn report_bug(panic: &PanicHookInfo<'_>) {
    let said = panic.payload_as_str().unwrap_or("(no words)");
    let place = panic.location().map(ToString::to_string);
    let _ = writeln!(
        std::io::stderr(),
        "\nskep: {said} ({})\nThis is a bug in Skep: please report it with the two lines above and your command.",
        place.as_deref().unwrap_or("unknown place"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_bug_and_a_failure_has_its_own_code() {
        assert_eq!(guarded(|| panic!("three is four")), Exit::Bug);
        assert_eq!(guarded(|| Ok(Exit::Ok)), Exit::Ok);
        let wrong = || Err(Failure::new(Exit::Wrong, "the file is wrong"));
        assert_eq!(guarded(wrong), Exit::Wrong);
    }
}

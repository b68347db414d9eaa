//! Owns what may be written on the command line, and its help: the list of commands here, the arguments of each
//! beside.
//!
//! Invariant: values are checked here as far as they can be without looking at a file, so that a
//! command that begins has arguments that make sense.

mod bench;
mod direct;
mod peers;
mod report;
mod scenarios;
mod shell;
mod torrents;
mod watch;

use std::time::Duration;

use clap::{Parser, Subcommand};
use skep_sim::scenario::units::{self, UnitError};

pub use bench::BenchArgs;
pub use direct::{FetchArgs, ServeArgs};
pub use peers::{GetArgs, HowToPreallocate, ScrapeArgs, SeedArgs, TrackArgs, info_hash};
pub use report::ReportArgs;
pub use scenarios::{AttacksArgs, CheckArgs, CompareArgs, NETWORK_KEY, RunArgs};
pub use shell::{CompletionsArgs, ManArgs};
pub use torrents::{CreateArgs, ShowArgs, TorrentCommand, VerifyArgs};
pub use watch::WatchArgs;

const EXAMPLES: &str = "\
Exit codes:
  0   all is well           64  the command or a file it names is wrong
  1   it did not work out   70  a bug in Skep
(`skep run` has more: see its help.)

A simulated swarm:
  skep run scenarios/first-swarm.toml

A swarm on this machine, one command per terminal:
  skep track
  skep torrent create film.mkv --announce http://127.0.0.1:6969/announce \\
      -o film.torrent
  skep seed film.torrent --data film.mkv
  mkdir downloads
  skep get film.torrent --dir downloads --seed-for '5 min'

The same as a direct download, from one server:
  skep serve .
  skep fetch http://127.0.0.1:8000/film.mkv --dir downloads";

/// Runs real BitTorrent peers: in a seeded, simulated network, or on real sockets.
#[derive(Parser, Debug)]
#[command(name = "skep", version, after_help = EXAMPLES, max_term_width = 80)]
pub struct Args {
    /// Tell results and what went wrong, and nothing that is only for the eye.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run scenarios: swarms in a seeded, simulated network.
    Run(RunArgs),
    /// Run the variants of a scenario on the same seeds and compare them.
    Compare(CompareArgs),
    /// Make the page of a folder that `skep run --out` or `skep compare --out` wrote.
    Report(ReportArgs),
    /// Measure what attacks cost the honest, and what each defence is worth.
    Attacks(AttacksArgs),
    /// Measure the simulator: fixed workloads, each in a process of its own.
    Bench(BenchArgs),
    /// Check scenario files without running them.
    Check(CheckArgs),
    /// Make, show and verify metainfo files (`.torrent`).
    #[command(subcommand)]
    Torrent(TorrentCommand),
    /// Be the tracker that tells peers of each other.
    Track(TrackArgs),
    /// Seed a torrent whose content is here already.
    Seed(SeedArgs),
    /// Get a torrent's content from its swarm, giving to others meanwhile.
    Get(GetArgs),
    /// Ask trackers how many seeds, leechers and downloads a torrent has.
    Scrape(ScrapeArgs),
    /// Serve a directory over HTTP: the server of a direct download.
    Serve(ServeArgs),
    /// Fetch a file over HTTP: the client of a direct download.
    Fetch(FetchArgs),
    /// Print what a shell needs to complete this program's commands.
    Completions(CompletionsArgs),
    /// Print the manual page, or write those of all commands.
    Man(ManArgs),
}

fn said(error: UnitError) -> String {
    format!("{}; {}", error.message, error.help)
}

fn duration(text: &str) -> Result<Duration, String> {
    units::duration(text).map_err(said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }
}

//! Owns what may be written on the command line, and its help.
//!
//! Invariant: values are checked here as far as they can be without looking at a file, so that a
//! command that begins has arguments that make sense.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use skep_engine::InfoHash;
use skep_engine::config::RateLimit;
use skep_engine::tracker::target::tracker_target;
use skep_sim::scenario::split_override;
use skep_sim::scenario::units::{self, UnitError};

use crate::real::choice::Patterns;
use crate::real::limits::{Limits, rate};

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
  skep get film.torrent --dir downloads --seed-for '5 min'";

/// Runs real BitTorrent peers: in a seeded, simulated network, or on real sockets.
#[derive(Parser, Debug)]
#[command(name = "skep", version, after_help = EXAMPLES, max_term_width = 80)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run scenarios: swarms in a seeded, simulated network.
    Run(RunArgs),
    /// Run the variants of a scenario on the same seeds and compare them.
    Compare(CompareArgs),
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
}

#[derive(Subcommand, Debug)]
pub enum TorrentCommand {
    /// Make a metainfo file of a file or folder.
    Create(CreateArgs),
    /// Show what a metainfo file says.
    Show(ShowArgs),
    /// Check which of a torrent's files are here, whole and right.
    Verify(VerifyArgs),
}

/// Run scenarios: swarms in a seeded, simulated network.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Without --seed or --seeds the file's own seeds run, on all cores. Of a key in
[vary] the first value is taken. Over several runs the exit code is the worst:
  0   all held              2   a peer that could have finished did not
  1   an invariant or an    4   something that the scenario names never happened
      expectation failed    64  the scenario or the command is wrong
                            70  a bug in Skep

Examples:
  skep run scenarios/first-swarm.toml
  skep run scenarios --json > runs.jsonl
  skep run scenarios/flash-crowd.toml --seeds 0..20 --set group.home.up='4 Mbit/s'
  skep run scenarios/first-swarm.toml --seed 3 --trace trace.jsonl")]
pub struct RunArgs {
    /// Scenario files, or folders of them.
    #[arg(value_name = "FILE|DIR", required = true)]
    pub files: Vec<PathBuf>,
    /// Run this seed only.
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    pub seed: Option<u64>,
    /// Run these seeds: A..B, without B.
    #[arg(long, value_name = "A..B", value_parser = seed_range)]
    pub seeds: Option<Range<u64>>,
    /// Set a key of the scenario; may be given more than once.
    #[arg(long, value_name = "KEY=VALUE", value_parser = split_override)]
    pub set: Vec<(String, String)>,
    /// Print one JSON object per run and nothing else.
    #[arg(long)]
    pub json: bool,
    /// Write every event of the run to this file, one JSON object per line.
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
}

impl RunArgs {
    /// The seeds that were asked for, if any were.
    pub fn seeds(&self) -> Option<Vec<u64>> {
        let one = self.seed.map(|seed| vec![seed]);
        one.or_else(|| self.seeds.clone().map(Iterator::collect))
    }
}

/// Run the variants of a scenario on the same seeds and compare them.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
The variants are the combinations of the values in [vary]; all are compared with
the first. DIR gets compare.json.

Example:
  skep compare scenarios/compare/pickers.toml --seeds 0..20 --out pickers")]
pub struct CompareArgs {
    /// A scenario file with `[vary]`.
    pub file: PathBuf,
    /// Run these seeds instead of the file's: A..B, without B.
    #[arg(long, value_name = "A..B", value_parser = seed_range)]
    pub seeds: Option<Range<u64>>,
    /// Set a key of the scenario; may be given more than once.
    #[arg(long, value_name = "KEY=VALUE", value_parser = split_override)]
    pub set: Vec<(String, String)>,
    /// Where the results go; made if it is not there.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// Seeds from A to B, without B.
fn seed_range(text: &str) -> Result<Range<u64>, String> {
    let range = text.split_once("..").and_then(|(low, high)| {
        let range = low.trim().parse().ok()?..high.trim().parse().ok()?;
        (range.start < range.end && range.end - range.start <= SEEDS_MAX).then_some(range)
    });
    range.ok_or_else(|| format!("write A..B with A below B, at most {SEEDS_MAX} seeds: 0..20"))
}

/// Most seeds of one command.
const SEEDS_MAX: u64 = 1_000_000;

/// Check scenario files without running them.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  skep check scenarios/flash-crowd.toml
  skep check scenarios
  skep check --schema > scenarios/schema.json")]
pub struct CheckArgs {
    /// Scenario files, or folders of them.
    #[arg(value_name = "FILE", required_unless_present_any = ["metrics", "schema"])]
    pub files: Vec<PathBuf>,
    /// List the metrics that `[expect]` may name.
    #[arg(long, conflicts_with_all = ["files", "schema"])]
    pub metrics: bool,
    /// Print the JSON schema of scenario files, for editors.
    #[arg(long, conflicts_with = "files")]
    pub schema: bool,
}

/// Make a metainfo file of a file or folder.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  skep torrent create film.mkv --announce http://127.0.0.1:6969/announce \\
      -o film.torrent
  skep torrent create album --announce http://tracker.example/announce \\
      --piece 256KiB --comment 'recorded in May' -o album.torrent

The same content and options always give the same file: the date is left out
unless --date is given.")]
pub struct CreateArgs {
    /// The file or folder to share.
    pub path: PathBuf,
    /// A tracker. Given more than once, clients try them in this order; several with commas between
    /// them are tried in any order. Skep itself can ask those that
    /// are `http://` or `udp://`.
    #[arg(long, visible_alias = "tracker", value_name = "URL", required = true, value_parser = announce_urls)]
    pub announce: Vec<Urls>,
    /// Size of a piece, a power of two; by default at most 2,000 pieces.
    #[arg(long, visible_alias = "piece-length", value_name = "SIZE", value_parser = piece)]
    pub piece: Option<u32>,
    /// The metainfo file to make.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// A text for people.
    #[arg(long, value_name = "TEXT")]
    pub comment: Option<String>,
    /// Peers may come from the trackers only.
    #[arg(long)]
    pub private: bool,
    /// A word that sets apart the same content on another tracker.
    #[arg(long, value_name = "TEXT")]
    pub source: Option<String>,
    /// A web server that has the content; may be given more than once.
    #[arg(long, value_name = "URL", value_parser = web_seed)]
    pub web_seed: Vec<String>,
    /// Begin every file of a folder with a piece of its own: padding between them (BEP 47).
    #[arg(long)]
    pub pad: bool,
    /// Write down when it was made: seconds since 1970.
    #[arg(long, value_name = "SECONDS")]
    pub date: Option<i64>,
    /// Replace the metainfo file if there is one.
    #[arg(long)]
    pub force: bool,
}

/// Trackers of one tier.
#[derive(Clone, Debug)]
pub struct Urls(pub Vec<String>);

/// Show what a metainfo file says.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  skep torrent show film.torrent")]
pub struct ShowArgs {
    /// The metainfo file.
    #[arg(value_name = "FILE.torrent")]
    pub torrent: PathBuf,
    /// Print one JSON object.
    #[arg(long, conflicts_with = "magnet")]
    pub json: bool,
    /// Print the magnet link alone, on one line.
    #[arg(long)]
    pub magnet: bool,
}

/// Check which of a torrent's files are here, whole and right.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Every piece is hashed; nothing is changed. It ends with 0 when every file is
complete, and with 1 when something is missing or wrong.

Example:
  skep torrent verify film.torrent --dir downloads")]
pub struct VerifyArgs {
    /// The metainfo file.
    #[arg(value_name = "FILE.torrent")]
    pub torrent: PathBuf,
    /// The directory in which the torrent's file or folder is.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Be the tracker that tells peers of each other.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
It carries no content and remembers nothing when it ends. Ctrl-C ends it. HTTP
and UDP are served at the same port number.

Examples:
  skep track
  skep track --listen 0.0.0.0:6969 --interval '5 min' --verbose
  skep track --listen '[::]:6969' --allow torrents.txt")]
pub struct TrackArgs {
    /// Where to listen; port 0 takes any free one.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:6969")]
    pub listen: SocketAddr,
    /// How often peers announce.
    #[arg(long, value_name = "TIME", default_value = "30min", value_parser = interval)]
    pub interval: Duration,
    /// Do not serve UDP.
    #[arg(long, conflicts_with = "no_http")]
    pub no_udp: bool,
    /// Do not serve HTTP.
    #[arg(long)]
    pub no_http: bool,
    /// Track only the torrents that this file lists: one info-hash per line in hexadecimal, `#` begins a
    /// comment.
    #[arg(long, value_name = "FILE")]
    pub allow: Option<PathBuf>,
    /// Print a line per announce.
    #[arg(long)]
    pub verbose: bool,
}

/// Ask trackers how many seeds, leechers and downloads a torrent has.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
A scrape changes nothing: whoever asks does not become a peer. It ends with 0
when at least one tracker answered.

Examples:
  skep scrape film.torrent
  skep scrape udp://tracker.example:6969 --json \\
      --info-hash 2aa4f5a7e209e54b32803d43670971c4c8caaa05")]
pub struct ScrapeArgs {
    /// A metainfo file, all of whose trackers are asked, or the announce URL of one tracker.
    #[arg(value_name = "FILE.torrent|URL")]
    pub what: String,
    /// The torrent, if a URL is given: 40 hexadecimal digits. May be given more than once.
    #[arg(long, value_name = "HEX", value_parser = info_hash)]
    pub info_hash: Vec<InfoHash>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Seed a torrent whose content is here already.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Every piece is checked first; if any is not the torrent's, nothing is served and
the command ends with 1. What was checked is remembered beside the content, in
.INFO-HASH.resume, and not checked again while the files are unchanged. Ctrl-C
leaves the swarm and ends with 0; a second one ends at once.

Examples:
  skep seed film.torrent --data film.mkv
  skep seed album.torrent --data album --listen 0.0.0.0:6881")]
pub struct SeedArgs {
    /// The metainfo file.
    #[arg(value_name = "FILE.torrent")]
    pub torrent: PathBuf,
    /// The content: the file or folder that was given to `torrent create`. Only read.
    #[arg(long, value_name = "PATH")]
    pub data: PathBuf,
    /// Check every piece, whatever is remembered.
    #[arg(long)]
    pub recheck: bool,
    /// Where to listen for peers; port 0 takes any free one.
    #[arg(long, value_name = "ADDR:PORT", default_value_t = any_port())]
    pub listen: SocketAddr,
    /// Print one JSON object at the end: how much was uploaded, to how many.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub limits: Limits,
}

/// Get a torrent's content from its swarm, giving to others meanwhile.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Files are called NAME.part until every piece is verified; no file is ever
replaced. After an interruption the same command goes on where it was: what was
verified is remembered in DIR/.INFO-HASH.resume, and only files that have
changed since are checked. It ends with 0 when the content is complete and
verified, and was seeded for as long as asked or until Ctrl-C. Before that
Ctrl-C leaves the swarm and ends with 1; a second one ends at once.

Examples:
  skep get film.torrent --dir downloads
  skep get film.torrent --dir downloads --seed-for '1 h' --json > report.json")]
pub struct GetArgs {
    /// The metainfo file.
    #[arg(value_name = "FILE.torrent")]
    pub torrent: PathBuf,
    /// An existing directory for the torrent's file or folder.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Where to listen for peers; port 0 takes any free one.
    #[arg(long, value_name = "ADDR:PORT", default_value_t = any_port())]
    pub listen: SocketAddr,
    /// Take the room for all files at the start (full), or as they fill up.
    #[arg(long, value_name = "HOW", default_value = "none")]
    pub preallocate: HowToPreallocate,
    /// Check every piece that is here, whatever is remembered.
    #[arg(long)]
    pub recheck: bool,
    /// How long to stay as a seed when the content is complete.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    pub seed_for: Duration,
    /// Print one JSON object at the end: totals, and bytes per peer.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub patterns: Patterns,
    #[command(flatten)]
    pub limits: Limits,
    /// Ask for no more content than this.
    #[arg(long, value_name = "RATE", value_parser = rate, help_heading = "Limits")]
    pub download_limit: Option<RateLimit>,
}

/// When files take their room.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum HowToPreallocate {
    None,
    Full,
}

fn any_port() -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, 0).into()
}

fn said(error: UnitError) -> String {
    format!("{}; {}", error.message, error.help)
}

fn duration(text: &str) -> Result<Duration, String> {
    units::duration(text).map_err(said)
}

fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        short if short < Duration::from_secs(1) => Err("at least 1 s".to_owned()),
        interval => Ok(interval),
    }
}

/// Other clients refuse what is no power of two, or smaller than a block.
fn piece(text: &str) -> Result<u32, String> {
    let bytes = units::size(text).map_err(said)?;
    match u32::try_from(bytes) {
        Ok(bytes) if bytes.is_power_of_two() && (14..=28).contains(&bytes.ilog2()) => Ok(bytes),
        _ => Err("a piece is a power of two from 16 KiB to 256 MiB: \"256 KiB\"".to_owned()),
    }
}

/// Any tracker that some client can use; one of ours must also be understood here.
fn announce_url(text: &str) -> Result<String, String> {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    match scheme.map(str::to_ascii_lowercase).as_deref() {
        Some("https") => Ok(text.to_owned()),
        _ => match tracker_target(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(error) => Err(error.to_string()),
        },
    }
}

/// 40 hexadecimal digits.
pub fn info_hash(text: &str) -> Result<InfoHash, String> {
    let mut hash = [0; 20];
    let wrong = "an info-hash has 40 hexadecimal digits";
    if text.len() != 40 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(wrong.to_owned());
    }
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).map_err(|_| wrong.to_owned())?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong.to_owned())?;
    }
    Ok(InfoHash(hash))
}

/// Trackers of one tier, with commas between them.
fn announce_urls(text: &str) -> Result<Urls, String> {
    let urls = text.split(',').map(|url| announce_url(url.trim()));
    urls.collect::<Result<_, _>>().map(Urls)
}

fn web_seed(text: &str) -> Result<String, String> {
    let scheme = text
        .split_once("://")
        .map(|(scheme, _)| scheme.to_ascii_lowercase());
    match scheme.as_deref() {
        Some("http" | "https" | "ftp") => Ok(text.to_owned()),
        _ => Err("a web seed is a URL: \"https://example.org/files/\"".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn pieces_are_powers_of_two() {
        assert_eq!(piece("256KiB"), Ok(256 * 1024));
        assert_eq!(piece("16 KiB"), Ok(16 * 1024));
        for text in ["100 KiB", "8 KiB", "512 MiB", "256", "8 GiB"] {
            assert!(piece(text).is_err(), "{text}");
        }
    }

    #[test]
    fn info_hashes_have_forty_digits() {
        let hash = info_hash("00ff".repeat(10).as_str()).unwrap();
        assert_eq!(hash.to_string(), "00ff".repeat(10));
        for text in ["", "00ff", &"0g".repeat(20), &"\u{e9}".repeat(20)] {
            assert!(info_hash(text).is_err(), "{text}");
        }
    }

    #[test]
    fn trackers_have_a_known_scheme() {
        for (url, good) in [
            ("http://10.0.0.1:6969/announce", true),
            ("udp://tracker.example:80", true),
            ("https://tracker.example/announce", true),
            ("udp://tracker.example", false),
            ("http://:80/announce", false),
            ("tracker.example", false),
            ("ftp://tracker.example", false),
        ] {
            assert_eq!(announce_url(url).is_ok(), good, "{url}");
        }
        let tier = announce_urls("http://a/, udp://b:80").expect("both are good");
        assert_eq!(tier.0, ["http://a/", "udp://b:80"]);
        assert!(announce_urls("http://a/,").is_err());
    }
}

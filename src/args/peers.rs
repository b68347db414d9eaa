//! Owns the arguments of the commands that take part in a swarm on real sockets.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use skep_engine::config::RateLimit;
use skep_engine::{EngineConfig, InfoHash};

use super::duration;
use crate::failure::Failure;
use crate::real::choice::Patterns;
use crate::real::limits::{Limits, rate};

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
    /// A metainfo file or a magnet link, all of whose trackers are asked, or the announce URL of one tracker.
    #[arg(value_name = "FILE.torrent|MAGNET|URL")]
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
    /// Hide what is here and show it piece by piece, so that each is sent about once; ends when another
    /// seed is seen. For the first seed of a new torrent.
    #[arg(long)]
    pub super_seed: bool,
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
  skep get 'magnet:?xt=urn:btih:...&tr=...' --dir downloads
  skep get film.torrent --dir downloads --seed-for '1 h' --json > report.json")]
pub struct GetArgs {
    /// The metainfo file, or a magnet link: then the metainfo comes from other peers first, and is kept in
    /// DIR/.INFO-HASH.torrent.
    #[arg(value_name = "FILE.torrent|MAGNET")]
    pub torrent: String,
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
    /// Write the metainfo file of a magnet link here, too.
    #[arg(long, value_name = "FILE.torrent")]
    pub save_torrent: Option<PathBuf>,
    /// How long to stay as a seed when the content is complete.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    pub seed_for: Duration,
    /// Ask no web seeds: servers that the metainfo file says have the content.
    #[arg(long)]
    pub no_web_seeds: bool,
    /// Print one JSON object at the end: totals, and bytes per peer and web seed.
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

impl GetArgs {
    /// The engine's numbers that follow from the limits.
    pub fn config(&self) -> Result<EngineConfig, Failure> {
        let mut config = self.limits.config()?;
        if let Some(limit) = self.download_limit {
            config.download_limit = limit;
        }
        Ok(config)
    }
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

fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        short if short < Duration::from_secs(1) => Err("at least 1 s".to_owned()),
        interval => Ok(interval),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_hashes_have_forty_digits() {
        let hash = info_hash("00ff".repeat(10).as_str()).unwrap();
        assert_eq!(hash.to_string(), "00ff".repeat(10));
        for text in ["", "00ff", &"0g".repeat(20), &"\u{e9}".repeat(20)] {
            assert!(info_hash(text).is_err(), "{text}");
        }
    }
}

//! Owns what a user may limit of a real peer, and where real sockets differ from the engine's
//! defaults.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use skep_engine::EngineConfig;
use skep_engine::config::RateLimit;
use skep_engine::ip_filter::{self, IpFilter};
use skep_sim::scenario::units;

use crate::failure::{Exit, Failure, tell};
use crate::humane::count;

/// Limits of one peer; what is not given keeps the engine's default.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// Send no more content than this: "500 kB/s", "10 Mbit/s".
    #[arg(long, value_name = "RATE", value_parser = rate)]
    upload_limit: Option<RateLimit>,
    /// Upload to so many peers at once.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    slots: Option<u32>,
    /// Keep at most so many connections.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: Option<u32>,
    /// Neither dial nor let in the addresses in this file, one range per line: 10.0.0.0/8, 10.0.0.1-10.0.0.9, or as
    /// in eMule's ipfilter.dat or PeerGuardian's lists. Trackers and web seeds are asked all the same.
    #[arg(long, value_name = "FILE")]
    ip_filter: Option<PathBuf>,
}

impl Limits {
    /// The engine of a real peer. Reads the list of addresses to refuse, and says what is in it.
    pub fn config(&self) -> Result<EngineConfig, Failure> {
        let ip_filter = self.ip_filter.as_deref().map(refused).transpose()?;
        let engine = EngineConfig::default();
        let slots = self.slots.unwrap_or(engine.upload_slots);
        // Fast links: more is on its way than one wake-up of the loop hands over.
        let send_buffer = 256 * 1024;
        Ok(EngineConfig {
            // A person waits: the first retry comes soon, later ones as usual.
            announce_retry_min: Duration::from_secs(5),
            send_buffer,
            // Room for what honest peers make us read ahead.
            read_queue_max: engine
                .read_queue_max
                .max(2 * u64::from(slots) * send_buffer),
            // Real peers are rarely neighbours.
            allowed_fast: 10,
            upload_limit: self.upload_limit.unwrap_or(engine.upload_limit),
            upload_slots: slots,
            connections_max: self.connections.unwrap_or(engine.connections_max),
            ip_filter: ip_filter.unwrap_or_default(),
            ..engine
        })
    }
}

/// Longest list of addresses that is read: the largest that go round have some 30 MB.
const FILTER_BYTES_MAX: u64 = 256 << 20;

/// The addresses that a list refuses. One of which nothing is understood is no list.
fn refused(path: &Path) -> Result<IpFilter, Failure> {
    let wrong = |text: String| Failure::new(Exit::Wrong, format!("{}: {text}", path.display()));
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILTER_BYTES_MAX + 1).read_to_end(&mut text))
        .map_err(|error| wrong(format!("cannot be read: {error}")))?;
    if text.len() as u64 > FILTER_BYTES_MAX {
        return Err(wrong("longer than 256 MiB".to_owned()));
    }
    let list = ip_filter::read(&text);
    let ranges = |n: usize| count(n as u64, "range");
    match list.first_unread {
        Some((line, why)) if list.refusing == 0 => {
            return Err(wrong(format!("line {line}: {why}")));
        }
        Some((line, why)) => tell(&format!(
            "note: {}: {} not understood, the first is line {line}: {why}\n",
            path.display(),
            count(list.unread as u64, "line"),
        )),
        None => {}
    }
    tell(&format!(
        "refusing {} of addresses\n",
        ranges(list.filter.ranges())
    ));
    Ok(list.filter)
}

/// A rate as people write it.
pub fn rate(text: &str) -> Result<RateLimit, String> {
    let rate = units::rate(text).map(RateLimit);
    rate.map_err(|error| format!("{}; {}", error.message, error.help))
}

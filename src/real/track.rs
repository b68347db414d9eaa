//! Owns `skep track`: a tracker on real sockets.
//!
//! Invariant: it runs until it is asked to end, whatever anybody sends to it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use skep_engine::node::real::RealNetwork;
use skep_engine::node::tracker_server::{Protocol, Protocols, TrackerEvent, TrackerHost};
use skep_engine::tracker::announce::AnnounceEvent;
use skep_engine::tracker::swarm::SwarmConfig;
use skep_engine::{InfoHash, Now};
use tokio::time::Instant;

use super::signals::Signals;
use super::{cannot_listen, on_this_thread, os_rng};
use crate::args::{TrackArgs, info_hash};
use crate::failure::{Exit, Failure, print};
use crate::humane::{count, size};
use crate::terminal::remark;

/// Bytes read of a list of torrents: more of them than a tracker remembers.
const ALLOW_BYTES_MAX: u64 = 1 << 20;

/// Digits of a long name that tell it from others.
const SHORT: usize = 8;

/// Runs the command.
pub fn run(args: &TrackArgs) -> Result<Exit, Failure> {
    on_this_thread(track(args))
}

async fn track(args: &TrackArgs) -> Result<Exit, Failure> {
    let mut signals = Signals::new()?;
    let defaults = SwarmConfig::default();
    let config = SwarmConfig {
        interval: args.interval,
        interval_min: defaults.interval_min.min(args.interval),
        allowed: args.allow.as_deref().map(allowed).transpose()?,
        // Who has only a magnet link does not know what is missing. aria2 then says that nothing is,
        // and would never hear of the seeds.
        leechers_only_to_seeds: false,
        ..defaults
    };
    let protocols = Protocols {
        http: !args.no_http,
        udp: !args.no_udp,
    };
    let verbose = args.verbose;
    let hear = move |at: Now, event: TrackerEvent| {
        if verbose {
            // Without a reader the tracker goes on all the same.
            let _ = writeln!(std::io::stdout(), "{}", line(at, &event));
        }
    };
    let net = RealNetwork::default();
    let (rng, epoch) = (os_rng()?, Instant::now());
    let host = TrackerHost::new(net, args.listen, config, protocols, rng, epoch, hear)
        .map_err(|error| cannot_listen(args.listen, &error))?;
    let at = host.local_addr();
    let first = announce_url(if args.no_http { "udp" } else { "http" }, at);
    let both = if args.no_http || args.no_udp {
        String::new()
    } else {
        format!("the same over UDP: {}\n", announce_url("udp", at))
    };
    print(&format!("tracking at {at}, announce URL: {first}\n{both}"))?;
    match select(pin!(signals.end()), pin!(host.run())).await {
        Either::Left(((), _)) => {
            remark("ended; the peers stay connected with each other\n");
            Ok(Exit::Ok)
        }
        Either::Right((never, _)) => match never {},
    }
}

/// What to give to `torrent create`.
fn announce_url(scheme: &str, at: SocketAddr) -> String {
    if at.ip().is_unspecified() {
        let port = at.port();
        format!("{scheme}://<this machine's address>:{port}/announce")
    } else {
        format!("{scheme}://{at}/announce")
    }
}

/// The info-hashes of a file: one per line in hexadecimal, `#` begins a comment.
fn allowed(path: &Path) -> Result<BTreeSet<InfoHash>, Failure> {
    let wrong = |text: String| Failure::new(Exit::Wrong, format!("{}: {text}", path.display()));
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(ALLOW_BYTES_MAX).read_to_string(&mut text))
        .map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let lines = (1..).zip(text.lines());
    let hashes = lines.filter_map(|(number, line)| {
        let hash = line.split('#').next().unwrap_or_default().trim();
        let parsed = || info_hash(hash).map_err(|why| wrong(format!("line {number}: {why}")));
        (!hash.is_empty()).then(parsed)
    });
    hashes.collect()
}

/// One thing that the tracker did. Nothing in it is text from outside.
fn line(at: Now, event: &TrackerEvent) -> String {
    let at = Duration::from_nanos(at.0).as_secs_f64();
    let what = match event {
        TrackerEvent::Announced {
            from,
            via,
            info_hash,
            peer_id,
            event,
            left,
            given,
            seeds,
            leechers,
        } => {
            let event = match event {
                AnnounceEvent::Started => "started",
                AnnounceEvent::Completed => "completed",
                AnnounceEvent::Stopped => "stopped",
                AnnounceEvent::Periodic => "announce",
                AnnounceEvent::Paused => "paused",
            };
            let given = count(u64::from(*given), "peer");
            let seeds = count(u64::from(*seeds), "seed");
            let leechers = count(u64::from(*leechers), "leecher");
            format!(
                "{event:9} {from} over {}, {} left, told of {given} ({seeds}, {leechers}) torrent {} peer {}",
                over(*via),
                size(*left),
                &info_hash.to_string()[..SHORT],
                // Ids begin alike: with the name of the program.
                &peer_id.to_string()[40 - SHORT..],
            )
        }
        TrackerEvent::Scraped { via } => format!("scrape    over {}", over(*via)),
        TrackerEvent::Refused { reason, via } => {
            format!("refused   over {}: {reason}", over(*via))
        }
        TrackerEvent::Ignored { from, why } => format!("ignored   {from}: {why}"),
    };
    format!("{at:9.3} s  {what}")
}

fn over(via: Protocol) -> &'static str {
    match via {
        Protocol::Http => "HTTP",
        Protocol::Udp => "UDP",
    }
}

//! Owns `skep track`: a tracker on a real socket.
//!
//! Invariant: it runs until it is asked to end, whatever anybody sends to it.

use std::io::Write;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use skep_engine::Now;
use skep_engine::node::real::RealNetwork;
use skep_engine::node::tracker_server::{TrackerEvent, TrackerHost};
use skep_engine::tracker::announce::AnnounceEvent;
use skep_engine::tracker::swarm::SwarmConfig;
use tokio::time::Instant;

use super::signals::Signals;
use super::{cannot_listen, on_this_thread, os_rng};
use crate::args::TrackArgs;
use crate::failure::{Exit, Failure, print, tell};
use crate::humane::{count, size};

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
        ..defaults
    };
    let verbose = args.verbose;
    let hear = move |at: Now, event: TrackerEvent| {
        if verbose {
            // Without a reader the tracker goes on all the same.
            let _ = writeln!(std::io::stdout(), "{}", line(at, &event));
        }
    };
    let net = RealNetwork::new();
    let host = TrackerHost::new(net, args.listen, config, os_rng()?, Instant::now(), hear)
        .map_err(|error| cannot_listen(args.listen, &error))?;
    print(&format!(
        "tracking at {}, announce URL: {}\n",
        host.local_addr(),
        announce_url(host.local_addr())
    ))?;
    match select(pin!(signals.asked()), pin!(host.run())).await {
        Either::Left(((), _)) => {
            tell("ended; the peers stay connected with each other\n");
            Ok(Exit::Ok)
        }
        Either::Right((never, _)) => match never {},
    }
}

/// What to give to `torrent create`.
fn announce_url(at: SocketAddr) -> String {
    if at.ip().is_unspecified() {
        format!("http://<this machine's address>:{}/announce", at.port())
    } else {
        format!("http://{at}/announce")
    }
}

/// One thing that the tracker did. Nothing in it is text from outside.
fn line(at: Now, event: &TrackerEvent) -> String {
    let at = Duration::from_nanos(at.0).as_secs_f64();
    let what = match event {
        TrackerEvent::Announced {
            from,
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
            };
            let given = count(u64::from(*given), "peer");
            let seeds = count(u64::from(*seeds), "seed");
            let leechers = count(u64::from(*leechers), "leecher");
            format!(
                "{event:9} {from} {} left, told of {given} ({seeds}, {leechers}) torrent {} peer {}",
                size(*left),
                &info_hash.to_string()[..SHORT],
                // Ids begin alike: with the name of the program.
                &peer_id.to_string()[40 - SHORT..],
            )
        }
        TrackerEvent::Scraped => "scrape".to_owned(),
        TrackerEvent::Refused { reason } => format!("refused   {reason}"),
    };
    format!("{at:9.3} s  {what}")
}

//! Owns the trackers of a run: their hosts, when each answers, and what peers know of them.
//!
//! Invariant: trackers have the addresses 10.0.0.1 and following in the order in which peers number
//! them, and their links are never the bottleneck.

use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use skep_engine::node::announcer::{Announcer, AnnouncerSetup};
use skep_engine::node::tracker_server::{Protocols, TrackerHost};
use skep_engine::tracker::swarm::SwarmConfig;
use skep_engine::tracker::target::{TrackerTarget, tracker_target};
use skep_engine::{EngineConfig, Now};
use tokio::time::Instant;

use super::{World, sleep_until};
use crate::network::{HostNet, Net};
use crate::scenario::plan::{LinkPlan, TrackerPlan, TrackerProtocol};
use crate::seed;

/// The port of every tracker.
const PORT: u16 = 6969;
/// One-way delay of a tracker's link.
const LATENCY: Duration = Duration::from_millis(20);
/// Rate of a tracker's links, bytes per second.
const RATE: u64 = 125_000_000;

/// What peers know of the trackers.
pub struct Contacts {
    /// Their announce URLs.
    pub urls: Vec<String>,
    /// How many each tier has.
    pub tiers: Vec<u32>,
    targets: Vec<TrackerTarget>,
}

impl Contacts {
    /// Of these trackers, which are in the order of their tiers.
    pub fn of(trackers: &[TrackerPlan]) -> Contacts {
        let urls: Vec<String> = trackers
            .iter()
            .enumerate()
            .map(|(number, plan)| {
                let scheme = match plan.protocol {
                    TrackerProtocol::Http => "http",
                    TrackerProtocol::Udp => "udp",
                };
                format!("{scheme}://{}:{PORT}/announce", ip(number))
            })
            .collect();
        let targets = urls.iter().map(|url| tracker_target(url));
        let tiers = trackers.chunk_by(|a, b| a.tier == b.tier);
        Contacts {
            targets: targets.map(|t| t.expect("our own address")).collect(),
            tiers: tiers
                .map(|tier| u32::try_from(tier.len()).expect("validated: few trackers"))
                .collect(),
            urls,
        }
    }

    /// A host's talk with them.
    pub fn announcer(&self, config: &EngineConfig, epoch: Instant, rng: ChaCha8Rng) -> Announcer {
        let trackers = self.targets.clone();
        let setup = AnnouncerSetup {
            trackers,
            epoch,
            rng,
        };
        Announcer::new(setup, config)
    }
}

/// The address of a tracker by its number.
fn ip(number: usize) -> Ipv4Addr {
    let number = u8::try_from(number).expect("validated: few trackers");
    Ipv4Addr::new(10, 0, 0, 1 + number)
}

/// Adds the machines. Nothing runs on them yet.
pub fn add_hosts(trackers: &[TrackerPlan], net: &Net) {
    for (number, plan) in trackers.iter().enumerate() {
        let link = LinkPlan {
            up: RATE,
            down: RATE,
            latency: LATENCY,
            jitter: Duration::ZERO,
            loss_ppm: plan.loss_ppm,
            reset_every: None,
        };
        net.add_tracker(&plan.name, ip(number), link);
    }
}

impl World {
    /// Lets each tracker answer from its first moment to its last.
    pub(super) fn start_trackers(&mut self) {
        let plans = self.plan.trackers.clone();
        for (number, plan) in plans.into_iter().enumerate() {
            let until = plan.until;
            if until == Some(Now::START) {
                continue;
            }
            let (net, recorder) = (self.net.clone(), Rc::clone(&self.recorder));
            let (seed, from) = (self.plan.seed, plan.from);
            let start = move |epoch| host(number, &plan, &net, recorder, seed, epoch);
            self.stage
                .program("tracker", ip(number), async move |epoch| {
                    if from > Now::START {
                        sleep_until(epoch, from).await;
                    }
                    serve(start(epoch), until, epoch).await;
                });
        }
    }
}

type Host = TrackerHost<HostNet>;
type Recording = Rc<std::cell::RefCell<super::recorder::Recorder>>;

fn host(
    number: usize,
    plan: &TrackerPlan,
    net: &Net,
    recorder: Recording,
    seed: u64,
    epoch: Instant,
) -> Host {
    let config = SwarmConfig {
        interval: plan.interval,
        interval_min: plan.interval_min,
        answer_max: plan.peers_max,
        ..SwarmConfig::default()
    };
    let protocols = Protocols {
        http: plan.protocol == TrackerProtocol::Http,
        udp: plan.protocol == TrackerProtocol::Udp,
    };
    let name = plan.name.clone();
    let tracker = TrackerHost::new(
        net.attach(ip(number)),
        SocketAddr::from((ip(number), PORT)),
        config,
        protocols,
        seed::stream(seed, &plan.name),
        epoch,
        move |at, event| recorder.borrow_mut().on_tracker(at, &name, event),
    );
    tracker.expect("the tracker's port is free")
}

/// Serves until the plan ends it: then its process is gone, and its connections are reset.
async fn serve(host: Host, until: Option<Now>, epoch: Instant) {
    let Some(until) = until else {
        match host.run().await {}
    };
    let until = epoch + Duration::from_nanos(until.0);
    let _over = tokio::time::timeout_at(until, host.run()).await;
}

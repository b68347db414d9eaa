//! Owns the trackers of a run: their hosts, when each answers, and what peers know of them.
//!
//! Invariant: trackers have the addresses 10.0.0.1 and following in the order in which peers number
//! them, and their links are never the bottleneck.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
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
use crate::actor::bad_tracker::{BadSetup, BadTracker};
use crate::actor::engine_peer::PEER_PORT;
use crate::network::{HostNet, Net};
use crate::scenario::Plan;
use crate::scenario::plan::{
    FaultKind, LinkPlan, Role, TrackerFault, TrackerPlan, TrackerProtocol,
};
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
pub(super) fn ip(number: usize) -> Ipv4Addr {
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

/// What runs at a tracker's host for a while.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Phase {
    from: Now,
    /// Not to be reached when it is the end of the run.
    until: Option<Now>,
    /// What is wrong with it, and the position of the fault in the plan.
    fault: Option<(usize, TrackerFault)>,
}

/// What runs at a tracker's host from its first moment to its last. Of faults at the same time the one that
/// comes last in the plan counts.
fn phases(plan: &Plan, number: usize) -> Vec<Phase> {
    let tracker = &plan.trackers[number];
    let end = tracker.until.unwrap_or(Now::NEVER);
    let faults = plan.faults.iter().enumerate();
    let faults: Vec<_> = faults
        .filter_map(|(position, fault)| match &fault.kind {
            FaultKind::Tracker { which, mode } if which.contains(&number) => {
                let until = fault.until.unwrap_or(Now::NEVER);
                Some((fault.at, until, (position, *mode)))
            }
            _ => None,
        })
        .collect();
    let mut edges: Vec<Now> = faults
        .iter()
        .flat_map(|(at, until, _)| [*at, *until])
        .collect();
    edges.push(tracker.from);
    edges.retain(|edge| (tracker.from..end).contains(edge));
    edges.sort_unstable();
    edges.dedup();
    let mut phases: Vec<Phase> = Vec::new();
    for from in edges {
        let active = faults
            .iter()
            .rev()
            .find(|(at, until, _)| (*at..*until).contains(&from));
        let fault = active.map(|(.., fault)| *fault);
        if phases.last().is_some_and(|last| last.fault == fault) {
            continue;
        }
        if let Some(last) = phases.last_mut() {
            last.until = Some(from);
        }
        let until = tracker.until;
        phases.push(Phase { from, until, fault });
    }
    phases
}

impl World {
    /// Lets each tracker answer from its first moment to its last, but for its faults. After one it starts anew.
    pub(super) fn start_trackers(&mut self) {
        for (number, plan) in self.plan.trackers.iter().enumerate() {
            let (plan, phases) = (plan.clone(), phases(&self.plan, number));
            let (net, recorder) = (self.net.clone(), Rc::clone(&self.recorder));
            let seed = self.plan.seed;
            let config = swarm_config(&plan, self.plan.hosts.len());
            let attackers: Vec<SocketAddrV4> = self
                .plan
                .hosts
                .iter()
                .filter(|host| host.role == Role::Attacker)
                .map(|host| SocketAddrV4::new(host.ip, PEER_PORT))
                .collect();
            let program = async move |epoch| {
                for (life, phase) in phases.into_iter().enumerate() {
                    if phase.from > Now::START {
                        sleep_until(epoch, phase.from).await;
                    }
                    let name = match life {
                        0 => plan.name.clone(),
                        life => format!("{}#{life}", plan.name),
                    };
                    let rng = seed::stream(seed, &name);
                    match phase.fault {
                        None => {
                            let recorder = Rc::clone(&recorder);
                            let host =
                                host(number, &plan, config.clone(), &net, recorder, rng, epoch);
                            let run = async { match host.run().await {} };
                            serve(run, phase.until, epoch).await;
                        }
                        Some((_, TrackerFault::Down)) => {
                            serve(std::future::pending(), phase.until, epoch).await;
                        }
                        Some((fault, mode)) => {
                            let firings = Rc::clone(&recorder.borrow().counters[fault]);
                            let net = net.attach(ip(number));
                            let listen = SocketAddr::from((ip(number), PORT));
                            let tells = Rc::clone(&recorder);
                            let heard = move |from: SocketAddr| {
                                // What it tells is no address of anybody's choosing.
                                tells.borrow_mut().on_announce_met(from.ip(), 0);
                            };
                            let bad = BadTracker::new(BadSetup {
                                net,
                                listen,
                                fault: mode,
                                attackers: attackers.clone(),
                                rng,
                                firings,
                                heard: Box::new(heard),
                            });
                            serve(bad.run(), phase.until, epoch).await;
                        }
                    }
                }
            };
            self.stage.program("tracker", ip(number), program);
        }
    }
}

type Host = TrackerHost<HostNet>;
type Recording = Rc<std::cell::RefCell<super::recorder::Recorder>>;

/// What a tracker may remember: of a swarm of ten thousand everybody, also who is there twice for a while, as it came
/// back under another id.
fn swarm_config(plan: &TrackerPlan, hosts: usize) -> SwarmConfig {
    let usual = SwarmConfig::default();
    SwarmConfig {
        interval: plan.interval,
        interval_min: plan.interval_min,
        hold_floor: plan.hold_floor,
        answer_max: plan.peers_max,
        peers_max: usual.peers_max.max(2 * hosts),
        peers_total_max: usual.peers_total_max.max(2 * hosts),
        ..usual
    }
}

fn host(
    number: usize,
    plan: &TrackerPlan,
    config: SwarmConfig,
    net: &Net,
    recorder: Recording,
    rng: ChaCha8Rng,
    epoch: Instant,
) -> Host {
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
        rng,
        epoch,
        move |at, event| recorder.borrow_mut().on_tracker(at, &name, event),
    );
    tracker.expect("the tracker's port is free")
}

/// Lets a process run until the plan ends it: then it is gone, and its connections are reset.
async fn serve(process: impl Future<Output = ()>, until: Option<Now>, epoch: Instant) {
    let Some(until) = until else {
        return process.await;
    };
    let until = epoch + Duration::from_nanos(until.0);
    let _over = tokio::time::timeout_at(until, process).await;
}

#[cfg(test)]
mod tests {
    use skep_engine::tracker::announce::{AnnounceEvent, AnnounceRequest};
    use skep_engine::tracker::swarm::{Families, Swarms};
    use skep_engine::{InfoHash, PeerId};

    use super::*;
    use crate::scenario::Scenario;

    #[test]
    fn a_tracker_misbehaves_while_its_faults_last_and_no_longer() {
        let text = r#"
name = "two"
torrent = { size = "1 MiB" }
[[group]]
name = "seed"
role = "seed"
up = "1 MiB/s"
down = "1 MiB/s"
[[tracker]]
name = "first"
until = "20 min"
[[tracker]]
name = "second"
protocol = "udp"
[[fault.tracker]]
at = "0 s"
for = "10 s"
mode = "garbage"
[[fault.tracker]]
at = "5 s"
which = "first"
for = "10 s"
mode = "http-503"
[[fault.tracker]]
at = "1 min"
mode = "redirect-loop"
"#;
        let plan = Scenario::parse("two.toml", text).expect("right").expand(1);
        let at = |seconds: u64| Now(seconds * 1_000_000_000);
        let phase = |from, until: Option<u64>, fault| Phase {
            from: at(from),
            until: until.map(at),
            fault,
        };
        let garbage = Some((0, TrackerFault::Garbage));
        let first = [
            phase(0, Some(5), garbage),
            phase(5, Some(15), Some((1, TrackerFault::Http503))),
            phase(15, Some(60), None),
            phase(60, Some(1200), Some((2, TrackerFault::RedirectLoop))),
        ];
        assert_eq!(phases(&plan, 0), first);
        let second = [phase(0, Some(10), garbage), phase(10, None, None)];
        assert_eq!(phases(&plan, 1), second, "there is no redirect over UDP");
    }

    #[test]
    fn a_tracker_has_room_for_everybody_in_its_scenario() {
        const HOSTS: u16 = 10_001;
        let text = r#"
name = "crowd"
torrent = { size = "1 MiB" }
[[group]]
name = "seed"
role = "seed"
up = "1 MiB/s"
down = "1 MiB/s"
"#;
        let plan = Scenario::parse("crowd.toml", text)
            .expect("right")
            .expand(1);
        let config = swarm_config(&plan.trackers[0], HOSTS.into());
        let mut swarms = Swarms::new(config);
        let mut rng = seed::stream(1, "tracker");
        for number in 0..HOSTS {
            let [high, low] = number.to_be_bytes();
            let mut id = [0; 20];
            id[..2].copy_from_slice(&[high, low]);
            let request = AnnounceRequest {
                info_hash: InfoHash([0; 20]),
                peer_id: PeerId(id),
                port: PEER_PORT,
                uploaded: 0,
                downloaded: 0,
                left: 1,
                event: AnnounceEvent::Started,
                wanted: 0,
                key: 0,
                tracker_id: None,
                compact: true,
            };
            let from = Ipv4Addr::new(10, 1, high, low).into();
            let reply = swarms.announce(&request, from, Families::Both, Now::START, &mut rng);
            assert!(reply.is_ok(), "{number}: {reply:?}");
        }
    }
}

//! One run: builds the hosts of a plan, lets them live until the end, and says what happened.
//!
//! Invariant: one thread, paused runtimes, one seed. Nothing here reads a clock, a file or the
//! environment; a panic of any host's task ends the run.

mod books;
mod crowds;
mod diary;
mod direct;
mod judge;
mod recorder;
mod stage;
mod stalls;
mod trackers;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use skep_engine::wire::MessageCounts;
use skep_engine::{EngineConfig, Now, PieceIndex};
use tokio::time::Instant;

use crate::actor::engine_peer::{Books, EnginePeer, PEER_PORT};
use crate::actor::raw::{RawPeer, RawSetup};
use crate::actor::{self};
use crate::bounds;
use crate::check::Failure;
use crate::content::Content;
use crate::disk::Disk;
use crate::fault::users::User;
use crate::fault::{Reach, timeline};
use crate::network::Net;
use crate::outcome::{Outcome, Verdict};
use crate::scenario::Plan;
use crate::scenario::plan::{HostPlan, Role};
use crate::seed;
use crate::trace::{Trace, WorldEvent};
use crate::watch::Watchers;

use books::{HostBooks, MANY};
use diary::Diary;
use recorder::Recorder;
pub use recorder::{Announced, Measured, Playback};
use stage::Stage;
pub use trackers::Contacts;

/// Runs a plan to its end, heard by whoever wants to.
///
/// # Errors
/// When what they write cannot be written.
///
/// # Panics
/// When a host's task panics: a bug in Skep.
pub fn run(plan: &Plan, watchers: impl Into<Watchers>) -> io::Result<Outcome> {
    let outcome = stage::run(plan, watchers.into(), false)?;
    if outcome.verdict < Verdict::Liveness || !outcome.failures.iter().any(stalled) {
        return Ok(outcome);
    }
    // Who waits for whom is looked at when it matters: in the same run, made again.
    let again = stage::run(plan, Watchers::default(), true)?;
    Ok(Outcome {
        failures: match again.trace_hash == outcome.trace_hash {
            true => again.failures,
            // Somebody draws from outside the seed, and the second run tells of another one.
            false => outcome.failures,
        },
        ..outcome
    })
}

/// Whether a peer could have finished and did not.
fn stalled(failure: &Failure) -> bool {
    failure.check == Verdict::Liveness.word()
}

/// A run that is going on.
struct World {
    plan: Rc<Plan>,
    content: Arc<Content>,
    net: Net,
    recorder: Rc<RefCell<Recorder>>,
    /// The user of each host.
    users: Vec<Rc<User>>,
    /// Messages that engines got from peers.
    messages: Rc<MessageCounts>,
    stage: Stage,
    /// The run ends here at the latest: the time limit, or earlier when the settling time is over.
    deadline: Now,
    settle_from: Option<Now>,
    /// The plan's last disturbance.
    last_disturbance: Now,
}

/// Why a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ended {
    /// Everybody who could finish did.
    Done(Now),
    /// The settling time or the time limit is over.
    Deadline(Now),
    /// An invariant broke.
    Broken(Now),
}

impl Ended {
    fn at(self) -> Now {
        match self {
            Ended::Done(at) | Ended::Deadline(at) | Ended::Broken(at) => at,
        }
    }
}

impl World {
    /// The world of a plan; with a `diary` it can tell why somebody did not finish.
    fn new(plan: &Plan, trace: Trace, stage: Stage, diary: bool) -> World {
        let plan = Rc::new(plan.clone());
        let contacts = Rc::new(Contacts::of(&plan.trackers));
        let content = Content::of(&plan.torrent, &contacts.urls[0]);
        let net = stage.net();
        net.set_regions(&plan.regions);
        trackers::add_hosts(&plan.trackers, &net);
        let mut disks = Vec::new();
        for host in &plan.hosts {
            net.add_host(&host.name, host.ip, host.link.clone());
            if let Some(region) = host.region {
                net.set_region(host.ip, region);
            }
            let mut disk = match host.role {
                Role::Client => direct::disk_of_client(&content, host.kept),
                role => {
                    let mut disk = Disk::new(Arc::clone(&content));
                    disk.hash_always = plan.hash_always;
                    match role.whole() {
                        true => disk.preload(content.geometry().all_pieces()),
                        false => disk.preload(host.have.iter().copied().map(PieceIndex)),
                    }
                    disk
                }
            };
            disk.set_speed(host.disk);
            // What was synced matters to who starts again.
            if host.role.peer() && host.sessions.len() > 1 {
                disk.keep_journal();
            }
            disks.push(Rc::new(RefCell::new(disk)));
        }
        let users = plan.hosts.iter().map(|_| Rc::default()).collect();
        let mut recorder = Recorder::new(Rc::clone(&plan), Arc::clone(&content), disks, trace);
        recorder.diary = diary.then(|| Diary::new(plan.hosts.len()));
        let recorder = Rc::new(RefCell::new(recorder));
        let deadline = plan.time_limit;
        let last_disturbance = plan.last_disturbance();
        let mut world = World {
            plan,
            content,
            net,
            recorder,
            users,
            messages: Rc::default(),
            stage,
            deadline,
            settle_from: None,
            last_disturbance,
        };
        world.start_trackers();
        for host in 0..world.plan.hosts.len() {
            let plan = &world.plan.hosts[host];
            match plan.role {
                Role::Seed | Role::Leecher => world.start_peer(host, &contacts),
                Role::Server => world.start_server(host),
                Role::Client => world.start_client(host),
                Role::Attacker
                    if plan
                        .attack
                        .as_ref()
                        .is_some_and(|a| actor::plays_server(&a.name)) =>
                {
                    world.start_raw_server(host);
                }
                Role::Attacker => world.start_attacker(host, &contacts),
            }
        }
        world.start_faults();
        world.stage.begin();
        world
    }

    fn start_faults(&mut self) {
        if !timeline::is_needed(&self.plan) {
            return;
        }
        let (plan, net) = (Rc::clone(&self.plan), self.net.clone());
        let (users, recorder) = (self.users.clone(), Rc::clone(&self.recorder));
        let anywhere = trackers::ip(0);
        self.stage.program("faults", anywhere, async move |epoch| {
            let (disks, firings) = {
                let recorder = recorder.borrow();
                (recorder.disks.clone(), recorder.counters.clone())
            };
            let tell = move |fault, news| recorder.borrow_mut().on_fault(now(epoch), fault, news);
            let reach = Reach {
                plan,
                net,
                disks,
                users,
                firings,
                tell: Rc::new(tell),
                epoch,
            };
            timeline::run(reach).await;
        });
    }

    fn start_peer(&mut self, host: usize, contacts: &Rc<Contacts>) {
        let plan = self.plan.hosts[host].clone();
        let sessions = plan.sessions.clone();
        let (ip, seed, net) = (plan.ip, self.plan.seed, self.net.clone());
        let (content, contacts) = (Arc::clone(&self.content), Rc::clone(contacts));
        let disk = Rc::clone(&self.recorder.borrow().disks[host]);
        let user = Rc::clone(&self.users[host]);
        let web_seeds = direct::web_seeds(&self.plan);
        let messages = Rc::clone(&self.messages);
        let own = self.plan.own;
        let recorder = Rc::clone(&self.recorder);
        let books = (self.plan.hosts.len() >= MANY).then(|| {
            let recorder = Rc::clone(&recorder);
            Rc::new(HostBooks { recorder, host }) as Rc<dyn Books>
        });
        let swarm = Rc::clone(&recorder.borrow().copies);
        self.stage.program("peer", ip, async move |epoch| {
            // In a box: what is looked at whenever the host is woken then lies together.
            let peer = Box::new(EnginePeer {
                plan,
                seed,
                net,
                content,
                disk,
                has_metainfo: Rc::new(Cell::new(false)),
                contacts,
                user,
                web_seeds,
                epoch,
                messages,
                own,
                books,
                swarm,
            });
            for (life, stay) in sessions.iter().enumerate() {
                sleep_until(epoch, stay.join).await;
                peer.disk.borrow_mut().power_up();
                recorder
                    .borrow_mut()
                    .on_host(now(epoch), host, &WorldEvent::Joined);
                let hears = Rc::clone(&recorder);
                let observer = Box::new(move |at: Now, event: &_| {
                    let event = WorldEvent::Peer(Clone::clone(event));
                    hears.borrow_mut().on_host(at, host, &event);
                });
                let ended = peer.stay(life, stay.end, observer).await;
                let last = ended.is_none() || life + 1 == sessions.len();
                let mut recorder = recorder.borrow_mut();
                recorder.tallies[host].gone_for_good = last;
                recorder.on_host(now(epoch), host, &WorldEvent::Ended(ended));
                if last {
                    return;
                }
            }
        });
    }

    fn start_attacker(&mut self, host: usize, contacts: &Rc<Contacts>) {
        let HostPlan {
            name,
            ip,
            sessions,
            attack,
            ..
        } = self.plan.hosts[host].clone();
        let attack = attack.expect("validation gives every attacker an attack");
        let (seed, own) = (self.plan.seed, self.plan.own);
        let (net, contacts) = (self.net.clone(), Rc::clone(contacts));
        let recorder = Rc::clone(&self.recorder);
        let content = Arc::clone(&self.content);
        self.stage.program("attacker", ip, async move |epoch| {
            let geometry = content.geometry();
            for (life, stay) in sessions.iter().enumerate() {
                sleep_until(epoch, stay.join).await;
                recorder
                    .borrow_mut()
                    .on_host(now(epoch), host, &WorldEvent::Joined);
                let stream =
                    |purpose: &str| seed::stream(seed, &format!("peer/{name}#{life}/{purpose}"));
                let attacker = actor::attacker(&attack, own.attacks, &content, stream("attack"));
                let hears = Rc::clone(&recorder);
                let raw = RawPeer::new(RawSetup {
                    net: net.attach(ip),
                    plan: attack.clone(),
                    attacker: attacker.expect("validation refuses unknown attacks"),
                    listen: SocketAddr::from((ip, PEER_PORT)),
                    info_hash: content.metainfo.info_hash,
                    ids: stream("id"),
                    total: geometry.total,
                    bitfield_bytes: geometry.bitfield_bytes(),
                    announcer: contacts.announcer(&EngineConfig::default(), epoch, stream("udp")),
                    epoch,
                    observer: Rc::new(move |attack| {
                        let event = WorldEvent::Attack(attack);
                        hears.borrow_mut().on_host(now(epoch), host, &event);
                    }),
                });
                let ended = actor::until_end(&net, ip, epoch, stay.end, raw.run()).await;
                let event = WorldEvent::Ended(ended);
                recorder.borrow_mut().on_host(now(epoch), host, &event);
                if ended.is_none() {
                    return;
                }
            }
        });
    }

    /// Looks at the world at a moment: whether there is nothing left to wait for.
    fn look(&mut self, at: Now) -> Option<Ended> {
        let mut recorder = self.recorder.borrow_mut();
        recorder.catch_up();
        if recorder.first_failure.is_some() {
            return Some(Ended::Broken(at));
        }
        if at > Now::START && recorder.copies_min.is_none() {
            recorder.note_copies();
        }
        if self.plan.hosts.iter().any(|h| h.role.takes()) && judge::done(&recorder) {
            return Some(Ended::Done(at));
        }
        let last = self.last_disturbance;
        // Not at that moment itself: who joins in it has to be seen first.
        if self.settle_from.is_none() && at > last {
            self.settle_from = Some(at);
            let rest = judge::missing_bound(&recorder);
            self.deadline = self
                .deadline
                .min(at.after(self.plan.settle).after(rest * 4));
        }
        (at >= self.deadline).then_some(Ended::Deadline(at))
    }

    /// When to look again at the latest, if nothing happens before.
    fn next_look(&self, at: Now) -> Now {
        let last = self.last_disturbance;
        match (self.settle_from, at > Now::START) {
            (_, false) => Now(1),
            (None, _) => last.after(Duration::from_nanos(1)).min(self.deadline),
            (Some(_), _) => self.deadline,
        }
    }

    fn judge(&mut self, ended: Ended) -> io::Result<Outcome> {
        let mut recorder = self.recorder.borrow_mut();
        let at = ended.at();
        recorder.trace.finish(at)?;
        let captured = self.net.untap()?;
        let bound = bounds::last_completion(&self.plan);
        let outcome = judge::outcome(&mut recorder, &self.content, &self.net, bound, ended, at);
        Ok(Outcome {
            messages: self.messages.total(),
            messages_by_kind: self.messages.by_kind(),
            captured,
            ..outcome
        })
    }
}

fn now(epoch: Instant) -> Now {
    Now::START.after(Instant::now().duration_since(epoch))
}

async fn sleep_until(epoch: Instant, at: Now) {
    tokio::time::sleep_until(epoch + Duration::from_nanos(at.0)).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    /// One seed gives 1 MiB to two leechers; the limit is 8 s.
    fn outcome(run: &str, more: &str) -> Outcome {
        let text = format!(
            r#"
name = "tiny"
about = "A swarm that needs some seconds."
run = {{ {run} }}
torrent = {{ size = "1 MiB", piece = "128 KiB" }}
[[group]]
name = "seed"
role = "seed"
up = "128 KiB/s"
down = "128 KiB/s"
[[group]]
name = "home"
role = "leecher"
count = 2
up = "128 KiB/s"
down = "1 MiB/s"
{more}
"#
        );
        let scenario = Scenario::parse("tiny.toml", &text).expect("a good file");
        run_plan(&scenario)
    }

    fn run_plan(scenario: &Scenario) -> Outcome {
        super::run(&scenario.expand(1), None).expect("no trace to write")
    }

    #[test]
    fn four_times_the_bound_is_added_to_the_settling_time() {
        let outcome = outcome(r#"time_limit = "10 min", settle = "1 s""#, "");
        assert_eq!(outcome.verdict, Verdict::Pass, "{:?}", outcome.failures);
        assert!(outcome.sim_seconds > 8.0, "{}", outcome.sim_seconds);
    }

    #[test]
    fn hashing_every_piece_changes_nothing_but_the_time() {
        let corrupt = "[[group]]\nname = \"liar\"\nrole = \"attacker\"\nattack = \"corrupt-blocks\"\n\
            up = \"1 MiB/s\"\ndown = \"1 MiB/s\"\n";
        let with = |hash: &str| {
            let run = format!(r#"time_limit = "10 min", settle = "1 min", hash = "{hash}""#);
            let outcome = outcome(&run, corrupt);
            assert!(outcome.peers.iter().any(|p| p.hash_failed > 0), "both ways");
            (outcome.trace_hash, outcome.events, outcome.peers)
        };
        assert_eq!(with("recognise"), with("always"));
    }

    #[test]
    fn a_crashed_attacker_comes_back() {
        let mute = "[[group]]\nname = \"mute\"\nrole = \"attacker\"\nattack = \"never-deliver\"\n\
            up = \"1 MiB/s\"\ndown = \"1 MiB/s\"\n\
            [[fault.crash]]\nat = \"1 s\"\nwho = \"mute\"\ndown = \"1 s\"\n";
        let outcome = outcome(r#"time_limit = "10 min", settle = "1 min""#, mute);
        let mute = outcome.peers.last().expect("the attacker");
        assert_eq!(mute.announces, 2, "one in each life");
        assert!(mute.online_s > 5.0, "{}", mute.online_s);
    }

    #[test]
    fn a_crash_after_the_end_never_hit_whoever_else_did() {
        let crash = |at: &str, who: &str| {
            format!("[[fault.crash]]\nat = \"{at}\"\nwho = \"{who}\"\ndown = \"1 s\"\n")
        };
        let run = r#"time_limit = "10 min", settle = "1 min""#;
        let early = outcome(run, &crash("2 s", "home[0]"));
        assert_eq!(early.verdict, Verdict::Pass, "{:?}", early.failures);
        let late = crash("2 s", "home[0]") + &crash("5 min", "home[0]");
        let late = outcome(run, &late);
        assert_eq!(late.verdict, Verdict::Vacuous, "{:?}", late.failures);
    }

    #[test]
    fn a_tracker_answers_from_its_first_moment_on_over_either_protocol() {
        let run = r#"time_limit = "30 min", settle = "10 min""#;
        for protocol in ["http", "udp"] {
            let late = format!("[tracker]\nfrom = \"30 s\"\nprotocol = \"{protocol}\"\n");
            let outcome = outcome(run, &late);
            assert_eq!(outcome.verdict, Verdict::Pass, "{:?}", outcome.failures);
            let first = outcome.peers.iter().filter_map(|p| p.completed_s);
            let first = first.fold(f64::INFINITY, f64::min);
            assert!(first > 30.0, "{protocol}: {first}");
        }
    }

    #[test]
    fn without_a_tracker_that_ever_answers_nobody_finds_anybody() {
        let run = r#"time_limit = "10 min", settle = "1 min""#;
        let outcome = outcome(run, "[tracker]\nuntil = \"0 s\"\n");
        assert!(outcome.peers.iter().all(|p| p.announces == 0));
        assert!(outcome.peers.iter().all(|p| p.downloaded == 0));
    }
}

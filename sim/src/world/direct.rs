//! Owns the two ends of direct download in a run: file servers and their clients, each in its own lives; and
//! the attackers that play a file server.
//!
//! Invariant: a server has the whole content in every life; a client goes on with what its disk holds.

use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use skep_engine::node::file_server::{FileServer, FileServerSetup};
use tokio::time::Instant;

use super::{World, now, sleep_until};
use crate::actor;
use crate::actor::client::{self, ClientEvent, DirectClient, SERVER_PORT};
use crate::actor::raw_server::RawServer;
use crate::content::Content;
use crate::disk::Disk;
use crate::file_disk::{ServedContent, origin};
use crate::scenario::Plan;
use crate::scenario::plan::{HostPlan, Role, SessionPlan};
use crate::seed;
use crate::trace::WorldEvent;

/// The disk of a client that kept the first bytes of the content of an earlier fetch.
pub(super) fn disk_of_client(content: &Arc<Content>, kept: u64) -> Disk {
    let of = Arc::clone(content);
    let origin = move |file| origin(&of, file, client::name(&of, file));
    Disk::of_client(Arc::clone(content), kept, origin)
}

/// Where clients may ask, in the order of the file: servers, and attackers that play one.
fn servers(plan: &Plan) -> Rc<[Ipv4Addr]> {
    let serves = plan.hosts.iter().filter(|host| {
        let attack = host.attack.as_ref();
        host.role == Role::Server || attack.is_some_and(|attack| actor::plays_server(&attack.name))
    });
    serves.map(|host| host.ip).collect()
}

/// The URLs of the web seeds of the swarm.
pub(super) fn web_seeds(plan: &Plan) -> Vec<String> {
    let hosts = plan.hosts.iter().filter(|host| host.web_seed);
    let url = |host: &HostPlan| format!("http://{}:{SERVER_PORT}/", host.ip);
    hosts.map(url).collect()
}

/// Whether somebody serves false bytes: then clients know what each file's SHA-256 must be.
fn somebody_lies(plan: &Plan) -> bool {
    let mut attacks = plan.hosts.iter().filter_map(|host| host.attack.as_ref());
    attacks.any(|attack| actor::serves_false_bytes(&attack.name))
}

impl World {
    pub(super) fn start_server(&mut self, host: usize) {
        let disk = Rc::clone(&self.recorder.borrow().disks[host]);
        let plan = self.plan.hosts[host].clone();
        let net = self.net.clone();
        let (recorder, content) = (Rc::clone(&self.recorder), Arc::clone(&self.content));
        let life = move |epoch: Instant, _: usize, stay: SessionPlan| {
            let (hears, listen) = (
                Rc::clone(&recorder),
                SocketAddr::from((plan.ip, SERVER_PORT)),
            );
            let setup = FileServerSetup {
                listen,
                dir: ServedContent::new(Arc::clone(&content), Rc::clone(&disk)),
                config: skep_engine::EngineConfig::clone(&plan.engine),
                epoch,
                date: None,
            };
            let observer = move |at, event| {
                let event = WorldEvent::Server(event);
                hears.borrow_mut().on_host(at, host, &event);
            };
            let server = FileServer::new(net.attach(plan.ip), setup, observer);
            let server = server.expect("a host listens on its own address");
            let net = net.clone();
            async move {
                let run = async { match server.run().await {} };
                actor::until_end(&net, plan.ip, epoch, stay.end, run).await
            }
        };
        self.live_through("server", host, life);
    }

    pub(super) fn start_client(&mut self, host: usize) {
        let clients = self.plan.hosts[..host].iter();
        let number = clients.filter(|h| h.role == Role::Client).count();
        let (plan, net) = (self.plan.hosts[host].clone(), self.net.clone());
        let (seed, content) = (self.plan.seed, Arc::clone(&self.content));
        let disk = Rc::clone(&self.recorder.borrow().disks[host]);
        let (servers, digests) = (servers(&self.plan), somebody_lies(&self.plan));
        let recorder = Rc::clone(&self.recorder);
        let life = move |epoch: Instant, life: usize, stay: SessionPlan| {
            let client = DirectClient {
                plan: plan.clone(),
                number,
                seed,
                net: net.clone(),
                content: Arc::clone(&content),
                disk: Rc::clone(&disk),
                servers: Rc::clone(&servers),
                digests,
                epoch,
            };
            let hears = Rc::clone(&recorder);
            let tell = Rc::new(move |at, event: ClientEvent| {
                let event = WorldEvent::Client(event);
                hears.borrow_mut().on_host(at, host, &event);
            });
            async move { client.stay(life, stay.end, tell).await }
        };
        self.live_through("client", host, life);
    }

    pub(super) fn start_raw_server(&mut self, host: usize) {
        let plan = self.plan.hosts[host].clone();
        let net = self.net.clone();
        let (recorder, content) = (Rc::clone(&self.recorder), Arc::clone(&self.content));
        let seed = self.plan.seed;
        let life = move |epoch: Instant, life: usize, stay: SessionPlan| {
            let rng = seed::stream(seed, &format!("peer/{}#{life}/attack", plan.name));
            let attack = plan.attack.clone().expect("an attacker has an attack");
            let hears = Rc::clone(&recorder);
            let server = RawServer::new(
                net.attach(plan.ip),
                SocketAddr::from((plan.ip, SERVER_PORT)),
                actor::server_attack(&attack, &content, rng).expect("it plays a server"),
                attack,
                epoch,
                Rc::new(move |attack| {
                    let event = WorldEvent::Attack(attack);
                    hears.borrow_mut().on_host(now(epoch), host, &event);
                }),
            );
            let (net, ip) = (net.clone(), plan.ip);
            async move { actor::until_end(&net, ip, epoch, stay.end, server.run()).await }
        };
        self.live_through("attacker", host, life);
    }

    /// Lets a host live its stays one after the other: each begins when it joins, and `life` makes what runs
    /// and says how it ended, if by plan. Who ends otherwise is done.
    fn live_through<F: Future<Output = Option<crate::scenario::plan::EndKind>>>(
        &mut self,
        what: &'static str,
        host: usize,
        life: impl Fn(Instant, usize, SessionPlan) -> F + 'static,
    ) {
        let HostPlan { ip, sessions, .. } = self.plan.hosts[host].clone();
        let recorder = Rc::clone(&self.recorder);
        self.stage.program(what, ip, async move |epoch| {
            for (number, stay) in sessions.iter().enumerate() {
                sleep_until(epoch, stay.join).await;
                let tell = |event| recorder.borrow_mut().on_host(now(epoch), host, &event);
                tell(WorldEvent::Joined);
                let ended = life(epoch, number, *stay).await;
                let last = ended.is_none() || number + 1 == sessions.len();
                recorder.borrow_mut().tallies[host].gone_for_good = last;
                tell(WorldEvent::Ended(ended));
                if last {
                    return;
                }
            }
        });
    }
}

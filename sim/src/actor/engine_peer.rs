//! Owns an honest host: the engine's client, started and ended as the plan says.
//!
//! Invariant: everything that a client draws comes from streams named by host and life
//! (`peer/home-3#1/picker`), so a restart is a new client and nobody else's draws move.

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use skep_engine::choker;
use skep_engine::node::network::Network;
use skep_engine::node::peer_host::{Command, Observer, PeerHost, PeerHostSetup, check_content};
use skep_engine::node::web_seeds::WebSeedsSetup;
use skep_engine::picker;
use skep_engine::session::torrent::{Rngs, Torrent, TorrentSetup};
use skep_engine::{Now, PeerId};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::content::Content;
use crate::disk::{Disk, DiskStorage};
use crate::network::fabric::Fabric;
use crate::scenario::plan::{EndKind, HostPlan, OnComplete, Role};
use crate::seed;
use crate::world::Contacts;

/// Port on which every simulated peer listens.
pub const PEER_PORT: u16 = 6881;

/// What an honest host needs for all its lives.
#[derive(Clone)]
pub struct EnginePeer {
    /// Its plan.
    pub plan: HostPlan,
    /// The master seed.
    pub seed: u64,
    /// The network.
    pub fabric: Fabric,
    /// The content, for the metainfo file.
    pub content: Arc<Content>,
    /// Its disk.
    pub disk: Rc<RefCell<Disk>>,
    /// The trackers.
    pub contacts: Rc<Contacts>,
    /// URLs of web seeds.
    pub web_seeds: Vec<String>,
    /// The start of the run.
    pub epoch: Instant,
}

impl EnginePeer {
    /// Runs one stay, number `life`, until it ends by plan or its user leaves. Returns how.
    pub async fn stay(
        &self,
        life: usize,
        end: Option<(Now, EndKind)>,
        observer: Observer,
    ) -> Option<EndKind> {
        let (say, commands) = mpsc::unbounded_channel();
        let host = self.start(life, observer, commands).await;
        let Some((at, kind)) = end else {
            host.await;
            return None;
        };
        let mut host = pin!(host);
        let at = self.epoch + Duration::from_nanos(at.0);
        if tokio::time::timeout_at(at, host.as_mut()).await.is_ok() {
            return None;
        }
        if kind == EndKind::Leave {
            // Who has finished stays as long as its user said; churn is for those who wait.
            let complete = self.content.geometry().all_pieces();
            let mut complete = complete.map(|p| self.disk.borrow().piece_is_true(p));
            if complete.all(|there| there) {
                host.await;
                return None;
            }
            // A host that is gone already needs no telling.
            let _ = say.send(Command::Leave);
            host.await;
        }
        // A crash: the process is dropped as it stands.
        Some(kind)
    }

    async fn start(
        &self,
        life: usize,
        observer: Observer,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> impl Future<Output = Torrent> {
        let plan = &self.plan;
        let stream = |purpose: &str| {
            seed::stream(self.seed, &format!("peer/{}#{life}/{purpose}", plan.name))
        };
        let mut net = self.fabric.attach(plan.ip);
        let listen = SocketAddr::from((plan.ip, PEER_PORT));
        net.listen(listen)
            .expect("a host listens on its own address");
        let mut storage = DiskStorage::open(Rc::clone(&self.disk));
        let geometry = self.content.geometry();
        let checked = check_content(&mut storage, geometry, |_| {}).await;
        let web_seeds = WebSeedsSetup::of(&self.content.metainfo, &self.web_seeds);
        let torrent = Torrent::new(TorrentSetup {
            config: plan.engine.clone(),
            info_hash: self.content.metainfo.info_hash,
            geometry,
            have: checked.expect("a simulated disk without faults can be read"),
            priorities: None,
            padding: Vec::new(),
            private: false,
            peer_id: PeerId::random(&mut stream("id")),
            port: PEER_PORT,
            tiers: self.contacts.tiers.clone(),
            web_seeds: web_seeds.urls.clone(),
            picker: picker::by_name(&plan.picker.name, &plan.picker.params)
                .expect("validation refuses unknown strategies"),
            choker: choker::by_name(&plan.choker.name, &plan.choker.params)
                .expect("validation refuses unknown strategies"),
            rngs: Rngs {
                picker: stream("picker"),
                choker: stream("choker"),
                contacts: stream("contacts"),
            },
        });
        let seed_for = match plan.on_complete {
            OnComplete::Stay => None,
            OnComplete::Leave => Some(Duration::ZERO),
            OnComplete::SeedFor(stay) => Some(stay),
        };
        PeerHost::new(PeerHostSetup {
            net,
            storage,
            torrent,
            geometry,
            announcer: self
                .contacts
                .announcer(&plan.engine, self.epoch, stream("udp")),
            web_seeds,
            config: plan.engine.clone(),
            epoch: self.epoch,
            // What a seed does when complete is for those who come to download.
            seed_for: if plan.role == Role::Seed {
                None
            } else {
                seed_for
            },
            commands,
            observer,
        })
        .run()
    }
}

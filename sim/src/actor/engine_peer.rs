//! Owns an honest host: the engine's client, started and ended as the plan says.
//!
//! Invariant: everything that a client draws comes from streams named by host and life
//! (`peer/home-3#1/picker`), so a restart is a new client and nobody else's draws move. Who has only a
//! magnet link becomes a peer of the content when others have given it the metainfo.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use skep_engine::bits::BitSet;
use skep_engine::choker;
use skep_engine::node::announcer::Announcer;
use skep_engine::node::magnet_host::{MagnetHost, MagnetHostSetup};
use skep_engine::node::network::Network;
use skep_engine::node::peer_host::{Command, Observer, PeerHost, PeerHostSetup, check_content};
use skep_engine::node::web_seeds::WebSeedsSetup;
use skep_engine::picker;
use skep_engine::session::metadata_fetch::{FetchSetup, Found, MetadataFetch};
use skep_engine::session::torrent::{Rngs, Torrent, TorrentSetup};
use skep_engine::{Now, PeerId};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::content::Content;
use crate::disk::{Disk, DiskStorage};
use crate::network::fabric::{Fabric, FabricNet};
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
    /// A peer that had only a link has the metainfo on its disk.
    pub has_metainfo: Rc<Cell<bool>>,
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
        if kind == EndKind::PowerLoss {
            self.fabric.power_off(self.plan.ip);
        }
        // Or a crash: the process is dropped as it stands.
        Some(kind)
    }

    async fn start(
        &self,
        life: usize,
        observer: Observer,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> impl Future<Output = ()> {
        let plan = &self.plan;
        let mut net = self.fabric.attach(plan.ip);
        let listen = SocketAddr::from((plan.ip, PEER_PORT));
        net.listen(listen)
            .expect("a host listens on its own address");
        let mut storage = DiskStorage::open(Rc::clone(&self.disk));
        let checked = check_content(&mut storage, self.content.geometry(), |_| {}).await;
        let have = checked.expect("a simulated disk without faults can be read");
        let announcer = self
            .contacts
            .announcer(&plan.engine, self.epoch, self.stream(life, "udp"));
        let begin = Begin {
            life,
            net,
            announcer,
            commands,
            observer,
        };
        let peer = self.clone();
        async move {
            let (begin, found) = match peer.has_link_only() {
                true => peer.fetch(begin).await,
                false => (begin, None),
            };
            // Who still has only the link left before it had more.
            if !peer.has_link_only() {
                peer.join(begin, found, storage, have).await;
            }
        }
    }

    fn stream(&self, life: usize, purpose: &str) -> ChaCha8Rng {
        seed::stream(
            self.seed,
            &format!("peer/{}#{life}/{purpose}", self.plan.name),
        )
    }

    fn has_link_only(&self) -> bool {
        self.plan.magnet && !self.has_metainfo.get()
    }

    fn id(&self, life: usize) -> PeerId {
        PeerId::random(&mut self.stream(life, "id"))
    }

    /// Gets the metainfo from others; it is kept on the disk, so once is enough.
    async fn fetch(&self, begin: Begin) -> (Begin, Option<Found>) {
        let life = begin.life;
        let host = MagnetHost::new(MagnetHostSetup {
            net: begin.net,
            fetch: MetadataFetch::new(FetchSetup {
                config: self.plan.engine.clone(),
                info_hash: self.content.metainfo.info_hash,
                peer_id: self.id(life),
                port: PEER_PORT,
                tiers: self.contacts.tiers.clone(),
                rng: self.stream(life, "metadata"),
            }),
            peers: Vec::new(),
            announcer: begin.announcer,
            config: self.plan.engine.clone(),
            epoch: self.epoch,
            commands: begin.commands,
            observer: begin.observer,
        });
        let end = host.run().await;
        if let Some(found) = &end.found {
            assert!(
                found.info == self.content.metainfo.info_bytes,
                "what has the info-hash is the metainfo"
            );
            self.has_metainfo.set(true);
        }
        let begin = Begin {
            life,
            net: end.net,
            announcer: end.announcer,
            commands: end.commands,
            observer: end.observer,
        };
        (begin, end.found)
    }

    async fn join(&self, begin: Begin, found: Option<Found>, storage: DiskStorage, have: BitSet) {
        let plan = &self.plan;
        let life = begin.life;
        let geometry = self.content.geometry();
        let web_seeds = WebSeedsSetup::of(&self.content.metainfo, &self.web_seeds);
        let (peers, banned) = found.map_or_else(Default::default, |f| (f.peers, f.banned));
        let torrent = Torrent::new(TorrentSetup {
            config: plan.engine.clone(),
            info_hash: self.content.metainfo.info_hash,
            geometry,
            have,
            priorities: None,
            padding: Vec::new(),
            private: false,
            info_bytes: self.content.metainfo.info_bytes.clone(),
            banned,
            peer_id: self.id(life),
            port: PEER_PORT,
            tiers: self.contacts.tiers.clone(),
            web_seeds: web_seeds.urls.clone(),
            picker: picker::by_name(&plan.picker.name, &plan.picker.params)
                .expect("validation refuses unknown strategies"),
            choker: choker::by_name(&plan.choker.name, &plan.choker.params)
                .expect("validation refuses unknown strategies"),
            rngs: Rngs {
                picker: self.stream(life, "picker"),
                choker: self.stream(life, "choker"),
                contacts: self.stream(life, "contacts"),
            },
        });
        let seed_for = match plan.on_complete {
            OnComplete::Stay => None,
            OnComplete::Leave => Some(Duration::ZERO),
            OnComplete::SeedFor(stay) => Some(stay),
        };
        PeerHost::new(PeerHostSetup {
            net: begin.net,
            storage,
            torrent,
            peers,
            geometry,
            announcer: begin.announcer,
            web_seeds,
            config: plan.engine.clone(),
            epoch: self.epoch,
            // What a seed does when complete is for those who come to download.
            seed_for: if plan.role == Role::Seed {
                None
            } else {
                seed_for
            },
            commands: begin.commands,
            observer: begin.observer,
        })
        .run()
        .await;
    }
}

/// What a stay begins with, and goes on with when the metainfo is there.
struct Begin {
    life: usize,
    net: FabricNet,
    announcer: Announcer,
    commands: mpsc::UnboundedReceiver<Command>,
    observer: Observer,
}

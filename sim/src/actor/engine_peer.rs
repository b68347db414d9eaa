//! Owns an honest host: the engine's client, started and ended as the plan says.
//!
//! Invariant: everything that a client draws comes from streams named by host and life
//! (`peer/home-3#1/picker`), so a restart is a new client and nobody else's draws move. Who has only a
//! magnet link becomes a peer of the content when others have given it the metainfo.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use skep_engine::bits::BitSet;
use skep_engine::choker::{self, Choker};
use skep_engine::node::announcer::Announcer;
use skep_engine::node::magnet_host::{MagnetHost, MagnetHostSetup};
use skep_engine::node::network::Network;
use skep_engine::node::peer_host::{Command, Observer, PeerHost, PeerHostSetup, Running};
use skep_engine::node::recheck::check_content;
use skep_engine::node::web_seeds::WebSeedsSetup;
use skep_engine::picker::{self, PiecePicker};
use skep_engine::prefetch;
use skep_engine::session::event::Event;
use skep_engine::session::metadata_fetch::{FetchSetup, Found, MetadataFetch};
use skep_engine::session::torrent::{Rngs, Torrent, TorrentSetup};
use skep_engine::wire::MessageCounts;
use skep_engine::{EngineConfig, Now, PeerId};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::canary::{Canary, SpoiltDisk, SpoiltNet, Veil};
use crate::content::Content;
use crate::disk::{Disk, DiskStorage};
use crate::fault::users::User;
use crate::network::Net;
use crate::oracle::{self, SwarmCopies};
use crate::own::Own;
use crate::scenario::plan::{EndKind, HostPlan, OnComplete, Role, StrategyPlan};
use crate::seed;
use crate::world::Contacts;

/// Port on which every simulated peer listens.
pub const PEER_PORT: u16 = 6881;

/// What a run keeps of one host, beside the host.
pub trait Books {
    /// Asks for what events of the host look at; see [`skep_engine::prefetch`].
    fn prefetch(&self);
    /// As [`Books::prefetch`], once that is there: asks for what it leads to.
    fn prefetch_lists(&self);
}

/// What an honest host needs for all its lives.
#[derive(Clone)]
pub struct EnginePeer {
    /// Its plan.
    pub plan: HostPlan,
    /// The master seed.
    pub seed: u64,
    /// The network.
    pub net: Net,
    /// The content, for the metainfo file.
    pub content: Arc<Content>,
    /// Its disk.
    pub disk: Rc<RefCell<Disk>>,
    /// A peer that had only a link has the metainfo on its disk.
    pub has_metainfo: Rc<Cell<bool>>,
    /// The trackers.
    pub contacts: Rc<Contacts>,
    /// Its user.
    pub user: Rc<User>,
    /// URLs of web seeds.
    pub web_seeds: Vec<String>,
    /// The start of the run.
    pub epoch: Instant,
    /// Messages that the engines of the run got from peers.
    pub messages: Rc<MessageCounts>,
    /// Strategies of the user's own.
    pub own: &'static Own,
    /// Where hosts are many: what the run keeps of this one.
    pub books: Option<Rc<dyn Books>>,
    /// The swarm's copies of each piece, for the oracle.
    pub swarm: SwarmCopies,
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
        let veil = self.plan.canary.and_then(Canary::veil);
        let observer = match self.plan.canary {
            Some(canary) => canary.observer(observer, veil.clone()),
            None => observer,
        };
        let prepared = self.prepare(life, veil, observer, say.clone(), commands);
        let mut host = Life {
            user: &self.user,
            step: Step::Before(Box::pin(prepared)),
            books: self.books.as_deref(),
            prefetched: false,
        };
        let Some((at, kind)) = end else {
            host.await;
            return None;
        };
        let at = self.epoch + Duration::from_nanos(at.0);
        if tokio::time::timeout_at(at, &mut host).await.is_ok() {
            return None;
        }
        match kind {
            EndKind::Leave | EndKind::UserLeft => {
                // Who has finished stays as long as its user said; churn is for those who wait.
                let complete = self.content.geometry().all_pieces();
                let mut complete = complete.map(|p| self.disk.borrow().piece_is_true(p));
                if kind == EndKind::Leave && complete.all(|there| there) {
                    host.await;
                    return None;
                }
                // A host that is gone already needs no telling.
                let _ = say.send(Command::Leave);
                host.await;
            }
            // The process is dropped as it stands.
            EndKind::Crash => self.disk.borrow_mut().kill(),
            EndKind::PowerLoss => {
                self.net.power_off(self.plan.ip);
                let rng = self.stream(life, "power");
                self.disk.borrow_mut().lose_power(Instant::now(), rng);
            }
        }
        Some(kind)
    }

    /// What the disk holds. A client whose disk cannot be read says so and ends; its user starts it again when it
    /// can be.
    async fn check(&self, observer: &mut Observer) -> (DiskStorage, BitSet) {
        loop {
            let mut storage = DiskStorage::open(Rc::clone(&self.disk));
            match check_content(&mut storage, self.content.geometry(), |_| {}).await {
                Ok(have) => return (storage, have),
                Err(error) => {
                    let now = Now::START.after(Instant::now().duration_since(self.epoch));
                    let why = error.to_string();
                    observer(now, &Event::StorageFailed { why });
                    drop(storage);
                    Disk::well(&self.disk).await;
                }
            }
        }
    }

    /// All that comes before a peer joins the swarm of its content; nothing when its user left before that.
    async fn prepare(
        &self,
        life: usize,
        veil: Option<Rc<RefCell<Veil>>>,
        mut observer: Observer,
        say: mpsc::UnboundedSender<Command>,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Option<InSwarm> {
        let plan = &self.plan;
        let mut net = SpoiltNet::new(self.net.attach(plan.ip), veil);
        let listen = SocketAddr::from((plan.ip, PEER_PORT));
        net.listen(listen)
            .expect("a host listens on its own address");
        let (storage, have) = self.check(&mut observer).await;
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
        let (begin, found) = match self.has_link_only() {
            true => self.fetch(begin).await,
            false => (begin, None),
        };
        // Who still has only the link left before it had more.
        if self.has_link_only() {
            return None;
        }
        self.user.starts(say);
        Some(Box::pin(self.join(begin, found, storage, have)))
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

    fn picker(&self) -> Box<dyn PiecePicker> {
        let StrategyPlan { name, params } = &self.plan.picker;
        if let Some(spoilt) = self.plan.canary.and_then(Canary::picker) {
            return spoilt;
        }
        if name == oracle::GLOBAL_RAREST {
            let copies = Rc::clone(&self.swarm);
            return Box::new(oracle::GlobalRarest { copies });
        }
        let own = || self.own.picker(name, params);
        let picker = picker::by_name(name, params).or_else(own);
        picker.expect("validation refuses unknown strategies")
    }

    fn choker(&self) -> Box<dyn Choker> {
        let StrategyPlan { name, params } = &self.plan.choker;
        let own = || self.own.choker(name, params);
        let choker = choker::by_name(name, params).or_else(own);
        choker.expect("validation refuses unknown strategies")
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
                config: EngineConfig::clone(&self.plan.engine),
                info_hash: self.content.metainfo.info_hash,
                peer_id: self.id(life),
                port: PEER_PORT,
                tiers: self.contacts.tiers.clone(),
                rng: self.stream(life, "metadata"),
            }),
            peers: Vec::new(),
            announcer: begin.announcer,
            config: EngineConfig::clone(&self.plan.engine),
            epoch: self.epoch,
            commands: begin.commands,
            observer: begin.observer,
        })
        .counting(Rc::clone(&self.messages));
        let end = Box::pin(host.run()).await;
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

    fn join(
        &self,
        begin: Begin,
        found: Option<Found>,
        storage: DiskStorage,
        have: BitSet,
    ) -> Running<SpoiltNet, SpoiltDisk> {
        let plan = &self.plan;
        let life = begin.life;
        let geometry = self.content.geometry();
        let web_seeds = WebSeedsSetup::of(&self.content.metainfo, &self.web_seeds);
        let (peers, banned) = found.map_or_else(Default::default, |f| (f.peers, f.banned));
        let torrent = Torrent::new(TorrentSetup {
            config: match plan.canary {
                Some(canary) => canary.config(&plan.engine),
                None => Arc::clone(&plan.engine),
            },
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
            picker: self.picker(),
            choker: self.choker(),
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
        let host = PeerHost::new(PeerHostSetup {
            net: begin.net,
            storage: SpoiltDisk::new(storage, plan.canary),
            torrent,
            peers,
            geometry,
            announcer: begin.announcer,
            web_seeds,
            config: EngineConfig::clone(&plan.engine),
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
        .counting(Rc::clone(&self.messages));
        host.run()
    }
}

/// A peer in the swarm of its content.
type InSwarm = Pin<Box<Running<SpoiltNet, SpoiltDisk>>>;

/// How far a stay is.
enum Step<'a> {
    /// All that comes before the swarm; nothing when its user left before that.
    Before(Pin<Box<dyn Future<Output = Option<InSwarm>> + 'a>>),
    In(InSwarm),
}

/// One stay of a host. Not an `async fn`: what leads to the peer then lies in one place, whenever it is woken.
struct Life<'a> {
    user: &'a User,
    step: Step<'a>,
    /// It is one of many: before each turn it asks for memory in a turn of its own.
    books: Option<&'a dyn Books>,
    prefetched: bool,
}

impl Future for Life<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Step::Before(prepared) = &mut self.step {
            match ready!(prepared.as_mut().poll(cx)) {
                Some(peer) => self.step = Step::In(peer),
                None => return Poll::Ready(()),
            }
        }
        let this = &mut *self;
        if let Step::In(peer) = &mut this.step {
            if let Some(books) = this.books {
                this.prefetched = !this.prefetched;
                if this.prefetched {
                    prefetch::front(books);
                    let carries = peer.prefetch(prefetch::address_of(&this.prefetched));
                    if carries {
                        books.prefetch();
                    }
                    peer.prefetch_lists();
                    if carries {
                        books.prefetch_lists();
                    }
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
            ready!(peer.as_mut().poll(cx));
            this.user.ended();
        }
        Poll::Ready(())
    }
}

/// What a stay begins with, and goes on with when the metainfo is there.
struct Begin {
    life: usize,
    net: SpoiltNet,
    announcer: Announcer,
    commands: mpsc::UnboundedReceiver<Command>,
    observer: Observer,
}

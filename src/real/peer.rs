//! Owns one real peer from its start to its end: sets the engine up on sockets, shows how it is doing,
//! and tells it when to leave.
//!
//! Invariant: a peer that was started leaves in an orderly way (`stopped` goes to the tracker) whatever
//! ends it, except a second Ctrl-C.

use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use skep_engine::bits::BitSet;
use skep_engine::metainfo::{Geometry, Metainfo, Priority};
use skep_engine::node::announcer::{Announcer, AnnouncerSetup};
use skep_engine::node::network::Network;
use skep_engine::node::peer_host::{Command, PeerHost, PeerHostSetup};
use skep_engine::node::real::RealNetwork;
use skep_engine::node::recheck::check_content;
use skep_engine::node::web_seeds::WebSeedsSetup;
use skep_engine::picker::Params;
use skep_engine::session::torrent::{Rngs, Torrent, TorrentSetup};
use skep_engine::storage::file::FileStorage;
use skep_engine::tracker::announce::PeerAddr;
use skep_engine::tracker::target::TrackerTarget;
use skep_engine::{EngineConfig, PeerId, choker, picker};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{Instant, timeout};

use super::disk::Told;
use super::progress::Screen;
use super::signals::{Asked, Signals};
use super::watch::{Seen, Watch, bytes_of};
use super::{cannot_listen, os_rng};
use crate::failure::{Exit, Failure, tell};
use crate::humane::{count, plain};
use crate::torrent::read::Trackers;

/// Time between two looks at a running peer.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What a real peer is made of.
pub struct Joining<'a> {
    /// The torrent.
    pub meta: &'a Metainfo,
    /// Its trackers.
    pub trackers: Trackers,
    /// URLs of its web seeds.
    pub web_seeds: Vec<String>,
    /// Its files.
    pub disk: FileStorage,
    /// The pieces that were verified in them.
    pub have: BitSet,
    /// The pieces that are wanted.
    pub wanted: BitSet,
    /// What is wanted of each piece; `None`: everything.
    pub priorities: Option<Vec<Priority>>,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The engine's numbers.
    pub config: EngineConfig,
    /// Peers that the user names.
    pub peers: Vec<PeerAddr>,
    /// What is there already, if the metainfo came from other peers; it listens.
    pub head_start: Option<HeadStart>,
}

/// What getting the metainfo from other peers leaves to go on with.
pub struct HeadStart {
    /// The network, which listens.
    pub net: RealNetwork,
    /// Where it listens.
    pub at: SocketAddr,
    /// The moment that its talk with the trackers calls 0.
    pub epoch: Instant,
    /// Our id, which trackers and peers know.
    pub peer_id: PeerId,
    /// The talk with the trackers of the link.
    pub announcer: Announcer,
    /// Peers that were told or met.
    pub peers: Vec<PeerAddr>,
    /// Peers that lied.
    pub banned: Vec<(SocketAddr, PeerId)>,
}

impl HeadStart {
    /// A new peer: it listens from now on, and knows nobody.
    fn none(
        listen: SocketAddr,
        targets: Vec<TrackerTarget>,
        config: &EngineConfig,
    ) -> Result<HeadStart, Failure> {
        let mut net = RealNetwork::new(config);
        let at = net
            .listen(listen)
            .map_err(|error| cannot_listen(listen, &error))?;
        let epoch = Instant::now();
        let setup = AnnouncerSetup {
            trackers: targets,
            epoch,
            rng: os_rng()?,
        };
        Ok(HeadStart {
            net,
            at,
            epoch,
            peer_id: PeerId::random(&mut os_rng()?),
            announcer: Announcer::new(setup, config),
            peers: Vec::new(),
            banned: Vec::new(),
        })
    }
}

/// A peer that listens and has not begun.
pub struct RealPeer {
    host: PeerHost<RealNetwork, Told<FileStorage>>,
    watch: Rc<Watch>,
    commands: UnboundedSender<Command>,
    total: u64,
    /// Where it listens.
    pub at: SocketAddr,
}

/// How long a peer stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stay {
    /// Until the user asks it to end.
    UntilAsked,
    /// Until the content is complete, and this much longer.
    AfterComplete(Duration),
}

/// How a peer ended.
pub struct Ended {
    /// The session with its books.
    pub torrent: Torrent,
    /// The content is complete, durable and has its final names.
    pub durable: bool,
    /// What the disk said, when it failed.
    pub failure: Option<String>,
    /// It failed because there was no room.
    pub disk_full: bool,
    /// Until the content was complete, or until the end.
    pub time: Duration,
}

/// Checks which pieces are on the disk, with progress.
pub async fn check(
    disk: &mut FileStorage,
    geometry: Geometry,
    signals: &mut Signals,
) -> Result<BitSet, Failure> {
    for note in disk.notes() {
        tell(&format!("note: {}\n", plain(note)));
    }
    let mut screen = Screen::new("checking");
    let piece_bytes = u64::from(geometry.piece_bytes);
    let checked = check_content(disk, geometry, |pieces| {
        let done = u64::from(pieces) * piece_bytes;
        screen.show(done.min(geometry.total), geometry.total, "");
    });
    let checked = match select(pin!(checked), pin!(signals.end())).await {
        Either::Left((checked, _)) => Some(checked),
        Either::Right(((), _)) => None,
    };
    screen.clear();
    let checked = checked.ok_or_else(|| Failure::new(Exit::Failed, "ended while checking"))?;
    checked.map_err(|error| Failure::new(Exit::Failed, format!("the disk failed: {error}")))
}

impl RealPeer {
    /// A peer of a torrent, listening. Complete content has its final names already.
    pub fn new(joining: Joining<'_>) -> Result<RealPeer, Failure> {
        let Joining {
            meta,
            trackers,
            web_seeds,
            disk,
            have,
            wanted,
            priorities,
            listen,
            config,
            peers: named,
            head_start,
        } = joining;
        let start = match head_start {
            Some(start) => start,
            None => HeadStart::none(listen, trackers.targets, &config)?,
        };
        let HeadStart {
            net,
            at,
            epoch,
            peer_id,
            announcer,
            mut peers,
            banned,
        } = start;
        peers.extend(named);
        let watch = Rc::new(Watch::new(meta.geometry, trackers.names, &have, &wanted));
        let total = bytes_of(meta.geometry, &wanted);
        let web_seeds = WebSeedsSetup::of(meta, &web_seeds);
        let none = Params::new();
        let torrent = Torrent::new(TorrentSetup {
            config: Arc::new(config.clone()),
            info_hash: meta.info_hash,
            geometry: meta.geometry,
            have,
            priorities,
            padding: meta.padding(),
            private: meta.private,
            info_bytes: meta.info_bytes.clone(),
            banned,
            peer_id,
            port: at.port(),
            tiers: trackers.tiers,
            web_seeds: web_seeds.urls.clone(),
            picker: picker::by_name("rarest-first", &none).expect("the engine has it"),
            choker: choker::by_name("tit-for-tat", &none).expect("the engine has it"),
            rngs: Rngs {
                picker: os_rng()?,
                choker: os_rng()?,
                contacts: os_rng()?,
            },
        });
        let (commands, told) = unbounded_channel();
        let hears = Rc::clone(&watch);
        let host = PeerHost::new(PeerHostSetup {
            net,
            storage: Told::new(disk, Rc::clone(&watch)),
            torrent,
            peers,
            geometry: meta.geometry,
            announcer,
            web_seeds,
            config,
            epoch,
            // The user below says when to leave: the disk must have finished before.
            seed_for: None,
            commands: told,
            observer: Box::new(move |at, event| hears.on_event(at, event)),
        });
        Ok(RealPeer {
            host,
            watch,
            commands,
            total,
            at,
        })
    }

    /// Runs until it has left.
    pub async fn run(self, stay: Stay, signals: &mut Signals) -> Ended {
        let began = Instant::now();
        let mut user = User {
            watch: Rc::clone(&self.watch),
            commands: self.commands,
            total: self.total,
            screens: [Screen::new("getting"), Screen::new("seeding")],
        };
        // The user only ends together with the peer.
        let torrent = match select(pin!(self.host.run()), pin!(user.attend(stay, signals))).await {
            Either::Left((torrent, _)) => torrent,
            Either::Right((never, _)) => match never {},
        };
        let seen = self.watch.seen();
        let completed = seen.completed.map(|at| Duration::from_nanos(at.0));
        Ended {
            torrent,
            durable: seen.durable,
            failure: seen.failure.clone(),
            disk_full: seen.disk_full,
            time: completed.unwrap_or_else(|| began.elapsed()),
        }
    }
}

/// Who looks after a running peer.
struct User {
    watch: Rc<Watch>,
    commands: UnboundedSender<Command>,
    total: u64,
    /// While something is missing, and from then on.
    screens: [Screen; 2],
}

impl User {
    /// Shows what happens, and tells the peer to leave when it is time or the user asks.
    async fn attend(&mut self, stay: Stay, signals: &mut Signals) -> std::convert::Infallible {
        let mut leave_at = None;
        let mut leaving = false;
        loop {
            self.show();
            if let Stay::AfterComplete(stay) = stay
                && self.watch.seen().durable
            {
                leave_at.get_or_insert_with(|| Instant::now() + stay);
            }
            let over = leave_at.is_some_and(|at| at <= Instant::now());
            if !leaving && (over || self.watch.seen().failure.is_some()) {
                leaving = true;
                self.leave();
            }
            let until = leave_at.map_or(LOOK_EVERY, |at| {
                LOOK_EVERY.min(at.saturating_duration_since(Instant::now()))
            });
            let until = if leaving { LOOK_EVERY } else { until };
            let look = timeout(until, self.watch.changed());
            match select(pin!(signals.asked()), pin!(look)).await {
                Either::Left((Asked::End, _)) => {
                    self.note("leaving: the tracker is told (Ctrl-C again ends at once)");
                    leaving = true;
                    self.leave();
                }
                Either::Left((Asked::Recheck, _)) => {
                    self.note("every verified piece is checked again");
                    // It fails only when the peer has left already.
                    let _ = self.commands.send(Command::Recheck);
                }
                Either::Right(_) => {}
            }
        }
    }

    fn leave(&self) {
        self.screens.iter().for_each(Screen::clear);
        // It fails only when the peer has left already.
        let _ = self.commands.send(Command::Leave);
    }

    fn show(&mut self) {
        for note in self.watch.notes() {
            self.note(&note);
        }
        let seen = self.watch.seen();
        let beside = beside(&seen);
        let [getting, seeding] = &mut self.screens;
        if seen.here < self.total {
            getting.show(seen.here, self.total, &beside);
        } else {
            getting.clear();
            seeding.show_given(seen.sent, &beside);
        }
    }

    fn note(&self, text: &str) {
        let seeding = self.watch.seen().here >= self.total;
        self.screens[usize::from(seeding)].note(text);
    }
}

fn beside(seen: &Seen) -> String {
    let peers = count(seen.peers.len() as u64, "peer");
    match seen.web_seeds.len() as u64 {
        0 => peers,
        some => format!("{peers}, {}", count(some, "web seed")),
    }
}

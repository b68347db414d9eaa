//! Nobody receives faster than the links allow: of every stretch of time a peer's downlink could have carried what
//! came in it, but for what was under way when it began; each sender's uplink could have carried what ever came
//! from it; the last completion is not before the physical limit; and nobody verifies more than has left the seeds, where
//! they alone had something.

use skep_engine::bits::BitSet;
use skep_engine::ids::BLOCK_BYTES;
use skep_engine::metainfo::Geometry;
use skep_engine::session::event::Event;
use skep_engine::{Now, PieceIndex};

use super::{Check, Log, Scene, Seen};
use crate::actor::client::ClientEvent;
use crate::bounds;
use crate::disk::condition::Speed;
use crate::fault::FaultNews;
use crate::network::link::parcel_wire_max;
use crate::scenario::Plan;
use crate::scenario::plan::{EndKind, FaultKind, HostPlan, Role};
use crate::trace::WorldEvent;

/// Bytes that a link could have carried and that nobody has received: an amount that grows at a rate, up to `most`.
#[derive(Clone, Copy)]
struct Capacity {
    /// Byte-nanoseconds per second: bytes x 10^9, so that integers are exact.
    left: u128,
    most: u128,
    rate: u64,
    since: u64,
}

impl Capacity {
    fn new(most: Option<u64>) -> Capacity {
        Capacity {
            left: 0,
            most: most.map_or(u128::MAX, scaled),
            rate: 0,
            since: 0,
        }
    }

    fn change(&mut self, rate: u64, now: Now) {
        self.left = self.at(now);
        self.since = now.0;
        self.rate = rate;
    }

    fn at(&self, now: Now) -> u128 {
        let grown = u128::from(self.rate) * u128::from(now.0.saturating_sub(self.since));
        self.left.saturating_add(grown).min(self.most)
    }

    /// Something that began before the rate fell may end at the old one.
    fn allow(&mut self, bytes: u64) {
        self.left = self.left.saturating_add(scaled(bytes)).min(self.most);
    }

    /// So many bytes came; false when that was not possible.
    fn take(&mut self, bytes: u64, now: Now) -> bool {
        let left = self.at(now);
        (self.left, self.since) = (left.saturating_sub(scaled(bytes)), now.0);
        left >= scaled(bytes)
    }
}

fn scaled(bytes: u64) -> u128 {
    u128::from(bytes) * 1_000_000_000
}

/// Moments are rounded up to whole milliseconds, on turmoil to its ticks of 5 ms: what comes within so much of a
/// second may be told of at once.
const TOGETHER_PER_SECOND: u64 = 100;

/// What may be under way at a host's end of its downlink: carried, and not yet received as far as it tells. `None`:
/// there is no such limit, for its disk may keep it from reading what has come.
fn under_way_max(plan: &Plan, host: usize) -> Option<u64> {
    let this = &plan.hosts[host];
    let slow = this.disk != Speed::default();
    let fails = plan
        .faults
        .iter()
        .any(|fault| matches!(fault.kind, FaultKind::Disk(..)) && fault.hosts.contains(&host));
    if slow || fails {
        return None;
    }
    let config = &this.engine;
    let block = u64::from(BLOCK_BYTES);
    let blocks = match this.role {
        // It tells of the pieces of a body, as they come.
        Role::Client => config.fetch_unread_max + 4 * block,
        _ => {
            // Of each connection a block may lack its last byte. Two may stand for a moment where one is meant.
            let others = plan.hosts.iter().enumerate().filter(|(at, _)| *at != host);
            let each = others.map(|(_, other)| match other.role {
                Role::Attacker => u64::from(config.connections_per_address),
                _ => 2,
            });
            let peers = each.sum::<u64>().min(u64::from(config.connections_max));
            let web = match plan.hosts.iter().any(|other| other.web_seed) {
                true => u64::from(config.web_seed_connections_max),
                false => 0,
            };
            (peers + web) * block
        }
    };
    let rate = plan.rates_max(host, None).1;
    Some(blocks + parcel_wire_max() + rate / TOGETHER_PER_SECOND)
}

/// Integrates the links.
pub(super) struct BoundRespected {
    hosts: Vec<Links>,
    last_completion: Option<Now>,
    out: Out,
}

/// The blocks that seeds have sent, where nobody else had anything at the start.
struct Out {
    wanted: bool,
    /// A bit per block of the content.
    blocks: Vec<u64>,
    /// What each host verified.
    verified: Vec<BitSet>,
}

impl Out {
    fn of(plan: &Plan) -> Out {
        let nothing = |h: &HostPlan| match h.role {
            Role::Seed => true,
            Role::Leecher => h.have.is_empty(),
            _ => false,
        };
        Out {
            wanted: plan.hosts.iter().all(nothing),
            blocks: Vec::new(),
            verified: vec![BitSet::empty(plan.torrent.pieces()); plan.hosts.len()],
        }
    }

    fn take(&mut self, host: usize, event: &Event, scene: &Scene<'_>) {
        match event {
            Event::PieceVerified { piece, good: true } => {
                self.verified[host].insert(*piece);
            }
            Event::BlockSent { piece, begin, .. } if scene.plan.hosts[host].role == Role::Seed => {
                let geometry = scene.content.geometry();
                self.note(Out::number(geometry, *piece, *begin));
            }
            _ => {}
        }
    }

    /// The number of the block in which a byte of a piece lies.
    fn number(geometry: Geometry, piece: PieceIndex, begin: u32) -> usize {
        let each = geometry.piece_bytes.div_ceil(BLOCK_BYTES) as usize;
        piece.at() * each + (begin / BLOCK_BYTES) as usize
    }

    fn note(&mut self, number: usize) {
        if self.blocks.len() <= number / 64 {
            self.blocks.resize(number / 64 + 1, 0);
        }
        self.blocks[number / 64] |= 1 << (number % 64);
    }

    /// Bytes of the blocks that were sent.
    fn bytes(&self, geometry: Geometry) -> u64 {
        let came = |number: usize| {
            let word = self.blocks.get(number / 64).copied().unwrap_or(0);
            word >> (number % 64) & 1 == 1
        };
        let pieces = geometry.all_pieces();
        let blocks =
            pieces.flat_map(|p| (0..geometry.blocks_in(p)).map(move |b| geometry.block(p, b)));
        let came = blocks.filter(|r| came(Out::number(geometry, r.piece, r.begin)));
        came.map(|range| u64::from(range.len)).sum()
    }
}

/// What is known of one host.
#[derive(Clone, Copy)]
struct Links {
    downlink: Capacity,
    uplink: Capacity,
    online: bool,
    /// Its machine is there: of a client that has left it still delivers what was sent.
    sends: bool,
}

impl BoundRespected {
    pub(super) fn new(plan: &Plan) -> BoundRespected {
        let links = |host| Links {
            downlink: Capacity::new(under_way_max(plan, host)),
            // What left it may stay on its way for long: a path that is cut and works again delivers it at once.
            uplink: Capacity::new(None),
            online: false,
            sends: false,
        };
        BoundRespected {
            hosts: (0..plan.hosts.len()).map(links).collect(),
            last_completion: None,
            out: Out::of(plan),
        }
    }

    /// A host came or went, or its link is another one. Links count as what they have at most: of changes
    /// that overlap the fastest.
    fn look_at_link(&mut self, host: usize, at: Now, plan: &Plan) {
        let links = &mut self.hosts[host];
        let (up, down) = plan.rates_max(host, Some(at));
        let when = |on, rate| if on { rate } else { 0 };
        links.downlink.change(when(links.online, down), at);
        links.uplink.change(when(links.sends, up), at);
    }

    /// A host received bytes of another.
    fn received(
        &mut self,
        host: usize,
        from: Option<usize>,
        bytes: u64,
        seen: &Seen<'_>,
        scene: &Scene<'_>,
        log: &mut Log,
    ) {
        let fits = self.hosts[host].downlink.take(bytes, seen.at);
        log.require(fits, seen.at, seen.host, || {
            format!("{bytes} bytes received sooner than the downlink could carry them")
        });
        if let Some(from) = from {
            let fits = self.hosts[from].uplink.take(bytes, seen.at);
            log.require(fits, seen.at, seen.host, || {
                let sender = &scene.plan.hosts[from].name;
                format!("{bytes} bytes received that the uplink of {sender} could not yet carry")
            });
        }
    }
}

impl Check for BoundRespected {
    fn name(&self) -> &'static str {
        "bound-respected"
    }

    fn sentence(&self) -> &'static str {
        "nobody receives faster than the links allow"
    }

    fn on_event(&mut self, seen: &Seen<'_>, scene: &Scene<'_>, log: &mut Log) {
        if let WorldEvent::Fault(number, news) = seen.event {
            let fault = &scene.plan.faults[*number as usize];
            let changes = matches!(fault.kind, FaultKind::Link(_));
            for host in fault.hosts.iter().filter(|_| changes) {
                if *news == FaultNews::Ended {
                    self.hosts[*host].uplink.allow(parcel_wire_max());
                    self.hosts[*host].downlink.allow(parcel_wire_max());
                }
                self.look_at_link(*host, seen.at, scene.plan);
            }
        }
        let Some(host) = seen.host else { return };
        if let WorldEvent::Peer(event) = seen.event
            && self.out.wanted
        {
            self.out.take(host, event, scene);
        }
        match seen.event {
            WorldEvent::Joined | WorldEvent::Ended(_) => {
                let crashed = WorldEvent::Ended(Some(EndKind::Crash));
                let dark = WorldEvent::Ended(Some(EndKind::PowerLoss));
                let links = &mut self.hosts[host];
                links.online = *seen.event == WorldEvent::Joined;
                links.sends = *seen.event != crashed && *seen.event != dark;
                self.look_at_link(host, seen.at, scene.plan);
            }
            WorldEvent::Peer(
                Event::BlockReceived { peer, len, .. } | Event::BlockWasted { peer, len, .. },
            )
            | WorldEvent::Client(ClientEvent::Received {
                from: peer,
                bytes: len,
            }) => {
                let from = scene.host_at(peer.ip());
                self.received(host, from, u64::from(*len), seen, scene, log);
            }
            WorldEvent::Peer(Event::Completed) | WorldEvent::Client(ClientEvent::Completed) => {
                // Who may leave unfinished is not part of the limit.
                let plan = &scene.plan.hosts[host];
                let stays = plan.sessions.last().is_some_and(|s| s.end.is_none());
                if plan.role.takes() && stays {
                    self.last_completion = Some(seen.at);
                }
            }
            _ => {}
        }
    }

    fn at_end(&mut self, at: Now, scene: &Scene<'_>, log: &mut Log) {
        let stays =
            |s: &[crate::scenario::plan::SessionPlan]| s.last().is_some_and(|s| s.end.is_none());
        let hosts = scene.plan.hosts.iter().enumerate();
        let mut all = hosts.filter(|(_, h)| h.role.takes() && stays(&h.sessions));
        let whole = |host: usize| scene.disks[host].borrow().is_whole();
        // The limit is for the last of all of them; while one is missing there is no last.
        if let Some(last) = self.last_completion
            && all.all(|(host, _)| whole(host))
        {
            let bound = bounds::last_completion(scene.plan);
            log.require(last.as_secs_f64() >= bound.seconds, at, None, || {
                let seconds = bound.seconds;
                format!("the last completion at {last} beats the limit of {seconds:.3} s")
            });
        }
        if self.out.wanted {
            let geometry = scene.content.geometry();
            let out = self.out.bytes(geometry);
            for (host, verified) in self.out.verified.iter().enumerate() {
                let held = verified.iter().map(|p| u64::from(geometry.piece_len(p)));
                let held: u64 = held.sum();
                log.require(held <= out, at, Some(host), || {
                    format!("it verified {held} bytes, and {out} have left the seeds")
                });
            }
        }
    }
}

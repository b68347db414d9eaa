//! Bytes are conserved: nobody receives what was not sent to it; what a peer received is verified, failed its
//! hash, or waits in a piece in progress; what a client has is what it kept and received and did not drop.

use skep_engine::node::file_server::ServerEvent;
use skep_engine::prefetch;
use skep_engine::session::event::Event;
use skep_engine::{Now, PieceIndex};

use super::{Check, Log, Scene, Seen};
use crate::actor::client::ClientEvent;
use crate::scenario::Plan;
use crate::trace::{Attack, WorldEvent};

/// Keeps the books of every ordered pair of hosts, and of every host's pieces in progress.
pub(super) struct BytesConserved {
    hosts: Vec<Books>,
}

/// The books of one host.
#[derive(Clone, Default)]
struct Books {
    /// Sent to it and not yet received, by sender, in order; of whom nothing is under way, nothing is here.
    under_way: Vec<(usize, u64)>,
    /// Received and not yet verified.
    in_progress: u64,
    /// Kept, received and not dropped by a client.
    fetched: u64,
    /// Its disk failed; it has not gone on since.
    disk_failed: bool,
    complete: bool,
}

impl BytesConserved {
    pub(super) fn new(plan: &Plan) -> BytesConserved {
        BytesConserved {
            hosts: vec![Books::default(); plan.hosts.len()],
        }
    }

    fn received(
        &mut self,
        from: Option<usize>,
        to: usize,
        len: u32,
        seen: &Seen<'_>,
        log: &mut Log,
    ) {
        let len = u64::from(len);
        let sent = from.map_or(0, |from| self.hosts[to].arrived(from, len));
        log.require(sent >= len, seen.at, seen.host, || {
            format!("received {len} bytes where {sent} were under way")
        });
    }

    fn client(
        &mut self,
        host: usize,
        event: &ClientEvent,
        seen: &Seen<'_>,
        scene: &Scene<'_>,
        log: &mut Log,
    ) {
        match event {
            ClientEvent::Started { kept } => self.hosts[host].fetched = *kept,
            ClientEvent::Received { from, bytes } => {
                self.received(scene.host_at(from.ip()), host, *bytes, seen, log);
                self.hosts[host].fetched += u64::from(*bytes);
            }
            ClientEvent::StartedOver { dropped, .. } => {
                let held = self.hosts[host].fetched;
                log.require(held >= *dropped, seen.at, seen.host, || {
                    format!("dropped {dropped} bytes where {held} were")
                });
                self.hosts[host].fetched = held.saturating_sub(*dropped);
            }
            ClientEvent::Completed => {
                self.hosts[host].complete = true;
                let (held, total) = (self.hosts[host].fetched, scene.content.geometry().total);
                log.require(held == total, seen.at, seen.host, || {
                    format!("complete with {held} bytes of {total}")
                });
            }
            _ => {}
        }
    }

    fn verified(
        &mut self,
        host: usize,
        piece: PieceIndex,
        seen: &Seen<'_>,
        scene: &Scene<'_>,
        log: &mut Log,
    ) {
        let len = u64::from(scene.content.geometry().piece_len(piece));
        let held = self.hosts[host].in_progress;
        log.require(held >= len, seen.at, seen.host, || {
            format!("verified piece {piece} of {len} bytes having received {held}")
        });
        self.hosts[host].in_progress = held.saturating_sub(len);
    }
}

impl Books {
    /// So many bytes left for it.
    fn sent(&mut self, from: usize, len: u64) {
        match self.place_of(from) {
            Ok(place) => self.under_way[place].1 += len,
            Err(place) if len > 0 => self.under_way.insert(place, (from, len)),
            Err(_) => {}
        }
    }

    /// So many bytes are received. Returns how many were under way.
    fn arrived(&mut self, from: usize, len: u64) -> u64 {
        let Ok(place) = self.place_of(from) else {
            return 0;
        };
        let sent = self.under_way[place].1;
        if sent <= len {
            self.under_way.remove(place);
        } else {
            self.under_way[place].1 -= len;
        }
        sent
    }

    fn place_of(&self, from: usize) -> Result<usize, usize> {
        self.under_way
            .binary_search_by_key(&from, |(from, _)| *from)
    }

    /// What is in progress is given up.
    fn start_anew(&mut self) {
        self.disk_failed = false;
        self.in_progress = 0;
    }
}

impl Check for BytesConserved {
    fn name(&self) -> &'static str {
        "bytes-conserved"
    }

    fn sentence(&self) -> &'static str {
        "what is received was sent, and what was received is verified, failed, dropped or in progress"
    }

    fn prefetch(&self, host: usize) {
        prefetch::value(&self.hosts[host]);
    }

    fn prefetch_lists(&self, host: usize) {
        prefetch::value_of(&self.hosts[host].under_way);
    }

    fn on_event(&mut self, seen: &Seen<'_>, scene: &Scene<'_>, log: &mut Log) {
        let Some(host) = seen.host else { return };
        let at = |addr: &std::net::SocketAddr| scene.host_at(addr.ip());
        match seen.event {
            WorldEvent::Peer(Event::BlockSent { peer, len, .. })
            | WorldEvent::Server(ServerEvent::Sent {
                to: peer,
                bytes: len,
                ..
            })
            | WorldEvent::Attack(Attack::Sent { to: peer, len }) => {
                if let Some(to) = at(peer) {
                    self.hosts[to].sent(host, u64::from(*len));
                }
            }
            WorldEvent::Peer(Event::BlockReceived { peer, len, .. }) => {
                self.received(at(peer), host, *len, seen, log);
                self.hosts[host].in_progress += u64::from(*len);
            }
            WorldEvent::Peer(Event::BlockWasted { peer, len, .. })
            | WorldEvent::Attack(Attack::Received { from: peer, len }) => {
                self.received(at(peer), host, *len, seen, log);
            }
            WorldEvent::Client(event) => self.client(host, event, seen, scene, log),
            WorldEvent::Peer(Event::PieceVerified { piece, .. }) => {
                self.verified(host, *piece, seen, scene, log);
            }
            WorldEvent::Peer(Event::Completed) => {
                self.hosts[host].complete = true;
                let rest = self.hosts[host].in_progress;
                log.require(rest == 0, seen.at, seen.host, || {
                    format!("complete with {rest} bytes in progress")
                });
            }
            WorldEvent::Peer(Event::Started { .. }) => self.hosts[host].disk_failed = false,
            WorldEvent::Peer(Event::StorageFailed { .. }) => self.hosts[host].disk_failed = true,
            // A client's next life starts its unfinished pieces anew, and so does who goes on after a disk failure.
            WorldEvent::Peer(Event::Resumed) if self.hosts[host].disk_failed => {
                self.hosts[host].start_anew();
            }
            WorldEvent::Ended(_) => self.hosts[host].start_anew(),
            _ => {}
        }
    }

    fn at_end(&mut self, at: Now, scene: &Scene<'_>, log: &mut Log) {
        let books = self.hosts.iter().enumerate();
        for (host, _) in books.filter(|(_, books)| books.complete) {
            let disk = scene.disks[host].borrow();
            // A client does not notice a bit that flips when it has everything.
            let mut pieces = scene.content.geometry().all_pieces();
            let there = |piece| disk.piece_is_true(piece) || disk.flipped(piece);
            let whole = disk.is_whole() || pieces.all(there);
            log.require(whole, at, Some(host), || {
                "called itself complete without the whole content on disk".to_owned()
            });
        }
    }
}

//! Bytes are conserved: nobody receives what was not sent to it; what a peer received is verified, failed its
//! hash, or waits in a piece in progress; what a client has is what it kept and received and did not drop.

use skep_engine::node::file_server::ServerEvent;
use skep_engine::session::event::Event;
use skep_engine::{Now, PieceIndex};

use super::{Check, Log, Scene, Seen};
use crate::actor::client::ClientEvent;
use crate::scenario::Plan;
use crate::trace::{Attack, WorldEvent};

/// Keeps the books of every ordered pair of hosts, and of every host's pieces in progress.
pub(super) struct BytesConserved {
    /// Sent and not yet received: by receiver, for each sender, in order of senders.
    under_way: Vec<Vec<(usize, u64)>>,
    /// Received and not yet verified, by host.
    in_progress: Vec<u64>,
    /// Whose disk failed; it has not gone on since.
    disk_failed: Vec<bool>,
    complete: Vec<bool>,
    /// Kept, received and not dropped by a client, by host.
    fetched: Vec<u64>,
}

impl BytesConserved {
    pub(super) fn new(plan: &Plan) -> BytesConserved {
        let hosts = plan.hosts.len();
        BytesConserved {
            under_way: vec![Vec::new(); hosts],
            in_progress: vec![0; hosts],
            disk_failed: vec![false; hosts],
            complete: vec![false; hosts],
            fetched: vec![0; hosts],
        }
    }

    /// What is under way from one host to another.
    fn open(&mut self, from: usize, to: usize) -> &mut u64 {
        let senders = &mut self.under_way[to];
        let place = match senders.binary_search_by_key(&from, |(from, _)| *from) {
            Ok(place) => place,
            Err(place) => {
                senders.insert(place, (from, 0));
                place
            }
        };
        &mut senders[place].1
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
        let open = from.map(|from| self.open(from, to));
        let sent = open.as_ref().map_or(0, |open| **open);
        log.require(sent >= len, seen.at, seen.host, || {
            format!("received {len} bytes where {sent} were under way")
        });
        if let Some(open) = open {
            *open = open.saturating_sub(len);
        }
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
            ClientEvent::Started { kept } => self.fetched[host] = *kept,
            ClientEvent::Received { from, bytes } => {
                self.received(scene.host_at(from.ip()), host, *bytes, seen, log);
                self.fetched[host] += u64::from(*bytes);
            }
            ClientEvent::StartedOver { dropped, .. } => {
                let held = self.fetched[host];
                log.require(held >= *dropped, seen.at, seen.host, || {
                    format!("dropped {dropped} bytes where {held} were")
                });
                self.fetched[host] = held.saturating_sub(*dropped);
            }
            ClientEvent::Completed => {
                self.complete[host] = true;
                let (held, total) = (self.fetched[host], scene.content.geometry().total);
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
        let held = self.in_progress[host];
        log.require(held >= len, seen.at, seen.host, || {
            format!("verified piece {piece} of {len} bytes having received {held}")
        });
        self.in_progress[host] = held.saturating_sub(len);
    }
}

impl Check for BytesConserved {
    fn name(&self) -> &'static str {
        "bytes-conserved"
    }

    fn sentence(&self) -> &'static str {
        "what is received was sent, and what was received is verified, failed, dropped or in progress"
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
                    *self.open(host, to) += u64::from(*len);
                }
            }
            WorldEvent::Peer(Event::BlockReceived { peer, len, .. }) => {
                self.received(at(peer), host, *len, seen, log);
                self.in_progress[host] += u64::from(*len);
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
                self.complete[host] = true;
                let rest = self.in_progress[host];
                log.require(rest == 0, seen.at, seen.host, || {
                    format!("complete with {rest} bytes in progress")
                });
            }
            WorldEvent::Peer(Event::Started { .. }) => self.disk_failed[host] = false,
            WorldEvent::Peer(Event::StorageFailed { .. }) => self.disk_failed[host] = true,
            // A client's next life starts its unfinished pieces anew, and so does who goes on after a disk failure.
            WorldEvent::Peer(Event::Resumed) if self.disk_failed[host] => {
                self.disk_failed[host] = false;
                self.in_progress[host] = 0;
            }
            WorldEvent::Ended(_) => {
                self.disk_failed[host] = false;
                self.in_progress[host] = 0;
            }
            _ => {}
        }
    }

    fn at_end(&mut self, at: Now, scene: &Scene<'_>, log: &mut Log) {
        for (host, _) in self.complete.iter().enumerate().filter(|(_, c)| **c) {
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

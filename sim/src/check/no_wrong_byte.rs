//! No wrong byte is ever marked as verified, served by an honest peer, or under a client's final name.
//!
//! A peer cannot know of a bit that a fault flips in a piece that it has verified, until it hashes it again: like
//! other clients, and like one that starts on resume data, it serves what it verified once. Such a piece, of
//! such a host, it may hold and serve; who gets it must find the lie all the same.

use skep_engine::bits::BitSet;
use skep_engine::prefetch;
use skep_engine::session::event::Event;

use super::{Check, Log, Scene, Seen};
use crate::actor::client::ClientEvent;
use crate::scenario::Plan;
use crate::trace::WorldEvent;

/// Compares what is on disk with the content whenever a session calls a piece good, and remembers
/// which pieces a peer may serve.
pub(super) struct NoWrongByte {
    verified: Vec<BitSet>,
}

impl NoWrongByte {
    pub(super) fn new(plan: &Plan) -> NoWrongByte {
        let none = BitSet::empty(plan.torrent.pieces());
        NoWrongByte {
            verified: vec![none; plan.hosts.len()],
        }
    }
}

impl Check for NoWrongByte {
    fn name(&self) -> &'static str {
        "no-wrong-byte"
    }

    fn sentence(&self) -> &'static str {
        "no wrong byte is ever marked as verified, or served as such but by who cannot know of a flipped bit"
    }

    fn at_once(&self) -> bool {
        true
    }

    fn prefetch(&self, host: usize) {
        prefetch::value(&self.verified[host]);
    }

    fn on_event(&mut self, seen: &Seen<'_>, scene: &Scene<'_>, log: &mut Log) {
        let Some(host) = seen.host else { return };
        let disk = &scene.disks[host];
        let event = match seen.event {
            WorldEvent::Peer(event) => event,
            WorldEvent::Client(ClientEvent::Fetched { file }) => {
                let truth = disk.borrow().file_is_true(*file as usize);
                log.require(truth, seen.at, seen.host, || {
                    format!("file {file} has its name, and is not what the server has")
                });
                return;
            }
            _ => return,
        };
        match event {
            Event::Started { have } => {
                let disk = disk.borrow();
                let geometry = scene.content.geometry();
                let mut held = BitSet::empty(geometry.pieces);
                for piece in geometry.all_pieces().filter(|p| disk.piece_is_true(*p)) {
                    held.insert(piece);
                }
                let count = held.count();
                for piece in geometry.all_pieces().filter(|p| disk.flipped(*p)) {
                    held.insert(piece);
                }
                // Resume data may claim what has flipped since.
                let fine = (count..=held.count()).contains(have);
                log.require(fine, seen.at, seen.host, || {
                    format!("started with {have} verified pieces; the disk holds {count}")
                });
                self.verified[host] = held;
            }
            Event::PieceVerified { piece, good } => {
                let truth = disk.borrow().piece_is_true(*piece);
                log.require(truth == *good, seen.at, seen.host, || {
                    let called = if *good { "good" } else { "bad" };
                    format!("piece {piece} was called {called}, which it is not")
                });
                if *good {
                    self.verified[host].insert(*piece);
                }
            }
            Event::BlockSent { piece, begin, .. } => {
                let disk = disk.borrow();
                let true_or_flipped = disk.piece_is_true(*piece) || disk.flipped(*piece);
                let fine = self.verified[host].contains(*piece) && true_or_flipped;
                log.require(fine, seen.at, seen.host, || {
                    format!("served piece {piece} at {begin}, which is not verified")
                });
            }
            _ => {}
        }
    }
}

//! Owns [`Watch`]: what is known of a running peer from its events.
//!
//! Invariant: it only listens. Whoever waits for a change is woken for those that may end the command.

use std::cell::{Ref, RefCell};
use std::collections::BTreeSet;
use std::net::SocketAddr;

use skep_engine::Now;
use skep_engine::bits::BitSet;
use skep_engine::metainfo::Geometry;
use skep_engine::session::event::Event;
use skep_engine::tracker::announce::AnnounceEvent;
use tokio::sync::Notify;

use crate::humane::{count, plain};

/// What has been seen of a peer so far.
#[derive(Debug)]
pub struct Seen {
    /// Bytes of the content that are here, verified or about to be.
    pub here: u64,
    /// Payload bytes received.
    pub received: u64,
    /// Payload bytes sent.
    pub sent: u64,
    /// Peers connected, by the address of the connection.
    pub peers: BTreeSet<SocketAddr>,
    /// Web seeds in use: their URLs.
    pub web_seeds: BTreeSet<String>,
    /// When the last piece was verified.
    pub completed: Option<Now>,
    /// The content is durable and has its final names.
    pub durable: bool,
    /// What the disk said when it failed.
    pub failure: Option<String>,
    /// It failed because there was no room.
    pub disk_full: bool,
    /// What the user should hear of; taken by who shows it.
    notes: Vec<String>,
}

/// Bytes of these pieces.
pub fn bytes_of(geometry: Geometry, pieces: &BitSet) -> u64 {
    let bytes = |piece| u64::from(geometry.piece_len(piece));
    pieces.iter().map(bytes).sum()
}

/// A running peer, as seen from outside.
#[derive(Debug)]
pub struct Watch {
    geometry: Geometry,
    /// Bytes that are wanted.
    total: u64,
    trackers: Vec<String>,
    seen: RefCell<Seen>,
    changed: Notify,
}

impl Watch {
    /// Nothing seen yet; these pieces are here, and durable if they are all that are wanted.
    pub fn new(geometry: Geometry, trackers: Vec<String>, have: &BitSet, wanted: &BitSet) -> Watch {
        let seen = Seen {
            here: bytes_of(geometry, &have.and(wanted)),
            received: 0,
            sent: 0,
            peers: BTreeSet::new(),
            web_seeds: BTreeSet::new(),
            completed: None,
            durable: wanted.count_minus(have) == 0,
            failure: None,
            disk_full: false,
            notes: Vec::new(),
        };
        Watch {
            geometry,
            total: bytes_of(geometry, wanted),
            trackers,
            seen: RefCell::new(seen),
            changed: Notify::new(),
        }
    }

    /// What has been seen so far.
    pub fn seen(&self) -> Ref<'_, Seen> {
        self.seen.borrow()
    }

    /// The notes since the last call.
    pub fn notes(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.borrow_mut().notes)
    }

    /// Waits for a change that may end the command.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The content is durable.
    pub fn finished(&self) {
        self.seen.borrow_mut().durable = true;
        self.changed.notify_one();
    }

    /// What people call a tracker.
    fn tracker(&self, number: u32) -> &str {
        self.trackers
            .get(number as usize)
            .map_or("", String::as_str)
    }

    /// The disk has no room; that it failed comes as an event.
    pub fn disk_full(&self) {
        self.seen.borrow_mut().disk_full = true;
    }

    /// Hears an event.
    pub fn on_event(&self, at: Now, event: &Event) {
        let mut seen = self.seen.borrow_mut();
        match event {
            Event::PeerJoined { peer, .. } => {
                seen.peers.insert(*peer);
            }
            Event::PeerGone { peer, .. } => {
                seen.peers.remove(peer);
            }
            Event::WebSeedJoined { url, .. } => {
                seen.web_seeds.insert(url.clone());
            }
            Event::WebSeedLeft { url, why, for_good } => {
                seen.web_seeds.remove(url);
                let again = if *for_good {
                    "; it is not asked again"
                } else {
                    ""
                };
                let text = format!("web seed {}: {}{again}", plain(url), plain(why));
                if seen.completed.is_none() {
                    seen.notes.push(text);
                }
            }
            Event::BlockReceived { len, .. } => {
                seen.here += u64::from(*len);
                seen.received += u64::from(*len);
            }
            Event::BlockSent { len, .. } => seen.sent += u64::from(*len),
            Event::PieceVerified { piece, good: false } => {
                let lost = u64::from(self.geometry.piece_len(*piece));
                seen.here = seen.here.saturating_sub(lost);
                // After a failure of the disk it is the disk's fault, which was told already.
                if seen.failure.is_none() {
                    let text = format!("piece {piece} failed its hash; it is fetched again");
                    seen.notes.push(text);
                }
            }
            Event::PieceLost { piece } => {
                let lost = u64::from(self.geometry.piece_len(*piece));
                seen.here = seen.here.saturating_sub(lost);
                let text = format!("piece {piece} is no longer on the disk; it is not served");
                seen.notes.push(text);
            }
            Event::Banned { peer, .. } => {
                seen.notes
                    .push(format!("banned {peer}: it sent wrong blocks"));
            }
            Event::Announced { peers, tracker, .. } if *peers > 0 => {
                let told = count(u64::from(*peers), "peer");
                let tracker = self.tracker(*tracker);
                seen.notes.push(format!("{tracker} told of {told}"));
            }
            Event::AnnounceFailed {
                what,
                why,
                tracker,
                for_good,
            } => {
                let (tracker, why) = (self.tracker(*tracker), plain(why));
                let next = match what {
                    AnnounceEvent::Stopped => "",
                    _ if *for_good => "; it is not asked again",
                    _ if self.trackers.len() > 1 => "; the next one is asked",
                    _ => "; it is tried again",
                };
                seen.notes.push(format!("{tracker}: {why}{next}"));
            }
            Event::TrackerWarned { tracker, text } => {
                let (tracker, text) = (self.tracker(*tracker), plain(text));
                seen.notes.push(format!("{tracker} warns: {text}"));
            }
            Event::AnnounceResent { tracker } => {
                let tracker = self.tracker(*tracker);
                let text = format!("{tracker} has not answered yet; it is asked again");
                seen.notes.push(text);
            }
            Event::Completed | Event::Finished => {
                seen.completed = Some(at);
                // Padding is here without having been received.
                seen.here = self.total;
                self.changed.notify_one();
            }
            Event::StorageFailed { why } => {
                seen.failure = Some(plain(why));
                self.changed.notify_one();
            }
            _ => {}
        }
    }
}

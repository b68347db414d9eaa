//! Owns the diary of a run: how each peer stands to the others, and what it has asked of whom. Why a peer did not
//! finish is told from it (`stalls.rs`).
//!
//! Invariant: it is made of events alone, and changes nothing. It costs time at every block, so a run keeps none;
//! one in which somebody did not finish is made a second time, the same, with a diary.

use std::collections::{BTreeMap, BTreeSet};

use skep_engine::session::event::{CloseReason, Event};
use skep_engine::{Now, PieceIndex};

use super::recorder::Recorder;
use crate::check::Addresses;
use crate::stall::Announce;

/// What is known of every peer.
#[derive(Debug)]
pub(super) struct Diary {
    pub(super) pages: Vec<Page>,
}

/// What is known of one peer's stay.
#[derive(Clone, Debug, Default)]
pub(super) struct Page {
    /// By position in the plan.
    pub(super) others: BTreeMap<usize, Other>,
    /// Blocks received of pieces that are not verified: piece and first byte.
    pub(super) blocks: BTreeSet<(PieceIndex, u32)>,
    pub(super) last_block: Option<Now>,
    pub(super) announce: Option<Announce>,
}

/// How it stands to another host.
#[derive(Clone, Debug, Default)]
pub(super) struct Other {
    pub(super) connected: bool,
    /// It answers requests.
    pub(super) unchoked: bool,
    /// Since when it answers them, or does not.
    pub(super) since: Now,
    pub(super) banned: Option<Now>,
    pub(super) ended: Option<(Now, String)>,
    /// Requests that it has not answered, and when they were made.
    pub(super) asked: BTreeMap<(PieceIndex, u32), Now>,
}

impl Diary {
    pub(super) fn new(hosts: usize) -> Diary {
        Diary {
            pages: vec![Page::default(); hosts],
        }
    }

    /// A host's stay began or ended: what it knew is gone.
    pub(super) fn turn_page(&mut self, host: usize) {
        self.pages[host] = Page::default();
    }

    /// Whether a host has a piece, and knows it.
    pub(super) fn holds(&self, recorder: &Recorder, host: usize, piece: PieceIndex) -> bool {
        let mut unverified = self.pages[host]
            .blocks
            .range((piece, 0)..=(piece, u32::MAX));
        unverified.next().is_none() && recorder.disks[host].borrow().piece_is_true(piece)
    }

    /// Takes an event of a peer.
    pub(super) fn note(&mut self, at: Now, host: usize, event: &Event, addresses: &Addresses) {
        let page = &mut self.pages[host];
        let find = |peer: &std::net::SocketAddr| addresses.host_at(peer.ip());
        match event {
            Event::PeerJoined { peer, .. } | Event::WebSeedJoined { peer, .. } => {
                if let Some(other) = find(peer) {
                    let other = page.others.entry(other).or_default();
                    // A web seed answers whatever it is asked.
                    other.unchoked = matches!(event, Event::WebSeedJoined { .. });
                    (other.connected, other.since) = (true, at);
                }
            }
            Event::PeerGone { peer, why } => {
                if let Some(other) = find(peer) {
                    page.parted(other, at, why.words(), *why == CloseReason::Duplicate);
                }
            }
            Event::DialFailed { peer } => {
                if let Some(other) = find(peer) {
                    let why = "a dial was not answered".to_owned();
                    page.parted(other, at, why, true);
                }
            }
            Event::UnchokedBy { peer, on } => {
                if let Some(other) = find(peer) {
                    let other = page.others.entry(other).or_default();
                    (other.unchoked, other.since) = (*on, at);
                    if !*on {
                        other.asked.clear();
                    }
                }
            }
            Event::Banned { peer, .. } => {
                if let Some(other) = find(peer) {
                    page.others.entry(other).or_default().banned = Some(at);
                }
            }
            Event::BlockRequested {
                peer, piece, begin, ..
            } => {
                if let Some(other) = find(peer) {
                    let asked = &mut page.others.entry(other).or_default().asked;
                    asked.insert((*piece, *begin), at);
                }
            }
            Event::BlockReceived { piece, begin, .. } => {
                page.last_block = Some(at);
                page.blocks.insert((*piece, *begin));
                // Whoever else was asked for it is asked no more.
                for other in page.others.values_mut() {
                    other.asked.remove(&(*piece, *begin));
                }
            }
            Event::PieceVerified { piece, .. } => {
                page.blocks.retain(|(of, _)| of != piece);
            }
            Event::Announced { .. } => page.announced(at, None),
            Event::AnnounceFailed { why, .. } => page.announced(at, Some(why.clone())),
            _ => {}
        }
    }
}

impl Page {
    /// A connection or a dial ended; `spare`: another connection to the same peer may stand.
    fn parted(&mut self, other: usize, at: Now, why: String, spare: bool) {
        let other = self.others.entry(other).or_default();
        if spare && other.connected {
            return;
        }
        other.connected = false;
        other.ended = Some((at, why));
        other.asked.clear();
    }

    fn announced(&mut self, at: Now, failed: Option<String>) {
        let at_s = at.as_secs_f64();
        self.announce = Some(Announce { at_s, failed });
    }
}

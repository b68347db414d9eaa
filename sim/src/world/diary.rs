//! Owns the diary of a run: how each peer stands to the others, and what it has asked of whom; from it is told
//! why a peer did not finish.
//!
//! Invariant: it is made of events alone, and changes nothing. It costs time at every block, so a run keeps none;
//! one in which somebody did not finish is made a second time, the same, with a diary.

use std::collections::{BTreeMap, BTreeSet};

use skep_engine::ids::BLOCK_BYTES;
use skep_engine::session::event::{CloseReason, Event};
use skep_engine::{Now, PieceIndex};

use super::recorder::Recorder;
use crate::check::Addresses;
use crate::scenario::plan::Role;
use crate::stall::{Announce, Holder, Stall, Stands, Wait};

/// Pieces of which a stall holds the details.
const WAITS_MAX: usize = 16;

/// What is known of every peer.
#[derive(Debug)]
pub(super) struct Diary {
    pages: Vec<Page>,
}

/// What is known of one peer's stay.
#[derive(Clone, Debug, Default)]
struct Page {
    /// By position in the plan.
    others: BTreeMap<usize, Other>,
    /// Blocks received of pieces that are not verified: piece and first byte.
    blocks: BTreeSet<(PieceIndex, u32)>,
    last_block: Option<Now>,
    announce: Option<Announce>,
}

/// How it stands to another host.
#[derive(Clone, Debug, Default)]
struct Other {
    connected: bool,
    /// It answers requests.
    unchoked: bool,
    /// Since when it answers them, or does not.
    since: Now,
    banned: Option<Now>,
    ended: Option<(Now, String)>,
    /// Requests that it has not answered, and when they were made.
    asked: BTreeMap<(PieceIndex, u32), Now>,
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
    fn holds(&self, recorder: &Recorder, host: usize, piece: PieceIndex) -> bool {
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

/// Why a leecher did not finish; nothing without a diary.
pub(super) fn stall(recorder: &Recorder, host: usize) -> Option<Stall> {
    let diary = recorder.diary.as_ref()?;
    let page = &diary.pages[host];
    let geometry = recorder.geometry();
    let missing: Vec<PieceIndex> = geometry
        .all_pieces()
        .filter(|piece| !diary.holds(recorder, host, *piece))
        .collect();
    let mut waits: Vec<Wait> = missing
        .iter()
        .map(|piece| wait(recorder, diary, host, *piece))
        .collect();
    let holders = |wait: &Wait| wait.holders.iter().filter(|h| h.honest).count();
    waits.sort_by_key(|wait| (holders(wait), wait.blocks - wait.received, wait.piece));
    waits.truncate(WAITS_MAX);
    let connections = page.others.values().filter(|other| other.connected);
    Some(Stall {
        peer: recorder.plan.hosts[host].name.clone(),
        missing: missing.iter().map(|piece| piece.0).collect(),
        pieces: geometry.pieces,
        last_block_s: page.last_block.map(Now::as_secs_f64),
        connections: u32::try_from(connections.count()).expect("hosts are bounded"),
        announce: page.announce.clone(),
        waits,
    })
}

fn wait(recorder: &Recorder, diary: &Diary, host: usize, piece: PieceIndex) -> Wait {
    let page = &diary.pages[host];
    let of_piece = (piece, 0)..=(piece, u32::MAX);
    let none = Other::default();
    let mut holders = Vec::new();
    for (position, plan) in recorder.plan.hosts.iter().enumerate() {
        let tally = &recorder.tallies[position];
        if position == host || tally.online_since.is_none() || plan.role == Role::Client {
            continue;
        }
        let other = page.others.get(&position).unwrap_or(&none);
        let asked = other.asked.range(of_piece.clone()).map(|(_, at)| *at).min();
        let honest = plan.role.honest();
        let serves = plan.role != Role::Server || plan.web_seed;
        let holds = honest && serves && diary.holds(recorder, position, piece);
        if !holds && asked.is_none() {
            continue;
        }
        let since_s = other.since.as_secs_f64();
        let stands = match (other.banned, other.connected, other.unchoked) {
            (Some(at), ..) => Stands::Banned {
                since_s: at.as_secs_f64(),
            },
            (None, true, true) => Stands::Unchoked { since_s },
            (None, true, false) => Stands::Choked { since_s },
            (None, false, _) => Stands::Apart {
                last: other
                    .ended
                    .as_ref()
                    .map(|(at, why)| (at.as_secs_f64(), why.clone())),
            },
        };
        holders.push(Holder {
            peer: plan.name.clone(),
            honest,
            stands,
            asked_s: asked.map(Now::as_secs_f64),
        });
    }
    holders.sort_by_key(|holder| holder.asked_s.is_none());
    let received = page.blocks.range(of_piece).count();
    let blocks = recorder.geometry().piece_len(piece).div_ceil(BLOCK_BYTES);
    Wait {
        piece: piece.0,
        received: u32::try_from(received).expect("blocks of a piece"),
        blocks,
        holders,
    }
}

//! Owns how long the blocks that peers ask for are held.
//!
//! Invariant: a block is held from the first request for it until it comes, or until everybody who was asked for it
//! chokes, is snubbed or gone. That a request is late ends nothing: who was asked may still send, and whoever is asked
//! beside it has been waited for no less. A reject is no event: what was rejected counts as held until it comes.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use skep_engine::session::event::Event;
use skep_engine::{Now, PieceIndex};

/// A block of a host: which piece, and where in it.
type Block = (usize, PieceIndex, u32);

/// The blocks that are held now, and the longest that one ever was.
#[derive(Debug)]
pub(super) struct HeldBlocks {
    open: BTreeMap<Block, Hold>,
    /// By host, nanoseconds.
    longest: Vec<u64>,
}

#[derive(Debug)]
struct Hold {
    since: Now,
    asked: Vec<SocketAddr>,
}

impl HeldBlocks {
    /// Of so many hosts.
    pub(super) fn of(hosts: usize) -> HeldBlocks {
        HeldBlocks {
            open: BTreeMap::new(),
            longest: vec![0; hosts],
        }
    }

    /// Takes an event of an honest peer.
    pub(super) fn note(&mut self, at: Now, host: usize, event: &Event) {
        match event {
            Event::BlockRequested {
                peer, piece, begin, ..
            } => {
                let hold = self.open.entry((host, *piece, *begin));
                let hold = hold.or_insert_with(|| Hold {
                    since: at,
                    asked: Vec::new(),
                });
                if !hold.asked.contains(peer) {
                    hold.asked.push(*peer);
                }
            }
            Event::BlockReceived { piece, begin, .. } => {
                if let Some(hold) = self.open.remove(&(host, *piece, *begin)) {
                    self.ended(host, &hold, at);
                }
            }
            Event::UnchokedBy { peer, on: false }
            | Event::Snubbed { peer }
            | Event::PeerGone { peer, .. } => self.released(host, *peer, at),
            Event::Paused | Event::Leaving | Event::StorageFailed { .. } => self.end_all(host, at),
            _ => {}
        }
    }

    /// A host waits for none of its blocks any more.
    pub(super) fn end_all(&mut self, host: usize, at: Now) {
        self.retain(host, at, |_| false);
    }

    /// The longest that a host's block was held, seconds.
    pub(super) fn longest(&self, host: usize) -> f64 {
        Now(self.longest[host]).as_secs_f64()
    }

    /// Whoever is at this address holds nothing of a host any more.
    fn released(&mut self, host: usize, peer: SocketAddr, at: Now) {
        self.retain(host, at, |hold| {
            hold.asked.retain(|asked| *asked != peer);
            !hold.asked.is_empty()
        });
    }

    fn retain(&mut self, host: usize, at: Now, mut stays: impl FnMut(&mut Hold) -> bool) {
        let of_host = (host, PieceIndex(0), 0)..=(host, PieceIndex(u32::MAX), u32::MAX);
        let open = self.open.range_mut(of_host);
        let over = open.filter_map(|(block, hold)| (!stays(hold)).then_some(*block));
        for block in over.collect::<Vec<_>>() {
            if let Some(hold) = self.open.remove(&block) {
                self.ended(host, &hold, at);
            }
        }
    }

    fn ended(&mut self, host: usize, hold: &Hold, at: Now) {
        let longest = &mut self.longest[host];
        *longest = (*longest).max(at.0 - hold.since.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_engine::session::event::CloseReason;

    fn addr(n: u8) -> SocketAddr {
        SocketAddr::from(([10, 1, 0, n], 6881))
    }

    fn asked(n: u8, begin: u32) -> Event {
        Event::BlockRequested {
            peer: addr(n),
            piece: PieceIndex(3),
            begin,
            len: 16384,
        }
    }

    fn came(n: u8, begin: u32) -> Event {
        Event::BlockReceived {
            peer: addr(n),
            piece: PieceIndex(3),
            begin,
            len: 16384,
        }
    }

    /// The longest that a block of host 1 is held, when these things happen at these seconds.
    fn longest(history: &[(u64, Event)]) -> f64 {
        let mut held = HeldBlocks::of(2);
        let at = |s: &u64| Now(s * 1_000_000_000);
        for (s, event) in history {
            held.note(at(s), 1, event);
        }
        held.end_all(1, Now(100_000_000_000));
        assert_eq!(held.longest(0), 0.0);
        held.longest(1)
    }

    #[test]
    fn a_block_is_held_from_its_first_request_until_it_comes() {
        let late = Event::RequestTimedOut {
            peer: addr(1),
            piece: PieceIndex(3),
            begin: 0,
        };
        let history = [
            (1, asked(1, 0)),
            (46, late),
            (46, asked(2, 0)),
            (48, came(2, 0)),
        ];
        assert_eq!(longest(&history), 47.0);
        assert_eq!(
            longest(&[(1, asked(1, 0)), (2, asked(1, 16384)), (3, came(1, 0))]),
            98.0
        );
    }

    #[test]
    fn it_is_held_no_more_when_nobody_is_left_who_could_send_it() {
        let (peer, why) = (addr(1), CloseReason::ByPeer);
        let gone = Event::PeerGone { peer, why };
        let history = [
            (1, asked(1, 0)),
            (11, gone.clone()),
            (50, asked(2, 0)),
            (51, came(2, 0)),
        ];
        assert_eq!(longest(&history), 10.0);
        let both = [
            (1, asked(1, 0)),
            (2, asked(2, 0)),
            (11, gone),
            (20, came(2, 0)),
        ];
        assert_eq!(longest(&both), 19.0);
        let choked = Event::UnchokedBy { peer, on: false };
        assert_eq!(longest(&[(1, asked(1, 0)), (4, choked)]), 3.0);
        assert_eq!(
            longest(&[(1, asked(1, 0)), (61, Event::Snubbed { peer })]),
            60.0
        );
        assert_eq!(longest(&[(1, asked(1, 0)), (8, Event::Paused)]), 7.0);
    }
}

//! Owns the attacks `have-spam` and `interest-flapper`: 100,000 messages per second to every neighbour, the same
//! ones over and over. The one claims pieces that it does not have, the other one changes its interest.

use std::collections::BTreeSet;
use std::time::Duration;

use skep_engine::wire::Message;
use skep_engine::{ConnId, PieceIndex};

use super::parts::Burst;
use super::raw::{Attacker, Habits, RawIo};
use crate::content::Content;
use crate::trace::Attack;

/// Time between two bursts.
const PERIOD: Duration = Duration::from_millis(20);
/// Messages of a burst.
const BURST: u32 = 2000;

/// The attacker. It asks for nothing when it is unchoked.
pub(super) struct Spam {
    burst: Burst,
    neighbours: BTreeSet<ConnId>,
}

impl Spam {
    /// `have-spam`.
    pub(super) fn haves(content: &Content) -> Spam {
        let pieces = content.geometry().pieces;
        Spam::new(|n| Message::Have(PieceIndex(n % pieces)))
    }

    /// `interest-flapper`.
    pub(super) fn interest() -> Spam {
        Spam::new(|n| match n % 2 {
            0 => Message::Interested,
            _ => Message::NotInterested,
        })
    }

    fn new(message: impl Fn(u32) -> Message) -> Spam {
        Spam {
            burst: Burst::new((0..BURST).map(message)),
            neighbours: BTreeSet::new(),
        }
    }
}

impl Attacker for Spam {
    fn claims_complete(&self) -> bool {
        false
    }

    fn on_open(&mut self, _io: &mut RawIo, conn: ConnId) {
        self.neighbours.insert(conn);
    }

    fn on_message(&mut self, _io: &mut RawIo, _conn: ConnId, _message: Message) {}

    fn on_gone(&mut self, _io: &mut RawIo, conn: ConnId) {
        self.neighbours.remove(&conn);
    }

    fn habits(&self) -> Habits {
        Habits {
            tick: PERIOD,
            ..Habits::default()
        }
    }

    fn on_tick(&mut self, io: &mut RawIo) {
        if !io.active() {
            return;
        }
        for conn in &self.neighbours {
            if self.burst.send(io, *conn) {
                io.tell(Attack::Acted);
            }
        }
    }
}

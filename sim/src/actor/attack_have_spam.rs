//! Owns the attack `have-spam`: 100,000 `have` messages per second to every neighbour, the same ones over
//! and over, of pieces that it does not have.

use std::collections::BTreeSet;
use std::time::Duration;

use skep_engine::wire::Message;
use skep_engine::{ConnId, PieceIndex};

use super::parts::Burst;
use super::raw::{Attacker, Habits, RawIo};
use crate::content::Content;
use crate::trace::Attack;

/// Time between two bursts.
pub(super) const PERIOD: Duration = Duration::from_millis(20);
/// Messages of a burst.
pub(super) const BURST: u32 = 2000;

/// The attacker.
pub(super) struct HaveSpam {
    burst: Burst,
    neighbours: BTreeSet<ConnId>,
}

impl HaveSpam {
    pub(super) fn new(content: &Content) -> HaveSpam {
        let pieces = content.geometry().pieces;
        let haves = (0..BURST).map(|n| Message::Have(PieceIndex(n % pieces)));
        HaveSpam {
            burst: Burst::new(haves),
            neighbours: BTreeSet::new(),
        }
    }
}

impl Attacker for HaveSpam {
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

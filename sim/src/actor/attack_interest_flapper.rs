//! Owns the attack `interest-flapper`: 100,000 changes of interest per second to every neighbour.

use std::collections::BTreeSet;

use skep_engine::ConnId;
use skep_engine::wire::Message;

use super::attack_have_spam::{BURST, PERIOD};
use super::parts::Burst;
use super::raw::{Attacker, Habits, RawIo};
use crate::trace::Attack;

/// The attacker. It asks for nothing when it is unchoked.
pub(super) struct InterestFlapper {
    burst: Burst,
    neighbours: BTreeSet<ConnId>,
}

impl InterestFlapper {
    pub(super) fn new() -> InterestFlapper {
        let interest = |n: u32| match n % 2 {
            0 => Message::Interested,
            _ => Message::NotInterested,
        };
        InterestFlapper {
            burst: Burst::new((0..BURST).map(interest)),
            neighbours: BTreeSet::new(),
        }
    }
}

impl Attacker for InterestFlapper {
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

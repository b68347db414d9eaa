//! Owns the attack `handshake-stall`: of each handshake so many bytes as are drawn, from none to all but one, and
//! then silence. What it costs is places among the connections.

use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use skep_engine::ConnId;
use skep_engine::wire::handshake::HANDSHAKE_BYTES;
use skep_engine::wire::{Handshake, Message};

use super::raw::{Attacker, Habits, RawIo};
use crate::scenario::plan::AttackPlan;
use crate::trace::Attack;

/// The attacker.
pub(super) struct HandshakeStall {
    connections: u32,
    rng: ChaCha8Rng,
}

impl HandshakeStall {
    pub(super) fn new(plan: &AttackPlan, rng: ChaCha8Rng) -> HandshakeStall {
        HandshakeStall {
            connections: super::few(plan.param("connections")),
            rng,
        }
    }
}

impl Attacker for HandshakeStall {
    fn claims_complete(&self) -> bool {
        false
    }

    fn habits(&self) -> Habits {
        Habits {
            tick: Duration::from_secs(1),
            redial: Duration::from_secs(1),
            connections_max: 1000,
            identities: self.connections,
            // Nobody may stay unknown to it for long.
            announce: Some(Duration::from_secs(10)),
            ..Habits::default()
        }
    }

    fn greeting(
        &mut self,
        io: &mut RawIo,
        _conn: ConnId,
        usual: &Handshake,
        _theirs: Option<&Handshake>,
    ) -> Bytes {
        let whole = Bytes::copy_from_slice(&usual.encode());
        if !io.active() {
            return whole;
        }
        io.tell(Attack::Acted);
        whole.slice(..self.rng.random_range(0..HANDSHAKE_BYTES))
    }

    fn on_open(&mut self, _io: &mut RawIo, _conn: ConnId) {}

    fn on_message(&mut self, _io: &mut RawIo, _conn: ConnId, _message: Message) {}
}

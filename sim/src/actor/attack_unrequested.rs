//! Owns the attack `unrequested`: downloads like a free-rider, and pushes true blocks at everybody who did
//! not ask for them, so as to look like who gives.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use skep_engine::wire::Message;
use skep_engine::wire::handshake::{FAST, reserved};
use skep_engine::{ConnId, PieceIndex};

use super::attack_free_rider::FreeRider;
use super::parts::{any_block, true_block};
use super::raw::{Attacker, Habits, RawIo};
use crate::content::Content;
use crate::trace::Attack;

/// Blocks for each neighbour per second.
const PUSHED: usize = 4;
/// Bytes on their way to a neighbour above which nothing is pushed.
const UNSENT_MAX: u64 = 256 * 1024;

/// The attacker: drawn whether it says that it speaks the fast extension, with which nothing unasked can
/// be on its way (BEP 6).
pub(super) struct Unrequested {
    rider: FreeRider,
    content: Arc<Content>,
    rng: ChaCha8Rng,
    fast: bool,
    neighbours: Vec<ConnId>,
}

impl Unrequested {
    pub(super) fn new(content: Arc<Content>, mut rng: ChaCha8Rng) -> Unrequested {
        let fast = rng.next_u32().is_multiple_of(2);
        Unrequested {
            rider: FreeRider::new(Arc::clone(&content), rng.clone()),
            content,
            rng,
            fast,
            neighbours: Vec::new(),
        }
    }
}

impl Attacker for Unrequested {
    fn claims_complete(&self) -> bool {
        false
    }

    fn capabilities(&self) -> [u8; 8] {
        match self.fast {
            true => reserved(&[FAST]),
            false => [0; 8],
        }
    }

    fn over(&self) -> bool {
        self.rider.over()
    }

    fn on_open(&mut self, io: &mut RawIo, conn: ConnId) {
        if self.fast {
            io.send(conn, &Message::HaveNone);
        }
        self.neighbours.push(conn);
        self.rider.on_open(io, conn);
    }

    fn on_message(&mut self, io: &mut RawIo, conn: ConnId, message: Message) {
        self.rider.on_message(io, conn, message);
    }

    fn on_gone(&mut self, io: &mut RawIo, conn: ConnId) {
        self.neighbours.retain(|c| *c != conn);
        self.rider.on_gone(io, conn);
    }

    fn habits(&self) -> Habits {
        Habits {
            tick: Duration::from_secs(1),
            ..Habits::default()
        }
    }

    fn on_tick(&mut self, io: &mut RawIo) {
        self.rider.on_tick(io);
        if !io.active() || self.over() {
            return;
        }
        let geometry = self.content.geometry();
        for conn in &self.neighbours {
            for _ in 0..PUSHED {
                let piece = PieceIndex(self.rng.next_u32() % geometry.pieces);
                let block = any_block(geometry, piece, &mut self.rng);
                let block = true_block(&self.content, geometry.block(piece, block));
                if io.unsent(*conn) < UNSENT_MAX {
                    io.send(*conn, &block.expect("it is there"));
                    io.tell(Attack::Acted);
                }
            }
        }
    }
}

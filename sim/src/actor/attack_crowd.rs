//! Owns the attacks `connection-flood` and `sybil`: many connections of one host to everybody, each with a peer id
//! of its own. The flood says nothing and comes back at once; the sybil asks for blocks on each, and so takes
//! upload slots.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use skep_engine::bits::BitSet;
use skep_engine::wire::Message;
use skep_engine::{ConnId, PieceIndex};

use super::raw::{Attacker, Habits, RawIo};
use crate::content::Content;
use crate::scenario::plan::AttackPlan;
use crate::trace::Attack;

/// Requests open on each connection.
const PIPELINE: usize = 4;

/// One connection.
struct Neighbour {
    has: BitSet,
    unchoked: bool,
    open: usize,
}

/// The attacker.
pub(super) struct Crowd {
    content: Arc<Content>,
    rng: ChaCha8Rng,
    connections: u32,
    /// It asks for blocks.
    asks: bool,
    neighbours: BTreeMap<ConnId, Neighbour>,
}

impl Crowd {
    pub(super) fn flood(plan: &AttackPlan, content: Arc<Content>, rng: ChaCha8Rng) -> Crowd {
        Crowd::new(plan.param("connections"), false, content, rng)
    }

    pub(super) fn sybil(plan: &AttackPlan, content: Arc<Content>, rng: ChaCha8Rng) -> Crowd {
        Crowd::new(plan.param("identities"), true, content, rng)
    }

    fn new(connections: u64, asks: bool, content: Arc<Content>, rng: ChaCha8Rng) -> Crowd {
        Crowd {
            content,
            rng,
            connections: super::few(connections),
            asks,
            neighbours: BTreeMap::new(),
        }
    }

    /// Asks for blocks, whichever the other end has.
    fn ask(&mut self, io: &mut RawIo, conn: ConnId) {
        let geometry = self.content.geometry();
        let Some(neighbour) = self.neighbours.get_mut(&conn) else {
            return;
        };
        let held: Vec<PieceIndex> = neighbour.has.iter().collect();
        if !neighbour.unchoked || held.is_empty() || !io.active() {
            return;
        }
        while neighbour.open < PIPELINE {
            let piece = held[self.rng.random_range(0..held.len())];
            let block = self.rng.random_range(0..geometry.blocks_in(piece));
            neighbour.open += 1;
            io.send(conn, &Message::Request(geometry.block(piece, block)));
        }
    }
}

impl Attacker for Crowd {
    fn claims_complete(&self) -> bool {
        false
    }

    fn habits(&self) -> Habits {
        let second = Duration::from_secs(1);
        Habits {
            tick: second,
            // A flood comes back at once.
            redial: second * if self.asks { 10 } else { 1 },
            connections_max: 2000,
            identities: self.connections,
            // Nobody may stay unknown to it for long.
            announce: Some(second * 10),
            ..Habits::default()
        }
    }

    fn on_open(&mut self, io: &mut RawIo, conn: ConnId) {
        if !io.active() {
            return;
        }
        if !self.asks {
            return io.tell(Attack::Acted);
        }
        let has = BitSet::empty(self.content.geometry().pieces);
        let (unchoked, open) = (false, 0);
        let neighbour = Neighbour {
            has,
            unchoked,
            open,
        };
        self.neighbours.insert(conn, neighbour);
        io.send(conn, &Message::Interested);
    }

    fn on_message(&mut self, io: &mut RawIo, conn: ConnId, message: Message) {
        let pieces = self.content.geometry().pieces;
        let Some(neighbour) = self.neighbours.get_mut(&conn) else {
            return;
        };
        match message {
            Message::Bitfield(bits) => {
                if let Some(bits) = BitSet::from_wire(&bits, pieces) {
                    neighbour.has = bits;
                }
            }
            Message::Have(piece) if piece.0 < pieces => {
                neighbour.has.insert(piece);
            }
            Message::Choke => (neighbour.unchoked, neighbour.open) = (false, 0),
            Message::Unchoke => {
                neighbour.unchoked = true;
                io.tell(Attack::Acted);
            }
            Message::Piece { .. } => neighbour.open = neighbour.open.saturating_sub(1),
            _ => return,
        }
        self.ask(io, conn);
    }

    fn on_gone(&mut self, _io: &mut RawIo, conn: ConnId) {
        self.neighbours.remove(&conn);
    }
}

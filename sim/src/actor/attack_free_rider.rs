//! Owns the attacks `free-rider`: downloads like anybody, never unchokes, announces no piece; and
//! `large-view`: the same, but it announces all the time, and dials everybody whom it hears of.
//!
//! Invariant: a block is asked of one connection at a time; it stands for a client that is built to
//! take, so it verifies what it gets and leaves when it has everything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use skep_engine::bits::BitSet;
use skep_engine::metainfo::Geometry;
use skep_engine::wire::Message;
use skep_engine::{BlockRange, ConnId, Now, PieceIndex};

use super::raw::{Attacker, Habits, RawIo};
use crate::content::Content;
use crate::trace::Attack;

/// Requests open at one peer.
const PIPELINE: usize = 16;
/// Time after which a request is asked elsewhere.
const PATIENCE: Duration = Duration::from_secs(45);

/// One connection: what the other end has, and what it is asked for.
#[derive(Default)]
struct Neighbour {
    has: BitSet,
    unchoked_us: bool,
    interested: bool,
    open: Vec<(BlockRange, Now)>,
}

/// The attacker.
pub(super) struct FreeRider {
    content: Arc<Content>,
    rng: ChaCha8Rng,
    neighbours: BTreeMap<ConnId, Neighbour>,
    /// Blocks held or asked for, by piece.
    taken: Vec<BitSet>,
    held: u64,
    done: bool,
    habits: Habits,
}

impl FreeRider {
    pub(super) fn new(content: Arc<Content>, rng: ChaCha8Rng) -> FreeRider {
        let geometry = content.geometry();
        let taken = geometry
            .all_pieces()
            .map(|p| BitSet::empty(geometry.blocks_in(p)))
            .collect();
        FreeRider {
            content,
            rng,
            neighbours: BTreeMap::new(),
            taken,
            held: 0,
            done: false,
            habits: Habits::default(),
        }
    }

    /// One that announces so often.
    pub(super) fn large_view(every: Duration, content: Arc<Content>, rng: ChaCha8Rng) -> FreeRider {
        let habits = Habits {
            tick: every.min(Habits::default().tick),
            redial: Duration::from_secs(5),
            connections_max: 2000,
            announce: Some(every),
            ..Habits::default()
        };
        FreeRider {
            habits,
            ..FreeRider::new(content, rng)
        }
    }

    fn geometry(&self) -> Geometry {
        self.content.geometry()
    }

    /// Says whether it wants something, and asks for as much as the pipeline takes.
    fn pursue(&mut self, io: &mut RawIo, conn: ConnId) {
        if !io.active() {
            return;
        }
        let Some(neighbour) = self.neighbours.get_mut(&conn) else {
            return;
        };
        let taken = &self.taken;
        let open = |piece: PieceIndex| !taken[piece.at()].is_full();
        let mut wanted: Vec<PieceIndex> = neighbour.has.iter().filter(|p| open(*p)).collect();
        if !wanted.is_empty() && !neighbour.interested {
            neighbour.interested = true;
            io.send(conn, &Message::Interested);
        }
        while neighbour.unchoked_us && neighbour.open.len() < PIPELINE && !wanted.is_empty() {
            let at = self.rng.random_range(0..wanted.len());
            let piece = wanted[at];
            let blocks = &mut self.taken[piece.at()];
            let free = (0..blocks.len()).find(|b| !blocks.contains(PieceIndex(*b)));
            let Some(block) = free else {
                wanted.swap_remove(at);
                continue;
            };
            blocks.insert(PieceIndex(block));
            let range = self.content.geometry().block(piece, block);
            neighbour.open.push((range, io.now()));
            io.send(conn, &Message::Request(range));
        }
    }

    /// Blocks that this connection will not send are free again.
    fn give_back(&mut self, ranges: impl IntoIterator<Item = BlockRange>) {
        for range in ranges {
            if let Some(block) = self.geometry().block_number(range) {
                self.taken[range.piece.at()].remove(PieceIndex(block));
            }
        }
    }

    fn pursue_all(&mut self, io: &mut RawIo) {
        let conns: Vec<ConnId> = self.neighbours.keys().copied().collect();
        conns.into_iter().for_each(|conn| self.pursue(io, conn));
    }

    fn on_block(&mut self, io: &mut RawIo, conn: ConnId, range: BlockRange, data: &[u8]) {
        let Some(neighbour) = self.neighbours.get_mut(&conn) else {
            return;
        };
        let Some(at) = neighbour.open.iter().position(|(r, _)| *r == range) else {
            return;
        };
        neighbour.open.remove(at);
        // Stands for hashing the piece: a wrong block is asked for again.
        if !self.content.is_true(range, data) {
            return self.give_back([range]);
        }
        self.held += u64::from(range.len);
        // What was asked for in its time may come after it, and is no new harm.
        if io.active() {
            io.tell(Attack::Acted);
        }
        if self.held == self.geometry().total {
            self.done = true;
            io.tell(Attack::Completed);
            io.close_all();
            self.neighbours.clear();
        }
    }
}

impl Attacker for FreeRider {
    fn claims_complete(&self) -> bool {
        false
    }

    fn habits(&self) -> Habits {
        self.habits
    }

    fn over(&self) -> bool {
        self.done
    }

    fn on_open(&mut self, _io: &mut RawIo, conn: ConnId) {
        let has = BitSet::empty(self.geometry().pieces);
        self.neighbours.insert(
            conn,
            Neighbour {
                has,
                ..Neighbour::default()
            },
        );
    }

    fn on_gone(&mut self, io: &mut RawIo, conn: ConnId) {
        if let Some(neighbour) = self.neighbours.remove(&conn) {
            self.give_back(neighbour.open.into_iter().map(|(range, _)| range));
            self.pursue_all(io);
        }
    }

    fn on_message(&mut self, io: &mut RawIo, conn: ConnId, message: Message) {
        let pieces = self.geometry().pieces;
        let Some(neighbour) = self.neighbours.get_mut(&conn) else {
            return;
        };
        match message {
            Message::Bitfield(bits) => {
                if let Some(bits) = BitSet::from_wire(&bits, pieces) {
                    neighbour.has = bits;
                }
            }
            Message::HaveAll => neighbour.has = BitSet::full(pieces),
            Message::Have(piece) if piece.0 < pieces => {
                neighbour.has.insert(piece);
            }
            Message::Unchoke => neighbour.unchoked_us = true,
            Message::Choke => {
                neighbour.unchoked_us = false;
                let open = std::mem::take(&mut neighbour.open);
                self.give_back(open.into_iter().map(|(range, _)| range));
                return self.pursue_all(io);
            }
            Message::Piece { piece, begin, data } => {
                let len = u32::try_from(data.len()).expect("the codec bounds a block");
                self.on_block(io, conn, BlockRange { piece, begin, len }, &data);
            }
            _ => return,
        }
        self.pursue(io, conn);
    }

    fn on_tick(&mut self, io: &mut RawIo) {
        let now = io.now();
        let mut late = Vec::new();
        for neighbour in self.neighbours.values_mut() {
            let overdue = |(_, at): &(BlockRange, Now)| at.after(PATIENCE) <= now;
            late.extend(
                neighbour
                    .open
                    .extract_if(.., |open| overdue(open))
                    .map(|(r, _)| r),
            );
        }
        self.give_back(late);
        self.pursue_all(io);
    }
}

//! Owns the lists that a session fills and empties again within one turn of its host.
//!
//! Invariant: between turns nothing in them counts. So all sessions of a thread may use the same ones, and their memory
//! is still in the cache when the next session, one of thousands, has its turn.

use std::collections::VecDeque;

use crate::ids::PieceIndex;

use super::torrent::Output;

/// The lists of one turn.
#[derive(Debug)]
pub struct Scratch {
    /// Decisions that the host has not taken yet.
    pub(super) out: VecDeque<Output>,
    /// Pieces of which the current input changed the availability.
    pub(super) copies_touched: Vec<PieceIndex>,
    /// Pieces of which the current input changed the state.
    pub(super) touched: Vec<PieceIndex>,
    /// What the strategy chooses from; each choice begins by emptying it.
    pub(super) candidates: Vec<PieceIndex>,
}

impl Scratch {
    /// Lists that have no memory yet.
    pub(crate) const NONE: Scratch = Scratch {
        out: VecDeque::new(),
        copies_touched: Vec::new(),
        touched: Vec::new(),
        candidates: Vec::new(),
    };

    /// Whether no turn is under way.
    pub(super) fn is_done(&self) -> bool {
        self.out.is_empty() && self.copies_touched.is_empty() && self.touched.is_empty()
    }
}

//! Owns one piece in progress: the state of each of its blocks.
//!
//! Invariants: a block is exactly one of missing, requested, received; `free` counts the blocks that nobody is
//! asked for, `received` those that came.

use crate::ids::PieceIndex;

use super::blame::SenderId;

/// One block of a piece in progress.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Block {
    /// Nobody is asked for it.
    Missing,
    /// Asked for: `live` requests in time, `late` ones that timed out but may still be answered.
    Requested { live: u16, late: u16 },
    /// Written; by whom.
    Received(SenderId),
}

impl Block {
    /// Requests that may still be answered in time.
    pub(super) fn live(self) -> u16 {
        match self {
            Block::Requested { live, .. } => live,
            _ => 0,
        }
    }

    /// Whether it should be asked for.
    pub(super) fn is_free(self) -> bool {
        matches!(self, Block::Missing | Block::Requested { live: 0, .. })
    }
}

/// A piece in progress. A choice among them looks at what lies here, and not at the blocks.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) piece: PieceIndex,
    /// Blocks that should be asked for.
    pub(super) free: u32,
    /// Blocks received.
    pub(super) received: u32,
    /// On parole: only this sender is asked for it.
    pub(super) parole: Option<SenderId>,
    pub(super) blocks: Box<[Block]>,
}

impl Partial {
    /// Whether all of it is here: it is handed to the storage for hashing.
    pub(super) fn verifying(&self) -> bool {
        self.received as usize == self.blocks.len()
    }

    /// Whether a sender may be asked for it while the one on parole serves us.
    pub(super) fn open_to(&self, sender: SenderId) -> bool {
        self.parole.is_none_or(|only| only == sender)
    }

    /// The first block that should be asked for. `late_elsewhere` is asked about blocks that are late
    /// somewhere: whether that is at other peers only.
    pub(super) fn first_free(&self, late_elsewhere: impl Fn(u32) -> bool) -> Option<u32> {
        if self.free == 0 {
            return None;
        }
        let numbered = (0..).zip(&self.blocks);
        numbered
            .filter(|(_, state)| state.is_free())
            .find(|(block, state)| **state == Block::Missing || late_elsewhere(*block))
            .map(|(block, _)| block)
    }

    /// The invariants of its own books, in words, if one is broken.
    pub(super) fn broken(&self) -> Option<&'static str> {
        let (mut free, mut received) = (0, 0);
        for block in &self.blocks {
            free += u32::from(block.is_free());
            received += u32::from(matches!(block, Block::Received(_)));
        }
        if free != self.free {
            return Some("the count of free blocks is wrong");
        }
        if received != self.received {
            return Some("the count of received blocks is wrong");
        }
        None
    }
}

//! Owns pieces in progress: which they are, and the state of each of their blocks.
//!
//! Invariants: a block is exactly one of missing, requested, received; `free` counts the blocks that nobody is
//! asked for, `received` those that came. What a search or a choice among them looks at lies end to end, and so do
//! the states of their blocks.

use crate::ids::PieceIndex;
use crate::metainfo::Geometry;
use crate::prefetch;

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

/// What is known of a piece in progress beside its blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) piece: PieceIndex,
    /// Blocks that should be asked for.
    pub(super) free: u32,
    /// Blocks received.
    pub(super) received: u32,
    /// On parole: only this sender is asked for it.
    pub(super) parole: Option<SenderId>,
}

impl Head {
    /// Whether a sender may be asked for it while the one on parole serves us.
    pub(super) fn open_to(&self, sender: SenderId) -> bool {
        self.parole.is_none_or(|only| only == sender)
    }
}

/// A piece in progress.
#[derive(Clone, Copy, Debug)]
pub(super) struct Partial<'a> {
    pub(super) head: &'a Head,
    pub(super) blocks: &'a [Block],
}

impl Partial<'_> {
    /// Whether all of it is here: it is handed to the storage for hashing.
    pub(super) fn verifying(&self) -> bool {
        self.head.received as usize == self.blocks.len()
    }

    /// The first block that should be asked for. `late_elsewhere` is asked about blocks that are late
    /// somewhere: whether that is at other peers only.
    pub(super) fn first_free(&self, late_elsewhere: impl Fn(u32) -> bool) -> Option<u32> {
        if self.head.free == 0 {
            return None;
        }
        let numbered = (0..).zip(self.blocks);
        numbered
            .filter(|(_, state)| state.is_free())
            .find(|(block, state)| **state == Block::Missing || late_elsewhere(*block))
            .map(|(block, _)| block)
    }

    /// The invariants of its own books, in words, if one is broken.
    pub(super) fn broken(&self) -> Option<&'static str> {
        let (mut free, mut received) = (0, 0);
        for block in self.blocks {
            free += u32::from(block.is_free());
            received += u32::from(matches!(block, Block::Received(_)));
        }
        if free != self.head.free {
            return Some("the count of free blocks is wrong");
        }
        if received != self.head.received {
            return Some("the count of received blocks is wrong");
        }
        None
    }
}

/// All pieces in progress, in the order in which they were started: few, so that a search is short.
#[derive(Debug)]
pub(super) struct InProgress {
    geometry: Geometry,
    heads: Vec<Head>,
    /// For each as many as a whole piece has: of a shorter one the last ones mean nothing.
    blocks: Vec<Block>,
}

impl InProgress {
    pub(super) fn new(geometry: Geometry) -> InProgress {
        InProgress {
            geometry,
            heads: Vec::new(),
            blocks: Vec::new(),
        }
    }

    /// What a choice looks at, oldest first.
    pub(super) fn heads(&self) -> &[Head] {
        &self.heads
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Partial<'_>> {
        (0..self.heads.len()).map(|place| self.at(place))
    }

    /// Where a piece lies, if it is in progress: of use until another one begins or ends.
    pub(super) fn place(&self, piece: PieceIndex) -> Option<usize> {
        self.heads.iter().position(|head| head.piece == piece)
    }

    pub(super) fn at(&self, place: usize) -> Partial<'_> {
        let head = &self.heads[place];
        let from = place * self.blocks_each();
        let count = self.geometry.blocks_in(head.piece) as usize;
        Partial {
            head,
            blocks: &self.blocks[from..from + count],
        }
    }

    pub(super) fn head_mut(&mut self, place: usize) -> &mut Head {
        &mut self.heads[place]
    }

    /// The state of a block changes.
    pub(super) fn set(&mut self, place: usize, block: u32, state: Block) {
        let from = place * self.blocks_each();
        self.blocks[from + block as usize] = state;
    }

    /// One more, behind the others.
    pub(super) fn push(&mut self, head: Head, blocks: &[Block]) {
        self.heads.push(head);
        self.blocks.extend_from_slice(blocks);
        let all = self.heads.len() * self.blocks_each();
        self.blocks.resize(all, Block::Missing);
    }

    pub(super) fn remove(&mut self, place: usize) {
        self.heads.remove(place);
        let from = place * self.blocks_each();
        self.blocks.drain(from..from + self.blocks_each());
    }

    pub(super) fn clear(&mut self) {
        self.heads.clear();
        self.blocks.clear();
    }

    /// Asks for what a search looks at.
    pub(super) fn prefetch(&self) {
        prefetch::value_of(&self.heads);
    }

    /// As [`InProgress::prefetch`], once that is there: asks for the state of a block.
    pub(super) fn prefetch_block(&self, piece: PieceIndex, block: u32) {
        if let Some(place) = self.place(piece)
            && let Some(state) = self.blocks.get(place * self.blocks_each() + block as usize)
        {
            prefetch::front(state);
        }
    }

    fn blocks_each(&self) -> usize {
        self.geometry.blocks_in(PieceIndex(0)) as usize
    }
}

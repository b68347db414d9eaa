//! Owns the state of every piece, and how many neighbours hold each.
//!
//! Invariants: a piece is exactly one of have / in progress / queued / unwanted; availability is the sum of the
//! neighbours' bitfields, and the copies that choices go by those of neighbours that are not doubted. What
//! becomes of the blocks of a piece in progress: `partial`.

use std::ops::Range;

use crate::bits::BitSet;
use crate::ids::{BlockRange, PieceIndex};
use crate::metainfo::Geometry;
use crate::metainfo::Priority;
use crate::prefetch;

use super::blame::SenderId;
use super::partial::{Block, Head, InProgress, Partial};

/// Of torrents with more pieces, the copies of the others are not asked for ahead.
const COPIES_AHEAD: usize = 512;

/// All pieces of the torrent.
#[derive(Debug)]
pub(super) struct Pieces {
    /// Verified.
    pub(super) have: BitSet,
    /// Wanted and not started.
    pub(super) queued: BitSet,
    /// Pieces of `started`.
    in_progress: BitSet,
    /// Neither there nor wanted.
    unwanted: BitSet,
    started: InProgress,
    /// Copies among the neighbours.
    pub(super) availability: Vec<u16>,
    /// The same without neighbours that are doubted; `None` while nobody is.
    pub(super) trusted: Option<Vec<u16>>,
    /// Blocks of pieces in progress that should be asked for.
    free_blocks: u32,
    pub(super) geometry: Geometry,
    /// What the user wants first and last; `None` while everything is worth the same.
    priorities: Option<Vec<Priority>>,
    /// Bytes of padding files (BEP 47), which are zero and never asked for; in order.
    padding: Vec<Range<u64>>,
}

impl Pieces {
    pub(super) fn new(geometry: Geometry, have: BitSet) -> Pieces {
        let mut queued = BitSet::full(geometry.pieces);
        for piece in have.iter() {
            queued.remove(piece);
        }
        Pieces {
            unwanted: BitSet::empty(geometry.pieces),
            priorities: None,
            padding: Vec::new(),
            have,
            queued,
            in_progress: BitSet::empty(geometry.pieces),
            started: InProgress::new(geometry),
            availability: vec![0; geometry.pieces as usize],
            trusted: None,
            free_blocks: 0,
            geometry,
        }
    }

    /// Whether every piece is verified.
    pub(super) fn complete(&self) -> bool {
        self.have.is_full()
    }

    /// Whether every piece that the user wants is verified.
    pub(super) fn finished(&self) -> bool {
        // A piece that was skipped while it was in progress may come or not.
        let skipped = |head: &Head| self.priority(head.piece) == Priority::Skip;
        self.queued.is_empty() && self.started.heads().iter().all(skipped)
    }

    /// Whether the piece is not there and neither wanted.
    pub(super) fn is_unwanted(&self, piece: PieceIndex) -> bool {
        self.has_priorities() && self.unwanted.contains(piece)
    }

    /// Pieces of a peer that are missing here and wanted.
    pub(super) fn useful(&self, has: &BitSet) -> u32 {
        let missing = has.count_minus(&self.have);
        match self.has_priorities() {
            true => missing - has.iter_and(&self.unwanted).count() as u32,
            false => missing,
        }
    }

    /// What the user wants of a piece.
    pub(super) fn priority(&self, piece: PieceIndex) -> Priority {
        match &self.priorities {
            Some(priorities) => priorities[piece.at()],
            None => Priority::Normal,
        }
    }

    /// Whether pieces differ in priority at all.
    pub(super) fn has_priorities(&self) -> bool {
        self.priorities.is_some()
    }

    /// What the user wants, one per piece. A piece in progress is finished all the same.
    pub(super) fn prioritise(&mut self, priorities: Vec<Priority>) {
        assert_eq!(priorities.len(), self.geometry.pieces as usize);
        for (piece, priority) in self.geometry.all_pieces().zip(&priorities) {
            let wanted = *priority != Priority::Skip;
            if wanted && self.unwanted.remove(piece) {
                self.queued.insert(piece);
            } else if !wanted && self.queued.remove(piece) {
                self.unwanted.insert(piece);
            }
        }
        let plain = priorities.iter().all(|p| *p == Priority::Normal);
        self.priorities = (!plain).then_some(priorities);
    }

    /// Ranges of the content that are padding, in order.
    pub(super) fn set_padding(&mut self, padding: Vec<Range<u64>>) {
        self.padding = padding;
    }

    /// Whether a block is padding from its first byte to its last.
    fn is_padding(&self, range: BlockRange) -> bool {
        let start = self.geometry.offset(range.piece) + u64::from(range.begin);
        let end = start + u64::from(range.len);
        let after = self.padding.partition_point(|p| p.start <= start);
        after > 0 && end <= self.padding[after - 1].end
    }

    /// A piece that was verified turned out to be gone: wanted again, if the user wants it.
    pub(super) fn lose(&mut self, piece: PieceIndex) -> bool {
        let had = self.have.remove(piece);
        if had {
            self.put_back(piece);
        }
        had
    }

    fn put_back(&mut self, piece: PieceIndex) {
        match self.priority(piece) {
            Priority::Skip => self.unwanted.insert(piece),
            _ => self.queued.insert(piece),
        };
    }

    /// Bytes not yet verified.
    pub(super) fn left(&self) -> u64 {
        let have: u64 = if self.complete() {
            self.geometry.total
        } else {
            self.have
                .iter()
                .map(|p| u64::from(self.geometry.piece_len(p)))
                .sum()
        };
        self.geometry.total - have
    }

    /// Copies of each piece, as choices go by them.
    pub(super) fn copies(&self) -> &[u16] {
        self.trusted.as_deref().unwrap_or(&self.availability)
    }

    /// Asks for what a choice of the next block looks at.
    pub(super) fn prefetch_choice(&self) {
        self.started.prefetch();
        let copies = self.copies();
        prefetch::value_of(&copies[..copies.len().min(COPIES_AHEAD)]);
    }

    /// As [`Pieces::prefetch_choice`], once that is there: asks for the state of a block that comes.
    pub(super) fn prefetch_block(&self, piece: PieceIndex, block: u32) {
        self.started.prefetch_block(piece, block);
    }

    /// Asks for the number of its copies.
    pub(super) fn prefetch_copies(&self, piece: PieceIndex) {
        if let Some(copies) = self.availability.get(piece.at()) {
            prefetch::front(copies);
        }
    }

    /// A neighbour was seen to hold the piece. `doubted`: it is.
    pub(super) fn add_copy(&mut self, piece: PieceIndex, doubted: bool) {
        one_more(&mut self.availability[piece.at()]);
        if !doubted && let Some(trusted) = &mut self.trusted {
            one_more(&mut trusted[piece.at()]);
        }
    }

    /// A neighbour that held the piece is gone. `doubted`: it was.
    pub(super) fn drop_copy(&mut self, piece: PieceIndex, doubted: bool) {
        one_less(&mut self.availability[piece.at()]);
        if !doubted && let Some(trusted) = &mut self.trusted {
            one_less(&mut trusted[piece.at()]);
        }
    }

    /// What a neighbour has counts no more for choices, or counts again.
    pub(super) fn doubt(&mut self, has: &BitSet, on: bool) {
        let trusted = self
            .trusted
            .get_or_insert_with(|| self.availability.clone());
        for piece in has.iter() {
            let copies = &mut trusted[piece.at()];
            if on {
                one_less(copies)
            } else {
                one_more(copies)
            }
        }
    }

    /// Whether end-game may begin: something is missing, and every missing block is asked for.
    pub(super) fn all_requested(&self) -> bool {
        self.queued.is_empty() && self.free_blocks == 0 && !self.finished()
    }

    /// Pieces in progress, oldest first.
    pub(super) fn started(&self) -> &InProgress {
        &self.started
    }

    /// Another sender helps with a piece on parole, alone if nothing of it has arrived yet.
    pub(super) fn take_over(&mut self, piece: PieceIndex, sender: SenderId) {
        if let Some(place) = self.place(piece) {
            let head = self.started.head_mut(place);
            head.parole = (head.received == 0).then_some(sender);
        }
    }

    fn place(&self, piece: PieceIndex) -> Option<usize> {
        let place = || self.started.place(piece);
        self.in_progress.contains(piece).then(place)?
    }

    pub(super) fn partial(&self, piece: PieceIndex) -> Option<Partial<'_>> {
        Some(self.started.at(self.place(piece)?))
    }

    /// Moves a queued piece to in progress; on parole when only one sender is to be asked for it.
    /// True when nothing of it has to be asked for: it is all padding.
    pub(super) fn start(&mut self, piece: PieceIndex, parole: Option<SenderId>) -> bool {
        assert!(self.queued.remove(piece), "only a queued piece is started");
        let block = |n| match self.is_padding(self.geometry.block(piece, n)) {
            true => Block::Received(SenderId::NOBODY),
            false => Block::Missing,
        };
        let count = self.geometry.blocks_in(piece);
        let blocks: Vec<_> = (0..count).map(block).collect();
        let free = blocks.iter().filter(|b| b.is_free()).count() as u32;
        let head = Head {
            piece,
            free,
            received: count - free,
            parole,
        };
        self.started.push(head, &blocks);
        self.in_progress.insert(piece);
        self.free_blocks += free;
        free == 0
    }

    /// The first block of a piece in progress that should be asked for; see [`Partial::first_free`].
    pub(super) fn first_free(
        &self,
        piece: PieceIndex,
        late_elsewhere: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        self.partial(piece)?.first_free(late_elsewhere)
    }

    /// One more request for a block is on its way.
    pub(super) fn requested(&mut self, piece: PieceIndex, block: u32) {
        self.change(piece, block, |state| match state {
            Block::Missing => Block::Requested { live: 1, late: 0 },
            Block::Requested { live, late } => Block::Requested {
                live: live + 1,
                late,
            },
            Block::Received(_) => unreachable!("a received block is not asked for"),
        });
    }

    /// A request for a block timed out, but may still be answered.
    pub(super) fn timed_out(&mut self, piece: PieceIndex, block: u32) {
        self.change(piece, block, |state| match state {
            Block::Requested { live, late } => Block::Requested {
                live: live - 1,
                late: late + 1,
            },
            other => other,
        });
    }

    /// A request for a block will not be answered any more.
    pub(super) fn released(&mut self, piece: PieceIndex, block: u32, was_late: bool) {
        self.change(piece, block, |state| match state {
            Block::Requested { live, late } => {
                let (live, late) = if was_late {
                    (live, late - 1)
                } else {
                    (live - 1, late)
                };
                if live + late == 0 {
                    Block::Missing
                } else {
                    Block::Requested { live, late }
                }
            }
            other => other,
        });
    }

    /// A block arrived; how many requests for it there were, `None` when it was there already or
    /// its piece is not in progress. True with it: the piece is all there.
    pub(super) fn received(
        &mut self,
        piece: PieceIndex,
        block: u32,
        sender: SenderId,
    ) -> Option<(u16, bool)> {
        let place = self.place(piece)?;
        let state = self.started.at(place).blocks[block as usize];
        let open = match state {
            Block::Received(_) => return None,
            Block::Missing => 0,
            Block::Requested { live, late } => live + late,
        };
        self.change_at(place, block, Block::Received(sender));
        self.started.head_mut(place).received += 1;
        Some((open, self.started.at(place).verifying()))
    }

    fn change(&mut self, piece: PieceIndex, block: u32, f: impl FnOnce(Block) -> Block) {
        if let Some(place) = self.place(piece) {
            let state = f(self.started.at(place).blocks[block as usize]);
            self.change_at(place, block, state);
        }
    }

    fn change_at(&mut self, place: usize, block: u32, state: Block) {
        let was = u32::from(self.started.at(place).blocks[block as usize].is_free());
        let is = u32::from(state.is_free());
        self.started.set(place, block, state);
        let head = self.started.head_mut(place);
        head.free = head.free + is - was;
        self.free_blocks = self.free_blocks + is - was;
    }

    /// Gives up all progress: what was written may not be there. Requests for its blocks may still
    /// be open; they count as released. Returns the pieces.
    pub(super) fn restart(&mut self) -> Vec<PieceIndex> {
        let pieces = self.started.heads().iter().map(|head| head.piece);
        let pieces: Vec<_> = pieces.collect();
        self.started.clear();
        self.free_blocks = 0;
        for &piece in &pieces {
            self.in_progress.remove(piece);
            self.put_back(piece);
        }
        pieces
    }

    /// Takes a piece whose blocks are all received out of progress: to `have` when it was good,
    /// back to the queue when not. Returns who sent each block.
    pub(super) fn verified(&mut self, piece: PieceIndex, good: bool) -> Vec<SenderId> {
        let place = self
            .place(piece)
            .expect("only a piece in progress is verified");
        let senders = self.started.at(place).blocks.iter().map(|b| match b {
            Block::Received(sender) => *sender,
            _ => unreachable!("only a piece with all blocks is verified"),
        });
        let senders = senders.collect();
        self.started.remove(place);
        self.in_progress.remove(piece);
        if good {
            self.have.insert(piece);
        } else {
            self.put_back(piece);
        }
        senders
    }

    /// What is wrong with one piece's state, in words, if anything.
    pub(super) fn broken(&self, piece: PieceIndex) -> Option<&'static str> {
        let places = u32::from(self.have.contains(piece))
            + u32::from(self.queued.contains(piece))
            + u32::from(self.unwanted.contains(piece))
            + self
                .started
                .heads()
                .iter()
                .filter(|h| h.piece == piece)
                .count() as u32;
        if places != 1 {
            return Some("a piece is not exactly one of have, in progress, queued, unwanted");
        }
        let place = self.started.place(piece);
        if place.is_some() != self.in_progress.contains(piece) {
            return Some("the set of pieces in progress is not that of those that were started");
        }
        if self.unwanted.contains(piece) && !self.has_priorities() {
            return Some("a piece is unwanted although all are worth the same");
        }
        self.started.at(place?).broken()
    }

    /// What is wrong with the requests of one piece's blocks. `open` is how many of each the peers hold.
    pub(super) fn miscounted(&self, piece: PieceIndex, open: &[u32]) -> Option<&'static str> {
        let blocks = self.partial(piece)?.blocks;
        let wrong = |(block, open): (&Block, &u32)| match block {
            Block::Missing => *open != 0,
            Block::Requested { live, late } => u32::from(live + late) != *open,
            Block::Received(_) => false,
        };
        let found = blocks.iter().zip(open).any(wrong);
        found.then_some("a block's requests are not those that the peers hold")
    }
}

fn one_more(copies: &mut u16) {
    *copies = copies
        .checked_add(1)
        .expect("no more neighbours than connections_max");
}

fn one_less(copies: &mut u16) {
    *copies = copies
        .checked_sub(1)
        .expect("copies are the sum of the bitfields");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces() -> Pieces {
        let geometry = Geometry::new(3 * 32768, 32768).expect("sizes");
        Pieces::new(geometry, BitSet::empty(3))
    }

    #[test]
    fn a_block_goes_from_missing_to_received_and_its_piece_to_have() {
        let mut p = pieces();
        let piece = PieceIndex(1);
        p.start(piece, None);
        assert_eq!(p.first_free(piece, |_| true), Some(0));
        p.requested(piece, 0);
        assert_eq!(p.first_free(piece, |_| true), Some(1));
        assert_eq!(p.received(piece, 0, SenderId(7)), Some((1, false)));
        assert_eq!(p.received(piece, 0, SenderId(8)), None);
        assert_eq!(p.received(piece, 1, SenderId(8)), Some((0, true)));
        assert_eq!(p.verified(piece, true), [SenderId(7), SenderId(8)]);
        assert!(p.have.contains(piece) && p.broken(piece).is_none());
    }

    #[test]
    fn a_late_request_frees_the_block_and_may_still_be_released() {
        let mut p = pieces();
        let piece = PieceIndex(0);
        p.start(piece, None);
        p.requested(piece, 0);
        p.timed_out(piece, 0);
        assert_eq!(p.first_free(piece, |_| true), Some(0));
        assert_eq!(p.first_free(piece, |_| false), Some(1), "late here");
        p.requested(piece, 0);
        assert_eq!(p.first_free(piece, |_| true), Some(1));
        p.released(piece, 0, true);
        assert_eq!(
            (p.broken(piece), p.miscounted(piece, &[1, 0])),
            (None, None)
        );
        assert!(p.miscounted(piece, &[0, 0]).is_some());
        p.released(piece, 0, false);
        assert_eq!(p.first_free(piece, |_| true), Some(0));
        assert_eq!(
            (p.broken(piece), p.miscounted(piece, &[0, 0])),
            (None, None)
        );
    }

    #[test]
    fn a_bad_piece_goes_back_to_the_queue() {
        let mut p = pieces();
        let piece = PieceIndex(2);
        p.start(piece, None);
        p.received(piece, 0, SenderId(1));
        p.received(piece, 1, SenderId(1));
        p.verified(piece, false);
        assert!(p.queued.contains(piece));
        assert!(p.started().heads().is_empty());
        assert!(!p.all_requested());
    }

    #[test]
    fn a_piece_is_unwanted_until_its_priority_changes() {
        let mut p = pieces();
        use Priority::{High, Normal, Skip};
        p.start(PieceIndex(0), None);
        p.prioritise(vec![Skip, Skip, High]);
        assert!(!p.queued.contains(PieceIndex(1)) && p.is_unwanted(PieceIndex(1)));
        assert!(!p.is_unwanted(PieceIndex(0)), "in progress: it is finished");
        assert_eq!(p.useful(&BitSet::full(3)), 2);
        for block in 0..2 {
            p.received(PieceIndex(0), block, SenderId(1));
        }
        p.verified(PieceIndex(0), false);
        assert!(p.is_unwanted(PieceIndex(0)), "and not begun again");
        p.prioritise(vec![Normal; 3]);
        assert!(!p.has_priorities() && p.queued.is_full());
        assert_eq!(p.broken(PieceIndex(1)), None);
    }

    #[test]
    fn blocks_that_are_all_padding_are_never_asked_for() {
        let mut p = pieces();
        p.set_padding(vec![20000..32768, 40000..65536, 65536..98304]);
        assert!(!p.start(PieceIndex(0), None));
        assert_eq!(
            p.partial(PieceIndex(0)).expect("started").head.free,
            2,
            "20000 lies in block 1"
        );
        assert!(!p.start(PieceIndex(1), None));
        assert_eq!(p.partial(PieceIndex(1)).expect("started").head.free, 1);
        assert!(p.start(PieceIndex(2), None), "nothing to ask for");
        assert_eq!(p.verified(PieceIndex(2), true), [SenderId::NOBODY; 2]);
    }
}

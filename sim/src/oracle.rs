//! Owns the strategy `global-rarest`: the piece with the fewest copies in the whole swarm.
//!
//! No client can know that. It is the yardstick for those that go by their neighbours alone: what is lost because a view is
//! partial. So it is the simulator's and not the engine's; the recorder of a run counts the copies.

use std::cell::Cell;
use std::rc::Rc;

use rand::seq::IteratorRandom;
use rand_chacha::ChaCha8Rng;
use skep_engine::PieceIndex;
use skep_engine::picker::{PickView, PiecePicker};

/// Its name in scenario files.
pub const GLOBAL_RAREST: &str = "global-rarest";

/// Copies of each piece among the honest peers online, as of now.
pub type SwarmCopies = Rc<[Cell<u32>]>;

/// Fewest copies in the swarm, ties at random.
#[derive(Clone, Debug)]
pub struct GlobalRarest {
    /// The swarm's copies.
    pub copies: SwarmCopies,
}

impl PiecePicker for GlobalRarest {
    fn name(&self) -> &'static str {
        GLOBAL_RAREST
    }

    fn pick(
        &mut self,
        _view: &PickView<'_>,
        candidates: &[PieceIndex],
        rng: &mut ChaCha8Rng,
    ) -> Option<PieceIndex> {
        let copies = |piece: &&PieceIndex| self.copies[piece.at()].get();
        let fewest = candidates.iter().map(|piece| copies(&piece)).min()?;
        let rarest = candidates.iter().filter(|piece| copies(piece) == fewest);
        rarest.choose(rng).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::SeedableRng;
    use skep_engine::bits::BitSet;

    #[test]
    fn it_goes_by_the_swarm_and_not_by_the_neighbours() {
        let copies: SwarmCopies = [3, 1, 2, 1].map(Cell::new).into();
        let mut picker = GlobalRarest {
            copies: Rc::clone(&copies),
        };
        let view = PickView {
            availability: &[1, 9, 1, 9],
            have: &BitSet::empty(4),
            neighbours: &[],
            playhead: PieceIndex(0),
        };
        let candidates: Vec<_> = (0..4).map(PieceIndex).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut pick = || picker.pick(&view, &candidates, &mut rng);
        let seen: std::collections::BTreeSet<_> = (0..40).map(|_| pick()).collect();
        let tied = [Some(PieceIndex(1)), Some(PieceIndex(3))];
        assert!(seen.into_iter().eq(tied), "ties at random");
        copies[2].set(0);
        assert_eq!(pick(), Some(PieceIndex(2)), "the copies of this moment");
    }
}

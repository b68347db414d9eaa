//! Owns the strategy `top-n-rarest`: uniform among the n rarest candidates.
//!
//! n = 1 is `rarest-first-strict`. Neighbours with the same view then do not all start the same piece (the herd that
//! Bharambe et al. 2006 see when pieces are few).

use rand::RngExt;
use rand::seq::IteratorRandom;
use rand_chacha::ChaCha8Rng;

use super::{PickView, PiecePicker};
use crate::ids::PieceIndex;

/// One of the rarest few.
#[derive(Clone, Debug)]
pub struct TopNRarest {
    n: usize,
    /// Scratch: the candidates' copies.
    copies: Vec<u16>,
}

impl TopNRarest {
    /// Among so many; 0 is taken for 1.
    #[must_use]
    pub fn new(n: usize) -> TopNRarest {
        TopNRarest {
            n: n.max(1),
            copies: Vec::new(),
        }
    }
}

impl PiecePicker for TopNRarest {
    fn name(&self) -> &'static str {
        "top-n-rarest"
    }

    fn pick(
        &mut self,
        view: &PickView<'_>,
        candidates: &[PieceIndex],
        rng: &mut ChaCha8Rng,
    ) -> Option<PieceIndex> {
        let copies = |piece: &PieceIndex| view.availability[piece.at()];
        self.copies.clear();
        self.copies.extend(candidates.iter().map(copies));
        let few = self.n.min(self.copies.len());
        if few == 0 {
            return None;
        }
        // A place among the n, and then any piece with the copies of that place: ties have equal chances to be
        // among the n at all.
        let place = rng.random_range(0..few);
        let (_, there, _) = self.copies.select_nth_unstable(place);
        let there = *there;
        let equals = candidates.iter().filter(|piece| copies(piece) == there);
        equals.choose(rng).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{pick_often, view};
    use super::*;

    #[test]
    fn the_n_rarest_have_equal_chances_and_the_others_none() {
        let counts = pick_often(&mut TopNRarest::new(3), &view(&[5, 1, 9, 2, 3, 4]), 3000);
        assert_eq!([counts[0], counts[2], counts[5]], [0, 0, 0]);
        for chosen in [counts[1], counts[3], counts[4]] {
            assert!((900..1100).contains(&chosen), "{counts:?}");
        }
    }

    #[test]
    fn ties_share_the_last_places() {
        // One with 1 copy, four with 2: each of the four has a quarter of the second place.
        let counts = pick_often(&mut TopNRarest::new(2), &view(&[2, 2, 1, 2, 2]), 4000);
        assert!((1850..2150).contains(&counts[2]), "{counts:?}");
        for tied in [counts[0], counts[1], counts[3], counts[4]] {
            assert!((420..580).contains(&tied), "{counts:?}");
        }
    }

    #[test]
    fn one_is_the_rarest_and_more_than_there_are_is_random() {
        assert_eq!(
            pick_often(&mut TopNRarest::new(0), &view(&[2, 1, 2]), 20),
            [0, 20, 0]
        );
        let all = pick_often(&mut TopNRarest::new(50), &view(&[7, 1, 2]), 3000);
        assert!(all.iter().all(|n| (900..1100).contains(n)), "{all:?}");
    }
}

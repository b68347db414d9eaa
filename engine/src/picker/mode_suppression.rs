//! Owns the strategy `mode-suppression` (Reddyvari, Parag and Shakkottai 2018, "Mode-suppression: a simple and provably
//! stable chunk-sharing algorithm for P2P networks"): anything but what most have.
//!
//! It never takes a piece that as many have as the most frequent one, unless the most and the least frequent differ by at
//! most T. So it may decline, and the session asks again soon. Compared are the pieces that we lack and some neighbour has:
//! of a piece that we have neighbours need not tell us (`redundant_have`), and our view of it is stale. The rarest of them
//! is always allowed.

use rand::seq::IteratorRandom;
use rand_chacha::ChaCha8Rng;

use super::{PickView, PiecePicker};
use crate::ids::PieceIndex;

/// The most frequent pieces wait.
#[derive(Clone, Copy, Debug)]
pub struct ModeSuppression {
    /// Difference of copies up to which anything may be taken.
    pub threshold: u16,
}

impl PiecePicker for ModeSuppression {
    fn name(&self) -> &'static str {
        "mode-suppression"
    }

    fn pick(
        &mut self,
        view: &PickView<'_>,
        candidates: &[PieceIndex],
        rng: &mut ChaCha8Rng,
    ) -> Option<PieceIndex> {
        let copies = |piece: PieceIndex| view.availability[piece.at()];
        let missing = || {
            (0..view.have.len())
                .map(PieceIndex)
                .filter(|p| !view.have.contains(*p))
        };
        let all = || missing().map(copies).filter(|copies| *copies > 0);
        let (most, fewest) = (all().max()?, all().min()?);
        let any = most - fewest <= self.threshold;
        let allowed = candidates.iter().filter(|p| any || copies(**p) < most);
        allowed.choose(rng).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{pick_often, view};
    use super::*;
    use crate::bits::BitSet;
    use rand_chacha::rand_core::SeedableRng;

    #[test]
    fn anything_but_the_most_frequent_with_equal_chances() {
        let counts = pick_often(
            &mut ModeSuppression { threshold: 1 },
            &view(&[4, 2, 3, 4]),
            2000,
        );
        assert_eq!([counts[0], counts[3]], [0, 0]);
        assert!((900..1100).contains(&counts[1]), "{counts:?}");
    }

    #[test]
    fn when_all_are_about_as_frequent_nothing_is_suppressed() {
        let counts = pick_often(&mut ModeSuppression { threshold: 1 }, &view(&[3, 2]), 2000);
        assert!((900..1100).contains(&counts[0]), "{counts:?}");
        let strict = pick_often(&mut ModeSuppression { threshold: 0 }, &view(&[3, 2]), 20);
        assert_eq!(strict, [0, 20]);
    }

    #[test]
    fn what_is_left_is_compared_and_nothing_else() {
        let mut have = BitSet::empty(4);
        have.insert(PieceIndex(0));
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut pick = |availability: &[u16]| {
            let view = PickView {
                have: &have,
                ..view(availability)
            };
            ModeSuppression { threshold: 0 }.pick(&view, &[PieceIndex(1)], &mut rng)
        };
        // Of the first one, which we have, nobody tells us any more.
        assert_eq!(pick(&[1, 3, 3, 3]), Some(PieceIndex(1)));
        assert_eq!(pick(&[9, 3, 4, 5]), Some(PieceIndex(1)));
        assert_eq!(pick(&[1, 3, 2, 3]), None);
        // What nobody has cannot be waited for.
        assert_eq!(pick(&[1, 3, 3, 0]), Some(PieceIndex(1)));
    }
}

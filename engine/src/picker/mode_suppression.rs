//! Owns the strategy `mode-suppression` (Reddyvari, Parag and Shakkottai 2018, "Mode-suppression: a simple and provably
//! stable chunk-sharing algorithm for P2P networks"): anything but what most have.
//!
//! It never takes a piece that as many have as the most frequent one, unless the most and the least frequent differ by at
//! most T. So it may decline, and the session asks again soon. Who has a piece: the neighbours, and we ourselves. (Where
//! all know each other somebody can always go on: a leecher without any other candidate has every rarer piece.)

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
        let copies = |piece: PieceIndex| {
            let ours = u16::from(view.have.contains(piece));
            view.availability[piece.at()].saturating_add(ours)
        };
        let all = || (0..view.have.len()).map(|piece| copies(PieceIndex(piece)));
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
    fn our_own_copies_count_and_it_declines_what_is_left() {
        let mut have = BitSet::empty(2);
        have.insert(PieceIndex(0));
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut pick = |availability: &[u16]| {
            let view = PickView {
                have: &have,
                ..view(availability)
            };
            ModeSuppression { threshold: 0 }.pick(&view, &[PieceIndex(1)], &mut rng)
        };
        // Both have two copies, one of the first is ours.
        assert_eq!(pick(&[1, 2]), Some(PieceIndex(1)));
        assert_eq!(pick(&[1, 3]), None);
    }
}

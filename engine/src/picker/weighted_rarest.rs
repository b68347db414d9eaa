//! Owns the strategy `weighted-rarest`: the chance of a piece is proportional to 1 / copies^alpha.
//!
//! It spans what lies between `random` (alpha = 0) and `rarest-first-strict` (alpha without end), so that what rarity is
//! worth can be measured. Ours: no client that we know has it.

use rand_chacha::ChaCha8Rng;

use super::power_law::PowerLaw;
use super::{PickView, PiecePicker};
use crate::ids::PieceIndex;

/// Rare pieces are likelier, none is certain.
#[derive(Clone, Debug)]
pub struct WeightedRarest {
    law: PowerLaw,
}

impl WeightedRarest {
    /// How much rarity counts; 0: not at all.
    #[must_use]
    pub fn new(alpha: f64) -> WeightedRarest {
        WeightedRarest {
            law: PowerLaw::new(alpha),
        }
    }
}

impl PiecePicker for WeightedRarest {
    fn name(&self) -> &'static str {
        "weighted-rarest"
    }

    fn pick(
        &mut self,
        view: &PickView<'_>,
        candidates: &[PieceIndex],
        rng: &mut ChaCha8Rng,
    ) -> Option<PieceIndex> {
        let copies = |piece: PieceIndex| u32::from(view.availability[piece.at()]);
        self.law.choose(candidates, rng, copies)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{pick_often, view};
    use super::*;

    #[test]
    fn the_chance_falls_with_the_power_of_the_copies() {
        // Weights 1, 1/4, 1/16: of 2,100 picks 1,600, 400 and 100.
        let counts = pick_often(&mut WeightedRarest::new(2.0), &view(&[1, 2, 4]), 2100);
        assert!((1500..1700).contains(&counts[0]), "{counts:?}");
        assert!((330..470).contains(&counts[1]), "{counts:?}");
        assert!((60..140).contains(&counts[2]), "{counts:?}");
    }

    #[test]
    fn without_alpha_it_is_random_and_with_much_of_it_rarest_first() {
        let even = pick_often(&mut WeightedRarest::new(0.0), &view(&[1, 2, 40]), 3000);
        assert!(even.iter().all(|n| (900..1100).contains(n)), "{even:?}");
        let strict = pick_often(&mut WeightedRarest::new(900.0), &view(&[3, 2, 40]), 50);
        assert_eq!(strict, [0, 50, 0]);
    }
}

//! Owns the strategy `zipf`: the chance of piece k is proportional to 1 / (k - playhead + 1)^theta.
//!
//! Source: Carlsson and Eager 2007, "Peer-assisted on-demand streaming of stored media using BitTorrent-like
//! protocols"; theta = 1.25 is theirs. Near pieces are likely, far ones are not forgotten.

use rand_chacha::ChaCha8Rng;

use super::power_law::PowerLaw;
use super::{PickView, PiecePicker};
use crate::ids::PieceIndex;

/// The nearer to the playhead, the likelier.
#[derive(Clone, Debug)]
pub struct Zipf {
    law: PowerLaw,
}

impl Zipf {
    /// How steep the chance falls; 0: not at all.
    #[must_use]
    pub fn new(theta: f64) -> Zipf {
        Zipf {
            law: PowerLaw::new(theta),
        }
    }
}

impl PiecePicker for Zipf {
    fn name(&self) -> &'static str {
        "zipf"
    }

    fn pick(
        &mut self,
        view: &PickView<'_>,
        candidates: &[PieceIndex],
        rng: &mut ChaCha8Rng,
    ) -> Option<PieceIndex> {
        // What the player has passed is as near as its next piece.
        let away = |piece: PieceIndex| piece.0.saturating_sub(view.playhead.0) + 1;
        self.law.choose(candidates, rng, away)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{pick_often, view};
    use super::*;

    #[test]
    fn the_chance_falls_with_the_power_of_the_distance() {
        let mut view = view(&[9; 4]);
        view.playhead = PieceIndex(1);
        // Behind the playhead as at it: weights 1, 1, 1/2, 1/3 for theta 1.
        let counts = pick_often(&mut Zipf::new(1.0), &view, 1700);
        for (piece, of) in [(0, 600), (1, 600), (2, 300), (3, 200)] {
            let near = of - 70..of + 70;
            assert!(near.contains(&counts[piece]), "{counts:?}");
        }
    }

    #[test]
    fn steep_it_is_sequential_and_flat_it_is_random() {
        let view = view(&[9; 3]);
        let steep = pick_often(&mut Zipf::new(2000.0), &view, 20);
        assert_eq!(steep, [20, 0, 0]);
        let flat = pick_often(&mut Zipf::new(0.0), &view, 3000);
        assert!(flat.iter().all(|n| (900..1100).contains(n)), "{flat:?}");
    }
}

//! Owns the strategy `random`: uniform over the candidates. The baseline of every comparison.

use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::{PickView, PiecePicker};
use crate::ids::PieceIndex;

/// Any candidate, with equal chance.
#[derive(Clone, Copy, Debug)]
pub struct Random;

impl PiecePicker for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn pick(
        &mut self,
        _view: &PickView<'_>,
        candidates: &[PieceIndex],
        rng: &mut ChaCha8Rng,
    ) -> Option<PieceIndex> {
        candidates.choose(rng).copied()
    }
}

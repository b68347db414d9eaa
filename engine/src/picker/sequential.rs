//! Owns the strategy `sequential`: the lowest index. What a video player wants and a swarm suffers from.

use rand_chacha::ChaCha8Rng;

use super::{PickView, PiecePicker};
use crate::ids::PieceIndex;

/// Lowest index first.
#[derive(Clone, Copy, Debug)]
pub struct Sequential;

impl PiecePicker for Sequential {
    fn name(&self) -> &'static str {
        "sequential"
    }

    fn pick(
        &mut self,
        _view: &PickView<'_>,
        candidates: &[PieceIndex],
        _rng: &mut ChaCha8Rng,
    ) -> Option<PieceIndex> {
        candidates.first().copied()
    }
}

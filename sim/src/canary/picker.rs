//! Owns the picker of the canary `rarest-disabled`: the piece that most neighbours have, the lowest index of
//! several.

use rand_chacha::ChaCha8Rng;
use skep_engine::PieceIndex;
use skep_engine::picker::{PickView, PiecePicker};

/// The opposite of rarest first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Commonest;

impl PiecePicker for Commonest {
    fn name(&self) -> &'static str {
        "rarest-disabled"
    }

    fn pick(
        &mut self,
        view: &PickView<'_>,
        candidates: &[PieceIndex],
        _rng: &mut ChaCha8Rng,
    ) -> Option<PieceIndex> {
        let rare_last = |piece: &&PieceIndex| u16::MAX - view.availability[piece.at()];
        candidates.iter().min_by_key(rare_last).copied()
    }
}

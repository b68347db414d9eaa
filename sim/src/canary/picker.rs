//! Owns the pickers of the canaries `rarest-disabled`, the piece that most neighbours have, the lowest index of
//! several; and `declining`, none, ever.

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

/// Declines for ever.
#[derive(Clone, Copy, Debug)]
pub(super) struct Declining;

impl PiecePicker for Declining {
    fn name(&self) -> &'static str {
        "declining"
    }

    fn pick(
        &mut self,
        _view: &PickView<'_>,
        _candidates: &[PieceIndex],
        _rng: &mut ChaCha8Rng,
    ) -> Option<PieceIndex> {
        None
    }
}

//! Owns the strategy `window`: the rarest of the next w pieces of playback, else the rarest of all.
//!
//! Source: the windowed rarest first of streaming clients (Shah and Pâris 2007, "Peer-to-peer multimedia streaming using
//! BitTorrent"). Where the player is, the session knows: see [`Player`](super::Player).

use rand_chacha::ChaCha8Rng;

use super::rarest_first::rarest;
use super::{PickView, PiecePicker};
use crate::ids::PieceIndex;

/// What is played soon comes first.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Pieces from the playhead on that come first.
    pub w: u32,
}

impl PiecePicker for Window {
    fn name(&self) -> &'static str {
        "window"
    }

    fn pick(
        &mut self,
        view: &PickView<'_>,
        candidates: &[PieceIndex],
        rng: &mut ChaCha8Rng,
    ) -> Option<PieceIndex> {
        let (from, until) = (view.playhead.0, view.playhead.0.saturating_add(self.w));
        let place = |index: u32| candidates.partition_point(|piece| piece.0 < index);
        let inside = &candidates[place(from)..place(until)];
        rarest(view.availability, inside, rng)
            .or_else(|| rarest(view.availability, candidates, rng))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{pick_often, view};
    use super::*;

    #[test]
    fn the_rarest_inside_the_window_comes_before_a_rarer_one_outside() {
        let mut view = view(&[1, 1, 5, 3, 4, 1]);
        view.playhead = PieceIndex(2);
        let counts = pick_often(&mut Window { w: 3 }, &view, 20);
        assert_eq!(counts, [0, 0, 0, 20, 0, 0]);
    }

    #[test]
    fn when_the_window_is_full_it_is_the_rarest_of_all() {
        let mut view = view(&[2, 1, 5, 3]);
        view.playhead = PieceIndex(9);
        assert_eq!(pick_often(&mut Window { w: 3 }, &view, 20), [0, 20, 0, 0]);
        view.playhead = PieceIndex(2);
        let none = pick_often(&mut Window { w: 0 }, &view, 20);
        assert_eq!(none, [0, 20, 0, 0], "no window at all");
    }
}

//! Owns the strategy `bitos` (Vlavianos, Iliofotou and Faloutsos 2006, "BiToS: enhancing BitTorrent for supporting
//! streaming applications"): with probability p the rarest of the high-priority set, else the rarest of the others.
//!
//! The high-priority set is the next w pieces of playback that are not there yet; it moves on as pieces arrive. Where
//! one of the two has nothing to choose from, the other one is asked.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::rarest_first::rarest;
use super::{PickView, PiecePicker};
use crate::ids::PieceIndex;

/// Playback most of the time, the swarm for the rest of it.
#[derive(Clone, Copy, Debug)]
pub struct Bitos {
    /// Chance of the high-priority set, parts per million (the paper: 800,000).
    pub p: u32,
    /// Pieces in it.
    pub w: u32,
}

impl Bitos {
    /// The first piece behind the high-priority set.
    fn end_of_set(&self, view: &PickView<'_>) -> u32 {
        let pieces = view.have.len();
        let mut missing = 0;
        let mut at = view.playhead.0;
        while at < pieces && missing < self.w {
            missing += u32::from(!view.have.contains(PieceIndex(at)));
            at += 1;
        }
        at
    }
}

impl PiecePicker for Bitos {
    fn name(&self) -> &'static str {
        "bitos"
    }

    fn pick(
        &mut self,
        view: &PickView<'_>,
        candidates: &[PieceIndex],
        rng: &mut ChaCha8Rng,
    ) -> Option<PieceIndex> {
        let end = self.end_of_set(view);
        let (soon, later) = candidates.split_at(candidates.partition_point(|p| p.0 < end));
        let (first, second) = match rng.random_range(0..1_000_000) < self.p {
            true => (soon, later),
            false => (later, soon),
        };
        rarest(view.availability, first, rng).or_else(|| rarest(view.availability, second, rng))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{pick_often, view};
    use super::*;
    use crate::bits::BitSet;

    #[test]
    fn so_often_the_next_pieces_of_playback_and_else_the_rarest_elsewhere() {
        let view = view(&[5, 3, 4, 2, 1, 1]);
        let counts = pick_often(&mut Bitos { p: 800_000, w: 3 }, &view, 2000);
        assert_eq!([counts[0], counts[2], counts[3]], [0, 0, 0]);
        assert!((1540..1660).contains(&counts[1]), "{counts:?}");
        assert!(counts[4] > 140 && counts[5] > 140, "{counts:?}");
    }

    #[test]
    fn the_set_is_of_pieces_that_are_missing() {
        let mut have = BitSet::empty(6);
        for piece in [1, 2] {
            have.insert(PieceIndex(piece));
        }
        let mut view = view(&[9; 6]);
        view.have = &have;
        view.playhead = PieceIndex(1);
        assert_eq!(Bitos { p: 0, w: 2 }.end_of_set(&view), 5, "3 and 4");
        view.playhead = PieceIndex(0);
        assert_eq!(Bitos { p: 0, w: 2 }.end_of_set(&view), 4, "0 and 3");
        assert_eq!(Bitos { p: 0, w: 9 }.end_of_set(&view), 6);
    }

    #[test]
    fn where_one_set_is_empty_the_other_is_asked() {
        let all = view(&[2, 1]);
        assert_eq!(pick_often(&mut Bitos { p: 0, w: 9 }, &all, 20), [0, 20]);
        assert_eq!(
            pick_often(&mut Bitos { p: 1_000_000, w: 0 }, &all, 20),
            [0, 20]
        );
    }
}

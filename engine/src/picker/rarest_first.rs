//! Owns the strategies `rarest-first` and `rarest-first-strict` (Cohen 2003; Legout et al. 2006): fewest copies among
//! the neighbours, with and without some pieces at random first; and [`rarest`], the choice that others share.
//!
//! Invariant: ties are broken by the seeded generator. Breaking them by index makes rarest-first
//! sequential where every neighbour is a seed (a real bug in two engines).

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::{PickView, PiecePicker};
use crate::ids::PieceIndex;

/// The candidate with the fewest copies, ties at random; `None` when there is none.
pub fn rarest(
    availability: &[u16],
    candidates: &[PieceIndex],
    rng: &mut ChaCha8Rng,
) -> Option<PieceIndex> {
    let copies = |piece: &PieceIndex| availability[piece.at()];
    let fewest = candidates.iter().map(copies).min()?;
    let rarest = || candidates.iter().filter(|piece| copies(piece) == fewest);
    rarest().nth(rng.random_range(0..rarest().count())).copied()
}

/// Fewest copies first, after `random_first` pieces at random so that a newcomer soon has
/// something to give.
#[derive(Clone, Copy, Debug)]
pub struct RarestFirst {
    /// Verified pieces until which the choice is random (BEP 3: the first ones; field: 4).
    pub random_first: u32,
}

impl PiecePicker for RarestFirst {
    fn name(&self) -> &'static str {
        "rarest-first"
    }

    fn pick(
        &mut self,
        view: &PickView<'_>,
        candidates: &[PieceIndex],
        rng: &mut ChaCha8Rng,
    ) -> Option<PieceIndex> {
        if view.have.count() < self.random_first {
            return candidates.choose(rng).copied();
        }
        rarest(view.availability, candidates, rng)
    }
}

/// Fewest copies from the first piece on: what the first pieces at random are worth is seen against it.
#[derive(Clone, Copy, Debug)]
pub struct RarestFirstStrict;

impl PiecePicker for RarestFirstStrict {
    fn name(&self) -> &'static str {
        "rarest-first-strict"
    }

    fn pick(
        &mut self,
        view: &PickView<'_>,
        candidates: &[PieceIndex],
        rng: &mut ChaCha8Rng,
    ) -> Option<PieceIndex> {
        rarest(view.availability, candidates, rng)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits::BitSet;
    use rand_chacha::rand_core::SeedableRng;

    fn picks(availability: &[u16], have: u32) -> Vec<u32> {
        order(&mut RarestFirst { random_first: 4 }, availability, have)
    }

    /// The pieces in the order in which they are picked, when so many are there already.
    fn order(picker: &mut dyn PiecePicker, availability: &[u16], have: u32) -> Vec<u32> {
        let len = availability.len() as u32;
        let mut verified = BitSet::empty(len);
        (0..have).for_each(|p| {
            verified.insert(PieceIndex(p));
        });
        let mut candidates: Vec<_> = (have..len).map(PieceIndex).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut order = Vec::new();
        while !candidates.is_empty() {
            let view = PickView {
                availability,
                have: &verified,
                neighbours: &[],
                playhead: PieceIndex(0),
            };
            let piece = picker.pick(&view, &candidates, &mut rng);
            let piece = piece.expect("candidates");
            candidates.retain(|p| *p != piece);
            verified.insert(piece);
            order.push(piece.0);
        }
        order
    }

    #[test]
    fn the_strict_one_goes_by_rarity_from_the_first_piece_on() {
        let order = order(&mut RarestFirstStrict, &[9, 4, 7, 1, 3, 8, 2, 5], 0);
        assert_eq!(order, [3, 6, 4, 1, 7, 2, 5, 0]);
    }

    #[test]
    fn the_rarest_comes_first_once_a_few_pieces_are_there() {
        let order = picks(&[9, 9, 9, 9, 3, 1, 2, 9], 4);
        assert_eq!(order[..4], [5, 6, 4, 7]);
    }

    /// Scenario `all-seeds-picks-spread` of the catalogue, at the picker.
    #[test]
    fn equal_copies_are_not_taken_in_order_of_index() {
        let order = picks(&[5; 400], 0);
        let n = order.len() as f64;
        let distance: f64 = order
            .iter()
            .enumerate()
            .map(|(i, p)| i as f64 - f64::from(*p))
            .map(|off| off * off)
            .sum();
        let rank_correlation = 1.0 - 6.0 * distance / (n * (n * n - 1.0));
        assert!(
            rank_correlation.abs() < 0.15,
            "rank correlation {rank_correlation}"
        );
    }
}

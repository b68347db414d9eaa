//! Owns the strategy `rare-chunk` (Oğuz, Anantharam and Norros 2015, "Stable distributed P2P protocols based on random
//! peer sampling"): of three neighbours sampled at random, a piece that exactly one of them has.
//!
//! When there is none it declines, and the session asks again soon: the next sample is another. Where no sample could
//! ever show a candidate at one neighbour alone (all neighbours but one are seeds, say) the paper's rule would wait for
//! ever; then the rarest candidate is taken (ours).

use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::rarest_first::rarest;
use super::{PickView, PiecePicker};
use crate::bits::BitSet;
use crate::ids::PieceIndex;

/// What a few others do not have.
#[derive(Clone, Copy, Debug)]
pub struct RareChunk {
    /// Neighbours sampled for a pick (the paper: 3).
    pub sample: usize,
}

impl PiecePicker for RareChunk {
    fn name(&self) -> &'static str {
        "rare-chunk"
    }

    fn pick(
        &mut self,
        view: &PickView<'_>,
        candidates: &[PieceIndex],
        rng: &mut ChaCha8Rng,
    ) -> Option<PieceIndex> {
        #[expect(
            clippy::len_zero,
            reason = "who has no piece is a neighbour all the same"
        )]
        let neighbours = view.neighbours.iter().filter(|row| row.len() > 0);
        let mut all: Vec<&BitSet> = neighbours.collect();
        let known = all.len();
        let size = self.sample.max(1).min(known);
        let (sampled, _) = all.partial_shuffle(rng, size);
        let alone = |piece: &&PieceIndex| {
            let holders = sampled.iter().filter(|row| row.contains(**piece));
            holders.take(2).count() == 1
        };
        let rare: Vec<_> = candidates.iter().filter(alone).collect();
        if let Some(piece) = rare.choose(rng) {
            return Some(**piece);
        }
        // One holder in the sample, and all others of it without the piece.
        let possible = |piece: &PieceIndex| {
            let holders = usize::from(view.availability[piece.at()]);
            holders > 0 && known.saturating_sub(holders) + 1 >= size
        };
        match candidates.iter().any(possible) {
            true => None,
            false => rarest(view.availability, candidates, rng),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::view;
    use super::*;
    use rand_chacha::rand_core::SeedableRng;

    /// Picks of pieces that the first neighbour has, with so many tries; the neighbours as `10` for one that has the
    /// first piece and not the second.
    fn picks(neighbours: &[&str], tries: u64) -> Vec<Option<u32>> {
        let pieces = neighbours[0].len() as u32;
        let rows = neighbours.iter().map(|row| {
            let mut set = BitSet::empty(pieces);
            let held = row.bytes().zip(0..).filter(|(bit, _)| *bit == b'1');
            held.for_each(|(_, piece)| {
                set.insert(PieceIndex(piece));
            });
            set
        });
        // A slot in which nobody is.
        let rows: Vec<_> = rows.chain([BitSet::default()]).collect();
        let copies = |piece| {
            rows.iter()
                .filter(|r| r.contains(PieceIndex(piece)))
                .count() as u16
        };
        let availability: Vec<u16> = (0..pieces).map(copies).collect();
        let candidates: Vec<_> = rows[0].iter().collect();
        let view = PickView {
            neighbours: &rows,
            ..view(&availability)
        };
        let picks = (0..tries).map(|seed| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            RareChunk { sample: 3 }.pick(&view, &candidates, &mut rng)
        });
        picks.map(|piece| piece.map(|p| p.0)).collect()
    }

    #[test]
    fn a_piece_that_exactly_one_of_the_sampled_has() {
        let picks = picks(&["110", "100", "100"], 20);
        assert!(picks.iter().all(|p| *p == Some(1)), "{picks:?}");
    }

    #[test]
    fn it_declines_while_another_sample_may_show_one() {
        let picks = picks(&["11", "11", "11", "00", "00"], 200);
        assert!(picks.contains(&None) && picks.contains(&Some(0)) && picks.contains(&Some(1)));
    }

    #[test]
    fn where_no_sample_can_it_takes_the_rarest() {
        assert_eq!(picks(&["11", "11", "01"], 5), [Some(0); 5]);
        let alone = picks(&["11"], 20);
        assert!(
            alone.iter().all(Option::is_some),
            "one neighbour has all of it alone"
        );
        let seeds = picks(&["11", "11", "11", "11"], 20);
        assert!(seeds.iter().all(Option::is_some), "{seeds:?}");
    }
}

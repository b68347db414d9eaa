//! Which piece to start next: the seam [`PiecePicker`] and the strategies behind it.
//!
//! Invariant: a strategy only chooses among candidates. The session keeps block state, legality,
//! partial pieces and end-game, so a bad strategy can be slow but cannot lose a block.

mod random;
mod rarest_first;
mod sequential;

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;

use crate::bits::BitSet;
use crate::ids::PieceIndex;

pub use random::Random;
pub use rarest_first::RarestFirst;
pub use sequential::Sequential;

/// What a strategy may look at.
#[derive(Clone, Copy, Debug)]
pub struct PickView<'a> {
    /// Copies of each piece among the connected peers.
    pub availability: &'a [u16],
    /// Pieces verified here.
    pub have: &'a BitSet,
    /// The neighbours' bitfields; the set of a slot without a peer has length 0.
    pub neighbours: &'a [BitSet],
}

/// A piece-selection strategy.
pub trait PiecePicker {
    /// Its name in scenario files.
    fn name(&self) -> &'static str;

    /// Chooses one of `candidates`: wanted, held by the peer to be asked, not started; in order
    /// of index and never empty. `None` starts nothing now.
    fn pick(
        &mut self,
        view: &PickView<'_>,
        candidates: &[PieceIndex],
        rng: &mut ChaCha8Rng,
    ) -> Option<PieceIndex>;

    /// The number of copies among the neighbours changed.
    fn on_availability(&mut self, _piece: PieceIndex, _copies: u16) {}

    /// A piece was verified.
    fn on_piece_done(&mut self, _piece: PieceIndex) {}
}

/// Parameters of a strategy by name, as a scenario file gives them.
pub type Params = BTreeMap<String, f64>;

/// A strategy that this crate knows.
#[derive(Clone, Copy, Debug)]
pub struct KnownPicker {
    /// Its name in scenario files.
    pub name: &'static str,
    /// Its rule in a line.
    pub rule: &'static str,
    /// Names of its parameters.
    pub params: &'static [&'static str],
    build: fn(&Params) -> Box<dyn PiecePicker>,
}

/// All strategies that this crate knows.
pub const KNOWN: &[KnownPicker] = &[
    KnownPicker {
        name: "rarest-first",
        rule: "fewest copies among the neighbours, ties at random; the first pieces at random",
        params: &["random_first"],
        build: |params| {
            let first = params.get("random_first").copied();
            Box::new(RarestFirst { random_first: first.map_or(4, |n| n as u32) })
        },
    },
    KnownPicker {
        name: "random",
        rule: "uniform over the candidates",
        params: &[],
        build: |_| Box::new(Random),
    },
    KnownPicker {
        name: "sequential",
        rule: "lowest index",
        params: &[],
        build: |_| Box::new(Sequential),
    },
];

/// The strategy of that name, if this crate knows it.
#[must_use]
pub fn by_name(name: &str, params: &Params) -> Option<Box<dyn PiecePicker>> {
    KNOWN.iter().find(|known| known.name == name).map(|known| (known.build)(params))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand_chacha::rand_core::SeedableRng;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn every_strategy_picks_a_candidate(
            copies in prop::collection::vec(0u16..9, 1..80), seed in any::<u64>(), have in 0u32..6,
        ) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let len = copies.len() as u32;
            let mut verified = BitSet::empty(len);
            (0..have.min(len)).for_each(|p| { verified.insert(PieceIndex(p)); });
            let candidates: Vec<_> = (0..len).step_by(2).map(PieceIndex).collect();
            let view = PickView { availability: &copies, have: &verified, neighbours: &[] };
            for known in KNOWN {
                let mut picker = by_name(known.name, &Params::new()).expect("known");
                prop_assert_eq!(picker.name(), known.name);
                let picked = picker.pick(&view, &candidates, &mut rng).expect("there are candidates");
                prop_assert!(candidates.contains(&picked));
            }
        }
    }
}

//! Which piece to start next: the seam [`PiecePicker`] and the strategies behind it.
//!
//! Invariant: a strategy only chooses among candidates. The session keeps block state, legality,
//! partial pieces and end-game, so a bad strategy can be slow but cannot lose a block. One that
//! declines is asked again within [`DECLINED_FOR`]; one that declines for ever is a peer that does not finish, which
//! the simulator's progress check finds.

mod bitos;
mod mode_suppression;
mod player;
mod power_law;
mod random;
mod rare_chunk;
mod rarest_first;
mod sequential;
mod top_n_rarest;
mod weighted_rarest;
mod window;
mod zipf;

use std::collections::BTreeMap;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use crate::bits::BitSet;
use crate::ids::PieceIndex;

pub use bitos::Bitos;
pub use mode_suppression::ModeSuppression;
pub use player::Player;
pub use random::Random;
pub use rare_chunk::RareChunk;
pub use rarest_first::{RarestFirst, RarestFirstStrict, rarest};
pub use sequential::Sequential;
pub use top_n_rarest::TopNRarest;
pub use weighted_rarest::WeightedRarest;
pub use window::Window;
pub use zipf::Zipf;

/// A strategy that started nothing is asked again after this long, if nothing else makes us ask before.
pub const DECLINED_FOR: Duration = Duration::from_secs(1);

/// What a strategy may look at.
#[derive(Clone, Copy, Debug)]
pub struct PickView<'a> {
    /// Copies of each piece among the connected peers.
    pub availability: &'a [u16],
    /// Pieces verified here.
    pub have: &'a BitSet,
    /// The neighbours' bitfields; the set of a slot without a peer has length 0.
    pub neighbours: &'a [BitSet],
    /// The piece that the user's player plays or waits for; where nobody plays (`play_rate`), the first one that is
    /// missing.
    pub playhead: PieceIndex,
}

/// A piece-selection strategy.
pub trait PiecePicker {
    /// Its name in scenario files.
    fn name(&self) -> &'static str;

    /// Chooses one of `candidates`: wanted, held by the peer to be asked, not started; in order
    /// of index and never empty. `None` starts nothing now; it is asked again soon.
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

/// Parameters of a strategy by name. A percentage is in parts per million, a duration in nanoseconds, a size in bytes,
/// a rate in bytes per second.
pub type Params = BTreeMap<String, f64>;

/// A parameter, or its default.
pub(crate) fn param(params: &Params, name: &str, default: f64) -> f64 {
    params.get(name).copied().unwrap_or(default)
}

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
            Box::new(RarestFirst {
                random_first: param(params, "random_first", 4.0) as u32,
            })
        },
    },
    KnownPicker {
        name: "rarest-first-strict",
        rule: "fewest copies among the neighbours, ties at random",
        params: &[],
        build: |_| Box::new(RarestFirstStrict),
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
    KnownPicker {
        name: "weighted-rarest",
        rule: "chance proportional to 1 / copies^alpha",
        params: &["alpha"],
        build: |params| Box::new(WeightedRarest::new(param(params, "alpha", 1.0))),
    },
    KnownPicker {
        name: "top-n-rarest",
        rule: "uniform among the n rarest",
        params: &["n"],
        build: |params| Box::new(TopNRarest::new(param(params, "n", 8.0) as usize)),
    },
    KnownPicker {
        name: "window",
        rule: "rarest of the next w pieces of playback, else rarest",
        params: &["w"],
        build: |params| {
            Box::new(Window {
                w: param(params, "w", 16.0) as u32,
            })
        },
    },
    KnownPicker {
        name: "bitos",
        rule: "with probability p the rarest of the next w missing pieces of playback, else rarest elsewhere",
        params: &["p", "w"],
        build: |params| {
            Box::new(Bitos {
                p: param(params, "p", 800_000.0) as u32,
                w: param(params, "w", 16.0) as u32,
            })
        },
    },
    KnownPicker {
        name: "zipf",
        rule: "chance proportional to 1 / (distance from the playhead + 1)^theta",
        params: &["theta"],
        build: |params| Box::new(Zipf::new(param(params, "theta", 1.25))),
    },
    KnownPicker {
        name: "mode-suppression",
        rule: "never the most frequent pieces, unless most and fewest copies differ by at most T",
        params: &["T"],
        build: |params| {
            Box::new(ModeSuppression {
                threshold: param(params, "T", 1.0) as u16,
            })
        },
    },
    KnownPicker {
        name: "rare-chunk",
        rule: "a piece that exactly one of three sampled neighbours has",
        params: &["sample"],
        build: |params| {
            Box::new(RareChunk {
                sample: param(params, "sample", 3.0) as usize,
            })
        },
    },
];

/// The strategy of that name, if this crate knows it.
#[must_use]
pub fn by_name(name: &str, params: &Params) -> Option<Box<dyn PiecePicker>> {
    KNOWN
        .iter()
        .find(|known| known.name == name)
        .map(|known| (known.build)(params))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand_chacha::rand_core::SeedableRng;

    /// A view of so many copies, without neighbours, from the beginning of an empty content.
    pub(super) fn view(availability: &[u16]) -> PickView<'_> {
        let have = Box::new(BitSet::empty(availability.len() as u32));
        PickView {
            availability,
            // A test is over soon.
            have: Box::leak(have),
            neighbours: &[],
            playhead: PieceIndex(0),
        }
    }

    /// How often each piece is picked of so many times, when all are candidates.
    pub(super) fn pick_often(
        picker: &mut dyn PiecePicker,
        view: &PickView<'_>,
        times: u32,
    ) -> Vec<u32> {
        let candidates: Vec<_> = (0..view.have.len()).map(PieceIndex).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut counts = vec![0; candidates.len()];
        for _ in 0..times {
            let picked = picker.pick(view, &candidates, &mut rng);
            counts[picked.expect("candidates").at()] += 1;
        }
        counts
    }

    /// The strategies that may decline, by their rule.
    const DECLINING: &[&str] = &["mode-suppression", "rare-chunk"];

    /// A random neighbourhood: for each neighbour (a slot may be empty) which pieces it has.
    fn neighbours() -> impl Strategy<Value = Vec<Vec<bool>>> {
        (1usize..80).prop_flat_map(|pieces| {
            prop::collection::vec(prop::collection::vec(any::<bool>(), pieces), 1..7)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn every_strategy_picks_a_candidate_or_declines_by_its_rule(
            holds in neighbours(), held in any::<u64>(), seed in any::<u64>(), playhead in 0u32..90,
            number in 0.0f64..20.0,
        ) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let len = holds[0].len() as u32;
            let set = |bits: &[bool]| {
                let mut set = BitSet::empty(len);
                let ones = bits.iter().zip(0..).filter(|(bit, _)| **bit);
                ones.for_each(|(_, piece)| { set.insert(PieceIndex(piece)); });
                set
            };
            let mut rows: Vec<_> = holds.iter().map(|row| set(row)).collect();
            let asked = rows[0].clone();
            let copies = |piece| rows.iter().filter(|r| r.contains(PieceIndex(piece))).count() as u16;
            let availability: Vec<u16> = (0..len).map(copies).collect();
            rows.push(BitSet::default());
            let ours: Vec<bool> = (0..len).map(|p| held >> (p % 64) & 1 == 1).collect();
            let have = set(&ours);
            let candidates: Vec<_> = asked.iter().filter(|p| !have.contains(*p)).collect();
            prop_assume!(!candidates.is_empty());
            let view = PickView {
                availability: &availability,
                have: &have,
                neighbours: &rows,
                playhead: PieceIndex(playhead),
            };
            for known in KNOWN {
                // Whatever the parameters are.
                let params: Params = known.params.iter().map(|p| ((*p).to_owned(), number)).collect();
                for params in [Params::new(), params] {
                    let mut picker = by_name(known.name, &params).expect("known");
                    prop_assert_eq!(picker.name(), known.name);
                    let picked = picker.pick(&view, &candidates, &mut rng);
                    prop_assert!(picked.is_none_or(|piece| candidates.contains(&piece)));
                    prop_assert!(picked.is_some() || DECLINING.contains(&known.name), "{}", known.name);
                }
            }
        }
    }
}

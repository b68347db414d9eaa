//! Owns [`PowerLaw`]: a choice in which number n weighs 1 / n^exponent, for the strategies that weigh.
//!
//! Invariant: a weight is worked out once per number, and a whole number from then on, so that a choice costs one look
//! at each candidate and is the same on every machine.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::ids::PieceIndex;

/// What number 1 weighs.
const WHOLE: f64 = (1_u64 << 40) as f64;

/// The weights of numbers from 1 on.
#[derive(Clone, Debug)]
pub(super) struct PowerLaw {
    exponent: f64,
    weights: Vec<u64>,
}

impl PowerLaw {
    pub(super) fn new(exponent: f64) -> PowerLaw {
        PowerLaw {
            exponent,
            weights: Vec::new(),
        }
    }

    /// One of the candidates, by the weight of its number; the one with the smallest number when all of them weigh
    /// nothing.
    pub(super) fn choose(
        &mut self,
        candidates: &[PieceIndex],
        rng: &mut ChaCha8Rng,
        number: impl Fn(PieceIndex) -> u32,
    ) -> Option<PieceIndex> {
        let number = |piece: &PieceIndex| number(*piece).max(1) as usize;
        let largest = candidates.iter().map(number).max()?;
        for n in self.weights.len() + 1..=largest {
            let weight = WHOLE * libm::pow(n as f64, -self.exponent);
            self.weights.push(weight as u64);
        }
        let weight = |piece: &PieceIndex| self.weights[number(piece) - 1];
        let total: u64 = candidates.iter().map(weight).sum();
        if total == 0 {
            return candidates.iter().min_by_key(|piece| number(piece)).copied();
        }
        let mut left = rng.random_range(0..total);
        let chosen = candidates.iter().find(|piece| {
            let weight = weight(piece);
            let found = left < weight;
            left = left.saturating_sub(weight);
            found
        });
        chosen.copied()
    }
}

//! Owns the random streams of a run: one generator per purpose, named like a path.
//!
//! Invariant: a stream depends on the master seed and its name alone. Adding a peer or swapping a
//! strategy moves nobody else's draws; paired comparison and shrinking depend on it.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use sha1::{Digest, Sha1};

/// The stream `name` of the run with this master seed, e.g. `peer/home-3/picker`.
#[must_use]
pub fn stream(master: u64, name: &str) -> ChaCha8Rng {
    let mut seed = [0; 32];
    for (part, half) in seed.chunks_mut(16).enumerate() {
        let mut hasher = Sha1::new();
        hasher.update([u8::try_from(part).expect("two halves")]);
        hasher.update(master.to_be_bytes());
        hasher.update(name.as_bytes());
        half.copy_from_slice(&hasher.finalize()[..16]);
    }
    ChaCha8Rng::from_seed(seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn streams_differ_by_name_and_seed_and_repeat() {
        let draw = |seed, name| stream(seed, name).next_u64();
        assert_eq!(draw(1, "a"), draw(1, "a"));
        assert_ne!(draw(1, "a"), draw(1, "b"));
        assert_ne!(draw(1, "a"), draw(2, "a"));
    }
}

//! Owns [`Chunk`], the bytes that cross a network in one piece.
//!
//! Invariant: what is as short as most messages lies in the chunk itself, and costs no memory beside it; what
//! is longer is shared and never copied.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

/// The longest piece that lies in the chunk itself: any message of a fixed length, and a block's head. With
/// two bytes more a chunk is as large as a [`Bytes`].
const SMALL_MAX: usize = 22;

/// Bytes that cross a network in one piece: 32 bytes of memory, and more only for long ones.
#[derive(Clone)]
pub struct Chunk(Kind);

#[derive(Clone)]
enum Kind {
    Small {
        /// Where what is left of it begins and ends.
        from: u8,
        to: u8,
        bytes: [u8; SMALL_MAX],
    },
    Shared(Bytes),
}

impl Chunk {
    /// No bytes.
    #[must_use]
    pub const fn new() -> Chunk {
        Chunk(Kind::Small {
            from: 0,
            to: 0,
            bytes: [0; SMALL_MAX],
        })
    }

    /// A copy of these bytes.
    #[must_use]
    pub fn copy(of: &[u8]) -> Chunk {
        let mut bytes = [0; SMALL_MAX];
        match (bytes.get_mut(..of.len()), u8::try_from(of.len())) {
            (Some(place), Ok(to)) => {
                place.copy_from_slice(of);
                Chunk(Kind::Small { from: 0, to, bytes })
            }
            _ => Chunk(Kind::Shared(Bytes::copy_from_slice(of))),
        }
    }

    /// Drops the first `n` bytes.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn advance(&mut self, n: usize) {
        assert!(
            n <= self.len(),
            "a chunk is not shorter than what is dropped"
        );
        match &mut self.0 {
            Kind::Small { from, .. } => *from += u8::try_from(n).expect("at most SMALL_MAX"),
            Kind::Shared(bytes) => bytes::Buf::advance(bytes, n),
        }
    }

    /// Takes the first `n` bytes out.
    ///
    /// # Panics
    /// When there are fewer.
    #[must_use]
    pub fn split_to(&mut self, n: usize) -> Chunk {
        match &mut self.0 {
            Kind::Small { .. } => {
                let taken = Chunk::copy(&self[..n]);
                self.advance(n);
                taken
            }
            Kind::Shared(bytes) => bytes.split_to(n).into(),
        }
    }
}

impl Default for Chunk {
    fn default() -> Chunk {
        Chunk::new()
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Kind::Small { from, to, bytes } => &bytes[usize::from(*from)..usize::from(*to)],
            Kind::Shared(bytes) => bytes,
        }
    }
}

impl From<Bytes> for Chunk {
    fn from(bytes: Bytes) -> Chunk {
        Chunk(Kind::Shared(bytes))
    }
}

impl From<Chunk> for Bytes {
    fn from(chunk: Chunk) -> Bytes {
        match chunk.0 {
            Kind::Small { .. } => Bytes::copy_from_slice(&chunk),
            Kind::Shared(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_takes_no_more_room_than_shared_bytes() {
        assert_eq!(size_of::<Chunk>(), size_of::<Bytes>());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn it_is_its_bytes(
            bytes in prop::collection::vec(any::<u8>(), 0..60), shared: bool, cuts in prop::collection::vec(0usize..20, 0..6),
        ) {
            let mut chunk = match shared {
                true => Chunk::from(Bytes::from(bytes.clone())),
                false => Chunk::copy(&bytes),
            };
            let mut rest = &bytes[..];
            for (nth, cut) in cuts.into_iter().enumerate() {
                let cut = cut.min(rest.len());
                if nth % 2 == 0 {
                    prop_assert_eq!(&chunk.split_to(cut)[..], &rest[..cut]);
                } else {
                    chunk.advance(cut);
                }
                rest = &rest[cut..];
                prop_assert_eq!(&chunk[..], rest);
            }
            prop_assert_eq!(&Bytes::from(chunk)[..], rest);
        }
    }
}

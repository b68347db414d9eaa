//! Owns the small identities that every layer shares. No behaviour beyond formatting and order.

use std::fmt;

/// Bytes of one block, the unit of request (BEP 3: 16 KiB).
pub const BLOCK_BYTES: u32 = 16 * 1024;

/// Index of a piece, counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, serde::Serialize)]
pub struct PieceIndex(pub u32);

impl PieceIndex {
    /// The index as a position in a vector.
    #[must_use]
    pub fn at(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for PieceIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A range of bytes inside one piece, as `request`, `cancel` and `reject` carry it (BEP 3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BlockRange {
    /// The piece.
    pub piece: PieceIndex,
    /// First byte inside the piece.
    pub begin: u32,
    /// Bytes.
    pub len: u32,
}

/// As it is shown: for traces.
pub(crate) fn in_words<T: fmt::Display, S: serde::Serializer>(
    value: &T,
    to: S,
) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

/// SHA-1 of the bytes of a metainfo file's `info` value as found (BEP 3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InfoHash(pub [u8; 20]);

/// A peer's 20-byte name for one membership in one swarm (BEP 20).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub [u8; 20]);

impl PeerId {
    /// Its last eight bytes: those that clients draw at random, where all ids of one client begin alike.
    pub(crate) fn tail(&self) -> u64 {
        let [.., a, b, c, d, e, f, g, h] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// `-SK0001-` and twelve bytes from the seeded generator (BEP 20).
    #[must_use]
    pub fn random(rng: &mut rand_chacha::ChaCha8Rng) -> PeerId {
        use rand::Rng;
        let mut id = *b"-SK0001-............";
        rng.fill_bytes(&mut id[8..]);
        PeerId(id)
    }
}

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
}

impl fmt::Display for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}
impl fmt::Debug for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}
impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}
impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

/// One connection of one host. Slots are dense and reused, the generation tells their users apart,
/// so that a table indexed by [`ConnId::slot`] needs no search.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId {
    /// Position in the host's table of connections.
    pub slot: u32,
    /// How often the slot was used before.
    pub generation: u32,
}

//! Owns the 68 bytes that open a connection (BEP 3, 4, 20).

use crate::ids::{InfoHash, PeerId};

/// Bytes of a handshake.
pub const HANDSHAKE_BYTES: usize = 68;
/// What follows the length byte.
pub const PROTOCOL: &[u8; 19] = b"BitTorrent protocol";

/// One capability bit: its byte and its mask.
pub type Capability = (usize, u8);
/// The extension protocol (BEP 10).
pub const EXTENSIONS: Capability = (5, 0x10);
/// The fast extension (BEP 6).
pub const FAST: Capability = (7, 0x04);

/// The capability bits of an end that speaks these.
#[must_use]
pub fn reserved(capabilities: &[Capability]) -> [u8; 8] {
    let mut bits = [0; 8];
    for (byte, mask) in capabilities {
        bits[*byte] |= mask;
    }
    bits
}

/// A handshake without its constant part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handshake {
    /// Capability bits (BEP 4).
    pub reserved: [u8; 8],
    /// The torrent.
    pub info_hash: InfoHash,
    /// The sender.
    pub peer_id: PeerId,
}

impl Handshake {
    /// Whether the sender speaks this.
    #[must_use]
    pub fn speaks(&self, (byte, mask): Capability) -> bool {
        self.reserved[byte] & mask != 0
    }

    /// The bytes on the wire.
    #[must_use]
    pub fn encode(&self) -> [u8; HANDSHAKE_BYTES] {
        let mut out = [0; HANDSHAKE_BYTES];
        out[0] = 19;
        out[1..20].copy_from_slice(PROTOCOL);
        out[20..28].copy_from_slice(&self.reserved);
        out[28..48].copy_from_slice(&self.info_hash.0);
        out[48..68].copy_from_slice(&self.peer_id.0);
        out
    }

    /// Reads 68 bytes; `None` when the protocol is another.
    #[must_use]
    pub fn decode(bytes: &[u8; HANDSHAKE_BYTES]) -> Option<Handshake> {
        if bytes[0] != 19 || &bytes[1..20] != PROTOCOL {
            return None;
        }
        let part = |from: usize| -> [u8; 20] {
            bytes[from..from + 20].try_into().expect("20 bytes of 68")
        };
        Some(Handshake {
            reserved: bytes[20..28].try_into().expect("8 bytes of 68"),
            info_hash: InfoHash(part(28)),
            peer_id: PeerId(part(48)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_is_68_bytes_and_reads_back() {
        let handshake = Handshake {
            reserved: [0, 0, 0, 0, 0, 0x10, 0, 4],
            info_hash: InfoHash([7; 20]),
            peer_id: PeerId(*b"-SK0001-abcdefghijkl"),
        };
        let bytes = handshake.encode();
        assert_eq!(&bytes[..20], b"\x13BitTorrent protocol");
        assert_eq!(Handshake::decode(&bytes), Some(handshake));
        let mut other = bytes;
        other[3] = b'x';
        assert_eq!(Handshake::decode(&other), None);
    }
}

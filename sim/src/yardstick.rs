//! Owns the yardstick for the speed of a run: what hashing alone costs on this machine, now.
//!
//! Invariant: it hashes real content, piece by piece and block by block, as a client that receives it
//! has to; nothing else is in the time.

use sha1::{Digest, Sha1};
use skep_engine::PieceIndex;

use crate::campaign::thread_cpu_seconds;
use crate::content::Content;
use crate::scenario::Plan;

/// Bytes that were hashed, and the CPU time that it took.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Hashed {
    /// Bytes.
    pub bytes: u64,
    /// Seconds of CPU.
    pub cpu_seconds: f64,
}

impl Hashed {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Hashed) -> Hashed {
        Hashed {
            bytes: self.bytes + other.bytes,
            cpu_seconds: self.cpu_seconds + other.cpu_seconds,
        }
    }

    /// The CPU time for so many bytes at this speed, seconds.
    #[must_use]
    pub fn seconds_for(self, bytes: u64) -> f64 {
        self.cpu_seconds * bytes as f64 / self.bytes as f64
    }
}

/// Hashes the content of a plan again and again, for at least so many seconds of CPU.
///
/// # Panics
/// When a piece has not the hash that its metainfo says: a bug in Skep.
#[must_use]
pub fn hash_content(plan: &Plan, at_least: f64) -> Hashed {
    let content = Content::generate(&plan.torrent, "http://10.0.0.1:6969/announce");
    let geometry = content.geometry();
    let mut hashed = Hashed::default();
    while hashed.cpu_seconds < at_least {
        let before = thread_cpu_seconds();
        for piece in geometry.all_pieces() {
            assert!(hash_piece(&content, piece) == content.piece_hash(piece));
        }
        hashed.cpu_seconds += thread_cpu_seconds() - before;
        hashed.bytes += geometry.total;
    }
    hashed
}

fn hash_piece(content: &Content, piece: PieceIndex) -> [u8; 20] {
    let geometry = content.geometry();
    let mut hasher = Sha1::new();
    for number in 0..geometry.blocks_in(piece) {
        hasher.update(content.slice(geometry.block(piece, number)));
    }
    hasher.finalize().into()
}

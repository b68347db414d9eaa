//! Owns the attack `oversize`: lengths that no client may have, one on each connection: in a length prefix, in a
//! block, in a request.
//!
//! Invariant: each connection gets one of the kinds, in turn, so that every kind is tried on somebody.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use skep_engine::ids::BLOCK_BYTES;
use skep_engine::wire::Message;
use skep_engine::{BlockRange, ConnId, PieceIndex};

use super::raw::{Attacker, Habits, RawIo};
use crate::content::Content;
use crate::trace::Attack;

/// One way to be too long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// A length prefix of 2^32 - 1.
    Prefix,
    /// A block of 1 MiB.
    Block,
    /// An extension message of 1 MiB.
    Extension,
    /// A request of no bytes.
    EmptyRequest,
    /// A request of 1 MiB.
    LongRequest,
    /// A request across the end of its piece.
    PastPiece,
    /// A request of a piece far behind the last.
    NoSuchPiece,
}

const KINDS: &[Kind] = &[
    Kind::Prefix,
    Kind::Block,
    Kind::Extension,
    Kind::EmptyRequest,
    Kind::LongRequest,
    Kind::PastPiece,
    Kind::NoSuchPiece,
];

const MIB: u32 = 1024 * 1024;

/// The attacker.
pub(super) struct Oversize {
    content: Arc<Content>,
    next: usize,
}

impl Oversize {
    pub(super) fn new(content: Arc<Content>) -> Oversize {
        Oversize { content, next: 0 }
    }

    fn bytes(&self, kind: Kind) -> Bytes {
        let geometry = self.content.geometry();
        let piece_len = geometry.piece_len(PieceIndex(0));
        let request = |piece, begin, len| {
            let mut out = BytesMut::new();
            let piece = PieceIndex(piece);
            Message::Request(BlockRange { piece, begin, len }).encode_head(&mut out);
            out.freeze()
        };
        match kind {
            // What follows a length is no more than a read: who believes the length waits for the rest.
            Kind::Prefix => claimed(u32::MAX, &[7, 0, 0, 0, 0]),
            Kind::Block => claimed(9 + MIB, &[7, 0, 0, 0, 0, 0, 0, 0, 0]),
            Kind::Extension => claimed(2 + MIB, &[20, 0]),
            Kind::EmptyRequest => request(0, 0, 0),
            Kind::LongRequest => request(0, 0, MIB),
            Kind::PastPiece => request(0, piece_len - 1, BLOCK_BYTES),
            Kind::NoSuchPiece => request(u32::MAX, 0, BLOCK_BYTES),
        }
    }
}

/// A message that says it is so long, with its beginning and some zeros.
fn claimed(len: u32, head: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u32(len);
    out.extend_from_slice(head);
    out.put_bytes(0, 4096);
    out.freeze()
}

impl Attacker for Oversize {
    fn claims_complete(&self) -> bool {
        true
    }

    fn habits(&self) -> Habits {
        Habits {
            redial: Duration::from_secs(5),
            ..Habits::default()
        }
    }

    fn on_open(&mut self, io: &mut RawIo, conn: ConnId) {
        if !io.active() {
            return io.close(conn);
        }
        let bytes = self.bytes(KINDS[self.next % KINDS.len()]);
        self.next += 1;
        io.tell(Attack::Acted);
        io.send_bytes(conn, bytes);
    }

    fn on_message(&mut self, _io: &mut RawIo, _conn: ConnId, _message: Message) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::plan::TorrentPlan;
    use skep_engine::wire::{Decoder, WireError};

    #[test]
    fn every_kind_is_refused_by_the_codec_or_is_no_range_of_the_content() {
        let plan = TorrentPlan {
            files: vec![("a".into(), 40_000)],
            piece_bytes: 16_384,
        };
        let content = Arc::new(Content::generate(&plan, "http://10.0.0.1/announce"));
        let attack = Oversize::new(Arc::clone(&content));
        let mut refused = Vec::new();
        for kind in KINDS {
            let mut decoder = Decoder::new(content.geometry().bitfield_bytes(), 18 * 1024);
            decoder.push(attack.bytes(*kind));
            match decoder.next_message() {
                Err(WireError::TooLong(len)) => refused.push(len),
                Ok(Some(Message::Request(range))) => {
                    let legal = content.geometry().contains(range);
                    assert!(!legal || range.len > BLOCK_BYTES, "{kind:?}: {range:?}");
                }
                other => panic!("{kind:?}: {other:?}"),
            }
        }
        assert_eq!(refused, [u32::MAX, 9 + MIB, 2 + MIB]);
    }
}

//! Owns turning bytes into messages.
//!
//! Invariants: whatever way the bytes are cut, the same messages come out; nothing is gathered or
//! allocated before the length was checked against the limit and the id; random bytes never panic.
//! A block that arrives as one chunk is handed on as that chunk, uncopied; small chunks of one message
//! are joined as they come, so that bytes sent one by one take little more room than their number.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::chunk::Chunk;
use super::handshake::{HANDSHAKE_BYTES, Handshake, PROTOCOL};
use super::message::Message;
use crate::ids::{BLOCK_BYTES, BlockRange, PieceIndex};
use crate::prefetch;

/// Why a connection's bytes cannot be read any further: the connection is closed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The first bytes are not a BitTorrent handshake.
    #[error("not the BitTorrent protocol")]
    NotBitTorrent,
    /// A length prefix above the limit.
    #[error("a message of {0} bytes is longer than any legal one")]
    TooLong(u32),
    /// A known id with an impossible length.
    #[error("message {id} cannot have length {len}")]
    BadLength {
        /// The message's id.
        id: u8,
        /// Its length field.
        len: u32,
    },
}

/// Chunks that are joined with the one before while the two are shorter than this: what is kept of a
/// chunk beside its bytes is then small against them.
const JOINED_BYTES_MAX: usize = 1024;
/// Prefix, id, piece, begin: what stands before a block's data.
const PIECE_HEAD: usize = 13;
/// The longest message of a fixed length: prefix, id, piece, begin, length.
const FIXED_MAX: usize = 17;

/// Reads one connection: a handshake, then messages.
#[derive(Debug)]
pub struct Decoder {
    /// The first chunk: most often the only one, which takes no memory beside it.
    first: Chunk,
    /// Those behind it; none without it. Who is sent no blocks has none, ever.
    #[expect(clippy::box_collection, reason = "8 bytes in place of 32")]
    rest: Option<Box<VecDeque<Chunk>>>,
    bitfield_max: u32,
    extended_max: u32,
}

impl Decoder {
    /// A decoder for a torrent whose bitfields have `bitfield_bytes` bytes, of extension messages of at
    /// most `extended_bytes_max` bytes, both ids included (`extended_bytes_max` of
    /// [`crate::EngineConfig`]).
    #[must_use]
    pub fn new(bitfield_bytes: u32, extended_bytes_max: u64) -> Decoder {
        Decoder {
            first: Chunk::new(),
            rest: None,
            bitfield_max: bitfield_bytes.saturating_add(1),
            extended_max: u32::try_from(extended_bytes_max).unwrap_or(u32::MAX),
        }
    }

    /// Appends what arrived.
    pub fn push(&mut self, data: impl Into<Chunk>) {
        let data = data.into();
        if data.is_empty() {
            return;
        }
        if self.first.is_empty() {
            self.first = data;
            return;
        }
        let behind = self.rest.as_mut().and_then(|rest| rest.back_mut());
        let last = behind.unwrap_or(&mut self.first);
        if last.len() + data.len() < JOINED_BYTES_MAX {
            let mut joined = BytesMut::with_capacity(last.len() + data.len());
            joined.extend_from_slice(last);
            joined.extend_from_slice(&data);
            *last = joined.freeze().into();
        } else {
            self.rest.get_or_insert_default().push_back(data);
        }
    }

    /// The longest message there is, whatever its id.
    fn len_max(&self) -> u32 {
        (9 + BLOCK_BYTES)
            .max(self.bitfield_max)
            .max(self.extended_max)
    }

    /// Whether a message with this id may have this length field (at least 1).
    fn legal_length(&self, id: u8, len: u32) -> bool {
        match id {
            0..=3 | 14 | 15 => len == 1,
            4 | 13 | 17 => len == 5,
            5 => len <= self.bitfield_max,
            6 | 8 | 16 => len == 13,
            7 => len > 9 && len <= 9 + BLOCK_BYTES,
            9 => len == 3,
            20 => len >= 2 && len <= self.extended_max,
            _ => true,
        }
    }

    /// Asks for its memory.
    pub(crate) fn prefetch(&self) {
        if let Some(rest) = &self.rest {
            prefetch::front(&**rest);
        }
    }

    /// Bytes that wait for the rest of their message.
    #[must_use]
    pub fn buffered(&self) -> usize {
        match &self.rest {
            None => self.first.len(),
            Some(rest) => self.first.len() + rest.iter().map(|chunk| chunk.len()).sum::<usize>(),
        }
    }

    /// The handshake, once all its bytes are there.
    ///
    /// # Errors
    /// As soon as a byte differs from the protocol's name.
    pub fn next_handshake(&mut self) -> Result<Option<Handshake>, WireError> {
        let mut head = [0; 20];
        let seen = self.peek(&mut head);
        let mut wanted = [19; 20];
        wanted[1..].copy_from_slice(PROTOCOL);
        if head[..seen] != wanted[..seen] {
            return Err(WireError::NotBitTorrent);
        }
        if self.buffered() < HANDSHAKE_BYTES {
            return Ok(None);
        }
        let mut bytes = [0; HANDSHAKE_BYTES];
        self.take_into(&mut bytes);
        Handshake::decode(&bytes)
            .ok_or(WireError::NotBitTorrent)
            .map(Some)
    }

    /// The next message, once all its bytes are there.
    ///
    /// # Errors
    /// When the length is above the limit or impossible for the id. Nothing can be read after that.
    pub fn next_message(&mut self) -> Result<Option<Message>, WireError> {
        if self.first.is_empty() {
            return Ok(None);
        }
        let mut head = [0; FIXED_MAX];
        let seen = self.peek(&mut head);
        if seen < 4 {
            return Ok(None);
        }
        let len = be32(&head[0..]);
        if len == 0 {
            self.skip(4);
            return Ok(Some(Message::KeepAlive));
        }
        if len > self.len_max() {
            return Err(WireError::TooLong(len));
        }
        if seen < 5 {
            return Ok(None);
        }
        let id = head[4];
        if !self.legal_length(id, len) {
            return Err(WireError::BadLength { id, len });
        }
        // Most often the first chunk is a whole message.
        let needed = 4 + len as usize;
        if self.first.len() < needed && self.buffered() < needed {
            return Ok(None);
        }
        Ok(Some(self.take_message(id, len, &head)))
    }

    /// Takes a message that is all there and whose length is legal for its id; `head` is its beginning.
    fn take_message(&mut self, id: u8, len: u32, head: &[u8; FIXED_MAX]) -> Message {
        let body = len as usize - 1;
        match id {
            5 => {
                self.skip(5);
                return Message::Bitfield(self.take(body));
            }
            7 => {
                self.skip(PIECE_HEAD);
                return Message::Piece {
                    piece: PieceIndex(be32(&head[5..])),
                    begin: be32(&head[9..]),
                    data: self.take(body - 8),
                };
            }
            20 => {
                self.skip(6);
                return Message::Extended {
                    id: head[5],
                    payload: self.take(body - 1),
                };
            }
            _ => self.skip(5 + body),
        }
        let piece = PieceIndex(be32(&head[5..]));
        let range = BlockRange {
            piece,
            begin: be32(&head[9..]),
            len: be32(&head[13..]),
        };
        match id {
            0 => Message::Choke,
            1 => Message::Unchoke,
            2 => Message::Interested,
            3 => Message::NotInterested,
            4 => Message::Have(piece),
            6 => Message::Request(range),
            8 => Message::Cancel(range),
            9 => Message::Port(u16::from_be_bytes([head[5], head[6]])),
            13 => Message::Suggest(piece),
            14 => Message::HaveAll,
            15 => Message::HaveNone,
            16 => Message::Reject(range),
            17 => Message::AllowedFast(piece),
            _ => Message::Unknown(id),
        }
    }

    /// Copies the first bytes without taking them; returns how many there were.
    fn peek(&self, out: &mut [u8]) -> usize {
        let mut filled = self.first.len().min(out.len());
        out[..filled].copy_from_slice(&self.first[..filled]);
        if filled == out.len() {
            return filled;
        }
        for chunk in self.rest.iter().flat_map(|rest| rest.iter()) {
            let n = chunk.len().min(out.len() - filled);
            out[filled..filled + n].copy_from_slice(&chunk[..n]);
            filled += n;
            if filled == out.len() {
                break;
            }
        }
        filled
    }

    /// Takes exactly `out.len()` bytes, which are buffered.
    fn take_into(&mut self, out: &mut [u8]) {
        let mut filled = 0;
        while filled < out.len() {
            let n = self.first.len().min(out.len() - filled);
            out[filled..filled + n].copy_from_slice(&self.first[..n]);
            self.first.advance(n);
            filled += n;
            self.next_chunk();
        }
    }

    /// Goes on to the next chunk when the first one is used up.
    fn next_chunk(&mut self) {
        if self.first.is_empty() {
            let next = self.rest.as_mut().and_then(|rest| rest.pop_front());
            self.first = next.unwrap_or_default();
        }
    }

    /// Takes `n` bytes, which are buffered: a slice when one chunk holds them, else gathered.
    fn take(&mut self, n: usize) -> Bytes {
        if self.first.len() < n {
            let mut gathered = BytesMut::zeroed(n);
            self.take_into(&mut gathered);
            return gathered.freeze();
        }
        let taken = match self.first.len() == n {
            true => std::mem::take(&mut self.first),
            false => self.first.split_to(n),
        };
        self.next_chunk();
        taken.into()
    }

    /// Drops `n` bytes, which are buffered.
    fn skip(&mut self, n: usize) {
        let mut left = n;
        while left > 0 {
            let here = self.first.len().min(left);
            self.first.advance(here);
            left -= here;
            self.next_chunk();
        }
    }
}

fn be32(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

#[cfg(test)]
mod tests;

//! Owns the messages of the peer wire protocol and how each is written. Reading is [`super::codec`].
//!
//! Invariant: what is written here is read back the same by the codec (a property test).

use bytes::{BufMut, Bytes, BytesMut};

use crate::ids::{BlockRange, PieceIndex};

/// One message (BEP 3, 6, 10). Block data and bitfields are slices of what arrived, not copies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// Length 0.
    KeepAlive,
    /// 0: I stop answering your requests.
    Choke,
    /// 1: I answer your requests.
    Unchoke,
    /// 2: you have something that I want.
    Interested,
    /// 3: you have nothing that I want.
    NotInterested,
    /// 4: I verified this piece.
    Have(PieceIndex),
    /// 5: the pieces I have, high bit first.
    Bitfield(Bytes),
    /// 6: send me this block.
    Request(BlockRange),
    /// 7: a block.
    Piece {
        /// The piece.
        piece: PieceIndex,
        /// First byte inside it.
        begin: u32,
        /// The block.
        data: Bytes,
    },
    /// 8: never mind that request.
    Cancel(BlockRange),
    /// 9: my DHT port (BEP 5); accepted and ignored.
    Port(u16),
    /// 13: you might want this piece (BEP 6).
    Suggest(PieceIndex),
    /// 14: I have everything (BEP 6).
    HaveAll,
    /// 15: I have nothing (BEP 6).
    HaveNone,
    /// 16: I will not answer this request (BEP 6).
    Reject(BlockRange),
    /// 17: you may ask for this piece while choked (BEP 6).
    AllowedFast(PieceIndex),
    /// 20: an extension message (BEP 10).
    Extended {
        /// The receiver's number for the extension; 0 is the extended handshake.
        id: u8,
        /// A bencoded dictionary, perhaps with a raw tail.
        payload: Bytes,
    },
    /// An id nobody has defined: skipped.
    Unknown(u8),
}

impl Message {
    /// The id of a message that has one.
    #[must_use]
    pub fn id(&self) -> Option<u8> {
        Some(match self {
            Message::KeepAlive => return None,
            Message::Choke => 0,
            Message::Unchoke => 1,
            Message::Interested => 2,
            Message::NotInterested => 3,
            Message::Have(_) => 4,
            Message::Bitfield(_) => 5,
            Message::Request(_) => 6,
            Message::Piece { .. } => 7,
            Message::Cancel(_) => 8,
            Message::Port(_) => 9,
            Message::Suggest(_) => 13,
            Message::HaveAll => 14,
            Message::HaveNone => 15,
            Message::Reject(_) => 16,
            Message::AllowedFast(_) => 17,
            Message::Extended { .. } => 20,
            Message::Unknown(id) => *id,
        })
    }

    /// Bytes of this message on the wire, the length prefix included.
    #[must_use]
    pub fn wire_len(&self) -> u64 {
        4 + match self {
            Message::KeepAlive => 0,
            Message::Bitfield(bits) => 1 + bits.len() as u64,
            Message::Request(_) | Message::Cancel(_) | Message::Reject(_) => 13,
            Message::Piece { data, .. } => 9 + data.len() as u64,
            Message::Have(_) | Message::Suggest(_) | Message::AllowedFast(_) => 5,
            Message::Port(_) => 3,
            Message::Extended { payload, .. } => 2 + payload.len() as u64,
            _ => 1,
        }
    }

    /// Bytes of this message on the wire but for a block's data.
    #[must_use]
    pub fn head_len(&self) -> u64 {
        match self {
            Message::Piece { .. } => 13,
            other => other.wire_len(),
        }
    }

    /// Appends everything but a block's data, which is returned so that it can be sent uncopied
    /// right behind.
    pub fn encode_head(&self, out: &mut impl BufMut) -> Option<Bytes> {
        let body = self.wire_len() - 4;
        let body = u32::try_from(body).expect("messages are bounded far below 4 GiB");
        // Gathered first: whoever takes it grows at most once.
        let mut head = Head::default();
        head.put(&body.to_be_bytes());
        if let Some(id) = self.id() {
            head.put(&[id]);
        }
        let mut rest: &[u8] = &[];
        let mut block = None;
        match self {
            Message::Have(piece) | Message::Suggest(piece) | Message::AllowedFast(piece) => {
                head.put(&piece.0.to_be_bytes());
            }
            Message::Bitfield(bits) => rest = bits,
            Message::Request(range) | Message::Cancel(range) | Message::Reject(range) => {
                head.put(&range.piece.0.to_be_bytes());
                head.put(&range.begin.to_be_bytes());
                head.put(&range.len.to_be_bytes());
            }
            Message::Piece { piece, begin, data } => {
                head.put(&piece.0.to_be_bytes());
                head.put(&begin.to_be_bytes());
                block = Some(data.clone());
            }
            Message::Port(port) => head.put(&port.to_be_bytes()),
            Message::Extended { id, payload } => {
                head.put(&[*id]);
                rest = payload;
            }
            _ => {}
        }
        out.put_slice(&head.bytes[..head.len]);
        out.put_slice(rest);
        block
    }

    /// Appends the whole message.
    pub fn encode(&self, out: &mut BytesMut) {
        if let Some(data) = self.encode_head(out) {
            out.put_slice(&data);
        }
    }
}

/// What stands before the part of a message that has no fixed length.
#[derive(Default)]
struct Head {
    bytes: [u8; 17],
    len: usize,
}

impl Head {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..][..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

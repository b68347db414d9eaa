//! Owns the payload of `ut_metadata` (BEP 9): a block of the metainfo file's `info` value is asked for,
//! sent, or refused.
//!
//! Invariant: a payload passes the strict scanner up to the end of its dictionary before anything is
//! read from it; the block behind it is a slice of what arrived.

use bytes::{Bytes, BytesMut};

use super::dict::Dict;
use super::extension::{integer, values};
use super::message::Message;
use crate::metainfo::bencode::{ScanError, first_value_len};

/// The id under which we take `ut_metadata`.
pub const METADATA_ID: u8 = 2;
/// Bytes of a block of metadata, but for the last one's (BEP 9: 16 KiB).
pub const METADATA_BLOCK_BYTES: u32 = 16 * 1024;

/// One message about metadata. BEP 9 calls the blocks pieces.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MetadataMessage {
    /// 0: send me this block.
    Request {
        /// Which.
        block: u32,
    },
    /// 1: here it is.
    Data {
        /// Which.
        block: u32,
        /// Bytes of all blocks.
        total: u32,
        /// Its bytes.
        data: Bytes,
    },
    /// 2: I do not send it.
    Reject {
        /// Which.
        block: u32,
    },
}

impl MetadataMessage {
    /// The message for a receiver that takes it under `id`.
    #[must_use]
    pub fn message(&self, id: u8) -> Message {
        let (msg_type, piece, total_size) = match self {
            MetadataMessage::Request { block } => (0_u8, *block, None),
            MetadataMessage::Data { block, total, .. } => (1, *block, Some(*total)),
            MetadataMessage::Reject { block } => (2, *block, None),
        };
        let mut head = Dict::new(64);
        head.integer("msg_type", Some(msg_type));
        head.integer("piece", Some(piece));
        head.integer("total_size", total_size);
        let mut payload = BytesMut::from(&head.finish()[..]);
        if let MetadataMessage::Data { data, .. } = self {
            payload.extend_from_slice(data);
        }
        Message::Extended {
            id,
            payload: payload.freeze(),
        }
    }

    /// Reads a payload; `None` is a message of a kind that nobody has defined, which is skipped, or one
    /// without what it needs.
    ///
    /// # Errors
    /// When it does not begin with well-formed bencode, or is no dictionary.
    pub fn read(payload: &Bytes) -> Result<Option<MetadataMessage>, ScanError> {
        let end = first_value_len(payload)?;
        let (head, tail) = (&payload[..end], payload.slice(end..));
        let numbers = values(head, [b"msg_type", b"piece", b"total_size"])?;
        let number = |value| u32::try_from(integer(value)?).ok();
        let [Some(kind), Some(block), total] = numbers.map(number) else {
            return Ok(None);
        };
        Ok(match (kind, total) {
            (0, _) => Some(MetadataMessage::Request { block }),
            (1, Some(total)) => Some(MetadataMessage::Data {
                block,
                total,
                data: tail,
            }),
            (2, _) => Some(MetadataMessage::Reject { block }),
            _ => None,
        })
    }
}

/// Blocks of so many bytes of metadata.
#[must_use]
pub fn metadata_blocks(total: u32) -> u32 {
    total.div_ceil(METADATA_BLOCK_BYTES)
}

/// The bytes of a block, as positions; `None` when there is no such block.
#[must_use]
pub fn metadata_block(total: u32, block: u32) -> Option<std::ops::Range<usize>> {
    let start = u64::from(block) * u64::from(METADATA_BLOCK_BYTES);
    let end = (start + u64::from(METADATA_BLOCK_BYTES)).min(u64::from(total));
    let at = |n| usize::try_from(n).expect("at most 32 bits");
    (start < end).then(|| at(start)..at(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn payload(message: &Message) -> &Bytes {
        match message {
            Message::Extended { payload, .. } => payload,
            _ => panic!("an extension message"),
        }
    }

    fn any_message() -> impl Strategy<Value = MetadataMessage> {
        let data = prop::collection::vec(any::<u8>(), 0..200);
        prop_oneof![
            any::<u32>().prop_map(|block| MetadataMessage::Request { block }),
            (any::<u32>(), any::<u32>(), data).prop_map(|(block, total, data)| {
                let data = Bytes::from(data);
                MetadataMessage::Data { block, total, data }
            }),
            any::<u32>().prop_map(|block| MetadataMessage::Reject { block }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_message_reads_back(message in any_message()) {
            let read = MetadataMessage::read(payload(&message.message(9)));
            prop_assert_eq!(read, Ok(Some(message)));
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = MetadataMessage::read(&Bytes::from(bytes));
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_protocol() {
        let data = MetadataMessage::Data {
            block: 0,
            total: 34256,
            data: Bytes::from_static(b"xxxx"),
        };
        assert_eq!(
            payload(&data.message(3))[..],
            b"d8:msg_typei1e5:piecei0e10:total_sizei34256eexxxx"[..]
        );
    }

    #[test]
    fn what_nobody_defined_is_skipped_and_what_is_no_bencode_refused() {
        for (bytes, wanted) in [
            (&b"d8:msg_typei3e5:piecei0ee"[..], Some(None)),
            (b"d8:msg_typei1e5:piecei0eexx", Some(None)),
            (b"d8:msg_typei0ee", Some(None)),
            (b"d8:msg_typei0e5:piecei-1ee", Some(None)),
            (b"i5e", Some(None)),
            (
                b"d8:msg_typei2e5:piecei7eerest",
                Some(Some(MetadataMessage::Reject { block: 7 })),
            ),
            (b"", None),
            (b"rubbish", None),
            (b"d8:msg_type", None),
        ] {
            let read = MetadataMessage::read(&Bytes::from_static(bytes)).ok();
            assert_eq!(read, wanted, "{bytes:?}");
        }
    }

    #[test]
    fn blocks_have_16_kib_but_for_the_last() {
        assert_eq!(metadata_blocks(16384), 1);
        assert_eq!(metadata_blocks(16385), 2);
        assert_eq!(metadata_block(16385, 0), Some(0..16384));
        assert_eq!(metadata_block(16385, 1), Some(16384..16385));
        assert_eq!(metadata_block(16385, 2), None);
        assert_eq!(metadata_block(u32::MAX, u32::MAX), None);
    }
}

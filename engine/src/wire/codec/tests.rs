//! Messages cut anywhere, lengths that lie, bytes without sense.

use super::*;
use proptest::prelude::*;

const EXTENDED: u64 = 18 * 1024;

fn any_message() -> impl Strategy<Value = Message> {
    let range = (any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(p, begin, len)| BlockRange {
        piece: PieceIndex(p),
        begin,
        len,
    });
    let data = |min, max| prop::collection::vec(any::<u8>(), min..max).prop_map(Bytes::from);
    prop_oneof![
        Just(Message::KeepAlive),
        Just(Message::Choke),
        Just(Message::Unchoke),
        Just(Message::Interested),
        Just(Message::NotInterested),
        Just(Message::HaveAll),
        Just(Message::HaveNone),
        any::<u32>().prop_map(|p| Message::Have(PieceIndex(p))),
        any::<u32>().prop_map(|p| Message::Suggest(PieceIndex(p))),
        any::<u32>().prop_map(|p| Message::AllowedFast(PieceIndex(p))),
        any::<u16>().prop_map(Message::Port),
        data(0, 40).prop_map(Message::Bitfield),
        range.clone().prop_map(Message::Request),
        range.clone().prop_map(Message::Cancel),
        range.prop_map(Message::Reject),
        (any::<u32>(), any::<u32>(), data(1, 16385)).prop_map(|(p, begin, data)| {
            Message::Piece {
                piece: PieceIndex(p),
                begin,
                data,
            }
        }),
        (any::<u8>(), data(0, 60)).prop_map(|(id, payload)| Message::Extended { id, payload }),
    ]
}

fn drain(decoder: &mut Decoder) -> Result<Vec<Message>, WireError> {
    std::iter::from_fn(|| decoder.next_message().transpose()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_cut_the_same_messages(
        messages in prop::collection::vec(any_message(), 0..12),
        cuts in prop::collection::vec(1usize..3000, 1..40),
    ) {
        let mut bytes = BytesMut::new();
        for message in &messages {
            let before = bytes.len();
            message.encode(&mut bytes);
            prop_assert_eq!((bytes.len() - before) as u64, message.wire_len());
        }
        let mut rest = bytes.freeze();
        let mut decoder = Decoder::new(40, EXTENDED);
        let mut read = Vec::new();
        let mut cuts = cuts.iter().cycle();
        while !rest.is_empty() {
            let n = (*cuts.next().expect("a cycle")).min(rest.len());
            decoder.push(rest.split_to(n));
            read.extend(drain(&mut decoder).expect("legal bytes"));
        }
        prop_assert_eq!(read, messages);
        prop_assert_eq!(decoder.buffered(), 0);
    }

    #[test]
    fn random_bytes_never_panic(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)) {
        let mut decoder = Decoder::new(10, EXTENDED);
        let mut greeting = Decoder::new(10, EXTENDED);
        for chunk in chunks {
            let chunk = Bytes::from(chunk);
            greeting.push(chunk.clone());
            let _ = greeting.next_handshake();
            decoder.push(chunk);
            if drain(&mut decoder).is_err() {
                break;
            }
        }
    }
}

#[test]
fn a_long_prefix_is_refused_before_its_bytes_arrive() {
    let mut decoder = Decoder::new(10, EXTENDED);
    decoder.push(Bytes::from_static(&[0xff; 4]));
    assert_eq!(decoder.next_message(), Err(WireError::TooLong(u32::MAX)));
}

#[test]
fn a_known_id_with_a_wrong_length_is_refused_at_its_fifth_byte() {
    for (id, len) in [(0, 2), (4, 4), (6, 12), (7, 9), (9, 5), (14, 2), (20, 1)] {
        let mut decoder = Decoder::new(10, EXTENDED);
        decoder.push(Bytes::from(vec![0, 0, 0, len, id]));
        let wanted = WireError::BadLength {
            id,
            len: u32::from(len),
        };
        assert_eq!(decoder.next_message(), Err(wanted));
    }
    let mut decoder = Decoder::new(10, EXTENDED);
    decoder.push(Bytes::from_static(&[0, 0, 0x40, 0x0a, 7]));
    assert_eq!(
        decoder.next_message(),
        Err(WireError::BadLength { id: 7, len: 0x400a })
    );
}

#[test]
fn bitfields_and_extension_messages_have_maxima_of_their_own() {
    for (id, longest) in [(5, 11), (20, 62)] {
        for len in [longest, longest + 1] {
            let mut decoder = Decoder::new(10, 62);
            decoder.push(Bytes::from(vec![0, 0, 0, len, id]));
            let bad = WireError::BadLength {
                id,
                len: u32::from(len),
            };
            let wanted = if len > longest { Err(bad) } else { Ok(None) };
            assert_eq!(decoder.next_message(), wanted, "{id} {len}");
        }
    }
}

#[test]
fn bytes_that_come_one_by_one_are_joined() {
    let mut decoder = Decoder::new(10_000, EXTENDED);
    decoder.push(Bytes::from_static(&[0, 0, 0x27, 0x11, 5]));
    for _ in 0..9_999 {
        decoder.push(Bytes::from_static(&[7]));
        assert_eq!(decoder.next_message(), Ok(None));
    }
    let chunks = 1 + decoder.rest.as_ref().map_or(0, |rest| rest.len());
    assert!(chunks <= 10, "{chunks}");
    decoder.push(Bytes::from_static(&[7]));
    let bitfield = Message::Bitfield(Bytes::from(vec![7; 10_000]));
    assert_eq!(decoder.next_message(), Ok(Some(bitfield)));
}

#[test]
fn unknown_ids_are_skipped() {
    let mut decoder = Decoder::new(10, EXTENDED);
    decoder.push(Bytes::from_static(&[0, 0, 0, 3, 99, 1, 2, 0, 0, 0, 1, 1]));
    assert_eq!(
        drain(&mut decoder),
        Ok(vec![Message::Unknown(99), Message::Unchoke])
    );
}

#[test]
fn a_block_in_a_chunk_of_its_own_is_not_copied() {
    let data = Bytes::from(vec![5u8; 16384]);
    let mut head = BytesMut::new();
    let message = Message::Piece {
        piece: PieceIndex(1),
        begin: 0,
        data: data.clone(),
    };
    let tail = message.encode_head(&mut head).expect("a block");
    let mut decoder = Decoder::new(10, EXTENDED);
    decoder.push(head.freeze());
    decoder.push(tail);
    let Ok(Some(Message::Piece { data: read, .. })) = decoder.next_message() else {
        panic!("a block");
    };
    assert_eq!(read.as_ptr(), data.as_ptr());
}

#[test]
fn a_foreign_handshake_fails_at_its_first_wrong_byte() {
    let mut decoder = Decoder::new(10, EXTENDED);
    decoder.push(Bytes::from_static(b"GET / HT"));
    assert_eq!(decoder.next_handshake(), Err(WireError::NotBitTorrent));
    let mut decoder = Decoder::new(10, EXTENDED);
    decoder.push(Bytes::from_static(b"\x13BitTorrent"));
    assert_eq!(decoder.next_handshake(), Ok(None));
}

//! Owns the payloads of extension messages (BEP 10): the extended handshake and `lt_donthave`
//! (BEP 54).
//!
//! Invariants: what a peer wrote passes the strict scanner before anything is read from it, and
//! nothing is allocated but the client's name, cut at [`CLIENT_CHARS_MAX`]. A key of the wrong type
//! counts as absent, unknown keys are skipped.

use std::net::IpAddr;

use bytes::Bytes;

use super::dict::Dict;
use super::message::Message;
use crate::ids::PieceIndex;
use crate::metainfo::bencode::{ScanError, top_level_spans};

/// The id of the extended handshake itself.
pub const HANDSHAKE_ID: u8 = 0;
/// The id under which we take `lt_donthave` (BEP 54).
pub const DONT_HAVE_ID: u8 = 7;
/// Characters of a client's name that are kept.
pub const CLIENT_CHARS_MAX: usize = 64;

/// Bytes of a handshake that says everything, but for the client's name.
const HANDSHAKE_BYTES: usize = 160;

const DONT_HAVE: &str = "lt_donthave";
const METADATA: &str = "ut_metadata";
const PEX: &str = "ut_pex";

/// What one end says in an extended handshake. Later ones add to earlier ones: absent is "as before".
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ExtendedHandshake {
    /// The sender's id for `lt_donthave`; `Some(0)`: it takes them no more.
    pub dont_have: Option<u8>,
    /// The sender's id for `ut_pex` (BEP 11), likewise.
    pub pex: Option<u8>,
    /// The sender's id for `ut_metadata` (BEP 9), likewise.
    pub metadata: Option<u8>,
    /// Bytes of the metainfo file's `info` value, of which the sender serves parts (BEP 9).
    pub metadata_size: Option<u32>,
    /// Where the sender listens.
    pub port: Option<u16>,
    /// The client and its version, made printable.
    pub client: Option<String>,
    /// Requests that the sender queues.
    pub reqq: Option<u32>,
    /// The receiver's address as the sender sees it.
    pub your_ip: Option<IpAddr>,
    /// The sender wants nothing any more (BEP 21).
    pub upload_only: Option<bool>,
}

impl ExtendedHandshake {
    /// The message.
    #[must_use]
    pub fn message(&self) -> Message {
        let client = self.client.as_deref().unwrap_or_default();
        let mut dict = Dict::new(HANDSHAKE_BYTES + client.len());
        dict.dict("m", |names| {
            names.integer(DONT_HAVE, self.dont_have);
            names.integer(METADATA, self.metadata);
            names.integer(PEX, self.pex);
        });
        dict.integer("metadata_size", self.metadata_size);
        dict.integer("p", self.port);
        dict.integer("reqq", self.reqq);
        dict.integer("upload_only", self.upload_only);
        if self.client.is_some() {
            dict.string("v", client.as_bytes());
        }
        match self.your_ip {
            Some(IpAddr::V4(ip)) => dict.string("yourip", &ip.octets()),
            Some(IpAddr::V6(ip)) => dict.string("yourip", &ip.octets()),
            None => {}
        }
        Message::Extended {
            id: HANDSHAKE_ID,
            payload: dict.finish(),
        }
    }

    /// Reads the payload of an extended handshake.
    ///
    /// # Errors
    /// When it is not one well-formed bencoded value.
    pub fn read(payload: &[u8]) -> Result<ExtendedHandshake, ScanError> {
        let keys: [&[u8]; 7] = [
            b"m",
            b"metadata_size",
            b"p",
            b"v",
            b"reqq",
            b"yourip",
            b"upload_only",
        ];
        let [names, size, port, client, reqq, your_ip, upload_only] = values(payload, keys)?;
        let ids = [DONT_HAVE, PEX, METADATA].map(str::as_bytes);
        // What is no dictionary names nothing.
        let ids = names.and_then(|names| values(names, ids).ok());
        let id = |value| u8::try_from(integer(value)?).ok();
        let [dont_have, pex, metadata] = ids.unwrap_or_default().map(id);
        let port = integer(port).and_then(|p| u16::try_from(p).ok());
        Ok(ExtendedHandshake {
            dont_have,
            pex,
            metadata,
            metadata_size: integer(size).and_then(|n| u32::try_from(n).ok()),
            port: port.filter(|p| *p != 0),
            client: string(client).map(printable),
            reqq: integer(reqq).map(|n| u32::try_from(n.max(0)).unwrap_or(u32::MAX)),
            your_ip: string(your_ip).and_then(ip),
            upload_only: integer(upload_only).map(|n| n != 0),
        })
    }
}

/// The values of these keys of the outermost dictionary, as they are written.
pub(super) fn values<'a, const N: usize>(
    dict: &'a [u8],
    keys: [&[u8]; N],
) -> Result<[Option<&'a [u8]>; N], ScanError> {
    let spans = top_level_spans(dict, keys)?;
    Ok(spans.map(|span| span.map(|span| &dict[span])))
}

/// A value, if it is there and an integer.
pub(super) fn integer(value: Option<&[u8]>) -> Option<i64> {
    let digits = value?.strip_prefix(b"i")?.strip_suffix(b"e")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A value, if it is there and a byte string.
pub(super) fn string(value: Option<&[u8]>) -> Option<&[u8]> {
    let value = value?;
    let colon = value.iter().position(|b| *b == b':')?;
    value[0].is_ascii_digit().then(|| &value[colon + 1..])
}

fn printable(text: &[u8]) -> String {
    // As most are.
    if text.len() <= CLIENT_CHARS_MAX
        && text.iter().all(|b| matches!(b, b' '..=b'~'))
        && let Ok(text) = std::str::from_utf8(text)
    {
        return text.to_owned();
    }
    let text = String::from_utf8_lossy(&text[..text.len().min(4 * CLIENT_CHARS_MAX)]);
    let kept = text.chars().filter(|c| !c.is_control());
    kept.take(CLIENT_CHARS_MAX).collect()
}

fn ip(octets: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(octets) {
        return Some(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(octets).ok().map(IpAddr::from)
}

/// `lt_donthave` for a receiver that takes it under `id`.
#[must_use]
pub fn dont_have(id: u8, piece: PieceIndex) -> Message {
    Message::Extended {
        id,
        payload: Bytes::copy_from_slice(&piece.0.to_be_bytes()),
    }
}

/// The piece of an `lt_donthave`; `None` when the payload is not four bytes.
#[must_use]
pub fn read_dont_have(payload: &[u8]) -> Option<PieceIndex> {
    let bytes = <[u8; 4]>::try_from(payload).ok()?;
    Some(PieceIndex(u32::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_handshake() -> impl Strategy<Value = ExtendedHandshake> {
        let ip = prop_oneof![
            any::<[u8; 4]>().prop_map(IpAddr::from),
            any::<[u8; 16]>().prop_map(IpAddr::from)
        ];
        (
            any::<([Option<u8>; 3], Option<u32>)>(),
            prop::option::of(1..=u16::MAX),
            prop::option::of("[a-zA-Z0-9 ./é]{0,64}"),
            any::<Option<u32>>(),
            prop::option::of(ip),
            any::<Option<bool>>(),
        )
            .prop_map(
                |(
                    ([dont_have, pex, metadata], metadata_size),
                    port,
                    client,
                    reqq,
                    your_ip,
                    upload_only,
                )| ExtendedHandshake {
                    dont_have,
                    pex,
                    metadata,
                    metadata_size,
                    port,
                    client,
                    reqq,
                    your_ip,
                    upload_only,
                },
            )
    }

    fn payload(message: &Message) -> &[u8] {
        match message {
            Message::Extended { payload, .. } => payload,
            _ => panic!("an extension message"),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_handshake_reads_back(handshake in any_handshake()) {
            let message = handshake.message();
            prop_assert_eq!(ExtendedHandshake::read(payload(&message)), Ok(handshake));
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = ExtendedHandshake::read(&bytes);
            let _ = read_dont_have(&bytes);
        }
    }

    #[test]
    fn a_handshake_of_libtorrent_is_understood() {
        let bytes = b"d1:ei0e1:md11:lt_donthavei7e10:share_modei8e11:upload_onlyi3e6:ut_pexi1ee\
            4:reqqi2000e11:upload_onlyi1e1:v16:libtorrent/2.0.96:yourip4:\x50\x04\x04\xc8e";
        let read = ExtendedHandshake::read(bytes).expect("well-formed");
        let wanted = ExtendedHandshake {
            dont_have: Some(7),
            pex: Some(1),
            metadata: None,
            metadata_size: None,
            port: None,
            client: Some("libtorrent/2.0.9".into()),
            reqq: Some(2000),
            your_ip: Some(IpAddr::from([80, 4, 4, 200])),
            upload_only: Some(true),
        };
        assert_eq!(read, wanted);
    }

    #[test]
    fn what_has_the_wrong_type_or_range_counts_as_absent() {
        for bytes in [
            &b"de"[..],
            b"i5e",
            b"d1:mi5e1:p3:abc4:reqq2:xx1:vi5e6:yourip3:abce",
            b"d1:md11:lt_donthavei256ee1:pi65536ee",
            b"d1:md11:lt_donthavei-1ee1:pi0ee",
            b"d2:\xff\xfei1e1:mlee",
        ] {
            let read = ExtendedHandshake::read(bytes).expect("well-formed");
            assert_eq!(read, ExtendedHandshake::default(), "{bytes:?}");
        }
        let negative = ExtendedHandshake::read(b"d4:reqqi-5ee").expect("well-formed");
        assert_eq!(negative.reqq, Some(0));
        assert!(ExtendedHandshake::read(b"d1:p").is_err());
    }

    #[test]
    fn a_client_name_is_cut_and_made_printable() {
        let long = format!("d1:v300:\x1b[31m{}e", "x".repeat(295));
        let client = ExtendedHandshake::read(long.as_bytes())
            .expect("well-formed")
            .client;
        let client = client.expect("a name");
        assert_eq!(client.chars().count(), CLIENT_CHARS_MAX);
        assert!(client.starts_with("[31mxxx"), "{client}");
    }

    #[test]
    fn dont_have_is_four_bytes() {
        let message = dont_have(9, PieceIndex(258));
        assert_eq!(payload(&message), [0, 0, 1, 2]);
        assert_eq!(read_dont_have(payload(&message)), Some(PieceIndex(258)));
        assert_eq!(read_dont_have(&[0; 3]), None);
        assert_eq!(read_dont_have(&[0; 5]), None);
    }
}

//! Owns the payload of `ut_pex` (BEP 11): contacts that its sender is connected to since the last
//! message, and those that it is connected to no more.
//!
//! Invariants: what was read holds at most as many contacts as the reader allows, none twice and none
//! both added and dropped; both lists are in order of address; a list that is cut in the middle of a contact is refused, not guessed at.

use std::cmp::Ordering;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::dict::Dict;
use super::extension::{string, values};
use super::message::Message;

/// The id under which we take `ut_pex`.
pub const PEX_ID: u8 = 1;
/// Flag of a contact: it has everything, or wants nothing any more (BEP 11).
pub const SEED: u8 = 0x02;
/// Flag of a contact: the sender dialled it, so it can be reached (BEP 11).
pub const REACHABLE: u8 = 0x10;

/// Bytes of a contact over IPv4 and over IPv6.
const V4_BYTES: usize = 6;
const V6_BYTES: usize = 18;
/// Bytes of a message beside its contacts and their flags, at most.
const KEYS_BYTES: usize = 96;

/// One message of peer exchange.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pex {
    /// Contacts that the sender is connected to, with their flags, in order of address.
    pub added: Vec<(SocketAddr, u8)>,
    /// Contacts that it was connected to and is no more, in order.
    pub dropped: Vec<SocketAddr>,
}

/// Why a payload is no message of peer exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PexError {
    /// Not one well-formed bencoded dictionary.
    #[error("a peer exchange that is not bencode")]
    NotBencode,
    /// A list of contacts whose length is no multiple of a contact's.
    #[error("a peer exchange with part of a contact")]
    PartOfContact,
}

impl Pex {
    /// The message for a receiver that takes it under `id`.
    #[must_use]
    pub fn message(&self, id: u8) -> Message {
        // In order of address those over IPv4 come first.
        let added_v4 = self.added.partition_point(|(addr, _)| addr.is_ipv4());
        let dropped_v4 = self.dropped.partition_point(SocketAddr::is_ipv4);
        let (added, added6) = self.added.split_at(added_v4);
        let (dropped, dropped6) = self.dropped.split_at(dropped_v4);
        let v6 = added6.len() + dropped6.len();
        let v4 = added.len() + dropped.len();
        let mut dict = Dict::new(KEYS_BYTES + (V4_BYTES + 1) * v4 + (V6_BYTES + 1) * v6);
        write_added(&mut dict, ["added", "added.f"], V4_BYTES, added);
        if !added6.is_empty() {
            write_added(&mut dict, ["added6", "added6.f"], V6_BYTES, added6);
        }
        write_contacts(&mut dict, "dropped", V4_BYTES, dropped.iter().copied());
        if !dropped6.is_empty() {
            write_contacts(&mut dict, "dropped6", V6_BYTES, dropped6.iter().copied());
        }
        Message::Extended {
            id,
            payload: dict.finish(),
        }
    }

    /// Reads a payload; of more contacts than `added_max` and `dropped_max` the rest is left out.
    /// Flags that are missing count as none; a contact with port 0 is nobody.
    ///
    /// # Errors
    /// When it is not a bencoded dictionary, or a list ends inside a contact.
    pub fn read(payload: &[u8], added_max: usize, dropped_max: usize) -> Result<Pex, PexError> {
        if payload.first() != Some(&b'd') {
            return Err(PexError::NotBencode);
        }
        let keys: [&[u8]; 6] = [
            b"added",
            b"added.f",
            b"added6",
            b"added6.f",
            b"dropped",
            b"dropped6",
        ];
        let values = values(payload, keys).map_err(|_| PexError::NotBencode)?;
        let [added, flags, added6, flags6, dropped, dropped6] =
            values.map(|value| string(value).unwrap_or_default());
        let mut pex = Pex::default();
        for (list, flags, bytes) in [(added, flags, V4_BYTES), (added6, flags6, V6_BYTES)] {
            pex.added.reserve_exact(added_max.min(list.len() / bytes));
            for (at, addr) in contacts(list, bytes)?.enumerate() {
                if pex.added.len() >= added_max {
                    break;
                }
                if addr.port() != 0 {
                    let flags = flags.get(at).copied().unwrap_or_default();
                    match place(&pex.added, |(known, _)| *known, addr) {
                        Ok(at) => pex.added[at].1 = flags,
                        Err(at) => pex.added.insert(at, (addr, flags)),
                    }
                }
            }
        }
        for (list, bytes) in [(dropped, V4_BYTES), (dropped6, V6_BYTES)] {
            for addr in contacts(list, bytes)? {
                if pex.dropped.len() >= dropped_max {
                    break;
                }
                if place(&pex.added, |(known, _)| *known, addr).is_err()
                    && let Err(at) = place(&pex.dropped, |known| *known, addr)
                {
                    pex.dropped.insert(at, addr);
                }
            }
        }
        Ok(pex)
    }
}

/// Writes contacts, each of so many bytes, and their flags.
fn write_added(dict: &mut Dict, keys: [&str; 2], bytes: usize, added: &[(SocketAddr, u8)]) {
    let [contacts, flags] = keys;
    write_contacts(dict, contacts, bytes, added.iter().map(|(addr, _)| *addr));
    dict.parts(flags, added.len(), |bytes| {
        bytes.extend(added.iter().map(|(_, flags)| flags));
    });
}

/// Writes addresses of one family, each of so many bytes.
fn write_contacts(
    dict: &mut Dict,
    key: &str,
    bytes: usize,
    addrs: impl ExactSizeIterator<Item = SocketAddr>,
) {
    dict.parts(key, bytes * addrs.len(), |list| {
        for addr in addrs {
            let [p, q] = addr.port().to_be_bytes();
            match addr.ip() {
                IpAddr::V4(ip) => {
                    let [a, b, c, d] = ip.octets();
                    list.extend_from_slice(&[a, b, c, d, p, q]);
                }
                IpAddr::V6(ip) => {
                    list.extend_from_slice(&ip.octets());
                    list.extend_from_slice(&[p, q]);
                }
            }
        }
    });
}

/// Where an address stands among others: by IP address, then port, IPv4 first. The order of the standard library, as
/// one number where that calls a function: most of what a list of contacts costs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Rank {
    V4(u64),
    V6(SocketAddr),
}

impl Rank {
    #[inline]
    pub(crate) fn of(addr: SocketAddr) -> Rank {
        match addr {
            SocketAddr::V4(v4) => {
                Rank::V4((u64::from(v4.ip().to_bits()) << 16) | u64::from(v4.port()))
            }
            v6 @ SocketAddr::V6(_) => Rank::V6(v6),
        }
    }
}

/// The order of addresses.
#[inline]
pub(crate) fn order(a: SocketAddr, b: SocketAddr) -> Ordering {
    Rank::of(a).cmp(&Rank::of(b))
}

/// Where an address is in an ordered list, or belongs. Who writes in order is read without a search.
fn place<T>(list: &[T], key: impl Fn(&T) -> SocketAddr, addr: SocketAddr) -> Result<usize, usize> {
    if list
        .last()
        .is_none_or(|last| order(key(last), addr).is_lt())
    {
        return Err(list.len());
    }
    list.binary_search_by(|known| order(key(known), addr))
}

/// The contacts of a list, of so many bytes each.
fn contacts(
    list: &[u8],
    bytes: usize,
) -> Result<impl Iterator<Item = SocketAddr> + use<'_>, PexError> {
    if !list.len().is_multiple_of(bytes) {
        return Err(PexError::PartOfContact);
    }
    Ok(list.chunks_exact(bytes).map(|contact| {
        if let [a, b, c, d, p, q] = *contact {
            return SocketAddr::from(([a, b, c, d], u16::from_be_bytes([p, q])));
        }
        let (ip, port) = contact.split_at(contact.len() - 2);
        let v6 = <[u8; 16]>::try_from(ip).expect("18 bytes without the port");
        // An IPv4 address in IPv6's clothes is that address, for caps, bans and what is sane.
        let ip = Ipv6Addr::from(v6).to_canonical();
        SocketAddr::new(ip, u16::from_be_bytes([port[0], port[1]]))
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    fn payload(message: &Message) -> &[u8] {
        match message {
            Message::Extended { payload, .. } => payload,
            _ => panic!("an extension message"),
        }
    }

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn any_addr() -> impl Strategy<Value = SocketAddr> {
        prop_oneof![
            (any::<[u8; 4]>(), 1..=u16::MAX).prop_map(SocketAddr::from),
            (any::<[u8; 16]>(), 1..=u16::MAX).prop_map(SocketAddr::from),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn an_exchange_reads_back(
            added in prop::collection::btree_map(any_addr(), any::<u8>(), 0..20),
            dropped in prop::collection::btree_set(any_addr(), 0..20),
        ) {
            let added: BTreeMap<_, _> = added;
            let dropped = dropped.into_iter().filter(|addr| !added.contains_key(addr)).collect();
            let pex = Pex { added: added.into_iter().collect(), dropped };
            prop_assert_eq!(Pex::read(payload(&pex.message(3)), 40, 40), Ok(pex));
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Pex::read(&bytes, 50, 50);
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_protocol() {
        let pex = Pex {
            added: vec![(addr("1.2.3.4:258"), SEED | REACHABLE)],
            dropped: vec![addr("5.6.7.8:1")],
        };
        let wanted = b"d5:added6:\x01\x02\x03\x04\x01\x027:added.f1:\x127:dropped6:\x05\x06\x07\x08\x00\x01e";
        assert_eq!(payload(&pex.message(1)), wanted);
    }

    #[test]
    fn what_is_not_an_exchange_is_refused() {
        for (bytes, why) in [
            (&b""[..], PexError::NotBencode),
            (b"le", PexError::NotBencode),
            (b"d5:added6:123", PexError::NotBencode),
            (b"de1", PexError::NotBencode),
            (b"d5:added5:12345e", PexError::PartOfContact),
            (b"d6:added66:123456e", PexError::PartOfContact),
            (b"d7:dropped1:1e", PexError::PartOfContact),
        ] {
            assert_eq!(Pex::read(bytes, 9, 9), Err(why), "{bytes:?}");
        }
        for nothing in [&b"de"[..], b"d5:addedi1e7:droppedlee", b"d5:added0:e"] {
            assert_eq!(Pex::read(nothing, 9, 9), Ok(Pex::default()));
        }
    }

    #[test]
    fn an_address_has_one_form() {
        let mapped = b"d6:added618:\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\x01\x1a\xe1e";
        let pex = Pex::read(mapped, 9, 9).expect("well-formed");
        assert_eq!(pex.added, [(addr("127.0.0.1:6881"), 0)]);
    }

    #[test]
    fn too_many_repeated_and_impossible_contacts_are_left_out() {
        let list = |contacts: &[(u8, u8)]| {
            let bytes = contacts
                .iter()
                .flat_map(|(n, port)| [10, 0, 0, *n, 0, *port]);
            bytes.collect::<Vec<u8>>()
        };
        let dict = |added: &[(u8, u8)], dropped: &[(u8, u8)]| {
            let (added, dropped) = (list(added), list(dropped));
            let mut bytes = format!("d5:added{}:", added.len()).into_bytes();
            bytes.extend(&added);
            bytes.extend(format!("7:dropped{}:", dropped.len()).bytes());
            bytes.extend(&dropped);
            bytes.push(b'e');
            bytes
        };
        let read = |bytes: &[u8]| {
            let pex = Pex::read(bytes, 2, 2).expect("well-formed");
            let last = |addr: &SocketAddr| addr.to_string()["10.0.0.".len()..].to_owned();
            let added: Vec<_> = pex.added.iter().map(|(addr, _)| last(addr)).collect();
            (
                added.join(" "),
                pex.dropped.iter().map(last).collect::<Vec<_>>().join(" "),
            )
        };
        let told = |a: &str, d: &str| (a.to_owned(), d.to_owned());
        let many = dict(&[(1, 1), (2, 1), (3, 1)], &[(4, 1), (5, 1), (6, 1)]);
        assert_eq!(read(&many), told("1:1 2:1", "4:1 5:1"));
        let twice = dict(&[(1, 1), (1, 1), (1, 0), (2, 1)], &[(1, 1), (4, 1), (4, 1)]);
        assert_eq!(read(&twice), told("1:1 2:1", "4:1"));
    }
}

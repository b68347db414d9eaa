//! Owns what a UDP tracker makes of a datagram before it looks at any swarm (BEP 15): who may speak,
//! by connection ids.
//!
//! Invariant: nothing is remembered of a client. A connection id is a keyed hash of the client's
//! address and the time, so only who receives at an address can know the ids for it; without a good
//! id there is silence, and the only answer to a stranger, the id itself, is no longer than what was
//! asked. So nothing is reflected to a spoofed source.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use sha1::{Digest, Sha1};

use super::packet::{PacketError, Reply, Request, parse_request, write_reply};
use crate::ids::InfoHash;
use crate::time::Now;
use crate::tracker::announce::AnnounceRequest;

/// Time steps of connection ids: how much longer than promised one may be accepted.
const STEP: Duration = Duration::from_secs(10);
/// Bytes of a block of SHA-1, for HMAC (RFC 2104).
const HMAC_BLOCK: usize = 64;

/// Makes and checks connection ids.
#[derive(Clone)]
pub struct ConnectionIds {
    /// The key, padded as HMAC has it.
    key: [u8; HMAC_BLOCK],
    /// Steps after which an id is no longer accepted.
    steps: u64,
}

impl fmt::Debug for ConnectionIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key stays out of every log.
        f.debug_struct("ConnectionIds")
            .field("steps", &self.steps)
            .finish_non_exhaustive()
    }
}

impl ConnectionIds {
    /// Ids that are accepted for `valid` after they were made (BEP 15: 2 min), and up to 10 s more; at
    /// most 40 min. The key comes from `rng`.
    #[must_use]
    pub fn new(valid: Duration, rng: &mut ChaCha8Rng) -> ConnectionIds {
        let mut key = [0; HMAC_BLOCK];
        rng.fill_bytes(&mut key[..32]);
        let steps = valid.as_nanos().div_ceil(STEP.as_nanos());
        let steps = u64::try_from(steps).map_or(240, |steps| steps.min(240));
        ConnectionIds { key, steps }
    }

    /// The id of a client now. Its first byte says when it was made, modulo 256 steps.
    #[must_use]
    pub fn make(&self, client: IpAddr, now: Now) -> u64 {
        self.at(client, step(now))
    }

    /// Whether an id was made for this client, and not too long ago.
    #[must_use]
    pub fn accepts(&self, client: IpAddr, id: u64, now: Now) -> bool {
        let now = step(now);
        let age = now.wrapping_sub(id >> 56) & 0xff;
        // Every bit counts: ids are compared as a whole.
        age <= self.steps && age <= now && self.at(client, now - age) == id
    }

    fn at(&self, client: IpAddr, step: u64) -> u64 {
        let ip = match client.to_canonical() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        };
        let pad = |byte: u8| self.key.map(|k| k ^ byte);
        let inner = Sha1::new()
            .chain_update(pad(0x36))
            .chain_update(step.to_be_bytes())
            .chain_update(ip)
            .finalize();
        let mac = Sha1::new()
            .chain_update(pad(0x5c))
            .chain_update(inner)
            .finalize();
        let mut id = [0; 8];
        id.copy_from_slice(&mac[..8]);
        u64::from_be_bytes(id) >> 8 | (step & 0xff) << 56
    }
}

fn step(now: Now) -> u64 {
    now.0 / u64::try_from(STEP.as_nanos()).unwrap_or(u64::MAX)
}

/// What a datagram asks for, from somebody who may ask.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Admitted {
    /// A connection id; this is the answer.
    Connect(Vec<u8>),
    /// To take note of a peer.
    Announce {
        /// For the answer.
        txid: u32,
        /// What it says.
        announce: Box<AnnounceRequest>,
    },
    /// Counts.
    Scrape {
        /// For the answer.
        txid: u32,
        /// Of these torrents, in this order.
        torrents: Vec<InfoHash>,
    },
}

/// Why a datagram is met with silence.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Silence {
    /// It is no request.
    #[error("{0}")]
    Packet(#[from] PacketError),
    /// Its connection id was not made for its sender, or too long ago.
    #[error("a connection id that was not given to this address")]
    ConnectionId,
}

/// Looks at a datagram.
///
/// # Errors
/// Why there is no answer.
pub fn admit(
    ids: &ConnectionIds,
    client: IpAddr,
    datagram: &[u8],
    now: Now,
) -> Result<Admitted, Silence> {
    match parse_request(datagram)? {
        Request::Connect { txid } => {
            let connection = ids.make(client, now);
            let reply = Reply::Connect { txid, connection };
            Ok(Admitted::Connect(write_reply(&reply, client.is_ipv6())))
        }
        Request::Announce { connection, .. } | Request::Scrape { connection, .. }
            if !ids.accepts(client, connection, now) =>
        {
            Err(Silence::ConnectionId)
        }
        Request::Announce { txid, announce, .. } => Ok(Admitted::Announce {
            txid,
            announce: Box::new(announce),
        }),
        Request::Scrape { txid, torrents, .. } => Ok(Admitted::Scrape { txid, torrents }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::udp::packet::{CONNECT_BYTES, write_request};
    use proptest::prelude::*;
    use rand::SeedableRng;

    const fn at(seconds: u64) -> Now {
        Now(seconds * 1_000_000_000)
    }

    fn ids(seed: u64) -> ConnectionIds {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        ConnectionIds::new(Duration::from_secs(120), &mut rng)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_id_is_good_for_two_minutes_and_at_most_ten_seconds_more() {
        let ids = ids(1);
        for made in [0, 3, 9, 10, 2559, 2561, 99_999] {
            let id = ids.make(ip("10.0.0.1"), at(made));
            for (age, good) in [
                (0, true),
                (60, true),
                (120, true),
                (131, false),
                (2560, false),
            ] {
                let now = at(made + age);
                assert_eq!(ids.accepts(ip("10.0.0.1"), id, now), good, "{made} + {age}");
            }
        }
        let later = ids.make(ip("10.0.0.1"), at(500));
        assert!(
            !ids.accepts(ip("10.0.0.1"), later, at(400)),
            "from the future"
        );
    }

    #[test]
    fn an_id_is_good_for_its_address_and_its_tracker_only() {
        let (ours, theirs) = (ids(1), ids(2));
        let id = ours.make(ip("10.0.0.1"), at(0));
        assert!(
            ours.accepts(ip("::ffff:10.0.0.1"), id, at(0)),
            "the same address"
        );
        assert!(!ours.accepts(ip("10.0.0.2"), id, at(0)));
        assert!(!ours.accepts(ip("2001:db8::1"), id, at(0)));
        assert!(!theirs.accepts(ip("10.0.0.1"), id, at(0)));
        assert_eq!(
            id,
            ids(1).make(ip("10.0.0.1"), at(0)),
            "nothing is remembered"
        );
    }

    #[test]
    fn a_request_without_a_good_id_is_met_with_silence() {
        let ids = ids(1);
        let scrape = |connection| {
            let torrents = vec![InfoHash([1; 20])];
            let request = Request::Scrape {
                connection,
                txid: 1,
                torrents,
            };
            admit(&ids, ip("10.0.0.1"), &write_request(&request, ""), at(0))
        };
        assert_eq!(scrape(0), Err(Silence::ConnectionId));
        let other = ids.make(ip("10.0.0.2"), at(0));
        assert_eq!(scrape(other), Err(Silence::ConnectionId));
        let own = ids.make(ip("10.0.0.1"), at(0));
        assert!(matches!(scrape(own), Ok(Admitted::Scrape { txid: 1, .. })));
    }

    #[test]
    fn the_answer_to_a_stranger_is_no_longer_than_the_question() {
        let ids = ids(1);
        let request = write_request(&Request::Connect { txid: 7 }, "");
        assert_eq!(request.len(), CONNECT_BYTES);
        let Ok(Admitted::Connect(reply)) = admit(&ids, ip("::1"), &request, at(0)) else {
            panic!("a connection id")
        };
        assert!(reply.len() <= request.len());
        let mut short = request;
        short.truncate(15);
        assert_eq!(
            admit(&ids, ip("::1"), &short, at(0)),
            Err(Silence::Packet(PacketError::Length))
        );
    }

    proptest! {
        #[test]
        fn whatever_a_stranger_sends_brings_at_most_a_connection_id(
            bytes in proptest::collection::vec(any::<u8>(), 0..300), action in 0..5u8,
        ) {
            let mut bytes = bytes;
            if let Some(head) = bytes.get_mut(8..12) {
                head.copy_from_slice(&[0, 0, 0, action]);
            }
            let admitted = admit(&ids(1), ip("10.0.0.1"), &bytes, at(0));
            prop_assert!(matches!(admitted, Err(_) | Ok(Admitted::Connect(_))));
        }

        #[test]
        fn guessed_ids_fail(guess: u64, now in 0..10_000u64) {
            prop_assert!(!ids(1).accepts(ip("10.0.0.1"), guess, at(now)));
        }
    }
}

//! Owns the query strings of announce and scrape: written by clients, read by the tracker.
//!
//! Invariant: what [`announce_query`] writes, [`parse_announce`] reads back unchanged.

use std::collections::BTreeMap;
use std::fmt::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentDecode, percent_decode, percent_encode};

use super::TRACKER_ID_BYTES_MAX;
use crate::ids::{InfoHash, PeerId};
use crate::tracker::announce::{
    AnnounceEvent, AnnounceRequest, SCRAPE_TORRENTS_MAX, WANTED_UNSAID,
};

/// Everything but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Parameters in one query.
const PARAMETERS_MAX: usize = 128;

/// The query of an announce, to be added to the tracker's URL. `no_peer_id`: peers may come
/// without their ids, which matters only to a list that is not compact.
#[must_use]
pub fn announce_query(request: &AnnounceRequest, no_peer_id: bool) -> String {
    let mut out = format!(
        "info_hash={}&peer_id={}&port={}&uploaded={}&downloaded={}&left={}&compact={}&numwant={}&key={:08X}",
        percent_encode(&request.info_hash.0, RESERVED),
        percent_encode(&request.peer_id.0, RESERVED),
        request.port,
        request.uploaded,
        request.downloaded,
        request.left,
        u8::from(request.compact),
        request.wanted,
        request.key,
    );
    let event = match request.event {
        AnnounceEvent::Started => "&event=started",
        AnnounceEvent::Completed => "&event=completed",
        AnnounceEvent::Stopped => "&event=stopped",
        AnnounceEvent::Paused => "&event=paused",
        AnnounceEvent::Periodic => "",
    };
    out.push_str(event);
    if no_peer_id {
        out.push_str("&no_peer_id=1");
    }
    if let Some(id) = &request.tracker_id {
        // Writing to a String cannot fail.
        let _ = write!(out, "&trackerid={}", percent_encode(id, RESERVED));
    }
    out
}

/// Reads an announce query; the error is the `failure reason` to answer with. `ip` is ignored: a
/// peer's address is the one it speaks from, or anybody could send a swarm to a victim.
///
/// # Errors
/// A parameter is missing, twice there, or not what it should be.
pub fn parse_announce(query: &str) -> Result<AnnounceRequest, &'static str> {
    let fields = fields(query)?;
    let number = |name: &str, missing| match fields.get(name) {
        None => Err(missing),
        Some(digits) => number(digits).ok_or("a number is expected"),
    };
    let port = number("port", "port is missing")?;
    let port = u16::try_from(port).ok().filter(|p| *p != 0);
    let event = match fields.get("event").copied().unwrap_or("") {
        "started" => AnnounceEvent::Started,
        "completed" => AnnounceEvent::Completed,
        "stopped" => AnnounceEvent::Stopped,
        "paused" => AnnounceEvent::Paused,
        "" => AnnounceEvent::Periodic,
        _ => return Err("event is unknown"),
    };
    let tracker_id = match fields.get("trackerid") {
        None => None,
        Some(id) => {
            let id = decode(id).ok_or("trackerid is not percent-encoded")?;
            // Counted before it is gathered.
            let bytes = id.clone().count();
            (bytes <= TRACKER_ID_BYTES_MAX).then(|| {
                let mut kept = Vec::with_capacity(bytes);
                kept.extend(id);
                kept
            })
        }
    };
    Ok(AnnounceRequest {
        info_hash: InfoHash(twenty(
            fields.get("info_hash").ok_or("info_hash is missing")?,
            "info_hash is not 20 bytes",
        )?),
        peer_id: PeerId(twenty(
            fields.get("peer_id").ok_or("peer_id is missing")?,
            "peer_id is not 20 bytes",
        )?),
        port: port.ok_or("port must be 1 to 65535")?,
        uploaded: number("uploaded", "uploaded is missing")?,
        downloaded: number("downloaded", "downloaded is missing")?,
        left: number("left", "left is missing")?,
        event,
        wanted: fields.get("numwant").map_or(WANTED_UNSAID, |n| wanted(n)),
        key: fields.get("key").map_or(0, |k| key(k)),
        tracker_id,
        // BEP 23: compact unless the client asks for the original list.
        compact: fields.get("compact") != Some(&"0"),
    })
}

/// Whether an announce query asks for a list without peer ids.
#[must_use]
pub fn no_peer_id(query: &str) -> bool {
    query.split('&').any(|p| p == "no_peer_id=1")
}

/// The query of a scrape (BEP 48).
#[must_use]
pub fn scrape_query(torrents: &[InfoHash]) -> String {
    let mut out = String::new();
    for torrent in torrents {
        let joint = if out.is_empty() { "" } else { "&" };
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "{joint}info_hash={}",
            percent_encode(&torrent.0, RESERVED)
        );
    }
    out
}

/// Reads a scrape query: the torrents asked for, in that order. A scrape of everything is refused.
///
/// # Errors
/// The `failure reason` to answer with.
pub fn parse_scrape_query(query: &str) -> Result<Vec<InfoHash>, &'static str> {
    let mut torrents = Vec::new();
    for value in query
        .split('&')
        .filter_map(|p| p.strip_prefix("info_hash="))
    {
        if torrents.len() == SCRAPE_TORRENTS_MAX {
            return Err("too many torrents in one scrape");
        }
        torrents.push(InfoHash(twenty(value, "info_hash is not 20 bytes")?));
    }
    if torrents.is_empty() {
        return Err("info_hash is missing");
    }
    Ok(torrents)
}

/// The parameters by name, values still encoded.
fn fields(query: &str) -> Result<BTreeMap<&str, &str>, &'static str> {
    let mut fields = BTreeMap::new();
    for (at, part) in query.split('&').filter(|p| !p.is_empty()).enumerate() {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        if at == PARAMETERS_MAX {
            return Err("too many parameters");
        }
        if fields.insert(name, value).is_some() {
            return Err("a parameter is there twice");
        }
    }
    Ok(fields)
}

/// The bytes that `text` encodes; `None` when a `%` is not followed by two hexadecimal digits.
fn decode(text: &str) -> Option<PercentDecode<'_>> {
    let hex = |s: &[u8]| s.len() >= 2 && s[..2].iter().all(u8::is_ascii_hexdigit);
    let whole = text.as_bytes().split(|b| *b == b'%').skip(1).all(hex);
    whole.then(|| percent_decode(text.as_bytes()))
}

fn twenty(text: &str, otherwise: &'static str) -> Result<[u8; 20], &'static str> {
    let mut bytes = decode(text).ok_or(otherwise)?;
    let mut twenty = [0; 20];
    for byte in &mut twenty {
        *byte = bytes.next().ok_or(otherwise)?;
    }
    match bytes.next() {
        None => Ok(twenty),
        Some(_) => Err(otherwise),
    }
}

/// A whole number of digits only: no sign, no space.
fn number(digits: &str) -> Option<u64> {
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

/// `numwant`: clients write -1 for "as many as you like to give".
fn wanted(text: &str) -> u32 {
    number(text).map_or(WANTED_UNSAID, |n| u32::try_from(n).unwrap_or(u32::MAX))
}

/// `key` is opaque; ours is hexadecimal, as in most clients. Any other counts as 0, no key.
fn key(text: &str) -> u32 {
    let hex = text.bytes().all(|b| b.is_ascii_hexdigit());
    u32::from_str_radix(text, 16)
        .ok()
        .filter(|_| hex)
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request() -> AnnounceRequest {
        AnnounceRequest {
            info_hash: InfoHash([0xff; 20]),
            peer_id: PeerId(*b"-SK0001-abc~._-12345"),
            port: 6881,
            uploaded: 1,
            downloaded: 2,
            left: 3,
            event: AnnounceEvent::Started,
            wanted: 50,
            key: 0xbeef,
            tracker_id: None,
            compact: true,
        }
    }

    #[test]
    fn the_query_holds_every_parameter() {
        let expected = format!(
            "info_hash={}&peer_id=-SK0001-abc~._-12345&port=6881&uploaded=1&downloaded=2&left=3\
             &compact=1&numwant=50&key=0000BEEF&event=started",
            "%FF".repeat(20)
        );
        assert_eq!(announce_query(&request(), false), expected);
        let mut other = request();
        other.event = AnnounceEvent::Periodic;
        other.tracker_id = Some(b"a&b".to_vec());
        let query = announce_query(&other, true);
        assert!(query.ends_with("&key=0000BEEF&no_peer_id=1&trackerid=a%26b"));
        assert!(no_peer_id(&query));
    }

    fn check(change: impl FnOnce(String) -> String, expected: Result<(), &'static str>) {
        let query = change(announce_query(&request(), false));
        assert_eq!(parse_announce(&query).map(|_| ()), expected, "{query}");
    }

    #[test]
    fn bad_queries_are_answered_with_a_reason() {
        let without = |name: &'static str| {
            move |q: String| {
                let rest = q.split('&').filter(|p| !p.starts_with(name));
                rest.collect::<Vec<_>>().join("&")
            }
        };
        check(|q| q, Ok(()));
        check(without("info_hash"), Err("info_hash is missing"));
        check(without("peer_id"), Err("peer_id is missing"));
        check(without("port"), Err("port is missing"));
        check(without("uploaded"), Err("uploaded is missing"));
        check(without("downloaded"), Err("downloaded is missing"));
        check(without("left"), Err("left is missing"));
        check(|q| q + "&port=1", Err("a parameter is there twice"));
        check(|q| q + "&info_hash=x", Err("a parameter is there twice"));
        check(
            |q| q.replacen("%FF", "", 1),
            Err("info_hash is not 20 bytes"),
        );
        check(
            |q| q.replacen("%FF", "%FF%FF", 1),
            Err("info_hash is not 20 bytes"),
        );
        check(
            |q| q.replacen("%FF", "%F", 1),
            Err("info_hash is not 20 bytes"),
        );
        check(|q| q.replace("-SK", "-S"), Err("peer_id is not 20 bytes"));
        check(|q| q.replace("6881", "0"), Err("port must be 1 to 65535"));
        check(
            |q| q.replace("6881", "65536"),
            Err("port must be 1 to 65535"),
        );
        check(|q| q.replace("6881", "-1"), Err("a number is expected"));
        check(
            |q| q.replace("left=3", "left=+3"),
            Err("a number is expected"),
        );
        check(
            |q| q.replace("left=3", "left="),
            Err("a number is expected"),
        );
        check(|q| q.replace("started", "bored"), Err("event is unknown"));
        check(
            |q| q + "&trackerid=%0",
            Err("trackerid is not percent-encoded"),
        );
        check(|q| q + &"&".repeat(500), Ok(()));
        let many: String = (0..200).map(|i| format!("&x{i}=1")).collect();
        check(|q| q + &many, Err("too many parameters"));
    }

    #[test]
    fn what_clients_leave_out_has_a_default() {
        let hash = "a".repeat(20);
        let query =
            format!("info_hash={hash}&peer_id={hash}&port=1&uploaded=0&downloaded=0&left=0");
        let read = parse_announce(&query).unwrap();
        assert_eq!(
            (read.wanted, read.key, read.compact),
            (WANTED_UNSAID, 0, true)
        );
        assert_eq!(
            (read.event, read.tracker_id),
            (AnnounceEvent::Periodic, None)
        );
        let query = query + "&numwant=-1&key=zebra&event=paused&compact=0&ip=1.2.3.4";
        let read = parse_announce(&query).unwrap();
        assert_eq!(
            (read.wanted, read.key, read.compact),
            (WANTED_UNSAID, 0, false)
        );
        assert_eq!(read.event, AnnounceEvent::Paused);
        assert!(!no_peer_id(&query));
    }

    #[test]
    fn scrapes_name_their_torrents() {
        let torrents = [InfoHash([1; 20]), InfoHash(*b"abcdefghijklmnopqrs&")];
        let query = scrape_query(&torrents);
        assert_eq!(parse_scrape_query(&query), Ok(torrents.to_vec()));
        assert_eq!(parse_scrape_query(""), Err("info_hash is missing"));
        assert_eq!(
            parse_scrape_query("info_hash=a"),
            Err("info_hash is not 20 bytes")
        );
        let many = scrape_query(&[InfoHash([1; 20]); SCRAPE_TORRENTS_MAX + 1]);
        assert_eq!(
            parse_scrape_query(&many),
            Err("too many torrents in one scrape")
        );
    }

    prop_compose! {
        fn any_request()(
            hash: [u8; 20], id: [u8; 20], port in 1u16.., uploaded: u64, downloaded: u64, left: u64,
            event in 0..5usize, wanted: u32, key: u32, compact: bool,
            tracker_id in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
        ) -> AnnounceRequest {
            let event = [AnnounceEvent::Started, AnnounceEvent::Completed, AnnounceEvent::Stopped,
                AnnounceEvent::Periodic, AnnounceEvent::Paused][event];
            let (info_hash, peer_id) = (InfoHash(hash), PeerId(id));
            AnnounceRequest { info_hash, peer_id, port, uploaded, downloaded, left, event, wanted, key,
                tracker_id, compact }
        }
    }

    proptest! {
        #[test]
        fn announces_survive_the_way_over_http(request in any_request(), bare: bool) {
            let query = announce_query(&request, bare);
            prop_assert!(query.is_ascii());
            prop_assert_eq!(parse_announce(&query), Ok(request));
            prop_assert_eq!(no_peer_id(&query), bare);
        }

        #[test]
        fn random_text_never_panics(query in "([a-z_]{0,9}=?[%&0-9a-f\\PC]{0,30}&?){0,4}") {
            let _ = parse_announce(&query);
            let _ = parse_scrape_query(&query);
        }
    }
}

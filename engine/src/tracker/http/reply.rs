//! Owns the bencoded answers to announce and scrape: written by the tracker, read by clients.
//!
//! Invariant: nothing foreign is read before the strict scanner passed it, it is read where it lies,
//! and what a tracker says is bounded before it is kept: number of peers, lengths of texts, intervals.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::TRACKER_ID_BYTES_MAX;
use crate::ids::{InfoHash, PeerId};
use crate::metainfo::Found;
use crate::tracker::announce::{
    AnnounceFailure, AnnounceReply, INTERVAL_MAX, PEERS_MAX, PeerAddr, Retry, ScrapeCounts,
    TEXT_BYTES_MAX,
};

/// Longest pause that `retry in` can impose; more is read as this. A week.
const RETRY_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
const fn garbage(what: &'static str) -> AnnounceFailure {
    AnnounceFailure::Garbage(what)
}

/// The dictionary that an answer is, unless it is a refusal.
fn answer(reply: &[u8]) -> Result<Found<'_>, AnnounceFailure> {
    let dict = Found::root(reply).map_err(|_| garbage("it is not bencoded"))?;
    if dict.entries().is_none() {
        return Err(garbage("it is not a dictionary"));
    }
    match text(dict, "failure reason") {
        Some(reason) => Err(AnnounceFailure::Refused {
            reason,
            retry: retry(dict),
        }),
        None => Ok(dict),
    }
}

fn int(dict: Found<'_>, key: &str) -> Option<i64> {
    dict.get(key.as_bytes())?.integer()
}

fn bytes<'a>(dict: Found<'a>, key: &str) -> Option<&'a [u8]> {
    dict.get(key.as_bytes())?.bytes()
}

fn text(dict: Found<'_>, key: &str) -> Option<String> {
    let bytes = bytes(dict, key)?;
    Some(String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_BYTES_MAX)]).into_owned())
}

/// Seconds; nonsense (zero, negative) counts as unsaid.
fn interval(dict: Found<'_>, key: &str) -> Option<Duration> {
    let seconds = u64::try_from(int(dict, key)?).ok().filter(|s| *s > 0)?;
    Some(Duration::from_secs(seconds).min(INTERVAL_MAX))
}

/// A count; a negative one is unsaid.
fn count(dict: Found<'_>, key: &str) -> Option<u32> {
    let n = u64::try_from(int(dict, key)?).ok()?;
    Some(u32::try_from(n).unwrap_or(u32::MAX))
}

/// `retry in`: minutes, or `never` (BEP 31). Minutes written as a string are taken too.
fn retry(dict: Found<'_>) -> Retry {
    let said = bytes(dict, "retry in");
    if said == Some(b"never") {
        return Retry::Never;
    }
    let digits = said.and_then(|b| std::str::from_utf8(b).ok()?.parse().ok());
    match int(dict, "retry in").or(digits) {
        Some(minutes @ 1..) => {
            let seconds = minutes.unsigned_abs().saturating_mul(60);
            Retry::After(Duration::from_secs(seconds).min(RETRY_MAX))
        }
        _ => Retry::Unsaid,
    }
}

/// Reads the answer to an announce. Peers without a usable address (port 0, a name instead of
/// an address) are skipped, duplicates are not looked for; 2,000 are taken.
///
/// # Errors
/// [`AnnounceFailure::Refused`] when the tracker says so, [`AnnounceFailure::Garbage`] otherwise.
pub fn parse_reply(reply: &[u8]) -> Result<AnnounceReply, AnnounceFailure> {
    let dict = answer(reply)?;
    let (list, list6) = (dict.get(b"peers"), dict.get(b"peers6"));
    let entries = |list: Option<Found<'_>>, bytes: usize| {
        let list = list.and_then(|list| list.bytes());
        list.map_or(0, |list| list.len() / bytes)
    };
    let compact = entries(list, 6) + entries(list6, 18);
    let mut peers = Vec::with_capacity(compact.min(PEERS_MAX));
    if let Some(list) = list {
        match (list.bytes(), list.items()) {
            (Some(list), _) => compact_peers::<4>(list, &mut peers)?,
            (None, Some(list)) => peers.extend(list.filter_map(listed_peer).take(PEERS_MAX)),
            (None, None) => return Err(garbage("`peers` is neither a string nor a list")),
        }
    }
    if let Some(list) = list6 {
        let list = list.bytes();
        let list = list.ok_or(garbage("`peers6` is not a string"))?;
        compact_peers::<16>(list, &mut peers)?;
    }
    let tracker_id = bytes(dict, "tracker id").filter(|id| id.len() <= TRACKER_ID_BYTES_MAX);
    Ok(AnnounceReply {
        interval: interval(dict, "interval"),
        interval_min: interval(dict, "min interval"),
        peers,
        complete: count(dict, "complete"),
        incomplete: count(dict, "incomplete"),
        tracker_id: tracker_id.map(<[u8]>::to_vec),
        warning: text(dict, "warning message"),
        external_ip: bytes(dict, "external ip").and_then(address),
    })
}

/// An address as its 4 or 16 bytes (BEP 24); of any other length it is unsaid.
fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// The compact list (BEP 23, BEP 7): address bytes and a big-endian port, nothing between.
fn compact_peers<const ADDRESS: usize>(
    list: &[u8],
    peers: &mut Vec<PeerAddr>,
) -> Result<(), AnnounceFailure>
where
    IpAddr: From<[u8; ADDRESS]>,
{
    if !list.len().is_multiple_of(ADDRESS + 2) {
        return Err(garbage("the length of a compact peer list is wrong"));
    }
    for entry in list.chunks_exact(ADDRESS + 2) {
        if peers.len() == PEERS_MAX {
            break;
        }
        let (ip, port) = entry.split_at(ADDRESS);
        let Ok(ip) = <[u8; ADDRESS]>::try_from(ip) else {
            continue;
        };
        let port = u16::from_be_bytes([port[0], port[1]]);
        if port != 0 {
            let addr = SocketAddr::new(IpAddr::from(ip), port);
            peers.push(PeerAddr { addr, id: None });
        }
    }
    Ok(())
}

/// One peer of a list that is not compact (BEP 3).
fn listed_peer(peer: Found<'_>) -> Option<PeerAddr> {
    let ip = std::str::from_utf8(bytes(peer, "ip")?).ok()?.parse().ok()?;
    let port = int(peer, "port").and_then(|p| u16::try_from(p).ok())?;
    let id = bytes(peer, "peer id").and_then(|id| id.try_into().ok());
    (port != 0).then(|| PeerAddr {
        addr: SocketAddr::new(ip, port),
        id: id.map(PeerId),
    })
}

/// Reads the answer to a scrape. Entries without a readable count have zeros there.
///
/// # Errors
/// [`AnnounceFailure::Refused`] when the tracker says so, [`AnnounceFailure::Garbage`] otherwise.
pub fn parse_scrape_reply(
    reply: &[u8],
) -> Result<BTreeMap<InfoHash, ScrapeCounts>, AnnounceFailure> {
    let dict = answer(reply)?;
    let files = dict.get(b"files").and_then(|files| files.entries());
    let files = files.ok_or(garbage("`files` is not a dictionary"))?;
    let mut counts = BTreeMap::new();
    for (key, file) in files {
        let (Ok(hash), Some(_)) = (key.try_into(), file.entries()) else {
            return Err(garbage("`files` is not keyed by info-hash"));
        };
        let told = ScrapeCounts {
            complete: count(file, "complete").unwrap_or(0),
            downloaded: count(file, "downloaded").unwrap_or(0),
            incomplete: count(file, "incomplete").unwrap_or(0),
        };
        counts.insert(InfoHash(hash), told);
    }
    Ok(counts)
}

/// Bencode being written. Callers write keys in the order of their raw bytes.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn raw(&mut self, mark: u8) -> &mut Writer {
        self.0.push(mark);
        self
    }
    fn bytes(&mut self, bytes: &[u8]) -> &mut Writer {
        self.0.extend_from_slice(bytes.len().to_string().as_bytes());
        self.0.push(b':');
        self.0.extend_from_slice(bytes);
        self
    }
    fn int(&mut self, key: &str, n: Option<u64>) -> &mut Writer {
        if let Some(n) = n {
            self.bytes(key.as_bytes());
            self.0.extend_from_slice(format!("i{n}e").as_bytes());
        }
        self
    }
    fn string(&mut self, key: &str, value: Option<&[u8]>) -> &mut Writer {
        if let Some(value) = value {
            self.bytes(key.as_bytes()).bytes(value);
        }
        self
    }
}

/// Writes the answer to an announce: the compact list (`peers`, and `peers6` when there are any)
/// or the original one; `no_peer_id` leaves the ids out of the latter.
#[must_use]
pub fn write_reply(reply: &AnnounceReply, compact: bool, no_peer_id: bool) -> Vec<u8> {
    let mut w = Writer::default();
    let external: Option<Vec<u8>> = reply.external_ip.map(|ip| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    });
    w.raw(b'd')
        .int("complete", reply.complete.map(u64::from))
        .string("external ip", external.as_deref())
        .int("incomplete", reply.incomplete.map(u64::from))
        .int("interval", reply.interval.map(|i| i.as_secs()))
        .int("min interval", reply.interval_min.map(|i| i.as_secs()));
    if compact {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for peer in &reply.peers {
            let port = peer.addr.port().to_be_bytes();
            match peer.addr.ip() {
                IpAddr::V4(ip) => v4.extend(ip.octets().into_iter().chain(port)),
                IpAddr::V6(ip) => v6.extend(ip.octets().into_iter().chain(port)),
            }
        }
        w.string("peers", Some(&v4));
        w.string("peers6", Some(v6.as_slice()).filter(|v6| !v6.is_empty()));
    } else {
        w.bytes(b"peers").raw(b'l');
        for peer in &reply.peers {
            let ip = peer.addr.ip().to_string();
            let id = peer.id.filter(|_| !no_peer_id);
            w.raw(b'd')
                .string("ip", Some(ip.as_bytes()))
                .string("peer id", id.as_ref().map(|id| id.0.as_slice()))
                .int("port", Some(peer.addr.port().into()))
                .raw(b'e');
        }
        w.raw(b'e');
    }
    w.string("tracker id", reply.tracker_id.as_deref())
        .string(
            "warning message",
            reply.warning.as_deref().map(str::as_bytes),
        )
        .raw(b'e');
    w.0
}

/// Writes a refusal (BEP 3), with the minutes after which to try again (BEP 31), rounded up.
#[must_use]
pub fn write_failure(reason: &str, retry: Retry) -> Vec<u8> {
    let mut w = Writer::default();
    w.raw(b'd')
        .string("failure reason", Some(reason.as_bytes()));
    match retry {
        Retry::Unsaid => {}
        Retry::After(pause) => {
            w.int("retry in", Some(pause.as_secs().div_ceil(60)));
        }
        Retry::Never => {
            w.string("retry in", Some(b"never"));
        }
    }
    w.raw(b'e');
    w.0
}

/// Writes the answer to a scrape (BEP 48).
#[must_use]
pub fn write_scrape(counts: &BTreeMap<InfoHash, ScrapeCounts>) -> Vec<u8> {
    let mut w = Writer::default();
    w.raw(b'd').bytes(b"files").raw(b'd');
    for (torrent, told) in counts {
        w.bytes(&torrent.0)
            .raw(b'd')
            .int("complete", Some(told.complete.into()))
            .int("downloaded", Some(told.downloaded.into()))
            .int("incomplete", Some(told.incomplete.into()))
            .raw(b'e');
    }
    w.raw(b'e').raw(b'e');
    w.0
}

#[cfg(test)]
mod tests;

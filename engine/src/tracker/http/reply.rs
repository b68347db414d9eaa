//! Owns the bencoded answers to announce and scrape: written by the tracker, read by clients.
//!
//! Invariant: nothing foreign is decoded before the strict scanner passed it, and what a tracker
//! says is bounded here: number of peers, lengths of texts, intervals.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_bytes::ByteBuf;

use super::{REPLY_BYTES_MAX, TRACKER_ID_BYTES_MAX};
use crate::ids::{InfoHash, PeerId};
use crate::metainfo::bencode;
use crate::tracker::announce::{
    AnnounceFailure, AnnounceReply, INTERVAL_MAX, PEERS_MAX, PeerAddr, Retry, ScrapeCounts,
    TEXT_BYTES_MAX,
};

/// Longest pause that `retry in` can impose; more is read as this. A week.
const RETRY_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Any bencoded value. Unlike `serde_bencode::value::Value` its dictionaries have an order.
#[derive(Debug)]
enum Node {
    Int(i64),
    Bytes(Vec<u8>),
    List(Vec<Node>),
    Dict(Dict),
}

type Dict = BTreeMap<Vec<u8>, Node>;

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a bencoded value")
    }
    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Int(value))
    }
    fn visit_bytes<E>(self, value: &[u8]) -> Result<Node, E> {
        Ok(Node::Bytes(value.to_vec()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = access.next_element()? {
            list.push(node);
        }
        Ok(Node::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut dict = Dict::new();
        while let Some((key, value)) = access.next_entry::<ByteBuf, Node>()? {
            dict.insert(key.into_vec(), value);
        }
        Ok(Node::Dict(dict))
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

const fn garbage(what: &'static str) -> AnnounceFailure {
    AnnounceFailure::Garbage(what)
}

/// The dictionary that an answer is, unless it is a refusal.
fn answer(bytes: &[u8]) -> Result<Dict, AnnounceFailure> {
    if bytes.len() > REPLY_BYTES_MAX {
        return Err(garbage("it is too long"));
    }
    let node = bencode::from_slice(bytes).map_err(|_| garbage("it is not bencoded"))?;
    let Node::Dict(dict) = node else {
        return Err(garbage("it is not a dictionary"));
    };
    match text(&dict, "failure reason") {
        Some(reason) => Err(AnnounceFailure::Refused {
            reason,
            retry: retry(&dict),
        }),
        None => Ok(dict),
    }
}

fn int(dict: &Dict, key: &str) -> Option<i64> {
    match dict.get(key.as_bytes()) {
        Some(Node::Int(n)) => Some(*n),
        _ => None,
    }
}

fn bytes<'a>(dict: &'a Dict, key: &str) -> Option<&'a [u8]> {
    match dict.get(key.as_bytes()) {
        Some(Node::Bytes(b)) => Some(b),
        _ => None,
    }
}

fn text(dict: &Dict, key: &str) -> Option<String> {
    let bytes = bytes(dict, key)?;
    Some(String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_BYTES_MAX)]).into_owned())
}

/// Seconds; nonsense (zero, negative) counts as unsaid.
fn interval(dict: &Dict, key: &str) -> Option<Duration> {
    let seconds = u64::try_from(int(dict, key)?).ok().filter(|s| *s > 0)?;
    Some(Duration::from_secs(seconds).min(INTERVAL_MAX))
}

/// A count; a negative one is unsaid.
fn count(dict: &Dict, key: &str) -> Option<u32> {
    let n = u64::try_from(int(dict, key)?).ok()?;
    Some(u32::try_from(n).unwrap_or(u32::MAX))
}

/// `retry in`: minutes, or `never` (BEP 31). Minutes written as a string are taken too.
fn retry(dict: &Dict) -> Retry {
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
/// an address) are skipped, duplicates are not looked for.
///
/// # Errors
/// [`AnnounceFailure::Refused`] when the tracker says so, [`AnnounceFailure::Garbage`] otherwise.
pub fn parse_reply(reply: &[u8]) -> Result<AnnounceReply, AnnounceFailure> {
    let dict = answer(reply)?;
    let mut peers = Vec::new();
    match dict.get(b"peers".as_slice()) {
        None => {}
        Some(Node::Bytes(list)) => compact_peers::<4>(list, &mut peers)?,
        Some(Node::List(list)) => peers.extend(list.iter().filter_map(listed_peer)),
        Some(_) => return Err(garbage("`peers` is neither a string nor a list")),
    }
    match dict.get(b"peers6".as_slice()) {
        None => {}
        Some(Node::Bytes(list)) => compact_peers::<16>(list, &mut peers)?,
        Some(_) => return Err(garbage("`peers6` is not a string")),
    }
    peers.truncate(PEERS_MAX);
    let tracker_id = bytes(&dict, "tracker id").filter(|id| id.len() <= TRACKER_ID_BYTES_MAX);
    Ok(AnnounceReply {
        interval: interval(&dict, "interval"),
        interval_min: interval(&dict, "min interval"),
        peers,
        complete: count(&dict, "complete"),
        incomplete: count(&dict, "incomplete"),
        tracker_id: tracker_id.map(<[u8]>::to_vec),
        warning: text(&dict, "warning message"),
        external_ip: bytes(&dict, "external ip").and_then(address),
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
fn listed_peer(node: &Node) -> Option<PeerAddr> {
    let Node::Dict(peer) = node else {
        return None;
    };
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
    let Some(Node::Dict(files)) = dict.get(b"files".as_slice()) else {
        return Err(garbage("`files` is not a dictionary"));
    };
    let mut counts = BTreeMap::new();
    for (key, file) in files {
        let (Ok(hash), Node::Dict(file)) = (key.as_slice().try_into(), file) else {
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

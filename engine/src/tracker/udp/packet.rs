//! Owns the datagrams of BEP 15, both directions, as pure functions. All numbers are big-endian.
//!
//! Invariant: every length is checked before it is used, arbitrary bytes give an error and never a
//! panic, and what is written here is read back unchanged.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::ids::{InfoHash, PeerId};
use crate::tracker::announce::{
    AnnounceEvent, AnnounceReply, AnnounceRequest, INTERVAL_MAX, PEERS_MAX, PeerAddr,
    SCRAPE_TORRENTS_MAX, ScrapeCounts, TEXT_BYTES_MAX, WANTED_UNSAID,
};

/// What a connect request begins with instead of a connection id.
pub const MAGIC: u64 = 0x0417_2710_1980;

/// Bytes of a connect request.
pub const CONNECT_BYTES: usize = 16;
/// Bytes of an announce request without options.
pub const ANNOUNCE_BYTES: usize = 98;
/// Bytes of a request before the hashes of a scrape, and of an announce answer before its peers.
const HEAD_BYTES: usize = 16;
/// Bytes of an announce answer before its peers.
const ANSWER_BYTES: usize = 20;
/// Peers in one answer over IPv4: 464 bytes, which no path cuts (protocol: 508 bytes are safe).
pub const PEERS_V4_MAX: usize = 74;
/// Peers in one answer over IPv6: 1,226 bytes; the smallest IPv6 path carries 1,232 (RFC 8200).
pub const PEERS_V6_MAX: usize = 67;
/// The option that carries path and query of the tracker's URL (BEP 41).
const URL_DATA: u8 = 2;

const CONNECT: u32 = 0;
const ANNOUNCE: u32 = 1;
const SCRAPE: u32 = 2;
const ERROR: u32 = 3;

/// What a client sends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Asks for a connection id.
    Connect {
        /// Names the request in its answer.
        txid: u32,
    },
    /// Announces.
    Announce {
        /// From the answer to a connect.
        connection: u64,
        /// Names the request in its answer.
        txid: u32,
        /// What is said. UDP carries no tracker id, and the list is always compact.
        announce: AnnounceRequest,
    },
    /// Asks for counts.
    Scrape {
        /// From the answer to a connect.
        connection: u64,
        /// Names the request in its answer.
        txid: u32,
        /// At most [`SCRAPE_TORRENTS_MAX`].
        torrents: Vec<InfoHash>,
    },
}

/// What a server sends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// A connection id.
    Connect {
        /// The number of the request.
        txid: u32,
        /// To be sent back with every request.
        connection: u64,
    },
    /// The answer to an announce: interval, counts, and peers without ids.
    Announce {
        /// The number of the request.
        txid: u32,
        /// What UDP does not carry is unsaid.
        reply: AnnounceReply,
    },
    /// The answer to a scrape, in the order of its torrents.
    Scrape {
        /// The number of the request.
        txid: u32,
        /// One per torrent, at most [`SCRAPE_TORRENTS_MAX`].
        counts: Vec<ScrapeCounts>,
    },
    /// The request failed.
    Error {
        /// The number of the request.
        txid: u32,
        /// Why, for the user.
        message: String,
    },
}

impl Reply {
    /// The number of the request.
    #[must_use]
    pub fn txid(&self) -> u32 {
        match self {
            Reply::Connect { txid, .. }
            | Reply::Announce { txid, .. }
            | Reply::Scrape { txid, .. }
            | Reply::Error { txid, .. } => *txid,
        }
    }
}

/// Why a datagram is none of these.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// Too short, or not a whole number of entries.
    #[error("a datagram of a wrong length")]
    Length,
    /// A connect request with another beginning.
    #[error("a connect request without the protocol's number")]
    Magic,
    /// An unknown action.
    #[error("an unknown action")]
    Action,
}

/// Takes fixed parts off the front of a datagram.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], PacketError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(PacketError::Length)?;
        self.0 = rest;
        Ok(*head)
    }
    fn u16(&mut self) -> Result<u16, PacketError> {
        self.take().map(u16::from_be_bytes)
    }
    fn u32(&mut self) -> Result<u32, PacketError> {
        self.take().map(u32::from_be_bytes)
    }
    fn u64(&mut self) -> Result<u64, PacketError> {
        self.take().map(u64::from_be_bytes)
    }
    /// The rest as whole entries of `N` bytes.
    fn entries<const N: usize>(&self) -> Result<&[[u8; N]], PacketError> {
        let (entries, odd) = self.0.as_chunks();
        if odd.is_empty() {
            Ok(entries)
        } else {
            Err(PacketError::Length)
        }
    }
}

/// Reads the number of the request that an answer is for, before anything else of it.
///
/// # Errors
/// [`PacketError::Length`].
pub fn txid_of_reply(datagram: &[u8]) -> Result<u32, PacketError> {
    let mut reader = Reader(datagram);
    reader.u32()?;
    reader.u32()
}

/// Reads what a client sent. Bytes after an announce are options (BEP 41): they change nothing here.
/// The address in an announce is ignored: a peer is where it speaks from, or anybody could send a
/// swarm to a victim.
///
/// # Errors
/// See [`PacketError`].
pub fn parse_request(datagram: &[u8]) -> Result<Request, PacketError> {
    let mut reader = Reader(datagram);
    let (connection, action, txid) = (reader.u64()?, reader.u32()?, reader.u32()?);
    match action {
        CONNECT if connection == MAGIC => Ok(Request::Connect { txid }),
        CONNECT => Err(PacketError::Magic),
        ANNOUNCE => {
            let info_hash = InfoHash(reader.take()?);
            let peer_id = PeerId(reader.take()?);
            let (downloaded, left, uploaded) = (reader.u64()?, reader.u64()?, reader.u64()?);
            let event = match reader.u32()? {
                1 => AnnounceEvent::Completed,
                2 => AnnounceEvent::Started,
                3 => AnnounceEvent::Stopped,
                _ => AnnounceEvent::Periodic,
            };
            let (_ip, key, wanted) = (reader.u32()?, reader.u32()?, reader.u32()?);
            let port = reader.u16()?;
            Ok(Request::Announce {
                connection,
                txid,
                announce: AnnounceRequest {
                    info_hash,
                    peer_id,
                    port,
                    uploaded,
                    downloaded,
                    left,
                    event,
                    // Negative: as many as the tracker likes to give.
                    wanted: i32::try_from(wanted).map_or(WANTED_UNSAID, i32::unsigned_abs),
                    key,
                    tracker_id: None,
                    compact: true,
                },
            })
        }
        SCRAPE => {
            let hashes = reader.entries::<20>()?;
            if hashes.is_empty() || hashes.len() > SCRAPE_TORRENTS_MAX {
                return Err(PacketError::Length);
            }
            let torrents = hashes.iter().map(|hash| InfoHash(*hash)).collect();
            Ok(Request::Scrape {
                connection,
                txid,
                torrents,
            })
        }
        _ => Err(PacketError::Action),
    }
}

/// Writes what a client sends. `url_data`: path and query of the tracker's URL, which go with an
/// announce (BEP 41) when there are any.
#[must_use]
pub fn write_request(request: &Request, url_data: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(ANNOUNCE_BYTES);
    let head = |out: &mut Vec<u8>, connection: u64, action: u32, txid: u32| {
        out.extend(connection.to_be_bytes());
        out.extend(action.to_be_bytes());
        out.extend(txid.to_be_bytes());
    };
    match request {
        Request::Connect { txid } => head(&mut out, MAGIC, CONNECT, *txid),
        Request::Announce {
            connection,
            txid,
            announce,
        } => {
            head(&mut out, *connection, ANNOUNCE, *txid);
            out.extend(announce.info_hash.0);
            out.extend(announce.peer_id.0);
            out.extend(announce.downloaded.to_be_bytes());
            out.extend(announce.left.to_be_bytes());
            out.extend(announce.uploaded.to_be_bytes());
            let event: u32 = match announce.event {
                // BEP 15 has no number for a partial seed.
                AnnounceEvent::Periodic | AnnounceEvent::Paused => 0,
                AnnounceEvent::Completed => 1,
                AnnounceEvent::Started => 2,
                AnnounceEvent::Stopped => 3,
            };
            out.extend(event.to_be_bytes());
            out.extend([0; 4]);
            out.extend(announce.key.to_be_bytes());
            let wanted = i32::try_from(announce.wanted).unwrap_or(i32::MAX);
            out.extend(wanted.to_be_bytes());
            out.extend(announce.port.to_be_bytes());
            for part in url_data.as_bytes().chunks(usize::from(u8::MAX)) {
                let length = u8::try_from(part.len()).unwrap_or(u8::MAX);
                out.extend([URL_DATA, length]);
                out.extend(part);
            }
        }
        Request::Scrape {
            connection,
            txid,
            torrents,
        } => {
            head(&mut out, *connection, SCRAPE, *txid);
            for torrent in torrents.iter().take(SCRAPE_TORRENTS_MAX) {
                out.extend(torrent.0);
            }
        }
    }
    out
}

/// Reads what a server sent. `v6`: the datagram came over IPv6, so its peers have IPv6 addresses.
/// Peers with port 0 are skipped; an interval of zero or less is unsaid.
///
/// # Errors
/// See [`PacketError`].
pub fn parse_reply(datagram: &[u8], v6: bool) -> Result<Reply, PacketError> {
    let mut reader = Reader(datagram);
    let (action, txid) = (reader.u32()?, reader.u32()?);
    match action {
        CONNECT => Ok(Reply::Connect {
            txid,
            connection: reader.u64()?,
        }),
        ANNOUNCE => {
            let (interval, incomplete, complete) = (reader.u32()?, reader.u32()?, reader.u32()?);
            let peers = if v6 {
                peers::<16, 18>(&reader)?
            } else {
                peers::<4, 6>(&reader)?
            };
            let seconds = i32::try_from(interval).ok().filter(|s| *s > 0);
            let seconds = seconds.map(|s| Duration::from_secs(u64::from(s.unsigned_abs())));
            Ok(Reply::Announce {
                txid,
                reply: AnnounceReply {
                    interval: seconds.map(|s| s.min(INTERVAL_MAX)),
                    complete: Some(complete),
                    incomplete: Some(incomplete),
                    peers,
                    ..AnnounceReply::default()
                },
            })
        }
        SCRAPE => {
            let entries = reader.entries::<12>()?.iter().take(SCRAPE_TORRENTS_MAX);
            let mut counts = Vec::with_capacity(entries.len());
            for entry in entries {
                let mut entry = Reader(entry);
                counts.push(ScrapeCounts {
                    complete: entry.u32()?,
                    downloaded: entry.u32()?,
                    incomplete: entry.u32()?,
                });
            }
            Ok(Reply::Scrape { txid, counts })
        }
        ERROR => {
            let text = &reader.0[..reader.0.len().min(TEXT_BYTES_MAX)];
            let message = String::from_utf8_lossy(text).into_owned();
            Ok(Reply::Error { txid, message })
        }
        _ => Err(PacketError::Action),
    }
}

fn peers<const ADDRESS: usize, const ENTRY: usize>(
    reader: &Reader<'_>,
) -> Result<Vec<PeerAddr>, PacketError>
where
    IpAddr: From<[u8; ADDRESS]>,
{
    let entries = reader.entries::<ENTRY>()?.iter().take(PEERS_MAX);
    let mut peers = Vec::with_capacity(entries.len());
    for entry in entries {
        let mut entry = Reader(entry);
        let addr = SocketAddr::new(IpAddr::from(entry.take::<ADDRESS>()?), entry.u16()?);
        if addr.port() != 0 {
            peers.push(PeerAddr { addr, id: None });
        }
    }
    Ok(peers)
}

/// Writes what a server sends to a client at an IPv6 address (`v6`) or an IPv4 one: of the peers those
/// of the same family, at most [`PEERS_V4_MAX`] or [`PEERS_V6_MAX`].
#[must_use]
pub fn write_reply(reply: &Reply, v6: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_BYTES);
    let head = |out: &mut Vec<u8>, action: u32, txid: u32| {
        out.extend(action.to_be_bytes());
        out.extend(txid.to_be_bytes());
    };
    match reply {
        Reply::Connect { txid, connection } => {
            head(&mut out, CONNECT, *txid);
            out.extend(connection.to_be_bytes());
        }
        Reply::Announce { txid, reply } => {
            out.reserve(ANSWER_BYTES + 6 * reply.peers.len());
            head(&mut out, ANNOUNCE, *txid);
            let seconds = reply.interval.map_or(0, |interval| interval.as_secs());
            let seconds = i32::try_from(seconds).unwrap_or(i32::MAX);
            out.extend(seconds.to_be_bytes());
            out.extend(reply.incomplete.unwrap_or(0).to_be_bytes());
            out.extend(reply.complete.unwrap_or(0).to_be_bytes());
            if v6 {
                let v6 = reply.peers.iter().filter_map(|p| match p.addr.ip() {
                    IpAddr::V6(ip) => Some((Ipv6Addr::octets(&ip), p.addr.port())),
                    IpAddr::V4(_) => None,
                });
                for (ip, port) in v6.take(PEERS_V6_MAX) {
                    out.extend(ip);
                    out.extend(port.to_be_bytes());
                }
            } else {
                let v4 = reply.peers.iter().filter_map(|p| match p.addr.ip() {
                    IpAddr::V4(ip) => Some((Ipv4Addr::octets(&ip), p.addr.port())),
                    IpAddr::V6(_) => None,
                });
                for (ip, port) in v4.take(PEERS_V4_MAX) {
                    out.extend(ip);
                    out.extend(port.to_be_bytes());
                }
            }
        }
        Reply::Scrape { txid, counts } => {
            head(&mut out, SCRAPE, *txid);
            for told in counts.iter().take(SCRAPE_TORRENTS_MAX) {
                out.extend(told.complete.to_be_bytes());
                out.extend(told.downloaded.to_be_bytes());
                out.extend(told.incomplete.to_be_bytes());
            }
        }
        Reply::Error { txid, message } => {
            head(&mut out, ERROR, *txid);
            out.extend(message.bytes().take(TEXT_BYTES_MAX));
        }
    }
    out
}

#[cfg(test)]
mod tests;

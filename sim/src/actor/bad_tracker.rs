//! Owns trackers that misbehave: what a fault puts in the place of a tracker for a while. They speak raw bytes
//! over the network seam, with nothing of the engine's tracker.
//!
//! Invariant: every announce that meets one is counted, once; over UDP, where one that never answers cannot tell
//! what it would have been asked, every datagram is. What it answers depends on the fault, on the
//! stream of random numbers that it was given, and on who announced to it before, and on nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::task::{Context, Poll};

use bytes::Bytes;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use skep_engine::ConnId;
use skep_engine::node::network::{CloseHow, NetEvent, Network};

use crate::disk::condition::Firings;
use crate::network::HostNet;
use crate::scenario::plan::TrackerFault;

/// Bytes of the longest head of a request that it reads.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a huge answer: more than any list of peers that a tracker has a reason to send.
const HUGE_BYTES: usize = 16 * 1024 * 1024;
/// Peers of a list in one answer.
const PEERS_MAX: usize = 50;
/// Seconds between announces where it makes sense.
const INTERVAL: i64 = 60;
/// Intervals that make no sense, of which a host is always told the same one: none, more than a lifetime, the past,
/// one second.
const WRONG_INTERVALS: [i64; 4] = [0, i64::MAX, -1, 1];

/// Counts that make no sense.
const WRONG_COUNTS: [i64; 3] = [i64::MAX, -1, u32::MAX as i64];
/// The host that a victim's tracker names: there is nobody.
const VICTIM: Ipv4Addr = Ipv4Addr::new(10, 251, 0, 1);
/// Ports of it that one answer names.
const VICTIM_PORTS: usize = 40;

/// What a tracker that misbehaves is.
pub struct BadSetup {
    /// Its network.
    pub net: HostNet,
    /// Where it listens.
    pub listen: SocketAddr,
    /// What is wrong with it.
    pub fault: TrackerFault,
    /// The attackers of the run.
    pub attackers: Vec<SocketAddrV4>,
    /// Its stream of random numbers.
    pub rng: ChaCha8Rng,
    /// How often it misbehaved.
    pub firings: Firings,
    /// Hears of every announce, and from where it came.
    pub heard: Box<dyn Fn(SocketAddr)>,
}

/// A tracker that misbehaves.
pub struct BadTracker {
    net: HostNet,
    listen: SocketAddr,
    fault: TrackerFault,
    attackers: Vec<SocketAddrV4>,
    conns: BTreeMap<ConnId, (SocketAddr, Vec<u8>)>,
    known: BTreeSet<SocketAddrV4>,
    answers: usize,
    rng: ChaCha8Rng,
    firings: Firings,
    heard: Box<dyn Fn(SocketAddr)>,
}

impl BadTracker {
    /// A tracker that listens from now on.
    ///
    /// # Panics
    /// When its host cannot listen there: a bug in the plan.
    #[must_use]
    pub fn new(mut setup: BadSetup) -> BadTracker {
        setup
            .net
            .listen(setup.listen)
            .expect("a tracker's host listens on its own address");
        BadTracker {
            net: setup.net,
            listen: setup.listen,
            fault: setup.fault,
            attackers: setup.attackers,
            conns: BTreeMap::new(),
            known: BTreeSet::new(),
            answers: 0,
            rng: setup.rng,
            firings: setup.firings,
            heard: setup.heard,
        }
    }

    /// Misbehaves until dropped.
    pub async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Poll::Ready(event) = self.net.poll_event(cx) {
            match event {
                NetEvent::Opened { conn, from, .. } => {
                    self.conns.insert(conn, (from, Vec::new()));
                }
                NetEvent::Data { conn, data } => self.on_data(conn, &data),
                NetEvent::Closed { conn, .. } => {
                    self.conns.remove(&conn);
                }
                NetEvent::Datagram { from, data } => self.on_datagram(from, &data),
                _ => {}
            }
        }
        Poll::Pending
    }

    fn fired(&self) {
        self.firings.set(self.firings.get() + 1);
    }

    fn on_data(&mut self, conn: ConnId, data: &[u8]) {
        let Some((from, head)) = self.conns.get_mut(&conn) else {
            return;
        };
        head.extend_from_slice(data);
        let whole = head.windows(4).any(|end| end == b"\r\n\r\n");
        if !whole {
            if head.len() > HEAD_BYTES_MAX {
                self.conns.remove(&conn);
                self.net.close(conn, CloseHow::Reset);
            }
            return;
        }
        let (from, head) = (*from, std::mem::take(head));
        let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line).into_owned();
        if !line.contains("announce") {
            return;
        }
        self.fired();
        (self.heard)(from);
        if let Some(answer) = self.http_answer(from, &line) {
            self.conns.remove(&conn);
            self.net.send(conn, answer);
            self.net.close(conn, CloseHow::Finish);
        }
    }

    /// What an announce over HTTP is answered with, if anything.
    fn http_answer(&mut self, from: SocketAddr, line: &str) -> Option<Bytes> {
        self.answers += 1;
        Some(match self.fault {
            TrackerFault::Timeout | TrackerFault::Down => return None,
            TrackerFault::Http503 => http("503 Service Unavailable", "", b"try again later"),
            TrackerFault::RedirectLoop => {
                let target = line.split(' ').nth(1).unwrap_or("/announce");
                let location = format!("Location: http://{}{target}\r\n", self.listen);
                http("302 Found", &location, b"")
            }
            TrackerFault::HugeReply => {
                let mut body = format!("d8:intervali{INTERVAL}e5:peers{HUGE_BYTES}:").into_bytes();
                body.resize(body.len() + HUGE_BYTES, 0);
                body.push(b'e');
                http("200 OK", "", &body)
            }
            TrackerFault::Garbage => self.http_garbage(),
            TrackerFault::WrongInterval => {
                let interval = WRONG_INTERVALS[wrong_for(from)];
                let port = query_port(line);
                let peers = self.introduce(from, port);
                http("200 OK", "", &bencoded(interval, &peers))
            }
            TrackerFault::Empty => http("200 OK", "", &bencoded(INTERVAL, &[])),
            TrackerFault::DeadPeers => http("200 OK", "", &bencoded(INTERVAL, &nobody())),
            TrackerFault::Eclipse => http("200 OK", "", &bencoded(INTERVAL, &self.attackers)),
            TrackerFault::LiarCounts => {
                let port = query_port(line);
                let peers = bencoded(INTERVAL, &self.introduce(from, port));
                let (seeds, leechers) = self.wrong_counts();
                let counts = format!("d8:completei{seeds}e10:incompletei{leechers}e");
                http("200 OK", "", &[counts.as_bytes(), &peers[1..]].concat())
            }
            TrackerFault::Victim => {
                let port = query_port(line);
                let peers = self.with_victim(from, port);
                http("200 OK", "", &bencoded(INTERVAL, &peers))
            }
        })
    }

    fn http_garbage(&mut self) -> Bytes {
        let mut noise = [0; 256];
        self.rng.fill_bytes(&mut noise);
        match self.answers % 4 {
            0 => Bytes::copy_from_slice(&noise),
            1 => http("200 OK", "", &noise),
            // Cut off in the middle of a string.
            2 => http("200 OK", "", b"d8:intervali60e5:peers600:"),
            // Deeper than anybody should follow.
            _ => http("200 OK", "", &[b'l'; 100_000]),
        }
    }

    fn on_datagram(&mut self, from: SocketAddr, data: &Bytes) {
        let word = |at: usize| {
            let bytes = data.get(at..at + 4)?.try_into().ok()?;
            Some(u32::from_be_bytes(bytes))
        };
        let (Some(action), Some(txid)) = (word(8), word(12)) else {
            return;
        };
        let txid = txid.to_be_bytes();
        let announce = action == 1;
        if announce {
            (self.heard)(from);
        }
        if self.fault == TrackerFault::Timeout || announce || self.fault == TrackerFault::Garbage {
            self.fired();
        }
        let answer = match (self.fault, announce) {
            (TrackerFault::Timeout | TrackerFault::Down, _) => return,
            (TrackerFault::Garbage, _) => self.udp_garbage(txid, action),
            // Any connection is as good as any other.
            (_, false) => [&0_u32.to_be_bytes()[..], &txid, &[7; 8]].concat(),
            (TrackerFault::WrongInterval, true) => {
                let wrong = [0, u32::MAX, 1 << 31, 1][wrong_for(from)];
                let peers = self.introduce(from, datagram_port(data));
                announced(txid, wrong, (0, 0), &peers)
            }
            (TrackerFault::DeadPeers, true) => announced(txid, 60, (0, 0), &nobody()),
            (TrackerFault::Eclipse, true) => announced(txid, 60, (0, 0), &self.attackers),
            (TrackerFault::LiarCounts, true) => {
                self.answers += 1;
                let peers = self.introduce(from, datagram_port(data));
                let (seeds, leechers) = self.wrong_counts();
                let counts = (seeds as u32, leechers as u32);
                announced(txid, 60, counts, &peers)
            }
            (TrackerFault::Victim, true) => {
                self.answers += 1;
                let peers = self.with_victim(from, datagram_port(data));
                announced(txid, 60, (0, 0), &peers)
            }
            (_, true) => announced(txid, 60, (0, 0), &[]),
        };
        self.net.send_to(from, answer.into());
    }

    fn udp_garbage(&mut self, txid: [u8; 4], action: u32) -> Vec<u8> {
        self.answers += 1;
        let mut noise = [0; 64];
        self.rng.fill_bytes(&mut noise);
        match self.answers % 3 {
            0 => noise.to_vec(),
            // The right answer's beginning.
            1 => [&action.to_be_bytes()[..], &txid, &noise[..3]].concat(),
            // An action that there is not.
            _ => [&99_u32.to_be_bytes()[..], &txid, &noise].concat(),
        }
    }

    /// Remembers who announces, and names the others.
    fn introduce(&mut self, from: SocketAddr, port: Option<u16>) -> Vec<SocketAddrV4> {
        let (IpAddr::V4(ip), Some(port)) = (from.ip(), port) else {
            return Vec::new();
        };
        let us = SocketAddrV4::new(ip, port);
        self.known.insert(us);
        let others = self.known.iter().filter(|peer| **peer != us);
        others.take(PEERS_MAX).copied().collect()
    }

    /// The same, and the victim: on ports that no answer has named before, as long as there are some.
    fn with_victim(&mut self, from: SocketAddr, port: Option<u16>) -> Vec<SocketAddrV4> {
        let mut peers = self.introduce(from, port);
        let first = self.answers * VICTIM_PORTS;
        let ports = (first..first + VICTIM_PORTS).map(|n| 1024 + (n % 64_000) as u16);
        peers.extend(ports.map(|port| SocketAddrV4::new(VICTIM, port)));
        peers
    }

    /// Seeds and leechers that there are not.
    fn wrong_counts(&self) -> (i64, i64) {
        let count = |n: usize| WRONG_COUNTS[n % WRONG_COUNTS.len()];
        (count(self.answers), count(self.answers + 1))
    }
}

fn http(status: &str, fields: &str, body: &[u8]) -> Bytes {
    let head = format!(
        "HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat().into()
}

/// Which of the wrong intervals a host is told.
fn wrong_for(from: SocketAddr) -> usize {
    let IpAddr::V4(ip) = from.ip() else { return 0 };
    usize::from(ip.octets()[3]) % WRONG_INTERVALS.len()
}

/// The port that an announce over HTTP names.
fn query_port(line: &str) -> Option<u16> {
    let query = line.split(['?', ' ']).nth(2)?;
    let port = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("port="))?;
    port.parse().ok()
}

/// The port that an announce over UDP names.
fn datagram_port(data: &[u8]) -> Option<u16> {
    let port = data.get(96..98)?;
    Some(u16::from_be_bytes([port[0], port[1]]))
}

fn compact(peers: &[SocketAddrV4]) -> Vec<u8> {
    let one = |peer: &SocketAddrV4| [&peer.ip().octets()[..], &peer.port().to_be_bytes()].concat();
    peers.iter().flat_map(one).collect()
}

fn bencoded(interval: i64, peers: &[SocketAddrV4]) -> Vec<u8> {
    let peers = compact(peers);
    let head = format!("d8:intervali{interval}e5:peers{}:", peers.len());
    [head.as_bytes(), &peers, b"e"].concat()
}

/// `counts`: seeds and leechers.
fn announced(txid: [u8; 4], interval: u32, counts: (u32, u32), peers: &[SocketAddrV4]) -> Vec<u8> {
    let head = [
        1_u32.to_be_bytes(),
        txid,
        interval.to_be_bytes(),
        counts.1.to_be_bytes(),
        counts.0.to_be_bytes(),
    ];
    [head.concat(), compact(peers)].concat()
}

/// Peers that do not exist.
fn nobody() -> Vec<SocketAddrV4> {
    let nobody = |n: u8| SocketAddrV4::new(Ipv4Addr::new(10, 250, 0, n), 6881);
    (1..=50).map(nobody).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_engine::tracker::http::parse_reply;
    use skep_engine::tracker::udp::packet::{self, Reply};

    #[test]
    fn what_claims_to_be_an_answer_is_one_for_the_engine_too() {
        let peer = SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 9), 6881);
        let reply = parse_reply(&bencoded(60, &[peer])).expect("an answer");
        assert_eq!(reply.peers[0].addr, SocketAddr::V4(peer));
        let datagram = announced([0, 0, 0, 5], 60, (7, 9), &[peer]);
        let reply = packet::parse_reply(&datagram, false).expect("an answer");
        let Reply::Announce { txid: 5, reply } = reply else {
            panic!("{reply:?}");
        };
        assert_eq!(reply.peers[0].addr, SocketAddr::V4(peer));
        assert_eq!((reply.complete, reply.incomplete), (Some(7), Some(9)));
    }

    #[test]
    fn the_port_of_an_announce_is_found() {
        let line = "GET /announce?info_hash=%01&port=6881&left=0 HTTP/1.1";
        assert_eq!(query_port(line), Some(6881));
        assert_eq!(query_port("GET /announce HTTP/1.1"), None);
    }
}

//! Owns what attackers that play a file server share: a host that listens, reads the heads of requests and
//! sends raw bytes, without anything of the engine's file server.
//!
//! Invariant: what an attacker is told to answer goes out as it is; the bytes of bodies are told to the
//! observer, so that they can be accounted for.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use bytes::Bytes;
use skep_engine::direct::path::parse_path;
use skep_engine::node::network::{CloseHow, NetEvent, Network};
use skep_engine::{ConnId, Now};
use tokio::time::Instant;

use super::AttackObserver;
use crate::network::HostNet;
use crate::scenario::plan::AttackPlan;
use crate::trace::Attack;

/// Bytes of the longest head that it reads.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a body that are handed to the network, and told, at once.
const CHUNK: usize = 64 * 1024;

/// What a client asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RawRequest {
    /// The parts of the path.
    pub path: Vec<String>,
    /// HEAD: no body may follow.
    pub head_only: bool,
    /// First byte of the range and the last, if it has one.
    pub range: Option<(u64, Option<u64>)>,
}

/// What it gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RawAnswer {
    /// Status line and fields, without the empty line.
    pub head: String,
    /// The body, whatever the head says of it.
    pub body: Bytes,
    /// The connection is closed behind it.
    pub close: bool,
}

/// An attack on those who ask for files.
pub trait ServerAttack {
    /// Answers a request; `active`: between the attack's `from` and `until`. The second: it did harm.
    fn answer(&mut self, request: &RawRequest, active: bool) -> (RawAnswer, bool);
}

/// An attacker's host.
pub struct RawServer {
    net: HostNet,
    attack: Box<dyn ServerAttack>,
    plan: AttackPlan,
    conns: BTreeMap<ConnId, (SocketAddr, Vec<u8>)>,
    epoch: Instant,
    observer: AttackObserver,
}

impl RawServer {
    /// An attacker that listens from now on.
    ///
    /// # Panics
    /// When its host cannot listen: a bug in the plan.
    #[must_use]
    pub fn new(
        mut net: HostNet,
        listen: SocketAddr,
        attack: Box<dyn ServerAttack>,
        plan: AttackPlan,
        epoch: Instant,
        observer: AttackObserver,
    ) -> RawServer {
        net.listen(listen)
            .expect("an attacker's host listens on its own address");
        RawServer {
            net,
            attack,
            plan,
            conns: BTreeMap::new(),
            epoch,
            observer,
        }
    }

    /// Attacks until dropped.
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
                _ => {}
            }
        }
        Poll::Pending
    }

    fn on_data(&mut self, conn: ConnId, data: &[u8]) {
        let now = Now::START.after(Instant::now().duration_since(self.epoch));
        let active = (self.plan.from..self.plan.until).contains(&now);
        let Some((to, unread)) = self.conns.get_mut(&conn) else {
            return;
        };
        let to = *to;
        unread.extend_from_slice(data);
        let mut over = unread.len() > HEAD_BYTES_MAX;
        while !over {
            let Some((_, unread)) = self.conns.get_mut(&conn) else {
                return;
            };
            let Some(end) = unread.windows(4).position(|w| w == b"\r\n\r\n") else {
                return;
            };
            let head: Vec<u8> = unread.drain(..end + 4).collect();
            let Some(request) = request(&String::from_utf8_lossy(&head)) else {
                over = true;
                continue;
            };
            let (mut answer, acted) = self.attack.answer(&request, active);
            if acted {
                (self.observer)(Attack::Acted);
            }
            if request.head_only {
                answer.body.clear();
            }
            let head = format!("{}\r\n\r\n", answer.head.replace('\n', "\r\n"));
            self.net.send(conn, Bytes::from(head));
            while !answer.body.is_empty() {
                let chunk = answer.body.split_to(CHUNK.min(answer.body.len()));
                let len = u32::try_from(chunk.len()).expect("a chunk is small");
                (self.observer)(Attack::Sent { to, len });
                self.net.send(conn, chunk);
            }
            over = answer.close;
        }
        self.conns.remove(&conn);
        self.net.close(conn, CloseHow::Finish);
    }
}

/// Reads a head; `None` when it is none that a client of ours makes.
fn request(head: &str) -> Option<RawRequest> {
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let head_only = match first.next()? {
        "GET" => false,
        "HEAD" => true,
        _ => return None,
    };
    let path = parse_path(first.next()?)?.parts;
    let range = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let bytes = value.trim().strip_prefix("bytes=")?;
        let (from, to) = bytes.split_once('-')?;
        name.eq_ignore_ascii_case("range")
            .then(|| Some((from.parse().ok()?, to.parse().ok())))?
    });
    Some(RawRequest {
        path,
        head_only,
        range,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read() {
        let read = |range| {
            Some(RawRequest {
                path: vec!["a b".to_owned(), "c".to_owned()],
                head_only: false,
                range,
            })
        };
        let head = |range: &str| {
            request(&format!(
                "GET /a%20b/c HTTP/1.1\r\nHost: x\r\n{range}\r\n\r\n"
            ))
        };
        assert_eq!(head("x: y"), read(None));
        assert_eq!(head("Range: bytes=5-"), read(Some((5, None))));
        assert_eq!(head("range: bytes=5-9"), read(Some((5, Some(9)))));
        assert_eq!(request("POST / HTTP/1.1\r\n\r\n"), None);
    }
}

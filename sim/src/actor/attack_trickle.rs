//! Owns the attack `trickle`: claims everything, unchokes everybody, and delivers as slowly as it can
//! without being silent: to every second neighbour one byte of a block per second, to the others one whole
//! block shortly before a request times out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use skep_engine::wire::Message;
use skep_engine::{ConnId, Now};

use super::parts::{Requests, everything, true_block};
use super::raw::{Attacker, Habits, RawIo};
use crate::content::Content;
use crate::trace::Attack;

/// How long a request waits for its block: a client that has no measure yet waits for 45 s
/// (`request_timeout_max`), and this is what it measures.
const PATIENCE: Duration = Duration::from_secs(43);

/// How one neighbour is served.
enum Drip {
    /// A byte at a time: what is left of a message, and the payload that it carries.
    Bytes(Bytes, u32),
    /// A block at a time, the last one then.
    Blocks(Now),
}

/// The attacker. Outside its time it serves like anybody.
pub(super) struct Trickle {
    content: Arc<Content>,
    requests: Requests,
    drips: BTreeMap<ConnId, Drip>,
    /// Connections so far.
    opened: u64,
}

impl Trickle {
    pub(super) fn new(content: Arc<Content>) -> Trickle {
        Trickle {
            content,
            requests: Requests::default(),
            drips: BTreeMap::new(),
            opened: 0,
        }
    }

    /// Serves everything that was asked for, after the rest of what was begun.
    fn serve_all(&mut self, io: &mut RawIo, conn: ConnId) {
        if let Some(Drip::Bytes(rest, len)) = self.drips.get_mut(&conn)
            && rest.has_remaining()
        {
            io.tell_sent(conn, *len);
            io.send_bytes(conn, std::mem::take(rest));
        }
        while let Some(range) = self.requests.next(conn) {
            let block = true_block(&self.content, range).expect("kept because it is there");
            io.send(conn, &block);
        }
    }

    fn drip(&mut self, io: &mut RawIo, conn: ConnId) {
        let now = io.now();
        match self.drips.get_mut(&conn).expect("the caller found it") {
            Drip::Bytes(rest, len) => {
                if !rest.has_remaining() {
                    let Some(range) = self.requests.next(conn) else {
                        return;
                    };
                    let block = true_block(&self.content, range);
                    let mut whole = BytesMut::new();
                    let data = block.and_then(|block| block.encode_head(&mut whole));
                    whole.extend_from_slice(&data.expect("a block is payload"));
                    (*rest, *len) = (whole.freeze(), range.len);
                }
                let byte = rest.split_to(1);
                if !rest.has_remaining() {
                    io.tell_sent(conn, *len);
                }
                io.send_bytes(conn, byte);
            }
            Drip::Blocks(last) => {
                let Some((_, asked)) = self.requests.oldest(conn) else {
                    return;
                };
                if asked.max(*last).after(PATIENCE) > now {
                    return;
                }
                *last = now;
                let range = self.requests.next(conn).expect("just seen");
                let block = true_block(&self.content, range).expect("kept because it is there");
                io.send(conn, &block);
            }
        }
        io.tell(Attack::Acted);
    }
}

impl Attacker for Trickle {
    fn claims_complete(&self) -> bool {
        true
    }

    fn on_open(&mut self, io: &mut RawIo, conn: ConnId) {
        let drip = match self.opened % 2 {
            0 => Drip::Bytes(Bytes::new(), 0),
            _ => Drip::Blocks(Now::START),
        };
        self.opened += 1;
        self.drips.insert(conn, drip);
        io.send(conn, &Message::Bitfield(everything(&self.content)));
        // At once: later it might be in the middle of a block.
        io.send(conn, &Message::Unchoke);
    }

    fn on_message(&mut self, io: &mut RawIo, conn: ConnId, message: Message) {
        match message {
            Message::Request(range) => {
                self.requests.add(conn, range, &self.content, io.now());
                if !io.active() {
                    self.serve_all(io, conn);
                }
            }
            Message::Cancel(range) => self.requests.cancel(conn, range),
            _ => {}
        }
    }

    fn on_gone(&mut self, _io: &mut RawIo, conn: ConnId) {
        self.drips.remove(&conn);
        self.requests.clear(conn);
    }

    fn habits(&self) -> Habits {
        Habits {
            tick: Duration::from_secs(1),
            ..Habits::default()
        }
    }

    fn on_tick(&mut self, io: &mut RawIo) {
        let conns: Vec<ConnId> = self.drips.keys().copied().collect();
        for conn in conns {
            match io.active() {
                true => self.drip(io, conn),
                false => self.serve_all(io, conn),
            }
        }
    }
}

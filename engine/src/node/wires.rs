//! Owns the bytes of a host's peer connections: cuts what arrives into handshakes and messages, and
//! gathers what leaves.
//!
//! Invariants: what is sent to one connection leaves in that order, small messages of one wake-up
//! as one write; a block is never copied here; nothing is told of a connection that was closed.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;

use crate::ids::ConnId;
use crate::session::torrent::{Input, Output};
use crate::wire::{Decoder, Handshake, Message};

use super::network::{CloseHow, NetEvent, Network};

/// The longest buffer that is kept for the next connection with something to send.
const SPARE_BYTES_MAX: usize = 4096;

/// The peer connections of one host.
#[derive(Debug)]
pub(super) struct Wires {
    bitfield_bytes: u32,
    extended_bytes_max: u64,
    conns: Vec<Option<Conn>>,
    /// Connections with bytes that wait for the end of this wake-up.
    unsent: Vec<ConnId>,
    /// Buffers that no connection uses now.
    spare: Vec<Vec<u8>>,
    dials: BTreeMap<SocketAddr, ConnId>,
    dial_addrs: BTreeMap<ConnId, SocketAddr>,
    /// Messages that came; a handshake is none.
    pub(super) messages: Rc<Cell<u64>>,
}

/// One connection.
#[derive(Debug)]
struct Conn {
    id: ConnId,
    decoder: Decoder,
    greeted: bool,
    /// Small messages that wait; it has no memory while there are none.
    out: Vec<u8>,
}

impl Wires {
    /// No connections. The sizes bound what is taken for a message.
    pub fn new(bitfield_bytes: u32, extended_bytes_max: u64) -> Wires {
        Wires {
            bitfield_bytes,
            extended_bytes_max,
            conns: Vec::new(),
            unsent: Vec::new(),
            spare: Vec::new(),
            dials: BTreeMap::new(),
            dial_addrs: BTreeMap::new(),
            messages: Rc::default(),
        }
    }

    /// Takes an event of the network. Returns what it means to the session; after
    /// [`NetEvent::Data`] ask [`Wires::next_input`] until it has nothing more.
    pub fn on_event(&mut self, event: NetEvent) -> Option<Input> {
        match event {
            NetEvent::Opened {
                conn,
                from,
                inbound,
            } => {
                self.forget_dial(conn);
                let slot = conn.slot as usize;
                if self.conns.len() <= slot {
                    self.conns.resize_with(slot + 1, || None);
                }
                self.conns[slot] = Some(Conn {
                    id: conn,
                    decoder: Decoder::new(self.bitfield_bytes, self.extended_bytes_max),
                    greeted: false,
                    out: Vec::new(),
                });
                Some(Input::Connected {
                    conn,
                    addr: from,
                    inbound,
                })
            }
            NetEvent::Failed { conn, .. } => {
                let addr = self.forget_dial(conn)?;
                Some(Input::ConnectFailed { addr })
            }
            NetEvent::Data { conn, data } => {
                self.conn(conn)?.decoder.push(data);
                self.next_input(conn)
            }
            NetEvent::Room { conn, queued } => {
                self.conn(conn)?;
                Some(Input::SendRoom { conn, queued })
            }
            NetEvent::Closed { conn, .. } => {
                self.conn(conn)?;
                self.conns[conn.slot as usize] = None;
                Some(Input::Gone { conn })
            }
            // Peers send none; a tracker's are taken before.
            NetEvent::Datagram { .. } => None,
        }
    }

    /// The next handshake or message among the bytes that a connection sent; nothing once it is
    /// closed, which the session may do after any of them.
    pub fn next_input(&mut self, conn: ConnId) -> Option<Input> {
        let found = self.conn(conn)?;
        Some(if found.greeted {
            match found.decoder.next_message() {
                Ok(message) => {
                    let message = message?;
                    self.messages.set(self.messages.get() + 1);
                    Input::Message { conn, message }
                }
                Err(error) => Input::WireError { conn, error },
            }
        } else {
            match found.decoder.next_handshake() {
                Ok(handshake) => {
                    let handshake = handshake?;
                    found.greeted = true;
                    Input::Handshake { conn, handshake }
                }
                Err(error) => Input::WireError { conn, error },
            }
        })
    }

    /// Carries out what a session decided of its connections; gives anything else back.
    pub fn carry_out<N: Network>(&mut self, output: Output, net: &mut N) -> Option<Output> {
        match output {
            Output::Handshake { conn, handshake } => self.greet(conn, &handshake),
            Output::Send { conn, message } => self.send(conn, &message, net),
            Output::Connect { addr } => {
                let conn = net.connect(addr);
                self.dials.insert(addr, conn);
                self.dial_addrs.insert(conn, addr);
            }
            Output::Abandon { addr } => {
                if let Some(conn) = self.dials.remove(&addr) {
                    self.dial_addrs.remove(&conn);
                    net.close(conn, CloseHow::Reset);
                }
            }
            Output::Close { conn } => {
                self.flush(conn, net);
                if self.conn(conn).is_some() {
                    self.conns[conn.slot as usize] = None;
                    net.close(conn, CloseHow::Finish);
                }
            }
            other => return Some(other),
        }
        None
    }

    /// Writes what this wake-up gathered.
    pub fn flush_all<N: Network>(&mut self, net: &mut N) {
        let mut unsent = std::mem::take(&mut self.unsent);
        for conn in unsent.drain(..) {
            self.flush(conn, net);
        }
        self.unsent = unsent;
    }

    fn greet(&mut self, conn: ConnId, handshake: &Handshake) {
        if let Some(found) = self.conn(conn) {
            found.out.extend_from_slice(&handshake.encode());
            self.unsent.push(conn);
        }
    }

    fn send<N: Network>(&mut self, conn: ConnId, message: &Message, net: &mut N) {
        let Some(found) = found(&mut self.conns, conn) else {
            return;
        };
        if found.out.is_empty() {
            self.unsent.push(conn);
            found.out = self.spare.pop().unwrap_or_default();
        }
        if let Some(block) = message.encode_head(&mut found.out) {
            self.flush(conn, net);
            net.send(conn, block);
        }
    }

    fn flush<N: Network>(&mut self, conn: ConnId, net: &mut N) {
        if let Some(found) = found(&mut self.conns, conn)
            && !found.out.is_empty()
        {
            let mut out = std::mem::take(&mut found.out);
            net.send(conn, Bytes::copy_from_slice(&out));
            // A bitfield may have been among it, which is long.
            if out.capacity() <= SPARE_BYTES_MAX {
                out.clear();
                self.spare.push(out);
            }
        }
    }

    fn conn(&mut self, id: ConnId) -> Option<&mut Conn> {
        found(&mut self.conns, id)
    }

    fn forget_dial(&mut self, conn: ConnId) -> Option<SocketAddr> {
        let addr = self.dial_addrs.remove(&conn)?;
        self.dials.remove(&addr);
        Some(addr)
    }
}

/// The connection with this id, while it stands.
fn found(conns: &mut [Option<Conn>], id: ConnId) -> Option<&mut Conn> {
    let conn = conns.get_mut(id.slot as usize)?.as_mut();
    conn.filter(|conn| conn.id == id)
}

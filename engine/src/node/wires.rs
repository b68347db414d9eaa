//! Owns the bytes of a host's peer connections: cuts what arrives into handshakes and messages, and
//! gathers what leaves.
//!
//! Invariants: what is sent to one connection leaves in that order, small messages of one wake-up
//! as one write; a block is never copied here; nothing is told of a connection that was closed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::rc::Rc;

use bytes::Bytes;

use crate::ids::ConnId;
use crate::session::torrent::{Input, Output};
use crate::wire::{Chunk, Decoder, Handshake, Message, MessageCounts};

use super::network::{CloseHow, NetEvent, Network};

/// Messages of so many bytes are gathered without memory of their own: four requests, eight haves.
const SMALL_MAX: usize = 72;

/// The peer connections of one host.
#[derive(Debug)]
pub(super) struct Wires {
    bitfield_bytes: u32,
    extended_bytes_max: u64,
    conns: Vec<Option<Conn>>,
    /// What waits for the end of this wake-up, and on which connection.
    unsent: Unsent,
    dials: BTreeMap<SocketAddr, ConnId>,
    dial_addrs: BTreeMap<ConnId, SocketAddr>,
    /// The most bytes of a connection that were no message yet.
    pub(super) undecoded_max: u64,
    /// Messages that came; a handshake is none.
    pub(super) messages: Rc<MessageCounts>,
}

/// One connection; it fills one cache line.
#[derive(Debug)]
#[repr(align(64))]
struct Conn {
    decoder: Decoder,
    generation: u32,
    /// Where in `unsent` its messages wait.
    unsent: Option<NonZeroU32>,
    greeted: bool,
}

/// What waits for the end of a wake-up.
pub(super) type Unsent = Vec<(ConnId, Gathered)>;

/// Messages of one connection that wait.
#[derive(Debug)]
pub(super) enum Gathered {
    Small { len: u8, bytes: [u8; SMALL_MAX] },
    Many(Vec<u8>),
}

impl Gathered {
    const NOTHING: Gathered = Gathered::Small {
        len: 0,
        bytes: [0; SMALL_MAX],
    };

    fn bytes(&self) -> &[u8] {
        match self {
            Gathered::Small { len, bytes } => &bytes[..usize::from(*len)],
            Gathered::Many(bytes) => bytes,
        }
    }

    /// Appends a message but for a block's data, which is returned.
    fn push(&mut self, message: &Message) -> Option<Bytes> {
        if let Gathered::Small { len, bytes } = self {
            let mut room = &mut bytes[usize::from(*len)..];
            let before = room.len();
            if message.head_len() <= before as u64 {
                let block = message.encode_head(&mut room);
                *len += u8::try_from(before - room.len()).expect("at most SMALL_MAX");
                return block;
            }
        }
        message.encode_head(self.many())
    }

    /// As a buffer that takes any number of bytes.
    fn many(&mut self) -> &mut Vec<u8> {
        if let Gathered::Small { .. } = self {
            *self = Gathered::Many(self.bytes().to_vec());
        }
        match self {
            Gathered::Many(bytes) => bytes,
            Gathered::Small { .. } => unreachable!("just made one"),
        }
    }
}

impl Wires {
    /// No connections. The sizes bound what is taken for a message.
    pub fn new(bitfield_bytes: u32, extended_bytes_max: u64) -> Wires {
        Wires {
            bitfield_bytes,
            extended_bytes_max,
            conns: Vec::new(),
            unsent: Vec::new(),
            dials: BTreeMap::new(),
            dial_addrs: BTreeMap::new(),
            undecoded_max: 0,
            messages: Rc::default(),
        }
    }

    /// Where the connections lie.
    pub fn address(&self) -> usize {
        self.conns.as_ptr().addr()
    }

    /// Asks for memory in which what comes from a connection waits.
    pub fn prefetch_of(&self, conn: ConnId) {
        if let Some(Some(conn)) = self.conns.get(conn.slot as usize) {
            conn.decoder.prefetch();
        }
    }

    /// Takes another list for what waits; whoever lends it does so between wake-ups.
    pub fn swap_unsent(&mut self, unsent: &mut Unsent) {
        std::mem::swap(&mut self.unsent, unsent);
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
                    decoder: Decoder::new(self.bitfield_bytes, self.extended_bytes_max),
                    generation: conn.generation,
                    unsent: None,
                    greeted: false,
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
                let decoder = &mut self.conn(conn)?.decoder;
                decoder.push(data);
                let undecoded = decoder.buffered() as u64;
                self.undecoded_max = self.undecoded_max.max(undecoded);
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
                    self.messages.note(&message);
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
        if self.unsent.len() > 2 {
            net.prefetch_sends(self.unsent.iter().map(|(conn, _)| *conn));
        }
        for at in 0..self.unsent.len() {
            self.flush(self.unsent[at].0, net);
        }
        self.unsent.clear();
    }

    fn greet(&mut self, conn: ConnId, handshake: &Handshake) {
        if let Some(gathered) = self.gathered(conn) {
            gathered.many().extend_from_slice(&handshake.encode());
        }
    }

    /// Where what is sent on this connection waits, while it stands.
    fn gathered(&mut self, conn: ConnId) -> Option<&mut Gathered> {
        let found = found(&mut self.conns, conn)?;
        let at = match found.unsent {
            Some(behind) => behind.get() as usize - 1,
            None => {
                self.unsent.push((conn, Gathered::NOTHING));
                let behind = u32::try_from(self.unsent.len()).expect("one per connection");
                found.unsent = NonZeroU32::new(behind);
                self.unsent.len() - 1
            }
        };
        Some(&mut self.unsent[at].1)
    }

    fn send<N: Network>(&mut self, conn: ConnId, message: &Message, net: &mut N) {
        let Some(gathered) = self.gathered(conn) else {
            return;
        };
        if let Some(block) = gathered.push(message)
            && let Some(head) = self.take_gathered(conn)
        {
            net.send_both(conn, head, block);
        }
    }

    fn flush<N: Network>(&mut self, conn: ConnId, net: &mut N) {
        if let Some(gathered) = self.take_gathered(conn) {
            net.send(conn, gathered);
        }
    }

    fn take_gathered(&mut self, conn: ConnId) -> Option<Chunk> {
        let behind = found(&mut self.conns, conn)?.unsent.take()?;
        let gathered = &mut self.unsent[behind.get() as usize - 1].1;
        Some(match std::mem::replace(gathered, Gathered::NOTHING) {
            Gathered::Many(bytes) => Bytes::from(bytes).into(),
            small => Chunk::copy(small.bytes()),
        })
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
    conn.filter(|conn| conn.generation == id.generation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{BLOCK_BYTES, PieceIndex};
    use crate::node::stream::fake::{FakeNet, addr, pair};
    use std::task::{Context, Poll, Waker};

    #[test]
    fn a_connection_fills_one_cache_line() {
        assert_eq!(size_of::<Option<Conn>>(), 64);
    }

    fn events(net: &mut FakeNet) -> Vec<NetEvent> {
        let mut cx = Context::from_waker(Waker::noop());
        let next = || match net.poll_event(&mut cx) {
            Poll::Ready(event) => Some(event),
            Poll::Pending => None,
        };
        std::iter::from_fn(next).collect()
    }

    /// Bytes of each write that arrived.
    fn writes(net: &mut FakeNet) -> Vec<usize> {
        let data = |event| match event {
            NetEvent::Data { data, .. } => Some(data.len()),
            _ => None,
        };
        events(net).into_iter().filter_map(data).collect()
    }

    #[test]
    fn messages_of_one_wake_up_are_one_write_and_a_block_goes_with_what_is_before_it() {
        let (mut near, mut far) = pair();
        far.listen(addr(1, 5)).expect("the port is free");
        let conn = near.connect(addr(1, 5));
        let mut wires = Wires::new(8, 1000);
        for event in events(&mut near) {
            wires.on_event(event);
        }
        let have = |piece| Message::Have(PieceIndex(piece));
        let block = || Message::Piece {
            piece: PieceIndex(0),
            begin: 0,
            data: Bytes::from(vec![0; BLOCK_BYTES as usize]),
        };
        let send = |wires: &mut Wires, near: &mut FakeNet, message| {
            wires.carry_out(Output::Send { conn, message }, near);
        };
        (0..2).for_each(|piece| send(&mut wires, &mut near, have(piece)));
        assert_eq!(writes(&mut far), []);
        wires.flush_all(&mut near);
        assert_eq!(writes(&mut far), [18]);
        // More than lies in the list itself.
        (0..9).for_each(|piece| send(&mut wires, &mut near, have(piece)));
        send(&mut wires, &mut near, block());
        send(&mut wires, &mut near, block());
        send(&mut wires, &mut near, have(0));
        let block = BLOCK_BYTES as usize;
        assert_eq!(writes(&mut far), [81 + 13, block, 13, block]);
        wires.flush_all(&mut near);
        wires.flush_all(&mut near);
        assert_eq!(writes(&mut far), [9]);
        // What is said before a connection is closed is said.
        send(&mut wires, &mut near, have(0));
        wires.carry_out(Output::Close { conn }, &mut near);
        send(&mut wires, &mut near, have(0));
        wires.flush_all(&mut near);
        assert_eq!(writes(&mut far), [9]);
    }
}

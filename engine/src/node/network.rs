//! Owns the seam between a host and its network.
//!
//! Invariant: a network is a mailbox. Commands return at once; everything that happens comes back
//! through [`Network::poll_event`], in the order in which it happened on each connection.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::time::Instant;

use super::whereabouts::{ASKS_MIN, Whereabouts};
use crate::ids::ConnId;
use crate::wire::Chunk;

/// How a connection is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum CloseHow {
    /// What was sent before is still delivered.
    Finish,
    /// At once; what was not yet sent is dropped.
    Reset,
}

/// Why a connection could not be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nobody listens there, or the backlog is full.
    Refused,
    /// No answer.
    Unreachable,
}

/// How a connection ended, seen from this end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Closed {
    /// The other end finished.
    ByPeer,
    /// Reset by the other end or on the way.
    Reset,
}

/// What happened on a host's network.
#[derive(Debug)]
pub enum NetEvent {
    /// A connection stands: the answer to [`Network::connect`], or one from outside.
    Opened {
        /// The connection.
        conn: ConnId,
        /// The other end.
        from: SocketAddr,
        /// True when the other end opened it.
        inbound: bool,
    },
    /// The answer to [`Network::connect`] that nobody wants. The id is free again.
    Failed {
        /// The connection that did not come to be.
        conn: ConnId,
        /// Why.
        why: ConnectError,
    },
    /// Bytes, in order, cut anywhere.
    Data {
        /// The connection.
        conn: ConnId,
        /// At least one byte.
        data: Chunk,
    },
    /// The send queue drained. While much is left in it, told perhaps only with what comes next.
    Room {
        /// The connection.
        conn: ConnId,
        /// Bytes still waiting in it.
        queued: u64,
    },
    /// The connection is gone and its id free again. Not sent after [`Network::close`].
    Closed {
        /// The connection.
        conn: ConnId,
        /// How.
        how: Closed,
    },
    /// One datagram.
    Datagram {
        /// Its sender.
        from: SocketAddr,
        /// Its payload.
        data: Bytes,
    },
}

/// What waits for a host.
#[derive(Clone, Copy, Debug)]
pub enum Coming<'a> {
    /// [`NetEvent::Data`].
    Data(&'a Chunk),
    /// [`NetEvent::Room`].
    Room,
}

impl Coming<'_> {
    /// Whether it brings a block, or may ask for one; what is shorter is mostly news.
    #[must_use]
    pub fn is_of_blocks(self) -> bool {
        match self {
            Coming::Data(bytes) => bytes.len() >= ASKS_MIN,
            Coming::Room => true,
        }
    }
}

/// A name that is being resolved.
pub type Resolving = Pin<Box<dyn Future<Output = io::Result<SocketAddr>>>>;

/// The network of one host. Real: `tokio::net` behind [`super::real`]. Simulated: outside this crate.
pub trait Network {
    /// Listens for connections and, where it can, datagrams; port 0 takes any free one. Returns where.
    ///
    /// # Errors
    /// When the address is taken or not this host's.
    fn listen(&mut self, at: SocketAddr) -> io::Result<SocketAddr>;

    /// Whether datagrams arrive at an address that [`Network::listen`] returned. A real port may be
    /// taken for datagrams though it is free for connections.
    fn hears_datagrams(&self, _at: SocketAddr) -> bool {
        true
    }

    /// Opens a connection. The answer is [`NetEvent::Opened`] or [`NetEvent::Failed`].
    fn connect(&mut self, to: SocketAddr) -> ConnId;

    /// Queues bytes. The caller bounds what it queues by [`NetEvent::Room`], which follows
    /// whenever the queue drained. Bytes for a connection that is gone are dropped.
    fn send(&mut self, conn: ConnId, data: impl Into<Chunk>);

    /// Queues bytes that belong together, as a block and what is before it: as [`Network::send`] does of both.
    fn send_both(&mut self, conn: ConnId, head: impl Into<Chunk>, body: impl Into<Chunk>) {
        self.send(conn, head);
        self.send(conn, body);
    }

    /// Closes a connection; no further event names it.
    fn close(&mut self, conn: ConnId, how: CloseHow);

    /// Sends one datagram; it may be lost.
    fn send_to(&mut self, to: SocketAddr, datagram: Bytes);

    /// The moment now, by the clock of this host. Who knows that the clock has not moved need not ask it.
    fn now(&mut self) -> Instant {
        Instant::now()
    }

    /// Where the host lies from now on: a network that knows what is about to happen to it may ask for its memory
    /// before; see [`crate::prefetch`].
    fn lies_at(&mut self, _host: Whereabouts) {}

    /// Names what waits for this host, in order; a network that cannot know names nothing.
    fn expected(&self, _each: impl FnMut(ConnId, Coming<'_>)) {}

    /// What waits for this host is about to be answered: asks for the memory of those connections.
    fn prefetch_answers(&self) {}

    /// Something is about to be sent on these connections: asks for their memory.
    fn prefetch_sends(&self, _conns: impl Iterator<Item = ConnId> + Clone) {}

    /// The next event.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<NetEvent>;

    /// The address of a host name. Without a resolver only literal addresses are known.
    fn resolve(&mut self, host: &str, port: u16) -> Resolving {
        let literal = host.trim_matches(['[', ']']).parse::<IpAddr>();
        Box::pin(std::future::ready(
            literal.map(|ip| SocketAddr::new(ip, port)).map_err(|_| {
                io::Error::new(io::ErrorKind::NotFound, "host name cannot be resolved")
            }),
        ))
    }
}

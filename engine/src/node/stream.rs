//! Owns [`StreamHub`], which turns single connections of a [`Network`] mailbox into byte streams,
//! because hyper wants streams. Everything runs on one thread: shared state is `Rc<RefCell<..>>`.
//!
//! Invariant: memory is bounded per connection. At most [`UNSENT_MAX`] bytes wait to be sent (the
//! stream's buffer and the network's queue together); then writes pend until [`NetEvent::Room`].
//! Unread bytes are bounded in one of two ways. A strict hub resets a connection that holds more than
//! `unread_max` of them: right for strangers, of whom one must not hold up the others. A patient hub says
//! [`StreamHub::is_full`] while its streams together hold more, and then the host takes nothing more from its
//! network, which slows the senders down: right for a client whose disk may be slower than its server.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use hyper::rt::{Read, ReadBufCursor, Write};

use super::network::{CloseHow, Closed, ConnectError, NetEvent, Network};
use crate::ids::ConnId;
use crate::wire::Chunk;

/// Bytes that may wait to be sent on one stream before its writes pend.
pub const UNSENT_MAX: u64 = 64 * 1024;

/// Whether bytes can cross a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// The answer to `connect` has not come yet.
    Opening,
    Open,
    /// The other end finished: what came before can still be read.
    Finished,
    /// It never stood, broke, or was closed from this end.
    Broken(io::ErrorKind),
}

/// What a stream and its hub share about one connection.
#[derive(Debug)]
struct Wire {
    phase: Phase,
    inbox: VecDeque<Chunk>,
    unread: u64,
    outbox: BytesMut,
    /// Bytes that the network still holds, as it last said, plus what it got since.
    in_network: u64,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// The stream wants no more than that what it wrote arrives, then the end.
    finish: bool,
    /// In `Signal::touched` already.
    touched: bool,
}

impl Wire {
    fn wake_both(&mut self) {
        let wakers = [self.reader.take(), self.writer.take()];
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Nobody will read what is here.
    fn forget_unread(&mut self, signal: &RefCell<Signal>) {
        self.inbox.clear();
        signal.borrow_mut().gone(std::mem::take(&mut self.unread));
    }

    fn room(&self) -> u64 {
        UNSENT_MAX.saturating_sub(self.outbox.len() as u64 + self.in_network)
    }
}

/// How streams tell their hub that they need it: which, in that order, and whom to wake.
#[derive(Debug, Default)]
struct Signal {
    touched: Vec<ConnId>,
    host: Option<Waker>,
    /// Bytes that all streams hold unread.
    unread: u64,
    /// The host takes nothing from its network until there are no more unread bytes than these.
    waits_for: Option<u64>,
}

impl Signal {
    fn remember(&mut self, cx: &Context<'_>) {
        let known = self.host.as_ref().is_some_and(|w| w.will_wake(cx.waker()));
        if !known {
            self.host = Some(cx.waker().clone());
        }
    }

    /// So many bytes were read, or will never be.
    fn gone(&mut self, bytes: u64) {
        self.unread -= bytes;
        if self.waits_for.is_some_and(|most| self.unread <= most) {
            self.waits_for = None;
            if let Some(host) = &self.host {
                host.wake_by_ref();
            }
        }
    }
}

/// What a hub does about unread bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Temper {
    /// A connection with more than this is reset.
    Strict(u64),
    /// With more than this on all connections the host waits.
    Patient(u64),
}

/// The streams of one host. Its loop owns the hub beside the network, gives every event to
/// [`StreamHub::on_event`] and calls [`StreamHub::pump`] at the end of every poll.
#[derive(Debug)]
pub struct StreamHub {
    wires: BTreeMap<ConnId, Rc<RefCell<Wire>>>,
    signal: Rc<RefCell<Signal>>,
    temper: Temper,
    /// Connections that read too much; they are reset at the next pump.
    overfull: Vec<ConnId>,
}

impl StreamHub {
    /// A strict hub without streams. `unread_max`: bytes one connection may hold unread before it is reset.
    #[must_use]
    pub fn new(unread_max: u64) -> StreamHub {
        StreamHub::with(Temper::Strict(unread_max))
    }

    /// A patient hub without streams, which never resets a connection for what it holds. `unread_max`: bytes
    /// all its streams may hold unread before the host waits; the events of one connection's last wake-up may
    /// pass it. The host must heed [`StreamHub::is_full`] or take its events through
    /// [`StreamHub::poll_network`].
    #[must_use]
    pub fn patient(unread_max: u64) -> StreamHub {
        StreamHub::with(Temper::Patient(unread_max))
    }

    fn with(temper: Temper) -> StreamHub {
        StreamHub {
            wires: BTreeMap::new(),
            signal: Rc::default(),
            temper,
            overfull: Vec::new(),
        }
    }

    /// Whether the host must take nothing from its network for now: its streams hold more than may be unread.
    /// The loop that asks is woken when that has changed. Never true of a strict hub.
    pub fn is_full(&mut self, cx: &Context<'_>) -> bool {
        let Temper::Patient(unread_max) = self.temper else {
            return false;
        };
        let mut signal = self.signal.borrow_mut();
        let full = signal.unread > unread_max;
        signal.waits_for = full.then_some(unread_max);
        if full {
            signal.remember(cx);
        }
        full
    }

    /// The next event of the network that belongs to none of these streams. While the hub is full nothing is
    /// taken from the network.
    pub fn poll_network<N: Network + ?Sized>(
        &mut self,
        net: &mut N,
        cx: &mut Context<'_>,
    ) -> Poll<NetEvent> {
        while !self.is_full(cx) {
            match net.poll_event(cx) {
                Poll::Pending => break,
                Poll::Ready(event) => {
                    if let Some(other) = self.on_event(event) {
                        return Poll::Ready(other);
                    }
                }
            }
        }
        Poll::Pending
    }

    /// The stream of an outgoing connection, taken right after [`Network::connect`]: reads and
    /// writes pend until the connection stands, and fail if it does not come to be.
    pub fn open(&mut self, conn: ConnId) -> ConnStream {
        self.insert(conn, Phase::Opening)
    }

    /// The stream of a connection that stands: one that [`NetEvent::Opened`] just told of.
    pub fn accept(&mut self, conn: ConnId) -> ConnStream {
        self.insert(conn, Phase::Open)
    }

    /// Connections with a stream, those not yet pumped away included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.wires.len()
    }

    /// True without any stream.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wires.is_empty()
    }

    fn insert(&mut self, conn: ConnId, phase: Phase) -> ConnStream {
        let wire = Rc::new(RefCell::new(Wire {
            phase,
            inbox: VecDeque::new(),
            unread: 0,
            outbox: BytesMut::new(),
            in_network: 0,
            reader: None,
            writer: None,
            finish: false,
            touched: false,
        }));
        self.wires.insert(conn, Rc::clone(&wire));
        ConnStream {
            conn,
            wire,
            signal: Rc::clone(&self.signal),
        }
    }

    /// Takes an event that belongs to a stream of this hub; gives any other one back.
    pub fn on_event(&mut self, event: NetEvent) -> Option<NetEvent> {
        if self.wires.is_empty() {
            return Some(event);
        }
        let conn = match &event {
            NetEvent::Opened { conn, .. }
            | NetEvent::Failed { conn, .. }
            | NetEvent::Data { conn, .. }
            | NetEvent::Room { conn, .. }
            | NetEvent::Closed { conn, .. } => *conn,
            NetEvent::Datagram { .. } => return Some(event),
        };
        let Some(wire) = self.wires.get(&conn).map(Rc::clone) else {
            return Some(event);
        };
        let mut wire = wire.borrow_mut();
        match event {
            NetEvent::Opened { .. } => wire.phase = Phase::Open,
            NetEvent::Failed { why, .. } => {
                self.wires.remove(&conn);
                wire.phase = Phase::Broken(match why {
                    ConnectError::Refused => io::ErrorKind::ConnectionRefused,
                    ConnectError::Unreachable => io::ErrorKind::HostUnreachable,
                });
            }
            NetEvent::Data { data, .. } => {
                // A stream that is gone or finished reads no more.
                if wire.phase == Phase::Open && !wire.finish {
                    wire.unread += data.len() as u64;
                    self.signal.borrow_mut().unread += data.len() as u64;
                    wire.inbox.push_back(data);
                }
                if let Temper::Strict(unread_max) = self.temper
                    && wire.unread > unread_max
                    && wire.phase == Phase::Open
                {
                    wire.phase = Phase::Broken(io::ErrorKind::OutOfMemory);
                    wire.forget_unread(&self.signal);
                    self.overfull.push(conn);
                }
            }
            NetEvent::Room { queued, .. } => wire.in_network = queued,
            NetEvent::Closed { how, .. } => {
                self.wires.remove(&conn);
                if wire.phase == Phase::Open || wire.phase == Phase::Opening {
                    wire.phase = match how {
                        Closed::ByPeer => Phase::Finished,
                        Closed::Reset => Phase::Broken(io::ErrorKind::ConnectionReset),
                    };
                }
            }
            NetEvent::Datagram { .. } => {}
        }
        wire.wake_both();
        None
    }

    /// Hands what streams wrote to the network, closes connections whose streams are done, and
    /// remembers the loop's waker, so that a stream that needs the hub wakes the loop.
    pub fn pump<N: Network + ?Sized>(&mut self, net: &mut N, cx: &Context<'_>) {
        if self.wires.is_empty() {
            // Nobody needs anything.
            return;
        }
        for conn in self.overfull.drain(..) {
            if self.wires.remove(&conn).is_some() {
                net.close(conn, CloseHow::Reset);
            }
        }
        let touched = {
            let mut signal = self.signal.borrow_mut();
            signal.remember(cx);
            std::mem::take(&mut signal.touched)
        };
        for conn in touched {
            let Some(wire) = self.wires.get(&conn).map(Rc::clone) else {
                continue;
            };
            let mut wire = wire.borrow_mut();
            wire.touched = false;
            if wire.phase == Phase::Open && !wire.outbox.is_empty() {
                let data = wire.outbox.split().freeze();
                wire.in_network += data.len() as u64;
                net.send(conn, data);
            }
            if wire.finish {
                self.wires.remove(&conn);
                // Nothing can have been written to a connection that does not stand yet.
                let stands = wire.phase == Phase::Open;
                net.close(
                    conn,
                    if stands {
                        CloseHow::Finish
                    } else {
                        CloseHow::Reset
                    },
                );
                if stands {
                    wire.phase = Phase::Finished;
                }
                wire.wake_both();
            }
        }
    }
}

/// One connection as a stream of bytes. Dropping it, or shutting it down, closes the connection
/// after what was written has been sent.
#[derive(Debug)]
pub struct ConnStream {
    conn: ConnId,
    wire: Rc<RefCell<Wire>>,
    signal: Rc<RefCell<Signal>>,
}

impl ConnStream {
    /// The connection under the stream.
    #[must_use]
    pub fn conn(&self) -> ConnId {
        self.conn
    }

    /// Asks for a pump and wakes the loop that will do it.
    fn touch(&self, wire: &mut Wire) {
        if !wire.touched {
            wire.touched = true;
            let mut signal = self.signal.borrow_mut();
            signal.touched.push(self.conn);
            if let Some(host) = &signal.host {
                host.wake_by_ref();
            }
        }
    }

    fn finish(&self) {
        let mut wire = self.wire.borrow_mut();
        if !wire.finish {
            wire.finish = true;
            wire.forget_unread(&self.signal);
            self.touch(&mut wire);
        }
    }
}

impl Read for ConnStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut wire = self.wire.borrow_mut();
        let mut copied = 0;
        while let Some(front) = wire.inbox.front_mut() {
            let n = front.len().min(buf.remaining());
            if n == 0 {
                break;
            }
            buf.put_slice(&front[..n]);
            front.advance(n);
            copied += n as u64;
            if front.is_empty() {
                wire.inbox.pop_front();
            }
        }
        wire.unread -= copied;
        self.signal.borrow_mut().gone(copied);
        if copied > 0 || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        match wire.phase {
            Phase::Broken(kind) => Poll::Ready(Err(kind.into())),
            Phase::Finished => Poll::Ready(Ok(())),
            Phase::Opening | Phase::Open if wire.finish => Poll::Ready(Ok(())),
            Phase::Opening | Phase::Open => {
                wire.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Write for ConnStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut wire = self.wire.borrow_mut();
        match wire.phase {
            Phase::Broken(kind) => return Poll::Ready(Err(kind.into())),
            Phase::Finished => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Phase::Open | Phase::Opening if wire.finish => {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            Phase::Open | Phase::Opening => {}
        }
        let room = usize::try_from(wire.room()).unwrap_or(usize::MAX);
        let empty = bufs.iter().all(|buf| buf.is_empty());
        if wire.phase == Phase::Opening || (room == 0 && !empty) {
            wire.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let mut written = 0;
        for buf in bufs {
            let n = buf.len().min(room - written);
            wire.outbox.extend_from_slice(&buf[..n]);
            written += n;
        }
        self.touch(&mut wire);
        Poll::Ready(Ok(written))
    }

    /// hyper need not copy a body and its head together first.
    fn is_write_vectored(&self) -> bool {
        true
    }

    /// The hub sends by itself; there is nothing to wait for.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The end is sent after everything written; reading ends with it, as a mailbox connection has
    /// no half-open state.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }
}

impl Drop for ConnStream {
    fn drop(&mut self) {
        self.finish();
    }
}

#[cfg(test)]
pub(crate) mod fake;

#[cfg(test)]
mod tests;

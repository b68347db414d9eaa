//! Owns [`StreamHub`], which turns single connections of a [`Network`] mailbox into byte streams,
//! because hyper wants streams. Everything runs on one thread: shared state is `Rc<RefCell<..>>`.
//!
//! Invariant: memory is bounded per connection. At most [`UNSENT_MAX`] bytes wait to be sent (the
//! stream's buffer and the network's queue together); then writes pend until [`NetEvent::Room`].
//! A mailbox has no back-pressure for reading, so a connection that holds more unread bytes than
//! the hub's `unread_max` is reset: HTTP over it must bound what it asks for.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};
use hyper::rt::{Read, ReadBufCursor, Write};

use super::network::{CloseHow, Closed, ConnectError, NetEvent, Network};
use crate::ids::ConnId;

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
    inbox: VecDeque<Bytes>,
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

    fn room(&self) -> u64 {
        UNSENT_MAX.saturating_sub(self.outbox.len() as u64 + self.in_network)
    }
}

/// How streams tell their hub that they need it: which, in that order, and whom to wake.
#[derive(Debug, Default)]
struct Signal {
    touched: Vec<ConnId>,
    host: Option<Waker>,
}

/// The streams of one host. Its loop owns the hub beside the network, gives every event to
/// [`StreamHub::on_event`] and calls [`StreamHub::pump`] at the end of every poll.
#[derive(Debug)]
pub struct StreamHub {
    wires: BTreeMap<ConnId, Rc<RefCell<Wire>>>,
    signal: Rc<RefCell<Signal>>,
    unread_max: u64,
    /// Connections that read too much; they are reset at the next pump.
    overfull: Vec<ConnId>,
}

impl StreamHub {
    /// A hub without streams. `unread_max`: bytes one connection may hold unread before it is reset.
    #[must_use]
    pub fn new(unread_max: u64) -> StreamHub {
        StreamHub {
            wires: BTreeMap::new(),
            signal: Rc::default(),
            unread_max,
            overfull: Vec::new(),
        }
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
                    wire.inbox.push_back(data);
                }
                if wire.unread > self.unread_max && wire.phase == Phase::Open {
                    wire.phase = Phase::Broken(io::ErrorKind::OutOfMemory);
                    wire.inbox.clear();
                    wire.unread = 0;
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
        for conn in self.overfull.drain(..) {
            if self.wires.remove(&conn).is_some() {
                net.close(conn, CloseHow::Reset);
            }
        }
        let touched = {
            let mut signal = self.signal.borrow_mut();
            let known = signal
                .host
                .as_ref()
                .is_some_and(|w| w.will_wake(cx.waker()));
            if !known {
                signal.host = Some(cx.waker().clone());
            }
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
            wire.inbox.clear();
            wire.unread = 0;
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
        let n = room.min(buf.len());
        if wire.phase == Phase::Opening || (n == 0 && !buf.is_empty()) {
            wire.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        wire.outbox.extend_from_slice(&buf[..n]);
        self.touch(&mut wire);
        Poll::Ready(Ok(n))
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
pub(super) mod fake;

#[cfg(test)]
mod tests {
    use super::fake::{FakeNet, addr, pair};
    use super::*;
    use hyper::rt::ReadBuf;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Woken(AtomicUsize);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn read(stream: &mut ConnStream, cx: &mut Context<'_>) -> Poll<Result<Vec<u8>, io::ErrorKind>> {
        let mut space = [0; 8];
        let mut buf = ReadBuf::new(&mut space);
        let polled = Pin::new(stream).poll_read(cx, buf.unfilled());
        polled.map(|r| r.map(|()| buf.filled().to_vec()).map_err(|e| e.kind()))
    }

    fn write(stream: &mut ConnStream, cx: &mut Context<'_>, data: &[u8]) -> Poll<Option<usize>> {
        Pin::new(stream).poll_write(cx, data).map(Result::ok)
    }

    /// A host with a hub at one end; the other end is looked at by hand.
    struct Host {
        net: FakeNet,
        hub: StreamHub,
        peer: FakeNet,
        loop_woken: Arc<Woken>,
    }

    impl Host {
        fn new() -> Host {
            let (net, mut peer) = pair();
            peer.listen(addr(1, 80)).unwrap();
            let hub = StreamHub::new(1000);
            let loop_woken = Arc::default();
            Host {
                net,
                hub,
                peer,
                loop_woken,
            }
        }
        fn turn(&mut self) {
            let waker = Waker::from(Arc::clone(&self.loop_woken));
            let mut cx = Context::from_waker(&waker);
            while let Poll::Ready(event) = self.net.poll_event(&mut cx) {
                assert!(self.hub.on_event(event).is_none());
            }
            self.hub.pump(&mut self.net, &cx);
        }
        fn dial(&mut self) -> ConnStream {
            let conn = self.net.connect(addr(1, 80));
            self.hub.open(conn)
        }
        fn peer_sees(&mut self) -> Vec<String> {
            let mut cx = Context::from_waker(Waker::noop());
            let mut seen = Vec::new();
            while let Poll::Ready(event) = self.peer.poll_event(&mut cx) {
                seen.push(match event {
                    NetEvent::Opened { .. } => "opened".to_owned(),
                    NetEvent::Data { data, .. } => format!("{} bytes", data.len()),
                    NetEvent::Closed { how, .. } => format!("{how:?}"),
                    other => format!("{other:?}"),
                });
            }
            seen
        }
    }

    const PEER: ConnId = ConnId {
        slot: 1,
        generation: 0,
    };

    #[test]
    fn a_stream_waits_until_its_connection_stands_then_carries_bytes_both_ways() {
        let mut host = Host::new();
        let mut stream = host.dial();
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        assert!(write(&mut stream, &mut cx, b"early").is_pending());
        assert!(read(&mut stream, &mut cx).is_pending());
        host.turn();
        assert!(woken.0.load(Ordering::Relaxed) > 0);
        assert_eq!(write(&mut stream, &mut cx, b"hello"), Poll::Ready(Some(5)));
        assert_eq!(host.loop_woken.0.load(Ordering::Relaxed), 1);
        host.turn();
        assert_eq!(host.peer_sees(), ["opened", "5 bytes"]);
        host.peer.send(PEER, Bytes::from_static(b"ten bytes!"));
        host.turn();
        assert_eq!(
            read(&mut stream, &mut cx),
            Poll::Ready(Ok(b"ten byte".to_vec()))
        );
        assert_eq!(read(&mut stream, &mut cx), Poll::Ready(Ok(b"s!".to_vec())));
        assert!(read(&mut stream, &mut cx).is_pending());
    }

    #[test]
    fn a_refused_connection_fails_the_stream() {
        let (mut net, _peer) = pair();
        let mut hub = StreamHub::new(1000);
        let mut stream = hub.open(net.connect(addr(1, 80)));
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(event) = net.poll_event(&mut cx) {
            assert!(hub.on_event(event).is_none());
        }
        let refused = Poll::Ready(Err(io::ErrorKind::ConnectionRefused));
        assert_eq!(read(&mut stream, &mut cx), refused);
        assert_eq!(write(&mut stream, &mut cx, b"x"), Poll::Ready(None));
        assert!(hub.is_empty());
    }

    #[test]
    fn writes_pend_while_the_network_holds_too_much_and_go_on_with_room() {
        let mut host = Host::new();
        let mut stream = host.dial();
        host.turn();
        host.net.hold_room();
        let mut cx = Context::from_waker(Waker::noop());
        let big = vec![7; 100_000];
        assert_eq!(
            write(&mut stream, &mut cx, &big),
            Poll::Ready(Some(UNSENT_MAX as usize))
        );
        assert!(write(&mut stream, &mut cx, &big).is_pending());
        host.turn();
        assert!(
            write(&mut stream, &mut cx, &big).is_pending(),
            "the network holds it all"
        );
        let queued = UNSENT_MAX - 10;
        host.net.inject(NetEvent::Room {
            conn: stream.conn(),
            queued,
        });
        host.turn();
        assert_eq!(write(&mut stream, &mut cx, &big), Poll::Ready(Some(10)));
    }

    #[test]
    fn dropping_or_shutting_down_sends_the_rest_and_then_the_end() {
        for shut_down in [false, true] {
            let mut host = Host::new();
            let mut stream = host.dial();
            host.turn();
            let mut cx = Context::from_waker(Waker::noop());
            assert!(write(&mut stream, &mut cx, b"bye").is_ready());
            if shut_down {
                assert!(Pin::new(&mut stream).poll_shutdown(&mut cx).is_ready());
                assert_eq!(read(&mut stream, &mut cx), Poll::Ready(Ok(vec![])));
                assert_eq!(write(&mut stream, &mut cx, b"x"), Poll::Ready(None));
            }
            drop(stream);
            host.turn();
            assert_eq!(host.peer_sees(), ["opened", "3 bytes", "ByPeer"]);
            assert!(host.hub.is_empty());
        }
    }

    #[test]
    fn dropping_before_the_connection_stands_gives_it_up() {
        let mut host = Host::new();
        let conn = host.net.connect(addr(1, 80));
        drop(host.hub.open(conn));
        host.hub
            .pump(&mut host.net, &Context::from_waker(Waker::noop()));
        assert_eq!(host.peer_sees(), ["opened", "Reset"]);
        assert!(host.hub.is_empty());
    }

    #[test]
    fn the_end_of_the_other_side_is_read_after_its_bytes() {
        for (how, end) in [
            (CloseHow::Finish, Ok(vec![])),
            (CloseHow::Reset, Err(io::ErrorKind::ConnectionReset)),
        ] {
            let mut host = Host::new();
            let mut stream = host.dial();
            host.turn();
            host.peer.send(PEER, Bytes::from_static(b"last"));
            host.peer.close(PEER, how);
            host.turn();
            let mut cx = Context::from_waker(Waker::noop());
            assert_eq!(
                read(&mut stream, &mut cx),
                Poll::Ready(Ok(b"last".to_vec()))
            );
            assert_eq!(read(&mut stream, &mut cx), Poll::Ready(end));
            assert_eq!(write(&mut stream, &mut cx, b"x"), Poll::Ready(None));
        }
    }

    #[test]
    fn a_connection_that_floods_an_idle_reader_is_reset() {
        let mut host = Host::new();
        let mut stream = host.dial();
        host.turn();
        host.peer.send(PEER, Bytes::from(vec![1; 1000]));
        host.turn();
        assert!(!host.hub.is_empty());
        host.peer.send(PEER, Bytes::from_static(b"!"));
        host.turn();
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(
            read(&mut stream, &mut cx),
            Poll::Ready(Err(io::ErrorKind::OutOfMemory))
        );
        assert_eq!(host.peer_sees().last().unwrap(), "Reset");
        assert!(host.hub.is_empty());
    }

    #[test]
    fn events_of_other_connections_are_given_back() {
        let mut hub = StreamHub::new(1000);
        let room = NetEvent::Room {
            conn: PEER,
            queued: 0,
        };
        assert!(hub.on_event(room).is_some());
        let from = addr(1, 1);
        let data = Bytes::new();
        assert!(hub.on_event(NetEvent::Datagram { from, data }).is_some());
    }
}

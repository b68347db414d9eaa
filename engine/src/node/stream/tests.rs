use super::fake::{FakeNet, addr, pair};
use super::*;
use bytes::Bytes;
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

#[test]
fn a_patient_hub_makes_the_host_wait_and_resets_nobody() {
    let mut host = Host::new();
    host.hub = StreamHub::patient(1000);
    let mut stream = host.dial();
    host.turn();
    let all: Vec<u8> = (0..50_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    for piece in all.chunks(400) {
        host.peer.send(PEER, Bytes::copy_from_slice(piece));
    }
    host.peer.close(PEER, CloseHow::Finish);
    let waker = Waker::from(Arc::clone(&host.loop_woken));
    let mut cx = Context::from_waker(&waker);
    let mut got = Vec::new();
    loop {
        assert!(host.hub.poll_network(&mut host.net, &mut cx).is_pending());
        let held = host.hub.signal.borrow().unread;
        assert!(held <= 1400, "{held}: one event may pass the limit");
        if host.hub.is_full(&cx) {
            // Whoever reads enough wakes the loop, and does so once.
            let before = host.loop_woken.0.load(Ordering::Relaxed);
            while host.hub.signal.borrow().unread > 1000 {
                let read = read(&mut stream, &mut Context::from_waker(Waker::noop()));
                let Poll::Ready(Ok(read)) = read else {
                    panic!("{read:?}")
                };
                got.extend(read);
            }
            let woken = host.loop_woken.0.load(Ordering::Relaxed) - before;
            assert_eq!(woken, 1);
        } else {
            break;
        }
    }
    loop {
        match read(&mut stream, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(read)) if read.is_empty() => break,
            Poll::Ready(Ok(read)) => got.extend(read),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(got, all);
}

#[test]
fn a_stream_that_is_dropped_makes_room() {
    let mut host = Host::new();
    host.hub = StreamHub::patient(1000);
    let stream = host.dial();
    host.turn();
    host.peer.send(PEER, Bytes::from(vec![1; 5000]));
    host.turn();
    let cx = Context::from_waker(Waker::noop());
    assert!(host.hub.is_full(&cx));
    drop(stream);
    assert!(!host.hub.is_full(&cx));
    host.turn();
    assert!(host.hub.is_empty());
}

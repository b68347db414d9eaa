//! Owns a machine's talk with turmoil: its listener, its dials, its streams, its datagrams; and the tasks
//! that drive them.
//!
//! Invariant: everything that turmoil has for the host is taken out at once, so that none of its buffers is
//! ever full; what is taken out waits in the machine until its moment.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ::turmoil::net::{TcpListener, TcpStream, UdpSocket};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use rand_chacha::ChaCha8Rng;
use skep_engine::ConnId;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Sleep;

use super::LATENCY_NS;
use super::conn::{Cargo, Carrier, Conn};
use super::frame::Frame;
use super::ledger::{Known, Sent};
use super::machine::{Due, Key, Machine};
use crate::network::draws::exponential_ns;
use crate::network::link::{transmit_ns, wire_bytes};
use crate::seed;

/// Bytes read from a stream at once: more than any frame.
const READ_MAX: usize = 16 * 1024;
/// Bytes of the longest datagram.
const DATAGRAM_MAX: usize = 64 * 1024;

type Accepting = Pin<Box<dyn Future<Output = (TcpListener, io::Result<(TcpStream, SocketAddr)>)>>>;
type Receiving = Pin<Box<dyn Future<Output = (Vec<u8>, io::Result<(usize, SocketAddr)>)>>>;

/// Where a program listens.
pub(super) struct Listening {
    pub(super) port: u16,
    accepting: Accepting,
}

/// A machine's socket for datagrams.
pub(super) struct Datagrams {
    socket: Rc<UdpSocket>,
    receiving: Receiving,
}

/// The answer of something in turmoil that is async only by name.
fn at_once<T>(future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => unreachable!("turmoil binds without waiting"),
    }
}

fn accepting(listener: TcpListener) -> Accepting {
    Box::pin(async move {
        let accepted = listener.accept().await;
        (listener, accepted)
    })
}

fn receiving(socket: Rc<UdpSocket>) -> Receiving {
    Box::pin(async move {
        let mut buffer = vec![0; DATAGRAM_MAX];
        let received = socket.recv_from(&mut buffer).await;
        (buffer, received)
    })
}

/// Moves a machine on for as long as the run lasts: what is due happens, and what was read is acknowledged.
pub(super) async fn drive(machine: Rc<RefCell<Machine>>) {
    let mut sleep: Option<(u64, Pin<Box<Sleep>>)> = None;
    match poll_fn(|cx| poll_drive(&machine, cx, &mut sleep)).await {}
}

fn poll_drive(
    machine: &RefCell<Machine>,
    cx: &mut Context<'_>,
    sleep: &mut Option<(u64, Pin<Box<Sleep>>)>,
) -> Poll<Infallible> {
    loop {
        let mut machine = machine.borrow_mut();
        machine.catch_up();
        machine.acknowledge();
        machine.driver = Some(cx.waker().clone());
        let Some((&(next, _), _)) = machine.due.first_key_value() else {
            machine.armed = u64::MAX;
            *sleep = None;
            return Poll::Pending;
        };
        machine.armed = next;
        let epoch = machine.epoch.expect("the host has started");
        let at = epoch + Duration::from_nanos(next);
        let (set, timer) =
            sleep.get_or_insert_with(|| (next, Box::pin(tokio::time::sleep_until(at))));
        if *set != next {
            timer.as_mut().reset(at);
            *set = next;
        }
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        *sleep = None;
    }
}

/// Takes out whatever turmoil has for a machine, for as long as the run lasts. A task of its own, so that
/// sockets are looked at when turmoil says so and not whenever something is due.
pub(super) async fn listen_to_turmoil(machine: Rc<RefCell<Machine>>) {
    poll_fn(|cx| {
        let mut machine = machine.borrow_mut();
        machine.catch_up();
        machine.poll_dials(cx);
        machine.poll_sockets(cx);
        machine.ears = Some(cx.waker().clone());
        Poll::Pending
    })
    .await
}

impl Machine {
    pub(super) fn listen(&mut self, port: u16) -> io::Result<()> {
        if self.listening.is_some() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let listener = at_once(TcpListener::bind(any))?;
        self.datagrams = Some(bind(port)?);
        self.listening = Some(Listening {
            port,
            accepting: accepting(listener),
        });
        self.wake_ears();
        Ok(())
    }

    fn known(&self, ip: IpAddr) -> Option<(Ipv4Addr, Known)> {
        let IpAddr::V4(ip) = ip else { return None };
        let known = self.ledger.known.borrow().get(&ip).cloned();
        known.map(|known| (ip, known))
    }

    /// The stream of the next crossing of that kind between this host and another. It depends on these two
    /// and on how often they spoke, so that one more peer moves nobody else's draws.
    fn next_stream(&mut self, ip: Ipv4Addr, other: &str, kind: &'static str) -> ChaCha8Rng {
        let number = self.crossings.entry((ip, kind)).or_default();
        *number += 1;
        let path = format!("path/{}/{other}/{kind}/{number}", self.name);
        seed::stream(self.ledger.seed, &path)
    }

    pub(super) fn dial(&mut self, to: SocketAddr) -> ConnId {
        let Some((ip, other)) = self.known(to.ip()) else {
            // No machine is there: no answer ever comes.
            return self.assign(None);
        };
        self.owe_header(2);
        let path = self.ledger.path(self.ip, ip);
        let mean = self.ledger.known.borrow()[&self.ip]
            .place
            .reset_every(&other.place);
        let mut rng = self.next_stream(ip, &other.name, "dialled");
        let breaks = mean.map(|mean| self.now.saturating_add(exponential_ns(mean, &mut rng)));
        let mut conn = Conn::new(ip, to, false, path, rng);
        let carried = self.now + conn.path.delay_ns.saturating_sub(LATENCY_NS);
        conn.breaks = breaks;
        let key = self.add_conn(conn);
        self.look_at_path(key);
        self.plan(carried, Due::Dial(key));
        if let Some(at) = breaks {
            self.plan(at, Due::Breaks(key));
        }
        self.assign(Some(key))
    }

    /// turmoil takes the dial to the other host, unless the way is cut.
    pub(super) fn dial_now(&mut self, key: Key) {
        let knocks_at = self.now + LATENCY_NS;
        let Some(conn) = self.conns.get_mut(&key) else {
            return;
        };
        let barriers = self.ledger.barriers.borrow();
        let cut = barriers.stop(self.ip, conn.other, knocks_at);
        drop(barriers);
        if cut {
            return self.knock_is_lost(key);
        }
        conn.trouble.lost_handshakes = 0;
        conn.answer_at = knocks_at + conn.path.back_ns;
        conn.carrier = Carrier::Dialling(Box::pin(TcpStream::connect(conn.addr)));
        self.wake_ears();
    }

    fn poll_dials(&mut self, cx: &mut Context<'_>) {
        let dialling = |conn: &Conn| matches!(conn.carrier, Carrier::Dialling(_));
        let keys = self.conns.iter().filter(|(_, conn)| dialling(conn));
        let keys: Vec<Key> = keys.map(|(key, _)| *key).collect();
        for key in keys {
            let conn = self.conns.get_mut(&key).expect("it was there");
            let Carrier::Dialling(dial) = &mut conn.carrier else {
                continue;
            };
            let Poll::Ready(stream) = dial.as_mut().poll(cx) else {
                continue;
            };
            let answer_at = conn.answer_at;
            match stream {
                Ok(stream) => {
                    let here = stream.local_addr().expect("it has one");
                    conn.ends = Some((here, conn.addr));
                    conn.carrier = Carrier::Standing(stream);
                    match conn.leaves_with.take() {
                        Some(frame) => self.leave(key, frame),
                        None => self.plan(answer_at, Due::Opens(key)),
                    }
                }
                Err(_) => {
                    conn.carrier = Carrier::Gone;
                    self.plan(answer_at, Due::Refused(key));
                }
            }
        }
    }

    fn poll_sockets(&mut self, cx: &mut Context<'_>) {
        while let Some(listening) = &mut self.listening
            && let Poll::Ready((listener, accepted)) = listening.accepting.as_mut().poll(cx)
        {
            listening.accepting = accepting(listener);
            let port = listening.port;
            let (stream, from) = accepted.expect("turmoil accepts without errors");
            self.accept(stream, from, port);
        }
        let keys: Vec<Key> = self.conns.keys().copied().collect();
        for key in keys {
            self.poll_stream(key, cx);
        }
        while let Some(datagrams) = &mut self.datagrams
            && let Poll::Ready((buffer, received)) = datagrams.receiving.as_mut().poll(cx)
        {
            datagrams.receiving = receiving(Rc::clone(&datagrams.socket));
            let (bytes, from) = received.expect("turmoil receives without errors");
            let mut data = Bytes::copy_from_slice(&buffer[..bytes]);
            let at = self.not_before_now(data.get_u64());
            self.plan(at, Due::Datagram(from, data));
        }
    }

    fn accept(&mut self, stream: TcpStream, from: SocketAddr, port: u16) {
        let (ip, other) = self.known(from.ip()).expect("a machine of ours");
        let path = self.ledger.path(self.ip, ip);
        let rng = self.next_stream(ip, &other.name, "accepted");
        self.owe_header(1);
        let mut conn = Conn::new(ip, from, true, path, rng);
        conn.ends = Some((SocketAddr::from((self.ip, port)), from));
        conn.carrier = Carrier::Standing(stream);
        let key = self.add_conn(conn);
        self.look_at_path(key);
    }

    /// Takes what a stream has, and writes what waits for room.
    fn poll_stream(&mut self, key: Key, cx: &mut Context<'_>) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(READ_MAX, 0);
        while self.read_stream(key, &mut buffer, cx) {}
        self.buffer = buffer;
    }

    /// One read and what it brings; false when there is nothing more now.
    fn read_stream(&mut self, key: Key, buffer: &mut [u8], cx: &mut Context<'_>) -> bool {
        let Some(conn) = self.conns.get_mut(&key) else {
            return false;
        };
        let flushed = conn.flush();
        let Carrier::Standing(stream) = &mut conn.carrier else {
            return false;
        };
        if flushed && conn.leaves_with.is_some() {
            self.remove(key);
            return false;
        }
        if !flushed {
            // Asks to be woken when there is room.
            let _ = pin!(stream.writable()).poll(cx);
        }
        let mut read = ReadBuf::new(buffer);
        let ended = match Pin::new(stream).poll_read(cx, &mut read) {
            Poll::Pending => return false,
            Poll::Ready(Ok(())) => read.filled().is_empty(),
            Poll::Ready(Err(_)) => true,
        };
        if ended {
            self.on_stream_end(key);
            return false;
        }
        conn.input.extend_from_slice(read.filled());
        let mut input = std::mem::take(&mut conn.input);
        while let Some(frame) = Frame::next(&mut input) {
            self.on_frame(key, frame);
        }
        let conn = self.conns.get_mut(&key).expect("frames only plan");
        conn.input = input;
        true
    }

    /// The moment of a frame. The path takes longer than turmoil, so it is never over.
    fn not_before_now(&self, at: u64) -> u64 {
        if at < self.now {
            self.ledger.note_late();
        }
        at.max(self.now)
    }

    /// Plans what a frame says.
    fn on_frame(&mut self, key: Key, frame: Frame) {
        let conn = self.conns.get_mut(&key).expect("it was read from there");
        match frame {
            Frame::Hello { opens, breaks } => {
                let opens = self.not_before_now(opens);
                self.plan(opens, Due::Opens(key));
                if let Some(at) = breaks {
                    self.plan(at, Due::Breaks(key));
                }
            }
            Frame::Data { at, number, data } => self.comes(key, at, number, Cargo::Data(data)),
            Frame::Ack { at, bytes } => {
                let at = self.not_before_now(at);
                self.plan(at, Due::Ack(key, bytes));
            }
            Frame::Fin { at, number } => {
                conn.farewell = true;
                self.comes(key, at, number, Cargo::Fin);
            }
            Frame::Reset { at } => {
                conn.farewell = true;
                let at = self.not_before_now(at);
                self.plan(at, Due::Reset(key));
            }
            Frame::Gone => {
                conn.farewell = true;
                self.plan(self.now, Due::Orphaned(key));
            }
        }
    }

    /// Something came before its moment.
    fn comes(&mut self, key: Key, at: u64, number: u64, cargo: Cargo) {
        let conn = self.conns.get_mut(&key).expect("it was read from there");
        assert_eq!(conn.heard, number, "turmoil lost a frame");
        conn.heard += 1;
        conn.coming.push_back(Sent { number, at, cargo });
        let at = self.not_before_now(at);
        self.plan(at, Due::Arrives(key));
    }

    /// The other end's host let go of the stream. After a farewell that is as it should be; without one it
    /// crashed, which turmoil shows as a clean end: the program sees a reset.
    fn on_stream_end(&mut self, key: Key) {
        let conn = self.conns.get_mut(&key).expect("it was polled");
        conn.carrier = Carrier::Gone;
        if conn.farewell {
            return;
        }
        if conn.id.is_none() {
            return self.remove(key);
        }
        let at = self.now + conn.path.delay_ns;
        self.plan(at, Due::Reset(key));
    }

    /// Tells the other ends what the program has read since the last time.
    fn acknowledge(&mut self) {
        let now = self.now;
        for key in std::mem::take(&mut self.unacked) {
            if let Some(conn) = self.conns.get_mut(&key) {
                let bytes = std::mem::take(&mut conn.unacked);
                let at = now + conn.path.delay_ns;
                self.write(key, &Frame::Ack { at, bytes });
            }
        }
    }

    /// Sends a datagram, unless the path loses it.
    pub(super) fn send_datagram(&mut self, to: SocketAddr, data: &[u8]) {
        let Some((ip, other)) = self.known(to.ip()) else {
            return;
        };
        let path = self.ledger.path(self.ip, ip);
        let mut rng = self.next_stream(ip, &other.name, "datagram");
        let wire = wire_bytes(data.len() as u64);
        self.up_debt += wire;
        let Some(delay) = path.datagram_delay(data.len() as u64, &mut rng) else {
            return;
        };
        let at = self.now + transmit_ns(wire, self.link.up) + delay;
        let mut framed = BytesMut::with_capacity(8 + data.len());
        framed.put_u64(at);
        framed.put_slice(data);
        if self.datagrams.is_none() {
            self.datagrams = Some(bind(0).expect("a host has free ports"));
            self.wake_ears();
        }
        let socket = &self.datagrams.as_ref().expect("it is bound").socket;
        let sent = socket.try_send_to(&framed, to);
        sent.expect("a machine of ours has a link");
    }
}

fn bind(port: u16) -> io::Result<Datagrams> {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let socket = Rc::new(at_once(UdpSocket::bind(any))?);
    Ok(Datagrams {
        receiving: receiving(Rc::clone(&socket)),
        socket,
    })
}

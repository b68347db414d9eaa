//! Owns [`RealNetwork`]: the sockets of one host behind the mailbox. One task per connection, one per
//! listening socket, two per datagram socket.
//!
//! Invariant: the mailbox is bounded: per connection by the bytes that it may hold, for connections
//! and datagrams from outside by their number. An event names only a connection that the caller
//! has been told of, in order, and none after its end; stale mail is dropped by its generation.

mod connection;
mod sockets;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::net::{TcpSocket, TcpStream, UdpSocket, lookup_host};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::network::{CloseHow, Closed, ConnectError, NetEvent, Network, Resolving};
use super::spawn::Tasks;
use crate::ids::ConnId;
use connection::Link;

/// Connections that the system keeps until they are accepted.
const BACKLOG: u32 = 1024;

/// Accepted connections in the mailbox, at most; the others wait in the backlog.
const ACCEPTED_MAX: usize = 64;

/// Datagrams in the mailbox, at most, and in the queue of a socket; the others are lost.
const DATAGRAMS_MAX: usize = 256;

/// What the tasks report. It becomes a [`NetEvent`] when the loop takes it.
#[derive(Debug)]
enum Mail {
    Opened {
        conn: ConnId,
        from: SocketAddr,
    },
    Failed {
        conn: ConnId,
        why: ConnectError,
    },
    Data {
        conn: ConnId,
        data: Bytes,
    },
    Room {
        conn: ConnId,
    },
    Closed {
        conn: ConnId,
        how: Closed,
    },
    Accepted {
        stream: TcpStream,
        from: SocketAddr,
        _place: OwnedSemaphorePermit,
    },
    Datagram {
        from: SocketAddr,
        data: Bytes,
        _place: OwnedSemaphorePermit,
    },
}

/// The tasks' end of the mailbox.
#[derive(Clone, Debug)]
struct Post(UnboundedSender<Mail>);

impl Post {
    fn send(&self, mail: Mail) {
        // It fails only when the network is being dropped, and this task with it.
        let _ = self.0.send(mail);
    }
}

/// One place in the table of connections.
#[derive(Debug, Default)]
struct Slot {
    /// How often it was used before.
    generation: u32,
    link: Option<Rc<Link>>,
}

/// A datagram socket's queue.
#[derive(Debug)]
struct Outlet {
    at: SocketAddr,
    queue: mpsc::Sender<(SocketAddr, Bytes)>,
}

/// The network of this machine. Its tasks run on the thread that created them: use it inside a
/// [`tokio::task::LocalSet`], on a runtime with I/O and time, and keep polling it.
///
/// Dropping it ends every connection at once; what [`CloseHow::Finish`] had still to deliver is lost.
#[derive(Debug)]
pub struct RealNetwork {
    tasks: Tasks,
    mail: UnboundedReceiver<Mail>,
    post: Post,
    slots: Vec<Slot>,
    free: Vec<u32>,
    outlets: Vec<Outlet>,
    accepted: Arc<Semaphore>,
    datagrams: Arc<Semaphore>,
}

impl Default for RealNetwork {
    fn default() -> RealNetwork {
        RealNetwork::new()
    }
}

impl RealNetwork {
    /// A network that does not listen yet.
    #[must_use]
    pub fn new() -> RealNetwork {
        let (post, mail) = unbounded_channel();
        RealNetwork {
            tasks: Tasks::new(),
            mail,
            post: Post(post),
            slots: Vec::new(),
            free: Vec::new(),
            outlets: Vec::new(),
            accepted: Arc::new(Semaphore::new(ACCEPTED_MAX)),
            datagrams: Arc::new(Semaphore::new(DATAGRAMS_MAX)),
        }
    }

    /// Gives a new link the next free place.
    fn enter(&mut self) -> (ConnId, Rc<Link>) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).expect("a host has fewer than 2^32 connections")
        });
        let link = Rc::new(Link::default());
        let place = &mut self.slots[slot as usize];
        place.link = Some(Rc::clone(&link));
        (
            ConnId {
                slot,
                generation: place.generation,
            },
            link,
        )
    }

    /// The connection, unless it is gone.
    fn link(&self, conn: ConnId) -> Option<&Rc<Link>> {
        let slot = self.slots.get(conn.slot as usize)?;
        slot.link
            .as_ref()
            .filter(|_| slot.generation == conn.generation)
    }

    /// Frees the place of a connection, unless it is gone already.
    fn leave(&mut self, conn: ConnId) -> Option<Rc<Link>> {
        self.link(conn)?;
        let slot = &mut self.slots[conn.slot as usize];
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(conn.slot);
        slot.link.take()
    }

    /// What a piece of mail means now; nothing, when its connection is gone.
    fn event(&mut self, mail: Mail) -> Option<NetEvent> {
        match mail {
            Mail::Opened { conn, from } => self.link(conn).map(|_| NetEvent::Opened {
                conn,
                from,
                inbound: false,
            }),
            Mail::Failed { conn, why } => self.leave(conn).map(|_| NetEvent::Failed { conn, why }),
            Mail::Data { conn, data } => {
                self.link(conn)?.took_data(data.len());
                Some(NetEvent::Data { conn, data })
            }
            Mail::Room { conn } => {
                let queued = self.link(conn)?.took_room();
                Some(NetEvent::Room { conn, queued })
            }
            Mail::Closed { conn, how } => self.leave(conn).map(|_| NetEvent::Closed { conn, how }),
            Mail::Accepted { stream, from, .. } => {
                let (conn, link) = self.enter();
                let task = connection::drive(stream, conn, link, self.post.clone());
                self.tasks.spawn("connection from outside", task);
                Some(NetEvent::Opened {
                    conn,
                    from: canonical(from),
                    inbound: true,
                })
            }
            Mail::Datagram { from, data, .. } => Some(NetEvent::Datagram {
                from: canonical(from),
                data,
            }),
        }
    }

    /// Sends and receives datagrams at an address.
    fn open_datagrams(&mut self, at: SocketAddr) -> io::Result<()> {
        let socket = std::net::UdpSocket::bind(at)?;
        socket.set_nonblocking(true)?;
        let socket = Rc::new(UdpSocket::from_std(socket)?);
        let at = socket.local_addr()?;
        let (queue, outgoing) = mpsc::channel(DATAGRAMS_MAX);
        self.tasks.spawn(
            "datagrams out",
            sockets::send_datagrams(Rc::clone(&socket), outgoing),
        );
        let places = Arc::clone(&self.datagrams);
        self.tasks.spawn(
            "datagrams in",
            sockets::receive_datagrams(socket, places, self.post.clone()),
        );
        self.outlets.push(Outlet { at, queue });
        Ok(())
    }

    /// The socket that reaches an address, and the address as that socket wants it.
    fn outlet(&self, to: SocketAddr) -> Option<(&Outlet, SocketAddr)> {
        let same = self
            .outlets
            .iter()
            .find(|outlet| outlet.at.is_ipv4() == to.is_ipv4());
        same.map(|outlet| (outlet, to)).or_else(|| {
            // A socket at `[::]` speaks IPv4 in these clothes.
            let SocketAddr::V4(v4) = to else { return None };
            let both = |outlet: &&Outlet| outlet.at.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
            let outlet = self.outlets.iter().find(both)?;
            Some((
                outlet,
                SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
            ))
        })
    }
}

/// An IPv4 address that came through an IPv6 socket as what it is.
fn canonical(at: SocketAddr) -> SocketAddr {
    SocketAddr::new(at.ip().to_canonical(), at.port())
}

impl Network for RealNetwork {
    fn listen(&mut self, at: SocketAddr) -> io::Result<SocketAddr> {
        let socket = if at.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        // Elsewhere this would let others take the port over.
        if cfg!(unix) {
            socket.set_reuseaddr(true)?;
        }
        socket.bind(at)?;
        let listener = socket.listen(BACKLOG)?;
        let at = listener.local_addr()?;
        let places = Arc::clone(&self.accepted);
        self.tasks.spawn(
            "accepting connections",
            sockets::accept(listener, places, self.post.clone()),
        );
        // Another program may have the port for datagrams; connections work without them.
        let _ = self.open_datagrams(at);
        Ok(at)
    }

    fn connect(&mut self, to: SocketAddr) -> ConnId {
        let (conn, link) = self.enter();
        let task = connection::dial(to, conn, link, self.post.clone());
        self.tasks.spawn("connection", task);
        conn
    }

    fn send(&mut self, conn: ConnId, data: Bytes) {
        if let Some(link) = self.link(conn) {
            link.send(data);
        }
    }

    fn close(&mut self, conn: ConnId, how: CloseHow) {
        if let Some(link) = self.leave(conn) {
            link.close(how);
        }
    }

    fn send_to(&mut self, to: SocketAddr, datagram: Bytes) {
        if self.outlet(to).is_none() {
            let any: IpAddr = match to {
                SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            // A datagram may be lost; so it is when there is no socket for it.
            let _ = self.open_datagrams(SocketAddr::new(any, 0));
        }
        if let Some((outlet, to)) = self.outlet(to) {
            let _ = outlet.queue.try_send((to, datagram));
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<NetEvent> {
        self.tasks.poll_panics(cx);
        loop {
            let mail = ready!(self.mail.poll_recv(cx)).expect("the network holds a sender itself");
            if let Some(event) = self.event(mail) {
                return Poll::Ready(event);
            }
        }
    }

    /// Asks the system. An IPv4 address is preferred, as some machines have no way for IPv6.
    fn resolve(&mut self, host: &str, port: u16) -> Resolving {
        let host = host.trim_matches(['[', ']']).to_owned();
        Box::pin(async move {
            let found: Vec<SocketAddr> = lookup_host((host.as_str(), port)).await?.collect();
            let best = found
                .iter()
                .find(|at| at.is_ipv4())
                .or(found.first())
                .copied();
            let text = "the host name has no address";
            best.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, text))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future, poll_fn};
    use std::time::Duration;

    use tokio::task::LocalSet;
    use tokio::time::timeout;

    use super::*;

    const MIB: usize = 1024 * 1024;

    fn any_port() -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
    }

    async fn local(test: impl Future<Output = ()>) {
        let guarded = timeout(Duration::from_secs(60), test);
        LocalSet::new().run_until(guarded).await.expect("in time");
    }

    async fn next(net: &mut RealNetwork) -> NetEvent {
        poll_fn(|cx| net.poll_event(cx)).await
    }

    /// What happens next, if anything does soon.
    async fn soon(net: &mut RealNetwork) -> Option<NetEvent> {
        timeout(Duration::from_millis(200), next(net)).await.ok()
    }

    /// Two networks with one connection, and its name on either side.
    async fn pair() -> (RealNetwork, ConnId, RealNetwork, ConnId) {
        let (mut a, mut b) = (RealNetwork::new(), RealNetwork::new());
        let at = b.listen(any_port()).expect("listening");
        let here = a.connect(at);
        let NetEvent::Opened {
            conn,
            inbound: false,
            from,
        } = next(&mut a).await
        else {
            panic!("opened")
        };
        assert_eq!((conn, from), (here, at));
        let NetEvent::Opened {
            conn: there,
            inbound: true,
            ..
        } = next(&mut b).await
        else {
            panic!("opened")
        };
        (a, here, b, there)
    }

    /// Bytes whose order matters.
    fn pattern(bytes: usize) -> Bytes {
        (0..bytes)
            .map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[3])
            .collect()
    }

    /// Sends all of `data` with at most 64 KiB queued while receiving as much; returns what came.
    async fn exchange(
        mut net: RealNetwork,
        conn: ConnId,
        mut data: Bytes,
    ) -> (RealNetwork, Vec<u8>) {
        let (mut got, whole) = (Vec::new(), data.len());
        let mut queued = 0;
        while !data.is_empty() || got.len() < whole || queued > 0 {
            if queued < 64 * 1024 && !data.is_empty() {
                let block = data.split_to(data.len().min(10_000));
                queued += block.len() as u64;
                net.send(conn, block);
                continue;
            }
            match next(&mut net).await {
                NetEvent::Data { data, .. } => got.extend_from_slice(&data),
                NetEvent::Room { queued: left, .. } => queued = left,
                other => panic!("{other:?}"),
            }
        }
        (net, got)
    }

    #[tokio::test]
    async fn eight_mib_cross_in_both_directions() {
        local(async {
            let (a, here, b, there) = pair().await;
            let data = pattern(8 * MIB);
            let ((_a, to_a), (_b, to_b)) = futures_util::future::join(
                exchange(a, here, data.clone()),
                exchange(b, there, data.clone()),
            )
            .await;
            assert!(to_a == data && to_b == data);
        })
        .await;
    }

    #[tokio::test]
    async fn a_slow_reader_stops_the_sender_and_loses_nothing() {
        local(async {
            let (mut a, here, mut b, there) = pair().await;
            let block = pattern(MIB);
            (0..64).for_each(|_| a.send(here, block.clone()));
            let mut queued = u64::MAX;
            while let Some(NetEvent::Room { queued: left, .. }) = soon(&mut a).await {
                queued = left;
            }
            assert!(
                queued > 0,
                "64 MiB do not fit between two ends of which one does not read"
            );
            let unread = b.link(there).expect("stands").unread();
            assert!(
                unread <= connection::UNREAD_MAX + connection::READ_BYTES_MAX,
                "{unread}"
            );
            a.close(here, CloseHow::Finish);
            let mut got = 0;
            loop {
                match next(&mut b).await {
                    NetEvent::Data { data, .. } => {
                        for (at, portion) in data.chunks(1).enumerate() {
                            assert_eq!(portion[0], block[(got + at) % MIB]);
                        }
                        got += data.len();
                    }
                    NetEvent::Closed {
                        how: Closed::ByPeer,
                        ..
                    } => break,
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(got, 64 * MIB);
        })
        .await;
    }

    #[tokio::test]
    async fn finishing_delivers_everything_even_with_bytes_unread() {
        local(async {
            let (mut a, here, mut b, there) = pair().await;
            b.send(there, pattern(100_000));
            let data = pattern(3 * MIB);
            a.send(here, data.clone());
            a.close(here, CloseHow::Finish);
            a.send(here, Bytes::from_static(b"too late"));
            let mut got = Vec::new();
            loop {
                match next(&mut b).await {
                    NetEvent::Data { data, .. } => got.extend_from_slice(&data),
                    NetEvent::Room { .. } => {}
                    NetEvent::Closed { conn, how } => {
                        assert_eq!((conn, how), (there, Closed::ByPeer));
                        break;
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(got, data);
            assert!(soon(&mut a).await.is_none(), "nothing follows a close");
        })
        .await;
    }

    #[tokio::test]
    async fn a_reset_is_heard_and_the_place_is_used_again() {
        local(async {
            let (mut a, here, mut b, there) = pair().await;
            a.close(here, CloseHow::Reset);
            let closed = next(&mut b).await;
            assert!(
                matches!(closed, NetEvent::Closed { conn, how: Closed::Reset } if conn == there),
                "{closed:?}"
            );
            b.send(there, Bytes::from_static(b"nobody"));
            b.close(there, CloseHow::Reset);
            let again = a.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
            assert_eq!(
                again,
                ConnId {
                    slot: here.slot,
                    generation: here.generation + 1
                }
            );
            assert!(soon(&mut b).await.is_none());
        })
        .await;
    }

    #[tokio::test]
    async fn a_dial_that_nobody_answers_fails_or_can_be_given_up() {
        local(async {
            let mut net = RealNetwork::new();
            let closed = std::net::TcpListener::bind(any_port()).and_then(|socket| socket.local_addr());
            let closed = closed.expect("a port that is free again");
            let conn = net.connect(closed);
            let failed = next(&mut net).await;
            assert!(
                matches!(failed, NetEvent::Failed { conn: c, why: ConnectError::Refused } if c == conn),
                "{failed:?}"
            );
            let given_up = net.connect(closed);
            net.close(given_up, CloseHow::Finish);
            assert!(soon(&mut net).await.is_none());
        })
        .await;
    }

    #[tokio::test]
    async fn ipv6_through_a_socket_for_both_families() {
        local(async {
            let (mut a, mut b) = (RealNetwork::new(), RealNetwork::new());
            // Not every machine that builds this has IPv6.
            let Ok(at) = b.listen(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))) else {
                return;
            };
            for ip in [
                IpAddr::from(Ipv6Addr::LOCALHOST),
                Ipv4Addr::LOCALHOST.into(),
            ] {
                let to = SocketAddr::new(ip, at.port());
                a.connect(to);
                let opened = next(&mut b).await;
                assert!(
                    matches!(opened, NetEvent::Opened { from, .. } if from.ip() == ip),
                    "{opened:?}"
                );
                assert!(matches!(next(&mut a).await, NetEvent::Opened { .. }));
            }
        })
        .await;
    }

    #[tokio::test]
    async fn datagrams_go_to_the_listening_port_and_back() {
        local(async {
            let (mut a, mut b) = (RealNetwork::new(), RealNetwork::new());
            let at = b.listen(any_port()).expect("listening");
            // `a` does not listen: it gets a socket when it needs one.
            a.send_to(at, Bytes::from_static(b"ping"));
            let NetEvent::Datagram { from, data } = next(&mut b).await else { panic!("datagram") };
            assert_eq!(data, "ping");
            b.send_to(SocketAddr::new(at.ip(), from.port()), Bytes::from_static(b"pong"));
            let answer = next(&mut a).await;
            assert!(matches!(&answer, NetEvent::Datagram { from, data } if *from == at && data == "pong"), "{answer:?}");
        })
        .await;
    }

    #[tokio::test]
    async fn names_and_literals_are_resolved() {
        local(async {
            let mut net = RealNetwork::new();
            let found = net
                .resolve("localhost", 80)
                .await
                .expect("every machine knows itself");
            assert!(found.ip().is_loopback() && found.port() == 80);
            let literal = net.resolve("[::1]", 6881).await.expect("a literal");
            assert_eq!(literal, SocketAddr::from((Ipv6Addr::LOCALHOST, 6881)));
        })
        .await;
    }
}

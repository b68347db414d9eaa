//! Owns [`RealNetwork`]: the sockets of one host behind the mailbox. One task per connection, one per
//! listening socket, two per datagram socket.
//!
//! Invariant: the mailbox is bounded: per connection by the bytes that it may hold, for connections
//! and datagrams from outside by their number; so are the connections that outlive their end. An event names only a connection that the caller
//! has been told of, in order, and none after its end; stale mail is dropped by its generation.

mod connection;
mod sockets;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket, lookup_host};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::network::{CloseHow, Closed, ConnectError, NetEvent, Network, Resolving};
use super::spawn::Tasks;
use crate::config::EngineConfig;
use crate::ids::ConnId;
use crate::wire::Chunk;
use connection::Link;

/// Connections that the system keeps until they are accepted.
const BACKLOG: u32 = 1024;

/// Ports that are tried when any will do, until one is free for connections and datagrams.
const PORT_TRIES: u32 = 8;

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
    datagrams_max: usize,
    connections: connection::Maxima,
}

impl Default for RealNetwork {
    fn default() -> RealNetwork {
        RealNetwork::new(&EngineConfig::default())
    }
}

impl RealNetwork {
    /// A network that does not listen yet; its maxima are those of the fields of `config` that speak of
    /// real sockets.
    #[must_use]
    pub fn new(config: &EngineConfig) -> RealNetwork {
        let (post, mail) = unbounded_channel();
        let places = |max: u32| (max as usize).clamp(1, Semaphore::MAX_PERMITS);
        let datagrams_max = places(config.datagrams_max);
        RealNetwork {
            tasks: Tasks::new(),
            mail,
            post: Post(post),
            slots: Vec::new(),
            free: Vec::new(),
            outlets: Vec::new(),
            accepted: Arc::new(Semaphore::new(places(config.accepted_max))),
            datagrams: Arc::new(Semaphore::new(datagrams_max)),
            datagrams_max,
            connections: connection::Maxima::of(config),
        }
    }

    /// Gives a new link the next free place.
    fn enter(&mut self) -> (ConnId, Rc<Link>) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).expect("a host has fewer than 2^32 connections")
        });
        let link = Rc::new(Link::new(self.connections.unread));
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
                Some(NetEvent::Data {
                    conn,
                    data: data.into(),
                })
            }
            Mail::Room { conn } => {
                let queued = self.link(conn)?.took_room();
                Some(NetEvent::Room { conn, queued })
            }
            Mail::Closed { conn, how } => self.leave(conn).map(|_| NetEvent::Closed { conn, how }),
            Mail::Accepted { stream, from, .. } => {
                let (conn, link) = self.enter();
                let task = connection::drive(
                    stream,
                    conn,
                    link,
                    self.post.clone(),
                    self.connections.clone(),
                );
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
        let (queue, outgoing) = mpsc::channel(self.datagrams_max);
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
        // From a loopback address nothing leaves the machine.
        let reaches = |at: &SocketAddr| to.ip().is_loopback() || !at.ip().is_loopback();
        let same = self
            .outlets
            .iter()
            .find(|outlet| outlet.at.is_ipv4() == to.is_ipv4() && reaches(&outlet.at));
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

/// A socket that connections can be made to.
fn listener(at: SocketAddr) -> io::Result<TcpListener> {
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
    socket.listen(BACKLOG)
}

/// An IPv4 address that came through an IPv6 socket as what it is.
fn canonical(at: SocketAddr) -> SocketAddr {
    SocketAddr::new(at.ip().to_canonical(), at.port())
}

impl Network for RealNetwork {
    fn listen(&mut self, at: SocketAddr) -> io::Result<SocketAddr> {
        let mut tries = if at.port() == 0 { PORT_TRIES } else { 1 };
        loop {
            tries -= 1;
            let listener = listener(at)?;
            let at = listener.local_addr()?;
            // Another program may have the port for datagrams. Of free ports one is taken that is free
            // for both; connections at a given port work without datagrams, and `hears_datagrams`
            // tells who needs them.
            if self.open_datagrams(at).is_err() && tries > 0 {
                continue;
            }
            let places = Arc::clone(&self.accepted);
            let accept = sockets::accept(listener, places, self.post.clone());
            self.tasks.spawn("accepting connections", accept);
            return Ok(at);
        }
    }

    fn hears_datagrams(&self, at: SocketAddr) -> bool {
        self.outlets.iter().any(|outlet| outlet.at == at)
    }

    fn connect(&mut self, to: SocketAddr) -> ConnId {
        let (conn, link) = self.enter();
        let task = connection::dial(to, conn, link, self.post.clone(), self.connections.clone());
        self.tasks.spawn("connection", task);
        conn
    }

    fn send(&mut self, conn: ConnId, data: impl Into<Chunk>) {
        if let Some(link) = self.link(conn) {
            link.send(data.into().into());
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
mod tests;

//! Owns a network of two hosts for the tests of this folder.
//!
//! Invariant: whatever is sent arrives at once, whole and in order; only the tests decide when either end looks.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::StreamHub;

use crate::ids::ConnId;
use crate::node::network::{CloseHow, Closed, ConnectError, NetEvent, Network};
use crate::wire::Chunk;

#[derive(Default)]
struct End {
    events: VecDeque<NetEvent>,
    waker: Option<Waker>,
    /// The other end's id of each live connection.
    links: BTreeMap<ConnId, ConnId>,
    slots: u32,
    listens: bool,
    hold_room: bool,
    /// Datagrams that get lost before one arrives.
    lose: u32,
    deaf: bool,
}

impl End {
    fn push(&mut self, event: NetEvent) {
        self.events.push_back(event);
        self.waker.take().into_iter().for_each(Waker::wake);
    }
    fn slot(&mut self) -> ConnId {
        self.slots += 1;
        let (slot, generation) = (self.slots, 0);
        ConnId { slot, generation }
    }
}

/// One end of the pair.
pub struct FakeNet {
    ends: Rc<RefCell<[End; 2]>>,
    me: usize,
}

/// Two hosts, 10.0.0.1 and 10.0.0.2.
pub fn pair() -> (FakeNet, FakeNet) {
    let ends = Rc::<RefCell<[End; 2]>>::default();
    let other = Rc::clone(&ends);
    (FakeNet { ends, me: 0 }, FakeNet { ends: other, me: 1 })
}

/// Where the end listens or connects from.
pub fn addr(me: usize, port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(10, 0, 0, 1 + me as u8), port))
}

impl FakeNet {
    /// From now on the network swallows what it gets and says nothing of room.
    pub fn hold_room(&self) {
        self.ends.borrow_mut()[self.me].hold_room = true;
    }
    /// The same for the network at the other end.
    pub fn hold_room_of_the_other_end(&self) {
        self.ends.borrow_mut()[1 - self.me].hold_room = true;
    }
    /// The next so many datagrams of this end get lost.
    pub fn lose_datagrams(&self, datagrams: u32) {
        self.ends.borrow_mut()[self.me].lose = datagrams;
    }
    /// Somebody else has this end's ports for datagrams.
    pub fn deafen(&self) {
        self.ends.borrow_mut()[self.me].deaf = true;
    }
    /// An event made by hand.
    pub fn inject(&self, event: NetEvent) {
        self.ends.borrow_mut()[self.me].push(event);
    }
}

impl Network for FakeNet {
    fn listen(&mut self, at: SocketAddr) -> io::Result<SocketAddr> {
        self.ends.borrow_mut()[self.me].listens = true;
        Ok(addr(self.me, at.port()))
    }
    fn connect(&mut self, _: SocketAddr) -> ConnId {
        let mut ends = self.ends.borrow_mut();
        let (me, you) = (self.me, 1 - self.me);
        let conn = ends[me].slot();
        if !ends[you].listens {
            let why = ConnectError::Refused;
            ends[me].push(NetEvent::Failed { conn, why });
            return conn;
        }
        let theirs = ends[you].slot();
        ends[me].links.insert(conn, theirs);
        ends[you].links.insert(theirs, conn);
        let from = addr(you, 80);
        ends[me].push(NetEvent::Opened {
            conn,
            from,
            inbound: false,
        });
        let from = addr(me, 50_000 + conn.slot as u16);
        ends[you].push(NetEvent::Opened {
            conn: theirs,
            from,
            inbound: true,
        });
        conn
    }
    fn send(&mut self, conn: ConnId, data: impl Into<Chunk>) {
        let data = data.into();
        let mut ends = self.ends.borrow_mut();
        let Some(theirs) = ends[self.me].links.get(&conn).copied() else {
            return;
        };
        ends[1 - self.me].push(NetEvent::Data { conn: theirs, data });
        if !ends[self.me].hold_room {
            ends[self.me].push(NetEvent::Room { conn, queued: 0 });
        }
    }
    fn close(&mut self, conn: ConnId, how: CloseHow) {
        let mut ends = self.ends.borrow_mut();
        if let Some(theirs) = ends[self.me].links.remove(&conn) {
            ends[1 - self.me].links.remove(&theirs);
            let how = match how {
                CloseHow::Finish => Closed::ByPeer,
                CloseHow::Reset => Closed::Reset,
            };
            ends[1 - self.me].push(NetEvent::Closed { conn: theirs, how });
        }
    }
    fn hears_datagrams(&self, _: SocketAddr) -> bool {
        !self.ends.borrow()[self.me].deaf
    }
    fn send_to(&mut self, _: SocketAddr, data: Bytes) {
        let mut ends = self.ends.borrow_mut();
        if ends[self.me].lose > 0 {
            ends[self.me].lose -= 1;
            return;
        }
        let from = addr(self.me, if self.me == 0 { 50_000 } else { 80 });
        ends[1 - self.me].push(NetEvent::Datagram { from, data });
    }
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<NetEvent> {
        let end = &mut self.ends.borrow_mut()[self.me];
        end.waker = Some(cx.waker().clone());
        end.events.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// Runs `work` over streams of `hub`, as a host's loop would.
pub async fn drive<T>(net: &mut FakeNet, hub: &mut StreamHub, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|cx| {
        while let Poll::Ready(event) = net.poll_event(cx) {
            // What nobody wants is what the hub closed already.
            let _ = hub.on_event(event);
        }
        let polled = work.as_mut().poll(cx);
        hub.pump(net, cx);
        polled
    })
    .await
}

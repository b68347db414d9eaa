//! Owns the network as one program on one turmoil host sees it: the engine's seam.
//!
//! Invariant: as on the fabric, dropping it is the end of the process: its connections are reset and nobody
//! listens any more. What the machine has still to send of connections that were closed before goes on.

use std::cell::{RefCell, RefMut};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use skep_engine::ConnId;
use skep_engine::node::network::{CloseHow, NetEvent, Network};
use skep_engine::wire::Chunk;

use super::machine::{Key, Machine, data_bytes};

/// The port that a program gets when it asks for any.
const ANY_PORT: u16 = 6881;

/// The network as one program on one turmoil host sees it. It is of use only on that host.
pub struct TurmoilNet {
    pub(super) machine: Rc<RefCell<Machine>>,
}

impl fmt::Debug for TurmoilNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TurmoilNet").finish_non_exhaustive()
    }
}

impl TurmoilNet {
    /// The machine as it is now: what is due before a program's command has happened.
    fn machine(&self) -> RefMut<'_, Machine> {
        let mut machine = self.machine.borrow_mut();
        machine.catch_up();
        machine
    }
}

impl Network for TurmoilNet {
    fn listen(&mut self, at: SocketAddr) -> io::Result<SocketAddr> {
        let mut machine = self.machine();
        if at.ip() != IpAddr::V4(machine.ip) && !at.ip().is_unspecified() {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let port = if at.port() == 0 { ANY_PORT } else { at.port() };
        machine.listen(port)?;
        Ok(SocketAddr::from((machine.ip, port)))
    }

    fn connect(&mut self, to: SocketAddr) -> ConnId {
        self.machine().dial(to)
    }

    fn send(&mut self, conn: ConnId, data: impl Into<Chunk>) {
        let data = Bytes::from(data.into());
        let mut machine = self.machine();
        let Some(Some(key)) = machine.find(conn) else {
            return;
        };
        let bytes = data.len() as u64;
        machine.ledger.count(|totals| totals.sent += bytes);
        let conn = machine.conns.get_mut(&key).expect("it has an id");
        conn.push(data);
        let other = conn.other;
        let between_peers = {
            let known = machine.ledger.known.borrow();
            known[&other].peer && known[&machine.ip].peer
        };
        if between_peers {
            machine.sent_to_peers += bytes;
        }
        machine.offer(key);
    }

    fn close(&mut self, conn: ConnId, how: CloseHow) {
        let mut machine = self.machine();
        let Some(key) = machine.find(conn) else {
            return;
        };
        let mut unread = 0;
        machine.mailbox.retain(|event| {
            let gone = event_conn(event) == Some(conn);
            unread += if gone { data_bytes(event) } else { 0 };
            !gone
        });
        machine.ledger.count(|totals| totals.dropped += unread);
        match (key, how) {
            (None, _) => machine.release(conn),
            (Some(key), CloseHow::Reset) => machine.reset(key),
            (Some(key), CloseHow::Finish) => {
                machine.release(conn);
                if let Some(entry) = machine.conns.get_mut(&key) {
                    entry.finishing = true;
                    machine.offer(key);
                }
            }
        }
    }

    fn send_to(&mut self, to: SocketAddr, datagram: Bytes) {
        self.machine().send_datagram(to, &datagram);
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<NetEvent> {
        let mut machine = self.machine.borrow_mut();
        let Some(event) = machine.mailbox.pop_front() else {
            if !machine
                .waker
                .as_ref()
                .is_some_and(|waker| waker.will_wake(cx.waker()))
            {
                machine.waker = Some(cx.waker().clone());
            }
            return Poll::Pending;
        };
        if let NetEvent::Data { conn, data } = &event {
            let bytes = data.len() as u64;
            machine.ledger.count(|totals| totals.delivered += bytes);
            // The program read: room for the other end one delay later. The driver tells it.
            if let Some(Some(key)) = machine.find(*conn)
                && let Some(entry) = machine.conns.get_mut(&key)
            {
                if entry.unacked == 0 {
                    machine.unacked.push(key);
                    machine.wake_driver();
                }
                let entry = machine.conns.get_mut(&key).expect("it is there");
                entry.unacked += bytes;
            }
        }
        Poll::Ready(event)
    }
}

fn event_conn(event: &NetEvent) -> Option<ConnId> {
    match event {
        NetEvent::Opened { conn, .. }
        | NetEvent::Failed { conn, .. }
        | NetEvent::Data { conn, .. }
        | NetEvent::Room { conn, .. }
        | NetEvent::Closed { conn, .. } => Some(*conn),
        NetEvent::Datagram { .. } => None,
    }
}

impl Drop for TurmoilNet {
    fn drop(&mut self) {
        // When the run is over nothing happens any more.
        if !::turmoil::in_simulation() {
            return;
        }
        let mut machine = self.machine();
        let standing = machine.conns.iter().filter(|(_, conn)| conn.id.is_some());
        let standing: Vec<Key> = standing.map(|(key, _)| *key).collect();
        for key in standing {
            machine.reset(key);
        }
        machine.running = false;
        machine.listening = None;
        machine.datagrams = None;
        machine.waker = None;
        machine.release_all();
    }
}

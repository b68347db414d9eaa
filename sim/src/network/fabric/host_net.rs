//! Owns the network as one program on one host sees it: the engine's seam.
//!
//! Invariant: dropping it is the end of the process, whose connections are reset; nothing here
//! blocks, and what happens comes through the mailbox.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use skep_engine::ConnId;
use skep_engine::node::network::{CloseHow, Coming, NetEvent, Network};
use skep_engine::node::whereabouts::Whereabouts;
use skep_engine::prefetch;
use skep_engine::wire::Chunk;
use tokio::time::Instant;

use super::post::{Mail, NOWHERE};
use super::{Datagram, EPHEMERAL_FROM, End, Fabric, Fact, HostIndex, State, data_bytes};
use crate::network::flow::{Flow, Read};

/// The network as one program on one host sees it.
#[derive(Debug)]
pub struct FabricNet {
    pub(super) fabric: Fabric,
    pub(super) host: HostIndex,
}

impl FabricNet {
    /// The network as it is now: what is due before a host's command has happened. Else a host that
    /// wakes before the driver would move the moment of those facts up to the timer's millisecond,
    /// and a link would idle in between.
    fn state(&self) -> std::cell::RefMut<'_, State> {
        let mut state = self.fabric.0.borrow_mut();
        state.handle_due();
        state
    }

    /// Queues both before either may leave: an idle uplink would carry a block's head alone.
    fn write(&mut self, conn: ConnId, first: Chunk, second: Chunk) {
        let host = self.host;
        let mut state = self.state();
        let Some(end) = state.end_of(host, conn) else {
            return;
        };
        let bytes = (first.len() + second.len()) as u64;
        state.totals.sent += bytes;
        let conn = state.conn(end).expect("it has an end");
        let between_peers = conn.between_peers;
        let flow = &mut conn.flows[usize::from(end.side)];
        flow.push(first);
        flow.push(second);
        if between_peers {
            state.hosts[host as usize].sent_to_peers += bytes;
        }
        state.offer(end);
    }
}

impl Network for FabricNet {
    fn listen(&mut self, at: SocketAddr) -> io::Result<SocketAddr> {
        let mut state = self.state();
        let host = &mut state.hosts[self.host as usize];
        if at.ip() != IpAddr::V4(host.ip) && !at.ip().is_unspecified() {
            return Err(io::Error::from(io::ErrorKind::AddrNotAvailable));
        }
        let port = if at.port() == 0 { 6881 } else { at.port() };
        if host.listening.is_some() {
            return Err(io::Error::from(io::ErrorKind::AddrInUse));
        }
        host.listening = Some(port);
        Ok(SocketAddr::from((host.ip, port)))
    }

    fn connect(&mut self, to: SocketAddr) -> ConnId {
        let host = self.host;
        self.state().dial(host, to)
    }

    fn send(&mut self, conn: ConnId, data: impl Into<Chunk>) {
        self.write(conn, data.into(), Chunk::new());
    }

    fn send_both(&mut self, conn: ConnId, head: impl Into<Chunk>, body: impl Into<Chunk>) {
        self.write(conn, head.into(), body.into());
    }

    fn close(&mut self, conn: ConnId, how: CloseHow) {
        let host = self.host;
        let mut state = self.state();
        let Some(end) = state.end_of(host, conn) else {
            return state.forget_dial_to_nobody(host, conn);
        };
        let State { hosts, post, .. } = &mut *state;
        let mailbox = &mut hosts[host as usize].mailbox;
        let gone = post.take(mailbox, |event| event_conn(event) == Some(conn));
        state.totals.dropped += gone.iter().map(data_bytes).sum::<u64>();
        match how {
            CloseHow::Reset => state.reset_from(end),
            CloseHow::Finish => {
                state.unassign(end);
                if let Some(flow) = state.flow(end) {
                    flow.finishing = true;
                    state.offer(end);
                }
            }
        }
    }

    fn send_to(&mut self, to: SocketAddr, datagram: Bytes) {
        let host = self.host;
        let mut state = self.state();
        let IpAddr::V4(ip) = to.ip() else { return };
        let Some(&other) = state.by_ip.get(&ip) else {
            return;
        };
        let near = &state.hosts[host as usize];
        let from = SocketAddr::from((near.ip, near.listening.unwrap_or(EPHEMERAL_FROM)));
        let number = state.next_datagram;
        state.next_datagram = number.wrapping_add(1);
        let crossing = state.next_crossing(host, other);
        let datagram = Datagram {
            hosts: [host, other],
            from,
            to_port: to.port(),
            data: datagram,
            rng: state.stream_of([host, other], crossing),
        };
        state.datagrams.insert(number, datagram);
        state.hosts[host as usize].up_datagrams.push_back(number);
        state.kick_uplink(host);
    }

    fn now(&mut self) -> Instant {
        let mut state = self.fabric.0.borrow_mut();
        state.clock.epoch() + Duration::from_nanos(state.clock.read())
    }

    fn lies_at(&mut self, host: Whereabouts) {
        self.fabric.0.borrow_mut().near[self.host as usize] = host;
    }

    fn expected(&self, mut each: impl FnMut(ConnId, Coming<'_>)) {
        let state = self.fabric.0.borrow();
        for mail in state.post.waiting(state.hosts[self.host as usize].mailbox) {
            match &mail.event {
                NetEvent::Data { conn, data } => each(*conn, Coming::Data(data)),
                NetEvent::Room { conn, .. } => each(*conn, Coming::Room),
                _ => {}
            }
        }
    }

    fn prefetch_answers(&self) {
        let state = self.fabric.0.borrow();
        let entry = &state.hosts[self.host as usize];
        for mail in state.post.waiting(entry.mailbox) {
            let Some(conn) = event_conn(&mail.event).filter(|_| mail.at != NOWHERE) else {
                continue;
            };
            if let Some(slot) = entry.slots.get(conn.slot as usize) {
                prefetch::front(slot);
            }
            state.prefetch_send(mail.at);
        }
    }

    fn prefetch_sends(&self, conns: impl Iterator<Item = ConnId> + Clone) {
        let state = self.fabric.0.borrow();
        let slots = &state.hosts[self.host as usize].slots;
        for conn in conns.clone() {
            if let Some(slot) = slots.get(conn.slot as usize) {
                prefetch::front(slot);
            }
        }
        for conn in conns {
            if let Some(end) = state.end_of(self.host, conn) {
                state.prefetch_send(end);
            }
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<NetEvent> {
        let host = self.host;
        let mut state = self.fabric.0.borrow_mut();
        let State { hosts, post, .. } = &mut *state;
        let entry = &mut hosts[host as usize];
        let Some(Mail { event, at }) = post.pop(&mut entry.mailbox) else {
            entry.woken = false;
            if !entry
                .waker
                .as_ref()
                .is_some_and(|w| w.will_wake(cx.waker()))
            {
                entry.waker = Some(cx.waker().clone());
            }
            return Poll::Pending;
        };
        if let NetEvent::Data { conn, data } = &event {
            let bytes = data.len() as u64;
            state.totals.delivered += bytes;
            state.handle_due();
            let now = state.now;
            if let Some(here) = state.conn(at)
                && here.ids[usize::from(at.side)] == Some(*conn)
                && let Some(flow) = state.flow(at.other())
            {
                // The receiver read: room for the sender one delay later.
                let read = flow.read(bytes, now);
                match read {
                    Read::Heard(then) => {
                        if !flow.in_ring && !flow.waking && flow.unsent_bytes > 0 {
                            flow.waking = true;
                            state.plan(then, Fact::Wake(at.other()));
                        }
                    }
                    Read::Lost { first: true } => state.misses(at.other()),
                    Read::Lost { first: false } => {}
                }
                if let Some(tap) = &mut state.tap {
                    tap.read(at.other(), bytes, read);
                }
            }
        }
        // What comes is often answered there.
        if at != NOWHERE {
            state.prefetch_flow(at, Flow::prefetch_unsent);
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

impl Drop for FabricNet {
    fn drop(&mut self) {
        let host = self.host;
        let mut state = self.state();
        let ends: Vec<End> = state.hosts[host as usize]
            .slots
            .iter()
            .filter_map(|s| s.1)
            .collect();
        for end in ends {
            state.reset_from(end);
        }
        let State { hosts, post, .. } = &mut *state;
        let entry = &mut hosts[host as usize];
        let unread = post.take(&mut entry.mailbox, |_| true);
        entry.running = false;
        entry.listening = None;
        (entry.waker, entry.woken) = (None, false);
        // Dials to nobody hold a slot and no connection.
        entry.free_slots.clear();
        for (slot, (generation, _)) in entry.slots.iter_mut().enumerate().rev() {
            *generation += 1;
            let slot = u32::try_from(slot).expect("fewer connections than 2^32");
            entry.free_slots.push(slot);
        }
        state.totals.dropped += unread.iter().map(data_bytes).sum::<u64>();
    }
}

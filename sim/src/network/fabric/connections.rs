//! Owns how connections come to be and end: dials, answers, resets, and the ids that hosts know them
//! by.
//!
//! Invariant: an id is free again exactly when its host knows the connection no more; a connection
//! that neither host knows and that has nothing under way is freed.

use std::net::{IpAddr, SocketAddr, SocketAddrV4};

use rand_chacha::ChaCha8Rng;
use skep_engine::ConnId;
use skep_engine::node::network::{Closed, ConnectError, NetEvent};

use super::cuts::Handshake;
use super::{BACKLOG_MAX, Conn, EPHEMERAL_FROM, End, Fact, HostIndex, REFUSED, State};
use crate::network::draws::exponential_ns;
use crate::network::flow::Flow;
use crate::network::link::SEGMENT_OVERHEAD;
use crate::seed;

impl State {
    /// Gives a host's end of a connection an id there.
    pub(super) fn assign(&mut self, host: HostIndex, end: End) -> ConnId {
        let host = &mut self.hosts[host as usize];
        let slot = host.free_slots.pop().unwrap_or_else(|| {
            host.slots.push((0, None));
            u32::try_from(host.slots.len() - 1).expect("fewer connections than 2^32")
        });
        let entry = &mut host.slots[slot as usize];
        entry.1 = Some(end);
        ConnId {
            slot,
            generation: entry.0,
        }
    }

    /// The end behind a host's id, while it stands.
    pub(super) fn end_of(&self, host: HostIndex, id: ConnId) -> Option<End> {
        let (generation, end) = self.hosts[host as usize].slots.get(id.slot as usize)?;
        if *generation == id.generation {
            *end
        } else {
            None
        }
    }

    /// Takes an end's id away from its host; true when it had one.
    pub(super) fn unassign(&mut self, end: End) -> Option<ConnId> {
        let conn = self.conn(end)?;
        let host = conn.hosts[usize::from(end.side)];
        let id = conn.ids[usize::from(end.side)].take()?;
        let host = &mut self.hosts[host as usize];
        let entry = &mut host.slots[id.slot as usize];
        *entry = (entry.0 + 1, None);
        host.free_slots.push(id.slot);
        Some(id)
    }

    pub(super) fn dial(&mut self, host: HostIndex, to: SocketAddr) -> ConnId {
        let IpAddr::V4(ip) = to.ip() else {
            return self.dial_nobody(host);
        };
        let Some(&other) = self.by_ip.get(&ip) else {
            return self.dial_nobody(host);
        };
        let from = &mut self.hosts[host as usize];
        let port = from.next_port;
        from.next_port = port.checked_add(1).unwrap_or(EPHEMERAL_FROM);
        from.up_debt += 2 * SEGMENT_OVERHEAD;
        let flows = [self.path(host, other), self.path(other, host)].map(Flow::new);
        let delay = flows[0].path.delay_ns;
        let place = |host: HostIndex| &self.hosts[host as usize].place;
        let breaks = place(host).reset_every(place(other));
        let crossing = self.next_crossing(host, other);
        let mut rng = None;
        let breaks = breaks.map(|mean| {
            let mut stream = self.stream_of([host, other], crossing);
            let after = exponential_ns(mean, &mut stream);
            rng = Some(Box::new(stream));
            after
        });
        let index = self.free_conns.pop();
        let generation = index.map_or(0, |i| self.conns[i as usize].generation + 1);
        let conn = Conn {
            generation,
            between_peers: [host, other].iter().all(|h| self.hosts[*h as usize].peer),
            hosts: [host, other],
            ports: [port, to.port()],
            ids: [None; 2],
            flows,
            crossing,
            rng,
            live: true,
        };
        let windows = conn.flows.each_ref().map(|flow| flow.path.window);
        let index = match index {
            Some(index) => {
                self.conns[index as usize] = conn;
                index
            }
            None => {
                self.conns.push(conn);
                u32::try_from(self.conns.len() - 1).expect("fewer connections than 2^32")
            }
        };
        let end = End {
            conn: index,
            generation,
            side: 0,
        };
        if let Some(tap) = &mut self.tap {
            let ips = [host, other].map(|host| self.hosts[host as usize].ip);
            let addrs = [(ips[0], port), (ips[1], to.port())];
            let addrs = addrs.map(|(ip, port)| SocketAddrV4::new(ip, port));
            tap.dial(end, [host, other], addrs, windows);
        }
        let id = self.assign(host, end);
        self.conns[index as usize].ids[0] = Some(id);
        if self.cuts > 0 {
            self.look_at_path(end);
        }
        self.plan(self.now + delay, Fact::Knock(end));
        if let Some(after) = breaks {
            self.plan(self.now.saturating_add(after), Fact::Breaks(end));
        }
        id
    }

    /// A dial to an address where no machine is: no answer ever comes.
    pub(super) fn dial_nobody(&mut self, host: HostIndex) -> ConnId {
        let host = &mut self.hosts[host as usize];
        let slot = host.free_slots.pop().unwrap_or_else(|| {
            host.slots.push((0, None));
            u32::try_from(host.slots.len() - 1).expect("fewer connections than 2^32")
        });
        ConnId {
            slot,
            generation: host.slots[slot as usize].0,
        }
    }

    /// A dial that was never answered is given up.
    pub(super) fn forget_dial_to_nobody(&mut self, host: HostIndex, id: ConnId) {
        let host = &mut self.hosts[host as usize];
        if let Some(entry) = host.slots.get_mut(id.slot as usize)
            && *entry == (id.generation, None)
        {
            entry.0 += 1;
            host.free_slots.push(id.slot);
        }
    }

    /// The number of the next connection or datagram from one host to another: how often they spoke.
    pub(super) fn next_crossing(&mut self, from: HostIndex, to: HostIndex) -> u64 {
        let number = self.crossings.entry((from, to)).or_default();
        *number += 1;
        *number
    }

    /// The stream of a connection or datagram. It depends on its two hosts and on how often they spoke,
    /// so that one more peer moves nobody else's draws.
    pub(super) fn stream_of(&self, [from, to]: [HostIndex; 2], crossing: u64) -> ChaCha8Rng {
        let name = |host: HostIndex| &self.hosts[host as usize].name;
        let path = format!("path/{}/{}/{crossing}", name(from), name(to));
        seed::stream(self.seed, &path)
    }

    pub(super) fn on_knock(&mut self, end: End) {
        match self.handshake(end, Fact::Knock(end)) {
            Handshake::Arrives => {}
            Handshake::Again => return,
            Handshake::GivenUp => return self.fail_dial(end, ConnectError::Unreachable),
        }
        if let Some(tap) = &mut self.tap {
            tap.syn(self.now, end);
        }
        let Some(conn) = self.conn(end) else { return };
        let (index, port, back) = (conn.hosts[1], conn.ports[1], conn.flows[1].path.delay_ns);
        let host = &mut self.hosts[index as usize];
        let accepts = host.running && host.listening == Some(port) && host.accepting < BACKLOG_MAX;
        host.up_debt += SEGMENT_OVERHEAD;
        if accepts {
            host.accepting += 1;
        }
        let at = if accepts { index } else { REFUSED };
        self.plan(self.now + back, Fact::Answer(end, at));
    }

    /// Where an end of a connection that stands is.
    fn addr_of(&self, end: End) -> SocketAddr {
        let conn = &self.conns[end.conn as usize];
        let side = usize::from(end.side);
        let host = &self.hosts[conn.hosts[side] as usize];
        SocketAddr::from((host.ip, conn.ports[side]))
    }

    pub(super) fn on_answer(&mut self, end: End, at: HostIndex) {
        let fate = self.handshake(end.other(), Fact::Answer(end, at));
        if fate == Handshake::Again {
            return;
        }
        if let Some(tap) = &mut self.tap
            && fate == Handshake::Arrives
        {
            tap.answer(self.now, end, at != REFUSED);
        }
        let fails = match (fate, at) {
            (Handshake::GivenUp, _) => Some(ConnectError::Unreachable),
            (_, REFUSED) => Some(ConnectError::Refused),
            _ => None,
        };
        if let Some(why) = fails {
            if at != REFUSED {
                self.hosts[at as usize].accepting -= 1;
            }
            return self.fail_dial(end, why);
        }
        let Some(conn) = self.conn(end) else {
            // The dialler gave up in between.
            self.hosts[at as usize].accepting -= 1;
            return;
        };
        let there = conn.flows[0].path.delay_ns;
        self.plan(self.now + there, Fact::Accepted(end, at));
        let conn = self.conn(end).expect("it is live");
        let (host, id) = (conn.hosts[0], conn.ids[0]);
        conn.flows[0].open = true;
        let from = self.addr_of(end.other());
        // Without an id the dialler finished already: what it wrote still goes out.
        if let Some(conn) = id {
            let inbound = false;
            self.deliver(
                host,
                NetEvent::Opened {
                    conn,
                    from,
                    inbound,
                },
            );
        }
        self.offer(end);
    }

    /// A dial comes to nothing: what was written for it is dropped.
    pub(super) fn fail_dial(&mut self, end: End, why: ConnectError) {
        let Some(conn) = self.conn(end) else { return };
        let (host, gone) = (conn.hosts[0], conn.flows[0].clear());
        self.totals.dropped += gone;
        let id = self.unassign(end);
        self.free_if_over(end);
        if let Some(conn) = id {
            self.deliver(host, NetEvent::Failed { conn, why });
        }
    }

    pub(super) fn on_accepted(&mut self, end: End, host: HostIndex) {
        if self.loses_acceptance(end) {
            return;
        }
        if let Some(tap) = &mut self.tap {
            tap.accepted(self.now, end);
        }
        self.hosts[host as usize].accepting -= 1;
        if self.conn(end).is_none() {
            return;
        }
        let far = end.other();
        let entry = &self.hosts[host as usize];
        if !entry.running || entry.listening.is_none() {
            // The program ended in between.
            self.reset_from(far);
            return;
        }
        let id = self.assign(host, far);
        let conn = &mut self.conns[end.conn as usize];
        conn.ids[1] = Some(id);
        conn.flows[1].open = true;
        let from = self.addr_of(end);
        self.deliver(
            host,
            NetEvent::Opened {
                conn: id,
                from,
                inbound: true,
            },
        );
    }

    /// The connection is over at this end: its host hears of it.
    pub(super) fn end_at(&mut self, end: End, how: Closed) {
        let Some(conn) = self.conn(end) else { return };
        let host = conn.hosts[usize::from(end.side)];
        let flow = &mut conn.flows[usize::from(end.side)];
        flow.finishing = true;
        let gone = flow.clear();
        self.totals.dropped += gone;
        if let Some(id) = self.unassign(end) {
            self.deliver(host, NetEvent::Closed { conn: id, how });
        }
        self.free_if_over(end);
    }

    /// A reset leaves from this end.
    pub(super) fn reset_from(&mut self, end: End) {
        self.unassign(end);
        let now = self.now;
        let Some(flow) = self.flow(end) else { return };
        flow.finishing = true;
        let (at, gone) = (now + flow.path.delay_ns, flow.clear());
        self.totals.dropped += gone;
        if let Some(tap) = &mut self.tap {
            tap.reset_leaves(end, at);
        }
        self.plan(at, Fact::ResetArrives(end));
        self.free_if_over(end);
    }

    /// A reset from this end's side reaches the other end, if it gets there: else that one goes on in vain.
    pub(super) fn on_reset_arrives(&mut self, end: End) {
        if let Some(conn) = self.conn(end)
            && conn.flows[usize::from(end.side)].is_cut()
        {
            return self.orphan(end.other());
        }
        self.tap_reset(end);
        self.end_at(end.other(), Closed::Reset);
    }

    /// Frees a connection that neither host knows any more and that has nothing under way.
    pub(super) fn free_if_over(&mut self, end: End) {
        let Some(conn) = self.conn(end) else { return };
        // Arrivals of what was lost are still due: they must not meet another connection's flow, and cannot:
        // its generation is another one.
        if conn.ids == [None; 2] && conn.flows.iter().all(Flow::is_idle) {
            conn.live = false;
            let hosts = conn.hosts;
            if conn.flows[0].is_unaccepted() {
                self.hosts[hosts[1] as usize].accepting -= 1;
            }
            if let Some(tap) = &mut self.tap {
                tap.freed(end, self.now);
            }
            for side in [0, 1] {
                let end = End { side, ..end };
                self.hosts[hosts[usize::from(side)] as usize].up.leave(end);
                let far = &mut self.hosts[hosts[usize::from(1 - side)] as usize];
                far.down.leave(end);
            }
            self.free_conns.push(end.conn);
        }
    }
}

//! Owns how bytes cross: from a sender's queue over its uplink, the path and the receiver's downlink
//! into the mailbox.
//!
//! Invariant: a link carries one parcel at a time, in the order of its fair queue; a FIN takes effect
//! behind the last byte.

use std::net::{SocketAddr, SocketAddrV4};

use skep_engine::node::network::{Closed, NetEvent};

use super::{Datagram, End, Fact, HostIndex, State};
use crate::network::flow::{Flow, Next, Turn};
use crate::network::link::{SEGMENT_BYTES, transmit_ns, wire_bytes};
use crate::network::parcels::Parcel;

impl State {
    /// The flow from `end` may have something to send: puts it into its uplink's queue.
    pub(super) fn offer(&mut self, end: End) {
        if let Some(host) = self.queue_up(end) {
            self.kick_uplink(host);
        }
    }

    /// As [`State::offer`]; returns its host when the uplink has to be looked after.
    fn queue_up(&mut self, end: End) -> Option<HostIndex> {
        let now = self.now;
        let conn = self.conn(end)?;
        let host = conn.hosts[usize::from(end.side)];
        let flow = &mut conn.flows[usize::from(end.side)];
        if flow.in_ring {
            return None;
        }
        match flow.turn(now) {
            Turn::Now => {
                flow.in_ring = true;
                self.hosts[host as usize].up.join(end);
                return Some(host);
            }
            Turn::At(at) if !flow.waking => {
                flow.waking = true;
                self.plan(at, Fact::Wake(end));
            }
            Turn::At(_) | Turn::Later => {}
            Turn::Nothing => self.finish_if_asked(end),
        }
        None
    }

    /// Everything is sent: FIN follows if the sender finished.
    pub(super) fn finish_if_asked(&mut self, end: End) {
        let now = self.now;
        let Some(flow) = self.flow(end) else { return };
        if flow.finishing && !flow.fin_sent {
            flow.fin_sent = true;
            let at = (now + flow.path.delay_ns).max(flow.last_arrival);
            flow.last_arrival = at;
            flow.send_fin();
            self.plan(at, Fact::Arrive(end));
        }
    }

    /// Starts what is next on an idle uplink: a parcel, or several small ones that make a segment.
    pub(super) fn kick_uplink(&mut self, host: HostIndex) {
        let now = self.now;
        let mut carried = 0;
        loop {
            let entry = &mut self.hosts[host as usize];
            let (datagram, turn) = (entry.up_datagrams.front().copied(), entry.up.turn());
            if entry.up_busy || (datagram.is_none() && turn.is_none()) {
                return;
            }
            // It carries still, or has enough for now: who waits has a turn when it is free.
            if entry.up_free > now && !(1..SEGMENT_BYTES).contains(&carried) {
                entry.up_busy = true;
                let free = entry.up_free;
                return self.plan(free, Fact::UplinkFree(host));
            }
            if let Some(number) = datagram {
                self.hosts[host as usize].up_datagrams.pop_front();
                carried += self.carry_datagram(host, number);
                continue;
            }
            let Some(end) = turn else { return };
            if carried > 0 {
                self.prefetch_turns_behind(host);
            }
            let Some(flow) = self.flow(end) else {
                self.hosts[host as usize].up.sent(0, false);
                continue;
            };
            if flow.turn(now) != Turn::Now {
                flow.in_ring = false;
                self.hosts[host as usize].up.sent(0, false);
                self.queue_up(end);
                continue;
            }
            carried += self.carry_up(host, end);
        }
    }

    /// The uplink takes the next parcel of a flow that has its turn; returns its bytes on the wire.
    fn carry_up(&mut self, host: HostIndex, end: End) -> u64 {
        let now = self.now;
        let entry = &mut self.hosts[host as usize];
        let flow = &mut self.conns[end.conn as usize].flows[usize::from(end.side)];
        let from = entry.up_free.max(now);
        let bytes = flow.send(from);
        let wire = wire_bytes(bytes) + std::mem::take(&mut entry.up_debt);
        let more = flow.turn(now) == Turn::Now;
        flow.in_ring = more;
        entry.sent_wire += wire;
        entry.up.sent(wire, more);
        entry.up_free = from + transmit_ns(wire, entry.up.rate());
        let done = entry.up_free;
        let delay = match flow.path.steady_delay() {
            Some(delay) => delay,
            None => self.drawn_delay(end, bytes),
        };
        let conn = &mut self.conns[end.conn as usize];
        let id = conn.ids[usize::from(end.side)];
        let flow = &mut conn.flows[usize::from(end.side)];
        let at = (done + delay).max(flow.last_arrival);
        flow.last_arrival = at;
        self.plan(at, Fact::Arrive(end));
        if let Some(id) = id {
            self.tell_room(host, id, end, bytes);
        }
        if !more {
            self.queue_up(end);
        }
        wire
    }

    /// The delay of a parcel on a path that draws.
    fn drawn_delay(&mut self, end: End, bytes: u64) -> u64 {
        let conn = &mut self.conns[end.conn as usize];
        let mut rng = match conn.rng.take() {
            Some(rng) => rng,
            None => {
                let (hosts, crossing) = (conn.hosts, conn.crossing);
                Box::new(self.stream_of(hosts, crossing))
            }
        };
        let conn = &mut self.conns[end.conn as usize];
        let delay = conn.flows[usize::from(end.side)]
            .path
            .parcel_delay(bytes, &mut rng);
        conn.rng = Some(rng);
        delay
    }

    /// The uplink takes a datagram; returns its bytes on the wire.
    fn carry_datagram(&mut self, host: HostIndex, number: u32) -> u64 {
        let now = self.now;
        let Some(mut datagram) = self.datagrams.remove(&number) else {
            return 0;
        };
        let path = self.path(datagram.hosts[0], datagram.hosts[1]);
        let bytes = datagram.data.len() as u64;
        let entry = &mut self.hosts[host as usize];
        let wire = wire_bytes(bytes) + std::mem::take(&mut entry.up_debt);
        entry.sent_wire += wire;
        entry.up_free = entry.up_free.max(now) + transmit_ns(wire, entry.up.rate());
        let done = entry.up_free;
        if let Some(delay) = path.datagram_delay(bytes, &mut datagram.rng) {
            self.datagrams.insert(number, datagram);
            self.plan(done + delay, Fact::Datagram(number));
        }
        wire
    }

    /// A datagram arrives.
    pub(super) fn on_datagram(&mut self, number: u32) {
        let Some(Datagram {
            hosts: [near, far],
            from,
            to_port,
            data,
            ..
        }) = self.datagrams.remove(&number)
        else {
            return;
        };
        if self.is_cut(near, far) {
            return self.note_hit(near, far);
        }
        if let (Some(tap), SocketAddr::V4(from)) = (&mut self.tap, from) {
            let to = SocketAddrV4::new(self.hosts[far as usize].ip, to_port);
            tap.datagram(self.now, [from, to], data.clone());
        }
        if self.hosts[far as usize].listening.is_some() {
            self.deliver(far, NetEvent::Datagram { from, data });
        }
    }

    pub(super) fn on_arrive(&mut self, end: End) {
        let (now, tick) = (self.now, self.tick);
        let Some(conn) = self.conn(end) else { return };
        if conn.flows[usize::from(end.side)].is_troubled() && !self.gets_through(end) {
            return;
        }
        let conn = &mut self.conns[end.conn as usize];
        let host = conn.hosts[usize::from(1 - end.side)];
        let flow = &mut conn.flows[usize::from(end.side)];
        match flow.next_in_transit() {
            Some(Next::Data(bytes)) => {
                let entry = &mut self.hosts[host as usize];
                if entry.down_carries.is_none() && entry.down.is_empty() {
                    // Nobody else wants the downlink. What it has carried before the clock's next look is
                    // there at that look, without a fact of its own.
                    let from = entry.down_free.max(now);
                    let done = from + transmit_ns(wire_bytes(bytes), entry.down.rate());
                    if done <= tick
                        && let Some(parcel) = flow.take_in_transit()
                    {
                        if let Some(tap) = &mut self.tap {
                            tap.data(end, &parcel, from, entry.down.rate());
                        }
                        entry.down_free = done;
                        return self.hand_over(host, end, parcel);
                    }
                }
                // While its front is carried, the flow stands in the queue or will rejoin.
                if flow.arrive() && entry.down_carries != Some(end) {
                    entry.down.join(end);
                }
                self.kick_downlink(host);
            }
            Some(Next::Fin) => self.fin_after_data(end),
            None => {}
        }
    }

    /// A parcel is through: it goes to its receiver's mailbox.
    fn hand_over(&mut self, host: HostIndex, end: End, parcel: Parcel) {
        let conn = self.conn(end).expect("it had a parcel");
        let Some(conn) = conn.ids[usize::from(1 - end.side)] else {
            // Its receiver closed; the sender hears of it when the reset arrives.
            self.totals.dropped += parcel.bytes();
            return self.free_if_over(end);
        };
        let Parcel { first, second } = parcel;
        let at = end.other();
        self.deliver_at(host, at, NetEvent::Data { conn, data: first });
        if !second.is_empty() {
            let data = second;
            self.deliver_at(host, at, NetEvent::Data { conn, data });
        }
    }

    /// FIN takes effect behind the last byte.
    pub(super) fn fin_after_data(&mut self, end: End) {
        let Some(flow) = self.flow(end) else { return };
        if !flow.has_arrived() {
            flow.take_in_transit();
            self.tap_fin(end);
            self.end_at(end.other(), Closed::ByPeer);
        }
    }

    /// Starts the next parcel on an idle downlink.
    pub(super) fn kick_downlink(&mut self, host: HostIndex) {
        while self.hosts[host as usize].down_carries.is_none() {
            let Some(end) = self.hosts[host as usize].down.turn() else {
                return;
            };
            let bytes = self.flow(end).and_then(|flow| flow.first_arrived());
            let entry = &mut self.hosts[host as usize];
            let Some(bytes) = bytes else {
                entry.down.sent(0, false);
                continue;
            };
            entry.down_carries = Some(end);
            let from = entry.down_free.max(self.now);
            entry.down_free = from + transmit_ns(wire_bytes(bytes), entry.down.rate());
            let done = entry.down_free;
            self.tap_downlink(end, from);
            self.plan(done, Fact::DownlinkFree(host));
        }
    }

    pub(super) fn on_downlink_free(&mut self, host: HostIndex) {
        let Some(end) = self.hosts[host as usize].down_carries.take() else {
            return;
        };
        let parcel = self.flow(end).and_then(Flow::take_arrived);
        match parcel {
            None => self.hosts[host as usize].down.sent(0, false),
            Some(parcel) => {
                let bytes = parcel.bytes();
                let now = self.now;
                let (more, fin) = {
                    let conn = self.conn(end).expect("it had a parcel");
                    let flow = &conn.flows[usize::from(end.side)];
                    let fin = flow.next_in_transit() == Some(Next::Fin);
                    let more = flow.has_arrived();
                    // A FIN still on its way does not count: only one that waits behind data does.
                    let waits = fin && flow.fin_sent && flow.last_arrival <= now;
                    (more, waits && !more)
                };
                self.hosts[host as usize].down.sent(wire_bytes(bytes), more);
                self.hand_over(host, end, parcel);
                if fin {
                    if let Some(flow) = self.flow(end) {
                        flow.take_in_transit();
                    }
                    self.tap_fin(end);
                    self.end_at(end.other(), Closed::ByPeer);
                }
            }
        }
        self.kick_downlink(host);
    }
}

//! Owns how bytes cross: from a sender's queue over its uplink, the path and the receiver's downlink
//! into the mailbox.
//!
//! Invariant: a link carries one parcel at a time, in the order of its fair queue; a FIN takes effect
//! behind the last byte.

use skep_engine::node::network::{Closed, NetEvent};

use super::{Datagram, End, Fact, HostIndex, State};
use crate::network::flow::{Cargo, Turn};
use crate::network::link::{transmit_ns, wire_bytes};

impl State {
    /// The flow from `end` may have something to send: puts it into its uplink's queue.
    pub(super) fn offer(&mut self, end: End) {
        let now = self.now;
        let Some(conn) = self.conn(end) else { return };
        let host = conn.hosts[usize::from(end.side)];
        let flow = &mut conn.flows[usize::from(end.side)];
        if flow.in_ring {
            return;
        }
        match flow.turn(now) {
            Turn::Now => {
                flow.in_ring = true;
                self.hosts[host as usize].up.join(end);
                self.kick_uplink(host);
            }
            Turn::At(at) if !flow.waking => {
                flow.waking = true;
                self.plan(at, Fact::Wake(end));
            }
            Turn::At(_) | Turn::Later => {}
            Turn::Nothing => self.finish_if_asked(end),
        }
    }

    /// Everything is sent: FIN follows if the sender finished.
    pub(super) fn finish_if_asked(&mut self, end: End) {
        let now = self.now;
        let Some(flow) = self.flow(end) else { return };
        if flow.finishing && !flow.fin_sent {
            flow.fin_sent = true;
            let at = (now + flow.path.delay_ns).max(flow.last_arrival);
            flow.last_arrival = at;
            flow.in_transit.push_back(Cargo::Fin);
            self.plan(at, Fact::Arrive(end));
        }
    }

    /// Starts the next parcel on an idle uplink.
    pub(super) fn kick_uplink(&mut self, host: HostIndex) {
        let now = self.now;
        while !self.hosts[host as usize].up_busy {
            if let Some(number) = self.hosts[host as usize].up_datagrams.pop_front() {
                self.send_datagram(host, number);
                continue;
            }
            let Some(end) = self.hosts[host as usize].up.turn() else {
                return;
            };
            let Some(flow) = self.flow(end) else {
                self.hosts[host as usize].up.sent(0, false);
                continue;
            };
            if flow.turn(now) != Turn::Now {
                flow.in_ring = false;
                self.hosts[host as usize].up.sent(0, false);
                self.offer(end);
                continue;
            }
            let parcel = flow.take(now);
            let bytes = parcel.bytes();
            let more = flow.turn(now) == Turn::Now;
            flow.in_ring = more;
            let entry = &mut self.hosts[host as usize];
            let wire = wire_bytes(bytes) + std::mem::take(&mut entry.up_debt);
            entry.sent_wire += wire;
            entry.up.sent(wire, more);
            entry.up_busy = true;
            let done = now + transmit_ns(wire, entry.link.up);
            self.plan(done, Fact::UplinkFree(host));
            let conn = self.conn(end).expect("it had a turn");
            let id = conn.ids[usize::from(end.side)];
            let flow = &mut conn.flows[usize::from(end.side)];
            let delay = flow.path.parcel_delay(bytes, &mut conn.rng);
            let at = (done + delay).max(flow.last_arrival);
            flow.last_arrival = at;
            flow.in_transit.push_back(Cargo::Data(parcel));
            self.plan(at, Fact::Arrive(end));
            if let Some(id) = id {
                self.tell_room(host, id, end, bytes);
            }
            if !more {
                self.offer(end);
            }
        }
    }

    /// An idle uplink carries a datagram.
    fn send_datagram(&mut self, host: HostIndex, number: u32) {
        let Some(mut datagram) = self.datagrams.remove(&number) else {
            return;
        };
        let path = self.path(datagram.hosts[0], datagram.hosts[1]);
        let bytes = datagram.data.len() as u64;
        let entry = &mut self.hosts[host as usize];
        let wire = wire_bytes(bytes) + std::mem::take(&mut entry.up_debt);
        entry.sent_wire += wire;
        entry.up_busy = true;
        let done = self.now + transmit_ns(wire, entry.link.up);
        self.plan(done, Fact::UplinkFree(host));
        if let Some(delay) = path.datagram_delay(bytes, &mut datagram.rng) {
            self.datagrams.insert(number, datagram);
            self.plan(done + delay, Fact::Datagram(number));
        }
    }

    /// A datagram arrives.
    pub(super) fn on_datagram(&mut self, number: u32) {
        let Some(Datagram {
            hosts: [near, far],
            from,
            data,
            ..
        }) = self.datagrams.remove(&number)
        else {
            return;
        };
        if self.is_cut(near, far) {
            self.note_hit(near, far);
        } else if self.hosts[far as usize].listening.is_some() {
            self.deliver(far, NetEvent::Datagram { from, data });
        }
    }

    pub(super) fn on_arrive(&mut self, end: End) {
        let Some(conn) = self.conn(end) else { return };
        if conn.flows[usize::from(end.side)].is_troubled() && !self.gets_through(end) {
            return;
        }
        let Some(conn) = self.conn(end) else { return };
        let host = conn.hosts[usize::from(1 - end.side)];
        let flow = &mut conn.flows[usize::from(end.side)];
        match flow.in_transit.pop_front() {
            Some(Cargo::Data(parcel)) => {
                let first = flow.arrived.is_empty();
                flow.arrived.push_back(parcel);
                // While its front is carried, the flow stands in the queue or will rejoin.
                if first && self.hosts[host as usize].down_carries != Some(end) {
                    self.hosts[host as usize].down.join(end);
                }
                self.kick_downlink(host);
            }
            Some(Cargo::Fin) => self.fin_after_data(end),
            None => {}
        }
    }

    /// FIN takes effect behind the last byte.
    pub(super) fn fin_after_data(&mut self, end: End) {
        let Some(flow) = self.flow(end) else { return };
        if flow.arrived.is_empty() {
            self.end_at(end.other(), Closed::ByPeer);
        } else {
            flow.in_transit.push_front(Cargo::Fin);
        }
    }

    /// Starts the next parcel on an idle downlink.
    pub(super) fn kick_downlink(&mut self, host: HostIndex) {
        while self.hosts[host as usize].down_carries.is_none() {
            let Some(end) = self.hosts[host as usize].down.turn() else {
                return;
            };
            let bytes = self
                .flow(end)
                .and_then(|f| f.arrived.front())
                .map(|p| p.bytes());
            let entry = &mut self.hosts[host as usize];
            let Some(bytes) = bytes else {
                entry.down.sent(0, false);
                continue;
            };
            entry.down_carries = Some(end);
            let done = self.now + transmit_ns(wire_bytes(bytes), entry.link.down);
            self.plan(done, Fact::DownlinkFree(host));
        }
    }

    pub(super) fn on_downlink_free(&mut self, host: HostIndex) {
        let Some(end) = self.hosts[host as usize].down_carries.take() else {
            return;
        };
        let parcel = self.flow(end).and_then(|flow| flow.arrived.pop_front());
        match parcel {
            None => self.hosts[host as usize].down.sent(0, false),
            Some(parcel) => {
                let bytes = parcel.bytes();
                let now = self.now;
                let (more, fin, id) = {
                    let conn = self.conn(end).expect("it had a parcel");
                    let flow = &conn.flows[usize::from(end.side)];
                    let fin = matches!(flow.in_transit.front(), Some(Cargo::Fin));
                    let more = !flow.arrived.is_empty();
                    // A FIN still on its way does not count: only one that waits behind data does.
                    let waits = fin && flow.fin_sent && flow.last_arrival <= now;
                    (more, waits && !more, conn.ids[usize::from(1 - end.side)])
                };
                self.hosts[host as usize].down.sent(wire_bytes(bytes), more);
                match id {
                    Some(conn) => {
                        let second = parcel.second.map(|data| NetEvent::Data { conn, data });
                        self.deliver(
                            host,
                            NetEvent::Data {
                                conn,
                                data: parcel.first,
                            },
                        );
                        if let Some(second) = second {
                            self.deliver(host, second);
                        }
                    }
                    None => {
                        // Its receiver closed; the sender hears of it when the reset arrives.
                        self.totals.dropped += bytes;
                        self.free_if_over(end);
                    }
                }
                if fin {
                    if let Some(flow) = self.flow(end) {
                        flow.in_transit.pop_front();
                    }
                    self.end_at(end.other(), Closed::ByPeer);
                }
            }
        }
        self.kick_downlink(host);
    }
}

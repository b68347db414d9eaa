//! Owns what is captured of the fabric's traffic: what arrives where, as the packets that a real network would
//! have carried.
//!
//! Invariants: the tap looks and changes nothing: it plans no fact and draws nothing, so a run with it has the
//! trace of a run without. There is one capture point: a packet is seen when it has come through the downlink of
//! the host that it goes to, so that nothing is acknowledged before it was seen, and what was lost is seen once,
//! when it came. What a host acknowledges in a data segment is what it had told before it sent that.
//! What waits here is what the links carry now.
//!
//! The fabric has no segments, no sequence numbers and no packets of acknowledgements; they are made here. Where it
//! lets a connection be over at both ends with one FIN, the second FIN and the last acknowledgements are made too.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use bytes::Bytes;

use super::{End, Fabric, HostIndex, State};
use crate::network::flow::Read;
use crate::network::link::{transmit_ns, wire_bytes};
use crate::network::packet::{Captured, MSS, Packet, PacketSink, Segment, Transport};
use crate::network::parcels::Parcel;

/// Sees the packets of a network.
pub(super) struct Tap {
    sink: Box<dyn PacketSink>,
    conns: BTreeMap<(u32, u32), Conn>,
    /// What arrives, by its moment and its number.
    due: BTreeMap<(u64, u64), Item>,
    number: u64,
    /// The payload of the packet at hand.
    payload: Vec<u8>,
    read: u64,
    captured: Captured,
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Tap");
        out.field("conns", &self.conns.len())
            .field("due", &self.due.len())
            .field("captured", &self.captured);
        out.finish_non_exhaustive()
    }
}

/// A connection as its packets show it. What there is of two: of the dialling end first.
struct Conn {
    hosts: [HostIndex; 2],
    addrs: [SocketAddrV4; 2],
    /// First numbers.
    first: [u32; 2],
    /// Bytes in flight at most, from each end.
    windows: [u64; 2],
    /// Bytes from each end that were seen.
    seen: [u64; 2],
    /// Of those: that the other end's program has read.
    read: [u64; 2],
    /// What this end knows to be acknowledged, FIN counted as one byte.
    acked: [u64; 2],
    /// Acknowledgements on their way to this end: when they arrive, of how many bytes.
    acks: [VecDeque<(u64, u64)>; 2],
    /// A FIN from this end was seen.
    fin: [bool; 2],
    /// A reset has reached this end.
    over: [bool; 2],
    /// When the last data from each end arrives, ns.
    last: [u64; 2],
    /// Until when something of it may arrive, ns.
    until: u64,
}

/// Something that arrives.
enum Item {
    /// Of a connection, at the end opposite to this one.
    Of(End, What),
    Datagram(SocketAddrV4, SocketAddrV4, Bytes),
    /// Nothing of this connection arrives any more.
    Forget(End),
}

enum What {
    Syn,
    /// SYN and ACK.
    Answer,
    /// The dialler's ACK of the answer.
    Accepted,
    Data {
        parcel: Parcel,
        /// Which of its bytes.
        from: usize,
        to: usize,
    },
    Ack,
    Fin,
    /// The ACK of a FIN, perhaps with a FIN of its own.
    FinAck {
        fin: bool,
    },
    Reset,
    /// A reset instead of an answer.
    Refused,
}

impl End {
    fn key(self) -> (u32, u32) {
        (self.conn, self.generation)
    }
}

impl Fabric {
    /// From now on every packet that arrives is told.
    pub fn tap(&self, mut sink: Box<dyn PacketSink>) {
        let mut state = self.0.borrow_mut();
        for host in &state.hosts {
            sink.host(&host.name, host.ip);
        }
        state.tap = Some(Box::new(Tap {
            sink,
            conns: BTreeMap::new(),
            due: BTreeMap::new(),
            number: 0,
            payload: Vec::new(),
            read: 0,
            captured: Captured::default(),
        }));
    }

    /// Ends the capture, if there is one: what has arrived by now is told.
    ///
    /// # Errors
    /// When the packets could not be written.
    pub fn untap(&self) -> io::Result<Option<Captured>> {
        let mut state = self.0.borrow_mut();
        let now = state.now;
        let Some(mut tap) = state.tap.take() else {
            return Ok(None);
        };
        tap.tell_until(now);
        tap.captured.unread = tap.captured.arrived.saturating_sub(tap.read);
        tap.sink.finish()?;
        Ok(Some(tap.captured))
    }
}

impl State {
    /// A parcel from that end begins to cross the downlink of its receiver.
    pub(super) fn tap_downlink(&mut self, end: End, from: u64) {
        if self.tap.is_none() {
            return;
        }
        let Some(conn) = self.conn(end) else { return };
        let host = conn.hosts[usize::from(1 - end.side)];
        let flow = &conn.flows[usize::from(end.side)];
        let parcel = flow.copy_of_arrived();
        let rate = self.hosts[host as usize].down.rate();
        if let (Some(tap), Some(parcel)) = (&mut self.tap, parcel) {
            tap.data(end, &parcel, from, rate);
        }
    }

    /// A parcel from that end reaches a machine that does not know the connection.
    pub(super) fn tap_unknown(&mut self, end: End, parcel: &Parcel) {
        let now = self.now;
        if self.tap.is_none() {
            return;
        }
        let Some(conn) = self.conn(end) else { return };
        let host = conn.hosts[usize::from(1 - end.side)];
        let rate = self.hosts[host as usize].down.rate();
        if let Some(tap) = &mut self.tap {
            tap.data(end, parcel, now, rate);
        }
    }

    /// A FIN from that end has taken effect at the other one.
    pub(super) fn tap_fin(&mut self, end: End) {
        let now = self.now;
        if self.tap.is_none() {
            return;
        }
        let Some(conn) = self.conn(end) else { return };
        let (near, far) = (usize::from(end.side), usize::from(1 - end.side));
        let hosts = conn.hosts;
        let (back, there) = (
            conn.flows[far].path.delay_ns,
            conn.flows[near].path.delay_ns,
        );
        let answers = !conn.flows[far].fin_sent;
        let at = (now + back).max(conn.flows[far].last_arrival);
        let cut = self.is_cut(hosts[far], hosts[near]);
        let Some(tap) = &mut self.tap else { return };
        // The fabric may have handed over data that is through a moment later.
        let now = tap
            .conns
            .get(&end.key())
            .map_or(now, |c| now.max(c.last[near]));
        let at = at.max(now + back);
        tap.push(now, end, What::Fin);
        if !cut {
            tap.push(at, end.other(), What::FinAck { fin: answers });
            if answers {
                tap.push(at + there, end, What::FinAck { fin: false });
            }
        }
    }

    /// A reset from that end's side has arrived at the other one, also when nobody there knows the connection.
    pub(super) fn tap_reset(&mut self, end: End) {
        let now = self.now;
        let Some(tap) = &self.tap else { return };
        let Some(conn) = tap.conns.get(&end.key()) else {
            return;
        };
        let (near, far) = (usize::from(end.side), usize::from(1 - end.side));
        if !self.is_cut(conn.hosts[near], conn.hosts[far])
            && let Some(tap) = &mut self.tap
        {
            tap.push(now, end, What::Reset);
        }
    }
}

impl Tap {
    pub(super) fn host(&mut self, name: &str, ip: Ipv4Addr) {
        self.sink.host(name, ip);
    }

    /// Somebody dials.
    pub(super) fn dial(
        &mut self,
        end: End,
        hosts: [HostIndex; 2],
        addrs: [SocketAddrV4; 2],
        windows: [u64; 2],
    ) {
        // Any numbers do; these tell connections of the same ports apart.
        let number = u32::from(addrs[0].port()).rotate_left(16) ^ end.conn;
        let number = (number ^ end.generation.rotate_left(8)).wrapping_mul(0x9e37_79b1);
        let conn = Conn {
            hosts,
            addrs,
            first: [number, number.rotate_left(13) ^ 0x5bd1_e995],
            windows,
            seen: [0; 2],
            read: [0; 2],
            acked: [0; 2],
            acks: Default::default(),
            fin: [false; 2],
            over: [false; 2],
            last: [0; 2],
            until: 0,
        };
        self.conns.insert(end.key(), conn);
    }

    /// The dial from that end arrives.
    pub(super) fn syn(&mut self, at: u64, end: End) {
        self.push(at, end, What::Syn);
    }

    /// The answer to the dial from that end arrives there.
    pub(super) fn answer(&mut self, at: u64, end: End, accepted: bool) {
        let what = if accepted {
            What::Answer
        } else {
            What::Refused
        };
        self.push(at, end.other(), what);
    }

    /// The dialler's acknowledgement arrives.
    pub(super) fn accepted(&mut self, at: u64, end: End) {
        self.push(at, end, What::Accepted);
    }

    /// A parcel crosses a downlink from `from` on.
    pub(super) fn data(&mut self, end: End, parcel: &Parcel, from: u64, rate: u64) {
        let bytes = parcel.first.len() + parcel.second.len();
        if let Some(conn) = self.conns.get_mut(&end.key()) {
            conn.last[usize::from(end.side)] = from + transmit_ns(wire_bytes(bytes as u64), rate);
        }
        let mut begin = 0;
        while begin < bytes {
            let to = (begin + usize::from(MSS)).min(bytes);
            let at = from + transmit_ns(wire_bytes(to as u64), rate);
            let parcel = parcel.clone();
            let from = begin;
            self.push(at, end, What::Data { parcel, from, to });
            begin = to;
        }
    }

    /// A program has read so many bytes of what came from that end.
    pub(super) fn read(&mut self, end: End, bytes: u64, read: Read) {
        self.read += bytes;
        if let Some(conn) = self.conns.get_mut(&end.key()) {
            conn.read[usize::from(end.side)] += bytes;
            if let Read::Heard(at) = read {
                self.acknowledge(end, at);
            }
        }
    }

    /// What was read of that end's bytes is acknowledged there at that moment.
    pub(super) fn acknowledge(&mut self, end: End, at: u64) {
        let side = usize::from(end.side);
        let Some(conn) = self.conns.get_mut(&end.key()) else {
            return;
        };
        let upto = conn.read[side];
        match conn.acks[side].back_mut() {
            Some((last, bytes)) if *last >= at => *bytes = upto,
            _ => {
                conn.acks[side].push_back((at, upto));
                self.push(at, end.other(), What::Ack);
            }
        }
    }

    /// That end hears nothing from now on: what was on its way to it is lost.
    pub(super) fn deafen(&mut self, end: End, now: u64) {
        if let Some(conn) = self.conns.get_mut(&end.key()) {
            conn.acks[usize::from(end.side)].retain(|(at, _)| *at <= now);
        }
    }

    /// A reset leaves that will arrive then.
    pub(super) fn reset_leaves(&mut self, end: End, at: u64) {
        if let Some(conn) = self.conns.get_mut(&end.key()) {
            conn.until = conn.until.max(at);
        }
    }

    /// A datagram arrives.
    pub(super) fn datagram(&mut self, at: u64, [from, to]: [SocketAddrV4; 2], data: Bytes) {
        self.insert(at, Item::Datagram(from, to, data));
    }

    /// The network knows the connection no more.
    pub(super) fn freed(&mut self, end: End, now: u64) {
        if let Some(conn) = self.conns.get(&end.key()) {
            // Behind a reset that arrives in the last moment.
            let at = conn.until.max(now) + 1;
            self.insert(at, Item::Forget(end));
        }
    }

    fn push(&mut self, at: u64, from: End, what: What) {
        if let Some(conn) = self.conns.get_mut(&from.key()) {
            conn.until = conn.until.max(at);
            self.insert(at, Item::Of(from, what));
        }
    }

    fn insert(&mut self, at: u64, item: Item) {
        self.number += 1;
        self.due.insert((at, self.number), item);
    }

    /// Tells of what has arrived by then. Nothing that arrives earlier comes to be known later.
    pub(super) fn tell_until(&mut self, now: u64) {
        while let Some(entry) = self.due.first_entry()
            && entry.key().0 <= now
        {
            let ((at, _), item) = entry.remove_entry();
            match item {
                Item::Forget(end) => {
                    self.conns.remove(&end.key());
                }
                Item::Datagram(from, to, data) => self.tell(&Packet {
                    at_ns: at,
                    from,
                    to,
                    transport: Transport::Udp,
                    payload: &data,
                }),
                Item::Of(end, what) => self.arrives(at, end, &what),
            }
        }
    }

    fn tell(&mut self, packet: &Packet<'_>) {
        self.captured.packets += 1;
        self.sink.packet(packet);
    }

    /// Something of a connection arrives at the end opposite to this one.
    fn arrives(&mut self, at: u64, end: End, what: &What) {
        let Some(conn) = self.conns.get_mut(&end.key()) else {
            return;
        };
        self.payload.clear();
        if let What::Data { parcel, from, to } = what {
            self.captured.arrived += (to - from) as u64;
            parcel.copy_range(*from, *to, &mut self.payload);
        }
        let Some(segment) = conn.segment(at, usize::from(end.side), what, self.payload.len())
        else {
            return;
        };
        let side = usize::from(end.side);
        let (from, to) = (conn.addrs[side], conn.addrs[1 - side]);
        let payload = std::mem::take(&mut self.payload);
        self.tell(&Packet {
            at_ns: at,
            from,
            to,
            transport: Transport::Tcp(segment),
            payload: &payload,
        });
        self.payload = payload;
    }
}

/// Low 32 bits: numbers of a connection go round.
fn low(number: u64) -> u32 {
    (number & u64::from(u32::MAX)) as u32
}

impl Conn {
    /// The header of what arrives from that side; `None` when its receiver's side or its own was over before.
    fn segment(&mut self, at: u64, side: usize, what: &What, bytes: usize) -> Option<Segment> {
        let far = 1 - side;
        if self.over[far]
            || (self.fin[side] && !matches!(what, What::FinAck { .. } | What::Ack | What::Reset))
        {
            return None;
        }
        let mut segment = Segment {
            seq: 0,
            ack: None,
            syn: false,
            fin: false,
            rst: false,
            psh: false,
            // What its receiver may have in flight.
            window: self.windows[far],
        };
        let opens = matches!(what, What::Syn | What::Answer | What::Refused);
        // The next number of this side, before what this packet carries.
        let next = self.seen[side] + u64::from(self.fin[side]) + u64::from(!opens);
        segment.seq = self.first[side].wrapping_add(low(next));
        match what {
            What::Syn => segment.syn = true,
            What::Answer => segment.syn = true,
            What::Refused => {
                segment.rst = true;
                self.over[far] = true;
            }
            What::Data { parcel, to, .. } => {
                segment.psh = *to as u64 == parcel.bytes();
                self.seen[side] += bytes as u64;
            }
            What::Ack => {
                let (due, upto) = *self.acks[far].front()?;
                if due != at {
                    return None;
                }
                self.acks[far].pop_front();
                if upto <= self.acked[far] {
                    return None;
                }
                self.acked[far] = upto;
            }
            What::Fin => {
                segment.fin = true;
                self.fin[side] = true;
            }
            What::FinAck { fin } => {
                self.acked[far] = self.seen[far] + u64::from(self.fin[far]);
                segment.fin = *fin && !self.fin[side];
                self.fin[side] |= fin;
            }
            What::Reset => {
                segment.rst = true;
                self.over[far] = true;
            }
            What::Accepted => {}
        }
        let told = self.acked[far] + 1;
        segment.ack = (!matches!(what, What::Syn)).then(|| self.first[far].wrapping_add(low(told)));
        Some(segment)
    }
}

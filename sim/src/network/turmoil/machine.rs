//! Owns one machine on a turmoil host: its links, its connections and what is due when.
//!
//! Invariants: what is due is handled in the order of (ns, sequence), by the moment at which it was due and
//! not by the clock, which moves in milliseconds; a link is reserved from that moment on, so it idles only
//! when nobody has anything for it. The machine outlives the programs that run on it.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::task::Waker;

use bytes::Bytes;
use skep_engine::ConnId;
use skep_engine::node::network::{Closed, NetEvent};
use tokio::time::Instant;

use super::conn::{Cargo, Conn, Turn};
use super::frame::Frame;
use super::ledger::{Ledger, Sent};
use super::sockets::{Datagrams, Listening};
use crate::network::link::{SEGMENT_OVERHEAD, transmit_ns, wire_bytes};
use crate::scenario::plan::LinkPlan;

/// Drained bytes below which a sender is not woken; it hears of them at its next wake-up.
const ROOM_NEWS_MIN: u64 = 1024;

/// A connection's number on its machine; never used again.
pub(super) type Key = u64;

/// Something that will happen on a machine.
#[derive(Debug)]
pub(super) enum Due {
    /// The dial has nearly reached the other host: time for turmoil to carry it there.
    Dial(Key),
    /// The answer to the dial, or the dialler's acknowledgement: the connection stands.
    Opens(Key),
    /// The answer to the dial that nobody listens.
    Refused(Key),
    /// The uplink begins with the connection's parcel of so many bytes.
    Leaves(Key, u64),
    /// The uplink has carried the connection's parcel.
    Sent(Key),
    /// The connection may send again as far as its pacing is concerned.
    Paced(Key),
    /// The other end's program has read so many bytes.
    Ack(Key, u64),
    /// The next of what has come reaches this host.
    Arrives(Key),
    /// The downlink has carried the front of what has arrived.
    Received(Key),
    /// The other end's reset is here.
    Reset(Key),
    /// The path breaks: both ends are reset.
    Breaks(Key),
    /// A fault breaks it.
    Broken(Key),
    /// A datagram is here.
    Datagram(SocketAddr, Bytes),
    /// Ways were cut or healed.
    Look,
    /// A machine's link is another one.
    Link(Ipv4Addr),
    /// The dialler's acknowledgement reaches the other end.
    Accepted(Key),
    /// Something sent reaches the end of a path with trouble.
    Reaches(Key),
    /// The sender tries again what was lost on a cut path.
    Retry(Key),
    /// The sender has heard nothing for the user timeout.
    GiveUp(Key),
    /// The other end is gone, and could not tell.
    Orphaned(Key),
}

/// One machine.
pub(super) struct Machine {
    pub(super) name: String,
    pub(super) ip: Ipv4Addr,
    pub(super) link: LinkPlan,
    pub(super) ledger: Rc<Ledger>,
    /// The start of the run on this host's clock.
    pub(super) epoch: Option<Instant>,
    /// The moment of what is being handled, ns; never behind the clock's last wake-up.
    pub(super) now: u64,
    /// A program runs.
    pub(super) running: bool,
    /// Without power.
    pub(super) dark: bool,
    pub(super) listening: Option<Listening>,
    pub(super) datagrams: Option<Datagrams>,
    pub(super) mailbox: VecDeque<NetEvent>,
    pub(super) waker: Option<Waker>,
    pub(super) driver: Option<Waker>,
    /// The task that looks at the sockets.
    pub(super) ears: Option<Waker>,
    /// For reading, kept.
    pub(super) buffer: Vec<u8>,
    /// When the driver wakes by itself, ns.
    pub(super) armed: u64,
    slots: Vec<(u32, Option<Key>)>,
    free_slots: Vec<u32>,
    pub(super) conns: BTreeMap<Key, Conn>,
    next_key: Key,
    pub(super) due: BTreeMap<(u64, u64), Due>,
    sequence: u64,
    /// Connections with reads to acknowledge.
    pub(super) unacked: Vec<Key>,
    /// Dials, accepted connections and datagrams so far by the other host and the kind: the number in the
    /// name of the next one's stream.
    pub(super) crossings: BTreeMap<(Ipv4Addr, &'static str), u64>,
    /// The uplink is reserved until here, ns.
    up_until: u64,
    down_until: u64,
    /// Headers of packets without data, not yet carried.
    pub(super) up_debt: u64,
    pub(super) sent_wire: u64,
    pub(super) sent_to_peers: u64,
}

impl Machine {
    pub(super) fn new(name: &str, ip: Ipv4Addr, link: LinkPlan, ledger: Rc<Ledger>) -> Machine {
        Machine {
            name: name.to_owned(),
            ip,
            link,
            ledger,
            epoch: None,
            now: 0,
            running: false,
            dark: false,
            listening: None,
            datagrams: None,
            mailbox: VecDeque::new(),
            waker: None,
            driver: None,
            ears: None,
            buffer: Vec::new(),
            armed: u64::MAX,
            slots: Vec::new(),
            free_slots: Vec::new(),
            conns: BTreeMap::new(),
            next_key: 0,
            due: BTreeMap::new(),
            sequence: 0,
            unacked: Vec::new(),
            crossings: BTreeMap::new(),
            up_until: 0,
            down_until: 0,
            up_debt: 0,
            sent_wire: 0,
            sent_to_peers: 0,
        }
    }

    fn clock(&self) -> u64 {
        let epoch = self.epoch.expect("the host has started");
        let ns = Instant::now().duration_since(epoch).as_nanos();
        u64::try_from(ns).expect("a run is shorter than 584 years")
    }

    pub(super) fn plan(&mut self, at: u64, due: Due) {
        self.due.insert((at, self.sequence), due);
        self.sequence += 1;
        if at < self.armed {
            self.wake_driver();
        }
    }

    pub(super) fn wake_driver(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    pub(super) fn wake_ears(&mut self) {
        if let Some(ears) = self.ears.take() {
            ears.wake();
        }
    }

    /// Handles everything that is due by the clock, in order.
    pub(super) fn catch_up(&mut self) {
        let clock = self.clock();
        while let Some(entry) = self.due.first_entry()
            && entry.key().0 <= clock
        {
            let ((at, _), due) = entry.remove_entry();
            self.now = self.now.max(at);
            self.ledger.count(|totals| totals.facts += 1);
            self.handle(due);
        }
        self.now = clock;
    }

    fn handle(&mut self, due: Due) {
        match due {
            Due::Dial(key) => self.dial_now(key),
            Due::Opens(key) => self.on_opens(key),
            Due::Refused(key) => self.on_refused(key),
            Due::Leaves(key, bytes) => self.tell_room(key, bytes),
            Due::Sent(key) => {
                if let Some(conn) = self.conns.get_mut(&key) {
                    conn.sending = false;
                    self.offer(key);
                }
            }
            Due::Paced(key) => {
                if let Some(conn) = self.conns.get_mut(&key) {
                    conn.waking = false;
                    self.offer(key);
                }
            }
            Due::Ack(key, bytes) => self.on_ack(key, bytes),
            Due::Arrives(key) => self.on_arrives(key),
            Due::Received(key) => self.on_received(key),
            Due::Reset(key) => self.on_reset(key),
            Due::Breaks(key) => self.on_breaks(key),
            Due::Broken(key) => self.end(key, Closed::Reset),
            Due::Datagram(from, data) => {
                if self.gets_here(from.ip()) && self.listening.is_some() {
                    self.deliver(NetEvent::Datagram { from, data });
                }
            }
            Due::Look => self.look_at_paths(),
            Due::Link(ip) => self.on_link(ip),
            Due::Accepted(key) => self.on_accepted(key),
            Due::Reaches(key) => self.on_reaches(key),
            Due::Retry(key) => self.on_retry(key),
            Due::GiveUp(key) => self.on_give_up(key),
            Due::Orphaned(key) => self.on_orphaned(key),
        }
    }

    pub(super) fn deliver(&mut self, event: NetEvent) {
        self.mailbox.push_back(event);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    pub(super) fn add_conn(&mut self, conn: Conn) -> Key {
        let key = self.next_key;
        self.next_key += 1;
        self.conns.insert(key, conn);
        key
    }

    /// Gives a connection an id for the program.
    pub(super) fn assign(&mut self, key: Option<Key>) -> ConnId {
        let slot = self.free_slots.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            u32::try_from(self.slots.len() - 1).expect("fewer connections than 2^32")
        });
        let entry = &mut self.slots[slot as usize];
        entry.1 = key;
        let id = ConnId {
            slot,
            generation: entry.0,
        };
        if let Some(conn) = key.and_then(|key| self.conns.get_mut(&key)) {
            conn.id = Some(id);
        }
        id
    }

    /// The connection behind an id, while it stands; `Some(None)` for a dial to nobody.
    pub(super) fn find(&self, id: ConnId) -> Option<Option<Key>> {
        let (generation, key) = self.slots.get(id.slot as usize)?;
        (*generation == id.generation).then_some(*key)
    }

    /// Frees an id.
    pub(super) fn release(&mut self, id: ConnId) {
        let entry = &mut self.slots[id.slot as usize];
        let key = entry.1;
        *entry = (entry.0 + 1, None);
        self.free_slots.push(id.slot);
        if let Some(conn) = key.and_then(|key| self.conns.get_mut(&key)) {
            conn.id = None;
        }
    }

    /// Frees every id: the program is gone. What it left in the mailbox is dropped.
    pub(super) fn release_all(&mut self) {
        self.free_slots.clear();
        for (slot, entry) in self.slots.iter_mut().enumerate().rev() {
            *entry = (entry.0 + 1, None);
            self.free_slots
                .push(u32::try_from(slot).expect("fewer connections than 2^32"));
        }
        let unread: u64 = self.mailbox.drain(..).map(|e| data_bytes(&e)).sum();
        self.ledger.count(|totals| totals.dropped += unread);
    }

    /// The connection may have something to send: reserves the uplink for its next parcel.
    pub(super) fn offer(&mut self, key: Key) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&key) else {
            return;
        };
        match conn.turn(now) {
            Turn::Now => {}
            Turn::At(at) => {
                if !std::mem::replace(&mut conn.waking, true) {
                    self.plan(at, Due::Paced(key));
                }
                return;
            }
            Turn::Later => return,
            Turn::Nothing => return self.finish_if_asked(key),
        }
        let data = conn.take(now);
        let bytes = data.len() as u64;
        let wire = wire_bytes(bytes) + std::mem::take(&mut self.up_debt);
        self.sent_wire += wire;
        let from = self.up_until.max(now);
        let done = from + transmit_ns(wire, self.link.up);
        self.up_until = done;
        conn.sending = true;
        let at = done + conn.path.parcel_delay(bytes, &mut conn.rng);
        let at = at.max(conn.last_arrival);
        conn.last_arrival = at;
        self.send(key, at, Cargo::Data(data));
        self.plan(done, Due::Sent(key));
        // Until its turn comes the parcel waits, as its program sees it.
        if from > now {
            self.plan(from, Due::Leaves(key, bytes));
        } else {
            self.tell_room(key, bytes);
        }
    }

    /// Writes a frame to the other end's machine; false when it waits for room.
    pub(super) fn write(&mut self, key: Key, frame: &Frame) -> bool {
        let conn = self.conns.get_mut(&key).expect("the caller has it");
        let written = conn.write(frame);
        if !written {
            self.wake_ears();
        }
        written
    }

    fn tell_room(&mut self, key: Key, drained: u64) {
        let Some(conn) = self.conns.get_mut(&key) else {
            return;
        };
        let Some(id) = conn.id else { return };
        conn.untold += drained;
        let event = NetEvent::Room {
            conn: id,
            queued: conn.unsent_bytes,
        };
        if conn.untold >= ROOM_NEWS_MIN {
            conn.untold = 0;
            self.deliver(event);
        } else {
            self.mailbox.push_back(event);
        }
    }

    /// Everything is sent: the farewell follows if the program finished.
    fn finish_if_asked(&mut self, key: Key) {
        let conn = self.conns.get_mut(&key).expect("it had a turn");
        if conn.finishing && !conn.fin_sent {
            conn.fin_sent = true;
            let at = (self.now + conn.path.delay_ns).max(conn.last_arrival);
            conn.last_arrival = at;
            self.send(key, at, Cargo::Fin);
        }
    }

    /// Sends what is to arrive at a moment.
    fn send(&mut self, key: Key, at: u64, cargo: Cargo) {
        let conn = self.conns.get_mut(&key).expect("the caller has it");
        let number = conn.next_number();
        let (here, there) = conn.ends.expect("it is open");
        let sent = Sent {
            number,
            at,
            cargo: cargo.clone(),
        };
        self.ledger.sent(here, there, sent);
        if conn.trouble.cut || conn.trouble.to_nobody {
            self.plan(at, Due::Reaches(key));
        }
        let frame = match cargo {
            Cargo::Data(data) => Frame::Data { at, number, data },
            Cargo::Fin => Frame::Fin { at, number },
        };
        self.write(key, &frame);
    }

    /// The moment of the next frame has come.
    fn on_arrives(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(&key) else {
            return;
        };
        let sent = conn.coming.pop_front().expect("it has come");
        if !conn.open {
            // The dialler's acknowledgement was lost: it takes back what it sent since.
            return;
        }
        let (here, there) = conn.ends.expect("it stands");
        let barriers = self.ledger.barriers.borrow();
        let cut = barriers.stop(conn.other, self.ip, sent.at);
        drop(barriers);
        if self.ledger.arrives(there, here, sent.number, cut) {
            conn.incoming.push_back(sent.cargo);
            self.receive(key);
        }
    }

    /// Reserves the downlink for the front of what has arrived; a farewell behind the last byte takes effect.
    fn receive(&mut self, key: Key) {
        let conn = self.conns.get_mut(&key).expect("the caller has it");
        if conn.receiving {
            return;
        }
        match conn.incoming.front() {
            None => {}
            Some(Cargo::Fin) => self.end(key, Closed::ByPeer),
            Some(Cargo::Data(data)) => {
                conn.receiving = true;
                let wire = wire_bytes(data.len() as u64);
                let done = self.down_until.max(self.now) + transmit_ns(wire, self.link.down);
                self.down_until = done;
                self.plan(done, Due::Received(key));
            }
        }
    }

    fn on_received(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(&key) else {
            return;
        };
        conn.receiving = false;
        let Some(Cargo::Data(data)) = conn.incoming.pop_front() else {
            unreachable!("only data is carried");
        };
        match conn.id {
            Some(conn) => self.deliver(NetEvent::Data {
                conn,
                data: data.into(),
            }),
            // The program closed; the other end hears of it when its farewell arrives.
            None => {
                let bytes = data.len() as u64;
                self.ledger.count(|totals| totals.dropped += bytes);
            }
        }
        self.receive(key);
    }

    /// A packet without data takes its share of the uplink with the next parcel.
    pub(super) fn owe_header(&mut self, packets: u64) {
        self.up_debt += packets * SEGMENT_OVERHEAD;
    }

    /// Payload bytes that wait here: to be sent, to be carried, to be read.
    pub(super) fn held(&self) -> u64 {
        let conns = self.conns.values().map(|c| c.unsent_bytes + c.held());
        conns.sum::<u64>() + self.mailbox.iter().map(data_bytes).sum::<u64>()
    }
}

/// Payload bytes of an event.
pub(super) fn data_bytes(event: &NetEvent) -> u64 {
    match event {
        NetEvent::Data { data, .. } => data.len() as u64,
        _ => 0,
    }
}

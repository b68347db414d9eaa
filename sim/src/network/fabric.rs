//! Owns the simulated network of a run: all hosts on one paused runtime, one heap of facts.
//!
//! Invariants: facts are handled in the order of (ns, sequence); nothing arrives before it was sent
//! plus the path's delay; bytes of one connection never overtake each other; a link never carries
//! more than its rate. Time stays in ns in here, wake-ups fall on the timer's next millisecond, so
//! several facts share an instant: a fact names its connection by generation and is dropped when
//! that one is gone.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use skep_engine::ConnId;
use skep_engine::node::network::{CloseHow, Closed, ConnectError, NetEvent, Network};
use tokio::time::{Instant, Sleep};

use crate::scenario::plan::LinkPlan;
use crate::seed;

use super::flow::{Cargo, Flow, Turn};
use super::link::{FairQueue, Path, SEGMENT_OVERHEAD, transmit_ns, wire_bytes};

/// First port given to outgoing connections.
const EPHEMERAL_FROM: u16 = 32_768;
/// Connections that wait to be accepted, per host (the backlog); more are refused.
const BACKLOG_MAX: usize = 1024;

/// Drained bytes below which a sender is not woken; it hears of them at its next wake-up.
const ROOM_NEWS_MIN: u64 = 1024;

type HostIndex = u32;
/// The host that was added first carries no content.
const TRACKER: HostIndex = 0;

/// One end of one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct End {
    conn: u32,
    generation: u32,
    /// 0: the dialling end; 1: the other.
    side: u8,
}

impl End {
    fn other(self) -> End {
        End {
            side: 1 - self.side,
            ..self
        }
    }
}

/// Something that will happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fact {
    /// A host's uplink has carried its parcel.
    UplinkFree(HostIndex),
    /// A host's downlink has carried its parcel.
    DownlinkFree(HostIndex),
    /// The front of the flow from this end reaches the other host.
    Arrive(End),
    /// The flow from this end may send again.
    Wake(End),
    /// The dial reaches the other host.
    Knock(End),
    /// The answer to the dial reaches the dialler.
    Answer(End, bool),
    /// The dialler's acknowledgement reaches the other end, on this host: accepted.
    Accepted(End, HostIndex),
    /// A reset from this end's side reaches the other end.
    ResetArrives(End),
    /// The connection breaks on its way: both ends are reset.
    Breaks(End),
    /// A datagram arrives; its number in `datagrams`.
    Datagram(u32),
}

#[derive(Debug)]
struct Host {
    ip: Ipv4Addr,
    link: LinkPlan,
    /// The port where somebody listens.
    listening: Option<u16>,
    /// A client runs.
    running: bool,
    mailbox: VecDeque<NetEvent>,
    waker: Option<Waker>,
    slots: Vec<(u32, Option<End>)>,
    free_slots: Vec<u32>,
    next_port: u16,
    accepting: usize,
    up: FairQueue<End>,
    up_busy: bool,
    /// Headers of packets without data, not yet carried.
    up_debt: u64,
    down: FairQueue<End>,
    /// The parcel that the downlink carries now: whose, how many bytes.
    down_carries: Option<End>,
    sent_wire: u64,
    /// Bytes handed in for connections to anybody but the first host, the tracker.
    sent_to_peers: u64,
}

#[derive(Debug)]
struct Conn {
    generation: u32,
    hosts: [HostIndex; 2],
    addrs: [SocketAddr; 2],
    /// Each end's id at its host, once it has one and until it is closed there.
    ids: [Option<ConnId>; 2],
    flows: [Flow; 2],
    rng: ChaCha8Rng,
    live: bool,
}

/// Totals of the network.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FabricTotals {
    /// Connections reset on their way.
    pub resets: u64,
    /// Facts handled.
    pub facts: u64,
    /// Bytes handed to the network.
    pub sent: u64,
    /// Bytes handed to receivers.
    pub delivered: u64,
    /// Bytes dropped because their connection ended first.
    pub dropped: u64,
}

/// The network of a run.
#[derive(Debug)]
struct State {
    seed: u64,
    epoch: Instant,
    /// The moment of the fact being handled, ns; never behind the clock's last wake-up.
    now: u64,
    hosts: Vec<Host>,
    by_ip: BTreeMap<Ipv4Addr, HostIndex>,
    conns: Vec<Conn>,
    free_conns: Vec<u32>,
    opened: u64,
    heap: BinaryHeap<Reverse<(u64, u64, FactKey)>>,
    facts: Vec<Option<Fact>>,
    free_facts: Vec<u32>,
    sequence: u64,
    driver: Option<Waker>,
    datagrams: BTreeMap<u32, (HostIndex, SocketAddr, Bytes)>,
    next_datagram: u32,
    totals: FabricTotals,
}

/// Position of a fact in `facts`: the heap itself stays small and ordered by integers.
type FactKey = u32;

/// A handle to the network of a run.
#[derive(Clone, Debug)]
pub struct Fabric(Rc<RefCell<State>>);

impl Fabric {
    /// A network without hosts; `seed` names the streams of its paths.
    #[must_use]
    pub fn new(seed: u64, epoch: Instant) -> Fabric {
        Fabric(Rc::new(RefCell::new(State {
            seed,
            epoch,
            now: 0,
            hosts: Vec::new(),
            by_ip: BTreeMap::new(),
            conns: Vec::new(),
            free_conns: Vec::new(),
            opened: 0,
            heap: BinaryHeap::new(),
            facts: Vec::new(),
            free_facts: Vec::new(),
            sequence: 0,
            driver: None,
            datagrams: BTreeMap::new(),
            next_datagram: 0,
            totals: FabricTotals::default(),
        })))
    }

    /// Adds a machine. Nothing runs on it yet.
    ///
    /// # Panics
    /// When the address is taken.
    pub fn add_host(&self, ip: Ipv4Addr, link: LinkPlan) {
        let mut state = self.0.borrow_mut();
        let index = HostIndex::try_from(state.hosts.len()).expect("fewer hosts than 2^32");
        assert!(state.by_ip.insert(ip, index).is_none(), "{ip} is taken");
        state.hosts.push(Host {
            ip,
            link,
            listening: None,
            running: false,
            mailbox: VecDeque::new(),
            waker: None,
            slots: Vec::new(),
            free_slots: Vec::new(),
            next_port: EPHEMERAL_FROM,
            accepting: 0,
            up: FairQueue::default(),
            up_busy: false,
            up_debt: 0,
            down: FairQueue::default(),
            down_carries: None,
            sent_wire: 0,
            sent_to_peers: 0,
        });
    }

    /// The network as a program on that host sees it. Dropping it is the end of the process: its
    /// connections are reset and nobody listens any more.
    ///
    /// # Panics
    /// When there is no such host, or a program runs on it already.
    #[must_use]
    pub fn attach(&self, ip: Ipv4Addr) -> FabricNet {
        let mut state = self.0.borrow_mut();
        let host = *state.by_ip.get(&ip).expect("a host with this address");
        let entry = &mut state.hosts[host as usize];
        assert!(!entry.running, "one program per host");
        entry.running = true;
        drop(state);
        FabricNet {
            fabric: self.clone(),
            host,
        }
    }

    /// Moves the network on for as long as the run lasts.
    pub async fn drive(&self) {
        let mut sleep: Option<(u64, Pin<Box<Sleep>>)> = None;
        poll_fn(|cx| self.poll_drive(cx, &mut sleep)).await
    }

    fn poll_drive(
        &self,
        cx: &mut Context<'_>,
        sleep: &mut Option<(u64, Pin<Box<Sleep>>)>,
    ) -> Poll<()> {
        loop {
            let mut state = self.0.borrow_mut();
            let epoch = state.epoch;
            state.handle_due();
            if !state
                .driver
                .as_ref()
                .is_some_and(|w| w.will_wake(cx.waker()))
            {
                state.driver = Some(cx.waker().clone());
            }
            let Some(Reverse((next, ..))) = state.heap.peek() else {
                *sleep = None;
                return Poll::Pending;
            };
            let at = epoch + Duration::from_nanos(*next);
            let (armed, timer) =
                sleep.get_or_insert_with(|| (*next, Box::pin(tokio::time::sleep_until(at))));
            if *armed != *next {
                timer.as_mut().reset(at);
                *armed = *next;
            }
            drop(state);
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            *sleep = None;
        }
    }

    /// Totals so far.
    #[must_use]
    pub fn totals(&self) -> FabricTotals {
        self.0.borrow().totals
    }

    /// Bytes on the wire that a host's uplink carried, headers included.
    #[must_use]
    pub fn sent_wire(&self, ip: Ipv4Addr) -> u64 {
        let state = self.0.borrow();
        state
            .by_ip
            .get(&ip)
            .map_or(0, |host| state.hosts[*host as usize].sent_wire)
    }

    /// Bytes that a host's programs handed in for connections to peers.
    #[must_use]
    pub fn sent_to_peers(&self, ip: Ipv4Addr) -> u64 {
        let state = self.0.borrow();
        state
            .by_ip
            .get(&ip)
            .map_or(0, |host| state.hosts[*host as usize].sent_to_peers)
    }

    /// Connections that still hold something: an id at a host, or bytes under way.
    #[must_use]
    pub fn live_connections(&self) -> usize {
        let state = self.0.borrow();
        state.conns.iter().filter(|c| c.live).count()
    }

    /// Places for connections that were ever in use at once.
    #[must_use]
    pub fn connection_slots(&self) -> usize {
        self.0.borrow().conns.len()
    }

    /// Bytes that are between a sender and a receiver now: the network's books balance when
    /// `sent = delivered + dropped + under way`.
    #[must_use]
    pub fn under_way(&self) -> u64 {
        let state = self.0.borrow();
        let flows = state.conns.iter().filter(|c| c.live).flat_map(|c| &c.flows);
        let on_links: u64 = flows.map(Flow::held).sum();
        let unread: u64 = state
            .hosts
            .iter()
            .flat_map(|h| &h.mailbox)
            .map(data_bytes)
            .sum();
        on_links + unread
    }
}

impl State {
    fn clock(&self) -> u64 {
        let ns = Instant::now().duration_since(self.epoch).as_nanos();
        u64::try_from(ns).expect("a run is shorter than 584 years")
    }

    fn plan(&mut self, at: u64, fact: Fact) {
        let key = match self.free_facts.pop() {
            Some(key) => {
                self.facts[key as usize] = Some(fact);
                key
            }
            None => {
                self.facts.push(Some(fact));
                u32::try_from(self.facts.len() - 1).expect("fewer facts than 2^32")
            }
        };
        let earliest = self
            .heap
            .peek()
            .is_none_or(|Reverse((first, ..))| at < *first);
        self.heap.push(Reverse((at, self.sequence, key)));
        self.sequence += 1;
        if earliest && let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    /// Handles every fact that is due by the clock, in order.
    fn handle_due(&mut self) {
        let clock = self.clock();
        while let Some(Reverse((at, ..))) = self.heap.peek()
            && *at <= clock
        {
            let Some(Reverse((at, _, key))) = self.heap.pop() else {
                break;
            };
            self.now = self.now.max(at);
            let fact = self.facts[key as usize]
                .take()
                .expect("a fact is handled once");
            self.free_facts.push(key);
            self.totals.facts += 1;
            self.handle(fact);
        }
        self.now = self.now.max(clock);
    }

    fn handle(&mut self, fact: Fact) {
        match fact {
            Fact::UplinkFree(host) => {
                self.hosts[host as usize].up_busy = false;
                self.kick_uplink(host);
            }
            Fact::DownlinkFree(host) => self.on_downlink_free(host),
            Fact::Arrive(end) => self.on_arrive(end),
            Fact::Wake(end) => {
                if let Some(flow) = self.flow(end) {
                    flow.waking = false;
                    self.offer(end);
                }
            }
            Fact::Knock(end) => self.on_knock(end),
            Fact::Answer(end, accepted) => self.on_answer(end, accepted),
            Fact::Accepted(end, host) => self.on_accepted(end, host),
            Fact::ResetArrives(end) => self.end_at(end.other(), Closed::Reset),
            Fact::Breaks(end) => self.on_breaks(end),
            Fact::Datagram(number) => {
                if let Some((host, from, data)) = self.datagrams.remove(&number)
                    && self.hosts[host as usize].listening.is_some()
                {
                    self.deliver(host, NetEvent::Datagram { from, data });
                }
            }
        }
    }

    fn conn(&mut self, end: End) -> Option<&mut Conn> {
        let conn = self.conns.get_mut(end.conn as usize)?;
        (conn.live && conn.generation == end.generation).then_some(conn)
    }

    /// The flow of bytes from this end.
    fn flow(&mut self, end: End) -> Option<&mut Flow> {
        self.conn(end)
            .map(|conn| &mut conn.flows[usize::from(end.side)])
    }

    fn deliver(&mut self, host: HostIndex, event: NetEvent) {
        let host = &mut self.hosts[host as usize];
        if host.running {
            host.mailbox.push_back(event);
            if let Some(waker) = host.waker.take() {
                waker.wake();
            }
        } else {
            self.totals.dropped += data_bytes(&event);
        }
    }

    /// Tells a sender that its queue drained. News of a few bytes waits for the next wake-up, or
    /// until they are more: a writer of small messages that waits for room is woken too.
    fn tell_room(&mut self, host: HostIndex, conn: ConnId, end: End, drained: u64) {
        let flow = self.flow(end).expect("it had a turn");
        flow.untold += drained;
        let news = flow.untold >= ROOM_NEWS_MIN;
        if news {
            flow.untold = 0;
        }
        let queued = flow.unsent_bytes;
        let event = NetEvent::Room { conn, queued };
        if news {
            self.deliver(host, event);
        } else {
            self.hosts[host as usize].mailbox.push_back(event);
        }
    }

    /// Gives a host's end of a connection an id there.
    fn assign(&mut self, host: HostIndex, end: End) -> ConnId {
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
    fn end_of(&self, host: HostIndex, id: ConnId) -> Option<End> {
        let (generation, end) = self.hosts[host as usize].slots.get(id.slot as usize)?;
        if *generation == id.generation {
            *end
        } else {
            None
        }
    }

    /// Takes an end's id away from its host; true when it had one.
    fn unassign(&mut self, end: End) -> Option<ConnId> {
        let conn = self.conn(end)?;
        let host = conn.hosts[usize::from(end.side)];
        let id = conn.ids[usize::from(end.side)].take()?;
        let host = &mut self.hosts[host as usize];
        let entry = &mut host.slots[id.slot as usize];
        *entry = (entry.0 + 1, None);
        host.free_slots.push(id.slot);
        Some(id)
    }

    fn dial(&mut self, host: HostIndex, to: SocketAddr) -> ConnId {
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
        let from_addr = SocketAddr::from((from.ip, port));
        let (near, far) = (
            &self.hosts[host as usize].link,
            &self.hosts[other as usize].link,
        );
        let flows = [
            Flow::new(Path::new(near, far)),
            Flow::new(Path::new(far, near)),
        ];
        let delay = flows[0].path.delay_ns;
        let breaks = match (near.reset_every, far.reset_every) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.opened += 1;
        let name = format!("conn/{}/{}/{}", from_addr.ip(), ip, self.opened);
        let mut rng = seed::stream(self.seed, &name);
        let breaks = breaks.map(|mean| exponential_ns(mean, &mut rng));
        let index = self.free_conns.pop();
        let generation = index.map_or(0, |i| self.conns[i as usize].generation + 1);
        let conn = Conn {
            generation,
            hosts: [host, other],
            addrs: [from_addr, to],
            ids: [None; 2],
            flows,
            rng,
            live: true,
        };
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
        let id = self.assign(host, end);
        self.conns[index as usize].ids[0] = Some(id);
        self.plan(self.now + delay, Fact::Knock(end));
        if let Some(after) = breaks {
            self.plan(self.now.saturating_add(after), Fact::Breaks(end));
        }
        id
    }

    /// A dial to an address where no machine is: no answer ever comes.
    fn dial_nobody(&mut self, host: HostIndex) -> ConnId {
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
    fn forget_dial_to_nobody(&mut self, host: HostIndex, id: ConnId) {
        let host = &mut self.hosts[host as usize];
        if let Some(entry) = host.slots.get_mut(id.slot as usize)
            && *entry == (id.generation, None)
        {
            entry.0 += 1;
            host.free_slots.push(id.slot);
        }
    }

    fn on_breaks(&mut self, end: End) {
        let Some(conn) = self.conn(end) else { return };
        let stands = conn.flows[usize::from(end.side)].open;
        self.totals.resets += 1;
        if stands {
            self.end_at(end, Closed::Reset);
            self.end_at(end.other(), Closed::Reset);
        } else {
            self.fail_dial(end, ConnectError::Unreachable);
        }
    }

    fn on_knock(&mut self, end: End) {
        let Some(conn) = self.conn(end) else { return };
        let (index, port, back) = (
            conn.hosts[1],
            conn.addrs[1].port(),
            conn.flows[1].path.delay_ns,
        );
        let there = conn.flows[0].path.delay_ns;
        let host = &mut self.hosts[index as usize];
        let accepts = host.running && host.listening == Some(port) && host.accepting < BACKLOG_MAX;
        host.up_debt += SEGMENT_OVERHEAD;
        if accepts {
            host.accepting += 1;
            self.plan(self.now + back + there, Fact::Accepted(end, index));
        }
        self.plan(self.now + back, Fact::Answer(end, accepts));
    }

    fn on_answer(&mut self, end: End, accepted: bool) {
        if !accepted {
            return self.fail_dial(end, ConnectError::Refused);
        }
        let Some(conn) = self.conn(end) else { return };
        let (host, from, id) = (conn.hosts[0], conn.addrs[1], conn.ids[0]);
        conn.flows[0].open = true;
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
    fn fail_dial(&mut self, end: End, why: ConnectError) {
        let Some(conn) = self.conn(end) else { return };
        let (host, gone) = (conn.hosts[0], conn.flows[0].clear());
        self.totals.dropped += gone;
        let id = self.unassign(end);
        self.free_if_over(end);
        if let Some(conn) = id {
            self.deliver(host, NetEvent::Failed { conn, why });
        }
    }

    fn on_accepted(&mut self, end: End, host: HostIndex) {
        self.hosts[host as usize].accepting -= 1;
        let Some(conn) = self.conn(end) else { return };
        let (from, far) = (conn.addrs[0], end.other());
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
        self.deliver(
            host,
            NetEvent::Opened {
                conn: id,
                from,
                inbound: true,
            },
        );
    }

    /// The flow from `end` may have something to send: puts it into its uplink's queue.
    fn offer(&mut self, end: End) {
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
    fn finish_if_asked(&mut self, end: End) {
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
    fn kick_uplink(&mut self, host: HostIndex) {
        let now = self.now;
        while !self.hosts[host as usize].up_busy {
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

    fn on_arrive(&mut self, end: End) {
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
    fn fin_after_data(&mut self, end: End) {
        let Some(flow) = self.flow(end) else { return };
        if flow.arrived.is_empty() {
            self.end_at(end.other(), Closed::ByPeer);
        } else {
            flow.in_transit.push_front(Cargo::Fin);
        }
    }

    /// Starts the next parcel on an idle downlink.
    fn kick_downlink(&mut self, host: HostIndex) {
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

    fn on_downlink_free(&mut self, host: HostIndex) {
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

    /// The connection is over at this end: its host hears of it.
    fn end_at(&mut self, end: End, how: Closed) {
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
    fn reset_from(&mut self, end: End) {
        self.unassign(end);
        let now = self.now;
        let Some(flow) = self.flow(end) else { return };
        flow.finishing = true;
        let (at, gone) = (now + flow.path.delay_ns, flow.clear());
        self.totals.dropped += gone;
        self.plan(at, Fact::ResetArrives(end));
        self.free_if_over(end);
    }

    /// Frees a connection that neither host knows any more and that has nothing under way.
    fn free_if_over(&mut self, end: End) {
        let Some(conn) = self.conn(end) else { return };
        let idle = |flow: &Flow| flow.held() == 0 && flow.in_transit.is_empty();
        if conn.ids == [None; 2] && conn.flows.iter().all(idle) {
            conn.live = false;
            let hosts = conn.hosts;
            for side in [0, 1] {
                let end = End { side, ..end };
                self.hosts[hosts[usize::from(side)] as usize].up.leave(end);
                self.hosts[hosts[usize::from(1 - side)] as usize]
                    .down
                    .leave(end);
            }
            self.free_conns.push(end.conn);
        }
    }
}

/// A draw from the exponential distribution, ns.
fn exponential_ns(mean: Duration, rng: &mut ChaCha8Rng) -> u64 {
    // In (0, 1]: the logarithm is finite.
    let unit = ((rng.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
    (-libm::log(unit) * mean.as_nanos() as f64) as u64
}

/// The network as one program on one host sees it.
#[derive(Debug)]
pub struct FabricNet {
    fabric: Fabric,
    host: HostIndex,
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

    fn send(&mut self, conn: ConnId, data: Bytes) {
        let host = self.host;
        let mut state = self.state();
        let Some(end) = state.end_of(host, conn) else {
            return;
        };
        let bytes = data.len() as u64;
        state.totals.sent += bytes;
        if state
            .conn(end)
            .is_some_and(|conn| !conn.hosts.contains(&TRACKER))
        {
            state.hosts[host as usize].sent_to_peers += bytes;
        }
        if let Some(flow) = state.flow(end) {
            flow.push(data);
            state.offer(end);
        }
    }

    fn close(&mut self, conn: ConnId, how: CloseHow) {
        let host = self.host;
        let mut state = self.state();
        let Some(end) = state.end_of(host, conn) else {
            return state.forget_dial_to_nobody(host, conn);
        };
        let mut unread = 0;
        state.hosts[host as usize].mailbox.retain(|event| {
            let gone = event_conn(event) == Some(conn);
            unread += if gone { data_bytes(event) } else { 0 };
            !gone
        });
        state.totals.dropped += unread;
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
        let path = Path::new(&near.link, &state.hosts[other as usize].link);
        let number = state.next_datagram;
        state.next_datagram = number.wrapping_add(1);
        let mut rng = seed::stream(state.seed, &format!("datagram/{number}"));
        let wire = wire_bytes(datagram.len() as u64);
        state.hosts[host as usize].up_debt += wire;
        if let Some(delay) = path.datagram_delay(datagram.len() as u64, &mut rng) {
            let at = state.now + transmit_ns(wire, state.hosts[host as usize].link.up) + delay;
            state.datagrams.insert(number, (other, from, datagram));
            state.plan(at, Fact::Datagram(number));
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<NetEvent> {
        let host = self.host;
        let mut state = self.fabric.0.borrow_mut();
        let entry = &mut state.hosts[host as usize];
        let Some(event) = entry.mailbox.pop_front() else {
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
            if let Some(end) = state.end_of(host, *conn)
                && let Some(flow) = state.flow(end.other())
            {
                // The receiver read: room for the sender one delay later.
                let at = flow.read(bytes, now);
                if !flow.in_ring && !flow.waking && flow.unsent_bytes > 0 {
                    flow.waking = true;
                    state.plan(at, Fact::Wake(end.other()));
                }
            }
        }
        Poll::Ready(event)
    }
}

/// Payload bytes of an event.
fn data_bytes(event: &NetEvent) -> u64 {
    match event {
        NetEvent::Data { data, .. } => data.len() as u64,
        _ => 0,
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
        let unread: u64 = state.hosts[host as usize]
            .mailbox
            .iter()
            .map(data_bytes)
            .sum();
        state.totals.dropped += unread;
        let entry = &mut state.hosts[host as usize];
        entry.running = false;
        entry.listening = None;
        entry.mailbox.clear();
        entry.waker = None;
        // Dials to nobody hold a slot and no connection.
        entry.free_slots.clear();
        for (slot, (generation, _)) in entry.slots.iter_mut().enumerate().rev() {
            *generation += 1;
            let slot = u32::try_from(slot).expect("fewer connections than 2^32");
            entry.free_slots.push(slot);
        }
    }
}

//! Owns the simulated network of a run: all hosts on one paused runtime, one heap of facts.
//!
//! Invariants: facts are handled in the order of (ns, sequence); nothing arrives before it was sent
//! plus the path's delay; bytes of one connection never overtake each other; a link never carries
//! more than its rate. Time stays in ns in here, wake-ups fall on the timer's next millisecond, so
//! several facts share an instant: a fact names its connection by generation and is dropped when
//! that one is gone.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use skep_engine::ConnId;
use skep_engine::node::network::NetEvent;
use skep_engine::node::whereabouts::Whereabouts;
use tokio::time::{Instant, Sleep};

use crate::scenario::plan::LinkPlan;

use super::agenda::Agenda;
use super::clock::PausedClock;
use super::flow::Flow;
use super::link::{FairQueue, Path, transmit_ns};
use super::place::Place;
use super::queue::Queue;

mod ahead;
mod carrying;
mod connections;
mod cuts;
mod host_net;
mod paths;
mod post;
mod tap;

pub use host_net::FabricNet;
use post::{Mail, Mailbox, NOWHERE, Post};
use tap::Tap;

/// First port given to outgoing connections.
const EPHEMERAL_FROM: u16 = 32_768;
/// Connections that wait to be accepted, per host (the backlog); more are refused.
const BACKLOG_MAX: usize = 1024;

/// Drained bytes below which a sender is told nothing: it hears of them together with more.
const ROOM_NEWS_MIN: u32 = 1024;
/// A sender is woken for room when what is left lasts its uplink for less than this: a wake-up takes up to the timer's
/// next millisecond, and the uplink must not idle until then.
const ROOM_NEWS_AHEAD_NS: u64 = 2_000_000;

type HostIndex = u32;

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
    /// The answer to the dial reaches the dialler: it is accepted at this host, or [`REFUSED`].
    Answer(End, HostIndex),
    /// The dialler's acknowledgement reaches the other end, on this host: accepted.
    Accepted(End, HostIndex),
    /// A reset from this end's side reaches the other end.
    ResetArrives(End),
    /// The connection breaks on its way: both ends are reset.
    Breaks(End),
    /// A datagram arrives; its number in `datagrams`.
    Datagram(u32),
    /// The sender at this end tries again what was lost on a cut path.
    Retry(End),
    /// The sender at this end has heard nothing for the user timeout.
    GiveUp(End),
}

/// No host: the dial is refused.
const REFUSED: HostIndex = HostIndex::MAX;

/// A datagram on its way.
#[derive(Debug)]
struct Datagram {
    hosts: [HostIndex; 2],
    from: SocketAddr,
    to_port: u16,
    data: Bytes,
    rng: ChaCha8Rng,
}

/// A machine. Lines of memory: what is delivered looks at the first two, what is sent at those behind them.
#[derive(Debug)]
#[repr(C, align(64))]
struct Host {
    mailbox: Mailbox,
    /// Of the program that runs, since it waited first.
    waker: Option<Waker>,
    /// When the downlink has carried what it took, ns.
    down_free: u64,
    /// The parcel that the downlink carries now: whose.
    down_carries: Option<End>,
    /// It was woken and has not waited since.
    woken: bool,
    /// A client runs.
    running: bool,
    /// [`Fact::UplinkFree`] is planned: somebody waits for that moment.
    up_busy: bool,
    /// A peer, or whoever else connections of peers lead to; not a tracker.
    peer: bool,
    /// Without power.
    dark: bool,
    down: FairQueue<End>,
    slots: Vec<(u32, Option<End>)>,
    up: FairQueue<End>,
    /// When the uplink has carried what it took, ns.
    up_free: u64,
    /// Headers of packets without data, not yet carried.
    up_debt: u64,
    /// Datagrams that wait for the uplink, before everything else.
    up_datagrams: Queue<u32>,
    sent_wire: u64,
    /// Bytes handed in for connections between peers.
    sent_to_peers: u64,
    /// Ways that are cut, a bit each: those that begin here, those that end here.
    cut_from: u64,
    cut_to: u64,
    free_slots: Vec<u32>,
    accepting: usize,
    /// The port where somebody listens.
    listening: Option<u16>,
    next_port: u16,
    ip: Ipv4Addr,
    name: String,
    place: Place,
}

/// A connection: a line of memory for both ways, and two and a half for each of them.
#[derive(Debug)]
#[repr(C, align(64))]
struct Conn {
    generation: u32,
    live: bool,
    /// Both ends are peers, or whoever else connections of peers lead to.
    between_peers: bool,
    hosts: [HostIndex; 2],
    /// Each end's id at its host, once it has one and until it is closed there.
    ids: [Option<ConnId>; 2],
    /// Each end's port.
    ports: [u16; 2],
    /// The number of the stream of its path.
    crossing: u64,
    /// That stream, once something was drawn: most paths never draw.
    rng: Option<Box<ChaCha8Rng>>,
    flows: [Flow; 2],
}

// A run may have a hundred thousand.
const _: () = assert!(size_of::<Conn>() == 384);

/// Paths that were computed last: the next one is often equal to one of them.
const PATHS_KEPT: usize = 8;

/// Totals of the network.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FabricTotals {
    /// Connections reset on their way, at random.
    pub resets: u64,
    /// Connections reset by a fault.
    pub fault_resets: u64,
    /// Senders that were kept from going on by a cut path.
    pub stalls: u64,
    /// Of those: that went on in time.
    pub resumed: u64,
    /// Of those: that gave up.
    pub timed_out: u64,
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
    clock: PausedClock,
    /// The moment of the fact being handled, ns; never behind the clock's last wake-up.
    now: u64,
    hosts: Vec<Host>,
    /// By host: where the program that runs has its memory.
    near: Vec<Whereabouts>,
    post: Post,
    by_ip: BTreeMap<Ipv4Addr, HostIndex>,
    conns: Vec<Conn>,
    free_conns: Vec<u32>,
    /// The clock when due facts were handled last, ns.
    tick: u64,
    agenda: Agenda<Fact>,
    driver: Option<Waker>,
    /// The moment at which the driver wakes by itself, ns.
    armed: u64,
    datagrams: BTreeMap<u32, Datagram>,
    next_datagram: u32,
    /// Dials and datagrams so far, by ordered pair: the number in the name of the next one's stream.
    crossings: BTreeMap<(HostIndex, HostIndex), u64>,
    totals: FabricTotals,
    /// The last paths, oldest first.
    paths: VecDeque<Rc<Path>>,
    /// One-way delays from region to region, if there are regions.
    regions: Vec<Vec<Duration>>,
    /// Ways that are cut, and machines without power; 0: nothing to look at.
    cuts: u32,
    /// Which fault cut each way, by its bit.
    cut_faults: Vec<Option<usize>>,
    /// What each fault kept from arriving.
    cut_hits: BTreeMap<usize, u64>,
    /// Who sees what arrives, where somebody wants that.
    tap: Option<Box<Tap>>,
}

/// A handle to the network of a run.
#[derive(Clone, Debug)]
pub struct Fabric(Rc<RefCell<State>>);

impl Fabric {
    /// A network without hosts; `seed` names the streams of its paths.
    #[must_use]
    pub fn new(seed: u64, epoch: Instant) -> Fabric {
        Fabric(Rc::new(RefCell::new(State {
            seed,
            clock: PausedClock::new(epoch),
            now: 0,
            hosts: Vec::new(),
            near: Vec::new(),
            post: Post::default(),
            by_ip: BTreeMap::new(),
            conns: Vec::new(),
            free_conns: Vec::new(),
            tick: 0,
            agenda: Agenda::default(),
            driver: None,
            armed: u64::MAX,
            datagrams: BTreeMap::new(),
            next_datagram: 0,
            crossings: BTreeMap::new(),
            totals: FabricTotals::default(),
            paths: VecDeque::new(),
            regions: Vec::new(),
            cuts: 0,
            cut_faults: Vec::new(),
            cut_hits: BTreeMap::new(),
            tap: None,
        })))
    }

    /// Adds a machine. Nothing runs on it yet. Its name is in the names of its paths' streams.
    ///
    /// # Panics
    /// When the address is taken.
    pub fn add_host(&self, name: &str, ip: Ipv4Addr, link: LinkPlan) {
        self.add(name, ip, link, true);
    }

    /// As [`Fabric::add_host`], for a tracker: what goes to it and comes from it is not between peers.
    ///
    /// # Panics
    /// When the address is taken.
    pub fn add_tracker(&self, name: &str, ip: Ipv4Addr, link: LinkPlan) {
        self.add(name, ip, link, false);
    }

    fn add(&self, name: &str, ip: Ipv4Addr, link: LinkPlan, peer: bool) {
        let mut state = self.0.borrow_mut();
        let index = HostIndex::try_from(state.hosts.len()).expect("fewer hosts than 2^32");
        assert!(state.by_ip.insert(ip, index).is_none(), "{ip} is taken");
        if let Some(tap) = &mut state.tap {
            tap.host(name, ip);
        }
        state.near.push(Whereabouts::default());
        state.hosts.push(Host {
            name: name.to_owned(),
            ip,
            listening: None,
            running: false,
            mailbox: Mailbox::default(),
            waker: None,
            woken: false,
            slots: Vec::new(),
            free_slots: Vec::new(),
            next_port: EPHEMERAL_FROM,
            accepting: 0,
            up: FairQueue::new(link.up),
            up_free: 0,
            up_busy: false,
            up_datagrams: Queue::default(),
            up_debt: 0,
            down: FairQueue::new(link.down),
            down_carries: None,
            down_free: 0,
            sent_wire: 0,
            peer,
            sent_to_peers: 0,
            place: Place::new(link),
            cut_from: 0,
            cut_to: 0,
            dark: false,
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
        if state.hosts[host as usize].dark {
            state.handle_due();
            state.power_on(host);
        }
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
            let epoch = state.clock.epoch();
            // It looks at what was planned before it sleeps again.
            state.armed = 0;
            state.handle_due();
            if !state
                .driver
                .as_ref()
                .is_some_and(|w| w.will_wake(cx.waker()))
            {
                state.driver = Some(cx.waker().clone());
            }
            let Some(next) = state.agenda.next_at() else {
                state.armed = u64::MAX;
                *sleep = None;
                return Poll::Pending;
            };
            state.armed = next;
            let at = epoch + Duration::from_nanos(next);
            let (armed, timer) =
                sleep.get_or_insert_with(|| (next, Box::pin(tokio::time::sleep_until(at))));
            if *armed != next {
                timer.as_mut().reset(at);
                *armed = next;
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
        let unread: u64 = state.post.all().map(data_bytes).sum();
        on_links + unread
    }
}

impl State {
    fn plan(&mut self, at: u64, fact: Fact) {
        self.agenda.plan(at, fact);
        if at < self.armed {
            self.armed = at;
            if let Some(driver) = &self.driver {
                driver.wake_by_ref();
            }
        }
    }

    /// Handles every fact that is due by the clock, in order.
    fn handle_due(&mut self) {
        let clock = self.clock.read();
        if let Some(tap) = &mut self.tap {
            tap.tell_until(self.tick);
        }
        self.tick = clock;
        while let Some((at, fact)) = self.agenda.pop_due(clock) {
            self.now = self.now.max(at);
            self.totals.facts += 1;
            self.read_ahead();
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
            Fact::Answer(end, at) => self.on_answer(end, at),
            Fact::Accepted(end, host) => self.on_accepted(end, host),
            Fact::ResetArrives(end) => self.on_reset_arrives(end),
            Fact::Breaks(end) => self.on_breaks(end),
            Fact::Datagram(number) => self.on_datagram(number),
            Fact::Retry(end) => self.on_retry(end),
            Fact::GiveUp(end) => self.on_give_up(end),
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
        self.deliver_at(host, NOWHERE, event);
    }

    /// Data goes with the end at which it arrives, room with the one where it is.
    fn deliver_at(&mut self, host: HostIndex, at: End, event: NetEvent) {
        self.prefetch_program(host, &event);
        self.put_into_mailbox(host, Mail { event, at });
        let host = &mut self.hosts[host as usize];
        if let Some(waker) = &host.waker
            && !std::mem::replace(&mut host.woken, true)
        {
            waker.wake_by_ref();
        }
    }

    fn put_into_mailbox(&mut self, host: HostIndex, mail: Mail) {
        let host = &mut self.hosts[host as usize];
        if host.running {
            self.post.push(&mut host.mailbox, mail);
        } else {
            self.totals.dropped += data_bytes(&mail.event);
        }
    }

    /// Tells a sender that its queue drained; a few bytes are told together with more. While the uplink has enough to
    /// carry of it, the sender is not woken for this: it hears of it with whatever comes next, or when little is left.
    fn tell_room(&mut self, host: HostIndex, conn: ConnId, end: End, drained: u64) {
        let rate = self.hosts[host as usize].up.rate();
        let flow = self.flow(end).expect("it had a turn");
        flow.untold += u32::try_from(drained).expect("a parcel is short");
        let queued = flow.unsent_bytes;
        let little = transmit_ns(queued, rate) < ROOM_NEWS_AHEAD_NS;
        if flow.untold < ROOM_NEWS_MIN && !(little && flow.told_in_passing) {
            return;
        }
        (flow.untold, flow.told_in_passing) = (0, !little);
        let event = NetEvent::Room { conn, queued };
        if little {
            self.deliver_at(host, end, event);
        } else {
            self.put_into_mailbox(host, Mail { event, at: end });
        }
    }
}

/// Payload bytes of an event.
fn data_bytes(event: &NetEvent) -> u64 {
    match event {
        NetEvent::Data { data, .. } => data.len() as u64,
        _ => 0,
    }
}

//! A laboratory: hosts with one tiny program each, on one paused runtime, and a stop-watch.
//!
//! Invariant: a program sees its own network only, and every event of it, in order.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use skep_engine::ConnId;
use skep_engine::node::network::{CloseHow, Closed, NetEvent, Network};
use skep_sim::network::fabric::{Fabric, FabricNet};
use skep_sim::scenario::plan::LinkPlan;
use tokio::time::Instant;

pub const KIB: u64 = 1024;
pub const MIB: u64 = 1024 * KIB;
pub const MS: Duration = Duration::from_millis(1);
/// More than any test needs.
pub const WIDE: u64 = 1_000_000_000;
/// Bytes of one write of a [`Source`]: a block.
pub const BLOCK: u64 = 16 * KIB;
/// Where every listening program listens.
pub const PORT: u16 = 6881;

/// A link without loss, jitter or resets.
pub fn link(up: u64, down: u64, latency: Duration) -> LinkPlan {
    LinkPlan {
        up,
        down,
        latency,
        jitter: Duration::ZERO,
        loss_ppm: 0,
        reset_every: None,
    }
}

/// The address of the n-th host.
pub fn ip(host: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, u8::try_from(host).expect("few hosts"))
}

/// The n-th host's listening address.
pub fn at(host: usize) -> SocketAddr {
    SocketAddr::from((ip(host), PORT))
}

/// Payload whose bytes say where they stand in the stream.
pub fn numbered(from: u64, len: u64) -> Bytes {
    (from..from + len)
        .map(|n| u8::try_from(n.wrapping_mul(31) % 251).expect("below 251"))
        .collect()
}

/// What runs on a host.
pub trait Program {
    /// Called once.
    fn start(&mut self, _net: &mut FabricNet) {}
    /// Called for every event; `now` since the start.
    fn on_event(&mut self, net: &mut FabricNet, event: NetEvent, now: Duration);
    /// False: the network's events are left where they are.
    fn polls(&self) -> bool {
        true
    }
}

/// A program that does nothing but listen.
pub struct Listener;

impl Program for Listener {
    fn start(&mut self, net: &mut FabricNet) {
        net.listen(at_any()).expect("a free port");
    }
    fn on_event(&mut self, _net: &mut FabricNet, _event: NetEvent, _now: Duration) {}
}

pub fn at_any() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT))
}

/// A server: whoever connects gets `total` bytes in blocks, as room allows, then a FIN.
pub struct Source {
    total: u64,
    /// Bytes of one write.
    pub write: u64,
    /// Connection, bytes written.
    written: Vec<(ConnId, u64)>,
}

impl Source {
    pub fn new(total: u64) -> Source {
        Source {
            total,
            write: BLOCK,
            written: Vec::new(),
        }
    }

    fn fill(&mut self, net: &mut FabricNet, at: usize, mut queued: u64) {
        let (conn, written) = &mut self.written[at];
        while queued < 4 * BLOCK && *written < self.total {
            let len = self.write.min(self.total - *written);
            net.send(*conn, numbered(*written, len));
            *written += len;
            queued += len;
            if *written == self.total {
                net.close(*conn, CloseHow::Finish);
            }
        }
    }
}

impl Program for Source {
    fn start(&mut self, net: &mut FabricNet) {
        net.listen(at_any()).expect("a free port");
    }

    fn on_event(&mut self, net: &mut FabricNet, event: NetEvent, _now: Duration) {
        match event {
            NetEvent::Opened { conn, .. } => {
                self.written.push((conn, 0));
                self.fill(net, self.written.len() - 1, 0);
            }
            NetEvent::Room { conn, queued } => {
                if let Some(at) = self.written.iter().position(|(c, _)| *c == conn) {
                    self.fill(net, at, queued);
                }
            }
            NetEvent::Closed { conn, .. } => self.written.retain(|(c, _)| *c != conn),
            _ => {}
        }
    }
}

/// What a [`Sink`] saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// When each of its connections stood.
    pub opened: Vec<Duration>,
    /// When bytes came, and how many, over all connections.
    pub data: Vec<(Duration, u64)>,
    /// How and when each connection ended.
    pub closed: Vec<(Duration, Closed)>,
    pub bytes: u64,
    /// A byte was not the one that stands there in the stream.
    pub garbled: bool,
}

impl Seen {
    /// When the last byte came, in seconds.
    pub fn last_s(&self) -> f64 {
        self.data.last().map_or(0.0, |(at, _)| at.as_secs_f64())
    }

    /// Bytes that came before a moment.
    pub fn before(&self, moment: Duration) -> u64 {
        let early = self.data.iter().filter(|(at, _)| *at < moment);
        early.map(|(_, bytes)| bytes).sum()
    }

    /// Bytes per second between two moments.
    pub fn rate(&self, from: Duration, to: Duration) -> f64 {
        (self.before(to) - self.before(from)) as f64 / (to - from).as_secs_f64()
    }
}

/// A client: opens connections to a server and reads until they end.
pub struct Sink {
    server: SocketAddr,
    connections: usize,
    /// Connection, bytes read.
    read: Vec<(ConnId, u64)>,
    pub seen: Rc<RefCell<Seen>>,
}

impl Sink {
    pub fn new(server: SocketAddr, connections: usize) -> (Sink, Rc<RefCell<Seen>>) {
        let seen = Rc::default();
        let sink = Sink {
            server,
            connections,
            read: Vec::new(),
            seen: Rc::clone(&seen),
        };
        (sink, seen)
    }
}

impl Program for Sink {
    fn start(&mut self, net: &mut FabricNet) {
        for _ in 0..self.connections {
            let conn = net.connect(self.server);
            self.read.push((conn, 0));
        }
    }

    fn on_event(&mut self, _net: &mut FabricNet, event: NetEvent, now: Duration) {
        let mut seen = self.seen.borrow_mut();
        match event {
            NetEvent::Opened { .. } => seen.opened.push(now),
            NetEvent::Data { conn, data } => {
                let mine = self.read.iter_mut().find(|(c, _)| *c == conn);
                let (_, read) = mine.expect("a connection of this program");
                let len = data.len() as u64;
                seen.garbled |= data[..] != numbered(*read, len)[..];
                *read += len;
                seen.bytes += len;
                seen.data.push((now, len));
            }
            NetEvent::Closed { how, .. } => seen.closed.push((now, how)),
            _ => {}
        }
    }
}

/// A program from two closures.
pub struct Does<S, E> {
    pub start: S,
    pub event: E,
}

impl<S, E> Program for Does<S, E>
where
    S: FnMut(&mut FabricNet),
    E: FnMut(&mut FabricNet, NetEvent, Duration),
{
    fn start(&mut self, net: &mut FabricNet) {
        (self.start)(net);
    }
    fn on_event(&mut self, net: &mut FabricNet, event: NetEvent, now: Duration) {
        (self.event)(net, event, now);
    }
}

/// What [`Lab::run`] calls as time passes.
type Moment = (Duration, Box<dyn FnOnce(&mut Lab)>);

/// Whether a host was woken: one that was not is not polled, as by a real executor.
#[derive(Default)]
struct Alarm {
    rang: AtomicBool,
    lab: Mutex<Option<Waker>>,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.rang.store(true, Ordering::Relaxed);
        if let Some(lab) = self.lab.lock().expect("one thread").take() {
            lab.wake();
        }
    }
}

/// A running program.
struct Running {
    net: FabricNet,
    program: Box<dyn Program>,
    alarm: Arc<Alarm>,
}

impl Running {
    /// Gives the program its events; false when it slept.
    fn poll(&mut self, cx: &mut Context<'_>, epoch: Instant) -> bool {
        *self.alarm.lab.lock().expect("one thread") = Some(cx.waker().clone());
        if !self.program.polls() || !self.alarm.rang.swap(false, Ordering::Relaxed) {
            return false;
        }
        let waker = Waker::from(Arc::clone(&self.alarm));
        while let Poll::Ready(event) = self.net.poll_event(&mut Context::from_waker(&waker)) {
            self.program.on_event(&mut self.net, event, epoch.elapsed());
        }
        true
    }
}

/// The network with its hosts.
pub struct Lab {
    pub fabric: Fabric,
    hosts: Vec<Option<Running>>,
    moments: Vec<Moment>,
}

impl Lab {
    /// Adds a machine on which nothing runs; returns its number.
    pub fn machine(&mut self, link: LinkPlan) -> usize {
        self.fabric.add_host(
            &format!("host-{}", self.hosts.len()),
            ip(self.hosts.len()),
            link,
        );
        self.hosts.push(None);
        self.hosts.len() - 1
    }

    /// Starts a program on a machine.
    pub fn start(&mut self, host: usize, mut program: impl Program + 'static) {
        let mut net = self.fabric.attach(ip(host));
        program.start(&mut net);
        let alarm = Arc::new(Alarm::default());
        alarm.rang.store(true, Ordering::Relaxed);
        self.hosts[host] = Some(Running {
            net,
            program: Box::new(program),
            alarm,
        });
    }

    /// A machine with a program.
    pub fn host(&mut self, link: LinkPlan, program: impl Program + 'static) -> usize {
        let host = self.machine(link);
        self.start(host, program);
        host
    }

    /// The end of a program.
    pub fn kill(&mut self, host: usize) {
        self.hosts[host] = None;
    }

    /// Does something at a moment of the run.
    pub fn at(&mut self, moment: Duration, what: impl FnOnce(&mut Lab) + 'static) {
        self.moments.push((moment, Box::new(what)));
        self.moments.sort_by_key(|(at, _)| *at);
    }

    /// The network of a host, for commands from outside its program.
    pub fn net(&mut self, host: usize) -> &mut FabricNet {
        &mut self.hosts[host].as_mut().expect("a program").net
    }

    /// Lets the hosts live for so long; a second call goes on from there.
    async fn run(&mut self, epoch: Instant, until: Duration) {
        let fabric = self.fabric.clone();
        let mut drive = pin!(fabric.drive());
        loop {
            let next = match self.moments.first() {
                Some((at, _)) if *at <= until => *at,
                _ => until,
            };
            let mut sleep = pin!(tokio::time::sleep_until(epoch + next));
            poll_fn(|cx| {
                // Moments come before the driver hears of the same millisecond.
                if sleep.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                loop {
                    let _ = drive.as_mut().poll(cx);
                    let mut busy = false;
                    for host in self.hosts.iter_mut().flatten() {
                        busy |= host.poll(cx, epoch);
                    }
                    if !busy {
                        break;
                    }
                }
                Poll::Pending
            })
            .await;
            match self.moments.first() {
                Some((at, _)) if *at <= until => (self.moments.remove(0).1)(self),
                _ => return,
            }
        }
    }
}

/// Builds hosts, lets them live for `time`, and looks at the laboratory afterwards.
pub fn run<T>(time: Duration, build: impl FnOnce(&mut Lab) -> T, look: impl FnOnce(&mut Lab, T)) {
    run_seeded(1, time, build, look);
}

/// The same with a seed for the network's own draws.
pub fn run_seeded<T>(
    seed: u64,
    time: Duration,
    build: impl FnOnce(&mut Lab) -> T,
    look: impl FnOnce(&mut Lab, T),
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let epoch = Instant::now();
        let mut lab = Lab {
            fabric: Fabric::new(seed, epoch),
            hosts: Vec::new(),
            moments: Vec::new(),
        };
        let built = build(&mut lab);
        lab.run(epoch, time).await;
        let (totals, way) = (lab.fabric.totals(), lab.fabric.under_way());
        assert_eq!(
            totals.sent,
            totals.delivered + totals.dropped + way,
            "books"
        );
        look(&mut lab, built);
    });
}

/// The most bytes within any window of 1 s.
pub fn busiest_second(mut data: Vec<(Duration, u64)>) -> u64 {
    data.sort();
    let (mut first, mut sum, mut most) = (0, 0, 0);
    for &(at, bytes) in &data {
        sum += bytes;
        while data[first].0 + Duration::from_secs(1) <= at {
            sum -= data[first].1;
            first += 1;
        }
        most = most.max(sum);
    }
    most
}

/// Prints a calibration's line and holds it against its ideal.
pub fn calibrate(what: &str, ideal: f64, measured: f64, tolerance: f64) {
    let error = measured / ideal - 1.0;
    println!(
        "{what}: ideal {ideal:.3}, measured {measured:.3}, error {:.2} %",
        error * 100.0
    );
    assert!(
        error.abs() <= tolerance,
        "{what}: ideal {ideal}, measured {measured}, error {error}"
    );
}

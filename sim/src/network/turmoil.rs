//! Owns the second simulated network: the hosts of a run on turmoil, each with a runtime and a clock of its
//! own, moved on in ticks.
//!
//! turmoil has neither rates nor windows, its latency is a number of ticks, and a segment that it drops hangs
//! a connection for ever. So it only carries: each message takes one tick, nothing is ever dropped, and a
//! `machine` on each host shapes what it sends and receives by the arithmetic of [`super::link`], the same
//! as the fabric's. Everything else is turmoil's: who runs when, listening and dialling, streams and datagrams.
//! What a fault keeps from arriving, turmoil carries as well, and the machines swallow it.
//!
//! Invariants: all hosts start at the same moment and move on by the same ticks, so their clocks agree; what
//! one host does is seen by another in a later tick, never in the same one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use rand::Rng;
use skep_engine::Now;
use skep_engine::node::spawn::Tasks;
use tokio::time::Instant;

use super::Totals;
use super::place::Place;
use crate::scenario::plan::LinkPlan;
use crate::seed;

mod barriers;
mod conn;
mod connections;
mod cuts;
mod faults;
mod fit;
mod frame;
mod host_net;
mod ledger;
mod machine;
mod sockets;

pub use fit::{Unfit, fits_turmoil};
pub use host_net::TurmoilNet;

use ledger::{Known, Ledger};
use machine::Machine;

/// How far turmoil moves at once.
const TICK: Duration = Duration::from_millis(5);
/// What turmoil takes to carry a message: with one tick nothing arrives before it was sent.
const LATENCY: Duration = TICK;
const LATENCY_NS: u64 = 5_000_000;
/// Shortest one-way delay of a path: a message and its answer from turmoil fit into there and back.
const DELAY_MIN: Duration = Duration::from_millis(10);
/// Most hosts: turmoil's work grows with their cube.
const HOSTS_MAX: usize = 50;
/// Messages that turmoil holds for a host per stream, listener or socket. A full listener is a panic, and an
/// end of stream behind a full stream is lost; a machine takes out everything at once, so few are ever held.
const CAPACITY: usize = 1024;

/// A program to be run on a host: what names it in a panic, and what makes it from the start of the run on the
/// host's clock.
type Program = (&'static str, Box<dyn FnOnce(Instant) -> Running>);
type Running = Pin<Box<dyn Future<Output = ()>>>;

struct Host {
    ip: Ipv4Addr,
    machine: Rc<RefCell<Machine>>,
    programs: Vec<Program>,
}

/// A handle to the hosts of a run.
#[derive(Clone)]
pub struct Turmoil {
    ledger: Rc<Ledger>,
    /// In the order in which they were added, which is that in which they take their turns.
    hosts: Rc<RefCell<Vec<Host>>>,
    by_ip: Rc<RefCell<BTreeMap<Ipv4Addr, usize>>>,
}

impl fmt::Debug for Turmoil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Turmoil");
        out.field("hosts", &self.hosts.borrow().len())
            .finish_non_exhaustive()
    }
}

impl Turmoil {
    /// Without hosts; `seed` names the streams of the paths.
    #[must_use]
    pub fn new(seed: u64) -> Turmoil {
        Turmoil {
            ledger: Rc::new(Ledger::new(seed)),
            hosts: Rc::default(),
            by_ip: Rc::default(),
        }
    }

    /// Adds a machine. Nothing runs on it yet. Its name is in the names of its paths' streams. `peer`: a
    /// peer, or whoever else connections of peers lead to; not a tracker.
    ///
    /// # Panics
    /// When the address is taken.
    pub fn add_host(&self, name: &str, ip: Ipv4Addr, link: LinkPlan, peer: bool) {
        let known = Known {
            name: name.to_owned(),
            place: Place::new(link.clone()),
            peer,
        };
        let taken = self.ledger.known.borrow_mut().insert(ip, known);
        assert!(taken.is_none(), "{ip} is taken");
        let machine = Machine::new(name, ip, link, Rc::clone(&self.ledger));
        let mut hosts = self.hosts.borrow_mut();
        self.by_ip.borrow_mut().insert(ip, hosts.len());
        hosts.push(Host {
            ip,
            machine: Rc::new(RefCell::new(machine)),
            programs: Vec::new(),
        });
    }

    fn machine(&self, ip: Ipv4Addr) -> Option<Rc<RefCell<Machine>>> {
        let index = *self.by_ip.borrow().get(&ip)?;
        Some(Rc::clone(&self.hosts.borrow()[index].machine))
    }

    /// The network as a program on that host sees it. Dropping it is the end of the process.
    ///
    /// # Panics
    /// When there is no such host, or a program runs on it already.
    #[must_use]
    pub fn attach(&self, ip: Ipv4Addr) -> TurmoilNet {
        let machine = self.machine(ip).expect("a host with this address");
        let running = std::mem::replace(&mut machine.borrow_mut().running, true);
        assert!(!running, "one program per host");
        self.power_on(&machine);
        TurmoilNet { machine }
    }

    /// Lets `program` run on a host from the start of the run, which it is told as a moment of the host's clock.
    ///
    /// # Panics
    /// When there is no such host.
    pub fn program<F: Future<Output = ()> + 'static>(
        &self,
        what: &'static str,
        ip: Ipv4Addr,
        program: impl FnOnce(Instant) -> F + 'static,
    ) {
        let index = *self
            .by_ip
            .borrow()
            .get(&ip)
            .expect("a host with this address");
        let program = Box::new(move |epoch| Box::pin(program(epoch)) as Running);
        self.hosts.borrow_mut()[index]
            .programs
            .push((what, program));
    }

    /// Runs the hosts until `look`, which is asked after every tick, has an answer.
    ///
    /// # Panics
    /// When something on a host panics: a bug in Skep.
    pub fn run<T>(&self, mut look: impl FnMut(Now) -> Option<T>) -> T {
        let mut sim = ::turmoil::Builder::new()
            // A date like any other: no run reads it.
            .epoch(std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000))
            .rng_seed(seed::stream(self.ledger.seed, "turmoil").next_u64())
            .simulation_duration(Duration::MAX)
            .tick_duration(TICK)
            .min_message_latency(LATENCY)
            .max_message_latency(LATENCY)
            .fail_rate(0.0)
            .tcp_capacity(CAPACITY)
            .udp_capacity(CAPACITY)
            .build();
        for host in self.hosts.borrow_mut().iter_mut() {
            let programs = std::mem::take(&mut host.programs);
            let machine = Rc::clone(&host.machine);
            sim.client(IpAddr::V4(host.ip), live(machine, programs));
        }
        loop {
            if let Err(error) = sim.step() {
                panic!("{error}");
            }
            if let Some(answer) = look(Now::START.after(sim.elapsed())) {
                return answer;
            }
        }
    }

    /// Totals so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.ledger.totals()
    }

    /// Messages that turmoil carried more slowly than their path: none, or times are wrong.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.ledger.late()
    }

    /// Bytes on the wire that a host's uplink carried, headers included.
    #[must_use]
    pub fn sent_wire(&self, ip: Ipv4Addr) -> u64 {
        self.machine(ip).map_or(0, |m| m.borrow().sent_wire)
    }

    /// Bytes that a host's programs handed in for connections to peers.
    #[must_use]
    pub fn sent_to_peers(&self, ip: Ipv4Addr) -> u64 {
        self.machine(ip).map_or(0, |m| m.borrow().sent_to_peers)
    }

    /// Bytes that are between a sender and a receiver now: the books balance when
    /// `sent = delivered + dropped + under way`.
    #[must_use]
    pub fn under_way(&self) -> u64 {
        let hosts = self.hosts.borrow();
        let held: u64 = hosts.iter().map(|host| host.machine.borrow().held()).sum();
        held + self.ledger.on_the_way()
    }
}

/// Everything that runs on one host. It never ends: a machine is there for the whole run.
async fn live(machine: Rc<RefCell<Machine>>, programs: Vec<Program>) -> ::turmoil::Result {
    let epoch = Instant::now();
    machine.borrow_mut().epoch = Some(epoch);
    let mut tasks = Tasks::new();
    tasks.spawn("sockets", sockets::listen_to_turmoil(Rc::clone(&machine)));
    tasks.spawn("network", sockets::drive(machine));
    for (what, program) in programs {
        tasks.spawn(what, program(epoch));
    }
    poll_fn(|cx| {
        tasks.poll_panics(cx);
        Poll::Pending
    })
    .await
}

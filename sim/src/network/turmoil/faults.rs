//! Owns what faults do to the machines of a turmoil run: ways that are cut and healed, power, links that change,
//! connections that are reset; and regions.
//!
//! Invariant: turmoil itself is never told. A fault is noted in what all machines share, and each machine looks
//! at its connections when the tick is over.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use super::machine::{Due, Key, Machine};
use super::{TICK, Turmoil};
use crate::network::draws::{Candidate, share_of};
use crate::scenario::plan::LinkPlan;

/// The moment on the clock of the host whose turn it is, ns.
fn now() -> u64 {
    let elapsed = ::turmoil::sim_elapsed().expect("faults are told by programs of the run");
    u64::try_from(elapsed.as_nanos()).expect("a run is shorter than 584 years")
}

/// When the tick of that moment is over, ns: what some host did later, another may have done already.
fn tick_end(now: u64) -> u64 {
    let tick = u64::try_from(TICK.as_nanos()).expect("some ms");
    (now / tick + 1) * tick
}

impl Turmoil {
    /// Every machine is to do something at a moment.
    fn plan_for_all(&self, at: u64, due: impl Fn() -> Due) {
        for host in self.hosts.borrow().iter() {
            host.machine.borrow_mut().plan(at, due());
        }
    }

    /// From the end of this tick on nothing gets from the first hosts to the second ones, nor back when it cuts
    /// `both` ways. `fault` is its number, by which it is healed and counted.
    ///
    /// # Panics
    /// Outside of a run.
    pub fn cut(&self, fault: usize, a: &[Ipv4Addr], b: &[Ipv4Addr], both: bool) {
        let after = tick_end(now());
        {
            let mut barriers = self.ledger.barriers.borrow_mut();
            barriers.cut(fault, a, b, after);
            if both {
                barriers.cut(fault, b, a, after);
            }
        }
        self.plan_for_all(after, || Due::Look);
    }

    /// What that fault cut carries again from the end of this tick on.
    ///
    /// # Panics
    /// Outside of a run.
    pub fn heal(&self, fault: usize) {
        let until = tick_end(now());
        self.ledger.barriers.borrow_mut().heal(fault, until);
        self.plan_for_all(until, || Due::Look);
    }

    /// What that fault kept from arriving so far: connections that stalled, packets of handshakes, datagrams.
    #[must_use]
    pub fn cut_hits(&self, fault: usize) -> u64 {
        self.ledger.barriers.borrow().hits(fault)
    }

    /// The machine goes dark at once: it sends and hears nothing until a program starts on it again. The
    /// program that runs on it, which tells it, is to be dropped next.
    ///
    /// # Panics
    /// Outside of a run.
    pub fn power_off(&self, ip: Ipv4Addr) {
        let after = tick_end(now());
        let Some(machine) = self.machine(ip) else {
            return;
        };
        machine.borrow_mut().catch_up();
        self.ledger.barriers.borrow_mut().power_off(ip, after);
        machine.borrow_mut().power_off(after);
        self.plan_for_all(after, || Due::Look);
    }

    /// A program starts: the machine has power, again perhaps.
    pub(super) fn power_on(&self, machine: &Rc<RefCell<Machine>>) {
        if !std::mem::take(&mut machine.borrow_mut().dark) {
            return;
        }
        let (ip, until) = (machine.borrow().ip, tick_end(now()));
        self.ledger.barriers.borrow_mut().power_on(ip, until);
        self.plan_for_all(until, || Due::Look);
    }

    /// A host's link is another one from now on. More delay than it had at first is added to its paths.
    ///
    /// # Panics
    /// Outside of a run.
    pub fn change_link(&self, ip: Ipv4Addr, link: LinkPlan) {
        if let Some(known) = self.ledger.known.borrow_mut().get_mut(&ip) {
            known.place.link = link;
            self.plan_for_all(now(), || Due::Link(ip));
        }
    }

    /// One-way delays from region to region, row to column. Paths between hosts that are both in a region
    /// have these in place of the mean of their links' delays.
    pub fn set_regions(&self, delays: Vec<Vec<Duration>>) {
        *self.ledger.regions.borrow_mut() = delays;
    }

    /// A host is in a region.
    ///
    /// # Panics
    /// When there is no such host.
    pub fn set_region(&self, ip: Ipv4Addr, region: usize) {
        let mut known = self.ledger.known.borrow_mut();
        let host = known.get_mut(&ip).expect("a host with this address");
        host.place.region = Some(region);
    }

    /// Resets, both ends at once, a share of the connections that stand and that one of these hosts has, in
    /// parts per million, rounded up. `name` names the draws. Returns how many.
    ///
    /// # Panics
    /// Outside of a run.
    pub fn reset_some(&self, of: &[Ipv4Addr], share_ppm: u32, name: &str) -> u64 {
        let hosts = self.hosts.borrow();
        // By host and key: the dialler's end and the other one.
        let mut standing: Vec<[(usize, Key); 2]> = Vec::new();
        for (index, host) in hosts.iter().enumerate() {
            let machine = host.machine.borrow();
            for (key, conn) in machine.conns.iter().filter(|(_, c)| c.open && !c.inbound) {
                let (here, there) = conn.ends.expect("it stands");
                let far = self.by_ip.borrow()[&conn.other];
                let hit = of.contains(&host.ip) || of.contains(&conn.other);
                let other = hit.then(|| hosts[far].machine.borrow());
                let other = other.and_then(|m| m.standing_between(there, here));
                if let Some((far_key, far_id)) = other
                    && (conn.id.is_some() || far_id)
                {
                    standing.push([(index, *key), (far, far_key)]);
                }
            }
        }
        let chosen = {
            let names = self.ledger.known.borrow();
            let name_of = |index: usize| names[&hosts[index].ip].name.as_str();
            let candidates = standing.iter().map(|conn| {
                let [(from, key), (to, _)] = *conn;
                let ends = hosts[from].machine.borrow().conns[&key].ends;
                Candidate {
                    from: name_of(from),
                    port: ends.expect("it stands").0.port(),
                    to: name_of(to),
                    conn: *conn,
                }
            });
            share_of(self.ledger.seed, name, share_ppm, candidates)
        };
        let at = now();
        for (host, key) in chosen.iter().flatten() {
            let mut machine = hosts[*host].machine.borrow_mut();
            machine.plan(at, Due::Broken(*key));
        }
        let resets = chosen.len() as u64;
        self.ledger.count(|totals| totals.fault_resets += resets);
        resets
    }
}

impl Machine {
    /// The connection between these ends, this machine's first, if it stands here; and whether a program here knows
    /// it.
    fn standing_between(&self, here: SocketAddr, there: SocketAddr) -> Option<(Key, bool)> {
        let mut conns = self.conns.iter();
        let found = conns.find(|(_, c)| c.open && c.ends == Some((here, there)));
        found.map(|(key, conn)| (*key, conn.id.is_some()))
    }
}

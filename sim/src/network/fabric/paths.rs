//! Owns what the path between two hosts is: their links, regions, and what changes of them during a run; and
//! connections that a fault resets.
//!
//! Invariant: a path is computed in one place. When a link changes, what has left goes on as it was, and
//! nothing overtakes it.

use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use skep_engine::node::network::{Closed, ConnectError};

use super::{End, Fabric, HostIndex, PATHS_KEPT, State};
use crate::network::draws::{Candidate, share_of};
use crate::network::link::Path;
use crate::scenario::plan::LinkPlan;

impl Fabric {
    /// One-way delays from region to region, row to column. Paths between hosts that are both in a region
    /// have these in place of the mean of their links' delays.
    pub fn set_regions(&self, delays: Vec<Vec<Duration>>) {
        self.0.borrow_mut().regions = delays;
    }

    /// A host is in a region.
    ///
    /// # Panics
    /// When there is no such host.
    pub fn set_region(&self, ip: Ipv4Addr, region: usize) {
        let mut state = self.0.borrow_mut();
        let host = state.by_ip[&ip];
        state.hosts[host as usize].place.region = Some(region);
    }

    /// A host's link is another one from now on. More delay than it had at first is added to its paths.
    pub fn change_link(&self, ip: Ipv4Addr, link: LinkPlan) {
        let mut state = self.0.borrow_mut();
        state.handle_due();
        let Some(&host) = state.by_ip.get(&ip) else {
            return;
        };
        let entry = &mut state.hosts[host as usize];
        entry.up.set_rate(link.up);
        entry.down.set_rate(link.down);
        entry.place.link = link;
        for index in 0..state.conns.len() {
            let conn = &state.conns[index];
            let [near, far] = conn.hosts;
            if conn.live && (near == host || far == host) {
                let paths = [state.path(near, far), state.path(far, near)];
                for (flow, path) in state.conns[index].flows.iter_mut().zip(paths) {
                    flow.path = path;
                }
            }
        }
    }

    /// Resets, both ends at once, a share of the connections that stand and that one of these hosts has, in
    /// parts per million, rounded up. `name` names the draws. Returns how many.
    pub fn reset_some(&self, of: &[Ipv4Addr], share_ppm: u32, name: &str) -> u64 {
        let mut state = self.0.borrow_mut();
        state.handle_due();
        let hosts: Vec<HostIndex> = of.iter().map(|ip| state.by_ip[ip]).collect();
        let may = state.conns.iter().enumerate().filter(|(_, conn)| {
            let stands = conn.live && conn.flows.iter().all(|flow| flow.open);
            let known = conn.ids.iter().any(Option::is_some);
            stands && known && conn.hosts.iter().any(|host| hosts.contains(host))
        });
        let candidates = may.map(|(index, conn)| {
            let [from, to] = conn.hosts.map(|h| state.hosts[h as usize].name.as_str());
            Candidate {
                from,
                port: conn.ports[0],
                to,
                conn: u32::try_from(index).expect("fewer connections than 2^32"),
            }
        });
        let chosen = share_of(state.seed, name, share_ppm, candidates);
        for &conn in &chosen {
            let generation = state.conns[conn as usize].generation;
            for side in [0, 1] {
                let end = End {
                    conn,
                    generation,
                    side,
                };
                state.tap_reset(end);
                state.end_at(end, Closed::Reset);
            }
        }
        state.totals.fault_resets += chosen.len() as u64;
        chosen.len() as u64
    }
}

impl State {
    /// The path from one host to another as it is now.
    pub(super) fn path(&mut self, from: HostIndex, to: HostIndex) -> Rc<Path> {
        let (near, far) = (&self.hosts[from as usize], &self.hosts[to as usize]);
        let path = near.place.path_to(&far.place, &self.regions);
        if let Some(equal) = self.paths.iter().find(|kept| ***kept == path) {
            return Rc::clone(equal);
        }
        if self.paths.len() == PATHS_KEPT {
            self.paths.pop_front();
        }
        let path = Rc::new(path);
        self.paths.push_back(Rc::clone(&path));
        path
    }

    /// The connection breaks on its way.
    pub(super) fn on_breaks(&mut self, end: End) {
        let Some(conn) = self.conn(end) else { return };
        let stands = conn.flows[usize::from(end.side)].open;
        if stands {
            self.totals.resets += 1;
            self.tap_reset(end);
            self.tap_reset(end.other());
            self.end_at(end, Closed::Reset);
            self.end_at(end.other(), Closed::Reset);
        } else {
            self.fail_dial(end, ConnectError::Unreachable);
        }
    }
}

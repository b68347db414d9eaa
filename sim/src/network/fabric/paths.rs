//! Owns what the path between two hosts is: their links, regions, and what changes of them during a run; and
//! connections that a fault resets.
//!
//! Invariant: a path is computed in one place. When a link changes, what has left goes on as it was, and
//! nothing overtakes it.

use std::net::Ipv4Addr;
use std::time::Duration;

use rand::Rng;
use skep_engine::node::network::{Closed, ConnectError};

use super::{End, Fabric, HostIndex, State};
use crate::network::link::Path;
use crate::scenario::plan::LinkPlan;
use crate::seed;

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
        state.hosts[host as usize].region = Some(region);
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
        entry.link = link;
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
        let mut chosen: Vec<(u64, End)> = Vec::new();
        for (index, conn) in state.conns.iter().enumerate() {
            let stands = conn.live && conn.flows.iter().all(|flow| flow.open);
            let known = conn.ids.iter().any(Option::is_some);
            if stands && known && conn.hosts.iter().any(|host| hosts.contains(host)) {
                let [from, to] = conn.hosts.map(|host| &state.hosts[host as usize].name);
                let purpose = format!("fault/{name}/{from}:{}/{to}", conn.addrs[0].port());
                let draw = seed::stream(state.seed, &purpose).next_u64();
                let conn_index = u32::try_from(index).expect("fewer connections than 2^32");
                let end = End {
                    conn: conn_index,
                    generation: conn.generation,
                    side: 0,
                };
                chosen.push((draw, end));
            }
        }
        let wanted = (chosen.len() as u64 * u64::from(share_ppm)).div_ceil(1_000_000);
        chosen.sort_by_key(|(draw, end)| (*draw, end.conn));
        chosen.truncate(usize::try_from(wanted).expect("at most the connections"));
        for (_, end) in &chosen {
            state.end_at(*end, Closed::Reset);
            state.end_at(end.other(), Closed::Reset);
        }
        state.totals.fault_resets += wanted;
        wanted
    }
}

impl State {
    /// The path from one host to another as it is now.
    pub(super) fn path(&self, from: HostIndex, to: HostIndex) -> Path {
        let (near, far) = (&self.hosts[from as usize], &self.hosts[to as usize]);
        let (Some(a), Some(b)) = (near.region, far.region) else {
            return Path::new(&near.link, &far.link);
        };
        let above = |host: &super::Host| host.link.latency.saturating_sub(host.latency);
        let more = (above(near) + above(far)) / 2;
        let ns = |delay: Duration| u64::try_from((delay + more).as_nanos()).unwrap_or(u64::MAX);
        let (there, back) = (ns(self.regions[a][b]), ns(self.regions[b][a]));
        Path::with_delays(&near.link, &far.link, there, back)
    }

    /// The connection breaks on its way.
    pub(super) fn on_breaks(&mut self, end: End) {
        let Some(conn) = self.conn(end) else { return };
        let stands = conn.flows[usize::from(end.side)].open;
        if stands {
            self.totals.resets += 1;
            self.end_at(end, Closed::Reset);
            self.end_at(end.other(), Closed::Reset);
        } else {
            self.fail_dial(end, ConnectError::Unreachable);
        }
    }
}

//! Owns what faults do to the network while a run goes on: partitions, changed links, mass resets.
//!
//! Invariant: a cut loses packets, never bytes of a connection: what a cut stops is held and sent again at the
//! moments of TCP's retransmission timer, or its connection is over at both ends when the cut outlasts the
//! user timeout. Datagrams are lost. A changed link is the planned one with all changes that are on.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use skep_engine::node::network::Closed;

use super::{End, Fabric, Fact, HostIndex, State};
use crate::network::link::{Path, RTO, RTO_MAX};
use crate::scenario::plan::LinkPlan;

/// How long data may stay unacknowledged before a connection is over (RFC 5482; network model: 60 s).
const USER_TIMEOUT: Duration = Duration::from_secs(60);
/// First wait of a dial that hears nothing (RFC 6298).
const DIAL_RTO: Duration = Duration::from_secs(1);

/// The name of a cut, for healing it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CutId(usize);

/// The name of a link change, for ending it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChangeId(u32);

/// What is different about a host's link for a while. A path has the mean of its two ends' latency and loss,
/// as ever.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LinkChange {
    /// Uplink, bytes per second.
    pub up: Option<u64>,
    /// Downlink, bytes per second.
    pub down: Option<u64>,
    /// Added to the one-way delay.
    pub latency_extra: Duration,
    /// Loss per segment, in parts per million.
    pub loss_ppm: Option<u32>,
}

impl LinkChange {
    fn apply(&self, link: &mut LinkPlan) {
        link.up = self.up.unwrap_or(link.up);
        link.down = self.down.unwrap_or(link.down);
        link.latency += self.latency_extra;
        link.loss_ppm = self.loss_ppm.unwrap_or(link.loss_ppm);
    }
}

/// Packets from some hosts to others get lost. By host index.
#[derive(Debug)]
struct Cut {
    from: Vec<bool>,
    to: Vec<bool>,
    open: bool,
    stopped: u64,
}

/// A packet that a cut stopped.
#[derive(Debug)]
struct Held {
    fact: Fact,
    from: HostIndex,
    to: HostIndex,
    /// When it should have arrived, ns.
    since: u64,
    /// The sender's first wait before it sends again, ns.
    rto: u64,
}

/// The faults that are on.
#[derive(Debug, Default)]
pub(super) struct Cuts {
    cuts: Vec<Cut>,
    open: usize,
    held: Vec<Held>,
    /// Changes of links that are on, in the order in which they began.
    changes: Vec<(u32, HostIndex, LinkChange)>,
    changes_ever: u32,
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("constants of minutes")
}

impl Fabric {
    /// From now on packets from one of `from` to one of `to` get lost. For both ways cut twice.
    #[must_use]
    pub fn cut(&self, from: &[Ipv4Addr], to: &[Ipv4Addr]) -> CutId {
        let mut state = self.0.borrow_mut();
        state.handle_due();
        let of = |ips: &[Ipv4Addr]| state.hosts.iter().map(|h| ips.contains(&h.ip)).collect();
        let cut = Cut {
            from: of(from),
            to: of(to),
            open: true,
            stopped: 0,
        };
        state.cuts.cuts.push(cut);
        state.cuts.open += 1;
        CutId(state.cuts.cuts.len() - 1)
    }

    /// The cut is over: what it held is sent again at the next retransmission.
    pub fn heal(&self, cut: CutId) {
        let mut state = self.0.borrow_mut();
        state.handle_due();
        if std::mem::take(&mut state.cuts.cuts[cut.0].open) {
            state.cuts.open -= 1;
            state.release();
        }
    }

    /// Packets that this cut has stopped so far.
    #[must_use]
    pub fn stopped_by(&self, cut: CutId) -> u64 {
        self.0.borrow().cuts.cuts[cut.0].stopped
    }

    /// From now on a host's link is another. Changes add up in the order in which they begin.
    #[must_use]
    pub fn change_link(&self, ip: Ipv4Addr, change: LinkChange) -> Option<ChangeId> {
        let mut state = self.0.borrow_mut();
        state.handle_due();
        let host = *state.by_ip.get(&ip)?;
        let number = state.cuts.changes_ever;
        state.cuts.changes_ever += 1;
        state.cuts.changes.push((number, host, change));
        state.relink(host);
        Some(ChangeId(number))
    }

    /// A change of a link is over.
    pub fn end_change(&self, change: ChangeId) {
        let mut state = self.0.borrow_mut();
        state.handle_due();
        let mut changes = state.cuts.changes.iter();
        if let Some(place) = changes.position(|(number, ..)| *number == change.0) {
            let (_, host, _) = state.cuts.changes.remove(place);
            state.relink(host);
        }
    }

    /// Resets this share (parts per million) of the connections that stand and have an end at one of these
    /// hosts, at both ends at once; returns how many.
    pub fn reset_share(&self, hosts: &[Ipv4Addr], share_ppm: u32, rng: &mut ChaCha8Rng) -> u64 {
        let mut state = self.0.borrow_mut();
        state.handle_due();
        let mut reset = 0;
        for index in 0..state.conns.len() {
            let conn = &state.conns[index];
            let near = |host: &HostIndex| hosts.contains(&state.hosts[*host as usize].ip);
            let stands = conn.live && conn.ids.iter().all(Option::is_some);
            if !stands || !conn.flows.iter().all(|f| f.open) || !conn.hosts.iter().any(near) {
                continue;
            }
            if rng.next_u64() % 1_000_000 >= u64::from(share_ppm) {
                continue;
            }
            let end = End {
                conn: u32::try_from(index).expect("fewer connections than 2^32"),
                generation: conn.generation,
                side: 0,
            };
            state.end_both(end);
            reset += 1;
        }
        reset
    }
}

impl State {
    /// Whether a packet from one host to another gets lost now; it is counted at the cut that stops it.
    pub(super) fn is_cut(&mut self, from: HostIndex, to: HostIndex) -> bool {
        if self.cuts.open == 0 {
            return false;
        }
        let stops = |cut: &&mut Cut| cut.open && cut.from[from as usize] && cut.to[to as usize];
        match self.cuts.cuts.iter_mut().find(stops) {
            Some(cut) => {
                cut.stopped += 1;
                true
            }
            None => false,
        }
    }

    /// As [`State::is_cut`], for a datagram from this address.
    pub(super) fn is_cut_from(&mut self, from: SocketAddr, to: HostIndex) -> bool {
        let IpAddr::V4(ip) = from.ip() else {
            return false;
        };
        let from = self.by_ip.get(&ip).copied();
        from.is_some_and(|from| self.is_cut(from, to))
    }

    /// Both hosts of a connection, the one that this end's packets come from first.
    fn ways(&mut self, end: End) -> Option<(HostIndex, HostIndex)> {
        let hosts = self.conn(end)?.hosts;
        let side = usize::from(end.side);
        Some((hosts[side], hosts[1 - side]))
    }

    /// Holds a fact that is the arrival of a packet, when that is cut: true, and it will come again.
    pub(super) fn holds(&mut self, fact: Fact) -> bool {
        if self.cuts.open == 0 {
            return false;
        }
        let (end, back, dial) = match fact {
            Fact::Arrive(end) | Fact::ResetArrives(end) => (end, false, false),
            Fact::AcksArrive(end) => (end, true, false),
            Fact::Knock(end) | Fact::Accepted(end, _) => (end, false, true),
            Fact::Answer(end, _) => (end, true, true),
            _ => return false,
        };
        let Some((near, far)) = self.ways(end) else {
            return false;
        };
        let (from, to) = if back { (far, near) } else { (near, far) };
        if !self.is_cut(from, to) {
            return false;
        }
        self.hold(fact, from, to, ns(if dial { DIAL_RTO } else { RTO }));
        if matches!(fact, Fact::Arrive(_) | Fact::AcksArrive(_)) {
            self.stall(end);
        }
        true
    }

    fn hold(&mut self, fact: Fact, from: HostIndex, to: HostIndex, rto: u64) {
        let since = self.now;
        self.cuts.held.push(Held {
            fact,
            from,
            to,
            since,
            rto,
        });
    }

    /// The receiver read, and its acknowledgement would arrive at `at`: true when it is lost instead.
    pub(super) fn holds_acks(&mut self, end: End, bytes: u64) -> bool {
        if self.cuts.open == 0 {
            return false;
        }
        let Some((near, far)) = self.ways(end) else {
            return false;
        };
        if !self.is_cut(far, near) {
            return false;
        }
        let Some(flow) = self.flow(end) else {
            return false;
        };
        let first = flow.unacknowledged == 0;
        flow.unacknowledged += bytes;
        if first {
            self.hold(Fact::AcksArrive(end), far, near, ns(RTO));
            self.stall(end);
        }
        true
    }

    /// Acknowledgements that a cut had stopped.
    pub(super) fn on_acks(&mut self, end: End) {
        if let Some(flow) = self.flow(end) {
            flow.acknowledge_held();
            self.offer(end);
        }
    }

    /// Something of this flow waits for an acknowledgement from now on.
    fn stall(&mut self, end: End) {
        let now = self.now;
        let Some(flow) = self.flow(end) else { return };
        if flow.stalled_since.is_none() {
            flow.stalled_since = Some(now);
            self.plan(now + ns(USER_TIMEOUT), Fact::UserTimeout(end, now));
        }
    }

    /// The sender gives up, if its flow has stalled ever since.
    pub(super) fn on_user_timeout(&mut self, end: End, since: u64) {
        let flow = self.flow(end);
        if flow.is_some_and(|flow| flow.stalled_since == Some(since)) {
            self.totals.timed_out += 1;
            self.end_both(end);
        }
    }

    /// A connection is over at both ends at once.
    pub(super) fn end_both(&mut self, end: End) {
        self.end_at(end, Closed::Reset);
        self.end_at(end.other(), Closed::Reset);
    }

    /// Sends again what no cut holds any more, at the next retransmission of each.
    fn release(&mut self) {
        let now = self.now;
        for held in std::mem::take(&mut self.cuts.held) {
            let stops =
                |cut: &Cut| cut.open && cut.from[held.from as usize] && cut.to[held.to as usize];
            if self.cuts.cuts.iter().any(stops) {
                self.cuts.held.push(held);
                continue;
            }
            let mut at = held.since;
            let mut rto = held.rto;
            while at < now {
                at += rto;
                rto = (2 * rto).min(ns(RTO_MAX));
            }
            if let Fact::Arrive(end) | Fact::AcksArrive(end) = held.fact
                && let Some(flow) = self.flow(end)
            {
                flow.stalled_since = None;
            }
            self.plan(at, held.fact);
        }
    }

    /// A host's link as planned, with the changes that are on; and its paths.
    fn relink(&mut self, host: HostIndex) {
        let entry = &mut self.hosts[host as usize];
        entry.link = entry.planned.clone();
        for (_, _, change) in self.cuts.changes.iter().filter(|(_, of, _)| *of == host) {
            change.apply(&mut entry.link);
        }
        for conn in self
            .conns
            .iter_mut()
            .filter(|c| c.live && c.hosts.contains(&host))
        {
            for side in [0, 1] {
                let (from, to) = (conn.hosts[side], conn.hosts[1 - side]);
                let link = |host: HostIndex| &self.hosts[host as usize].link;
                conn.flows[side].change_path(Path::new(link(from), link(to)));
            }
        }
    }
}

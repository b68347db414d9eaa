//! Owns paths that carry nothing: partitions and machines without power, what connections make of them, and
//! how they go on afterwards.
//!
//! Invariant: what arrives over a cut path is lost, whatever it is. A sender that is not acknowledged tries
//! again at the times of its retransmissions and gives up after [`USER_TIMEOUT`]: its end is reset, without a
//! word to the other end, which hears of it when it sends. A machine without power says nothing; when it is
//! back, what reaches its old connections is answered with a reset.

use std::net::Ipv4Addr;

use skep_engine::node::network::Closed;

use super::{End, Fabric, Fact, HostIndex, State};
use crate::network::link::{USER_TIMEOUT, retransmit_at};

/// Partitions that can stand at once, one way each.
const CUTS_MAX: usize = 64;

/// What becomes of a packet of the handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Handshake {
    /// It arrives.
    Arrives,
    /// It is lost, and sent again later.
    Again,
    /// It was lost too often.
    GivenUp,
}

impl Fabric {
    /// From now on nothing gets from the first hosts to the second ones, nor back when it cuts `both` ways.
    /// `fault` is its number, by which it is healed and counted.
    ///
    /// # Panics
    /// When more than 64 ways are cut at once.
    pub fn cut(&self, fault: usize, a: &[Ipv4Addr], b: &[Ipv4Addr], both: bool) {
        let mut state = self.0.borrow_mut();
        state.handle_due();
        state.cut_one_way(fault, a, b);
        if both {
            state.cut_one_way(fault, b, a);
        }
        state.look_at_paths();
    }

    /// What that fault cut carries again.
    pub fn heal(&self, fault: usize) {
        let mut state = self.0.borrow_mut();
        state.handle_due();
        for bit in 0..state.cut_faults.len() {
            if state.cut_faults[bit] == Some(fault) {
                state.cut_faults[bit] = None;
                state.cuts -= 1;
                let others = !(1 << bit);
                for host in &mut state.hosts {
                    host.cut_from &= others;
                    host.cut_to &= others;
                }
            }
        }
        state.look_at_paths();
    }

    /// What that fault kept from arriving so far: connections that stalled, packets of handshakes, datagrams.
    #[must_use]
    pub fn cut_hits(&self, fault: usize) -> u64 {
        let state = self.0.borrow();
        state.cut_hits.get(&fault).copied().unwrap_or(0)
    }

    /// The machine goes dark at once: it sends and hears nothing until a program starts on it again. The
    /// program that runs on it is to be dropped next.
    pub fn power_off(&self, ip: Ipv4Addr) {
        let mut state = self.0.borrow_mut();
        state.handle_due();
        let Some(&host) = state.by_ip.get(&ip) else {
            return;
        };
        let entry = &mut state.hosts[host as usize];
        entry.up_debt = 0;
        if !std::mem::replace(&mut entry.dark, true) {
            state.cuts += 1;
        }
        let mut unsent = std::mem::take(&mut state.hosts[host as usize].up_datagrams);
        for number in unsent.take_all() {
            state.datagrams.remove(&number);
        }
        for end in state.ends_at(host) {
            state.vanish(end);
        }
        state.look_at_paths();
    }
}

impl State {
    fn cut_one_way(&mut self, fault: usize, from: &[Ipv4Addr], to: &[Ipv4Addr]) {
        let free = self.cut_faults.iter().position(Option::is_none);
        let bit = free.unwrap_or(self.cut_faults.len());
        assert!(bit < CUTS_MAX, "validation allows fewer partitions");
        if bit == self.cut_faults.len() {
            self.cut_faults.push(None);
        }
        self.cut_faults[bit] = Some(fault);
        self.cuts += 1;
        for ip in from {
            let host = self.by_ip[ip];
            self.hosts[host as usize].cut_from |= 1 << bit;
        }
        for ip in to {
            let host = self.by_ip[ip];
            self.hosts[host as usize].cut_to |= 1 << bit;
        }
    }

    /// Whether nothing gets from one host to the other.
    pub(super) fn is_cut(&self, from: HostIndex, to: HostIndex) -> bool {
        if self.cuts == 0 {
            return false;
        }
        let (from, to) = (&self.hosts[from as usize], &self.hosts[to as usize]);
        from.dark || to.dark || from.cut_from & to.cut_to != 0
    }

    /// Something from one host to the other was lost: whoever cut the path did something.
    pub(super) fn note_hit(&mut self, from: HostIndex, to: HostIndex) {
        let (from, to) = (&self.hosts[from as usize], &self.hosts[to as usize]);
        let cut = from.cut_from & to.cut_to;
        for (bit, fault) in self.cut_faults.iter().enumerate() {
            if let Some(fault) = fault.filter(|_| cut & (1 << bit) != 0) {
                *self.cut_hits.entry(fault).or_default() += 1;
            }
        }
    }

    /// A machine has power again.
    pub(super) fn power_on(&mut self, host: HostIndex) {
        if std::mem::take(&mut self.hosts[host as usize].dark) {
            self.cuts -= 1;
            self.look_at_paths();
        }
    }

    /// The ends of connections at a host, also of those that it does not know any more.
    fn ends_at(&self, host: HostIndex) -> Vec<End> {
        let conns = self.conns.iter().enumerate().filter(|(_, c)| c.live);
        let ends = conns.flat_map(|(index, conn)| {
            let conn_index = u32::try_from(index).expect("fewer connections than 2^32");
            [0, 1].map(|side| {
                let end = End {
                    conn: conn_index,
                    generation: conn.generation,
                    side,
                };
                (conn.hosts[usize::from(side)], end)
            })
        });
        ends.filter(|(at, _)| *at == host)
            .map(|(_, end)| end)
            .collect()
    }

    /// Paths were cut or healed: every connection learns what is true of its own.
    fn look_at_paths(&mut self) {
        for index in 0..self.conns.len() {
            if self.conns[index].live {
                let conn = u32::try_from(index).expect("fewer connections than 2^32");
                let generation = self.conns[index].generation;
                self.look_at_path(End {
                    conn,
                    generation,
                    side: 0,
                });
            }
        }
    }

    /// The same for one connection.
    pub(super) fn look_at_path(&mut self, end: End) {
        let now = self.now;
        let Some(conn) = self.conn(end) else { return };
        let hosts = conn.hosts;
        let cut = [
            self.is_cut(hosts[0], hosts[1]),
            self.is_cut(hosts[1], hosts[0]),
        ];
        for side in [0u8, 1] {
            let end = End { side, ..end };
            let (there, back) = (cut[usize::from(side)], cut[usize::from(1 - side)]);
            let flow = self.flow(end).expect("it is live");
            if !there && !back && !flow.is_troubled() {
                continue;
            }
            let deafens = back && !flow.trouble().deaf;
            let misses = deafens && flow.deafen(now);
            let since = flow.trouble().look(there, back);
            let rtt_ns = flow.path.rtt_ns;
            flow.calm_down();
            if deafens && let Some(tap) = &mut self.tap {
                tap.deafen(end, now);
            }
            if misses {
                self.misses(end);
            }
            if let Some(since) = since {
                self.plan(retransmit_at(since, now, rtt_ns), Fact::Retry(end));
            }
        }
    }

    /// The sender at this end misses an acknowledgement for the first time.
    pub(super) fn misses(&mut self, end: End) {
        let timeout = u64::try_from(USER_TIMEOUT.as_nanos()).expect("60 s");
        let Some(conn) = self.conn(end) else { return };
        let hosts = conn.hosts;
        let flow = &mut conn.flows[usize::from(end.side)];
        let (since, cut) = (flow.trouble().since, flow.is_cut());
        let Some(since) = since else { return };
        self.totals.stalls += 1;
        let (near, far) = (
            hosts[usize::from(end.side)],
            hosts[usize::from(1 - end.side)],
        );
        if cut {
            self.note_hit(near, far);
        } else {
            self.note_hit(far, near);
        }
        self.plan(since.saturating_add(timeout), Fact::GiveUp(end));
    }

    /// Something from this end is about to arrive on a path with trouble. True when it does arrive.
    pub(super) fn gets_through(&mut self, end: End) -> bool {
        let now = self.now;
        let flow = self.flow(end).expect("the caller has it");
        if flow.is_void() {
            self.free_if_over(end);
            return false;
        }
        // Until the handshake's last packet is sent again, the other end knows of no connection.
        if flow.is_cut() || flow.is_unaccepted() {
            if flow.lose(now) {
                self.misses(end);
            }
            return false;
        }
        if flow.trouble().to_nobody {
            if let Some(parcel) = flow.take_in_transit().filter(|p| !p.is_fin()) {
                self.totals.dropped += parcel.bytes();
                self.tap_unknown(end, &parcel);
            }
            let back = self.flow(end).expect("it is live").path.back_ns;
            self.plan(now + back, Fact::ResetArrives(end.other()));
            return false;
        }
        true
    }

    /// A packet of the handshake from this end is about to arrive; `again` happens when it is sent again.
    pub(super) fn handshake(&mut self, end: End, again: Fact) -> Handshake {
        let now = self.now;
        let Some(conn) = self.conn(end) else {
            return Handshake::Arrives;
        };
        let (near, far) = (usize::from(end.side), usize::from(1 - end.side));
        let (near, far) = (conn.hosts[near], conn.hosts[far]);
        let flow = &mut conn.flows[usize::from(end.side)];
        if !flow.is_cut() {
            return Handshake::Arrives;
        }
        let wait = flow.trouble().lose_handshake();
        self.note_hit(near, far);
        match wait {
            Some(wait) => {
                self.plan(now + wait, again);
                Handshake::Again
            }
            None => Handshake::GivenUp,
        }
    }

    /// The last packet of the handshake, from the dialler, is lost: it counts as the first that is missed.
    pub(super) fn loses_acceptance(&mut self, end: End) -> bool {
        let now = self.now;
        let Some(flow) = self.flow(end).filter(|flow| flow.is_cut()) else {
            return false;
        };
        let trouble = flow.trouble();
        trouble.unaccepted = true;
        if trouble.lose(now) {
            self.misses(end);
        }
        true
    }

    /// The sender at this end tries again.
    pub(super) fn on_retry(&mut self, end: End) {
        let now = self.now;
        let Some(conn) = self.conn(end) else { return };
        let far = conn.hosts[1];
        let flow = &mut conn.flows[usize::from(end.side)];
        if !flow.is_troubled() || flow.is_cut() {
            return;
        }
        let (delay, rtt_ns) = (flow.path.delay_ns, flow.path.rtt_ns);
        if flow.trouble().to_nobody && flow.trouble().since.is_some() {
            // What is sent again is answered with a reset.
            return self.plan(now + rtt_ns, Fact::ResetArrives(end.other()));
        }
        let unaccepted = std::mem::take(&mut flow.trouble().unaccepted);
        let goes_on = flow.retry(now);
        if unaccepted {
            self.plan(now + delay, Fact::Accepted(end, far));
        }
        if goes_on {
            self.totals.resumed += 1;
            if let Some(tap) = &mut self.tap {
                tap.acknowledge(end, now + rtt_ns);
            }
            self.offer(end);
        }
    }

    /// The user timeout of the sender at this end is over, if nothing was heard meanwhile.
    pub(super) fn on_give_up(&mut self, end: End) {
        let now = self.now;
        let Some(flow) = self.flow(end).filter(|flow| flow.is_troubled()) else {
            return;
        };
        if !flow.trouble().is_hopeless(now) {
            return;
        }
        let gone = flow.vanish(now);
        self.totals.dropped += gone;
        self.totals.timed_out += 1;
        self.orphan(end.other());
        self.end_at(end, Closed::Reset);
    }

    /// The machine at this end is gone, without a word.
    fn vanish(&mut self, end: End) {
        let now = self.now;
        self.unassign(end);
        let Some(flow) = self.flow(end) else { return };
        self.totals.dropped += flow.vanish(now);
        self.orphan(end.other());
        self.free_if_over(end);
    }

    /// The connection is over at the other end, and nobody told this one. What it sent and was not acknowledged
    /// never will be: it misses that from now on.
    pub(super) fn orphan(&mut self, end: End) {
        let now = self.now;
        let Some(flow) = self.flow(end) else { return };
        let waits = flow.is_unacknowledged();
        if !flow.trouble().orphan(waits, now) {
            return;
        }
        let (cut, rtt_ns) = (flow.is_cut(), flow.path.rtt_ns);
        self.misses(end);
        if !cut {
            self.plan(retransmit_at(now, now, rtt_ns), Fact::Retry(end));
        }
    }
}

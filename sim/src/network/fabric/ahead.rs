//! Owns what is asked of memory before its turn; see [`skep_engine::prefetch`].
//!
//! Invariant: it changes nothing. Each fact is about another connection of a hundred thousand, and wakes another host
//! of thousands. A fact is named several times before its turn; what was asked for at one of them is there at the next,
//! and leads further.

use skep_engine::node::network::NetEvent;
use skep_engine::prefetch;

use super::{End, Fact, HostIndex, State};
use crate::network::agenda::Ahead;
use crate::network::flow::Flow;

impl State {
    /// Asks for what the next facts look at.
    pub(super) fn read_ahead(&mut self) {
        for ahead in Ahead::ALL {
            let facts = self.agenda.ahead(ahead);
            for fact in self.agenda.facts(facts) {
                self.prefetch(fact, ahead);
            }
        }
    }

    fn prefetch(&self, fact: Fact, ahead: Ahead) {
        match fact {
            Fact::Arrive(end) => match ahead {
                Ahead::Farthest => self.prefetch_conn(end),
                Ahead::Far => {
                    if let Some(host) = self.host_at(end.other()) {
                        self.prefetch_receiver(host);
                    }
                    self.prefetch_flow(end, Flow::prefetch_under_way);
                }
                Ahead::Near => self.prefetch_task_of(end.other()),
                Ahead::Nearest => {}
            },
            Fact::Wake(end) => match ahead {
                Ahead::Farthest => self.prefetch_conn(end),
                Ahead::Far => {
                    self.prefetch_sender(end);
                    self.prefetch_flow(end, Flow::prefetch_unsent);
                }
                Ahead::Near | Ahead::Nearest => {}
            },
            Fact::UplinkFree(host) => {
                let entry = &self.hosts[host as usize];
                match ahead {
                    Ahead::Farthest => prefetch::value(entry),
                    Ahead::Far => entry.up.prefetch_turn(),
                    Ahead::Near => {
                        if let Some(end) = entry.up.turn() {
                            self.prefetch_conn(end);
                        }
                    }
                    Ahead::Nearest => {
                        if let Some(end) = entry.up.turn() {
                            self.prefetch_flow(end, Flow::prefetch_unsent);
                        }
                    }
                }
            }
            Fact::DownlinkFree(host) => {
                let entry = &self.hosts[host as usize];
                match ahead {
                    Ahead::Farthest => self.prefetch_receiver(host),
                    Ahead::Far => {
                        entry.down.prefetch_turn();
                        if let Some(end) = entry.down_carries {
                            self.prefetch_conn(end);
                        }
                    }
                    Ahead::Near => {
                        if let Some(end) = entry.down_carries {
                            self.prefetch_flow(end, Flow::prefetch_arrived);
                            self.prefetch_task_of(end.other());
                        }
                        // The first one is carried; what is next begins when it is through.
                        if let Some(next) = entry.down.behind(1) {
                            self.prefetch_send(next);
                        }
                    }
                    Ahead::Nearest => {}
                }
            }
            _ => {}
        }
    }

    /// A connection, the way from this end, and of the way back what a small write looks at.
    fn prefetch_conn(&self, end: End) {
        if let Some(conn) = self.conns.get(end.conn as usize) {
            let [side, other] = [end.side, 1 - end.side].map(usize::from);
            prefetch::front(conn);
            prefetch::value(&conn.flows[side]);
            prefetch::lines(prefetch::address_of(&conn.flows[other]), 2);
        }
    }

    /// Small parcels of several flows make a segment: the flows behind the one that has its turn.
    pub(super) fn prefetch_turns_behind(&self, host: HostIndex) {
        let up = &self.hosts[host as usize].up;
        if let Some(end) = up.behind(1) {
            self.prefetch_flow(end, Flow::prefetch_unsent);
        }
        if let Some(end) = up.behind(3) {
            self.prefetch_send(end);
        }
    }

    /// What is looked at when this end sends a little.
    pub(super) fn prefetch_send(&self, end: End) {
        if let Some(conn) = self.conns.get(end.conn as usize) {
            prefetch::front(conn);
            prefetch::value(&conn.flows[usize::from(end.side)]);
        }
    }

    /// Of the way from this end.
    pub(super) fn prefetch_flow(&self, end: End, what: impl Fn(&Flow)) {
        if let Some(conn) = self.conns.get(end.conn as usize) {
            what(&conn.flows[usize::from(end.side)]);
        }
    }

    /// A host, as far as what arrives there looks at it.
    fn prefetch_receiver(&self, host: HostIndex) {
        prefetch::lines(prefetch::address_of(&self.hosts[host as usize]), 2);
        prefetch::value(&self.near[host as usize]);
    }

    /// The host at this end, whose uplink has something to do.
    fn prefetch_sender(&self, end: End) {
        if let Some(host) = self.host_at(end) {
            prefetch::value(&self.hosts[host as usize]);
        }
    }

    /// What wakes the program at this end, and says where it has its memory of the connection.
    fn prefetch_task_of(&self, end: End) {
        let Some(host) = self.host_at(end) else {
            return;
        };
        if let Some(waker) = &self.hosts[host as usize].waker {
            prefetch::lines(waker.data().addr(), 2);
        }
        if let Some(id) = self.conns[end.conn as usize].ids[usize::from(end.side)] {
            self.near[host as usize].prefetch_place(id);
        }
    }

    fn host_at(&self, end: End) -> Option<HostIndex> {
        let conn = self.conns.get(end.conn as usize)?;
        Some(conn.hosts[usize::from(end.side)])
    }

    /// What the program on a host looks at when it hears of this.
    pub(super) fn prefetch_program(&self, host: HostIndex, event: &NetEvent) {
        let near = &self.near[host as usize];
        if !self.hosts[host as usize].woken {
            near.prefetch_host();
        }
        match event {
            NetEvent::Data { conn, data } => near.prefetch_conn(*conn, Some(data.len())),
            NetEvent::Room { conn, .. } => near.prefetch_conn(*conn, None),
            _ => {}
        }
    }
}

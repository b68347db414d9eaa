//! Owns what is read before its turn.
//!
//! Invariant: it changes nothing. Each fact is about another connection of a hundred thousand, whose memory the
//! cache does not have; asked for together, these parts of memory come together, where one after the other each
//! would be waited for.

use std::hint::black_box;

use super::{End, Fact, HostIndex, State};

impl State {
    /// Reads what the next facts will look at, if it was not read yet.
    pub(super) fn read_ahead(&mut self) {
        let next = self.agenda.next_ahead();
        // Where a host is found in a connection: all connections first.
        for fact in self.agenda.facts(&next) {
            match fact {
                Fact::Arrive(end) | Fact::Wake(end) => {
                    if let Some(conn) = self.conns.get(end.conn as usize) {
                        black_box(conn.hosts);
                        conn.flows[usize::from(end.side)].read_ahead();
                    }
                }
                Fact::UplinkFree(host) | Fact::DownlinkFree(host) => self.read_host(host),
                _ => {}
            }
        }
        for fact in self.agenda.facts(&next) {
            let host = match fact {
                Fact::Arrive(end) => self.host_at(end.other()),
                Fact::Wake(end) => self.host_at(end),
                _ => None,
            };
            if let Some(host) = host {
                self.read_host(host);
            }
        }
    }

    fn host_at(&self, end: End) -> Option<HostIndex> {
        let conn = self.conns.get(end.conn as usize)?;
        Some(conn.hosts[usize::from(end.side)])
    }

    /// A field for what is delivered, and those for what is sent: they lie in different lines of memory.
    fn read_host(&self, host: HostIndex) {
        let host = &self.hosts[host as usize];
        black_box((host.down_free, host.up_free, host.up_debt));
    }
}

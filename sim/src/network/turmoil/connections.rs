//! Owns how connections of a machine come to stand and end: for the program, for the other end's machine, and in the
//! books.
//!
//! Invariant: what ends here is forgotten at once, but for what it leaves with: the other end's machine hears
//! that as soon as its stream has room.

use skep_engine::node::network::{Closed, ConnectError, NetEvent};

use super::conn::Carrier;
use super::frame::Frame;
use super::machine::{Key, Machine};

impl Machine {
    pub(super) fn on_opens(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(&key) else {
            return;
        };
        let (from, inbound) = (conn.addr, conn.inbound);
        if conn.open || !self.handshake_gets_here(key) {
            return;
        }
        if inbound {
            if !self.running || self.listening.is_none() {
                // The program ended in between.
                return self.reset(key);
            }
            self.assign(Some(key));
        }
        let conn = self.conns.get_mut(&key).expect("it is there");
        conn.open = true;
        if !inbound {
            self.accept_answer(key);
        }
        let conn = self.conns.get_mut(&key).expect("it is there");
        // Without an id the dialler finished already: what it wrote still goes out.
        if let Some(conn) = conn.id {
            self.deliver(NetEvent::Opened {
                conn,
                from,
                inbound,
            });
        }
        self.offer(key);
    }

    pub(super) fn on_breaks(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(&key) else {
            return;
        };
        match (conn.open, conn.inbound) {
            (true, inbound) => {
                // Both ends see it; it is counted at the dialler's.
                self.ledger
                    .count(|totals| totals.resets += u64::from(!inbound));
                self.end(key, Closed::Reset);
            }
            (false, false) => self.fail_dial(key, ConnectError::Unreachable),
            (false, true) => self.remove(key),
        }
    }

    /// A dial comes to nothing: what was written for it is dropped.
    pub(super) fn fail_dial(&mut self, key: Key, why: ConnectError) {
        let id = self.conns.get(&key).and_then(|conn| conn.id);
        self.remove(key);
        if let Some(conn) = id {
            self.deliver(NetEvent::Failed { conn, why });
        }
    }

    /// The connection is over at this end: the program hears of it.
    pub(super) fn end(&mut self, key: Key, how: Closed) {
        let id = self.conns.get(&key).and_then(|conn| conn.id);
        self.remove(key);
        if let Some(conn) = id {
            self.deliver(NetEvent::Closed { conn, how });
        }
    }

    /// The program resets a connection: it is told to the other end, and forgotten.
    pub(super) fn reset(&mut self, key: Key) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&key) else {
            return;
        };
        let dropped = conn.clear();
        conn.finishing = true;
        let at = now + conn.path.delay_ns;
        let id = conn.id;
        self.ledger.count(|totals| totals.dropped += dropped);
        if let Some(id) = id {
            self.release(id);
        }
        self.leave(key, Frame::Reset { at });
    }

    /// The connection is over here: that is the last that the other end's machine hears of it.
    pub(super) fn leave(&mut self, key: Key, with: Frame) {
        let conn = self.conns.get_mut(&key).expect("the caller has it");
        match &conn.carrier {
            Carrier::Standing(_) => {
                if self.write(key, &with) {
                    return self.remove(key);
                }
            }
            // It did not reach the other host yet: nobody there has heard of it.
            Carrier::None | Carrier::Gone => return self.remove(key),
            // Told when it stands.
            Carrier::Dialling(_) => {}
        }
        let conn = self.conns.get_mut(&key).expect("it is there");
        conn.leaves_with = Some(with);
    }

    /// Forgets a connection; turmoil tells the other end's host.
    pub(super) fn remove(&mut self, key: Key) {
        let Some(mut conn) = self.conns.remove(&key) else {
            return;
        };
        if let Some(id) = conn.id {
            self.release(id);
        }
        let dropped = conn.clear() + conn.held();
        self.ledger.count(|totals| totals.dropped += dropped);
        if let Some((here, there)) = conn.ends {
            self.ledger.gone(here, there);
        }
    }
}

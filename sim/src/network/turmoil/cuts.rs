//! Owns what a machine makes of paths that carry nothing: what is lost, what is sent again, who gives up.
//!
//! Invariant: as on the fabric. What arrives over a cut path is lost, and both machines know of it from what
//! keeps it from arriving, not from turmoil, which carries everything: the receiver drops it, the sender takes
//! it back, tries again at the times of its retransmissions, and gives up after the user timeout.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use skep_engine::node::network::{Closed, ConnectError, NetEvent};

use super::conn::{Carrier, Conn};
use super::frame::Frame;
use super::machine::{Due, Key, Machine};
use crate::network::flow::Trouble;
use crate::network::link::{USER_TIMEOUT, retransmit_at};

impl Machine {
    /// Whether nothing gets from this machine to another at a moment.
    fn is_cut_to(&self, other: Ipv4Addr, at: u64) -> bool {
        self.ledger.barriers.borrow().stop(self.ip, other, at)
    }

    /// Whether nothing gets from another machine to this one at a moment.
    fn is_cut_from(&self, other: Ipv4Addr, at: u64) -> bool {
        self.ledger.barriers.borrow().stop(other, self.ip, at)
    }

    /// A connection that turmoil carries, and its ends.
    fn on_the_wire(&self, key: Key) -> Option<(&Conn, (SocketAddr, SocketAddr))> {
        let conn = self.conns.get(&key)?;
        Some((conn, conn.ends?))
    }

    fn note_hit(&self, from: Ipv4Addr, to: Ipv4Addr, at: u64) {
        self.ledger.barriers.borrow_mut().note_hit(from, to, at);
    }

    /// A datagram is about to arrive: whether it does.
    pub(super) fn gets_here(&self, from: IpAddr) -> bool {
        let IpAddr::V4(from) = from else { return true };
        let cut = self.is_cut_from(from, self.now);
        if cut {
            self.note_hit(from, self.ip, self.now);
        }
        !cut
    }

    /// Ways were cut or healed: every connection learns what is true of its own.
    pub(super) fn look_at_paths(&mut self) {
        let keys: Vec<Key> = self.conns.keys().copied().collect();
        for key in keys {
            self.look_at_path(key);
        }
    }

    /// The same for one connection.
    pub(super) fn look_at_path(&mut self, key: Key) {
        let (now, conn) = (self.now, &self.conns[&key]);
        // What is so from now on.
        let cut = self.is_cut_to(conn.other, now + 1);
        let deaf = self.is_cut_from(conn.other, now + 1);
        let conn = self.conns.get_mut(&key).expect("it is there");
        let rtt_ns = conn.path.rtt_ns;
        let since = conn.trouble.look(cut, deaf);
        if cut {
            self.watch(key);
        }
        if let Some(since) = since {
            self.plan(retransmit_at(since, now, rtt_ns), Due::Retry(key));
        }
    }

    /// Looks again when the next of what this end sent arrives.
    fn watch(&mut self, key: Key) {
        let next = self.conns[&key].ends;
        let next = next.and_then(|(here, there)| self.ledger.next_arrival(here, there, self.now));
        if let Some(at) = next {
            self.plan(at, Due::Reaches(key));
        }
    }

    /// The sender at this end misses an acknowledgement for the first time.
    fn misses(&mut self, key: Key) {
        let timeout = u64::try_from(USER_TIMEOUT.as_nanos()).expect("60 s");
        let (now, conn) = (self.now, &self.conns[&key]);
        let (trouble, other, rtt_ns) = (conn.trouble, conn.other, conn.path.rtt_ns);
        let since = trouble.since.expect("it misses something");
        self.ledger.count(|totals| totals.stalls += 1);
        if trouble.cut {
            self.note_hit(self.ip, other, now);
        } else {
            self.note_hit(other, self.ip, now);
        }
        self.plan(since.saturating_add(timeout), Due::GiveUp(key));
        // The path works again already, or somebody is there to answer with a reset.
        if !trouble.cut && (!trouble.deaf || trouble.to_nobody) {
            self.plan(retransmit_at(since, now, rtt_ns), Due::Retry(key));
        }
    }

    /// What was sent reaches the end of a path that is cut, or of one where nobody is.
    pub(super) fn on_reaches(&mut self, key: Key) {
        let now = self.now;
        let Some((conn, (here, there))) = self.on_the_wire(key) else {
            return;
        };
        let other = conn.other;
        let lost = self
            .ledger
            .take_back(here, there, |at| at <= now && self.is_cut_to(other, at));
        let conn = self.conns.get_mut(&key).expect("it is there");
        if let Some(first) = lost.first() {
            let at = first.at;
            conn.take_back(lost);
            if conn.trouble.lose(at) {
                self.misses(key);
            }
        } else if conn.trouble.to_nobody && self.ledger.found_nobody(here, there, now) {
            let at = now + conn.path.back_ns;
            self.plan(at, Due::Reset(key));
        }
    }

    /// An acknowledgement of so many bytes is here, unless it was lost.
    pub(super) fn on_ack(&mut self, key: Key, bytes: u64) {
        let now = self.now;
        let Some(other) = self.conns.get(&key).map(|conn| conn.other) else {
            return;
        };
        let cut = self.is_cut_from(other, now);
        let conn = self.conns.get_mut(&key).expect("it is there");
        if !cut {
            conn.acknowledged(bytes);
            self.offer(key);
        } else if conn.trouble.hold_ack(bytes, now) {
            self.misses(key);
        }
    }

    /// The other end's reset is here; if it was lost, this end goes on in vain.
    pub(super) fn on_reset(&mut self, key: Key) {
        let Some(other) = self.conns.get(&key).map(|conn| conn.other) else {
            return;
        };
        if self.is_cut_from(other, self.now) {
            self.on_orphaned(key);
        } else {
            self.end(key, Closed::Reset);
        }
    }

    /// The connection is over at the other end, and nobody told this one. What it sent and was not acknowledged
    /// never will be: it misses that from now on.
    pub(super) fn on_orphaned(&mut self, key: Key) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&key) else {
            return;
        };
        match (conn.open, conn.inbound) {
            (true, _) => {}
            (false, true) => return self.remove(key),
            // Its handshake was never answered.
            (false, false) => {
                if let Some((here, there)) = conn.ends.take() {
                    self.ledger.gone(here, there);
                }
                return self.knock_is_lost(key);
            }
        }
        let waits = conn.is_unacknowledged();
        if conn.id.is_none() && !waits && conn.unsent_bytes == 0 {
            return self.remove(key);
        }
        let news = conn.trouble.orphan(waits, now);
        self.watch(key);
        if news {
            self.misses(key);
        }
    }

    /// The dial did not reach the other host.
    pub(super) fn knock_is_lost(&mut self, key: Key) {
        let now = self.now;
        let conn = self.conns.get_mut(&key).expect("the caller has it");
        conn.carrier = Carrier::None;
        if conn.leaves_with.is_some() {
            return self.remove(key);
        }
        let (other, wait) = (conn.other, conn.trouble.lose_handshake());
        self.note_hit(self.ip, other, now);
        match wait {
            Some(wait) => self.plan(now + wait, Due::Dial(key)),
            None => self.fail_dial(key, ConnectError::Unreachable),
        }
    }

    /// Nobody listens there, or that was lost: then the dial is tried again.
    pub(super) fn on_refused(&mut self, key: Key) {
        let Some(conn) = self.conns.get(&key) else {
            return;
        };
        if self.is_cut_from(conn.other, self.now) || self.is_cut_to(conn.other, self.now) {
            self.knock_is_lost(key);
        } else {
            self.fail_dial(key, ConnectError::Refused);
        }
    }

    /// A packet of the handshake is about to arrive, the answer or its acknowledgement: whether it does.
    pub(super) fn handshake_gets_here(&mut self, key: Key) -> bool {
        let now = self.now;
        let conn = &self.conns[&key];
        let (other, inbound) = (conn.other, conn.inbound);
        if !inbound && (conn.ends.is_none() || now < conn.answer_at) {
            // The answer to a dial that was tried again since.
            return false;
        }
        if !self.is_cut_from(other, now) {
            return true;
        }
        if inbound {
            // The dialler misses it, and says it again.
            return false;
        }
        self.note_hit(other, self.ip, now);
        let conn = self.conns.get_mut(&key).expect("it is there");
        match conn.trouble.lose_handshake() {
            Some(wait) => {
                conn.answer_at = now + wait;
                self.plan(now + wait, Due::Opens(key));
            }
            None => self.fail_dial(key, ConnectError::Unreachable),
        }
        false
    }

    /// The dialler acknowledges the answer to its dial.
    pub(super) fn accept_answer(&mut self, key: Key) {
        let conn = &self.conns[&key];
        let (opens, breaks) = (self.now + conn.path.delay_ns, conn.breaks);
        self.write(key, &Frame::Hello { opens, breaks });
        self.plan(opens, Due::Accepted(key));
    }

    /// That reaches the other end; if it is lost, it counts as the first that is missed.
    pub(super) fn on_accepted(&mut self, key: Key) {
        let now = self.now;
        let Some((conn, (here, there))) = self.on_the_wire(key) else {
            return;
        };
        let other = conn.other;
        if !self.is_cut_to(other, now) {
            return;
        }
        let lost = self.ledger.take_back(here, there, |_| true);
        let conn = self.conns.get_mut(&key).expect("it is there");
        conn.take_back(lost);
        conn.trouble.unaccepted = true;
        if conn.trouble.lose(now) {
            self.misses(key);
        }
    }

    /// The sender tries again.
    pub(super) fn on_retry(&mut self, key: Key) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&key) else {
            return;
        };
        let rtt_ns = conn.path.rtt_ns;
        if conn.trouble.cut || conn.trouble.since.is_none() {
            return;
        }
        if conn.trouble.to_nobody {
            // What is sent again is answered with a reset.
            return self.plan(now + rtt_ns, Due::Reset(key));
        }
        let unaccepted = std::mem::take(&mut conn.trouble.unaccepted);
        let held = conn.trouble.retry();
        if unaccepted {
            self.accept_answer(key);
        }
        if let Some(held) = held {
            if held > 0 {
                self.plan(now + rtt_ns, Due::Ack(key, held));
            }
            self.ledger.count(|totals| totals.resumed += 1);
            self.offer(key);
        }
    }

    /// The user timeout of the sender at this end is over, if nothing was heard meanwhile.
    pub(super) fn on_give_up(&mut self, key: Key) {
        let now = self.now;
        let hopeless = |conn: &Conn| conn.leaves_with.is_none() && conn.trouble.is_hopeless(now);
        if !self.conns.get(&key).is_some_and(hopeless) {
            return;
        }
        self.ledger.count(|totals| totals.timed_out += 1);
        let id = self.conns[&key].id;
        self.vanish(key, now);
        if let Some(conn) = id {
            let how = Closed::Reset;
            self.deliver(NetEvent::Closed { conn, how });
        }
    }

    /// This end of a connection is gone without a word. What it sent and that arrives after `last` does not.
    pub(super) fn vanish(&mut self, key: Key, last: u64) {
        let conn = self.conns.get_mut(&key).expect("the caller has it");
        let (id, ends, other) = (conn.id, conn.ends, conn.other);
        let dropped = conn.clear();
        (conn.finishing, conn.open) = (true, false);
        conn.trouble = Trouble::default();
        conn.forget_backlog();
        self.ledger.count(|totals| totals.dropped += dropped);
        if let Some(id) = id {
            self.release(id);
        }
        if let Some((here, there)) = ends {
            let ledger = &self.ledger;
            ledger.cut_off(here, there, last, |at| self.is_cut_to(other, at));
        }
        self.leave(key, Frame::Gone);
    }

    /// The machine has no power any more: all its connections are gone, and nobody listens. `last` is the last
    /// moment at which something of it may still arrive.
    pub(super) fn power_off(&mut self, last: u64) {
        self.dark = true;
        self.up_debt = 0;
        self.listening = None;
        self.datagrams = None;
        let keys: Vec<Key> = self.conns.keys().copied().collect();
        for key in keys {
            self.vanish(key, last);
        }
    }

    /// A machine's link is another one from now on, this one's or another's. What has left goes on as it was.
    pub(super) fn on_link(&mut self, ip: Ipv4Addr) {
        if ip == self.ip {
            self.link = self.ledger.known.borrow()[&ip].place.link.clone();
        }
        for conn in self.conns.values_mut() {
            if ip == self.ip || ip == conn.other {
                conn.path = self.ledger.path(self.ip, conn.other);
            }
        }
    }
}

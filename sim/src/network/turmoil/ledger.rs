//! Owns what all hosts of a turmoil run share: who there is, what keeps things from arriving, and the books of
//! what is between hosts.
//!
//! Invariant: what a machine sent is under way until the other machine has it, until its sender takes it back
//! because it was lost, or until nobody is left who could read it: then it is dropped. One that turmoil lost
//! stays under way.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::barriers::Barriers;
use super::conn::Cargo;
use crate::network::Totals;
use crate::network::link::Path;
use crate::network::place::Place;

/// What everybody knows of a machine.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) name: String,
    pub(super) place: Place,
    /// A peer, or whoever else connections of peers lead to; not a tracker.
    pub(super) peer: bool,
}

/// What was sent in one frame.
#[derive(Debug)]
pub(super) struct Sent {
    /// Frames of the connection before it, this way.
    pub(super) number: u64,
    /// When it arrives, ns.
    pub(super) at: u64,
    pub(super) cargo: Cargo,
}

/// One direction of one connection, between the machines.
#[derive(Default, Debug)]
struct Way {
    under_way: VecDeque<Sent>,
    /// The first of what is under way is lost: nothing arrives until its sender has taken it back.
    broken: bool,
    sender_gone: bool,
    receiver_gone: bool,
}

impl Way {
    fn bytes(&self) -> u64 {
        let sent = self.under_way.iter();
        sent.map(|sent| sent.cargo.bytes()).sum()
    }

    /// Drops everything; returns how many bytes.
    fn clear(&mut self) -> u64 {
        let bytes = self.bytes();
        self.under_way.clear();
        bytes
    }
}

/// What all hosts share.
#[derive(Default, Debug)]
pub(super) struct Ledger {
    pub(super) seed: u64,
    pub(super) known: RefCell<BTreeMap<Ipv4Addr, Known>>,
    /// One-way delays from region to region, if there are regions.
    pub(super) regions: RefCell<Vec<Vec<Duration>>>,
    pub(super) barriers: RefCell<Barriers>,
    totals: Cell<Totals>,
    /// By sender's and receiver's address.
    ways: RefCell<BTreeMap<(SocketAddr, SocketAddr), Way>>,
    late: Cell<u64>,
}

impl Ledger {
    pub(super) fn new(seed: u64) -> Ledger {
        Ledger {
            seed,
            ..Ledger::default()
        }
    }

    pub(super) fn totals(&self) -> Totals {
        self.totals.get()
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut Totals)) {
        let mut totals = self.totals.get();
        change(&mut totals);
        self.totals.set(totals);
    }

    fn drop_bytes(&self, bytes: u64) {
        self.count(|totals| totals.dropped += bytes);
    }

    /// A frame came after its moment: turmoil took longer than the path.
    pub(super) fn note_late(&self) {
        self.late.set(self.late.get() + 1);
    }

    pub(super) fn late(&self) -> u64 {
        self.late.get()
    }

    /// The path between two machines as it is now.
    pub(super) fn path(&self, from: Ipv4Addr, to: Ipv4Addr) -> Path {
        let known = self.known.borrow();
        let regions = self.regions.borrow();
        known[&from].place.path_to(&known[&to].place, &regions)
    }

    /// Payload bytes between machines.
    pub(super) fn on_the_way(&self) -> u64 {
        self.ways.borrow().values().map(Way::bytes).sum()
    }

    /// Something leaves.
    pub(super) fn sent(&self, from: SocketAddr, to: SocketAddr, sent: Sent) {
        let mut ways = self.ways.borrow_mut();
        let way = ways.entry((from, to)).or_default();
        way.under_way.push_back(sent);
    }

    /// When the next of what is under way arrives that does so after `now`, ns.
    pub(super) fn next_arrival(&self, from: SocketAddr, to: SocketAddr, now: u64) -> Option<u64> {
        let ways = self.ways.borrow();
        let mut sent = ways.get(&(from, to))?.under_way.iter();
        sent.find(|sent| sent.at > now).map(|sent| sent.at)
    }

    /// The moment of a frame has come at its receiver: whether it is there. If the way is cut it is not, nor is
    /// what follows it.
    pub(super) fn arrives(&self, from: SocketAddr, to: SocketAddr, number: u64, cut: bool) -> bool {
        let mut ways = self.ways.borrow_mut();
        let Some(way) = ways.get_mut(&(from, to)) else {
            return false;
        };
        let next = way.under_way.front().map(|sent| sent.number);
        if way.broken || next != Some(number) {
            return false;
        }
        if !cut {
            way.under_way.pop_front();
            return true;
        }
        if way.sender_gone {
            // Nobody sends it again.
            let bytes = way.clear();
            self.drop_bytes(bytes);
        } else {
            way.broken = true;
        }
        false
    }

    /// The sender takes back what was lost: the first that `is_lost`, and everything that follows it.
    pub(super) fn take_back(
        &self,
        from: SocketAddr,
        to: SocketAddr,
        is_lost: impl Fn(u64) -> bool,
    ) -> Vec<Sent> {
        let mut ways = self.ways.borrow_mut();
        let Some(way) = ways.get_mut(&(from, to)) else {
            return Vec::new();
        };
        let first = way.under_way.iter().position(|sent| is_lost(sent.at));
        let Some(first) = first else {
            return Vec::new();
        };
        way.broken = false;
        way.under_way.drain(first..).collect()
    }

    /// What has arrived by now found nobody. True when there was something.
    pub(super) fn found_nobody(&self, from: SocketAddr, to: SocketAddr, now: u64) -> bool {
        let mut ways = self.ways.borrow_mut();
        let Some(way) = ways.get_mut(&(from, to)) else {
            return false;
        };
        let there = way.under_way.iter().take_while(|sent| sent.at <= now);
        let there = there.count();
        let sent = way.under_way.drain(..there);
        let bytes: u64 = sent.map(|sent| sent.cargo.bytes()).sum();
        self.drop_bytes(bytes);
        there > 0
    }

    /// The sender is gone without a word: of what it sent, that alone arrives which does `before` that moment, if
    /// nothing stops it.
    pub(super) fn cut_off(
        &self,
        from: SocketAddr,
        to: SocketAddr,
        before: u64,
        stops: impl Fn(u64) -> bool,
    ) {
        let lost = self.take_back(from, to, |at| at > before || stops(at));
        let bytes: u64 = lost.iter().map(|sent| sent.cargo.bytes()).sum();
        self.drop_bytes(bytes);
    }

    /// The end at `here` of the connection with `there` is gone.
    pub(super) fn gone(&self, here: SocketAddr, there: SocketAddr) {
        let mut ways = self.ways.borrow_mut();
        let inward = ways.entry((there, here)).or_default();
        let mut dropped = inward.clear();
        inward.receiver_gone = true;
        if inward.sender_gone {
            ways.remove(&(there, here));
        }
        let outward = ways.entry((here, there)).or_default();
        outward.sender_gone = true;
        if outward.receiver_gone || outward.broken {
            dropped += outward.clear();
        }
        if outward.receiver_gone {
            ways.remove(&(here, there));
        }
        drop(ways);
        self.drop_bytes(dropped);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn ends() -> (SocketAddr, SocketAddr) {
        let (a, b) = ("10.1.0.1:5000", "10.1.0.2:6881");
        (a.parse().expect("one"), b.parse().expect("two"))
    }

    fn send(ledger: &Ledger, number: u64, bytes: usize) {
        let (a, b) = ends();
        let cargo = Cargo::Data(Bytes::from(vec![0; bytes]));
        let at = 10 * (number + 1);
        ledger.sent(a, b, Sent { number, at, cargo });
    }

    #[test]
    fn what_nobody_will_read_is_dropped_and_nothing_is_kept_of_ended_connections() {
        let ledger = Ledger::default();
        let (a, b) = ends();
        send(&ledger, 0, 4);
        send(&ledger, 1, 6);
        assert!(ledger.arrives(a, b, 0, false));
        assert_eq!((ledger.on_the_way(), ledger.totals().dropped), (6, 0));
        ledger.gone(b, a);
        assert_eq!((ledger.on_the_way(), ledger.totals().dropped), (0, 6));
        send(&ledger, 2, 5);
        ledger.gone(a, b);
        assert_eq!((ledger.on_the_way(), ledger.totals().dropped), (0, 11));
        assert!(ledger.ways.borrow().is_empty());
    }

    #[test]
    fn behind_what_was_lost_nothing_arrives_until_its_sender_took_it_back() {
        let ledger = Ledger::default();
        let (a, b) = ends();
        (0..4).for_each(|number| send(&ledger, number, 3));
        assert!(ledger.arrives(a, b, 0, false));
        assert!(!ledger.arrives(a, b, 1, true));
        assert!(!ledger.arrives(a, b, 2, false), "it follows a lost one");
        assert_eq!(ledger.next_arrival(a, b, 20), Some(30));
        let back = ledger.take_back(a, b, |at| (11..=25).contains(&at));
        let back: Vec<u64> = back.iter().map(|sent| sent.number).collect();
        assert_eq!((back, ledger.on_the_way()), (vec![1, 2, 3], 0));
        send(&ledger, 4, 9);
        assert!(
            !ledger.arrives(a, b, 3, false),
            "that one will be sent again"
        );
        assert!(ledger.arrives(a, b, 4, false));
        assert_eq!(ledger.totals().dropped, 0);
    }
}

//! Owns what all hosts of a turmoil run share: who there is, and the books of what is between hosts.
//!
//! Invariant: a byte that a machine wrote is on the way until the other machine has it, or until the
//! receiving end of its connection is gone: then it is dropped. One that turmoil lost stays on the way.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use crate::network::Totals;
use crate::scenario::plan::LinkPlan;

/// What everybody knows of a machine.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) name: String,
    pub(super) link: LinkPlan,
    /// A peer, or whoever else connections of peers lead to; not a tracker.
    pub(super) peer: bool,
}

/// One direction of one connection, between the machines.
#[derive(Default, Debug)]
struct Way {
    bytes: u64,
    sender_gone: bool,
    receiver_gone: bool,
}

/// What all hosts share.
#[derive(Default, Debug)]
pub(super) struct Ledger {
    pub(super) seed: u64,
    pub(super) known: RefCell<BTreeMap<Ipv4Addr, Known>>,
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

    /// A frame came after its moment: turmoil took longer than the path.
    pub(super) fn note_late(&self) {
        self.late.set(self.late.get() + 1);
    }

    pub(super) fn late(&self) -> u64 {
        self.late.get()
    }

    /// Payload bytes between machines.
    pub(super) fn on_the_way(&self) -> u64 {
        self.ways.borrow().values().map(|way| way.bytes).sum()
    }

    pub(super) fn written(&self, from: SocketAddr, to: SocketAddr, bytes: u64) {
        let mut ways = self.ways.borrow_mut();
        let way = ways.entry((from, to)).or_default();
        if way.receiver_gone {
            self.count(|totals| totals.dropped += bytes);
        } else {
            way.bytes += bytes;
        }
    }

    pub(super) fn arrived(&self, from: SocketAddr, to: SocketAddr, bytes: u64) {
        let mut ways = self.ways.borrow_mut();
        let way = ways.get_mut(&(from, to)).expect("it was written");
        way.bytes -= bytes;
    }

    /// The end at `here` of the connection with `there` is gone.
    pub(super) fn gone(&self, here: SocketAddr, there: SocketAddr) {
        let mut ways = self.ways.borrow_mut();
        let inward = ways.entry((there, here)).or_default();
        let dropped = std::mem::take(&mut inward.bytes);
        inward.receiver_gone = true;
        if inward.sender_gone {
            ways.remove(&(there, here));
        }
        let outward = ways.entry((here, there)).or_default();
        outward.sender_gone = true;
        if outward.receiver_gone {
            ways.remove(&(here, there));
        }
        drop(ways);
        self.count(|totals| totals.dropped += dropped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_will_read_is_dropped_and_nothing_is_kept_of_ended_connections() {
        let ledger = Ledger::default();
        let (a, b) = ("10.1.0.1:5000", "10.1.0.2:6881");
        let (a, b) = (a.parse().expect("one"), b.parse().expect("two"));
        ledger.written(a, b, 10);
        ledger.arrived(a, b, 4);
        assert_eq!((ledger.on_the_way(), ledger.totals().dropped), (6, 0));
        ledger.gone(b, a);
        assert_eq!((ledger.on_the_way(), ledger.totals().dropped), (0, 6));
        ledger.written(a, b, 5);
        assert_eq!((ledger.on_the_way(), ledger.totals().dropped), (0, 11));
        ledger.gone(a, b);
        assert!(ledger.ways.borrow().is_empty());
    }
}

//! Owns what a cut path does to one direction of a connection: what is lost, what is sent again, and since
//! when the sender has heard nothing.
//!
//! Invariant: no byte is missing in the end: what was lost goes back to the front of what is unsent, in order,
//! and the sender begins anew with a small window, as after a retransmission timeout. A flow whose path was
//! never cut has no [`Trouble`].

use super::{Flow, narrow};
use crate::network::link::{USER_TIMEOUT, handshake_again};

/// What is wrong with one direction of one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::network) struct Trouble {
    /// What is sent does not arrive.
    pub(in crate::network) cut: bool,
    /// Acknowledgements do not come back.
    pub(in crate::network) deaf: bool,
    /// Something was lost: nothing leaves before it is sent again.
    pub(in crate::network) stalled: bool,
    /// The dialler's acknowledgement of the handshake was lost.
    pub(in crate::network) unaccepted: bool,
    /// The connection is over at the other end, which could not tell: it answers what comes with a reset.
    pub(in crate::network) to_nobody: bool,
    /// The machine at this end is gone, or its sender gave up: nothing leaves any more.
    gone: bool,
    /// When that was lost which is still not acknowledged, the oldest of it, ns.
    pub(in crate::network) since: Option<u64>,
    /// Arrivals that are planned, of what was lost meanwhile.
    void: u32,
    /// Packets of the handshake that were lost.
    pub(in crate::network) lost_handshakes: u32,
    /// Bytes that were read and whose acknowledgement was lost.
    held: u64,
}

impl Trouble {
    /// Something is missed since then. True when it is the first thing.
    fn miss(&mut self, at: u64) -> bool {
        let first = self.since.is_none();
        self.since.get_or_insert(at);
        first
    }

    /// What reached the end of the path at that moment was lost, and nothing leaves until it is sent again. True
    /// when this is the first loss that nobody has acknowledged.
    pub(in crate::network) fn lose(&mut self, at: u64) -> bool {
        self.stalled = true;
        self.miss(at)
    }

    /// The acknowledgement of so many bytes, due at that moment, is lost. True when it is the first thing that the
    /// sender misses.
    pub(in crate::network) fn hold_ack(&mut self, bytes: u64, at: u64) -> bool {
        if self.gone {
            return false;
        }
        self.held += bytes;
        self.miss(at)
    }

    /// A packet of the handshake is lost: how much later it is sent again, if ever.
    pub(in crate::network) fn lose_handshake(&mut self) -> Option<u64> {
        self.lost_handshakes += 1;
        handshake_again(self.lost_handshakes)
    }

    /// What is true of the path from now on, there and back. When that gives the sender something to try for:
    /// since when it has missed something.
    pub(in crate::network) fn look(&mut self, cut: bool, deaf: bool) -> Option<u64> {
        let better = (self.cut && !cut) || (self.deaf && !deaf);
        (self.cut, self.deaf) = (cut, deaf);
        self.since.filter(|_| better && !cut)
    }

    /// The sender tries again on a path that works. When that gets something going: bytes whose lost
    /// acknowledgement it hears a round trip later.
    pub(in crate::network) fn retry(&mut self) -> Option<u64> {
        if self.gone || self.cut || self.since.is_none() {
            return None;
        }
        self.stalled = false;
        if self.deaf {
            return Some(0);
        }
        self.since = None;
        Some(std::mem::take(&mut self.held))
    }

    /// Whether the sender has missed something for the user timeout.
    pub(in crate::network) fn is_hopeless(&self, now: u64) -> bool {
        let timeout = u64::try_from(USER_TIMEOUT.as_nanos()).expect("60 s");
        self.since
            .is_some_and(|since| now >= since.saturating_add(timeout))
    }

    /// The connection is over at the other end, which could not tell; `waits`: something is not acknowledged
    /// and never will be. True when that is the first thing that the sender misses.
    pub(in crate::network) fn orphan(&mut self, waits: bool, now: u64) -> bool {
        self.to_nobody = true;
        waits && self.miss(now)
    }

    /// Whether nothing is wrong any more.
    pub(in crate::network) fn is_over(&self) -> bool {
        let calm = Trouble {
            lost_handshakes: self.lost_handshakes,
            ..Trouble::default()
        };
        *self == calm
    }
}

impl Flow {
    /// What is wrong with it; asks for a place to note it.
    pub(in crate::network) fn trouble(&mut self) -> &mut Trouble {
        self.trouble.get_or_insert_default()
    }

    /// Whether something is wrong with it.
    pub(in crate::network) fn is_troubled(&self) -> bool {
        self.trouble.is_some()
    }

    /// Whether something left that nobody has acknowledged.
    pub(in crate::network) fn is_unacknowledged(&self) -> bool {
        self.in_flight > 0
    }

    /// Whether the dialler's acknowledgement of the handshake was lost.
    pub(in crate::network) fn is_unaccepted(&self) -> bool {
        self.trouble.as_ref().is_some_and(|t| t.unaccepted)
    }

    /// Whether nothing may leave.
    pub(in crate::network) fn is_stalled(&self) -> bool {
        self.trouble.as_ref().is_some_and(|t| t.stalled)
    }

    /// Whether what is sent does not arrive.
    pub(in crate::network) fn is_cut(&self) -> bool {
        self.trouble.as_ref().is_some_and(|t| t.cut)
    }

    /// An arrival is due. True when it is one of what was lost before.
    pub(in crate::network) fn is_void(&mut self) -> bool {
        match &mut self.trouble {
            Some(trouble) if trouble.void > 0 => {
                trouble.void -= 1;
                self.calm_down();
                true
            }
            _ => false,
        }
    }

    /// The front of what is under way is lost, and with it all that follows. True when this is the first loss
    /// that nobody has acknowledged.
    pub(in crate::network) fn lose(&mut self, now: u64) -> bool {
        let follow = self.under_way.len().saturating_sub(1);
        while let Some(parcel) = self.under_way.pop_back() {
            if parcel.is_fin() {
                self.fin_sent = false;
                continue;
            }
            let bytes = parcel.bytes();
            self.in_flight -= narrow(bytes);
            self.unsent_bytes += bytes;
            self.unsent.push_front(parcel);
        }
        self.window = narrow(self.path.initial_window());
        let trouble = self.trouble();
        trouble.void += u32::try_from(follow).expect("few parcels are under way");
        trouble.lose(now)
    }

    /// The sending machine is gone: what it had queued and what is on its way are dropped. Returns how many
    /// bytes.
    pub(in crate::network) fn vanish(&mut self, now: u64) -> u64 {
        let mut bytes = self.clear();
        // A FIN that waits behind data has arrived.
        let waits = self.has_arrived() && self.fin_sent && self.last_arrival <= now;
        let due = self.under_way.len() - usize::from(waits);
        while let Some(parcel) = self.under_way.pop_back() {
            bytes += parcel.bytes();
            self.in_flight -= narrow(parcel.bytes());
        }
        self.finishing = false;
        let trouble = self.trouble();
        trouble.void += u32::try_from(due).expect("few parcels are under way");
        (trouble.gone, trouble.stalled, trouble.since) = (true, true, None);
        bytes
    }

    /// Acknowledgements do not come back from now on. True when one was on its way, and it is the first thing
    /// that the sender misses.
    pub(in crate::network) fn deafen(&mut self, now: u64) -> bool {
        self.take_acks(now);
        let first = self.acks.front().map(|(at, _)| *at);
        let held: u64 = self.acks.take_all().map(|(_, bytes)| bytes).sum();
        let trouble = self.trouble();
        trouble.deaf = true;
        first.is_some_and(|first| trouble.hold_ack(held, first))
    }

    /// The sender tries again on a path that works. True when that gets something going.
    pub(in crate::network) fn retry(&mut self, now: u64) -> bool {
        let rtt_ns = self.path.rtt_ns;
        let Some(held) = self.trouble.as_mut().and_then(|t| t.retry()) else {
            return false;
        };
        if held > 0 {
            self.acks.push_back((now + rtt_ns, held));
        }
        self.calm_down();
        true
    }

    /// Forgets trouble that is over.
    pub(in crate::network) fn calm_down(&mut self) {
        if self.trouble.as_deref().is_some_and(Trouble::is_over) {
            self.trouble = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::time::Duration;

    use bytes::Bytes;

    use skep_engine::wire::Chunk;

    use super::super::{Read, Turn};
    use super::*;
    use crate::network::link::Path;
    use crate::scenario::plan::LinkPlan;

    const MS: u64 = 1_000_000;

    fn flow() -> Flow {
        let link = LinkPlan {
            up: 1_000_000,
            down: 1_000_000,
            latency: Duration::from_millis(20),
            jitter: Duration::ZERO,
            loss_ppm: 0,
            reset_every: None,
        };
        let mut flow = Flow::new(Rc::new(Path::new(&link, &link)));
        flow.open = true;
        flow
    }

    /// Sends what waits, as far as the window goes.
    fn send(flow: &mut Flow, now: u64) -> Vec<u8> {
        let mut sent = Vec::new();
        while flow.turn(now) == Turn::Now {
            flow.send(now);
            let parcel = flow.under_way.pop_back().expect("it left");
            sent.extend_from_slice(&parcel.first);
            sent.extend_from_slice(&parcel.second);
            flow.under_way.push_back(parcel);
        }
        sent
    }

    #[test]
    fn what_is_lost_is_sent_again_in_order() {
        let mut flow = flow();
        let written: Vec<u8> = (0..10_000u32).map(|n| n.to_le_bytes()[0]).collect();
        for part in written.chunks(700) {
            flow.push(Chunk::copy(part));
        }
        assert_eq!(send(&mut flow, 0), written);
        let under_way = flow.under_way.len();
        flow.trouble().cut = true;
        assert!(flow.lose(20 * MS), "the first loss");
        assert_eq!(flow.unsent_bytes, 10_000);
        assert_eq!(flow.turn(20 * MS), Turn::Later);
        let void = (0..under_way).filter(|_| flow.is_void()).count();
        assert_eq!(void, under_way - 1, "one arrival was the lost one");
        assert!(!flow.retry(30 * MS), "the path is still cut");
        flow.trouble().cut = false;
        assert!(flow.retry(300 * MS));
        assert_eq!(send(&mut flow, 300 * MS), written);
        assert!(flow.trouble.is_none());
    }

    #[test]
    fn a_deaf_sender_fills_its_window_and_goes_on_when_it_hears_again() {
        let mut flow = flow();
        (0..20).for_each(|_| flow.push(Bytes::from(vec![0; 16_384]).into()));
        let sent = send(&mut flow, 0).len() as u64;
        assert!(!flow.deafen(0), "no acknowledgement is on its way");
        assert_eq!(flow.read(sent, 50 * MS), Read::Lost { first: true });
        assert_eq!(flow.turn(500 * MS), Turn::Later, "the window is full");
        flow.trouble().deaf = false;
        assert!(flow.retry(600 * MS));
        let heard = 600 * MS + flow.path.rtt_ns;
        assert_eq!(flow.turn(600 * MS), Turn::At(heard));
        assert_eq!(flow.turn(heard), Turn::Now);
    }

    #[test]
    fn who_vanishes_sends_nothing_any_more() {
        let mut flow = flow();
        (0..9).for_each(|_| flow.push(Bytes::from(vec![0; 10_000]).into()));
        send(&mut flow, 0);
        let due = flow.under_way.len();
        assert_eq!(flow.vanish(0), 90_000);
        assert_eq!((0..9).filter(|_| flow.is_void()).count(), due);
        assert!(!flow.retry(MS));
        assert_eq!(flow.held(), 0);
    }
}

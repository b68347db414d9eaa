//! Owns one direction of one connection: what waits, what is under way, what arrived.
//!
//! Invariant: bytes are in exactly one of `unsent`, `under_way`, `arrived`, the receiver's mailbox; `in_flight`
//! counts those that left and were not yet read and acknowledged.

use std::rc::Rc;

use skep_engine::wire::Chunk;

use super::link::{Path, transmit_ns, wire_bytes};
use super::parcels::{Parcel, Parcels, RIDER_MAX, Size};
use super::queue::Queue;

mod trouble;

pub(super) use trouble::Trouble;

/// What becomes of the acknowledgement of what was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Read {
    /// It arrives then, ns.
    Heard(u64),
    /// It is lost; the first one, or one that others were lost before.
    Lost {
        /// Nothing else was missing.
        first: bool,
    },
}

/// What arrives next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// A parcel of so many bytes.
    Data(u64),
    /// The sender finished.
    Fin,
}

impl Next {
    fn of(parcel: Size) -> Next {
        match parcel.is_fin() {
            true => Next::Fin,
            false => Next::Data(parcel.bytes()),
        }
    }
}

/// Whether a flow may send now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// Yes.
    Now,
    /// Not before this, ns.
    At(u64),
    /// When something happens: the connection stands, the receiver has read.
    Later,
    /// It has nothing to send.
    Nothing,
}

/// One direction of one connection.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Flow {
    // What every parcel looks at lies together, before the rest.
    /// The connection stands at the sending end; before that nothing leaves.
    pub(super) open: bool,
    /// It waits in the uplink's queue.
    pub(super) in_ring: bool,
    /// A wake-up is scheduled.
    pub(super) waking: bool,
    /// The sender finished: FIN follows the last byte.
    pub(super) finishing: bool,
    pub(super) fin_sent: bool,
    /// The sender was told last that there is room, and not woken for it.
    pub(super) told_in_passing: bool,
    /// Bytes that left without waking the sender: few.
    pub(super) untold: u32,
    in_flight: u32,
    /// Slow start: what may be in flight now.
    window: u32,
    unsent: Parcels,
    /// What is wrong; a path that was never cut has none.
    trouble: Option<Box<Trouble>>,
    /// Most flows of a run share theirs with others.
    pub(super) path: Rc<Path>,
    pub(super) unsent_bytes: u64,
    /// Nothing arrives before what was sent before it, ns.
    pub(super) last_arrival: u64,
    /// Pacing of a lossy path: not before this, ns.
    pub(super) paced_until: u64,
    /// Reads whose acknowledgement is on its way back: when it arrives, how many bytes.
    acks: Queue<(u64, u64)>,
    /// What has left, and has not arrived yet.
    under_way: Parcels,
    /// What has arrived, and waits for the receiver's downlink.
    arrived: Parcels,
}

impl Flow {
    pub(super) fn new(path: Rc<Path>) -> Flow {
        Flow {
            window: narrow(path.initial_window()),
            path,
            unsent: Parcels::default(),
            unsent_bytes: 0,
            under_way: Parcels::default(),
            arrived: Parcels::default(),
            in_flight: 0,
            acks: Queue::default(),
            paced_until: 0,
            last_arrival: 0,
            open: false,
            untold: 0,
            told_in_passing: false,
            in_ring: false,
            waking: false,
            finishing: false,
            fin_sent: false,
            trouble: None,
        }
    }

    /// Asks for what arrives next.
    pub(super) fn prefetch_under_way(&self) {
        self.under_way.prefetch();
    }

    /// Asks for what waits for the downlink.
    pub(super) fn prefetch_arrived(&self) {
        self.arrived.prefetch();
    }

    /// Asks for what is looked at when more is sent.
    pub(super) fn prefetch_unsent(&self) {
        self.unsent.prefetch_link();
    }

    /// Queues a write.
    pub(super) fn push(&mut self, data: Chunk) {
        self.unsent_bytes += data.len() as u64;
        if !data.is_empty() {
            self.unsent.push_chunk(data);
        }
    }

    /// How much of a chunk goes into one parcel: equal parts, for a stub would wait a turn of its own.
    fn part(&self, chunk: u32) -> u32 {
        let most = u32::try_from(self.path.parcel_max).expect("at most a block");
        if chunk <= most {
            return chunk;
        }
        chunk.div_ceil(chunk.div_ceil(most))
    }

    /// What goes into the next parcel of the first of what is unsent: all of it, or less.
    fn next_part(&self) -> Option<(Size, Size)> {
        let whole = self.unsent.first_size()?;
        let first = self.part(whole.first);
        let second = match first == whole.first && (first as usize) < RIDER_MAX {
            true => self.part(whole.second),
            false => 0,
        };
        Some((whole, Size { first, second }))
    }

    /// Bytes of the next parcel.
    fn next_bytes(&self) -> u64 {
        self.next_part().map_or(0, |(_, part)| part.bytes())
    }

    /// Acknowledgements that are there by now make room.
    fn take_acks(&mut self, now: u64) {
        while let Some(&(at, bytes)) = self.acks.front()
            && at <= now
        {
            self.acks.pop_front();
            self.in_flight -= narrow(bytes);
            self.window = narrow((u64::from(self.window) + bytes).min(self.path.window));
        }
    }

    /// Whether the next parcel may leave at `now`.
    pub(super) fn turn(&mut self, now: u64) -> Turn {
        if !self.open || self.is_stalled() {
            return Turn::Later;
        }
        if self.unsent.is_empty() {
            return Turn::Nothing;
        }
        self.take_acks(now);
        if self.in_flight > 0 && self.in_flight + narrow(self.next_bytes()) > self.window {
            return self
                .acks
                .front()
                .map_or(Turn::Later, |(at, _)| Turn::At(*at));
        }
        if self.paced_until > now {
            return Turn::At(self.paced_until);
        }
        Turn::Now
    }

    /// The next parcel leaves; the caller asked [`Flow::turn`]. Returns its bytes.
    pub(super) fn send(&mut self, now: u64) -> u64 {
        let (whole, part) = self.next_part().expect("the caller asked for a turn");
        let bytes = part.bytes();
        if part == whole {
            self.unsent.pass_on(&mut self.under_way);
        } else {
            let parcel = self.unsent.change_first(|parcel| cut(parcel, part));
            self.under_way.push_back(parcel.expect("it has a size"));
        }
        self.unsent_bytes -= bytes;
        self.in_flight += narrow(bytes);
        if let Some(cap) = self.path.rate_cap {
            self.paced_until = self.paced_until.max(now) + transmit_ns(wire_bytes(bytes), cap);
        }
        bytes
    }

    /// The receiver read so many bytes at `now`.
    pub(super) fn read(&mut self, bytes: u64, now: u64) -> Read {
        let mut at = now + self.path.back_ns;
        if let Some(trouble) = self.trouble.as_mut().filter(|t| t.deaf) {
            let first = trouble.hold_ack(bytes, at);
            return Read::Lost { first };
        }
        match self.acks.back_mut() {
            // Also when the path became shorter: none overtakes another.
            Some((last, sum)) if *last >= at => {
                *sum += bytes;
                at = *last;
            }
            _ => self.acks.push_back((at, bytes)),
        }
        Read::Heard(at)
    }
}

impl Flow {
    /// Payload bytes between the sender's call and the receiver's mailbox.
    pub(super) fn held(&self) -> u64 {
        self.unsent_bytes + self.under_way.bytes() + self.arrived.bytes()
    }

    /// Whether nothing is on its way, also no FIN, and nothing waits to leave.
    pub(super) fn is_idle(&self) -> bool {
        self.unsent_bytes == 0 && self.under_way.is_empty() && self.arrived.is_empty()
    }

    /// A FIN leaves.
    pub(super) fn send_fin(&mut self) {
        self.under_way.push_back(Parcel::fin());
    }

    /// What arrives next.
    pub(super) fn next_in_transit(&self) -> Option<Next> {
        self.under_way.first_size().map(Next::of)
    }

    /// What arrives next does, and is taken at once.
    pub(super) fn take_in_transit(&mut self) -> Option<Parcel> {
        self.under_way.pop_front()
    }

    /// The next parcel arrives, and waits. True when none waited before.
    pub(super) fn arrive(&mut self) -> bool {
        let first = self.arrived.is_empty();
        self.under_way.pass_on(&mut self.arrived);
        first
    }

    /// Whether parcels that have arrived wait.
    pub(super) fn has_arrived(&self) -> bool {
        !self.arrived.is_empty()
    }

    /// Bytes of the first parcel that waits.
    pub(super) fn first_arrived(&self) -> Option<u64> {
        self.arrived.first_size().map(Size::bytes)
    }

    /// A copy of it.
    pub(super) fn copy_of_arrived(&self) -> Option<Parcel> {
        self.arrived.first()
    }

    /// Takes the first parcel that waits.
    pub(super) fn take_arrived(&mut self) -> Option<Parcel> {
        self.arrived.pop_front()
    }

    /// Drops what was not yet sent; what is under way arrives or finds nobody. Returns how many
    /// bytes were dropped.
    pub(super) fn clear(&mut self) -> u64 {
        self.unsent.clear();
        std::mem::take(&mut self.unsent_bytes)
    }
}

/// Bytes of a window at most, or of a parcel beyond it.
fn narrow(bytes: u64) -> u32 {
    u32::try_from(bytes).expect("a window is shorter")
}

/// Takes a part off the front of a parcel.
fn cut(parcel: &mut Parcel, part: Size) -> Parcel {
    let mut take = |bytes: u32| {
        let taken = parcel.first.split_to(bytes as usize);
        if parcel.first.is_empty() {
            parcel.first = std::mem::take(&mut parcel.second);
        }
        taken
    };
    let first = take(part.first);
    let second = take(part.second);
    Parcel { first, second }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scenario::plan::LinkPlan;

    #[test]
    fn a_block_on_a_slow_link_is_cut_and_its_head_rides_with_the_first_part() {
        let link = LinkPlan {
            up: 20_000,
            down: 20_000,
            latency: Duration::from_millis(20),
            jitter: Duration::ZERO,
            loss_ppm: 0,
            reset_every: None,
        };
        let mut flow = Flow::new(Rc::new(Path::new(&link, &link)));
        let written: Vec<u8> = (0..16_397u32).map(|n| n.to_le_bytes()[0]).collect();
        flow.push(Chunk::copy(&written[..13]));
        flow.push(bytes::Bytes::copy_from_slice(&written[13..]).into());
        let (mut sizes, mut sent) = (Vec::new(), Vec::new());
        while flow.unsent_bytes > 0 {
            let next = flow.next_bytes();
            assert_eq!(flow.send(0), next);
            let parcel = flow.take_in_transit().expect("it left");
            assert_eq!(parcel.bytes(), next);
            sizes.push((parcel.first.len(), parcel.second.len()));
            sent.extend_from_slice(&parcel.first);
            sent.extend_from_slice(&parcel.second);
        }
        assert_eq!(sizes, [(13, 4096), (4096, 0), (4096, 0), (4096, 0)]);
        assert!(sent == written && flow.unsent.is_empty());
    }
}

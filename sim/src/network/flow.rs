//! Owns one direction of one connection: what waits, what is under way, what arrived.
//!
//! Invariant: bytes are in exactly one of `unsent`, `cargo`, the receiver's mailbox; `in_flight` counts
//! those that left and were not yet read and acknowledged. Of the cargo so many in front have arrived, and
//! wait for the receiver's downlink; the others are under way.

use std::rc::Rc;

use skep_engine::wire::Chunk;

use super::link::{Path, transmit_ns, wire_bytes};
use super::queue::Queue;

mod trouble;

pub(super) use trouble::Trouble;

/// A chunk below this rides with the one behind it: a block's head with the block.
const RIDER_MAX: usize = 1024;

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

/// What crosses the network as one: a chunk, perhaps with a small one before it.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    pub(super) first: Chunk,
    /// Empty when there is none.
    pub(super) second: Chunk,
}

impl Parcel {
    pub(super) fn bytes(&self) -> u64 {
        (self.first.len() + self.second.len()) as u64
    }

    /// Appends some of its bytes.
    pub(super) fn copy_range(&self, from: usize, to: usize, out: &mut Vec<u8>) {
        let cut = self.first.len();
        out.extend_from_slice(&self.first[from.min(cut)..to.min(cut)]);
        out.extend_from_slice(&self.second[from.max(cut) - cut..to.max(cut) - cut]);
    }
}

/// What is under way, in order.
#[derive(Debug)]
pub(super) enum Cargo {
    Data(Parcel),
    /// The sender finished.
    Fin,
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
    /// Parcels that have arrived and wait for the downlink.
    arrived: u32,
    /// Bytes that left without waking the sender: few.
    pub(super) untold: u32,
    /// What is wrong; a path that was never cut has none.
    trouble: Option<Box<Trouble>>,
    /// Most flows of a run share theirs with others.
    pub(super) path: Rc<Path>,
    pub(super) unsent_bytes: u64,
    in_flight: u64,
    /// Slow start: what may be in flight now.
    window: u64,
    /// Nothing arrives before what was sent before it, ns.
    pub(super) last_arrival: u64,
    /// Pacing of a lossy path: not before this, ns.
    pub(super) paced_until: u64,
    unsent: Queue<Chunk>,
    /// What has left, in order.
    cargo: Queue<Cargo>,
    /// Reads whose acknowledgement is on its way back: when it arrives, how many bytes.
    acks: Queue<(u64, u64)>,
}

impl Flow {
    pub(super) fn new(path: Rc<Path>) -> Flow {
        Flow {
            window: path.initial_window(),
            path,
            unsent: Queue::default(),
            unsent_bytes: 0,
            cargo: Queue::default(),
            arrived: 0,
            in_flight: 0,
            acks: Queue::default(),
            paced_until: 0,
            last_arrival: 0,
            open: false,
            untold: 0,
            in_ring: false,
            waking: false,
            finishing: false,
            fin_sent: false,
            trouble: None,
        }
    }

    /// Asks for what its lists hold beside the first: where that is.
    pub(super) fn prefetch_lists(&self) {
        self.unsent.prefetch_rest();
        self.cargo.prefetch_rest();
        self.acks.prefetch_rest();
    }

    /// As [`Flow::prefetch_lists`], once that is there: asks for the items next in it.
    pub(super) fn prefetch_items(&self) {
        self.unsent.prefetch_items();
        self.cargo.prefetch_items();
        self.acks.prefetch_items();
    }

    /// Queues a write.
    pub(super) fn push(&mut self, data: Chunk) {
        self.unsent_bytes += data.len() as u64;
        if !data.is_empty() {
            self.unsent.push_back(data);
        }
    }

    /// How much of a chunk goes into one parcel: equal parts, for a stub would wait a turn of its own.
    fn part(&self, chunk: usize) -> usize {
        let most = usize::try_from(self.path.parcel_max).expect("at most a block");
        chunk.div_ceil(chunk.div_ceil(most).max(1))
    }

    fn next_bytes(&self) -> u64 {
        let bytes = |chunk: Option<&Chunk>| chunk.map_or(0, |c| self.part(c.len()));
        let first = bytes(self.unsent.front());
        let rider = if first < RIDER_MAX {
            bytes(self.unsent.second())
        } else {
            0
        };
        (first + rider) as u64
    }

    /// Acknowledgements that are there by now make room.
    fn take_acks(&mut self, now: u64) {
        while let Some(&(at, bytes)) = self.acks.front()
            && at <= now
        {
            self.acks.pop_front();
            self.in_flight -= bytes;
            self.window = (self.window + bytes).min(self.path.window);
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
        if self.in_flight > 0 && self.in_flight + self.next_bytes() > self.window {
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

    /// Takes the next parcel; the caller asked [`Flow::turn`].
    pub(super) fn take(&mut self, now: u64) -> Parcel {
        let first = self.take_chunk().expect("the caller asked for a turn");
        let rider = first.len() < RIDER_MAX;
        let second = rider.then(|| self.take_chunk()).flatten();
        let second = second.unwrap_or_default();
        let parcel = Parcel { first, second };
        let bytes = parcel.bytes();
        self.unsent_bytes -= bytes;
        self.in_flight += bytes;
        if let Some(cap) = self.path.rate_cap {
            self.paced_until = self.paced_until.max(now) + transmit_ns(wire_bytes(bytes), cap);
        }
        parcel
    }

    /// The next piece of what is unsent, as long as the path carries in one parcel.
    fn take_chunk(&mut self) -> Option<Chunk> {
        let length = self.unsent.front()?.len();
        let part = self.part(length);
        if part < length {
            return self.unsent.front_mut().map(|front| front.split_to(part));
        }
        self.unsent.pop_front()
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
        let cargo = self.cargo.iter().map(|cargo| match cargo {
            Cargo::Data(parcel) => parcel.bytes(),
            Cargo::Fin => 0,
        });
        self.unsent_bytes + cargo.sum::<u64>()
    }

    /// Whether nothing is on its way, also no FIN, and nothing waits to leave.
    pub(super) fn is_idle(&self) -> bool {
        self.unsent_bytes == 0 && self.cargo.is_empty()
    }

    /// A parcel or a FIN leaves.
    pub(super) fn depart(&mut self, cargo: Cargo) {
        self.cargo.push_back(cargo);
    }

    /// What arrives next.
    pub(super) fn next_in_transit(&self) -> Option<&Cargo> {
        self.cargo.get(self.arrived as usize)
    }

    /// What arrives next does, and is taken at once.
    pub(super) fn take_in_transit(&mut self) -> Option<Cargo> {
        self.cargo.take_at(self.arrived as usize)
    }

    /// The next parcel arrives, and waits. True when none waited before.
    pub(super) fn arrive(&mut self) -> bool {
        self.arrived += 1;
        self.arrived == 1
    }

    /// Whether parcels that have arrived wait.
    pub(super) fn has_arrived(&self) -> bool {
        self.arrived > 0
    }

    /// The first parcel that waits.
    pub(super) fn first_arrived(&self) -> Option<&Parcel> {
        match self.cargo.front() {
            Some(Cargo::Data(parcel)) if self.arrived > 0 => Some(parcel),
            _ => None,
        }
    }

    /// Takes the first parcel that waits.
    pub(super) fn take_arrived(&mut self) -> Option<Parcel> {
        self.first_arrived()?;
        self.arrived -= 1;
        match self.cargo.pop_front() {
            Some(Cargo::Data(parcel)) => Some(parcel),
            _ => None,
        }
    }

    /// Drops what was not yet sent; what is under way arrives or finds nobody. Returns how many
    /// bytes were dropped.
    pub(super) fn clear(&mut self) -> u64 {
        self.unsent.clear();
        std::mem::take(&mut self.unsent_bytes)
    }
}

//! Owns one direction of one connection: what waits, what is under way, what arrived.
//!
//! Invariant: bytes are in exactly one of `unsent`, `in_transit`, `arrived`, the receiver's
//! mailbox; `in_flight` counts those that left and were not yet read and acknowledged.

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
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) first: Chunk,
    /// Empty when there is none.
    pub(super) second: Chunk,
}

impl Parcel {
    pub(super) fn bytes(&self) -> u64 {
        (self.first.len() + self.second.len()) as u64
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
    /// What is wrong; a path that was never cut has none.
    trouble: Option<Box<Trouble>>,
    pub(super) unsent_bytes: u64,
    in_flight: u64,
    /// Slow start: what may be in flight now.
    window: u64,
    /// Nothing arrives before what was sent before it, ns.
    pub(super) last_arrival: u64,
    /// Bytes that left without waking the sender.
    pub(super) untold: u64,
    /// Pacing of a lossy path: not before this, ns.
    pub(super) paced_until: u64,
    pub(super) path: Path,
    unsent: Queue<Chunk>,
    pub(super) in_transit: Queue<Cargo>,
    /// Reads whose acknowledgement is on its way back: when it arrives, how many bytes.
    acks: Queue<(u64, u64)>,
    pub(super) arrived: Queue<Parcel>,
}

impl Flow {
    pub(super) fn new(path: Path) -> Flow {
        Flow {
            window: path.initial_window(),
            path,
            unsent: Queue::default(),
            unsent_bytes: 0,
            in_transit: Queue::default(),
            arrived: Queue::default(),
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
        let in_transit = self.in_transit.iter().map(|cargo| match cargo {
            Cargo::Data(parcel) => parcel.bytes(),
            Cargo::Fin => 0,
        });
        let arrived = self.arrived.iter().map(Parcel::bytes);
        self.unsent_bytes + in_transit.sum::<u64>() + arrived.sum::<u64>()
    }

    /// Drops what was not yet sent; what is under way arrives or finds nobody. Returns how many
    /// bytes were dropped.
    pub(super) fn clear(&mut self) -> u64 {
        self.unsent.clear();
        std::mem::take(&mut self.unsent_bytes)
    }
}

//! Owns one direction of one connection: what waits, what is under way, what arrived.
//!
//! Invariant: bytes are in exactly one of `unsent`, `in_transit`, `arrived`, the receiver's
//! mailbox; `in_flight` counts those that left and were not yet read and acknowledged.

use std::collections::VecDeque;

use bytes::Bytes;

use super::link::{Path, transmit_ns, wire_bytes};

/// Longest piece of a write that crosses as one parcel: a block.
const CHUNK_MAX: usize = 16 * 1024;
/// A chunk below this rides with the one behind it: a block's head with the block.
const RIDER_MAX: usize = 1024;

/// What crosses the network as one: a chunk, perhaps with a small one before it.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) first: Bytes,
    pub(super) second: Option<Bytes>,
}

impl Parcel {
    pub(super) fn bytes(&self) -> u64 {
        (self.first.len() + self.second.as_ref().map_or(0, Bytes::len)) as u64
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
pub(super) struct Flow {
    pub(super) path: Path,
    unsent: VecDeque<Bytes>,
    pub(super) unsent_bytes: u64,
    pub(super) in_transit: VecDeque<Cargo>,
    pub(super) arrived: VecDeque<Parcel>,
    in_flight: u64,
    /// Slow start: what may be in flight now.
    window: u64,
    /// Reads whose acknowledgement is on its way back: when it arrives, how many bytes.
    acks: VecDeque<(u64, u64)>,
    /// Read by the receiver, whose acknowledgements a cut has stopped.
    pub(super) unacknowledged: u64,
    /// Since when a cut holds something of it, ns; until the cut is over.
    pub(super) stalled_since: Option<u64>,
    /// Pacing of a lossy path: not before this, ns.
    pub(super) paced_until: u64,
    /// Nothing arrives before what was sent before it, ns.
    pub(super) last_arrival: u64,
    /// The connection stands at the sending end; before that nothing leaves.
    pub(super) open: bool,
    /// Bytes that left without waking the sender.
    pub(super) untold: u64,
    /// It waits in the uplink's queue.
    pub(super) in_ring: bool,
    /// A wake-up is scheduled.
    pub(super) waking: bool,
    /// The sender finished: FIN follows the last byte.
    pub(super) finishing: bool,
    pub(super) fin_sent: bool,
}

impl Flow {
    pub(super) fn new(path: Path) -> Flow {
        Flow {
            window: path.initial_window(),
            path,
            unsent: VecDeque::new(),
            unsent_bytes: 0,
            in_transit: VecDeque::new(),
            arrived: VecDeque::new(),
            in_flight: 0,
            acks: VecDeque::new(),
            unacknowledged: 0,
            stalled_since: None,
            paced_until: 0,
            last_arrival: 0,
            open: false,
            untold: 0,
            in_ring: false,
            waking: false,
            finishing: false,
            fin_sent: false,
        }
    }

    /// Queues a write.
    pub(super) fn push(&mut self, mut data: Bytes) {
        self.unsent_bytes += data.len() as u64;
        while data.len() > CHUNK_MAX {
            self.unsent.push_back(data.split_to(CHUNK_MAX));
        }
        if !data.is_empty() {
            self.unsent.push_back(data);
        }
    }

    fn next_bytes(&self) -> u64 {
        let first = self.unsent.front().map_or(0, Bytes::len);
        let rider = first < RIDER_MAX;
        (first
            + if rider {
                self.unsent.get(1).map_or(0, Bytes::len)
            } else {
                0
            }) as u64
    }

    /// Whether the next parcel may leave at `now`.
    pub(super) fn turn(&mut self, now: u64) -> Turn {
        if !self.open {
            return Turn::Later;
        }
        if self.unsent.is_empty() {
            return Turn::Nothing;
        }
        while let Some((_, bytes)) = self.acks.pop_front_if(|(at, _)| *at <= now) {
            self.in_flight -= bytes;
            self.window = (self.window + bytes).min(self.path.window);
        }
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
        let first = self
            .unsent
            .pop_front()
            .expect("the caller asked for a turn");
        let second = if first.len() < RIDER_MAX {
            self.unsent.pop_front()
        } else {
            None
        };
        let parcel = Parcel { first, second };
        let bytes = parcel.bytes();
        self.unsent_bytes -= bytes;
        self.in_flight += bytes;
        if let Some(cap) = self.path.rate_cap {
            self.paced_until = self.paced_until.max(now) + transmit_ns(wire_bytes(bytes), cap);
        }
        parcel
    }

    /// The receiver read so many bytes at `now`; returns when its acknowledgement arrives.
    pub(super) fn read(&mut self, bytes: u64, now: u64) -> u64 {
        let at = now + self.path.delay_ns;
        match self.acks.back_mut() {
            Some((last, sum)) if *last == at => *sum += bytes,
            _ => self.acks.push_back((at, bytes)),
        }
        at
    }
}

impl Flow {
    /// The acknowledgements that a cut had stopped arrive. TCP begins again with a small window.
    pub(super) fn acknowledge_held(&mut self) {
        self.in_flight -= std::mem::take(&mut self.unacknowledged);
        self.window = self.path.initial_window();
    }

    /// The path is another from now on; what is under way arrives as it would have.
    pub(super) fn change_path(&mut self, path: Path) {
        self.window = self.window.min(path.window);
        self.path = path;
    }

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

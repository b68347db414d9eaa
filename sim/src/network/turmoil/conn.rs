//! Owns one end of one connection on a turmoil host: what waits to be sent, what the path allows, what has
//! come, and the turmoil stream below.
//!
//! Invariant: at most one parcel of the connection is queued at each of its two links, so that reservations
//! in the order in which they are made give equal shares.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;

use ::turmoil::net::TcpStream;
use bytes::{Buf, Bytes, BytesMut};
use rand_chacha::ChaCha8Rng;
use skep_engine::ConnId;

use super::frame::Frame;
use super::ledger::Sent;
use crate::network::flow::Trouble;
use crate::network::link::{Path, SEGMENT_BYTES, transmit_ns, wire_bytes};

/// Bytes of the longest parcel: what a connection reserves of a link at once.
const PARCEL_MAX: u64 = 4 * 1024;

/// A dial under way.
pub(super) type Dialling = Pin<Box<dyn Future<Output = io::Result<TcpStream>>>>;

/// The turmoil stream of a connection.
pub(super) enum Carrier {
    /// The dial is on its way to the other host.
    None,
    Dialling(Dialling),
    Standing(TcpStream),
    /// The other end's host has let go of it.
    Gone,
}

/// What crosses.
#[derive(Clone, Debug)]
pub(super) enum Cargo {
    Data(Bytes),
    Fin,
}

impl Cargo {
    /// Payload bytes.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Cargo::Data(data) => data.len() as u64,
            Cargo::Fin => 0,
        }
    }
}

/// Whether a connection may send now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    Now,
    /// Not before this, ns.
    At(u64),
    /// When something happens: it opens, its parcel is carried, the other end has read.
    Later,
    /// It has nothing to send.
    Nothing,
}

/// One end of one connection.
pub(super) struct Conn {
    pub(super) other: Ipv4Addr,
    /// The other end's address, as the program is told.
    pub(super) addr: SocketAddr,
    pub(super) inbound: bool,
    /// As the program here knows it, until it is closed here.
    pub(super) id: Option<ConnId>,
    pub(super) carrier: Carrier,
    /// Both ends' addresses in turmoil, this one's first, once it stands there.
    pub(super) ends: Option<(SocketAddr, SocketAddr)>,
    pub(super) path: Path,
    pub(super) rng: ChaCha8Rng,
    /// The connection stands, as far as this end knows.
    pub(super) open: bool,
    /// For a dial: when its answer is here, ns.
    pub(super) answer_at: u64,
    /// For a dial: when the path breaks it, ns.
    pub(super) breaks: Option<u64>,
    unsent: VecDeque<Bytes>,
    pub(super) unsent_bytes: u64,
    /// Frames with data or a farewell that were sent so far.
    sent_frames: u64,
    in_flight: u64,
    /// Slow start: what may be in flight now.
    window: u64,
    /// Pacing of a lossy path: not before this, ns.
    paced_until: u64,
    /// Nothing arrives before what was sent before it, ns.
    pub(super) last_arrival: u64,
    /// A parcel of it is queued at the uplink.
    pub(super) sending: bool,
    /// A wake-up for its pacing is planned.
    pub(super) waking: bool,
    /// Bytes that left without waking the program.
    pub(super) untold: u64,
    /// The program finished: a farewell follows the last byte.
    pub(super) finishing: bool,
    pub(super) fin_sent: bool,
    /// What it leaves with, once the stream has room; nothing follows.
    pub(super) leaves_with: Option<Frame>,
    /// What a cut path does to what this end sends.
    pub(super) trouble: Trouble,
    /// Frames that the stream had no room for.
    backlog: VecDeque<Bytes>,
    /// Bytes of frames that are not whole yet.
    pub(super) input: BytesMut,
    /// Frames with data or a farewell that have come.
    pub(super) heard: u64,
    /// The other end said that it finishes or resets.
    pub(super) farewell: bool,
    /// What has come before its moment.
    pub(super) coming: VecDeque<Sent>,
    /// What has arrived and was not yet carried by the downlink.
    pub(super) incoming: VecDeque<Cargo>,
    /// The front of `incoming` is queued at the downlink.
    pub(super) receiving: bool,
    /// Bytes that the program has read and that were not acknowledged yet.
    pub(super) unacked: u64,
}

impl Conn {
    pub(super) fn new(
        other: Ipv4Addr,
        addr: SocketAddr,
        inbound: bool,
        path: Path,
        rng: ChaCha8Rng,
    ) -> Conn {
        Conn {
            other,
            addr,
            inbound,
            id: None,
            carrier: Carrier::None,
            ends: None,
            window: path.initial_window(),
            path,
            rng,
            open: false,
            answer_at: 0,
            breaks: None,
            unsent: VecDeque::new(),
            unsent_bytes: 0,
            sent_frames: 0,
            in_flight: 0,
            paced_until: 0,
            last_arrival: 0,
            sending: false,
            waking: false,
            untold: 0,
            finishing: false,
            fin_sent: false,
            leaves_with: None,
            trouble: Trouble::default(),
            backlog: VecDeque::new(),
            input: BytesMut::new(),
            heard: 0,
            farewell: false,
            coming: VecDeque::new(),
            incoming: VecDeque::new(),
            receiving: false,
            unacked: 0,
        }
    }

    /// Queues a write.
    pub(super) fn push(&mut self, data: Bytes) {
        self.unsent_bytes += data.len() as u64;
        if !data.is_empty() {
            self.unsent.push_back(data);
        }
    }

    /// Whether the next parcel may be queued at the uplink at `now`.
    pub(super) fn turn(&self, now: u64) -> Turn {
        if !self.open || self.sending || self.trouble.stalled {
            return Turn::Later;
        }
        if self.unsent_bytes == 0 {
            return Turn::Nothing;
        }
        // No parcel of less than a segment while more is to come: acknowledgements will make room for it.
        if self.next_len() < self.unsent_bytes.min(SEGMENT_BYTES) {
            return Turn::Later;
        }
        if self.paced_until > now {
            return Turn::At(self.paced_until);
        }
        Turn::Now
    }

    /// Bytes of the next parcel: as many as the window has room for.
    fn next_len(&self) -> u64 {
        let room = self.window.saturating_sub(self.in_flight);
        let parcel = self.path.parcel_max.min(PARCEL_MAX);
        self.unsent_bytes.min(parcel).min(room)
    }

    /// Takes the next parcel; the caller asked [`Conn::turn`].
    pub(super) fn take(&mut self, now: u64) -> Bytes {
        let len = usize::try_from(self.next_len()).expect("a parcel is short");
        let front = self
            .unsent
            .front_mut()
            .expect("the caller asked for a turn");
        let parcel = if front.len() >= len {
            let parcel = front.split_to(len);
            if front.is_empty() {
                self.unsent.pop_front();
            }
            parcel
        } else {
            let mut parcel = BytesMut::with_capacity(len);
            while let Some(front) = self.unsent.front_mut()
                && parcel.len() < len
            {
                let more = front.len().min(len - parcel.len());
                parcel.extend_from_slice(&front[..more]);
                front.advance(more);
                if front.is_empty() {
                    self.unsent.pop_front();
                }
            }
            parcel.freeze()
        };
        let bytes = parcel.len() as u64;
        self.unsent_bytes -= bytes;
        self.in_flight += bytes;
        if let Some(cap) = self.path.rate_cap {
            self.paced_until = self.paced_until.max(now) + transmit_ns(wire_bytes(bytes), cap);
        }
        parcel
    }

    /// The other end's program has read so many bytes.
    pub(super) fn acknowledged(&mut self, bytes: u64) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
        self.window = (self.window + bytes).min(self.path.window);
    }

    /// What was lost is to be sent again, before everything else.
    pub(super) fn take_back(&mut self, lost: Vec<Sent>) {
        for sent in lost.into_iter().rev() {
            match sent.cargo {
                Cargo::Fin => self.fin_sent = false,
                Cargo::Data(data) => {
                    let bytes = data.len() as u64;
                    self.in_flight -= bytes;
                    self.unsent_bytes += bytes;
                    self.unsent.push_front(data);
                }
            }
        }
        self.window = self.path.initial_window();
    }

    /// Whether something left that nobody has acknowledged.
    pub(super) fn is_unacknowledged(&self) -> bool {
        self.in_flight > 0
    }

    /// The number of the next frame with data or a farewell.
    pub(super) fn next_number(&mut self) -> u64 {
        self.sent_frames += 1;
        self.sent_frames - 1
    }

    /// Drops what was not yet sent; returns how many bytes.
    pub(super) fn clear(&mut self) -> u64 {
        self.unsent.clear();
        std::mem::take(&mut self.unsent_bytes)
    }

    /// Payload bytes that have arrived and are not with the program.
    pub(super) fn held(&self) -> u64 {
        self.incoming.iter().map(Cargo::bytes).sum()
    }

    /// Writes a frame, now or when the stream has room again: no frame is lost, whatever is before it. False:
    /// it waits for [`Conn::flush`].
    pub(super) fn write(&mut self, frame: &Frame) -> bool {
        self.backlog.push_back(frame.encode());
        self.flush()
    }

    /// Frames that wait are not written any more.
    pub(super) fn forget_backlog(&mut self) {
        self.backlog.clear();
    }

    /// Writes what waits; true when nothing is left.
    pub(super) fn flush(&mut self) -> bool {
        while let Some(frame) = self.backlog.front() {
            let Carrier::Standing(stream) = &self.carrier else {
                // Before the connection stands frames wait; after it is gone nobody hears them.
                if matches!(self.carrier, Carrier::Gone) {
                    self.backlog.clear();
                }
                break;
            };
            match stream.try_write(frame) {
                Ok(written) => assert_eq!(written, frame.len(), "turmoil takes a write whole"),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // The other end's host has let go of it, which reading tells.
                Err(_) => {}
            }
            self.backlog.pop_front();
        }
        self.backlog.is_empty()
    }
}

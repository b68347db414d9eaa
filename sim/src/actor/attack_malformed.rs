//! Owns the attack `malformed`: on each connection, bytes that are wrong in one way.
//!
//! Invariant: each connection gets one of the kinds, in turn, so that every kind is tried on somebody; what is
//! random in them comes from the attack's own stream.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use skep_engine::ConnId;
use skep_engine::bits::BitSet;
use skep_engine::wire::Message;
use skep_engine::wire::extension::HANDSHAKE_ID;
use skep_engine::wire::handshake::{EXTENSIONS, reserved};

use super::parts::everything;
use super::raw::{Attacker, Habits, RawIo};
use crate::content::Content;
use crate::trace::Attack;

/// One way to be wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// An id that nobody has defined: to be skipped.
    UnknownId,
    /// A `have` of three bytes.
    BadLength,
    /// A bitfield that lacks a byte.
    ShortBitfield,
    /// A bitfield with a byte too many.
    LongBitfield,
    /// A bitfield that claims pieces behind the last.
    SpareBits,
    /// A `have`, and then a bitfield of nothing: what was said stays true.
    LateBitfield,
    /// A `have` of a piece behind the last.
    NoSuchPiece,
    /// A message of the fast extension, which was not agreed on.
    NotAgreed,
    /// The first half of a message, and the end of the connection.
    Truncated,
    /// A second handshake.
    HandshakeAgain,
    /// An introduction that is no bencoding.
    BadIntroduction,
    /// An introduction of lists within lists, deeper than anybody reads.
    DeepIntroduction,
    /// Random bytes.
    Noise,
}

const KINDS: &[Kind] = &[
    Kind::UnknownId,
    Kind::BadLength,
    Kind::ShortBitfield,
    Kind::LongBitfield,
    Kind::SpareBits,
    Kind::LateBitfield,
    Kind::NoSuchPiece,
    Kind::NotAgreed,
    Kind::Truncated,
    Kind::HandshakeAgain,
    Kind::BadIntroduction,
    Kind::DeepIntroduction,
    Kind::Noise,
];

/// The attacker.
pub(super) struct Malformed {
    content: Arc<Content>,
    rng: ChaCha8Rng,
    next: usize,
}

impl Malformed {
    pub(super) fn new(content: Arc<Content>, rng: ChaCha8Rng) -> Malformed {
        Malformed {
            content,
            rng,
            next: 0,
        }
    }

    fn bytes(&mut self, kind: Kind) -> Bytes {
        let pieces = self.content.geometry().pieces;
        let bits = everything(&self.content);
        match kind {
            Kind::UnknownId => message(99, b"what is this"),
            Kind::BadLength => message(4, &[0, 0, 0]),
            Kind::ShortBitfield => message(5, &bits[1..]),
            Kind::LongBitfield => message(5, &[&bits[..], &[0]].concat()),
            Kind::SpareBits => {
                // Where the bitfield has no spare bits, a byte of them is as wrong.
                let mut spare = vec![0xff; bits.len()];
                if pieces.is_multiple_of(8) {
                    spare.push(0xff);
                }
                message(5, &spare)
            }
            Kind::LateBitfield => {
                let nothing = BitSet::empty(pieces).to_wire();
                let have = message(4, &[0, 0, 0, 0]);
                let late = message(5, &nothing);
                [&have[..], &late[..]].concat().into()
            }
            Kind::NoSuchPiece => message(4, &pieces.to_be_bytes()),
            Kind::NotAgreed => message(14, b""),
            Kind::Truncated => message(5, &bits).slice(..5),
            Kind::HandshakeAgain => Bytes::from_static(b"\x13BitTorrent protocol"),
            Kind::BadIntroduction => message(20, &[&[HANDSHAKE_ID], &b"d1:md11:ut_"[..]].concat()),
            Kind::DeepIntroduction => {
                let lists = "l".repeat(8000);
                message(20, &[&[HANDSHAKE_ID], lists.as_bytes()].concat())
            }
            Kind::Noise => {
                let mut noise = vec![0; 512];
                self.rng.fill_bytes(&mut noise);
                noise.into()
            }
        }
    }
}

/// A message of any id with any bytes behind it.
fn message(id: u8, body: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u32(u32::try_from(body.len() + 1).expect("short"));
    out.put_u8(id);
    out.extend_from_slice(body);
    out.freeze()
}

impl Attacker for Malformed {
    fn claims_complete(&self) -> bool {
        true
    }

    fn capabilities(&self) -> [u8; 8] {
        reserved(&[EXTENSIONS])
    }

    fn habits(&self) -> Habits {
        Habits {
            redial: Duration::from_secs(5),
            ..Habits::default()
        }
    }

    fn on_open(&mut self, io: &mut RawIo, conn: ConnId) {
        if !io.active() {
            return io.close(conn);
        }
        let kind = KINDS[self.next % KINDS.len()];
        self.next += 1;
        let bytes = self.bytes(kind);
        io.tell(Attack::Acted);
        io.send_bytes(conn, bytes);
        if kind == Kind::Truncated {
            io.close(conn);
        }
    }

    fn on_message(&mut self, _io: &mut RawIo, _conn: ConnId, _message: Message) {}

    /// What is ignored leaves a connection that nobody uses: it makes room for the next kind.
    fn on_tick(&mut self, io: &mut RawIo) {
        io.close_all();
    }
}

//! Owns the attacks `wrong-hash` and `wrong-protocol`: a handshake for something else than this torrent, or than
//! BitTorrent.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use skep_engine::wire::{Handshake, Message};
use skep_engine::{ConnId, InfoHash};

use super::raw::{Attacker, Habits, RawIo};
use crate::trace::Attack;

/// What the handshake is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wrong {
    /// Some other torrent.
    Hash,
    /// Some other protocol.
    Protocol,
}

/// Openings of other protocols, and of almost this one.
const OPENINGS: &[&[u8]] = &[
    b"\x13BitTorrent protocoL",
    b"\x12BitTorrent protocol",
    b"GET /announce HTTP/1.1\r\nHost: peer\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"SSH-2.0-OpenSSH_9.9\r\n",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
];

/// The attacker.
pub(super) struct WrongHandshake {
    wrong: Wrong,
    rng: ChaCha8Rng,
    next: usize,
}

impl WrongHandshake {
    pub(super) fn new(wrong: Wrong, rng: ChaCha8Rng) -> WrongHandshake {
        WrongHandshake {
            wrong,
            rng,
            next: 0,
        }
    }
}

impl Attacker for WrongHandshake {
    fn claims_complete(&self) -> bool {
        true
    }

    fn habits(&self) -> Habits {
        Habits {
            redial: Duration::from_secs(5),
            ..Habits::default()
        }
    }

    fn greeting(
        &mut self,
        io: &mut RawIo,
        _conn: ConnId,
        usual: &Handshake,
        _theirs: Option<&Handshake>,
    ) -> Bytes {
        if !io.active() {
            return Bytes::new();
        }
        io.tell(Attack::Acted);
        match self.wrong {
            Wrong::Hash => {
                let mut other = InfoHash([0; 20]);
                self.rng.fill_bytes(&mut other.0);
                let said = Handshake {
                    info_hash: other,
                    ..*usual
                };
                Bytes::copy_from_slice(&said.encode())
            }
            Wrong::Protocol => {
                let opening = OPENINGS[self.next % OPENINGS.len()];
                self.next += 1;
                // As long as a handshake, so that nobody waits for the rest.
                let mut bytes = BytesMut::from(opening);
                bytes.resize(opening.len().max(68), 0);
                bytes.freeze()
            }
        }
    }

    fn on_open(&mut self, _io: &mut RawIo, _conn: ConnId) {}

    fn on_message(&mut self, _io: &mut RawIo, _conn: ConnId, _message: Message) {}
}

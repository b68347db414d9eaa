//! Owns the attack `stale-have`: announces every piece and gives none. It refuses what every second
//! neighbour asks for (BEP 6) and leaves after a while; the others it leaves with their requests open.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use skep_engine::wire::Message;
use skep_engine::wire::handshake::{FAST, reserved};
use skep_engine::{ConnId, Now};

use super::parts::everything;
use super::raw::{Attacker, Habits, RawIo};
use crate::content::Content;
use crate::trace::Attack;

/// How long a neighbour is refused before it is left.
const STAY: Duration = Duration::from_secs(10);

/// How one neighbour is treated.
#[derive(Clone, Copy)]
enum Manner {
    Refuse {
        /// Since the first refusal.
        since: Option<Now>,
    },
    Leave,
}

/// The attacker. Outside its time it chokes everybody, refuses what is on its way, and leaves nobody.
pub(super) struct StaleHave {
    bitfield: Bytes,
    manners: BTreeMap<ConnId, Manner>,
    /// Who wants something, and whether it is unchoked.
    unchoked: BTreeMap<ConnId, bool>,
    opened: u64,
}

impl StaleHave {
    pub(super) fn new(content: &Content) -> StaleHave {
        StaleHave {
            bitfield: everything(content),
            manners: BTreeMap::new(),
            unchoked: BTreeMap::new(),
            opened: 0,
        }
    }

    fn leave(&mut self, io: &mut RawIo, conn: ConnId) {
        self.manners.remove(&conn);
        self.unchoked.remove(&conn);
        io.close(conn);
        io.tell(Attack::Acted);
    }

    /// Unchokes who wants something in its time, and chokes it after it.
    fn settle(&mut self, io: &mut RawIo) {
        let active = io.active();
        for (conn, unchoked) in &mut self.unchoked {
            if *unchoked != active {
                *unchoked = active;
                let message = match active {
                    true => Message::Unchoke,
                    false => Message::Choke,
                };
                io.send(*conn, &message);
            }
        }
    }
}

impl Attacker for StaleHave {
    fn claims_complete(&self) -> bool {
        true
    }

    fn capabilities(&self) -> [u8; 8] {
        reserved(&[FAST])
    }

    fn on_open(&mut self, io: &mut RawIo, conn: ConnId) {
        let manner = match self.opened % 2 {
            0 => Manner::Refuse { since: None },
            _ => Manner::Leave,
        };
        self.opened += 1;
        self.manners.insert(conn, manner);
        io.send(conn, &Message::Bitfield(self.bitfield.clone()));
    }

    fn on_message(&mut self, io: &mut RawIo, conn: ConnId, message: Message) {
        match message {
            Message::Interested => {
                self.unchoked.entry(conn).or_insert(false);
                self.settle(io);
            }
            Message::Request(range) if !io.active() => io.send(conn, &Message::Reject(range)),
            Message::Request(range) => match self.manners.get_mut(&conn) {
                Some(Manner::Refuse { since }) => {
                    since.get_or_insert(io.now());
                    io.send(conn, &Message::Reject(range));
                    io.tell(Attack::Acted);
                }
                Some(Manner::Leave) => self.leave(io, conn),
                None => {}
            },
            _ => {}
        }
    }

    fn on_gone(&mut self, _io: &mut RawIo, conn: ConnId) {
        self.manners.remove(&conn);
        self.unchoked.remove(&conn);
    }

    fn habits(&self) -> Habits {
        Habits {
            tick: Duration::from_secs(1),
            ..Habits::default()
        }
    }

    fn on_tick(&mut self, io: &mut RawIo) {
        self.settle(io);
        if !io.active() {
            return;
        }
        let now = io.now();
        let over = |manner: &Manner| match manner {
            Manner::Refuse { since: Some(since) } => since.after(STAY) <= now,
            _ => false,
        };
        let leaves: Vec<ConnId> = self
            .manners
            .iter()
            .filter_map(|(conn, manner)| over(manner).then_some(*conn))
            .collect();
        for conn in leaves {
            self.leave(io, conn);
        }
    }
}

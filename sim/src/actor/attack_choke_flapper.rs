//! Owns the attack `choke-flapper`: claims everything, and chokes and unchokes every round trip while
//! requests are outstanding. One block comes after each choke, when it was asked of somebody else already.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use skep_engine::ConnId;
use skep_engine::wire::Message;

use super::parts::{Requests, everything, true_block};
use super::raw::{Attacker, Habits, RawIo};
use crate::content::Content;
use crate::trace::Attack;

/// Half of a flap: the round trip of an ordinary path.
const ROUND_TRIP: Duration = Duration::from_millis(100);

/// The attacker. Outside its time it serves like anybody.
pub(super) struct ChokeFlapper {
    content: Arc<Content>,
    requests: Requests,
    /// Who is interested, and whether it is unchoked.
    unchoked: BTreeMap<ConnId, bool>,
}

impl ChokeFlapper {
    pub(super) fn new(content: Arc<Content>) -> ChokeFlapper {
        ChokeFlapper {
            content,
            requests: Requests::default(),
            unchoked: BTreeMap::new(),
        }
    }

    fn serve(&mut self, io: &mut RawIo, conn: ConnId) -> bool {
        let Some(range) = self.requests.next(conn) else {
            return false;
        };
        let block = true_block(&self.content, range).expect("kept because it is there");
        io.send(conn, &block);
        true
    }
}

impl Attacker for ChokeFlapper {
    fn claims_complete(&self) -> bool {
        true
    }

    fn on_open(&mut self, io: &mut RawIo, conn: ConnId) {
        io.send(conn, &Message::Bitfield(everything(&self.content)));
    }

    fn on_message(&mut self, io: &mut RawIo, conn: ConnId, message: Message) {
        match message {
            Message::Interested if self.unchoked.get(&conn) != Some(&true) => {
                self.unchoked.insert(conn, true);
                io.send(conn, &Message::Unchoke);
            }
            Message::Request(range) if self.unchoked.get(&conn) == Some(&true) => {
                self.requests.add(conn, range, &self.content, io.now());
                if !io.active() {
                    self.serve(io, conn);
                }
            }
            Message::Cancel(range) => self.requests.cancel(conn, range),
            _ => {}
        }
    }

    fn on_gone(&mut self, _io: &mut RawIo, conn: ConnId) {
        self.unchoked.remove(&conn);
        self.requests.clear(conn);
    }

    fn habits(&self) -> Habits {
        Habits {
            tick: ROUND_TRIP,
            ..Habits::default()
        }
    }

    fn on_tick(&mut self, io: &mut RawIo) {
        let conns: Vec<ConnId> = self.unchoked.keys().copied().collect();
        for conn in conns {
            if self.unchoked[&conn] && io.active() {
                if self.requests.oldest(conn).is_some() {
                    self.unchoked.insert(conn, false);
                    io.send(conn, &Message::Choke);
                    self.serve(io, conn);
                    self.requests.clear(conn);
                    io.tell(Attack::Acted);
                }
            } else if self.unchoked[&conn] {
                while self.serve(io, conn) {}
            } else {
                self.unchoked.insert(conn, true);
                io.send(conn, &Message::Unchoke);
            }
        }
    }
}

//! Owns the attack `request-flood`: claims nothing, is interested, and while it is unchoked sends 10,000
//! requests per second: everything that its neighbour has, again and again, a hundred times.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use skep_engine::wire::Message;
use skep_engine::{ConnId, PieceIndex};

use super::parts::{Burst, Holdings};
use super::raw::{Attacker, Habits, RawIo};
use crate::content::Content;
use crate::trace::Attack;

/// Time between two bursts.
const PERIOD: Duration = Duration::from_millis(50);
/// Requests of a burst.
const BURST: usize = 500;
/// How often the whole content is asked for on one connection.
const COPIES: u64 = 100;

/// One neighbour.
#[derive(Default)]
struct Victim {
    interested: bool,
    unchokes: bool,
    /// The block that is asked for next, counted through all pieces.
    next: (u32, u32),
    asked: u64,
}

/// The attacker. Outside its time it asks for nothing.
pub(super) struct RequestFlood {
    content: Arc<Content>,
    holdings: Holdings,
    victims: BTreeMap<ConnId, Victim>,
}

impl RequestFlood {
    pub(super) fn new(content: Arc<Content>) -> RequestFlood {
        RequestFlood {
            content,
            holdings: Holdings::default(),
            victims: BTreeMap::new(),
        }
    }

    /// The next requests to a neighbour: none, when it has nothing or was asked for enough.
    fn requests(&mut self, conn: ConnId) -> Vec<Message> {
        let geometry = self.content.geometry();
        let victim = self.victims.get_mut(&conn).expect("the caller found it");
        let has = self.holdings.of(conn).expect("open as long as a victim");
        let blocks: u32 = has.iter().map(|piece| geometry.blocks_in(piece)).sum();
        let left = (u64::from(blocks) * COPIES).saturating_sub(victim.asked);
        let count = BURST.min(usize::try_from(left).unwrap_or(BURST));
        let mut requests = Vec::with_capacity(count);
        while requests.len() < count {
            let (piece, block) = victim.next;
            let piece = PieceIndex(piece % geometry.pieces);
            if !has.contains(piece) || block >= geometry.blocks_in(piece) {
                victim.next = ((piece.0 + 1) % geometry.pieces, 0);
                continue;
            }
            victim.next = (piece.0, block + 1);
            requests.push(Message::Request(geometry.block(piece, block)));
        }
        victim.asked += count as u64;
        requests
    }
}

impl Attacker for RequestFlood {
    fn claims_complete(&self) -> bool {
        false
    }

    fn on_open(&mut self, _io: &mut RawIo, conn: ConnId) {
        self.holdings.open(conn, self.content.geometry());
        self.victims.insert(conn, Victim::default());
    }

    fn on_message(&mut self, io: &mut RawIo, conn: ConnId, message: Message) {
        self.holdings.heard(conn, &message);
        let Some(victim) = self.victims.get_mut(&conn) else {
            return;
        };
        match message {
            Message::Unchoke => victim.unchokes = true,
            Message::Choke => victim.unchokes = false,
            _ => {}
        }
        let has = self.holdings.of(conn).is_some_and(|has| !has.is_empty());
        if has && !victim.interested {
            victim.interested = true;
            io.send(conn, &Message::Interested);
        }
    }

    fn on_gone(&mut self, _io: &mut RawIo, conn: ConnId) {
        self.victims.remove(&conn);
        self.holdings.gone(conn);
    }

    fn habits(&self) -> Habits {
        Habits {
            tick: PERIOD,
            ..Habits::default()
        }
    }

    fn on_tick(&mut self, io: &mut RawIo) {
        if !io.active() {
            return;
        }
        for conn in self.holdings.conns() {
            if !self.victims[&conn].unchokes {
                continue;
            }
            let requests = self.requests(conn);
            if !requests.is_empty() && Burst::new(requests).send(io, conn) {
                io.tell(Attack::Acted);
            }
        }
    }
}

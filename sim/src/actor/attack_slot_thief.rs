//! Owns the attack `slot-thief`: pretends to have all but one piece, is interested in that one, and when it
//! gets a slot asks for a block now and then, so that the slot is not free and hardly used.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use skep_engine::bits::BitSet;
use skep_engine::wire::Message;
use skep_engine::{ConnId, Now, PieceIndex};

use super::parts::any_block;
use super::raw::{Attacker, Habits, RawIo};
use crate::content::Content;
use crate::trace::Attack;

/// Time between two requests on one connection.
const PAUSE: Duration = Duration::from_secs(20);

/// One neighbour.
#[derive(Default)]
struct Victim {
    has_it: bool,
    interested: bool,
    unchokes: bool,
    next: Now,
}

/// The attacker. Outside its time it is interested in nothing.
pub(super) struct SlotThief {
    content: Arc<Content>,
    rng: ChaCha8Rng,
    /// The piece that it lacks, as it says.
    lacks: PieceIndex,
    victims: BTreeMap<ConnId, Victim>,
}

impl SlotThief {
    pub(super) fn new(content: Arc<Content>, mut rng: ChaCha8Rng) -> SlotThief {
        let lacks = PieceIndex(rng.next_u32() % content.geometry().pieces);
        SlotThief {
            content,
            rng,
            lacks,
            victims: BTreeMap::new(),
        }
    }

    /// Says whether it is interested, if that changed.
    fn update(&mut self, io: &mut RawIo, conn: ConnId) {
        let Some(victim) = self.victims.get_mut(&conn) else {
            return;
        };
        let wants = victim.has_it && io.active();
        if wants != victim.interested {
            victim.interested = wants;
            let message = match wants {
                true => Message::Interested,
                false => Message::NotInterested,
            };
            io.send(conn, &message);
        }
    }
}

impl Attacker for SlotThief {
    fn claims_complete(&self) -> bool {
        false
    }

    fn on_open(&mut self, io: &mut RawIo, conn: ConnId) {
        self.victims.insert(conn, Victim::default());
        let mut claims = BitSet::full(self.content.geometry().pieces);
        claims.remove(self.lacks);
        let claims = Bytes::from(claims.to_wire());
        io.send(conn, &Message::Bitfield(claims));
    }

    fn on_message(&mut self, io: &mut RawIo, conn: ConnId, message: Message) {
        let pieces = self.content.geometry().pieces;
        let Some(victim) = self.victims.get_mut(&conn) else {
            return;
        };
        match message {
            Message::Bitfield(bits) => {
                let has = BitSet::from_wire(&bits, pieces);
                victim.has_it |= has.is_some_and(|has| has.contains(self.lacks));
            }
            Message::HaveAll => victim.has_it = true,
            Message::Have(piece) => victim.has_it |= piece == self.lacks,
            Message::Unchoke => victim.unchokes = true,
            Message::Choke => victim.unchokes = false,
            _ => return,
        }
        self.update(io, conn);
    }

    fn on_gone(&mut self, _io: &mut RawIo, conn: ConnId) {
        self.victims.remove(&conn);
    }

    fn habits(&self) -> Habits {
        Habits {
            tick: Duration::from_secs(1),
            ..Habits::default()
        }
    }

    fn on_tick(&mut self, io: &mut RawIo) {
        let now = io.now();
        let conns: Vec<ConnId> = self.victims.keys().copied().collect();
        for conn in conns {
            self.update(io, conn);
            let geometry = self.content.geometry();
            let block = any_block(geometry, self.lacks, &mut self.rng);
            let victim = self.victims.get_mut(&conn).expect("just listed");
            if victim.unchokes && victim.interested && victim.next <= now {
                victim.next = now.after(PAUSE);
                io.send(conn, &Message::Request(geometry.block(self.lacks, block)));
                io.tell(Attack::Acted);
            }
        }
    }
}

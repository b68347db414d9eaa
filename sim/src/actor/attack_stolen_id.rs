//! Owns the attacks `duplicate-id` and `self-connect`: handshakes with a peer id that is somebody else's. The one
//! takes the ids of others whom the victim is or may be connected to, the other one the victim's own.
//!
//! Invariant: an id is one that somebody said in a handshake.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use skep_engine::wire::{Handshake, Message};
use skep_engine::{ConnId, PeerId};

use super::raw::{Attacker, Habits, RawIo};
use crate::trace::Attack;

/// Whose id it takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Whose {
    /// That of somebody else.
    Another,
    /// That of the one it speaks to.
    Theirs,
}

/// The attacker.
pub(super) struct StolenId {
    whose: Whose,
    rng: ChaCha8Rng,
    /// Who is where, as they said.
    known: BTreeMap<IpAddr, PeerId>,
    /// Connections on which it said an id that is not its own.
    posing: BTreeMap<ConnId, SocketAddr>,
}

impl StolenId {
    pub(super) fn new(whose: Whose, rng: ChaCha8Rng) -> StolenId {
        StolenId {
            whose,
            rng,
            known: BTreeMap::new(),
            posing: BTreeMap::new(),
        }
    }

    /// The id to say to who is at this address, if one is known.
    fn stolen(&mut self, victim: IpAddr) -> Option<PeerId> {
        if self.whose == Whose::Theirs {
            return self.known.get(&victim).copied();
        }
        let others = self.known.iter().filter(|(ip, _)| **ip != victim);
        let others: Vec<PeerId> = others.map(|(_, id)| *id).collect();
        let at = (!others.is_empty()).then(|| self.rng.random_range(0..others.len()));
        at.map(|at| others[at])
    }
}

impl Attacker for StolenId {
    fn claims_complete(&self) -> bool {
        false
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
        conn: ConnId,
        usual: &Handshake,
        _theirs: Option<&Handshake>,
    ) -> Bytes {
        let victim = io.addr(conn).expect("it stands");
        let stolen = self.stolen(victim.ip()).filter(|_| io.active());
        if stolen.is_some() {
            self.posing.insert(conn, victim);
            io.tell(Attack::Acted);
        }
        let said = Handshake {
            peer_id: stolen.unwrap_or(usual.peer_id),
            ..*usual
        };
        Bytes::copy_from_slice(&said.encode())
    }

    fn on_handshake(&mut self, io: &mut RawIo, conn: ConnId, theirs: &Handshake) {
        let victim = io.addr(conn).expect("it stands");
        self.known.insert(victim.ip(), theirs.peer_id);
    }

    /// Who was told its own id first is asked again, with a stolen one.
    fn on_open(&mut self, io: &mut RawIo, conn: ConnId) {
        if !self.posing.contains_key(&conn) {
            io.close(conn);
        }
    }

    fn on_message(&mut self, _io: &mut RawIo, _conn: ConnId, _message: Message) {}

    fn on_gone(&mut self, _io: &mut RawIo, conn: ConnId) {
        self.posing.remove(&conn);
    }
}

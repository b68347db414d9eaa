//! Owns the life of a connection: it opens, shakes hands, perhaps turns out to be one too many, and
//! ends.
//!
//! Invariant: a connection that ends gives back its requests, its availability and its slots, and
//! is told to the dial book; of two connections to one peer both ends keep the same one.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::bits::BitSet;
use crate::ids::{ConnId, PeerId};
use crate::time::Now;
use crate::wire::{Handshake, Message};

use super::blame::SenderId;
use super::event::{CloseReason, Event};
use super::peer::Peer;
use super::torrent::{Output, Phase, Torrent};

impl Torrent {
    pub(super) fn on_connected(&mut self, conn: ConnId, addr: SocketAddr, inbound: bool, now: Now) {
        if !inbound {
            self.dial.connected(addr);
        }
        let taken = self.connections + self.dial.dialling();
        let crowded = inbound && taken >= self.config.connections_max;
        // Who is of no use gives way.
        let idle = self.longest_idle(now).filter(|_| crowded);
        let full = crowded && idle.is_none();
        let banned = self.blame.banned_addr(addr);
        if self.phase != Phase::Running || full || banned {
            if banned {
                self.dial.never(addr);
            }
            self.push(Output::Close { conn });
            return;
        }
        let slot = conn.slot as usize;
        if self.peers.len() <= slot {
            self.peers.resize_with(slot + 1, || None);
            self.bitfields.resize_with(slot + 1, BitSet::default);
        }
        assert!(
            self.peers[slot].is_none(),
            "a connection's slot is free when it opens"
        );
        self.peers[slot] = Some(Box::new(Peer::new(conn, addr, inbound, now, &self.config)));
        self.connections += 1;
        if let Some(idle) = idle {
            self.close(idle, CloseReason::Idle, now);
        }
        self.arm(now.after(self.config.handshake_timeout));
        if !inbound {
            self.push_handshake(conn);
            // This dial is over: there is room for another.
            self.find_peers(now);
        }
    }

    fn push_handshake(&mut self, conn: ConnId) {
        let handshake = Handshake {
            reserved: [0; 8],
            info_hash: self.info_hash,
            peer_id: self.peer_id,
        };
        self.push(Output::Handshake { conn, handshake });
    }

    pub(super) fn on_handshake(&mut self, conn: ConnId, handshake: Handshake, now: Now) {
        let Some(slot) = self.slot(conn) else { return };
        let (addr, inbound) = (self.peer(slot).addr, self.peer(slot).inbound);
        let id = handshake.peer_id;
        if handshake.info_hash != self.info_hash {
            return self.close(conn, CloseReason::WrongTorrent, now);
        }
        if id == self.peer_id {
            self.dial.never(addr);
            // Our dialling end hears from nobody else that it dialled ourselves.
            if inbound {
                self.push_handshake(conn);
            }
            return self.close(conn, CloseReason::SelfConnect, now);
        }
        if !inbound && self.dial.told_id(addr).is_some_and(|told| told != id) {
            return self.close(conn, CloseReason::WrongPeer, now);
        }
        if !inbound {
            self.dial.seen_id(addr, id);
        }
        let sender = self.blame.sender(addr, id);
        if self.blame.banned(sender) {
            self.dial.never(addr);
            return self.close(conn, CloseReason::Banned, now);
        }
        if inbound {
            self.push_handshake(conn);
        }
        if let Some(loser) = self.duplicate_of(slot, id) {
            self.close(loser, CloseReason::Duplicate, now);
            if loser == conn {
                return;
            }
        }
        let pieces = self.pieces.geometry.pieces;
        self.bitfields[slot] = BitSet::empty(pieces);
        let peer = self.peer(slot);
        peer.id = Some(id);
        peer.sender = sender;
        peer.last_received = now;
        self.emit(Event::PeerJoined {
            peer: addr,
            inbound,
        });
        if !self.pieces.have.is_empty() {
            let bits = Bytes::from(self.pieces.have.to_wire());
            self.send(slot, Message::Bitfield(bits), now);
        }
        self.arm(now.after(self.config.keepalive_interval));
        self.arm(now.after(self.config.silence_timeout));
    }

    /// Of two connections to one peer id, the one to close. Both ends compute the same: the one
    /// opened by the lower id stays; of two opened by the same end, the older.
    fn duplicate_of(&self, slot: usize, id: PeerId) -> Option<ConnId> {
        let new = self.peers[slot].as_ref()?;
        let old = self.peers.iter().flatten().find(|p| p.id == Some(id))?;
        let opened_by_them_stays = id < self.peer_id;
        if new.inbound != old.inbound && new.inbound == opened_by_them_stays {
            return Some(old.conn);
        }
        Some(new.conn)
    }

    /// Closes a connection for a reason of ours.
    pub(super) fn close(&mut self, conn: ConnId, why: CloseReason, now: Now) {
        if self.slot(conn).is_some() {
            self.push(Output::Close { conn });
            self.drop_peer(conn, why, now);
        }
    }

    /// Forgets a connection: it gives back its requests, its availability and its slots.
    pub(super) fn drop_peer(&mut self, conn: ConnId, why: CloseReason, now: Now) {
        let Some(slot) = self.slot(conn) else { return };
        self.release_requests(slot);
        let peer = self.peers[slot].take().expect("just found");
        let bits = std::mem::take(&mut self.bitfields[slot]);
        for piece in bits.iter() {
            let copies = self.pieces.drop_copy(piece);
            self.picker.on_availability(piece, copies);
            self.touch(piece);
        }
        self.connections -= 1;
        if !peer.inbound {
            let of_use = peer.active() && peer.down.received_now + peer.up.given > 0;
            self.dial.ended(peer.addr, of_use, now, &self.config);
        }
        self.emit(Event::PeerGone {
            peer: peer.addr,
            why,
        });
        if self.phase == Phase::Running {
            if peer.unchoked && peer.interested {
                self.fill_slots(now);
            }
            self.fill_all_requests(now);
            self.find_peers(now);
        }
    }

    /// A ban: every connection of that sender is closed.
    pub(super) fn expel(&mut self, sender: SenderId, why: CloseReason, now: Now) {
        for slot in self.slots() {
            let Some(peer) = &self.peers[slot] else {
                continue;
            };
            if peer.sender == sender {
                let (conn, addr) = (peer.conn, peer.addr);
                self.close(conn, why, now);
                if why == CloseReason::Banned {
                    self.dial.never(addr);
                }
            }
        }
    }
}

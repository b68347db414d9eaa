//! Owns the life of a connection: it opens, shakes hands, perhaps turns out to be one too many, and
//! ends.
//!
//! Invariant: a connection that ends gives back its requests, its availability and its slots, and
//! is told to the dial book; of two connections to one peer both ends keep the same one.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use crate::ids::{ConnId, PeerId};
use crate::time::Now;
use crate::wire::handshake::{EXTENSIONS, FAST, reserved};
use crate::wire::{Handshake, Message};

use super::blame::SenderId;
use super::canonical::canonical_priority;
use super::dial::same_host;
use super::event::{CloseReason, Event};
use super::peer::Peer;
use super::roll::Roll;
use super::torrent::{Output, Phase, Torrent};

/// Of two connections to one peer, the one to close. Both ends compute the same: the one
/// opened by the lower id stays; of two opened by the same end, the older. Whoever says the same id at another
/// address is somebody else, if `by_address`, unless its address is of the other family: a host may have both.
pub(super) fn duplicate_of(
    peers: &[Option<Peer>],
    roll: &Roll,
    slot: usize,
    id: PeerId,
    me: PeerId,
    by_address: bool,
) -> Option<ConnId> {
    let new = peers[slot].as_ref()?;
    let ip = new.addr.ip();
    let same = |other: IpAddr| !by_address || same_host(other, ip);
    let old = peers[roll.with_id(id, same)?].as_ref()?;
    let opened_by_them_stays = id < me;
    if new.inbound != old.inbound && new.inbound == opened_by_them_stays {
        return Some(old.conn);
    }
    Some(new.conn)
}

impl Torrent {
    pub(super) fn on_connected(&mut self, conn: ConnId, addr: SocketAddr, inbound: bool, now: Now) {
        if !inbound {
            self.dial.connected(addr);
        }
        // Dials to nobody take no place from who comes; one that is answered late may find none.
        let taken = self.connections + self.dial.hopeful(now);
        let ip = addr.ip();
        let many = !ip.is_loopback() && self.roll.at(ip) >= self.config.connections_per_address;
        let max = self.config.connections_max;
        let late = !inbound && self.connections >= max;
        let crowded = inbound && taken >= max && !many;
        // Who is of no use gives way, or ranks below the newcomer and would not be missed.
        let gives_way = match crowded {
            true => self.gives_way(addr, now),
            false => None,
        };
        let full = many || late || crowded && gives_way.is_none();
        let refused = self.config.ip_filter.refuses(ip) || self.blame.banned_addr(addr);
        if self.phase != Phase::Running || full || refused {
            if refused {
                self.dial.never(addr);
            }
            if !inbound {
                self.dial.ended(addr, false, now, &self.config);
            }
            self.push(Output::Close { conn });
            return;
        }
        let slot = self.slot_of(conn);
        let slot = slot.expect("a network has fewer connections than slots");
        self.make_slots(slot);
        assert!(
            self.peers[slot].is_none(),
            "a connection's slot is free when it opens"
        );
        self.peers[slot] = Some(Peer::new(conn, addr, inbound, now, &self.config));
        self.moved = true;
        self.note(slot);
        self.connections += 1;
        if let Some((conn, why)) = gives_way {
            self.close(conn, why, now);
        }
        self.arm_peer(slot, now.after(self.config.handshake_timeout));
        if !inbound {
            self.push_handshake(conn);
            // This dial is over: there is room for another.
            self.find_peers(now);
        }
    }

    /// The connection that makes room for a newcomer at this address, and why.
    fn gives_way(&mut self, newcomer: SocketAddr, now: Now) -> Option<(ConnId, CloseReason)> {
        // Who had its place and carried nothing takes none from others, but of its like.
        if self.blame.barren_addr(newcomer) {
            return self.longest_idle(now).filter(|(conn, _)| {
                let peer = self.slot(*conn).and_then(|slot| self.peers[slot].as_ref());
                peer.is_some_and(|p| self.blame.is_barren(p.sender))
            });
        }
        if let Some(conn) = self.crowding(self.roll.at(newcomer.ip())) {
            return Some((conn, CloseReason::Crowded));
        }
        self.back_in_vain()
            .map(|conn| (conn, CloseReason::Barren))
            .or_else(|| self.longest_idle(now))
            .or_else(|| Some((self.outranked(newcomer)?, CloseReason::Outranked)))
    }

    /// The connection that has stood for longest of those whose peer had a place before, and has carried nothing to
    /// this day: it had its time. Nor does it carry anything now.
    fn back_in_vain(&self) -> Option<ConnId> {
        let back = self.peers.iter().flatten();
        let back = back.filter(|p| !p.web && !p.carries() && self.blame.is_barren(p.sender));
        back.min_by_key(|p| p.since).map(|p| p.conn)
    }

    /// The last connection of the address that has most of them, if one less is still more than what a newcomer's
    /// address has, and it carries nothing now.
    pub(super) fn crowding(&self, newcomers: u32) -> Option<ConnId> {
        if !self.config.share_places {
            return None;
        }
        let (ip, count) = self.roll.largest()?;
        if count <= newcomers + 1 {
            return None;
        }
        let its = self.peers.iter().flatten();
        let its = its.filter(|p| !p.web && p.addr.ip() == ip && !p.carries());
        its.max_by_key(|p| p.since).map(|p| p.conn)
    }

    /// The connection that ranks below a newcomer at this address, if it carries nothing now
    /// (BEP 40: both ends rank alike, so what one keeps the other keeps).
    fn outranked(&mut self, newcomer: SocketAddr) -> Option<ConnId> {
        if !self.config.drop_by_priority {
            return None;
        }
        let me = SocketAddr::new(self.our_ip?.0, self.port);
        let idle = self.peers.iter_mut().flatten();
        let idle = idle.filter(|p| !p.web && !p.carries());
        let (rank, lowest) = idle.map(|p| (p.rank(me), p.conn)).min_by_key(|(r, _)| *r)?;
        (rank < canonical_priority(me, newcomer)).then_some(lowest)
    }

    fn push_handshake(&mut self, conn: ConnId) {
        let mut capabilities = Vec::new();
        if self.config.extensions {
            capabilities.push(EXTENSIONS);
        }
        if self.config.fast {
            capabilities.push(FAST);
        }
        let handshake = Handshake {
            reserved: reserved(&capabilities),
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
        let (peers, seeds) = (&self.peers, &self.web_seeds);
        let connected = |s| seeds.knows(s) || peers.iter().flatten().any(|p| p.sender == s);
        let max = self.config.senders_max;
        let Some(sender) = self.blame.sender(addr, id, max, connected) else {
            return self.close(conn, CloseReason::Full, now);
        };
        if self.blame.banned(sender) {
            self.dial.never(addr);
            return self.close(conn, CloseReason::Banned, now);
        }
        if inbound {
            self.push_handshake(conn);
        }
        let by_address = self.config.ids_by_address;
        let (peers, me) = (&self.peers, self.peer_id);
        if let Some(loser) = duplicate_of(peers, &self.roll, slot, id, me, by_address) {
            self.close(loser, CloseReason::Duplicate, now);
            if loser == conn {
                return;
            }
        }
        let fast = self.config.fast && handshake.speaks(FAST);
        let extended = self.config.extensions && handshake.speaks(EXTENSIONS);
        self.bitfields.open(slot);
        let peer = self.peers[slot].as_mut().expect("it shook hands");
        peer.join(id);
        peer.sender = sender;
        peer.last_received = now;
        peer.fast = fast;
        peer.extended = extended;
        self.contacts.add(slot, peer);
        self.on_return(slot);
        self.note(slot);
        self.contacts_changed(now);
        self.emit(Event::PeerJoined {
            peer: addr,
            inbound,
        });
        if self.super_seeding {
            self.hide_pieces(slot, now);
        }
        self.send_pieces(slot, now);
        if extended {
            self.send_extended_handshake(slot, now);
        }
        self.arm_peer(slot, now.after(self.config.keepalive_interval));
        self.arm_peer(slot, now.after(self.config.silence_timeout));
    }

    /// Tells what we have. With the fast extension one message says it, always; without, nothing
    /// is said of nothing.
    fn send_pieces(&mut self, slot: usize, now: Now) {
        let have = &self.pieces.have;
        let nothing = have.is_empty() || self.super_seeding;
        let message = match self.peers[slot].as_ref().is_some_and(|p| p.fast) {
            true if nothing => Message::HaveNone,
            false if nothing => return,
            true if have.is_full() => Message::HaveAll,
            _ => Message::Bitfield(Bytes::from(have.to_wire())),
        };
        self.send(slot, message, now);
    }

    /// Closes a connection for a reason of ours.
    pub(super) fn close(&mut self, conn: ConnId, why: CloseReason, now: Now) {
        if let Some(seed) = self.web_seed_of(conn) {
            return self.close_web_seed(seed, why, now);
        }
        if let Some(slot) = self.slot(conn) {
            let (addr, sender) = (self.peer(slot).addr, self.peer(slot).sender);
            if matches!(why, CloseReason::Barren | CloseReason::Idle)
                && let Some(sender) = self.blame.get_mut(sender)
                && sender.carried() == 0
            {
                sender.barren = true;
                self.dial.spurn(addr);
            }
            self.push(Output::Close { conn });
            self.drop_peer(conn, why, now);
        }
    }

    /// Forgets a connection: it gives back its requests, its availability and its slots.
    pub(super) fn drop_peer(&mut self, conn: ConnId, why: CloseReason, now: Now) {
        let Some(slot) = self.slot(conn) else { return };
        self.release_requests(slot);
        let peer = self.peers[slot].take().expect("just found");
        self.dial.left();
        self.contacts.gone(slot, &peer);
        self.note(slot);
        self.contacts_changed(now);
        self.refund_upload(peer.up.reading_bytes);
        self.drop_copies(slot);
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

//! Owns what peers tell of themselves beyond the handshake: the extended handshake (BEP 10), that
//! they want nothing any more (BEP 21), and pieces that they lost (BEP 54).
//!
//! Invariants: ids are stored per connection; unknown names and messages are skipped; nothing that
//! is said here is believed beyond the connection that said it, but for our own address, of which the
//! majority is believed.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use crate::ids::PieceIndex;
use crate::time::Now;
use crate::wire::Message;
use crate::wire::extension::{self, DONT_HAVE_ID, ExtendedHandshake, HANDSHAKE_ID, read_dont_have};
use crate::wire::metadata::METADATA_ID;
use crate::wire::pex::PEX_ID;

use super::event::Event;
use super::torrent::Torrent;

/// What we call ourselves.
pub(super) const CLIENT: &str = concat!("Skep/", env!("CARGO_PKG_VERSION"));

impl Torrent {
    /// Introduces us to a peer.
    pub(super) fn send_extended_handshake(&mut self, slot: usize, now: Now) {
        let handshake = ExtendedHandshake {
            dont_have: Some(DONT_HAVE_ID),
            pex: self.exchanges_peers().then_some(PEX_ID),
            metadata: self.serves_metadata().map(|_| METADATA_ID),
            metadata_size: self.serves_metadata(),
            port: Some(self.port),
            client: Some(CLIENT.to_owned()),
            reqq: Some(self.config.request_queue_told),
            your_ip: Some(self.peer(slot).addr.ip()),
            // Who hides what it has must not say that it wants nothing.
            upload_only: (self.pieces.finished() && !self.super_seeding).then_some(true),
        };
        self.send(slot, handshake.message(), now);
    }

    /// Tells everybody whether we want anything any more.
    pub(super) fn spread_upload_only(&mut self, now: Now) {
        let handshake = ExtendedHandshake {
            upload_only: Some(self.pieces.finished() && !self.super_seeding),
            ..ExtendedHandshake::default()
        };
        for slot in self.slots() {
            if self.peers[slot].as_ref().is_some_and(|p| p.extended) {
                self.send(slot, handshake.message(), now);
            }
        }
    }

    pub(super) fn on_extended(
        &mut self,
        slot: usize,
        id: u8,
        payload: &Bytes,
        now: Now,
    ) -> Result<(), &'static str> {
        if !self.peer(slot).extended {
            // Nobody asked for it; like an unknown id it does no harm.
            return Ok(());
        }
        match id {
            HANDSHAKE_ID => self.on_extended_handshake(slot, payload, now),
            DONT_HAVE_ID => match read_dont_have(payload) {
                Some(piece) => self.on_dont_have(slot, piece, now),
                None => Err("a message of lost pieces that is not four bytes"),
            },
            PEX_ID if self.exchanges_peers() => self.on_pex(slot, payload, now),
            METADATA_ID if self.serves_metadata().is_some() => self.on_metadata(slot, payload, now),
            // Of an extension that we did not offer.
            _ => Ok(()),
        }
    }

    fn on_extended_handshake(
        &mut self,
        slot: usize,
        payload: &[u8],
        now: Now,
    ) -> Result<(), &'static str> {
        let Ok(said) = ExtendedHandshake::read(payload) else {
            return Err("an extended handshake that is not bencode");
        };
        let peer = self.peers[slot].as_mut().expect("the caller looked");
        self.contacts.moved(slot, peer, said.port);
        if let Some(id) = said.dont_have {
            peer.said.dont_have = id;
        }
        if let Some(id) = said.metadata {
            peer.said.metadata = id;
        }
        if let Some(reqq) = said.reqq {
            peer.down.queue_max = reqq;
        }
        if let Some(upload_only) = said.upload_only {
            peer.upload_only = upload_only;
        }
        let (addr, sender, inbound, id) = (peer.addr, peer.sender, peer.inbound, peer.id);
        self.contacts_changed(now);
        if inbound && let (Some(port), Some(id)) = (said.port, id) {
            self.dial.seen_id(SocketAddr::new(addr.ip(), port), id);
        }
        if let Some(ip) = said.your_ip.filter(|ip| !ip.is_unspecified())
            && !std::mem::replace(&mut self.peer(slot).said.our_ip, true)
        {
            self.vote_for_our_ip(ip);
        }
        if let Some(client) = said.client {
            if let Some(sender) = self.blame.get_mut(sender)
                && sender.client != client
            {
                sender.client.clone_from(&client);
            }
            self.emit(Event::ClientNamed { peer: addr, client });
        }
        if let Some(id) = said.pex {
            self.on_pex_offered(slot, id, now);
        }
        // It may queue more than it said before.
        self.fill_requests(slot, now);
        self.part_from_seed(slot, now);
        Ok(())
    }

    /// Each connection has one vote on our address; the majority is believed (Boyer & Moore 1981).
    fn vote_for_our_ip(&mut self, ip: IpAddr) {
        self.our_ip = match self.our_ip {
            Some((same, votes)) if same == ip => Some((same, votes + 1)),
            Some((other, votes)) if votes > 1 => Some((other, votes - 1)),
            _ => Some((ip, 1)),
        };
    }

    /// A peer lost a piece: it counts no more among its copies (BEP 54).
    fn on_dont_have(
        &mut self,
        slot: usize,
        piece: PieceIndex,
        now: Now,
    ) -> Result<(), &'static str> {
        if piece.0 >= self.pieces.geometry.pieces {
            return Err("a lost piece that does not exist");
        }
        if !self.bitfields.remove(slot, piece) {
            return Ok(());
        }
        self.drop_copy(slot, piece);
        if self.peer(slot).up.hides(piece) {
            // It was not told that we have it, and is not for the asking.
        } else if self.pieces.have.contains(piece) {
            // It had the piece when we verified it, so nobody told it that we have it too.
            self.send(slot, Message::Have(piece), now);
            self.peer(slot).content_from = now;
        } else if !self.pieces.is_unwanted(piece) {
            self.peer(slot).useful -= 1;
            self.release_piece(slot, piece);
            self.update_interest(slot, now);
            self.fill_all_requests(now);
        }
        Ok(())
    }

    /// A verified piece of ours turned out to be gone from the disk: it is wanted again, and who
    /// understands it is told (BEP 54).
    pub(super) fn on_piece_lost(&mut self, piece: PieceIndex, now: Now) {
        self.play(now);
        let finished = self.pieces.finished();
        if !self.pieces.lose(piece) {
            return;
        }
        self.touch(piece);
        self.emit(Event::PieceLost { piece });
        for slot in self.slots() {
            if !self.is_active(slot) {
                continue;
            }
            let id = self.peer(slot).said.dont_have;
            if id != 0 {
                self.send(slot, extension::dont_have(id, piece), now);
            }
            self.refuse_piece(slot, piece, now);
            if self.has(slot).contains(piece) && !self.pieces.is_unwanted(piece) {
                self.peer(slot).useful += 1;
                self.update_interest(slot, now);
            }
        }
        if finished && !self.pieces.finished() {
            self.spread_upload_only(now);
        }
        self.fill_all_requests(now);
        self.find_peers(now);
    }
}

//! Owns what sources say: that they serve metadata, blocks of it, refusals; and what follows for the copies
//! that are put together and for those who lied.
//!
//! Invariant: what a source is asked for is asked of nobody else until it answered, refused, was late or
//! left; a block that was not asked for counts for nothing.

use bytes::Bytes;

use crate::ids::PieceIndex;
use crate::session::blame::SenderId;
use crate::session::event::{CloseReason, Event};
use crate::session::pex::Hearing;
use crate::time::Now;
use crate::wire::extension::ExtendedHandshake;
use crate::wire::metadata::{MetadataMessage, metadata_block};

use super::drafts::{DraftId, Whole};
use super::{Found, MetadataFetch, Source};

impl MetadataFetch {
    pub(super) fn on_introduction(
        &mut self,
        slot: usize,
        payload: &[u8],
    ) -> Result<(), &'static str> {
        let Ok(said) = ExtendedHandshake::read(payload) else {
            return Err("an extended handshake that is not bencode");
        };
        let peer = self.peers[slot].as_mut().expect("the caller looked");
        let addr = peer.addr;
        self.contacts.moved(slot, peer, said.port);
        if let Some(client) = said.client {
            self.emit(Event::ClientNamed { peer: addr, client });
        }
        let known = self.sources.get(&slot).map(|s| (s.id, s.size));
        let id = said.metadata.or(known.map(|(id, _)| id)).unwrap_or(0);
        let size = said.metadata_size.or(known.map(|(_, size)| size));
        let size = size.unwrap_or(0);
        let possible = size > 0 && u64::from(size) <= self.config.metadata_bytes_max;
        match self.sources.get_mut(&slot) {
            Some(source) if source.size == size && id != 0 => source.id = id,
            Some(_) => self.drop_source(slot),
            None => {}
        }
        if id != 0 && possible {
            self.sources.entry(slot).or_insert(Source {
                id,
                size,
                draft: None,
                asked: Vec::new(),
                hold: Now::START,
            });
        }
        Ok(())
    }

    pub(super) fn on_pex(
        &mut self,
        slot: usize,
        payload: &[u8],
        now: Now,
    ) -> Result<(), &'static str> {
        let hearing = Hearing {
            peer: self.peers[slot].as_mut().expect("the caller looked"),
            contacts: &self.contacts,
            roll: &self.roll,
            dial: &mut self.dial,
            blame: &self.blame,
            config: &self.config,
            me: None,
        };
        let event = hearing.hear(payload, now)?;
        self.emit(event);
        Ok(())
    }

    pub(super) fn on_metadata(
        &mut self,
        slot: usize,
        payload: &Bytes,
        now: Now,
    ) -> Result<(), &'static str> {
        let message = MetadataMessage::read(payload);
        let message = message.map_err(|_| "a metadata message that is not bencode")?;
        let Some(source) = self.sources.get_mut(&slot) else {
            return Ok(());
        };
        match message {
            None => Ok(()),
            Some(MetadataMessage::Request { block }) => {
                let reject = MetadataMessage::Reject { block }.message(source.id);
                self.send(slot, reject, now);
                Ok(())
            }
            Some(MetadataMessage::Reject { block }) => {
                if source.asked.iter().any(|(asked, _)| *asked == block) {
                    self.pause_source(slot, now);
                }
                Ok(())
            }
            Some(MetadataMessage::Data { block, total, data }) => {
                let Some(at) = source.asked.iter().position(|(asked, _)| *asked == block) else {
                    // Late: somebody else was asked, or nobody.
                    return Ok(());
                };
                let (size, draft) = (source.size, source.draft);
                let wanted = metadata_block(size, block).map(|range| range.len());
                if total != size || wanted != Some(data.len()) {
                    return Err("a block of metadata of another size than it said");
                }
                source.asked.swap_remove(at);
                let draft = draft.expect("a source that is asked takes part in a copy");
                let peer = self.peer(slot);
                let (addr, sender) = (peer.addr, peer.sender);
                self.emit(Event::MetadataReceived {
                    peer: addr,
                    block,
                    total,
                });
                if let Some(whole) = self.drafts.take(draft, sender, block, data) {
                    self.leave_draft(draft);
                    self.on_whole(whole, size, now);
                }
                Ok(())
            }
        }
    }

    /// Nobody takes part in a copy any more.
    pub(super) fn leave_draft(&mut self, draft: DraftId) {
        for source in self.sources.values_mut().filter(|s| s.draft == Some(draft)) {
            source.draft = None;
            source.asked.clear();
        }
    }

    pub(super) fn on_whole(&mut self, whole: Whole, total: u32, now: Now) {
        match whole {
            Whole::Bad(senders) => {
                self.emit(Event::MetadataFailed {
                    total,
                    senders: u32::try_from(senders.len()).expect("at most one per block"),
                });
                for sender in &senders {
                    *self.tries.entry(*sender).or_default() += 1;
                }
                if senders.len() == 1 {
                    senders.into_iter().for_each(|liar| self.ban(liar, now));
                }
            }
            Whole::Good(info, guilty) => {
                guilty.into_iter().for_each(|liar| self.ban(liar, now));
                self.emit(Event::MetadataComplete { total });
                let met = self.dial.worth();
                let banned = self.blame.senders().iter().filter(|s| s.banned);
                self.found = Some(Found {
                    info,
                    peers: met,
                    banned: banned.map(|s| (s.addr, s.id)).collect(),
                });
                self.end(now);
            }
        }
    }

    /// A peer is proven to have sent something else: it is spoken to no more.
    pub(super) fn ban(&mut self, liar: SenderId, now: Now) {
        if !self.blame.ban(liar) {
            return;
        }
        let addr = self.blame.senders()[liar.0 as usize].addr;
        // The whole value counts as its first piece.
        self.emit(Event::Banned {
            peer: addr,
            piece: PieceIndex(0),
        });
        self.dial.never(addr);
        let its = self.peers.iter().flatten().filter(|p| p.sender == liar);
        let its: Vec<_> = its.map(|p| (p.conn, p.addr)).collect();
        for (conn, addr) in its {
            self.close(conn, CloseReason::Banned, now);
            self.dial.never(addr);
        }
    }

    /// A peer serves nothing any more: what it was asked for is asked of others. A copy of its own is
    /// given up.
    pub(super) fn drop_source(&mut self, slot: usize) {
        let Some(source) = self.sources.remove(&slot) else {
            return;
        };
        let Some(draft) = source.draft else { return };
        for (block, _) in &source.asked {
            self.drafts.release(draft, *block);
        }
        if !self.sources.values().any(|s| s.draft == Some(draft)) {
            self.drafts.forget(draft);
        }
    }

    /// A source did not answer, or refused: others are asked for a while.
    pub(super) fn pause_source(&mut self, slot: usize, now: Now) {
        let hold = now.after(self.config.metadata_timeout);
        let Some(mut source) = self.sources.remove(&slot) else {
            return;
        };
        if let Some(draft) = source.draft {
            for (block, _) in source.asked.drain(..) {
                self.drafts.release(draft, block);
            }
        }
        source.hold = hold;
        self.sources.insert(slot, source);
    }
}

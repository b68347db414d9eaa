//! Owns what becomes of blocks that come: written, verified piece by piece, or wasted.
//!
//! Invariants: only payload that was asked for counts for reciprocation; whoever else was asked for a block that came
//! need not send it; a piece is verified once all its blocks were handed to the disk.

use bytes::Bytes;

use crate::ids::{BlockRange, PieceIndex};
use crate::storage::Verified;
use crate::time::Now;
use crate::wire::Message;

use super::blame::{SenderId, Sentence};
use super::event::{CloseReason, Event, Waste};
use super::torrent::{Output, Phase, StorageFailure, Torrent};

impl Torrent {
    pub(super) fn on_block(
        &mut self,
        slot: usize,
        piece: PieceIndex,
        begin: u32,
        data: Bytes,
        now: Now,
    ) -> Result<(), &'static str> {
        let len = u32::try_from(data.len()).expect("the codec bounds a block");
        let range = BlockRange { piece, begin, len };
        if !self.pieces.geometry.contains(range) {
            return Err("a block outside its piece");
        }
        let block = self.pieces.geometry.block_number(range);
        let fast = self.peer(slot).fast;
        let request = block.and_then(|block| self.take_request(slot, piece, block));
        let down = &mut self.peer(slot).down;
        let late = request.is_none() && block.is_some_and(|b| down.take_released(piece, b));
        let asked = request.is_some() || late;
        if late {
            // It came after all: what the release gave back.
            self.download.pay(len, self.config.download_limit, now);
        }
        let down = &mut self.peer(slot).down;
        let Some(block) = block.filter(|_| asked) else {
            let recalled = down.recall();
            self.waste(slot, len, Waste::Unrequested);
            // With the fast extension nothing unasked can be on its way (BEP 6).
            let borne = recalled || self.bears_stray(slot) && !fast;
            return match borne {
                true => Ok(()),
                false => Err("a block that nobody asked for"),
            };
        };
        down.heard(now);
        if self.pieces.trusted.is_some() {
            self.on_answer(slot);
        }
        let down = &mut self.peer(slot).down;
        if let Some(request) = request {
            down.answered(request.at, now);
            self.arm_requests(slot);
        }
        self.touch(piece);
        let sender = self.peer(slot).sender;
        let Some((open, all)) = self.pieces.received(piece, block, sender) else {
            self.waste(slot, len, Waste::Duplicate);
            self.fill_requests(slot, now);
            return Ok(());
        };
        if open > u16::from(request.is_some()) {
            self.cancel_others(piece, block, now);
        }
        self.totals.gained += u64::from(len);
        if let Some(sender) = self.blame.get_mut(sender) {
            sender.received += u64::from(len);
        }
        let config = &self.config;
        let peer = self.peers[slot].as_mut().expect("the caller found it");
        peer.down.gained(len, now, config);
        self.roll.gave(slot);
        let addr = peer.addr;
        self.emit(Event::BlockReceived {
            peer: addr,
            piece,
            begin,
            len,
        });
        self.unwritten += u64::from(len);
        self.buffers.unwritten(self.unwritten);
        self.writing.push_back(range);
        self.push(Output::WriteBlock { range, data });
        if all {
            let digests = self.config.smart_ban && self.blame.wants_digests(piece);
            self.push(Output::VerifyPiece { piece, digests });
        }
        let peer = self.peers[slot].as_ref().expect("it was there");
        // A web seed is asked for runs of blocks in any case.
        if peer.web || peer.down.has_room_for_several(&self.config) {
            self.fill_requests(slot, now);
        }
        if self.peer(slot).up.terms.credit.is_some() {
            // What it gave is credit.
            self.serve(slot, now);
        }
        Ok(())
    }

    /// The disk took a block: when it was behind, more may be asked for now.
    pub(super) fn on_block_written(&mut self, range: BlockRange, now: Now) {
        let max = self.config.disk_queue_max;
        let before = self.unwritten;
        // From before a pause it is no longer waited for.
        let Some(at) = self.writing.iter().position(|r| *r == range) else {
            return;
        };
        self.writing.remove(at);
        self.unwritten = before - u64::from(range.len);
        if before >= max && self.unwritten < max {
            self.fill_all_requests(now);
        }
    }

    /// Counts a block that a peer was never asked for; false when there were too many.
    fn bears_stray(&mut self, slot: usize) -> bool {
        let max = self.config.strays_max;
        let sender = self.peer(slot).sender;
        let sender = self.blame.get_mut(sender);
        sender.is_none_or(|sender| {
            sender.strays = sender.strays.saturating_add(1);
            sender.strays <= max
        })
    }

    fn waste(&mut self, slot: usize, len: u32, why: Waste) {
        self.totals.wasted += u64::from(len);
        let peer = self.peer(slot);
        let (addr, sender) = (peer.addr, peer.sender);
        if let Some(sender) = self.blame.get_mut(sender) {
            sender.wasted += u64::from(len);
        }
        self.emit(Event::BlockWasted {
            peer: addr,
            len,
            why,
        });
    }

    /// A block arrived that others are asked for too: they need not send it.
    fn cancel_others(&mut self, piece: PieceIndex, block: u32, now: Now) {
        let range = self.pieces.geometry.block(piece, block);
        for slot in self.slots() {
            if self.asked[slot] > 0 && self.take_request(slot, piece, block).is_some() {
                self.remember_released(slot, piece, block);
                self.send(slot, Message::Cancel(range), now);
                self.fill_requests(slot, now);
            }
        }
    }

    pub(super) fn on_piece_verified(&mut self, verified: Verified, now: Now) {
        let Verified {
            piece,
            good,
            digests,
        } = verified;
        if !self.pieces.partial(piece).is_some_and(|p| p.verifying()) {
            // Given up in the meantime, after a disk error.
            return;
        }
        self.play(now);
        let finished = self.pieces.finished();
        let senders = self.pieces.verified(piece, good);
        self.touch(piece);
        self.emit(Event::PieceVerified { piece, good });
        if self.pieces.is_unwanted(piece) {
            // The user skipped it in the meantime: nobody is of use for it any more.
            self.recount_useful(now);
        }
        let sentences = if good {
            self.blame.good_piece(piece, digests.as_deref())
        } else {
            self.totals.hash_failed += u64::from(self.pieces.geometry.piece_len(piece));
            if senders.iter().all(|s| *s == SenderId::NOBODY) {
                let why = format!("piece {piece} is all padding and does not match its hash");
                return self.on_storage_failure(StorageFailure(why), now);
            }
            let digests = digests.expect("a storage gives digests of a bad piece");
            // A disk that failed has not written everything that it was given: no proof.
            match self.phase {
                Phase::Running => self
                    .blame
                    .bad_piece(piece, &senders, &digests, &self.config),
                _ => Vec::new(),
            }
        };
        if good {
            self.picker.on_piece_done(piece);
            self.spread_have(piece, &senders, now);
        }
        for sentence in sentences {
            match sentence {
                Sentence::Ban(sender) => {
                    let addr = self.blame.senders()[sender.0 as usize].addr;
                    self.emit(Event::Banned { peer: addr, piece });
                    self.expel(sender, CloseReason::Banned, now);
                }
                Sentence::Disconnect(sender) => self.expel(sender, CloseReason::Strikes, now),
            }
        }
        if self.pieces.finished() && (!finished || self.complete()) {
            self.on_finished(now);
        } else {
            self.fill_all_requests(now);
        }
    }

    /// Everything that the user wants is verified, and perhaps everything there is.
    pub(super) fn on_finished(&mut self, now: Now) {
        if self.complete() {
            self.emit(Event::Completed);
            if let Some(schedule) = &mut self.schedule {
                schedule.complete();
            }
        } else {
            self.emit(Event::Finished);
        }
        self.push(Output::Finish);
        self.spread_upload_only(now);
        for slot in self.slots() {
            if self.is_active(slot) {
                self.part_from_seed(slot, now);
            }
        }
        self.announce_if_due(now);
    }
}

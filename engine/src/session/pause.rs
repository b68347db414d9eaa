//! Owns pauses: because the disk failed, or because the user wants one.
//!
//! Invariant: in a pause nothing is asked for and nothing served, and no peer is blamed for it. After a disk
//! failure connections stay, as it may be over soon. A user's pause ends them and the membership in
//! the swarm, as libtorrent's and Transmission's do; the blocks of pieces in progress are kept.

use crate::time::Now;

use super::event::{CloseReason, Event};
use super::pace::SeedsMet;
use super::torrent::{Output, Phase, StorageFailure, Torrent};

impl Torrent {
    /// The disk failed: nothing is asked for or served any more, and nobody is blamed. Choked peers
    /// ask elsewhere at once.
    pub(super) fn on_storage_failure(&mut self, StorageFailure(why): StorageFailure, now: Now) {
        // Of the rest that it was given it may never speak.
        self.writing.clear();
        self.unwritten = 0;
        if let Phase::Paused { failed } = &mut self.phase
            && !std::mem::replace(failed, true)
        {
            self.emit(Event::StorageFailed { why });
            return;
        }
        if self.phase == Phase::Running {
            self.phase = Phase::Failed;
            self.emit(Event::StorageFailed { why });
            self.choke_all(now);
            for slot in self.slots() {
                if self.is_active(slot) {
                    self.refuse_uploads(slot, now);
                    self.cancel_requests(slot, now);
                }
            }
        }
    }

    /// The user pauses: connections close, and trackers hear `stopped`.
    pub(super) fn on_pause(&mut self, now: Now) {
        let failed = match self.phase {
            Phase::Running => false,
            Phase::Failed => true,
            _ => return,
        };
        self.phase = Phase::Paused { failed };
        self.emit(Event::Paused);
        self.close_all(CloseReason::Paused, now);
        if let Some(schedule) = &mut self.schedule {
            schedule.stop();
        }
        self.announce_if_due(now);
    }

    /// The user goes on after a pause or a disk failure. What was in progress when the disk failed is asked
    /// for again.
    pub(super) fn on_resume(&mut self, now: Now) {
        let (failed, paused) = match self.phase {
            Phase::Failed => (true, false),
            Phase::Paused { failed } => (failed, true),
            _ => return,
        };
        self.phase = Phase::Running;
        self.emit(Event::Resumed);
        if failed {
            self.start_over(now);
        }
        if paused {
            // Who was there before may be gone.
            self.seeds_met = SeedsMet::default();
            if let Some(schedule) = &mut self.schedule {
                schedule.start_again();
            }
        }
        self.choking.begin(now);
        self.arm(self.choking.next_round());
        self.fill_slots(now);
        self.fill_all_requests(now);
        self.find_peers(now);
    }

    /// What the disk was given and may not have is asked for again.
    fn start_over(&mut self, now: Now) {
        self.writing.clear();
        self.unwritten = 0;
        let finished = self.pieces.finished();
        for piece in self.pieces.restart() {
            self.touch(piece);
        }
        self.recount_useful(now);
        if self.pieces.finished() {
            match finished {
                // The disk may have failed at just this.
                true => self.push(Output::Finish),
                false => self.on_finished(now),
            }
        }
    }

    /// Closes every connection, and what goes to web seeds.
    pub(super) fn close_all(&mut self, why: CloseReason, now: Now) {
        let open: Vec<_> = self.peers.iter().flatten().map(|p| p.conn).collect();
        for conn in open {
            self.close(conn, why, now);
        }
    }
}

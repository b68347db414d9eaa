//! Owns a disk that may be spoilt by a canary.
//!
//! Invariant: without a canary it is the disk itself.

use std::task::{Context, Poll};

use bytes::Bytes;
use skep_engine::storage::{Known, Storage, StorageEvent};
use skep_engine::{BlockRange, PieceIndex};

use super::{Canary, READS_BEFORE_STALLING};
use crate::disk::DiskStorage;

/// A host's disk.
#[derive(Debug)]
pub struct SpoiltDisk {
    disk: DiskStorage,
    canary: Option<Canary>,
    reads: u32,
    verifies: u32,
}

impl SpoiltDisk {
    /// This disk with this canary.
    #[must_use]
    pub fn new(disk: DiskStorage, canary: Option<Canary>) -> SpoiltDisk {
        SpoiltDisk {
            disk,
            canary,
            reads: 0,
            verifies: 0,
        }
    }
}

impl Storage for SpoiltDisk {
    fn read(&mut self, token: u64, range: BlockRange) {
        if self.canary == Some(Canary::Stalled) {
            self.reads += 1;
            if self.reads > READS_BEFORE_STALLING {
                return;
            }
        }
        self.disk.read(token, range);
    }

    fn write(&mut self, range: BlockRange, data: Bytes) {
        self.disk.write(range, data);
    }

    fn verify(&mut self, piece: PieceIndex, digests: bool) {
        if self.canary == Some(Canary::HashUntold) {
            self.verifies += 1;
            if self.verifies == 1 {
                return;
            }
        }
        self.disk.verify(piece, digests);
    }

    fn finish(&mut self) {
        self.disk.finish();
    }

    fn may_hold_content(&self) -> bool {
        self.disk.may_hold_content()
    }

    fn known(&self) -> Option<Known> {
        self.disk.known()
    }

    fn prefetch_piece(&self, piece: PieceIndex) {
        self.disk.prefetch_piece(piece);
    }

    fn prefetch(&self) {
        self.disk.prefetch();
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<StorageEvent> {
        let mut event = self.disk.poll_event(cx);
        if self.canary == Some(Canary::FalseHash)
            && let Poll::Ready(StorageEvent::Verified(Ok(verified))) = &mut event
        {
            verified.good = true;
        }
        event
    }
}

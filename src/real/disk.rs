//! Owns [`Told`]: a disk that also says when the content is durable under its final names, and when it
//! is full.
//!
//! Invariant: it changes nothing about the disk behind it. A peer that leaves before the disk has
//! finished would never hear whether that worked; who waits for `Watch::durable` does.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use skep_engine::storage::{Known, Storage, StorageEvent, is_full};
use skep_engine::{BlockRange, PieceIndex};

use super::watch::Watch;

/// A disk whose finish is told.
#[derive(Debug)]
pub struct Told<S> {
    disk: S,
    watch: Rc<Watch>,
}

impl<S> Told<S> {
    /// This disk, telling that watch.
    pub fn new(disk: S, watch: Rc<Watch>) -> Told<S> {
        Told { disk, watch }
    }
}

impl<S: Storage> Storage for Told<S> {
    fn read(&mut self, token: u64, range: BlockRange) {
        self.disk.read(token, range);
    }

    fn write(&mut self, range: BlockRange, data: Bytes) {
        self.disk.write(range, data);
    }

    fn verify(&mut self, piece: PieceIndex, digests: bool) {
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

    fn unwritten(&self) -> u64 {
        self.disk.unwritten()
    }

    fn set_skipped(&mut self, skipped: BTreeSet<usize>) {
        self.disk.set_skipped(skipped);
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<StorageEvent> {
        let event = self.disk.poll_event(cx);
        match &event {
            Poll::Ready(StorageEvent::Finished(Ok(()))) => self.watch.finished(),
            Poll::Ready(
                StorageEvent::Finished(Err(error))
                | StorageEvent::Skipped(Err(error))
                | StorageEvent::Written {
                    result: Err(error), ..
                },
            ) if is_full(error) => self.watch.disk_full(),
            _ => {}
        }
        event
    }
}

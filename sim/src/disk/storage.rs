//! Owns the disk as one life of a client sees it: a queue of operations that are done one after the other.
//!
//! Invariant: answers come in the order of the calls. An operation has its effect when it is done, not when it
//! is asked for; one that takes no time and waits for no other is done at once. Nobody is woken for an answer:
//! whoever asks looks for answers before it waits. A client that ends by itself waits for what it wrote; one that
//! is killed loses what was still queued.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use skep_engine::prefetch;
use skep_engine::storage::{Known, Storage, StorageEvent};
use skep_engine::{BlockRange, PieceIndex};
use tokio::time::{Instant, Sleep};

use super::Disk;
use super::condition::Operation;

/// An operation that waits for its turn.
#[derive(Debug)]
enum Job {
    Read { token: u64, range: BlockRange },
    Write { range: BlockRange, data: Bytes },
    Verify { piece: PieceIndex, digests: bool },
    Finish,
}

/// The disk as one life of a client sees it.
#[derive(Debug)]
pub struct DiskStorage {
    disk: Rc<RefCell<Disk>>,
    known: Option<Box<Known>>,
    jobs: VecDeque<Job>,
    /// When the first of the jobs is done, once it has begun.
    head_due: Option<Instant>,
    /// When the last job was done.
    free_at: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
    answers: VecDeque<StorageEvent>,
}

impl DiskStorage {
    /// Opens the disk for a client that starts.
    #[must_use]
    pub fn open(disk: Rc<RefCell<Disk>>) -> DiskStorage {
        let now = Instant::now();
        let known = disk.borrow_mut().open(now);
        DiskStorage {
            disk,
            known: known.map(Box::new),
            jobs: VecDeque::new(),
            head_due: None,
            free_at: now,
            sleep: None,
            answers: VecDeque::new(),
        }
    }

    fn ask(&mut self, job: Job) {
        if self.jobs.is_empty() {
            let mut disk = self.disk.borrow_mut();
            let time = disk.time_of(&job);
            if time.is_zero() {
                self.answers.push_back(disk.carry_out(job, None));
                return;
            }
            self.head_due = Some(self.free_at.max(Instant::now()) + time);
        }
        self.jobs.push_back(job);
    }
}

impl Disk {
    fn time_of(&self, job: &Job) -> Duration {
        let condition = &self.condition;
        match job {
            Job::Read { range, .. } => condition.time(Operation::Read, range.len.into()),
            Job::Write { range, .. } => condition.time(Operation::Write, range.len.into()),
            // It is read back.
            Job::Verify { piece, .. } => {
                let len = self.content.geometry().piece_len(*piece);
                condition.time(Operation::Read, len.into())
            }
            Job::Finish => condition.time(Operation::Write, 0),
        }
    }

    /// Does a job. `at`: when it is done, if that is not now.
    fn carry_out(&mut self, job: Job, at: Option<Instant>) -> StorageEvent {
        match job {
            Job::Read { token, range } => StorageEvent::Read {
                token,
                range,
                result: self
                    .condition
                    .works(Operation::Read)
                    .and_then(|()| self.read(range)),
            },
            Job::Write { range, data } => {
                let result = self.condition.works(Operation::Write);
                if result.is_ok() {
                    self.write(range, data, at);
                }
                StorageEvent::Written { range, result }
            }
            Job::Verify { piece, digests } => {
                let works = self.condition.works(Operation::Read);
                StorageEvent::Verified(works.map(|()| self.verify(piece, digests, at)))
            }
            Job::Finish => {
                self.finish();
                StorageEvent::Finished(Ok(()))
            }
        }
    }
}

impl Storage for DiskStorage {
    fn read(&mut self, token: u64, range: BlockRange) {
        self.ask(Job::Read { token, range });
    }

    fn write(&mut self, range: BlockRange, data: Bytes) {
        self.ask(Job::Write { range, data });
    }

    fn verify(&mut self, piece: PieceIndex, digests: bool) {
        self.ask(Job::Verify { piece, digests });
    }

    fn finish(&mut self) {
        self.ask(Job::Finish);
    }

    fn may_hold_content(&self) -> bool {
        self.disk.borrow().holds_something()
    }

    fn known(&self) -> Option<Known> {
        self.known.as_deref().cloned()
    }

    fn prefetch_piece(&self, piece: PieceIndex) {
        self.disk.borrow().prefetch(piece);
    }

    fn prefetch(&self) {
        prefetch::value(&*self.disk);
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<StorageEvent> {
        if let Some(event) = self.answers.pop_front() {
            if self.answers.is_empty() {
                // It begins anew at the front of its memory, which the cache still has.
                self.answers.clear();
            }
            return Poll::Ready(event);
        }
        let Some(first) = self.jobs.front() else {
            return Poll::Pending;
        };
        let due = match self.head_due {
            Some(due) => due,
            None => self.free_at + self.disk.borrow().time_of(first),
        };
        self.head_due = Some(due);
        let now = Instant::now();
        if due > now {
            let sleep = self
                .sleep
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            if sleep.deadline() != due {
                sleep.as_mut().reset(due);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        let job = self.jobs.pop_front().expect("just seen");
        (self.free_at, self.head_due) = (due, None);
        Poll::Ready(self.disk.borrow_mut().carry_out(job, Some(now.max(due))))
    }
}

impl Drop for DiskStorage {
    fn drop(&mut self) {
        let Ok(mut disk) = self.disk.try_borrow_mut() else {
            return;
        };
        if disk.killed() {
            return;
        }
        for job in self.jobs.drain(..) {
            if matches!(job, Job::Write { .. }) {
                disk.carry_out(job, None);
            }
        }
        disk.finish();
    }
}

//! Owns how a simulated disk is doing: how fast it works, and which of its operations fail for now.
//!
//! Invariant: every operation that a fault changed is counted with that fault, once. A disk without limits
//! and faults takes no time at all.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

/// How fast a disk works.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Speed {
    /// Bytes read per second; `None`: no limit.
    pub read: Option<u64>,
    /// Bytes written per second; `None`: no limit.
    pub write: Option<u64>,
    /// What every operation takes beside that.
    pub delay: Duration,
}

/// What a disk does to the bytes of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
    Read,
    Write,
}

/// What is wrong with a disk for a while.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// Nothing can be written.
    Full,
    /// It works at most this fast.
    Slow(Speed),
    /// Nothing can be read.
    ReadError,
}

/// How often a fault changed something.
pub type Firings = Rc<Cell<u64>>;

/// How a disk is doing.
#[derive(Clone, Default, Debug)]
pub struct Condition {
    /// How fast it is without faults.
    standing: Speed,
    /// Its faults by number.
    troubles: Vec<(usize, Trouble, Firings)>,
    /// Rings when a fault is over.
    better: Rc<Notify>,
}

impl Condition {
    /// A disk of this speed, without faults.
    #[must_use]
    pub fn of(standing: Speed) -> Condition {
        Condition {
            standing,
            ..Condition::default()
        }
    }

    /// The fault of this number begins.
    pub fn begin(&mut self, fault: usize, trouble: Trouble, firings: Firings) {
        self.troubles.push((fault, trouble, firings));
    }

    /// The fault of this number is over.
    pub fn end(&mut self, fault: usize) {
        self.troubles.retain(|(number, ..)| *number != fault);
        self.better.notify_waiters();
    }

    /// Whether something fails: a disk that is only slow is well.
    #[must_use]
    pub fn ails(&self) -> bool {
        let slow = |trouble: &Trouble| matches!(trouble, Trouble::Slow(_));
        self.troubles.iter().any(|(_, trouble, _)| !slow(trouble))
    }

    /// Rings when a fault is over.
    #[must_use]
    pub fn better(&self) -> Rc<Notify> {
        Rc::clone(&self.better)
    }

    /// Whether an operation works now.
    pub(crate) fn works(&self, operation: Operation) -> io::Result<()> {
        let stops = |trouble: &Trouble| match operation {
            Operation::Read => *trouble == Trouble::ReadError,
            Operation::Write => *trouble == Trouble::Full,
        };
        let Some((_, _, firings)) = self.troubles.iter().find(|(_, t, _)| stops(t)) else {
            return Ok(());
        };
        firings.set(firings.get() + 1);
        Err(match operation {
            Operation::Read => io::Error::other("the disk cannot be read"),
            Operation::Write => io::Error::from(io::ErrorKind::StorageFull),
        })
    }

    /// What an operation takes now. The slowest of what limits it counts; delays add up.
    pub(crate) fn time(&self, operation: Operation, bytes: u64) -> Duration {
        if self.troubles.is_empty() && self.standing == Speed::default() {
            return Duration::ZERO;
        }
        let standing = time_at(self.standing, operation, bytes);
        let mut whole = standing;
        for (_, trouble, firings) in &self.troubles {
            if let Trouble::Slow(speed) = trouble {
                let slow = time_at(*speed, operation, bytes);
                if slow.0 > standing.0 || slow.1 > Duration::ZERO {
                    firings.set(firings.get() + 1);
                }
                whole = (whole.0.max(slow.0), whole.1 + slow.1);
            }
        }
        whole.0 + whole.1
    }
}

/// What the bytes of an operation take at a speed, and what it takes beside that.
fn time_at(speed: Speed, operation: Operation, bytes: u64) -> (Duration, Duration) {
    let rate = match operation {
        Operation::Read => speed.read,
        Operation::Write => speed.write,
    };
    let moving = rate.map_or(0, |rate| {
        u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1))
    });
    let moving = Duration::from_nanos(u64::try_from(moving).unwrap_or(u64::MAX));
    (moving, speed.delay)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_limit_counts_and_faults_are_counted_where_they_changed_something() {
        let ms = Duration::from_millis;
        let standing = Speed {
            read: Some(1_000_000),
            ..Speed::default()
        };
        let mut condition = Condition::of(standing);
        assert_eq!(condition.time(Operation::Read, 500_000), ms(500));
        assert_eq!(condition.time(Operation::Write, 500_000), ms(0));
        let firings = Firings::default();
        let slow = Speed {
            read: Some(2_000_000),
            write: Some(100_000),
            delay: Duration::ZERO,
        };
        condition.begin(3, Trouble::Slow(slow), Rc::clone(&firings));
        assert_eq!(condition.time(Operation::Read, 500_000), ms(500));
        assert_eq!(firings.get(), 0, "it was slower without the fault");
        assert_eq!(condition.time(Operation::Write, 500_000), ms(5000));
        assert_eq!(firings.get(), 1);
        condition.end(3);
        assert_eq!(condition.time(Operation::Write, 500_000), ms(0));
    }

    #[test]
    fn a_full_disk_can_be_read_and_a_broken_one_written() {
        let mut condition = Condition::default();
        let (full, broken) = (Firings::default(), Firings::default());
        condition.begin(0, Trouble::Full, Rc::clone(&full));
        assert!(condition.works(Operation::Read).is_ok());
        let error = condition.works(Operation::Write).expect_err("full");
        assert!(skep_engine::storage::is_full(&error));
        condition.begin(1, Trouble::ReadError, Rc::clone(&broken));
        condition.end(0);
        assert!(condition.works(Operation::Write).is_ok());
        assert!(condition.works(Operation::Read).is_err());
        assert_eq!((full.get(), broken.get()), (1, 1));
    }
}

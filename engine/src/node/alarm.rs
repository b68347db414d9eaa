//! Owns a loop's alarm clock.
//!
//! Invariant: a loop that waits for a moment is woken at it. While the alarm is set for what the loop waits
//! for, and that is not due, asking costs nothing.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::time::Now;

/// Wakes one loop when something of its is due.
#[derive(Debug)]
pub(super) struct Alarm {
    /// What it is set for, and whom it wakes then.
    armed: Now,
    waker: Option<Waker>,
    /// The moment that the loop calls 0.
    epoch: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// An alarm that is off.
    pub(super) fn new(epoch: Instant) -> Alarm {
        Alarm {
            armed: Now::NEVER,
            waker: None,
            epoch,
            sleep: None,
        }
    }

    /// The time now.
    pub(super) fn now(&self) -> Now {
        self.time_of(Instant::now())
    }

    /// The time of a moment.
    pub(super) fn time_of(&self, moment: Instant) -> Now {
        Now::START.after(moment.duration_since(self.epoch))
    }

    /// Whether it is `due` by now; else the loop is woken then.
    pub(super) fn poll(&mut self, due: Now, now: Now, cx: &mut Context<'_>) -> bool {
        if due == Now::NEVER {
            self.off();
            return false;
        }
        let known = self.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker()));
        if self.armed == due && now < due && known {
            return false;
        }
        let at = self.epoch + Duration::from_nanos(due.0);
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if self.armed != due {
            sleep.as_mut().reset(at);
            self.armed = due;
        }
        if !known {
            self.waker = Some(cx.waker().clone());
        }
        // A task that has taken much in this turn must be woken all the same: tokio's budget is for others.
        let mut sleep = tokio::task::unconstrained(sleep.as_mut());
        let rings = Pin::new(&mut sleep).poll(cx).is_ready();
        if rings {
            self.off();
        }
        rings
    }

    /// Nothing is due any more.
    pub(super) fn off(&mut self) {
        if self.armed != Now::NEVER {
            (self.armed, self.sleep) = (Now::NEVER, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::spawn::Tasks;
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::rc::Rc;
    use std::task::Poll;
    use tokio::task::LocalSet;

    #[tokio::test(start_paused = true)]
    async fn it_rings_when_it_is_due_whatever_it_was_set_for_before() {
        let mut alarm = Alarm::new(Instant::now());
        let at = |s| Now::START.after(Duration::from_secs(s));
        // The loop is woken once a second, and waits for another moment each time.
        for (second, due) in [(0, at(9)), (1, at(3)), (2, at(3)), (3, at(3)), (3, at(4))] {
            tokio::time::sleep_until(alarm.epoch + Duration::from_secs(second)).await;
            let rings = poll_fn(|cx| Poll::Ready(alarm.poll(due, alarm.now(), cx))).await;
            assert_eq!(rings, due <= at(second), "{second} {due}");
        }
        // Nobody else wakes it now.
        poll_fn(|cx| match alarm.poll(at(4), alarm.now(), cx) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
        assert_eq!(alarm.now(), at(4));
        let off = poll_fn(|cx| Poll::Ready(alarm.poll(Now::NEVER, alarm.now(), cx)));
        assert!(!off.await && alarm.sleep.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn it_rings_though_it_was_set_at_the_end_of_a_busy_turn() {
        let mut alarm = Alarm::new(Instant::now());
        let due = Now::START.after(Duration::from_secs(3));
        let (sender, mut mail) = tokio::sync::mpsc::unbounded_channel();
        (0..1000).for_each(|n| sender.send(n).expect("there is a receiver"));
        let turns = poll_fn(move |cx| {
            // tokio lets a task take so much at a time, and then says that nothing is there.
            while mail.poll_recv(cx).is_ready() {}
            match alarm.poll(due, alarm.now(), cx) {
                true => Poll::Ready(alarm.now()),
                false => Poll::Pending,
            }
        });
        let rung = Rc::new(Cell::new(None));
        let told = Rc::clone(&rung);
        let mut tasks = Tasks::new();
        LocalSet::new()
            .run_until(async {
                tasks.spawn("loop", async move { told.set(Some(turns.await)) });
                tokio::time::sleep(Duration::from_secs(60)).await;
            })
            .await;
        assert_eq!(rung.get(), Some(due));
    }
}

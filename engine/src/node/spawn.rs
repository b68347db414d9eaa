//! Owns every task the engine spawns: this is the only file that spawns.
//!
//! Invariant: no panic vanishes. tokio keeps a task's panic in a handle that nobody reads; here
//! it is kept with the task's name and raised again in the host's loop at its next poll. While a task is
//! polled, [`current_task`] has its name.

use std::any::Any;
use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::CatchUnwind;
use tokio::task::JoinSet;

thread_local! {
    /// The task that this thread polls.
    static CURRENT: Cell<&'static str> = const { Cell::new("") };
}

/// The name of the task that is being polled on this thread; empty outside of all.
#[must_use]
pub fn current_task() -> &'static str {
    CURRENT.get()
}

/// How one task ended: its name, and the payload if it panicked.
type Ended = (&'static str, Result<(), Box<dyn Any + Send>>);

/// A task, its name, and what is known while it is polled.
struct Named<F> {
    what: &'static str,
    /// In a box of its own: the task itself stays small, and what looks at it finds it in one place.
    caught: Pin<Box<CatchUnwind<AssertUnwindSafe<F>>>>,
}

impl<F: Future<Output = ()>> Future for Named<F> {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let before = CURRENT.replace(self.what);
        let polled = self.caught.as_mut().poll(cx);
        CURRENT.set(before);
        polled.map(|ended| (self.what, ended))
    }
}

/// The tasks of one host. Dropping it aborts them all.
#[derive(Debug, Default)]
pub struct Tasks {
    set: JoinSet<Ended>,
}

impl Tasks {
    /// No tasks.
    #[must_use]
    pub fn new() -> Tasks {
        Tasks::default()
    }

    /// Starts `future` on this thread; `what` names it in the panic it may end with.
    ///
    /// # Panics
    /// Outside a [`tokio::task::LocalSet`].
    pub fn spawn(&mut self, what: &'static str, future: impl Future<Output = ()> + 'static) {
        let caught = Box::pin(AssertUnwindSafe(future).catch_unwind());
        self.set.spawn_local(Named { what, caught });
    }

    /// Tasks that have not been reaped yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// True when every task was reaped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Reaps finished tasks; the loop is woken when another one finishes. Call it in every poll.
    ///
    /// # Panics
    /// With a task's own words and its name, when one panicked.
    pub fn poll_panics(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(joined)) = self.set.poll_join_next(cx) {
            // An error here is an abort, which only dropping the set does: the panic was caught inside.
            if let Ok((what, Err(payload))) = joined {
                resume_unwind(Box::new(format!(
                    "task `{what}` panicked: {}",
                    words(&*payload)
                )));
            }
        }
    }
}

/// What a panic said.
fn words(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&'static str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no words)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::rc::Rc;
    use tokio::task::{LocalSet, yield_now};

    async fn drain(tasks: &mut Tasks) {
        poll_fn(|cx| {
            tasks.poll_panics(cx);
            if tasks.is_empty() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_finished_task_is_reaped_and_wakes_the_loop() {
        LocalSet::new()
            .run_until(async {
                let mut tasks = Tasks::new();
                tasks.spawn("quiet", yield_now());
                assert_eq!(tasks.len(), 1);
                drain(&mut tasks).await;
            })
            .await;
    }

    #[tokio::test]
    async fn a_panic_is_raised_again_with_the_name_of_the_task() {
        LocalSet::new()
            .run_until(async {
                let mut tasks = Tasks::new();
                tasks.spawn("bad", async { panic!("three is {}", 4) });
                let raised = AssertUnwindSafe(drain(&mut tasks)).catch_unwind().await;
                assert_eq!(
                    words(&*raised.unwrap_err()),
                    "task `bad` panicked: three is 4"
                );
            })
            .await;
    }

    #[tokio::test]
    async fn a_task_knows_its_name_and_nobody_else_has_it() {
        LocalSet::new()
            .run_until(async {
                let mut tasks = Tasks::new();
                for what in ["one", "other"] {
                    tasks.spawn(what, async move {
                        assert_eq!(current_task(), what);
                        yield_now().await;
                        assert_eq!(current_task(), what);
                    });
                }
                tasks.spawn("bad", async { panic!("lost") });
                let raised = AssertUnwindSafe(drain(&mut tasks)).catch_unwind().await;
                assert!(raised.is_err());
                drain(&mut tasks).await;
                assert_eq!(current_task(), "");
            })
            .await;
    }

    #[tokio::test]
    async fn dropping_aborts() {
        LocalSet::new()
            .run_until(async {
                let held = Rc::new(Cell::new(0));
                let inner = Rc::clone(&held);
                let mut tasks = Tasks::new();
                tasks.spawn("endless", async move {
                    let _held = inner;
                    std::future::pending::<()>().await;
                });
                yield_now().await;
                drop(tasks);
                yield_now().await;
                assert_eq!(Rc::strong_count(&held), 1);
            })
            .await;
    }
}

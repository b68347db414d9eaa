//! Owns a bell between what wakes a loop rarely and the loop that is woken often.
//!
//! Invariant: a loop that looks only at what has rung misses nothing: ringing wakes it, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use crate::prefetch;

/// The bell of one thing that a loop waits for.
#[derive(Debug, Default)]
pub(super) struct Bell(Option<Arc<Ring>>);

#[derive(Debug)]
struct Ring {
    rung: AtomicBool,
    host: Waker,
}

impl Wake for Ring {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.host.wake_by_ref();
    }
}

impl Bell {
    /// Asks for its memory.
    pub(super) fn prefetch(&self) {
        if let Some(ring) = &self.0 {
            prefetch::value(&**ring);
        }
    }

    /// The waker to ask the thing with, when it has to be asked: it has rung since it was asked last, or has
    /// never been. It is asked until it has nothing more to say.
    pub(super) fn rung(&mut self, cx: &Context<'_>) -> Option<Waker> {
        match &self.0 {
            Some(ring) if ring.host.will_wake(cx.waker()) => {
                let rung = ring.rung.swap(false, Ordering::Acquire);
                rung.then(|| Waker::from(Arc::clone(ring)))
            }
            // The loop has another waker than before.
            _ => {
                let ring = Arc::new(Ring {
                    rung: AtomicBool::new(false),
                    host: cx.waker().clone(),
                });
                self.0 = Some(Arc::clone(&ring));
                Some(Waker::from(ring))
            }
        }
    }
}

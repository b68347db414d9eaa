//! Owns a queue that mostly holds one thing or nothing: that lies in it, and only more takes memory beside it.
//!
//! Invariant: the first is in front; behind it is nothing when there is no first, and then no memory either.
//! What is not there takes a single word: each way of a connection has one of these for its acknowledgements.

use std::collections::VecDeque;

/// First in, first out.
#[derive(Debug)]
pub(super) struct Queue<T> {
    first: Option<T>,
    /// Never empty.
    rest: Option<Box<Rest<T>>>,
}

/// What is behind the first.
#[derive(Debug)]
struct Rest<T>(VecDeque<T>);

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue {
            first: None,
            rest: None,
        }
    }
}

impl<T> Queue<T> {
    pub(super) fn front(&self) -> Option<&T> {
        self.first.as_ref()
    }

    pub(super) fn back_mut(&mut self) -> Option<&mut T> {
        match &mut self.rest {
            None => self.first.as_mut(),
            Some(rest) => rest.0.back_mut(),
        }
    }

    pub(super) fn push_back(&mut self, item: T) {
        match self.first {
            None => self.first = Some(item),
            Some(_) => {
                let none = || Box::new(Rest(VecDeque::new()));
                self.rest.get_or_insert_with(none).0.push_back(item);
            }
        }
    }

    pub(super) fn pop_front(&mut self) -> Option<T> {
        let item = self.first.take()?;
        if let Some(rest) = &mut self.rest {
            self.first = rest.0.pop_front();
            if rest.0.is_empty() {
                self.rest = None;
            }
        }
        Some(item)
    }

    /// Takes everything, in order.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = T> + use<T> {
        let all = std::mem::take(self);
        let rest = all.rest.into_iter().flat_map(|rest| rest.0);
        all.first.into_iter().chain(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn it_is_a_queue(steps in prop::collection::vec((0u8..11, any::<u8>()), 0..200)) {
            let (mut queue, mut model) = (Queue::default(), VecDeque::new());
            for (what, item) in steps {
                match what {
                    0..=4 => {
                        queue.push_back(item);
                        model.push_back(item);
                    }
                    5..=9 => prop_assert_eq!(queue.pop_front(), model.pop_front()),
                    _ => prop_assert!(queue.take_all().eq(std::mem::take(&mut model))),
                }
                prop_assert_eq!(queue.front(), model.front());
                prop_assert_eq!(queue.back_mut(), model.back_mut());
                let behind = queue.rest.as_ref().map(|rest| rest.0.len());
                prop_assert_eq!(behind, model.len().checked_sub(1).filter(|more| *more > 0));
            }
        }
    }
}

//! Owns a queue that mostly holds one thing or nothing: that lies in it, and only more takes memory beside it.
//!
//! Invariant: the first is in front; behind it is nothing when there is no first, and then no memory either.

use std::collections::VecDeque;

/// First in, first out.
#[derive(Debug)]
pub(super) struct Queue<T> {
    first: Option<T>,
    rest: VecDeque<T>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue {
            first: None,
            rest: VecDeque::new(),
        }
    }
}

impl<T> Queue<T> {
    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn front(&self) -> Option<&T> {
        self.first.as_ref()
    }

    pub(super) fn front_mut(&mut self) -> Option<&mut T> {
        self.first.as_mut()
    }

    /// The one behind the first.
    pub(super) fn second(&self) -> Option<&T> {
        self.rest.front()
    }

    pub(super) fn back_mut(&mut self) -> Option<&mut T> {
        match self.rest.is_empty() {
            true => self.first.as_mut(),
            false => self.rest.back_mut(),
        }
    }

    pub(super) fn push_back(&mut self, item: T) {
        match self.first {
            None => self.first = Some(item),
            Some(_) => self.rest.push_back(item),
        }
    }

    pub(super) fn push_front(&mut self, item: T) {
        if let Some(second) = self.first.replace(item) {
            self.rest.push_front(second);
        }
    }

    pub(super) fn pop_front(&mut self) -> Option<T> {
        let item = self.first.take()?;
        if !self.rest.is_empty() {
            self.first = self.rest.pop_front();
            self.free_rest();
        }
        Some(item)
    }

    pub(super) fn pop_back(&mut self) -> Option<T> {
        let item = self.rest.pop_back().or_else(|| self.first.take());
        self.free_rest();
        item
    }

    pub(super) fn clear(&mut self) {
        *self = Queue::default();
    }

    /// Takes everything, in order.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = T> + use<T> {
        let all = std::mem::take(self);
        all.first.into_iter().chain(all.rest)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(&self.rest)
    }

    fn free_rest(&mut self) {
        if self.rest.is_empty() && self.rest.capacity() > 0 {
            self.rest = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn it_is_a_queue(steps in prop::collection::vec((0u8..12, any::<u8>()), 0..200)) {
            let (mut queue, mut model) = (Queue::default(), VecDeque::new());
            for (what, item) in steps {
                match what {
                    0..=3 => {
                        queue.push_back(item);
                        model.push_back(item);
                    }
                    4 => {
                        queue.push_front(item);
                        model.push_front(item);
                    }
                    5..=8 => prop_assert_eq!(queue.pop_front(), model.pop_front()),
                    9 => prop_assert_eq!(queue.pop_back(), model.pop_back()),
                    10 => prop_assert!(queue.take_all().eq(std::mem::take(&mut model))),
                    _ => {
                        queue.clear();
                        model.clear();
                    }
                }
                prop_assert!(queue.iter().eq(&model));
                prop_assert_eq!(queue.len(), model.len());
                prop_assert_eq!(queue.is_empty(), model.is_empty());
                prop_assert_eq!(queue.front_mut(), model.front_mut());
                prop_assert_eq!(queue.back_mut(), model.back_mut());
                prop_assert_eq!(queue.second(), model.get(1));
                prop_assert!(!queue.rest.is_empty() || queue.rest.capacity() == 0);
            }
        }
    }
}

//! Owns a queue that mostly holds one thing or nothing: that lies in it, and only more takes memory beside it.
//!
//! Invariant: the first is in front; behind it is nothing when there is no first, and then no memory either.
//! What is not there takes a single word: a connection has several of these.

use std::collections::VecDeque;

use skep_engine::prefetch;

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
    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.as_ref().map_or(0, |rest| rest.0.len())
    }

    /// Asks for the memory beside it.
    pub(super) fn prefetch_rest(&self) {
        if let Some(rest) = &self.rest {
            prefetch::front(&**rest);
        }
    }

    /// Asks for the items there that are next.
    pub(super) fn prefetch_items(&self) {
        if let Some(rest) = &self.rest
            && let Some(item) = rest.0.front()
        {
            prefetch::lines(prefetch::address_of(item), 2);
        }
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
        self.rest.as_ref().and_then(|rest| rest.0.front())
    }

    /// The one that has so many before it.
    pub(super) fn get(&self, place: usize) -> Option<&T> {
        match (place, &self.rest) {
            (0, _) => self.first.as_ref(),
            (_, Some(rest)) => rest.0.get(place - 1),
            (_, None) => None,
        }
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
            Some(_) => self.rest_mut().push_back(item),
        }
    }

    pub(super) fn push_front(&mut self, item: T) {
        if let Some(second) = self.first.replace(item) {
            self.rest_mut().push_front(second);
        }
    }

    pub(super) fn pop_front(&mut self) -> Option<T> {
        let item = self.first.take()?;
        if let Some(rest) = &mut self.rest {
            self.first = rest.0.pop_front();
            self.free_rest();
        }
        Some(item)
    }

    /// Takes the one that has so many before it.
    pub(super) fn take_at(&mut self, place: usize) -> Option<T> {
        if place == 0 {
            return self.pop_front();
        }
        let item = self.rest.as_mut()?.0.remove(place - 1);
        self.free_rest();
        item
    }

    pub(super) fn pop_back(&mut self) -> Option<T> {
        let Some(rest) = &mut self.rest else {
            return self.first.take();
        };
        let item = rest.0.pop_back();
        self.free_rest();
        item
    }

    pub(super) fn clear(&mut self) {
        *self = Queue::default();
    }

    /// Takes everything, in order.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = T> + use<T> {
        let all = std::mem::take(self);
        let rest = all.rest.into_iter().flat_map(|rest| rest.0);
        all.first.into_iter().chain(rest)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        let rest = self.rest.iter().flat_map(|rest| &rest.0);
        self.first.iter().chain(rest)
    }

    fn rest_mut(&mut self) -> &mut VecDeque<T> {
        let none = || Box::new(Rest(VecDeque::new()));
        &mut self.rest.get_or_insert_with(none).0
    }

    fn free_rest(&mut self) {
        if self.rest.as_ref().is_some_and(|rest| rest.0.is_empty()) {
            self.rest = None;
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
        fn it_is_a_queue(steps in prop::collection::vec((0u8..13, any::<u8>()), 0..200)) {
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
                    12 => {
                        let place = usize::from(item) % (model.len() + 1);
                        prop_assert_eq!(queue.get(place), model.get(place));
                        prop_assert_eq!(queue.take_at(place), model.remove(place));
                    }
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
                prop_assert!(queue.rest.as_ref().is_none_or(|rest| !rest.0.is_empty()));
            }
        }
    }
}

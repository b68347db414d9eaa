//! Owns parcels: what crosses the network as one, and the queues in which they wait and are under way.
//!
//! Invariant: a queue's parcels come out in its order, and it gives its places back when it ends. All queues of a
//! thread share one memory, and the place that became free last is filled first: of all connections together little
//! is on its way at any moment, and the cache has it. A connection itself takes two numbers for each queue.

use std::cell::RefCell;

use skep_engine::prefetch;
use skep_engine::wire::Chunk;
use slab::Slab;

/// A chunk below this rides with the one behind it: a block's head with the block.
pub(super) const RIDER_MAX: usize = 1024;

/// What crosses the network as one: a chunk, perhaps with a small one before it; without bytes it says that no more
/// follows.
#[derive(Clone, Debug, Default)]
pub(super) struct Parcel {
    pub(super) first: Chunk,
    /// Empty when there is none.
    pub(super) second: Chunk,
}

impl Parcel {
    /// What says that no more follows.
    pub(super) fn fin() -> Parcel {
        Parcel::default()
    }

    pub(super) fn is_fin(&self) -> bool {
        self.bytes() == 0
    }

    pub(super) fn bytes(&self) -> u64 {
        (self.first.len() + self.second.len()) as u64
    }

    /// Appends some of its bytes.
    pub(super) fn copy_range(&self, from: usize, to: usize, out: &mut Vec<u8>) {
        let cut = self.first.len();
        out.extend_from_slice(&self.first[from.min(cut)..to.min(cut)]);
        out.extend_from_slice(&self.second[from.max(cut) - cut..to.max(cut) - cut]);
    }

    /// Takes a chunk in if there is room for it; else gives it back.
    fn join(&mut self, chunk: Chunk) -> Option<Chunk> {
        if self.is_fin() || !self.second.is_empty() || self.first.len() >= RIDER_MAX {
            return Some(chunk);
        }
        self.second = chunk;
        None
    }
}

/// No place.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Place {
    parcel: Parcel,
    /// The place of what comes behind.
    next: u32,
}

thread_local! {
    static PLACES: RefCell<Slab<Place>> = const { RefCell::new(Slab::new()) };
}

fn with<T>(what: impl FnOnce(&mut Slab<Place>) -> T) -> T {
    PLACES.with(|places| what(&mut places.borrow_mut()))
}

/// A queue of parcels.
#[derive(Debug)]
pub(super) struct Parcels {
    first: u32,
    /// Says nothing while there is no first.
    last: u32,
}

impl Default for Parcels {
    fn default() -> Self {
        Parcels {
            first: NONE,
            last: NONE,
        }
    }
}

impl Drop for Parcels {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Parcels {
    pub(super) fn is_empty(&self) -> bool {
        self.first == NONE
    }

    /// Asks for the first one.
    pub(super) fn prefetch(&self) {
        if !self.is_empty() {
            with(|places| {
                if let Some(place) = places.get(self.first as usize) {
                    prefetch::value(place);
                }
            });
        }
    }

    pub(super) fn push_back(&mut self, parcel: Parcel) {
        with(|places| {
            let at = insert(places, parcel, NONE);
            match self.is_empty() {
                true => self.first = at,
                false => places[self.last as usize].next = at,
            }
            self.last = at;
        });
    }

    /// Appends a chunk: to the last parcel, where it has room, or as another one.
    pub(super) fn push_chunk(&mut self, chunk: Chunk) {
        let last = (!self.is_empty()).then_some(self.last);
        let rest = match last {
            Some(last) => with(|places| places[last as usize].parcel.join(chunk)),
            None => Some(chunk),
        };
        if let Some(first) = rest {
            let second = Chunk::new();
            self.push_back(Parcel { first, second });
        }
    }

    pub(super) fn push_front(&mut self, parcel: Parcel) {
        with(|places| {
            let at = insert(places, parcel, self.first);
            if self.is_empty() {
                self.last = at;
            }
            self.first = at;
        });
    }

    pub(super) fn pop_front(&mut self) -> Option<Parcel> {
        if self.is_empty() {
            return None;
        }
        let place = with(|places| places.remove(self.first as usize));
        self.first = place.next;
        Some(place.parcel)
    }

    /// Takes the one that has so many before it.
    pub(super) fn take_at(&mut self, place: usize) -> Option<Parcel> {
        if place == 0 {
            return self.pop_front();
        }
        with(|places| {
            let before = self.place(places, place - 1)?;
            let at = places[before].next;
            let taken = places.try_remove(at as usize)?;
            places[before].next = taken.next;
            if at == self.last {
                self.last = u32::try_from(before).expect("it is a place");
            }
            Some(taken.parcel)
        })
    }

    /// Takes the last one. Takes as long as there are many.
    pub(super) fn pop_back(&mut self) -> Option<Parcel> {
        self.take_at(self.len().checked_sub(1)?)
    }

    /// How many there are. Takes as long as there are many.
    pub(super) fn len(&self) -> usize {
        self.map_all(|_| ()).len()
    }

    /// What is asked of the one that has so many before it.
    pub(super) fn at<T>(&self, place: usize, ask: impl FnOnce(&Parcel) -> T) -> Option<T> {
        with(|places| {
            let at = self.place(places, place)?;
            places.get(at).map(|place| ask(&place.parcel))
        })
    }

    /// Changes the first one.
    pub(super) fn change_first<T>(&mut self, change: impl FnOnce(&mut Parcel) -> T) -> Option<T> {
        with(|places| {
            let first = places.get_mut(self.first as usize)?;
            Some(change(&mut first.parcel))
        })
    }

    /// Bytes of all of them.
    pub(super) fn bytes(&self) -> u64 {
        self.map_all(Parcel::bytes).iter().sum()
    }

    pub(super) fn clear(&mut self) {
        if !self.is_empty() {
            with(|places| {
                let mut next = self.first;
                while let Some(place) = places.try_remove(next as usize) {
                    next = place.next;
                }
            });
            self.first = NONE;
        }
    }

    fn map_all<T>(&self, map: impl Fn(&Parcel) -> T) -> Vec<T> {
        with(|places| {
            let mut next = self.first;
            let all = std::iter::from_fn(|| {
                let place = places.get(next as usize)?;
                next = place.next;
                Some(map(&place.parcel))
            });
            all.collect()
        })
    }

    /// Where the one lies that has so many before it.
    fn place(&self, places: &Slab<Place>, before: usize) -> Option<usize> {
        let mut at = self.first;
        for _ in 0..before {
            at = places.get(at as usize)?.next;
        }
        (at != NONE).then_some(at as usize)
    }
}

fn insert(places: &mut Slab<Place>, parcel: Parcel, next: u32) -> u32 {
    let at = places.insert(Place { parcel, next });
    u32::try_from(at).expect("it fits in memory")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn parcel(length: u8) -> Parcel {
        let first = Chunk::copy(&vec![7; usize::from(length)]);
        let second = Chunk::new();
        Parcel { first, second }
    }

    fn places_taken() -> usize {
        with(|places| places.len())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn each_is_a_queue(steps in prop::collection::vec((0usize..3, 0u8..12, any::<u8>()), 0..200)) {
            let taken = places_taken();
            let mut queues: [Parcels; 3] = Default::default();
            let mut models: [VecDeque<u64>; 3] = Default::default();
            for (which, what, item) in steps {
                let (queue, model) = (&mut queues[which], &mut models[which]);
                let bytes = u64::from(item);
                let place = usize::from(item) % (model.len() + 1);
                match what {
                    0..=4 => {
                        queue.push_back(parcel(item));
                        model.push_back(bytes);
                    }
                    5 => {
                        queue.push_front(parcel(item));
                        model.push_front(bytes);
                    }
                    6 | 7 => {
                        let first = queue.pop_front().map(|p| p.bytes());
                        prop_assert_eq!(first, model.pop_front());
                    }
                    8 => {
                        let last = queue.pop_back().map(|p| p.bytes());
                        prop_assert_eq!(last, model.pop_back());
                    }
                    9 | 10 => {
                        prop_assert_eq!(queue.at(place, Parcel::bytes), model.get(place).copied());
                        let taken = queue.take_at(place).map(|p| p.bytes());
                        prop_assert_eq!(taken, model.remove(place));
                    }
                    _ => {
                        queue.clear();
                        model.clear();
                    }
                }
                for (queue, model) in queues.iter().zip(&models) {
                    prop_assert!(queue.map_all(Parcel::bytes).iter().eq(model));
                    prop_assert_eq!((queue.len(), queue.is_empty()), (model.len(), model.is_empty()));
                    prop_assert_eq!(queue.bytes(), model.iter().sum::<u64>());
                }
                let waiting = models.iter().map(VecDeque::len).sum::<usize>();
                prop_assert_eq!(places_taken() - taken, waiting);
            }
            drop(queues);
            prop_assert_eq!(places_taken(), taken);
        }
    }

    #[test]
    fn a_small_chunk_takes_the_next_one_with_it() {
        let mut queue = Parcels::default();
        for length in [13, 16_384, 13, 16_384, 9, 17, 9, 2_000, 2_000, 9] {
            queue.push_chunk(vec![0; length].into_iter().collect::<bytes::Bytes>().into());
        }
        let sizes = queue.map_all(|p| (p.first.len(), p.second.len()));
        let pairs = [
            (13, 16_384),
            (13, 16_384),
            (9, 17),
            (9, 2_000),
            (2_000, 0),
            (9, 0),
        ];
        assert_eq!(sizes, pairs);
        // Nothing joins what says that no more follows.
        queue.push_back(Parcel::fin());
        queue.push_chunk(Chunk::copy(&[1]));
        assert_eq!(queue.len(), 8);
    }
}

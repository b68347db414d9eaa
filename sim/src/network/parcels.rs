//! Owns parcels: what crosses the network as one, and the queues in which they wait and are under way.
//!
//! Invariant: a queue's parcels come out in its order, and it gives its places back when it ends. All queues of a
//! thread share one memory, and the place that became free last is filled first: of all connections together little
//! is on its way at any moment. How long parcels are and what follows each lies apart from them: that is asked often,
//! and the cache has it; a parcel itself is touched when it is handed in and when it is handed over. A connection takes
//! two numbers for each queue.

use std::cell::RefCell;

use skep_engine::prefetch;
use skep_engine::wire::Chunk;

/// A chunk below this rides with the one behind it: a block's head with the block.
pub(super) const RIDER_MAX: usize = 1024;

/// What crosses the network as one: a chunk, perhaps with a small one before it; without bytes it says that no more
/// follows. A line of memory.
#[derive(Clone, Debug, Default)]
#[repr(align(64))]
pub(super) struct Parcel {
    pub(super) first: Chunk,
    /// Empty when there is none.
    pub(super) second: Chunk,
}

const _: () = assert!(size_of::<Parcel>() == 64);

impl Parcel {
    /// What says that no more follows.
    pub(super) fn fin() -> Parcel {
        Parcel::default()
    }

    pub(super) fn size(&self) -> Size {
        let bytes = |chunk: &Chunk| u32::try_from(chunk.len()).expect("a write is shorter");
        Size {
            first: bytes(&self.first),
            second: bytes(&self.second),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.size().bytes()
    }

    pub(super) fn is_fin(&self) -> bool {
        self.size().is_fin()
    }

    /// Appends some of its bytes.
    pub(super) fn copy_range(&self, from: usize, to: usize, out: &mut Vec<u8>) {
        let cut = self.first.len();
        out.extend_from_slice(&self.first[from.min(cut)..to.min(cut)]);
        out.extend_from_slice(&self.second[from.max(cut) - cut..to.max(cut) - cut]);
    }
}

/// Bytes of the two chunks of a parcel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Size {
    pub(super) first: u32,
    pub(super) second: u32,
}

impl Size {
    pub(super) fn bytes(self) -> u64 {
        u64::from(self.first) + u64::from(self.second)
    }

    pub(super) fn is_fin(self) -> bool {
        self.bytes() == 0
    }

    /// Whether another chunk has room in the parcel.
    fn has_room(self) -> bool {
        !self.is_fin() && self.second == 0 && (self.first as usize) < RIDER_MAX
    }
}

/// No place.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    size: Size,
    /// The place of what comes behind; of those that are free, of the next.
    next: u32,
}

/// Places for parcels, and what is known of each.
#[derive(Debug)]
struct Places {
    links: Vec<Link>,
    parcels: Vec<Parcel>,
    /// The place that became free last.
    free: u32,
}

impl Places {
    fn link(&self, at: u32) -> Option<&Link> {
        self.links.get(at as usize)
    }

    fn insert(&mut self, parcel: Parcel, next: u32) -> u32 {
        let link = Link {
            size: parcel.size(),
            next,
        };
        let at = self.free;
        if let Some(place) = self.links.get_mut(at as usize) {
            self.free = std::mem::replace(place, link).next;
            self.parcels[at as usize] = parcel;
            return at;
        }
        self.links.push(link);
        self.parcels.push(parcel);
        u32::try_from(self.links.len() - 1).expect("it fits in memory")
    }

    /// Takes what lies at a place that is taken; also returns the place of what comes behind.
    fn remove(&mut self, at: u32) -> (Parcel, u32) {
        let link = &mut self.links[at as usize];
        let next = std::mem::replace(&mut link.next, self.free);
        self.free = at;
        (std::mem::take(&mut self.parcels[at as usize]), next)
    }
}

thread_local! {
    static PLACES: RefCell<Places> = const {
        RefCell::new(Places { links: Vec::new(), parcels: Vec::new(), free: NONE })
    };
}

fn with<T>(what: impl FnOnce(&mut Places) -> T) -> T {
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

    /// Asks for the first one, and for what is known of it.
    pub(super) fn prefetch(&self) {
        with(|places| {
            let at = self.first as usize;
            if let (Some(link), Some(parcel)) = (places.links.get(at), places.parcels.get(at)) {
                prefetch::front(link);
                prefetch::front(parcel);
            }
        });
    }

    /// Asks for what is known of the first and the last one.
    pub(super) fn prefetch_ends(&self) {
        if !self.is_empty() {
            with(|places| {
                let ends = [self.first, self.last].map(|at| places.link(at));
                ends.into_iter().flatten().for_each(prefetch::front);
            });
        }
    }

    pub(super) fn push_back(&mut self, parcel: Parcel) {
        with(|places| {
            let at = places.insert(parcel, NONE);
            self.append(places, at);
        });
    }

    fn append(&mut self, places: &mut Places, at: u32) {
        match self.is_empty() {
            true => self.first = at,
            false => places.links[self.last as usize].next = at,
        }
        self.last = at;
    }

    /// Appends a chunk: to the last parcel, where it has room, or as another one.
    pub(super) fn push_chunk(&mut self, chunk: Chunk) {
        with(|places| {
            let last = self.last as usize;
            if !self.is_empty() && places.links[last].size.has_room() {
                let parcel = &mut places.parcels[last];
                parcel.second = chunk;
                places.links[last].size = parcel.size();
                return;
            }
            let parcel = Parcel {
                first: chunk,
                second: Chunk::new(),
            };
            let at = places.insert(parcel, NONE);
            self.append(places, at);
        });
    }

    pub(super) fn push_front(&mut self, parcel: Parcel) {
        with(|places| {
            let at = places.insert(parcel, self.first);
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
        let (parcel, next) = with(|places| places.remove(self.first));
        self.first = next;
        Some(parcel)
    }

    /// Moves the first one to the end of another queue.
    pub(super) fn pass_on(&mut self, to: &mut Parcels) {
        with(|places| {
            let at = self.first;
            if let Some(link) = places.links.get_mut(at as usize) {
                self.first = std::mem::replace(&mut link.next, NONE);
                to.append(places, at);
            }
        });
    }

    /// Takes the one that has so many before it.
    pub(super) fn take_at(&mut self, place: usize) -> Option<Parcel> {
        if place == 0 {
            return self.pop_front();
        }
        with(|places| {
            let before = self.place(places, place - 1)?;
            let at = places.link(before)?.next;
            places.link(at)?;
            let (parcel, next) = places.remove(at);
            places.links[before as usize].next = next;
            if at == self.last {
                self.last = before;
            }
            Some(parcel)
        })
    }

    /// Takes the last one. Takes as long as there are many.
    pub(super) fn pop_back(&mut self) -> Option<Parcel> {
        self.take_at(self.len().checked_sub(1)?)
    }

    /// How many there are. Takes as long as there are many.
    pub(super) fn len(&self) -> usize {
        self.fold(0, |sum, _| sum + 1)
    }

    /// Bytes of all of them. Takes as long as there are many.
    pub(super) fn bytes(&self) -> u64 {
        self.fold(0, |sum, size| sum + size.bytes())
    }

    fn fold<T>(&self, mut sum: T, add: impl Fn(T, Size) -> T) -> T {
        with(|places| {
            let mut at = self.first;
            while let Some(link) = places.link(at) {
                sum = add(sum, link.size);
                at = link.next;
            }
            sum
        })
    }

    /// How long the one is that has so many before it.
    pub(super) fn size_at(&self, place: usize) -> Option<Size> {
        with(|places| {
            let at = self.place(places, place)?;
            Some(places.link(at)?.size)
        })
    }

    /// A copy of the first one; its bytes are shared.
    pub(super) fn first(&self) -> Option<Parcel> {
        with(|places| places.parcels.get(self.first as usize).cloned())
    }

    /// Changes the first one.
    pub(super) fn change_first<T>(&mut self, change: impl FnOnce(&mut Parcel) -> T) -> Option<T> {
        with(|places| {
            let parcel = places.parcels.get_mut(self.first as usize)?;
            let changed = change(parcel);
            places.links[self.first as usize].size = parcel.size();
            Some(changed)
        })
    }

    pub(super) fn clear(&mut self) {
        if !self.is_empty() {
            with(|places| {
                while !self.is_empty() {
                    (_, self.first) = places.remove(self.first);
                }
            });
        }
    }

    /// Where the one lies that has so many before it.
    fn place(&self, places: &Places, before: usize) -> Option<u32> {
        let mut at = self.first;
        for _ in 0..before {
            at = places.link(at)?.next;
        }
        (at != NONE).then_some(at)
    }
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
        with(|places| {
            let next = |at: &u32| Some(places.link(*at)?.next);
            let free = std::iter::successors(Some(places.free), next);
            // The last one is no place.
            places.links.len() + 1 - free.count()
        })
    }

    fn sizes(queue: &Parcels) -> Vec<Size> {
        (0..).map_while(|place| queue.size_at(place)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn each_is_a_queue(steps in prop::collection::vec((0usize..3, 0u8..14, any::<u8>()), 0..200)) {
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
                        let size = queue.size_at(place).map(Size::bytes);
                        prop_assert_eq!(size, model.get(place).copied());
                        let taken = queue.take_at(place).map(|p| p.bytes());
                        prop_assert_eq!(taken, model.remove(place));
                    }
                    11 => {
                        let (mut from, to) = (std::mem::take(queue), (which + 1) % 3);
                        from.pass_on(&mut queues[to]);
                        queues[which] = from;
                        if let Some(first) = models[which].pop_front() {
                            models[to].push_back(first);
                        }
                    }
                    12 => {
                        let first = queue.change_first(|p| p.first = Chunk::copy(&[1, 2, 3]));
                        prop_assert_eq!(first.is_some(), !model.is_empty());
                        if let Some(first) = model.front_mut() {
                            *first = 3;
                        }
                    }
                    _ => {
                        queue.clear();
                        model.clear();
                    }
                }
                for (queue, model) in queues.iter().zip(&models) {
                    prop_assert!(sizes(queue).iter().map(|size| size.bytes()).eq(model.iter().copied()));
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
        let sizes: Vec<_> = sizes(&queue).iter().map(|s| (s.first, s.second)).collect();
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

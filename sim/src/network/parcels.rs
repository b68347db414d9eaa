//! Owns parcels: what crosses the network as one, and the queues in which they wait and are under way.
//!
//! Invariant: a queue's parcels come out in its order, and it gives its places back when it ends. All queues of a
//! thread share one memory, and the place that became free last is filled first: of all connections together little
//! is on its way at any moment. A queue knows how long its first one is, and what comes behind each lies apart from
//! the parcels, with its size: a parcel itself is touched when it is handed in and when it is handed over.

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
    const FIN: Size = Size {
        first: 0,
        second: 0,
    };

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

/// What is known of what lies at a place.
#[derive(Clone, Copy, Debug)]
struct Link {
    /// The place of what comes behind; of those that are free, of the next.
    next: u32,
    /// How long that is; says nothing when there is none.
    next_size: Size,
}

/// Nothing comes behind.
const LAST: Link = Link {
    next: NONE,
    next_size: Size::FIN,
};

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

    fn insert(&mut self, parcel: Parcel, link: Link) -> u32 {
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

    /// Takes what lies at a place that is taken; also returns what was known of it.
    fn remove(&mut self, at: u32) -> (Parcel, Link) {
        let free = Link {
            next: self.free,
            ..LAST
        };
        let link = std::mem::replace(&mut self.links[at as usize], free);
        self.free = at;
        (std::mem::take(&mut self.parcels[at as usize]), link)
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
    /// How long it is.
    first_size: Size,
    /// This and the next say nothing while there is no first.
    last: u32,
    /// While another chunk may ride with the last one: what is before that, any place if nothing is.
    before_rider: u32,
}

impl Default for Parcels {
    fn default() -> Self {
        Parcels {
            first: NONE,
            first_size: Size::FIN,
            last: NONE,
            before_rider: NONE,
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
        if !self.is_empty() {
            with(|places| {
                let at = self.first as usize;
                prefetch::front(&places.links[at]);
                prefetch::front(&places.parcels[at]);
            });
        }
    }

    /// Asks for what is known of the first one.
    pub(super) fn prefetch_link(&self) {
        if !self.is_empty() {
            with(|places| prefetch::front(&places.links[self.first as usize]));
        }
    }

    pub(super) fn push_back(&mut self, parcel: Parcel) {
        with(|places| {
            let size = parcel.size();
            let at = places.insert(parcel, LAST);
            self.append(places, at, size);
        });
    }

    fn append(&mut self, places: &mut Places, at: u32, size: Size) {
        match self.is_empty() {
            true => (self.first, self.first_size) = (at, size),
            false => {
                places.links[self.last as usize] = Link {
                    next: at,
                    next_size: size,
                };
            }
        }
        // Of the only one the place before says nothing, and is a place.
        let before = if self.first == at { at } else { self.last };
        self.end_with(at, size, before);
    }

    /// The last one is this.
    fn end_with(&mut self, at: u32, size: Size, before: u32) {
        self.last = at;
        self.before_rider = if size.has_room() { before } else { NONE };
    }

    /// Appends a chunk: to the last parcel, where it has room, or as another one.
    pub(super) fn push_chunk(&mut self, chunk: Chunk) {
        if self.is_empty() || self.before_rider == NONE {
            return self.push_back(Parcel {
                first: chunk,
                second: Chunk::new(),
            });
        }
        with(|places| {
            let parcel = &mut places.parcels[self.last as usize];
            parcel.second = chunk;
            let size = parcel.size();
            match self.first == self.last {
                true => self.first_size = size,
                false => places.links[self.before_rider as usize].next_size = size,
            }
            if !size.has_room() {
                self.before_rider = NONE;
            }
        });
    }

    pub(super) fn push_front(&mut self, parcel: Parcel) {
        with(|places| {
            let size = parcel.size();
            let link = Link {
                next: self.first,
                next_size: self.first_size,
            };
            let at = places.insert(parcel, link);
            if self.is_empty() {
                self.end_with(at, size, at);
            } else if self.first == self.last && self.before_rider != NONE {
                self.before_rider = at;
            }
            (self.first, self.first_size) = (at, size);
        });
    }

    pub(super) fn pop_front(&mut self) -> Option<Parcel> {
        if self.is_empty() {
            return None;
        }
        let (parcel, link) = with(|places| places.remove(self.first));
        (self.first, self.first_size) = (link.next, link.next_size);
        Some(parcel)
    }

    /// Moves the first one to the end of another queue.
    pub(super) fn pass_on(&mut self, to: &mut Parcels) {
        if !self.is_empty() {
            with(|places| {
                let (at, size) = (self.first, self.first_size);
                let link = std::mem::replace(&mut places.links[at as usize], LAST);
                (self.first, self.first_size) = (link.next, link.next_size);
                to.append(places, at, size);
            });
        }
    }

    /// Takes the last one. Takes as long as there are many.
    pub(super) fn pop_back(&mut self) -> Option<Parcel> {
        if self.is_empty() || self.first == self.last {
            return self.pop_front();
        }
        with(|places| {
            let (mut before, mut at, mut size) = (self.first, self.first, self.first_size);
            let mut link = places.links[at as usize];
            while link.next != self.last {
                (before, at, size) = (at, link.next, link.next_size);
                link = places.links[at as usize];
            }
            places.links[at as usize] = LAST;
            let (parcel, _) = places.remove(self.last);
            self.end_with(at, size, before);
            Some(parcel)
        })
    }

    /// How many there are. Takes as long as there are many.
    pub(super) fn len(&self) -> usize {
        self.fold(0, |sum, _| sum + 1)
    }

    /// Bytes of all of them. Takes as long as there are many.
    pub(super) fn bytes(&self) -> u64 {
        self.fold(0, |sum, size| sum + size.bytes())
    }

    fn fold<T>(&self, mut sum: T, mut add: impl FnMut(T, Size) -> T) -> T {
        with(|places| {
            let (mut at, mut size) = (self.first, self.first_size);
            while let Some(link) = places.link(at) {
                sum = add(sum, size);
                (at, size) = (link.next, link.next_size);
            }
            sum
        })
    }

    /// How long the first one is.
    pub(super) fn first_size(&self) -> Option<Size> {
        (!self.is_empty()).then_some(self.first_size)
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
            self.first_size = parcel.size();
            if self.first == self.last {
                self.end_with(self.first, self.first_size, self.first);
            }
            Some(changed)
        })
    }

    pub(super) fn clear(&mut self) {
        if !self.is_empty() {
            with(|places| {
                while !self.is_empty() {
                    self.first = places.remove(self.first).1.next;
                }
            });
        }
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
        queue.fold(Vec::new(), |mut sizes, size| {
            sizes.push(size);
            sizes
        })
    }

    /// What a queue would know if it asked.
    fn knows_its_ends(queue: &Parcels) -> bool {
        let sizes = sizes(queue);
        let room = sizes.last().is_some_and(|last| last.has_room());
        queue.first_size() == sizes.first().copied()
            && (queue.is_empty() || (queue.before_rider != NONE) == room)
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
                        let fits = sizes(queue).last().is_some_and(|last| last.has_room());
                        queue.push_chunk(parcel(item).first);
                        match model.back_mut() {
                            Some(last) if fits => *last += bytes,
                            _ => model.push_back(bytes),
                        }
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
                        let first = queue.change_first(|p| *p = parcel(3));
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
                    prop_assert!(knows_its_ends(queue));
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

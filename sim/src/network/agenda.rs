//! Owns what will happen, in its order.
//!
//! Invariant: entries come out in the order of their moments, and those of one moment as they went in. What is
//! near waits in slots of about a millisecond, which cost nothing to fill; a slot is sorted when its turn comes, once,
//! and it fits the processor's cache. That is a little before the one before it is done: so the facts that are next
//! are known at every moment. What goes into a slot was planned in this order: from far off, then from near, then
//! once it was sorted. Slots share the memory of what they hold: it is as much as is planned at once, and what was
//! read last is written next.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::ops::Range;

/// A slot is 2^20 ns.
const SLOT_BITS: u32 = 20;
/// Slots that are near: about a second.
const SLOTS: usize = 1024;
const WORDS: usize = SLOTS / 64;

/// Of one slot, in the order in which they were planned.
#[derive(Clone, Copy, Debug)]
struct Planned<F> {
    at: u64,
    fact: F,
}

/// How far from its turn a fact is when it is named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ahead {
    Farthest,
    Far,
    Near,
    Nearest,
}

impl Ahead {
    pub(super) const ALL: [Ahead; 4] = [Ahead::Farthest, Ahead::Far, Ahead::Near, Ahead::Nearest];

    /// In facts: between two of these, memory that was asked for comes.
    const fn facts(self) -> usize {
        match self {
            Ahead::Farthest => 20,
            Ahead::Far => 15,
            Ahead::Near => 10,
            Ahead::Nearest => 5,
        }
    }
}

/// So many slots behind the one that was sorted last, the next one may be sorted before its turn.
const SORTED_AHEAD: u64 = 2;

/// Facts of a chunk at most.
const CHUNK: usize = 32;

/// A part of what waits in a slot.
#[derive(Debug)]
struct Chunk<F> {
    facts: Vec<Planned<F>>,
    /// What was planned for the slot before; of those in reserve, the next.
    before: ChunkIndex,
}

type ChunkIndex = u32;

/// No chunk.
const NONE: ChunkIndex = ChunkIndex::MAX;

#[derive(Clone, Copy, Debug)]
struct Entry<F> {
    at: u64,
    sequence: u64,
    fact: F,
}

impl<F> Entry<F> {
    fn key(&self) -> (u64, u64) {
        (self.at, self.sequence)
    }
}

impl<F> PartialEq for Entry<F> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<F> Eq for Entry<F> {}

impl<F> PartialOrd for Entry<F> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<F> Ord for Entry<F> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// Facts by their moments.
#[derive(Debug)]
pub(super) struct Agenda<F> {
    sequence: u64,
    /// The number of the last slot that was sorted.
    current: u64,
    /// What was planned for that slot and those before it until then, in order.
    today: Vec<Planned<F>>,
    /// How many of them are done.
    done: usize,
    /// How many of them were named before their turn, by how far from it.
    named: [usize; Ahead::ALL.len()],
    /// What was planned since for it, or for a moment before it.
    late: BinaryHeap<Reverse<Entry<F>>>,
    /// The slots behind it, in a ring.
    near: Vec<ChunkIndex>,
    chunks: Vec<Chunk<F>>,
    /// Empty chunks, last used first.
    reserve: ChunkIndex,
    /// A bit for each slot that holds something.
    filled: [u64; WORDS],
    /// A bit for each word of `filled` that is not 0.
    filled_words: u16,
    /// What was too far off when it went in.
    far: BinaryHeap<Reverse<Entry<F>>>,
}

impl<F> Default for Agenda<F> {
    fn default() -> Self {
        Agenda {
            sequence: 0,
            current: 0,
            today: Vec::new(),
            done: 0,
            named: [0; Ahead::ALL.len()],
            late: BinaryHeap::new(),
            near: vec![NONE; SLOTS],
            chunks: Vec::new(),
            reserve: NONE,
            filled: [0; WORDS],
            filled_words: 0,
            far: BinaryHeap::new(),
        }
    }
}

fn slot_of(at: u64) -> u64 {
    at >> SLOT_BITS
}

impl<F: Copy> Agenda<F> {
    /// Something will happen at `at` ns, after what was planned for the same moment before.
    pub(super) fn plan(&mut self, at: u64, fact: F) {
        let slot = slot_of(at);
        if slot > self.current && slot - self.current < SLOTS as u64 {
            let place = slot as usize % SLOTS;
            self.add_near(place, Planned { at, fact });
            self.filled[place / 64] |= 1 << (place % 64);
            self.filled_words |= 1 << (place / 64);
            return;
        }
        let entry = Reverse(Entry {
            at,
            sequence: self.sequence,
            fact,
        });
        self.sequence += 1;
        if slot <= self.current {
            self.late.push(entry);
        } else {
            self.far.push(entry);
        }
    }

    /// The moment of the next fact.
    pub(super) fn next_at(&mut self) -> Option<u64> {
        let rest = self.today.len() - self.done;
        if rest == 0 && self.late.is_empty() {
            self.sort_next(u64::MAX);
        } else if rest < Ahead::Farthest.facts() {
            self.sort_next(self.current + SORTED_AHEAD);
        }
        let late = self.late.peek().map(|Reverse(entry)| entry.at);
        let today = self.today.get(self.done).map(|planned| planned.at);
        match (today, late) {
            (Some(today), Some(late)) => Some(today.min(late)),
            (only, None) | (None, only) => only,
        }
    }

    /// The next fact, if it happens at `until` ns at the latest, with its moment.
    pub(super) fn pop_due(&mut self, until: u64) -> Option<(u64, F)> {
        let at = self.next_at()?;
        if at > until {
            return None;
        }
        // Of the same moment, what is late was planned last.
        if let Some(next) = self.today.get(self.done)
            && next.at == at
        {
            self.done += 1;
            return Some((at, next.fact));
        }
        let Reverse(entry) = self.late.pop()?;
        Some((entry.at, entry.fact))
    }

    /// Which facts are so far from their turn, as far as they are known now, and were not named there yet.
    pub(super) fn ahead(&mut self, ahead: Ahead) -> Range<usize> {
        let until = (self.done + ahead.facts()).min(self.today.len());
        let named = &mut self.named[ahead as usize];
        let from = (*named).clamp(self.done, until);
        *named = until;
        from..until
    }

    /// The facts that [`Agenda::ahead`] named.
    pub(super) fn facts(&self, which: Range<usize>) -> impl Iterator<Item = F> {
        self.today[which].iter().map(|planned| planned.fact)
    }

    /// Sorts the next slot that holds something, if that is this one at the latest.
    fn sort_next(&mut self, until: u64) {
        let near = self.next_near();
        let far = self.far.peek().map(|Reverse(entry)| slot_of(entry.at));
        let next = [near, far].into_iter().flatten().min();
        let Some(slot) = next.filter(|slot| *slot <= until) else {
            return;
        };
        self.current = slot;
        self.today.drain(..self.done);
        for named in &mut self.named {
            *named = named.saturating_sub(self.done);
        }
        self.done = 0;
        let before = self.today.len();
        while let Some(Reverse(entry)) = self.far.peek()
            && slot_of(entry.at) == slot
        {
            let (at, fact) = (entry.at, entry.fact);
            self.today.push(Planned { at, fact });
            self.far.pop();
        }
        if near == Some(slot) {
            let place = slot as usize % SLOTS;
            let word = &mut self.filled[place / 64];
            *word &= !(1 << (place % 64));
            self.filled_words &= !(u16::from(*word == 0) << (place / 64));
            self.take_near(place);
            // It keeps the order of those of one moment.
            self.today[before..].sort_by_key(|planned| planned.at);
        }
    }

    fn add_near(&mut self, place: usize, planned: Planned<F>) {
        let last = self.near[place];
        if let Some(chunk) = self.chunks.get_mut(last as usize)
            && chunk.facts.len() < CHUNK
        {
            return chunk.facts.push(planned);
        }
        if self.reserve == NONE {
            self.reserve = ChunkIndex::try_from(self.chunks.len()).expect("they fit in memory");
            self.chunks.push(Chunk {
                facts: Vec::with_capacity(CHUNK),
                before: NONE,
            });
        }
        let chunk = &mut self.chunks[self.reserve as usize];
        self.near[place] = self.reserve;
        self.reserve = std::mem::replace(&mut chunk.before, last);
        chunk.facts.push(planned);
    }

    /// Moves what waits in a slot to the end of `today`.
    fn take_near(&mut self, place: usize) {
        // Turned around: what was planned first is in the last one.
        let (mut last, mut next) = (std::mem::replace(&mut self.near[place], NONE), NONE);
        while let Some(chunk) = self.chunks.get_mut(last as usize) {
            let before = std::mem::replace(&mut chunk.before, next);
            (next, last) = (last, before);
        }
        while let Some(chunk) = self.chunks.get_mut(next as usize) {
            let behind = std::mem::replace(&mut chunk.before, self.reserve);
            self.today.append(&mut chunk.facts);
            (self.reserve, next) = (next, behind);
        }
    }

    /// The first slot behind the current one that holds something.
    fn next_near(&self) -> Option<u64> {
        let first = (self.current + 1) as usize % SLOTS;
        let (word, below) = (first / 64, (1u64 << (first % 64)) - 1);
        let found = |word: usize, bits: u64| {
            let place = word * 64 + bits.trailing_zeros() as usize;
            let ahead = (place + SLOTS - first) % SLOTS;
            self.current + 1 + ahead as u64
        };
        let rest = self.filled[word] & !below;
        if rest != 0 {
            return Some(found(word, rest));
        }
        // The words behind that one, around the ring; of its own lower bits last.
        let others = self.filled_words.rotate_right(word as u32 + 1);
        if others == 0 {
            return None;
        }
        let word = (word + 1 + others.trailing_zeros() as usize) % WORDS;
        Some(found(word, self.filled[word]))
    }
}

const _: () = assert!(WORDS == u16::BITS as usize);

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    #[test]
    fn a_fact_is_named_once_at_each_distance_before_its_turn() {
        let mut agenda = Agenda::default();
        let slots = 1..=60u64;
        for number in slots.clone() {
            agenda.plan((1 + number / 40) << SLOT_BITS, number);
        }
        let mut named = [const { Vec::new() }; Ahead::ALL.len()];
        for turn in slots.clone() {
            let (_, fact) = agenda.pop_due(u64::MAX).expect("one for each turn");
            assert_eq!(fact, turn);
            for (ahead, named) in Ahead::ALL.into_iter().zip(&mut named) {
                let facts = agenda.ahead(ahead);
                for fact in agenda.facts(facts) {
                    assert!((turn + 1..=turn + ahead.facts() as u64).contains(&fact));
                    named.push(fact);
                }
            }
        }
        // All but the first of all, which nobody sees coming.
        let seen: Vec<_> = slots.skip(1).collect();
        assert_eq!(
            named,
            [const { Vec::new() }; Ahead::ALL.len()].map(|_: Vec<u64>| seen.clone())
        );
    }

    /// Any mixture of near and far, planned and taken in any order: as one sorted list would give it.
    #[test]
    fn facts_come_in_the_order_of_their_moments_and_then_as_they_were_planned() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for _ in 0..50 {
            let mut agenda = Agenda::default();
            let mut model = std::collections::BTreeMap::new();
            let (mut now, mut number) = (0, 0u64);
            for _ in 0..2_000 {
                let reach = 1 << (rng.next_u64() % 36);
                if rng.next_u64() % 5 < 3 {
                    // Some share a moment; some are due already.
                    let at = (now + rng.next_u64() % reach) & !0xff;
                    agenda.plan(at, number);
                    model.insert((at, number), number);
                    number += 1;
                } else {
                    now += rng.next_u64() % reach;
                    assert_eq!(agenda.next_at(), model.keys().next().map(|(at, _)| *at));
                    while let Some((at, fact)) = agenda.pop_due(now) {
                        let first = model.pop_first().expect("the model has it too");
                        assert_eq!(first, ((at, fact), fact));
                    }
                    let next = model.keys().next();
                    assert!(next.is_none_or(|(at, _)| *at > now));
                }
            }
        }
    }
}

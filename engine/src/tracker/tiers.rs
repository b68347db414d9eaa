//! Owns the order in which a client asks its trackers (BEP 12), and what it knows of each.
//!
//! Invariant: the order inside a tier is drawn once and then changes only by the one that answered
//! moving to the front of its tier. A round asks no tracker twice; the next tier is asked only when
//! all of the one before failed, or may not be asked.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::time::Now;

/// What is known of one tracker.
#[derive(Clone, Debug, Default)]
struct Book {
    /// It acknowledged `started`.
    knows_us: bool,
    /// It failed in this round.
    tried: bool,
    /// Not to be asked before this, as it said itself (BEP 31).
    not_before: Now,
    /// To be sent back with every announce (BEP 3).
    tracker_id: Option<Vec<u8>>,
}

/// The trackers of one torrent, numbered as the metainfo file lists them.
#[derive(Clone, Debug)]
pub struct Tiers {
    order: Vec<Vec<u32>>,
    books: Vec<Book>,
    /// The one that answered last.
    home: Option<u32>,
}

impl Tiers {
    /// Tiers of so many trackers each, shuffled inside. Trackers beyond `trackers_max` are left out.
    #[must_use]
    pub fn new(sizes: &[u32], trackers_max: u32, rng: &mut ChaCha8Rng) -> Tiers {
        let mut next = 0_u32;
        let mut order = Vec::new();
        for size in sizes {
            let end = next.saturating_add(*size).min(trackers_max);
            let mut tier: Vec<u32> = (next..end).collect();
            tier.shuffle(rng);
            next = end;
            if !tier.is_empty() {
                order.push(tier);
            }
        }
        Tiers {
            order,
            books: vec![Book::default(); next as usize],
            home: None,
        }
    }

    /// The one to ask next in this round.
    #[must_use]
    pub fn next(&self, now: Now) -> Option<u32> {
        let mut order = self.order.iter().flatten().copied();
        order.find(|tracker| {
            let book = self.book(*tracker);
            !book.tried && book.not_before <= now
        })
    }

    /// The one that answered last: it knows us best.
    #[must_use]
    pub fn home(&self) -> Option<u32> {
        self.home
    }

    /// Whether it acknowledged `started`.
    #[must_use]
    pub fn knows_us(&self, tracker: u32) -> bool {
        self.book(tracker).knows_us
    }

    /// Whether it will ever listen to us again (BEP 31 `never`).
    #[must_use]
    pub fn accepts(&self, tracker: u32) -> bool {
        self.book(tracker).not_before != Now::NEVER
    }

    /// Whether it failed in this round.
    #[must_use]
    pub fn tried(&self, tracker: u32) -> bool {
        self.book(tracker).tried
    }

    /// Whether some tracker failed in this round, which is not over.
    #[must_use]
    pub fn mid_round(&self) -> bool {
        self.books.iter().any(|book| book.tried)
    }

    /// What it told this client to send back.
    #[must_use]
    pub fn tracker_id(&self, tracker: u32) -> Option<&[u8]> {
        self.book(tracker).tracker_id.as_deref()
    }

    /// It answered, perhaps with something to send back: the round is over.
    pub fn answered(&mut self, tracker: u32, tracker_id: Option<&[u8]>) {
        let tier = self.order.iter_mut().find(|tier| tier.contains(&tracker));
        if let Some(tier) = tier
            && let Some(at) = tier.iter().position(|t| *t == tracker)
        {
            tier[..=at].rotate_right(1);
        }
        self.home = Some(tracker);
        let book = &mut self.books[tracker as usize];
        book.knows_us = true;
        if let Some(id) = tracker_id {
            book.tracker_id = Some(id.to_vec());
        }
        self.begin_round();
    }

    /// It failed, and is not asked again in this round, nor before that moment.
    pub fn failed(&mut self, tracker: u32, not_before: Now) {
        let book = &mut self.books[tracker as usize];
        book.tried = true;
        book.not_before = not_before;
        // BEP 31 `never`: it will not hear of us again, nor does it want to.
        if not_before == Now::NEVER && self.home == Some(tracker) {
            self.home = None;
        }
    }

    /// None knows us any more: this client left them all.
    pub fn forget(&mut self) {
        self.books.iter_mut().for_each(|book| book.knows_us = false);
        self.home = None;
    }

    /// All may be asked again.
    pub fn begin_round(&mut self) {
        self.books.iter_mut().for_each(|book| book.tried = false);
    }

    /// When some tracker may be asked, as far as they said themselves.
    #[must_use]
    pub fn soonest(&self) -> Now {
        let moments = self.books.iter().map(|book| book.not_before);
        moments.min().unwrap_or(Now::NEVER)
    }

    fn book(&self, tracker: u32) -> &Book {
        &self.books[tracker as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use std::collections::BTreeSet;

    fn tiers(sizes: &[u32], seed: u64) -> Tiers {
        Tiers::new(sizes, 64, &mut ChaCha8Rng::seed_from_u64(seed))
    }

    /// The order in which a round asks when everybody fails.
    fn round(tiers: &Tiers) -> Vec<u32> {
        let mut tiers = tiers.clone();
        let mut asked = Vec::new();
        while let Some(next) = tiers.next(Now::START) {
            asked.push(next);
            tiers.failed(next, Now::START);
        }
        asked
    }

    #[test]
    fn tiers_are_asked_in_order_and_shuffled_inside_once() {
        let orders: BTreeSet<_> = (0..40)
            .map(|seed| round(&tiers(&[1, 3, 1], seed)))
            .collect();
        assert_eq!(orders.len(), 6, "every order of the middle tier");
        for order in &orders {
            assert_eq!((order[0], order[4]), (0, 4));
        }
        let one = tiers(&[1, 3, 1], 7);
        assert_eq!(round(&one), round(&one));
    }

    #[test]
    fn the_one_that_answers_moves_to_the_front_of_its_tier() {
        let mut t = tiers(&[1, 3], 1);
        let [first, a, b, c] = round(&t)[..] else {
            panic!("four")
        };
        t.failed(first, Now::START);
        t.failed(a, Now::START);
        t.failed(b, Now::START);
        assert!(t.mid_round());
        t.answered(c, None);
        assert!(!t.mid_round());
        assert_eq!(round(&t), [first, c, a, b], "the first tier stays first");
        assert_eq!(t.home(), Some(c));
        assert!(t.knows_us(c) && !t.knows_us(a));
    }

    #[test]
    fn a_tracker_that_named_a_time_is_left_out_until_then() {
        let mut t = tiers(&[1, 1], 1);
        t.failed(0, Now(50));
        t.failed(1, Now(80));
        t.begin_round();
        assert_eq!(t.next(Now(49)), None);
        assert_eq!(t.soonest(), Now(50));
        assert_eq!(t.next(Now(50)), Some(0));
        t.failed(0, Now::NEVER);
        t.failed(1, Now::NEVER);
        assert_eq!(t.soonest(), Now::NEVER);
    }

    #[test]
    fn trackers_are_bounded_and_empty_tiers_are_none() {
        let all = |sizes: &[u32], most| {
            let t = Tiers::new(sizes, most, &mut ChaCha8Rng::seed_from_u64(1));
            round(&t).len()
        };
        assert_eq!(all(&[0, 2, 0, 1], 64), 3);
        assert_eq!(all(&[u32::MAX, 5], 64), 64);
        assert_eq!(all(&[], 64), 0);
        assert_eq!(tiers(&[], 1).soonest(), Now::NEVER);
    }
}

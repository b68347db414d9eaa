//! Owns [`Player`]: where the user's player is in the content, and how often it had to wait.
//!
//! Invariant: it plays what is there and nothing else, in order and at its rate. It begins when so much of what comes
//! next is there, and so it goes on after a stall. [`Player::advance`] is called right before pieces come or go, and then
//! its moments are exact.

use std::time::Duration;

use crate::bits::BitSet;
use crate::config::RateLimit;
use crate::ids::PieceIndex;
use crate::metainfo::Geometry;
use crate::time::Now;

/// What a player does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// It waits for content, since then.
    Waits(Now),
    /// It plays: from this byte at that moment.
    Plays(u64, Now),
    /// It has played everything.
    Done,
}

/// One player, of all content in order.
#[derive(Clone, Debug)]
pub struct Player {
    /// Bytes per second; 0: nobody plays.
    rate: u64,
    /// Bytes that have to be there ahead before it begins or goes on.
    ahead: u64,
    state: State,
    /// The next byte to play.
    position: u64,
    /// When it was looked at last.
    at: Now,
    began: Option<Now>,
    stalls: u32,
    stalled: Duration,
}

impl Player {
    /// A player that waits from `now` on; a rate of 0: nobody plays.
    #[must_use]
    pub fn new(rate: RateLimit, buffer: Duration, now: Now) -> Player {
        let ahead = u128::from(rate.0) * buffer.as_nanos() / 1_000_000_000;
        Player {
            rate: rate.0,
            ahead: u64::try_from(ahead).unwrap_or(u64::MAX).max(1),
            state: State::Waits(now),
            position: 0,
            at: now,
            began: None,
            stalls: 0,
            stalled: Duration::ZERO,
        }
    }

    /// Plays until `now`. What is there is what was there since the last call.
    pub fn advance(&mut self, have: &BitSet, geometry: Geometry, now: Now) {
        if self.rate == 0 || self.state == State::Done {
            return;
        }
        let from = std::mem::replace(&mut self.at, now);
        let there = end_of(have, geometry, self.position);
        if let State::Waits(since) = self.state {
            let wanted = self.ahead.min(geometry.total - self.position);
            if there - self.position < wanted {
                return;
            }
            // What it waited for came at the last look.
            match self.began {
                None => self.began = Some(from),
                Some(_) => self.stalled += from.since(since),
            }
            self.state = State::Plays(self.position, from);
        }
        let State::Plays(byte, since) = self.state else {
            return;
        };
        let played = u128::from(self.rate) * now.since(since).as_nanos() / 1_000_000_000;
        let played = u64::try_from(played).unwrap_or(u64::MAX);
        self.position = byte.saturating_add(played).min(there);
        if self.position == geometry.total {
            self.state = State::Done;
        } else if self.position == there {
            let until = u128::from(there - byte) * 1_000_000_000 / u128::from(self.rate);
            let until = u64::try_from(until).unwrap_or(u64::MAX);
            self.state = State::Waits(Now(since.0.saturating_add(until)));
            self.stalls += 1;
        }
    }

    /// The piece that is played, or waited for. Where nobody plays: the first one that is missing.
    #[must_use]
    pub fn playhead(&self, have: &BitSet, geometry: Geometry) -> PieceIndex {
        let byte = match self.rate {
            0 => end_of(have, geometry, 0),
            _ => self.position,
        };
        piece_at(byte, geometry)
    }

    /// When it began.
    #[must_use]
    pub fn began(&self) -> Option<Now> {
        self.began
    }

    /// How often it had to wait after it had begun.
    #[must_use]
    pub fn stalls(&self) -> u32 {
        self.stalls
    }

    /// For how long it waited after it had begun, as of the last look.
    #[must_use]
    pub fn stalled(&self) -> Duration {
        match (self.state, self.began) {
            (State::Waits(since), Some(_)) => self.stalled + self.at.since(since),
            _ => self.stalled,
        }
    }
}

/// The piece in which a byte lies; the last one for what lies behind.
fn piece_at(byte: u64, geometry: Geometry) -> PieceIndex {
    let piece = byte / u64::from(geometry.piece_bytes.max(1));
    let last = geometry.pieces.saturating_sub(1);
    PieceIndex(u32::try_from(piece).unwrap_or(last).min(last))
}

/// Where the content that is there without a gap from this byte on ends.
fn end_of(have: &BitSet, geometry: Geometry, byte: u64) -> u64 {
    match have.first_missing(piece_at(byte, geometry)) {
        Some(missing) => geometry.offset(missing).max(byte),
        None => geometry.total,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten pieces of 100 bytes, the last one of 50.
    fn geometry() -> Geometry {
        Geometry::new(950, 100).expect("a good size")
    }

    fn at(ms: u64) -> Now {
        Now::START.after(Duration::from_millis(ms))
    }

    /// A player at 100 bytes per second that waits for one second ahead; pieces come at these moments, ms.
    fn play(comes: &[(u64, u32)], looks_every: u64, until: u64) -> Player {
        let mut have = BitSet::empty(10);
        let mut player = Player::new(RateLimit(100), Duration::from_secs(1), at(0));
        let mut comes = comes.iter().peekable();
        for ms in (0..=until).step_by(usize::try_from(looks_every).expect("small")) {
            while let Some((when, piece)) = comes.next_if(|(when, _)| *when <= ms) {
                player.advance(&have, geometry(), at(*when));
                have.insert(PieceIndex(*piece));
            }
            player.advance(&have, geometry(), at(ms));
        }
        player
    }

    #[test]
    fn it_begins_with_its_buffer_and_stalls_where_a_piece_is_missing() {
        // Begins at 2 s, has played two pieces at 4 s, waits until 5.5 s.
        let comes = [(1000, 1), (2000, 0), (5500, 2), (5600, 3)];
        let player = play(&comes, 100, 6000);
        assert_eq!(player.began(), Some(at(2000)));
        assert_eq!((player.stalls(), player.stalled().as_millis()), (1, 1500));
        let have = BitSet::empty(10);
        assert_eq!(player.playhead(&have, geometry()), PieceIndex(2));
    }

    #[test]
    fn how_often_it_is_looked_at_changes_nothing() {
        let comes = [(1000, 1), (2000, 0), (5500, 2), (5600, 3), (9000, 4)];
        let often = play(&comes, 1, 12_000);
        let seldom = play(&comes, 6000, 12_000);
        assert_eq!(
            (often.began(), often.stalls()),
            (seldom.began(), seldom.stalls())
        );
        assert_eq!(
            (often.stalled(), often.position),
            (seldom.stalled(), seldom.position)
        );
    }

    #[test]
    fn the_end_needs_no_more_than_the_end() {
        let all: Vec<(u64, u32)> = (0..10).map(|piece| (0, piece)).collect();
        let player = play(&all, 100, 20_000);
        assert_eq!((player.stalls(), player.state), (0, State::Done));
        assert_eq!(player.stalled(), Duration::ZERO);
    }

    #[test]
    fn without_a_rate_the_playhead_is_the_first_piece_that_is_missing() {
        let mut player = Player::new(RateLimit(0), Duration::ZERO, at(0));
        let mut have = BitSet::empty(10);
        for piece in [0, 1, 3] {
            have.insert(PieceIndex(piece));
        }
        player.advance(&have, geometry(), at(5000));
        assert_eq!(player.playhead(&have, geometry()), PieceIndex(2));
        assert_eq!(
            player.playhead(&BitSet::full(10), geometry()),
            PieceIndex(9)
        );
    }
}

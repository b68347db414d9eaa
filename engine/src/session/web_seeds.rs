//! Owns the web seeds of a torrent (BEP 19): when each is used, what it is asked for, and what becomes of
//! the answers. Each is a peer with everything in a slot of its own, before those of the connections: the
//! choice of pieces, their states, end-game, parole, blame and limits are those of peers.
//!
//! Invariants: a web seed is asked for runs of blocks that lie end to end, one HTTP request each, no further
//! ahead than a peer would be; its pieces are no copies among the neighbours, as it gives every piece
//! to everybody alike; what it fails to give goes back to the pool at once. One that lied is never asked again.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use crate::bits::BitSet;
use crate::config::EngineConfig;
use crate::ids::{BLOCK_BYTES, BlockRange, ConnId, PieceIndex};
use crate::time::Now;
use crate::wire::Message;

use super::blame::SenderId;
use super::event::{CloseReason, Event};
use super::facts::FetchFailure;
use super::peer::Peer;
use super::torrent::{Output, Phase, Torrent};

/// All web seeds that are used.
#[derive(Debug)]
pub(super) struct WebSeeds {
    seeds: Vec<WebSeed>,
    /// Every piece: what each of them has.
    has: BitSet,
    /// Requests made so far: their numbers.
    made: u64,
}

/// One of them.
#[derive(Debug)]
struct WebSeed {
    url: String,
    state: State,
    /// Who it is for blame, from its first use on.
    sender: Option<SenderId>,
    /// Failures since it last gave what it was asked for.
    failures: u32,
    /// Answers that were not what was asked for.
    strikes: u32,
    /// Requests that it answers at once.
    at_once: u32,
    fetches: Vec<Fetch>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Not used before this.
    Resting(Now),
    /// Its address is looked up.
    Finding,
    /// It is a peer with everything.
    Open,
    /// Never used again.
    Off,
}

/// One HTTP request: bytes of the content.
#[derive(Clone, Debug)]
struct Fetch {
    number: u64,
    /// What has not come yet.
    range: Range<u64>,
}

/// Above all slots that a network has.
const CONNS: u32 = u32::MAX - 0xffff;

/// The connection that stands for a web seed.
fn conn_of(seed: usize) -> ConnId {
    ConnId {
        slot: CONNS + u32::try_from(seed).expect("at most web_seeds_max"),
        generation: 0,
    }
}

impl WebSeeds {
    pub(super) fn new(urls: Vec<String>, pieces: u32, config: &EngineConfig) -> WebSeeds {
        let seed = |url| WebSeed {
            url,
            state: State::Resting(Now::START),
            sender: None,
            failures: 0,
            strikes: 0,
            at_once: config.web_seed_connections.max(1),
            fetches: Vec::new(),
        };
        let used = config.web_seeds_max.min(0xffff) as usize;
        WebSeeds {
            seeds: urls.into_iter().take(used).map(seed).collect(),
            has: BitSet::full(pieces),
            made: 0,
        }
    }

    /// How many there are; as many slots before those of connections are theirs.
    pub(super) fn len(&self) -> usize {
        self.seeds.len()
    }

    /// Whether blame knows a web seed by this name.
    pub(super) fn knows(&self, sender: SenderId) -> bool {
        self.seeds.iter().any(|seed| seed.sender == Some(sender))
    }

    /// Requests under way at all of them.
    fn fetches(&self) -> usize {
        self.seeds.iter().map(|seed| seed.fetches.len()).sum()
    }
}

impl Torrent {
    /// The slot of a network's connection, taken or not: those of the web seeds come first.
    pub(super) fn slot_of(&self, conn: ConnId) -> Option<usize> {
        (conn.slot < CONNS).then(|| conn.slot as usize + self.web_slots as usize)
    }

    /// The web seed that a connection stands for.
    pub(super) fn web_seed_of(&self, conn: ConnId) -> Option<usize> {
        let seed = conn.slot.checked_sub(CONNS)? as usize;
        (seed < self.web_seeds.len()).then_some(seed)
    }

    /// Whether a slot is a web seed's.
    pub(super) fn is_web(&self, slot: usize) -> bool {
        slot < self.web_slots as usize
    }

    /// What a peer or a web seed has.
    pub(super) fn has(&self, slot: usize) -> &BitSet {
        match self.is_web(slot) {
            true => &self.web_seeds.has,
            false => &self.bitfields[slot],
        }
    }

    /// Uses every web seed that rests long enough, while something is wanted.
    pub(super) fn wake_web_seeds(&mut self, now: Now) {
        let some = self.web_seeds.len() > 0 && self.phase == Phase::Running;
        if !some || self.pieces.useful(&self.web_seeds.has) == 0 {
            return;
        }
        for number in 0..self.web_seeds.len() {
            match self.web_seeds.seeds[number].state {
                State::Resting(until) if until <= now => {
                    self.web_seeds.seeds[number].state = State::Finding;
                    let seed = number as u32;
                    self.push(Output::FindWebSeed { seed });
                }
                State::Resting(until) => self.arm(until),
                _ => {}
            }
        }
    }

    /// The name of a web seed's host was looked up.
    pub(super) fn on_web_seed_found(
        &mut self,
        seed: u32,
        found: Result<SocketAddr, FetchFailure>,
        now: Now,
    ) {
        let number = seed as usize;
        let known = self.web_seeds.seeds.get(number);
        if known.is_none_or(|s| s.state != State::Finding) {
            return;
        }
        let addr = match found {
            Ok(addr) => addr,
            Err(why) => return self.part_from_web_seed(number, why, now),
        };
        if self.phase != Phase::Running {
            self.web_seeds.seeds[number].state = State::Resting(now);
            return;
        }
        let url = self.web_seeds.seeds[number].url.clone();
        let sender = match self.web_seeds.seeds[number].sender {
            Some(sender) => sender,
            None => {
                let (peers, seeds) = (&self.peers, &self.web_seeds);
                let keep =
                    |s| seeds.knows(s) || peers.iter().flatten().any(|peer| peer.sender == s);
                let max = self.config.senders_max;
                let Some(sender) = self.blame.web_seed(addr, &url, max, keep) else {
                    return self.part_from_web_seed(number, FetchFailure::NoPlace, now);
                };
                sender
            }
        };
        let known = &mut self.web_seeds.seeds[number];
        known.sender = Some(sender);
        known.state = State::Open;
        let mut peer = Peer::new(conn_of(number), addr, false, now, &self.config);
        peer.be_web_seed();
        peer.sender = sender;
        peer.choking_us = false;
        peer.down.queue_max = u32::MAX;
        peer.useful = self.pieces.useful(&self.web_seeds.has);
        self.peers[number] = Some(peer);
        self.askable[number] = true;
        self.note(number);
        self.emit(Event::WebSeedJoined { peer: addr, url });
        self.update_interest(number, now);
        self.fill_requests(number, now);
    }

    /// A message for a web seed: what becomes of it, as there is nobody to read it.
    pub(super) fn tell_web_seed(&mut self, slot: usize, message: &Message) {
        if matches!(message, Message::NotInterested) {
            let seed = slot as u32;
            self.push(Output::RestWebSeed { seed });
        }
    }

    /// Asks a web seed for the next run of blocks: the strategy's next piece, as far as nobody is asked
    /// for it, and the pieces behind it that nobody has started, as far as a peer would be asked ahead.
    /// Under a limit no further than a second of it. False when it is asked for enough, or for nothing.
    pub(super) fn fetch_once(&mut self, slot: usize, now: Now) -> bool {
        let seed = &self.web_seeds.seeds[slot];
        let crowded = self.web_seeds.fetches() >= self.config.web_seed_connections_max as usize;
        if crowded || seed.fetches.len() >= seed.at_once as usize {
            return false;
        }
        let down = &self.peer(slot).down;
        if !down.open.is_empty() && down.room() < down.depth / 2 {
            // The next run is asked for when half of what is asked ahead has come, so that runs stay long.
            return false;
        }
        let room = u64::from(down.room()) * u64::from(BLOCK_BYTES);
        let ahead = room.min(self.config.web_seed_run_max);
        let limit = self.config.download_limit.0;
        let Some((mut piece, mut block)) = self.next_block(slot) else {
            return false;
        };
        let free = |partial: super::partial::Partial<'_>, block: u32| {
            let state = partial.blocks.get(block as usize);
            state.is_some_and(|state| *state == super::partial::Block::Missing)
        };
        let geometry = self.pieces.geometry;
        let begin = geometry.block(piece, block).begin;
        let start = geometry.offset(piece) + u64::from(begin);
        let mut end = start;
        // In end-game one block, and no more.
        let alone = !self
            .pieces
            .partial(piece)
            .is_some_and(|partial| partial.blocks[block as usize].is_free());
        loop {
            self.request(slot, piece, block, now);
            end += u64::from(geometry.block(piece, block).len);
            let enough = limit > 0 && end - start >= limit;
            if alone || enough {
                break;
            }
            block += 1;
            if block == geometry.blocks_in(piece) {
                let next = PieceIndex(piece.0 + 1);
                if end - start >= ahead || !self.goes_on(piece, next) {
                    break;
                }
                self.begin(slot, next);
                (piece, block) = (next, 0);
            }
            let partial = self.pieces.partial(piece);
            if !partial.is_some_and(|partial| free(partial, block)) {
                break;
            }
        }
        self.web_seeds.made += 1;
        let fetch = Fetch {
            number: self.web_seeds.made,
            range: start..end,
        };
        self.push(Output::Fetch {
            seed: slot as u32,
            fetch: fetch.number,
            range: fetch.range.clone(),
        });
        self.web_seeds.seeds[slot].fetches.push(fetch);
        true
    }

    /// Whether a run may go on with the next piece: nobody started it, and it is worth as much to the user.
    fn goes_on(&self, piece: PieceIndex, next: PieceIndex) -> bool {
        next.0 < self.pieces.geometry.pieces
            && self.pieces.queued.contains(next)
            && self.pieces.priority(piece) == self.pieces.priority(next)
    }

    /// A block of a run came.
    pub(super) fn on_fetched(&mut self, fetch: u64, range: BlockRange, data: Bytes, now: Now) {
        let Some((slot, at)) = self.fetch(fetch) else {
            return;
        };
        let BlockRange { piece, begin, .. } = range;
        let wanted = &mut self.web_seeds.seeds[slot].fetches[at].range;
        let from = self.pieces.geometry.offset(piece) + u64::from(begin);
        let whole = u32::try_from(data.len()) == Ok(range.len);
        if from != wanted.start || !whole {
            return self.on_fetch_failed(fetch, FetchFailure::WrongRange, now);
        }
        wanted.start += data.len() as u64;
        if wanted.is_empty() {
            let seed = &mut self.web_seeds.seeds[slot];
            seed.fetches.remove(at);
            seed.failures = 0;
        }
        self.peer(slot).last_received = now;
        let legal = self.on_block(slot, piece, begin, data, now);
        if legal.is_err() {
            return self.on_fetch_failed(fetch, FetchFailure::WrongRange, now);
        }
        // What was asked for together is answered in a row: the next block is awaited from now on.
        if let Some(peer) = &mut self.peers[slot] {
            let open = peer.down.open.iter_mut();
            open.filter(|r| !r.late).for_each(|r| r.at = now);
            self.arm_requests(slot);
        }
    }

    /// A request to a web seed failed: its blocks go back to the pool.
    pub(super) fn on_fetch_failed(&mut self, fetch: u64, why: FetchFailure, now: Now) {
        let Some((slot, at)) = self.fetch(fetch) else {
            return;
        };
        let seed = &mut self.web_seeds.seeds[slot];
        if seed.fetches.len() > 1 && matches!(why, FetchFailure::Busy { .. }) {
            // It serves one request of ours and wants no other beside it.
            seed.at_once = 1;
            let gone = seed.fetches.remove(at);
            self.release_range(slot, &gone.range);
            return self.fill_all_requests(now);
        }
        self.part_from_web_seed(slot, why, now);
    }

    fn fetch(&self, number: u64) -> Option<(usize, usize)> {
        let seeds = (0..).zip(&self.web_seeds.seeds);
        let mut found = seeds.filter_map(|(slot, seed)| {
            let at = seed.fetches.iter().position(|f| f.number == number)?;
            Some((slot, at))
        });
        found.next()
    }

    /// Requests of a range go back to the pool.
    fn release_range(&mut self, slot: usize, range: &Range<u64>) {
        let geometry = self.pieces.geometry;
        let open = self.peer(slot).down.open.iter();
        let pieces = open.map(|r| (r.piece, r.block)).filter(|(piece, block)| {
            let begin = geometry.block(*piece, *block).begin;
            range.contains(&(geometry.offset(*piece) + u64::from(begin)))
        });
        for (piece, block) in pieces.collect::<BTreeSet<_>>() {
            self.release_request(slot, piece, block);
        }
    }

    /// A web seed is of no use for now, or for ever.
    fn part_from_web_seed(&mut self, number: usize, why: FetchFailure, now: Now) {
        let config = &self.config;
        let seed = &mut self.web_seeds.seeds[number];
        seed.strikes += u32::from(why.strikes());
        let struck_out = seed.strikes >= config.strikes_max.max(1);
        let pause = match why {
            FetchFailure::Busy {
                retry_after: Some(after),
            } => after
                .max(config.dial_backoff_min)
                .min(config.web_seed_retry_max),
            _ => backoff(seed.failures, config),
        };
        seed.failures = seed.failures.saturating_add(1);
        let for_good = why.for_good() || struck_out;
        let state = match for_good {
            true => State::Off,
            false => State::Resting(now.after(pause)),
        };
        self.end_web_seed(number, state, Some(why.to_string()));
        self.wake_web_seeds(now);
        if self.phase == Phase::Running {
            self.fill_all_requests(now);
        }
    }

    /// Its place among the peers is given up, for a reason that peers have too.
    pub(super) fn close_web_seed(&mut self, number: usize, why: CloseReason, now: Now) {
        let state = match why {
            CloseReason::Banned => State::Off,
            // Suspicion is no proof.
            CloseReason::Strikes => State::Resting(now.after(self.config.dial_backoff_max)),
            _ => State::Resting(now.after(self.config.dial_backoff_min)),
        };
        // Who leaves or pauses needs not be told of it for each.
        let told = !matches!(why, CloseReason::Leaving | CloseReason::Paused);
        self.end_web_seed(number, state, told.then(|| why.words()));
        self.wake_web_seeds(now);
        if self.phase == Phase::Running {
            self.fill_all_requests(now);
        }
    }

    /// It owes us blocks for too long.
    pub(super) fn rest_web_seed(&mut self, number: usize, now: Now) {
        self.part_from_web_seed(number, FetchFailure::Silent, now);
    }

    fn end_web_seed(&mut self, number: usize, state: State, why: Option<String>) {
        if self.peers[number].is_some() {
            self.release_requests(number);
            self.peers[number] = None;
            self.note(number);
        }
        let seed = &mut self.web_seeds.seeds[number];
        seed.state = state;
        let url = seed.url.clone();
        for fetch in std::mem::take(&mut seed.fetches) {
            self.stop_fetch(number, fetch.number);
        }
        let seed = number as u32;
        self.push(Output::RestWebSeed { seed });
        if let Some(why) = why {
            self.emit(Event::WebSeedLeft {
                url,
                why,
                for_good: state == State::Off,
            });
        }
    }

    fn stop_fetch(&mut self, number: usize, fetch: u64) {
        let seed = number as u32;
        self.push(Output::StopFetch { seed, fetch });
    }

    /// Ends the requests of which nothing is wanted any more, after some of it was taken back.
    pub(super) fn stop_idle_fetches(&mut self, now: Now) {
        let geometry = self.pieces.geometry;
        for number in 0..self.web_seeds.len() {
            let before = self.web_seeds.seeds[number].fetches.len();
            let mut fetches = std::mem::take(&mut self.web_seeds.seeds[number].fetches);
            fetches.retain(|fetch| {
                let peer = self.peers[number].as_ref().expect("open while it is asked");
                let wanted = peer.down.open.iter().any(|r| {
                    let begin = geometry.block(r.piece, r.block).begin;
                    let at = geometry.offset(r.piece) + u64::from(begin);
                    fetch.range.contains(&at)
                });
                if !wanted {
                    self.stop_fetch(number, fetch.number);
                }
                wanted
            });
            let stopped = fetches.len() < before;
            self.web_seeds.seeds[number].fetches = fetches;
            if stopped {
                self.fill_requests(number, now);
            }
        }
    }
}

/// The pause after so many failures in a row: that of a dial.
fn backoff(failures: u32, config: &EngineConfig) -> Duration {
    let doubled = config
        .dial_backoff_min
        .saturating_mul(1 << failures.min(16));
    doubled.min(config.dial_backoff_max)
}

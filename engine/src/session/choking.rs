//! Owns who may download from us: the rounds, the slots between rounds, and interest.
//!
//! Invariants: never more interested peers unchoked than the choker's slots, nor more than `slots_per_address` of one
//! address;
//! a peer that is choked loses what it still waits for; a free slot goes to somebody interested at once
//! (`unchoke_on_interest`).

use std::cmp::Reverse;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::choker::{Between, ChokePeer, ChokeRound, Choker, Terms, Verdict};
use crate::config::EngineConfig;
use crate::time::Now;
use crate::wire::Message;

use super::event::Event;
use super::peer::Peer;
use super::roll::Marks;
use super::torrent::{Phase, Torrent};

/// Who takes one of the slots.
const HOLDER: Marks = Marks::UNCHOKED.and(Marks::WANTS);

/// Who waits for one, if it is choked.
const WAITS: Marks = Marks::ACTIVE.and(Marks::WANTS);

/// The rounds.
pub(super) struct Choking {
    choker: Option<Box<dyn Choker>>,
    /// Where in the interval our rounds fall, so that a swarm's rounds are not all at once.
    phase_ns: u64,
    next_round: Now,
    next_rotation: Now,
    /// Somebody's share of the bandwidth is another's.
    weighs: bool,
    /// How far the last one served was, where turns are by weight.
    pub(super) turn: u64,
}

impl Choking {
    pub(super) fn new(
        choker: Box<dyn Choker>,
        config: &EngineConfig,
        rng: &mut ChaCha8Rng,
    ) -> Choking {
        let interval = Now::START.after(config.choke_interval).0.max(1);
        Choking {
            choker: Some(choker),
            phase_ns: rng.random_range(0..interval),
            next_round: Now::NEVER,
            next_rotation: Now::START,
            weighs: false,
            turn: 0,
        }
    }

    pub(super) fn begin(&mut self, now: Now) {
        self.next_round = Now(now.0.saturating_add(self.phase_ns));
    }

    pub(super) fn next_round(&self) -> Now {
        self.next_round
    }

    /// Whether bandwidth goes by weight.
    pub(super) fn weighs(&self) -> bool {
        self.weighs
    }
}

impl Torrent {
    /// One round: snapshot, decision, execution.
    pub(super) fn choke_round(&mut self, now: Now) {
        self.tell_all_news(now);
        self.choking.next_round = now.after(self.config.choke_interval);
        let rotate = self.choking.next_rotation <= now;
        if rotate {
            self.choking.next_rotation = now.after(self.config.optimistic_interval);
        }
        // Who wants nothing, holds no slot and gave nothing stays as it is.
        let any = Marks::WANTS.and(Marks::UNCHOKED).and(Marks::GAVE);
        let slots = self.roll.which(Marks::ACTIVE, any, Marks::WEB);
        let slots: Vec<usize> = slots.collect();
        let peers = slots.iter().map(|slot| self.snapshot(*slot, now));
        let peers: Vec<_> = peers.collect();
        let round = ChokeRound {
            now,
            interval: self.config.choke_interval,
            pieces: self.pieces.geometry.pieces,
            upload_limit: self.config.upload_limit.0,
            seeding: self.pieces.finished(),
            slots: self.config.upload_slots,
            optimistic_slots: self.config.optimistic_slots,
            rotate,
            quota: u64::from(self.config.seed_quota_pieces)
                * u64::from(self.pieces.geometry.piece_bytes),
            quota_time: self.config.seed_quota_time,
            peers: &peers,
        };
        let mut choker = self.choking.choker.take().expect("put back below");
        let verdicts = choker.decide(&round, &mut self.rngs.choker);
        self.choking.choker = Some(choker);
        assert_eq!(
            verdicts.len(),
            peers.len(),
            "a choker gives one verdict per peer"
        );
        let weight = |verdict: &Verdict| verdict.terms.weight;
        let unchoked = verdicts.iter().filter(|verdict| verdict.unchoke);
        self.choking.weighs = unchoked.map(weight).any(|w| w != Terms::EQUAL);
        // Chokes first: their slots are free before somebody else takes them.
        for (slot, verdict) in slots.iter().zip(&verdicts) {
            if !verdict.unchoke {
                self.choke(*slot, now);
            }
        }
        let mut left_over = false;
        for (slot, verdict) in slots.iter().zip(&verdicts) {
            let stays = self.peer(*slot).unchoked;
            if verdict.unchoke && (stays || self.address_has_room(*slot)) {
                self.unchoke(*slot, verdict.optimistic, verdict.terms, now);
            } else {
                left_over |= verdict.unchoke;
            }
        }
        for slot in slots {
            let peer = self.peer(slot);
            peer.up.sent_now = 0;
            let down = &mut peer.down;
            down.received_before = std::mem::take(&mut down.received_now);
            self.note(slot);
        }
        if left_over {
            self.fill_slots(now);
        }
        // Terms may have become better.
        let owed = |slot: &usize| {
            self.peers[*slot]
                .as_ref()
                .is_some_and(|p| !p.up.queue.is_empty())
        };
        let owed: Vec<usize> = self.roll.all(HOLDER).filter(owed).collect();
        for slot in owed {
            self.serve(slot, now);
        }
        self.part_from_content(now);
        self.emit_audit();
        self.emit_buffered();
    }

    fn snapshot(&self, slot: usize, now: Now) -> ChokePeer {
        let peer = self.peers[slot]
            .as_ref()
            .expect("only active peers take part");
        let sender = self.blame.get(peer.sender);
        ChokePeer {
            conn: peer.conn,
            unchokes_us: !peer.choking_us,
            received_last: peer.down.received_now,
            sent_last: peer.up.sent_now,
            received_ever: sender.map_or(0, |sender| sender.received),
            sent_ever: sender.map_or(0, |sender| sender.sent),
            pieces: self.bitfields[slot].count(),
            interested: peer.interested,
            unchoked: peer.unchoked,
            optimistic: peer.optimistic,
            snubbed: peer.down.snubbed,
            received: peer.down.received(),
            given: peer.up.given,
            since: peer.choke_changed,
            waiting_since: peer.waiting_since,
            changeable: self.changeable(peer, now),
            idle: self.hardly_uses_slot(peer, now),
        }
    }

    /// Whether a peer may be choked or unchoked again.
    fn changeable(&self, peer: &Peer, now: Now) -> bool {
        !peer.ever_unchoked || now.since(peer.choke_changed) >= self.config.choke_hold_min
    }

    /// Whether a peer holds a slot, asks for nothing now, and has taken too little since it got it.
    fn hardly_uses_slot(&self, peer: &Peer, now: Now) -> bool {
        let held = now.since(peer.choke_changed);
        let up = &peer.up;
        let asks = !up.queue.is_empty() || !up.reading.is_empty() || up.queued_bytes > 0;
        let least = u128::from(self.config.slot_rate_min.0) * held.as_millis() / 1000;
        let settled = held >= self.config.choke_interval;
        peer.unchoked && settled && !asks && u128::from(up.given) < least
    }

    fn choke(&mut self, slot: usize, now: Now) {
        let queue_behind = self.config.optimistic_interval * 3;
        let peer = self.peer(slot);
        if !peer.unchoked {
            return;
        }
        peer.unchoked = false;
        peer.optimistic = false;
        peer.up.sent_now = 0;
        peer.choke_changed = now;
        peer.waiting_since = now.after(queue_behind);
        let addr = peer.addr;
        self.note(slot);
        self.emit(Event::Choked { peer: addr });
        self.send(slot, Message::Choke, now);
        // With the fast extension the rejects follow the choke.
        self.forget_uploads(slot, now);
    }

    /// Nobody is served any more.
    pub(super) fn choke_all(&mut self, now: Now) {
        let unchoked: Vec<_> = self.roll.all(Marks::UNCHOKED).collect();
        for slot in unchoked {
            self.choke(slot, now);
        }
    }

    fn unchoke(&mut self, slot: usize, optimistic: bool, terms: Terms, now: Now) {
        let peer = self.peer(slot);
        peer.optimistic = optimistic;
        peer.up.terms = terms;
        if peer.unchoked {
            return self.note(slot);
        }
        peer.unchoked = true;
        peer.ever_unchoked = true;
        peer.choke_changed = now;
        peer.up.given = 0;
        peer.up.refused = 0;
        let addr = peer.addr;
        self.note(slot);
        self.emit(Event::Unchoked {
            peer: addr,
            optimistic,
        });
        self.send(slot, Message::Unchoke, now);
    }

    /// Slots that peers at this one's address hold; nothing where there cannot be too many of them.
    fn slots_there(&self, slot: usize) -> Option<u32> {
        let peer = self.peers[slot].as_ref().expect("the caller looked");
        let ip = peer.addr.ip();
        if peer.web || ip.is_loopback() || self.roll.at(ip) <= self.config.slots_per_address {
            return None;
        }
        let there = |slot: &usize| {
            self.peers[*slot]
                .as_ref()
                .is_some_and(|p| p.addr.ip() == ip)
        };
        let holders = self.roll.all(HOLDER).filter(there);
        Some(u32::try_from(holders.count()).expect("no more than connections"))
    }

    /// Whether a peer that is choked may have a slot, as far as its address has few enough.
    fn address_has_room(&self, slot: usize) -> bool {
        let held = self.slots_there(slot);
        held.is_none_or(|held| held < self.config.slots_per_address)
    }

    /// What the choker says until its next round.
    pub(super) fn between(&self) -> Between {
        let choker = self.choking.choker.as_ref().expect("no round is under way");
        choker.between(self.pieces.finished(), self.config.upload_slots)
    }

    /// Slots in use.
    fn slots_used(&self) -> u32 {
        let used = self.roll.all(HOLDER);
        u32::try_from(used.count()).expect("no more than connections")
    }

    /// Regular slots in use.
    fn regular_used(&self) -> u32 {
        let used = self.roll.which(HOLDER, HOLDER, Marks::OPTIMISTIC);
        u32::try_from(used.count()).expect("no more than connections")
    }

    pub(super) fn on_interest(&mut self, slot: usize, on: bool, now: Now) {
        let peer = self.peer(slot);
        if peer.interested == on {
            return;
        }
        peer.interested = on;
        peer.interest_changed = now;
        peer.content_from = now;
        let (addr, unchoked) = (peer.addr, peer.unchoked);
        let found = on && !peer.inbound;
        self.note(slot);
        self.emit(Event::InterestedBy { peer: addr, on });
        if !on {
            // It may want what it was not told of.
            self.tell_news(slot, now);
        }
        match (on, unchoked) {
            (true, true) if self.slots_there(slot) > Some(self.config.slots_per_address) => {
                self.choke(slot, now);
            }
            // It takes a slot again; if that went to somebody else meanwhile, one must go.
            (true, true) if self.slots_used() > self.between().slots => {
                self.choke_worst(now);
            }
            (true, false) => self.fill_slots(now),
            // The optimistic turn of who wants nothing is over; unchoked it may stay.
            (false, true) => {
                self.peer(slot).optimistic = false;
                self.note(slot);
                self.forget_uploads(slot, now);
                self.fill_slots(now);
            }
            _ => {}
        }
        if found && self.seeds_met.leecher(now) {
            self.find_peers(now);
        }
    }

    /// Chokes the regular peer that gave least, of equals the one unchoked last; an optimistic one
    /// only when there is no other.
    fn choke_worst(&mut self, now: Now) {
        let worst = self.roll.all(HOLDER).min_by_key(|&slot| {
            let peer = self.peers[slot].as_ref().expect("it holds a slot");
            let last = Reverse(peer.choke_changed);
            (peer.optimistic, peer.down.received(), last, slot)
        });
        if let Some(slot) = worst {
            self.choke(slot, now);
        }
    }

    /// Who waits for a slot and comes first: who gave most, then who waits longest.
    fn next_waiting(&self, now: Now) -> Option<usize> {
        let mut best = None;
        for slot in self.roll.which(WAITS, WAITS, Marks::UNCHOKED) {
            let peer = self.peers[slot].as_ref().expect("it is active");
            if !self.changeable(peer, now) {
                continue;
            }
            let order = (Reverse(peer.down.received()), peer.waiting_since, slot);
            // How many there are at its address takes longer to find out.
            if best.is_none_or(|best| order < best) && self.address_has_room(slot) {
                best = Some(order);
            }
        }
        best.map(|(_, _, slot)| slot)
    }

    /// Gives free slots to interested peers between rounds: who gave most, then who waits longest.
    pub(super) fn fill_slots(&mut self, now: Now) {
        if !self.config.unchoke_on_interest || self.phase != Phase::Running {
            return;
        }
        let Between { slots, terms } = self.between();
        let regular = slots.saturating_sub(self.config.optimistic_slots);
        while self.slots_used() < slots {
            let Some(slot) = self.next_waiting(now) else {
                return;
            };
            let optimistic = self.regular_used() >= regular && !self.pieces.finished();
            self.unchoke(slot, optimistic, terms, now);
        }
    }
}

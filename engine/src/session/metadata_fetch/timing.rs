//! Owns when a fetch does what: trackers, dials, whom to ask for which block, and what is late.
//!
//! Invariant: after every input all that can be asked for now is, and the timer is armed for the first
//! thing that is due.

use crate::ids::ConnId;
use crate::session::event::{CloseReason, Event};
use crate::session::torrent::Output;
use crate::time::Now;
use crate::tracker::announce::{AnnounceFailure, AnnounceReply};
use crate::wire::Message;
use crate::wire::metadata::MetadataMessage;

use super::super::dial::Wanted;
use super::{AnnounceEvent, AnnounceRequest, LEFT_UNKNOWN, MetadataFetch, Phase};

impl MetadataFetch {
    /// Whatever happened: asks, dials, announces, and arms the timer.
    pub(super) fn go_on(&mut self, now: Now) {
        if matches!(self.phase, Phase::Idle | Phase::Over) {
            self.next_due = Now::NEVER;
            return;
        }
        if self.phase == Phase::Running {
            self.assign(now);
            self.ask(now);
            self.find_peers(now);
        }
        self.announce_if_due(now);
        self.arm_all(now);
    }

    pub(super) fn on_timer(&mut self, now: Now) {
        self.next_due = Now::NEVER;
        for slot in 0..self.peers.len() {
            self.peer_timers(slot, now);
        }
        for addr in self.dial.overdue(now, &self.config) {
            self.push(Output::Abandon { addr });
            self.emit(Event::DialFailed { peer: addr });
        }
        self.make_room(now);
    }

    fn peer_timers(&mut self, slot: usize, now: Now) {
        let Some(peer) = self.peers[slot].as_ref() else {
            return;
        };
        let conn = peer.conn;
        if !peer.active() {
            if peer.since.after(self.config.handshake_timeout) <= now {
                self.close(conn, CloseReason::HandshakeTimeout, now);
            }
            return;
        }
        if peer.last_received.after(self.config.silence_timeout) <= now {
            return self.close(conn, CloseReason::Silence, now);
        }
        if peer.last_sent.after(self.config.keepalive_interval) <= now {
            self.send(slot, Message::KeepAlive, now);
        }
        let late = |asked: Now| asked.after(self.config.metadata_timeout) <= now;
        let source = self.sources.get(&slot);
        if source.is_some_and(|s| s.asked.iter().any(|(_, asked)| late(*asked))) {
            let sender = self.peer(slot).sender;
            *self.tries.entry(sender).or_default() += 1;
            self.pause_source(slot, now);
        }
    }

    /// All places are taken, and others may be dialled: of who serves nothing the one that is here
    /// longest makes room.
    fn make_room(&mut self, now: Now) {
        let taken = self.connections + self.dial.dialling();
        if self.phase != Phase::Running
            || taken < self.config.connections_max
            || !self.dial.any_due(now, &self.roll, &self.config)
        {
            return;
        }
        let idle_timeout = self.config.idle_timeout;
        let peers = self.peers.iter().enumerate();
        let idle = peers.filter_map(|(slot, p)| Some((slot, p.as_ref()?)));
        let idle = idle.filter(|(slot, p)| {
            !self.sources.contains_key(slot) && p.since.after(idle_timeout) <= now
        });
        let longest: Option<ConnId> = idle
            .min_by_key(|(_, p)| (p.since, p.conn))
            .map(|(_, p)| p.conn);
        if let Some(conn) = longest {
            self.close(conn, CloseReason::Idle, now);
        }
    }

    /// Sources that take part in no copy join one, or begin one. The one that tried least comes first.
    fn assign(&mut self, now: Now) {
        loop {
            let mut free: Vec<usize> = Vec::new();
            for (slot, source) in &mut self.sources {
                if source.draft.is_some() || source.hold > now {
                    continue;
                }
                let peer = self.peers[*slot].as_ref().expect("a source is connected");
                source.draft = self.drafts.open_to(source.size, peer.sender);
                if source.draft.is_none() {
                    free.push(*slot);
                }
            }
            let sender = |slot: &usize| self.peers[*slot].as_ref().map(|p| p.sender);
            let tries = |slot: &usize| {
                let sender = sender(slot).expect("a source is connected");
                self.tries.get(&sender).copied().unwrap_or(0)
            };
            let Some(slot) = free.into_iter().min_by_key(|slot| (tries(slot), *slot)) else {
                return;
            };
            if self.drafts.len() >= self.config.metadata_drafts_max as usize {
                let Some(overdue) = self.drafts.overdue(now) else {
                    return;
                };
                for (slot, source) in &self.sources {
                    if source.draft == Some(overdue)
                        && let Some(peer) = &self.peers[*slot]
                    {
                        *self.tries.entry(peer.sender).or_default() += 1;
                    }
                }
                self.drafts.forget(overdue);
                self.leave_draft(overdue);
                continue;
            }
            let time = self.config.metadata_draft_time;
            let time = time.saturating_mul(1 << tries(&slot).min(6));
            let sender = sender(&slot).expect("a source is connected");
            let source = self.sources.get_mut(&slot).expect("just found");
            let draft = self.drafts.begin(source.size, sender, now.after(time));
            source.draft = Some(draft);
        }
    }

    /// Asks every source for as much as it may be asked for, one block each in turn. Who failed least
    /// comes first, or those who never answer could pass the last block round among themselves.
    fn ask(&mut self, now: Now) {
        let depth = self.config.metadata_pipeline as usize;
        let tries = |slot: &usize| {
            let sender = self.peers[*slot].as_ref().map(|p| p.sender);
            sender
                .and_then(|s| self.tries.get(&s))
                .copied()
                .unwrap_or(0)
        };
        let mut order: Vec<usize> = self.sources.keys().copied().collect();
        order.sort_by_key(|slot| (tries(slot), *slot));
        loop {
            let mut requests = Vec::new();
            for slot in &order {
                let source = self.sources.get_mut(slot).expect("just listed");
                if source.hold > now || source.asked.len() >= depth {
                    continue;
                }
                if let Some(draft) = source.draft
                    && let Some(block) = self.drafts.next_block(draft)
                {
                    source.asked.push((block, now));
                    let request = MetadataMessage::Request { block };
                    requests.push((*slot, request.message(source.id)));
                }
            }
            if requests.is_empty() {
                return;
            }
            for (slot, request) in requests {
                self.send(slot, request, now);
            }
        }
    }

    fn find_peers(&mut self, now: Now) {
        let taken = self.connections + self.dial.dialling();
        let room = self.config.connections_max.saturating_sub(taken);
        let rng = &mut self.rng;
        let chosen = self
            .dial
            .choose(now, room, Wanted::default(), &self.roll, &self.config, rng);
        for addr in chosen {
            self.push(Output::Connect { addr });
        }
    }

    fn short_of_peers(&self) -> bool {
        let low = self.config.peers_low.min(self.config.connections_max);
        self.phase == Phase::Running && self.connections < low
    }

    fn announce_if_due(&mut self, now: Now) {
        let short = self.short_of_peers();
        let Some(schedule) = &mut self.schedule else {
            return;
        };
        if let Some(event) = schedule.poll(now, short) {
            let tracker = schedule.asked();
            let request = Box::new(AnnounceRequest {
                info_hash: self.info_hash,
                peer_id: self.peer_id,
                port: self.port,
                uploaded: 0,
                downloaded: 0,
                left: LEFT_UNKNOWN,
                event,
                wanted: match event {
                    AnnounceEvent::Stopped => 0,
                    _ => self.config.peers_wanted,
                },
                key: self.key,
                tracker_id: schedule.tracker_id().map(<[u8]>::to_vec),
                compact: true,
            });
            self.push(Output::Announce { tracker, request });
        }
    }

    pub(super) fn on_announced(
        &mut self,
        result: Result<AnnounceReply, AnnounceFailure>,
        now: Now,
    ) {
        let Some(schedule) = &mut self.schedule else {
            return;
        };
        let tracker = schedule.asked();
        match result {
            Ok(reply) => {
                let what = schedule.on_reply(&reply, now);
                let peers = u32::try_from(reply.peers.len()).unwrap_or(u32::MAX);
                self.dial.learn(&reply.peers, self.peer_id, &self.config);
                self.emit(Event::Announced {
                    what,
                    peers,
                    tracker,
                });
                if let Some(text) = reply.warning {
                    self.emit(Event::TrackerWarned { tracker, text });
                }
            }
            Err(failure) => {
                let what = schedule.on_failure(&failure, now, &mut self.rng);
                self.emit(Event::AnnounceFailed {
                    what,
                    why: failure.to_string(),
                    tracker,
                    for_good: failure.is_final(),
                });
                // Who leaves does not wait for a tracker that is not there.
                if self.phase == Phase::Leaving && what == AnnounceEvent::Stopped {
                    return self.end(now);
                }
            }
        }
        self.leave_if_told(now);
    }

    fn arm_all(&mut self, now: Now) {
        let config = &self.config;
        let mut due = Now::NEVER;
        for peer in self.peers.iter().flatten() {
            due = due.min(match peer.active() {
                false => peer.since.after(config.handshake_timeout),
                true => {
                    let silence = peer.last_received.after(config.silence_timeout);
                    silence.min(peer.last_sent.after(config.keepalive_interval))
                }
            });
        }
        for source in self.sources.values() {
            let late = source
                .asked
                .iter()
                .map(|(_, at)| at.after(config.metadata_timeout));
            due = due.min(late.min().unwrap_or(Now::NEVER));
            if source.hold > now {
                due = due.min(source.hold);
            }
        }
        let waits = self.sources.values().any(|s| s.draft.is_none());
        if waits && self.drafts.next_due() > now {
            due = due.min(self.drafts.next_due());
        }
        let taken = self.connections + self.dial.dialling();
        let room = taken < config.connections_max;
        due = due.min(self.dial.next_due(room, now, config));
        if !room && self.phase == Phase::Running {
            // Somebody of no use may make room then.
            let useless = self
                .peers
                .iter()
                .flatten()
                .map(|p| p.since.after(config.idle_timeout));
            due = due.min(useless.filter(|at| *at > now).min().unwrap_or(Now::NEVER));
        }
        let short = self.short_of_peers();
        if let Some(schedule) = &self.schedule {
            due = due.min(schedule.next_due(short));
        }
        self.next_due = due;
    }
}

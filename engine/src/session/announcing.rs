//! Owns finding peers: when a tracker is asked, and whom to dial.
//!
//! Invariant: one announce is under way at a time; connections never exceed `connections_max`, and nobody is dialled while
//! they do together with the dials under way; while they are at it, a connection of no use to either side gives way.

use std::net::SocketAddr;

use crate::ids::ConnId;
use crate::time::Now;
use crate::tracker::announce::{AnnounceEvent, AnnounceFailure, AnnounceReply, AnnounceRequest};
use crate::tracker::schedule::Schedule;

use super::dial::Wanted;
use super::event::{CloseReason, Event};
use super::roll::Marks;
use super::torrent::{Output, Phase, Torrent};

/// After so many dials in vain patience grows no longer: it is an hour then.
const EXPLORED_MAX: u32 = 6;

impl Torrent {
    /// Uses web seeds, dials while there is room, and asks the tracker when it is time.
    pub(super) fn find_peers(&mut self, now: Now) {
        self.wake_web_seeds(now);
        if let Some((conn, why)) = self.turnover(now) {
            // Its end comes back here, with room.
            return self.close(conn, why, now);
        }
        let elsewhere = std::mem::take(&mut self.elsewhere);
        if self.phase == Phase::Running {
            let taken = self.connections + self.dial.dialling();
            let mut room = self.config.connections_max.saturating_sub(taken);
            let seeding = self.pieces.finished();
            let wants = room > 0 && !self.dial.is_quiet(seeding, now);
            if elsewhere {
                room = room.min(1);
            } else if wants && self.is_dull(now) {
                room = u32::from(self.explores(now));
                if room == 0 {
                    self.arm(self.next_turnover);
                }
            }
            let paced = self.paced_room(now);
            let waits = wants && room > paced;
            room = room.min(paced);
            let chosen = self.dial.choose(
                now,
                room,
                Wanted { seeding, elsewhere },
                &self.roll,
                &self.config,
                &mut self.rngs.contacts,
            );
            self.exploring &= chosen.is_empty();
            self.pace.dialled(chosen.len(), now, &self.config);
            if seeding {
                self.seeds_met.dialled(chosen.len(), now, &self.config);
            }
            if waits && self.paced_room(now) == 0 {
                let met = if seeding { self.seeds_met.next() } else { now };
                self.arm(self.tick(met).max(self.pace.next(&self.config)));
            }
            for addr in &chosen {
                self.push(Output::Connect { addr: *addr });
            }
            let room = room as usize > chosen.len();
            let due = self.dial.next_due(room, now, &self.config);
            self.arm(self.tick(due));
        }
        self.announce_if_due(now);
    }

    /// Dials that may be made now, however many there is room for.
    fn paced_room(&self, now: Now) -> u32 {
        let room = self.pace.room(now, &self.config);
        match self.pieces.finished() {
            true => room.min(self.seeds_met.room(now)),
            false => room,
        }
    }

    /// A dial led to nobody.
    pub(super) fn dial_failed(&mut self, peer: SocketAddr, now: Now) {
        self.seeds_met.unanswered(now);
        self.emit(Event::DialFailed { peer });
    }

    /// The connection to give up for somebody who may be dialled: all places are taken, by peers
    /// who have nothing for each other. One at a time, so that those dialled can show what they have.
    fn turnover(&mut self, now: Now) -> Option<(ConnId, CloseReason)> {
        let taken = self.connections + self.dial.dialling();
        let full = taken >= self.config.connections_max;
        if self.phase != Phase::Running || self.pieces.finished() || !full {
            return None;
        }
        if let Some(conn) = self.crowd_gives_way(now) {
            return Some((conn, CloseReason::Crowded));
        }
        if now < self.next_turnover {
            return None;
        }
        // First what is mostly known without a look at anybody.
        if !self.dial.any_due(now, &self.roll, &self.config) {
            return None;
        }
        let idle = self.longest_idle(now)?;
        self.explore(now);
        Some(idle)
    }

    /// The connection of a crowd at one address that gives way to somebody at an address that has none, who is
    /// dialled then.
    fn crowd_gives_way(&mut self, now: Now) -> Option<ConnId> {
        let conn = self.crowding(0)?;
        let may_dial = self.pace.room(now, &self.config) > 0
            && self.dial.dialling() < self.config.dials_max
            && self.dial.any_due_elsewhere(now, &self.roll, &self.config);
        self.elsewhere = may_dial;
        may_dial.then_some(conn)
    }

    /// Whether more neighbours like those we have would be of no use: nobody has anything for us, and enough
    /// of them have wanted nothing for long. Where all lack the same, each would else be dialled by each, and
    /// every newcomer take the place of one who dials again.
    fn is_dull(&self, now: Now) -> bool {
        if self.pieces.finished() || self.roll.all(Marks::WANTED).next().is_some() {
            return false;
        }
        let idle = self.roll.still_for(self.config.idle_timeout, now);
        idle.count() >= self.config.peers_low.max(1) as usize
    }

    /// Whether somebody new may be dialled although it is dull: one each time that patience is over.
    fn explores(&mut self, now: Now) -> bool {
        if !self.exploring && self.next_turnover <= now {
            self.explore(now);
        }
        self.exploring
    }

    /// Somebody new may be dialled now; the next one after twice the time, until somebody is of use.
    fn explore(&mut self, now: Now) {
        self.exploring = true;
        let times = 1 << self.explored.min(EXPLORED_MAX);
        self.next_turnover = now.after(self.config.idle_timeout.saturating_mul(times));
        self.explored += u32::from(self.explored < EXPLORED_MAX);
    }

    /// The connection that has been of no use for longest, and long enough; and why.
    pub(super) fn longest_idle(&self, now: Now) -> Option<(ConnId, CloseReason)> {
        let idle = self.roll.still_for(self.config.idle_timeout, now);
        let (slot, why) = match idle.min() {
            Some((_, slot)) => (slot, CloseReason::Idle),
            None => (self.longest_barren(now)?, CloseReason::Barren),
        };
        self.peers[slot].as_ref().map(|p| (p.conn, why))
    }

    /// The connection that has stood for longest, and long enough, of those whose peer never gave us a
    /// block or got one of us.
    fn longest_barren(&self, now: Now) -> Option<usize> {
        let standing = self.roll.standing_for(self.config.barren_timeout, now);
        let sender = |slot: usize| self.peers[slot].as_ref().map(|p| p.sender);
        let barren =
            standing.filter(|(_, slot)| sender(*slot).is_some_and(|s| self.blame.carried(s) == 0));
        barren.min().map(|(_, slot)| slot)
    }

    /// Fewer connections than we would like, and nobody left to dial would change that.
    fn short_of_peers(&self) -> bool {
        let low = self.config.peers_low.min(self.config.connections_max);
        self.phase == Phase::Running && !self.pieces.finished() && self.connections < low
    }

    pub(super) fn announce_if_due(&mut self, now: Now) {
        let short = self.short_of_peers();
        let Some(schedule) = &mut self.schedule else {
            return;
        };
        if let Some(event) = schedule.poll(now, short) {
            let wanted = match event {
                AnnounceEvent::Stopped => 0,
                _ => self.config.peers_wanted,
            };
            let tracker = schedule.asked();
            let partial_seed = self.pieces.finished() && !self.pieces.complete();
            let event = match event {
                AnnounceEvent::Periodic if partial_seed => AnnounceEvent::Paused,
                event => event,
            };
            let tracker_id = schedule.tracker_id().map(<[u8]>::to_vec);
            let left = self.pieces.left();
            let request = Box::new(AnnounceRequest {
                info_hash: self.info_hash,
                peer_id: self.peer_id,
                port: self.port,
                uploaded: self.totals.sent,
                downloaded: self.totals.gained,
                left,
                event,
                wanted,
                key: self.key,
                tracker_id,
                compact: true,
            });
            self.push(Output::Announce { tracker, request });
        }
        let due = self
            .schedule
            .as_ref()
            .map_or(Now::NEVER, |s| s.next_due(short));
        self.arm(due);
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
                self.emit(Event::Announced {
                    what,
                    peers,
                    tracker,
                });
                if let Some(text) = reply.warning {
                    self.emit(Event::TrackerWarned { tracker, text });
                }
                let before = self.told_by.replace(tracker);
                if self.private && before.is_some_and(|before| before != tracker) {
                    self.change_tracker(now);
                }
                self.dial.learn(&reply.peers, self.peer_id, &self.config);
                if !reply.peers.is_empty() {
                    self.seeds_met.leecher(now);
                }
            }
            Err(failure) => {
                let for_good = failure.is_final();
                let what = schedule.on_failure(&failure, now, &mut self.rngs.contacts);
                self.emit(Event::AnnounceFailed {
                    what,
                    why: failure.to_string(),
                    tracker,
                    for_good,
                });
                // Who leaves does not wait for a tracker that is not there.
                if self.phase == Phase::Leaving && what == AnnounceEvent::Stopped {
                    return self.left_behind();
                }
            }
        }
        self.find_peers(now);
        if self.phase == Phase::Leaving
            && self
                .schedule
                .as_ref()
                .is_some_and(Schedule::stopped_delivered)
        {
            self.left_behind();
        }
    }

    /// Another tracker answers for a private torrent: whoever the one before named is left (BEP 27).
    fn change_tracker(&mut self, now: Now) {
        self.dial.forget();
        let peers = self.peers.iter().flatten().filter(|p| !p.web);
        let open: Vec<_> = peers.map(|p| p.conn).collect();
        for conn in open {
            self.close(conn, CloseReason::OtherTracker, now);
        }
    }

    /// The user leaves: connections close, `stopped` goes to the tracker if it knows of us.
    pub(super) fn on_leave(&mut self, now: Now) {
        if matches!(self.phase, Phase::Leaving | Phase::Left) {
            return;
        }
        let started = self.phase != Phase::Idle;
        self.phase = Phase::Leaving;
        self.emit(Event::Leaving);
        self.close_all(CloseReason::Leaving, now);
        match &mut self.schedule {
            Some(schedule) if started => {
                schedule.stop();
                // After a pause the farewell may have failed already.
                if schedule.stopped_delivered() || schedule.waits(now) {
                    return self.left_behind();
                }
                self.announce_if_due(now);
            }
            _ => self.left_behind(),
        }
    }

    fn left_behind(&mut self) {
        self.phase = Phase::Left;
        self.push(Output::Left);
    }
}

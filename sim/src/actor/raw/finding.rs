//! Owns whom an attacker knows of: what the trackers told each of its identities, and which addresses are
//! due to be dialled.
//!
//! Invariant: an address has at most one connection, or dial, of each identity.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use skep_engine::node::announcer::Announcer;
use skep_engine::node::network::Network;
use skep_engine::tracker::announce::{
    AnnounceEvent, AnnounceFailure, AnnounceRequest, Answer, Question,
};
use skep_engine::{ConnId, InfoHash, Now, PeerId};

use super::Habits;
use crate::network::HostNet;

/// Time between announces when the tracker names none, or after a failure.
const ANNOUNCE: Duration = Duration::from_secs(60);
/// Peers that it asks for.
const WANTED: u32 = 200;

/// An address from a tracker.
struct Contact {
    /// By identity.
    conns: Vec<Option<ConnId>>,
    next: Now,
}

/// One of its names.
#[derive(Clone, Copy)]
struct Identity {
    announced: bool,
    next: Now,
}

/// What it says of itself to trackers.
pub(super) struct Said {
    pub info_hash: InfoHash,
    pub port: u16,
    pub left: u64,
}

/// All that an attacker knows of others.
pub(super) struct Finding {
    habits: Habits,
    said: Said,
    announcer: Announcer,
    /// The tracker that it asks; the next one after a failure.
    tracker: u32,
    identities: Vec<Identity>,
    /// Whose announce is under way.
    asking: usize,
    contacts: BTreeMap<SocketAddr, Contact>,
}

impl Finding {
    pub fn new(habits: Habits, said: Said, announcer: Announcer) -> Finding {
        let fresh = Identity {
            announced: false,
            next: Now::START,
        };
        Finding {
            identities: vec![fresh; habits.identities as usize],
            habits,
            said,
            announcer,
            tracker: 0,
            asking: 0,
            contacts: BTreeMap::new(),
        }
    }

    pub fn announcer(&mut self) -> &mut Announcer {
        &mut self.announcer
    }

    /// Announces the identity that is due first, if the last answer is there.
    pub fn announce(&mut self, net: &mut HostNet, ids: &[PeerId], now: Now) {
        let due = self.identities.iter().enumerate();
        let due = due
            .filter(|(_, i)| i.next <= now)
            .min_by_key(|(_, i)| i.next);
        let Some((at, identity)) = due.filter(|_| self.announcer.idle()) else {
            return;
        };
        let request = AnnounceRequest {
            info_hash: self.said.info_hash,
            peer_id: ids[at],
            port: self.said.port,
            uploaded: 0,
            downloaded: 0,
            left: self.said.left,
            event: match identity.announced {
                true => AnnounceEvent::Periodic,
                false => AnnounceEvent::Started,
            },
            wanted: WANTED,
            key: 0,
            tracker_id: None,
            compact: true,
        };
        self.asking = at;
        let question = Question::Announce(Box::new(request));
        self.announcer.ask(net, self.tracker, question);
    }

    /// Takes a tracker's answer; whether it was one.
    pub fn on_announced(&mut self, answer: Result<Answer, AnnounceFailure>, now: Now) -> bool {
        let (interval, answered) = match answer {
            Ok(Answer::Announced(reply)) => {
                for peer in &reply.peers {
                    let fresh = || Contact {
                        conns: vec![None; self.identities.len()],
                        next: now,
                    };
                    self.contacts.entry(peer.addr).or_insert_with(fresh);
                }
                (reply.interval.unwrap_or(ANNOUNCE), true)
            }
            Ok(Answer::Scraped(_)) => (ANNOUNCE, false),
            Err(_) => {
                let trackers = u32::try_from(self.announcer.trackers()).unwrap_or(1);
                self.tracker = (self.tracker + 1) % trackers.max(1);
                // The next one at once, the first again after a pause.
                let pause = if self.tracker == 0 {
                    ANNOUNCE
                } else {
                    Duration::ZERO
                };
                (pause, false)
            }
        };
        let identity = &mut self.identities[self.asking];
        identity.announced = answered;
        identity.next = now.after(self.habits.announce.unwrap_or(interval));
        answered
    }

    /// Dials what is due while there is room. `standing` are the connections that there are.
    pub fn dial(&mut self, net: &mut HostNet, mut standing: usize, now: Now) {
        if !self.habits.dials {
            return;
        }
        for (addr, contact) in &mut self.contacts {
            if contact.next > now {
                continue;
            }
            for conn in contact.conns.iter_mut().filter(|conn| conn.is_none()) {
                if standing < self.habits.connections_max {
                    *conn = Some(net.connect(*addr));
                    contact.next = now.after(self.habits.redial);
                    standing += 1;
                }
            }
        }
    }

    /// The identity that dialled on this connection.
    pub fn identity(&self, conn: ConnId) -> Option<usize> {
        let mut contacts = self.contacts.values();
        contacts.find_map(|c| c.conns.iter().position(|its| *its == Some(conn)))
    }

    /// A connection or a dial is over: its address may be dialled again.
    pub fn forget(&mut self, conn: ConnId) {
        let mut dialled = self.contacts.values_mut().flat_map(|c| &mut c.conns);
        if let Some(its) = dialled.find(|its| **its == Some(conn)) {
            *its = None;
        }
    }
}

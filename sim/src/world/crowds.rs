//! Owns what honest peers have to do with attackers: connections, upload slots, and why those ended.
//!
//! Invariant: a connection counts from the handshake to its end, a slot from the unchoke to the choke or the end of
//! the connection; both by the honest peer and the attacker's host, so that the most at once is known of each pair.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use skep_engine::session::event::{CloseReason, Event};

/// An honest peer and an attacker's host, by their places in the plan.
type Pair = (usize, usize);

/// The most that there was of each attacker.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Crowd {
    /// Connections at once with one honest peer.
    pub connections: u32,
    /// Upload slots at once of one honest peer.
    pub slots: u32,
    /// Connections that honest peers closed because of what came on them, or did not.
    pub closed: u32,
}

/// All pairs.
#[derive(Debug, Default)]
pub(super) struct Crowds {
    joined: BTreeMap<Pair, BTreeSet<SocketAddr>>,
    unchoked: BTreeMap<Pair, BTreeSet<SocketAddr>>,
    of: BTreeMap<usize, Crowd>,
}

impl Crowds {
    /// Takes an event of an honest peer that names an attacker's address.
    pub fn on_event(&mut self, pair: Pair, peer: SocketAddr, event: &Event) {
        let crowd = self.of.entry(pair.1).or_default();
        let size = |set: &BTreeSet<SocketAddr>| u32::try_from(set.len()).unwrap_or(u32::MAX);
        match event {
            Event::PeerJoined { .. } => {
                let set = self.joined.entry(pair).or_default();
                set.insert(peer);
                crowd.connections = crowd.connections.max(size(set));
            }
            Event::Unchoked { .. } => {
                let set = self.unchoked.entry(pair).or_default();
                set.insert(peer);
                crowd.slots = crowd.slots.max(size(set));
            }
            Event::Choked { .. } => take(&mut self.unchoked, pair, peer),
            Event::PeerGone { why, .. } => {
                take(&mut self.joined, pair, peer);
                take(&mut self.unchoked, pair, peer);
                crowd.closed += u32::from(is_fault(*why));
            }
            _ => {}
        }
    }

    /// The address that an event is about, if it is one of those that count here.
    pub fn about(event: &Event) -> Option<SocketAddr> {
        match event {
            Event::PeerJoined { peer, .. }
            | Event::Unchoked { peer, .. }
            | Event::Choked { peer }
            | Event::PeerGone { peer, .. } => Some(*peer),
            _ => None,
        }
    }

    /// What there was of an attacker.
    pub fn of(&self, attacker: usize) -> Crowd {
        self.of.get(&attacker).copied().unwrap_or_default()
    }

    /// An honest peer's process ended: nobody tells of its connections any more.
    pub fn forget(&mut self, honest: usize) {
        let of = |pair: &Pair| pair.0 == honest;
        self.joined.retain(|pair, _| !of(pair));
        self.unchoked.retain(|pair, _| !of(pair));
    }
}

fn take(sets: &mut BTreeMap<Pair, BTreeSet<SocketAddr>>, pair: Pair, peer: SocketAddr) {
    if let Some(set) = sets.get_mut(&pair) {
        set.remove(&peer);
    }
}

/// Whether a connection ended because of what the other end sent, or did not send in time.
fn is_fault(why: CloseReason) -> bool {
    matches!(
        why,
        CloseReason::HandshakeTimeout
            | CloseReason::Silence
            | CloseReason::Wire(_)
            | CloseReason::Protocol(_)
            | CloseReason::WrongTorrent
            | CloseReason::WrongPeer
            | CloseReason::SelfConnect
            | CloseReason::Duplicate
            | CloseReason::Backlog
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_at_once_is_kept_and_an_end_is_counted_by_its_reason() {
        let mut crowds = Crowds::default();
        let addr = |port: u16| SocketAddr::from(([10, 1, 0, 9], port));
        let tell = |crowds: &mut Crowds, event: Event| {
            let peer = Crowds::about(&event).expect("it counts");
            crowds.on_event((0, 1), peer, &event);
        };
        for port in 1..=3 {
            let (peer, inbound) = (addr(port), true);
            tell(&mut crowds, Event::PeerJoined { peer, inbound });
        }
        let (peer, optimistic) = (addr(1), false);
        tell(&mut crowds, Event::Unchoked { peer, optimistic });
        let why = CloseReason::Duplicate;
        tell(&mut crowds, Event::PeerGone { peer, why });
        let (peer, why) = (addr(7), CloseReason::ByPeer);
        tell(&mut crowds, Event::PeerGone { peer, why });
        let (peer, inbound) = (addr(4), true);
        tell(&mut crowds, Event::PeerJoined { peer, inbound });
        let peer = addr(2);
        tell(&mut crowds, Event::Unchoked { peer, optimistic });
        let expected = Crowd {
            connections: 3,
            slots: 1,
            closed: 1,
        };
        assert_eq!(crowds.of(1), expected);
        assert_eq!(crowds.of(0), Crowd::default());
    }
}

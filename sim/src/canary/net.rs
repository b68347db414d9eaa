//! Owns a network on which the canary `bans-ignored` hides who is banned.
//!
//! Invariant: without a veil it is the network itself. With one every connection from an address that this host has
//! banned comes from an address of its own, as the host sees it, and the host's events name the true one: from outside
//! it is a client whose ban list is not looked at when somebody comes. That is more than a list switched off: limits
//! that go by addresses do not know the banned either. And less: the host dials none of them again, because it
//! remembers the addresses that trackers told it; they have to come.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use skep_engine::ConnId;
use skep_engine::node::network::{CloseHow, Coming, NetEvent, Network};
use skep_engine::node::whereabouts::Whereabouts;
use skep_engine::session::event::Event;
use skep_engine::wire::Chunk;
use tokio::time::Instant;

use crate::network::HostNet;

/// The first of the addresses behind which the banned come: a range for tests of networks (RFC 2544), where no host of
/// a plan is.
const FIRST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// Whom a host has banned, and behind which addresses they came since.
#[derive(Debug, Default)]
pub struct Veil {
    banned: BTreeSet<IpAddr>,
    /// True addresses by those that the host knows.
    faces: BTreeMap<IpAddr, IpAddr>,
}

impl Veil {
    /// Where a connection comes from, as the host is to see it.
    fn drop_over(&mut self, from: SocketAddr) -> SocketAddr {
        if !self.banned.contains(&from.ip()) {
            return from;
        }
        let used = u32::try_from(self.faces.len()).expect("one per connection");
        let face = IpAddr::V4(Ipv4Addr::from_bits(FIRST.to_bits() + used));
        self.faces.insert(face, from.ip());
        SocketAddr::new(face, from.port())
    }

    /// The true address behind one that the host knows.
    fn behind(&self, known: SocketAddr) -> SocketAddr {
        let ip = self.faces.get(&known.ip()).copied();
        SocketAddr::new(ip.unwrap_or(known.ip()), known.port())
    }

    /// An event as it is told, with true addresses.
    pub(super) fn lift(&mut self, event: &Event) -> Event {
        let mut event = event.clone();
        if let Some(peer) = event.peer_mut() {
            *peer = self.behind(*peer);
        }
        if let Event::Banned { peer, .. } = &event {
            self.banned.insert(peer.ip());
        }
        event
    }
}

/// A host's network.
#[derive(Debug)]
pub struct SpoiltNet {
    net: HostNet,
    veil: Option<Rc<RefCell<Veil>>>,
}

impl SpoiltNet {
    /// This network behind this veil.
    #[must_use]
    pub fn new(net: HostNet, veil: Option<Rc<RefCell<Veil>>>) -> SpoiltNet {
        SpoiltNet { net, veil }
    }
}

impl Network for SpoiltNet {
    fn listen(&mut self, at: SocketAddr) -> io::Result<SocketAddr> {
        self.net.listen(at)
    }

    fn connect(&mut self, to: SocketAddr) -> ConnId {
        let veil = self.veil.as_ref();
        self.net
            .connect(veil.map_or(to, |veil| veil.borrow().behind(to)))
    }

    fn send(&mut self, conn: ConnId, data: impl Into<Chunk>) {
        self.net.send(conn, data);
    }

    fn send_both(&mut self, conn: ConnId, head: impl Into<Chunk>, body: impl Into<Chunk>) {
        self.net.send_both(conn, head, body);
    }

    fn close(&mut self, conn: ConnId, how: CloseHow) {
        self.net.close(conn, how);
    }

    fn send_to(&mut self, to: SocketAddr, datagram: Bytes) {
        self.net.send_to(to, datagram);
    }

    fn now(&mut self) -> Instant {
        self.net.now()
    }

    fn lies_at(&mut self, host: Whereabouts) {
        self.net.lies_at(host);
    }

    fn expected(&self, each: impl FnMut(ConnId, Coming<'_>)) {
        self.net.expected(each);
    }

    fn prefetch_answers(&self) {
        self.net.prefetch_answers();
    }

    fn prefetch_sends(&self, conns: impl Iterator<Item = ConnId> + Clone) {
        self.net.prefetch_sends(conns);
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<NetEvent> {
        let mut event = self.net.poll_event(cx);
        if let Some(veil) = &self.veil
            && let Poll::Ready(NetEvent::Opened {
                from,
                inbound: true,
                ..
            }) = &mut event
        {
            *from = veil.borrow_mut().drop_over(*from);
        }
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_engine::PieceIndex;

    #[test]
    fn who_is_banned_comes_from_elsewhere_each_time_and_is_told_of_as_itself() {
        let at = |text: &str| -> SocketAddr { text.parse().expect("an address") };
        let mut veil = Veil::default();
        let (poison, friend) = (at("10.1.0.7:50001"), at("10.1.0.8:50002"));
        assert_eq!(veil.drop_over(poison), poison, "not banned yet");
        let piece = PieceIndex(1);
        let ban = |peer| Event::Banned { peer, piece };
        assert_eq!(veil.lift(&ban(poison)), ban(poison));
        assert_eq!(veil.drop_over(friend), friend);
        let first = veil.drop_over(poison);
        assert_eq!(first, at("198.18.0.1:50001"));
        assert_eq!(veil.lift(&ban(first)), ban(poison));
        assert_eq!(veil.drop_over(poison), at("198.18.0.2:50001"));
        assert_eq!(veil.behind(first), poison);
        assert_eq!(veil.lift(&Event::EndgameEntered), Event::EndgameEntered);
    }
}

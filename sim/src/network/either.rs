//! Owns the choice between the two simulated networks, for those who do not care which it is.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use skep_engine::ConnId;
use skep_engine::node::network::{CloseHow, Coming, NetEvent, Network};
use skep_engine::node::whereabouts::Whereabouts;
use skep_engine::wire::Chunk;
use tokio::time::Instant;

use super::Totals;
use super::fabric::{Fabric, FabricNet};
use super::packet::Captured;
use super::turmoil::{Turmoil, TurmoilNet};
use crate::scenario::plan::LinkPlan;

/// The network of a run.
#[derive(Clone, Debug)]
pub enum Net {
    /// Event-driven, the default.
    Fabric(Fabric),
    /// turmoil's hosts.
    Turmoil(Turmoil),
}

impl Net {
    /// Adds a machine. Nothing runs on it yet.
    ///
    /// # Panics
    /// When the address is taken.
    pub fn add_host(&self, name: &str, ip: Ipv4Addr, link: LinkPlan) {
        match self {
            Net::Fabric(fabric) => fabric.add_host(name, ip, link),
            Net::Turmoil(turmoil) => turmoil.add_host(name, ip, link, true),
        }
    }

    /// As [`Net::add_host`], for a tracker: what goes to it and comes from it is not between peers.
    ///
    /// # Panics
    /// When the address is taken.
    pub fn add_tracker(&self, name: &str, ip: Ipv4Addr, link: LinkPlan) {
        match self {
            Net::Fabric(fabric) => fabric.add_tracker(name, ip, link),
            Net::Turmoil(turmoil) => turmoil.add_host(name, ip, link, false),
        }
    }

    /// One-way delays from region to region; see [`Fabric::set_regions`].
    pub fn set_regions(&self, delays: &[Vec<Duration>]) {
        match self {
            Net::Fabric(fabric) => fabric.set_regions(delays.to_vec()),
            Net::Turmoil(turmoil) => turmoil.set_regions(delays.to_vec()),
        }
    }

    /// A host is in a region.
    ///
    /// # Panics
    /// When there is no such host.
    pub fn set_region(&self, ip: Ipv4Addr, region: usize) {
        match self {
            Net::Fabric(fabric) => fabric.set_region(ip, region),
            Net::Turmoil(turmoil) => turmoil.set_region(ip, region),
        }
    }

    /// Nothing gets from the first hosts to the second ones any more, nor back when it cuts `both` ways; see
    /// [`Fabric::cut`].
    pub fn cut(&self, fault: usize, a: &[Ipv4Addr], b: &[Ipv4Addr], both: bool) {
        match self {
            Net::Fabric(fabric) => fabric.cut(fault, a, b, both),
            Net::Turmoil(turmoil) => turmoil.cut(fault, a, b, both),
        }
    }

    /// What that fault cut carries again.
    pub fn heal(&self, fault: usize) {
        match self {
            Net::Fabric(fabric) => fabric.heal(fault),
            Net::Turmoil(turmoil) => turmoil.heal(fault),
        }
    }

    /// What a fault of the network kept from arriving so far.
    #[must_use]
    pub fn cut_hits(&self, fault: usize) -> u64 {
        match self {
            Net::Fabric(fabric) => fabric.cut_hits(fault),
            Net::Turmoil(turmoil) => turmoil.cut_hits(fault),
        }
    }

    /// A host's link is another one from now on; see [`Fabric::change_link`].
    pub fn change_link(&self, ip: Ipv4Addr, link: LinkPlan) {
        match self {
            Net::Fabric(fabric) => fabric.change_link(ip, link),
            Net::Turmoil(turmoil) => turmoil.change_link(ip, link),
        }
    }

    /// Resets a share of the connections of these hosts; see [`Fabric::reset_some`]. Returns how many.
    pub fn reset_some(&self, of: &[Ipv4Addr], share_ppm: u32, name: &str) -> u64 {
        match self {
            Net::Fabric(fabric) => fabric.reset_some(of, share_ppm, name),
            Net::Turmoil(turmoil) => turmoil.reset_some(of, share_ppm, name),
        }
    }

    /// The machine goes dark at once; see [`Fabric::power_off`].
    pub fn power_off(&self, ip: Ipv4Addr) {
        match self {
            Net::Fabric(fabric) => fabric.power_off(ip),
            Net::Turmoil(turmoil) => turmoil.power_off(ip),
        }
    }

    /// The network as a program on that host sees it. Dropping it is the end of the process.
    ///
    /// # Panics
    /// When there is no such host, or a program runs on it already.
    #[must_use]
    pub fn attach(&self, ip: Ipv4Addr) -> HostNet {
        match self {
            Net::Fabric(fabric) => HostNet::Fabric(fabric.attach(ip)),
            Net::Turmoil(turmoil) => HostNet::Turmoil(turmoil.attach(ip)),
        }
    }

    /// Totals so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        match self {
            Net::Fabric(fabric) => fabric.totals(),
            Net::Turmoil(turmoil) => turmoil.totals(),
        }
    }

    /// Bytes that are between a sender and a receiver now.
    #[must_use]
    pub fn under_way(&self) -> u64 {
        match self {
            Net::Fabric(fabric) => fabric.under_way(),
            Net::Turmoil(turmoil) => turmoil.under_way(),
        }
    }

    /// Bytes that a host's programs handed in for connections to peers.
    #[must_use]
    pub fn sent_to_peers(&self, ip: Ipv4Addr) -> u64 {
        match self {
            Net::Fabric(fabric) => fabric.sent_to_peers(ip),
            Net::Turmoil(turmoil) => turmoil.sent_to_peers(ip),
        }
    }

    /// Connections that there ever were at once; not counted on turmoil: 0.
    #[must_use]
    pub fn connection_slots(&self) -> usize {
        match self {
            Net::Fabric(fabric) => fabric.connection_slots(),
            Net::Turmoil(_) => 0,
        }
    }

    /// Ends the capture of what arrives, if there is one; see [`Fabric::untap`].
    ///
    /// # Errors
    /// When the packets could not be written.
    pub fn untap(&self) -> io::Result<Option<Captured>> {
        match self {
            Net::Fabric(fabric) => fabric.untap(),
            Net::Turmoil(_) => Ok(None),
        }
    }

    /// Messages that took longer than their path; none, or times are wrong.
    #[must_use]
    pub fn late(&self) -> u64 {
        match self {
            Net::Fabric(_) => 0,
            Net::Turmoil(turmoil) => turmoil.late(),
        }
    }
}

/// The network as one program on one host sees it.
#[derive(Debug)]
pub enum HostNet {
    /// On the fabric.
    Fabric(FabricNet),
    /// On a turmoil host.
    Turmoil(TurmoilNet),
}

/// The same call on whichever it is.
macro_rules! either {
    ($net:expr, $inner:ident => $call:expr) => {
        match $net {
            HostNet::Fabric($inner) => $call,
            HostNet::Turmoil($inner) => $call,
        }
    };
}

impl Network for HostNet {
    fn listen(&mut self, at: SocketAddr) -> io::Result<SocketAddr> {
        either!(self, net => net.listen(at))
    }

    fn connect(&mut self, to: SocketAddr) -> ConnId {
        either!(self, net => net.connect(to))
    }

    fn send(&mut self, conn: ConnId, data: impl Into<Chunk>) {
        either!(self, net => net.send(conn, data));
    }

    fn send_both(&mut self, conn: ConnId, head: impl Into<Chunk>, body: impl Into<Chunk>) {
        either!(self, net => net.send_both(conn, head, body));
    }

    fn close(&mut self, conn: ConnId, how: CloseHow) {
        either!(self, net => net.close(conn, how));
    }

    fn send_to(&mut self, to: SocketAddr, datagram: Bytes) {
        either!(self, net => net.send_to(to, datagram));
    }

    fn now(&mut self) -> Instant {
        either!(self, net => net.now())
    }

    fn lies_at(&mut self, host: Whereabouts) {
        either!(self, net => net.lies_at(host))
    }

    fn expected(&self, each: impl FnMut(ConnId, Coming<'_>)) {
        either!(self, net => net.expected(each))
    }

    fn prefetch_answers(&self) {
        either!(self, net => net.prefetch_answers())
    }

    fn prefetch_sends(&self, conns: impl Iterator<Item = ConnId> + Clone) {
        either!(self, net => net.prefetch_sends(conns))
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<NetEvent> {
        either!(self, net => net.poll_event(cx))
    }
}

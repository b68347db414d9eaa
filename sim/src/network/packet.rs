//! Owns what a packet of the simulated network looks like to who captures the traffic of a run, and the seam
//! through which it is told: [`PacketSink`].
//!
//! Invariant: packets are told in the order of their moments, each once: when its last byte is through the
//! downlink of the host that it goes to. What is lost on its way is never told.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

/// Payload bytes of one TCP segment at most.
pub const MSS: u16 = 1448;
const _: () = assert!(MSS as u64 == super::link::SEGMENT_BYTES);

/// A packet that arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'a> {
    /// When, ns since the start of the run.
    pub at_ns: u64,
    /// Where it comes from.
    pub from: SocketAddrV4,
    /// Where it goes to.
    pub to: SocketAddrV4,
    /// How it travels.
    pub transport: Transport,
    /// What it carries.
    pub payload: &'a [u8],
}

/// How a packet travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// A datagram.
    Udp,
    /// A segment of a connection.
    Tcp(Segment),
}

/// What the header of a TCP segment says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Number of its first byte, SYN and FIN counted as one.
    pub seq: u32,
    /// What its sender has read of the other direction and told so: the next number. `None`: no ACK flag.
    pub ack: Option<u32>,
    /// It opens the connection.
    pub syn: bool,
    /// It is the last of its direction.
    pub fin: bool,
    /// It ends the connection.
    pub rst: bool,
    /// Nothing waits behind it.
    pub psh: bool,
    /// Bytes that its sender takes without having acknowledged them.
    pub window: u64,
}

/// What was captured of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Captured {
    /// Packets that were told.
    pub packets: u64,
    /// Bytes of connections that arrived.
    pub arrived: u64,
    /// Of those: that no program has read, because it closed the connection, ended, or the run was over.
    pub unread: u64,
}

/// Who captures the traffic of a run.
pub trait PacketSink {
    /// There is such a host. Told before any packet that goes to it.
    fn host(&mut self, name: &str, ip: Ipv4Addr);

    /// A packet arrived.
    fn packet(&mut self, packet: &Packet<'_>);

    /// The run is over.
    ///
    /// # Errors
    /// The first thing that could not be written.
    fn finish(&mut self) -> io::Result<()>;
}

//! Owns captures: the packets of a run as a pcapng file with real IP, TCP and UDP headers.
//!
//! Invariants: an interface per host, named as the host is, with the packets that go to it; timestamps are
//! simulated nanoseconds since the start of the run. A packet is written as it comes and nothing of it is kept.
//! The first failure ends the writing and is told at the end.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::time::Duration;

use etherparse::{PacketBuilder, TcpHeader, TcpOptionElement};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::{DataLink, PcapError};
use skep_sim::network::packet::{MSS, Packet, PacketSink, Segment, Transport};

/// Hops that a packet may take; nobody counts them.
const TTL: u8 = 64;
/// Windows are told in units of 256 bytes.
const WINDOW_SHIFT: u8 = 8;
/// Timestamps are in units of 10 to the minus this.
const NANOSECONDS: u8 = 9;

/// Writes the packets of one run.
pub struct Capture<W: Write> {
    /// Until something fails.
    writer: Option<PcapNgWriter<W>>,
    failed: Option<io::Error>,
    /// The number of each host's interface.
    interfaces: BTreeMap<Ipv4Addr, u32>,
    /// The packet at hand.
    bytes: Vec<u8>,
}

impl<W: Write> Capture<W> {
    /// A capture without packets. The output should be buffered.
    #[must_use]
    pub fn new(out: W) -> Capture<W> {
        let mut capture = Capture {
            writer: None,
            failed: None,
            interfaces: BTreeMap::new(),
            bytes: Vec::new(),
        };
        match PcapNgWriter::new(out) {
            Ok(writer) => capture.writer = Some(writer),
            Err(error) => capture.fail(error),
        }
        capture
    }

    fn fail(&mut self, error: PcapError) {
        self.writer = None;
        self.failed.get_or_insert(match error {
            PcapError::IoError(error) => error,
            error => io::Error::other(error),
        });
    }

    /// Puts the packet together in `bytes`.
    fn encode(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        let (from, to) = (packet.from, packet.to);
        self.bytes.clear();
        let ip = PacketBuilder::ipv4(from.ip().octets(), to.ip().octets(), TTL);
        let written = match packet.transport {
            Transport::Udp => ip
                .udp(from.port(), to.port())
                .write(&mut self.bytes, packet.payload),
            Transport::Tcp(segment) => ip
                .tcp_header(header(from.port(), to.port(), segment)?)
                .write(&mut self.bytes, packet.payload),
        };
        written.map_err(io::Error::other)
    }
}

/// The TCP header of a segment.
fn header(from: u16, to: u16, segment: Segment) -> io::Result<TcpHeader> {
    let scaled = if segment.syn {
        segment.window
    } else {
        segment.window >> WINDOW_SHIFT
    };
    let window = u16::try_from(scaled).unwrap_or(u16::MAX);
    let mut header = TcpHeader::new(from, to, segment.seq, window);
    header.ack = segment.ack.is_some();
    header.acknowledgment_number = segment.ack.unwrap_or(0);
    (header.syn, header.fin) = (segment.syn, segment.fin);
    (header.rst, header.psh) = (segment.rst, segment.psh);
    if segment.syn {
        let options = [
            TcpOptionElement::MaximumSegmentSize(MSS),
            TcpOptionElement::Noop,
            TcpOptionElement::WindowScale(WINDOW_SHIFT),
        ];
        header.set_options(&options).map_err(io::Error::other)?;
    }
    Ok(header)
}

impl<W: Write> PacketSink for Capture<W> {
    fn host(&mut self, name: &str, ip: Ipv4Addr) {
        let Some(writer) = &mut self.writer else {
            return;
        };
        let block = InterfaceDescriptionBlock {
            linktype: DataLink::RAW,
            snaplen: 0,
            options: vec![
                InterfaceDescriptionOption::IfName(Cow::Borrowed(name)),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ],
        };
        let written = writer.write_pcapng_block(block);
        let number = u32::try_from(self.interfaces.len()).expect("fewer hosts than 2^32");
        self.interfaces.insert(ip, number);
        if let Err(error) = written {
            self.fail(error);
        }
    }

    fn packet(&mut self, packet: &Packet<'_>) {
        if self.writer.is_none() {
            return;
        }
        if let Err(error) = self.encode(packet) {
            return self.fail(PcapError::IoError(error));
        }
        let Some(writer) = &mut self.writer else {
            return;
        };
        let interface = self.interfaces.get(packet.to.ip()).copied();
        let written = writer.write_pcapng_block(EnhancedPacketBlock {
            interface_id: interface.unwrap_or(u32::MAX),
            timestamp: Duration::from_nanos(packet.at_ns),
            original_len: u32::try_from(self.bytes.len()).expect("a packet is short"),
            data: Cow::Borrowed(&self.bytes),
            options: Vec::new(),
        });
        if let Err(error) = written {
            self.fail(error);
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        match (self.failed.take(), self.writer.take()) {
            (Some(error), _) => Err(error),
            (None, Some(writer)) => writer.into_inner().flush(),
            (None, None) => Ok(()),
        }
    }
}

//! Owns what captures promise: Debian's tshark understands every packet of a swarm, and counts the messages that
//! Skep counts.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::Command;
use std::rc::Rc;

use skep_engine::EngineConfig;
use skep_engine::wire::{Decoder, Message, MessageCounts};
use skep_reports::capture::Capture;
use skep_sim::campaign::{self, Job};
use skep_sim::network::packet::{Packet, PacketSink, Transport};
use skep_sim::outcome::Outcome;
use skep_sim::scenario::Scenario;
use skep_sim::watch::Watchers;

const MAGNET: &str = "peers/magnet.toml";
/// Where trackers listen for datagrams, as tshark prints it.
const TRACKER_PORT: &str = "6969";
/// Where peers listen.
const PEER_PORT: u16 = 6881;

/// Whether tshark is here. Where CI says that every other program must be, it has to be.
fn tshark_is_here() -> bool {
    let found = Command::new("tshark").arg("-v").output().is_ok();
    if !found {
        let required = std::env::var_os("SKEP_REQUIRE_CLIENTS").is_some();
        assert!(!required, "tshark is missing: apt install tshark");
        let said = "SKIPPED: tshark is missing (apt install tshark)";
        writeln!(io::stderr(), "{said}").expect("stderr");
    }
    found
}

/// What tshark says of each packet of a capture: these fields, in their order. A field that a packet has several times
/// has its values joined by commas; one that it has not is empty.
fn packets<const N: usize>(capture: &Path, fields: [&str; N]) -> Vec<[String; N]> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(capture).args(["-n", "-T", "fields"]);
    for protocol in ["ip", "tcp", "udp"] {
        command.args(["-o", &format!("{protocol}.check_checksum:TRUE")]);
    }
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.output().expect("tshark runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let values = |line: &str| {
        let values: Vec<String> = line.split('\t').map(str::to_owned).collect();
        values.try_into().expect("all fields")
    };
    text.lines().map(values).collect()
}

fn scenario(file: &str) -> Scenario {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path.join("scenarios").join(file));
    // Of the large one enough that its metainfo has two blocks.
    let smaller = [("torrent.size".to_owned(), "16 MiB".to_owned())];
    let set: &[_] = if file == MAGNET { &smaller } else { &[] };
    Scenario::parse_with(file, &text.expect("a scenario"), set).expect("a good scenario")
}

/// Bytes of one direction of a connection, as the engine reads them.
struct Reader {
    decoder: Decoder,
    greeted: bool,
}

/// Captures, and counts the messages in what it captures with the engine's own decoder.
struct Counting {
    capture: Capture<BufWriter<File>>,
    readers: BTreeMap<(SocketAddrV4, SocketAddrV4), Reader>,
    bitfield_bytes: u32,
    counts: Rc<MessageCounts>,
    /// Messages with a part of the metainfo (BEP 9).
    parts: Rc<Cell<u64>>,
}

impl PacketSink for Counting {
    fn host(&mut self, name: &str, ip: Ipv4Addr) {
        self.capture.host(name, ip);
    }

    fn packet(&mut self, packet: &Packet<'_>) {
        self.capture.packet(packet);
        let Transport::Tcp(segment) = packet.transport else {
            return;
        };
        if packet.from.port() != PEER_PORT && packet.to.port() != PEER_PORT {
            return;
        }
        let way = (packet.from, packet.to);
        if segment.syn {
            self.readers.remove(&way);
        }
        let bitfield_bytes = self.bitfield_bytes;
        let reader = self.readers.entry(way).or_insert_with(|| Reader {
            decoder: Decoder::new(bitfield_bytes, EngineConfig::default().extended_bytes_max),
            greeted: false,
        });
        reader
            .decoder
            .push(bytes::Bytes::copy_from_slice(packet.payload));
        if !reader.greeted {
            let handshake = reader.decoder.next_handshake().expect("a handshake");
            reader.greeted = handshake.is_some();
        }
        while reader.greeted
            && let Some(message) = reader.decoder.next_message().expect("a message")
        {
            self.counts.note(&message);
            if let Message::Extended { payload, .. } = &message
                && payload.windows(13).any(|bytes| bytes == b"8:msg_typei1e")
            {
                self.parts.set(self.parts.get() + 1);
            }
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.capture.finish()
    }
}

type Counts = BTreeMap<&'static str, u64>;

/// Makes a run with a capture; also what the engine's decoder finds in it, and how many messages carry a part of the
/// metainfo.
fn captured(scenario: &Scenario, seed: u64, to: &Path) -> (Outcome, Counts, u64) {
    let out = BufWriter::new(File::create(to).expect("a file"));
    let counts = Rc::new(MessageCounts::default());
    let parts = Rc::new(Cell::new(0));
    let sink = Counting {
        parts: Rc::clone(&parts),
        capture: Capture::new(out),
        readers: BTreeMap::new(),
        bitfield_bytes: scenario.expand(seed).torrent.pieces().div_ceil(8),
        counts: Rc::clone(&counts),
    };
    let watchers = Watchers {
        packets: Some(Box::new(sink)),
        ..Watchers::default()
    };
    let outcome = campaign::run_one(Job { scenario, seed }, watchers).expect("a run");
    (outcome, counts.by_kind(), parts.get())
}

/// What Skep calls the message with this `bittorrent.msg.type`.
fn kind(id: &str) -> &'static str {
    match id {
        "0" => "choke",
        "1" => "unchoke",
        "2" => "interested",
        "3" => "not-interested",
        "4" => "have",
        "5" => "bitfield",
        "6" => "request",
        "7" => "piece",
        "8" => "cancel",
        "9" => "port",
        "13" => "suggest",
        "14" => "have-all",
        "15" => "have-none",
        "16" => "reject",
        "17" => "allowed-fast",
        "20" => "extended",
        _ => "unknown",
    }
}

/// What tshark finds in a capture.
struct Seen {
    /// Messages of each kind. One without a type is a keep-alive.
    counts: Counts,
    /// Packets that it calls malformed.
    malformed: usize,
    /// What trackers are asked: announces over HTTP, all datagrams over UDP.
    asked: u64,
}

fn seen_by_tshark(capture: &Path) -> Seen {
    let fields = [
        "bittorrent.msg.type",
        "bittorrent.msg.length",
        "_ws.malformed",
        "http.request.uri",
        "udp.dstport",
    ];
    let mut seen = Seen {
        counts: Counts::new(),
        malformed: 0,
        asked: 0,
    };
    for [types, lengths, malformed, uri, udp] in packets(capture, fields) {
        for id in types.split(',').filter(|id| !id.is_empty()) {
            *seen.counts.entry(kind(id)).or_default() += 1;
        }
        let idle = lengths.split(',').filter(|length| *length == "0").count();
        if idle > 0 {
            *seen.counts.entry("keep-alive").or_default() += idle as u64;
        }
        seen.malformed += usize::from(!malformed.is_empty());
        seen.asked += u64::from(uri.contains("/announce?") || udp == TRACKER_PORT);
    }
    seen
}

/// A swarm in which everybody reads whatever arrives: nobody closes a connection while the other sends on it, as a
/// seed does that parts from a seed.
const SWARM: &str = r#"
name = "swarm"
about = "A seed gives its content to leechers who come one after another and stay."
run = { time_limit = "10 min", settle = "1 min" }
torrent = { size = "3 MiB", piece = "64 KiB" }
[link]
latency = "30 ms"
[[group]]
name = "seed"
role = "seed"
up = "2 Mbit/s"
down = "20 Mbit/s"
[[group]]
name = "home"
role = "leecher"
count = 6
up = "2 Mbit/s"
down = "20 Mbit/s"
have = "20%"
arrive = { spread = "30 s" }
[engine]
close_seed_to_seed = false
"#;

#[test]
fn tshark_counts_the_messages_that_the_engines_counted() {
    if !tshark_is_here() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("swarm.pcapng");
    let swarm = Scenario::parse("swarm.toml", SWARM).expect("a good scenario");
    // Seeds in which nothing is on its way to a connection that turns out to be the second one of two peers, and nothing
    // arrives in the millisecond in which the run ends: nobody would read it.
    for seed in [0, 1, 4] {
        let (outcome, found, _) = captured(&swarm, seed, &path);
        assert_eq!(outcome.messages_by_kind, found, "seed {seed}");
        assert_eq!(outcome.messages, found.values().sum::<u64>());
        assert_eq!(seen_by_tshark(&path).counts, found, "seed {seed}");
        assert!(found["piece"] >= 900 && found.len() >= 11, "{found:?}");
    }
}

/// Swarms of all kinds: what arrives is what the engine's decoder finds in it. What an engine did not read, as it had
/// closed the connection or the run was over, it did not count: a seed that hears from a seed that it has everything
/// parts from it, and the extended handshake in the same segment is never looked at.
#[test]
fn tshark_understands_every_message_of_every_kind_of_swarm() {
    if !tshark_is_here() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("swarm.pcapng");
    let mut kinds = Counts::new();
    for file in [
        "first-swarm.toml",
        "churn/crash-and-resume.toml",
        "network/power-loss.toml",
        MAGNET,
        "trackers/udp-tracker-loss.toml",
        "direct/web-seed.toml",
    ] {
        let scenario = scenario(file);
        let seed = scenario.seeds()[0];
        let (outcome, found, parts) = captured(&scenario, seed, &path);
        // tshark shows a message with a part of the metainfo as the rest of something: of those it counts none.
        let shown = seen_by_tshark(&path);
        let mut counted = shown.counts;
        *counted.entry("extended").or_default() += parts;
        assert_eq!(counted, found, "{file}");
        assert_eq!(parts > 0, file == MAGNET, "{file}: {parts}");
        assert_eq!(shown.malformed, 0, "{file}");
        for (kind, arrived) in found {
            let read = outcome.messages_by_kind.get(kind).copied().unwrap_or(0);
            assert!(read <= arrived, "{file}: {kind}: {read} of {arrived}");
            *kinds.entry(kind).or_default() += arrived;
        }
        let seen = outcome.captured.expect("a capture");
        let tally = format!("{file}: {seen:?}");
        assert!(seen.unread * 20 <= seen.arrived, "{tally}");
        let announces: u64 = outcome.peers.iter().map(|p| u64::from(p.announces)).sum();
        let asked = shown.asked;
        assert!(
            asked >= announces && announces > 1,
            "{file}: {asked} for {announces}"
        );
        let plain = campaign::run_one(
            Job {
                scenario: &scenario,
                seed,
            },
            None,
        );
        let plain = plain.expect("a run").trace_hash;
        assert_eq!(plain, outcome.trace_hash, "{file}: the same run without");
    }
    for kind in [
        "choke", "unchoke", "have", "piece", "cancel", "reject", "extended",
    ] {
        assert!(kinds.contains_key(kind), "{kind} of {kinds:?}");
    }
}

#[test]
fn connections_are_as_tcp_has_them() {
    if !tshark_is_here() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("swarm.pcapng");
    for (file, resets) in [
        ("first-swarm.toml", false),
        ("network/mass-reset.toml", true),
    ] {
        let scenario = scenario(file);
        let _ = captured(&scenario, scenario.seeds()[0], &path);
        let fields = [
            "ip.checksum.status",
            "tcp.checksum.status",
            "udp.checksum.status",
            "tcp.analysis.lost_segment",
            "tcp.analysis.ack_lost_segment",
            "tcp.analysis.retransmission",
            "tcp.analysis.out_of_order",
            "tcp.stream",
            "tcp.flags",
            "tcp.len",
            "frame.time_epoch",
            "frame.interface_name",
        ];
        let [mut streams, mut opened, mut ended, mut reset] = [(); 4].map(|()| BTreeSet::new());
        let (mut names, mut last, mut fractions) = (BTreeSet::new(), 0, false);
        for packet in packets(&path, fields) {
            let said = format!("{file}: {packet:?}");
            let [
                ip,
                tcp,
                udp,
                lost,
                unseen,
                again,
                order,
                stream,
                flags,
                len,
                time,
                name,
            ] = packet;
            // 1 is good; the other transport has none.
            let sound = [&ip, &tcp, &udp].map(|status| status == "1");
            assert!(
                matches!(sound, [true, true, false] | [true, false, true]),
                "{said}"
            );
            // The capture sees what arrives, so nothing is ever missing, doubled or out of order.
            assert!(
                [lost, unseen, again, order].iter().all(String::is_empty),
                "{said}"
            );
            if tcp == "1" {
                assert!(len.parse::<u16>().expect("a length") <= 1448, "{said}");
                let flags = flags.strip_prefix("0x").expect("flags");
                let flags = u16::from_str_radix(flags, 16).expect("flags");
                let (fin, syn, rst, ack) = (flags & 1, flags & 2, flags & 4, flags & 16);
                for (is, of) in [
                    (true, &mut streams),
                    (syn != 0 && ack == 0, &mut opened),
                    (fin != 0, &mut ended),
                    (rst != 0, &mut reset),
                ] {
                    if is {
                        of.insert(stream.clone());
                    }
                }
            }
            let time: u64 = time.replace('.', "").parse().expect("ns");
            assert!(time >= last, "{said}: time goes on");
            fractions |= !time.is_multiple_of(1_000_000);
            last = time;
            names.insert(name);
        }
        assert_eq!(streams, opened, "{file}: each begins with SYN");
        assert!(opened.len() > 4 && !ended.is_empty(), "{file}");
        assert_eq!(!reset.is_empty(), resets, "{file}");
        assert!(fractions, "{file}: nanoseconds");
        let plan = scenario.expand(scenario.seeds()[0]);
        for host in &plan.hosts {
            assert!(
                names.contains(&host.name),
                "{file}: {} of {names:?}",
                host.name
            );
        }
    }
}

/// A disk that is full after so many bytes.
struct Full(Rc<RefCell<usize>>);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut room = self.0.borrow_mut();
        if *room < bytes.len() {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        *room -= bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_capture_that_cannot_be_written_is_an_error() {
    let scenario = scenario("first-swarm.toml");
    for room in [0, 10, 100_000] {
        let out = Full(Rc::new(RefCell::new(room)));
        let watchers = Watchers {
            packets: Some(Box::new(Capture::new(out))),
            ..Watchers::default()
        };
        let job = Job {
            scenario: &scenario,
            seed: 0,
        };
        let error = campaign::run_one(job, watchers).expect_err("no room");
        let full = io::Error::from(io::ErrorKind::StorageFull).to_string();
        assert_eq!(error.to_string(), full, "{room} bytes");
    }
}

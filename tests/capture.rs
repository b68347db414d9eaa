//! Owns what captures promise: Debian's tshark understands every packet of a swarm, and counts the messages that
//! Skep counts.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
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

/// What tshark prints of a capture, one line per packet that it shows.
fn tshark(capture: &Path, args: &[&str]) -> Vec<String> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(capture).arg("-n");
    for protocol in ["ip", "tcp", "udp"] {
        command.args(["-o", &format!("{protocol}.check_checksum:TRUE")]);
    }
    let output = command.args(args).output().expect("tshark runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(str::to_owned).collect()
}

/// The packets that a filter lets through, each with this field.
fn packets(capture: &Path, filter: &str, field: &str) -> Vec<String> {
    tshark(capture, &["-Y", filter, "-T", "fields", "-e", field])
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

/// How many messages of each kind tshark finds. One without a type is a keep-alive.
fn counted_by_tshark(capture: &Path) -> Counts {
    let fields = ["-e", "bittorrent.msg.type", "-e", "bittorrent.msg.length"];
    let mut args = vec!["-Y", "bittorrent", "-T", "fields"];
    args.extend(fields);
    let mut counts = Counts::new();
    for line in tshark(capture, &args) {
        let (types, lengths) = line.split_once('\t').expect("two fields");
        for id in types.split(',').filter(|id| !id.is_empty()) {
            *counts.entry(kind(id)).or_default() += 1;
        }
        let idle = lengths.split(',').filter(|length| *length == "0").count();
        if idle > 0 {
            *counts.entry("keep-alive").or_default() += idle as u64;
        }
    }
    counts
}

/// A swarm in which everybody reads whatever arrives: nobody closes a connection while the other sends on it. Where
/// seeds part from seeds they do.
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
    for seed in 0..3 {
        let (outcome, found, _) = captured(&swarm, seed, &path);
        assert_eq!(outcome.messages, found.values().sum::<u64>());
        assert_eq!(outcome.messages_by_kind, found, "seed {seed}");
        assert_eq!(counted_by_tshark(&path), found, "seed {seed}");
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
        let mut counted = counted_by_tshark(&path);
        *counted.entry("extended").or_default() += parts;
        assert_eq!(counted, found, "{file}");
        assert_eq!(parts > 0, file == MAGNET, "{file}: {parts}");
        let malformed = packets(&path, "_ws.malformed", "frame.number");
        assert!(malformed.is_empty(), "{file}: {malformed:?}");
        for (kind, arrived) in found {
            let read = outcome.messages_by_kind.get(kind).copied().unwrap_or(0);
            assert!(read <= arrived, "{file}: {kind}: {read} of {arrived}");
            *kinds.entry(kind).or_default() += arrived;
        }
        let seen = outcome.captured.expect("a capture");
        let tally = format!("{file}: {seen:?}");
        assert!(seen.unread * 20 <= seen.arrived, "{tally}");
        let announces: u64 = outcome.peers.iter().map(|p| u64::from(p.announces)).sum();
        let asked = match file.contains("udp") {
            true => packets(&path, "udp.dstport == 6969", "frame.number"),
            false => packets(
                &path,
                "http.request.uri contains \"/announce?\"",
                "frame.number",
            ),
        };
        let asked = asked.len() as u64;
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
        let bad = "ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0";
        assert_eq!(packets(&path, bad, "frame.number"), [""; 0], "{file}");
        // The capture sees what arrives, so nothing is ever missing, doubled or out of order.
        let odd = "tcp.analysis.lost_segment || tcp.analysis.ack_lost_segment || \
                   tcp.analysis.retransmission || tcp.analysis.out_of_order";
        assert_eq!(packets(&path, odd, "frame.number"), [""; 0], "{file}");
        let longest = packets(&path, "tcp.len > 1448", "frame.number");
        assert_eq!(longest, [""; 0], "{file}");
        let streams = |filter: &str| {
            let mut streams = packets(&path, filter, "tcp.stream");
            streams.sort();
            streams.dedup();
            streams.len()
        };
        let opened = streams("tcp.flags.syn == 1 && tcp.flags.ack == 0");
        assert_eq!(streams("tcp"), opened, "{file}: each begins with SYN");
        assert!(opened > 4, "{file}");
        assert!(streams("tcp.flags.fin == 1") > 0, "{file}");
        assert_eq!(streams("tcp.flags.reset == 1") > 0, resets, "{file}");
        let times = packets(&path, "frame", "frame.time_epoch");
        let times: Vec<u64> = times
            .iter()
            .map(|t| t.replace('.', "").parse().expect("ns"))
            .collect();
        assert!(times.is_sorted(), "{file}: time goes on");
        assert!(
            times.iter().any(|t| t % 1_000_000 != 0),
            "{file}: nanoseconds"
        );
        let mut names = packets(&path, "frame", "frame.interface_name");
        names.sort();
        names.dedup();
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

//! turmoil's hosts through the [`Network`] seam: what the shaping of its streams gives, held against arithmetic
//! done by hand, and how connections end there.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use skep_engine::node::network::{CloseHow, Closed, ConnectError, NetEvent, Network};
use skep_sim::network::turmoil::{Turmoil, TurmoilNet};
use skep_sim::scenario::plan::LinkPlan;
use tokio::time::Instant;

mod faults;

const MIB: u64 = 1024 * 1024;
const MS: Duration = Duration::from_millis(1);
/// More than any test needs.
const WIDE: u64 = 1_000_000_000;
const BLOCK: u64 = 16 * 1024;
const PORT: u16 = 6881;
/// Most bytes that a source leaves unsent.
const QUEUE: u64 = 4 * BLOCK;

fn link(up: u64, down: u64, latency: Duration) -> LinkPlan {
    LinkPlan {
        up,
        down,
        latency,
        jitter: Duration::ZERO,
        loss_ppm: 0,
        reset_every: None,
    }
}

fn plain() -> LinkPlan {
    link(WIDE, WIDE, 20 * MS)
}

fn ip(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, host)
}

fn at(host: u8) -> SocketAddr {
    SocketAddr::from((ip(host), PORT))
}

async fn next(net: &mut TurmoilNet) -> NetEvent {
    poll_fn(|cx| net.poll_event(cx)).await
}

/// Payload whose bytes say where they stand in the stream.
fn numbered(from: u64, len: u64) -> Bytes {
    let byte = |n: u64| u8::try_from(n.wrapping_mul(31) % 251).expect("below 251");
    (from..from + len).map(byte).collect()
}

/// Events as words, with their times in ms.
type Diary = Rc<RefCell<Vec<(u64, String)>>>;

fn note(diary: &Diary, epoch: Instant, word: String) {
    let ms = u64::try_from(epoch.elapsed().as_millis()).expect("a short test");
    diary.borrow_mut().push((ms, word));
}

/// Notes everything that happens from now on.
async fn notes(mut net: TurmoilNet, epoch: Instant, diary: Diary) {
    loop {
        let word = match next(&mut net).await {
            NetEvent::Opened { inbound, .. } => format!("opened inbound={inbound}"),
            NetEvent::Failed { why, .. } => format!("{why:?}"),
            NetEvent::Closed { how, .. } => format!("{how:?}"),
            NetEvent::Datagram { data, .. } => format!("datagram of {}", data.len()),
            _ => continue,
        };
        note(&diary, epoch, word);
    }
}

/// A listener that notes.
fn listener(turmoil: &Turmoil, host: u8, link: LinkPlan) -> Diary {
    turmoil.add_host(&format!("host-{host}"), ip(host), link, true);
    let (diary, net) = (Diary::default(), turmoil.clone());
    let told = Rc::clone(&diary);
    turmoil.program("listener", ip(host), async move |epoch| {
        let mut net = net.attach(ip(host));
        net.listen(at(host)).expect("a free port");
        notes(net, epoch, told).await;
    });
    diary
}

/// A server: whoever connects gets `total` bytes in blocks, as room allows, then a farewell.
fn source(turmoil: &Turmoil, host: u8, link: LinkPlan, total: u64) {
    turmoil.add_host(&format!("host-{host}"), ip(host), link, true);
    let net = turmoil.clone();
    turmoil.program("source", ip(host), async move |_| {
        let mut net = net.attach(ip(host));
        net.listen(at(host)).expect("a free port");
        let mut written = std::collections::BTreeMap::new();
        loop {
            let (conn, mut queued) = match next(&mut net).await {
                NetEvent::Opened { conn, .. } => {
                    written.insert(conn, 0);
                    (conn, 0)
                }
                NetEvent::Room { conn, queued } => (conn, queued),
                _ => continue,
            };
            let Some(written) = written.get_mut(&conn) else {
                continue;
            };
            while queued < QUEUE && *written < total {
                let len = BLOCK.min(total - *written);
                net.send(conn, numbered(*written, len));
                *written += len;
                queued += len;
                if *written == total {
                    net.close(conn, CloseHow::Finish);
                }
            }
        }
    });
}

/// What a client saw.
#[derive(Default)]
struct Seen {
    /// When bytes came, and how many.
    data: Vec<(Duration, u64)>,
    bytes: u64,
    garbled: bool,
    closed: Option<(Duration, Closed)>,
}

impl Seen {
    fn before(&self, moment: Duration) -> u64 {
        let early = self.data.iter().filter(|(at, _)| *at < moment);
        early.map(|(_, bytes)| bytes).sum()
    }
}

/// A client that reads from a server until the connection ends.
fn sink(turmoil: &Turmoil, host: u8, link: LinkPlan, server: u8) -> Rc<RefCell<Seen>> {
    turmoil.add_host(&format!("host-{host}"), ip(host), link, true);
    let (net, seen) = (turmoil.clone(), Rc::new(RefCell::new(Seen::default())));
    let told = Rc::clone(&seen);
    turmoil.program("sink", ip(host), async move |epoch| {
        let mut net = net.attach(ip(host));
        net.connect(at(server));
        loop {
            let event = next(&mut net).await;
            let mut seen = told.borrow_mut();
            match event {
                NetEvent::Data { data, .. } => {
                    let len = data.len() as u64;
                    seen.garbled |= data[..] != numbered(seen.bytes, len)[..];
                    seen.bytes += len;
                    seen.data.push((epoch.elapsed(), len));
                }
                NetEvent::Closed { how, .. } => seen.closed = Some((epoch.elapsed(), how)),
                _ => {}
            }
        }
    });
    seen
}

/// Runs for so long; the books balance at every tick, and nothing took longer than its path.
fn run(turmoil: &Turmoil, time: Duration) {
    turmoil.run(|now| {
        let totals = turmoil.totals();
        let accounted = totals.delivered + totals.dropped + turmoil.under_way();
        assert_eq!(totals.sent, accounted, "books at {now}");
        (Duration::from_nanos(now.0) >= time).then_some(())
    });
    assert_eq!(turmoil.late(), 0, "messages slower than their path");
}

fn calibrate(what: &str, ideal: f64, measured: f64, tolerance: f64) {
    let error = measured / ideal - 1.0;
    println!("{what}: ideal {ideal:.3}, measured {measured:.3}, error {error:.4}");
    assert!(
        error.abs() <= tolerance,
        "{what}: ideal {ideal}, measured {measured}"
    );
}

#[test]
fn ten_clients_share_one_uplink_equally() {
    let turmoil = Turmoil::new(1);
    source(&turmoil, 0, link(MIB, WIDE, 20 * MS), 4 * MIB);
    let clients: Vec<_> = (1..=10).map(|n| sink(&turmoil, n, plain(), 0)).collect();
    run(&turmoil, 45_000 * MS);
    let last = clients.iter().map(|c| {
        let seen = c.borrow();
        assert_eq!((seen.bytes, seen.garbled), (4 * MIB, false));
        let (at, how) = seen.closed.expect("the server finished");
        assert_eq!(how, Closed::ByPeer);
        at.as_secs_f64()
    });
    let ideal = 40.0 * 1488.0 / 1448.0 + 0.06;
    calibrate(
        "ten clients, last done, s",
        ideal,
        last.fold(0.0, f64::max),
        0.01,
    );
    for second in 1..40 {
        let so_far = clients
            .iter()
            .map(|c| c.borrow().before(second * 1000 * MS));
        let apart = so_far.clone().max().expect("ten") - so_far.min().expect("ten");
        assert!(apart <= 2 * BLOCK, "{apart} bytes apart at {second} s");
    }
}

/// As on the fabric: who asks on a slow link waits for a quarter of a second per neighbour, and who goes by what was
/// sent is not told of what only waits for its turn.
#[test]
fn on_a_slow_uplink_parcels_are_short_and_room_is_told_when_their_turn_comes() {
    const NEIGHBOURS: u64 = 4;
    let turmoil = Turmoil::new(1);
    turmoil.add_host("host-0", ip(0), link(8_000, WIDE, 20 * MS), true);
    let (net, rooms) = (turmoil.clone(), Rc::new(RefCell::new(Vec::new())));
    let told = Rc::clone(&rooms);
    turmoil.program("source", ip(0), async move |epoch| {
        let mut net = net.attach(ip(0));
        net.listen(at(0)).expect("a free port");
        loop {
            match next(&mut net).await {
                NetEvent::Opened { conn, .. } => {
                    net.send(conn, numbered(0, 6_000));
                }
                NetEvent::Room { conn, queued } => {
                    told.borrow_mut().push((epoch.elapsed(), conn, queued));
                }
                _ => {}
            }
        }
    });
    let clients: Vec<_> = (1..=4).map(|n| sink(&turmoil, n, plain(), 0)).collect();
    run(&turmoil, 10_000 * MS);
    let rooms = rooms.borrow();
    // 2,000 bytes each in turn: a quarter of a second of the link, and two headers.
    let (first, parcel) = (rooms[0].0.as_secs_f64(), 2_080.0 / 8_000.0);
    assert!((0.05..0.08).contains(&first), "{first}");
    assert_eq!(rooms.len() as u64, 3 * NEIGHBOURS);
    for (turn, (at, conn, queued)) in (0..).zip(rooms.iter()) {
        let (round, place) = (turn / NEIGHBOURS, turn % NEIGHBOURS);
        assert_eq!(*conn, rooms[usize::try_from(place).expect("four")].1);
        assert_eq!(*queued, 6_000 - (round + 1) * 2_000);
        // The first one takes the headers of the handshakes along.
        let handshakes = if turn > 0 { 4.0 * 40.0 / 8_000.0 } else { 0.0 };
        let ideal = first + handshakes + turn as f64 * parcel;
        assert!(
            (at.as_secs_f64() - ideal).abs() <= 0.006,
            "turn {turn}: {at:?} for {ideal}"
        );
    }
    for client in clients {
        assert_eq!(
            (client.borrow().bytes, client.borrow().garbled),
            (6_000, false)
        );
    }
}

#[test]
fn a_slow_downlink_gets_its_share_and_the_rest_is_not_wasted() {
    let turmoil = Turmoil::new(1);
    source(&turmoil, 0, link(MIB, WIDE, 20 * MS), 100 * MIB);
    let slow = sink(&turmoil, 1, link(WIDE, MIB / 4, 20 * MS), 0);
    let fast = sink(&turmoil, 2, plain(), 0);
    run(&turmoil, 50_000 * MS);
    let rate = |seen: &Rc<RefCell<Seen>>| {
        let seen = seen.borrow();
        (seen.before(50_000 * MS) - seen.before(10_000 * MS)) as f64 / 40.0
    };
    // Parcels of 4 KiB are three segments.
    let payload = |rate: u64| rate as f64 * 4096.0 / (4096.0 + 3.0 * 40.0);
    calibrate("slow downlink, B/s", payload(MIB / 4), rate(&slow), 0.01);
    calibrate(
        "fast downlink, B/s",
        payload(MIB * 3 / 4),
        rate(&fast),
        0.01,
    );
}

#[test]
fn loss_costs_what_mathis_says() {
    for loss_ppm in [1_000, 10_000] {
        let lossy = |up| LinkPlan {
            loss_ppm,
            ..link(up, WIDE, 20 * MS)
        };
        let turmoil = Turmoil::new(1);
        source(&turmoil, 0, lossy(4 * MIB), 1000 * MIB);
        let seen = sink(&turmoil, 1, lossy(WIDE), 0);
        run(&turmoil, 70_000 * MS);
        let seen = seen.borrow();
        assert!(!seen.garbled);
        let rate = (seen.before(70_000 * MS) - seen.before(10_000 * MS)) as f64 / 60.0;
        let mathis = 1.22 * 1448.0 / (0.04 * (f64::from(loss_ppm) / 1e6).sqrt());
        calibrate("Mathis, B/s", mathis, rate, 0.10);
    }
}

#[test]
fn a_new_connection_starts_slowly() {
    let turmoil = Turmoil::new(1);
    source(&turmoil, 0, link(WIDE, WIDE, 100 * MS), 100_000);
    let seen = sink(&turmoil, 1, link(WIDE, WIDE, 100 * MS), 0);
    run(&turmoil, 3000 * MS);
    // Set-up and the way of the first byte: two round trips. Then 10, 20, 40 segments, of which 70 are enough.
    calibrate(
        "100 kB at 200 ms, s",
        0.4 + 2.0 * 0.2,
        seen.borrow().data.last().expect("bytes").0.as_secs_f64(),
        0.01,
    );
}

#[test]
fn a_reader_that_does_not_read_stops_the_writer() {
    let turmoil = Turmoil::new(1);
    source(&turmoil, 0, plain(), 100 * MIB);
    turmoil.add_host("idle", ip(1), plain(), true);
    let net = turmoil.clone();
    turmoil.program("idle", ip(1), async move |_| {
        let mut net = net.attach(ip(1));
        net.connect(at(0));
        std::future::pending::<()>().await;
    });
    run(&turmoil, 20_000 * MS);
    let window = 2 * WIDE * 40 / 1000;
    let sent = turmoil.totals().sent;
    assert!(sent <= window + QUEUE + BLOCK, "{sent}");
}

#[test]
fn dials_are_answered_after_one_round_trip_or_never() {
    let turmoil = Turmoil::new(1);
    let heard = listener(&turmoil, 0, plain());
    turmoil.add_host("deaf", ip(1), plain(), true);
    turmoil.add_host("dialler", ip(2), plain(), true);
    let (net, diary) = (turmoil.clone(), Diary::default());
    let told = Rc::clone(&diary);
    turmoil.program("dialler", ip(2), async move |epoch| {
        let mut net = net.attach(ip(2));
        for host in [0, 1, 9] {
            net.connect(at(host));
        }
        notes(net, epoch, told).await;
    });
    run(&turmoil, 1000 * MS);
    let refused = format!("{:?}", ConnectError::Refused);
    let answers = [(40, "opened inbound=false".to_owned()), (40, refused)];
    assert_eq!(*diary.borrow(), answers);
    assert_eq!(*heard.borrow(), [(60, "opened inbound=true".to_owned())]);
}

#[test]
fn the_end_of_a_process_is_a_reset_and_the_next_one_starts_clean() {
    let turmoil = Turmoil::new(1);
    let heard = listener(&turmoil, 0, plain());
    turmoil.add_host("mortal", ip(1), plain(), true);
    let net = turmoil.clone();
    turmoil.program("mortal", ip(1), async move |_| {
        for _ in 0..2 {
            let mut life = net.attach(ip(1));
            life.listen(at(1)).expect("free again");
            let conn = life.connect(at(0));
            life.send(conn, Bytes::from(vec![7; 1000]));
            tokio::time::sleep(100 * MS).await;
            drop(life);
        }
    });
    run(&turmoil, 1000 * MS);
    let words: Vec<(u64, String)> = heard.borrow().clone();
    let opened = "opened inbound=true".to_owned();
    let expected = [
        (60, opened.clone()),
        (120, "Reset".to_owned()),
        (160, opened),
        (220, "Reset".to_owned()),
    ];
    assert_eq!(words, expected);
}

#[test]
fn what_was_finished_arrives_whole_though_the_process_ends() {
    let turmoil = Turmoil::new(1);
    turmoil.add_host("short", ip(0), link(MIB, WIDE, 20 * MS), true);
    let net = turmoil.clone();
    turmoil.program("short", ip(0), async move |_| {
        let mut life = net.attach(ip(0));
        life.listen(at(0)).expect("a free port");
        let conn = loop {
            if let NetEvent::Opened { conn, .. } = next(&mut life).await {
                break conn;
            }
        };
        for n in 0..8 * MIB / 64 {
            life.send(conn, numbered(n * 64, 64));
        }
        life.close(conn, CloseHow::Finish);
    });
    let seen = sink(&turmoil, 1, plain(), 0);
    run(&turmoil, 15_000 * MS);
    let seen = seen.borrow();
    assert_eq!((seen.bytes, seen.garbled), (8 * MIB, false));
    assert_eq!(seen.closed.expect("it finished").1, Closed::ByPeer);
}

#[test]
fn datagrams_take_their_time_and_are_really_lost() {
    let turmoil = Turmoil::new(1);
    let lossy = LinkPlan {
        loss_ppm: 100_000,
        ..plain()
    };
    let heard = listener(&turmoil, 0, lossy.clone());
    turmoil.add_host("speaker", ip(1), lossy, true);
    let net = turmoil.clone();
    turmoil.program("speaker", ip(1), async move |_| {
        let mut net = net.attach(ip(1));
        for _ in 0..2000 {
            net.send_to(at(0), Bytes::from_static(b"twenty bytes of text"));
            tokio::time::sleep(MS).await;
        }
    });
    run(&turmoil, 3000 * MS);
    let heard = heard.borrow();
    assert_eq!(heard[0].1, "datagram of 20");
    assert!((21..25).contains(&heard[0].0), "{}", heard[0].0);
    // 1,800 of 2,000 are expected, with a deviation of 13.
    assert!((1740..1860).contains(&heard.len()), "{}", heard.len());
}

#[test]
fn a_panic_on_a_host_fails_the_run_with_its_words() {
    let turmoil = Turmoil::new(1);
    turmoil.add_host("host", ip(0), plain(), true);
    turmoil.program("peer", ip(0), async |_| panic!("three is {}", 4));
    let ran = catch_unwind(AssertUnwindSafe(|| run(&turmoil, 1000 * MS)));
    let payload = ran.expect_err("it panicked");
    let words = payload.downcast_ref::<String>().expect("words");
    assert!(words.contains("three is 4"), "{words}");
}

//! What links do to a transfer, each held against arithmetic done by hand. One test prints the table of the eight
//! calibrations:
//!
//! ```text
//! cargo test -p skep-sim --test network -- --nocapture calibration_table
//! ```

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use skep_engine::node::network::{CloseHow, NetEvent, Network};
use skep_sim::network::fabric::FabricNet;
use skep_sim::network::link::{SEGMENT_BYTES, SEGMENT_OVERHEAD, segments, wire_bytes};
use skep_sim::scenario::plan::LinkPlan;

use super::lab::{self, BLOCK, Does, KIB, MIB, MS, Sink, Source, WIDE, calibrate, link};
use super::table::{self, Row};

/// Payload's share of the bytes on the wire, in blocks.
fn wire_factor() -> f64 {
    wire_bytes(BLOCK) as f64 / BLOCK as f64
}

/// Lets an experiment give its lines.
fn rows_of(experiment: impl FnOnce(&RefCell<Vec<Row>>)) -> Vec<Row> {
    let rows = RefCell::new(Vec::new());
    experiment(&rows);
    rows.into_inner()
}

#[test]
fn calibration_table() {
    let experiments: [fn(&RefCell<Vec<Row>>); 8] = [
        ten_clients_share_one_uplink_equally,
        a_slow_downlink_gets_its_share_and_the_rest_is_not_wasted,
        loss_costs_what_mathis_says_and_ten_connections_fill_the_link,
        a_pipeline_of_five_blocks_over_200_ms_moves_410_kb_per_second,
        no_second_of_an_uplink_is_above_its_rate,
        nothing_arrives_before_it_was_sent_plus_the_delay,
        what_was_sent_is_delivered_or_in_flight,
        a_short_fetch_over_a_long_path_is_slow_start,
    ];
    let rows: Vec<Row> = experiments.into_iter().flat_map(rows_of).collect();
    table::hold(&rows);
}

/// 1.
fn ten_clients_share_one_uplink_equally(rows: &RefCell<Vec<Row>>) {
    lab::run(
        60_000 * MS,
        |lab| {
            lab.host(link(MIB, WIDE, 20 * MS), Source::new(4 * MIB));
            let client = |_| {
                let (sink, seen) = Sink::new(lab::at(0), 1);
                lab.host(link(WIDE, WIDE, 20 * MS), sink);
                seen
            };
            (0..10).map(client).collect::<Vec<_>>()
        },
        |_, clients| {
            let set_up = 0.06;
            let ideal = 40.0 * 1488.0 / 1448.0 + set_up;
            let last = clients.iter().map(|c| c.borrow().last_s());
            let last = last.fold(0.0, f64::max);
            let what = "ten clients of 4 MiB at one uplink of 1 MiB/s: last done, s";
            rows.borrow_mut()
                .push(Row::about("1", what, ideal, last, 0.01));
            for client in &clients {
                let seen = client.borrow();
                assert_eq!((seen.bytes, seen.garbled), (4 * MIB, false));
            }
            for second in 1..40 {
                let so_far = clients
                    .iter()
                    .map(|c| c.borrow().before(second * 1_000 * MS));
                let (least, most) = (so_far.clone().min(), so_far.max());
                let apart = most.unwrap_or(0) - least.unwrap_or(0);
                assert!(
                    apart <= 2 * BLOCK,
                    "equal shares: {apart} bytes apart at {second} s"
                );
            }
        },
    );
}

/// 2.
fn a_slow_downlink_gets_its_share_and_the_rest_is_not_wasted(rows: &RefCell<Vec<Row>>) {
    lab::run(
        60_000 * MS,
        |lab| {
            lab.host(link(MIB, WIDE, 20 * MS), Source::new(100 * MIB));
            [256 * KIB, WIDE].map(|down| {
                let (sink, seen) = Sink::new(lab::at(0), 1);
                lab.host(link(WIDE, down, 20 * MS), sink);
                seen
            })
        },
        |_, [slow, fast]| {
            let (from, to) = (10_000 * MS, 50_000 * MS);
            let rate = |kib: f64| kib * KIB as f64 / wire_factor();
            let (slow, fast) = (slow.borrow().rate(from, to), fast.borrow().rate(from, to));
            for (what, ideal, measured) in [
                (
                    "a downlink of 256 KiB/s at an uplink of 1 MiB/s, B/s",
                    rate(256.0),
                    slow,
                ),
                ("a fast one beside it gets the rest, B/s", rate(768.0), fast),
            ] {
                rows.borrow_mut()
                    .push(Row::about("2", what, ideal, measured, 0.01));
            }
        },
    );
}

#[test]
fn the_overhead_of_a_block_is_its_segments_headers() {
    let per_segment = (SEGMENT_BYTES + SEGMENT_OVERHEAD) as f64 / SEGMENT_BYTES as f64;
    assert!(
        (wire_factor() / per_segment - 1.0).abs() < 0.003,
        "{}",
        wire_factor()
    );
    assert_eq!(segments(BLOCK), 12);
}

/// Mean rate of `connections` over a path with loss, after a warm-up, in bytes per second.
fn lossy_rate(connections: usize, loss_ppm: u32, up: u64) -> f64 {
    let rate = Rc::new(Cell::new(0.0));
    let result = Rc::clone(&rate);
    lab::run(
        130_000 * MS,
        |lab| {
            let lossy = |up, down| LinkPlan {
                loss_ppm,
                ..link(up, down, 20 * MS)
            };
            lab.host(lossy(up, WIDE), Source::new(1000 * MIB));
            let (sink, seen) = Sink::new(lab::at(0), connections);
            lab.host(lossy(WIDE, WIDE), sink);
            seen
        },
        move |_, seen| {
            assert!(!seen.borrow().garbled);
            result.set(seen.borrow().rate(10_000 * MS, 130_000 * MS));
        },
    );
    rate.get()
}

/// 3.
fn loss_costs_what_mathis_says_and_ten_connections_fill_the_link(rows: &RefCell<Vec<Row>>) {
    for (loss_ppm, what) in [
        (1_000, "one connection, 40 ms RTT, 0.1 % loss: Mathis, B/s"),
        (10_000, "one connection, 40 ms RTT, 1 % loss: Mathis, B/s"),
        (50_000, "one connection, 40 ms RTT, 5 % loss: Mathis, B/s"),
    ] {
        let p = f64::from(loss_ppm) / 1e6;
        let mathis = 1.22 * 1448.0 / (0.04 * p.sqrt());
        let measured = lossy_rate(1, loss_ppm, 4 * MIB);
        rows.borrow_mut()
            .push(Row::about("3", what, mathis, measured, 0.10));
    }
    let full = 2.0 * MIB as f64 / wire_factor();
    let ten = lossy_rate(10, 10_000, 2 * MIB);
    let what = "ten connections at 1 % loss fill 2 MiB/s, B/s";
    rows.borrow_mut()
        .push(Row::about("3", what, full, ten, 0.01));
}

/// 4. A client that keeps so many block requests open at a server of blocks: payload per second.
fn a_pipeline_of_five_blocks_over_200_ms_moves_410_kb_per_second(rows: &RefCell<Vec<Row>>) {
    const REQUEST: u64 = 17;
    lab::run(
        60_000 * MS,
        |lab| {
            let mut asked = 0u64;
            let server = Does {
                start: |net: &mut FabricNet| {
                    net.listen(lab::at_any()).expect("a free port");
                },
                event: move |net: &mut FabricNet, event, _| {
                    if let NetEvent::Data { conn, data } = event {
                        asked += data.len() as u64;
                        while asked >= REQUEST {
                            asked -= REQUEST;
                            net.send(conn, lab::numbered(0, BLOCK));
                        }
                    }
                },
            };
            lab.host(link(WIDE, WIDE, 100 * MS), server);
            let got = Rc::new(Cell::new(0u64));
            let count = Rc::clone(&got);
            let mut part = 0;
            let client = Does {
                start: |net: &mut FabricNet| {
                    net.connect(lab::at(0));
                },
                event: move |net: &mut FabricNet, event, now| {
                    let ask = Bytes::from_static(&[0; 17]);
                    match event {
                        NetEvent::Opened { conn, .. } => {
                            (0..5).for_each(|_| net.send(conn, ask.clone()));
                        }
                        NetEvent::Data { conn, data } => {
                            part += data.len() as u64;
                            while part >= BLOCK {
                                part -= BLOCK;
                                net.send(conn, ask.clone());
                            }
                            if now > 10_000 * MS {
                                count.set(count.get() + data.len() as u64);
                            }
                        }
                        _ => {}
                    }
                },
            };
            lab.host(link(WIDE, WIDE, 100 * MS), client);
            got
        },
        |_, got| {
            let rate = got.get() as f64 / 50.0;
            let (what, ideal) = (
                "five blocks in the pipeline over 200 ms, B/s",
                5.0 * BLOCK as f64 / 0.2,
            );
            rows.borrow_mut()
                .push(Row::about("4", what, ideal, rate, 0.01));
        },
    );
}

/// 5. What leaves an uplink, in its busiest second.
fn no_second_of_an_uplink_is_above_its_rate(rows: &RefCell<Vec<Row>>) {
    lab::run(
        40_000 * MS,
        |lab| {
            lab.host(link(MIB, WIDE, 20 * MS), Source::new(100 * MIB));
            let client = |_| {
                let (sink, seen) = Sink::new(lab::at(0), 2);
                lab.host(link(WIDE, WIDE, 20 * MS), sink);
                seen
            };
            (0..5).map(client).collect::<Vec<_>>()
        },
        |_, clients| {
            let data = clients.iter().flat_map(|c| c.borrow().data.clone());
            let busiest = lab::busiest_second(data.collect()) as f64;
            let ideal = MIB as f64 / wire_factor();
            // One block that was begun before, and the timer's millisecond.
            let above = (BLOCK as f64 + MIB as f64 / 1000.0) / ideal;
            let below = BLOCK as f64 / ideal;
            let what = "busiest second of an uplink of 1 MiB/s, B";
            let row = Row::within("5", what, ideal, busiest, -below..=above);
            rows.borrow_mut().push(row);
        },
    );
}

/// 6. When the first byte and the first block of a server that speaks at once arrive.
fn nothing_arrives_before_it_was_sent_plus_the_delay(rows: &RefCell<Vec<Row>>) {
    for latency in [7u32, 60] {
        lab::run(
            5_000 * MS,
            |lab| {
                lab.host(link(MIB, WIDE, latency * MS), Source::new(BLOCK));
                let (sink, seen) = Sink::new(lab::at(0), 1);
                lab.host(link(WIDE, MIB, latency * MS), sink);
                seen
            },
            |_, seen| {
                // The server writes when the third packet of the handshake is there; the block then takes its
                // time on both links.
                let carried = 2.0 * wire_bytes(BLOCK) as f64 / MIB as f64;
                let ideal = 4.0 * f64::from(latency) / 1000.0 + carried;
                // The timer's millisecond for each of five hops.
                let late = 0.005 / ideal;
                let what = format!("a block at {latency} ms one way, never before, s");
                let at = seen.borrow().last_s();
                rows.borrow_mut()
                    .push(Row::within("6", what, ideal, at, 0.0..=late));
            },
        );
    }
}

/// 7. The books of a network at work, with loss, resets and a host that dies.
fn what_was_sent_is_delivered_or_in_flight(rows: &RefCell<Vec<Row>>) {
    lab::run(
        20_000 * MS,
        |lab| {
            let frail = |up, down| LinkPlan {
                loss_ppm: 10_000,
                reset_every: Some(20_000 * MS),
                ..link(up, down, 15 * MS)
            };
            lab.host(frail(MIB, WIDE), Source::new(100 * MIB));
            for _ in 0..4 {
                let (sink, _) = Sink::new(lab::at(0), 2);
                lab.host(frail(WIDE, 100 * KIB), sink);
            }
            lab.at(8_003 * MS, |lab| lab.kill(1));
        },
        |lab, ()| {
            let (totals, way) = (lab.fabric.totals(), lab.fabric.under_way());
            assert!(totals.dropped > 0 && way > 0, "{totals:?}, {way} under way");
            let accounted = totals.delivered + totals.dropped + way;
            let what = "bytes delivered, dropped by ends, in flight; sent, B";
            let row = Row::about("7", what, totals.sent as f64, accounted as f64, 0.0);
            rows.borrow_mut().push(row);
        },
    );
}

/// 8. Slow start, by hand: 10 segments, then twice as many each round trip.
fn a_short_fetch_over_a_long_path_is_slow_start(rows: &RefCell<Vec<Row>>) {
    lab::run(
        5_000 * MS,
        |lab| {
            let mut server = Source::new(100_000);
            server.write = SEGMENT_BYTES;
            lab.host(link(WIDE, WIDE, 100 * MS), server);
            let (sink, seen) = Sink::new(lab::at(0), 1);
            lab.host(link(WIDE, WIDE, 100 * MS), sink);
            seen
        },
        |_, seen| {
            // Set-up: SYN, SYN-ACK, ACK: 300 ms until the server writes. Then windows of 14,480, 28,960,
            // 57,920 bytes: 101,360 in three flights, the last of which lands 100 + 2 x 200 ms later.
            let ideal = 0.3 + 0.1 + 2.0 * 0.2;
            let (what, at) = (
                "100 kB at 200 ms RTT: slow start, s",
                seen.borrow().last_s(),
            );
            rows.borrow_mut()
                .push(Row::about("8", what, ideal, at, 0.01));
        },
    );
}

#[test]
fn one_uplink_is_full_for_a_single_connection_over_a_long_path() {
    for (latency, up) in [(1, 125_000), (40, 1_250_000), (150, 12_500_000)] {
        lab::run(
            40_000 * MS,
            |lab| {
                lab.host(link(up, up, latency * MS), Source::new(10_000 * MIB));
                let (sink, seen) = Sink::new(lab::at(0), 1);
                lab.host(link(up, up, latency * MS), sink);
                seen
            },
            |_, seen| {
                let ideal = up as f64 / wire_factor();
                let rate = seen.borrow().rate(20_000 * MS, 40_000 * MS);
                let what = format!("9 one connection, {up} B/s, {latency} ms, B/s");
                calibrate(&what, ideal, rate, 0.01);
            },
        );
    }
}

/// Whoever acts first in a millisecond, the links carry on in between.
#[test]
fn a_host_that_acts_every_millisecond_costs_no_rate() {
    lab::run(
        10_000 * MS,
        |lab| {
            lab.host(link(6 * MIB, WIDE, 5 * MS), Source::new(1000 * MIB));
            let (sink, seen) = Sink::new(lab::at(0), 1);
            lab.host(link(WIDE, WIDE, 5 * MS), sink);
            for ms in 1..10_000 {
                lab.at(ms * MS, |lab| {
                    let nobody = lab.net(0).connect(lab::at(200));
                    lab.net(0).close(nobody, CloseHow::Reset);
                });
            }
            seen
        },
        |_, seen| {
            let rate = seen.borrow().rate(5_000 * MS, 10_000 * MS);
            let ideal = 6.0 * MIB as f64 / wire_factor();
            calibrate("10 a busy host's uplink, B/s", ideal, rate, 0.01);
        },
    );
}

#[test]
fn set_up_takes_one_round_trip_for_the_dialler_and_one_and_a_half_for_the_other() {
    let opened = Rc::new(Cell::new(Duration::ZERO));
    let (far, near) = (Rc::clone(&opened), Rc::new(Cell::new(Duration::ZERO)));
    let dialler = Rc::clone(&near);
    lab::run(
        1_000 * MS,
        |lab| {
            let server = Does {
                start: |net: &mut FabricNet| {
                    net.listen(lab::at_any()).expect("a free port");
                },
                event: move |_: &mut FabricNet, event, now| {
                    if let NetEvent::Opened { inbound: true, .. } = event {
                        far.set(now);
                    }
                },
            };
            lab.host(link(WIDE, WIDE, 30 * MS), server);
            let client = Does {
                start: |net: &mut FabricNet| {
                    net.connect(lab::at(0));
                },
                event: move |_: &mut FabricNet, event, now| {
                    if let NetEvent::Opened { inbound: false, .. } = event {
                        dialler.set(now);
                    }
                },
            };
            lab.host(link(WIDE, WIDE, 50 * MS), client);
        },
        |_, ()| {
            assert_eq!(
                near.get(),
                80 * MS,
                "the mean of 30 and 50 ms, there and back"
            );
            assert_eq!(opened.get(), 120 * MS);
        },
    );
}

//! Links that change during a run, regions, slow links, and connections that a fault resets.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use skep_engine::node::network::{Closed, NetEvent, Network};
use skep_sim::network::fabric::FabricNet;
use skep_sim::scenario::plan::LinkPlan;

use super::lab::{self, BLOCK, Does, MIB, MS, Sink, Source, WIDE, link};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_slow_link_is_slow_for_as_long_as_it_is_and_nothing_is_lost() {
    lab::run(
        60 * SECOND,
        |lab| {
            lab.host(link(MIB, WIDE, 20 * MS), Source::new(100 * MIB));
            let (sink, seen) = Sink::new(lab::at(0), 2);
            lab.host(link(WIDE, WIDE, 20 * MS), sink);
            let change = |up| {
                move |lab: &mut lab::Lab| {
                    lab.fabric.change_link(lab::ip(0), link(up, WIDE, 20 * MS));
                }
            };
            lab.at(20 * SECOND, change(MIB / 8));
            lab.at(40 * SECOND, change(MIB));
            seen
        },
        |_, seen| {
            let seen = seen.borrow();
            assert!(!seen.garbled);
            let rate = |from: u32, to: u32| seen.rate(from * SECOND, to * SECOND) / MIB as f64;
            let wire = 1448.0 / 1488.0;
            for (from, to, ideal) in [(5, 20, wire), (21, 40, wire / 8.0), (41, 60, wire)] {
                let measured = rate(from, to);
                assert!(
                    (measured / ideal - 1.0).abs() < 0.02,
                    "{from} s: {measured}"
                );
            }
        },
    );
}

#[test]
fn more_delay_comes_and_goes_and_no_byte_overtakes_another() {
    let far = Rc::new(Cell::new(Vec::new()));
    let arrivals = Rc::clone(&far);
    lab::run(
        10 * SECOND,
        |lab| {
            let hears = Does {
                start: |net: &mut FabricNet| {
                    net.listen(lab::at_any()).expect("a free port");
                },
                event: move |_: &mut FabricNet, event, now: Duration| {
                    if let NetEvent::Data { data, .. } = event {
                        let mut all = arrivals.take();
                        all.push((data[0], now));
                        arrivals.set(all);
                    }
                },
            };
            lab.host(link(WIDE, WIDE, 20 * MS), hears);
            let conn = Rc::new(Cell::new(None));
            let opened = Rc::clone(&conn);
            let says = Does {
                start: |net: &mut FabricNet| {
                    net.connect(lab::at(0));
                },
                event: move |_: &mut FabricNet, event, _| {
                    if let NetEvent::Opened { conn, .. } = event {
                        opened.set(Some(conn));
                    }
                },
            };
            lab.host(link(WIDE, WIDE, 20 * MS), says);
            for (number, ms) in [(1u8, 1_000), (2, 2_000), (3, 2_050), (4, 4_000)] {
                let conn = Rc::clone(&conn);
                lab.at(ms * MS, move |lab| {
                    let conn = conn.get().expect("it stands");
                    lab.net(1).send(conn, Bytes::from(vec![number; 10]));
                });
            }
            // 400 ms more at one end are 200 ms more on the path.
            lab.at(1_500 * MS, |lab| {
                lab.fabric
                    .change_link(lab::ip(1), link(WIDE, WIDE, 420 * MS));
            });
            lab.at(2_010 * MS, |lab| {
                lab.fabric
                    .change_link(lab::ip(1), link(WIDE, WIDE, 20 * MS));
            });
        },
        |_, ()| {
            let ms = |at: Duration| at.as_millis();
            let all: Vec<_> = far.take().into_iter().map(|(n, at)| (n, ms(at))).collect();
            // The third left after the second on a short path, and waits for it.
            assert_eq!(all, [(1, 1_021), (2, 2_221), (3, 2_221), (4, 4_021)]);
        },
    );
}

#[test]
fn a_share_of_the_connections_is_reset_at_both_ends_at_once() {
    lab::run(
        20 * SECOND,
        |lab| {
            lab.host(link(MIB, WIDE, 20 * MS), Source::new(100 * MIB));
            let sinks = [5, 4].map(|connections| {
                let (sink, seen) = Sink::new(lab::at(0), connections);
                lab.host(link(WIDE, WIDE, 20 * MS), sink);
                seen
            });
            lab.at(5 * SECOND, |lab| {
                assert_eq!(lab.fabric.reset_some(&[lab::ip(1)], 500_000, "half"), 3);
                assert_eq!(lab.fabric.totals().resets, 0, "none of them at random");
            });
            lab.at(10 * SECOND, |lab| {
                assert_eq!(lab.fabric.reset_some(&[lab::ip(0)], 1_000_000, "all"), 6);
            });
            sinks
        },
        |lab, [one, other]| {
            let ends = |seen: &std::cell::RefCell<lab::Seen>| {
                let seen = seen.borrow();
                assert!(seen.closed.iter().all(|(_, how)| *how == Closed::Reset));
                let at = |time| seen.closed.iter().filter(|(at, _)| *at == time).count();
                (at(5 * SECOND), at(10 * SECOND))
            };
            assert_eq!((ends(&one), ends(&other)), ((3, 2), (0, 4)));
            assert_eq!(lab.fabric.live_connections(), 0);
        },
    );
}

#[test]
fn regions_have_a_delay_for_each_way() {
    let opened = Rc::new(Cell::new((Duration::ZERO, Duration::ZERO)));
    let times = Rc::clone(&opened);
    lab::run(
        10 * SECOND,
        |lab| {
            let seen = Rc::clone(&times);
            let server = Does {
                start: |net: &mut FabricNet| {
                    net.listen(lab::at_any()).expect("a free port");
                },
                event: move |_: &mut FabricNet, event, now| {
                    if let NetEvent::Opened { .. } = event {
                        seen.set((now, seen.get().1));
                    }
                },
            };
            lab.host(link(WIDE, WIDE, 10 * MS), server);
            let client = Does {
                start: |net: &mut FabricNet| {
                    net.connect(lab::at(0));
                },
                event: move |_: &mut FabricNet, event, now| {
                    if let NetEvent::Opened { .. } = event {
                        times.set((times.get().0, now));
                    }
                },
            };
            lab.machine(link(WIDE, WIDE, 12 * MS));
            let delays = [[10, 30], [70, 12]].map(|row| row.map(|ms| ms * MS).to_vec());
            lab.fabric.set_regions(delays.to_vec());
            for host in [0, 1] {
                lab.fabric.set_region(lab::ip(host), host);
            }
            lab.start(1, client);
        },
        |_, ()| {
            // From the client's region to the server's 70 ms, back 30 ms.
            assert_eq!(opened.get(), (170 * MS, 100 * MS));
        },
    );
}

/// A small message that waits behind a block on a link of 1 kB/s.
#[test]
fn on_a_slow_link_a_small_message_does_not_wait_for_a_block() {
    let arrived = Rc::new(Cell::new(Duration::ZERO));
    let at = Rc::clone(&arrived);
    lab::run(
        60 * SECOND,
        |lab| {
            for _ in 0..2 {
                let at = Rc::clone(&at);
                let hears = Does {
                    start: |net: &mut FabricNet| {
                        net.listen(lab::at_any()).expect("a free port");
                    },
                    event: move |_: &mut FabricNet, event, now| {
                        if let NetEvent::Data { data, .. } = event
                            && data.len() == 17
                        {
                            at.set(now);
                        }
                    },
                };
                lab.host(link(WIDE, WIDE, 20 * MS), hears);
            }
            let says = Does {
                start: |net: &mut FabricNet| {
                    let block = net.connect(lab::at(0));
                    net.send(block, lab::numbered(0, BLOCK));
                    let small = net.connect(lab::at(1));
                    net.send(small, Bytes::from_static(&[0; 17]));
                },
                event: |_: &mut FabricNet, _, _| {},
            };
            lab.host(link(1_000, WIDE, 20 * MS), says);
        },
        |_, ()| {
            // Two segments of the block go first, and take 1.5 s each; the block takes 17 s.
            let at = arrived.get();
            assert!(100 * MS < at && at < 3_500 * MS, "{at:?}");
        },
    );
}

#[test]
fn datagrams_wait_for_the_uplink_like_everything_else() {
    let arrivals = Rc::new(Cell::new(Vec::new()));
    let all = Rc::clone(&arrivals);
    lab::run(
        10 * SECOND,
        |lab| {
            let hears = Does {
                start: |net: &mut FabricNet| {
                    net.listen(lab::at_any()).expect("a free port");
                },
                event: move |_: &mut FabricNet, event, now: Duration| {
                    if let NetEvent::Datagram { .. } = event {
                        let mut so_far = all.take();
                        so_far.push(now.as_millis());
                        all.set(so_far);
                    }
                },
            };
            lab.host(link(WIDE, WIDE, 20 * MS), hears);
            let says = Does {
                start: |net: &mut FabricNet| {
                    (0..3).for_each(|_| net.send_to(lab::at(0), Bytes::from(vec![1; 960])));
                },
                event: |_: &mut FabricNet, _, _| {},
            };
            // 1,000 bytes on the wire take 1 s.
            lab.host(link(1_000, WIDE, 20 * MS), says);
        },
        |lab, ()| {
            assert_eq!(arrivals.take(), [1_020, 2_020, 3_020]);
            assert_eq!(lab.fabric.sent_wire(lab::ip(1)), 3_000);
        },
    );
}

#[test]
fn a_loss_burst_slows_what_is_there_and_is_over_when_it_is_over() {
    lab::run(
        90 * SECOND,
        |lab| {
            lab.host(link(MIB, WIDE, 20 * MS), Source::new(200 * MIB));
            let (sink, seen) = Sink::new(lab::at(0), 1);
            lab.host(link(WIDE, WIDE, 20 * MS), sink);
            // 10 % at one end are 5 % on the path.
            let lossy = LinkPlan {
                loss_ppm: 100_000,
                ..link(WIDE, WIDE, 20 * MS)
            };
            lab.at(20 * SECOND, move |lab| {
                lab.fabric.change_link(lab::ip(1), lossy)
            });
            lab.at(60 * SECOND, |lab| {
                lab.fabric
                    .change_link(lab::ip(1), link(WIDE, WIDE, 20 * MS));
            });
            seen
        },
        |_, seen| {
            let seen = seen.borrow();
            assert!(!seen.garbled);
            let mathis = 1.22 * 1448.0 / (0.04 * 0.05f64.sqrt());
            let burst = seen.rate(25 * SECOND, 60 * SECOND);
            assert!(
                (burst / mathis - 1.0).abs() < 0.1,
                "{burst}, Mathis {mathis}"
            );
            let after = seen.rate(65 * SECOND, 90 * SECOND);
            assert!(after > 0.96 * MIB as f64, "{after}");
        },
    );
}

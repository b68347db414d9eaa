//! How connections begin, live and end on the fabric.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use skep_engine::ConnId;
use skep_engine::node::network::{CloseHow, Closed, ConnectError, NetEvent, Network};
use skep_sim::network::fabric::FabricNet;
use skep_sim::scenario::plan::LinkPlan;

use super::lab::{self, BLOCK, Does, KIB, Listener, MIB, MS, Program, Sink, Source, WIDE, link};

/// Events as words, with their times in ms.
type Diary = Rc<RefCell<Vec<(u64, String)>>>;

/// A program that starts with `start`, then notes what happens.
fn notes(start: impl FnMut(&mut FabricNet)) -> (impl Program, Diary) {
    let diary = Diary::default();
    let pages = Rc::clone(&diary);
    let program = Does {
        start,
        event: move |_: &mut FabricNet, event, now: Duration| {
            let word = match event {
                NetEvent::Opened { inbound, .. } => format!("opened inbound={inbound}"),
                NetEvent::Failed { why, .. } => format!("{why:?}"),
                NetEvent::Data { data, .. } => format!("{} bytes", data.len()),
                NetEvent::Closed { how, .. } => format!("{how:?}"),
                NetEvent::Datagram { data, .. } => format!("datagram of {}", data.len()),
                _ => return,
            };
            let ms = u64::try_from(now.as_millis()).expect("a short test");
            pages.borrow_mut().push((ms, word));
        },
    };
    (program, diary)
}

/// A program that listens and notes.
fn listens() -> (impl Program, Diary) {
    notes(|net| {
        net.listen(lab::at_any()).expect("a free port");
    })
}

fn words(diary: &Diary) -> Vec<(u64, String)> {
    diary.borrow().clone()
}

fn page(ms: u64, word: &str) -> (u64, String) {
    (ms, word.to_owned())
}

/// A program that dials `to` and, once the connection stands, does `then`.
fn dials(to: SocketAddr, mut then: impl FnMut(&mut FabricNet, ConnId)) -> (impl Program, Diary) {
    let (mut program, diary) = notes(move |net| {
        net.connect(to);
    });
    let program = {
        let start = {
            move |net: &mut FabricNet| {
                net.connect(to);
            }
        };
        Does {
            start,
            event: move |net: &mut FabricNet, event: NetEvent, now| {
                let opened = match &event {
                    NetEvent::Opened { conn, .. } => Some(*conn),
                    _ => None,
                };
                program.on_event(net, event, now);
                if let Some(conn) = opened {
                    then(net, conn);
                }
            },
        }
    };
    (program, diary)
}

fn plain() -> LinkPlan {
    link(WIDE, WIDE, 40 * MS)
}

#[test]
fn a_dial_to_a_closed_port_is_refused_after_one_round_trip() {
    lab::run(
        10_000 * MS,
        |lab| {
            lab.host(plain(), Listener);
            lab.machine(plain());
            let mut port = lab::at(0);
            port.set_port(1);
            [port, lab::at(1)].map(|to| {
                let (program, diary) = dials(to, |_, _| {});
                lab.host(plain(), program);
                diary
            })
        },
        |lab, diaries| {
            for diary in diaries {
                assert_eq!(words(&diary), [page(80, "Refused")]);
            }
            assert_eq!(lab.fabric.live_connections(), 0);
        },
    );
}

#[test]
fn an_address_without_a_machine_never_answers_and_the_dial_can_be_given_up() {
    lab::run(
        600_000 * MS,
        |lab| {
            let (program, diary) = notes(|_| {});
            lab.host(plain(), program);
            for round in 0..100 {
                lab.at(round * 5_000 * MS, move |lab| {
                    let silent = lab.net(0).connect(lab::at(200));
                    assert_eq!(silent.slot, 0, "the slot is free again");
                    lab.at((round * 5_000 + 4_000) * MS, move |lab| {
                        lab.net(0).close(silent, CloseHow::Reset);
                    });
                });
            }
            diary
        },
        |_, diary| assert_eq!(words(&diary), []),
    );
}

#[test]
fn a_program_that_ends_with_dials_to_nobody_leaves_no_slot_behind() {
    lab::run(
        1_000 * MS,
        |lab| {
            lab.machine(plain());
            for _ in 0..3 {
                lab.start(0, Listener);
                let silent = lab.net(0).connect(lab::at(200));
                assert_eq!(silent.slot, 0);
                lab.kill(0);
            }
        },
        |_, ()| {},
    );
}

#[test]
fn a_full_backlog_refuses_and_the_run_goes_on() {
    lab::run(
        10_000 * MS,
        |lab| {
            lab.host(plain(), Listener);
            let (program, diary) = notes(|net| {
                (0..1030).for_each(|_| {
                    net.connect(lab::at(0));
                });
            });
            lab.host(plain(), program);
            diary
        },
        |lab, diary| {
            let refused = words(&diary).iter().filter(|(_, w)| w == "Refused").count();
            assert_eq!((refused, diary.borrow().len()), (6, 1030));
            assert_eq!(lab.fabric.live_connections(), 1024);
        },
    );
}

#[test]
fn a_fin_comes_after_the_last_byte() {
    lab::run(
        60_000 * MS,
        |lab| {
            lab.host(link(100 * KIB, WIDE, 40 * MS), Source::new(MIB));
            let (sink, seen) = Sink::new(lab::at(0), 2);
            lab.host(link(WIDE, 50 * KIB, 40 * MS), sink);
            seen
        },
        |lab, seen| {
            let seen = seen.borrow();
            assert_eq!((seen.bytes, seen.garbled), (2 * MIB, false));
            let how: Vec<Closed> = seen.closed.iter().map(|(_, how)| *how).collect();
            assert_eq!(how, [Closed::ByPeer; 2]);
            assert!(seen.closed[1].0 >= seen.data.last().expect("data").0);
            assert_eq!(lab.fabric.live_connections(), 0);
        },
    );
}

#[test]
fn what_is_sent_and_finished_while_the_dial_is_under_way_arrives() {
    lab::run(
        10_000 * MS,
        |lab| {
            let (program, diary) = listens();
            lab.host(plain(), program);
            let (program, _) = notes(|net| {
                let conn = net.connect(lab::at(0));
                net.send(conn, Bytes::from_static(b"early"));
                net.close(conn, CloseHow::Finish);
            });
            lab.host(plain(), program);
            diary
        },
        |lab, diary| {
            let expected = [
                page(120, "opened inbound=true"),
                page(121, "5 bytes"),
                page(121, "ByPeer"),
            ];
            assert_eq!(words(&diary), expected);
            assert_eq!(lab.fabric.live_connections(), 0);
        },
    );
}

#[test]
fn a_reset_drops_what_was_not_sent_and_reaches_the_other_end_one_delay_later() {
    lab::run(
        30_000 * MS,
        |lab| {
            let (program, diary) = listens();
            lab.host(plain(), program);
            let (program, own) = dials(lab::at(0), |net, conn| {
                net.send(conn, lab::numbered(0, MIB));
                net.close(conn, CloseHow::Reset);
            });
            lab.host(link(1000, WIDE, 40 * MS), program);
            (diary, own)
        },
        |lab, (diary, own)| {
            assert_eq!(words(&own), [page(80, "opened inbound=false")]);
            assert_eq!(
                words(&diary),
                [page(120, "opened inbound=true"), page(120, "Reset")]
            );
            let totals = lab.fabric.totals();
            assert_eq!((totals.delivered, totals.dropped), (0, MIB));
        },
    );
}

#[test]
fn the_end_of_a_process_resets_all_its_connections_and_the_next_starts_clean() {
    lab::run(
        60_000 * MS,
        |lab| {
            lab.host(link(MIB, WIDE, 40 * MS), Source::new(100 * MIB));
            let sinks = [1, 2, 3].map(|_| {
                let (sink, seen) = Sink::new(lab::at(0), 3);
                lab.host(plain(), sink);
                seen
            });
            lab.at(5_000 * MS, |lab| {
                lab.kill(0);
            });
            lab.at(6_000 * MS, |lab| lab.start(0, Source::new(BLOCK)));
            lab.at(7_000 * MS, |lab| {
                let (sink, _) = Sink::new(lab::at(0), 1);
                lab.kill(1);
                lab.start(1, sink);
            });
            sinks
        },
        |lab, sinks| {
            for seen in &sinks {
                let seen = seen.borrow();
                assert_eq!(seen.closed, [(5_040 * MS, Closed::Reset); 3]);
            }
            assert_eq!(lab.fabric.live_connections(), 0);
            assert_eq!(lab.fabric.under_way(), 0);
        },
    );
}

/// Opens one connection, reads nothing until told.
struct Sleeper {
    reads: Rc<RefCell<bool>>,
    read: Rc<RefCell<u64>>,
}

impl Program for Sleeper {
    fn start(&mut self, net: &mut FabricNet) {
        net.connect(lab::at(0));
    }
    fn on_event(&mut self, _net: &mut FabricNet, event: NetEvent, _now: Duration) {
        if let NetEvent::Data { data, .. } = event {
            *self.read.borrow_mut() += data.len() as u64;
        }
    }
    fn polls(&self) -> bool {
        *self.reads.borrow()
    }
}

#[test]
fn a_reader_that_does_not_read_stops_the_writer() {
    lab::run(
        30_000 * MS,
        |lab| {
            lab.host(link(MIB, WIDE, 10 * MS), Source::new(100 * MIB));
            let (reads, read) = (Rc::default(), Rc::default());
            let (awake, count) = (Rc::clone(&reads), Rc::clone(&read));
            lab.host(link(WIDE, WIDE, 10 * MS), Sleeper { reads, read });
            lab.at(20_000 * MS, move |lab| {
                // 64 KiB of window; the source itself queues four blocks.
                let sent = lab.fabric.totals().sent;
                assert!((64 * KIB..=64 * KIB + 5 * BLOCK).contains(&sent), "{sent}");
                assert_eq!(lab.fabric.totals().delivered, 0);
                *awake.borrow_mut() = true;
            });
            count
        },
        |_, count| {
            let rate = *count.borrow() as f64 / 10.0;
            assert!(
                rate > 0.95 * MIB as f64,
                "it goes on when it is read: {rate} B/s"
            );
        },
    );
}

#[test]
fn a_writer_of_tiny_messages_hears_of_room() {
    lab::run(
        60_000 * MS,
        |lab| {
            let seen = Rc::new(RefCell::new(0));
            let count = Rc::clone(&seen);
            lab.host(
                plain(),
                Does {
                    start: |net: &mut FabricNet| {
                        net.listen(lab::at_any()).expect("a free port");
                    },
                    event: move |_: &mut FabricNet, event, _| {
                        if let NetEvent::Data { data, .. } = event {
                            *count.borrow_mut() += data.len();
                        }
                    },
                },
            );
            // At most 4 KiB queued, in messages of 100 bytes.
            let fill = |net: &mut FabricNet, conn, mut queued: u64| {
                while queued + 100 <= 4 * KIB {
                    net.send(conn, Bytes::from_static(&[7; 100]));
                    queued += 100;
                }
            };
            lab.host(
                link(10 * KIB, WIDE, 40 * MS),
                Does {
                    start: |net: &mut FabricNet| {
                        net.connect(lab::at(0));
                    },
                    event: move |net: &mut FabricNet, event, _| match event {
                        NetEvent::Opened { conn, .. } => fill(net, conn, 0),
                        NetEvent::Room { conn, queued } => fill(net, conn, queued),
                        _ => {}
                    },
                },
            );
            seen
        },
        |_, seen| {
            // Two messages share a packet: 200 bytes of 240.
            let ideal = 59.8 * 10.0 * 1024.0 * 200.0 / 240.0;
            lab::calibrate(
                "tiny messages, bytes in 59.8 s",
                ideal,
                *seen.borrow() as f64,
                0.01,
            );
        },
    );
}

#[test]
fn many_opens_and_closes_leak_nothing() {
    lab::run(
        900_000 * MS,
        |lab| {
            lab.host(plain(), Source::new(3 * BLOCK));
            let mut round = 0u32;
            let mut next = move |net: &mut FabricNet| {
                round += 1;
                if round > 2000 {
                    return;
                }
                let conn = net.connect(lab::at(0));
                assert!(conn.slot < 4, "slots are used again");
                // Every kind of end: by the server, in mid-dial, at once both ways, unanswered.
                match round % 4 {
                    1 => net.close(conn, CloseHow::Reset),
                    2 => net.close(conn, CloseHow::Finish),
                    3 => {
                        let nobody = net.connect(lab::at(99));
                        net.close(nobody, CloseHow::Reset);
                    }
                    _ => {}
                }
                if round % 4 == 1 || round % 4 == 2 {
                    net.connect(lab::at(0));
                }
            };
            let mut first = next;
            let client = Does {
                start: move |net: &mut FabricNet| first(net),
                event: move |net: &mut FabricNet, event, _| match event {
                    NetEvent::Closed { .. } => next(net),
                    NetEvent::Data { conn, data } if data[0] % 2 == 1 => {
                        net.close(conn, CloseHow::Reset);
                        next(net);
                    }
                    _ => {}
                },
            };
            lab.host(plain(), client);
        },
        |lab, ()| {
            assert_eq!(lab.fabric.live_connections(), 0);
            assert_eq!(lab.fabric.under_way(), 0);
            assert!(
                lab.fabric.connection_slots() <= 4,
                "{}",
                lab.fabric.connection_slots()
            );
        },
    );
}

#[test]
fn connections_reset_as_often_as_asked() {
    lab::run(
        3_600_000 * MS,
        |lab| {
            let frail = |up, down| LinkPlan {
                reset_every: Some(Duration::from_secs(60)),
                ..link(up, down, 40 * MS)
            };
            lab.host(frail(WIDE, WIDE), Listener);
            for _ in 0..10 {
                let client = Does {
                    start: |net: &mut FabricNet| {
                        net.connect(lab::at(0));
                    },
                    event: |net: &mut FabricNet, event, _| {
                        if let NetEvent::Closed { how, .. } = &event {
                            assert_eq!(*how, Closed::Reset);
                        }
                        if let NetEvent::Closed { .. } | NetEvent::Failed { .. } = event {
                            net.connect(lab::at(0));
                        }
                    },
                };
                lab.host(frail(WIDE, WIDE), client);
            }
        },
        |lab, ()| {
            // 600 expected; three standard deviations are 73.
            let resets = lab.fabric.totals().resets;
            assert!((527..=673).contains(&resets), "{resets}");
        },
    );
}

#[test]
fn a_dial_that_breaks_on_its_way_fails() {
    lab::run_seeded(
        3,
        60_000 * MS,
        |lab| {
            let frail = LinkPlan {
                reset_every: Some(MS),
                ..link(WIDE, WIDE, 400 * MS)
            };
            lab.host(frail.clone(), Listener);
            let (program, diary) = dials(lab::at(0), |_, _| {});
            lab.host(frail, program);
            diary
        },
        |lab, diary| {
            let pages = words(&diary);
            assert_eq!(pages.len(), 1, "{pages:?}");
            assert_eq!(pages[0].1, format!("{:?}", ConnectError::Unreachable));
            assert_eq!(lab.fabric.live_connections(), 0);
        },
    );
}

#[test]
fn datagrams_arrive_whole_and_only_where_somebody_listens() {
    lab::run(
        10_000 * MS,
        |lab| {
            let (program, diary) = listens();
            lab.host(plain(), program);
            lab.machine(plain());
            let (program, _) = notes(|net| {
                net.send_to(lab::at(0), Bytes::from_static(&[1; 98]));
                net.send_to(lab::at(1), Bytes::from_static(&[1; 98]));
                net.send_to(lab::at(77), Bytes::from_static(&[1; 98]));
            });
            lab.host(plain(), program);
            diary
        },
        |_, diary| assert_eq!(words(&diary), [page(41, "datagram of 98")]),
    );
}

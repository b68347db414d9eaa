//! Paths that carry nothing for a while, and machines without power: what connections make of them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use skep_engine::ConnId;
use skep_engine::node::network::{Closed, ConnectError, NetEvent, Network};
use skep_sim::network::fabric::FabricNet;

use super::lab::{self, Does, KIB, Lab, Listener, MIB, MS, Program, Sink, Source, WIDE, link};

const SECOND: Duration = Duration::from_secs(1);

/// Cuts the paths between two hosts for a while.
fn cut(lab: &mut Lab, at: Duration, time: Duration, from: usize, to: usize, both: bool) {
    lab.at(at, move |lab| {
        lab.fabric.cut(0, &[lab::ip(from)], &[lab::ip(to)], both)
    });
    lab.at(at + time, |lab| lab.fabric.heal(0));
}

/// What a [`talker`] saw.
#[derive(Default)]
struct Talk {
    conn: Cell<Option<ConnId>>,
    data: RefCell<Vec<(Duration, usize)>>,
    closed: Cell<Option<(Duration, Closed)>>,
    failed: Cell<Option<(Duration, ConnectError)>>,
    opened: Cell<Option<Duration>>,
}

/// Dials, or listens, and says nothing unless the test makes it.
fn talker(dials: bool) -> (impl Program, Rc<Talk>) {
    let talk = Rc::new(Talk::default());
    let seen = Rc::clone(&talk);
    let program = Does {
        start: move |net: &mut FabricNet| {
            if dials {
                net.connect(lab::at(0));
            } else {
                net.listen(lab::at_any()).expect("a free port");
            }
        },
        event: move |_: &mut FabricNet, event, now| match event {
            NetEvent::Opened { conn, .. } => {
                seen.conn.set(Some(conn));
                seen.opened.set(Some(now));
            }
            NetEvent::Data { data, .. } => seen.data.borrow_mut().push((now, data.len())),
            NetEvent::Closed { how, .. } => seen.closed.set(Some((now, how))),
            NetEvent::Failed { why, .. } => seen.failed.set(Some((now, why))),
            _ => {}
        },
    };
    (program, talk)
}

/// Two talkers, 20 ms apart: the first listens, the second dials.
fn talkers(lab: &mut Lab) -> [Rc<Talk>; 2] {
    [false, true].map(|dials| {
        let (program, talk) = talker(dials);
        lab.host(link(WIDE, WIDE, 20 * MS), program);
        talk
    })
}

/// One of them says so many bytes at a moment.
fn say(lab: &mut Lab, at: Duration, host: usize, talk: &Rc<Talk>, bytes: usize) {
    let talk = Rc::clone(talk);
    lab.at(at, move |lab| {
        let conn = talk.conn.get().expect("it stands");
        lab.net(host).send(conn, Bytes::from(vec![0; bytes]));
    });
}

#[test]
fn a_partition_that_heals_in_time_costs_its_time_and_no_byte() {
    lab::run(
        60 * SECOND,
        |lab| {
            lab.host(link(MIB, WIDE, 20 * MS), Source::new(20 * MIB));
            let (sink, seen) = Sink::new(lab::at(0), 3);
            lab.host(link(WIDE, WIDE, 20 * MS), sink);
            cut(lab, 5 * SECOND, 10 * SECOND, 0, 1, true);
            seen
        },
        |lab, seen| {
            let seen = seen.borrow();
            assert!(!seen.garbled);
            let gap = seen
                .data
                .windows(2)
                .max_by_key(|pair| pair[1].0 - pair[0].0);
            let (from, to) = gap.map(|pair| (pair[0].0, pair[1].0)).expect("data");
            // The first loss is noticed at 5 s; retransmissions follow 0.24, 0.72, 1.68, 3.6, 7.44 and 15.12 s
            // later: the last one is the first after 15 s.
            assert!((4_950 * MS..5_060 * MS).contains(&from), "{from:?}");
            assert!((20_100 * MS..20_200 * MS).contains(&to), "{to:?}");
            let totals = lab.fabric.totals();
            assert_eq!((totals.stalls, totals.resumed, totals.timed_out), (3, 3, 0));
            assert_eq!(lab.fabric.cut_hits(0), 3);
            // Nothing else is lost: 25 s of work in 45 s.
            assert!(seen.before(20 * SECOND) < 6 * MIB && seen.bytes > 42 * MIB);
        },
    );
}

#[test]
fn a_partition_that_heals_just_before_the_user_timeout_saves_the_connection() {
    lab::run(
        200 * SECOND,
        |lab| {
            let talks = talkers(lab);
            cut(lab, 5 * SECOND, 60_900 * MS, 0, 1, true);
            say(lab, 6 * SECOND, 0, &talks[0], 500);
            say(lab, 7 * SECOND, 1, &talks[1], 500);
            talks
        },
        |lab, talks| {
            // Healed at 65.9 s; the last tries are a minute after the losses at 6.02 and 7.02 s.
            let heard = talks.map(|talk| {
                assert_eq!(talk.closed.get(), None);
                let data = talk.data.borrow();
                data.first().map(|(at, _)| at.as_millis())
            });
            assert_eq!(heard, [Some(67_041), Some(66_041)]);
            assert_eq!(lab.fabric.totals().timed_out, 0);
        },
    );
}

#[test]
fn a_partition_longer_than_the_user_timeout_resets_both_ends_that_speak() {
    lab::run(
        200 * SECOND,
        |lab| {
            let talks = talkers(lab);
            cut(lab, 5 * SECOND, 90 * SECOND, 0, 1, true);
            for host in [0, 1] {
                say(lab, 6 * SECOND, host, &talks[host], 500);
            }
            talks
        },
        |lab, talks| {
            for talk in talks {
                let (at, how) = talk.closed.get().expect("it ended");
                assert_eq!(how, Closed::Reset);
                assert!((66_000 * MS..66_100 * MS).contains(&at), "{at:?}");
                assert!(talk.data.borrow().is_empty());
            }
            assert_eq!(lab.fabric.totals().timed_out, 2);
            assert_eq!(lab.fabric.live_connections(), 0);
        },
    );
}

#[test]
fn who_is_silent_hears_of_it_when_it_speaks_again() {
    lab::run(
        200 * SECOND,
        |lab| {
            let talks = talkers(lab);
            cut(lab, 5 * SECOND, 90 * SECOND, 0, 1, true);
            say(lab, 6 * SECOND, 0, &talks[0], 500);
            say(lab, 120 * SECOND, 1, &talks[1], 500);
            talks
        },
        |lab, [speaks, silent]| {
            assert_eq!(speaks.closed.get().map(|(_, how)| how), Some(Closed::Reset));
            let (at, how) = silent.closed.get().expect("it ended");
            assert_eq!(how, Closed::Reset);
            assert!((120_040 * MS..120_045 * MS).contains(&at), "{at:?}");
            assert_eq!(lab.fabric.live_connections(), 0);
        },
    );
}

#[test]
fn an_idle_connection_outlives_any_partition() {
    lab::run(
        400 * SECOND,
        |lab| {
            let talks = talkers(lab);
            cut(lab, 5 * SECOND, 300 * SECOND, 0, 1, true);
            say(lab, 306 * SECOND, 0, &talks[0], 500);
            talks
        },
        |lab, [speaks, hears]| {
            assert_eq!((speaks.closed.get(), hears.closed.get()), (None, None));
            assert_eq!(hears.data.borrow().len(), 1);
            assert_eq!(lab.fabric.totals().stalls, 0);
        },
    );
}

#[test]
fn one_way_the_other_direction_goes_on_until_its_window_is_full() {
    lab::run(
        100 * SECOND,
        |lab| {
            // Nothing gets from the reader to the writer: no acknowledgement comes back.
            lab.host(link(MIB, WIDE, 20 * MS), Source::new(100 * MIB));
            let (sink, seen) = Sink::new(lab::at(0), 1);
            lab.host(link(WIDE, WIDE, 20 * MS), sink);
            cut(lab, 5 * SECOND, 10 * SECOND, 1, 0, false);
            seen
        },
        |lab, seen| {
            let seen = seen.borrow();
            let during = seen.before(15 * SECOND) - seen.before(5 * SECOND);
            // The window of this path is 2 x 1 MiB/s x 40 ms = 84 KB.
            assert!((64 * KIB..120 * KIB).contains(&during), "{during}");
            assert!(!seen.garbled && seen.closed.is_empty());
            let later = seen.rate(30 * SECOND, 90 * SECOND);
            assert!(later > 0.95 * MIB as f64, "{later}");
            assert_eq!(lab.fabric.totals().resumed, 1);
        },
    );
}

#[test]
fn one_way_data_stalls_and_the_sender_gives_up() {
    lab::run(
        200 * SECOND,
        |lab| {
            let talks = talkers(lab);
            cut(lab, 5 * SECOND, 100 * SECOND, 0, 1, false);
            say(lab, 6 * SECOND, 0, &talks[0], 500);
            // This way data still arrives, but its acknowledgement does not.
            say(lab, 10 * SECOND, 1, &talks[1], 500);
            talks
        },
        |lab, [cut_off, other]| {
            assert_eq!(cut_off.data.borrow().len(), 1);
            assert_eq!(other.data.borrow().len(), 0);
            let ends = [&cut_off, &other].map(|talk| talk.closed.get().expect("it ended"));
            assert!((66_000 * MS..66_100 * MS).contains(&ends[0].0), "{ends:?}");
            assert!((70_000 * MS..70_100 * MS).contains(&ends[1].0), "{ends:?}");
            assert_eq!(lab.fabric.live_connections(), 0);
        },
    );
}

#[test]
fn a_dial_into_a_partition_succeeds_when_it_heals_and_fails_in_the_end() {
    for (time, opened_ms, failed) in [(2, Some(8_540), None), (300, None, Some(68..70))] {
        lab::run(
            400 * SECOND,
            |lab| {
                lab.host(link(WIDE, WIDE, 20 * MS), Listener);
                lab.machine(link(WIDE, WIDE, 20 * MS));
                cut(lab, 5 * SECOND, time * SECOND, 0, 1, true);
                let (program, talk) = talker(true);
                lab.at(5_500 * MS, move |lab| lab.start(1, program));
                talk
            },
            |lab, talk| {
                // SYNs leave at 5.5, 6.5, 8.5, 12.5 s and so on, the last one after 63 s.
                let opened = talk.opened.get().map(|at| at.as_millis());
                assert_eq!(opened, opened_ms);
                let at = talk.failed.get().map(|(at, _)| at.as_secs());
                assert_eq!(at.is_some(), failed.is_some(), "{at:?}");
                assert!(at.is_none_or(|at| failed.as_ref().is_some_and(|f| f.contains(&at))));
                assert!(lab.fabric.cut_hits(0) > 0);
            },
        );
    }
}

#[test]
fn a_handshake_that_is_cut_in_the_middle_ends_or_is_given_up_and_leaves_no_place_taken() {
    // The dial leaves at 0: knocks at 20, is answered at 40, accepted at 60 ms.
    for (at, one_way_from) in [(30, 0), (50, 1), (10, 1), (30, 1)] {
        for time in [3, 200] {
            lab::run(
                600 * SECOND,
                |lab| {
                    let talks = talkers(lab);
                    cut(
                        lab,
                        at * MS,
                        time * SECOND,
                        one_way_from,
                        1 - one_way_from,
                        false,
                    );
                    let dialler = Rc::clone(&talks[1]);
                    lab.at(SECOND, move |lab| {
                        if let Some(conn) = dialler.conn.get() {
                            lab.net(1).send(conn, Bytes::from_static(&[7; 100]));
                        }
                    });
                    lab.at(400 * SECOND, |lab| {
                        let (program, talk) = talker(true);
                        lab.kill(1);
                        lab.start(1, program);
                        lab.at(401 * SECOND, move |_| assert!(talk.opened.get().is_some()));
                    });
                    talks
                },
                |lab, [server, client]| {
                    let case = format!("cut at {at} ms from {one_way_from} for {time} s");
                    if time == 3 {
                        assert!(client.opened.get().is_some(), "{case}");
                        assert!(server.opened.get().is_some(), "{case}");
                    }
                    assert_eq!(lab.fabric.live_connections(), 1, "{case}");
                },
            );
        }
    }
}

#[test]
fn data_behind_a_lost_handshake_packet_comes_after_it_and_whole() {
    lab::run(
        10 * SECOND,
        |lab| {
            let talks = talkers(lab);
            // The handshake's last packet would arrive at 60 ms, what the dialler says at 45 ms at 65 ms.
            cut(lab, 55 * MS, 7 * MS, 1, 0, false);
            say(lab, 45 * MS, 1, &talks[1], 500);
            talks
        },
        |lab, [server, _client]| {
            let data = server.data.borrow();
            let bytes: usize = data.iter().map(|(_, bytes)| *bytes).sum();
            assert_eq!(bytes, 500);
            assert!(server.opened.get() <= Some(data[0].0), "{data:?}");
            assert_eq!(lab.fabric.totals().dropped, 0);
        },
    );
}

#[test]
fn without_power_nobody_hears_anything_until_the_machine_is_back() {
    lab::run(
        300 * SECOND,
        |lab| {
            let talks = talkers(lab);
            lab.at(5 * SECOND, |lab| {
                lab.fabric.power_off(lab::ip(0));
                lab.kill(0);
            });
            // It speaks at 6 s and is sent again at 6.26, 6.74, 7.7, 9.62, 13.46, 21.14, 36.5 s and so on.
            say(lab, 6 * SECOND, 1, &talks[1], 500);
            lab.at(25 * SECOND, |lab| {
                assert_eq!(lab.fabric.totals().dropped, 0);
                lab.start(0, Listener);
            });
            talks
        },
        |lab, [_, other]| {
            let (at, how) = other.closed.get().expect("it ended");
            assert_eq!(how, Closed::Reset);
            assert!((36_000 * MS..37_000 * MS).contains(&at), "{at:?}");
            assert_eq!(lab.fabric.live_connections(), 0);
        },
    );
}

#[test]
fn a_machine_that_stays_dark_is_given_up_and_dials_to_it_are_not_answered() {
    lab::run(
        300 * SECOND,
        |lab| {
            lab.host(link(MIB, WIDE, 20 * MS), Source::new(100 * MIB));
            let (sink, seen) = Sink::new(lab::at(0), 2);
            lab.host(link(WIDE, WIDE, 20 * MS), sink);
            lab.at(5 * SECOND, |lab| {
                lab.fabric.power_off(lab::ip(1));
                lab.kill(1);
            });
            lab.machine(link(WIDE, WIDE, 20 * MS));
            lab.at(6 * SECOND, |lab| lab.start(2, Dials(1)));
            seen
        },
        |lab, seen| {
            assert!(seen.borrow().bytes > 4 * MIB);
            let totals = lab.fabric.totals();
            assert_eq!((totals.stalls, totals.timed_out), (2, 2));
            // The dial is given up too.
            assert_eq!(lab.fabric.live_connections(), 0);
            assert_eq!(lab.fabric.under_way(), 0);
        },
    );
}

/// Dials a host.
struct Dials(usize);

impl Program for Dials {
    fn start(&mut self, net: &mut FabricNet) {
        net.connect(lab::at(self.0));
    }
    fn on_event(&mut self, _net: &mut FabricNet, _event: NetEvent, _now: Duration) {}
}

/// Whatever is cut, healed, switched off and on again: no byte is missing or out of its place, the books
/// balance, and nothing is left over.
#[test]
fn no_sequence_of_faults_loses_a_byte_of_the_books() {
    for seed in 0..24u64 {
        lab::run_seeded(
            seed,
            400 * SECOND,
            |lab| {
                for up in [300_000, 1_000_000] {
                    lab.host(link(up, WIDE, 15 * MS), Source::new(MIB));
                }
                let sinks: Vec<_> = (2..6)
                    .map(|n| {
                        let (sink, seen) = Sink::new(lab::at(n % 2), 2);
                        let latency = u32::try_from(5 * n).expect("short") * MS;
                        lab.host(link(WIDE, 200_000, latency), sink);
                        seen
                    })
                    .collect();
                // A pseudo-random walk, of which the seed is the start.
                let mut state = seed * 2 + 1;
                let mut next = move |below: u64| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    (state >> 33) % below
                };
                for fault in 0..6usize {
                    let [a, b] = [next(6), next(6)].map(|n| usize::try_from(n).expect("few"));
                    let at = u32::try_from(next(9_000)).expect("small") * MS;
                    let time = u32::try_from(1 + next(80_000)).expect("small") * MS;
                    let both = next(2) == 0;
                    if a == b {
                        lab.at(at, move |lab| {
                            lab.fabric.power_off(lab::ip(a));
                            lab.kill(a);
                        });
                        lab.at(at + time, move |lab| {
                            lab.kill(a);
                            lab.start(a, Listener);
                        });
                    } else {
                        lab.at(at, move |lab| {
                            lab.fabric.cut(fault, &[lab::ip(a)], &[lab::ip(b)], both);
                        });
                        lab.at(at + time, move |lab| lab.fabric.heal(fault));
                    }
                }
                for ms in 1..90 {
                    lab.at(ms * 997 * MS, move |lab| {
                        let (totals, way) = (lab.fabric.totals(), lab.fabric.under_way());
                        assert_eq!(totals.sent, totals.delivered + totals.dropped + way);
                    });
                }
                sinks
            },
            |lab, sinks| {
                for seen in sinks {
                    assert!(!seen.borrow().garbled, "seed {seed}");
                }
                assert_eq!(lab.fabric.under_way(), 0, "seed {seed}");
            },
        );
    }
}

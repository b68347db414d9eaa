//! What faults do to connections that stand, to dials and to datagrams: partitions, changed links, resets.

use std::time::Duration;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use skep_engine::node::network::{Closed, NetEvent, Network};
use skep_sim::network::fabric::{FabricNet, LinkChange};

use super::lab::{self, Does, KIB, Lab, MIB, MS, Sink, Source, WIDE, at, ip, link};

const S: Duration = Duration::from_secs(1);

/// A source of `total` bytes at host 0, and a sink with one connection at host 1: 20 ms, 1 MiB/s.
fn transfer(lab: &mut Lab, total: u64) -> std::rc::Rc<std::cell::RefCell<lab::Seen>> {
    lab.host(link(MIB, WIDE, 20 * MS), Source::new(total));
    let (sink, seen) = Sink::new(at(0), 1);
    lab.host(link(WIDE, WIDE, 20 * MS), sink);
    seen
}

/// Cuts from one host to another for a while.
fn cut(lab: &mut Lab, from: usize, to: usize, begin: Duration, end: Duration) {
    lab.at(begin, move |lab| {
        let cut = lab.fabric.cut(&[ip(from)], &[ip(to)]);
        lab.at(end, move |lab| {
            assert!(lab.fabric.stopped_by(cut) > 0, "it stopped something");
            lab.fabric.heal(cut);
        });
    });
}

#[test]
fn a_partition_that_heals_delays_and_loses_no_byte() {
    for (from, to) in [(0, 1), (1, 0)] {
        lab::run(
            60 * S,
            |lab| {
                let seen = transfer(lab, 4 * MIB);
                cut(lab, from, to, S, 6 * S);
                seen
            },
            |_, seen| {
                let seen = seen.borrow();
                assert_eq!((seen.bytes, seen.garbled), (4 * MIB, false));
                // The window of 64 KiB was under way; the ACKs' way alone lets that much more arrive.
                assert_eq!(seen.before(6 * S), seen.before(1200 * MS), "{from} to {to}");
                // Retransmissions come 0.2, 0.6, 1.4, 3.0 and 6.2 s after the first loss.
                let again = seen.data.iter().find(|(at, _)| *at >= 6 * S);
                let again = again.expect("it went on").0;
                assert!(again >= 7200 * MS && again < 7400 * MS, "{again:?}");
                assert_eq!(seen.closed.len(), 1);
                assert_eq!(seen.closed[0].1, Closed::ByPeer);
            },
        );
    }
}

#[test]
fn a_partition_longer_than_the_user_timeout_resets_both_ends() {
    lab::run(
        200 * S,
        |lab| {
            let seen = transfer(lab, 64 * MIB);
            cut(lab, 0, 1, S, 90 * S);
            seen
        },
        |lab, seen| {
            let closed = seen.borrow().closed.clone();
            assert_eq!(closed.len(), 1);
            assert_eq!(closed[0].1, Closed::Reset);
            let at = closed[0].0;
            assert!(at >= 61 * S && at < 61 * S + 100 * MS, "{at:?}");
            assert_eq!(lab.fabric.totals().timed_out, 1);
            assert_eq!(lab.fabric.live_connections(), 0, "nothing is kept of it");
        },
    );
}

#[test]
fn an_idle_connection_outlives_any_partition() {
    lab::run(
        300 * S,
        |lab| {
            let quiet = |net: &mut FabricNet| {
                net.listen(lab::at_any()).expect("a free port");
            };
            let event = |_: &mut FabricNet, event: NetEvent, _| {
                assert!(!matches!(event, NetEvent::Closed { .. }), "{event:?}");
            };
            lab.host(
                link(WIDE, WIDE, 20 * MS),
                Does {
                    start: quiet,
                    event,
                },
            );
            let (sink, seen) = Sink::new(at(0), 1);
            lab.host(link(WIDE, WIDE, 20 * MS), sink);
            lab.at(S, |lab| {
                let cut = lab.fabric.cut(&[ip(0)], &[ip(1)]);
                lab.at(200 * S, move |lab| lab.fabric.heal(cut));
            });
            seen
        },
        |lab, seen| {
            assert!(seen.borrow().closed.is_empty());
            assert_eq!(lab.fabric.live_connections(), 1);
        },
    );
}

#[test]
fn a_dial_through_a_partition_stands_when_its_next_try_gets_through() {
    lab::run(
        20 * S,
        |lab| {
            lab.host(link(MIB, WIDE, 20 * MS), Source::new(KIB));
            let (sink, seen) = Sink::new(at(0), 1);
            lab.machine(link(WIDE, WIDE, 20 * MS));
            cut(lab, 1, 0, 500 * MS, 2500 * MS);
            lab.at(S, |lab| lab.start(1, sink));
            seen
        },
        |_, seen| {
            let seen = seen.borrow();
            // Dialled at 1 s, again after 1 s and after 2 s more: at 4 s it gets through.
            let opened = seen.opened[0];
            assert!(opened >= 4 * S && opened < 4100 * MS, "{opened:?}");
            assert_eq!(seen.bytes, KIB);
        },
    );
}

#[test]
fn a_datagram_through_a_partition_is_lost() {
    let says = |net: &mut FabricNet| net.send_to(at(1), Bytes::from_static(b"hello"));
    let heard = std::rc::Rc::new(std::cell::Cell::new(0));
    let ears = std::rc::Rc::clone(&heard);
    lab::run(
        5 * S,
        |lab| {
            lab.machine(link(WIDE, WIDE, 20 * MS));
            let hears = Does {
                start: |net: &mut FabricNet| {
                    net.listen(lab::at_any()).expect("a free port");
                },
                event: move |_: &mut FabricNet, event: NetEvent, _| {
                    if matches!(event, NetEvent::Datagram { .. }) {
                        ears.set(ears.get() + 1);
                    }
                },
            };
            lab.host(link(WIDE, WIDE, 20 * MS), hears);
            cut(lab, 0, 1, S, 2 * S);
            let quiet = Does {
                start: |_: &mut FabricNet| {},
                event: |_: &mut FabricNet, _: NetEvent, _| {},
            };
            lab.start(0, quiet);
            for ms in [500, 1500, 2500] {
                lab.at(ms * MS, move |lab| says(lab.net(0)));
            }
        },
        |_, ()| (),
    );
    assert_eq!(heard.get(), 2);
}

#[test]
fn a_slow_link_is_slow_for_a_while() {
    lab::run(
        60 * S,
        |lab| {
            let seen = transfer(lab, 16 * MIB);
            lab.at(2 * S, |lab| {
                let slow = LinkChange {
                    up: Some(MIB / 8),
                    ..LinkChange::default()
                };
                let change = lab.fabric.change_link(ip(0), slow).expect("a host");
                lab.at(10 * S, move |lab| lab.fabric.end_change(change));
            });
            seen
        },
        |_, seen| {
            let seen = seen.borrow();
            let payload = 1448.0 / 1488.0;
            let ideal = MIB as f64 * payload;
            let rate = |from: u32, to: u32| seen.rate(from * S, to * S);
            lab::calibrate("before the change", ideal, rate(1, 2), 0.02);
            lab::calibrate("an eighth of the uplink", ideal / 8.0, rate(3, 9), 0.03);
            lab::calibrate("after the change", ideal, rate(12, 15), 0.02);
            assert!(!seen.garbled);
        },
    );
}

#[test]
fn a_latency_spike_holds_the_window_back_and_passes() {
    lab::run(
        60 * S,
        |lab| {
            let seen = transfer(lab, 32 * MIB);
            lab.at(2 * S, |lab| {
                let spike = LinkChange {
                    latency_extra: 400 * MS,
                    ..LinkChange::default()
                };
                // A path has the mean of its ends: both have 400 ms more, and so has the path.
                let one = lab.fabric.change_link(ip(0), spike.clone());
                let two = lab.fabric.change_link(ip(1), spike);
                lab.at(12 * S, move |lab| {
                    lab.fabric.end_change(one.expect("a host"));
                    lab.fabric.end_change(two.expect("a host"));
                });
            });
            seen
        },
        |_, seen| {
            let seen = seen.borrow();
            // Twice the rate times the round trip may be in flight: the rate itself is the limit again.
            let ideal = MIB as f64 * 1448.0 / 1488.0;
            lab::calibrate(
                "with 840 ms of round trip",
                ideal,
                seen.rate(8 * S, 12 * S),
                0.05,
            );
            lab::calibrate("after the spike", ideal, seen.rate(14 * S, 18 * S), 0.03);
            assert!(!seen.garbled);
        },
    );
}

#[test]
fn a_burst_of_loss_caps_the_rate_and_loses_no_byte() {
    lab::run(
        60 * S,
        |lab| {
            let seen = transfer(lab, 8 * MIB);
            lab.at(2 * S, |lab| {
                let burst = LinkChange {
                    loss_ppm: Some(40_000),
                    ..LinkChange::default()
                };
                let change = lab.fabric.change_link(ip(1), burst).expect("a host");
                lab.at(12 * S, move |lab| lab.fabric.end_change(change));
            });
            seen
        },
        |_, seen| {
            let seen = seen.borrow();
            // 2 % on the path, 40 ms: 1.22 x 1448 / (0.04 x sqrt(0.02)) bytes on the wire a second.
            let mathis = 1.22 * 1448.0 / (0.04 * 0.02f64.sqrt()) * 1448.0 / 1488.0;
            lab::calibrate("Mathis in the burst", mathis, seen.rate(3 * S, 12 * S), 0.1);
            let after = MIB as f64 * 1448.0 / 1488.0;
            lab::calibrate("after the burst", after, seen.rate(13 * S, 15 * S), 0.03);
            assert_eq!((seen.bytes, seen.garbled), (8 * MIB, false));
        },
    );
}

#[test]
fn a_share_of_the_connections_is_reset_at_once() {
    lab::run(
        10 * S,
        |lab| {
            lab.host(link(MIB, WIDE, 20 * MS), Source::new(64 * MIB));
            let (sink, seen) = Sink::new(at(0), 40);
            lab.host(link(WIDE, WIDE, 20 * MS), sink);
            lab.at(5 * S, |lab| {
                let mut rng = ChaCha8Rng::seed_from_u64(1);
                let none = lab.fabric.reset_share(&[ip(1)], 0, &mut rng);
                let some = lab.fabric.reset_share(&[ip(1)], 500_000, &mut rng);
                assert_eq!(none, 0);
                assert!((10..=30).contains(&some), "{some} of 40");
            });
            seen
        },
        |lab, seen| {
            let closed = seen.borrow().closed.clone();
            assert!(!closed.is_empty());
            assert!(
                closed
                    .iter()
                    .all(|(at, how)| *how == Closed::Reset && *at == 5 * S)
            );
            assert_eq!(lab.fabric.live_connections(), 40 - closed.len());
        },
    );
}

//! What no link may break, whatever runs over it.

use std::time::Duration;

use skep_sim::scenario::plan::LinkPlan;

use super::lab::{self, Lab, MIB, MS, Seen, Sink, Source, WIDE, link};

type Watched = std::rc::Rc<std::cell::RefCell<Seen>>;

/// Two servers and six clients with unlike links, each client at both servers.
fn crowd(lab: &mut Lab, spoil: impl Fn(LinkPlan) -> LinkPlan) -> Vec<(Watched, u64)> {
    for up in [300_000, 1_000_000] {
        lab.host(spoil(link(up, WIDE, 15 * MS)), Source::new(3 * MIB));
    }
    let client = |n: u64| {
        let down = 60_000 * (1 + n * n);
        let mut both = Vec::new();
        for server in [0, 1] {
            let (sink, seen) = Sink::new(lab::at(server), 2);
            let latency = u32::try_from(5 + 40 * n).expect("short") * MS;
            lab.host(spoil(link(WIDE, down, latency)), sink);
            both.push((seen, down));
        }
        both
    };
    (0..6).flat_map(client).collect()
}

fn jittered(link: LinkPlan) -> LinkPlan {
    LinkPlan {
        jitter: 30 * MS,
        loss_ppm: 10_000,
        ..link
    }
}

#[test]
fn no_window_of_a_second_is_above_the_rate() {
    for spoil in [|link: LinkPlan| link, jittered] {
        lab::run(
            40_000 * MS,
            |lab| crowd(lab, spoil),
            |_, clients| {
                let mut per_server = [Vec::new(), Vec::new()];
                for (n, (seen, down)) in clients.iter().enumerate() {
                    let data = seen.borrow().data.clone();
                    per_server[n % 2].extend(data.iter().copied());
                    let busiest = lab::busiest_second(data);
                    // One parcel whose carrying began before the window, and the timer's millisecond.
                    let cap = down + 16_384 + down / 1000;
                    assert!(busiest <= cap, "client {n}: {busiest} in 1 s, cap {cap}");
                }
                // What leaves an uplink evenly may arrive unevenly: only without jitter and queues
                // in between would the same window hold. Over the whole time it does.
                for (up, data) in [300_000u64, 1_000_000].into_iter().zip(per_server) {
                    let sum: u64 = data.iter().map(|(_, bytes)| bytes).sum();
                    assert!(sum <= up * 40, "{sum} bytes from an uplink of {up} B/s");
                }
            },
        );
    }
}

#[test]
fn nothing_is_delivered_before_it_was_sent_plus_the_delay() {
    for (latency, jitter, loss_ppm) in [(0, 0, 0), (7, 0, 0), (60, 25, 0), (60, 25, 20_000)] {
        lab::run(
            30_000 * MS,
            |lab| {
                let path = |up, down| LinkPlan {
                    jitter: jitter * MS,
                    loss_ppm,
                    ..link(up, down, latency * MS)
                };
                lab.host(path(500_000, WIDE), Source::new(2 * MIB));
                let (sink, seen) = Sink::new(lab::at(0), 3);
                lab.host(path(WIDE, 400_000), sink);
                seen
            },
            |_, seen| {
                let seen = seen.borrow();
                assert!(
                    seen.bytes > 3 * MIB && !seen.garbled,
                    "{} bytes",
                    seen.bytes
                );
                // The server may write once the third packet of the set-up has reached it.
                let mut arrived = 0;
                for (at, bytes) in &seen.data {
                    arrived += bytes;
                    let both_links = arrived * 1_000_000_000 / 500_000;
                    let earliest = 4 * latency * MS + Duration::from_nanos(both_links);
                    assert!(
                        *at >= earliest,
                        "{arrived} bytes at {at:?}, not before {earliest:?}"
                    );
                }
                let last = seen.last_s();
                println!("6 latency {latency} ms: {arrived} bytes by {last} s");
            },
        );
    }
}

#[test]
fn bytes_are_sent_delivered_dropped_or_under_way_at_every_moment() {
    lab::run(
        40_000 * MS,
        |lab| {
            for ms in 1..40 {
                lab.at(ms * 977 * MS, move |lab| {
                    let (totals, way) = (lab.fabric.totals(), lab.fabric.under_way());
                    assert_eq!(totals.sent, totals.delivered + totals.dropped + way);
                    assert!(ms > 5 || way > 0);
                });
            }
            // One client and one server end in the middle.
            lab.at(3_001 * MS, |lab| lab.kill(4));
            lab.at(8_003 * MS, |lab| lab.kill(0));
            crowd(lab, |link| LinkPlan {
                reset_every: Some(20_000 * MS),
                ..jittered(link)
            })
        },
        |lab, _| {
            let totals = lab.fabric.totals();
            println!("7 {totals:?}, under way {}", lab.fabric.under_way());
            assert!(totals.dropped > 0 && totals.resets > 0);
        },
    );
}

#[test]
fn jitter_and_loss_keep_the_order_of_a_connection() {
    for seed in 0..5 {
        lab::run_seeded(
            seed,
            60_000 * MS,
            |lab| crowd(lab, jittered),
            |_, clients| {
                for (seen, _) in clients {
                    let seen = seen.borrow();
                    assert!(!seen.garbled && seen.bytes > 0, "{} bytes", seen.bytes);
                }
            },
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_arrivals_and_another_seed_others() {
    let arrivals = |seed| {
        let mut all = Vec::new();
        lab::run_seeded(
            seed,
            10_000 * MS,
            |lab| crowd(lab, jittered),
            |_, clients| {
                all.extend(clients.iter().map(|(seen, _)| seen.borrow().data.clone()));
            },
        );
        all
    };
    assert_eq!(arrivals(1), arrivals(1));
    assert_ne!(arrivals(1), arrivals(2));
}

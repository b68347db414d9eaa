//! When a sender hears that there is room, and what leaves together.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use skep_engine::node::network::{NetEvent, Network};
use skep_sim::network::fabric::FabricNet;

use crate::lab::{self, BLOCK, Does, KIB, Lab, Listener, MS, Sink, WIDE, link};

/// What a sender heard of room: when, and how much was left.
type Heard = Rc<RefCell<Vec<(Duration, u64)>>>;

/// A sender with an uplink of a block each 164 ms that writes three blocks and no more. The first leaves at once.
fn three_blocks(lab: &mut Lab) -> Heard {
    lab.host(link(WIDE, WIDE, 20 * MS), Listener);
    let heard = Heard::default();
    let log = Rc::clone(&heard);
    lab.host(
        link(100 * KIB, WIDE, 20 * MS),
        Does {
            start: |net: &mut FabricNet| {
                net.listen(lab::at_any()).expect("a free port");
                net.connect(lab::at(0));
            },
            event: move |net: &mut FabricNet, event, now| match event {
                NetEvent::Opened { conn, inbound, .. } if !inbound => {
                    (0..3).for_each(|n| net.send(conn, lab::numbered(n * BLOCK, BLOCK)));
                }
                NetEvent::Room { queued, .. } => log.borrow_mut().push((now, queued)),
                _ => {}
            },
        },
    );
    heard
}

#[test]
fn a_sender_is_not_woken_for_room_while_its_connection_has_enough() {
    lab::run(2000 * MS, three_blocks, |_, heard| {
        let heard = heard.borrow();
        let [(_, 0), (first, BLOCK), (second, 0)] = heard[..] else {
            panic!("three blocks left: {heard:?}");
        };
        // Both when the last one begins to leave, and the uplink has 164 ms of work.
        assert_eq!(first, second);
    });
}

#[test]
fn it_hears_of_room_with_whatever_comes_before() {
    let build = |lab: &mut Lab| {
        let heard = three_blocks(lab);
        let other = lab.machine(link(WIDE, WIDE, 20 * MS));
        // A dial reaches the sender while it has a block left.
        lab.at(290 * MS, move |lab| {
            let dials = Does {
                start: |net: &mut FabricNet| {
                    net.connect(lab::at(1));
                },
                event: |_: &mut FabricNet, _, _| {},
            };
            lab.start(other, dials);
        });
        heard
    };
    lab::run(2000 * MS, build, |_, heard| {
        let times: Vec<_> = heard.borrow().iter().map(|(at, _)| *at).collect();
        assert!(times[1] + 80 * MS < times[2], "{times:?}");
    });
}

#[test]
fn a_block_leaves_with_what_is_before_it() {
    let build = |lab: &mut Lab| {
        lab.host(
            link(100 * KIB, WIDE, 20 * MS),
            Does {
                start: |net: &mut FabricNet| {
                    net.listen(lab::at_any()).expect("a free port");
                },
                event: |net: &mut FabricNet, event, _| {
                    if let NetEvent::Opened { conn, .. } = event {
                        net.send_both(conn, lab::numbered(0, 13), lab::numbered(13, BLOCK));
                    }
                },
            },
        );
        let (sink, seen) = Sink::new(lab::at(0), 1);
        lab.host(link(WIDE, 100 * KIB, 20 * MS), sink);
        seen
    };
    lab::run(2000 * MS, build, |_, seen| {
        let seen = seen.borrow();
        let [(head, 13), (block, BLOCK)] = seen.data[..] else {
            panic!("two chunks came: {:?}", seen.data);
        };
        assert_eq!(head, block, "the head waits for the whole block");
        assert!(!seen.garbled);
    });
}

//! Web seeds: sources with everything that speak another protocol.

use std::collections::VecDeque;
use std::ops::Range;

use super::*;
use crate::metainfo::Priority;
use crate::session::torrent::FetchFailure;

/// What the session wants of its web seeds.
#[derive(Default)]
pub(super) struct Web {
    finding: Vec<u32>,
    /// Seed, number, what is asked for and has not come.
    fetches: VecDeque<(u32, u64, Range<u64>)>,
    stopped: u32,
    rested: u32,
}

impl Web {
    pub(super) fn take(&mut self, output: Output) {
        match output {
            Output::FindWebSeed { seed } => self.finding.push(seed),
            Output::Fetch { seed, fetch, range } => {
                assert!(!range.is_empty());
                self.fetches.push_back((seed, fetch, range));
            }
            Output::StopFetch { fetch, .. } => {
                self.fetches.retain(|(_, number, _)| *number != fetch);
                self.stopped += 1;
            }
            Output::RestWebSeed { .. } => self.rested += 1,
            other => panic!("not for a web seed: {other:?}"),
        }
    }
}

const URL: &str = "http://web.example/";

/// Pieces of four blocks and one web seed, which has been found.
fn plan(pieces: u32) -> Plan {
    let mut plan = Plan::new(pieces, 4);
    plan.web_seeds = vec![URL.to_owned()];
    plan
}

fn web_addr() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 200], 80))
}

impl Rig {
    fn find(&mut self) {
        for seed in std::mem::take(&mut self.web.finding) {
            let found = Ok(web_addr());
            self.feed(Input::WebSeedFound { seed, found });
        }
    }

    /// What is asked of web seeds now, in blocks of the content.
    fn runs(&self) -> Vec<(u64, u64)> {
        let block = u64::from(BLOCK_BYTES);
        let fetches = self.web.fetches.iter();
        fetches
            .map(|(_, _, range)| (range.start / block, range.end.div_ceil(block)))
            .collect()
    }

    /// The next block of the oldest request comes; with `wrong` another one than it should be.
    fn come(&mut self, wrong: bool) {
        let (_, fetch, range) = self
            .web
            .fetches
            .front_mut()
            .expect("something is asked for");
        let geometry = self.disk.geometry;
        let piece = PieceIndex((range.start / u64::from(geometry.piece_bytes)) as u32);
        let begin = (range.start - geometry.offset(piece)) as u32;
        let range_of_block = geometry.block(piece, begin / BLOCK_BYTES);
        range.start += u64::from(range_of_block.len);
        let fetch = *fetch;
        if range.is_empty() {
            self.web.fetches.pop_front();
        }
        let mut data = self.disk.good_block(range_of_block);
        if wrong {
            data = data.iter().map(|b| !b).collect();
        }
        self.feed(Input::Fetched {
            fetch,
            range: range_of_block,
            data,
        });
    }

    fn web_fails(&mut self, why: FetchFailure) {
        let (_, fetch, _) = self
            .web
            .fetches
            .pop_front()
            .expect("something is asked for");
        self.feed(Input::FetchFailed { fetch, why });
    }

    fn web_left(&self) -> Vec<(&str, bool)> {
        let events = self.events.iter();
        let left = events.filter_map(|(_, event)| match event {
            Event::WebSeedLeft { why, for_good, .. } => Some((why.as_str(), *for_good)),
            _ => None,
        });
        left.collect()
    }
}

#[test]
fn a_web_seed_alone_gives_everything() {
    let mut rig = plan(40).start();
    rig.find();
    while !rig.web.fetches.is_empty() {
        rig.come(false);
    }
    assert!(rig.torrent.complete());
    assert_eq!(rig.disk.written, rig.disk.content);
    assert_eq!(rig.torrent.totals().gained, rig.disk.geometry.total);
    assert_eq!(rig.torrent.totals().wasted, 0);
    let senders = rig.torrent.senders();
    assert_eq!(senders[0].url.as_deref(), Some(URL));
    assert_eq!(senders[0].received, rig.disk.geometry.total);
    assert!(
        rig.web.rested > 0,
        "its connections are not needed any more"
    );
    assert_eq!(rig.torrent.peers_connected(), 0, "it is no peer");
}

#[test]
fn runs_are_whole_pieces_and_grow_with_the_rate() {
    let mut rig = plan(200).start();
    rig.find();
    assert_eq!(
        rig.runs(),
        [(0, 8)],
        "five blocks ahead, to the end of their pieces"
    );
    let mut longest = 0;
    while !rig.web.fetches.is_empty() {
        rig.now = rig.now.after(ms(10));
        rig.come(false);
        for (start, end) in rig.runs() {
            assert_eq!(end % 4, 0, "a run that ends inside a piece");
            longest = longest.max(end - start);
        }
    }
    assert!(longest > 50, "{longest} blocks");
    assert!(rig.torrent.complete());
}

#[test]
fn a_run_ends_at_its_limit_and_before_a_piece_that_is_started_or_unwanted() {
    let limit = |c: &mut EngineConfig| {
        c.pipeline_start = 100;
        c.web_seed_connections = 1;
        c.web_seed_run_max = 12 * u64::from(BLOCK_BYTES);
    };
    let mut rig = plan(10).config(limit).start();
    rig.find();
    assert_eq!(rig.runs(), [(0, 12)]);
    let mut rig = plan(10)
        .config(|c| {
            c.pipeline_start = 100;
            c.web_seed_connections = 1;
        })
        .start();
    let mut wanted = vec![Priority::Normal; 10];
    wanted[3] = Priority::Skip;
    rig.feed(Input::Prioritise(wanted));
    let peer = rig.holder(1, &[6]);
    rig.say(peer, Message::Unchoke);
    rig.find();
    assert_eq!(rig.runs(), [(0, 12)], "piece 3 is skipped");
    for _ in 0..12 {
        rig.come(false);
    }
    assert_eq!(rig.runs(), [(16, 24)], "piece 6 is the peer's");
}

#[test]
fn its_pieces_are_no_copies_and_no_connections() {
    let mut rig = plan(3).config(|c| c.connections_max = 1).start();
    rig.find();
    assert!((0..3).all(|piece| rig.copies(piece) == 0));
    rig.source(1);
    assert_eq!(rig.torrent.peers_connected(), 1, "there is room for a peer");
    assert_eq!(rig.copies(0), 1);
}

#[test]
fn nobody_is_told_anything_and_nobody_unchoked() {
    let mut rig = plan(4).start();
    rig.find();
    rig.wait(secs(25));
    while !rig.web.fetches.is_empty() {
        rig.come(false);
    }
    rig.wait(secs(300));
    assert_eq!(rig.sent, []);
    assert_eq!(rig.count(|e| matches!(e, Event::Unchoked { .. })), 0);
    assert_eq!(rig.count(|e| matches!(e, Event::PeerGone { .. })), 0);
    assert_eq!(rig.web_left(), []);
}

#[test]
fn one_that_sends_a_bad_piece_is_banned_for_the_run() {
    let mut rig = plan(2).start();
    rig.find();
    for _ in 0..4 {
        rig.come(true);
    }
    let banned = |e: &Event| matches!(e, Event::Banned { peer, .. } if *peer == web_addr());
    assert_eq!(rig.count(banned), 1);
    assert_eq!(rig.web_left(), [("banned", true)]);
    assert!(rig.web.fetches.is_empty());
    rig.wait(secs(3600));
    assert_eq!(rig.web.finding, [], "never asked again");
    // A peer at the same address is somebody else.
    let source = rig.connect(200, true);
    rig.shake(source, 200);
    assert!(rig.torrent.slot(source).is_some());
    let good = rig.source(1);
    rig.serve_all(good);
    assert!(rig.torrent.complete());
}

#[test]
fn a_bad_piece_of_two_senders_is_told_apart_by_the_next_copy() {
    let mut rig = plan(1).config(|c| c.web_seed_connections = 1).start();
    let peer = rig.source(1);
    // The peer is asked for all of it and gives half; then it chokes, and the web seed gives the rest.
    let asked = rig.asked(peer);
    assert_eq!(asked.len(), 4);
    rig.give(peer, asked[0]);
    rig.give(peer, asked[1]);
    rig.say(peer, Message::Choke);
    rig.find();
    assert_eq!(rig.runs(), [(2, 4)]);
    rig.come(false);
    rig.come(true);
    assert_eq!(rig.web_left(), [], "no proof yet");
    rig.say(peer, Message::Unchoke);
    // The next copy comes from one of them alone.
    loop {
        let asked = rig.asked(peer);
        if rig.torrent.complete() {
            break;
        }
        for range in asked {
            rig.give(peer, range);
        }
        if !rig.web.fetches.is_empty() {
            rig.come(true);
        }
    }
    assert_eq!(rig.web_left(), [("banned", true)]);
    assert!(
        rig.torrent
            .senders()
            .iter()
            .all(|s| s.banned == s.url.is_some())
    );
}

#[test]
fn what_it_does_not_give_goes_back_to_the_pool_at_once_and_it_is_tried_again_later() {
    let mut rig = plan(3).start();
    rig.find();
    let peer = rig.source(1);
    rig.asked(peer);
    rig.come(false);
    let pauses = [5, 10, 20, 40];
    for pause in pauses {
        rig.web_fails(FetchFailure::Broken);
        assert!(
            rig.web.fetches.is_empty(),
            "its other requests are given up"
        );
        rig.wait(secs(pause) - ms(1));
        assert_eq!(rig.web.finding, []);
        rig.wait(ms(1));
        assert_eq!(rig.web.finding, [0], "after {pause} s");
        rig.find();
    }
    rig.serve_all(peer);
    assert!(rig.torrent.complete());
}

#[test]
fn one_that_has_not_the_content_is_never_asked_again_and_nonsense_counts() {
    let mut rig = plan(3).start();
    rig.find();
    rig.web_fails(FetchFailure::Absent(404));
    rig.wait(secs(7200));
    assert_eq!(rig.web.finding, []);
    assert!(rig.web_left()[0].1);

    let mut rig = plan(3).config(|c| c.strikes_max = 2).start();
    rig.find();
    rig.web_fails(FetchFailure::WrongRange);
    rig.wait(secs(5));
    rig.find();
    rig.web_fails(FetchFailure::WrongRange);
    rig.wait(secs(7200));
    assert_eq!(rig.web.finding, []);
}

#[test]
fn a_busy_one_says_when_to_come_again_within_limits() {
    for (said, pause) in [(Some(secs(30)), 30), (Some(secs(90_000)), 3600), (None, 5)] {
        let mut rig = plan(3).config(|c| c.web_seed_connections = 1).start();
        rig.find();
        rig.web_fails(FetchFailure::Busy { retry_after: said });
        rig.wait(secs(pause) - ms(1));
        assert_eq!(rig.web.finding, []);
        rig.wait(ms(1));
        assert_eq!(rig.web.finding, [0]);
    }
}

#[test]
fn one_that_serves_one_request_at_a_time_is_asked_for_one() {
    let mut rig = plan(20).start();
    rig.find();
    while rig.web.fetches.len() < 2 {
        rig.come(false);
    }
    rig.web.fetches.swap(0, 1);
    rig.web_fails(FetchFailure::Busy { retry_after: None });
    assert_eq!(rig.web.fetches.len(), 1);
    while !rig.web.fetches.is_empty() {
        assert_eq!(rig.web.fetches.len(), 1);
        rig.come(false);
    }
    assert!(rig.torrent.complete());
    assert_eq!(rig.web_left(), []);
}

#[test]
fn near_the_end_peers_get_what_a_slow_one_holds_and_its_request_is_stopped() {
    let mut rig = plan(1).start();
    rig.find();
    assert_eq!(rig.runs(), [(0, 4)]);
    let peer = rig.source(1);
    rig.serve_all(peer);
    assert!(rig.torrent.complete());
    assert!(rig.web.fetches.is_empty());
    assert_eq!(rig.web.stopped, 1);
    assert!(rig.count(|e| *e == Event::EndgameEntered) == 1);
}

#[test]
fn a_silent_one_loses_its_blocks_to_others_and_rests() {
    let mut rig = plan(4).start();
    rig.find();
    rig.wait(secs(46));
    assert!(rig.count(|e| matches!(e, Event::RequestTimedOut { .. })) > 0);
    rig.wait(secs(15));
    assert_eq!(rig.web_left().len(), 1, "snubbed: it rests");
    assert!(!rig.web_left()[0].1);
}

#[test]
fn a_steady_one_is_never_late_however_long_its_runs() {
    let mut rig = plan(60).start();
    rig.find();
    while !rig.web.fetches.is_empty() {
        rig.wait(ms(200));
        rig.come(false);
    }
    assert_eq!(rig.count(|e| matches!(e, Event::RequestTimedOut { .. })), 0);
    assert!(rig.torrent.complete());
}

#[test]
fn the_download_limit_holds_for_web_seeds() {
    let rate = 8 * u64::from(BLOCK_BYTES);
    let limit = |c: &mut EngineConfig| c.download_limit = crate::config::RateLimit(rate);
    let mut rig = plan(40).config(limit).start();
    rig.find();
    let start = rig.now;
    while !rig.torrent.complete() {
        while !rig.web.fetches.is_empty() {
            rig.come(false);
        }
        rig.wait(ms(50));
    }
    let took = rig.now.since(start);
    assert!(
        took >= secs(17) && took <= secs(22),
        "{took:?} for 20 s' worth"
    );
}

#[test]
fn a_disk_that_is_behind_stops_the_asking() {
    let mut rig = plan(400).config(|c| c.disk_queue_max = 1).start();
    rig.hold_writes = true;
    rig.find();
    while !rig.web.fetches.is_empty() {
        rig.come(false);
    }
    assert!(!rig.torrent.complete());
    while let Some(range) = rig.writes.pop_front() {
        rig.feed(Input::BlockWritten { range });
    }
    assert!(!rig.web.fetches.is_empty());
}

#[test]
fn a_disk_failure_stops_it_and_going_on_starts_it_again() {
    let mut rig = plan(8).start();
    rig.find();
    rig.come(false);
    rig.feed(Input::StorageFailed(StorageFailure("full".into())));
    assert!(rig.web.fetches.is_empty());
    assert_eq!(rig.web.stopped, 1);
    rig.feed(Input::Resume);
    while !rig.web.fetches.is_empty() {
        rig.come(false);
    }
    assert!(rig.torrent.complete());
}

#[test]
fn leaving_stops_everything() {
    let mut rig = plan(8).start();
    rig.find();
    rig.feed(Input::Leave);
    assert!(rig.web.fetches.is_empty() && rig.left);
    rig.wait(secs(3600));
    assert_eq!(rig.web.finding, []);
}

#[test]
fn a_seed_looks_for_no_web_seed_until_it_loses_a_piece() {
    let mut rig = plan(4).seed().start();
    rig.wait(secs(100));
    assert_eq!(rig.web.finding, []);
    rig.feed(Input::PieceLost {
        piece: PieceIndex(2),
    });
    rig.find();
    assert_eq!(rig.runs(), [(8, 12)]);
}

#[test]
fn more_web_seeds_than_are_used_are_left_out_and_requests_are_few_in_all() {
    let mut all = plan(300);
    all.web_seeds = (0..10).map(|n| format!("http://web{n}.example/")).collect();
    let few = |c: &mut EngineConfig| {
        c.web_seeds_max = 5;
        c.web_seed_connections_max = 3;
    };
    let mut rig = all.config(few).start();
    assert_eq!(rig.web.finding, [0, 1, 2, 3, 4]);
    rig.find();
    assert_eq!(rig.web.fetches.len(), 3);
}

#[test]
fn suspicion_alone_lets_it_rest() {
    let mut rig = plan(4).start();
    rig.find();
    let now = rig.now;
    rig.torrent.close_web_seed(0, CloseReason::Strikes, now);
    rig.feed(Input::Timer);
    assert!(rig.web.fetches.is_empty());
    assert!(!rig.web_left()[0].1);
    rig.wait(secs(599));
    assert_eq!(rig.web.finding, []);
    rig.wait(secs(1));
    assert_eq!(rig.web.finding, [0]);
}

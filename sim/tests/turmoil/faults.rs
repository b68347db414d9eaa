//! Faults of the network on turmoil: what connections make of ways that are cut, of machines without power, of
//! links that change and of resets. Times and counts are those that the fabric's tests have for the same.

use std::collections::VecDeque;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// What is done to the network.
type Thing = Box<dyn Fn(&Turmoil)>;

/// Does something to the network at moments, from a host of its own.
fn at_moments(turmoil: &Turmoil, things: impl IntoIterator<Item = (Duration, Thing)>) {
    let things: Vec<(Duration, Thing)> = things.into_iter().collect();
    turmoil.add_host("faults", ip(200), plain(), false);
    let net = turmoil.clone();
    turmoil.program("faults", ip(200), async move |epoch| {
        for (at, thing) in things {
            tokio::time::sleep_until(epoch + at).await;
            thing(&net);
        }
    });
}

fn thing(thing: impl Fn(&Turmoil) + 'static) -> Thing {
    Box::new(thing)
}

/// Cuts the ways between two hosts for a while.
fn cut(turmoil: &Turmoil, at: Duration, time: Duration, from: u8, to: u8, both: bool) {
    let begins = thing(move |net| net.cut(0, &[ip(from)], &[ip(to)], both));
    at_moments(
        turmoil,
        [(at, begins), (at + time, thing(|net| net.heal(0)))],
    );
}

/// Listens, or dials another host, and says so many bytes at moments; notes what happens.
async fn talk(
    mut net: TurmoilNet,
    epoch: Instant,
    host: u8,
    dials: Option<u8>,
    says: &[(u64, usize)],
    diary: &Diary,
) {
    net.listen(at(host)).expect("a free port");
    if let Some(other) = dials {
        net.connect(at(other));
    }
    let mut says: VecDeque<(u64, usize)> = says.iter().copied().collect();
    let mut talks = None;
    loop {
        let moment = says.front().map_or(u64::MAX / 2_000_000, |(ms, _)| *ms);
        let moment = epoch + Duration::from_millis(moment);
        let Ok(event) = tokio::time::timeout_at(moment, next(&mut net)).await else {
            let (_, bytes) = says.pop_front().expect("it was its moment");
            let conn = talks.expect("it stands");
            net.send(conn, Bytes::from(vec![7; bytes]));
            continue;
        };
        let word = match event {
            NetEvent::Opened { conn, .. } => {
                talks = Some(conn);
                "opened".to_owned()
            }
            NetEvent::Data { data, .. } => format!("{} bytes", data.len()),
            NetEvent::Failed { why, .. } => format!("{why:?}"),
            NetEvent::Closed { how, .. } => format!("{how:?}"),
            _ => continue,
        };
        note(diary, epoch, word);
    }
}

/// A host that talks from a moment on.
fn talker(
    turmoil: &Turmoil,
    host: u8,
    from: Duration,
    dials: Option<u8>,
    says: &'static [(u64, usize)],
) -> Diary {
    turmoil.add_host(&format!("host-{host}"), ip(host), plain(), true);
    let (diary, net) = (Diary::default(), turmoil.clone());
    let told = Rc::clone(&diary);
    turmoil.program("talker", ip(host), async move |epoch| {
        tokio::time::sleep_until(epoch + from).await;
        talk(net.attach(ip(host)), epoch, host, dials, says, &told).await;
    });
    diary
}

/// The last thing in a diary, and when it was.
fn last(diary: &Diary) -> (u64, String) {
    diary.borrow().last().cloned().expect("something happened")
}

#[track_caller]
fn near(diary: &Diary, ms: u64, word: &str) {
    let (at, found) = last(diary);
    assert_eq!(found, word, "{:?}", diary.borrow());
    assert!((ms..ms + 60).contains(&at), "{word} at {at}, not at {ms}");
}

#[test]
fn a_partition_that_heals_in_time_costs_its_time_and_no_byte() {
    let turmoil = Turmoil::new(1);
    source(&turmoil, 0, link(MIB, WIDE, 20 * MS), 20 * MIB);
    let seen = sink(&turmoil, 1, plain(), 0);
    cut(&turmoil, 5 * SECOND, 10 * SECOND, 0, 1, true);
    run(&turmoil, 45 * SECOND);
    let seen = seen.borrow();
    assert_eq!((seen.bytes, seen.garbled), (20 * MIB, false));
    let gap = seen
        .data
        .windows(2)
        .max_by_key(|pair| pair[1].0 - pair[0].0);
    let (from, to) = gap.map(|pair| (pair[0].0, pair[1].0)).expect("data");
    // Retransmissions follow the first loss 0.24, 0.72, 1.68, 3.6, 7.44 and 15.12 s later.
    assert!((4_950 * MS..5_060 * MS).contains(&from), "{from:?}");
    assert!((20_100 * MS..20_200 * MS).contains(&to), "{to:?}");
    let totals = turmoil.totals();
    assert_eq!((totals.stalls, totals.resumed, totals.timed_out), (1, 1, 0));
    assert_eq!(turmoil.cut_hits(0), 1);
    // 20 MiB take 20.55 s, and the cut took 15.
    let (ended, how) = seen.closed.expect("the server finished");
    assert_eq!(how, Closed::ByPeer);
    assert!(
        (35_500 * MS..36_200 * MS).contains(&ended),
        "ended at {ended:?}"
    );
}

#[test]
fn a_partition_longer_than_the_user_timeout_resets_who_speaks_then_or_later() {
    let turmoil = Turmoil::new(1);
    let soon = talker(&turmoil, 0, Duration::ZERO, None, &[(6_000, 500)]);
    let late = talker(&turmoil, 1, Duration::ZERO, Some(0), &[(120_000, 500)]);
    cut(&turmoil, 5 * SECOND, 90 * SECOND, 0, 1, true);
    run(&turmoil, 200 * SECOND);
    near(&soon, 66_020, "Reset");
    near(&late, 120_040, "Reset");
    let totals = turmoil.totals();
    assert_eq!((totals.timed_out, totals.delivered), (1, 0));
    assert_eq!(turmoil.under_way(), 0);
}

#[test]
fn a_partition_that_heals_just_before_the_user_timeout_saves_the_connection() {
    let turmoil = Turmoil::new(1);
    let one = talker(&turmoil, 0, Duration::ZERO, None, &[(6_000, 500)]);
    let other = talker(&turmoil, 1, Duration::ZERO, Some(0), &[(7_000, 500)]);
    cut(&turmoil, 5 * SECOND, 60_900 * MS, 0, 1, true);
    run(&turmoil, 200 * SECOND);
    near(&one, 67_040, "500 bytes");
    near(&other, 66_040, "500 bytes");
    assert_eq!(turmoil.totals().timed_out, 0);
}

#[test]
fn one_way_the_other_direction_goes_on_until_its_window_is_full() {
    let turmoil = Turmoil::new(1);
    source(&turmoil, 0, link(MIB, WIDE, 20 * MS), 100 * MIB);
    let seen = sink(&turmoil, 1, plain(), 0);
    // Nothing gets from the reader to the writer: no acknowledgement comes back.
    cut(&turmoil, 5 * SECOND, 10 * SECOND, 1, 0, false);
    run(&turmoil, 60 * SECOND);
    let seen = seen.borrow();
    let during = seen.before(15 * SECOND) - seen.before(5 * SECOND);
    // The window of this path is 2 x 1 MiB/s x 40 ms = 84 KB.
    assert!((64 * 1024..120 * 1024).contains(&during), "{during}");
    assert!(!seen.garbled && seen.closed.is_none());
    let later = (seen.before(60 * SECOND) - seen.before(30 * SECOND)) as f64 / 30.0;
    assert!(later > 0.95 * MIB as f64, "{later}");
    assert_eq!(turmoil.totals().resumed, 1);
}

#[test]
fn a_dial_into_a_partition_succeeds_when_it_heals_and_fails_in_the_end() {
    // SYNs leave at 5.5, 6.5, 8.5, 12.5 s and so on, the last one after 63 s.
    for (time, end) in [(2, (8_540, "opened")), (300, (68_500, "Unreachable"))] {
        let turmoil = Turmoil::new(1);
        let heard = talker(&turmoil, 0, Duration::ZERO, None, &[]);
        let dialler = talker(&turmoil, 1, 5_500 * MS, Some(0), &[]);
        cut(&turmoil, 5 * SECOND, time * SECOND, 0, 1, true);
        run(&turmoil, 100 * SECOND);
        near(&dialler, end.0, end.1);
        assert_eq!(heard.borrow().len(), usize::from(end.1 == "opened"));
        assert!(turmoil.cut_hits(0) > 0);
    }
}

#[test]
fn a_handshake_that_is_cut_in_the_middle_goes_on_when_it_heals() {
    // The dial leaves at 0: it knocks at 20, is answered at 40, accepted at 60 ms.
    for (cut_at, one_way_from) in [(21, 0), (42, 1), (10, 1), (31, 1)] {
        let turmoil = Turmoil::new(1);
        let heard = talker(&turmoil, 0, Duration::ZERO, None, &[]);
        let dialler = talker(&turmoil, 1, Duration::ZERO, Some(0), &[(5_000, 100)]);
        let to = 1 - one_way_from;
        cut(&turmoil, cut_at * MS, 3 * SECOND, one_way_from, to, false);
        run(&turmoil, 60 * SECOND);
        let words = |diary: &Diary| -> Vec<String> {
            let entries = diary.borrow();
            entries.iter().map(|(_, word)| word.clone()).collect()
        };
        let case = format!("cut at {cut_at} ms from {one_way_from}");
        assert_eq!(words(&heard), ["opened", "100 bytes"], "{case}");
        assert_eq!(words(&dialler), ["opened"], "{case}");
        assert!(turmoil.cut_hits(0) > 0, "{case}");
    }
}

/// A host whose power fails at a moment, and on which a talker starts again at another.
fn loses_power(turmoil: &Turmoil, host: u8, off: Duration, on: Duration) -> Diary {
    turmoil.add_host(&format!("host-{host}"), ip(host), plain(), true);
    let (diary, net) = (Diary::default(), turmoil.clone());
    let told = Rc::clone(&diary);
    turmoil.program("mortal", ip(host), async move |epoch| {
        let life = net.attach(ip(host));
        let first = talk(life, epoch, host, None, &[], &told);
        {
            let mut first = std::pin::pin!(first);
            let lived = tokio::time::timeout_at(epoch + off, first.as_mut()).await;
            lived.expect_err("it never ends by itself");
            net.power_off(ip(host));
        }
        tokio::time::sleep_until(epoch + on).await;
        talk(net.attach(ip(host)), epoch, host, None, &[], &told).await;
    });
    diary
}

#[test]
fn without_power_nobody_hears_anything_until_the_machine_is_back() {
    let turmoil = Turmoil::new(1);
    let dark = loses_power(&turmoil, 0, 5 * SECOND, 25 * SECOND);
    let speaks = talker(&turmoil, 1, Duration::ZERO, Some(0), &[(6_000, 500)]);
    let silent = talker(&turmoil, 2, Duration::ZERO, Some(0), &[]);
    let dials = talker(&turmoil, 3, 6 * SECOND, Some(0), &[]);
    run(&turmoil, 100 * SECOND);
    // It is sent again 0.24, 0.72, ... 15.12, 30.48 s after it was lost: the last one is answered with a reset.
    near(&speaks, 36_500, "Reset");
    assert_eq!(last(&silent).1, "opened");
    // SYNs leave at 6, 7, 9, 13, 21 and 37 s.
    near(&dials, 37_040, "opened");
    near(&dark, 37_060, "opened");
    assert_eq!(turmoil.totals().timed_out, 0);
}

#[test]
fn a_machine_that_stays_dark_is_given_up() {
    let turmoil = Turmoil::new(1);
    source(&turmoil, 0, link(MIB, WIDE, 20 * MS), 100 * MIB);
    turmoil.add_host("mortal", ip(1), plain(), true);
    let net = turmoil.clone();
    turmoil.program("mortal", ip(1), async move |epoch| {
        let mut life = net.attach(ip(1));
        life.connect(at(0));
        let reads = async {
            loop {
                next(&mut life).await;
            }
        };
        let lived = tokio::time::timeout_at(epoch + 5 * SECOND, reads).await;
        lived.expect_err("it reads until the power fails");
        net.power_off(ip(1));
    });
    run(&turmoil, 66 * SECOND);
    let totals = turmoil.totals();
    assert!(totals.delivered > 4 * MIB, "{}", totals.delivered);
    assert_eq!((totals.stalls, totals.timed_out), (1, 1));
    assert_eq!(turmoil.under_way(), 0);
}

#[test]
fn a_link_that_changes_and_resets_of_a_share() {
    let turmoil = Turmoil::new(1);
    source(&turmoil, 0, link(MIB, WIDE, 20 * MS), 100 * MIB);
    let sinks: Vec<_> = (1..=4).map(|n| sink(&turmoil, n, plain(), 0)).collect();
    let resets = Rc::new(RefCell::new(Vec::new()));
    let told = Rc::clone(&resets);
    let slow = thing(|net| net.change_link(ip(0), link(MIB / 4, WIDE, 120 * MS)));
    let back = thing(|net| net.change_link(ip(0), link(MIB, WIDE, 20 * MS)));
    let half = thing(move |net| {
        let count = net.reset_some(&[ip(0)], 500_000, "half");
        told.borrow_mut().push(count);
    });
    at_moments(
        &turmoil,
        [
            (10 * SECOND, slow),
            (20 * SECOND, back),
            (30 * SECOND, half),
        ],
    );
    run(&turmoil, 40 * SECOND);
    let rate = |from: u32, to: u32| {
        let bytes = sinks.iter().map(|seen| {
            let seen = seen.borrow();
            seen.before(to * SECOND) - seen.before(from * SECOND)
        });
        bytes.sum::<u64>() as f64 / f64::from(to - from)
    };
    let payload = |rate: u64| rate as f64 * 4096.0 / (4096.0 + 3.0 * 40.0);
    calibrate("before, B/s", payload(MIB), rate(5, 10), 0.02);
    calibrate("slow, B/s", payload(MIB / 4), rate(11, 20), 0.02);
    calibrate("after, B/s", payload(MIB), rate(22, 30), 0.02);
    calibrate("half of them, B/s", payload(MIB), rate(32, 40), 0.02);
    assert_eq!(
        (&*resets.borrow(), turmoil.totals().fault_resets),
        (&vec![2], 2)
    );
    let ended = sinks.iter().filter_map(|seen| seen.borrow().closed);
    let ended: Vec<_> = ended.map(|(at, how)| (at.as_secs(), how)).collect();
    assert_eq!(ended, [(30, Closed::Reset); 2]);
}

/// Whatever is cut, healed, switched off and on again: no byte is missing or out of its place, and the books
/// balance at every tick.
#[test]
fn no_sequence_of_faults_loses_a_byte_of_the_books() {
    for seed in 0..8u64 {
        let turmoil = Turmoil::new(seed);
        for host in 0..2 {
            let up = [300_000, 1_000_000][usize::from(host)];
            source(&turmoil, host, link(up, WIDE, 15 * MS), MIB);
        }
        // A pseudo-random walk, of which the seed is the start.
        let mut state = seed * 2 + 1;
        let mut next_below = move |below: u32| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            u32::try_from((state >> 33) % u64::from(below)).expect("below it")
        };
        let mut sinks = Vec::new();
        for host in 2..6u8 {
            let wire = link(WIDE, 200_000, u32::from(5 + 5 * host) * MS);
            let off = (host < 4).then(|| next_below(9_000) * MS);
            sinks.push(mortal_sink(&turmoil, host, wire, host % 2, off));
        }
        let mut things = Vec::new();
        for fault in 0..6usize {
            let host = u8::try_from(2 + next_below(4)).expect("small");
            let server = host % 2;
            let both = next_below(3) > 0;
            let (from, to) = [(host, server), (server, host)][usize::from(next_below(2) == 0)];
            let begins = next_below(9_000) * MS;
            let ends = begins + (1 + next_below(80_000)) * MS;
            things.push((
                begins,
                thing(move |net| net.cut(fault, &[ip(from)], &[ip(to)], both)),
            ));
            things.push((ends, thing(move |net| net.heal(fault))));
        }
        things.sort_by_key(|(at, _)| *at);
        at_moments(&turmoil, things);
        run(&turmoil, 300 * SECOND);
        let mut waiting = 0;
        for seen in sinks {
            let seen = seen.borrow();
            assert!(!seen.garbled, "seed {seed}");
            waiting += u64::from(seen.bytes < MIB && seen.closed.is_none());
        }
        // Who only reads does not hear that the other end gave up.
        let given_up = turmoil.totals().timed_out;
        assert!(waiting <= given_up, "seed {seed}: {waiting} of {given_up}");
        assert_eq!(turmoil.under_way(), 0, "seed {seed}");
    }
}

/// As [`sink`]; it loses power at a moment, if one is given, and begins anew 20 s later.
fn mortal_sink(
    turmoil: &Turmoil,
    host: u8,
    link: LinkPlan,
    server: u8,
    off: Option<Duration>,
) -> Rc<RefCell<Seen>> {
    turmoil.add_host(&format!("host-{host}"), ip(host), link, true);
    let (net, seen) = (turmoil.clone(), Rc::new(RefCell::new(Seen::default())));
    let told = Rc::clone(&seen);
    turmoil.program("sink", ip(host), async move |epoch| {
        if let Some(off) = off {
            let life = net.attach(ip(host));
            {
                let reads = read_all(life, epoch, server, &told);
                let _ended = tokio::time::timeout_at(epoch + off, reads).await;
                net.power_off(ip(host));
            }
            tokio::time::sleep_until(epoch + off + 20 * SECOND).await;
        }
        read_all(net.attach(ip(host)), epoch, server, &told).await;
    });
    seen
}

async fn read_all(mut net: TurmoilNet, epoch: Instant, server: u8, told: &RefCell<Seen>) {
    *told.borrow_mut() = Seen::default();
    net.connect(at(server));
    loop {
        let event = next(&mut net).await;
        let mut seen = told.borrow_mut();
        match event {
            NetEvent::Data { data, .. } => {
                let len = data.len() as u64;
                seen.garbled |= data[..] != numbered(seen.bytes, len)[..];
                seen.bytes += len;
            }
            NetEvent::Closed { how, .. } => seen.closed = Some((epoch.elapsed(), how)),
            NetEvent::Failed { .. } => seen.closed = Some((epoch.elapsed(), Closed::Reset)),
            _ => {}
        }
    }
}

//! Properties of reading and expanding: nothing panics, everything repeats, stays are in order, and
//! one more peer moves nobody else's draws.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use skep_engine::Now;
use skep_sim::scenario::plan::{EndKind, HostPlan};
use skep_sim::scenario::{Plan, Scenario};

const LOSSY: &str = include_str!("../../scenarios/lossy-churn.toml");

/// The same cases every time.
fn fixed(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    }
}

/// A swarm with arrivals, churn and crashes; all of them random.
fn swarm() -> impl Strategy<Value = String> {
    let arrive = prop_oneof![
        Just(r#"{ at = "3 s" }"#.to_owned()),
        (1..200_u32).prop_map(|s| format!(r#"{{ at = "1 s", spread = "{s} s" }}"#)),
        (1..20_u32).prop_map(|n| format!(r#"{{ poisson = "{n} per 7 s" }}"#)),
    ];
    let session = prop_oneof![
        (1..100_u32).prop_map(|s| format!(r#"{{ exponential = "{s} s" }}"#)),
        (1..100_u32).prop_map(|s| format!(r#"{{ uniform = "1 ms .. {s} s" }}"#)),
        (5..100_u32).prop_map(|s| format!(r#"{{ fixed = "{s} s" }}"#)),
    ];
    let crash = (
        1..900_000_u32,
        1..=100_u32,
        proptest::option::of(0..300_u32),
    );
    let crashes = proptest::collection::vec(crash, 0..5);
    (1..12_u32, arrive, session, 0..=100_u32, 0..100_u32, crashes).prop_map(
        |(count, arrive, session, rejoin, have, crashes)| {
            let mut text = format!(
                r#"
name = "random"
run = {{ time_limit = "30 min", settle = "10 min" }}
torrent = {{ size = "3 MiB" }}
link = {{ latency = {{ lognormal = {{ median = "20 ms", p95 = "90 ms" }} }} }}
[[group]]
name = "seed"
role = "seed"
up = "1 MiB/s"
down = "1 MiB/s"
[[group]]
name = "home"
role = "leecher"
count = {count}
up = "1 MiB/s"
down = "1 MiB/s"
have = "{have}%"
arrive = {arrive}
churn = {{ session = {session}, rejoin = "{rejoin}%", away = "0 s .. 1 min" }}
[[group]]
name = "late"
role = "leecher"
count = 3
up = "1 MiB/s"
down = "1 MiB/s"
arrive = {{ poisson = "1 per 9 s" }}
"#
            );
            for (at, share, down) in crashes {
                let down = down.map_or(String::new(), |s| format!("down = \"{s} s\"\n"));
                let who = format!("at = \"{at} ms\"\nwho = \"{share}% of home\"\n");
                text.push_str(&format!("[[fault.crash]]\n{who}{down}"));
            }
            text
        },
    )
}

fn read(text: &str) -> Scenario {
    Scenario::parse("random.toml", text).unwrap_or_else(|e| panic!("{e:?}\n{text}"))
}

/// What a plan says, but for addresses.
fn told(hosts: &[HostPlan], group: &str) -> Vec<String> {
    let told = hosts.iter().filter(|h| h.group == group);
    told.map(|h| format!("{} {:?} {:?} {:?}", h.name, h.sessions, h.link, h.have))
        .collect()
}

fn stays_are_in_order(plan: &Plan) {
    let settling = Now(plan.time_limit.0).since(Now::START.after(plan.settle));
    for host in &plan.hosts {
        assert!(!host.sessions.is_empty(), "{} never joins", host.name);
        for stay in &host.sessions {
            assert!(
                stay.end.is_none_or(|(end, _)| stay.join < end),
                "{}: {stay:?}",
                host.name
            );
            assert!(
                stay.join <= Now::START.after(settling),
                "{}: {stay:?}",
                host.name
            );
        }
        for pair in host.sessions.windows(2) {
            let end = pair[0].end.map(|(end, _)| end);
            assert!(
                end.is_some_and(|end| end < pair[1].join),
                "{}: {pair:?}",
                host.name
            );
        }
    }
    for fault in &plan.faults {
        for position in &fault.hosts {
            let host = &plan.hosts[*position];
            let crashed = host
                .sessions
                .iter()
                .any(|s| s.end == Some((fault.at, EndKind::Crash)));
            assert!(crashed, "{} at {}", host.name, fault.at);
        }
    }
}

proptest! {
    #![proptest_config(fixed(256))]

    #[test]
    fn any_text_is_read_without_a_panic(text in "\\PC{0,200}") {
        let _ = Scenario::parse("any.toml", &text);
    }

    #[test]
    fn any_lines_of_keys_are_read_without_a_panic(
        lines in proptest::collection::vec("(\\[\\[?(group|run|torrent|expect|fault.crash|link)\\]?\\]|(name|role|count|size|have|at|who|arrive|latency|engine|vary|\"completion.max\") = (-?[0-9]{1,20}|\"[a-z0-9 .%<=-]{0,12}\"|\\{ \\}|\\[1, -1\\]|\\{ at = 1 \\}))", 0..20),
    ) {
        let _ = Scenario::parse("lines.toml", &lines.join("\n"));
    }

    #[test]
    fn a_damaged_file_is_read_without_a_panic(at in 0..LOSSY.len(), cut in 0..40_usize, with in "\\PC{0,8}") {
        let mut bytes = LOSSY.as_bytes().to_vec();
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, with.bytes());
        let _ = Scenario::parse("damaged.toml", &String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_override_is_taken_or_refused(
        key in "(group|run|home|seed|0|fault|crash|torrent|size|expect|completion|max|engine|\\.|=){1,8}",
        value in "\\PC{0,20}",
    ) {
        let _ = Scenario::parse_with("set.toml", LOSSY, &[(key, value)]);
    }

    #[test]
    fn a_plan_repeats_and_its_stays_are_in_order(text in swarm(), seed: u64) {
        let plan = read(&text).expand(seed);
        prop_assert_eq!(format!("{plan:?}"), format!("{:?}", read(&text).expand(seed)));
        stays_are_in_order(&plan);
    }

    #[test]
    fn one_more_peer_moves_nobody_elses_draws(text in swarm(), seed: u64) {
        let count: u32 = text.split("count = ").nth(1).and_then(|t| t.lines().next()?.parse().ok()).expect("a count");
        // Without crashes: a share of more peers is of more peers.
        let text = text.split("[[fault.crash]]").next().expect("the first part");
        let more = text.replacen(&format!("count = {count}"), &format!("count = {}", count + 1), 1);
        let (plan, grown) = (read(text).expand(seed), read(&more).expand(seed));
        let home = told(&plan.hosts, "home");
        prop_assert_eq!(&home[..], &told(&grown.hosts, "home")[..home.len()]);
        prop_assert_eq!(told(&plan.hosts, "late"), told(&grown.hosts, "late"));
    }
}

//! What an author sees when a scenario file is wrong: the place, the reason, what to write instead.

use miette::{GraphicalReportHandler, GraphicalTheme};
use skep_sim::scenario::Scenario;

const GOOD: &str = r#"name = "tiny"

[torrent]
size = "1 MiB"

[link]
latency = "40 ms"

[[group]]
name = "seed"
role = "seed"
up = "1 MiB/s"
down = "1 MiB/s"

[[group]]
name = "home"
role = "leecher"
count = 4
up = "2 Mbit/s"
down = "20 Mbit/s"
picker = "random"

[[group]]
name = "poison"
role = "attacker"
attack = "corrupt-blocks"
up = "2 Mbit/s"
down = "2 Mbit/s"

[expect]
complete = "all honest"
"completion.max" = "<= 1.6 x bound"
"#;

const HOMES: &str = r#"role = "leecher"
count = 4
up = "2 Mbit/s"
down = "20 Mbit/s"
picker = "random"
"#;

const CLIENTS: &str = r#"role = "client"
count = 4
up = "2 Mbit/s"
down = "20 Mbit/s"
"#;

/// The drawn errors of the good file with some texts replaced and some values overridden.
fn draw(changes: &[(&str, &str)], set: &[(&str, &str)]) -> String {
    let mut text = GOOD.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "`{from}` is in the file");
        text = text.replacen(from, to, 1);
    }
    let set: Vec<_> = set
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    let errors = Scenario::parse_with("tiny.toml", &text, &set).expect_err("something is wrong");
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::none())
        .with_width(80)
        .with_links(false);
    let mut drawn = String::new();
    handler
        .render_report(&mut drawn, &errors)
        .expect("writing to a string");
    drawn
}

#[test]
fn the_file_they_all_begin_with_is_right() {
    assert!(Scenario::parse("tiny.toml", GOOD).is_ok());
}

#[test]
fn a_misspelt_key() {
    insta::assert_snapshot!(draw(&[("picker =", "pickr =")], &[]));
}

#[test]
fn a_missing_unit() {
    insta::assert_snapshot!(draw(&[(r#""40 ms""#, "40")], &[]));
}

#[test]
fn an_unknown_strategy() {
    insta::assert_snapshot!(draw(&[(r#""random""#, r#""rarest-frist""#)], &[]));
}

#[test]
fn a_negative_count() {
    insta::assert_snapshot!(draw(&[("count = 4", "count = -4")], &[]));
}

#[test]
fn an_impossible_expectation() {
    insta::assert_snapshot!(draw(&[("<= 1.6 x bound", "< 1 x bound")], &[]));
}

#[test]
fn mbps_is_refused_with_a_hint() {
    insta::assert_snapshot!(draw(&[("20 Mbit/s", "20 Mbps")], &[]));
}

#[test]
fn an_unknown_metric() {
    insta::assert_snapshot!(draw(&[("completion.max", "completion.median")], &[]));
    insta::assert_snapshot!(draw(&[("completion.max", "complition.max")], &[]));
}

#[test]
fn a_key_that_a_later_version_has() {
    insta::assert_snapshot!(draw(
        &[("[link]", "[tracker]\nup = \"1 MB/s\"\n[link]")],
        &[]
    ));
}

#[test]
fn a_syntax_error() {
    insta::assert_snapshot!(draw(&[("count = 4", "count = = 4")], &[]));
}

#[test]
fn an_override_is_shown_as_it_was_given() {
    insta::assert_snapshot!(draw(
        &[],
        &[("group.home.up", "4"), ("group.hme.down", "1 MB/s")]
    ));
}

#[test]
fn several_things_at_once() {
    insta::assert_snapshot!(draw(
        &[
            (r#"size = "1 MiB""#, r#"size = "1 Mib""#),
            (r#"name = "home""#, r#"name = "seed""#),
            (
                r#"picker = "random""#,
                "picker = \"random\"\nattack = \"free-rider\""
            ),
            (
                r#"attack = "corrupt-blocks""#,
                r#"attack = "corupt-blocks""#
            ),
            ("all honest", "all homes"),
        ],
        &[],
    ));
}

#[test]
fn a_role_that_a_key_does_not_fit_and_one_that_is_misspelt() {
    insta::assert_snapshot!(draw(
        &[
            (r#"role = "leecher""#, r#"role = "client""#),
            (r#"role = "seed""#, r#"role = "servr""#),
        ],
        &[]
    ));
}

/// The messages of the good file with one text replaced.
fn messages(from: &str, to: &str) -> Vec<String> {
    assert!(GOOD.contains(from), "`{from}` is in the file");
    match Scenario::parse("tiny.toml", &GOOD.replacen(from, to, 1)) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.problems.into_iter().map(|p| p.message).collect(),
    }
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let mut differences = Vec::new();
    for (from, to, says) in [
        (
            r#"size = "1 MiB""#,
            r#"size = "0 B""#,
            "the content has no bytes",
        ),
        (
            r#"size = "1 MiB""#,
            "size = \"1 MiB\"\npiece = \"0 B\"",
            "a piece has 1 B to 256 MiB",
        ),
        (r#"size = "1 MiB""#, "", "the torrent has no content"),
        (
            r#"role = "seed""#,
            r#"role = "leecher""#,
            "nobody has the content",
        ),
        (
            r#"name = "home""#,
            r#"name = "all""#,
            "`all` is a word of its own here",
        ),
        (
            r#"name = "home""#,
            r#"name = "Home""#,
            "`Home` cannot be a group's name",
        ),
        (
            r#"name = "poison""#,
            r#"name = "home-3""#,
            "two hosts would be called `home-3`",
        ),
        ("count = 4", "count = 99999", "100001 hosts; at most 20000"),
        (
            "attack = \"corrupt-blocks\"\n",
            "",
            "an attacker needs an `attack`",
        ),
        (
            "attack = \"corrupt-blocks\"\n",
            "attack = \"free-rider\"\nwith = { probability = \"3%\" }\n",
            "`free-rider` has no parameter `probability`",
        ),
        (
            r#"role = "seed""#,
            "role = \"seed\"\npicker = \"random\"",
            "a seed has no `picker`",
        ),
        (
            "count = 4",
            "count = 4\nhave = [0, 4]",
            "there is no piece 4: the torrent has 4",
        ),
        (
            "count = 4",
            "count = 4\nhave = \"100%\"",
            "a leecher that has everything is a seed",
        ),
        (
            "count = 4",
            "count = 4\non_complete = \"go\"",
            "unknown `on_complete`: `go`",
        ),
        (
            "count = 4",
            "count = 4\nchurn = { session = { fixed = \"1 min\" } }",
            "`away` is missing: how long do they stay away?",
        ),
        (
            "count = 4",
            "count = 4\narrive = { spread = \"2 h\" }",
            "the time limit is too short: arrivals until 120 min, and 10 min to settle",
        ),
        (
            "count = 4",
            "count = 4\nengine = { upload_slot = 2 }",
            "the engine has no field `upload_slot`",
        ),
        (
            "count = 4",
            "count = 4\nengine = { optimistic_slots = 9 }",
            "`optimistic_slots` is above `upload_slots`",
        ),
        (
            "count = 4",
            "count = 4\nengine = { choke_interval = \"0 s\" }",
            "`choke_interval` must be more than zero",
        ),
        (
            "count = 4",
            "count = 4\nengine = { ip_filter = [\"10.1.0.0/24\", \"10.1.0.9-10.1.0.1\"] }",
            "its last address comes before the first, or is of the other family",
        ),
        (
            "count = 4",
            "count = 4\nengine = { ip_filter = \"10.1.0.0/24\" }",
            "expected a list of ranges of addresses, found a string",
        ),
        (
            "[link]",
            "[run]\nnetwork = \"turmoli\"\n[link]",
            "unknown `network`: `turmoli`",
        ),
        (
            "[link]",
            "[run]\nsettle = \"2 h\"\n[link]",
            "the run ends before anything could settle",
        ),
        (
            "[link]",
            "[run]\nseeds = \"8..8\"\n[link]",
            "this range is empty",
        ),
        (
            "[link]",
            "[[fault.partition]]\nat = \"1 s\"\nfor = \"1 s\"\n[link]",
            "`between` is missing in [[fault.partition]]",
        ),
        (
            "[link]",
            "[[fault.crash]]\nat = \"1 s\"\nwho = \"home[4]\"\n[link]",
            "`home` has 4 hosts, counted from 0",
        ),
        (
            "[link]",
            "[[fault.crash]]\nat = \"58 min\"\nwho = \"home\"\n[link]",
            "the time limit is too short: a crash until 58 min, and 10 min to settle",
        ),
        (
            "picker = \"random\"",
            "region = \"eu\"",
            "there are no regions",
        ),
        (
            "picker = \"random\"",
            "arrive = { spread = \"1 s\", decay = \"1 s\" }",
            "`spread` and `decay` exclude each other",
        ),
        (
            "picker = \"random\"",
            "arrive = { csv = \"nowhere.csv\" }",
            "cannot use nowhere.csv: No such file or directory (os error 2)",
        ),
        (
            "picker = \"random\"",
            "arrive = { csv = \"Cargo.toml\" }",
            "cannot use Cargo.toml: it has no column `arrive_s`",
        ),
        (
            "picker = \"random\"",
            "arrive = { decay = \"9 min\" }",
            "the time limit is too short: arrivals until 54 min, and 10 min to settle",
        ),
        (
            "picker = \"random\"",
            "latency = { regions = { eu = { eu = \"1 ms\" } } }",
            "regions are for all groups",
        ),
        (
            "[link]",
            "[[fault.partition]]\nat = \"1 s\"\nfor = \"1 s\"\nbetween = [\"home\", \"honest\"]\n[link]",
            "the sides of a partition have hosts in common",
        ),
        (
            "[link]",
            "[[fault.partition]]\nat = \"1 s\"\nfor = \"1 s\"\nbetween = [\"home[0..2]\"]\n[link]",
            "a partition has two sides",
        ),
        (
            "[link]",
            "[[fault.partition]]\nat = \"1 min\"\nfor = \"58 min\"\nbetween = [\"home[0]\", \"home[1]\"]\n[link]",
            "the time limit is too short: a partition until 59 min, and 10 min to settle",
        ),
        (
            "[link]",
            "[[fault.partitoin]]\nat = \"1 s\"\n[link]",
            "unknown key `partitoin` in [fault]",
        ),
        (
            "[link]",
            "[[fault.link]]\nat = \"1 s\"\nfor = \"1 s\"\nwho = \"home\"\n[link]",
            "this changes nothing of a link",
        ),
        (
            "[link]",
            "[[fault.link]]\nat = \"1 s\"\nfor = \"0 s\"\nwho = \"home\"\nlatency = \"+1 s\"\n[link]",
            "a fault lasts longer than zero",
        ),
        (
            "[link]",
            "[[fault.link]]\nat = \"1 s\"\nfor = \"1 s\"\nwho = \"home\"\nlatency = \"200 ms\"\n[link]",
            "what is added begins with `+`",
        ),
        (
            "[link]",
            "[[fault.reset]]\nat = \"1 s\"\nwho = \"home\"\nshare = \"0%\"\n[link]",
            "this resets nothing",
        ),
        (
            "[link]",
            "[[fault.power-loss]]\nat = \"0 s\"\nwho = \"home\"\n[link]",
            "nobody is online yet at 0 s",
        ),
        (
            "[link]",
            "[[fault.disk]]\nat = \"1 s\"\nwho = \"home\"\nmode = \"slow\"\n[link]",
            "how slow is the disk?",
        ),
        (
            "[link]",
            "[[fault.disk]]\nat = \"1 s\"\nwho = \"all\"\nmode = \"full\"\n[link]",
            "a seed cannot be hit by a disk fault",
        ),
        (
            "[link]",
            "[[fault.tracker]]\nat = \"1 s\"\nwhich = \"traker\"\nmode = \"down\"\n[link]",
            "there is no tracker `traker`",
        ),
        (
            "[link]",
            "[[fault.user]]\nat = \"1 s\"\nwho = \"all\"\naction = \"pause\"\n[link]",
            "an attacker cannot be hit by a user's action",
        ),
        (
            "[link]",
            "[tracker]\nprotocol = \"quic\"\n[link]",
            "unknown `protocol`: `quic`",
        ),
        (
            "[link]",
            "[[tracker]]\n[[tracker]]\nname = \"tracker\"\n[link]",
            "something else is called `tracker`",
        ),
        (
            "[link]",
            "[[tracker]]\nfrom = \"2 min\"\nuntil = \"1 min\"\n[link]",
            "the tracker must begin to answer before it ends",
        ),
        (
            "[link]",
            "[tracker]\nfrom = \"58 min\"\n[link]",
            "the time limit is too short: a change of the tracker at 58 min, and 10 min to settle",
        ),
        (
            "[link]",
            "[tracker]\nup = \"1 MiB/s\"\n[link]",
            "`up` is not supported yet in [tracker]",
        ),
        (
            "<= 1.6 x bound",
            "== 0.5 x bound",
            "`completion.max` can never hold",
        ),
        (
            "\"completion.max\" = \"<= 1.6 x bound\"",
            "\"wasted\" = \"< 0%\"",
            "`wasted` can never hold",
        ),
        (
            "\"completion.max\" = \"<= 1.6 x bound\"",
            "\"banned.poison\" = \">= 2\"",
            "`banned.poison` can never hold",
        ),
        (
            "\"completion.max\" = \"<= 1.6 x bound\"",
            "\"banned.home\" = \">= 2\"",
            "`banned` is not measured of leechers",
        ),
        (
            "\"completion.max\" = \"<= 1.6 x bound\"",
            "\"stalls.home.odd\" = \"<= 2\"",
            "nothing may follow the group of `stalls`",
        ),
        (
            "\"completion.max\" = \"<= 1.6 x bound\"",
            "\"ban.max.home\" = \"<= 2 s\"",
            "`ban` is not measured of leechers",
        ),
        (
            "\"completion.max\" = \"<= 1.6 x bound\"",
            "checks = [\"falsebans\"]",
            "unknown invariant: `falsebans`",
        ),
        (
            "[expect]\n",
            "[expect]\ncompare = [{ metric = \"wasted\", better = \"random\", than = \"rarest-first\", by = \"> 0%\" }]\n",
            "`random` and `rarest-first` are not two values of one key of [vary]",
        ),
        (
            "[expect]\n",
            "[expect]\ncompare = [{ metric = \"wasted\", better = \"a\", than = \"b\", by = \"<= 5%\" }]\n",
            "what is better is so by at least something",
        ),
        (
            "[expect]\n",
            "[vary]\n\"group.home.count\" = [4, 5]\n[expect]\n\
             compare = [{ metric = \"wasted\", better = \"4\", than = \"5\", by = \"> 100%\" }]\n",
            "`compare` can never hold",
        ),
        (
            "picker = \"random\"",
            "canary = \"stalled\"",
            "`stalled` is there to be caught by a check",
        ),
        (
            "attack = \"corrupt-blocks\"",
            "attack = \"corrupt-blocks\"\ncanary = \"stalled\"",
            "only honest peers have a canary: seeds and leechers",
        ),
        (
            "\"completion.max\" = \"<= 1.6 x bound\"",
            "sometimes = [\"resumed\"]",
            "`sometimes` can never hold",
        ),
        (
            "\"completion.max\" = \"<= 1.6 x bound\"",
            "completion.max = \"<= 1.6 x bound\"",
            "a metric's name is written in quotes",
        ),
        (
            r#"role = "seed""#,
            "role = \"server\"\nchoker = \"tit-for-tat\"",
            "a server has no `choker`",
        ),
        (
            r#"role = "seed""#,
            "role = \"server\"\nchurn = { session = { fixed = \"1 s\" }, rejoin = \"0%\" }",
            "a server has no `churn`",
        ),
        (
            r#"role = "seed""#,
            "role = \"server\"\nhave = \"50%\"",
            "a server has no `have`",
        ),
        (
            r#"role = "seed""#,
            "role = \"server\"\nweb_seed = \"no\"",
            "expected true or false, found a string",
        ),
        (
            r#"role = "seed""#,
            "role = \"server\"\nweb_seed = false",
            "nobody has the content",
        ),
        (
            "count = 4",
            "count = 4\nweb_seed = true",
            "a leecher has no `web_seed`",
        ),
        (HOMES, CLIENTS, "no server has the content"),
        (
            HOMES,
            &format!("{CLIENTS}on_complete = \"leave\"\n"),
            "a client has no `on_complete`",
        ),
        (
            HOMES,
            &format!("{CLIENTS}have = [0]\n"),
            "a client knows of no pieces",
        ),
        (
            HOMES,
            &format!("{CLIENTS}have = \"100%\"\n"),
            "a client that has everything fetches nothing",
        ),
        (
            "\"completion.max\" = \"<= 1.6 x bound\"",
            "\"server.uploaded\" = \"<= 2 x torrent\"",
            "`server.uploaded` can never hold",
        ),
        (
            "\"completion.max\" = \"<= 1.6 x bound\"",
            "sometimes = [\"fetch-retried\"]",
            "`sometimes` can never hold",
        ),
        (
            "all honest",
            "all attackers",
            "attackers do not complete anything",
        ),
    ] {
        let found = messages(from, to);
        if found != [says] {
            differences.push(format!("{to}: {found:?}"));
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
}

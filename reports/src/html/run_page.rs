//! Owns the page of a folder of runs: the verdict first, then the swarm, then what it is made of.
//!
//! Invariant: one run is shown in full, the first that failed or else the first; the others have a row each.

use serde::Serialize;
use serde_json::json;

use super::charts;
use super::page::{self, Chart, PageError};
use super::palette::Palette;
use super::record::{Finding, RunFile, RunSet};
use crate::table::{bytes, count, percent, seconds};

/// Other seeds whose completions are drawn beside those of the run that is shown, at most.
const CURVES_MAX: usize = 20;

/// A fact in large letters.
#[derive(Serialize)]
struct Tile {
    value: String,
    what: &'static str,
    more: String,
}

/// A seed in a line.
#[derive(Serialize)]
struct SeedRow {
    seed: u64,
    shown: bool,
    verdict: String,
    finished: String,
    last: String,
    times_bound: String,
    utilisation: String,
    trace_hash: String,
}

/// What the animation needs to know of a peer.
#[derive(Serialize)]
struct Actor<'a> {
    name: &'a str,
    group: usize,
    role: &'a str,
}

/// What the animation is made of.
#[derive(Serialize)]
struct Swarm<'a> {
    peers: Vec<Actor<'a>>,
    groups: Vec<(&'a str, &'a str)>,
    slice_ms: u64,
    slices: usize,
    end_s: f64,
    flows: &'a str,
    progress: &'a str,
    marks: &'a [(u64, u32, usize)],
    kinds: &'a [String],
    faults: Vec<(&'a str, f64, Option<f64>)>,
    sent: &'a [u64],
}

/// Which of the runs is shown in full.
#[must_use]
pub fn shown(runs: &[RunFile]) -> Option<&RunFile> {
    runs.iter().find(|run| run.failed()).or(runs.first())
}

/// The page of these runs, in the order of the set's seeds.
///
/// # Errors
/// When there is no run, or by a bug in a template.
pub fn run_page(set: &RunSet, runs: &[RunFile]) -> Result<String, PageError> {
    let run = shown(runs).ok_or(PageError::NoRun)?;
    let palette = palette(run);
    let mut again = format!("{} --seed {}", set.again, run.seed);
    if runs.len() > 1 && !run.failed() {
        again.clone_from(&set.again);
    }
    let checks = table(run.checks.iter().map(|(name, n)| (name.as_str(), *n)));
    let happened = table(run.sometimes.iter().map(|(name, n)| (name.as_str(), *n)));
    let findings: Vec<&Finding> = set.findings.iter().chain(&run.failures).collect();
    let seeds = runs.iter().map(|r| seed_row(r, r.seed == run.seed));
    let context = json!({
        "title": format!("{}, seed {}", set.scenario, run.seed),
        "set": set,
        "seed": run.seed,
        "network": run.network,
        "trace_hash": run.trace_hash,
        "events": count(run.events),
        "bound_term": run.bound_term,
        "again": again,
        "findings": findings,
        "good": matches!(set.verdict.as_str(), "pass" | "unfinishable"),
        "size": bytes(run.content_bytes),
        "tiles": tiles(run),
        "seeds": seeds.collect::<Vec<_>>(),
        "checks": checks,
        "happened": happened,
        "peers": run.peers.iter().map(peer_row).collect::<Vec<_>>(),
        "groups": groups(run, &palette),
        "charts": charts_of(run, runs, &palette),
        "swarm": page::script_json(&swarm(run, &palette)),
    });
    page::fill("run.html", &context)
}

fn palette(run: &RunFile) -> Palette {
    let peers = run.peers.iter();
    Palette::of(peers.map(|p| (p.group.as_str(), p.role == "attacker")))
}

fn charts_of(run: &RunFile, runs: &[RunFile], palette: &Palette) -> Vec<Chart> {
    let others = runs.iter().filter(|other| other.seed != run.seed);
    let others: Vec<&RunFile> = others.take(CURVES_MAX).collect();
    let mut all = Vec::new();
    if run.takers() > 0 {
        let note = match others.len() {
            0 => "The part of each group that has the whole content by each moment.".to_owned(),
            n => format!(
                "The part of each group that has the whole content by each moment; dotted, {n} other seeds."
            ),
        };
        all.push(page::chart(
            "completion",
            "Completion",
            note,
            false,
            charts::completions(run, &others, palette),
        ));
    }
    let note = "What honest peers sent over what their uplinks could have carried. Shaded: faults.";
    all.push(page::chart(
        "uplinks",
        "Uplink utilisation over time",
        note,
        false,
        charts::uplinks(run),
    ));
    let note = format!(
        "Copies of each piece among the honest peers online; at their fewest {}. Shaded: faults.",
        match run.copies_min {
            1 => "1 copy".to_owned(),
            n => format!("{n} copies"),
        },
    );
    all.push(page::chart(
        "copies",
        "Copies of the pieces",
        note,
        true,
        charts::copies(run),
    ));
    let cut = match run.peers.len() > charts::PEERS_MAX {
        true => format!(" The first {} of {}.", charts::PEERS_MAX, run.peers.len()),
        false => String::new(),
    };
    let note =
        format!("A line while a peer is online; symbols for what happened to it first.{cut}");
    all.push(page::chart(
        "lives",
        "Each peer's life",
        note,
        true,
        charts::lives(run),
    ));
    if let Some(drawn) = charts::shares(run, palette) {
        let note = "What each leecher gave for what it took. On the dashed line it gave as much.";
        all.push(page::chart("shares", "Share ratios", note, false, drawn));
    }
    if let Some(drawn) = charts::groups_up(run, palette) {
        let note = "What each group sent over what its uplinks could have carried while online.";
        all.push(page::chart(
            "groups",
            "Uplink utilisation by group",
            note,
            false,
            drawn,
        ));
    }
    if let Some(drawn) = charts::unchokes(run) {
        let note = match run.peers.len() > charts::PEERS_MAX {
            true => "How much of the run a peer of one group unchoked one of another, on average.",
            false => {
                "For how much of the run each peer (row) unchoked each other (column). Blank: never."
            }
        };
        all.push(page::chart(
            "unchokes",
            "Who unchoked whom",
            note,
            true,
            drawn,
        ));
    }
    all
}

fn tiles(run: &RunFile) -> Vec<Tile> {
    let tile = |value: String, what, more: String| Tile { value, what, more };
    let (takers, done) = (run.takers(), run.completions_s(None).len());
    let mut tiles = vec![tile(
        format!("{done} of {takers}"),
        "finished",
        String::new(),
    )];
    if let Some(last) = run.last_s() {
        let bound = run.bound_seconds;
        let more = match bound > 0.0 {
            true => format!(
                "{:.2} x the physical limit, {}",
                last / bound,
                seconds(Some(bound))
            ),
            false => String::new(),
        };
        tiles.push(tile(seconds(Some(last)), "the last one finished", more));
    }
    if let Some(used) = run.utilisation {
        tiles.push(tile(
            percent(used),
            "of the uplinks used",
            "between 10 % and 90 % of completions".to_owned(),
        ));
    }
    let source = run.seed_uploaded + run.server_uploaded;
    let times = source as f64 / run.content_bytes.max(1) as f64;
    tiles.push(tile(
        format!("{times:.2} x"),
        "the content left its sources",
        bytes(source),
    ));
    let wasted: u64 = run
        .peers
        .iter()
        .filter(|p| p.role != "attacker")
        .map(|p| p.wasted)
        .sum();
    let taken: u64 = run
        .peers
        .iter()
        .filter(|p| p.role != "attacker")
        .map(|p| p.downloaded)
        .sum();
    tiles.push(tile(
        percent(wasted as f64 / taken.max(1) as f64),
        "of what was received was waste",
        bytes(wasted),
    ));
    tiles
}

fn seed_row(run: &RunFile, shown: bool) -> SeedRow {
    let last = run.last_s();
    SeedRow {
        seed: run.seed,
        shown,
        verdict: run.verdict.clone(),
        finished: format!("{}/{}", run.completions_s(None).len(), run.takers()),
        last: seconds(last),
        times_bound: match (last, run.bound_seconds > 0.0) {
            (Some(last), true) => format!("{:.2} x", last / run.bound_seconds),
            _ => "-".to_owned(),
        },
        utilisation: run.utilisation.map_or("-".to_owned(), percent),
        trace_hash: run.trace_hash.clone(),
    }
}

/// Name and number, in two columns.
fn table<'a>(rows: impl Iterator<Item = (&'a str, u64)>) -> Vec<(String, String, bool)> {
    rows.map(|(name, n)| (name.to_owned(), count(n), n == 0))
        .collect()
}

fn peer_row(peer: &super::record::PeerFile) -> Vec<String> {
    vec![
        peer.name.clone(),
        match &peer.attack {
            Some(attack) => format!("{} ({attack})", peer.role),
            None => peer.role.clone(),
        },
        seconds(Some(peer.joined_s)),
        seconds(peer.completed_s),
        bytes(peer.downloaded),
        bytes(peer.uploaded),
        bytes(peer.wasted),
    ]
}

fn groups<'a>(run: &RunFile, palette: &'a Palette) -> Vec<(&'a str, &'a str, String)> {
    let of = |name: &str| {
        let members = run.peers.iter().filter(|p| p.group == name);
        let role = members.clone().next().map_or("", |p| p.role.as_str());
        match members.count() {
            1 => role.to_owned(),
            n => format!("{n} {role}s"),
        }
    };
    let groups = palette.groups().iter();
    groups
        .map(|(name, color)| (name.as_str(), color.as_str(), of(name)))
        .collect()
}

fn swarm<'a>(run: &'a RunFile, palette: &'a Palette) -> Swarm<'a> {
    let groups = palette.groups();
    let place = |name: &str| groups.iter().position(|(g, _)| g == name).unwrap_or(0);
    let film = &run.film;
    let faults = film.faults.iter();
    Swarm {
        peers: run
            .peers
            .iter()
            .map(|p| Actor {
                name: &p.name,
                group: place(&p.group),
                role: &p.role,
            })
            .collect(),
        groups: groups
            .iter()
            .map(|(name, color)| (name.as_str(), color.as_str()))
            .collect(),
        slice_ms: film.slice_ms,
        slices: film.slices,
        end_s: run.sim_seconds,
        flows: &film.flows,
        progress: &film.progress,
        marks: &film.marks,
        kinds: &film.kinds,
        faults: faults
            .map(|f| {
                (
                    f.name.as_str(),
                    f.began_ms as f64 / 1e3,
                    f.ended_ms.map(|ms| ms as f64 / 1e3),
                )
            })
            .collect(),
        sent: &film.sent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::html::FORMAT;

    const HOSTILE: &str = "</script><script>alert(1)</script>";

    /// A run of two hosts with everything that a scenario names called alike.
    fn run(seed: u64, verdict: &str, name: &str) -> RunFile {
        let peer = |role: &str| {
            json!({
                "name": name, "group": format!("{name}{role}"), "role": role, "joined_s": 0.0,
                "completed_s": if role == "leecher" { Some(3.0) } else { None }, "downloaded": 10, "uploaded": 10,
                "wasted": 0, "online_s": 4.0, "up": 5, "attack": null,
            })
        };
        let film = json!({
            "slice_ms": 2000, "slices": 2, "flows": "AQABCgA=", "progress": "AQH6AQA=", "copies": [[1], [2]],
            "sent": [10, 0], "capacity": [20, 20], "marks": [[0, 0, 0], [0, 1, 0], [3000, 1, 1]],
            "kinds": ["joined", "complete"], "marks_missed": 0, "unchokes": [[0, 1, 2000, 1]], "unchokes_missed": 0,
            "faults": [{ "name": name, "began_ms": 1000, "ended_ms": 1500, "hosts": [0] }],
        });
        let failure = json!({ "check": name, "peer": name, "at_s": 1.0, "message": name });
        let failures = if verdict == "pass" {
            vec![]
        } else {
            vec![failure]
        };
        serde_json::from_value(json!({
            "seed": seed, "network": "fabric", "trace_hash": "00ff", "events": 3, "sim_seconds": 4.0, "blocks": 1,
            "bound_seconds": 2.0, "bound_term": "the seed's uplink", "content_bytes": 10, "pieces": 1,
            "verdict": verdict, "failures": failures, "peers": [peer("seed"), peer("leecher")],
            "seed_uploaded": 10, "server_uploaded": 0, "copies_min": 1, "utilisation": 0.5,
            "checks": { "books": 7, "idle": 0 }, "sometimes": {}, "film": film,
        }))
        .expect("a run")
    }

    fn set(seeds: &[u64], verdict: &str, name: &str) -> RunSet {
        RunSet {
            format: FORMAT.to_owned(),
            skep: "0.1.0".to_owned(),
            scenario: name.to_owned(),
            about: name.to_owned(),
            again: format!("skep run '{name}'"),
            text: name.to_owned(),
            overrides: vec![(name.to_owned(), name.to_owned())],
            verdict: verdict.to_owned(),
            findings: Vec::new(),
            seeds: seeds.to_vec(),
        }
    }

    #[test]
    fn names_of_a_scenario_are_text_everywhere() {
        let runs = [run(0, "liveness", HOSTILE)];
        let page = run_page(&set(&[0], "liveness", HOSTILE), &runs).expect("a page");
        assert!(page.contains("&lt;script&gt;alert(1)"), "as text");
        assert!(page.contains("\\u003cscript>alert(1)"), "as data");
        assert!(!page.contains("<script>alert(1)"));
        // Charts know a few tags.
        assert!(
            page.contains("&lt;/script&gt;&lt;script&gt;alert(1)"),
            "as a label"
        );
        // As many scripts begin as end, and none that is not ours.
        assert_eq!(
            page.matches("<script").count(),
            page.matches("</script>").count()
        );
    }

    #[test]
    fn a_page_holds_the_script_of_its_charts_once_and_loads_nothing() {
        let page = run_page(&set(&[0], "pass", "a"), &[run(0, "pass", "a")]).expect("a page");
        assert_eq!(page.matches("* plotly.js v").count(), 1);
        assert!(!page.contains("MathJax = "), "no script for formulas");
        for elsewhere in [
            "cdn.plot.ly",
            "cdn.jsdelivr.net",
            "cdnjs.",
            "unpkg.com",
            "cartocdn.com",
        ] {
            assert!(!page.contains(elsewhere), "{elsewhere}");
        }
        for loading in [
            "<script src",
            "<link rel=\"stylesheet\"",
            "@import",
            "<iframe",
            "<img",
        ] {
            let ours = page.replace(page::charts_script().as_str(), "");
            assert!(!ours.contains(loading), "{loading}");
        }
        assert!(page.contains("default-src 'none'"));
    }

    #[test]
    fn the_verdict_comes_first_and_the_first_run_that_failed_is_shown() {
        let runs = [
            run(0, "pass", "a"),
            run(1, "liveness", "a"),
            run(2, "liveness", "a"),
        ];
        assert_eq!(shown(&runs).map(|run| run.seed), Some(1));
        let page = run_page(&set(&[0, 1, 2], "liveness", "a"), &runs).expect("a page");
        let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text} is there"));
        let order = [
            place("id=\"verdict\""),
            place("skep run &#x27;a&#x27; --seed 1"),
            place("id=\"swarm\""),
            place("id=\"chart-completion\""),
            place("id=\"chart-copies\""),
            place("id=\"chart-lives\""),
            place("id=\"chart-unchokes\""),
            place(">Checks<"),
            place("All seeds"),
            place("id=\"trace-hash\""),
        ];
        assert!(order.is_sorted(), "{order:?}");
    }

    #[test]
    fn without_a_run_there_is_no_page() {
        let none = run_page(&set(&[], "pass", "a"), &[]);
        assert!(matches!(none, Err(PageError::NoRun)));
    }
}

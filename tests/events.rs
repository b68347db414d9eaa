//! Owns what the lines of `--trace` promise: each is a JSON object with the fields that docs/events.md says, and that
//! page is the truth about the program.
//!
//! The page is made of the documentation of the events themselves: `SKEP_WRITE_DOCS=1 cargo test --test events`
//! writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use skep_sim::campaign::{self, Job};
use skep_sim::scenario::Scenario;
use skep_sim::trace::Lines;
use skep_sim::watch::Kept;

/// Where events are defined: the file, the type, and whose they are.
const SOURCES: [(&str, &str, &str); 6] = [
    ("engine/src/session/event.rs", "Event", "Of peers"),
    (
        "engine/src/node/tracker_server.rs",
        "TrackerEvent",
        "Of trackers",
    ),
    (
        "engine/src/node/file_server.rs",
        "ServerEvent",
        "Of file servers",
    ),
    (
        "sim/src/actor/client.rs",
        "ClientEvent",
        "Of clients of direct download",
    ),
    ("sim/src/trace.rs", "Attack", "Of attackers"),
    ("sim/src/trace.rs", "World", "Of hosts and faults"),
];

const INTRODUCTION: &str = "\
# The events of a run

`skep run FILE --seed N --trace events.jsonl` writes one JSON object per line and per event, in the order in which they
happened. Names of events and fields are stable: a new one may come, and none changes its meaning.

Every line has

| field | |
|---|---|
| `t_ns` | nanoseconds of simulated time since the start of the run; never less than in the line before |
| `host` | the name of the host to which it happened, of the tracker, or of the fault |
| `event` | what happened, as below |

and the fields of its event. Peers and servers are named by the address of the connection, `IP:PORT`; a port is that where
the other end listens only if it was dialled. `piece` is a position in the torrent; `begin` and `len` are bytes inside it.

The trace hash of a run covers the same events, whether they are written or not.
";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[derive(Clone, Debug)]
struct Described {
    name: String,
    meaning: String,
    fields: Vec<(String, String)>,
}

fn kebab(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// What `#[serde(rename = "...")]` says.
fn renamed(line: &str) -> Option<String> {
    let name = line.strip_prefix("#[serde(rename = \"")?;
    Some(name.strip_suffix("\")]")?.to_owned())
}

/// The fields of a struct or of a variant: what stands between its brackets, as rustfmt leaves it.
fn fields<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Vec<(String, String)> {
    let (mut fields, mut doc, mut rename) = (Vec::new(), Vec::new(), None);
    for line in lines.map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            doc.push(text.trim());
        } else if let Some(name) = renamed(line) {
            rename = Some(name);
        } else if line.starts_with('}') {
            return fields;
        } else if let Some((name, _)) = line.split_once(": ") {
            let name = name.trim_start_matches("pub ").to_owned();
            fields.push((rename.take().unwrap_or(name), doc.join(" ")));
            doc.clear();
        }
    }
    fields
}

/// The variants of an enum of events.
fn described(file: &str, name: &str) -> Vec<Described> {
    let text = fs::read_to_string(root().join(file)).expect("a source file");
    let mut lines = text.lines();
    let begins = format!("enum {name} {{");
    lines
        .find(|line| line.trim_start_matches("pub ") == begins)
        .expect("the enum");
    let (mut events, mut doc, mut rename) = (Vec::new(), Vec::new(), None);
    while let Some(line) = lines.next().filter(|line| *line != "}") {
        let line = line.trim();
        if let Some(text) = line.strip_prefix("///") {
            doc.push(text.trim());
            continue;
        }
        if let Some(name) = renamed(line) {
            rename = Some(name);
            continue;
        }
        let end = line.find([' ', ',', '(']).unwrap_or(line.len());
        let variant = &line[..end];
        let fields = match &line[end..] {
            " {" => fields(&mut lines),
            // The only one that is a struct of its own.
            "(Buffered)," => {
                let file = root().join("engine/src/session/buffers.rs");
                let text = fs::read_to_string(file).expect("a source file");
                let mut lines = text
                    .lines()
                    .skip_while(|line| *line != "pub struct Buffered {");
                lines.next();
                fields(&mut lines)
            }
            _ => Vec::new(),
        };
        let name = rename.take().unwrap_or_else(|| kebab(variant));
        let meaning = std::mem::take(&mut doc).join(" ");
        events.push(Described {
            name,
            meaning,
            fields,
        });
    }
    events
}

/// The page, from the sources.
fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for (file, name, title) in SOURCES {
        let _ = write!(
            page,
            "\n## {title}\n\n| event | | fields |\n|---|---|---|\n"
        );
        for event in described(file, name) {
            let fields = event.fields.iter();
            let fields = fields.map(|(name, doc)| format!("`{name}`: {doc}"));
            let fields: Vec<_> = fields.collect();
            let row = format!(
                "| `{}` | {} | {} |",
                event.name,
                event.meaning,
                fields.join("<br>")
            );
            page.push_str(&row);
            page.push('\n');
        }
    }
    page
}

#[test]
fn the_page_of_events_is_true() {
    let path = root().join("docs/events.md");
    if std::env::var_os("SKEP_WRITE_DOCS").is_some() {
        fs::write(&path, page()).expect("written");
    }
    let there = fs::read_to_string(path).expect("docs/events.md");
    let how = "SKEP_WRITE_DOCS=1 cargo test --test events writes docs/events.md";
    assert_eq!(there, page(), "{how}");
    let all = SOURCES
        .iter()
        .flat_map(|(file, name, _)| described(file, name));
    let names: Vec<String> = all.map(|event| event.name).collect();
    let different: BTreeSet<&String> = names.iter().collect();
    assert_eq!(different.len(), names.len(), "each has a name of its own");
    assert!(names.len() > 60, "{}", names.len());
}

/// What a page says: for each event its fields.
fn promised() -> BTreeMap<String, BTreeSet<String>> {
    let page = fs::read_to_string(root().join("docs/events.md")).expect("docs/events.md");
    let mut events = BTreeMap::new();
    for line in page.lines() {
        let cells: Vec<&str> = line.split(" | ").collect();
        let [event, _, fields] = cells[..] else {
            continue;
        };
        let Some(event) = event.strip_prefix("| `").and_then(|e| e.strip_suffix('`')) else {
            continue;
        };
        let fields = fields.trim_end_matches('|').split("<br>");
        let fields =
            fields.filter_map(|f| Some(f.trim().strip_prefix('`')?.split_once('`')?.0.to_owned()));
        events.insert(event.to_owned(), fields.collect());
    }
    events
}

fn lines_of(file: &str) -> Vec<Map<String, Value>> {
    let path = Path::new("scenarios").join(file);
    let text = fs::read_to_string(root().join(&path)).expect("a scenario");
    let scenario = Scenario::parse(file, &text).expect("a good scenario");
    let out = Kept::default();
    let job = Job {
        scenario: &scenario,
        seed: scenario.seeds()[0],
    };
    let lines = Lines::new(Box::new(out.clone()));
    let outcome = campaign::run_one(job, Some(lines)).expect("a run");
    let text = out.take_text();
    let lines: Vec<_> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object"))
        .collect();
    assert_eq!(
        lines.len() as u64,
        outcome.events,
        "{file}: a line per event"
    );
    lines
}

#[test]
fn every_line_has_the_fields_that_the_page_promises() {
    let promised = promised();
    let mut seen = BTreeSet::new();
    for file in [
        "first-swarm.toml",
        "attacks/corrupt-one-block.toml",
        "churn/crash-and-resume.toml",
        "churn/users-pause.toml",
        "direct/server-crash-and-resume.toml",
        "disks/flipped-bit.toml",
        "network/power-loss.toml",
        "peers/magnet.toml",
        "trackers/udp-garbage.toml",
    ] {
        let mut before = 0;
        for mut line in lines_of(file) {
            let shown = Value::Object(line.clone()).to_string();
            let at = line
                .remove("t_ns")
                .and_then(|t| t.as_u64())
                .expect("a time");
            assert!(at >= before, "{file}: {shown}");
            before = at;
            let host = line.remove("host");
            assert!(host.is_some_and(|host| host.is_string()), "{file}: {shown}");
            let event = line.remove("event");
            let event = event.as_ref().and_then(Value::as_str).expect("an event");
            let fields = promised
                .get(event)
                .unwrap_or_else(|| panic!("{file}: {shown}"));
            let there: BTreeSet<String> = line.keys().cloned().collect();
            assert_eq!(&there, fields, "{file}: {shown}");
            seen.insert(event.to_owned());
        }
    }
    for event in [
        "joined",
        "left",
        "crashed",
        "power-lost",
        "started",
        "completed",
        "banned",
        "buffered",
        "tracker-announced",
        "server-sent",
        "client-received",
        "attack-sent",
        "fault-began",
        "fault-flipped",
        "fault-ended",
        "metadata-complete",
        "paused",
    ] {
        assert!(seen.contains(event), "{event} happens in none of these");
    }
}

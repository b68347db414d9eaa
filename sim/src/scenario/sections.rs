//! Owns reading the tables of a scenario file except the groups: from TOML to [`Model`].
//!
//! Invariant: every problem goes to the log and the reading goes on with something harmless in its
//! place; a model read with a non-empty log is good for finding more problems, never for a run.

use std::time::Duration;

use skep_engine::EngineConfig;
use skep_engine::config::{FIELDS, FieldKind, FieldValue};
use skep_engine::ip_filter::{self, IpFilter};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::expect::{self, Expectation, ExpectationKind, Limit};
use super::faults;
use super::groups;
use super::keys;
use super::metrics::{MetricName, NameError, SOMETIMES, full_names};
use super::model::{EngineSetting, Latency, Link, Model, Run, Torrent, Vary};
use super::plan::NetworkKind;
use super::problem::{Found, Log, suggest};
use super::read::{self, Fields, Value};
use super::{regions, trackers, units};
use crate::check;
use crate::own::Own;

/// Seeds that one file may name.
const SEEDS_MAX: u64 = 1_000_000;

/// Reads a whole document. `vary` was read before it was applied.
pub(super) fn model(
    document: &DeTable<'_>,
    vary: Vec<Vary>,
    own: &'static Own,
    log: &mut Log,
) -> Model {
    let root = Fields::of(&keys::ROOT, document, 0..0, log);
    let tags = root
        .get("tags")
        .map_or(&[][..], |v| read::list(v, "a list of strings", log));
    let tags = tags
        .iter()
        .filter_map(|tag| read::text(tag, log))
        .map(Spanned::into_inner)
        .collect();
    let text = |name, log: &mut Log| {
        root.text(name, log)
            .map(Spanned::into_inner)
            .unwrap_or_default()
    };
    Model {
        name: text("name", log),
        about: text("about", log),
        tags,
        run: root
            .get("run")
            .and_then(|v| run(v, log))
            .unwrap_or_default(),
        torrent: root
            .get("torrent")
            .and_then(|v| torrent(v, log))
            .unwrap_or_default(),
        link: root
            .get("link")
            .and_then(|v| Fields::open(&keys::LINK, v, log))
            .map_or_else(Link::default, |fields| link(&fields, log)),
        regions: root.get("link").and_then(|v| regions::regions(v, log)),
        groups: root
            .get("group")
            .map_or_else(Vec::new, |v| groups::groups(v, own, log)),
        trackers: trackers::trackers(root.get("tracker"), log),
        faults: root
            .get("fault")
            .map_or_else(Vec::new, |v| faults::faults(v, log)),
        engine: root.get("engine").map_or_else(Vec::new, |v| engine(v, log)),
        vary,
        expect: root
            .get("expect")
            .map_or_else(Vec::new, |v| expectations(v, log)),
    }
}

fn run(value: &Value<'_>, log: &mut Log) -> Option<Run> {
    let fields = Fields::open(&keys::RUN, value, log)?;
    let networks = NetworkKind::ALL.map(|kind| (kind.word(), kind));
    let network = fields.word("network", &networks, &[], log);
    let hash = [("recognise", false), ("always", true)];
    Some(Run {
        network: network.map(Spanned::into_inner).unwrap_or_default(),
        hash_always: fields
            .word("hash", &hash, &[], log)
            .is_some_and(Spanned::into_inner),
        seeds: fields.get("seeds").and_then(|v| seeds(v, log)),
        time_limit: fields.quantity("time_limit", "a duration", units::duration, log),
        settle: fields.quantity("settle", "a duration", units::duration, log),
    })
}

fn seeds(value: &Value<'_>, log: &mut Log) -> Option<Spanned<Vec<u64>>> {
    let seeds: Vec<u64> = if value.get_ref().is_array() {
        let members = read::list(value, "a list of seeds", log);
        members
            .iter()
            .filter_map(|seed| Some(read::whole(seed, "a seed", u64::MAX, log)?.into_inner()))
            .collect()
    } else {
        let wanted = r#"a range such as "0..8" or a list of seeds"#;
        let (low, high) = read::quantity(value, wanted, units::whole_range, log)?.into_inner();
        (low..high.min(low.saturating_add(SEEDS_MAX + 1))).collect()
    };
    if seeds.is_empty() || seeds.len() as u64 > SEEDS_MAX {
        let message = format!("a scenario runs on 1 to {SEEDS_MAX} seeds");
        log.push(Found::at(value.span(), message));
        return None;
    }
    Some(Spanned::new(value.span(), seeds))
}

fn torrent(value: &Value<'_>, log: &mut Log) -> Option<Torrent> {
    let fields = Fields::open(&keys::TORRENT, value, log)?;
    let size = fields.quantity("size", "a size", units::size, log);
    let files = match (fields.get("files"), size) {
        (None, Some(size)) => {
            vec![(Spanned::new(size.span(), "content.bin".to_owned()), size)]
        }
        (Some(list), None) if fields.get("size").is_none() => files(list, log),
        (Some(list), _) => {
            let found =
                Found::at(list.span(), "`size` and `files` exclude each other").label("and here");
            let size = fields.key_span("size").unwrap_or(0..0);
            log.push(found.and(size, "given here").help("keep one of them"));
            Vec::new()
        }
        (None, None) => {
            if fields.get("size").is_none() {
                let found =
                    Found::at(value.span(), "the torrent has no content").label("in this table");
                log.push(found.help(r#"add `size = "64 MiB"`"#));
            }
            Vec::new()
        }
    };
    Some(Torrent {
        files,
        piece: fields.quantity("piece", "a size", units::size, log),
    })
}

fn files(list: &Value<'_>, log: &mut Log) -> Vec<(Spanned<String>, Spanned<u64>)> {
    let members = read::list(
        list,
        r#"a list such as [{ path = "a.bin", size = "3 MiB" }]"#,
        log,
    );
    if members.is_empty() {
        log.push(Found::at(list.span(), "the torrent has no file"));
    }
    let mut files = Vec::new();
    for member in members {
        let Some(fields) = Fields::open(&keys::FILE, member, log) else {
            continue;
        };
        let path = fields.text("path", log);
        let size = fields.quantity("size", "a size", units::size, log);
        if let (Some(path), Some(size)) = (path, size) {
            files.push((path, size));
        }
    }
    files
}

/// The keys of `[link]`, which a group may have too.
pub(super) fn link(fields: &Fields<'_, '_>, log: &mut Log) -> Link {
    Link {
        latency: fields.get("latency").and_then(|v| latency(v, log)),
        jitter: fields.quantity("jitter", "a duration", units::duration, log),
        loss: fields.quantity("loss", "a percentage", units::percent, log),
        reset: fields.quantity("reset", "a frequency", units::frequency, log),
    }
}

fn latency(value: &Value<'_>, log: &mut Log) -> Option<Spanned<Latency>> {
    if !value.get_ref().is_table() {
        let wanted = r#"a duration or { lognormal = { median = "40 ms", p95 = "180 ms" } }"#;
        let fixed = read::quantity(value, wanted, units::duration, log)?;
        return Some(Spanned::new(
            value.span(),
            Latency::Fixed(fixed.into_inner()),
        ));
    }
    let outer = Fields::open(&keys::LATENCY, value, log)?;
    match (outer.get("lognormal"), outer.get("regions")) {
        (Some(_), None) => {}
        (None, Some(_)) => return Some(Spanned::new(value.span(), Latency::Regions)),
        _ => {
            let found = Found::at(
                value.span(),
                "a latency is one of `lognormal` and `regions`",
            );
            log.push(found.help(r#"{ lognormal = { median = "40 ms", p95 = "180 ms" } }"#));
            return None;
        }
    }
    let fields = Fields::open(&keys::LOGNORMAL, outer.get("lognormal")?, log)?;
    let median = fields.quantity("median", "a duration", units::duration, log);
    let p95 = fields.quantity("p95", "a duration", units::duration, log);
    let (median, p95) = (median?, p95?);
    if *median.get_ref() == Duration::ZERO || p95.get_ref() <= median.get_ref() {
        let found = Found::at(
            p95.span(),
            "`p95` must be above `median`, and `median` above zero",
        );
        log.push(found.label("not above").and(median.span(), "the median"));
        return None;
    }
    let latency = Latency::Lognormal {
        median: median.into_inner(),
        p95: p95.into_inner(),
    };
    Some(Spanned::new(value.span(), latency))
}

/// Fields of `EngineConfig`.
pub(super) fn engine(value: &Value<'_>, log: &mut Log) -> Vec<EngineSetting> {
    let DeValue::Table(table) = value.get_ref() else {
        read::expected(value, "a table of fields of the engine", log);
        return Vec::new();
    };
    let mut settings = Vec::new();
    for (key, value) in read::in_order(table) {
        let Some(field) = FIELDS.iter().find(|f| f.name == key.get_ref()) else {
            let names = FIELDS.iter().map(|f| f.name);
            let near = super::problem::nearest(key.get_ref(), names.clone());
            let help = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("fields: {}", names.collect::<Vec<_>>().join(", ")),
            };
            let found = Found::at(
                key.span(),
                format!("the engine has no field `{}`", key.get_ref()),
            );
            log.push(found.label("unknown key").help(help));
            continue;
        };
        let Some(setting) = engine_value(field.kind, value, log) else {
            continue;
        };
        if EngineConfig::default()
            .set(field.name, setting.get_ref())
            .is_err()
        {
            let message = format!("`{}` does not take this value", field.name);
            log.push(
                Found::at(value.span(), message)
                    .label("out of range")
                    .help(field.doc.trim()),
            );
            continue;
        }
        settings.push(EngineSetting {
            field: Spanned::new(key.span(), field.name),
            value: setting,
        });
    }
    settings
}

fn engine_value(kind: FieldKind, value: &Value<'_>, log: &mut Log) -> Option<Spanned<FieldValue>> {
    let typed = match kind {
        FieldKind::Duration => {
            let duration = read::quantity(value, "a duration", units::duration, log)?;
            FieldValue::Duration(duration.into_inner())
        }
        FieldKind::Bytes => {
            FieldValue::Bytes(read::quantity(value, "a size", units::size, log)?.into_inner())
        }
        FieldKind::Rate => {
            FieldValue::Rate(read::quantity(value, "a rate", units::rate, log)?.into_inner())
        }
        FieldKind::Count => FieldValue::Count(
            read::whole(value, "this field", u64::from(u32::MAX), log)?.into_inner(),
        ),
        FieldKind::Switch => match value.get_ref() {
            DeValue::Boolean(on) => FieldValue::Switch(*on),
            _ => {
                read::expected(value, "true or false", log);
                return None;
            }
        },
        FieldKind::Choice(words) => {
            let word = read::text(value, log)?;
            if !words.contains(&word.get_ref().as_str()) {
                log.push(read::unknown_word(
                    "choice",
                    &word,
                    words.iter().copied(),
                    &[],
                ));
                return None;
            }
            FieldValue::Choice(word.into_inner())
        }
        FieldKind::Addresses => FieldValue::Addresses(addresses(value, log)?),
    };
    Some(Spanned::new(value.span(), typed))
}

/// `["10.1.0.0/24", "10.1.1.1-10.1.1.9"]`.
fn addresses(value: &Value<'_>, log: &mut Log) -> Option<IpFilter> {
    let members = read::list(value, "a list of ranges of addresses", log);
    let ranges = members.iter().map(|member| {
        let text = read::text(member, log)?;
        match ip_filter::range(text.get_ref()) {
            Ok(range) => Some(range),
            Err(error) => {
                let help =
                    "hosts have the addresses 10.1.0.1 and following, in the order of the file";
                log.push(Found::at(member.span(), error.to_string()).help(help));
                None
            }
        }
    });
    let ranges: Vec<_> = ranges.collect();
    let all: Option<Vec<_>> = ranges.into_iter().collect();
    value.get_ref().is_array().then(|| all.map(IpFilter::new))?
}

fn expectations(value: &Value<'_>, log: &mut Log) -> Vec<Expectation> {
    let DeValue::Table(table) = value.get_ref() else {
        read::expected(value, "a table of metrics with limits", log);
        return Vec::new();
    };
    let mut all = Vec::new();
    for (key, value) in read::in_order(table) {
        match key.get_ref().as_str() {
            "sometimes" => all.extend(sometimes(value, log)),
            "checks" => all.extend(checks(value, log)),
            "compare" => {
                let members = read::list(value, "[[expect.compare]]", log).iter();
                all.extend(members.filter_map(|member| compare(member, log)));
            }
            "complete" => {
                if let Some(read) = read::quantity(value, "a string", expect::complete, log) {
                    let (quantity, who) = read.into_inner();
                    all.push(expectation(
                        &key,
                        value,
                        ExpectationKind::Complete { quantity, who },
                    ));
                }
            }
            _ => {
                if let Some(kind) = metric(&key, value, log) {
                    all.push(expectation(&key, value, kind));
                }
            }
        }
    }
    all
}

fn expectation(key: &Spanned<String>, value: &Value<'_>, kind: ExpectationKind) -> Expectation {
    let text = value.get_ref().as_str().unwrap_or_default().to_owned();
    Expectation {
        name: key.get_ref().clone(),
        kind,
        text,
        span: value.span(),
    }
}

fn sometimes(value: &Value<'_>, log: &mut Log) -> Vec<Expectation> {
    let mut all = Vec::new();
    for member in read::list(value, "a list of words", log) {
        let Some(word) = read::text(member, log) else {
            continue;
        };
        if SOMETIMES.iter().any(|s| s.word == word.get_ref()) {
            let kind = ExpectationKind::Sometimes(word.get_ref().clone());
            let (name, text) = ("sometimes".to_owned(), word.get_ref().clone());
            all.push(Expectation {
                name,
                kind,
                text,
                span: word.span(),
            });
        } else {
            let words = SOMETIMES.iter().map(|s| s.word);
            log.push(read::unknown_word("event", &word, words, &[]));
        }
    }
    all
}

fn checks(value: &Value<'_>, log: &mut Log) -> Vec<Expectation> {
    let mut all = Vec::new();
    for member in read::list(value, "a list of invariants", log) {
        let Some(word) = read::text(member, log) else {
            continue;
        };
        if check::NAMES.contains(&word.get_ref().as_str()) {
            all.push(Expectation {
                name: "checks".to_owned(),
                kind: ExpectationKind::Checks(word.get_ref().clone()),
                text: word.get_ref().clone(),
                span: word.span(),
            });
        } else {
            let names = check::NAMES.iter().copied();
            log.push(read::unknown_word("invariant", &word, names, &[]));
        }
    }
    all
}

fn compare(value: &Value<'_>, log: &mut Log) -> Option<Expectation> {
    let fields = Fields::open(&keys::COMPARE, value, log)?;
    let metric = fields.text("metric", log).and_then(|name| {
        let parsed = MetricName::parse(name.get_ref());
        parsed
            .map_err(|error| log.push(no_metric(&name, &error)))
            .ok()
    });
    let better = fields.text("better", log);
    let than = fields.text("than", log);
    let wanted = "a difference such as \">= 5%\" or \"45% .. 55%\"";
    let by = fields.quantity("by", wanted, expect::Difference::parse, log);
    let text = fields.get("by").and_then(|by| by.get_ref().as_str());
    let text = text.unwrap_or_default().to_owned();
    Some(Expectation {
        name: "compare".to_owned(),
        kind: ExpectationKind::Compare {
            metric: metric?,
            better: better?.into_inner(),
            than: than?.into_inner(),
            by: by?.into_inner(),
        },
        text,
        span: value.span(),
    })
}

fn metric(key: &Spanned<String>, value: &Value<'_>, log: &mut Log) -> Option<ExpectationKind> {
    let written = key.get_ref();
    if value.get_ref().is_table() {
        let found = Found::at(key.span(), "a metric's name is written in quotes");
        log.push(found.help(r#"for example "completion.max" = "<= 1.6 x bound""#));
        return None;
    }
    let metric = match MetricName::parse(written) {
        Ok(metric) => metric,
        Err(error) => {
            log.push(no_metric(key, &error));
            return None;
        }
    };
    let parse = |text: &str| Limit::parse(text, metric.metric.unit);
    let limit = read::quantity(value, "a limit", parse, log)?.into_inner();
    Some(ExpectationKind::Metric { metric, limit })
}

fn no_metric(key: &Spanned<String>, error: &NameError) -> Found {
    let written = key.get_ref();
    let help = match error {
        NameError::Unknown(_) => {
            let mut names = full_names();
            names.extend(["complete", "sometimes", "checks", "compare"].map(str::to_owned));
            suggest(written, names.iter().map(String::as_str))
        }
        _ => "`skep check --metrics` lists the metrics with unit and meaning".to_owned(),
    };
    Found::at(key.span(), error.to_string())
        .label("no metric")
        .help(help)
}

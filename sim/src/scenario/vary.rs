//! Owns `[vary]`: its axes, their values, and putting one value of each in its place.
//!
//! An axis is a dotted key with the values it takes in turn, or a word of the author's own whose values
//! are *bundles*: tables with a `name` and the dotted keys that they set together.
//!
//! Invariant: a document is always made anew from the file: one value of every axis, then the overrides.
//! So nothing of one value is left when another takes its place.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys;
use super::model::{Model, Varied, Vary};
use super::problem::{Found, Log, Sources, suggest};
use super::read::{self, Value};
use super::set::{self, Override};
use super::{sections, validate};
use crate::own::Own;

/// Combinations of values that one file may have.
const VARIANTS_MAX: usize = 1000;
/// How an override begins that chooses a value of an axis by its label.
const CHOICE: &str = "vary.";

/// The axes of a file: those that vary, and those that an override holds at one value.
#[derive(Clone, Debug, Default)]
pub(super) struct Axes {
    pub free: Vec<Vary>,
    fixed: Vec<Vary>,
}

/// Reads `[vary]`. Axes whose key is overridden are left out; those of which an override chooses a value
/// (`vary.AXIS=LABEL`) are fixed.
pub(super) fn read<'t>(
    file: &DeTable<'t>,
    overrides: &mut Vec<Override<'t>>,
    sources: &Sources,
    log: &mut Log,
) -> Axes {
    let mut axes = Axes {
        free: axes(file, sources, log),
        fixed: Vec::new(),
    };
    axes.free
        .retain(|axis| overrides.iter().all(|o| o.key != axis.key.get_ref()));
    overrides.retain(|change| {
        let Some(axis) = change.key.strip_prefix(CHOICE) else {
            return true;
        };
        if let Err(found) = axes.fix(axis, change, sources) {
            log.push(found);
        }
        false
    });
    disjoint(file, &axes.free, log);
    axes
}

impl Axes {
    fn fix(&mut self, name: &str, change: &Override<'_>, sources: &Sources) -> Result<(), Found> {
        let Some(at) = self.free.iter().position(|a| a.key.get_ref() == name) else {
            let known = self.free.iter().map(|a| a.key.get_ref().as_str());
            let found = Found::at(change.key_span.clone(), format!("nothing varies `{name}`"));
            return Err(found.help(suggest(name, known)));
        };
        let written = sources.slice(change.value.span()).unwrap_or_default();
        let label = unquoted(written);
        let axis = &self.free[at];
        let Some(value) = axis.values.iter().find(|v| v.label == label) else {
            let known = axis.values.iter().map(|v| v.label.as_str());
            let message = format!("`{name}` has no value `{label}`");
            return Err(Found::at(change.value.span(), message).help(suggest(label, known)));
        };
        let value = value.clone();
        let mut fixed = self.free.remove(at);
        fixed.values = vec![value];
        self.fixed.push(fixed);
        Ok(())
    }

    /// The file with the first value of every axis, or value `choice.1` of the free axis `choice.0`, and
    /// then with the overrides.
    pub(super) fn document<'t>(
        &self,
        file: &DeTable<'t>,
        choice: Option<(usize, usize)>,
        overrides: &[Override<'t>],
        log: &mut Log,
    ) -> DeTable<'t> {
        let mut document = file.clone();
        for axis in &self.fixed {
            put(&mut document, file, axis, 0, log);
        }
        for (number, axis) in self.free.iter().enumerate() {
            let index = choice.map_or(0, |(of, index)| if of == number { index } else { 0 });
            put(&mut document, file, axis, index, log);
        }
        for change in overrides {
            if let Err(found) = set::put(
                &mut document,
                change.key,
                change.key_span.clone(),
                change.value.clone(),
            ) {
                log.push(found);
            }
        }
        document
    }

    /// Checks the values that are not in force: each alone, in the place of the first.
    pub(super) fn check_others<'t>(
        &self,
        file: &DeTable<'t>,
        overrides: &[Override<'t>],
        own: &'static Own,
        log: &mut Log,
    ) {
        let clean = log.is_empty();
        for (number, axis) in self.free.iter().enumerate() {
            for (index, varied) in axis.values.iter().enumerate().skip(1) {
                let (mut found, span) = (Log::default(), varied.text.span());
                let changed = self.document(file, Some((number, index)), overrides, &mut found);
                let other = sections::model(&changed, Vec::new(), own, &mut found);
                validate::check(&other, &mut found);
                match found.first_message() {
                    None => {}
                    Some(message) if clean && !found.any_inside(&span) => {
                        let message = format!("the scenario is wrong with this value: {message}");
                        log.push(Found::at(span, message));
                    }
                    Some(_) => log.adopt(found, &span),
                }
            }
        }
    }
}

/// Notes when there are too many combinations.
pub(super) fn variants_allowed(model: &Model, log: &mut Log) {
    let count = model
        .vary
        .iter()
        .fold(1_usize, |n, v| n.saturating_mul(v.values.len()));
    if let Some(last) = model.vary.last().filter(|_| count > VARIANTS_MAX) {
        let message = format!("{count} combinations; at most {VARIANTS_MAX} are compared");
        log.push(Found::at(last.key.span(), message).label("with this key"));
    }
}

/// Gives an axis these values, or adds one that has them; see [`super::Scenario::varied`].
pub(super) fn replace(axes: &mut Vec<Vary>, key: &str, values: &[String]) -> Result<(), String> {
    let place = axes.iter().position(|axis| axis.key.get_ref() == key);
    let mut taken: Vec<Varied> = Vec::new();
    for value in values {
        let label = unquoted(value);
        if taken.iter().any(|other| other.label == label) {
            return Err(format!("`{key}` has the value `{label}` twice"));
        }
        let of_file = place.and_then(|at| {
            let mut known = axes[at].values.iter();
            known.find(|known| known.label == label)
        });
        taken.push(match of_file {
            Some(known) => known.clone(),
            None if place.is_some_and(|at| axes[at].bundles) => {
                return Err(format!("`{key}` has no value `{label}`"));
            }
            None => Varied {
                label: label.to_owned(),
                text: Spanned::new(0..0, value.clone()),
                index: 0,
            },
        });
    }
    match place {
        Some(at) => axes[at].values = taken,
        None => axes.push(Vary {
            key: Spanned::new(0..0, key.to_owned()),
            bundles: false,
            values: taken,
        }),
    }
    match axes
        .iter()
        .try_fold(1_usize, |n, axis| n.checked_mul(axis.values.len()))
    {
        Some(count) if count <= VARIANTS_MAX => Ok(()),
        _ => Err(format!("at most {VARIANTS_MAX} combinations are compared")),
    }
}

/// A value as it is written, without its quotes.
fn unquoted(text: &str) -> &str {
    text.trim_matches(['"', '\''])
}

fn axes(file: &DeTable<'_>, sources: &Sources, log: &mut Log) -> Vec<Vary> {
    let Some(value) = file.get("vary") else {
        return Vec::new();
    };
    let DeValue::Table(table) = value.get_ref() else {
        read::expected(value, "a table of keys with lists of values", log);
        return Vec::new();
    };
    let mut all = Vec::new();
    for (key, value) in read::in_order(table) {
        if value.get_ref().is_table() {
            let found = Found::at(key.span(), "a varied key is written in quotes");
            log.push(found.help(r#"for example "group.home.picker" = ["random", "sequential"]"#));
            continue;
        }
        let members = read::list(value, "a list of values", log);
        if members.is_empty() && value.get_ref().is_array() {
            log.push(Found::at(value.span(), "there is no value to take").label("empty"));
        }
        let bundles = !key.get_ref().contains('.') && keys::ROOT.find(key.get_ref()).is_none();
        let values: Vec<Varied> = members
            .iter()
            .enumerate()
            .filter_map(|(index, member)| {
                let text = sources.slice(member.span())?.to_owned();
                let label = if bundles {
                    bundle_name(&key, member, log)?
                } else {
                    unquoted(&text).to_owned()
                };
                let text = Spanned::new(member.span(), text);
                Some(Varied { label, text, index })
            })
            .collect();
        for (i, value) in values.iter().enumerate() {
            if let Some(first) = values[..i].iter().find(|v| v.label == value.label) {
                let found =
                    Found::at(value.text.span(), "this value is there twice").label("again here");
                log.push(found.and(first.text.span(), "first here"));
            }
        }
        if !values.is_empty() {
            all.push(Vary {
                key,
                bundles,
                values,
            });
        }
    }
    all
}

/// The name of a bundle; notes what is wrong with its form.
fn bundle_name(axis: &Spanned<String>, member: &Value<'_>, log: &mut Log) -> Option<String> {
    let example = r#"{ name = "random", "group.home.picker" = "random" }"#;
    let DeValue::Table(table) = member.get_ref() else {
        let message = format!("`{}` is no key of a scenario", axis.get_ref());
        let found = Found::at(member.span(), message).label("only a value");
        log.push(found.help(format!(
            "a value under a word of your own is a table with a name and the keys it sets: {example}"
        )));
        return None;
    };
    let Some(name) = table.get("name") else {
        let found = Found::at(
            member.span(),
            "`name` is missing: what is it called in tables?",
        );
        log.push(found.label("in this table").help(example));
        return None;
    };
    for (key, value) in read::in_order(table) {
        // An unquoted dotted key makes tables in each other.
        if key.get_ref() != "name" && !key.get_ref().contains('.') && value.get_ref().is_table() {
            let found = Found::at(key.span(), "a key that a value sets is written in quotes");
            log.push(found.help(example));
        }
    }
    let name = read::text(name, log)?;
    if name.get_ref().trim().is_empty() {
        log.push(Found::at(name.span(), "a name has letters"));
        return None;
    }
    Some(name.into_inner())
}

/// The keys that a value sets, with what it sets them to.
fn settings<'d, 't>(
    file: &'d DeTable<'t>,
    axis: &Vary,
    index: usize,
) -> Vec<(Spanned<String>, &'d Value<'t>)> {
    let value = file.get("vary").and_then(|vary| {
        let list = vary
            .get_ref()
            .as_table()?
            .get(axis.key.get_ref().as_str())?;
        list.get_ref().as_array()?.get(index)
    });
    let Some(value) = value else {
        return Vec::new();
    };
    match value.get_ref() {
        DeValue::Table(table) if axis.bundles => read::in_order(table)
            .into_iter()
            .filter(|(key, _)| key.get_ref() != "name")
            .collect(),
        _ => vec![(axis.key.clone(), value)],
    }
}

fn put<'t>(
    document: &mut DeTable<'t>,
    file: &DeTable<'t>,
    axis: &Vary,
    number: usize,
    log: &mut Log,
) {
    let Some(varied) = axis.values.get(number) else {
        return;
    };
    for (key, value) in settings(file, axis, varied.index) {
        if let Err(found) = set::put(document, key.get_ref(), key.span(), value.clone()) {
            log.push(found);
        }
    }
}

/// Notes keys that two axes set: the combination would depend on their order.
fn disjoint(file: &DeTable<'_>, axes: &[Vary], log: &mut Log) {
    let mut seen: Vec<(usize, Spanned<String>)> = Vec::new();
    for (number, axis) in axes.iter().enumerate() {
        for varied in &axis.values {
            for (key, _) in settings(file, axis, varied.index) {
                let same = |(other, k): &&(usize, Spanned<String>)| {
                    *other != number && k.get_ref() == key.get_ref()
                };
                if let Some((_, first)) = seen.iter().find(same) {
                    let message = format!("`{}` is varied twice", key.get_ref());
                    let found = Found::at(key.span(), message).label("again here");
                    log.push(found.and(first.span(), "first here"));
                }
                seen.push((number, key));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Scenario;

    const FILE: &str = r#"
name = "tiny"
[torrent]
size = "1 MiB"
[[group]]
name = "seed"
role = "seed"
up = "1 MiB/s"
down = "1 MiB/s"
[[group]]
name = "home"
role = "leecher"
up = "1 MiB/s"
down = "1 MiB/s"
[vary]
"group.home.count" = [2, 4]
way = [
  { name = "slow and picky", "group.home.up" = "64 KiB/s", "group.home.picker" = "random" },
  { name = "many slots", "engine.upload_slots" = 9 },
]
"#;

    fn messages(from: &str, to: &str, set: &[(&str, &str)]) -> Vec<(String, String)> {
        assert!(FILE.contains(from), "`{from}` is in the file");
        let text = FILE.replacen(from, to, 1);
        let own = |s: &(&str, &str)| (s.0.to_owned(), s.1.to_owned());
        let set: Vec<_> = set.iter().map(own).collect();
        match Scenario::parse_with("tiny.toml", &text, &set) {
            Ok(_) => Vec::new(),
            Err(errors) => {
                let shown = |span: std::ops::Range<usize>| text.get(span).unwrap_or("").to_owned();
                let problems = errors.problems.into_iter();
                problems.map(|p| (p.message, shown(p.span))).collect()
            }
        }
    }

    #[test]
    fn a_bundle_sets_its_keys_together_and_leaves_nothing_behind() {
        let scenario = Scenario::parse("tiny.toml", FILE).expect("right");
        let variants = scenario.variants();
        let labels: Vec<_> = variants.iter().map(|v| v.label.as_str()).collect();
        let expected = [
            "2, slow and picky",
            "2, many slots",
            "4, slow and picky",
            "4, many slots",
        ];
        assert_eq!(labels, expected);
        let home = |s: &Scenario| s.expand(0).hosts[1].clone();
        let first = home(&scenario);
        assert_eq!(
            (first.link.up, first.picker.name.as_str()),
            (65_536, "random")
        );
        assert_ne!(first.engine.upload_slots, 9);
        let last = scenario.with(&variants[3].set).expect("right");
        let home = home(&last);
        assert_eq!(
            (home.link.up, home.picker.name.as_str()),
            (1_048_576, "rarest-first"),
            "nothing of the first bundle is left"
        );
        assert_eq!(home.engine.upload_slots, 9);
        assert_eq!((last.expand(0).hosts.len(), last.variants().len()), (5, 1));
        assert_eq!(variants[3].choices[1], ("way".into(), "many slots".into()));
    }

    #[test]
    fn a_value_is_chosen_by_its_label_and_an_override_wins_over_it() {
        let set = [
            ("vary.way".to_owned(), "many slots".to_owned()),
            ("engine.upload_slots".to_owned(), "3".to_owned()),
            ("vary.group.home.count".to_owned(), "4".to_owned()),
        ];
        let scenario = Scenario::parse_with("tiny.toml", FILE, &set).expect("right");
        let plan = scenario.expand(0);
        assert_eq!(
            (plan.hosts.len(), plan.hosts[1].engine.upload_slots),
            (5, 3)
        );
        assert_eq!(scenario.variants().len(), 1);
        for (set, says) in [
            (("vary.wya", "1"), "nothing varies `wya`"),
            (("vary.way", "many"), "`way` has no value `many`"),
        ] {
            let found = messages("tiny", "tiny", &[set]);
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].0, says);
        }
    }

    #[test]
    fn what_is_wrong_in_a_bundle_is_found_where_it_stands() {
        let message = |m: &str, place: &str| vec![(m.to_owned(), place.to_owned())];
        let name = "`name` is missing: what is it called in tables?";
        let table = r#"{ "engine.upload_slots" = 9 }"#;
        for (from, to, found) in [
            (
                r#"upload_slots" = 9"#,
                r#"upload_slots" = -9"#,
                message("this field cannot be negative", "-9"),
            ),
            (
                r#""engine.upload_slots" = 9"#,
                r#""group.hime.up" = "1 MiB/s""#,
                message("there is no `hime` in `group`", r#""group.hime.up""#),
            ),
            (r#"name = "many slots", "#, "", message(name, table)),
            (
                "many slots",
                "slow and picky",
                message(
                    "this value is there twice",
                    r#"{ name = "slow and picky", "engine.upload_slots" = 9 }"#,
                ),
            ),
            (
                r#""engine.upload_slots" = 9"#,
                r#""group.home.count" = 9"#,
                message(
                    "`group.home.count` is varied twice",
                    r#""group.home.count""#,
                ),
            ),
            (
                r#"{ name = "many slots", "engine.upload_slots" = 9 }"#,
                "9",
                message("`way` is no key of a scenario", "9"),
            ),
            (
                r#""engine.upload_slots" = 9"#,
                "engine.upload_slots = 9",
                message("a key that a value sets is written in quotes", "engine"),
            ),
        ] {
            let seen = messages(from, to, &[]);
            assert_eq!(seen.first(), found.first(), "{to}: {seen:?}");
        }
    }
}

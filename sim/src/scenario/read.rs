//! Owns reading single values out of a TOML table with their places.
//!
//! Invariant: a reader never stops: what is wrong goes to the log, and the reading goes on, so that
//! one look at the errors is enough. Every key that a file may hold is in [`super::keys`]; every
//! other key is an error.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::Keys;
use super::problem::{Found, Log, nearest};
use super::units::UnitError;

/// A value of the file with its place.
pub(super) type Value<'t> = Spanned<DeValue<'t>>;

/// What a value is called in messages.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Notes that a value is of the wrong kind.
pub(super) fn expected(value: &Value<'_>, wanted: &str, log: &mut Log) {
    let message = format!("expected {wanted}, found {}", kind(value.get_ref()));
    log.push(Found::at(value.span(), message));
}

/// Notes what a unit's reader said.
pub(super) fn refused(span: Range<usize>, error: UnitError, log: &mut Log) {
    log.push(Found::at(span, error.message).help(error.help));
}

/// A whole number from 0 to `max`; `what` is its name in messages.
pub(super) fn whole(
    value: &Value<'_>,
    what: &str,
    max: u64,
    log: &mut Log,
) -> Option<Spanned<u64>> {
    let DeValue::Integer(integer) = value.get_ref() else {
        expected(value, "a whole number", log);
        return None;
    };
    match i128::from_str_radix(integer.as_str(), integer.radix()) {
        Ok(n @ 0..) if n <= i128::from(max) => Some(Spanned::new(
            value.span(),
            u64::try_from(n).expect("checked"),
        )),
        Ok(n) if n < 0 => {
            let found = Found::at(value.span(), format!("{what} cannot be negative"));
            log.push(found.help("write a whole number, 0 or more"));
            None
        }
        _ => {
            let found = Found::at(
                value.span(),
                format!("{what} cannot be as large as {integer}"),
            );
            log.push(found.help(format!("at most {max}")));
            None
        }
    }
}

/// A plain number, 0 or more, with or without a fraction.
pub(super) fn number(value: &Value<'_>, what: &str, log: &mut Log) -> Option<Spanned<f64>> {
    let text = match value.get_ref() {
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        _ => {
            expected(value, &format!("a number for {what}"), log);
            return None;
        }
    };
    let read = text.replace('_', "").parse::<f64>();
    let number = read.ok().filter(|n| n.is_finite() && *n >= 0.0);
    if number.is_none() {
        let found = Found::at(value.span(), format!("{what} cannot be {text}"));
        log.push(found.help("write a number such as 1.25, 0 or more"));
    }
    Some(Spanned::new(value.span(), number?))
}

/// A quantity with a unit. A bare number gets the unit's own message.
pub(super) fn quantity<T>(
    value: &Value<'_>,
    wanted: &str,
    parse: impl Fn(&str) -> Result<T, UnitError>,
    log: &mut Log,
) -> Option<Spanned<T>> {
    let text = match value.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        _ => {
            expected(value, wanted, log);
            return None;
        }
    };
    match parse(&text) {
        Ok(_) if !value.get_ref().is_str() => {
            expected(value, wanted, log);
            None
        }
        Ok(quantity) => Some(Spanned::new(value.span(), quantity)),
        Err(error) => {
            refused(value.span(), error, log);
            None
        }
    }
}

/// Any string.
pub(super) fn text(value: &Value<'_>, log: &mut Log) -> Option<Spanned<String>> {
    match value.get_ref() {
        DeValue::String(text) => Some(Spanned::new(value.span(), text.to_string())),
        _ => {
            expected(value, "a string", log);
            None
        }
    }
}

/// The members of a list.
pub(super) fn list<'d, 't>(value: &'d Value<'t>, wanted: &str, log: &mut Log) -> &'d [Value<'t>] {
    match value.get_ref() {
        DeValue::Array(members) => members,
        _ => {
            expected(value, wanted, log);
            &[]
        }
    }
}

/// Entries of a table in the order of the file.
pub(super) fn in_order<'d, 't>(table: &'d DeTable<'t>) -> Vec<(Spanned<String>, &'d Value<'t>)> {
    let mut entries: Vec<_> = table
        .iter()
        .map(|(key, value)| (Spanned::new(key.span(), key.get_ref().to_string()), value))
        .collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// A table whose keys are known.
pub(super) struct Fields<'d, 't> {
    keys: &'static Keys,
    entries: &'d DeTable<'t>,
}

impl<'d, 't> Fields<'d, 't> {
    /// Opens a table; notes keys that it may not have and required ones that it lacks.
    pub fn open(keys: &'static Keys, value: &'d Value<'t>, log: &mut Log) -> Option<Self> {
        let DeValue::Table(entries) = value.get_ref() else {
            expected(value, &format!("a table, {}", keys.table), log);
            return None;
        };
        Some(Fields::of(keys, entries, value.span(), log))
    }

    /// As [`Fields::open`], for a table at this place.
    pub fn of(
        keys: &'static Keys,
        entries: &'d DeTable<'t>,
        span: Range<usize>,
        log: &mut Log,
    ) -> Self {
        for (key, _) in in_order(entries) {
            if keys.find(key.get_ref()).is_none() {
                log.push(unknown_key(keys, &key));
            }
        }
        for key in keys
            .keys
            .iter()
            .filter(|k| k.required && !entries.contains_key(k.name))
        {
            let message = format!("`{}` is missing in {}", key.name, keys.table);
            let first = key
                .doc
                .split_inclusive(". ")
                .next()
                .unwrap_or(key.doc)
                .trim_end();
            let help = format!("`{}`: {first}", key.name);
            log.push(
                Found::at(span.clone(), message)
                    .label("in this table")
                    .help(help),
            );
        }
        Fields { keys, entries }
    }

    /// The value of a key.
    ///
    /// # Panics
    /// When the key is not in the table of keys.
    pub fn get(&self, name: &str) -> Option<&'d Value<'t>> {
        assert!(
            self.keys.find(name).is_some(),
            "`{name}` is a key of {}",
            self.keys.table
        );
        self.entries.get(name)
    }

    /// The place of a key that is there.
    pub fn key_span(&self, name: &str) -> Option<Range<usize>> {
        self.entries.get_key_value(name).map(|(key, _)| key.span())
    }

    /// Any string.
    pub fn text(&self, name: &str, log: &mut Log) -> Option<Spanned<String>> {
        self.get(name).and_then(|value| text(value, log))
    }

    /// `true` or `false`.
    pub fn switch(&self, name: &str, log: &mut Log) -> Option<Spanned<bool>> {
        let value = self.get(name)?;
        match value.get_ref() {
            DeValue::Boolean(on) => Some(Spanned::new(value.span(), *on)),
            _ => {
                expected(value, "true or false", log);
                None
            }
        }
    }

    /// A whole number from 0 to `max`.
    pub fn whole(&self, name: &str, max: u64, log: &mut Log) -> Option<Spanned<u64>> {
        self.get(name)
            .and_then(|value| whole(value, &format!("`{name}`"), max, log))
    }

    /// A quantity with a unit.
    pub fn quantity<T>(
        &self,
        name: &str,
        wanted: &str,
        parse: impl Fn(&str) -> Result<T, UnitError>,
        log: &mut Log,
    ) -> Option<Spanned<T>> {
        self.get(name)
            .and_then(|value| quantity(value, wanted, parse, log))
    }

    /// One of some words.
    pub fn word<T: Copy>(
        &self,
        name: &str,
        known: &[(&str, T)],
        later: &[&str],
        log: &mut Log,
    ) -> Option<Spanned<T>> {
        let written = self.text(name, log)?;
        match known.iter().find(|(word, _)| word == written.get_ref()) {
            Some((_, meaning)) => Some(Spanned::new(written.span(), *meaning)),
            None => {
                let words = known.iter().map(|(word, _)| *word);
                log.push(unknown_word(&format!("`{name}`"), &written, words, later));
                None
            }
        }
    }
}

/// A key that its table does not have.
fn unknown_key(keys: &Keys, key: &Spanned<String>) -> Found {
    let written = key.get_ref();
    let found = |message: String| Found::at(key.span(), message);
    if keys.later.contains(&written.as_str()) {
        return found(format!(
            "`{written}` is not supported yet in {}",
            keys.table
        ))
        .label("not supported yet")
        .help("this version does not have it; see CHANGELOG.md");
    }
    let known: Vec<&str> = keys.keys.iter().map(|k| k.name).collect();
    let help = match nearest(written, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known keys: {}", known.join(", ")),
    };
    found(format!("unknown key `{written}` in {}", keys.table))
        .label("unknown key")
        .help(help)
}

/// A word that is none of the known ones.
pub(super) fn unknown_word<'k>(
    what: &str,
    written: &Spanned<String>,
    known: impl IntoIterator<Item = &'k str> + Clone,
    later: &[&str],
) -> Found {
    let word = written.get_ref();
    if later.contains(&word.as_str()) {
        return Found::at(
            written.span(),
            format!("`{word}` is not supported yet as {what}"),
        )
        .label("not supported yet")
        .help(format!(
            "known: {}",
            known.into_iter().collect::<Vec<_>>().join(", ")
        ));
    }
    Found::at(written.span(), format!("unknown {what}: `{word}`"))
        .label("unknown")
        .help(super::problem::suggest(word, known))
}

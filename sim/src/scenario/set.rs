//! Owns changing one value of a scenario before it is read: `--set KEY=VALUE`, and the same for the
//! values of `[vary]`.
//!
//! Invariant: a changed value keeps the place where it was written (the override or the `[vary]`
//! list), so that an error in it points there and not at the value it replaced.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

use super::problem::{Found, Log, Sources, suggest};
use super::read::{Value, kind};

/// Splits `KEY=VALUE` as the command line gives it.
///
/// # Errors
/// The text of what is wrong: no `=`, or no key.
pub fn split(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err(format!(
            r#"`{text}` is not KEY=VALUE, for example group.home.up="4 Mbit/s""#
        )),
    }
}

/// One override as it was given.
#[derive(Clone, Debug)]
pub(super) struct Override<'t> {
    /// The dotted key.
    pub key: &'t str,
    /// Its place.
    pub key_span: Range<usize>,
    /// The value, with its place.
    pub value: Value<'t>,
}

/// Reads one override. The value is TOML; what is no TOML is taken as a string, because shells
/// take the quotes away.
pub(super) fn read<'t>(
    (key, value): (&'t str, &'t str),
    sources: &mut Sources,
    log: &mut Log,
) -> Option<Override<'t>> {
    let start = sources.add("--set", &format!("{key}={value}"));
    let from = start + key.len() + 1;
    let typed = match DeValue::parse(value) {
        Ok(typed) => shift(typed, from),
        Err(error) if value.starts_with(['[', '{', '"', '\'']) => {
            let span = error
                .span()
                .map_or(from..from + value.len(), |s| s.start + from..s.end + from);
            log.push(Found::at(
                span,
                format!("this value is no TOML: {}", error.message()),
            ));
            return None;
        }
        Err(_) => Spanned::new(from..from + value.len(), DeValue::String(value.into())),
    };
    Some(Override {
        key,
        key_span: start..start + key.len(),
        value: typed,
    })
}

/// Moves the places of a value by `by` bytes.
fn shift(value: Value<'_>, by: usize) -> Value<'_> {
    let moved = |span: Range<usize>| span.start + by..span.end + by;
    let span = moved(value.span());
    let inner = match value.into_inner() {
        DeValue::Array(members) => DeValue::Array(
            members
                .into_iter()
                .map(|v| shift(v, by))
                .collect::<DeArray<'_>>(),
        ),
        DeValue::Table(table) => DeValue::Table(
            table
                .into_iter()
                .map(|(k, v)| (Spanned::new(moved(k.span()), k.into_inner()), shift(v, by)))
                .collect(),
        ),
        scalar => scalar,
    };
    Spanned::new(span, inner)
}

/// Puts a value under a dotted key: `group.NAME.up`, `engine.upload_slots`, `fault.crash.0.at`,
/// `expect.completion.max`. Tables that are missing on the way are made.
pub(super) fn put<'t>(
    document: &mut DeTable<'t>,
    key: &str,
    key_span: Range<usize>,
    value: Value<'t>,
) -> Result<(), Found> {
    let mut path: Vec<&str> = key.split('.').map(str::trim).collect();
    if path.iter().any(|part| part.is_empty()) {
        return Err(Found::at(key_span, format!("`{key}` is not a dotted key")));
    }
    match path[0] {
        "vary" => return Err(Found::at(key_span, "`vary` itself cannot be set")),
        // A metric's name has dots of its own.
        "expect" if path.len() > 2 => {
            path = vec!["expect", &key[key.find('.').map_or(0, |i| i + 1)..]]
        }
        _ => {}
    }
    let (last, way) = path.split_last().expect("split gives at least one part");
    let mut table = document;
    let mut rest = way;
    while let [step, tail @ ..] = rest {
        if !table.contains_key(*step) {
            let made = Spanned::new(key_span.clone(), DeValue::Table(DeTable::new()));
            table.insert(name(step, &key_span), made);
        }
        let next = table.get_mut(*step).expect("made when missing").get_mut();
        (table, rest) = match next {
            DeValue::Table(inner) => (inner, tail),
            DeValue::Array(members) => match tail {
                [which, tail @ ..] => (member(members, step, which, &key_span)?, tail),
                [] => return Err(needs_member(members, step, &key_span)),
            },
            other => {
                let message = format!(
                    "`{step}` in `{key}` is {}: nothing can be set in it",
                    kind(other)
                );
                return Err(Found::at(key_span, message));
            }
        };
    }
    if let Some(DeValue::Array(members)) = table.get(*last).map(Spanned::get_ref)
        && members.iter().any(|m| m.get_ref().is_table())
        && !value.get_ref().is_array()
    {
        return Err(needs_member(members, last, &key_span));
    }
    table.remove(*last);
    table.insert(name(last, &key_span), value);
    Ok(())
}

fn name<'t>(part: &str, span: &Range<usize>) -> Spanned<DeString<'t>> {
    Spanned::new(span.clone(), part.to_owned().into())
}

fn names(members: &[Value<'_>]) -> Vec<String> {
    let named = |(i, member): (usize, &Value<'_>)| {
        let name = member.get_ref().as_table().and_then(|t| t.get("name"));
        name.and_then(|n| n.get_ref().as_str())
            .map_or_else(|| i.to_string(), str::to_owned)
    };
    members.iter().enumerate().map(named).collect()
}

fn needs_member(members: &[Value<'_>], list: &str, span: &Range<usize>) -> Found {
    let help = format!(
        "`{list}` is a list; name one of: {}",
        names(members).join(", ")
    );
    Found::at(span.clone(), format!("which `{list}`?")).help(help)
}

fn member<'d, 't>(
    members: &'d mut DeArray<'t>,
    list: &str,
    which: &str,
    span: &Range<usize>,
) -> Result<&'d mut DeTable<'t>, Found> {
    let names = names(members);
    let position = names
        .iter()
        .position(|name| name == which)
        .or_else(|| which.parse().ok());
    match position
        .and_then(|i| members.get_mut(i))
        .map(Spanned::get_mut)
    {
        Some(DeValue::Table(table)) => Ok(table),
        _ => {
            let found = Found::at(span.clone(), format!("there is no `{which}` in `{list}`"));
            Err(found.help(suggest(which, names.iter().map(String::as_str))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "[run]\nsettle = \"1 min\"\n[[group]]\nname = \"home\"\ncount = 3\n[[group]]\nname = \"seed\"\n";

    /// What the document holds at a path of keys after an override; or the error's message.
    fn check(key: &str, value: &str, path: &[&str]) -> String {
        let mut document = DeTable::parse(FILE).expect("good TOML").into_inner();
        let (mut sources, mut log) = (Sources::new("a.toml", FILE), Log::default());
        if let Some(change) = read((key, value), &mut sources, &mut log)
            && let Err(found) = put(&mut document, key, change.key_span, change.value)
        {
            log.push(found);
        }
        if let Some(message) = log.first_message() {
            return message.to_owned();
        }
        let mut at = &Spanned::new(0..0, DeValue::Table(document));
        for step in path {
            at = match at.get_ref() {
                DeValue::Array(members) => &members[step.parse::<usize>().expect("an index")],
                inner => inner.as_table().and_then(|t| t.get(*step)).expect("a key"),
            };
        }
        let text = sources.slice(at.span()).expect("a place");
        format!("{} {text}", kind(at.get_ref()))
    }

    #[test]
    fn values_are_put_where_the_key_says() {
        assert_eq!(
            check("group.home.up", "4 Mbit/s", &["group", "0", "up"]),
            "a string 4 Mbit/s"
        );
        assert_eq!(
            check("group.seed.up", "\"4 Mbit/s\"", &["group", "1", "up"]),
            "a string \"4 Mbit/s\""
        );
        assert_eq!(
            check("group.1.count", "8", &["group", "1", "count"]),
            "a whole number 8"
        );
        assert_eq!(
            check("engine.upload_slots", "8", &["engine", "upload_slots"]),
            "a whole number 8"
        );
        assert_eq!(
            check("run.settle", "2 min", &["run", "settle"]),
            "a string 2 min"
        );
        assert_eq!(
            check("run.seeds", "[1, 2]", &["run", "seeds"]),
            "a list [1, 2]"
        );
        assert_eq!(
            check(
                "group.home.arrive.poisson",
                "1 per 1 s",
                &["group", "0", "arrive", "poisson"]
            ),
            "a string 1 per 1 s"
        );
        assert_eq!(
            check(
                "expect.completion.max",
                "<= 2 x bound",
                &["expect", "completion.max"]
            ),
            "a string <= 2 x bound"
        );
    }

    #[test]
    fn false_keys_say_what_is_wrong() {
        assert_eq!(
            check("group.hime.up", "1", &[]),
            "there is no `hime` in `group`"
        );
        assert_eq!(check("group", "1", &[]), "which `group`?");
        assert_eq!(
            check("group..up", "1", &[]),
            "`group..up` is not a dotted key"
        );
        assert_eq!(
            check("run.settle.x", "1", &[]),
            "`settle` in `run.settle.x` is a string: nothing can be set in it"
        );
        assert!(check("run.seeds", "[1, ", &[]).starts_with("this value is no TOML"));
        assert_eq!(check("vary.x", "[1]", &[]), "`vary` itself cannot be set");
    }

    #[test]
    fn an_argument_is_split_at_its_first_equals_sign() {
        assert_eq!(split("a.b=<= 2"), Ok(("a.b".to_owned(), "<= 2".to_owned())));
        assert!(split("a.b").is_err());
        assert!(split("=1").is_err());
    }
}

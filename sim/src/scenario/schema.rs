//! Owns the JSON Schema of scenario files (draft 7), which editors use to complete and check while
//! one types.
//!
//! Invariant: built from the same tables that the reader uses (`keys`, `strategies`, `metrics`, the
//! engine's fields) and from nothing else, so that it cannot promise another language.

use std::time::Duration;

use serde_json::{Map, Value, json};
use skep_engine::config::{FIELDS, Field, FieldKind};

use super::keys::{COMPARE, Form, Keys, ROOT};
use super::metrics::{METRICS, SOMETIMES};
use super::strategies::{Family, Param, ParamForm};
use super::units::show_duration;
use crate::check::NAMES;
use crate::own::{self, Own};

const NUMBER: &str = r"[0-9]+(\.[0-9]+)?";
const TIME: &str = r"([0-9]+(\.[0-9]+)? ?[a-z]+ ?)+";

/// The schema, as committed in `scenarios/schema.json`.
#[must_use]
pub fn schema() -> Value {
    schema_with(&own::NONE)
}

/// The schema of a program that has strategies and attacks of its own.
#[must_use]
pub fn schema_with(own: &'static Own) -> Value {
    let mut schema = table(&ROOT, own);
    let map = schema.as_object_mut().expect("a table is an object");
    map.insert(
        "$schema".to_owned(),
        json!("http://json-schema.org/draft-07/schema#"),
    );
    map.insert("title".to_owned(), json!("Skep scenario"));
    schema
}

fn table(keys: &Keys, own: &'static Own) -> Value {
    let mut properties = Map::new();
    for key in keys.keys {
        properties.insert(key.name.to_owned(), described(form(key.form, own), key.doc));
    }
    let required: Vec<&str> = keys
        .keys
        .iter()
        .filter(|k| k.required)
        .map(|k| k.name)
        .collect();
    object(properties, &required)
}

fn object(properties: Map<String, Value>, required: &[&str]) -> Value {
    let mut schema =
        json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn described(mut schema: Value, doc: &str) -> Value {
    schema["description"] = json!(doc);
    schema
}

fn pattern(pattern: &str, examples: &[&str]) -> Value {
    json!({ "type": "string", "pattern": format!("^ *{pattern} *$"), "examples": examples })
}

fn form(form: Form, own: &'static Own) -> Value {
    match form {
        Form::Text => json!({ "type": "string" }),
        Form::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Form::Seeds => json!({ "anyOf": [
            pattern(r"[0-9]+ *\.\. *[0-9]+", &["0..8"]),
            { "type": "array", "items": { "type": "integer", "minimum": 0 }, "minItems": 1 },
        ] }),
        Form::Words(words, _) => json!({ "enum": words }),
        Form::Switch => json!({ "type": "boolean" }),
        Form::Whole => json!({ "type": "integer", "minimum": 0 }),
        Form::Wholes => json!({ "type": "array", "items": { "type": "integer", "minimum": 0 } }),
        Form::Size => size(),
        Form::Duration => duration(),
        Form::DurationRange => pattern(&format!(r"{TIME}\.\. *{TIME}"), &["30 s .. 3 min"]),
        Form::Rate => rate(),
        Form::Percent => percent(),
        Form::Frequency => frequency(),
        Form::Selector => selector(),
        Form::Selectors => {
            json!({ "type": "array", "items": selector(), "minItems": 2, "maxItems": 2 })
        }
        Form::Added => pattern(&format!(r"\+ *{TIME}"), &["+200 ms"]),
        Form::Regions => json!({
            "type": "object",
            "additionalProperties": { "type": "object", "additionalProperties": duration() },
        }),
        Form::Strategy(family) => strategy(family, own),
        Form::Name(family) => names(family, own),
        Form::Mix(family) => mix(family, own),
        Form::Params(family) => {
            let params = own.members(family).flat_map(|named| named.params);
            object(params.map(param).collect(), &[])
        }
        Form::Table(keys) => table(keys, own),
        Form::Tables(keys) => json!({ "type": "array", "items": table(keys, own), "minItems": 1 }),
        Form::OneOf(forms) => {
            json!({ "anyOf": forms.iter().map(|f| self::form(*f, own)).collect::<Vec<_>>() })
        }
        Form::Engine => object(FIELDS.iter().map(engine_field).collect(), &[]),
        Form::Vary => json!({
            "type": "object",
            "additionalProperties": { "type": "array", "minItems": 1 },
        }),
        Form::Expect => expect(own),
    }
}

fn selector() -> Value {
    json!({ "type": "string", "examples": ["honest", "home[0..20]", "25% of home"] })
}

fn size() -> Value {
    pattern(
        &format!("{NUMBER} *([kMG]?B|[KMG]iB)"),
        &["64 KiB", "1.5 MB"],
    )
}

fn rate() -> Value {
    pattern(
        &format!("{NUMBER} *([kMG]?bit|[kMG]?B|[KMG]iB)/s"),
        &["10 Mbit/s", "200 kB/s", "1 MiB/s"],
    )
}

fn duration() -> Value {
    pattern(TIME, &["250 ms", "5 min", "1 h 30 min"])
}

fn frequency() -> Value {
    pattern(
        &format!("[0-9]+ per {TIME}"),
        &["1 per 10 min", "4 per 1 s"],
    )
}

fn percent() -> Value {
    pattern(&format!("{NUMBER} *%"), &["0.5%", "30%"])
}

fn names(family: &Family, own: &'static Own) -> Value {
    let words = own
        .members(family)
        .map(|n| described(json!({ "const": n.name }), n.doc));
    json!({ "oneOf": words.collect::<Vec<_>>() })
}

fn strategy(family: &Family, own: &'static Own) -> Value {
    let mut forms = vec![names(family, own)];
    for named in own.members(family) {
        let mut properties: Map<String, Value> = named.params.iter().map(param).collect();
        properties.insert(
            "name".to_owned(),
            described(json!({ "const": named.name }), named.doc),
        );
        forms.push(object(properties, &["name"]));
    }
    json!({ "anyOf": forms })
}

/// Each name with its share, or with a table of its share and its parameters.
fn mix(family: &Family, own: &'static Own) -> Value {
    let members = own.members(family).map(|named| {
        let mut properties: Map<String, Value> = named.params.iter().map(param).collect();
        let doc = "Its share of the members.";
        properties.insert("share".to_owned(), described(percent(), doc));
        let forms = json!({ "anyOf": [percent(), object(properties, &["share"])] });
        (named.name.to_owned(), described(forms, named.doc))
    });
    object(members.collect(), &[])
}

fn param(param: &Param) -> (String, Value) {
    let (form, default) = match param.form {
        ParamForm::Whole => (
            json!({ "type": "integer", "minimum": 0 }),
            format!("{}", param.default),
        ),
        ParamForm::Number => (
            json!({ "type": "number", "minimum": 0 }),
            format!("{}", param.default),
        ),
        ParamForm::Percent => (percent(), format!("{}%", param.default / 1e4)),
        ParamForm::Duration => {
            let default = Duration::from_nanos(param.default as u64);
            (duration(), show_duration(default))
        }
        ParamForm::Size => (size(), format!("{} B", param.default)),
        ParamForm::Rate => (rate(), format!("{} B/s", param.default)),
        ParamForm::Frequency => {
            let gap = Duration::from_nanos(param.default as u64);
            (frequency(), format!("1 per {}", show_duration(gap)))
        }
    };
    (
        param.name.to_owned(),
        described(form, &format!("{}. Default: {default}.", param.doc)),
    )
}

fn engine_field(field: &Field) -> (String, Value) {
    let form = match field.kind {
        FieldKind::Duration => duration(),
        FieldKind::Bytes => size(),
        FieldKind::Rate => rate(),
        FieldKind::Count => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
        FieldKind::Switch => json!({ "type": "boolean" }),
        FieldKind::Choice(words) => json!({ "enum": words }),
        FieldKind::Addresses => json!({ "type": "array", "items": { "type": "string" } }),
    };
    (field.name.to_owned(), described(form, field.doc.trim()))
}

/// Exact names as properties, names with a group as patterns.
fn expect(own: &'static Own) -> Value {
    let words: Vec<Value> = SOMETIMES
        .iter()
        .map(|s| described(json!({ "const": s.word }), s.doc))
        .collect();
    let mut properties = Map::new();
    properties.insert(
        "complete".to_owned(),
        described(
            pattern("(all|any|none) .+", &["all honest"]),
            "So many of these peers hold the whole content at the end.",
        ),
    );
    properties.insert(
        "sometimes".to_owned(),
        described(
            json!({ "type": "array", "items": { "oneOf": words } }),
            "Must happen at least once over all seeds.",
        ),
    );
    let checks = json!({ "type": "array", "items": { "enum": NAMES } });
    let doc = "Invariants that must have been put to the test in every run, else it is vacuous.";
    properties.insert("checks".to_owned(), described(checks, doc));
    let compare = json!({ "type": "array", "items": table(&COMPARE, own), "minItems": 1 });
    let doc = "What `skep compare` must show of two values of [vary].";
    properties.insert("compare".to_owned(), described(compare, doc));
    let mut patterns = Map::new();
    for metric in METRICS {
        let limit = || {
            let doc = format!("{}. Written {}.", metric.doc, metric.unit.example());
            described(pattern("(<=?|>=?|==) *.+", &[]), &doc)
        };
        let escaped = metric.name.replace('.', r"\.");
        let stats = match metric.stats {
            [] => String::new(),
            stats => format!(r"\.({})", stats.join("|")),
        };
        if metric.stats.is_empty() {
            properties.insert(metric.name.to_owned(), limit());
        }
        for stat in metric.stats {
            properties.insert(format!("{}.{stat}", metric.name), limit());
        }
        if metric.per_group {
            patterns.insert(format!(r"^{escaped}{stats}\.[a-z][a-z0-9-]*$"), limit());
        }
    }
    let mut schema = object(properties, &[]);
    schema["patternProperties"] = Value::Object(patterns);
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_fields_and_every_key_are_in_it() {
        let schema = schema();
        for field in FIELDS {
            let found = &schema["properties"]["engine"]["properties"][field.name];
            assert!(found["description"].is_string(), "{}", field.name);
        }
        for key in ROOT.keys {
            assert!(schema["properties"][key.name].is_object(), "{}", key.name);
        }
        assert_eq!(schema["required"], json!(["name", "torrent", "group"]));
    }
}

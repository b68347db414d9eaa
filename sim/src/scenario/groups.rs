//! Owns reading `[[group]]`: who is in the swarm, how they come and go, what they run.
//!
//! Invariant: as in [`super::sections`]: problems go to the log, the reading goes on.

use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::model::{Churn, Group, Have, Stay, Strategy};
use super::plan::{OnComplete, Role};
use super::problem::{Found, Log};
use super::read::{self, Fields, Value};
use super::sections;
use super::strategies::{ATTACKS, CHOKERS, Family, Named, PICKERS, ParamForm};
use super::units::{self, MILLION};
use super::{arrivals, attacks, faults, keys};
use crate::canary::CANARIES;
use crate::own::{self, Own};

const ROLES: &[(&str, Role)] = &[
    ("seed", Role::Seed),
    ("leecher", Role::Leecher),
    ("server", Role::Server),
    ("client", Role::Client),
    ("attacker", Role::Attacker),
];

const METAINFO: &[(&str, bool)] = &[("file", false), ("magnet", true)];

/// Reads all groups. One that has no readable name or role is left out.
pub(super) fn groups(value: &Value<'_>, own: &'static Own, log: &mut Log) -> Vec<Group> {
    let members = read::list(value, "[[group]]", log);
    members
        .iter()
        .filter_map(|member| group(member, own, log))
        .collect()
}

fn group(value: &Value<'_>, own: &'static Own, log: &mut Log) -> Option<Group> {
    let fields = Fields::open(&keys::GROUP, value, log)?;
    let name = fields.text("name", log);
    let role = fields.word("role", ROLES, &[], log);
    let count = fields.whole("count", u64::from(u32::MAX), log);
    if let Some(role) = role
        .as_ref()
        .filter(|role| *role.get_ref() == Role::Attacker)
        && fields.get("attack").is_none()
    {
        let known = ATTACKS.known.iter().map(|n| n.name);
        let found = Found::at(role.span(), "an attacker needs an `attack`");
        log.push(found.help(format!("known: {}", known.collect::<Vec<_>>().join(", "))));
    }
    let with = fields.get("with");
    let attack = fields
        .get("attack")
        .and_then(|v| attacks::read(v, with, own, log));
    let mut rate = |name| {
        fields
            .quantity(name, "a rate", units::rate, log)
            .map_or(1, Spanned::into_inner)
    };
    let (up, down) = (rate("up"), rate("down"));
    let group = Group {
        name: name.unwrap_or_else(|| Spanned::new(value.span(), String::new())),
        role: role.unwrap_or_else(|| Spanned::new(value.span(), Role::Leecher)),
        count: count.map(|n| Spanned::new(n.span(), u32::try_from(*n.get_ref()).expect("checked"))),
        up,
        down,
        link: sections::link(&fields, log),
        region: fields.text("region", log),
        have: fields.get("have").and_then(|v| have(v, log)),
        picker: fields
            .get("picker")
            .and_then(|v| strategy(v, &PICKERS, own, log)),
        choker: fields
            .get("choker")
            .and_then(|v| strategy(v, &CHOKERS, own, log)),
        arrive: fields.get("arrive").and_then(|v| arrivals::read(v, log)),
        churn: fields.get("churn").and_then(|v| churn(v, log)),
        on_complete: fields.get("on_complete").and_then(|v| on_complete(v, log)),
        disk: fields.get("disk").and_then(|v| {
            let speed = faults::disk_speed(&Fields::open(&keys::faults::GROUP_DISK, v, log)?, log);
            Some(Spanned::new(v.span(), speed))
        }),
        web_seed: fields.switch("web_seed", log),
        magnet: fields.word("metainfo", METAINFO, &[], log),
        canary: fields.text("canary", log).and_then(|name| {
            named(&name, &CANARIES, &own::NONE, log)?;
            Some(name)
        }),
        attack,
        with: with.map(|with| Spanned::new(with.span(), ())),
        from: fields.quantity("from", "a duration", units::duration, log),
        until: fields.quantity("until", "a duration", units::duration, log),
        engine: fields
            .get("engine")
            .map_or_else(Vec::new, |v| sections::engine(v, log)),
    };
    Some(group)
}

fn have(value: &Value<'_>, log: &mut Log) -> Option<Spanned<Have>> {
    let have = if value.get_ref().is_array() {
        let members = read::list(value, "a list of pieces", log);
        let mut pieces: Vec<u32> = members
            .iter()
            .filter_map(|piece| read::whole(piece, "a piece", u64::from(u32::MAX), log))
            .map(|piece| u32::try_from(piece.into_inner()).expect("checked"))
            .collect();
        pieces.sort_unstable();
        pieces.dedup();
        Have::Pieces(pieces)
    } else {
        let wanted = r#"a share such as "50%" or a list of pieces"#;
        Have::Share(read::quantity(value, wanted, units::percent, log)?.into_inner())
    };
    Some(Spanned::new(value.span(), have))
}

/// A member of a family by name: ours, or one of the user's own.
pub(super) fn named(
    name: &Spanned<String>,
    family: &Family,
    own: &'static Own,
    log: &mut Log,
) -> Option<&'static Named> {
    let known = own.members(family);
    let found = known.clone().find(|n| n.name == name.get_ref());
    if found.is_none() {
        let known = known.map(|n| n.name);
        log.push(read::unknown_word(family.what, name, known, &[]));
    }
    found
}

/// `"random"` or `{ name = "rarest-first", random_first = 0 }`.
fn strategy(
    value: &Value<'_>,
    family: &Family,
    own: &'static Own,
    log: &mut Log,
) -> Option<Spanned<Strategy>> {
    let DeValue::Table(table) = value.get_ref() else {
        let name = read::text(value, log)?;
        let named = named(&name, family, own, log)?;
        return Some(Spanned::new(
            value.span(),
            Strategy {
                named,
                params: Vec::new(),
            },
        ));
    };
    let Some(name) = table.get("name") else {
        let found = Found::at(
            value.span(),
            format!("`name` is missing in this {}", family.what),
        );
        log.push(
            found
                .label("in this table")
                .help(format!(r#"{{ name = "{}" }}"#, family.default)),
        );
        return None;
    };
    let name = read::text(name, log)?;
    let named = named(&name, family, own, log)?;
    let given = read::in_order(table)
        .into_iter()
        .filter(|(key, _)| key.get_ref() != "name");
    let params = given
        .filter_map(|(key, value)| param(key, value, named, log))
        .collect();
    Some(Spanned::new(value.span(), Strategy { named, params }))
}

/// One parameter of a strategy or an attack.
pub(super) fn param(
    key: Spanned<String>,
    value: &Value<'_>,
    named: &Named,
    log: &mut Log,
) -> Option<(Spanned<String>, Spanned<f64>)> {
    let Some(param) = named.params.iter().find(|p| p.name == key.get_ref()) else {
        let message = format!("`{}` has no parameter `{}`", named.name, key.get_ref());
        let known = named.params.iter().map(|p| p.name);
        let found = Found::at(key.span(), message).label("unknown parameter");
        log.push(if named.params.is_empty() {
            found.help(format!("`{}` takes no parameters", named.name))
        } else {
            found.help(super::problem::suggest(key.get_ref(), known))
        });
        return None;
    };
    let number = match param.form {
        ParamForm::Whole => {
            read::whole(value, &format!("`{}`", param.name), u64::from(MILLION), log)?.into_inner()
                as f64
        }
        ParamForm::Number => read::number(value, &format!("`{}`", param.name), log)?.into_inner(),
        ParamForm::Percent => {
            f64::from(read::quantity(value, "a percentage", units::percent, log)?.into_inner())
        }
        ParamForm::Duration => {
            let time = read::quantity(value, "a duration", units::duration, log)?.into_inner();
            if time < Duration::from_millis(1) {
                let message = format!("`{}` is at least 1 ms", param.name);
                log.push(Found::at(value.span(), message));
                return None;
            }
            time.as_nanos() as f64
        }
        ParamForm::Size => read::quantity(value, "a size", units::size, log)?.into_inner() as f64,
        ParamForm::Rate => read::quantity(value, "a rate", units::rate, log)?.into_inner() as f64,
        ParamForm::Frequency => {
            let often = read::quantity(value, "a frequency", units::frequency, log)?;
            often.get_ref().mean_gap().as_nanos() as f64
        }
    };
    Some((key, Spanned::new(value.span(), number)))
}

fn churn(value: &Value<'_>, log: &mut Log) -> Option<Spanned<Churn>> {
    let fields = Fields::open(&keys::CHURN, value, log)?;
    let session = fields.get("session").and_then(|v| stay(v, log));
    let rejoin = fields.quantity("rejoin", "a percentage", units::percent, log);
    let away = fields.quantity("away", "a range of durations", units::duration_range, log);
    let rejoin = rejoin.map_or(MILLION, Spanned::into_inner);
    if rejoin > 0 && fields.get("away").is_none() {
        let found = Found::at(
            value.span(),
            "`away` is missing: how long do they stay away?",
        );
        let help = r#"add `away = "30 s .. 3 min"`, or `rejoin = "0%"` if they never come back"#;
        log.push(found.label("in this table").help(help));
    }
    let churn = Churn {
        session: session?,
        rejoin,
        away: away.map(Spanned::into_inner),
    };
    Some(Spanned::new(value.span(), churn))
}

fn stay(value: &Value<'_>, log: &mut Log) -> Option<Stay> {
    let help =
        r#"{ exponential = "12 min" }, { uniform = "1 min .. 5 min" } or { fixed = "3 min" }"#;
    let fields = Fields::open(&keys::SESSION, value, log)?;
    let exponential = fields.quantity("exponential", "a duration", units::duration, log);
    let uniform = fields.quantity(
        "uniform",
        "a range of durations",
        units::duration_range,
        log,
    );
    let fixed = fields.quantity("fixed", "a duration", units::duration, log);
    let given = keys::SESSION
        .keys
        .iter()
        .filter(|key| fields.get(key.name).is_some())
        .count();
    if given != 1 {
        let found = Found::at(value.span(), "a session has exactly one length");
        log.push(found.help(help));
        return None;
    }
    let stay = match (exponential, uniform, fixed) {
        (Some(mean), ..) => Stay::Exponential(mean.into_inner()),
        (_, Some(range), _) => Stay::Uniform(range.get_ref().0, range.get_ref().1),
        (_, _, Some(fixed)) => Stay::Fixed(fixed.into_inner()),
        _ => return None,
    };
    if matches!(
        stay,
        Stay::Exponential(Duration::ZERO) | Stay::Fixed(Duration::ZERO)
    ) {
        log.push(Found::at(value.span(), "a session lasts longer than zero"));
        return None;
    }
    Some(stay)
}

fn on_complete(value: &Value<'_>, log: &mut Log) -> Option<Spanned<OnComplete>> {
    if value.get_ref().is_table() {
        let fields = Fields::open(&keys::SEED_FOR, value, log)?;
        let time = fields.quantity("seed_for", "a duration", units::duration, log)?;
        return Some(Spanned::new(
            value.span(),
            OnComplete::SeedFor(time.into_inner()),
        ));
    }
    let word = read::text(value, log)?;
    match word.get_ref().as_str() {
        "stay" => Some(Spanned::new(value.span(), OnComplete::Stay)),
        "leave" => Some(Spanned::new(value.span(), OnComplete::Leave)),
        _ => {
            let mut found = read::unknown_word("`on_complete`", &word, ["stay", "leave"], &[]);
            found.help = Some(r#"write "stay", "leave" or { seed_for = "2 min" }"#.to_owned());
            log.push(found);
            None
        }
    }
}

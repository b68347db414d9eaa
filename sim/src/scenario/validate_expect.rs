//! Owns which expectations can be met at all.
//!
//! Invariant: only what no run of the scenario could ever show is refused; what is merely unlikely is
//! the author's to expect.

use super::expect::{Difference, Expectation, ExpectationKind, Limit, Quantity, Reference};
use super::faults::FaultBody;
use super::metrics::MetricName;
use super::model::{Group, Model, Vary};
use super::plan::Role;
use super::problem::{Found, Log, suggest};
use super::selector::{Base, Selector};
use super::validate;

/// Checks all expectations.
pub(super) fn expectations(model: &Model, log: &mut Log) {
    for expectation in &model.expect {
        let checked = match &expectation.kind {
            ExpectationKind::Complete { quantity, who } => {
                complete(model, expectation, *quantity, who)
            }
            ExpectationKind::Metric { metric, limit } => {
                metric_limit(model, expectation, metric, limit)
            }
            ExpectationKind::Compare { metric, by, .. } => compared(model, expectation, metric, by),
            ExpectationKind::Checks(_) => Ok(()),
            ExpectationKind::Sometimes(word) => sometimes(model, expectation, word),
        };
        if let Err(found) = checked {
            log.push(found);
        }
    }
}

fn impossible(expectation: &Expectation, why: impl Into<String>) -> Found {
    Found::at(
        expectation.span.clone(),
        format!("`{}` can never hold", expectation.name),
    )
    .label("impossible")
    .help(why)
}

fn of_role(model: &Model, role: Role) -> impl Iterator<Item = &Group> {
    model
        .groups
        .iter()
        .filter(move |g| *g.role.get_ref() == role && g.size() > 0)
}

fn complete(
    model: &Model,
    expectation: &Expectation,
    quantity: Quantity,
    who: &Selector,
) -> Result<(), Found> {
    validate::base(&who.base, expectation.span.clone(), model)?;
    let meant = |group: &&Group| match &who.base {
        Base::Group { name, .. } => group.name.get_ref() == name,
        Base::Attackers => false,
        Base::All | Base::Honest => true,
    };
    let any = |of: fn(Role) -> bool| {
        let present = model.groups.iter().filter(|g| g.size() > 0);
        present.filter(|g| of(*g.role.get_ref())).any(|g| meant(&g))
    };
    let whole = any(Role::whole);
    if !whole && !any(Role::takes) {
        let found = Found::at(
            expectation.span.clone(),
            "attackers do not complete anything",
        );
        return Err(found.help(r#"name honest peers: "all honest""#));
    }
    if whole && quantity == Quantity::None {
        return Err(impossible(
            expectation,
            "seeds or servers among them have everything from the start",
        ));
    }
    Ok(())
}

fn metric_limit(
    model: &Model,
    expectation: &Expectation,
    metric: &MetricName,
    limit: &Limit,
) -> Result<(), Found> {
    measurable(model, expectation, metric)?;
    let (low, high) = range(model, metric, limit);
    if limit.comparison.possible(limit.number, low, high) {
        return Ok(());
    }
    let why = match (limit.reference, metric.metric.name) {
        (Some(Reference::Bound), _) if low > 0.0 => {
            "no swarm finishes before its physical limit: the number must allow 1 x bound"
                .to_owned()
        }
        (_, "banned") => format!("there are {high} attackers to ban"),
        (_, "false_bans") => "an invariant keeps it at 0 anyway".to_owned(),
        _ if high.is_finite() => format!("its values lie between {low} and {high}"),
        _ => format!("its values are {low} or more"),
    };
    Err(impossible(expectation, why))
}

/// What no comparison can show is refused: nothing is better by more than all of it where less is better.
fn compared(
    model: &Model,
    expectation: &Expectation,
    metric: &MetricName,
    by: &Difference,
) -> Result<(), Found> {
    measurable(model, expectation, metric)?;
    let most = if metric.more_is_better() {
        f64::INFINITY
    } else {
        1.0
    };
    match by.possible(most) {
        true => Ok(()),
        false => Err(impossible(
            expectation,
            "nothing is better by more than 100%",
        )),
    }
}

/// Whether `better` and `than` of every comparison are two values of one key of `[vary]`. Only of a file as it is:
/// what a command line changes may hold such a key at one value.
pub(super) fn comparisons(model: &Model, log: &mut Log) {
    for expectation in &model.expect {
        let ExpectationKind::Compare { better, than, .. } = &expectation.kind else {
            continue;
        };
        let both = |axis: &&Vary| {
            let has = |label: &String| axis.values.iter().any(|value| value.label == *label);
            has(better) && has(than) && better != than
        };
        if !model.vary.iter().any(|axis| both(&axis)) {
            let message =
                format!("`{better}` and `{than}` are not two values of one key of [vary]");
            let labels = model.vary.iter().flat_map(|axis| &axis.values);
            let labels: Vec<&str> = labels.map(|value| value.label.as_str()).collect();
            let found = Found::at(expectation.span.clone(), message).label("compared here");
            log.push(found.help(format!("its values: {}", labels.join(", "))));
        }
    }
}

/// Whether the scenario can have a value of a metric.
fn measurable(model: &Model, expectation: &Expectation, metric: &MetricName) -> Result<(), Found> {
    let name = metric.metric.name;
    if let Some(group) = &metric.group {
        let names = model.groups.iter().map(|g| g.name.get_ref().as_str());
        let Some(found) = model.groups.iter().find(|g| g.name.get_ref() == group) else {
            let found = Found::at(
                expectation.span.clone(),
                format!("there is no group `{group}`"),
            );
            return Err(found
                .label("of this expectation")
                .help(suggest(group, names)));
        };
        let role = *found.role.get_ref();
        if !measured_of(name, role) {
            let message = format!("`{name}` is not measured of {}", role.word());
            return Err(Found::at(expectation.span.clone(), format!("{message}s"))
                .label("of this expectation"));
        }
    }
    let attacked = of_role(model, Role::Attacker).next().is_some();
    if matches!(name, "ban" | "attack.cost") && !attacked {
        return Err(impossible(expectation, "there are no attackers"));
    }
    if name == "server.uploaded" && of_role(model, Role::Server).next().is_none() {
        return Err(impossible(expectation, "there is no server"));
    }
    Ok(())
}

/// Whether a group of this role can have a value of a metric.
fn measured_of(metric: &str, role: Role) -> bool {
    match role {
        Role::Attacker => matches!(
            metric,
            "banned"
                | "ban"
                | "attack.cost"
                | "downloaded"
                | "closed"
                | "connected"
                | "slots"
                | "told"
                | "completion"
        ),
        Role::Server => matches!(metric, "utilisation" | "control"),
        Role::Client => matches!(metric, "completion" | "first_block" | "wasted"),
        Role::Seed | Role::Leecher => !matches!(
            metric,
            "banned" | "ban" | "attack.cost" | "closed" | "connected" | "slots"
        ),
    }
}

/// The smallest and the largest value that the metric can have, in units of the limit's number.
fn range(model: &Model, metric: &MetricName, limit: &Limit) -> (f64, f64) {
    let last = metric.metric.name == "completion" && metric.stat == Some("max");
    // Only the last completion of the whole swarm is bounded (catalogue.md, section 5).
    if last && metric.group.is_none() && limit.reference == Some(Reference::Bound) {
        return (1.0, f64::INFINITY);
    }
    if metric.metric.name == "banned" {
        let meant = |g: &&Group| {
            metric
                .group
                .as_ref()
                .is_none_or(|name| g.name.get_ref() == name)
        };
        let sizes = of_role(model, Role::Attacker)
            .filter(meant)
            .map(|g| f64::from(g.size()));
        return (0.0, sizes.sum());
    }
    if metric.stat == Some("jain") {
        return (0.0, 1.0);
    }
    (0.0, metric.metric.max.unwrap_or(f64::INFINITY))
}

fn sometimes(model: &Model, expectation: &Expectation, word: &str) -> Result<(), Found> {
    let attacked = of_role(model, Role::Attacker).next().is_some();
    let comes_back = model
        .faults
        .iter()
        .any(|f| f.kind.down().is_some_and(|d| d.is_some()) || f.kind.joins())
        || model
            .groups
            .iter()
            .any(|g| g.churn.as_ref().is_some_and(|c| c.get_ref().rejoin > 0));
    let fetched = of_role(model, Role::Client).next().is_some();
    let served = attacked || of_role(model, Role::Server).next().is_some();
    let fault = |is: fn(&FaultBody) -> bool| model.faults.iter().any(|f| is(&f.kind));
    let stalls = fault(|kind| {
        let cuts = matches!(kind, FaultBody::Partition { .. });
        cuts || matches!(kind, FaultBody::PowerLoss { .. })
    });
    let resets = model.link.reset.is_some()
        || model.groups.iter().any(|g| g.link.reset.is_some())
        || fault(|kind| matches!(kind, FaultBody::Reset { .. }));
    let magnets = model
        .groups
        .iter()
        .any(|g| g.magnet.as_ref().is_some_and(|m| *m.get_ref()));
    match word {
        "metadata-complete" | "metadata-failed" if !magnets => Err(impossible(
            expectation,
            r#"everybody has the metainfo file: no group has `metainfo = "magnet"`"#,
        )),
        "peer-banned" if !attacked => Err(impossible(expectation, "there are no attackers to ban")),
        "fetch-retried" | "fetch-started-over" | "server-fail-over" if !fetched => {
            Err(impossible(expectation, "there are no clients"))
        }
        "web-seed-used" | "web-seed-failed" if !served => {
            Err(impossible(expectation, "there are no servers"))
        }
        "resumed" if !comes_back => Err(impossible(expectation, "nobody leaves and comes back")),
        "connection-reset" if !resets => Err(impossible(
            expectation,
            "no link has a `reset`, and no fault is one",
        )),
        "connection-stalled" | "connection-resumed" | "connection-timed-out" if !stalls => Err(
            impossible(expectation, "there is no partition and no power loss"),
        ),
        _ => Ok(()),
    }
}

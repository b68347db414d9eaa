//! Owns `[tracker]` and `[[tracker]]`: how they are read, what they must be, and what peers make of
//! them.
//!
//! Invariant: a scenario has at least one tracker, no two of the same name, and each answers at some
//! moment or never by its author's wish.

use std::time::Duration;

use toml::Spanned;

use super::keys;
use super::model::{Model, Tracker};
use super::plan::{TrackerPlan, TrackerProtocol};
use super::problem::{Found, Log};
use super::read::{self, Fields, Value};
use super::selector::is_group_name;
use super::units::{self, show_duration};
use skep_engine::Now;

/// Trackers that one scenario may have: what an engine asks at most by default.
const TRACKERS_MAX: usize = 64;
/// Highest tier.
const TIER_MAX: u64 = 100;

/// Reads the trackers; one with every default when the file has none.
pub(super) fn trackers(value: Option<&Value<'_>>, log: &mut Log) -> Vec<Tracker> {
    let Some(value) = value else {
        return vec![Tracker::default()];
    };
    let tables = if value.get_ref().is_array() {
        read::list(value, "[[tracker]]", log)
    } else {
        std::slice::from_ref(value)
    };
    if tables.is_empty() || tables.len() > TRACKERS_MAX {
        let message = format!("a scenario has 1 to {TRACKERS_MAX} trackers");
        let found = Found::at(value.span(), message);
        log.push(found.help("leave `tracker` out for one with every default"));
    }
    tables.iter().filter_map(|v| tracker(v, log)).collect()
}

fn tracker(value: &Value<'_>, log: &mut Log) -> Option<Tracker> {
    let fields = Fields::open(&keys::TRACKER, value, log)?;
    let protocols = [
        ("http", TrackerProtocol::Http),
        ("udp", TrackerProtocol::Udp),
    ];
    let small = |n: Spanned<u64>| {
        let value = u32::try_from(*n.get_ref()).expect("read with a small limit");
        Spanned::new(n.span(), value)
    };
    let time = |name, log: &mut Log| fields.quantity(name, "a duration", units::duration, log);
    Some(Tracker {
        name: fields.text("name", log),
        protocol: fields.word("protocol", &protocols, &[], log),
        tier: fields.whole("tier", TIER_MAX, log).map(small),
        from: time("from", log),
        until: time("until", log),
        loss: fields.quantity("loss", "a share", units::percent, log),
        interval: time("interval", log),
        interval_min: time("interval_min", log),
        hold_floor: fields.switch("hold_floor", log),
        peers_max: fields.whole("peers_max", 10_000, log).map(small),
    })
}

/// Checks every tracker.
pub(super) fn check(model: &Model, log: &mut Log) {
    for (place, tracker) in model.trackers.iter().enumerate() {
        intervals(tracker, log);
        name(model, place, log);
        moments(tracker, model, log);
        if let Some(none) = tracker.peers_max.as_ref().filter(|n| *n.get_ref() == 0) {
            log.push(Found::at(
                none.span(),
                "a tracker that names no peers is of no use",
            ));
        }
    }
}

fn intervals(tracker: &Tracker, log: &mut Log) {
    for time in [&tracker.interval, &tracker.interval_min]
        .into_iter()
        .flatten()
    {
        if *time.get_ref() == Duration::ZERO {
            log.push(Found::at(time.span(), "an interval is longer than zero"));
        }
    }
    if let Some(floor) = &tracker.interval_min
        && *floor.get_ref() > tracker.interval()
    {
        let interval = show_duration(tracker.interval());
        let message = format!("this is above the interval of {interval}");
        log.push(Found::at(floor.span(), message));
    }
}

fn name(model: &Model, place: usize, log: &mut Log) {
    let Some(named) = &model.trackers[place].name else {
        return;
    };
    let name = named.get_ref();
    let others = model.trackers.iter().enumerate();
    let taken = others.filter(|(other, _)| *other != place);
    let taken = taken
        .map(|(other, tracker)| tracker.name(other))
        .any(|other| other == *name);
    let group = model.groups.iter().any(|g| g.name.get_ref() == name);
    if !is_group_name(name) {
        let found = Found::at(named.span(), format!("`{name}` cannot be a tracker's name"));
        log.push(found.help("write lower-case letters, digits and inner hyphens, a letter first"));
    } else if taken || group {
        let found = Found::at(named.span(), format!("something else is called `{name}`"));
        log.push(found.help("choose another name for the tracker"));
    }
}

fn moments(tracker: &Tracker, model: &Model, log: &mut Log) {
    let from = tracker
        .from
        .as_ref()
        .map_or(Duration::ZERO, |t| *t.get_ref());
    if let Some(until) = &tracker.until
        && *until.get_ref() <= from
        && (*until.get_ref() > Duration::ZERO || from > Duration::ZERO)
    {
        log.push(Found::at(
            until.span(),
            "the tracker must begin to answer before it ends",
        ));
    }
    let (limit, settle) = (model.run.time_limit(), model.run.settle());
    for time in [&tracker.from, &tracker.until].into_iter().flatten() {
        if time.get_ref().saturating_add(settle) > limit && settle <= limit {
            let message = format!(
                "the time limit is too short: a change of the tracker at {}, and {} to settle",
                show_duration(*time.get_ref()),
                show_duration(settle)
            );
            let found = Found::at(time.span(), message).label("too late");
            log.push(found.help(format!("the limit is {}", show_duration(limit))));
        }
    }
}

/// The plans of all trackers, in the order in which peers number them: by tier, then by place in the
/// file.
pub(super) fn plans(model: &Model) -> Vec<TrackerPlan> {
    let mut plans: Vec<TrackerPlan> = model
        .trackers
        .iter()
        .enumerate()
        .map(|(place, tracker)| TrackerPlan {
            name: tracker.name(place),
            protocol: tracker
                .protocol
                .as_ref()
                .map_or(TrackerProtocol::Http, |p| *p.get_ref()),
            tier: tracker.tier.as_ref().map_or(0, |t| *t.get_ref()),
            from: moment(tracker.from.as_ref()).unwrap_or(Now::START),
            until: moment(tracker.until.as_ref()),
            loss_ppm: tracker.loss.as_ref().map_or(0, |l| *l.get_ref()),
            interval: tracker.interval(),
            interval_min: tracker.interval_min(),
            hold_floor: tracker.hold_floor.as_ref().is_none_or(|on| *on.get_ref()),
            peers_max: tracker.peers_max.as_ref().map_or(50, |n| *n.get_ref()),
        })
        .collect();
    plans.sort_by_key(|plan| plan.tier);
    plans
}

fn moment(time: Option<&Spanned<Duration>>) -> Option<Now> {
    time.map(|time| Now::START.after(super::draw::whole_ms(*time.get_ref())))
}

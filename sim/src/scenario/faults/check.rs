//! Owns what faults must be beyond their form: that they hit somebody whom they can hit, at a moment at which
//! that means something.

use std::time::Duration;

use toml::Spanned;

use super::{DiskSpeed, Fault, FaultBody};
use crate::disk::condition::Speed;
use crate::scenario::model::{Group, Model};
use crate::scenario::plan::{DiskFault, Role, TrackerFault, TrackerProtocol, UserAction};
use crate::scenario::problem::{Found, Log, suggest};
use crate::scenario::selector::{Base, Selector};
use crate::scenario::validate;

/// Partitions that one scenario may have: the network has two bits of a word for each.
pub const PARTITIONS_MAX: usize = 32;

/// Checks every fault.
pub fn check(model: &Model, log: &mut Log) {
    for fault in &model.faults {
        if let Some(who) = &fault.who {
            validate::selector(who, model, log);
        }
        moments(fault, log);
        body(fault, model, log);
    }
    let partition = |f: &&Fault| matches!(f.kind, FaultBody::Partition { .. });
    if let Some(one) = model.faults.iter().filter(partition).nth(PARTITIONS_MAX) {
        let message = format!("a scenario has at most {PARTITIONS_MAX} partitions");
        log.push(Found::at(one.at.span(), message).label("one too many"));
    }
}

fn moments(fault: &Fault, log: &mut Log) {
    let early = *fault.at.get_ref() == Duration::ZERO;
    let needs_somebody = !matches!(
        fault.kind,
        FaultBody::Partition { .. } | FaultBody::Link { .. } | FaultBody::Tracker { .. }
    );
    if early && needs_somebody {
        let found = Found::at(fault.at.span(), "nobody is online yet at 0 s").label("too early");
        let words = fault.kind.words();
        log.push(found.help(format!("a {words} needs a moment after the first arrival")));
    }
    if let Some(lasts) = &fault.lasts
        && *lasts.get_ref() == Duration::ZERO
    {
        log.push(Found::at(lasts.span(), "a fault lasts longer than zero"));
    }
}

fn body(fault: &Fault, model: &Model, log: &mut Log) {
    match &fault.kind {
        FaultBody::Crash { .. } | FaultBody::PowerLoss { .. } | FaultBody::Restart { .. } => {}
        FaultBody::Link { .. } => {}
        FaultBody::Partition { between, .. } => sides(between, model, log),
        FaultBody::Reset { share } => {
            if *share.get_ref() == 0 {
                log.push(Found::at(share.span(), "this resets nothing"));
            }
        }
        FaultBody::Disk { mode, speed } => {
            slow(mode, speed, log);
            let (able, why) = match mode.get_ref() {
                DiskFault::Full => (
                    &[Role::Leecher, Role::Client][..],
                    "only who comes for content writes",
                ),
                DiskFault::Slow(_) => (
                    &[Role::Seed, Role::Leecher, Role::Client, Role::Server][..],
                    "attackers have no disk",
                ),
                DiskFault::ReadError => (
                    &[Role::Seed, Role::Leecher, Role::Server][..],
                    "a client only writes, and attackers have no disk",
                ),
                DiskFault::FlippedBit => (
                    &[Role::Seed, Role::Leecher][..],
                    "nobody hashes what a server or a client has, so nobody would notice",
                ),
            };
            able_hosts(fault, model, able, why, log);
            if *mode.get_ref() == DiskFault::FlippedBit
                && let Some(lasts) = &fault.lasts
            {
                let found = Found::at(lasts.span(), "a flipped bit stays as it is");
                log.push(found.help("leave `for` out"));
            }
        }
        FaultBody::Tracker { which, mode } => tracker(which.as_ref(), mode, model, log),
        FaultBody::User { action } => {
            let (able, why) = match action.get_ref() {
                UserAction::Pause | UserAction::Resume => (
                    &[Role::Seed, Role::Leecher][..],
                    "only a peer can be paused",
                ),
                UserAction::Leave | UserAction::Join => (
                    &[Role::Seed, Role::Leecher, Role::Client][..],
                    "servers and attackers have no user who comes and goes",
                ),
            };
            able_hosts(fault, model, able, why, log);
        }
    }
}

/// Members of groups, by the group's position: half-open ranges.
fn members(base: &Base, model: &Model) -> Vec<(usize, u32, u32)> {
    let groups = model.groups.iter().enumerate();
    let range = |(at, group): (usize, &crate::scenario::model::Group)| {
        let role = *group.role.get_ref();
        let all = Some((at, 0, group.size()));
        match base {
            Base::All => all,
            Base::Honest => all.filter(|_| role.honest()),
            Base::Attackers => all.filter(|_| role == Role::Attacker),
            Base::Group { name, members } => {
                let (low, high) = members.unwrap_or((0, group.size()));
                (group.name.get_ref() == name).then_some((at, low, high))
            }
        }
    };
    groups.filter_map(range).collect()
}

fn sides(between: &[Spanned<Selector>; 2], model: &Model, log: &mut Log) {
    for side in between {
        validate::selector(side, model, log);
    }
    let [a, b] = between;
    let of = |side: &Spanned<Selector>| members(&side.get_ref().base, model);
    let b_side = of(b);
    let shared = of(a).into_iter().any(|(group, low, high)| {
        let meets = |other: &(usize, u32, u32)| group == other.0 && low < other.2 && other.1 < high;
        b_side.iter().any(meets)
    });
    if shared {
        let found = Found::at(b.span(), "the sides of a partition have hosts in common");
        let found = found.label("overlaps").and(a.span(), "with this side");
        log.push(found.help(r#"name members: between = ["home[0..20]", "home[20..40]"]"#));
    }
}

fn slow(mode: &Spanned<DiskFault>, speed: &DiskSpeed, log: &mut Log) {
    let given = [
        speed.read.as_ref().map(Spanned::span),
        speed.write.as_ref().map(Spanned::span),
        speed.delay.as_ref().map(Spanned::span),
    ];
    let given = given.into_iter().flatten().next();
    match (mode.get_ref(), given) {
        (DiskFault::Slow(_), None) => {
            let found = Found::at(mode.span(), "how slow is the disk?");
            log.push(found.help(r#"add `write = "500 kB/s"`, `read` or `delay = "50 ms"`"#));
        }
        (DiskFault::Slow(speed), Some(span)) if *speed == Speed::default() => {
            log.push(Found::at(span, "this slows nothing down"));
        }
        (DiskFault::Slow(_), Some(_)) | (_, None) => {}
        (_, Some(span)) => {
            let found = Found::at(span, "only a slow disk has a speed");
            log.push(found.and(mode.span(), "this one is not slow"));
        }
    }
}

fn tracker(
    which: Option<&Spanned<String>>,
    mode: &Spanned<TrackerFault>,
    model: &Model,
    log: &mut Log,
) {
    let named = model.trackers.iter().enumerate();
    let mut named = named.map(|(place, tracker)| (tracker.name(place), tracker));
    let http = |t: &crate::scenario::model::Tracker| {
        let protocol = t.protocol.as_ref().map(|p| *p.get_ref());
        protocol != Some(TrackerProtocol::Udp)
    };
    let hit: Vec<_> = match which {
        None => named.collect(),
        Some(which) => match named.find(|(name, _)| name == which.get_ref()) {
            Some(found) => vec![found],
            None => {
                let names: Vec<String> = (0..model.trackers.len())
                    .map(|place| model.trackers[place].name(place))
                    .collect();
                let message = format!("there is no tracker `{}`", which.get_ref());
                let found = Found::at(which.span(), message).label("unknown tracker");
                let names = names.iter().map(String::as_str);
                return log.push(found.help(suggest(which.get_ref(), names)));
            }
        },
    };
    if mode.get_ref().needs_http() && !hit.iter().any(|(_, t)| http(t)) {
        let found = Found::at(mode.span(), "no HTTP tracker is hit by this");
        log.push(found.help("over UDP there is no such thing"));
    }
    let attacker = |group: &Group| *group.role.get_ref() == Role::Attacker;
    if *mode.get_ref() == TrackerFault::Eclipse && !model.groups.iter().any(attacker) {
        let found = Found::at(mode.span(), "there is no attacker whom it could name");
        log.push(found.help("add a group with `role = \"attacker\"`"));
    }
}

/// Every group that the fault selects must be able to do what it asks.
fn able_hosts(fault: &Fault, model: &Model, able: &[Role], why: &str, log: &mut Log) {
    let Some(who) = &fault.who else { return };
    let unable = members(&who.get_ref().base, model).into_iter().find(|m| {
        let role = *model.groups[m.0].role.get_ref();
        !able.contains(&role)
    });
    if let Some((group, ..)) = unable {
        let group = &model.groups[group];
        let message = format!(
            "{} cannot be hit by a {}",
            group.role.get_ref().article(),
            fault.kind.words()
        );
        let found = Found::at(who.span(), message).label("selects such hosts");
        log.push(found.and(group.role.span(), "of this role").help(why));
    }
}

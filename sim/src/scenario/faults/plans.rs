//! Owns what becomes of faults with a seed: whom each hits, when it begins and ends, and the stays that crashes,
//! power losses and restarts end.

use std::time::Duration;

use skep_engine::Now;

use super::{Fault, FaultBody};
use crate::scenario::draw;
use crate::scenario::model::Model;
use crate::scenario::plan::{
    EndKind, FaultKind, FaultPlan, HostPlan, LinkChange, SessionPlan, TrackerPlan, TrackerProtocol,
    UserAction,
};

/// The plans of all faults in the order of their moments; changes the stays of the hosts.
pub fn plans(
    model: &Model,
    trackers: &[TrackerPlan],
    hosts: &mut [HostPlan],
    seed: u64,
) -> Vec<FaultPlan> {
    let mut order: Vec<&Fault> = model.faults.iter().collect();
    order.sort_by_key(|fault| *fault.at.get_ref());
    let plan = |fault: &Fault| match (fault.kind.down(), &fault.kind) {
        (Some(down), _) => ends_stays(fault, down, hosts, seed),
        (None, FaultBody::User { action }) => user(fault, *action.get_ref(), hosts, seed),
        (None, _) => timed(fault, trackers, hosts, seed),
    };
    order.into_iter().map(plan).collect()
}

fn moment(time: Duration) -> Now {
    Now::START.after(draw::whole_ms(time))
}

fn chosen(fault: &Fault, hosts: &[HostPlan], seed: u64) -> Vec<usize> {
    let purpose = format!("plan/fault/{}", fault.name());
    let who = fault.who.as_ref();
    who.map_or_else(Vec::new, |who| who.get_ref().hosts(hosts, seed, &purpose))
}

/// A fault that its hosts' stays show.
fn ends_stays(
    fault: &Fault,
    down: Option<Duration>,
    hosts: &mut [HostPlan],
    seed: u64,
) -> FaultPlan {
    let at = moment(*fault.at.get_ref());
    let back = down.map(|down| at.after(draw::whole_ms(down).max(Duration::from_millis(1))));
    let (kind, end) = match fault.kind {
        FaultBody::PowerLoss { .. } => (FaultKind::PowerLoss, EndKind::PowerLoss),
        FaultBody::Restart { .. } => (FaultKind::Restart, EndKind::Crash),
        _ => (FaultKind::Crash, EndKind::Crash),
    };
    let mut hit = chosen(fault, hosts, seed);
    hit.retain(|position| end_stay(&mut hosts[*position].sessions, end, at, back));
    FaultPlan {
        name: fault.name(),
        at,
        until: back,
        hosts: hit,
        kind,
    }
}

/// A fault that begins and ends at its moments, whoever is online.
fn timed(fault: &Fault, trackers: &[TrackerPlan], hosts: &[HostPlan], seed: u64) -> FaultPlan {
    let at = *fault.at.get_ref();
    let until = fault
        .lasts
        .as_ref()
        .map(|lasts| moment(at.saturating_add(*lasts.get_ref())));
    let at = moment(at);
    let mut hit = chosen(fault, hosts, seed);
    let kind = match &fault.kind {
        FaultBody::Partition { between, direction } => {
            let side = |n: usize, word: &str| {
                let purpose = format!("plan/fault/{}/{word}", fault.name());
                between[n].get_ref().hosts(hosts, seed, &purpose)
            };
            let (a, b) = (side(0, "a"), side(1, "b"));
            hit = a.iter().chain(&b).copied().collect();
            hit.sort_unstable();
            FaultKind::Partition {
                a,
                b,
                direction: *direction,
            }
        }
        FaultBody::Link {
            up,
            down,
            latency,
            loss,
        } => FaultKind::Link(LinkChange {
            up: up.as_ref().map(|up| *up.get_ref()),
            down: down.as_ref().map(|down| *down.get_ref()),
            latency_extra: latency.as_ref().map_or(Duration::ZERO, |l| *l.get_ref()),
            loss_ppm: loss.as_ref().map(|loss| *loss.get_ref()),
        }),
        FaultBody::Reset { share } => FaultKind::Reset {
            share_ppm: *share.get_ref(),
        },
        FaultBody::Disk { mode, .. } => FaultKind::Disk(*mode.get_ref()),
        FaultBody::Tracker { which, mode } => {
            let all = trackers.iter().enumerate();
            let meant = |t: &TrackerPlan| {
                let able = !mode.get_ref().needs_http() || t.protocol == TrackerProtocol::Http;
                able && which.as_ref().is_none_or(|w| *w.get_ref() == t.name)
            };
            FaultKind::Tracker {
                which: all.filter(|(_, t)| meant(t)).map(|(n, _)| n).collect(),
                mode: *mode.get_ref(),
            }
        }
        FaultBody::Crash { .. }
        | FaultBody::PowerLoss { .. }
        | FaultBody::Restart { .. }
        | FaultBody::User { .. } => unreachable!("the caller looked"),
    };
    FaultPlan {
        name: fault.name(),
        at,
        until,
        hosts: hit,
        kind,
    }
}

/// What users do: those who come and go change their stays.
fn user(fault: &Fault, action: UserAction, hosts: &mut [HostPlan], seed: u64) -> FaultPlan {
    let at = moment(*fault.at.get_ref());
    let mut hit = chosen(fault, hosts, seed);
    hit.retain(|position| {
        let sessions = &mut hosts[*position].sessions;
        match action {
            UserAction::Leave => end_stay(sessions, EndKind::UserLeft, at, None),
            UserAction::Join => begin_stay(sessions, at),
            UserAction::Pause | UserAction::Resume => true,
        }
    });
    FaultPlan {
        name: fault.name(),
        at,
        until: None,
        hosts: hit,
        kind: FaultKind::User(action),
    }
}

/// Lets a host that is not online by plan at `at` join then: its next stay begins there, or it stays for good.
fn begin_stay(sessions: &mut Vec<SessionPlan>, at: Now) -> bool {
    let next = sessions.iter().position(|s| s.join > at);
    let before = &sessions[..next.unwrap_or(sessions.len())];
    if before
        .iter()
        .any(|s| s.end.is_none_or(|(end, _)| at <= end))
    {
        return false;
    }
    match next {
        Some(next) => sessions[next].join = at,
        None => sessions.push(SessionPlan {
            join: at,
            end: None,
        }),
    }
    true
}

/// Ends a host's stay at `at` if it is online by plan then: it joined before, and has not left.
/// Until `back` (or for ever) it is down, whatever else was planned.
fn end_stay(sessions: &mut Vec<SessionPlan>, how: EndKind, at: Now, back: Option<Now>) -> bool {
    let online = |s: &SessionPlan| s.join < at && s.end.is_none_or(|(end, _)| at < end);
    let Some(position) = sessions.iter().position(online) else {
        return false;
    };
    let rest = sessions.split_off(position);
    let ended = SessionPlan {
        join: rest[0].join,
        end: Some((at, how)),
    };
    sessions.push(ended);
    if let Some(back) = back {
        let later = rest.into_iter().map(|s| SessionPlan {
            join: s.join.max(back),
            ..s
        });
        sessions.extend(later.filter(|s| s.end.is_none_or(|(end, _)| s.join < end)));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        Now(seconds * 1_000_000_000)
    }

    fn stay(join: u64, end: Option<u64>) -> SessionPlan {
        SessionPlan {
            join: at(join),
            end: end.map(|end| (at(end), EndKind::Leave)),
        }
    }

    #[test]
    fn a_user_joins_where_nobody_is_and_the_next_stay_begins_then() {
        let planned = vec![stay(10, Some(20)), stay(30, None)];
        let after = |moment| {
            let mut sessions = planned.clone();
            (begin_stay(&mut sessions, at(moment)), sessions)
        };
        assert_eq!(after(5), (true, vec![stay(5, Some(20)), stay(30, None)]));
        assert_eq!(after(15), (false, planned.clone()));
        assert_eq!(after(25), (true, vec![stay(10, Some(20)), stay(25, None)]));
        assert_eq!(after(40), (false, planned.clone()));
        let mut gone = vec![stay(10, Some(20))];
        assert!(begin_stay(&mut gone, at(40)));
        assert_eq!(gone, [stay(10, Some(20)), stay(40, None)]);
    }

    #[test]
    fn a_crash_splits_the_stay_it_hits() {
        for how in [EndKind::Crash, EndKind::PowerLoss] {
            let ended = SessionPlan {
                join: at(0),
                end: Some((at(10), how)),
            };
            let planned = vec![stay(0, Some(20)), stay(30, None)];
            let after = |moment, back: Option<u64>| {
                let mut sessions = planned.clone();
                let hit = end_stay(&mut sessions, how, at(moment), back.map(at));
                (hit, sessions)
            };
            let with = |rest: &[SessionPlan]| (true, [&[ended], rest].concat());
            assert_eq!(
                after(10, Some(15)),
                with(&[stay(15, Some(20)), stay(30, None)])
            );
            assert_eq!(after(10, Some(25)), with(&[stay(30, None)]));
            assert_eq!(after(10, Some(35)), with(&[stay(35, None)]));
            assert_eq!(after(10, None), with(&[]));
            assert_eq!(after(25, None), (false, planned.clone()), "nobody is there");
        }
    }
}

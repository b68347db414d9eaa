//! Owns the evaluation of metrics and expectations over one outcome. The meanings are those of
//! [`crate::scenario::metrics::METRICS`].

use skep_engine::Now;

use crate::check::Failure;
use crate::outcome::{Outcome, PeerOutcome};
use crate::scenario::Plan;
use crate::scenario::expect::{ExpectationKind, Quantity, Reference};
use crate::scenario::metrics::MetricName;
use crate::scenario::plan::Role;
use crate::steady::steady;

/// The quantile of sorted values: the smallest that at least this share does not exceed.
#[must_use]
pub fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (share * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied()
}

fn statistic(mut values: Vec<f64>, stat: Option<&str>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    match stat? {
        "min" => values.first().copied(),
        "max" => values.last().copied(),
        "p50" => quantile(&values, 0.5),
        "p95" => quantile(&values, 0.95),
        "mean" if !values.is_empty() => Some(values.iter().sum::<f64>() / values.len() as f64),
        _ => None,
    }
}

/// Jain's index of fairness: 1 when all are equal, 1/n when one has everything.
fn jain(values: &[f64]) -> Option<f64> {
    let sum: f64 = values.iter().sum();
    let squares: f64 = values.iter().map(|v| v * v).sum();
    (squares > 0.0).then(|| sum * sum / (values.len() as f64 * squares))
}

/// The value of a metric, in its unit; `None` when the run has none (nobody completed, say).
#[must_use]
pub fn metric(outcome: &Outcome, name: &MetricName) -> Option<f64> {
    metric_since(outcome, name, |peer| peer.joined_s)
}

/// The same with times counted from this moment of each peer.
fn metric_since(
    outcome: &Outcome,
    name: &MetricName,
    from: fn(&PeerOutcome) -> f64,
) -> Option<f64> {
    let group = name.group.as_deref();
    let peers = || {
        let of_group = move |p: &&PeerOutcome| group.is_none_or(|g| p.group == g);
        outcome.peers.iter().filter(of_group)
    };
    let honest = || peers().filter(|p| p.honest());
    // A group of attackers that download has times too, when it is named.
    let attackers_named = group.is_some() && honest().next().is_none();
    let takers = || peers().filter(move |p| p.role.takes() || (attackers_named && !p.honest()));
    let times = |of: fn(&PeerOutcome) -> Option<f64>| {
        let since = takers().filter_map(|p| of(p).map(|at| at - from(p)));
        statistic(since.collect(), name.stat)
    };
    let received = || honest().filter(|p| p.downloaded > 0).count() as f64;
    let share_of_content = |of: fn(&PeerOutcome) -> u64| {
        let sum: u64 = honest().map(of).sum();
        let whole = received() * outcome.content_bytes as f64;
        (whole > 0.0).then(|| sum as f64 / whole)
    };
    match name.metric.name {
        "completion" => times(|p| p.completed_s),
        "first_block" => times(|p| p.first_block_s),
        "first_piece" => times(|p| p.first_piece_s),
        "utilisation" => match group {
            None => outcome.utilisation,
            Some(_) => {
                let sent: u64 = honest().map(|p| p.uploaded).sum();
                let uploaders = honest().filter(|p| p.role != Role::Client);
                let could: f64 = uploaders.map(|p| p.up as f64 * p.online_s).sum();
                (could > 0.0).then(|| sent as f64 / could)
            }
        },
        "copies" => Some(f64::from(outcome.copies_min)),
        "share" => {
            // A client cannot share.
            let takers = takers().filter(|p| p.downloaded > 0 && p.role != Role::Client);
            let ratios: Vec<f64> = takers
                .map(|p| p.uploaded as f64 / p.downloaded as f64)
                .collect();
            match name.stat {
                Some("jain") => jain(&ratios),
                _ => statistic(ratios, name.stat),
            }
        }
        "entropy" => {
            let parts = honest().flat_map(|p| p.measured.wanted.iter().copied());
            statistic(parts.collect(), name.stat)
        }
        "unchoked" => {
            let times: Vec<f64> = takers().filter_map(|p| p.measured.unchoked_s).collect();
            let mean = times.iter().sum::<f64>() / times.len() as f64;
            let apart = times.iter().map(|time| (time - mean).abs());
            statistic(apart.collect(), Some("max"))
        }
        "pick_order" => {
            let orders = takers().filter_map(|p| p.measured.pick_order.map(f64::abs));
            statistic(orders.collect(), Some("mean"))
        }
        "last_percent" => {
            let times = takers().filter_map(|p| p.measured.last_percent_s);
            statistic(times.collect(), name.stat)
        }
        "block_held" => {
            let held = takers().filter_map(|p| p.measured.block_held_s);
            statistic(held.collect(), name.stat)
        }
        "stalls" => {
            let counts: Vec<u32> = takers().filter_map(|p| p.measured.stalls).collect();
            (!counts.is_empty()).then(|| counts.into_iter().map(f64::from).sum())
        }
        "playback.startup" => {
            let times = takers().filter_map(|p| Some(p.measured.playback?.startup_s));
            statistic(times.collect(), name.stat)
        }
        "playback.stalls" => {
            let counts = takers().filter_map(|p| Some(f64::from(p.measured.playback?.stalls)));
            statistic(counts.collect(), name.stat)
        }
        "playback.continuity" => {
            let parts = takers().filter_map(|p| p.measured.playback?.continuity);
            statistic(parts.collect(), name.stat)
        }
        "steady.leechers" => Some(steady(outcome)?.leechers),
        "steady.time" => Some(steady(outcome)?.time_s),
        "steady.little" => Some(steady(outcome)?.little()),
        "gain" => outcome.gain(),
        "ban" => {
            let attackers = peers().filter(|p| !p.honest());
            let times = attackers.filter_map(|p| p.first_ban_s.map(|at| at - from(p)));
            statistic(times.collect(), name.stat)
        }
        "attack.cost" => {
            let paid: u64 = peers()
                .filter(|p| !p.honest())
                .map(|p| p.uploaded + p.control)
                .sum();
            let everybody = outcome.peers.iter().filter(|p| p.honest());
            let wasted: u64 = everybody.map(|p| p.wasted).sum();
            (wasted > 0).then(|| paid as f64 / wasted as f64)
        }
        "buffered" => Some(honest().map(|p| p.buffered).max()? as f64),
        "seed.uploaded" => Some(outcome.seed_uploaded() as f64),
        "seed.until_second" => outcome.seed_until_second.map(|bytes| bytes as f64),
        "server.uploaded" => Some(outcome.server_uploaded() as f64),
        "wasted" => share_of_content(|p| p.wasted),
        "duplicates" => share_of_content(|p| p.duplicates),
        "hash_failed" => share_of_content(|p| p.hash_failed),
        "banned" => Some(peers().filter(|p| !p.honest() && p.banned_by > 0).count() as f64),
        "false_bans" => Some(honest().filter(|p| p.banned_by > 0).count() as f64),
        "closed" => Some(peers().map(|p| f64::from(p.closed)).sum()),
        "connected" => Some(f64::from(
            peers().map(|p| p.connections_max).max().unwrap_or(0),
        )),
        "slots" => Some(f64::from(peers().map(|p| p.slots_max).max().unwrap_or(0))),
        "told" => {
            let told = || peers().filter(|p| p.honest() || attackers_named);
            let minutes: f64 = told().map(|p| p.online_s / 60.0).sum();
            let count: f64 = told().map(|p| f64::from(p.told)).sum();
            (minutes > 0.0).then(|| count / minutes)
        }
        "announces" => {
            let hours: f64 = honest()
                .filter(|p| p.role.peer())
                .map(|p| p.online_s / 3600.0)
                .sum();
            let count: f64 = honest().map(|p| f64::from(p.announces)).sum();
            (hours > 0.0).then(|| count / hours)
        }
        "announced" => {
            let count = |of: fn(&PeerOutcome) -> u32| honest().map(|p| f64::from(of(p))).sum();
            match name.stat? {
                "started" => Some(count(|p| p.announced.started)),
                "completed" => Some(count(|p| p.announced.completed)),
                "stopped" => Some(count(|p| p.announced.stopped)),
                _ => Some(count(|p| p.announced.repeated)),
            }
        }
        "dials_failed" => {
            let peers = honest().filter(|p| p.role.peer());
            statistic(
                peers.map(|p| f64::from(p.dials_failed)).collect(),
                name.stat,
            )
        }
        "downloaded" => {
            let named = peers().filter(|p| p.honest() || attackers_named);
            Some(named.map(|p| p.downloaded).sum::<u64>() as f64)
        }
        "control" => {
            let payload: u64 = honest().map(|p| p.uploaded).sum();
            let control: u64 = honest().map(|p| p.control).sum();
            (payload > 0).then(|| control as f64 / payload as f64)
        }
        _ => None,
    }
}

/// The expectations of one run that do not hold. `sometimes` is for all seeds together and is
/// evaluated by the campaign.
#[must_use]
pub fn expectations(plan: &Plan, outcome: &Outcome) -> Vec<Failure> {
    let mut failures = Vec::new();
    for expectation in &plan.expect {
        let found = match &expectation.kind {
            ExpectationKind::Complete { quantity, who } => complete(plan, outcome, *quantity, who),
            ExpectationKind::Metric {
                metric: name,
                limit,
            } => {
                // The limit of the last completion counts from the start of the run.
                let value = match limit.reference {
                    Some(Reference::Bound) => metric_since(outcome, name, |_| 0.0),
                    _ => metric(outcome, name),
                };
                let bound = outcome.bound.seconds;
                let holds = value.is_some_and(|v| limit.holds(v, bound, outcome.content_bytes));
                let wanted = limit.value(bound, outcome.content_bytes);
                let unit = name.metric.unit;
                let shown = |value| unit.show(value);
                (!holds).then(|| match value {
                    Some(value) => {
                        format!("measured {}, the limit is {}", shown(value), shown(wanted))
                    }
                    None => "nothing to measure: it never happened".to_owned(),
                })
            }
            // Of several runs, or no failure but vacuous.
            ExpectationKind::Sometimes(_)
            | ExpectationKind::Checks(_)
            | ExpectationKind::Compare { .. } => None,
        };
        if let Some(found) = found {
            let message = format!("expected {}: {found}", expectation.text);
            failures.push(Failure {
                at_s: outcome.sim_seconds,
                ..Failure::of(format!("expect {}", expectation.name), Now::START, message)
            });
        }
    }
    failures
}

fn complete(
    plan: &Plan,
    outcome: &Outcome,
    quantity: Quantity,
    who: &crate::scenario::selector::Selector,
) -> Option<String> {
    let chosen = who.hosts(&plan.hosts, plan.seed, "expect/complete");
    let peers = chosen
        .iter()
        .map(|&i| &outcome.peers[i])
        .filter(|p| p.honest());
    let whole = |p: &PeerOutcome| p.role.whole() || p.completed_s.is_some();
    let (done, open): (Vec<_>, Vec<_>) = peers.partition(|p| whole(p));
    let names = |peers: &[&PeerOutcome]| {
        let shown: Vec<&str> = peers.iter().take(5).map(|p| p.name.as_str()).collect();
        let more = peers.len().saturating_sub(shown.len());
        let tail = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        format!("{}{tail}", shown.join(", "))
    };
    match quantity {
        Quantity::All if !open.is_empty() => Some(format!("not complete: {}", names(&open))),
        Quantity::Any if done.is_empty() => Some("nobody is complete".to_owned()),
        Quantity::None if !done.is_empty() => Some(format!("complete: {}", names(&done))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let values = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(quantile(&values, 0.5), Some(2.0));
        assert_eq!(quantile(&values, 0.95), Some(4.0));
        assert_eq!(quantile(&values, 0.0), Some(1.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn jain_is_one_for_equals_and_one_over_n_for_one_who_has_all() {
        assert_eq!(jain(&[2.0; 4]), Some(1.0));
        assert_eq!(jain(&[1.0, 0.0, 0.0, 0.0]), Some(0.25));
        assert_eq!(jain(&[0.0]), None);
    }
}

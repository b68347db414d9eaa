//! Owns what faults do to the network: partitions, other links for a while, connections that are reset.
//!
//! Invariant: of several changes of one link, each overrides the rates and the loss of those before it in the
//! plan, and delays add up; when all are over the link is that of the plan.

use std::net::Ipv4Addr;

use super::{FaultNews, Reach};
use crate::scenario::Plan;
use crate::scenario::plan::{Direction, FaultKind, LinkChange, LinkPlan};

/// A link with changes, in the order of the plan.
#[must_use]
pub fn changed(link: &LinkPlan, changes: impl IntoIterator<Item = LinkChange>) -> LinkPlan {
    changes
        .into_iter()
        .fold(link.clone(), |link, change| LinkPlan {
            up: change.up.unwrap_or(link.up),
            down: change.down.unwrap_or(link.down),
            latency: link.latency.saturating_add(change.latency_extra),
            loss_ppm: change.loss_ppm.unwrap_or(link.loss_ppm),
            ..link
        })
}

/// A host's link while these faults of the plan are there, whatever their kinds; positions ascend.
#[must_use]
pub fn link_of(plan: &Plan, host: usize, active: impl IntoIterator<Item = usize>) -> LinkPlan {
    let faults = active.into_iter().map(|number| &plan.faults[number]);
    let of_host = faults.filter(|fault| fault.hosts.contains(&host));
    let changes = of_host.filter_map(|fault| match &fault.kind {
        FaultKind::Link(change) => Some(*change),
        _ => None,
    });
    changed(&plan.hosts[host].link, changes)
}

fn addresses(plan: &Plan, hosts: &[usize]) -> Vec<Ipv4Addr> {
    hosts.iter().map(|host| plan.hosts[*host].ip).collect()
}

pub(super) fn cut(reach: &Reach, number: usize, a: &[usize], b: &[usize], direction: Direction) {
    let (a, b) = (addresses(&reach.plan, a), addresses(&reach.plan, b));
    let both = direction == Direction::Both;
    reach.net.cut(number, &a, &b, both);
}

pub(super) fn heal(reach: &Reach, number: usize) {
    reach.net.heal(number);
    let hits = reach.net.cut_hits(number);
    if hits > 0 {
        (reach.tell)(number, FaultNews::Did(hits));
    }
}

/// Gives the hosts of a fault the links that they have with all active ones.
pub(super) fn set_links(reach: &Reach, number: usize, active: &[usize]) {
    for host in &reach.plan.faults[number].hosts {
        let link = link_of(&reach.plan, *host, active.iter().copied());
        reach.net.change_link(reach.plan.hosts[*host].ip, link);
    }
}

pub(super) fn reset(reach: &Reach, number: usize, share_ppm: u32) {
    let fault = &reach.plan.faults[number];
    let of = addresses(&reach.plan, &fault.hosts);
    let resets = reach.net.reset_some(&of, share_ppm, &fault.name);
    if resets > 0 {
        (reach.tell)(number, FaultNews::Did(resets));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn later_changes_override_and_delays_add_up() {
        let link = LinkPlan {
            up: 1000,
            down: 5000,
            latency: Duration::from_millis(20),
            jitter: Duration::from_millis(3),
            loss_ppm: 10,
            reset_every: None,
        };
        let slow = LinkChange {
            up: Some(100),
            latency_extra: Duration::from_millis(200),
            ..LinkChange::default()
        };
        let lossy = LinkChange {
            up: Some(300),
            loss_ppm: Some(50_000),
            latency_extra: Duration::from_millis(50),
            ..LinkChange::default()
        };
        let both = changed(&link, [slow, lossy]);
        assert_eq!((both.up, both.down, both.loss_ppm), (300, 5000, 50_000));
        assert_eq!(both.latency, Duration::from_millis(270));
        assert_eq!(both.jitter, link.jitter);
        assert_eq!(changed(&link, []), link);
    }
}

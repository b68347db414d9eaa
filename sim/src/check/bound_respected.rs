//! Nobody receives faster than the links allow: at every moment the sum received is at most what
//! the online uplinks could have carried, each peer's at most what its downlink could have, and the
//! last completion is not before the physical limit.

use skep_engine::Now;
use skep_engine::session::event::Event;

use super::{Check, Log, Scene, Seen};
use crate::actor::client::ClientEvent;
use crate::bounds;
use crate::fault::FaultNews;
use crate::network::link::parcel_wire_max;
use crate::scenario::Plan;
use crate::scenario::plan::FaultKind;
use crate::trace::WorldEvent;

/// Bytes that a link could have carried: an amount that grows at a rate.
#[derive(Clone, Copy, Default)]
struct Capacity {
    /// Byte-nanoseconds per second: bytes x 10^9, so that integers are exact.
    carried: u128,
    rate: u64,
    since: u64,
}

impl Capacity {
    fn change(&mut self, rate: u64, now: Now) {
        self.carried = self.at(now);
        self.since = now.0;
        self.rate = rate;
    }

    fn at(&self, now: Now) -> u128 {
        self.carried + u128::from(self.rate) * u128::from(now.0.saturating_sub(self.since))
    }

    /// Something that began before the rate fell may end at the old one.
    fn allow(&mut self, bytes: u64) {
        self.carried += u128::from(bytes) * 1_000_000_000;
    }

    fn allows(&self, bytes: u64, now: Now) -> bool {
        u128::from(bytes) * 1_000_000_000 <= self.at(now)
    }
}

/// Integrates the links.
pub(super) struct BoundRespected {
    uplinks: Capacity,
    received: u64,
    hosts: Vec<Links>,
    last_completion: Option<Now>,
}

/// What is known of one host.
#[derive(Clone, Copy, Default)]
struct Links {
    downlink: Capacity,
    received: u64,
    /// What it adds to the sum of the uplinks while it is online.
    up: u64,
    online: bool,
}

impl BoundRespected {
    pub(super) fn new(plan: &Plan) -> BoundRespected {
        BoundRespected {
            uplinks: Capacity::default(),
            received: 0,
            hosts: vec![Links::default(); plan.hosts.len()],
            last_completion: None,
        }
    }
}

impl BoundRespected {
    /// A host came or went, or its link is another one. Links count as what they have at most: of changes
    /// that overlap the fastest.
    fn look_at_link(&mut self, host: usize, at: Now, plan: &Plan) {
        let links = &mut self.hosts[host];
        let (up, down) = match links.online {
            true => plan.rates_max(host, Some(at)),
            false => (0, 0),
        };
        let others = self.uplinks.rate - std::mem::replace(&mut links.up, up);
        links.downlink.change(down, at);
        self.uplinks.change(others + up, at);
    }
}

impl Check for BoundRespected {
    fn name(&self) -> &'static str {
        "bound-respected"
    }

    fn sentence(&self) -> &'static str {
        "nobody receives faster than the links allow"
    }

    fn on_event(&mut self, seen: &Seen<'_>, scene: &Scene<'_>, log: &mut Log) {
        if let WorldEvent::Fault(number, news) = seen.event {
            let fault = &scene.plan.faults[*number as usize];
            let changes = matches!(fault.kind, FaultKind::Link(_));
            for host in fault.hosts.iter().filter(|_| changes) {
                if *news == FaultNews::Ended {
                    self.uplinks.allow(parcel_wire_max());
                    self.hosts[*host].downlink.allow(parcel_wire_max());
                }
                self.look_at_link(*host, seen.at, scene.plan);
            }
        }
        let Some(host) = seen.host else { return };
        match seen.event {
            WorldEvent::Joined | WorldEvent::Ended(_) => {
                self.hosts[host].online = *seen.event == WorldEvent::Joined;
                self.look_at_link(host, seen.at, scene.plan);
            }
            WorldEvent::Peer(Event::BlockReceived { len, .. } | Event::BlockWasted { len, .. })
            | WorldEvent::Client(ClientEvent::Received { bytes: len, .. }) => {
                let links = &mut self.hosts[host];
                self.received += u64::from(*len);
                links.received += u64::from(*len);
                let (all, own) = (self.received, links.received);
                log.require(
                    self.uplinks.allows(all, seen.at),
                    seen.at,
                    seen.host,
                    || format!("{all} bytes received in all: more than the uplinks could carry"),
                );
                log.require(
                    links.downlink.allows(own, seen.at),
                    seen.at,
                    seen.host,
                    || format!("{own} bytes received: more than the downlink could carry"),
                );
            }
            WorldEvent::Peer(Event::Completed) | WorldEvent::Client(ClientEvent::Completed) => {
                // Who may leave unfinished is not part of the limit.
                let plan = &scene.plan.hosts[host];
                let stays = plan.sessions.last().is_some_and(|s| s.end.is_none());
                if plan.role.takes() && stays {
                    self.last_completion = Some(seen.at);
                }
            }
            _ => {}
        }
    }

    fn at_end(&mut self, at: Now, scene: &Scene<'_>, log: &mut Log) {
        let stays =
            |s: &[crate::scenario::plan::SessionPlan]| s.last().is_some_and(|s| s.end.is_none());
        let hosts = scene.plan.hosts.iter().enumerate();
        let mut all = hosts.filter(|(_, h)| h.role.takes() && stays(&h.sessions));
        let whole = |host: usize| scene.disks[host].borrow().is_whole();
        // The limit is for the last of all of them; while one is missing there is no last.
        if let Some(last) = self.last_completion
            && all.all(|(host, _)| whole(host))
        {
            let bound = bounds::last_completion(scene.plan);
            log.require(last.as_secs_f64() >= bound.seconds, at, None, || {
                let seconds = bound.seconds;
                format!("the last completion at {last} beats the limit of {seconds:.3} s")
            });
        }
    }
}

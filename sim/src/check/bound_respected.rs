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
    downlinks: Vec<Capacity>,
    online: Vec<bool>,
    /// What each host adds to `uplinks` while it is online.
    up: Vec<u64>,
    received: u64,
    received_by: Vec<u64>,
    last_completion: Option<Now>,
}

impl BoundRespected {
    pub(super) fn new(plan: &Plan) -> BoundRespected {
        let hosts = plan.hosts.len();
        BoundRespected {
            uplinks: Capacity::default(),
            downlinks: vec![Capacity::default(); hosts],
            online: vec![false; hosts],
            up: vec![0; hosts],
            received: 0,
            received_by: vec![0; hosts],
            last_completion: None,
        }
    }
}

impl BoundRespected {
    /// A host came or went, or its link is another one. Links count as what they have at most: of changes
    /// that overlap the fastest.
    fn look_at_link(&mut self, host: usize, at: Now, plan: &Plan) {
        let (up, down) = match self.online[host] {
            true => plan.rates_max(host, Some(at)),
            false => (0, 0),
        };
        let others = self.uplinks.rate - std::mem::replace(&mut self.up[host], up);
        self.uplinks.change(others + up, at);
        self.downlinks[host].change(down, at);
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
                    self.downlinks[*host].allow(parcel_wire_max());
                }
                self.look_at_link(*host, seen.at, scene.plan);
            }
        }
        let Some(host) = seen.host else { return };
        match seen.event {
            WorldEvent::Joined | WorldEvent::Ended(_) => {
                self.online[host] = *seen.event == WorldEvent::Joined;
                self.look_at_link(host, seen.at, scene.plan);
            }
            WorldEvent::Peer(Event::BlockReceived { len, .. } | Event::BlockWasted { len, .. })
            | WorldEvent::Client(ClientEvent::Received { bytes: len, .. }) => {
                self.received += u64::from(*len);
                self.received_by[host] += u64::from(*len);
                let (all, own) = (self.received, self.received_by[host]);
                log.require(
                    self.uplinks.allows(all, seen.at),
                    seen.at,
                    seen.host,
                    || format!("{all} bytes received in all: more than the uplinks could carry"),
                );
                log.require(
                    self.downlinks[host].allows(own, seen.at),
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

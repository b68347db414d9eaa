//! Owns what a plan says about faults: which, when, and whom they hit.
//!
//! Invariant: who is hit is resolved; what a fault does to a stay (crash, power loss, restart, a user who comes or
//! goes) is in the sessions of its hosts already, everything else happens through the timeline of `crate::fault`.

use std::time::Duration;

use skep_engine::Now;

use crate::disk::condition::Speed;

/// One scheduled fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FaultPlan {
    /// `KIND-N`, counted per kind in the order of the file.
    pub name: String,
    /// When.
    pub at: Now,
    /// When it is over: the end of its `for`, or the moment at which who is down comes back.
    pub until: Option<Now>,
    /// Positions in [`super::Plan::hosts`] of those it hits, ascending. Of crashes, power losses and
    /// restarts, and of users who leave: those that are online by plan then; of users who join: those that are not. Empty: it hits nobody, the run is vacuous.
    pub hosts: Vec<usize>,
    /// What it does.
    pub kind: FaultKind,
}

impl FaultPlan {
    /// Whether the sessions of its hosts hold all that it does.
    #[must_use]
    pub fn in_sessions(&self) -> bool {
        matches!(
            self.kind,
            FaultKind::Crash
                | FaultKind::PowerLoss
                | FaultKind::Restart
                | FaultKind::User(UserAction::Leave | UserAction::Join)
        )
    }
}

impl super::Plan {
    /// The changes of a host's link by faults.
    fn link_changes(&self, host: usize) -> impl Iterator<Item = (&FaultPlan, &LinkChange)> {
        let of_host = self.faults.iter().filter(move |f| f.hosts.contains(&host));
        of_host.filter_map(|fault| match &fault.kind {
            FaultKind::Link(change) => Some((fault, change)),
            _ => None,
        })
    }

    /// The rates of a host's up- and downlink that it has at no time more than, bytes per second: at this moment,
    /// or ever.
    #[must_use]
    pub fn rates_max(&self, host: usize, at: Option<Now>) -> (u64, u64) {
        let link = &self.hosts[host].link;
        let active = |fault: &FaultPlan| {
            at.is_none_or(|at| fault.at <= at && fault.until.is_none_or(|until| at < until))
        };
        let changes = self.link_changes(host).filter(|(fault, _)| active(fault));
        changes.fold((link.up, link.down), |(up, down), (_, change)| {
            let (most_up, most_down) = (change.up.unwrap_or(0), change.down.unwrap_or(0));
            (up.max(most_up), down.max(most_down))
        })
    }

    /// When faults give a host more uplink than its link has, and how much more, bytes per second: begin, end.
    pub(crate) fn more_uplink(&self, host: usize) -> Vec<(Now, Now, u64)> {
        let base = self.hosts[host].link.up;
        let changes = self.link_changes(host).filter_map(|(fault, change)| {
            let more = change.up?.checked_sub(base).filter(|more| *more > 0)?;
            Some((fault.at, fault.until?, more))
        });
        changes.collect()
    }
}

/// What a fault does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// The process dies: its connections are reset, its disk stays.
    Crash,
    /// The machine goes dark: the others hear nothing; what was not synced is lost.
    PowerLoss,
    /// A crash that comes back at once, or after a while.
    Restart,
    /// Nothing gets through between two sides.
    Partition {
        /// One side, positions as in [`FaultPlan::hosts`].
        a: Vec<usize>,
        /// The other.
        b: Vec<usize>,
        /// Which way.
        direction: Direction,
    },
    /// Links are other ones for a while.
    Link(LinkChange),
    /// Connections of its hosts are reset at once.
    Reset {
        /// This share of them, parts per million, rounded up.
        share_ppm: u32,
    },
    /// Disks misbehave.
    Disk(DiskFault),
    /// Trackers misbehave.
    Tracker {
        /// Which, as numbers in [`super::Plan::trackers`].
        which: Vec<usize>,
        /// How.
        mode: TrackerFault,
    },
    /// Users do something.
    User(UserAction),
}

/// Which way a partition cuts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Nothing gets through either way.
    Both,
    /// Nothing gets from the first side to the second.
    AToB,
}

/// What a link fault changes; `None`: as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LinkChange {
    /// Uplink, bytes per second.
    pub up: Option<u64>,
    /// Downlink, bytes per second.
    pub down: Option<u64>,
    /// More one-way delay.
    pub latency_extra: Duration,
    /// Loss per segment, parts per million.
    pub loss_ppm: Option<u32>,
}

/// How a disk misbehaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskFault {
    /// Writes are refused.
    Full,
    /// It works at most this fast.
    Slow(Speed),
    /// Reads fail.
    ReadError,
    /// A bit of what is stored changes, once.
    FlippedBit,
}

/// How a tracker misbehaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrackerFault {
    /// Nobody listens.
    Down,
    /// It never answers.
    Timeout,
    /// It answers 503.
    Http503,
    /// Its answers mean nothing.
    Garbage,
    /// It names an interval that makes no sense.
    WrongInterval,
    /// It names nobody.
    Empty,
    /// It names peers that do not exist.
    DeadPeers,
    /// Its answers are larger than any answer need be.
    HugeReply,
    /// It sends who asks back to itself.
    RedirectLoop,
    /// It names attackers alone.
    Eclipse,
    /// It counts seeds and leechers that there are not.
    LiarCounts,
    /// It names, beside peers, a host that has nothing to do with the swarm, on other ports each time.
    Victim,
}

impl TrackerFault {
    /// Whether there is such a thing only over HTTP.
    #[must_use]
    pub fn needs_http(self) -> bool {
        use TrackerFault::{Http503, HugeReply, RedirectLoop};
        matches!(self, Http503 | HugeReply | RedirectLoop)
    }
}

/// What a user does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UserAction {
    /// Ends the client.
    Leave,
    /// Pauses the transfer.
    Pause,
    /// Goes on with it.
    Resume,
    /// Starts the client.
    Join,
}

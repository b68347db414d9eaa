//! Owns `[[fault.KIND]]`: what a file says of faults and how it is read; `check` says what it must be, and
//! `plans` what becomes of it with a seed.
//!
//! Invariant: every kind has its own table of keys (`keys/faults.rs`), its own case of [`FaultBody`], and a
//! name `KIND-N` counted in the order of the file, so that a fault more of one kind moves no other's draws.

use std::time::Duration;

use toml::Spanned;

use super::keys::{self, Keys};
use super::plan::{Direction, DiskFault, UserAction};
use super::problem::{Found, Log};
use super::read::{self, Fields, Value};
use super::selector::Selector;
use super::units::{self, MILLION};
use crate::disk::condition::Speed;

mod check;
mod plans;

pub(super) use check::check;
pub(super) use plans::plans;

/// One `[[fault.KIND]]`.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Its place among those of its kind.
    pub number: usize,
    /// When.
    pub at: Spanned<Duration>,
    /// `for`: how long.
    pub lasts: Option<Spanned<Duration>>,
    /// Which hosts; `None` for kinds that hit something else.
    pub who: Option<Spanned<Selector>>,
    /// What it does.
    pub kind: FaultBody,
}

/// What a fault does, as it stands in the file.
#[derive(Clone, Debug)]
pub enum FaultBody {
    /// `[[fault.crash]]`
    Crash {
        /// It starts again this much later.
        down: Option<Spanned<Duration>>,
    },
    /// `[[fault.power-loss]]`
    PowerLoss {
        /// It starts again this much later.
        down: Option<Spanned<Duration>>,
    },
    /// `[[fault.restart]]`
    Restart {
        /// It starts again this much later.
        down: Option<Spanned<Duration>>,
    },
    /// `[[fault.partition]]`
    Partition {
        /// The sides.
        between: [Spanned<Selector>; 2],
        /// Which way.
        direction: Direction,
    },
    /// `[[fault.link]]`
    Link {
        /// Uplink.
        up: Option<Spanned<u64>>,
        /// Downlink.
        down: Option<Spanned<u64>>,
        /// More delay.
        latency: Option<Spanned<Duration>>,
        /// Loss, parts per million.
        loss: Option<Spanned<u32>>,
    },
    /// `[[fault.reset]]`
    Reset {
        /// Share of the connections, parts per million.
        share: Spanned<u32>,
    },
    /// `[[fault.disk]]`
    Disk {
        /// How; the speed of a slow one is filled in.
        mode: Spanned<DiskFault>,
        /// How fast it is, where the file says so.
        speed: DiskSpeed,
    },
    /// `[[fault.tracker]]`
    Tracker {
        /// Its name; `None`: all.
        which: Option<Spanned<String>>,
        /// How.
        mode: Spanned<TrackerFault>,
    },
    /// `[[fault.user]]`
    User {
        /// What they do.
        action: Spanned<UserAction>,
    },
}

pub use super::plan::TrackerFault;

impl FaultBody {
    /// The name of its table.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            FaultBody::Crash { .. } => "crash",
            FaultBody::PowerLoss { .. } => "power-loss",
            FaultBody::Restart { .. } => "restart",
            FaultBody::Partition { .. } => "partition",
            FaultBody::Link { .. } => "link",
            FaultBody::Reset { .. } => "reset",
            FaultBody::Disk { .. } => "disk",
            FaultBody::Tracker { .. } => "tracker",
            FaultBody::User { .. } => "user",
        }
    }

    /// The same in a sentence, with "a" before it.
    #[must_use]
    pub fn words(&self) -> &'static str {
        match self {
            FaultBody::PowerLoss { .. } => "power loss",
            FaultBody::Link { .. } => "change of links",
            FaultBody::Disk { .. } => "disk fault",
            FaultBody::Tracker { .. } => "tracker fault",
            FaultBody::User { .. } => "user's action",
            other => other.word(),
        }
    }

    /// Whether it brings hosts that are not there.
    #[must_use]
    pub fn joins(&self) -> bool {
        matches!(self, FaultBody::User { action } if *action.get_ref() == UserAction::Join)
    }

    /// Whether it ends stays, and how long its hosts are down then; `None` within: for ever.
    #[must_use]
    pub fn down(&self) -> Option<Option<Duration>> {
        let given = |down: &Option<Spanned<Duration>>| down.as_ref().map(|d| *d.get_ref());
        match self {
            FaultBody::Crash { down } | FaultBody::PowerLoss { down } => Some(given(down)),
            FaultBody::Restart { down } => Some(Some(given(down).unwrap_or_default())),
            _ => None,
        }
    }
}

impl Fault {
    /// `KIND-N`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}-{}", self.kind.word(), self.number)
    }

    /// When it is over, or begins if it never is; saturating.
    #[must_use]
    pub fn end(&self) -> Duration {
        let down = self.kind.down().flatten();
        let lasts = self.lasts.as_ref().map(|t| *t.get_ref()).or(down);
        self.at.get_ref().saturating_add(lasts.unwrap_or_default())
    }
}

/// Reads `[fault]`, kind after kind.
pub(super) fn faults(value: &Value<'_>, log: &mut Log) -> Vec<Fault> {
    let Some(kinds) = Fields::open(&keys::faults::FAULT, value, log) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    let mut of_kind = |name: &str, keys: &'static Keys, body: Body, log: &mut Log| {
        let Some(list) = kinds.get(name) else { return };
        let members = read::list(list, keys.table, log);
        for (number, member) in members.iter().enumerate() {
            all.extend(fault(number, member, keys, body, log));
        }
    };
    of_kind("crash", &keys::faults::CRASH, crash, log);
    of_kind("power-loss", &keys::faults::POWER_LOSS, power_loss, log);
    of_kind("restart", &keys::faults::RESTART, restart, log);
    of_kind("partition", &keys::faults::PARTITION, partition, log);
    of_kind("link", &keys::faults::LINK_FAULT, link, log);
    of_kind("reset", &keys::faults::RESET, reset, log);
    of_kind("disk", &keys::faults::DISK, disk, log);
    of_kind("tracker", &keys::faults::TRACKER_FAULT, tracker, log);
    of_kind("user", &keys::faults::USER, user, log);
    all
}

/// Reads what a kind has of its own.
type Body = fn(&Fields<'_, '_>, &mut Log) -> Option<FaultBody>;

fn fault(
    number: usize,
    value: &Value<'_>,
    keys: &'static Keys,
    body: Body,
    log: &mut Log,
) -> Option<Fault> {
    let fields = Fields::open(keys, value, log)?;
    let has = |name: &str| keys.find(name).is_some();
    let at = time(&fields, "at", log);
    let lasts = has("for").then(|| time(&fields, "for", log)).flatten();
    let who = has("who").then(|| fields.quantity("who", "a selector", Selector::parse, log));
    let kind = body(&fields, log);
    // Whom it hits is missing or wrong, and noted.
    let who = match who {
        Some(None) => return None,
        who => who.flatten(),
    };
    Some(Fault {
        number,
        at: at?,
        lasts,
        who,
        kind: kind?,
    })
}

fn time(fields: &Fields<'_, '_>, name: &str, log: &mut Log) -> Option<Spanned<Duration>> {
    fields.quantity(name, "a duration", units::duration, log)
}

fn crash(fields: &Fields<'_, '_>, log: &mut Log) -> Option<FaultBody> {
    let down = time(fields, "down", log);
    Some(FaultBody::Crash { down })
}

fn power_loss(fields: &Fields<'_, '_>, log: &mut Log) -> Option<FaultBody> {
    let down = time(fields, "down", log);
    Some(FaultBody::PowerLoss { down })
}

fn restart(fields: &Fields<'_, '_>, log: &mut Log) -> Option<FaultBody> {
    let down = time(fields, "down", log);
    Some(FaultBody::Restart { down })
}

fn partition(fields: &Fields<'_, '_>, log: &mut Log) -> Option<FaultBody> {
    let words = [("both", Direction::Both), ("a-to-b", Direction::AToB)];
    let direction = fields.word("direction", &words, &[], log);
    let value = fields.get("between")?;
    let wanted = r#"a list of two selectors such as ["home[0..20]", "home[20..40]"]"#;
    let members = read::list(value, wanted, log);
    if value.get_ref().is_array() && members.len() != 2 {
        let found = Found::at(value.span(), "a partition has two sides");
        log.push(found.help(wanted));
    }
    let side = |member| read::quantity(member, "a selector", Selector::parse, log);
    let sides: Vec<_> = members.iter().filter_map(side).collect();
    Some(FaultBody::Partition {
        between: sides.try_into().ok()?,
        direction: direction.map_or(Direction::Both, Spanned::into_inner),
    })
}

fn link(fields: &Fields<'_, '_>, log: &mut Log) -> Option<FaultBody> {
    let given = |name: &&str| fields.get(name).is_some();
    let what = ["up", "down", "latency", "loss"];
    if let Some(span) = fields.key_span("at")
        && !what.iter().any(given)
    {
        let found = Found::at(span, "this changes nothing of a link").label("this fault");
        log.push(found.help(r#"add `up`, `down`, `latency = "+200 ms"` or `loss`"#));
    }
    Some(FaultBody::Link {
        up: fields.quantity("up", "a rate", units::rate, log),
        down: fields.quantity("down", "a rate", units::rate, log),
        latency: fields.quantity("latency", "a duration", units::added_duration, log),
        loss: fields.quantity("loss", "a percentage", units::percent, log),
    })
}

fn reset(fields: &Fields<'_, '_>, log: &mut Log) -> Option<FaultBody> {
    let share = fields.quantity("share", "a percentage", units::percent, log);
    let share = share.unwrap_or_else(|| Spanned::new(0..0, MILLION));
    Some(FaultBody::Reset { share })
}

/// How fast a disk is, as it stands in a file.
#[derive(Clone, Debug, Default)]
pub struct DiskSpeed {
    /// Bytes read per second.
    pub read: Option<Spanned<u64>>,
    /// Bytes written per second.
    pub write: Option<Spanned<u64>>,
    /// What every operation takes beside that.
    pub delay: Option<Spanned<Duration>>,
}

impl DiskSpeed {
    /// The same without places.
    #[must_use]
    pub fn speed(&self) -> Speed {
        let rate = |rate: &Option<Spanned<u64>>| rate.as_ref().map(|r| *r.get_ref());
        Speed {
            read: rate(&self.read),
            write: rate(&self.write),
            delay: self.delay.as_ref().map_or(Duration::ZERO, |d| *d.get_ref()),
        }
    }
}

/// Reads `read`, `write` and `delay`.
pub(super) fn disk_speed(fields: &Fields<'_, '_>, log: &mut Log) -> DiskSpeed {
    DiskSpeed {
        read: fields.quantity("read", "a rate", units::rate, log),
        write: fields.quantity("write", "a rate", units::rate, log),
        delay: time(fields, "delay", log),
    }
}

fn disk(fields: &Fields<'_, '_>, log: &mut Log) -> Option<FaultBody> {
    let speed = disk_speed(fields, log);
    let slow = DiskFault::Slow(speed.speed());
    let words = [
        ("full", DiskFault::Full),
        ("slow", slow),
        ("read-error", DiskFault::ReadError),
        ("flipped-bit", DiskFault::FlippedBit),
    ];
    let mode = fields.word("mode", &words, &[], log)?;
    Some(FaultBody::Disk { mode, speed })
}

fn tracker(fields: &Fields<'_, '_>, log: &mut Log) -> Option<FaultBody> {
    let words = [
        ("down", TrackerFault::Down),
        ("timeout", TrackerFault::Timeout),
        ("http-503", TrackerFault::Http503),
        ("garbage", TrackerFault::Garbage),
        ("wrong-interval", TrackerFault::WrongInterval),
        ("empty", TrackerFault::Empty),
        ("dead-peers", TrackerFault::DeadPeers),
        ("huge-reply", TrackerFault::HugeReply),
        ("redirect-loop", TrackerFault::RedirectLoop),
        ("eclipse", TrackerFault::Eclipse),
        ("liar-counts", TrackerFault::LiarCounts),
        ("victim", TrackerFault::Victim),
    ];
    let which = fields.text("which", log);
    let mode = fields.word("mode", &words, &[], log)?;
    Some(FaultBody::Tracker { which, mode })
}

fn user(fields: &Fields<'_, '_>, log: &mut Log) -> Option<FaultBody> {
    let words = [
        ("leave", UserAction::Leave),
        ("pause", UserAction::Pause),
        ("resume", UserAction::Resume),
        ("join", UserAction::Join),
    ];
    let action = fields.word("action", &words, &[], log)?;
    Some(FaultBody::User { action })
}

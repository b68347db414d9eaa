//! Owns the faults of a draft: what is drawn of each, and how it stands in the file.
//!
//! Invariant: whatever is drawn is a fault that validation accepts, whichever hosts the draft has.

use std::fmt::Write;

use super::generate::{Sizes, leecher_name, seconds};

/// A fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FaultDraft {
    /// When, ms; at least 1.
    pub at_ms: u64,
    /// What happens.
    pub kind: FaultKindDraft,
}

/// What happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKindDraft {
    /// A process or a machine goes down.
    Down {
        /// How.
        how: Down,
        /// Whose.
        who: Target,
        /// Seconds until it starts again, if it does.
        down_s: Option<u64>,
    },
    /// Connections are reset.
    Reset {
        /// Whose.
        who: Target,
        /// Percent of them; at least 1.
        share: u64,
    },
    /// A link is another one.
    Link {
        /// Whose.
        who: Target,
        /// What is different.
        change: Change,
        /// Seconds.
        for_s: u64,
    },
    /// Nothing gets through.
    Partition {
        /// Between whom.
        sides: Sides,
        /// Only from the first side to the second.
        one_way: bool,
        /// Seconds.
        for_s: u64,
    },
    /// A disk misbehaves.
    Disk {
        /// How.
        how: DiskDraft,
        /// Whose: a leecher or a seed.
        who: Target,
        /// Seconds.
        for_s: u64,
    },
    /// All trackers misbehave.
    Tracker {
        /// How: a mode that there is over every protocol.
        mode: &'static str,
        /// Seconds.
        for_s: u64,
    },
    /// A user pauses a client and goes on.
    Pause {
        /// Whose: a leecher or a seed.
        who: Target,
        /// Seconds.
        for_s: u64,
    },
    /// A user ends a client.
    Leave {
        /// Whose: a leecher or a seed.
        who: Target,
        /// Seconds until the user starts it again, if ever.
        back_s: Option<u64>,
    },
}

/// How a disk misbehaves. Bits do not flip here: who sends what flipped is banned for it, perhaps the only seed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskDraft {
    /// No space; of a leecher, whoever is drawn.
    Full,
    /// So many kB/s.
    Slow(u64),
    /// Nothing can be read.
    ReadError,
}

/// How something goes down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Down {
    /// The process dies.
    Crash,
    /// It comes back whatever is drawn.
    Restart,
    /// The machine goes dark.
    PowerLoss,
}

/// What is different about a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Both rates, kB/s.
    Rate(u64),
    /// More delay, ms.
    Delay(u64),
    /// Loss, percent.
    Loss(u64),
}

/// Who is cut off from whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sides {
    /// The seeds from a group of leechers, modulo their number.
    SeedsFromGroup(u32),
    /// The first leecher of a group from the rest of it; as above when it has no rest.
    OneFromGroup(u32),
}

/// Whom a fault hits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// A leecher; counted through all of them, modulo their number.
    Leecher(u32),
    /// Half the honest peers.
    HalfOfHonest,
    /// A seed, modulo their number.
    Seed(u32),
    /// A server, modulo their number; a seed when there is none.
    Server(u32),
}

impl FaultDraft {
    /// The second by which it is over.
    pub(super) fn over_s(&self) -> u64 {
        let lasts = match self.kind {
            FaultKindDraft::Down { down_s, .. } => down_s.unwrap_or(0),
            FaultKindDraft::Reset { .. } => 0,
            FaultKindDraft::Leave { back_s, .. } => back_s.unwrap_or(0),
            FaultKindDraft::Link { for_s, .. }
            | FaultKindDraft::Partition { for_s, .. }
            | FaultKindDraft::Disk { for_s, .. }
            | FaultKindDraft::Tracker { for_s, .. }
            | FaultKindDraft::Pause { for_s, .. } => for_s,
        };
        self.at_ms.div_ceil(1000) + lasts
    }

    pub(super) fn write(&self, file: &mut String, sizes: &Sizes) -> std::fmt::Result {
        let at = self.at_ms;
        let mut head = |kind: &str| writeln!(file, "\n[[fault.{kind}]]\nat = \"{at} ms\"");
        let user = |file: &mut String, at: u64, who: &str, action: &str| {
            writeln!(file, "\n[[fault.user]]\nat = \"{at} ms\"")?;
            writeln!(file, "who = \"{who}\"\naction = \"{action}\"")
        };
        match self.kind {
            FaultKindDraft::Disk { how, who, for_s } => {
                head("disk")?;
                let who = match (how, who) {
                    (DiskDraft::Full, Target::Leecher(_)) => who,
                    (DiskDraft::Full, _) => Target::Leecher(0),
                    _ => who,
                };
                writeln!(file, "for = \"{}\"", seconds(for_s))?;
                writeln!(file, "who = \"{}\"", who.selector(sizes))?;
                match how {
                    DiskDraft::Full => writeln!(file, "mode = \"full\""),
                    DiskDraft::ReadError => writeln!(file, "mode = \"read-error\""),
                    DiskDraft::Slow(kb) => writeln!(
                        file,
                        "mode = \"slow\"\nread = \"{kb} kB/s\"\nwrite = \"{kb} kB/s\""
                    ),
                }
            }
            FaultKindDraft::Tracker { mode, for_s } => {
                head("tracker")?;
                writeln!(file, "for = \"{}\"\nmode = \"{mode}\"", seconds(for_s))
            }
            FaultKindDraft::Pause { who, for_s } => {
                let who = who.selector(sizes);
                user(file, at, &who, "pause")?;
                user(file, at + for_s * 1000, &who, "resume")
            }
            FaultKindDraft::Leave { who, back_s } => {
                let who = who.selector(sizes);
                user(file, at, &who, "leave")?;
                let back = back_s.map(|back| user(file, at + back * 1000, &who, "join"));
                back.unwrap_or(Ok(()))
            }
            FaultKindDraft::Down { how, who, down_s } => {
                head(match how {
                    Down::Crash => "crash",
                    Down::Restart => "restart",
                    Down::PowerLoss => "power-loss",
                })?;
                writeln!(file, "who = \"{}\"", who.selector(sizes))?;
                down_s.map_or(Ok(()), |down| {
                    writeln!(file, "down = \"{}\"", seconds(down))
                })
            }
            FaultKindDraft::Reset { who, share } => {
                head("reset")?;
                writeln!(
                    file,
                    "who = \"{}\"\nshare = \"{share}%\"",
                    who.selector(sizes)
                )
            }
            FaultKindDraft::Link { who, change, for_s } => {
                head("link")?;
                writeln!(file, "for = \"{}\"", seconds(for_s))?;
                writeln!(file, "who = \"{}\"", who.selector(sizes))?;
                match change {
                    Change::Rate(kb) => writeln!(file, "up = \"{kb} kB/s\"\ndown = \"{kb} kB/s\""),
                    Change::Delay(ms) => writeln!(file, "latency = \"+{ms} ms\""),
                    Change::Loss(percent) => writeln!(file, "loss = \"{percent}%\""),
                }
            }
            FaultKindDraft::Partition {
                sides,
                one_way,
                for_s,
            } => {
                head("partition")?;
                let [a, b] = sides.selectors(sizes);
                writeln!(file, "for = \"{}\"", seconds(for_s))?;
                writeln!(file, "between = [\"{a}\", \"{b}\"]")?;
                match one_way {
                    true => writeln!(file, "direction = \"a-to-b\""),
                    false => Ok(()),
                }
            }
        }
    }
}

impl Target {
    fn selector(self, sizes: &Sizes) -> String {
        match self {
            Target::HalfOfHonest => "50% of honest".to_owned(),
            Target::Server(n) if sizes.servers > 0 => format!("server[{}]", n % sizes.servers),
            Target::Seed(n) | Target::Server(n) => format!("seed[{}]", n % sizes.seeds),
            Target::Leecher(n) => {
                let mut left = n % sizes.leechers.iter().sum::<u32>();
                let group = sizes.leechers.iter().position(|size| {
                    let here = left < *size;
                    left -= if here { 0 } else { *size };
                    here
                });
                let group = group.expect("the number is below their sum");
                format!("{}[{left}]", leecher_name(group))
            }
        }
    }
}

impl Sides {
    fn selectors(self, sizes: &Sizes) -> [String; 2] {
        let (Sides::SeedsFromGroup(n) | Sides::OneFromGroup(n)) = self;
        let groups = sizes.leechers.iter().enumerate();
        let groups: Vec<_> = groups.filter(|(_, size)| **size > 0).collect();
        let n = usize::try_from(n).expect("a small number");
        let (group, size) = groups[n % groups.len()];
        let name = leecher_name(group);
        match self {
            Sides::OneFromGroup(_) if *size > 1 => {
                [format!("{name}[0]"), format!("{name}[1..{size}]")]
            }
            _ => ["seed".to_owned(), name],
        }
    }
}

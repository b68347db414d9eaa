//! Owns the keys of `[[fault.KIND]]`: a table of keys per kind, named like the fault.

use super::{Form, Key, Keys, may, must};

const AT: Key = must("at", Form::Duration, "When.");
const AT_LATER: Key = must("at", Form::Duration, "When; more than zero.");
const WHO: Key = must("who", Form::Selector, "Which hosts.");
const WHO_ONLINE: Key = must(
    "who",
    Form::Selector,
    "Which hosts, of those that are online by plan then.",
);
const FOR: Key = must(
    "for",
    Form::Duration,
    "How long; then everything is as before.",
);
const FOR_EVER: Key = may(
    "for",
    Form::Duration,
    "How long; then everything is as before. Default: to the end of the run.",
);
const DOWN: Key = may(
    "down",
    Form::Duration,
    "It starts again this much later, on what its disk holds. Default: never.",
);

pub(super) const READ: Key = may(
    "read",
    Form::Rate,
    "Bytes read per second. Default: no limit.",
);
pub(super) const WRITE: Key = may(
    "write",
    Form::Rate,
    "Bytes written per second. Default: no limit.",
);
pub(super) const DELAY: Key = may(
    "delay",
    Form::Duration,
    "What every operation takes beside that. Default: 0 s.",
);

/// `group.disk`
pub const GROUP_DISK: Keys = Keys {
    table: "`disk`",
    keys: &[READ, WRITE, DELAY],
    later: &[],
};

/// `[fault]`
pub const FAULT: Keys = Keys {
    table: "[fault]",
    keys: &[
        may(
            "crash",
            Form::Tables(&CRASH),
            "The process dies: its connections are reset, its disk stays.",
        ),
        may(
            "power-loss",
            Form::Tables(&POWER_LOSS),
            "The machine goes dark: the others hear nothing any more and run into their timeouts; what was not synced \
             is lost.",
        ),
        may(
            "restart",
            Form::Tables(&RESTART),
            "A crash that comes back at once, or after `down`.",
        ),
        may(
            "partition",
            Form::Tables(&PARTITION),
            "Nothing gets through between two sides.",
        ),
        may(
            "link",
            Form::Tables(&LINK_FAULT),
            "Links are slower, longer, lossier (or better) for a while.",
        ),
        may(
            "reset",
            Form::Tables(&RESET),
            "Connections are reset, all at once.",
        ),
        may("disk", Form::Tables(&DISK), "Disks misbehave."),
        may(
            "tracker",
            Form::Tables(&TRACKER_FAULT),
            "Trackers misbehave.",
        ),
        may("user", Form::Tables(&USER), "Users do something."),
    ],
    later: &[],
};

/// `[[fault.crash]]`
pub const CRASH: Keys = Keys {
    table: "[[fault.crash]]",
    keys: &[AT_LATER, WHO_ONLINE, DOWN],
    later: &[],
};

/// `[[fault.power-loss]]`
pub const POWER_LOSS: Keys = Keys {
    table: "[[fault.power-loss]]",
    keys: &[AT_LATER, WHO_ONLINE, DOWN],
    later: &[],
};

/// `[[fault.restart]]`
pub const RESTART: Keys = Keys {
    table: "[[fault.restart]]",
    keys: &[
        AT_LATER,
        WHO_ONLINE,
        may(
            "down",
            Form::Duration,
            "It starts again this much later. Default: 1 ms.",
        ),
    ],
    later: &[],
};

/// `[[fault.partition]]`
pub const PARTITION: Keys = Keys {
    table: "[[fault.partition]]",
    keys: &[
        AT,
        FOR,
        must(
            "between",
            Form::Selectors,
            "The two sides, which have no host in common.",
        ),
        may(
            "direction",
            Form::Words(&["both", "a-to-b"], &[]),
            "Whether nothing gets through either way, or only from the first side to the second. Default: both.",
        ),
    ],
    later: &[],
};

/// `[[fault.link]]`
pub const LINK_FAULT: Keys = Keys {
    table: "[[fault.link]]",
    keys: &[
        AT,
        FOR,
        WHO,
        may("up", Form::Rate, "Uplink. Default: as it is."),
        may("down", Form::Rate, "Downlink. Default: as it is."),
        may(
            "latency",
            Form::Added,
            "More one-way delay; a path gets half of it from each of its ends. Default: none.",
        ),
        may(
            "loss",
            Form::Percent,
            "Loss per segment; a path's is the mean of its two ends'. Default: as it is.",
        ),
    ],
    later: &[],
};

/// `[[fault.reset]]`
pub const RESET: Keys = Keys {
    table: "[[fault.reset]]",
    keys: &[
        AT_LATER,
        WHO,
        may(
            "share",
            Form::Percent,
            "This share of their connections, rounded up. Default: 100%.",
        ),
    ],
    later: &[],
};

/// `[[fault.disk]]`
pub const DISK: Keys = Keys {
    table: "[[fault.disk]]",
    keys: &[
        AT_LATER,
        FOR_EVER,
        WHO,
        must(
            "mode",
            Form::Words(&["full", "slow", "read-error", "flipped-bit"], &[]),
            "Writes are refused; everything takes time; reads fail; a stored bit of a whole piece changes, once and \
             unnoticed. A client that stopped at a failure is gone on with when the fault is over.",
        ),
        READ,
        WRITE,
        DELAY,
    ],
    later: &[],
};

/// `[[fault.tracker]]`
pub const TRACKER_FAULT: Keys = Keys {
    table: "[[fault.tracker]]",
    keys: &[
        AT,
        FOR_EVER,
        may("which", Form::Text, "The tracker's name. Default: all."),
        must(
            "mode",
            Form::Words(
                &[
                    "down",
                    "timeout",
                    "http-503",
                    "garbage",
                    "wrong-interval",
                    "empty",
                    "dead-peers",
                    "huge-reply",
                    "redirect-loop",
                    "eclipse",
                    "liar-counts",
                    "victim",
                ],
                &[],
            ),
            "Nobody listens; it never answers; it answers 503; its answers mean nothing; it names an interval that makes \
             no sense, no peers, or peers that do not exist; its answers are huge; it sends who asks back to itself; it \
             names attackers alone; it counts peers that there are not; it names, beside peers, one silent host on other \
             ports each time. \
             Afterwards it starts anew and knows nobody.",
        ),
    ],
    later: &[],
};

/// `[[fault.user]]`
pub const USER: Keys = Keys {
    table: "[[fault.user]]",
    keys: &[
        AT_LATER,
        WHO,
        must(
            "action",
            Form::Words(&["leave", "pause", "resume", "join"], &[]),
            "Ends the client, whether it has everything or not; pauses it, which closes its connections and tells the \
             trackers `stopped`; goes on; starts the client of a host that is not there.",
        ),
    ],
    later: &[],
};

//! Owns the keys of `[[group]]` and of the tables in it.

use super::{Form, JITTER_KEY, Keys, LATENCY_KEY, LOSS_KEY, RESET_KEY, faults, may, must};
use crate::canary::CANARIES;
use crate::scenario::strategies::{ATTACKS, CHOKERS, PICKERS};

/// `[[group]]`
pub const GROUP: Keys = Keys {
    table: "[[group]]",
    keys: &[
        must(
            "name",
            Form::Text,
            "Lower-case letters, digits and hyphens. Its peers are NAME-0, NAME-1, ...",
        ),
        must(
            "role",
            Form::Words(&["seed", "leecher", "server", "client", "attacker"], &[]),
            "What runs on its hosts: peers of the swarm (seed, leecher), the two ends of direct download (server, \
             client), or attackers.",
        ),
        may(
            "count",
            Form::Whole,
            "How many. Default: one, called just NAME.",
        ),
        must("up", Form::Rate, "Uplink of each."),
        must("down", Form::Rate, "Downlink of each."),
        LATENCY_KEY,
        JITTER_KEY,
        LOSS_KEY,
        RESET_KEY,
        may(
            "region",
            Form::Text,
            "In which region of `link.latency.regions` they are. Needed where there are some, unless they have a \
             `latency` of their own.",
        ),
        may(
            "have",
            Form::OneOf(&[Form::Percent, Form::Wholes]),
            "Pieces a leecher holds at the start: a share, drawn per host, or a list of indices. Of a client: the share \
             that it kept of an earlier fetch, from the start of the content. Default: none.",
        ),
        may(
            "picker",
            Form::Strategy(&PICKERS),
            "Piece selection of leechers. Default: rarest-first.",
        ),
        may(
            "choker",
            Form::Strategy(&CHOKERS),
            "Choking of honest peers. Default: tit-for-tat.",
        ),
        may(
            "arrive",
            Form::Table(&ARRIVE),
            "When they join first. Default: all at 0 s.",
        ),
        may(
            "churn",
            Form::Table(&CHURN),
            "A leecher's or client's leaving and coming back until it is complete. Default: none.",
        ),
        may(
            "on_complete",
            Form::OneOf(&[Form::Words(&["stay", "leave"], &[]), Form::Table(&SEED_FOR)]),
            "What a leecher's user does when the content is complete. Default: stay.",
        ),
        may(
            "web_seed",
            Form::Switch,
            "Whether leechers know of a server as a web seed (BEP 19). Default: true.",
        ),
        may(
            "metainfo",
            Form::Words(&["file", "magnet"], &[]),
            "What a leecher has at its start: the metainfo file, or a magnet link. Default: file.",
        ),
        may(
            "canary",
            Form::Name(&CANARIES),
            "What is spoilt of honest peers on purpose, for a check to catch; only with the tag `canary`.",
        ),
        may(
            "attack",
            Form::OneOf(&[Form::Name(&ATTACKS), Form::Table(&MIX)]),
            "What attackers do: one attack, or a mix of several.",
        ),
        may(
            "with",
            Form::Params(&ATTACKS),
            "Parameters of a single attack; in a mix each has its own.",
        ),
        may("from", Form::Duration, "The attack begins. Default: 0 s."),
        may(
            "until",
            Form::Duration,
            "The attack ends. Default: with the run.",
        ),
        may(
            "disk",
            Form::Table(&faults::GROUP_DISK),
            "How fast the disk of each is; whatever is read or written waits for what came before it. Default: no limit.",
        ),
        may(
            "engine",
            Form::Engine,
            "Numbers and switches of this group's engines.",
        ),
    ],
    later: &[],
};

/// `group.attack` as a table.
pub const MIX: Keys = Keys {
    table: "`attack`",
    keys: &[must(
        "mix",
        Form::Mix(&ATTACKS),
        "Each attack with its share of the members, or with a table of its `share` and its parameters.",
    )],
    later: &[],
};

/// `group.arrive`
pub const ARRIVE: Keys = Keys {
    table: "`arrive`",
    keys: &[
        may(
            "at",
            Form::Duration,
            "All at this moment; with one of the others: they begin here. Default: 0 s.",
        ),
        may(
            "spread",
            Form::Duration,
            "Each at a moment drawn uniformly from this time.",
        ),
        may(
            "poisson",
            Form::Frequency,
            "One after the other, with exponential gaps.",
        ),
        may(
            "decay",
            Form::Duration,
            "Ever more rarely: the rate falls by a factor of e in this time.",
        ),
        may(
            "csv",
            Form::Text,
            "As this file says, which lies beside the scenario file: a table with a column `arrive_s`, seconds. Without \
             `count` all of them come, else the first ones.",
        ),
    ],
    later: &[],
};

/// `group.churn`
pub const CHURN: Keys = Keys {
    table: "`churn`",
    keys: &[
        must(
            "session",
            Form::Table(&SESSION),
            "How long each stay lasts.",
        ),
        may(
            "rejoin",
            Form::Percent,
            "Chance to come back after a stay. Default: 100%.",
        ),
        may(
            "away",
            Form::DurationRange,
            "How long it stays away, drawn uniformly. Needed unless rejoin is 0%.",
        ),
    ],
    later: &[],
};

/// `churn.session`
pub const SESSION: Keys = Keys {
    table: "`session`",
    keys: &[
        may("exponential", Form::Duration, "Exponential with this mean."),
        may("uniform", Form::DurationRange, "Uniform in this range."),
        may("fixed", Form::Duration, "Always this."),
    ],
    later: &[],
};

/// `on_complete` as a table.
pub const SEED_FOR: Keys = Keys {
    table: "`on_complete`",
    keys: &[must(
        "seed_for",
        Form::Duration,
        "Seeds for this long, then leaves.",
    )],
    later: &[],
};

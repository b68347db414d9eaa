//! Owns the keys of a scenario file: one table per TOML table, with form and meaning of each key.
//!
//! Invariant: a key stands here and nowhere else. Reading, "did you mean", "not supported yet" and
//! the schema all come from these tables; a reader that asks for a key that is not here panics.

use super::strategies::Family;

pub mod faults;
mod groups;

pub use groups::{ARRIVE, CHURN, GROUP, MIX, SEED_FOR, SESSION};

/// One key of a table.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// How its value is written.
    pub form: Form,
    /// Whether the table is wrong without it.
    pub required: bool,
    /// Its meaning and default.
    pub doc: &'static str,
}

/// A table of the file.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// Its header, for messages.
    pub table: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
    /// Keys of the design that this version does not support.
    pub later: &'static [&'static str],
}

/// How a value is written.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// Any string.
    Text,
    /// A list of strings.
    Texts,
    /// `"0..8"` or a list of whole numbers.
    Seeds,
    /// One of the first words; the second ones are of the design, but not supported yet.
    Words(&'static [&'static str], &'static [&'static str]),
    /// `true` or `false`.
    Switch,
    /// A whole number.
    Whole,
    /// A list of whole numbers.
    Wholes,
    /// `"64 KiB"`.
    Size,
    /// `"250 ms"`.
    Duration,
    /// `"30 s .. 3 min"`.
    DurationRange,
    /// `"10 Mbit/s"`.
    Rate,
    /// `"0.5%"`.
    Percent,
    /// `"1 per 10 min"`.
    Frequency,
    /// `"25% of home"`.
    Selector,
    /// `["home[0..20]", "home[20..40]"]`.
    Selectors,
    /// `"+200 ms"`.
    Added,
    /// `{ eu = { eu = "10 ms", us = "45 ms" }, us = { eu = "55 ms", us = "12 ms" } }`.
    Regions,
    /// A name of the family, or a table with `name` and its parameters.
    Strategy(&'static Family),
    /// A name of the family.
    Name(&'static Family),
    /// A table of names of the family with their shares: together 100 %.
    Mix(&'static Family),
    /// A table of the parameters of whatever names of the family.
    Params(&'static Family),
    /// A table.
    Table(&'static Keys),
    /// A list of tables.
    Tables(&'static Keys),
    /// Any of these.
    OneOf(&'static [Form]),
    /// Fields of the engine's configuration.
    Engine,
    /// Dotted keys with the values they take in turn.
    Vary,
    /// Metrics with their limits, `complete` and `sometimes`.
    Expect,
}

impl Keys {
    /// The line of a key.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|k| k.name == name)
    }
}

const fn must(name: &'static str, form: Form, doc: &'static str) -> Key {
    Key {
        name,
        form,
        required: true,
        doc,
    }
}
const fn may(name: &'static str, form: Form, doc: &'static str) -> Key {
    Key {
        name,
        form,
        required: false,
        doc,
    }
}

/// The top of the file.
pub const ROOT: Keys = Keys {
    table: "the top of the file",
    keys: &[
        must("name", Form::Text, "The scenario's name in all output."),
        may("about", Form::Text, "What should happen, in a sentence."),
        may("tags", Form::Texts, "Words to select scenarios by."),
        may("run", Form::Table(&RUN), "Seeds and times."),
        must("torrent", Form::Table(&TORRENT), "The content."),
        may(
            "link",
            Form::Table(&LINK),
            "Defaults for the links of all hosts.",
        ),
        must("group", Form::Tables(&GROUP), "Hosts of one kind."),
        may(
            "tracker",
            Form::OneOf(&[Form::Table(&TRACKER), Form::Tables(&TRACKER)]),
            "The tracker, or `[[tracker]]` for each of several.",
        ),
        may(
            "fault",
            Form::Table(&faults::FAULT),
            "What is done to hosts, links, disks, trackers at a moment.",
        ),
        may(
            "engine",
            Form::Engine,
            "Numbers and switches of every engine.",
        ),
        may(
            "vary",
            Form::Vary,
            "Values that `skep compare` tries in turn; `skep run` takes the first of each. The key is dotted, or a word \
             of your own: then each value is a table with a `name` and the dotted keys, in quotes, that it sets.",
        ),
        may(
            "expect",
            Form::Expect,
            "What must hold at the end, beside the invariants.",
        ),
    ],
    later: &[],
};

/// `[run]`
pub const RUN: Keys = Keys {
    table: "[run]",
    keys: &[
        may(
            "seeds",
            Form::Seeds,
            "The seeds that run: half-open range or list. Default: only seed 0.",
        ),
        may(
            "time_limit",
            Form::Duration,
            "Simulated time after which the run ends at the latest. Default: 1 h.",
        ),
        may(
            "settle",
            Form::Duration,
            "Time after the last disturbance within which every honest online peer must finish. Churn ends this \
             long before the time limit. Default: 10 min, at most half the time limit.",
        ),
        may(
            "network",
            Form::Words(&["fabric", "turmoil"], &[]),
            "The simulated network: fabric, or turmoil as a second opinion (at most 50 hosts, latencies of \
             10 ms or more). Default: fabric.",
        ),
        may(
            "hash",
            Form::Words(&["recognise", "always"], &[]),
            "Whether a piece that is the content is recognised without hashing it again, which changes nothing \
             but the time that a run takes. Default: recognise.",
        ),
    ],
    later: &[],
};

/// `[torrent]`
pub const TORRENT: Keys = Keys {
    table: "[torrent]",
    keys: &[
        may(
            "size",
            Form::Size,
            "Bytes of the content, one file. Either this or `files`.",
        ),
        may(
            "files",
            Form::Tables(&FILE),
            "The files of the content, in order. Either this or `size`.",
        ),
        may("piece", Form::Size, "Bytes of a piece. Default: 256 KiB."),
    ],
    later: &[],
};

/// One of `torrent.files`.
pub const FILE: Keys = Keys {
    table: "a file of the torrent",
    keys: &[
        must(
            "path",
            Form::Text,
            "Relative path with `/` between its parts.",
        ),
        must("size", Form::Size, "Its bytes."),
    ],
    later: &[],
};

const LATENCY_FORM: Form = Form::OneOf(&[Form::Duration, Form::Table(&LATENCY)]);
const LATENCY_KEY: Key = may(
    "latency",
    LATENCY_FORM,
    "One-way delay, fixed or drawn once per host; a path has the mean of its two ends'. Default: 20 ms.",
);
const JITTER_KEY: Key = may(
    "jitter",
    Form::Duration,
    "Largest extra one-way delay, uniform from 0. Default: 0 s.",
);
const LOSS_KEY: Key = may(
    "loss",
    Form::Percent,
    "Loss per 1,448-byte segment; inside a connection it is delay. Default: 0%.",
);
const RESET_KEY: Key = may(
    "reset",
    Form::Frequency,
    "How often a connection is reset. Default: never.",
);

/// `[link]`
pub const LINK: Keys = Keys {
    table: "[link]",
    keys: &[LATENCY_KEY, JITTER_KEY, LOSS_KEY, RESET_KEY],
    later: &[],
};

/// A `latency` that is a table.
pub const LATENCY: Keys = Keys {
    table: "`latency`",
    keys: &[
        may(
            "lognormal",
            Form::Table(&LOGNORMAL),
            "Drawn once per host from a log-normal distribution.",
        ),
        may(
            "regions",
            Form::Regions,
            "Only of [link]: for each region a table of the one-way delays to every region, its own included. Each \
             group says its `region`.",
        ),
    ],
    later: &[],
};

/// `latency.lognormal`
pub const LOGNORMAL: Keys = Keys {
    table: "`lognormal`",
    keys: &[
        must("median", Form::Duration, "Half the hosts have less."),
        must(
            "p95",
            Form::Duration,
            "19 of 20 hosts have less; above the median.",
        ),
    ],
    later: &[],
};

/// `[[expect.compare]]`
pub const COMPARE: Keys = Keys {
    table: "[[expect.compare]]",
    keys: &[
        must(
            "metric",
            Form::Text,
            "What is compared; `skep check --metrics` lists them.",
        ),
        must(
            "better",
            Form::Text,
            "The value of [vary], by its label, that is better.",
        ),
        must(
            "than",
            Form::Text,
            "The value of the same key that it is compared with.",
        ),
        must(
            "by",
            Form::Text,
            "By how much of the other's: at least \">= 5%\", or in a range, \"45% .. 55%\"; \"-10% .. 10%\" is about the \
             same. All of the 95% interval of the differences, paired by seed, must lie there.",
        ),
    ],
    later: &[],
};

/// `[tracker]` and `[[tracker]]`
pub const TRACKER: Keys = Keys {
    table: "[tracker]",
    keys: &[
        may(
            "name",
            Form::Text,
            "Its name in output. Default: tracker, tracker-1 and so on.",
        ),
        may(
            "protocol",
            Form::Words(&["http", "udp"], &[]),
            "What peers ask it over. Default: http.",
        ),
        may(
            "tier",
            Form::Whole,
            "Peers ask a tier only when all trackers of lower tiers failed. Default: 0.",
        ),
        may(
            "from",
            Form::Duration,
            "Answers from this moment on. Default: 0 s.",
        ),
        may(
            "until",
            Form::Duration,
            "Answers until this moment; \"0 s\": never. Default: the end of the run.",
        ),
        may(
            "loss",
            Form::Percent,
            "Loss on its link; a path's is the mean of its two ends'. Default: 0%.",
        ),
        may(
            "interval",
            Form::Duration,
            "Announce interval it tells peers. Default: 30 min.",
        ),
        may(
            "interval_min",
            Form::Duration,
            "Shortest interval it allows. Default: 1 min, at most `interval`.",
        ),
        may(
            "hold_floor",
            Form::Switch,
            "Whether who announces more often than that is told of nobody in between. Default: true.",
        ),
        may(
            "peers_max",
            Form::Whole,
            "Most peers in one answer; over udp 74 at most. Default: 50.",
        ),
    ],
    later: &["up", "down"],
};

#[cfg(test)]
mod tests {
    use super::*;

    fn visit(form: Form, seen: &mut Vec<&'static str>) {
        match form {
            Form::Table(keys) | Form::Tables(keys) => {
                seen.push(keys.table);
                for key in keys.keys {
                    assert!(key.doc.ends_with('.'), "{} of {}", key.name, keys.table);
                    assert!(!keys.later.contains(&key.name), "{} is supported", key.name);
                    visit(key.form, seen);
                }
            }
            Form::OneOf(forms) => forms.iter().for_each(|form| visit(*form, seen)),
            _ => {}
        }
    }

    #[test]
    fn every_key_is_documented_and_either_supported_or_later() {
        let mut seen = Vec::new();
        visit(Form::Table(&ROOT), &mut seen);
        for table in [
            "[run]",
            "[torrent]",
            "[link]",
            "[[group]]",
            "[tracker]",
            "[[fault.crash]]",
        ] {
            assert!(seen.contains(&table), "{table}");
        }
    }
}

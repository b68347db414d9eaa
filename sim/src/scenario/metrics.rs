//! Owns the names of what a run measures: the metrics that expectations may name, and the words of
//! `sometimes`.
//!
//! Invariant: a metric stands in [`METRICS`] with its unit, its meaning and the range in which a value
//! is possible at all; nothing outside this table is accepted in a file.

/// What a metric's value is counted in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Seconds of simulated time.
    Seconds,
    /// Bytes.
    Bytes,
    /// A fraction, written as a percentage.
    Fraction,
    /// A plain number.
    Number,
    /// A whole number of things.
    Count,
}

impl Unit {
    /// How a limit of this unit is written, for messages and listings.
    #[must_use]
    pub fn example(self) -> &'static str {
        match self {
            Unit::Seconds => r#""<= 5 min" or "<= 1.6 x bound""#,
            Unit::Bytes => r#""<= 80 MiB" or "<= 3 x torrent""#,
            Unit::Fraction => r#""<= 2%""#,
            Unit::Number => r#"">= 0.9""#,
            Unit::Count => r#"">= 2""#,
        }
    }
}

impl Unit {
    /// A value, exact enough to be told from a limit that it just misses.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        match self {
            Unit::Seconds => format!("{value:.3} s"),
            Unit::Bytes => format!("{value:.0} B"),
            Unit::Fraction => format!("{:.3}%", value * 100.0),
            Unit::Number => format!("{value:.4}"),
            Unit::Count => format!("{value}"),
        }
    }
}

/// One metric. Its full name is `name`, then `.STATISTIC` where it has statistics, then `.GROUP`
/// where one group is meant.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Metric {
    /// The name without statistic and group.
    pub name: &'static str,
    /// The statistics, one of which must follow; empty: the metric is one number.
    pub stats: &'static [&'static str],
    /// Whether `.GROUP` may follow.
    pub per_group: bool,
    /// What its value is counted in.
    pub unit: Unit,
    /// Largest possible value, if there is one. The smallest is 0.
    pub max: Option<f64>,
    /// Its meaning.
    pub doc: &'static str,
}

const TIMES: &[&str] = &["min", "p50", "mean", "p95", "max"];

/// All metrics, in the order of the listing.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "completion",
        stats: TIMES,
        per_group: true,
        unit: Unit::Seconds,
        max: None,
        doc: "time from joining to the whole content, over the honest leechers and clients that finished; \
              `x bound`: from the start of the run, over the physical limit of the last completion",
    },
    Metric {
        name: "first_block",
        stats: TIMES,
        per_group: true,
        unit: Unit::Seconds,
        max: None,
        doc: "time from joining to the first block, over the honest leechers; of clients, to the first bytes",
    },
    Metric {
        name: "first_piece",
        stats: TIMES,
        per_group: true,
        unit: Unit::Seconds,
        max: None,
        doc: "time from joining to the first verified piece, over the honest leechers",
    },
    Metric {
        name: "utilisation",
        stats: &[],
        per_group: true,
        unit: Unit::Fraction,
        max: Some(1.0),
        doc: "payload sent over what the uplinks of honest peers and servers could carry, between 10% and 90% of \
              the completions; \
              of a group: over all the time that its peers are online",
    },
    Metric {
        name: "copies",
        stats: &["min"],
        per_group: false,
        unit: Unit::Count,
        max: None,
        doc: "copies of the rarest piece among the honest peers online, at its lowest moment",
    },
    Metric {
        name: "share",
        stats: &["jain", "max"],
        per_group: true,
        unit: Unit::Number,
        max: None,
        doc: "uploaded over downloaded payload of each honest leecher: Jain's index of fairness, and the largest",
    },
    Metric {
        name: "seed.uploaded",
        stats: &[],
        per_group: false,
        unit: Unit::Bytes,
        max: None,
        doc: "payload sent by the peers that joined as seeds; `x torrent`: over the size of the content",
    },
    Metric {
        name: "seed.until_second",
        stats: &[],
        per_group: false,
        unit: Unit::Bytes,
        max: None,
        doc: "the part of `seed.uploaded` that was sent before the first leecher had everything",
    },
    Metric {
        name: "server.uploaded",
        stats: &[],
        per_group: false,
        unit: Unit::Bytes,
        max: None,
        doc: "payload sent by servers, to clients and as web seeds; `x torrent`: over the size of the content",
    },
    Metric {
        name: "wasted",
        stats: &[],
        per_group: true,
        unit: Unit::Fraction,
        max: None,
        doc: "payload received by honest peers and clients that brought them nothing, over the content of all that \
              received",
    },
    Metric {
        name: "duplicates",
        stats: &[],
        per_group: true,
        unit: Unit::Fraction,
        max: None,
        doc: "the part of `wasted` that the receiver had already",
    },
    Metric {
        name: "hash_failed",
        stats: &[],
        per_group: true,
        unit: Unit::Fraction,
        max: None,
        doc: "the part of `wasted` whose piece failed its hash",
    },
    Metric {
        name: "banned",
        stats: &[],
        per_group: true,
        unit: Unit::Count,
        max: None,
        doc: "attackers that at least one honest peer has banned",
    },
    Metric {
        name: "false_bans",
        stats: &[],
        per_group: false,
        unit: Unit::Count,
        max: Some(0.0),
        doc: "honest peers that an honest peer has banned; an invariant keeps it at 0",
    },
    Metric {
        name: "ban",
        stats: TIMES,
        per_group: true,
        unit: Unit::Seconds,
        max: None,
        doc: "time from joining to the first ban by an honest peer, over the attackers that were banned",
    },
    Metric {
        name: "attack.cost",
        stats: &[],
        per_group: true,
        unit: Unit::Number,
        max: None,
        doc: "bytes that attackers sent for each byte that honest peers received in vain",
    },
    Metric {
        name: "entropy",
        stats: &["min", "p50", "mean"],
        per_group: true,
        unit: Unit::Fraction,
        max: Some(1.0),
        doc: "for each pair of honest leechers that knew each other for 10 s: the part of the time in which the second wanted \
              something of the first, while both lacked pieces",
    },
    Metric {
        name: "unchoked",
        stats: &["spread"],
        per_group: true,
        unit: Unit::Seconds,
        max: None,
        doc: "time for which honest peers unchoked each honest leecher, added up: how far the furthest is from the mean",
    },
    Metric {
        name: "pick_order",
        stats: &["correlation"],
        per_group: true,
        unit: Unit::Number,
        max: Some(1.0),
        doc: "how closely the order in which a leecher begins pieces follows their order in the content, or its reverse: \
              mean over the honest leechers of the correlation without its sign",
    },
    Metric {
        name: "last_percent",
        stats: TIMES,
        per_group: true,
        unit: Unit::Seconds,
        max: None,
        doc: "time from 99% of the content to all of it, over the honest leechers that began with nothing and finished",
    },
    Metric {
        name: "stalls",
        stats: &[],
        per_group: true,
        unit: Unit::Count,
        max: None,
        doc: "times that an honest leecher, online and not complete, received no block of use for a minute",
    },
    Metric {
        name: "buffered",
        stats: &["max"],
        per_group: true,
        unit: Unit::Bytes,
        max: None,
        doc: "most bytes that an honest peer held in memory for one connection: unsent, waiting requests, blocks being \
              read, no message yet",
    },
    Metric {
        name: "closed",
        stats: &[],
        per_group: true,
        unit: Unit::Count,
        max: None,
        doc: "connections with attackers that honest peers closed because of what came on them, or did not come in \
              time",
    },
    Metric {
        name: "connected",
        stats: &[],
        per_group: true,
        unit: Unit::Count,
        max: None,
        doc: "connections that one honest peer had with one attacker at once, at most; those on which both shook hands",
    },
    Metric {
        name: "slots",
        stats: &[],
        per_group: true,
        unit: Unit::Count,
        max: None,
        doc: "upload slots that one honest peer gave one attacker at once, at most",
    },
    Metric {
        name: "told",
        stats: &[],
        per_group: true,
        unit: Unit::Number,
        max: None,
        doc: "addresses in the answers of trackers, each time that they are told, per peer and online minute; without a \
              group: of honest peers",
    },
    Metric {
        name: "announces",
        stats: &[],
        per_group: true,
        unit: Unit::Number,
        max: None,
        doc: "announces per honest peer and online hour, those that met a misbehaving tracker included",
    },
    Metric {
        name: "announced",
        stats: &["started", "completed", "stopped", "repeated"],
        per_group: true,
        unit: Unit::Count,
        max: None,
        doc: "announces of honest peers that trackers answered, by what they say; `repeated`: those that say once more \
              what is to be said once in a stay, or `completed` without having completed",
    },
    Metric {
        name: "dials_failed",
        stats: &["mean", "max"],
        per_group: true,
        unit: Unit::Number,
        max: None,
        doc: "dials of each honest peer that led to no connection",
    },
    Metric {
        name: "downloaded",
        stats: &[],
        per_group: true,
        unit: Unit::Bytes,
        max: None,
        doc: "payload received, of use or not, by honest peers, or by the attackers of a group that is named; \
              `x torrent`: over the size of the content",
    },
    Metric {
        name: "control",
        stats: &[],
        per_group: true,
        unit: Unit::Fraction,
        max: None,
        doc: "bytes of the wire protocol and of HTTP that are no payload, over payload, sent by everybody but \
              attackers",
    },
];

/// One word of `sometimes`: something that must happen at least once over all seeds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sometimes {
    /// The word in the file.
    pub word: &'static str,
    /// When it counts as having happened.
    pub doc: &'static str,
}

/// All words of `sometimes`.
pub const SOMETIMES: &[Sometimes] = &[
    Sometimes {
        word: "endgame-entered",
        doc: "an honest peer asked two peers for one block",
    },
    Sometimes {
        word: "peer-banned",
        doc: "an honest peer banned an attacker",
    },
    Sometimes {
        word: "disk-failed",
        doc: "a disk failed, and its client stopped at that",
    },
    Sometimes {
        word: "paused",
        doc: "a user paused an honest peer",
    },
    Sometimes {
        word: "went-on",
        doc: "an honest peer went on after a pause or a disk failure",
    },
    Sometimes {
        word: "tracker-retry",
        doc: "an announce failed and was tried again",
    },
    Sometimes {
        word: "tracker-fail-over",
        doc: "a tracker failed and another one answered",
    },
    Sometimes {
        word: "pex-learned",
        doc: "a peer told another of an address that nobody had told it",
    },
    Sometimes {
        word: "metadata-complete",
        doc: "a peer with a magnet link got the metainfo from others",
    },
    Sometimes {
        word: "metadata-failed",
        doc: "metainfo that peers sent was not the one that the info-hash means",
    },
    Sometimes {
        word: "udp-resent",
        doc: "a UDP tracker did not answer in time and was asked again",
    },
    Sometimes {
        word: "peer-snubbed",
        doc: "an unchoked peer waited too long for a block",
    },
    Sometimes {
        word: "request-timed-out",
        doc: "a request was late and given back",
    },
    Sometimes {
        word: "hash-failed",
        doc: "a piece failed its hash",
    },
    Sometimes {
        word: "piece-shown",
        doc: "a super-seed showed a peer a piece",
    },
    Sometimes {
        word: "super-seeding-ended",
        doc: "a super-seed saw another seed and hid nothing any more",
    },
    Sometimes {
        word: "resumed",
        doc: "a client started again on what its disk held",
    },
    Sometimes {
        word: "web-seed-used",
        doc: "a web seed gave a block that was of use",
    },
    Sometimes {
        word: "web-seed-failed",
        doc: "a web seed was given up, for a while or for ever",
    },
    Sometimes {
        word: "fetch-retried",
        doc: "a client's fetch failed and was tried again",
    },
    Sometimes {
        word: "fetch-started-over",
        doc: "a client dropped what it had of a file, because the server has another copy or sends no parts",
    },
    Sometimes {
        word: "server-fail-over",
        doc: "a server failed for good, and a client went on to another one",
    },
    Sometimes {
        word: "connection-reset",
        doc: "the network reset a connection",
    },
    Sometimes {
        word: "connection-stalled",
        doc: "a partition or a power loss kept what was on its way from arriving",
    },
    Sometimes {
        word: "connection-resumed",
        doc: "a stalled connection went on, because the partition ended in time",
    },
    Sometimes {
        word: "connection-timed-out",
        doc: "a connection was stalled for longer than the user timeout",
    },
];

/// A metric as a file names it: `completion.p95.home`.
#[derive(Clone, PartialEq, Debug)]
pub struct MetricName {
    /// The line of the table.
    pub metric: &'static Metric,
    /// Which statistic, where the metric has some.
    pub stat: Option<&'static str>,
    /// Of which group only.
    pub group: Option<String>,
}

impl MetricName {
    /// Reads a full name. Whether the group exists is for the caller to say.
    ///
    /// # Errors
    /// When there is no such metric or statistic; the text says what there is instead.
    pub fn parse(text: &str) -> Result<MetricName, NameError> {
        let unknown = || NameError::Unknown(text.to_owned());
        let (metric, rest) = METRICS
            .iter()
            .filter_map(|m| Some((m, text.strip_prefix(m.name)?)))
            .filter(|(_, rest)| rest.is_empty() || rest.starts_with('.'))
            .max_by_key(|(m, _)| m.name.len())
            .ok_or_else(unknown)?;
        let mut parts = rest.split('.').skip(1);
        let stat = match (metric.stats, parts.next()) {
            ([], None) => {
                return Ok(MetricName {
                    metric,
                    stat: None,
                    group: None,
                });
            }
            ([], Some(group)) => {
                return MetricName::with_group(metric, None, Some(group), parts.next());
            }
            (stats, Some(word)) => stats.iter().copied().find(|s| *s == word),
            (_, None) => None,
        };
        let stat = stat.ok_or(NameError::Statistic(metric))?;
        MetricName::with_group(metric, Some(stat), parts.next(), parts.next())
    }

    /// Whether a larger value is the better one.
    #[must_use]
    pub fn more_is_better(&self) -> bool {
        let name = self.metric.name;
        matches!(
            name,
            "utilisation" | "copies" | "banned" | "entropy" | "attack.cost"
        ) || (name == "share" && self.stat == Some("jain"))
    }

    /// The name as files give it.
    #[must_use]
    pub fn full(&self) -> String {
        let parts = [Some(self.metric.name), self.stat, self.group.as_deref()];
        parts.into_iter().flatten().collect::<Vec<_>>().join(".")
    }

    fn with_group(
        metric: &'static Metric,
        stat: Option<&'static str>,
        group: Option<&str>,
        rest: Option<&str>,
    ) -> Result<MetricName, NameError> {
        match (group, rest) {
            (Some(_), _) if !metric.per_group => Err(NameError::NotPerGroup(metric)),
            (_, Some(_)) => Err(NameError::TooLong(metric)),
            (group, None) => Ok(MetricName {
                metric,
                stat,
                group: group.map(str::to_owned),
            }),
        }
    }
}

/// Why a text is no metric.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing begins like that.
    #[error("there is no metric `{0}`")]
    Unknown(String),
    /// The metric has statistics, and none of them follows.
    #[error("`{}` needs one of its statistics: {}", .0.name, .0.stats.join(", "))]
    Statistic(&'static Metric),
    /// The metric is of the whole swarm.
    #[error("`{}` is of the whole swarm, not of a group", .0.name)]
    NotPerGroup(&'static Metric),
    /// Something follows the group.
    #[error("nothing may follow the group of `{}`", .0.name)]
    TooLong(&'static Metric),
}

/// Every name that may be written without a group, for suggestions and listings.
#[must_use]
pub fn full_names() -> Vec<String> {
    let mut names = Vec::new();
    for metric in METRICS {
        if metric.stats.is_empty() {
            names.push(metric.name.to_owned());
        }
        names.extend(
            metric
                .stats
                .iter()
                .map(|stat| format!("{}.{stat}", metric.name)),
        );
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_statistics_and_groups_are_read() {
        for name in full_names() {
            let parsed = MetricName::parse(&name).expect("a listed name");
            assert_eq!(parsed.group, None, "{name}");
        }
        let name = MetricName::parse("completion.p95.home").expect("a name");
        assert_eq!((name.metric.name, name.stat), ("completion", Some("p95")));
        assert_eq!(name.group.as_deref(), Some("home"));
        let name = MetricName::parse("banned.poison").expect("a name");
        assert_eq!(name.group.as_deref(), Some("poison"));
    }

    #[test]
    fn false_names_say_what_is_wrong() {
        for (text, says) in [
            ("completoin.max", "there is no metric `completoin.max`"),
            (
                "completion",
                "`completion` needs one of its statistics: min, p50, mean, p95, max",
            ),
            (
                "completion.p90",
                "`completion` needs one of its statistics: min, p50, mean, p95, max",
            ),
            (
                "false_bans.home",
                "`false_bans` is of the whole swarm, not of a group",
            ),
            (
                "completion.max.a.b",
                "nothing may follow the group of `completion`",
            ),
        ] {
            let error = MetricName::parse(text).expect_err("no name");
            assert_eq!(error.to_string(), says);
        }
    }
}

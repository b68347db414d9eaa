//! Owns the names of what a run measures: the metrics that expectations may name, and the words of
//! `sometimes`.
//!
//! Invariant: a metric stands in [`METRICS`] with its unit, its meaning and the range in which a value
//! is possible at all; nothing outside this table is accepted in a file.

mod table;
mod words;

pub use table::METRICS;
pub use words::{SOMETIMES, Sometimes};

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
            "utilisation"
                | "copies"
                | "banned"
                | "entropy"
                | "attack.cost"
                | "playback.continuity"
                | "gain"
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

//! Owns `group.arrive`: how the peers of a group come, from the keys to the moment of each.
//!
//! Invariant: each peer draws from a stream of its own, so that one more moves nobody else's moment (of
//! Poisson arrivals: of nobody before it); moments that a file of measured arrivals gives are those, whatever the seed.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

use super::draw;
use super::keys;
use super::model::Group;
use super::problem::{Found, Log};
use super::read::{Fields, Value};
use super::units::{self, Frequency};
use crate::seed;

/// The column of a file of arrivals that counts: seconds since the first moment of the group.
const COLUMN: &str = "arrive_s";
/// Mean times after which the drawn arrivals of a swarm whose interest decays count as over: e^-6 come later.
pub(crate) const DECAYED: u32 = 6;

/// First arrival.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arrive {
    /// Nobody before this.
    pub at: Duration,
    /// How they come from then on.
    pub how: Arrival,
}

/// How peers come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// All at once.
    Together,
    /// Each at a moment drawn uniformly from this time.
    Spread(Duration),
    /// One after the other, with exponential gaps.
    Poisson(Frequency),
    /// At a rate that falls by a factor of e in each such time (Guo et al., "Measurements, Analysis, and Modeling of
    /// BitTorrent-like Systems", IMC 2005): given how many come, each comes after an exponential time with this mean.
    Decay(Duration),
    /// As a file of measured arrivals says.
    Trace {
        /// The file, as the scenario names it.
        file: Spanned<String>,
        /// Ascending; empty until the file is read.
        moments: Arc<[Duration]>,
    },
}

/// Reads the table.
pub(super) fn read(value: &Value<'_>, log: &mut Log) -> Option<Spanned<Arrive>> {
    if value.get_ref().is_str() {
        let found = Found::at(value.span(), "`arrive` is a table");
        let help = r#"{ at = "10 s" }, { spread = "30 s" }, { poisson = "4 per 1 s" }, { decay = "10 min" } or { csv = "arrivals.csv" }"#;
        log.push(found.help(help));
        return None;
    }
    let fields = Fields::open(&keys::ARRIVE, value, log)?;
    let at = fields.quantity("at", "a duration", units::duration, log);
    let spread = fields.quantity("spread", "a duration", units::duration, log);
    let poisson = fields.quantity("poisson", "a frequency", units::frequency, log);
    let decay = fields.quantity("decay", "a duration", units::duration, log);
    let csv = fields.text("csv", log);
    let trace = |file| Arrival::Trace {
        file,
        moments: Arc::default(),
    };
    let given = [
        spread.map(|s| ("spread", s.span(), Arrival::Spread(s.into_inner()))),
        poisson.map(|p| ("poisson", p.span(), Arrival::Poisson(p.into_inner()))),
        decay.map(|d| ("decay", d.span(), Arrival::Decay(d.into_inner()))),
        csv.map(|file| ("csv", file.span(), trace(file))),
    ];
    let mut given = given.into_iter().flatten();
    let how = match (given.next(), given.next()) {
        (Some((one, here, _)), Some((other, there, _))) => {
            let message = format!("`{one}` and `{other}` exclude each other");
            let found = Found::at(there, message).label("and here");
            log.push(found.and(here, "given here"));
            return None;
        }
        (Some((.., how)), None) => how,
        (None, _) => Arrival::Together,
    };
    let at = at.map_or(Duration::ZERO, Spanned::into_inner);
    Some(Spanned::new(value.span(), Arrive { at, how }))
}

/// Reads the files of arrivals that groups name, beside the scenario file. A group without a `count` has as many
/// peers as its file has arrivals.
pub(super) fn load(groups: &mut [Group], scenario_file: &str, log: &mut Log) {
    let folder = Path::new(scenario_file).parent().unwrap_or(Path::new(""));
    for group in groups {
        let Some(arrive) = &mut group.arrive else {
            continue;
        };
        let Arrival::Trace { file, moments } = &mut arrive.get_mut().how else {
            continue;
        };
        let span = file.span();
        let refuse = |problem: String| {
            let found = Found::at(span.clone(), problem);
            let like = format!("a table with a column `{COLUMN}`: seconds, one arrival a line");
            found.help(like)
        };
        match trace(&folder.join(file.get_ref())) {
            Err(why) => log.push(refuse(format!("cannot use {}: {why}", file.get_ref()))),
            Ok(read) => *moments = read.into(),
        }
        let found = u32::try_from(moments.len()).unwrap_or(u32::MAX);
        match &group.count {
            None if found > 0 => group.count = Some(Spanned::new(span, found)),
            Some(count) if found > 0 && *count.get_ref() > found => {
                let message = format!("{} has only {found} arrivals", file.get_ref());
                let found = Found::at(count.span(), message).label("more than that");
                log.push(
                    found
                        .and(span, "this file")
                        .help("leave `count` out to take all of them"),
                );
            }
            _ => {}
        }
    }
}

/// Why a file of arrivals is none.
#[derive(Debug, thiserror::Error)]
enum TraceError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Csv(#[from] csv::Error),
    #[error("it has no column `{COLUMN}`")]
    NoColumn,
    #[error("line {line}: `{value}` is not a number of seconds")]
    NotSeconds { line: u64, value: String },
    #[error("it has no arrivals")]
    Empty,
}

/// The moments of a file, ascending.
fn trace(path: &Path) -> Result<Vec<Duration>, TraceError> {
    moments(File::open(path)?)
}

fn moments(file: impl std::io::Read) -> Result<Vec<Duration>, TraceError> {
    let mut lines = csv::ReaderBuilder::new();
    let lines = lines.comment(Some(b'#')).trim(csv::Trim::All);
    let mut lines = lines.from_reader(file);
    let column = lines.headers()?.iter().position(|name| name == COLUMN);
    let column = column.ok_or(TraceError::NoColumn)?;
    let mut moments = Vec::new();
    for record in lines.records() {
        let record = record?;
        let value = record.get(column).unwrap_or_default();
        let seconds = value.parse().ok();
        let moment = seconds.and_then(|s: f64| Duration::try_from_secs_f64(s).ok());
        let line = record.position().map_or(0, csv::Position::line);
        moments.push(moment.ok_or_else(|| TraceError::NotSeconds {
            line,
            value: value.to_owned(),
        })?);
    }
    moments.sort_unstable();
    if moments.is_empty() {
        return Err(TraceError::Empty);
    }
    Ok(moments)
}

impl Arrive {
    /// When the last of so many has come, or nearly surely has.
    #[must_use]
    pub fn end(&self, count: u32) -> Duration {
        let last = match &self.how {
            Arrival::Together => Duration::ZERO,
            Arrival::Spread(time) => *time,
            Arrival::Poisson(rate) => rate.mean_gap().saturating_mul(count),
            Arrival::Decay(mean) => mean.saturating_mul(DECAYED),
            Arrival::Trace { moments, .. } => {
                let last = moments.get(count.saturating_sub(1) as usize);
                last.copied().unwrap_or_default()
            }
        };
        self.at.saturating_add(last)
    }
}

/// First arrival of each peer of a group, by index, not after `end`. Poisson arrivals and those of a file are in
/// the order of the index: of Poisson arrivals each peer draws its gap to the one before.
pub(super) fn first(group: &Group, seed: u64, end: Duration) -> Vec<Duration> {
    let arrive = group.arrive.as_ref().map(Spanned::get_ref);
    let from = arrive.map_or(Duration::ZERO, |arrive| arrive.at);
    let how = arrive.map_or(&Arrival::Together, |arrive| &arrive.how);
    let mut before = Duration::ZERO;
    let one = |index: u32| {
        let name = format!("plan/{}/arrive", group.host_name(index));
        let mut rng = seed::stream(seed, &name);
        match how {
            Arrival::Together => Duration::ZERO,
            Arrival::Spread(time) => draw::uniform(&mut rng, Duration::ZERO, *time),
            Arrival::Poisson(rate) => {
                before += draw::exponential(&mut rng, rate.mean_gap());
                before
            }
            Arrival::Decay(mean) => draw::exponential(&mut rng, *mean),
            Arrival::Trace { moments, .. } => moments[index as usize],
        }
    };
    let moments = (0..group.size()).map(one);
    moments
        .map(|moment| draw::whole_ms((from + moment).min(end)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Vec<u64>, String> {
        let read = moments(text.as_bytes()).map_err(|error| error.to_string());
        Ok(read?
            .iter()
            .map(|moment| moment.as_millis() as u64)
            .collect())
    }

    #[test]
    fn arrivals_are_read_from_their_column_and_sorted() {
        let text = "# measured\npeer,arrive_s,kind\na, 2.5 ,x\nb,0,y\n";
        assert_eq!(of(text), Ok(vec![0, 2500]));
    }

    #[test]
    fn what_is_no_list_of_arrivals_is_refused_with_the_line() {
        let error = |text: &str| of(text).expect_err(text);
        assert_eq!(error("time\n1\n"), "it has no column `arrive_s`");
        assert_eq!(error("arrive_s\n"), "it has no arrivals");
        for wrong in ["-1", "soon", "1e300", "NaN", ""] {
            let text = format!("arrive_s,x\n3,a\n{wrong},b\n");
            let says = format!("line 3: `{wrong}` is not a number of seconds");
            assert_eq!(error(&text), says);
        }
        assert!(error("arrive_s,x\n3\n").starts_with("CSV error"));
    }

    fn joins(arrive: &str, count: &str, seed: u64) -> Vec<Duration> {
        let text = format!(
            r#"
name = "many"
run = {{ time_limit = "10 h" }}
torrent = {{ size = "1 MiB" }}
[[group]]
name = "seed"
role = "seed"
up = "1 MB/s"
down = "1 MB/s"
[[group]]
name = "home"
role = "leecher"
{count}
up = "1 MB/s"
down = "1 MB/s"
arrive = {{ {arrive} }}
"#
        );
        let file = "../scenarios/churn/many.toml";
        let scenario = crate::scenario::Scenario::parse(file, &text).expect("right");
        let plan = scenario.expand(seed);
        let joins = plan.hosts[1..].iter().map(|host| host.sessions[0].join);
        joins.map(|join| Duration::from_nanos(join.0)).collect()
    }

    #[test]
    fn interest_decays_by_a_factor_of_e_in_the_time_that_is_given() {
        let joins = joins(r#"decay = "10 min""#, "count = 4000", 1);
        let within = |minutes: u64| {
            let limit = Duration::from_secs(60 * minutes);
            joins.iter().filter(|join| **join < limit).count()
        };
        // 1 - 1/e and 1 - 1/e^2 of 4,000.
        assert!(within(10).abs_diff(2528) < 100, "{}", within(10));
        assert!(within(20).abs_diff(3459) < 100, "{}", within(20));
    }

    #[test]
    fn measured_arrivals_are_the_same_with_every_seed_and_count_themselves() {
        let csv = r#"csv = "measured-arrivals.csv", at = "2 s""#;
        let all = joins(csv, "", 1);
        assert_eq!((all.len(), all[1]), (16, Duration::from_millis(3500)));
        assert_eq!(joins(csv, "", 2), all);
        assert_eq!(joins(csv, "count = 3", 2), all[..3]);
    }
}

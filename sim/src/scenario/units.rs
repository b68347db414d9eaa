//! Owns the humane units of scenario files: sizes, durations, rates, percentages, frequencies, ranges.
//!
//! Invariant: a value without a unit, with a sign or with a unit that only looks right never reaches
//! `bytesize` or `jiff`, which would take it for something else. Results are integers: bytes,
//! bytes per second, [`Duration`]s, parts per million.

use std::time::Duration;

/// One hundred percent in parts per million.
pub const MILLION: u32 = 1_000_000;

/// Longest duration a file may name; far above any run, far below overflow.
const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// Why a text is not the quantity it should be, with the form that is wanted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct UnitError {
    /// What is wrong.
    pub message: String,
    /// What to write instead, with an example.
    pub help: String,
}

fn wrong<T>(message: impl Into<String>, help: impl Into<String>) -> Result<T, UnitError> {
    Err(UnitError {
        message: message.into(),
        help: help.into(),
    })
}

/// `a: Frequency` is so many times per so much time, e.g. `"1 per 10 min"`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frequency {
    /// How often; at least 1.
    pub count: u32,
    /// In this much time; more than zero.
    pub per: Duration,
}

impl Frequency {
    /// Mean time between two events, rounded down to nanoseconds.
    #[must_use]
    pub fn mean_gap(self) -> Duration {
        self.per / self.count
    }
}

/// A decimal number without a sign, exactly: `digits / 10^scale`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Decimal {
    digits: u128,
    scale: u32,
}

impl Decimal {
    /// The number times `by`, rounded down; `None` when it does not fit.
    fn times(self, by: u64) -> Option<u64> {
        let scaled = self.digits.checked_mul(u128::from(by))?;
        u64::try_from(scaled / 10_u128.checked_pow(self.scale)?).ok()
    }

    /// The nearest float.
    fn as_f64(self) -> f64 {
        let mut value = self.digits as f64;
        for _ in 0..self.scale {
            value /= 10.0;
        }
        value
    }
}

/// Splits `"1.5 MiB"` in its number and its unit (which may be empty).
fn split<'t>(text: &'t str, what: &str, help: &str) -> Result<(Decimal, &'t str), UnitError> {
    let text = text.trim();
    if text.starts_with(['-', '+']) {
        return wrong(format!("{what} carries no sign"), help);
    }
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let fits = number.len() <= 20 && !whole.is_empty() && !fraction.is_empty();
    let digits = format!("{whole}{fraction}");
    match digits.parse() {
        Ok(digits) if fits && !fraction.contains('.') => {
            let scale = u32::try_from(fraction.len()).expect("at most 20 characters");
            Ok((Decimal { digits, scale }, unit.trim()))
        }
        _ => wrong(
            format!("`{text}` is not {what}: it must begin with a number"),
            help,
        ),
    }
}

const SIZE_HELP: &str = r#"write a number and one of B, kB, MB, GB, KiB, MiB, GiB: "64 KiB""#;
const SIZES: &[&str] = &["B", "kB", "MB", "GB", "KiB", "MiB", "GiB"];

/// A size in bytes: `"64 KiB"`, `"1.5 MB"`, `"10 B"`.
///
/// # Errors
/// Without a unit, with a unit of bits, with a sign, or when it is no number.
pub fn size(text: &str) -> Result<u64, UnitError> {
    let (_, unit) = split(text, "a size", SIZE_HELP)?;
    if unit.is_empty() {
        return wrong("a size needs a unit", SIZE_HELP);
    }
    if !SIZES.contains(&unit) {
        let help = match SIZES.iter().find(|s| s.eq_ignore_ascii_case(unit)) {
            Some(near) => format!("did you mean `{near}`?"),
            None if unit.contains("bit") || unit.ends_with('b') => {
                format!("sizes are in bytes; {SIZE_HELP}")
            }
            None => SIZE_HELP.to_owned(),
        };
        return wrong(format!("`{unit}` is no unit of size"), help);
    }
    match text.trim().parse::<bytesize::ByteSize>() {
        Ok(size) => Ok(size.as_u64()),
        Err(_) => wrong(format!("`{text}` is not a size"), SIZE_HELP),
    }
}

const DURATION_HELP: &str = r#"write a number and one of ms, s, min, h: "250 ms", "5 min""#;

/// A duration: `"250 ms"`, `"5 min"`, `"1 h 30 min"`.
///
/// # Errors
/// Without a unit, with a sign, in days or more (their length is a matter of calendars), or when it is no number.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    let (_, unit) = split(text, "a duration", DURATION_HELP)?;
    if unit.is_empty() {
        return wrong("a duration needs a unit", DURATION_HELP);
    }
    if text.contains(['-', '+']) || text.contains("ago") {
        return wrong("a duration carries no sign", DURATION_HELP);
    }
    let plain = |c: char| c.is_ascii_digit() || c.is_ascii_lowercase() || " .".contains(c);
    let parsed = text.trim().parse::<jiff::SignedDuration>();
    let Some(parsed) = parsed.ok().filter(|_| text.chars().all(plain)) else {
        return wrong(
            format!("`{}` is not a duration", text.trim()),
            DURATION_HELP,
        );
    };
    match Duration::try_from(parsed) {
        Ok(duration) if duration <= DURATION_MAX => Ok(duration),
        _ => wrong(
            "this is longer than a year",
            "simulated time is counted in minutes and hours",
        ),
    }
}

/// A duration that is added to another: `"+200 ms"`.
///
/// # Errors
/// Without the `+`, or when what follows is no duration.
pub fn added_duration(text: &str) -> Result<Duration, UnitError> {
    match text.trim().strip_prefix('+') {
        Some(more) => duration(more),
        None => wrong(
            "what is added begins with `+`",
            r#"write how much more: "+200 ms""#,
        ),
    }
}

const RATE_HELP: &str =
    r#"write bits or bytes per second: "10 Mbit/s", "500 kbit/s", "200 kB/s", "1 MiB/s""#;
/// Units of a rate: the word, and bits per second of one.
const RATES: &[(&str, u64)] = &[
    ("bit/s", 1),
    ("kbit/s", 1_000),
    ("Mbit/s", 1_000_000),
    ("Gbit/s", 1_000_000_000),
    ("B/s", 8),
    ("kB/s", 8_000),
    ("MB/s", 8_000_000),
    ("GB/s", 8_000_000_000),
    ("KiB/s", 8 * 1024),
    ("MiB/s", 8 * 1024 * 1024),
    ("GiB/s", 8 * 1024 * 1024 * 1024),
];
/// What people write for a rate, and what it probably means.
const RATE_HINTS: &[(&str, &str)] = &[
    ("bps", "bit/s"),
    ("kbps", "kbit/s"),
    ("mbps", "Mbit/s"),
    ("gbps", "Gbit/s"),
    ("b/s", "bit/s"),
    ("kb/s", "kbit/s"),
    ("mb/s", "Mbit/s"),
    ("gb/s", "Gbit/s"),
];

/// A rate in bytes per second, rounded down: `"10 Mbit/s"`, `"200 kB/s"`.
///
/// # Errors
/// Without a unit, with an ambiguous one (`Mbps`), with a sign, or below one byte per second.
pub fn rate(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = split(text, "a rate", RATE_HELP)?;
    if unit.is_empty() {
        return wrong("a rate needs a unit", RATE_HELP);
    }
    let Some(&(_, bits)) = RATES.iter().find(|(word, _)| *word == unit) else {
        let lower = unit.to_ascii_lowercase();
        if let Some((_, near)) = RATE_HINTS.iter().find(|(word, _)| *word == lower) {
            let bytes = near.replace("bit", "B");
            let message = format!("`{unit}` is ambiguous: bits or bytes?");
            return wrong(
                message,
                format!("write `{near}` for bits or `{bytes}` for bytes"),
            );
        }
        let help = match RATES
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(unit))
        {
            Some((near, _)) => format!("did you mean `{near}`?"),
            None => RATE_HELP.to_owned(),
        };
        return wrong(format!("`{unit}` is no unit of rate"), help);
    };
    match number.times(bits).map(|bits| bits / 8) {
        None => wrong("this rate is too large", RATE_HELP),
        Some(0) => wrong("a rate is at least one byte per second", RATE_HELP),
        Some(rate) => Ok(rate),
    }
}

const PERCENT_HELP: &str = r#"write a percentage between 0% and 100%: "0.5%""#;

/// A percentage of at most 100 % in parts per million, rounded down.
///
/// # Errors
/// Without `%`, with a sign, above 100 %.
pub fn percent(text: &str) -> Result<u32, UnitError> {
    let (number, unit) = split(text, "a percentage", PERCENT_HELP)?;
    if unit != "%" {
        return wrong("a percentage ends with `%`", PERCENT_HELP);
    }
    match number
        .times(u64::from(MILLION / 100))
        .and_then(|ppm| u32::try_from(ppm).ok())
    {
        Some(ppm) if ppm <= MILLION => Ok(ppm),
        _ => wrong("this is more than 100%", PERCENT_HELP),
    }
}

/// A frequency: `"1 per 10 min"`.
///
/// # Errors
/// When it is not a whole number of at least 1, ` per `, and a duration of more than zero.
pub fn frequency(text: &str) -> Result<Frequency, UnitError> {
    const HELP: &str = r#"write how often in how much time: "1 per 10 min", "4 per 1 s""#;
    if text.trim_start().starts_with('-') {
        return wrong("a frequency carries no sign", HELP);
    }
    let Some((count, per)) = text.split_once(" per ") else {
        return wrong(format!("`{text}` is not a frequency"), HELP);
    };
    let per = duration(per)?;
    match count.trim().parse() {
        Ok(count @ 1..) if per / count > Duration::ZERO => Ok(Frequency { count, per }),
        Ok(_) => wrong(
            "a frequency is more than zero, in more than zero time",
            HELP,
        ),
        Err(_) => wrong(format!("`{}` is not a whole number", count.trim()), HELP),
    }
}

/// A half-open range of durations: `"30 s .. 3 min"`.
///
/// # Errors
/// When an end is no duration, or the first is not below the second.
pub fn duration_range(text: &str) -> Result<(Duration, Duration), UnitError> {
    const HELP: &str = r#"write two durations, the first below the second: "30 s .. 3 min""#;
    let Some((low, high)) = text.split_once("..") else {
        return wrong(format!("`{text}` is not a range"), HELP);
    };
    let (low, high) = (duration(low)?, duration(high)?);
    if low < high {
        Ok((low, high))
    } else {
        wrong("this range is empty", HELP)
    }
}

/// A half-open range of whole numbers: `"0..8"` holds 0 to 7.
///
/// # Errors
/// When an end is no whole number, or the first is not below the second.
pub fn whole_range(text: &str) -> Result<(u64, u64), UnitError> {
    const HELP: &str = r#"write two whole numbers, the first below the second: "0..8" is 0 to 7"#;
    match text
        .split_once("..")
        .map(|(a, b)| (a.trim().parse(), b.trim().parse()))
    {
        Some((Ok(low), Ok(high))) if low < high => Ok((low, high)),
        Some((Ok::<u64, _>(_), Ok::<u64, _>(_))) => wrong("this range is empty", HELP),
        _ => wrong(format!("`{text}` is not a range of whole numbers"), HELP),
    }
}

/// A plain number without a unit: `"0.95"`, `"3"`.
///
/// # Errors
/// With a unit or a sign, or when it is no number.
pub fn number(text: &str) -> Result<f64, UnitError> {
    const HELP: &str = "write a number without a sign: 0.95";
    let (number, unit) = split(text, "a number", HELP)?;
    if unit.is_empty() {
        Ok(number.as_f64())
    } else {
        wrong(
            format!("`{unit}` does not belong here: this is a number without a unit"),
            HELP,
        )
    }
}

/// A percentage as a fraction, not limited to 100 %: `"250%"` is 2.5.
///
/// # Errors
/// Without `%`, with a sign, or when it is no number.
pub fn fraction(text: &str) -> Result<f64, UnitError> {
    const HELP: &str = r#"write a percentage: "2%""#;
    match split(text, "a percentage", HELP)? {
        (number, "%") => Ok(number.as_f64() / 100.0),
        _ => wrong("a percentage ends with `%`", HELP),
    }
}

/// A duration as people write it, for messages and labels: `1.5 s`, `250 ms`, `10 min`.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        0 => "0 s".to_owned(),
        _ if ms.is_multiple_of(60_000) => format!("{} min", ms / 60_000),
        _ if ms.is_multiple_of(1000) => format!("{} s", ms / 1000),
        _ if ms < 1000 => format!("{ms} ms"),
        _ => format!("{:.3} s", duration.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<T: std::fmt::Debug>(result: Result<T, UnitError>) -> String {
        result
            .map_err(|e| format!("{} | {}", e.message, e.help))
            .expect_err("an error")
    }

    #[test]
    fn what_people_write_is_read() {
        assert_eq!(size("64 KiB"), Ok(65_536));
        assert_eq!(size("1.5 MB"), Ok(1_500_000));
        assert_eq!(size("10B"), Ok(10));
        assert_eq!(duration("250 ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1 h 30 min"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("0 s"), Ok(Duration::ZERO));
        assert_eq!(rate("10 Mbit/s"), Ok(1_250_000));
        assert_eq!(rate("0.5 kB/s"), Ok(500));
        assert_eq!(rate("1 MiB/s"), Ok(1_048_576));
        assert_eq!(percent("0.5%"), Ok(5_000));
        assert_eq!(percent("100 %"), Ok(MILLION));
        assert_eq!(
            frequency("4 per 1 s"),
            Ok(Frequency {
                count: 4,
                per: Duration::from_secs(1)
            })
        );
        assert_eq!(
            frequency("4 per 1 s").map(Frequency::mean_gap),
            Ok(Duration::from_millis(250))
        );
        let (low, high) = (Duration::from_secs(30), Duration::from_secs(180));
        assert_eq!(duration_range("30 s .. 3 min"), Ok((low, high)));
        assert_eq!(whole_range("0..8"), Ok((0, 8)));
        assert_eq!(number("0.95"), Ok(0.95));
        assert_eq!(fraction("250%"), Ok(2.5));
    }

    #[test]
    fn a_bare_number_a_sign_and_a_false_unit_are_refused() {
        assert!(message(size("64")).starts_with("a size needs a unit"));
        assert!(message(size("64 Mib")).ends_with("did you mean `MiB`?"));
        assert!(message(size("64 Mbit")).contains("sizes are in bytes"));
        assert!(message(size("-1 B")).starts_with("a size carries no sign"));
        assert!(message(duration("3")).starts_with("a duration needs a unit"));
        assert!(message(duration("-3 s")).starts_with("a duration carries no sign"));
        assert!(message(duration("1 h, 3 s")).contains("is not a duration"));
        assert!(message(duration("3 s ago")).starts_with("a duration carries no sign"));
        assert!(message(duration("9999999 h")).starts_with("this is longer than a year"));
        assert!(message(rate("10 Mbps")).contains("write `Mbit/s` for bits or `MB/s` for bytes"));
        assert!(message(rate("10 mbit/s")).ends_with("did you mean `Mbit/s`?"));
        assert!(message(rate("1 bit/s")).starts_with("a rate is at least"));
        assert!(message(percent("0.5")).starts_with("a percentage ends with"));
        assert!(message(percent("101%")).starts_with("this is more than 100%"));
        assert!(message(frequency("0 per 1 s")).starts_with("a frequency is more than zero"));
        assert!(message(frequency("4 / s")).contains("is not a frequency"));
        assert!(message(duration_range("3 s .. 3 s")).starts_with("this range is empty"));
        assert!(message(whole_range("8..8")).starts_with("this range is empty"));
        assert!(message(number("1.2.3")).contains("is not a number"));
    }

    #[test]
    fn durations_are_shown_as_they_are_written() {
        for text in ["0 s", "250 ms", "90 s", "10 min"] {
            assert_eq!(duration(text).map(show_duration), Ok(text.to_owned()));
        }
    }
}

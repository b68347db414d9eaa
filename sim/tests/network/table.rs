//! A table of calibrations: what arithmetic says beside what was measured.

use std::fmt::Write;
use std::ops::RangeInclusive;

/// One line.
pub struct Row {
    number: &'static str,
    what: String,
    ideal: f64,
    measured: f64,
    /// Relative error that is allowed.
    allowed: RangeInclusive<f64>,
}

impl Row {
    /// A value that may be off by this share of the ideal, either way.
    pub fn about(
        number: &'static str,
        what: impl Into<String>,
        ideal: f64,
        measured: f64,
        share: f64,
    ) -> Row {
        Row::within(number, what, ideal, measured, -share..=share)
    }

    /// A value whose relative error lies in a range.
    pub fn within(
        number: &'static str,
        what: impl Into<String>,
        ideal: f64,
        measured: f64,
        allowed: RangeInclusive<f64>,
    ) -> Row {
        Row {
            number,
            what: what.into(),
            ideal,
            measured,
            allowed,
        }
    }

    fn error(&self) -> f64 {
        self.measured / self.ideal - 1.0
    }
}

/// A number with as many digits as it deserves.
fn short(value: f64) -> String {
    if value.abs() < 1000.0 {
        format!("{value:.3}")
    } else {
        format!("{value:.0}")
    }
}

/// Prints all lines and holds each against what it allows.
pub fn hold(rows: &[Row]) {
    let mut table = format!(
        "\n{:>2}  {:<58} {:>11} {:>11} {:>8}\n",
        "#", "calibration", "ideal", "measured", "error"
    );
    for row in rows {
        let (ideal, measured) = (short(row.ideal), short(row.measured));
        let error = format!("{:+.2}%", row.error() * 100.0);
        let (number, what) = (row.number, &row.what);
        writeln!(
            table,
            "{number:>2}  {what:<58} {ideal:>11} {measured:>11} {error:>8}"
        )
        .expect("a string");
    }
    println!("{table}");
    let off: Vec<&Row> = rows
        .iter()
        .filter(|r| !r.allowed.contains(&r.error()))
        .collect();
    for row in &off {
        let (allowed, error) = (&row.allowed, row.error());
        println!(
            "{} {}: error {error}, allowed {allowed:?}",
            row.number, row.what
        );
    }
    assert!(
        off.is_empty(),
        "{} calibrations are off, see above",
        off.len()
    );
}

//! Owns expectations: `OP NUMBER [unit]` and `OP NUMBER x REF`, read from a file and held against a
//! measured value.
//!
//! Invariant: nothing Turing-complete. A limit is one comparison with one number, in the base unit of
//! its metric: seconds, bytes, fractions (1.0 is 100 %), plain numbers.

use std::fmt;
use std::ops::Range;

use winnow::Parser;
use winnow::ascii::{space0, space1};
use winnow::combinator::{alt, opt, preceded, terminated};
use winnow::error::ContextError;
use winnow::token::{rest, take_while};

use super::metrics::{MetricName, Unit};
use super::selector::Selector;
use super::units::{self, UnitError};

/// One line of `[expect]`.
#[derive(Clone, PartialEq, Debug)]
pub struct Expectation {
    /// The key as in the file: `completion.max`, `complete`, `sometimes`.
    pub name: String,
    /// What is expected.
    pub kind: ExpectationKind,
    /// The value as in the file, for messages.
    pub text: String,
    /// Bytes of the value in the file.
    pub span: Range<usize>,
}

/// What is expected.
#[derive(Clone, PartialEq, Debug)]
pub enum ExpectationKind {
    /// So many of these honest peers hold the whole content when the run ends.
    Complete {
        /// How many.
        quantity: Quantity,
        /// Of whom.
        who: Selector,
    },
    /// A metric keeps a limit.
    Metric {
        /// Which.
        metric: MetricName,
        /// The limit.
        limit: Limit,
    },
    /// One value of `[vary]` gives a better metric than another, over all seeds, with everything else as the
    /// first values of `[vary]` have it. Only `skep compare` makes the runs that tell.
    Compare {
        /// Which.
        metric: MetricName,
        /// The label of the value that is better.
        better: String,
        /// The label of the other.
        than: String,
        /// By how much, as a part of the other's: all of the 95 % interval of the paired differences keeps it.
        by: Difference,
    },
    /// These invariants were put to the test in every run.
    Checks(String),
    /// Happens at least once over all seeds of the scenario: a word of
    /// [`SOMETIMES`](super::metrics::SOMETIMES).
    Sometimes(String),
}

/// How many of the selected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quantity {
    /// Every one.
    All,
    /// At least one.
    Any,
    /// Not one.
    None,
}

/// A comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `>`
    Above,
    /// `>=`
    AtLeast,
    /// `==`
    Exactly,
}

impl Comparison {
    /// Whether a measured value keeps the limit. A value that is no number keeps none.
    #[must_use]
    pub fn holds(self, measured: f64, limit: f64) -> bool {
        match self {
            Comparison::Below => measured < limit,
            Comparison::AtMost => measured <= limit,
            Comparison::Above => measured > limit,
            Comparison::AtLeast => measured >= limit,
            Comparison::Exactly => measured == limit,
        }
    }

    /// Whether any value from `low` to `high` (both included) could keep the limit.
    #[must_use]
    pub fn possible(self, limit: f64, low: f64, high: f64) -> bool {
        match self {
            Comparison::Below | Comparison::AtMost => self.holds(low, limit),
            Comparison::Above | Comparison::AtLeast => self.holds(high, limit),
            Comparison::Exactly => (low..=high).contains(&limit),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Comparison::Below => "<",
            Comparison::AtMost => "<=",
            Comparison::Above => ">",
            Comparison::AtLeast => ">=",
            Comparison::Exactly => "==",
        })
    }
}

/// What a limit is a multiple of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reference {
    /// The physical limit of the last completion of this very scenario, in seconds.
    Bound,
    /// The bytes of the content.
    Torrent,
}

/// A comparison with a number.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Limit {
    /// How to compare.
    pub comparison: Comparison,
    /// The number: in the metric's base unit, or so many times `reference`.
    pub number: f64,
    /// What the number multiplies, if anything.
    pub reference: Option<Reference>,
}

impl Limit {
    /// The limit in the metric's base unit, given the run's references: the bound in seconds and the
    /// content in bytes.
    #[must_use]
    pub fn value(&self, bound_seconds: f64, content_bytes: u64) -> f64 {
        match self.reference {
            None => self.number,
            Some(Reference::Bound) => self.number * bound_seconds,
            Some(Reference::Torrent) => self.number * content_bytes as f64,
        }
    }

    /// Whether a measured value (in the metric's base unit) keeps the limit.
    #[must_use]
    pub fn holds(&self, measured: f64, bound_seconds: f64, content_bytes: u64) -> bool {
        self.comparison
            .holds(measured, self.value(bound_seconds, content_bytes))
    }

    /// Reads a limit for a metric of this unit.
    ///
    /// # Errors
    /// When it has neither form, when the unit is not the metric's, or when the reference does not
    /// measure what the metric measures.
    pub fn parse(text: &str, unit: Unit) -> Result<Limit, UnitError> {
        let help = || format!("write {}", unit.example());
        let (comparison, operand) = limit.parse(text).map_err(|_| UnitError {
            message: format!("`{text}` is not a limit: it must begin with <=, <, >=, > or =="),
            help: help(),
        })?;
        let (number, reference) = match operand {
            Operand::Multiple(number, word) => {
                let reference = match (word, unit) {
                    ("bound", Unit::Seconds) => Reference::Bound,
                    ("torrent", Unit::Bytes) => Reference::Torrent,
                    _ => {
                        let message = format!("this metric is not measured in `x {word}`");
                        return Err(UnitError {
                            message,
                            help: help(),
                        });
                    }
                };
                (units::number(number)?, Some(reference))
            }
            Operand::Plain(quantity) => (base_units(quantity, unit)?, None),
        };
        Ok(Limit {
            comparison,
            number,
            reference,
        })
    }
}

fn base_units(text: &str, unit: Unit) -> Result<f64, UnitError> {
    match unit {
        Unit::Seconds => units::duration(text).map(|d| d.as_secs_f64()),
        Unit::Bytes => units::size(text).map(|bytes| bytes as f64),
        Unit::Fraction => units::fraction(text),
        Unit::Number => units::number(text),
        Unit::Count => units::number(text).and_then(|number| {
            if number.fract() == 0.0 {
                return Ok(number);
            }
            let message = "this counts things: the number must be whole".to_owned();
            Err(UnitError {
                message,
                help: format!("write {}", unit.example()),
            })
        }),
    }
}

/// The right side of a limit, not yet read.
enum Operand<'t> {
    /// `NUMBER x REF`
    Multiple(&'t str, &'t str),
    /// `NUMBER [unit]`
    Plain(&'t str),
}

type Failed = winnow::error::ErrMode<ContextError>;

fn comparison(input: &mut &str) -> Result<Comparison, Failed> {
    alt((
        "<=".value(Comparison::AtMost),
        "<".value(Comparison::Below),
        ">=".value(Comparison::AtLeast),
        ">".value(Comparison::Above),
        "==".value(Comparison::Exactly),
    ))
    .parse_next(input)
}

fn multiple<'t>(input: &mut &'t str) -> Result<Operand<'t>, Failed> {
    let number = take_while(1.., |c: char| c.is_ascii_digit() || c == '.');
    let word = take_while(1.., |c: char| c.is_ascii_alphabetic());
    let factor = terminated(number, (space1, 'x', space1));
    (factor, terminated(word, space0))
        .map(|(n, w)| Operand::Multiple(n, w))
        .parse_next(input)
}

fn limit<'t>(input: &mut &'t str) -> Result<(Comparison, Operand<'t>), Failed> {
    let comparison = preceded(space0, terminated(comparison, space0)).parse_next(input)?;
    let start = *input;
    let operand = match opt(multiple).parse_next(input)? {
        Some(multiple) if input.is_empty() => multiple,
        _ => {
            *input = start;
            rest.map(|text: &str| Operand::Plain(text.trim_end()))
                .parse_next(input)?
        }
    };
    Ok((comparison, operand))
}

/// Reads `all|any|none SELECTOR`.
///
/// # Errors
/// When it does not begin with a quantity, or the rest is no selector of whole groups.
pub fn complete(text: &str) -> Result<(Quantity, Selector), UnitError> {
    let help = r#"write `all`, `any` or `none` and a selector: "all honest""#;
    let wrong = |message: String| UnitError {
        message,
        help: help.to_owned(),
    };
    let (word, selector) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    let quantity = match word {
        "all" => Quantity::All,
        "any" => Quantity::Any,
        "none" => Quantity::None,
        _ => return Err(wrong(format!("`{word}` is no quantity"))),
    };
    let selector = Selector::parse(selector)?;
    if selector.share_ppm.is_some() {
        return Err(wrong(
            "a share of a group cannot be expected: which ones?".to_owned(),
        ));
    }
    Ok((quantity, selector))
}

/// By how much one thing is better than another.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Difference {
    /// At least, or more than, so much.
    pub from: (Comparison, f64),
    /// At most so much.
    pub to: Option<f64>,
}

impl Difference {
    /// Reads `>= 5%`, `> 0%`, or a range: `45% .. 55%`, or `-10% .. 10%` for what is about the same.
    ///
    /// # Errors
    /// When it is neither, or an empty range.
    pub fn parse(text: &str) -> Result<Difference, UnitError> {
        let wrong = |message: &str| UnitError {
            message: message.to_owned(),
            help: r#"write ">= 5%", "> 0%", "45% .. 55%" or "-10% .. 10%""#.to_owned(),
        };
        if let Some((from, to)) = text.split_once("..") {
            let bound = |text: &str| match text.trim().strip_prefix('-') {
                Some(below) => units::fraction(below.trim_start()).map(|part| -part),
                None => units::fraction(text.trim()),
            };
            let (from, to) = (bound(from)?, bound(to)?);
            return match from < to {
                true => Ok(Difference {
                    from: (Comparison::AtLeast, from),
                    to: Some(to),
                }),
                false => Err(wrong("this range is empty")),
            };
        }
        let limit = Limit::parse(text, Unit::Fraction)?;
        match limit.comparison {
            Comparison::Above | Comparison::AtLeast => Ok(Difference {
                from: (limit.comparison, limit.number),
                to: None,
            }),
            _ => Err(wrong("what is better is so by at least something")),
        }
    }

    /// Whether all of an interval keeps it.
    #[must_use]
    pub fn holds(&self, [low, high]: [f64; 2]) -> bool {
        let (comparison, from) = self.from;
        comparison.holds(low, from) && self.to.is_none_or(|to| high <= to)
    }

    /// Whether any difference up to `most` could keep it.
    #[must_use]
    pub fn possible(&self, most: f64) -> bool {
        let (comparison, from) = self.from;
        comparison.possible(from, f64::NEG_INFINITY, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_in_base_units() {
        for (text, unit, comparison, number, reference) in [
            (
                "<= 1.6 x bound",
                Unit::Seconds,
                Comparison::AtMost,
                1.6,
                Some(Reference::Bound),
            ),
            (
                "<=3 x torrent ",
                Unit::Bytes,
                Comparison::AtMost,
                3.0,
                Some(Reference::Torrent),
            ),
            ("< 2%", Unit::Fraction, Comparison::Below, 0.02, None),
            (">= 2", Unit::Count, Comparison::AtLeast, 2.0, None),
            ("== 0", Unit::Count, Comparison::Exactly, 0.0, None),
            ("> 1.5 min", Unit::Seconds, Comparison::Above, 90.0, None),
            ("<= 64 KiB", Unit::Bytes, Comparison::AtMost, 65_536.0, None),
        ] {
            let read = Limit::parse(text, unit);
            assert_eq!(
                read,
                Ok(Limit {
                    comparison,
                    number,
                    reference
                }),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_limit_says_why() {
        for (text, unit, says) in [
            ("1.6 x bound", Unit::Seconds, "must begin with"),
            ("<= 1.6 x bond", Unit::Seconds, "not measured in `x bond`"),
            ("<= 1.6 x bound", Unit::Bytes, "not measured in `x bound`"),
            ("<= 5", Unit::Seconds, "a duration needs a unit"),
            ("<= 2", Unit::Fraction, "a percentage ends with"),
            (">= 1.5", Unit::Count, "must be whole"),
            ("<= -1%", Unit::Fraction, "carries no sign"),
            ("", Unit::Count, "must begin with"),
            ("<= 1.6 x bound or so", Unit::Seconds, "not a duration"),
        ] {
            let error = Limit::parse(text, unit).expect_err("no limit");
            assert!(error.message.contains(says), "{text}: {}", error.message);
        }
    }

    #[test]
    fn a_limit_is_held_against_its_reference() {
        let limit = Limit::parse("<= 1.5 x bound", Unit::Seconds).expect("a limit");
        assert!(limit.holds(150.0, 100.0, 0));
        assert!(!limit.holds(151.0, 100.0, 0));
        let limit = Limit::parse("> 2 x torrent", Unit::Bytes).expect("a limit");
        assert!(limit.holds(21.0, 0.0, 10));
        assert!(!limit.holds(f64::NAN, 0.0, 10));
        assert!(!Comparison::Below.possible(0.0, 0.0, 1.0));
        assert!(Comparison::AtMost.possible(0.0, 0.0, 1.0));
        assert!(!Comparison::AtLeast.possible(1.1, 0.0, 1.0));
        assert!(!Comparison::Exactly.possible(0.9, 1.0, f64::INFINITY));
    }

    #[test]
    fn a_difference_has_a_lower_limit_or_two() {
        let more = Difference::parse(">= 5%").expect("a limit");
        assert!(more.holds([0.05, 9.0]) && !more.holds([0.04, 9.0]));
        let half = Difference::parse("45% .. 55%").expect("a range");
        assert!(half.holds([0.46, 0.55]) && !half.holds([0.46, 0.56]) && !half.holds([0.4, 0.5]));
        let same = Difference::parse("-10% .. 10%").expect("a range");
        assert!(same.holds([-0.1, 0.1]) && !same.holds([-0.2, 0.0]) && same.possible(1.0));
        assert!(!Difference::parse("> 100%").expect("a limit").possible(1.0));
        for text in ["<= 5%", "10% .. -10%", "5% ..", "5 .. 6", "-5%", "== 5%"] {
            assert!(Difference::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn quantities_are_read() {
        assert!(matches!(complete("all honest"), Ok((Quantity::All, _))));
        assert!(matches!(complete("none poison"), Ok((Quantity::None, _))));
        for text in ["honest", "every honest", "all", "all 20% of home"] {
            assert!(complete(text).is_err(), "{text}");
        }
    }
}

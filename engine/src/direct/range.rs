//! Owns byte ranges in HTTP (RFC 9110, 14): what `Range` asks for, what `Content-Range` answers.
//!
//! Invariant: a range that leaves this room is not empty and lies within the file. A field that does not
//! follow the grammar is as if it were not there; nothing here allocates by what a field says.

use std::fmt;
use std::ops::Range;

/// Ranges in one field above which it is not read to its end. They would be answered with the whole file
/// anyway.
pub const RANGES_MAX: usize = 64;

/// What a `Range` field means for a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    /// Everything: the field cannot be understood, has another unit than bytes, or asks for several ranges
    /// (RFC 9110, 14.2: a server may ignore it).
    Whole,
    /// One part: first byte, and the byte behind the last one.
    Part(Range<u64>),
    /// Nothing of it is in the file: 416.
    Unsatisfiable,
}

/// Reads a `Range` field for a file of `len` bytes. Several ranges are answered with the whole file, which a
/// client must expect; where only one of them is in the file, with that one.
#[must_use]
pub fn parse_range(field: &str, len: u64) -> Asked {
    let Some((unit, set)) = field.split_once('=') else {
        return Asked::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Asked::Whole;
    }
    let mut found: Option<Range<u64>> = None;
    let mut asked = 0;
    for spec in set.split(',').map(trimmed) {
        if spec.is_empty() {
            continue;
        }
        asked += 1;
        if asked > RANGES_MAX {
            return Asked::Whole;
        }
        match parse_spec(spec, len) {
            None => return Asked::Whole,
            Some(None) => {}
            Some(Some(_)) if found.is_some() => return Asked::Whole,
            Some(part) => found = part,
        }
    }
    match found {
        Some(part) => Asked::Part(part),
        None if asked == 0 => Asked::Whole,
        None => Asked::Unsatisfiable,
    }
}

/// One of `FIRST-LAST`, `FIRST-`, `-SUFFIX`: `None` when it is none of them, `Some(None)` when it is outside
/// the file.
#[expect(
    clippy::option_option,
    reason = "outside the file is no error of the grammar"
)]
fn parse_spec(spec: &str, len: u64) -> Option<Option<Range<u64>>> {
    let (first, last) = spec.split_once('-')?;
    let (first, last) = (trimmed(first), trimmed(last));
    let part = if first.is_empty() {
        let suffix = number(last)?;
        len.saturating_sub(suffix)..len
    } else {
        let first = number(first)?;
        let end = if last.is_empty() {
            len
        } else {
            let last = number(last)?;
            if last < first {
                return None;
            }
            last.saturating_add(1).min(len)
        };
        first..end
    };
    Some((part.start < part.end).then_some(part))
}

fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Digits; what no 64 bits hold is as large as they can say.
fn number(digits: &str) -> Option<u64> {
    let all = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    all.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// What a client asks for in one `Range` field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ByteRange {
    /// First byte.
    pub first: u64,
    /// Last byte, not before the first; none: to the end.
    pub last: Option<u64>,
}

impl ByteRange {
    /// From here to the end.
    #[must_use]
    pub fn from(first: u64) -> ByteRange {
        ByteRange { first, last: None }
    }

    /// These bytes. `None` when there are none.
    #[must_use]
    pub fn of(range: &Range<u64>) -> Option<ByteRange> {
        (range.start < range.end).then(|| ByteRange {
            first: range.start,
            last: Some(range.end - 1),
        })
    }
}

/// The value of a `Range` field.
impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.last {
            Some(last) => write!(f, "bytes={}-{last}", self.first),
            None => write!(f, "bytes={}-", self.first),
        }
    }
}

/// What a `Content-Range` field says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ContentRange {
    /// The bytes that follow, and the length of the whole unless it is not known.
    Part {
        /// First byte, and the byte behind the last one.
        range: Range<u64>,
        /// Bytes of the whole, when the server knows.
        total: Option<u64>,
    },
    /// With 416: the length of the whole.
    Unsatisfied {
        /// Bytes of the whole.
        total: u64,
    },
}

impl ContentRange {
    /// Reads the field; `None` when it makes no sense.
    #[must_use]
    pub fn parse(field: &str) -> Option<ContentRange> {
        let (unit, rest) = trimmed(field).split_once([' ', '\t'])?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (range, total) = trimmed(rest).split_once('/')?;
        let exact = |digits: &str| number(digits).filter(|n| *n < u64::MAX);
        if trimmed(range) == "*" {
            let total = exact(trimmed(total))?;
            return Some(ContentRange::Unsatisfied { total });
        }
        let (first, last) = range.split_once('-')?;
        let (first, last) = (exact(trimmed(first))?, exact(trimmed(last))?);
        let total = match trimmed(total) {
            "*" => None,
            digits => Some(exact(digits)?),
        };
        let sound = first <= last && total.is_none_or(|total| last < total);
        sound.then_some(ContentRange::Part {
            range: first..last + 1,
            total,
        })
    }
}

/// The value of a `Content-Range` field.
impl fmt::Display for ContentRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ContentRange::Unsatisfied { total } => write!(f, "bytes */{total}"),
            ContentRange::Part { range, total } => {
                write!(f, "bytes {}-{}/", range.start, range.end.saturating_sub(1))?;
                match total {
                    Some(total) => write!(f, "{total}"),
                    None => f.write_str("*"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_range_of_a_file_of_a_hundred_bytes() {
        use Asked::{Part, Unsatisfiable, Whole};
        let many = format!("bytes={}0-1", "200-,".repeat(RANGES_MAX));
        let behind = format!("bytes=0-1{}", ",200-".repeat(RANGES_MAX));
        let outside = format!("bytes=200-{}", ",200-".repeat(RANGES_MAX));
        for (field, asked) in [
            ("bytes=0-9", Part(0..10)),
            ("BYTES = 5-5 ", Part(5..6)),
            ("bytes=90-", Part(90..100)),
            ("bytes=90-1000", Part(90..100)),
            ("bytes=-10", Part(90..100)),
            ("bytes=-1000", Part(0..100)),
            ("bytes=0-99999999999999999999999", Part(0..100)),
            ("bytes=,0-9,", Part(0..10)),
            // Of two, one is in the file.
            ("bytes=0-9,100-", Part(0..10)),
            ("bytes=100-", Unsatisfiable),
            ("bytes=100-200", Unsatisfiable),
            ("bytes=99999999999999999999999-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=100-,200-", Unsatisfiable),
            // Several, and what is no range at all.
            ("bytes=0-1,3-4", Whole),
            ("bytes=0-1,x", Whole),
            ("bytes=9-1", Whole),
            ("bytes=", Whole),
            ("bytes=-", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=1--2", Whole),
            ("bytes 0-9", Whole),
            ("lines=0-9", Whole),
            ("", Whole),
            (&many, Whole),
            (&behind, Whole),
            (&outside, Whole),
            (&behind[..behind.len() - 5], Part(0..2)),
        ] {
            assert_eq!(parse_range(field, 100), asked, "{field}");
        }
        assert_eq!(parse_range("bytes=0-", 0), Unsatisfiable);
        assert_eq!(parse_range("bytes=-5", 0), Unsatisfiable);
    }

    #[test]
    fn what_a_server_says_of_a_range() {
        let part = |range, total| Some(ContentRange::Part { range, total });
        for (field, said) in [
            ("bytes 0-9/100", part(0..10, Some(100))),
            (" Bytes  90-99/* ", part(90..100, None)),
            (
                "bytes */100",
                Some(ContentRange::Unsatisfied { total: 100 }),
            ),
            ("bytes */*", None),
            ("bytes 9-0/100", None),
            ("bytes 0-100/100", None),
            ("bytes 0-9", None),
            ("bytes=0-9/100", None),
            ("bytes -9/100", None),
            ("bytes 0-18446744073709551615/*", None),
            ("bytes 0-99999999999999999999999/*", None),
            ("lines 0-9/100", None),
            ("", None),
        ] {
            assert_eq!(ContentRange::parse(field), said, "{field}");
        }
    }

    #[test]
    fn nobody_asks_for_no_bytes() {
        let asks = |range: Range<u64>| ByteRange::of(&range).map(|range| range.to_string());
        assert_eq!(asks(5..5), None);
        assert_eq!(asks(5..6).as_deref(), Some("bytes=5-5"));
        assert_eq!(ByteRange::from(7).to_string(), "bytes=7-");
    }

    proptest! {
        #[test]
        fn any_field_is_read_and_a_part_lies_within_the_file(
            field in "(bytes=)?[-0-9, ]{0,40}|\\PC{0,40}", len in 0..1000_u64,
        ) {
            if let Asked::Part(part) = parse_range(&field, len) {
                prop_assert!(part.start < part.end && part.end <= len);
            }
            if let Some(said) = ContentRange::parse(&field) {
                prop_assert_eq!(ContentRange::parse(&said.to_string()), Some(said));
            }
        }

        #[test]
        fn what_one_end_asks_and_says_the_other_understands(first in 0..1000_u64, len in 1..1000_u64) {
            let asked = ByteRange::of(&(first..first + len)).unwrap().to_string();
            prop_assert_eq!(parse_range(&asked, 2000), Asked::Part(first..first + len));
            let said = ContentRange::Part { range: first..first + len, total: Some(2000) };
            prop_assert_eq!(ContentRange::parse(&said.to_string()), Some(said));
        }
    }
}

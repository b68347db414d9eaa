//! Owns the strict scanner that every foreign bencode passes before serde sees it (BEP 3): metainfo
//! files, tracker replies, extension messages, resume data. It builds nothing; it says yes or where not.
//!
//! Invariant: bytes that passed [`check`] are exactly one well-formed value, nested at most
//! [`DEPTH_MAX`] deep. The scanner keeps its own stack, so no input can exhaust the thread's, and of
//! what it read only where the keys of open dictionaries are: four bytes for each.

use std::ops::Range;

use serde::de::DeserializeOwned;

/// Lists and dictionaries inside each other, at most; `serde_bencode` recurses.
pub const DEPTH_MAX: usize = 32;

/// Bytes of one bencoded input, at most: 10 MiB.
pub const INPUT_BYTES_MAX: usize = 10 * 1024 * 1024;

/// Where a bencoded input breaks the rules, and which one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("bad bencode at byte {at}: {what}")]
pub struct ScanError {
    /// Offset into the input, bytes.
    pub at: usize,
    /// What is wrong there.
    pub what: ScanProblem,
}

/// The rule of bencode (BEP 3), or the limit of ours, that an input breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScanProblem {
    /// Longer than [`INPUT_BYTES_MAX`].
    #[error("the input is longer than 10 MiB")]
    TooLong,
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("lists and dictionaries are nested deeper than 32")]
    TooDeep,
    /// The input ends inside a value.
    #[error("the input ends in the middle of a value")]
    EndsEarly,
    /// No value begins with this byte.
    #[error("no value begins with this byte")]
    UnexpectedByte,
    /// Empty, with leading zeros, `-0`, or not a number.
    #[error("not a well-formed integer")]
    BadInteger,
    /// Outside the signed 64-bit range.
    #[error("the integer does not fit 64 bits")]
    IntegerTooLarge,
    /// A byte string's length with leading zeros, too large, or without its colon.
    #[error("not a well-formed length of a byte string")]
    BadLength,
    /// A byte string that is longer than the rest of the input.
    #[error("the byte string runs past the end of the input")]
    PastEnd,
    /// A dictionary key that is not a byte string.
    #[error("a dictionary key must be a byte string")]
    KeyNotString,
    /// A dictionary that ends between a key and its value.
    #[error("the dictionary's last key has no value")]
    KeyWithoutValue,
    /// The same key twice in one dictionary.
    #[error("the dictionary has this key twice")]
    DuplicateKey,
    /// Bytes after the value.
    #[error("bytes follow after the end of the value")]
    Trailing,
}

/// Why [`from_slice`] gave no value.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Not well-formed bencode.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// Well-formed, but not of the type that was asked for.
    #[error("unexpected content: {0}")]
    Shape(String),
}

/// Where the values of so many keys are, as ranges of bytes; of those that there are.
pub type Spans<const N: usize> = [Option<Range<usize>>; N];

/// Whether `bytes` are exactly one well-formed value. Unsorted keys pass: real files have them.
///
/// # Errors
/// The first rule that is broken, and where.
pub fn check(bytes: &[u8]) -> Result<(), ScanError> {
    scan(bytes, [], true).map(drop)
}

/// Checks `bytes` and finds the value of `key` in the outermost dictionary: its range in `bytes`.
/// `None` when there is no such key or the outermost value is no dictionary.
///
/// # Errors
/// As [`check`].
pub fn top_level_span(bytes: &[u8], key: &[u8]) -> Result<Option<Range<usize>>, ScanError> {
    top_level_spans(bytes, [key]).map(|[span]| span)
}

/// Checks `bytes` and finds the values of these keys in the outermost dictionary, in one walk.
///
/// # Errors
/// As [`check`].
pub fn top_level_spans<const N: usize>(
    bytes: &[u8],
    keys: [&[u8]; N],
) -> Result<Spans<N>, ScanError> {
    scan(bytes, keys, true).map(|(spans, _)| spans)
}

/// Checks the value that `bytes` begin with and returns where it ends; what follows is not looked at.
///
/// # Errors
/// As [`check`], but for bytes after the value.
pub fn first_value_len(bytes: &[u8]) -> Result<usize, ScanError> {
    scan(bytes, [], false).map(|(_, end)| end)
}

/// Checks `bytes` and decodes them. Keys that `T` does not know are skipped.
///
/// # Errors
/// As [`check`], or when the value is not a `T`.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    check(bytes)?;
    serde_bencode::from_bytes(bytes).map_err(|error| DecodeError::Shape(error.to_string()))
}

/// A list or dictionary that was opened and not yet closed.
#[derive(Clone, Copy)]
enum Open {
    List,
    Dict {
        /// Its first key in the list of keys.
        keys: u32,
        value_next: bool,
    },
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn fail<T>(at: usize, what: ScanProblem) -> Result<T, ScanError> {
        Err(ScanError { at, what })
    }

    fn peek(&self) -> Result<u8, ScanError> {
        match self.bytes.get(self.at) {
            Some(&byte) => Ok(byte),
            None => Scanner::fail(self.at, ScanProblem::EndsEarly),
        }
    }

    /// Reads digits without leading zeros up to `end` and returns their value, negated so that the
    /// whole signed range fits.
    fn digits(&mut self, end: u8, bad: ScanProblem, large: ScanProblem) -> Result<i64, ScanError> {
        let start = self.at;
        let mut value = 0i64;
        loop {
            let byte = self.peek()?;
            if byte == end {
                break;
            }
            if !byte.is_ascii_digit() {
                return Scanner::fail(self.at, bad);
            }
            let grown = value
                .checked_mul(10)
                .and_then(|v| v.checked_sub(i64::from(byte - b'0')));
            match grown {
                Some(grown) => value = grown,
                None => return Scanner::fail(start, large),
            }
            self.at += 1;
        }
        let count = self.at - start;
        if count == 0 || (count > 1 && self.bytes[start] == b'0') {
            return Scanner::fail(start, bad);
        }
        self.at += 1;
        Ok(value)
    }

    fn integer(&mut self) -> Result<(), ScanError> {
        let start = self.at;
        self.at += 1;
        let negative = self.peek()? == b'-';
        self.at += usize::from(negative);
        let value = self.digits(b'e', ScanProblem::BadInteger, ScanProblem::IntegerTooLarge)?;
        if negative && value == 0 {
            return Scanner::fail(start, ScanProblem::BadInteger);
        }
        if !negative && value == i64::MIN {
            return Scanner::fail(start, ScanProblem::IntegerTooLarge);
        }
        Ok(())
    }

    fn string(&mut self) -> Result<&'a [u8], ScanError> {
        let start = self.at;
        let len = self.digits(b':', ScanProblem::BadLength, ScanProblem::BadLength)?;
        let rest = &self.bytes[self.at..];
        let len = usize::try_from(len.unsigned_abs()).unwrap_or(usize::MAX);
        match rest.get(..len) {
            Some(string) => {
                self.at += len;
                Ok(string)
            }
            None => Scanner::fail(start, ScanProblem::PastEnd),
        }
    }
}

fn refuse_duplicates(bytes: &[u8], keys: &mut [u32]) -> Result<(), ScanError> {
    let key = |at: &u32| key_at(bytes, *at as usize);
    if !keys.is_sorted_by_key(key) {
        keys.sort_unstable_by_key(|at| (key_at(bytes, *at as usize), *at));
    }
    match keys.windows(2).find(|pair| key(&pair[0]) == key(&pair[1])) {
        Some(pair) => Scanner::fail(pair[1] as usize, ScanProblem::DuplicateKey),
        None => Ok(()),
    }
}

/// A byte string that was scanned already.
fn key_at(bytes: &[u8], at: usize) -> &[u8] {
    let mut scanner = Scanner { bytes, at };
    scanner.string().expect("it was scanned before")
}

/// Walks one value, with `alone` the whole input, once; remembers where the values of the keys `wanted` in
/// the outermost dictionary are, and returns where the walk ended.
fn scan<const N: usize>(
    bytes: &[u8],
    wanted: [&[u8]; N],
    alone: bool,
) -> Result<(Spans<N>, usize), ScanError> {
    if bytes.len() > INPUT_BYTES_MAX {
        return Scanner::fail(INPUT_BYTES_MAX, ScanProblem::TooLong);
    }
    let mut scanner = Scanner { bytes, at: 0 };
    let mut open: Vec<Open> = Vec::with_capacity(DEPTH_MAX);
    // Where the keys of open dictionaries begin, those of the innermost last: 32 bits are enough for
    // [`INPUT_BYTES_MAX`].
    let mut keys: Vec<u32> = Vec::with_capacity(16);
    let mut found = [const { None }; N];
    // Which of them the walk is in, and from where on.
    let mut inside = None;
    loop {
        // Before a value, a key, or the end of what is open.
        let byte = scanner.peek()?;
        let depth = open.len();
        match open.last_mut() {
            Some(Open::Dict { value_next, .. }) if !*value_next && byte != b'e' => {
                if !byte.is_ascii_digit() {
                    return Scanner::fail(scanner.at, ScanProblem::KeyNotString);
                }
                let at = u32::try_from(scanner.at).expect("at most INPUT_BYTES_MAX");
                let key = scanner.string()?;
                keys.push(at);
                if depth == 1 {
                    let which = wanted.iter().position(|wanted| *wanted == key);
                    inside = which.map(|which| (which, scanner.at));
                }
                *value_next = true;
                continue;
            }
            Some(Open::Dict {
                value_next: true, ..
            }) if byte == b'e' => {
                return Scanner::fail(scanner.at, ScanProblem::KeyWithoutValue);
            }
            _ => {}
        }
        match byte {
            b'i' => scanner.integer()?,
            b'0'..=b'9' => {
                scanner.string()?;
            }
            b'l' | b'd' => {
                if open.len() == DEPTH_MAX {
                    return Scanner::fail(scanner.at, ScanProblem::TooDeep);
                }
                scanner.at += 1;
                open.push(match byte {
                    b'l' => Open::List,
                    _ => Open::Dict {
                        keys: u32::try_from(keys.len()).expect("fewer than bytes"),
                        value_next: false,
                    },
                });
                continue;
            }
            b'e' => match open.pop() {
                Some(Open::Dict { keys: first, .. }) => {
                    refuse_duplicates(bytes, &mut keys[first as usize..])?;
                    keys.truncate(first as usize);
                    scanner.at += 1;
                }
                Some(Open::List) => scanner.at += 1,
                None => return Scanner::fail(scanner.at, ScanProblem::UnexpectedByte),
            },
            _ => return Scanner::fail(scanner.at, ScanProblem::UnexpectedByte),
        }
        // A value ended here.
        if open.len() == 1
            && let Some((which, from)) = inside.take()
        {
            found[which] = Some(from..scanner.at);
        }
        match open.last_mut() {
            Some(Open::Dict { value_next, .. }) => *value_next = false,
            Some(Open::List) => {}
            None if alone && scanner.at < bytes.len() => {
                return Scanner::fail(scanner.at, ScanProblem::Trailing);
            }
            None => return Ok((found, scanner.at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_bencode::value::Value;

    use super::*;

    #[test]
    fn well_formed_values_pass() {
        for good in [
            "i0e",
            "i-1e",
            "i42e",
            "i9223372036854775807e",
            "i-9223372036854775808e",
            "0:",
            "3:abc",
            "le",
            "de",
            "li1e0:lee",
            "d1:bi1e1:ai2ee",
            "d0:lee",
        ] {
            assert_eq!(check(good.as_bytes()), Ok(()), "{good}");
        }
    }

    #[test]
    fn the_first_of_several_values_is_cut_off() {
        for (bytes, end) in [
            (&b"i1ei2e"[..], Ok(3)),
            (b"d1:ai1ee\xff\xff", Ok(8)),
            (b"le", Ok(2)),
            (b"0:", Ok(2)),
        ] {
            assert_eq!(first_value_len(bytes), end);
        }
        let early = ScanError {
            at: 4,
            what: ScanProblem::EndsEarly,
        };
        assert_eq!(first_value_len(b"d1:a"), Err(early));
    }

    #[test]
    fn every_rule_is_named_with_its_place() {
        use ScanProblem::*;
        for (bad, at, what) in [
            ("", 0, EndsEarly),
            ("i12", 3, EndsEarly),
            ("l", 1, EndsEarly),
            ("d1:a", 4, EndsEarly),
            ("ie", 1, BadInteger),
            ("i-e", 2, BadInteger),
            ("i-0e", 0, BadInteger),
            ("i007e", 1, BadInteger),
            ("i1.5e", 2, BadInteger),
            ("i+1e", 1, BadInteger),
            ("i9223372036854775808e", 0, IntegerTooLarge),
            ("i-9223372036854775809e", 2, IntegerTooLarge),
            ("i99999999999999999999e", 1, IntegerTooLarge),
            ("03:abc", 0, BadLength),
            ("00:", 0, BadLength),
            ("3;abc", 1, BadLength),
            ("99999999999999999999:a", 0, BadLength),
            ("l5:abce", 1, PastEnd),
            ("9223372036854775807:a", 0, PastEnd),
            ("di1e1:ae", 1, KeyNotString),
            ("dlei1ee", 1, KeyNotString),
            ("d1:ae", 4, KeyWithoutValue),
            ("d1:ai1e1:bi1e1:ai2ee", 13, DuplicateKey),
            ("i1ei2e", 3, Trailing),
            ("dex", 2, Trailing),
            ("e", 0, UnexpectedByte),
            ("x", 0, UnexpectedByte),
            ("lxe", 1, UnexpectedByte),
        ] {
            assert_eq!(check(bad.as_bytes()), Err(ScanError { at, what }), "{bad}");
        }
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let nested = |depth: usize| "l".repeat(depth) + &"e".repeat(depth);
        assert_eq!(check(nested(DEPTH_MAX).as_bytes()), Ok(()));
        let deep = ScanError {
            at: DEPTH_MAX,
            what: ScanProblem::TooDeep,
        };
        assert_eq!(check(nested(DEPTH_MAX + 1).as_bytes()), Err(deep));
        assert_eq!(
            check("d1:a".repeat(2_000_000).as_bytes()).map_err(|e| e.what),
            Err(ScanProblem::TooDeep)
        );
        let long = vec![b'i'; INPUT_BYTES_MAX + 1];
        assert_eq!(check(&long).map_err(|e| e.what), Err(ScanProblem::TooLong));
    }

    #[test]
    fn the_span_is_the_outermost_value_as_found() {
        let bytes = b"d1:xd4:infoi1ee4:infod1:bi2e1:ai1ee1:zi0ee";
        let span = top_level_span(bytes, b"info")
            .expect("well-formed")
            .expect("there");
        assert_eq!(&bytes[span], b"d1:bi2e1:ai1ee");
        assert_eq!(top_level_span(bytes, b"none"), Ok(None));
        assert_eq!(top_level_span(b"l4:infoi1ee", b"info"), Ok(None));
        let spans = top_level_spans(bytes, [b"z", b"none", b"x"]).expect("well-formed");
        assert_eq!(spans, [Some(38..41), None, Some(4..15)]);
        assert!(top_level_spans(&bytes[1..], [b"z"]).is_err());
    }

    #[test]
    fn decoding_checks_first() {
        assert_eq!(from_slice::<i64>(b"i7e"), Ok(7));
        assert!(matches!(
            from_slice::<i64>(b"i007e"),
            Err(DecodeError::Scan(_))
        ));
        assert!(matches!(
            from_slice::<i64>(b"1:a"),
            Err(DecodeError::Shape(_))
        ));
    }

    fn values() -> impl Strategy<Value = Value> {
        let bytes = proptest::collection::vec(any::<u8>(), 0..20);
        let leaf = prop_oneof![
            any::<i64>().prop_map(Value::Int),
            bytes.prop_map(Value::Bytes)
        ];
        leaf.prop_recursive(5, 60, 6, |inner| {
            let key = proptest::collection::vec(any::<u8>(), 0..4);
            let dict = proptest::collection::btree_map(key, inner.clone(), 0..6);
            prop_oneof![
                proptest::collection::vec(inner, 0..6).prop_map(Value::List),
                dict.prop_map(|map: BTreeMap<_, _>| Value::Dict(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = check(&bytes);
        }

        #[test]
        fn noise_of_bencode_letters_never_panics(text in "[ilde0-9:\\-]{0,60}") {
            if check(text.as_bytes()).is_ok() {
                serde_bencode::from_bytes::<Value>(text.as_bytes()).expect("what passes can be decoded");
            }
        }

        #[test]
        fn what_serde_bencode_writes_passes(value in values()) {
            let bytes = serde_bencode::to_bytes(&value).expect("encodes");
            prop_assert_eq!(check(&bytes), Ok(()));
            prop_assert_eq!(from_slice::<Value>(&bytes), Ok(value));
        }

        #[test]
        fn a_cut_never_passes(value in values(), cut in any::<proptest::sample::Index>()) {
            let bytes = serde_bencode::to_bytes(&value).expect("encodes");
            prop_assert!(check(&bytes[..cut.index(bytes.len())]).is_err());
        }
    }
}

//! Owns the inputs that parsers are tried with: arbitrary bytes, valid inputs that were damaged, and
//! bencode made to hurt.
//!
//! Invariant: pure; the same draws give the same bytes.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::measure::Raw;

/// Numbers that a length or a count may be replaced by.
const HUGE: [&str; 8] = [
    "18446744073709551615",
    "9223372036854775807",
    "1000000000000000000",
    "4294967296",
    "4294967295",
    "10485760",
    "99999999999999999999999",
    "-1",
];

/// Pieces of bencode, of queries and of URLs that may be put in.
const TOKENS: [&str; 14] = [
    "le",
    "de",
    "0:",
    "i0e",
    "d0:lee",
    "1:a",
    "e",
    "i1000000000000000000e",
    "9999999999:",
    "d6:lengthi1e4:pathl1:aee",
    "&a=%41",
    "&info_hash=%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00",
    "\u{130}",
    "\0\0\0\u{1}",
];

/// Bytes without any order, and letters of bencode.
pub fn arbitrary() -> BoxedStrategy<Raw> {
    prop_oneof![
        2 => vec(any::<u8>(), 0..2000),
        1 => vec(any::<u8>(), 0..40_000),
        2 => "[ilde0-9:\\-a]{0,400}".prop_map(String::into_bytes),
    ]
    .prop_map(Raw)
    .boxed()
}

/// Inputs of `valid` after one to six changes.
pub fn damaged(valid: Vec<Vec<u8>>) -> BoxedStrategy<Raw> {
    let change = (0..8_u8, any::<Index>(), any::<Index>(), any::<u32>());
    let chosen = proptest::sample::select(valid);
    let damage = |(mut bytes, changes): (Vec<u8>, Vec<Change>)| {
        changes.into_iter().for_each(|to| change_by(&mut bytes, to));
        Raw(bytes)
    };
    (chosen, vec(change, 1..7)).prop_map(damage).boxed()
}

type Change = (u8, Index, Index, u32);

fn change_by(bytes: &mut Vec<u8>, (kind, at, until, n): Change) {
    let len = bytes.len();
    let (at, until) = (at.index(len + 1), until.index(len + 1));
    let some = |choices: usize| n as usize % choices;
    match kind {
        0 if at < len => bytes[at] ^= 1 << some(8),
        1 => bytes.truncate(at),
        2 => huge_number(bytes, at, HUGE[some(HUGE.len())]),
        // Twice the same: keys, entries.
        3 => {
            let part = bytes[at.min(until)..at.max(until)].to_vec();
            insert(bytes, at, &part);
        }
        4 => {
            let opening: &[u8] = if n % 2 == 0 { b"l" } else { b"d1:a" };
            insert(bytes, at, &opening.repeat(some(3000)));
        }
        5 => {
            let word = [u32::MAX, i32::MAX.unsigned_abs(), 0x4001, n][some(4)].to_be_bytes();
            let end = len.min(at + word.len());
            bytes[at..end].copy_from_slice(&word[..end - at]);
        }
        6 => {
            let token = TOKENS[until % TOKENS.len()].as_bytes();
            insert(bytes, at, &token.repeat(some(1500)));
        }
        _ => insert(bytes, at, &n.to_be_bytes()[..1]),
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, part: &[u8]) {
    bytes.splice(at..at, part.iter().copied());
}

/// Replaces the next run of digits from `at` on.
fn huge_number(bytes: &mut Vec<u8>, at: usize, number: &str) {
    let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit) else {
        return;
    };
    let start = at + start;
    let digits = bytes[start..].iter().take_while(|b| b.is_ascii_digit());
    let end = start + digits.count();
    bytes.splice(start..end, number.bytes());
}

/// A byte string.
pub fn string(bytes: &[u8]) -> Vec<u8> {
    [format!("{}:", bytes.len()).as_bytes(), bytes].concat()
}

/// A dictionary of these keys, each with a value as it is.
pub fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut out = b"d".to_vec();
    for (key, value) in entries {
        out.extend(string(key.as_bytes()));
        out.extend(value);
    }
    out.push(b'e');
    out
}

/// A list of `count` times one value.
pub fn list_of(value: &[u8], count: usize) -> Vec<u8> {
    [b"l", value.repeat(count).as_slice(), b"e"].concat()
}

/// The number as a short name: different ones have different names.
pub fn name(number: usize) -> Vec<u8> {
    let (mut rest, mut name) = (number, Vec::new());
    loop {
        name.push(b'0' + u8::try_from(rest % 64).expect("below 64"));
        rest /= 64;
        if rest == 0 {
            return name;
        }
    }
}

/// A dictionary of so many different keys, each with the shortest value; in order or not.
pub fn many_keys(count: usize, reversed: bool) -> Vec<u8> {
    let mut keys: Vec<Vec<u8>> = (0..count).map(name).collect();
    keys.sort();
    if reversed {
        keys.reverse();
    }
    let entries: Vec<u8> = keys
        .iter()
        .flat_map(|key| [string(key), b"0:".to_vec()].concat())
        .collect();
    [b"d", entries.as_slice(), b"e"].concat()
}

/// Values that say more than they are, or are many for few bytes.
pub fn values() -> Vec<Vec<u8>> {
    let mut values: Vec<Vec<u8>> = HUGE
        .iter()
        .flat_map(|number| [format!("{number}:a"), format!("i{number}e")])
        .map(String::into_bytes)
        .collect();
    for value in [
        "le",
        "de",
        "0:",
        "i0e",
        "d0:0:e",
        "1:a",
        "d1:a0:1:b0:1:c0:1:d0:1:e0:e",
    ] {
        values.push(list_of(value.as_bytes(), 150_000));
    }
    for depth in [16, 31, 40, 200_000] {
        values.push([b"l".repeat(depth), b"e".repeat(depth)].concat());
        values.push([b"d1:a".repeat(depth), b"le".to_vec(), b"e".repeat(depth)].concat());
    }
    values.push(many_keys(256, true));
    values.push(many_keys(65_000, false));
    values.push(many_keys(65_000, true));
    values.push(list_of(&many_keys(64, true), 1000));
    for pair in ["0:0:", "1:a0:"] {
        for count in [2049, 100_000, 131_073] {
            values.push(
                [
                    b"d".to_vec(),
                    pair.repeat(count).into_bytes(),
                    b"e".to_vec(),
                ]
                .concat(),
            );
        }
    }
    values.push(string(&[0xff; 400_000]));
    values
}

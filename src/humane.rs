//! Owns how numbers and foreign texts look to people.
//!
//! Invariant: nothing that came from a file or from the network reaches a terminal with characters that
//! steer it.

use std::time::Duration;

use textwrap::{Options, WordSplitter};

use crate::failure::COLUMNS;

const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];

/// A number of bytes as people say it: `512 B`, `64 KiB`, `1.5 MiB`.
pub fn size(bytes: u64) -> String {
    let mut unit = None;
    let (mut scale, mut next) = (1, 1024);
    for name in UNITS {
        if bytes < next {
            break;
        }
        (unit, scale) = (Some(name), next);
        next *= 1024;
    }
    match unit {
        None => format!("{bytes} B"),
        Some(unit) if bytes.is_multiple_of(scale) => format!("{} {unit}", bytes / scale),
        Some(unit) => format!("{:.1} {unit}", bytes as f64 / scale as f64),
    }
}

/// A speed: `12.5 MiB/s`.
pub fn rate(bytes: u64, time: Duration) -> String {
    let per_second = bytes as f64 / time.as_secs_f64().max(1e-3);
    format!("{}/s", size(per_second as u64))
}

/// A whole number with its digits in groups of three: `16,777,216`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 piece`, `2 pieces`.
pub fn count(number: u64, one: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {one}{plural}", grouped(number))
}

/// A time that somebody waits: `400 ms`, `1.5 s`, `12 s`, `3 min 05 s`, `2 h 07 min`.
pub fn wait(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..10 => format!("{:.1} s", time.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// How much is done, never rounded up to all of it.
pub fn percent(done: u64, total: u64) -> String {
    let part = u128::from(done) * 100 / u128::from(total.max(1));
    format!("{part}%")
}

/// A foreign text with everything that steers a terminal or turns the direction of reading escaped.
pub fn plain(text: &str) -> String {
    let steers = |c: char| {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
    };
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
    }
    plain
}

/// A text cut in lines of at most so many columns, at spaces where there are any.
pub fn lines(text: &str, columns: usize) -> Vec<String> {
    let whole = Options::new(columns).word_splitter(WordSplitter::NoHyphenation);
    let lines = textwrap::wrap(text, whole).into_iter();
    lines.map(std::borrow::Cow::into_owned).collect()
}

/// A paragraph for people: lines of at most 80 columns, further ones indented.
pub fn paragraph(text: &str) -> String {
    let shape = Options::new(COLUMNS).subsequent_indent("    ");
    let shape = shape.word_splitter(WordSplitter::NoHyphenation);
    format!("{}\n", textwrap::fill(text, shape))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_as_people_say_them() {
        let sizes = [0, 1023, 1024, 1536, 16 << 20, (16 << 20) + 1, u64::MAX];
        let shown: Vec<_> = sizes.into_iter().map(size).collect();
        let expected = [
            "0 B",
            "1023 B",
            "1 KiB",
            "1.5 KiB",
            "16 MiB",
            "16.0 MiB",
            "16384.0 PiB",
        ];
        assert_eq!(shown, expected);
        assert_eq!(
            [grouped(7), grouped(1234), grouped(123_456)],
            ["7", "1,234", "123,456"]
        );
        assert_eq!(
            [count(1, "piece"), count(2000, "piece")],
            ["1 piece", "2,000 pieces"]
        );
        let waits =
            [400, 1_500, 12_000, 185_000, 7_620_000].map(|ms| wait(Duration::from_millis(ms)));
        assert_eq!(
            waits,
            ["400 ms", "1.5 s", "12 s", "3 min 05 s", "2 h 07 min"]
        );
        assert_eq!([percent(0, 0), percent(999, 1000)], ["0%", "99%"]);
        assert_eq!(rate(3 << 20, Duration::from_secs(2)), "1.5 MiB/s");
    }

    #[test]
    fn nothing_foreign_steers_the_terminal() {
        assert_eq!(
            plain("a\u{1b}[31mb\n\u{202e}c é 漢"),
            "a\\u{1b}[31mb\\n\\u{202e}c é 漢"
        );
    }

    #[test]
    fn long_texts_are_cut_at_spaces_or_where_they_must() {
        assert_eq!(lines("one two three", 8), ["one two", "three"]);
        assert_eq!(lines("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(lines("漢字漢", 4), ["漢字", "漢"]);
        assert_eq!(lines("漢字", 1), ["漢", "字"]);
        assert_eq!(lines("", 4), [""]);
    }
}

//! Owns the excerpt of a file that is no text: a few rows of bytes, in hex and in ASCII, with carets.
//!
//! Invariant: every line fits 80 columns, and the first byte that is meant is always shown.

use std::ops::Range;

/// Bytes of a row.
const ROW: usize = 16;
/// Rows before the first byte that is meant.
const ROWS_BEFORE: usize = 1;

/// The rows around the beginning of `span`, which may lie behind the end of the file.
pub fn excerpt(file: &[u8], span: Range<usize>) -> String {
    let start = span.start.min(file.len());
    let end = span.end.clamp(start + 1, (start / ROW + 1) * ROW);
    let mut text = match start == file.len() {
        true => format!("    at the end of the file, byte {start}:\n"),
        false => format!("    at byte {start} of {}:\n", file.len()),
    };
    let row = start / ROW;
    for shown in row.saturating_sub(ROWS_BEFORE)..=row {
        let at = shown * ROW;
        let bytes = &file[at.min(file.len())..file.len().min(at + ROW)];
        text.push_str(&line(at, bytes));
    }
    let carets = |width: usize, each: &str| {
        let within = start % ROW..(end - 1) % ROW + 1;
        " ".repeat(within.start * width) + each.repeat(within.len()).trim_end()
    };
    let hex = carets(3, "^^ ");
    text + format!("    {:10}{hex:48} {}", "", carets(1, "^")).trim_end() + "\n"
}

/// One row: where it begins, its bytes in hex, and as characters.
fn line(at: usize, bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x} ")).collect();
    let shown = |byte: &u8| match byte {
        b' '..=b'~' => char::from(*byte),
        _ => '.',
    };
    let ascii: String = bytes.iter().map(shown).collect();
    format!("    {at:08x}  {hex:48} {ascii}")
        .trim_end()
        .to_owned()
        + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_under_the_carets() {
        let file = b"d4:infod6:lengthi-1e4:name1:n\x00";
        assert_eq!(
            excerpt(file, 16..20),
            "    at byte 16 of 30:\n    \
             00000000  64 34 3a 69 6e 66 6f 64 36 3a 6c 65 6e 67 74 68  d4:infod6:length\n    \
             00000010  69 2d 31 65 34 3a 6e 61 6d 65 31 3a 6e 00        i-1e4:name1:n.\n              \
             ^^ ^^ ^^ ^^                                      ^^^^\n"
        );
    }

    #[test]
    fn whatever_the_span_nothing_breaks_and_every_line_fits() {
        for len in [1, 15, 16, 17, 40] {
            let file = vec![b'x'; len];
            for start in 0..len + 20 {
                for end in [start, start + 1, start + 7, start + 100] {
                    let text = excerpt(&file, start..end);
                    assert!(text.contains('^'), "{len} {start} {end}");
                    assert!(text.lines().all(|line| line.len() <= 80), "{text}");
                }
            }
        }
    }
}

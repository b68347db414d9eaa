//! Owns how tables look in a terminal: no frame, right-aligned numbers, at most 80 columns.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// Widest line of any table.
pub(crate) const COLUMNS: u16 = 80;

/// A blank at which no line is broken.
const FIXED: char = '\u{a0}';

/// A cell that stays on one line.
pub(crate) fn cell(text: impl AsRef<str>) -> String {
    text.as_ref().replace(' ', &FIXED.to_string())
}

/// The text of cells as it is printed.
pub(crate) fn plain(text: &str) -> String {
    text.replace(FIXED, " ")
}

/// A table of these columns; all but the first `left` are numbers.
pub(crate) fn table(header: &[&str], left: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    // Lines are indented by two, and lose the blank at their end.
    table.set_width(COLUMNS - 1);
    table.set_header(header.iter().map(cell));
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 1));
        if at >= left {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// The table's lines, indented, without trailing blanks.
pub(crate) fn lines(table: &Table) -> String {
    let lines = table
        .lines()
        .map(|line| format!("  {}\n", plain(line.trim_end())));
    lines.collect()
}

/// A paragraph: lines of at most 80 columns, further ones indented.
pub(crate) fn paragraph(text: &str) -> String {
    let shape = textwrap::Options::new(usize::from(COLUMNS)).subsequent_indent("    ");
    format!("{}\n", textwrap::fill(text, shape))
}

/// A time in seconds: three digits that matter.
pub(crate) fn seconds(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(s) if s >= 100.0 => format!("{s:.0} s"),
        Some(s) if s >= 10.0 => format!("{s:.1} s"),
        Some(s) => format!("{s:.2} s"),
    }
}

/// A size with a binary unit.
pub(crate) fn bytes(value: u64) -> String {
    bytesize::ByteSize::b(value).display().iec().to_string()
}

/// A share in per cent.
pub(crate) fn percent(value: f64) -> String {
    format!("{:.1}%", value * 100.0)
}

/// A whole number with its thousands apart.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(12), "12");
        assert_eq!(seconds(Some(264.96)), "265 s");
        assert_eq!(seconds(None), "-");
        assert_eq!(bytes(67_108_864), "64.0 MiB");
    }
}

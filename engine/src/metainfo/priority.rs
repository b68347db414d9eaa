//! Owns what a user wants of each file, and what follows for the pieces.
//!
//! Invariant: pure; a piece is wanted as much as the file in it that is wanted most. Padding (BEP 47)
//! and links are never wanted, and empty files have no piece.

use super::{FileEntry, Geometry};

/// How much a file, or a piece, is wanted. Ordered: more is greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub enum Priority {
    /// Not at all: what of it shares a piece with a wanted file is kept apart and not shown.
    Skip,
    /// After everything else.
    Low,
    /// As usual.
    #[default]
    Normal,
    /// Before everything else.
    High,
}

/// The priority of every piece, one per piece of `geometry`: the highest among the files that have
/// a byte in it. `priorities` has one entry per file; a file beyond its end counts as
/// [`Priority::Normal`]. A piece of padding alone is [`Priority::Skip`].
#[must_use]
pub fn piece_priorities(
    geometry: Geometry,
    files: &[FileEntry],
    priorities: &[Priority],
) -> Vec<Priority> {
    let mut pieces = vec![Priority::Skip; geometry.pieces as usize];
    for (number, file) in files
        .iter()
        .enumerate()
        .filter(|(_, file)| file.is_wanted())
    {
        let wanted = priorities.get(number).copied().unwrap_or_default();
        for piece in &mut pieces[file.pieces(geometry)] {
            *piece = wanted.max(*piece);
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::Priority::*;
    use super::*;
    use crate::metainfo::FileKind;

    /// Files end to end; `-n` is padding of `n` bytes.
    fn check(sizes: &[i64], priorities: &[Priority], expected: &[Priority]) {
        let mut offset = 0;
        let files: Vec<_> = sizes
            .iter()
            .map(|size| {
                let mut file = FileEntry::plain(vec!["f".into()], size.unsigned_abs(), offset);
                if *size < 0 {
                    file.kind = FileKind::Padding;
                }
                offset += file.len;
                file
            })
            .collect();
        let geometry = Geometry::new(offset, 10).expect("sizes");
        let found = piece_priorities(geometry, &files, priorities);
        assert_eq!(found, expected, "{sizes:?} {priorities:?}");
    }

    #[test]
    fn a_piece_is_wanted_as_much_as_its_most_wanted_file() {
        check(&[10, 10], &[], &[Normal, Normal]);
        check(&[10, 10], &[Skip, High], &[Skip, High]);
        check(&[5, 20, 5], &[Skip, Low, High], &[Low, Low, High]);
        check(&[25, 5], &[Skip, Normal], &[Skip, Skip, Normal]);
        check(&[5, 0, 5], &[Skip, High, Skip], &[Skip]);
        check(&[5, -5, 10], &[Skip, High, Low], &[Skip, Low]);
        check(&[5, -15, 10], &[Low, High, Low], &[Low, Skip, Low]);
        check(&[1], &[High], &[High]);
        check(&[30], &[Skip], &[Skip, Skip, Skip]);
    }
}

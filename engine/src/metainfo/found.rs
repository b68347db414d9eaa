//! Owns [`Found`]: one value inside bencode that has passed the strict scanner, read where it lies.
//!
//! Invariant: nothing is copied or allocated to look at a value, so a file with a million entries
//! costs what it says and no more. Keys need not be UTF-8, sorted, or known. Looking at a value of
//! another type gives `None`, never a panic.

use std::ops::Range;

use super::bencode::{self, ScanError};

/// A value in scanned bencode.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found<'a> {
    file: &'a [u8],
    /// First byte of the value.
    pub(crate) at: usize,
}

impl<'a> Found<'a> {
    /// The outermost value of `file`, after the strict scanner has passed all of it.
    ///
    /// # Errors
    /// The first rule of bencode that is broken.
    pub(crate) fn root(file: &'a [u8]) -> Result<Found<'a>, ScanError> {
        bencode::check(file)?;
        Ok(Found { file, at: 0 })
    }

    fn byte(&self) -> u8 {
        self.file.get(self.at).copied().unwrap_or_default()
    }

    /// Where the value lies in the file.
    pub(crate) fn span(&self) -> Range<usize> {
        self.at..end_of(self.file, self.at)
    }

    /// The value exactly as found.
    pub(crate) fn raw(&self) -> &'a [u8] {
        self.file.get(self.span()).unwrap_or_default()
    }

    /// The bytes of a byte string.
    pub(crate) fn bytes(&self) -> Option<&'a [u8]> {
        self.file.get(string(self.file, self.at)?)
    }

    /// An integer.
    pub(crate) fn integer(&self) -> Option<i64> {
        let digits = self.raw().strip_prefix(b"i")?.strip_suffix(b"e")?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// What a person would call its type.
    pub(crate) fn kind(&self) -> &'static str {
        match self.byte() {
            b'i' => "an integer",
            b'l' => "a list",
            b'd' => "a dictionary",
            _ => "a byte string",
        }
    }

    /// The values of a list, in order.
    pub(crate) fn items(&self) -> Option<impl Iterator<Item = Found<'a>> + use<'a>> {
        (self.byte() == b'l').then(|| Inside::after(*self))
    }

    /// The keys and values of a dictionary, in the order of the file.
    pub(crate) fn entries(&self) -> Option<impl Iterator<Item = (&'a [u8], Found<'a>)> + use<'a>> {
        let mut inside = (self.byte() == b'd').then(|| Inside::after(*self))?;
        Some(std::iter::from_fn(move || {
            let key = inside.next()?.bytes()?;
            Some((key, inside.next()?))
        }))
    }

    /// The value of a key of a dictionary.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Found<'a>> {
        let entry = self.entries()?.find(|(found, _)| *found == key);
        entry.map(|(_, value)| value)
    }
}

/// What follows the opening letter of a list or dictionary.
struct Inside<'a> {
    file: &'a [u8],
    at: usize,
}

impl<'a> Inside<'a> {
    fn after(open: Found<'a>) -> Inside<'a> {
        Inside {
            file: open.file,
            at: open.at + 1,
        }
    }
}

impl<'a> Iterator for Inside<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        let (file, at) = (self.file, self.at);
        if matches!(file.get(at), None | Some(b'e')) {
            return None;
        }
        self.at = end_of(file, at);
        Some(Found { file, at })
    }
}

/// Where the bytes of the string that begins at `at` lie.
fn string(file: &[u8], at: usize) -> Option<Range<usize>> {
    let rest = file.get(at..)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let len: usize = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
    let start = at + digits + 1;
    let end = start.checked_add(len)?;
    (end <= file.len()).then_some(start..end)
}

/// The first byte after the value at `at`. The scanner has passed it; of other bytes it is some
/// place behind `at`, so that every walk ends.
fn end_of(file: &[u8], at: usize) -> usize {
    let mut at = at;
    let mut depth = 0_usize;
    loop {
        match file.get(at) {
            None => return file.len(),
            Some(b'i') => {
                let digits = file[at..].iter().take_while(|byte| **byte != b'e');
                at += digits.count() + 1;
            }
            Some(b'l' | b'd') => {
                depth += 1;
                at += 1;
                continue;
            }
            Some(b'e') => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            Some(_) => at = string(file, at).map_or(file.len(), |span| span.end),
        }
        if depth == 0 {
            return at.min(file.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_found_where_they_lie() {
        let file = b"d1:zi-7e1:\xff2:ab4:listli1e0:d1:aleee1:sd3:keyi2eee";
        let root = Found::root(file).expect("well-formed");
        assert_eq!(root.get(b"z").and_then(|v| v.integer()), Some(-7));
        assert_eq!(root.get(b"\xff").and_then(|v| v.bytes()), Some(&b"ab"[..]));
        let list = root.get(b"list").expect("there");
        let kinds: Vec<_> = list.items().expect("a list").map(|v| v.kind()).collect();
        assert_eq!(kinds, ["an integer", "a byte string", "a dictionary"]);
        assert_eq!(root.get(b"s").expect("there").raw(), b"d3:keyi2ee");
        assert!(root.get(b"a").is_none() && list.get(b"a").is_none());
        assert!(list.integer().is_none() && list.bytes().is_none() && root.items().is_none());
        assert_eq!(root.span(), 0..file.len());
    }

    proptest! {
        #[test]
        fn what_never_passed_the_scanner_does_not_panic_either(
            file in proptest::collection::vec(prop_oneof![Just(b'd'), Just(b'l'), Just(b'e'), Just(b'i'), Just(b':'), b'0'..=b'9', any::<u8>()], 0..60)
        ) {
            let found = Found { file: &file, at: 0 };
            let _ = (found.raw(), found.bytes(), found.integer(), found.kind(), found.get(b"a"));
            let _ = found.items().map(Iterator::count);
        }
    }
}

//! Owns the note that a client keeps beside a part of a file: what the part is of, and how much of it survives
//! a crash.
//!
//! Invariant: what is written here is read back the same; anything else is no note. A note allocates no more
//! than its own length.

use super::disk::Origin;
use super::url::URL_BYTES_MAX;
use super::validator::{EntityTag, HttpDate, Validators};

/// The first line: what the file is, and which form it has.
const FIRST: &str = "skep fetch 1";

/// Bytes of the longest note.
pub const NOTE_BYTES_MAX: usize = 2 * URL_BYTES_MAX;

/// What a note says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// What the part is of.
    pub origin: Origin,
    /// Bytes of it that were made durable before the note was written.
    pub synced: u64,
}

impl Note {
    /// The note as text; `None` when its URL cannot stand on a line or is too long.
    #[must_use]
    pub fn write(&self) -> Option<String> {
        let url = &self.origin.url;
        if url.is_empty() || url.len() > URL_BYTES_MAX || url.contains(char::is_control) {
            return None;
        }
        let mut text = format!("{FIRST}\nurl {url}\nsynced {}\n", self.synced);
        if let Some(len) = self.origin.len {
            text.push_str(&format!("length {len}\n"));
        }
        if let Some(tag) = &self.origin.validators.tag {
            text.push_str(&format!("etag {tag}\n"));
        }
        if let Some(at) = self.origin.validators.modified {
            text.push_str(&format!("modified {}\n", at.seconds()));
        }
        Some(text)
    }

    /// Reads a note; `None` when it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Note> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if text.len() > NOTE_BYTES_MAX || lines.next() != Some(FIRST) {
            return None;
        }
        let (mut url, mut synced) = (None, None);
        let (mut len, mut validators) = (None, Validators::default());
        for line in lines {
            let (key, value) = line.split_once(' ')?;
            match key {
                "url" => url = Some(value.to_owned()),
                "synced" => synced = Some(value.parse().ok()?),
                "length" => len = Some(value.parse().ok()?),
                "etag" => validators.tag = Some(EntityTag::parse(value)?),
                "modified" => validators.modified = Some(HttpDate::at(value.parse().ok()?)),
                _ => return None,
            }
        }
        Some(Note {
            origin: Origin {
                url: url?,
                validators,
                len,
            },
            synced: synced?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_note_is_none() {
        for text in [
            "",
            "skep fetch 1\n",
            "skep fetch 1\nurl http://h/a\n",
            "skep fetch 1\nsynced 5\n",
            "skep fetch 2\nurl http://h/a\nsynced 5\n",
            "skep fetch 1\nurl http://h/a\nsynced 5",
            "skep fetch 1\nurl http://h/a\nsynced -5\n",
            "skep fetch 1\nurl http://h/a\nsynced 5\netag x\n",
            "skep fetch 1\nurl http://h/a\nsynced 5\nnonsense 1\n",
        ] {
            assert_eq!(Note::parse(text), None, "{text}");
        }
        for url in ["", "http://h/a\nsynced 9", &"x".repeat(URL_BYTES_MAX + 1)] {
            let origin = Origin {
                url: url.to_owned(),
                ..Origin::default()
            };
            assert_eq!(Note { origin, synced: 1 }.write(), None);
        }
    }

    proptest! {
        #[test]
        fn a_note_is_read_back_the_same(
            url in "[ -~\u{e9}]{1,60}",
            synced: u64,
            len: Option<u64>,
            tag in proptest::option::of("(W/)?\"[!#-~]{0,20}\""),
            modified in proptest::option::of(0..10_000_000_000_u64),
        ) {
            let validators = Validators {
                tag: tag.as_deref().and_then(EntityTag::parse),
                modified: modified.map(HttpDate::at),
            };
            let note = Note { origin: Origin { url, validators, len }, synced };
            prop_assert_eq!(Note::parse(&note.write().unwrap()), Some(note));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(skep fetch 1\n)?(\\PC|\n){0,80}") {
            let _ = Note::parse(&text);
        }
    }
}

//! Owns where a web seed has the bytes of a torrent (BEP 19): which file of its, and which bytes of that.
//!
//! Invariant: the parts of a range of the content lie end to end and make up the range; padding (BEP 47) is
//! never asked of anybody. Names are those that the metainfo file says, not those that are safe here.

use std::ops::Range;

use super::{FileEntry, FileKind, Metainfo};
use crate::direct::path::escaped;

/// The files of a torrent as web servers have them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WebFiles {
    /// The name of the one file or of the folder, escaped.
    name: String,
    single_file: bool,
    /// In the order of the content, without those that have no bytes.
    files: Vec<WebFile>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct WebFile {
    /// Below the folder, escaped; `None`: padding.
    path: Option<String>,
    range: Range<u64>,
}

/// A part of a range of the content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Part {
    /// So many zeros, which nobody has to send.
    Zeros(u64),
    /// Bytes of a file.
    File {
        /// Its number, for [`WebFiles::url`].
        file: usize,
        /// Bytes inside the file; not empty.
        range: Range<u64>,
        /// Bytes of the whole file.
        len: u64,
    },
}

impl Part {
    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Part::Zeros(bytes) => *bytes,
            Part::File { range, .. } => range.end - range.start,
        }
    }
}

impl WebFiles {
    /// The files of a torrent.
    #[must_use]
    pub fn of(meta: &Metainfo) -> WebFiles {
        let name = meta.found_name.as_deref().unwrap_or(&meta.name);
        let files = meta.files.iter().filter(|file| file.len > 0);
        WebFiles {
            name: escaped(name),
            single_file: meta.single_file,
            files: files.map(web_file).collect(),
        }
    }

    /// The URL of a file at a web seed: of a bare file the seed's URL itself, with the name behind it when
    /// it ends with `/`; of a folder the seed's URL, the folder's name and the path. A query stays at the
    /// end.
    ///
    /// # Panics
    /// When there is no such file; [`WebFiles::parts`] numbers them.
    #[must_use]
    pub fn url(&self, seed: &str, file: usize) -> String {
        let seed = seed.split('#').next().unwrap_or_default();
        let (base, query) = match seed.find('?') {
            Some(at) => seed.split_at(at),
            None => (seed, ""),
        };
        let path = match &self.files[file].path {
            _ if self.single_file && !base.ends_with('/') => String::new(),
            _ if self.single_file => self.name.clone(),
            Some(path) => {
                let slash = if base.ends_with('/') { "" } else { "/" };
                format!("{slash}{}/{path}", self.name)
            }
            None => unreachable!("padding is not asked for"),
        };
        format!("{base}{path}{query}")
    }

    /// The parts of a range of the content, in order.
    #[must_use]
    pub fn parts(&self, range: Range<u64>) -> Vec<Part> {
        let first = self.files.partition_point(|f| f.range.end <= range.start);
        let touched = (first..).zip(&self.files[first..]);
        let touched = touched.take_while(|(_, f)| f.range.start < range.end);
        let part = |(file, f): (usize, &WebFile)| {
            let start = f.range.start.max(range.start);
            let end = f.range.end.min(range.end);
            match f.path {
                None => Part::Zeros(end - start),
                Some(_) => Part::File {
                    file,
                    range: start - f.range.start..end - f.range.start,
                    len: f.range.end - f.range.start,
                },
            }
        };
        touched.map(part).collect()
    }
}

fn web_file(file: &FileEntry) -> WebFile {
    let path = match &file.found {
        Some(found) => found.split('/').map(escaped).collect::<Vec<_>>(),
        None => file.path.iter().skip(1).map(|p| escaped(p)).collect(),
    };
    WebFile {
        path: (file.kind == FileKind::Regular).then(|| path.join("/")),
        range: file.range(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files of these names and bytes; names that begin with `.pad` are padding.
    fn folder(files: &[(&str, u64)]) -> WebFiles {
        let mut offset = 0;
        let files = files.iter().map(|(path, len)| {
            let parts = ["the folder"].into_iter().chain(path.split('/'));
            let mut file = FileEntry::plain(parts.map(str::to_owned).collect(), *len, offset);
            if path.starts_with(".pad") {
                file.kind = FileKind::Padding;
            }
            offset += len;
            web_file(&file)
        });
        WebFiles {
            name: escaped("the folder"),
            single_file: false,
            files: files.collect(),
        }
    }

    fn bare() -> WebFiles {
        WebFiles {
            name: escaped("a b.iso"),
            single_file: true,
            files: vec![WebFile {
                path: Some(String::new()),
                range: 0..100,
            }],
        }
    }

    #[test]
    fn the_url_of_a_bare_file_is_the_seeds_unless_it_ends_with_a_slash() {
        for (seed, url) in [
            ("http://h/dir/", "http://h/dir/a%20b.iso"),
            ("http://h/", "http://h/a%20b.iso"),
            ("http://h/other.iso", "http://h/other.iso"),
            ("http://h/get?id=1", "http://h/get?id=1"),
            ("http://h/dir/?id=1", "http://h/dir/a%20b.iso?id=1"),
            ("http://h/other.iso#part", "http://h/other.iso"),
        ] {
            assert_eq!(bare().url(seed, 0), url);
        }
    }

    #[test]
    fn the_url_of_a_file_in_a_folder_has_both_names_escaped() {
        let files = folder(&[("one/50% #1?.bin", 5), ("\u{e9}", 5)]);
        for (seed, file, url) in [
            (
                "http://h/d",
                0,
                "http://h/d/the%20folder/one/50%25%20%231%3F.bin",
            ),
            ("http://h/d/", 1, "http://h/d/the%20folder/%C3%A9"),
        ] {
            assert_eq!(files.url(seed, file), url);
        }
    }

    #[test]
    fn a_name_that_had_to_be_made_safe_is_asked_for_as_it_was_found() {
        let mut file = FileEntry::plain(vec!["x".into(), "con_".into()], 5, 0);
        file.found = Some("con".into());
        assert_eq!(web_file(&file).path.as_deref(), Some("con"));
    }

    #[test]
    fn a_range_that_spans_files_comes_in_parts_and_padding_from_nobody() {
        let files = folder(&[("a", 10), (".pad/6", 6), ("b", 3), ("c", 20)]);
        let file = |file, range, len| Part::File { file, range, len };
        for (range, parts) in [
            (0..10, vec![file(0, 0..10, 10)]),
            (4..8, vec![file(0, 4..8, 10)]),
            (
                8..21,
                vec![
                    file(0, 8..10, 10),
                    Part::Zeros(6),
                    file(2, 0..3, 3),
                    file(3, 0..2, 20),
                ],
            ),
            (11..14, vec![Part::Zeros(3)]),
            (38..39, vec![file(3, 19..20, 20)]),
        ] {
            let bytes: u64 = parts.iter().map(Part::bytes).sum();
            assert_eq!(bytes, range.end - range.start);
            assert_eq!(files.parts(range.clone()), parts, "{range:?}");
        }
    }
}

//! Owns how values, texts and the names of files come out of a metainfo file.
//!
//! Invariant: a value of another type is an error that says where it is, or, where the file can do without,
//! as good as missing; names come out safe, whatever they were.

use encoding_rs::Encoding;

use super::paths::{COMPONENTS_MAX, Paths};
use super::{FileEntry, FileKind, Found, MetainfoError};

/// A value, or what is wrong with it.
fn typed<'a, T>(
    key: &'static str,
    value: Found<'a>,
    wanted: &str,
    read: impl FnOnce(&Found<'a>) -> Option<T>,
) -> Result<T, MetainfoError> {
    read(&value).ok_or_else(|| MetainfoError::WrongType {
        key,
        at: value.at,
        why: format!("it is {}, not {wanted}", value.kind()),
    })
}

pub(super) fn need<'a>(dict: Found<'a>, key: &'static str) -> Result<Found<'a>, MetainfoError> {
    dict.get(key.as_bytes()).ok_or(MetainfoError::Missing(key))
}

pub(super) fn integer(key: &'static str, value: Found<'_>) -> Result<i64, MetainfoError> {
    typed(key, value, "an integer", Found::integer)
}

pub(super) fn bytes<'a>(key: &'static str, value: Found<'a>) -> Result<&'a [u8], MetainfoError> {
    typed(key, value, "a byte string", Found::bytes)
}

/// How byte strings become text.
pub(super) struct Texts {
    /// What `encoding` says of those that are not UTF-8 (field: old Asian and Russian clients).
    encoding: Option<&'static Encoding>,
}

impl Texts {
    /// Those of a metainfo file.
    pub(super) fn of(outer: Found<'_>) -> Texts {
        let label = outer.get(b"encoding").and_then(|label| label.bytes());
        Texts {
            encoding: label.and_then(Encoding::for_label),
        }
    }

    /// UTF-8 if it is; else as the file says; else with every impossible byte replaced.
    pub(super) fn read(&self, bytes: &[u8]) -> String {
        match (std::str::from_utf8(bytes), self.encoding) {
            (Ok(text), _) => text.to_owned(),
            (Err(_), Some(encoding)) => encoding.decode_without_bom_handling(bytes).0.into_owned(),
            (Err(_), None) => String::from_utf8_lossy(bytes).into_owned(),
        }
    }

    /// A text for people; of the wrong type it is as good as missing. The form under `KEY.utf-8`
    /// comes first (field).
    pub(super) fn optional(&self, dict: Found<'_>, key: &str) -> Option<String> {
        let plain = || dict.get(key.as_bytes())?.bytes();
        Some(self.read(utf8(dict, key).or_else(plain)?))
    }
}

/// The text under `KEY.utf-8` (field), if it is what it says.
fn utf8<'a>(dict: Found<'a>, key: &str) -> Option<&'a [u8]> {
    let bytes = dict.get(format!("{key}.utf-8").as_bytes())?.bytes()?;
    std::str::from_utf8(bytes).is_ok().then_some(bytes)
}

/// What a torrent's parts are called.
pub(super) struct Names {
    /// The torrent's own, made safe.
    pub(super) name: String,
    /// As found, where that is another one.
    pub(super) found: Option<String>,
    /// End to end.
    pub(super) files: Vec<FileEntry>,
    /// One bare file.
    pub(super) single_file: bool,
}

/// The torrent's safe name, its files end to end, and whether it is one bare file.
pub(super) fn names(info: Found<'_>, texts: &Texts) -> Result<Names, MetainfoError> {
    let mut paths = Paths::new();
    let found = texts.read(match utf8(info, "name") {
        Some(name) => name,
        None => bytes("name", need(info, "name")?)?,
    });
    let no_name = MetainfoError::NoSafeName { file: 0 };
    let (name, files, single_file) = match (info.get(b"length"), info.get(b"files")) {
        (Some(len), None) => {
            let path = paths.file(std::slice::from_ref(&found)).ok_or(no_name)?;
            let len = size(1, integer("length", len)?)?;
            let mut file = FileEntry::plain(path, len, 0);
            file.executable = attributes(info).contains(&b'x');
            (file.path[0].clone(), vec![file], true)
        }
        (None, Some(found_files)) => {
            let name = paths.folder(&found).ok_or(no_name)?;
            let items = typed("files", found_files, "a list", Found::items)?;
            let mut files = Vec::new();
            let mut offset = 0u64;
            for (number, found) in (1..).zip(items) {
                let file = file(number, found, offset, &mut paths, texts)?;
                offset = offset
                    .checked_add(file.len)
                    .ok_or(MetainfoError::TooLarge)?;
                files.push(file);
            }
            (name, files, false)
        }
        _ => return Err(MetainfoError::LengthOrFiles),
    };
    Ok(Names {
        found: (found != name).then_some(found),
        name,
        files,
        single_file,
    })
}

fn size(file: usize, len: i64) -> Result<u64, MetainfoError> {
    u64::try_from(len).map_err(|_| MetainfoError::NegativeSize { file, len })
}

fn attributes<'a>(dict: Found<'a>) -> &'a [u8] {
    let found = dict.get(b"attr").and_then(|value| value.bytes());
    found.unwrap_or_default()
}

/// One entry of `files`, counted from 1.
fn file(
    number: usize,
    dict: Found<'_>,
    offset: u64,
    paths: &mut Paths,
    texts: &Texts,
) -> Result<FileEntry, MetainfoError> {
    typed("files", dict, "a dictionary", |dict| {
        dict.entries().map(drop)
    })?;
    let attributes = attributes(dict);
    let is = |letter: u8| attributes.contains(&letter);
    let len = match dict.get(b"length") {
        // A link has no content, and may leave out that it has none (BEP 47).
        None if is(b'l') => 0,
        None => return Err(MetainfoError::Missing("length")),
        Some(len) => size(number, integer("length", len)?)?,
    };
    // Of a path that is too long one part more is read than it may have, so that it is refused.
    let parts = |list: Found<'_>| -> Option<Vec<String>> {
        let parts = list.items()?.map(|part| Some(texts.read(part.bytes()?)));
        parts.take(COMPONENTS_MAX + 1).collect()
    };
    let found: Option<Vec<String>> = match (dict.get(b"path.utf-8"), dict.get(b"path")) {
        (Some(list), _) if parts(list).is_some() => parts(list),
        (_, Some(list)) => Some(typed("path", list, "a list of byte strings", |list| {
            parts(*list)
        })?),
        (_, None) => None,
    };
    if is(b'p')
        || found
            .as_deref()
            .is_some_and(|path| named_as_padding(path, len))
    {
        // It has no place on disk, so it needs no name of its own.
        let path = vec![".pad".to_owned(), len.to_string()];
        let mut padding = FileEntry::plain(path, len, offset);
        padding.kind = FileKind::Padding;
        return Ok(padding);
    }
    let found = found.ok_or(MetainfoError::Missing("path"))?;
    let path = paths
        .file(&found)
        .ok_or(MetainfoError::NoSafeName { file: number })?;
    let changed = path[1..] != found[..];
    let mut file = FileEntry::plain(path, len, offset);
    file.executable = is(b'x');
    file.hidden = is(b'h');
    file.found = changed.then(|| found.join("/"));
    if is(b'l') && len == 0 {
        let target = dict.get(b"symlink path").and_then(parts);
        file.kind = FileKind::Link {
            target: target.unwrap_or_default().join("/"),
        };
    }
    Ok(file)
}

/// Whether a path is that of padding by custom: `.pad/` and the number of its bytes (BEP 47). With
/// another number it may be anybody's file.
fn named_as_padding(path: &[String], len: u64) -> bool {
    matches!(path, [folder, name] if folder == ".pad" && *name == len.to_string())
}

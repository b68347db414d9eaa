//! Owns the names that a torrent's files get on disk: foreign names in, safe and distinct ones out.
//!
//! Invariant: a path that comes out is relative, stays below the directory it is joined to, fits
//! common file systems together with its `.part` suffix, and belongs to no other file, nor does
//! that suffixed form of it. Names that are safe already come out as they are.

use std::collections::BTreeMap;

/// Components of one path, at most: more is no name for a person's file, but an attack.
pub(crate) const COMPONENTS_MAX: usize = 128;

/// Bytes of one component, at most: 255 on common file systems, less a number and `.part`.
const COMPONENT_BYTES_MAX: usize = 240;

/// What an unfinished file's name ends in.
pub(crate) const PART_SUFFIX: &str = ".part";

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    File,
    Folder,
}

/// A place in the tree of names: the folder's number and the name as the file system compares it.
type Place = (u32, String);

/// The names given out so far, as a tree.
pub(crate) struct Paths {
    /// Who has a name: a folder has a number, a file has none.
    taken: BTreeMap<Place, Option<u32>>,
    /// From which number on a name that was taken is tried again.
    next: BTreeMap<(Kind, Place), u32>,
    /// Folders so far; the directory of the download is number 0.
    folders: u32,
    /// The torrent's own folder, below which every file goes.
    root: Option<(String, u32)>,
}

impl Paths {
    pub(crate) fn new() -> Paths {
        Paths {
            taken: BTreeMap::new(),
            next: BTreeMap::new(),
            folders: 0,
            root: None,
        }
    }

    /// The safe name of the torrent's own folder; files named from now on are below it.
    pub(crate) fn folder(&mut self, found: &str) -> Option<String> {
        let root = self.claim(0, safe(found)?, Kind::Folder);
        self.root = Some(root.clone());
        Some(root.0)
    }

    /// The safe path of the next file; `None` when nothing is left of its name.
    pub(crate) fn file(&mut self, found: &[String]) -> Option<Vec<String>> {
        let parts: Vec<String> = found.iter().filter_map(|part| safe(part)).collect();
        let (name, folders) = parts
            .split_last()
            .filter(|_| found.len() <= COMPONENTS_MAX)?;
        let mut path: Vec<String> = self.root.iter().map(|(name, _)| name.clone()).collect();
        let mut parent = self.root.as_ref().map_or(0, |(_, number)| *number);
        for folder in folders {
            let (name, number) = self.claim(parent, folder.clone(), Kind::Folder);
            path.push(name);
            parent = number;
        }
        path.push(self.claim(parent, name.clone(), Kind::File).0);
        Some(path)
    }

    /// Takes `wanted` or, when somebody else has it, the first numbered form of it that is free.
    /// A folder that is there already is shared.
    fn claim(&mut self, parent: u32, wanted: String, kind: Kind) -> (String, u32) {
        let asked = (kind, (parent, folded(&wanted)));
        let first = self.next.get(&asked).copied().unwrap_or(1);
        for number in first.. {
            let name = if number == 1 {
                wanted.clone()
            } else {
                numbered(&wanted, number, kind)
            };
            let place = (parent, folded(&name));
            let got = match (kind, self.taken.get(&place)) {
                (Kind::Folder, Some(Some(there))) => Some(*there),
                (Kind::Folder, None) => {
                    self.folders += 1;
                    self.taken.insert(place, Some(self.folders));
                    Some(self.folders)
                }
                (Kind::File, None) => {
                    let partial = (parent, folded(&format!("{name}{PART_SUFFIX}")));
                    (!self.taken.contains_key(&partial)).then(|| {
                        self.taken.insert(place, None);
                        self.taken.insert(partial, None);
                        0
                    })
                }
                _ => None,
            };
            if let Some(got) = got {
                if number > 1 {
                    self.next.insert(asked, number);
                }
                return (name, got);
            }
        }
        unreachable!("a metainfo file of 10 MiB cannot name 2^32 files")
    }
}

/// A name as the least careful file system compares it. The same everywhere, so that a torrent's
/// files are called the same on every machine.
fn folded(name: &str) -> String {
    name.to_lowercase()
}

/// `a.txt` becomes `a (2).txt`.
fn numbered(name: &str, number: u32, kind: Kind) -> String {
    match name.rsplit_once('.') {
        Some((stem, extension)) if kind == Kind::File && !stem.is_empty() => {
            format!("{stem} ({number}).{extension}")
        }
        _ => format!("{name} ({number})"),
    }
}

/// One component without what could lead elsewhere or cannot be written; `None` when nothing is left.
fn safe(found: &str) -> Option<String> {
    if matches!(found, "" | "." | "..") {
        return None;
    }
    let windows = |c: char| cfg!(windows) && matches!(c, '<' | '>' | ':' | '"' | '|' | '?' | '*');
    let unsafe_char = |c: char| matches!(c, '/' | '\\') || c.is_control() || windows(c);
    let mut name: String = found
        .chars()
        .map(|c| if unsafe_char(c) { '_' } else { c })
        .collect();
    if cfg!(windows) {
        name.truncate(name.trim_end_matches(['.', ' ']).len());
    }
    if is_device(&name) {
        name.insert(0, '_');
    }
    shorten(&mut name);
    (!name.is_empty()).then_some(name)
}

/// Whether Windows opens a device under this name, whatever its extension.
fn is_device(name: &str) -> bool {
    let stem = name
        .split('.')
        .next()
        .unwrap_or_default()
        .trim_end()
        .to_ascii_uppercase();
    let port = |prefix| {
        stem.strip_prefix(prefix)
            .is_some_and(|n: &str| n.len() == 1 && n.as_bytes()[0].is_ascii_digit())
    };
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL") || port("COM") || port("LPT")
}

/// Cuts a name to [`COMPONENT_BYTES_MAX`]; a short extension stays.
fn shorten(name: &mut String) {
    if name.len() <= COMPONENT_BYTES_MAX {
        return;
    }
    let extension = name
        .rfind('.')
        .filter(|dot| name.len() - dot <= 16)
        .map(|dot| name.split_off(dot));
    let extension = extension.unwrap_or_default();
    let end = COMPONENT_BYTES_MAX - extension.len();
    name.truncate(name.floor_char_boundary(end));
    name.push_str(&extension);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(path: &str) -> Vec<String> {
        path.split('|').map(str::to_owned).collect()
    }

    #[test]
    fn names_become_safe() {
        for (found, expected) in [
            ("a|b.txt", Some("a/b.txt")),
            ("..|..|etc|passwd", Some("etc/passwd")),
            ("|.|a", Some("a")),
            ("/etc/passwd", Some("_etc_passwd")),
            ("..\\x", Some(".._x")),
            ("a\0b\n", Some("a_b_")),
            ("CON", Some("_CON")),
            ("com1.txt", Some("_com1.txt")),
            ("nul .tar.gz", Some("_nul .tar.gz")),
            ("console", Some("console")),
            ("...", Some("...")),
            ("..|.", None),
            ("", None),
        ] {
            let path = Paths::new().file(&split(found)).map(|path| path.join("/"));
            assert_eq!(path.as_deref(), expected, "{found:?}");
        }
    }

    #[test]
    fn long_names_keep_their_extension() {
        let path = Paths::new()
            .file(&[format!("{}.flac", "ü".repeat(200))])
            .expect("safe");
        assert!(path[0].len() <= COMPONENT_BYTES_MAX && path[0].ends_with("ü.flac"));
        let deep = vec!["a".to_owned(); COMPONENTS_MAX + 1];
        assert_eq!(Paths::new().file(&deep), None);
        assert!(Paths::new().file(&deep[1..]).is_some());
    }

    #[test]
    fn what_collides_gets_a_number() {
        let mut paths = Paths::new();
        assert_eq!(paths.folder("t").as_deref(), Some("t"));
        for (found, expected) in [
            ("a.txt", "t/a.txt"),
            ("a.txt", "t/a (2).txt"),
            ("a (3).txt", "t/a (3).txt"),
            ("a.txt", "t/a (4).txt"),
            ("A.TXT", "t/A (5).TXT"),
            ("a.txt|x", "t/a.txt (2)/x"),
            ("a.txt|y", "t/a.txt (2)/y"),
            ("d|x", "t/d/x"),
            ("d", "t/d (2)"),
            // The name that `film` has while it is unfinished is not free either.
            ("film", "t/film"),
            ("film.part", "t/film (2).part"),
            ("song.part", "t/song.part"),
            ("song", "t/song (2)"),
        ] {
            assert_eq!(paths.file(&split(found)).expect(found).join("/"), expected);
        }
    }

    #[test]
    fn many_equal_names_take_linear_time() {
        let mut paths = Paths::new();
        let last = (0..50_000)
            .filter_map(|_| paths.file(&["x".to_owned()]))
            .last();
        assert_eq!(last.expect("safe"), ["x (50000)"]);
    }

    proptest! {
        #[test]
        fn any_names_come_out_safe_and_distinct(
            found in proptest::collection::vec(proptest::collection::vec("[a.\\\\/\0 p]{0,3}|.{0,4}|a\\.part", 0..4), 0..12)
        ) {
            let mut paths = Paths::new();
            let mut seen = std::collections::BTreeSet::new();
            for path in found.iter().filter_map(|path| paths.file(path)) {
                prop_assert!(!path.is_empty());
                for part in &path {
                    prop_assert!(!matches!(part.as_str(), "" | "." | ".."));
                    prop_assert!(!part.contains(['/', '\\', '\0']));
                }
                let path = path.join("/");
                prop_assert!(seen.insert(format!("{path}{PART_SUFFIX}")), "{path}");
                prop_assert!(seen.insert(path));
            }
        }
    }
}

//! Owns which paths of a request name something in a served directory.
//!
//! Invariant: the parts that leave this room are names: not empty, no `.` or `..`, without `/`, `\`, NUL or
//! other control characters, and not hidden. So no path leads out of the directory by its words; symbolic
//! links are the disk's care.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What stands in a path as it is (RFC 3986, 2.3, unreserved).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A path of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AskedPath {
    /// Names from the served directory down.
    pub parts: Vec<String>,
    /// It ends with `/`: a directory is meant.
    pub directory: bool,
}

/// Reads the path of a request, without its query. `None` when it names nothing that is served: a name that
/// begins with a dot is hidden, and what is no UTF-8 is not found. A path with empty parts is nothing, either:
/// a redirect to `//host/` would lead elsewhere.
#[must_use]
pub fn parse_path(path: &str) -> Option<AskedPath> {
    let rest = path.strip_prefix('/')?;
    let (rest, directory) = match rest.strip_suffix('/') {
        Some(rest) => (rest, true),
        None => (rest, rest.is_empty()),
    };
    if rest.is_empty() {
        return (path == "/").then(|| AskedPath {
            parts: Vec::new(),
            directory,
        });
    }
    let parts = rest.split('/').map(|part| {
        let mut escapes = part.split('%').skip(1);
        let whole = |escape: &str| {
            let mut digits = escape.bytes().take(2);
            digits.len() == 2 && digits.all(|b| b.is_ascii_hexdigit())
        };
        let name = percent_decode_str(part).decode_utf8().ok()?;
        (escapes.all(whole) && is_served(&name)).then(|| name.into_owned())
    });
    Some(AskedPath {
        parts: parts.collect::<Option<_>>()?,
        directory,
    })
}

/// Whether an entry of a directory with this name is served.
#[must_use]
pub fn is_served(name: &str) -> bool {
    let bad = |c: char| c.is_control() || matches!(c, '/' | '\\');
    !name.is_empty() && !name.starts_with('.') && !name.contains(bad)
}

/// A name as a part of a path.
#[must_use]
pub fn escaped(name: &str) -> String {
    utf8_percent_encode(name, ESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_is_names_or_nothing() {
        for (path, parts) in [
            ("/", Some((&[][..], true))),
            ("/a", Some((&["a"][..], false))),
            ("/a/", Some((&["a"], true))),
            ("/a/b%20c", Some((&["a", "b c"], false))),
            ("/%C3%A9", Some((&["\u{e9}"], false))),
            ("/a%25", Some((&["a%"], false))),
            ("/a..b/c.", Some((&["a..b", "c."], false))),
            ("/C:", Some((&["C:"], false))),
        ] {
            let read = parse_path(path).map(|p| (p.parts, p.directory));
            let parts =
                parts.map(|(parts, d)| (parts.iter().map(ToString::to_string).collect(), d));
            assert_eq!(read, parts, "{path}");
        }
        for path in [
            "",
            "a",
            "*",
            "//",
            "//a",
            "/a//b",
            "/a//",
            "/.",
            "/..",
            "/../a",
            "/a/../b",
            "/a/..",
            "/%2e%2e/a",
            "/%2E%2e",
            "/a%2fb",
            "/a%2Fb",
            "/..%2fa",
            "/a\\b",
            "/a%5cb",
            "/%5c..",
            "/a%00",
            "/%00",
            "/a%0a",
            "/%7f",
            "/%",
            "/a%2",
            "/%zz",
            "/%+1",
            "/%ff",
            "/%c0%ae",
            "/.git/config",
            "/a/.hidden",
            "/%2ehidden",
        ] {
            assert_eq!(parse_path(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_asked_names_stay_names(path in "/(\\PC|[./\\\\%]|%2[eEfF]|%5[cC]|%00){0,20}") {
            for part in parse_path(&path).map(|p| p.parts).unwrap_or_default() {
                prop_assert!(is_served(&part) && part != "." && part != "..");
                prop_assert!(!part.contains(['/', '\\', '\0']));
            }
        }

        #[test]
        fn a_name_that_is_served_is_found_under_its_link(name in "\\PC{1,20}") {
            if is_served(&name) {
                let path = format!("/{}", escaped(&name));
                let parts = parse_path(&path).map(|p| p.parts);
                prop_assert_eq!(parts, Some(vec![name]));
            }
        }
    }
}

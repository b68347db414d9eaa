//! Owns what an `http://` URL means: which host, which path, and where a redirect leads.
//!
//! Invariant: what is taken here can be asked: its path begins with `/` and is ASCII that may stand in a
//! request line. Every other URL has an error in words; nothing is looked up.

use std::net::Ipv6Addr;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// Bytes of the longest URL that is taken from outside.
pub const URL_BYTES_MAX: usize = 4096;

/// Bytes of the longest path with its query: every byte of a URL may have to be escaped.
const PATH_BYTES_MAX: usize = 3 * URL_BYTES_MAX;
/// Bytes of the longest name of a file, with room for `.part` and the like within the 255 of most disks.
const NAME_BYTES_MAX: usize = 240;

/// What may not stand in a request line as it is, though URLs in the wild have it.
const UNSAFE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Why a URL cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// TLS is not spoken.
    #[error("https:// is not supported, only http:// and udp:// are")]
    Https,
    /// Neither http nor https.
    #[error("not an http:// URL")]
    NotHttp,
    /// Neither http, https nor udp.
    #[error("not an http:// or udp:// URL")]
    Scheme,
    /// Longer than [`URL_BYTES_MAX`].
    #[error("the URL is too long")]
    TooLong,
    /// No host, or none that can be looked up.
    #[error("the URL has no usable host")]
    Host,
    /// A user name before the host: nobody would be told it.
    #[error("a URL with a user name (USER@HOST) is not supported")]
    User,
    /// Not a number from 1 to 65535.
    #[error("the URL has no usable port")]
    Port,
}

/// Where an HTTP request goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpTarget {
    /// A host name or an address; an IPv6 address stands without its brackets.
    pub host: String,
    /// TCP port; 80 unless the URL names one.
    pub port: u16,
    /// Begins with `/`, is ASCII, and may hold a query.
    pub path_and_query: String,
}

impl HttpTarget {
    /// The value of the `Host` header (RFC 9110, 7.2).
    #[must_use]
    pub fn authority(&self) -> String {
        let v6 = self.host.contains(':');
        let host = if v6 {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.port == 80 {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }

    /// Path and query with `query` added after what the URL has already.
    #[must_use]
    pub fn with_query(&self, query: &str) -> String {
        let own = &self.path_and_query;
        let joint = match own.split_once('?') {
            None => "?",
            Some((_, before)) if before.is_empty() || before.ends_with('&') => "",
            Some(_) => "&",
        };
        format!("{own}{joint}{query}")
    }

    /// Where a reference leads that was found at this target, such as the `Location` of a redirect (RFC 9110,
    /// 10.2.2): another `http://` URL, another host, a path of the same host, or one relative to this path
    /// (RFC 3986, 5.2). A fragment is dropped.
    ///
    /// # Errors
    /// See [`UrlError`]; `https://` is not followed.
    pub fn join(&self, reference: &str) -> Result<HttpTarget, UrlError> {
        let reference = reference.trim();
        if reference.len() > URL_BYTES_MAX {
            return Err(UrlError::TooLong);
        }
        if has_scheme(reference) {
            return http_target(reference);
        }
        if reference.starts_with("//") {
            return http_target(&format!("http:{reference}"));
        }
        let reference = reference.split('#').next().unwrap_or_default();
        let own = self.path_and_query.split('?').next().unwrap_or_default();
        let (path, query) = match reference.find('?') {
            Some(at) => reference.split_at(at),
            None => (reference, ""),
        };
        let path = match path {
            "" => own.to_owned(),
            _ if path.starts_with('/') => without_dots(path),
            _ => {
                let folder = own.rfind('/').map_or("/", |last| &own[..=last]);
                without_dots(&format!("{folder}{path}"))
            }
        };
        let query = match (reference, self.path_and_query.split_once('?')) {
            ("", Some((_, query))) => format!("?{query}"),
            _ => query.to_owned(),
        };
        let path_and_query = utf8_percent_encode(&format!("{path}{query}"), UNSAFE).to_string();
        if path_and_query.len() > PATH_BYTES_MAX {
            return Err(UrlError::TooLong);
        }
        Ok(HttpTarget {
            path_and_query,
            ..self.clone()
        })
    }

    /// The last part of the path, decoded: what a file that is fetched from here is called. `None` when it is
    /// empty, no UTF-8, too long, or cannot be the name of a file.
    #[must_use]
    pub fn file_name(&self) -> Option<String> {
        let path = self.path_and_query.split('?').next().unwrap_or_default();
        let last = path.rsplit('/').next().unwrap_or_default();
        let name = percent_decode_str(last).decode_utf8().ok()?;
        let bad = |c: char| c.is_control() || matches!(c, '/' | '\\' | ':');
        let unnamed = name.is_empty() || name == "." || name == ".." || name.contains(bad);
        (!unnamed && name.len() <= NAME_BYTES_MAX).then(|| name.into_owned())
    }
}

/// Takes an `http://` URL apart, keeping its query.
///
/// # Errors
/// See [`UrlError`].
pub fn http_target(url: &str) -> Result<HttpTarget, UrlError> {
    let url = url.trim();
    if url.len() > URL_BYTES_MAX {
        return Err(UrlError::TooLong);
    }
    let (scheme, rest) = url.split_once("://").ok_or(UrlError::NotHttp)?;
    match scheme.to_ascii_lowercase().as_str() {
        "http" => {}
        "https" => return Err(UrlError::Https),
        _ => return Err(UrlError::NotHttp),
    }
    let (host, port, tail) = host_and_port(rest)?;
    let slash = if tail.starts_with('/') { "" } else { "/" };
    Ok(HttpTarget {
        host: host.to_owned(),
        port: port.unwrap_or(80),
        path_and_query: format!("{slash}{tail}"),
    })
}

/// Takes apart what stands behind `://`: the host (an IPv6 address without its brackets), the port
/// if there is one, and path and query as ASCII.
pub(crate) fn host_and_port(rest: &str) -> Result<(&str, Option<u16>, String), UrlError> {
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    if authority.contains('@') {
        return Err(UrlError::User);
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(v6) => {
            let (host, port) = v6.split_once(']').ok_or(UrlError::Host)?;
            host.parse::<Ipv6Addr>().map_err(|_| UrlError::Host)?;
            (host, port)
        }
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if host.is_empty()
        || host.len() > 253
        || !(authority.starts_with('[') || host.chars().all(named))
    {
        return Err(UrlError::Host);
    }
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => None,
        None => return Err(UrlError::Host),
        Some("") => None,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            Some(digits.parse().unwrap_or(0))
        }
        Some(_) => Some(0),
    };
    if port == Some(0) {
        return Err(UrlError::Port);
    }
    Ok((host, port, utf8_percent_encode(tail, UNSAFE).to_string()))
}

/// Whether a reference begins with a scheme (RFC 3986, 3.1): letters and some others, then `:`.
fn has_scheme(reference: &str) -> bool {
    let Some((scheme, _)) = reference.split_once(':') else {
        return false;
    };
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(named)
}

/// A path without `.` and `..` (RFC 3986, 5.2.4). It begins with `/`.
fn without_dots(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let mut folder = false;
    for part in path.split('/').skip(1) {
        folder = matches!(part, "." | "..");
        match part {
            "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    let end = if folder && !parts.is_empty() { "/" } else { "" };
    format!("/{}{end}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn target(url: &str) -> Result<(String, u16, String), UrlError> {
        http_target(url).map(|t| (t.host, t.port, t.path_and_query))
    }

    #[test]
    fn urls_are_taken_apart() {
        for (url, host, port, path) in [
            ("http://t.example/announce", "t.example", 80, "/announce"),
            ("HTTP://T.example:6969/a?k=1", "T.example", 6969, "/a?k=1"),
            ("http://10.0.0.1:80", "10.0.0.1", 80, "/"),
            ("http://t.example:?x", "t.example", 80, "/?x"),
            (
                "http://[2001:db8::1]:8080/announce",
                "2001:db8::1",
                8080,
                "/announce",
            ),
            ("http://[::1]/announce", "::1", 80, "/announce"),
            (
                " http://t.example/a b\u{e9}#part ",
                "t.example",
                80,
                "/a%20b%C3%A9",
            ),
        ] {
            let wanted = (host.to_owned(), port, path.to_owned());
            assert_eq!(target(url), Ok(wanted), "{url}");
        }
    }

    #[test]
    fn urls_that_cannot_be_used_are_refused() {
        for (url, why) in [
            ("https://t.example/announce", UrlError::Https),
            ("udp://t.example:80/announce", UrlError::NotHttp),
            ("t.example/announce", UrlError::NotHttp),
            ("", UrlError::NotHttp),
            ("http:///announce", UrlError::Host),
            ("http://user@t.example/", UrlError::User),
            ("http://user:word@t.example/", UrlError::User),
            ("http://t\r\nx/", UrlError::Host),
            ("http://[::1/", UrlError::Host),
            ("http://[nonsense]/", UrlError::Host),
            ("http://[::1]80/", UrlError::Host),
            ("http://t:0/", UrlError::Port),
            ("http://t:65536/", UrlError::Port),
            ("http://t:+80/", UrlError::Port),
        ] {
            assert_eq!(target(url), Err(why), "{url}");
        }
        let long = format!("http://t/{}", "a".repeat(URL_BYTES_MAX));
        assert_eq!(target(&long), Err(UrlError::TooLong));
    }

    #[test]
    fn an_existing_query_is_kept() {
        for (url, joined) in [
            ("http://t/a", "/a?q"),
            ("http://t/a?", "/a?q"),
            ("http://t/a?k=1", "/a?k=1&q"),
            ("http://t/a?k=1&", "/a?k=1&q"),
        ] {
            assert_eq!(http_target(url).unwrap().with_query("q"), joined);
        }
    }

    #[test]
    fn the_host_header_has_brackets_and_a_port_where_needed() {
        for (url, host) in [
            ("http://t/a", "t"),
            ("http://t:81/a", "t:81"),
            ("http://[::1]:81/a", "[::1]:81"),
        ] {
            assert_eq!(http_target(url).unwrap().authority(), host);
        }
    }

    #[test]
    fn a_reference_is_another_place_or_relative_to_this_one() {
        let base = http_target("http://t.example:81/a/b/c?k=1").unwrap();
        for (reference, host, port, path) in [
            ("http://u/x?y#z", "u", 80, "/x?y"),
            ("//u:82/x", "u", 82, "/x"),
            ("/x/../y", "t.example", 81, "/y"),
            ("/x?a=/../b", "t.example", 81, "/x?a=/../b"),
            ("d", "t.example", 81, "/a/b/d"),
            ("./d/", "t.example", 81, "/a/b/d/"),
            ("../d", "t.example", 81, "/a/d"),
            ("../../../../d", "t.example", 81, "/d"),
            ("..", "t.example", 81, "/a/"),
            ("../..", "t.example", 81, "/"),
            ("?q", "t.example", 81, "/a/b/c?q"),
            ("#f", "t.example", 81, "/a/b/c?k=1"),
            ("", "t.example", 81, "/a/b/c?k=1"),
            ("d e\u{e9}", "t.example", 81, "/a/b/d%20e%C3%A9"),
            ("1:2", "t.example", 81, "/a/b/1:2"),
        ] {
            let to = base.join(reference).unwrap();
            let to = (to.host.as_str(), to.port, to.path_and_query.as_str());
            assert_eq!(to, (host, port, path), "{reference}");
        }
        for (reference, why) in [
            ("https://t/", UrlError::Https),
            ("ftp:x", UrlError::NotHttp),
            ("//", UrlError::Host),
        ] {
            assert_eq!(base.join(reference), Err(why), "{reference}");
        }
        let long = "a".repeat(URL_BYTES_MAX + 1);
        assert_eq!(base.join(&long), Err(UrlError::TooLong));
    }

    #[test]
    fn a_file_is_called_as_the_last_part_of_its_path() {
        let long = format!("http://t/{}", "a".repeat(NAME_BYTES_MAX + 1));
        for (url, name) in [
            ("http://t/a/film.mkv?x=/y", Some("film.mkv")),
            ("http://t/a%20b%C3%A9", Some("a b\u{e9}")),
            ("http://t/", None),
            ("http://t/a/", None),
            ("http://t/a/..", None),
            ("http://t/%2e%2e", None),
            ("http://t/a%2fb", None),
            ("http://t/a%5cb", None),
            ("http://t/a%00b", None),
            ("http://t/%ff", None),
            (&long, None),
        ] {
            let target = http_target(url).unwrap();
            assert_eq!(target.file_name().as_deref(), name, "{url}");
        }
    }

    proptest! {
        #[test]
        fn any_text_as_url_is_taken_or_refused(url in "(http://)?\\PC{0,60}") {
            if let Ok(t) = http_target(&url) {
                prop_assert!(t.path_and_query.starts_with('/') && t.path_and_query.is_ascii());
                prop_assert!(t.join("../x?y").is_ok());
                prop_assert!(t.with_query("q").parse::<hyper::Uri>().is_ok(), "{}", t.path_and_query);
            }
        }
    }

    proptest! {
        #[test]
        fn any_reference_leads_somewhere_that_can_be_asked_or_is_refused(to in "\\PC{0,60}") {
            let base = http_target("http://t/a/b?c").unwrap();
            if let Ok(t) = base.join(&to) {
                prop_assert!(t.path_and_query.starts_with('/') && t.path_and_query.is_ascii());
                prop_assert!(t.path_and_query.parse::<hyper::Uri>().is_ok(), "{}", t.path_and_query);
            }
        }
    }
}

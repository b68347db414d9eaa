//! Owns how announce and scrape travel over HTTP (BEP 3, 7, 21, 23, 31, 48), both sides, as pure
//! functions: the URL here, queries in `query`, bencoded answers in `reply`.
//!
//! Invariant: info-hashes, peer ids and tracker ids are bytes from end to end, never text; and
//! bytes from outside give an error, never a panic.

mod query;
mod reply;

use std::net::Ipv6Addr;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

pub use query::{announce_query, no_peer_id, parse_announce, parse_scrape_query, scrape_query};
pub use reply::{parse_reply, parse_scrape_reply, write_failure, write_reply, write_scrape};

/// Bytes of the longest announce URL that is taken from a metainfo file.
pub const URL_BYTES_MAX: usize = 4096;
/// Bytes of the longest tracker id that either side keeps; a longer one is forgotten.
const TRACKER_ID_BYTES_MAX: usize = 512;

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

/// Why an announce URL cannot be used.
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
    /// No host, or none that can be looked up; user names are not accepted either.
    #[error("the URL has no usable host")]
    Host,
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
}

/// Takes an `http://` URL apart, keeping its query.
///
/// # Errors
/// See [`UrlError`].
pub fn announce_target(url: &str) -> Result<HttpTarget, UrlError> {
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
pub(super) fn host_and_port(rest: &str) -> Result<(&str, Option<u16>, String), UrlError> {
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
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

/// Where a redirect from `target` leads (RFC 9110, 10.2.2): another `http://` URL, or a path on the
/// same host. `query` is added when the new place says nothing of its own, as servers that move a
/// whole site do.
///
/// # Errors
/// See [`UrlError`]; `https://` is not followed.
pub fn redirect_target(
    target: &HttpTarget,
    location: &str,
    query: &str,
) -> Result<HttpTarget, UrlError> {
    let location = location.trim();
    let mut moved = if location.starts_with('/') && !location.starts_with("//") {
        if location.len() > URL_BYTES_MAX {
            return Err(UrlError::TooLong);
        }
        let path = location.split('#').next().unwrap_or_default();
        HttpTarget {
            path_and_query: utf8_percent_encode(path, UNSAFE).to_string(),
            ..target.clone()
        }
    } else {
        announce_target(location)?
    };
    if !moved.path_and_query.contains("info_hash=") {
        moved.path_and_query = moved.with_query(query);
    }
    Ok(moved)
}

/// The scrape URL that belongs to an announce URL: `announce` right after the last `/` becomes
/// `scrape` (BEP 48). `None` when the tracker does not follow that convention, or its URL is longer
/// than [`URL_BYTES_MAX`].
#[must_use]
pub fn scrape_url(announce_url: &str) -> Option<String> {
    if announce_url.len() > URL_BYTES_MAX {
        return None;
    }
    let (before, last) = announce_url.rsplit_once('/')?;
    let rest = last.strip_prefix("announce")?;
    Some(format!("{before}/scrape{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn target(url: &str) -> Result<(String, u16, String), UrlError> {
        announce_target(url).map(|t| (t.host, t.port, t.path_and_query))
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
            ("http://user@t.example/", UrlError::Host),
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
            assert_eq!(announce_target(url).unwrap().with_query("q"), joined);
        }
    }

    #[test]
    fn the_host_header_has_brackets_and_a_port_where_needed() {
        for (url, host) in [
            ("http://t/a", "t"),
            ("http://t:81/a", "t:81"),
            ("http://[::1]:81/a", "[::1]:81"),
        ] {
            assert_eq!(announce_target(url).unwrap().authority(), host);
        }
    }

    #[test]
    fn scrape_urls_follow_the_examples_of_bep_48() {
        for (announce, scrape) in [
            ("http://t/announce", Some("http://t/scrape")),
            ("http://t/x/announce", Some("http://t/x/scrape")),
            ("http://t/announce.php", Some("http://t/scrape.php")),
            ("http://t/announce?x2%0644", Some("http://t/scrape?x2%0644")),
            ("http://t/a", None),
            ("http://t/announce?x=2/4", None),
            ("http://t/x%064announce", None),
        ] {
            assert_eq!(scrape_url(announce).as_deref(), scrape, "{announce}");
        }
    }

    #[test]
    fn a_redirect_leads_to_a_url_or_to_a_path_of_the_same_host_and_keeps_the_question() {
        let target = announce_target("http://t.example:81/announce").unwrap();
        for (location, host, port, path) in [
            ("/a", "t.example", 81, "/a?info_hash=x"),
            ("/a?info_hash=y", "t.example", 81, "/a?info_hash=y"),
            ("http://u/b?k=1", "u", 80, "/b?k=1&info_hash=x"),
            ("/a\u{e9}#part", "t.example", 81, "/a%C3%A9?info_hash=x"),
        ] {
            let moved = redirect_target(&target, location, "info_hash=x").unwrap();
            assert_eq!(
                (
                    moved.host.as_str(),
                    moved.port,
                    moved.path_and_query.as_str()
                ),
                (host, port, path),
                "{location}"
            );
        }
        for (location, why) in [
            ("https://t/", UrlError::Https),
            ("//t/", UrlError::NotHttp),
            ("", UrlError::NotHttp),
        ] {
            assert_eq!(
                redirect_target(&target, location, "q"),
                Err(why),
                "{location}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_as_url_is_taken_or_refused(url in "(http://)?\\PC{0,60}") {
            if let Ok(t) = announce_target(&url) {
                prop_assert!(t.path_and_query.starts_with('/') && t.path_and_query.is_ascii());
                prop_assert!(t.with_query("q").parse::<hyper::Uri>().is_ok(), "{}", t.path_and_query);
            }
        }
    }
}

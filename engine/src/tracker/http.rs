//! Owns how announce and scrape travel over HTTP (BEP 3, 7, 21, 23, 31, 48), both sides, as pure
//! functions: scrape URLs and redirects here, queries in `query`, bencoded answers in `reply`.
//!
//! Invariant: info-hashes, peer ids and tracker ids are bytes from end to end, never text; and
//! bytes from outside give an error, never a panic.

mod query;
mod reply;

pub use crate::direct::url::{HttpTarget, URL_BYTES_MAX, UrlError, http_target as announce_target};
pub use query::{announce_query, no_peer_id, parse_announce, parse_scrape_query, scrape_query};
pub use reply::{parse_reply, parse_scrape_reply, write_failure, write_reply, write_scrape};

/// Bytes of the longest tracker id that either side keeps; a longer one is forgotten.
const TRACKER_ID_BYTES_MAX: usize = 512;

/// Where a redirect from `target` leads; `query` is added when the new place says nothing of its own, as
/// servers that move a whole site do.
///
/// # Errors
/// See [`UrlError`]; `https://` is not followed.
pub fn redirect_target(
    target: &HttpTarget,
    location: &str,
    query: &str,
) -> Result<HttpTarget, UrlError> {
    let mut moved = target.join(location)?;
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
            ("ftp://t/", UrlError::NotHttp),
        ] {
            assert_eq!(
                redirect_target(&target, location, "q"),
                Err(why),
                "{location}"
            );
        }
    }
}

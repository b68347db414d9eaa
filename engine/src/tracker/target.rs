//! Owns what a tracker's URL means: which protocol, which host, which path.
//!
//! Invariant: a URL that is taken here can be asked; every other has an error in words.

use crate::direct::url::host_and_port;

use super::http::{HttpTarget, URL_BYTES_MAX, UrlError, announce_target, scrape_url};

/// Where a UDP announce goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UdpTarget {
    /// A host name or an address; an IPv6 address stands without its brackets.
    pub host: String,
    /// UDP port; the URL must name one.
    pub port: u16,
    /// Path and query of the URL, sent along as BEP 41 has it; empty when the URL has none, or none
    /// but the conventional `/announce`.
    pub url_data: String,
}

/// Where an announce goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TrackerTarget {
    /// BEP 3.
    Http(HttpTarget),
    /// BEP 15.
    Udp(UdpTarget),
}

impl TrackerTarget {
    /// Host and port.
    #[must_use]
    pub fn host_and_port(&self) -> (&str, u16) {
        match self {
            TrackerTarget::Http(http) => (&http.host, http.port),
            TrackerTarget::Udp(udp) => (&udp.host, udp.port),
        }
    }
}

/// Takes the announce URL of a tracker apart: `http://` or `udp://`.
///
/// # Errors
/// See [`UrlError`].
pub fn tracker_target(url: &str) -> Result<TrackerTarget, UrlError> {
    let url = url.trim();
    if url.len() > URL_BYTES_MAX {
        return Err(UrlError::TooLong);
    }
    match url.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("udp") => {
            let (host, port, tail) = host_and_port(rest)?;
            let conventional = matches!(tail.as_str(), "/" | "/announce");
            Ok(TrackerTarget::Udp(UdpTarget {
                host: host.to_owned(),
                port: port.ok_or(UrlError::Port)?,
                url_data: if conventional { String::new() } else { tail },
            }))
        }
        _ => match announce_target(url) {
            Ok(target) => Ok(TrackerTarget::Http(target)),
            Err(UrlError::NotHttp) => Err(UrlError::Scheme),
            Err(error) => Err(error),
        },
    }
}

/// Where a scrape goes, from the announce URL (BEP 48; over UDP to the same place). `None` inside when
/// an HTTP tracker does not follow the convention and so cannot be scraped.
///
/// # Errors
/// See [`UrlError`].
pub fn scrape_target(announce_url: &str) -> Result<Option<TrackerTarget>, UrlError> {
    match tracker_target(announce_url)? {
        udp @ TrackerTarget::Udp(_) => Ok(Some(udp)),
        TrackerTarget::Http(_) => scrape_url(announce_url.trim())
            .map(|url| tracker_target(&url))
            .transpose(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp(url: &str) -> Result<(String, u16, String), UrlError> {
        tracker_target(url).map(|target| match target {
            TrackerTarget::Udp(t) => (t.host, t.port, t.url_data),
            TrackerTarget::Http(t) => panic!("{t:?}"),
        })
    }

    #[test]
    fn udp_urls_have_a_port_and_perhaps_a_path() {
        for (url, host, port, data) in [
            ("udp://t.example:6969", "t.example", 6969, ""),
            ("UDP://10.0.0.1:80/announce", "10.0.0.1", 80, ""),
            ("udp://[2001:db8::1]:1/", "2001:db8::1", 1, ""),
            ("udp://t:1/a?pass=1", "t", 1, "/a?pass=1"),
        ] {
            assert_eq!(
                udp(url),
                Ok((host.to_owned(), port, data.to_owned())),
                "{url}"
            );
        }
        for (url, why) in [
            ("udp://t.example", UrlError::Port),
            ("udp://t.example:0", UrlError::Port),
            ("udp://:80", UrlError::Host),
            ("ftp://t.example", UrlError::Scheme),
            ("t.example", UrlError::Scheme),
            ("https://t.example/", UrlError::Https),
        ] {
            assert_eq!(tracker_target(url), Err(why), "{url}");
        }
    }

    #[test]
    fn a_scrape_goes_where_the_announce_url_says() {
        let path = |url| match scrape_target(url) {
            Ok(Some(TrackerTarget::Http(t))) => Some(t.path_and_query),
            Ok(Some(TrackerTarget::Udp(t))) => Some(t.host),
            _ => None,
        };
        assert_eq!(
            path("http://t/x/announce?k=1").as_deref(),
            Some("/x/scrape?k=1")
        );
        assert_eq!(path("udp://t:1/announce").as_deref(), Some("t"));
        assert_eq!(scrape_target("http://t/a"), Ok(None));
        assert_eq!(scrape_target("https://t/announce"), Err(UrlError::Https));
    }
}

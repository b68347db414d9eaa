//! Owns the magnet link of a torrent (BEP 9): what to hand to somebody who has no metainfo file.
//!
//! Invariant: every byte that is not plainly safe in a link is percent-encoded, so that no foreign text
//! can add a parameter of its own.

use std::fmt::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::Metainfo;

/// What may stand in a parameter as it is (RFC 3986, unreserved).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

impl Metainfo {
    /// The magnet link: info-hash (and that of v2 of a hybrid, as a multihash), name, trackers in
    /// the order of their tiers, web seeds (BEP 9, BEP 52).
    #[must_use]
    pub fn magnet_link(&self) -> String {
        let mut link = format!("magnet:?xt=urn:btih:{}", self.info_hash);
        if let Some(hash) = self.v2_info_hash {
            // A multihash: 0x12 is SHA-256, 0x20 its length.
            link.push_str("&xt=urn:btmh:1220");
            for byte in hash {
                write!(link, "{byte:02x}").expect("a string takes everything");
            }
        }
        let mut add = |key: &str, value: &str| {
            let value = utf8_percent_encode(value, UNRESERVED);
            write!(link, "&{key}={value}").expect("a string takes everything");
        };
        add("dn", &self.name);
        for url in self.announce.iter().flatten() {
            add("tr", url);
        }
        for url in &self.web_seeds {
            add("ws", url);
        }
        link
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_add_a_parameter() {
        let info = "d6:lengthi1e4:name6:a&tr=b12:piece lengthi1e6:pieces20:hhhhhhhhhhhhhhhhhhhhe";
        let file = format!("d8:announce11:http://t/ä4:info{info}8:url-list4:ws:/e");
        let meta = Metainfo::parse(file.as_bytes()).expect("valid");
        assert_eq!(
            meta.magnet_link(),
            format!(
                "magnet:?xt=urn:btih:{}&dn=a%26tr%3Db&tr=http%3A%2F%2Ft%2F%C3%A4&ws=ws%3A%2F",
                meta.info_hash
            )
        );
    }
}

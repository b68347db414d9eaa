//! Owns the magnet link of a torrent (BEP 9, BEP 53): what to hand to somebody who has no metainfo file,
//! read and written.
//!
//! Invariants: every byte that is not plainly safe in a link is percent-encoded, so that no foreign text
//! can add a parameter of its own; what is written reads back the same; an error names the bytes of
//! the link that it is about.

mod read;

use std::fmt::{self, Write};
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::Metainfo;
use crate::ids::InfoHash;

pub use read::{LINK_BYTES_MAX, MagnetError, MagnetProblem};

/// What may stand in a parameter as it is (RFC 3986, unreserved).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Trackers, web seeds, peers and ranges of files that are kept of one link, of each.
pub const LINK_LIST_MAX: usize = 200;

/// Where a peer is, as a link says it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PeerPlace {
    /// An address.
    Addr(SocketAddr),
    /// A host name, and a port that is not 0.
    Name(String, u16),
}

impl fmt::Display for PeerPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerPlace::Addr(addr) => addr.fmt(f),
            PeerPlace::Name(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

/// What a magnet link says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MagnetLink {
    /// The torrent.
    pub info_hash: InfoHash,
    /// SHA-256 of the `info` value, when the torrent is a hybrid (BEP 52).
    pub v2_info_hash: Option<[u8; 32]>,
    /// The name to show while nothing better is known. Foreign text.
    pub name: Option<String>,
    /// Tracker URLs.
    pub trackers: Vec<String>,
    /// URLs of servers that have the content (BEP 19).
    pub web_seeds: Vec<String>,
    /// Peers to try first.
    pub peers: Vec<PeerPlace>,
    /// Numbers of the files that are wanted, counted from 0 (BEP 53); empty: all.
    pub files: Vec<RangeInclusive<u32>>,
}

impl MagnetLink {
    /// A link that says nothing but which torrent it is.
    #[must_use]
    pub fn new(info_hash: InfoHash) -> MagnetLink {
        MagnetLink {
            info_hash,
            v2_info_hash: None,
            name: None,
            trackers: Vec::new(),
            web_seeds: Vec::new(),
            peers: Vec::new(),
            files: Vec::new(),
        }
    }

    /// The metainfo file of this link, around an `info` value whose hash is the link's: it is valid,
    /// and names the link's trackers, each in a tier of its own, and web seeds.
    #[must_use]
    pub fn metainfo_file(&self, info: &[u8]) -> Vec<u8> {
        let mut file = vec![b'd'];
        let text = |file: &mut Vec<u8>, text: &str| {
            file.extend_from_slice(format!("{}:{text}", text.len()).as_bytes());
        };
        if let Some(first) = self.trackers.first() {
            text(&mut file, "announce");
            text(&mut file, first);
            text(&mut file, "announce-list");
            file.push(b'l');
            for url in &self.trackers {
                file.push(b'l');
                text(&mut file, url);
                file.push(b'e');
            }
            file.push(b'e');
        }
        text(&mut file, "info");
        file.extend_from_slice(info);
        if !self.web_seeds.is_empty() {
            text(&mut file, "url-list");
            file.push(b'l');
            for url in &self.web_seeds {
                text(&mut file, url);
            }
            file.push(b'e');
        }
        file.push(b'e');
        file
    }
}

impl fmt::Display for MagnetLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "magnet:?xt=urn:btih:{}", self.info_hash)?;
        if let Some(hash) = self.v2_info_hash {
            // A multihash: 0x12 is SHA-256, 0x20 its length.
            f.write_str("&xt=urn:btmh:1220")?;
            for byte in hash {
                write!(f, "{byte:02x}")?;
            }
        }
        let mut add = |key: &str, value: &str| {
            let value = utf8_percent_encode(value, UNRESERVED);
            write!(f, "&{key}={value}")
        };
        if let Some(name) = &self.name {
            add("dn", name)?;
        }
        for url in &self.trackers {
            add("tr", url)?;
        }
        for url in &self.web_seeds {
            add("ws", url)?;
        }
        for peer in &self.peers {
            add("x.pe", &peer.to_string())?;
        }
        if !self.files.is_empty() {
            let mut files = String::new();
            for range in &self.files {
                let comma = if files.is_empty() { "" } else { "," };
                match (range.start(), range.end()) {
                    (first, last) if first == last => write!(files, "{comma}{first}")?,
                    (first, last) => write!(files, "{comma}{first}-{last}")?,
                }
            }
            // Digits, commas and dashes are safe as they are.
            write!(f, "&so={files}")?;
        }
        Ok(())
    }
}

impl Metainfo {
    /// The magnet link: info-hash (and that of v2 of a hybrid, as a multihash), name, trackers in
    /// the order of their tiers, web seeds (BEP 9, BEP 52).
    #[must_use]
    pub fn magnet_link(&self) -> String {
        let link = MagnetLink {
            v2_info_hash: self.v2_info_hash,
            name: Some(self.name.clone()),
            trackers: self.announce.iter().flatten().cloned().collect(),
            web_seeds: self.web_seeds.clone(),
            ..MagnetLink::new(self.info_hash)
        };
        link.to_string()
    }
}

#[cfg(test)]
mod tests;

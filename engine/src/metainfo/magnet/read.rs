//! Owns the reading of magnet links (BEP 9, BEP 53).
//!
//! Invariant: what is wrong is told with the bytes of the link that it is about; what is unknown is
//! skipped; of every list no more than [`super::LINK_LIST_MAX`] is kept.

use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use super::{LINK_LIST_MAX, MagnetLink, PeerPlace};
use crate::ids::InfoHash;
use crate::tracker::http::URL_BYTES_MAX;

/// Bytes of one magnet link, at most.
pub const LINK_BYTES_MAX: usize = 64 * 1024;
/// Bytes kept of a name.
const NAME_BYTES_MAX: usize = 1024;
/// Bytes of a host name (RFC 1035).
const HOST_BYTES_MAX: usize = 253;

/// What is wrong with a magnet link, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what}")]
pub struct MagnetError {
    /// The bytes of the link that are meant.
    pub at: Range<usize>,
    /// The rule they break.
    pub what: MagnetProblem,
}

/// The rule that a magnet link breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MagnetProblem {
    /// It does not begin as one.
    #[error("a magnet link begins with `magnet:?`")]
    NotMagnet,
    /// Longer than [`LINK_BYTES_MAX`].
    #[error("the link is longer than 64 KiB")]
    TooLong,
    /// No `xt=urn:btih:`.
    #[error("the link names no torrent: `xt=urn:btih:` and the info-hash are missing")]
    NoHash,
    /// `xt=urn:btmh:` alone (BEP 52).
    #[error("the link names a torrent of version 2 only, which Skep does not support")]
    V2Only,
    /// An info-hash of the wrong length or with wrong digits.
    #[error("an info-hash has 40 hexadecimal digits, or 32 of base32")]
    BadHash,
    /// A v2 hash that is no SHA-256 multihash.
    #[error("a hash of version 2 is `1220` and 64 hexadecimal digits")]
    BadMultihash,
    /// Two different info-hashes.
    #[error("the link names two different torrents")]
    TwoHashes,
    /// A `%` that two hexadecimal digits do not follow.
    #[error("`%` is followed by two hexadecimal digits")]
    BadPercent,
    /// Bytes that are not UTF-8 in a URL or an address.
    #[error("not UTF-8")]
    NotUtf8,
    /// A URL that is too long.
    #[error("the URL is longer than 4 KiB")]
    LongUrl,
    /// Not `host:port`.
    #[error("a peer is `address:port`, `[IPv6 address]:port` or `name:port`")]
    BadPeer,
    /// Not numbers and ranges of numbers.
    #[error("files are numbers and ranges like `0,2,4-6`")]
    BadFiles,
}

fn fail<T>(at: Range<usize>, what: MagnetProblem) -> Result<T, MagnetError> {
    Err(MagnetError { at, what })
}

/// One parameter: its name in lower case without a number behind it, its value as found, and where.
struct Parameter<'a> {
    name: String,
    value: &'a str,
    at: Range<usize>,
}

impl Parameter<'_> {
    fn fail<T>(&self, what: MagnetProblem) -> Result<T, MagnetError> {
        fail(self.at.clone(), what)
    }

    /// The value decoded: `%` and two digits are a byte, `+` is a space.
    fn bytes(&self) -> Result<Vec<u8>, MagnetError> {
        for (at, _) in self.value.match_indices('%') {
            let digits = self.value.as_bytes().get(at + 1..at + 3);
            if !digits.is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit)) {
                let end = self.value.ceil_char_boundary(at + 3);
                let place = self.at.start + at..self.at.start + end;
                return fail(place, MagnetProblem::BadPercent);
            }
        }
        let spaced = self.value.replace('+', " ");
        Ok(percent_decode_str(&spaced).collect())
    }

    fn text(&self) -> Result<String, MagnetError> {
        String::from_utf8(self.bytes()?).or_else(|_| self.fail(MagnetProblem::NotUtf8))
    }

    fn url(&self) -> Result<String, MagnetError> {
        let url = self.text()?.trim().to_owned();
        if url.len() > URL_BYTES_MAX {
            return self.fail(MagnetProblem::LongUrl);
        }
        Ok(url)
    }
}

impl FromStr for MagnetLink {
    type Err = MagnetError;

    /// Reads a link. Parameters that nobody has defined are skipped; the first name counts.
    fn from_str(text: &str) -> Result<MagnetLink, MagnetError> {
        if text.len() > LINK_BYTES_MAX {
            let room = text.floor_char_boundary(LINK_BYTES_MAX);
            return fail(room..text.len(), MagnetProblem::TooLong);
        }
        let scheme = "magnet:?";
        match text.get(..scheme.len()) {
            Some(begin) if begin.eq_ignore_ascii_case(scheme) => {}
            _ => {
                let begin = 0..text.floor_char_boundary(scheme.len());
                return fail(begin, MagnetProblem::NotMagnet);
            }
        }
        let mut link = MagnetLink::new(InfoHash([0; 20]));
        let mut hash = None;
        let mut v2_at = None;
        for parameter in parameters(text, scheme.len()) {
            match parameter.name.as_str() {
                "xt" => match topic(&parameter)? {
                    Some(Topic::V1(found)) if hash.is_some_and(|h| h != found) => {
                        return parameter.fail(MagnetProblem::TwoHashes);
                    }
                    Some(Topic::V1(found)) => hash = Some(found),
                    Some(Topic::V2(found)) => {
                        link.v2_info_hash = Some(found);
                        v2_at = Some(parameter.at);
                    }
                    None => {}
                },
                "dn" if link.name.is_none() => link.name = Some(name(&parameter)?),
                "tr" => keep(&mut link.trackers, parameter.url()?),
                "ws" => keep(&mut link.web_seeds, parameter.url()?),
                "x.pe" => keep(&mut link.peers, Some(peer(&parameter)?)),
                "so" => files(&parameter, &mut link.files)?,
                _ => {}
            }
        }
        match (hash, v2_at) {
            (Some(hash), _) => link.info_hash = hash,
            (None, Some(at)) => return fail(at, MagnetProblem::V2Only),
            (None, None) => return fail(text.len()..text.len(), MagnetProblem::NoHash),
        }
        Ok(link)
    }
}

/// Adds to a list what is there and not there already, while there is room.
fn keep<T: PartialEq + Kept>(list: &mut Vec<T>, item: impl Into<Option<T>>) {
    if let Some(item) = item.into()
        && list.len() < LINK_LIST_MAX
        && !item.is_nothing()
        && !list.contains(&item)
    {
        list.push(item);
    }
}

trait Kept {
    fn is_nothing(&self) -> bool {
        false
    }
}
impl Kept for PeerPlace {}
impl Kept for String {
    fn is_nothing(&self) -> bool {
        self.is_empty()
    }
}

fn parameters(text: &str, from: usize) -> impl Iterator<Item = Parameter<'_>> {
    let mut start = from;
    text[from..].split('&').filter_map(move |part| {
        let begin = start;
        start += part.len() + 1;
        let (name, value) = part.split_once('=')?;
        // `tr.1`, `tr.2` are all `tr`; the name of `x.pe` has a dot of its own.
        let plain = match name.rsplit_once('.') {
            Some((plain, number)) if number.bytes().all(|b| b.is_ascii_digit()) => plain,
            _ => name,
        };
        let at = begin + name.len() + 1;
        Some(Parameter {
            name: plain.to_ascii_lowercase(),
            value,
            at: at..at + value.len(),
        })
    })
}

enum Topic {
    V1(InfoHash),
    V2([u8; 32]),
}

/// The torrent of an `xt`; none, if it is of another network.
fn topic(parameter: &Parameter<'_>) -> Result<Option<Topic>, MagnetError> {
    let text = parameter.text()?;
    let Some((head, digits)) = text.rsplit_once(':') else {
        return Ok(None);
    };
    if head.eq_ignore_ascii_case("urn:btih") {
        let hash = match digits.len() {
            40 => hex(digits),
            32 => base32(digits),
            _ => None,
        };
        return match hash {
            Some(hash) => Ok(Some(Topic::V1(InfoHash(hash)))),
            None => parameter.fail(MagnetProblem::BadHash),
        };
    }
    if head.eq_ignore_ascii_case("urn:btmh") {
        let hash = digits.strip_prefix("1220").and_then(hex);
        return match hash {
            Some(hash) => Ok(Some(Topic::V2(hash))),
            None => parameter.fail(MagnetProblem::BadMultihash),
        };
    }
    Ok(None)
}

fn hex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if digits.len() != 2 * N || !digits.is_ascii() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        let digit = |d: u8| char::from(d).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
    }
    Some(bytes)
}

/// RFC 4648, without padding: 32 digits of 5 bits.
fn base32(digits: &str) -> Option<[u8; 20]> {
    let mut bytes = [0; 20];
    let (mut bits, mut held, mut at) = (0_u32, 0, 0);
    for digit in digits.bytes() {
        let value = match digit.to_ascii_uppercase() {
            letter @ b'A'..=b'Z' => letter - b'A',
            number @ b'2'..=b'7' => number - b'2' + 26,
            _ => return None,
        };
        bits = bits << 5 | u32::from(value);
        held += 5;
        if held >= 8 {
            held -= 8;
            *bytes.get_mut(at)? = u8::try_from(bits >> held & 0xff).ok()?;
            at += 1;
        }
    }
    (at == bytes.len()).then_some(bytes)
}

/// A name to show; what is not UTF-8 in it is replaced.
fn name(parameter: &Parameter<'_>) -> Result<String, MagnetError> {
    let bytes = parameter.bytes()?;
    let text = String::from_utf8_lossy(&bytes);
    let end = text.floor_char_boundary(NAME_BYTES_MAX);
    Ok(text[..end].to_owned())
}

fn peer(parameter: &Parameter<'_>) -> Result<PeerPlace, MagnetError> {
    let text = parameter.text()?;
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return match addr.port() {
            0 => parameter.fail(MagnetProblem::BadPeer),
            _ => Ok(PeerPlace::Addr(addr)),
        };
    }
    let named = text.rsplit_once(':').and_then(|(host, port)| {
        let port = port.parse::<u16>().ok().filter(|port| *port != 0)?;
        let safe = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_';
        let good = !host.is_empty() && host.len() <= HOST_BYTES_MAX && host.bytes().all(safe);
        good.then(|| PeerPlace::Name(host.to_owned(), port))
    });
    named.map_or_else(|| parameter.fail(MagnetProblem::BadPeer), Ok)
}

fn files(
    parameter: &Parameter<'_>,
    files: &mut Vec<RangeInclusive<u32>>,
) -> Result<(), MagnetError> {
    let text = parameter.text()?;
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let range = first.parse().ok().zip(last.parse().ok());
        let Some((first, last)) = range.filter(|(first, last)| first <= last) else {
            return parameter.fail(MagnetProblem::BadFiles);
        };
        if files.len() < LINK_LIST_MAX {
            files.push(first..=last);
        }
    }
    Ok(())
}

//! Owns how lists of addresses are written: a range in a line, as `10.0.0.0/8`, `a - b` or one address; eMule's
//! `ipfilter.dat`, `a - b , level , words`; PeerGuardian's text, `words:a-b`.
//!
//! Invariant: no text panics; a line that is not understood is counted and told of, and refuses nobody.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{IpFilter, IpRange};

/// Levels of `ipfilter.dat` from which on a range is let in (eMule).
const LET_IN: u32 = 128;

/// What a text says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Read {
    /// The addresses to refuse.
    pub filter: IpFilter,
    /// Lines that name some of them.
    pub refusing: usize,
    /// Lines that were not understood.
    pub unread: usize,
    /// The first of those, from 1, and what is wrong with it.
    pub first_unread: Option<(usize, BadRange)>,
}

/// Why a text is no range of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadRange {
    /// Neither an address, nor two, nor a network.
    #[error("no range of addresses, such as 10.0.0.0/8 or 10.0.0.1-10.0.0.9")]
    NoRange,
    /// More bits than an address has.
    #[error("a network of more bits than an address has")]
    TooManyBits,
    /// It ends before it begins, or in another family.
    #[error("its last address comes before the first, or is of the other family")]
    Backwards,
}

/// Reads a list, one range per line. Empty lines and what begins with `#`, `;` or `//` say nothing. Bytes that are no
/// UTF-8 may stand where words do.
#[must_use]
pub fn read(text: &[u8]) -> Read {
    let mut ranges = Vec::new();
    let mut read = Read::default();
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = String::from_utf8_lossy(line);
        let line = line.trim().trim_start_matches('\u{feff}');
        if line.is_empty() || ["#", ";", "//"].iter().any(|mark| line.starts_with(mark)) {
            continue;
        }
        match of_line(line) {
            Ok(Some(range)) => ranges.push(range),
            Ok(None) => {}
            Err(wrong) => {
                read.unread += 1;
                read.first_unread.get_or_insert((number + 1, wrong));
            }
        }
    }
    read.refusing = ranges.len();
    read.filter = IpFilter::new(ranges);
    read
}

/// What a line refuses; `None`: it lets in.
fn of_line(line: &str) -> Result<Option<IpRange>, BadRange> {
    let mut fields = line.splitn(3, ',');
    let first = fields.next().unwrap_or_default();
    let level = fields.next().map(|level| level.trim().parse::<u32>());
    let wrong = match (range(first), level) {
        (Ok(range), None) => return Ok(Some(range)),
        (Ok(range), Some(Ok(level))) => return Ok((level < LET_IN).then_some(range)),
        (Ok(_), Some(Err(_))) => BadRange::NoRange,
        (Err(wrong), _) => wrong,
    };
    named(line).map(Some).ok_or(wrong)
}

/// `words:a-b`; the words may have colons and dashes themselves.
fn named(line: &str) -> Option<IpRange> {
    let colons = line.match_indices(':');
    let mut after = colons.map(|(at, _)| &line[at + 1..]);
    after.find_map(|rest| rest.contains('-').then(|| range(rest).ok())?)
}

/// A range as people write it: one address, `first-last`, or a network with its bits.
///
/// # Errors
/// When it is none.
pub fn range(text: &str) -> Result<IpRange, BadRange> {
    let text = text.trim();
    if let Some((network, bits)) = text.split_once('/') {
        let ip = address(network).ok_or(BadRange::NoRange)?;
        let bits = bits.trim();
        let digits = !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit());
        let bits = digits.then(|| bits.parse().unwrap_or(u32::MAX));
        return of_network(ip, bits.ok_or(BadRange::NoRange)?);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (address(first), address(last)) {
        (Some(IpAddr::V4(first)), Some(IpAddr::V4(last))) if first <= last => {
            Ok(IpRange::V4(first, last))
        }
        (Some(IpAddr::V6(first)), Some(IpAddr::V6(last))) if first <= last => {
            Ok(IpRange::V6(first, last))
        }
        (Some(_), Some(_)) => Err(BadRange::Backwards),
        _ => Err(BadRange::NoRange),
    }
}

fn of_network(ip: IpAddr, bits: u32) -> Result<IpRange, BadRange> {
    match ip {
        IpAddr::V4(ip) => {
            let free = u32::BITS.checked_sub(bits).ok_or(BadRange::TooManyBits)?;
            let mask = u32::MAX.checked_shl(free).unwrap_or(0);
            let first = ip.to_bits() & mask;
            let ends = [first, first | !mask].map(Ipv4Addr::from_bits);
            Ok(IpRange::V4(ends[0], ends[1]))
        }
        IpAddr::V6(ip) => {
            let free = u128::BITS.checked_sub(bits).ok_or(BadRange::TooManyBits)?;
            let mask = u128::MAX.checked_shl(free).unwrap_or(0);
            let first = ip.to_bits() & mask;
            let ends = [first, first | !mask].map(Ipv6Addr::from_bits);
            Ok(IpRange::V6(ends[0], ends[1]))
        }
    }
}

/// An address; of IPv4 with zeros in front as `ipfilter.dat` has them: `001.002.003.004`.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if text.contains(':') {
        return text.parse().ok().map(IpAddr::V6);
    }
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        let digits = (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        *octet = digits.then(|| part.parse().ok())??;
    }
    parts.next().is_none().then(|| IpAddr::from(octets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v4(first: [u8; 4], last: [u8; 4]) -> Result<IpRange, BadRange> {
        Ok(IpRange::V4(first.into(), last.into()))
    }

    #[test]
    fn ranges_are_read_as_people_write_them() {
        for (text, wanted) in [
            ("10.0.0.0/8", v4([10, 0, 0, 0], [10, 255, 255, 255])),
            ("10.1.2.3/8", v4([10, 0, 0, 0], [10, 255, 255, 255])),
            ("1.2.3.4/32", v4([1, 2, 3, 4], [1, 2, 3, 4])),
            ("0.0.0.0/0", v4([0; 4], [255; 4])),
            (" 1.2.3.4 ", v4([1, 2, 3, 4], [1, 2, 3, 4])),
            ("1.2.3.4-1.2.3.9", v4([1, 2, 3, 4], [1, 2, 3, 9])),
            (
                "001.002.003.004 - 001.002.003.009",
                v4([1, 2, 3, 4], [1, 2, 3, 9]),
            ),
            ("1.2.3.4/33", Err(BadRange::TooManyBits)),
            ("::/129", Err(BadRange::TooManyBits)),
            ("1.2.3.4/99999999999", Err(BadRange::TooManyBits)),
            ("1.2.3.4/", Err(BadRange::NoRange)),
            ("1.2.3.4/+8", Err(BadRange::NoRange)),
            ("1.2.3.9-1.2.3.4", Err(BadRange::Backwards)),
            ("1.2.3.4-::1", Err(BadRange::Backwards)),
            ("1.2.3", Err(BadRange::NoRange)),
            ("1.2.3.4.5", Err(BadRange::NoRange)),
            ("1.2.3.256", Err(BadRange::NoRange)),
            ("1.2.3.0004", Err(BadRange::NoRange)),
            ("", Err(BadRange::NoRange)),
        ] {
            assert_eq!(range(text), wanted, "{text}");
        }
        let six = |text: &str| -> Ipv6Addr { text.parse().expect("an address") };
        let net = IpRange::V6(
            six("2001:db8::"),
            six("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
        );
        assert_eq!(range("2001:db8::/32"), Ok(net));
        let few = IpRange::V6(six("2001:db8::1"), six("2001:db8::9"));
        assert_eq!(range("2001:db8::1 - 2001:db8::9"), Ok(few));
    }

    #[test]
    fn lists_of_other_programs_are_read() {
        let text = b"# a comment
000.000.000.000 - 000.255.255.255 , 000 , Bogon, they say
1.0.0.0-1.0.0.9,127,just refused
2.0.0.0 - 2.0.0.9 , 128 , let in
Some-Name: Ltd, \xe9cole:3.0.0.0-3.0.0.9\r
v6:2001:db8::1-2001:db8::2

// and
4.0.0.0/24
";
        let read = read(text);
        assert_eq!((read.refusing, read.unread), (5, 0));
        for (ip, refused) in [
            ("0.1.2.3", true),
            ("1.0.0.9", true),
            ("2.0.0.1", false),
            ("3.0.0.5", true),
            ("3.0.0.10", false),
            ("2001:db8::2", true),
            ("2001:db8::3", false),
            ("4.0.0.200", true),
        ] {
            let ip = ip.parse().expect("an address");
            assert_eq!(read.filter.refuses(ip), refused, "{ip}");
        }
    }

    #[test]
    fn a_line_that_is_not_understood_is_told_of_and_the_others_count() {
        let read = read(b"10.0.0.1\nnonsense\n10.0.0.5 - 10.0.0.2 , 0 , x\n10.0.0.9 , low , x\n");
        assert_eq!((read.refusing, read.unread), (1, 3));
        assert_eq!(read.first_unread, Some((2, BadRange::NoRange)));
        assert!(read.filter.refuses("10.0.0.1".parse().expect("an address")));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn no_text_panics(text in prop::collection::vec(prop_oneof![
            Just(b'\n'), Just(b','), Just(b':'), Just(b'-'), Just(b'.'), Just(b'/'), b'0'..=b'9', any::<u8>(),
        ], 0..200)) {
            let lines = text.split(|byte| *byte == b'\n').count();
            let read = read(&text);
            prop_assert!(read.refusing + read.unread <= lines);
            prop_assert!(read.filter.ranges() <= read.refusing);
        }

        #[test]
        fn what_is_written_is_read(first in any::<u32>(), more in 0u32..1000, bits in 0u32..=32) {
            let (a, b) = (Ipv4Addr::from_bits(first), Ipv4Addr::from_bits(first.saturating_add(more)));
            let wanted = Ok(IpRange::V4(a, b));
            prop_assert_eq!(range(&format!("{a}-{b}")), wanted);
            prop_assert_eq!(of_line(&format!("{a} - {b} , 100 , x")), wanted.map(Some));
            prop_assert_eq!(of_line(&format!("a-b: c, d:{a}-{b}")), wanted.map(Some));
            let Ok(IpRange::V4(low, high)) = range(&format!("{a}/{bits}")) else {
                return Err(TestCaseError::fail("no network"));
            };
            prop_assert!(low <= a && a <= high);
            prop_assert_eq!(u64::from(high.to_bits() - low.to_bits()) + 1, 1u64 << (32 - bits));
        }
    }
}

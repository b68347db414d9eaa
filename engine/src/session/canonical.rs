//! Owns the canonical priority of a connection (BEP 40): both ends compute the same number, so both
//! agree which connections are worth keeping, and nobody can choose to be everybody's favourite.

use std::net::{IpAddr, SocketAddr};

/// CRC-32C over the masked addresses of both ends, the smaller first; over their ports when the
/// addresses are equal. Masks: the nearer the ends, the more of the address counts.
#[must_use]
pub fn canonical_priority(a: SocketAddr, b: SocketAddr) -> u32 {
    if a.ip() == b.ip() {
        let (low, high) = (a.port().min(b.port()), a.port().max(b.port()));
        return crc32c::crc32c(&[low.to_be_bytes(), high.to_be_bytes()].concat());
    }
    match (a.ip(), b.ip()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => ordered(masked(a.octets(), b.octets(), [2, 3, 4])),
        (a, b) => ordered(masked(v6(a), v6(b), [6, 7, 8])),
    }
}

/// The checksum of both ends, the smaller one first.
fn ordered<const N: usize>((a, b): ([u8; N], [u8; N])) -> u32 {
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    crc32c::crc32c_append(crc32c::crc32c(&low), &high)
}

fn v6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// Both addresses with only every second bit behind the first `keep` bytes, where `keep` is the
/// last of the steps whose predecessor the addresses still share.
fn masked<const N: usize>(a: [u8; N], b: [u8; N], steps: [usize; 3]) -> ([u8; N], [u8; N]) {
    let shared = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let near = steps.windows(2).rev().find(|pair| shared >= pair[0]);
    let keep = near.map_or(steps[0], |pair| pair[1]);
    let mask = |mut ip: [u8; N]| {
        ip.iter_mut().skip(keep).for_each(|octet| *octet &= 0x55);
        ip
    };
    (mask(a), mask(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_vectors_of_bep_40() {
        for (a, b, wanted) in [
            ("123.213.32.10:1", "98.76.54.32:2", 0xec2d_7224),
            ("123.213.32.10:1", "123.213.32.234:2", 0x9956_8189),
        ] {
            assert_eq!(canonical_priority(addr(a), addr(b)), wanted);
            assert_eq!(canonical_priority(addr(b), addr(a)), wanted);
        }
    }

    #[test]
    fn one_address_is_told_apart_by_ports() {
        let p = |a, b| canonical_priority(addr(a), addr(b));
        assert_eq!(p("10.0.0.1:1", "10.0.0.1:2"), p("10.0.0.1:2", "10.0.0.1:1"));
        assert_ne!(p("10.0.0.1:1", "10.0.0.1:2"), p("10.0.0.1:1", "10.0.0.1:3"));
    }

    #[test]
    fn the_nearer_the_more_counts() {
        let masked = |a: &str, b: &str| {
            let (IpAddr::V4(a), IpAddr::V4(b)) = (addr(a).ip(), addr(b).ip()) else {
                panic!("IPv4");
            };
            masked(a.octets(), b.octets(), [2, 3, 4]).0
        };
        assert_eq!(masked("1.2.255.255:1", "9.9.9.9:1"), [1, 2, 0x55, 0x55]);
        assert_eq!(masked("1.2.255.255:1", "1.2.9.9:1"), [1, 2, 255, 0x55]);
        assert_eq!(masked("1.2.255.255:1", "1.2.255.9:1"), [1, 2, 255, 255]);
        let six = canonical_priority(addr("[2001:db8::1]:1"), addr("[2001:db9::1]:1"));
        let other = canonical_priority(addr("[2001:db8::1]:1"), addr("[2001:db9::3]:1"));
        assert_eq!(
            six, other,
            "of a distant one, not every bit of the host part"
        );
    }
}

//! Owns which addresses a user refuses: ranges of IPv4 and IPv6 addresses.
//!
//! Invariant: the ranges of each family are in order and apart from each other, so that a look-up halves them; an IPv4
//! address in IPv6's clothes is that address. How lists are written: `read`.

mod read;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

pub use read::{BadRange, Read, range, read};

/// The addresses from one to another, both included, of one family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IpRange {
    /// Of IPv4.
    V4(Ipv4Addr, Ipv4Addr),
    /// Of IPv6.
    V6(Ipv6Addr, Ipv6Addr),
}

/// The addresses that are refused; by default none. A copy is cheap.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IpFilter {
    v4: Arc<[(u32, u32)]>,
    v6: Arc<[(u128, u128)]>,
}

impl IpFilter {
    /// One that refuses what lies in any of these; they may overlap.
    #[must_use]
    pub fn new(ranges: impl IntoIterator<Item = IpRange>) -> IpFilter {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for range in ranges {
            match range {
                IpRange::V4(first, last) => v4.push((first.to_bits(), last.to_bits())),
                IpRange::V6(first, last) => v6.push((first.to_bits(), last.to_bits())),
            }
        }
        IpFilter {
            v4: apart(v4, |last, first| {
                last.checked_add(1).is_none_or(|next| first <= next)
            }),
            v6: apart(v6, |last, first| {
                last.checked_add(1).is_none_or(|next| first <= next)
            }),
        }
    }

    /// Whether no address is refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Ranges that are left when those that touch are joined.
    #[must_use]
    pub fn ranges(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether an address is refused.
    #[must_use]
    pub fn refuses(&self, ip: IpAddr) -> bool {
        if self.is_empty() {
            return false;
        }
        match ip.to_canonical() {
            IpAddr::V4(ip) => holds(&self.v4, ip.to_bits()),
            IpAddr::V6(ip) => holds(&self.v6, ip.to_bits()),
        }
    }
}

/// The same addresses in ranges that are in order and do not touch. `touch`: what begins here goes on where
/// something ended.
fn apart<T: Copy + Ord>(mut ranges: Vec<(T, T)>, touch: impl Fn(T, T) -> bool) -> Arc<[(T, T)]> {
    ranges.sort_unstable();
    let mut joined: Vec<(T, T)> = Vec::new();
    for (first, last) in ranges {
        match joined.last_mut() {
            Some((_, end)) if touch(*end, first) => *end = last.max(*end),
            _ => joined.push((first, last)),
        }
    }
    joined.into()
}

fn holds<T: Copy + Ord>(ranges: &[(T, T)], address: T) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= address);
    after > 0 && address <= ranges[after - 1].1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v4(first: u32, last: u32) -> IpRange {
        IpRange::V4(Ipv4Addr::from_bits(first), Ipv4Addr::from_bits(last))
    }

    #[test]
    fn nobody_is_refused_by_default() {
        let filter = IpFilter::default();
        assert!(filter.is_empty() && !filter.refuses(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }

    #[test]
    fn ranges_that_touch_become_one_up_to_the_last_address() {
        let filter = IpFilter::new([
            v4(20, 29),
            v4(10, 19),
            v4(5, 12),
            v4(31, 31),
            v4(u32::MAX, u32::MAX),
        ]);
        assert_eq!(&filter.v4[..], [(5, 29), (31, 31), (u32::MAX, u32::MAX)]);
        assert_eq!(filter.ranges(), 3);
        let all = IpFilter::new([v4(0, u32::MAX), v4(7, 9)]);
        assert_eq!(&all.v4[..], [(0, u32::MAX)]);
    }

    #[test]
    fn an_address_in_the_clothes_of_ipv6_is_the_same_address() {
        let filter = IpFilter::new([range("10.0.0.0/8").expect("a range")]);
        assert!(filter.refuses("::ffff:10.1.2.3".parse().expect("an address")));
        assert!(!filter.refuses("::ffff:11.1.2.3".parse().expect("an address")));
        assert!(!filter.refuses("::a01:203".parse().expect("an address")));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn an_address_is_refused_when_one_of_the_ranges_holds_it(
            ranges in prop::collection::vec((0u32..60, 0u32..12, any::<bool>()), 0..12),
            high in any::<bool>(),
        ) {
            // At either end of all addresses.
            let place = |n: u32| if high { u32::MAX - 71 + n } else { n };
            let wide = |n: u32| if high { u128::MAX - 71 + u128::from(n) } else { u128::from(n) };
            let made = ranges.iter().map(|(first, more, six)| match six {
                false => v4(place(*first), place(first + more)),
                true => IpRange::V6(
                    Ipv6Addr::from_bits(wide(*first)),
                    Ipv6Addr::from_bits(wide(first + more)),
                ),
            });
            let filter = IpFilter::new(made);
            for n in 0..72 {
                let held = |of_six: bool| ranges.iter().any(|(first, more, six)| {
                    *six == of_six && (*first..=first + more).contains(&n)
                });
                let four = IpAddr::V4(Ipv4Addr::from_bits(place(n)));
                let six = IpAddr::V6(Ipv6Addr::from_bits(wide(n)));
                prop_assert_eq!(filter.refuses(four), held(false));
                prop_assert_eq!(filter.refuses(six), held(true));
            }
        }
    }
}

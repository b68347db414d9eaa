//! Owns which host is at which address.
//!
//! Invariant: a look-up costs the same however many hosts there are: almost every event names an address.

use std::net::{IpAddr, Ipv4Addr};

/// The hosts of a plan by address.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// The first three parts of addresses, in order.
    nets: Vec<u32>,
    /// For each of them the host of every last part, or [`NOBODY`].
    hosts: Vec<[u32; 256]>,
}

const NOBODY: u32 = u32::MAX;

impl Addresses {
    /// Of hosts in the order of their positions.
    ///
    /// # Panics
    /// When there are 2^32 hosts.
    #[must_use]
    pub fn of(hosts: impl IntoIterator<Item = Ipv4Addr>) -> Addresses {
        let mut addresses = Addresses::default();
        for (position, ip) in hosts.into_iter().enumerate() {
            let position = u32::try_from(position).expect("hosts are bounded");
            let (net, last) = parts(ip);
            let place = addresses.nets.binary_search(&net).unwrap_or_else(|place| {
                addresses.nets.insert(place, net);
                addresses.hosts.insert(place, [NOBODY; 256]);
                place
            });
            addresses.hosts[place][last] = position;
        }
        addresses
    }

    /// The host at an address, by position in the plan.
    #[must_use]
    pub fn host_at(&self, ip: IpAddr) -> Option<usize> {
        let IpAddr::V4(ip) = ip else { return None };
        let (net, last) = parts(ip);
        let place = self.nets.binary_search(&net).ok()?;
        let host = self.hosts[place][last];
        (host != NOBODY).then_some(host as usize)
    }
}

fn parts(ip: Ipv4Addr) -> (u32, usize) {
    (ip.to_bits() >> 8, usize::from(ip.octets()[3]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_found_and_nobody_else() {
        let texts = [
            "10.1.0.1",
            "10.1.1.254",
            "10.0.0.1",
            "10.1.0.2",
            "10.255.0.0",
        ];
        let ips = texts.map(|text| text.parse().expect("an address"));
        let addresses = Addresses::of(ips);
        let found = ips.map(|ip| addresses.host_at(IpAddr::V4(ip)));
        assert_eq!(found, [0, 1, 2, 3, 4].map(Some));
        for other in ["10.1.0.3", "10.2.0.1", "10.1.1.1", "::ffff:10.1.0.1"] {
            let other = other.parse().expect("an address");
            assert_eq!(addresses.host_at(other), None, "{other}");
        }
    }
}

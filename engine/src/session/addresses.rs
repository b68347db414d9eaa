//! Owns [`Addresses`]: a list of addresses in order, six bytes each over IPv4. A session keeps a
//! thousand of them and more, and is asked for fifty at a time.
//!
//! Invariant: in order of address, none twice; an address has one place, over IPv4 before IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::wire::pex::order;

/// An address over IPv4: its octets and its port, as BEP 11 writes them.
#[derive(Clone, Copy, Debug)]
struct V4([u8; 6]);

impl V4 {
    fn new(ip: Ipv4Addr, port: u16) -> V4 {
        let ([a, b, c, d], [p, q]) = (ip.octets(), port.to_be_bytes());
        V4([a, b, c, d, p, q])
    }

    /// What it is ordered by: one number, which is compared at once.
    fn key(&self) -> u64 {
        let [a, b, c, d, p, q] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, p, q])
    }

    fn addr(&self) -> SocketAddr {
        let [a, b, c, d, p, q] = self.0;
        SocketAddr::from(([a, b, c, d], u16::from_be_bytes([p, q])))
    }
}

/// Addresses in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Addresses {
    v4: Vec<V4>,
    v6: Vec<(Ipv6Addr, u16)>,
}

impl Addresses {
    pub(super) fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let v4 = self.v4.iter().map(V4::addr);
        v4.chain(self.v6.iter().map(|at| SocketAddr::from(*at)))
    }

    /// The address in this place.
    pub(super) fn get(&self, place: usize) -> SocketAddr {
        match self.v4.get(place) {
            Some(at) => at.addr(),
            None => self.v6[place - self.v4.len()].into(),
        }
    }

    /// The place of an address, or where it belongs.
    pub(super) fn place(&self, addr: SocketAddr) -> Result<usize, usize> {
        let before = self.v4.len();
        match addr.ip() {
            IpAddr::V4(ip) => {
                let key = V4::new(ip, addr.port()).key();
                self.v4.binary_search_by_key(&key, V4::key)
            }
            IpAddr::V6(ip) => match self.v6.binary_search(&(ip, addr.port())) {
                Ok(place) => Ok(before + place),
                Err(place) => Err(before + place),
            },
        }
    }

    /// The place of an address that is not before `from`, or where it belongs. Fast where it is near: of a
    /// list in order that names most of these each is.
    pub(super) fn place_from(&self, from: usize, addr: SocketAddr) -> Result<usize, usize> {
        let IpAddr::V4(ip) = addr.ip() else {
            return self.place(addr);
        };
        let key = V4::new(ip, addr.port()).key();
        let rest = self.v4.get(from..).unwrap_or_default();
        if rest.first().is_some_and(|at| at.key() == key) {
            return Ok(from);
        }
        let mut end = 1;
        while rest.get(end - 1).is_some_and(|at| at.key() < key) {
            end *= 2;
        }
        let start = from + end / 2;
        let near = rest.get(end / 2..end.min(rest.len())).unwrap_or_default();
        match near.binary_search_by_key(&key, V4::key) {
            Ok(place) => Ok(start + place),
            Err(place) => Err(start + place),
        }
    }

    /// Adds an address where it belongs.
    pub(super) fn insert(&mut self, place: usize, addr: SocketAddr) {
        match addr.ip() {
            IpAddr::V4(ip) => self.v4.insert(place, V4::new(ip, addr.port())),
            IpAddr::V6(ip) => self.v6.insert(place - self.v4.len(), (ip, addr.port())),
        }
    }

    pub(super) fn remove(&mut self, place: usize) {
        match place.checked_sub(self.v4.len()) {
            None => drop(self.v4.remove(place)),
            Some(place) => drop(self.v6.remove(place)),
        }
    }

    /// Adds and takes away what is in these lists, both in order; nothing that is added is there already.
    pub(super) fn change(
        &mut self,
        added: impl Iterator<Item = SocketAddr> + Clone,
        dropped: &[SocketAddr],
    ) {
        let mut dropped = dropped.iter().copied().peekable();
        if dropped.peek().is_some() {
            self.retain(|addr| {
                while dropped.next_if(|gone| order(*gone, addr).is_lt()).is_some() {}
                dropped.next_if_eq(&addr).is_none()
            });
        }
        let v6 = added.clone().filter(SocketAddr::is_ipv6).count();
        self.v4.reserve_exact(added.clone().count() - v6);
        self.v6.reserve_exact(v6);
        for addr in added {
            match addr.ip() {
                IpAddr::V4(ip) => self.v4.push(V4::new(ip, addr.port())),
                IpAddr::V6(ip) => self.v6.push((ip, addr.port())),
            }
        }
        // Two runs in order one after the other: a sort that finds runs merges them.
        self.v4.sort_by_key(V4::key);
        self.v6.sort();
    }

    /// Keeps some of them.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(SocketAddr) -> bool) {
        self.v4.retain(|at| keep(at.addr()));
        self.v6.retain(|at| keep((*at).into()));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    fn any_addr() -> impl Strategy<Value = SocketAddr> {
        (any::<bool>(), 0_u8..9, 1_u16..9).prop_map(|(v6, n, port)| match v6 {
            true => SocketAddr::from(([0, 0, 0, 0, 0, 0, 9, n.into()], port)),
            false => SocketAddr::from(([10, 0, 0, n], port)),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_holds_what_an_ordered_set_holds(
            one_by_one in prop::collection::vec(any_addr(), 0..60),
            added in prop::collection::btree_set(any_addr(), 0..20),
            dropped in prop::collection::btree_set(any_addr(), 0..20),
        ) {
            let (mut list, mut set) = (Addresses::default(), BTreeSet::new());
            for addr in one_by_one {
                match list.place(addr) {
                    Err(place) => list.insert(place, addr),
                    Ok(place) => list.remove(place),
                }
                if !set.remove(&addr) {
                    set.insert(addr);
                }
            }
            prop_assert!(list.iter().eq(set.iter().copied()));
            set.retain(|addr| !dropped.contains(addr));
            let added: Vec<_> = added.into_iter().filter(|a| !set.contains(a)).collect();
            let added: Vec<_> = added.into_iter().filter(|a| !dropped.contains(a)).collect();
            let dropped: Vec<_> = dropped.into_iter().collect();
            list.change(added.iter().copied(), &dropped);
            set.extend(added);
            prop_assert!(list.iter().eq(set.iter().copied()));
            prop_assert_eq!(list.len(), set.len());
            for (place, addr) in set.iter().enumerate() {
                prop_assert_eq!(list.get(place), *addr);
                prop_assert_eq!(list.place(*addr), Ok(place));
                for from in 0..=place {
                    prop_assert_eq!(list.place_from(from, *addr), Ok(place));
                }
                let before = SocketAddr::new(addr.ip(), addr.port() - 1);
                for from in 0..place {
                    prop_assert_eq!(list.place_from(from, before), list.place(before));
                }
            }
        }
    }
}

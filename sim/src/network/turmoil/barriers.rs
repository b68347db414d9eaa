//! Owns what keeps anything from arriving, over the whole run: which ways were cut when, and which machines were
//! without power.
//!
//! Invariant: what is told of a tick is told before it begins. A fault that happens within a tick takes effect
//! at its end, so that all hosts, whichever had its turn first, say the same of the same moment.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// One way that a fault cuts.
#[derive(Debug)]
struct Cut {
    fault: usize,
    from: Vec<Ipv4Addr>,
    to: Vec<Ipv4Addr>,
    time: Span,
}

/// From after one moment until another, that one included, ns.
#[derive(Clone, Copy, Debug)]
struct Span {
    after: u64,
    until: u64,
}

impl Span {
    fn begins(after: u64) -> Span {
        let until = u64::MAX;
        Span { after, until }
    }

    fn has(self, at: u64) -> bool {
        self.after < at && at <= self.until
    }
}

/// All of them.
#[derive(Default, Debug)]
pub(super) struct Barriers {
    cuts: Vec<Cut>,
    dark: BTreeMap<Ipv4Addr, Vec<Span>>,
    /// What each fault kept from arriving.
    hits: BTreeMap<usize, u64>,
}

impl Barriers {
    pub(super) fn cut(&mut self, fault: usize, from: &[Ipv4Addr], to: &[Ipv4Addr], after: u64) {
        self.cuts.push(Cut {
            fault,
            from: from.to_vec(),
            to: to.to_vec(),
            time: Span::begins(after),
        });
    }

    pub(super) fn heal(&mut self, fault: usize, until: u64) {
        for cut in self.cuts.iter_mut().filter(|cut| cut.fault == fault) {
            cut.time.until = cut.time.until.min(until);
        }
    }

    pub(super) fn power_off(&mut self, ip: Ipv4Addr, after: u64) {
        self.dark.entry(ip).or_default().push(Span::begins(after));
    }

    pub(super) fn power_on(&mut self, ip: Ipv4Addr, until: u64) {
        if let Some(last) = self.dark.get_mut(&ip).and_then(|spans| spans.last_mut()) {
            last.until = last.until.min(until);
        }
    }

    /// Whether what is to get from one host to the other at that moment does not.
    pub(super) fn stop(&self, from: Ipv4Addr, to: Ipv4Addr, at: u64) -> bool {
        self.is_dark(from, at) || self.is_dark(to, at) || self.cutting(from, to, at).any(|_| true)
    }

    fn is_dark(&self, ip: Ipv4Addr, at: u64) -> bool {
        let spans = self.dark.get(&ip);
        spans.is_some_and(|spans| spans.iter().any(|span| span.has(at)))
    }

    fn cutting(&self, from: Ipv4Addr, to: Ipv4Addr, at: u64) -> impl Iterator<Item = usize> + '_ {
        let here = move |c: &&Cut| c.time.has(at) && c.from.contains(&from) && c.to.contains(&to);
        self.cuts.iter().filter(here).map(|cut| cut.fault)
    }

    /// Something from one host to the other was lost: whoever cut the way did something.
    pub(super) fn note_hit(&mut self, from: Ipv4Addr, to: Ipv4Addr, at: u64) {
        let faults: Vec<usize> = self.cutting(from, to, at).collect();
        for fault in faults {
            *self.hits.entry(fault).or_default() += 1;
        }
    }

    pub(super) fn hits(&self, fault: usize) -> u64 {
        self.hits.get(&fault).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_cut_from_one_tick_on_until_another_and_only_that_way() {
        let [a, b, c] = [1, 2, 3].map(|n| Ipv4Addr::new(10, 1, 0, n));
        let mut barriers = Barriers::default();
        barriers.cut(4, &[a], &[b], 10);
        barriers.heal(4, 20);
        let stopped = [10, 11, 20, 21].map(|at| barriers.stop(a, b, at));
        assert_eq!(stopped, [false, true, true, false]);
        assert!(!barriers.stop(b, a, 15) && !barriers.stop(a, c, 15));
        barriers.note_hit(a, b, 15);
        barriers.note_hit(a, b, 25);
        assert_eq!((barriers.hits(4), barriers.hits(5)), (1, 0));
        barriers.power_off(c, 30);
        barriers.power_on(c, 40);
        barriers.power_off(c, 50);
        let dark = [31, 41, 51].map(|at| barriers.stop(c, a, at) && barriers.stop(a, c, at));
        assert_eq!(dark, [true, false, true]);
    }
}

//! Owns the count of leechers that are online, over time, and Little's law as a check of the books.
//!
//! Invariant: the count changes at events, and knows nothing of what is written down for each peer. So their agreement says
//! something: over a run that begins and ends with nobody waiting, mean leechers = arrival rate x mean time, exactly
//! (Little 1961; over a finite time it is no law of chance, but of counting).

use skep_engine::Now;

use crate::check::Failure;
use crate::outcome::{Little, PeerOutcome};
use crate::scenario::Plan;
use crate::scenario::plan::Role;

/// How far the two may be apart, as a part.
const APART_MAX: f64 = 0.02;

/// Leechers online, integrated.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::world) struct Present {
    now: u64,
    since: Now,
    leecher_ns: u128,
}

impl Present {
    /// One more, or one less.
    pub(super) fn change(&mut self, at: Now, more: bool) {
        self.leecher_ns += u128::from(self.now) * u128::from(at.0.saturating_sub(self.since.0));
        self.since = self.since.max(at);
        match more {
            true => self.now += 1,
            false => self.now = self.now.saturating_sub(1),
        }
    }

    /// What comes of it at the end of a run, beside what the peers' own times say; nothing where somebody comes more than
    /// once, or has everything when it comes.
    pub(in crate::world) fn little(
        mut self,
        plan: &Plan,
        peers: &[PeerOutcome],
        end: Now,
    ) -> Option<Little> {
        self.change(end, true);
        let mut waits = Vec::new();
        let pieces = plan.torrent.pieces();
        for (host, peer) in plan.hosts.iter().zip(peers) {
            if host.role != Role::Leecher || peer.online_s <= 0.0 {
                continue;
            }
            if host.sessions.len() > 1 || host.have.len() >= pieces as usize {
                return None;
            }
            let whole = peer.completed_s.map(|at| at - peer.joined_s);
            waits.push(whole.unwrap_or(peer.online_s));
        }
        let (seconds, number) = (end.as_secs_f64(), waits.len() as f64);
        if waits.is_empty() || seconds <= 0.0 {
            return None;
        }
        Some(Little {
            leechers: self.leecher_ns as f64 / 1e9 / seconds,
            rate: number / seconds,
            time_s: waits.iter().sum::<f64>() / number,
        })
    }
}

/// What is wrong with the books, if they disagree.
pub(in crate::world) fn wrong(little: &Little, end: Now) -> Option<Failure> {
    (little.apart() > APART_MAX).then(|| {
        let Little {
            leechers,
            rate,
            time_s,
        } = little;
        let message = format!(
            "{leechers:.3} leechers online on average, {rate:.4} per second that stay {time_s:.2} s: Little's law does not \
             hold"
        );
        Failure::of("little", end, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leechers_are_integrated() {
        let at = |s: u64| Now(s * 1_000_000_000);
        let mut present = Present::default();
        present.change(at(10), true);
        present.change(at(20), true);
        present.change(at(25), false);
        present.change(at(40), false);
        present.change(at(100), true);
        assert_eq!(present.leecher_ns, (10 + 10 + 15) * 1_000_000_000);
    }

    #[test]
    fn books_that_disagree_by_more_than_two_percent_are_wrong() {
        let little = |leechers| Little {
            leechers,
            rate: 0.5,
            time_s: 20.0,
        };
        assert!(wrong(&little(10.1), Now(1)).is_none());
        let failure = wrong(&little(9.7), Now(1)).expect("3 % apart");
        assert!(
            failure.message.contains("9.700 leechers"),
            "{}",
            failure.message
        );
    }
}

//! Owns the strategy `unchoke-all`: everybody who wants something has a slot. The baseline without reciprocation: how
//! many there are is bounded by the connections alone.

use rand_chacha::ChaCha8Rng;

use super::{Between, ChokeDecision, ChokeRound, Choker, Verdict};

/// No choice.
#[derive(Clone, Copy, Debug)]
pub struct UnchokeAll;

impl Choker for UnchokeAll {
    fn name(&self) -> &'static str {
        "unchoke-all"
    }

    fn decide(&mut self, round: &ChokeRound<'_>, _rng: &mut ChaCha8Rng) -> ChokeDecision {
        let verdict = |wants: bool| match wants {
            true => Verdict::UNCHOKED,
            false => Verdict::default(),
        };
        let wants = |peer: &super::ChokePeer| peer.interested && (peer.unchoked || peer.changeable);
        round
            .peers
            .iter()
            .map(|peer| verdict(wants(peer)))
            .collect()
    }

    fn between(&self, _seeding: bool, _slots: u32) -> Between {
        Between::equal(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ChokePeer;
    use super::super::tests::{peer, round, unchoked};
    use super::*;

    #[test]
    fn everybody_who_wants_something() {
        let mut peers = [peer(); 20];
        peers[3].interested = false;
        peers[5] = ChokePeer {
            changeable: false,
            ..peer()
        };
        let all = unchoked(&mut UnchokeAll, &round(&peers));
        assert_eq!(all.len(), 18);
        assert!(!all.contains(&3) && !all.contains(&5));
    }
}

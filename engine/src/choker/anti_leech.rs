//! Owns the strategy `anti-leech` (libtorrent): slots for those who have just begun and for those who are almost done.
//!
//! The first have nothing to give and get nothing for it elsewhere; the second become seeds. Who is in the middle can
//! trade. (Chow, Golubchik and Misra 2008, "Improving BitTorrent: a simple approach", argue for it against free-riders.)

use std::cmp::Reverse;

use rand_chacha::ChaCha8Rng;

use super::{ChokeDecision, ChokePeer, ChokeRound, Choker, Verdict, ranked};

/// The further from the middle, the sooner; leecher or seed.
#[derive(Clone, Copy, Debug)]
pub struct AntiLeech;

/// How far from the middle of its download a peer is, in thousandths of half of it.
fn distance(peer: &ChokePeer, pieces: u32) -> u64 {
    let (twice, all) = (u64::from(peer.pieces) * 2, u64::from(pieces.max(1)));
    twice.abs_diff(all) * 1000 / all
}

impl Choker for AntiLeech {
    fn name(&self) -> &'static str {
        "anti-leech"
    }

    fn decide(&mut self, round: &ChokeRound<'_>, rng: &mut ChaCha8Rng) -> ChokeDecision {
        let order = ranked(
            round.peers,
            rng,
            |peer| peer.interested && (peer.unchoked || peer.changeable),
            |peer| {
                let far = distance(peer, round.pieces);
                (peer.idle, Reverse(far), !peer.unchoked, peer.waiting_since)
            },
        );
        let mut verdicts = vec![Verdict::default(); round.peers.len()];
        for i in order.into_iter().take(round.slots as usize) {
            verdicts[i] = Verdict::UNCHOKED;
        }
        verdicts
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{peer, round, unchoked};
    use super::*;

    fn has(pieces: u32) -> ChokePeer {
        ChokePeer { pieces, ..peer() }
    }

    #[test]
    fn the_beginner_and_the_almost_done_before_the_middle() {
        let peers = [has(50), has(98), has(40), has(3), has(10), has(95)];
        assert_eq!(unchoked(&mut AntiLeech, &round(&peers)), [1, 3, 4, 5]);
    }

    #[test]
    fn who_hardly_uses_its_slot_comes_last() {
        let mut still = has(0);
        (still.unchoked, still.idle) = (true, true);
        let peers = [still, has(50), has(50), has(50), has(50)];
        assert_eq!(unchoked(&mut AntiLeech, &round(&peers)), [1, 2, 3, 4]);
    }
}

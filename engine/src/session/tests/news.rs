//! News of verified pieces: who is told at once, who of several together.

use super::swarm::{Recipe, recipe};
use super::*;

/// A session of many pieces that uploads in one slot, a source of it, and what that was asked for.
struct Gaining {
    rig: Rig,
    source: ConnId,
    asked: VecDeque<BlockRange>,
    gained: Vec<PieceIndex>,
}

fn gaining(pieces: u32) -> Gaining {
    let plan = Plan::new(pieces, 1);
    let plan = plan.config(|c| (c.upload_slots, c.optimistic_slots) = (1, 0));
    let mut rig = plan.having(&[0]).start();
    let source = rig.source(1);
    Gaining {
        rig,
        source,
        asked: VecDeque::new(),
        gained: Vec::new(),
    }
}

impl Gaining {
    /// So many pieces are verified.
    fn gain(&mut self, pieces: usize) {
        for _ in 0..pieces {
            self.asked.extend(self.rig.asked(self.source));
            let range = self.asked.pop_front().expect("more is asked for");
            self.rig.give(self.source, range);
            self.gained.push(range.piece);
        }
    }

    /// The pieces that a peer heard of since the last question.
    fn news(&mut self, conn: ConnId) -> Vec<PieceIndex> {
        let heard = self.rig.heard(conn).into_iter();
        let pieces = heard.filter_map(|message| match message {
            Message::Have(piece) => Some(piece),
            _ => None,
        });
        pieces.collect()
    }

    /// A peer that wants something and is choked: another has the slot.
    fn choked(&mut self) -> ConnId {
        self.rig.taker(2);
        let choked = self.rig.taker(3);
        assert!(!self.rig.heard(choked).contains(&Message::Unchoke));
        choked
    }
}

#[test]
fn who_wants_something_already_and_is_choked_hears_of_several_pieces_together() {
    let mut g = gaining(256);
    let choked = g.choked();
    for _ in 0..2 {
        g.gain(3);
        assert_eq!(g.news(choked), []);
        g.gain(1);
        let last = g.gained.split_off(g.gained.len() - 4);
        assert_eq!(g.news(choked), last);
    }
}

#[test]
fn of_few_pieces_each_is_told_at_once() {
    let mut g = gaining(127);
    let choked = g.choked();
    g.gain(1);
    assert_eq!(g.news(choked), g.gained);
}

#[test]
fn who_may_act_on_a_piece_is_told_at_once() {
    let mut g = gaining(256);
    let (unchoked, content) = (g.rig.taker(2), g.rig.join(3));
    for _ in 0..3 {
        g.gain(1);
        let last = [g.gained[g.gained.len() - 1]];
        assert_eq!(g.news(unchoked), last, "it asks for nothing");
        assert_eq!(g.news(content), last, "it may want this one");
    }
}

#[test]
fn news_go_before_whatever_is_said_next() {
    let mut g = gaining(256);
    let peer = g.rig.taker(2);
    g.rig.hold_reads = true;
    g.rig.say(peer, Message::Request(at(0, 0)));
    g.rig.heard(peer);
    g.gain(2);
    assert_eq!(g.rig.heard(peer), [], "it has enough to wait for");
    g.rig.answer_read();
    let heard = g.rig.heard(peer);
    assert_eq!(heard[..2], [0, 1].map(|n| Message::Have(g.gained[n])));
    assert!(matches!(heard[2..], [Message::Piece { .. }]));
}

#[test]
fn news_wait_no_longer_than_until_the_next_choke_round() {
    let mut g = gaining(256);
    let choked = g.choked();
    g.gain(1);
    let round = g.rig.torrent.config.choke_interval;
    g.rig.wait(round);
    assert_eq!(g.news(choked), g.gained);
}

#[test]
fn who_wants_nothing_any_more_is_told_what_waited() {
    let mut g = gaining(256);
    let choked = g.choked();
    g.gain(2);
    g.rig.say(choked, Message::NotInterested);
    assert_eq!(g.news(choked), g.gained);
    g.gain(1);
    assert_eq!(g.news(choked), g.gained[2..]);
}

#[test]
fn a_piece_that_was_lost_meanwhile_is_no_news() {
    let mut g = gaining(256);
    let choked = g.choked();
    g.gain(2);
    let piece = g.gained[0];
    g.rig.feed(Input::PieceLost { piece });
    g.rig.say(choked, Message::NotInterested);
    assert_eq!(g.news(choked), g.gained[1..]);
}

#[test]
fn who_is_gone_is_told_nothing() {
    let mut g = gaining(256);
    let choked = g.choked();
    g.gain(2);
    g.rig.gone(choked);
    g.gain(2);
    assert_eq!(g.news(choked), []);
}

#[test]
fn who_finishes_says_so_at_once() {
    let mut g = gaining(130);
    let choked = g.choked();
    g.gain(129);
    assert_eq!(g.news(choked), g.gained);
}

#[test]
fn a_swarm_of_many_small_pieces_finishes_and_its_seeds_know_of_each_other() {
    for seed in 1..9 {
        let recipe = Recipe {
            total: 3_000_000,
            piece_bytes: BLOCK_BYTES,
            leechers: 5,
            seed,
            ..recipe()
        };
        let mut swarm = recipe.swarm();
        swarm.run(secs(240));
        swarm.balance();
        let end = swarm.now.after(secs(150));
        while swarm.step(end) {}
        for member in &swarm.members {
            assert_eq!(member.torrent.peers_connected(), 0, "seeds have parted");
        }
    }
}

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
    gaining_with(pieces, |_| {})
}

fn gaining_with(pieces: u32, change: impl Fn(&mut EngineConfig)) -> Gaining {
    let plan = Plan::new(pieces, 1).config(|c| {
        (c.upload_slots, c.optimistic_slots) = (1, 0);
        change(c);
    });
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

/// As [`gaining`], but everybody is told of everything; and a peer that wants nothing of us, for it has all but the
/// last piece.
fn redundant(pieces: u32) -> (Gaining, ConnId) {
    let mut g = gaining_with(pieces, |c| c.redundant_have = true);
    let most: Vec<u32> = (0..pieces - 1).collect();
    let holder = g.rig.holder(4, &most);
    (g, holder)
}

#[test]
fn who_has_a_piece_hears_of_it_with_whatever_is_said_next_or_in_the_next_choke_round() {
    // Also of so few pieces that who lacks one hears of each at once.
    let (mut g, holder) = redundant(64);
    let other = g.rig.join(5);
    g.rig.heard(holder);
    g.gain(3);
    assert_eq!(g.news(other), g.gained);
    assert_eq!(g.rig.heard(holder), [], "it has all of them");
    g.rig.wait(g.rig.torrent.config.choke_interval);
    assert_eq!(g.news(holder), g.gained);
    g.gain(2);
    g.rig.say(holder, Message::Unchoke);
    let heard = g.rig.heard(holder);
    assert_eq!(heard[..2], [3, 4].map(|n| Message::Have(g.gained[n])));
    assert!(matches!(heard[2], Message::Request(_)), "{heard:?}");
}

#[test]
fn who_gave_a_piece_hears_of_it_at_once_also_where_everybody_is_told() {
    // It may be a super-seed (BEP 16), which waits to hear of it.
    let plan = Plan::new(3, 1).config(|c| c.redundant_have = true);
    let mut rig = plan.start();
    let (giver, other) = (rig.holder(1, &[0, 1]), rig.holder(2, &[0, 1]));
    rig.say(giver, Message::Unchoke);
    let range = rig.asked(giver)[0];
    for peer in [giver, other] {
        rig.heard(peer);
    }
    rig.give(giver, range);
    let have = Message::Have(range.piece);
    assert_eq!(rig.heard(giver), [have]);
    assert_eq!(rig.heard(other), [], "we want more of it, and say nothing");
}

#[test]
fn those_who_lack_pieces_do_not_wait_for_those_who_have_them() {
    let (mut g, holder) = redundant(256);
    let choked = g.choked();
    g.rig.heard(holder);
    for _ in 0..7 {
        g.gain(4);
        let heard = g.news(choked);
        assert_eq!(heard, g.gained[g.gained.len() - 4..]);
        assert_eq!(g.news(holder), []);
    }
    // As many as are remembered: everybody hears of them.
    g.gain(3);
    assert_eq!(g.news(choked), g.gained[28..]);
    assert_eq!(g.news(holder), g.gained);
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

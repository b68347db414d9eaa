//! Copies at peers that snub us do not count when it is asked which piece is rare.

use super::*;
use crate::picker::RarestFirst;

/// Copies of each piece, as choices go by them.
fn counted(rig: &Rig) -> Vec<u16> {
    rig.torrent.pieces.copies().to_vec()
}

fn all(rig: &Rig) -> Vec<u16> {
    rig.torrent.pieces.availability.clone()
}

#[test]
fn a_copy_at_a_peer_that_snubs_us_counts_again_when_it_sends_a_block() {
    let mut rig = Plan::new(4, 2).start();
    let mute = rig.source(1);
    rig.holder(2, &[0, 1]);
    rig.wait(secs(60) - ms(1));
    assert_eq!(counted(&rig), [2, 2, 1, 1]);
    rig.wait(ms(1));
    assert_eq!(counted(&rig), [1, 1, 0, 0]);
    assert_eq!(
        all(&rig),
        [2, 2, 1, 1],
        "the sum of the bitfields as before"
    );
    rig.holder(3, &[3]);
    assert_eq!(counted(&rig), [1, 1, 0, 1]);
    rig.give(mute, at(0, 0));
    assert_eq!(counted(&rig), [2, 2, 1, 2]);
    assert!(rig.torrent.pieces.trusted.is_none(), "nobody is doubted");
}

#[test]
fn what_a_doubted_peer_says_it_has_does_not_count_either() {
    let mut rig = Plan::new(4, 2).start();
    let mute = rig.holder(1, &[0]);
    rig.say(mute, Message::Unchoke);
    rig.wait(secs(60));
    rig.have(mute, 2);
    assert_eq!((counted(&rig), all(&rig)), (vec![0; 4], vec![1, 0, 1, 0]));
    rig.gone(mute);
    assert_eq!((counted(&rig), all(&rig)), (vec![0; 4], vec![0; 4]));
    assert!(rig.torrent.pieces.trusted.is_none());
}

#[test]
fn a_new_connection_does_not_end_the_doubt_and_a_block_does() {
    let mut rig = Plan::new(2, 2).start();
    let mute = rig.source(1);
    rig.wait(secs(60));
    rig.gone(mute);
    let again = rig.source(1);
    assert_eq!((counted(&rig), all(&rig)), (vec![0, 0], vec![1, 1]));
    let asked = rig.asked(again);
    assert_eq!(asked.len(), 1, "a pipeline is for those who send");
    rig.give(again, asked[0]);
    assert_eq!(counted(&rig), [1, 1]);
    assert!(rig.asked(again).len() > 1);
    rig.gone(again);
    let third = rig.source(1);
    assert_eq!(counted(&rig), [1, 1], "its debt is paid");
    assert!(rig.asked(third).len() > 1);
}

/// Three claim the last four of eight pieces and send nothing. `aware`: the switch. What is asked of a seed that comes later.
fn asked_first(aware: bool) -> u32 {
    let plan = Plan::new(8, 1).config(|c| {
        c.snub_aware = aware;
        c.pipeline_start = 1;
    });
    let mut setup = plan.setup();
    setup.picker = Box::new(RarestFirst { random_first: 0 });
    let mut rig = plan.start_with(setup);
    for n in 1..4 {
        let mute = rig.holder(n, &[4, 5, 6, 7]);
        rig.say(mute, Message::Unchoke);
    }
    rig.holder(4, &[0, 1, 2, 3]);
    rig.wait(secs(120));
    let seed = rig.source(5);
    let asked = rig.asked(seed);
    asked[0].piece.0
}

#[test]
fn a_piece_that_only_the_mute_claim_is_rare() {
    assert!(asked_first(true) >= 4);
    assert!(asked_first(false) < 4);
}

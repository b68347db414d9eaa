//! Where the memory of connections lies, for whoever asks for it before it is needed.

use super::*;
use crate::prefetch::{self, LINE};

#[test]
fn a_peer_lies_where_it_is_said_to_lie() {
    let mut rig = Plan::new(4, 1).start();
    rig.torrent.has_moved();
    let conns: Vec<_> = (1..=3).map(|n| rig.connect(n, true)).collect();
    assert!(rig.torrent.has_moved());
    assert!(!rig.torrent.has_moved());
    let ([peers, rows], rests) = rig.torrent.whereabouts();
    for conn in conns {
        let at = conn.slot as usize;
        let slot = rig.torrent.slot(conn).expect("it stands");
        let peer = rig.torrent.peers[slot].as_ref().expect("it stands");
        assert_eq!(prefetch::address_of(peer), peers + at * LINE);
        assert_eq!(peer.rest_address(), rests[at]);
        let row = prefetch::address_of(&rig.torrent.bitfields[slot]);
        assert_eq!(row, rows + at * LINE);
    }
}

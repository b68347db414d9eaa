//! Where the memory of connections lies, for whoever asks for it before it is needed.

use super::*;
use crate::node::network::Coming;
use crate::prefetch::{self, LINE};
use crate::wire::Chunk;

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

#[test]
fn what_comes_is_known_by_its_first_bytes_whatever_they_say() {
    let mut rig = Plan::new(4, 1).having(&[1]).start();
    let conn = rig.connect(1, true);
    let piece_of = |message: &Message| {
        let mut bytes = Vec::new();
        let block = message.encode_head(&mut bytes);
        let told = |bytes: &[u8]| {
            rig.torrent
                .prefetch_of(conn, Coming::Data(&Chunk::copy(bytes)))
        };
        // Cut anywhere it is about the same piece or about none.
        let cuts: Vec<_> = (0..=bytes.len()).map(|cut| told(&bytes[..cut])).collect();
        let whole = *cuts.last().expect("at least one");
        assert!(cuts.iter().all(|cut| [None, whole].contains(cut)));
        // The block itself comes behind its head.
        assert!(block.is_none_or(|block| told(&block).is_none()));
        whole
    };
    let block = |piece| Message::Piece {
        piece: PieceIndex(piece),
        begin: u32::MAX,
        data: Bytes::from(vec![0xff; BLOCK_BYTES as usize]),
    };
    assert_eq!(piece_of(&Message::Request(at(1, 0))), Some(PieceIndex(1)));
    assert_eq!(piece_of(&block(2)), Some(PieceIndex(2)));
    // News are about no block, and a piece that there is not is none.
    assert_eq!(piece_of(&Message::Have(PieceIndex(3))), None);
    assert_eq!(piece_of(&Message::Unchoke), None);
    assert_eq!(piece_of(&block(4)), None);
    assert_eq!(piece_of(&block(u32::MAX)), None);
    assert_eq!(rig.torrent.prefetch_of(conn, Coming::Room), None);
}

//! Owns the round trips that no parser's own file has: metainfo from writing to reading, replies and
//! queries at random, and lists of what a peer sends in any chunks.
//!
//! Invariant: what is written reads back the same.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option::of;
use proptest::prelude::*;
use skep_engine::ids::{InfoHash, PeerId};
use skep_engine::metainfo::create::{CreateOptions, Layout, encode};
use skep_engine::metainfo::{FileKind, Metainfo};
use skep_engine::tracker::announce::{
    AnnounceEvent, AnnounceReply, AnnounceRequest, PeerAddr, ScrapeCounts,
};
use skep_engine::tracker::http::{
    announce_query, parse_announce, parse_reply, parse_scrape_query, parse_scrape_reply,
    scrape_query, write_reply, write_scrape,
};
use skep_engine::wire::Handshake;

fn bytes20() -> impl Strategy<Value = [u8; 20]> {
    any::<[u8; 20]>()
}

prop_compose! {
    fn any_peer()(v4: [u8; 4], v6: [u8; 16], is_v4: bool, port in 1..=u16::MAX, id in of(bytes20())) -> PeerAddr {
        let addr = if is_v4 { (v4, port).into() } else { (v6, port).into() };
        PeerAddr { addr, id: id.map(PeerId) }
    }
}

prop_compose! {
    fn any_reply()(
        interval in of(1..86_400_u64),
        interval_min in of(1..86_400_u64),
        peers in vec(any_peer(), 0..80),
        complete: Option<u32>,
        incomplete: Option<u32>,
        tracker_id in of(vec(any::<u8>(), 0..512)),
        warning in of("\\PC{0,100}"),
        external_ip in of(any::<[u8; 4]>()),
    ) -> AnnounceReply {
        AnnounceReply {
            interval: interval.map(Duration::from_secs),
            interval_min: interval_min.map(Duration::from_secs),
            peers,
            complete,
            incomplete,
            tracker_id,
            warning,
            external_ip: external_ip.map(Into::into),
        }
    }
}

prop_compose! {
    fn any_request()(
        info_hash in bytes20(),
        peer_id in bytes20(),
        port in 1..=u16::MAX,
        numbers: [u64; 3],
        event in prop::sample::select(vec![
            AnnounceEvent::Started,
            AnnounceEvent::Completed,
            AnnounceEvent::Stopped,
            AnnounceEvent::Periodic,
        ]),
        wanted: u32,
        key: u32,
        tracker_id in of(vec(any::<u8>(), 0..512)),
        compact: bool,
    ) -> AnnounceRequest {
        AnnounceRequest {
            info_hash: InfoHash(info_hash),
            peer_id: PeerId(peer_id),
            port,
            uploaded: numbers[0],
            downloaded: numbers[1],
            left: numbers[2],
            event,
            wanted,
            key,
            tracker_id,
            compact,
        }
    }
}

prop_compose! {
    fn any_options()(
        announce in vec(vec("http://[a-z]{1,8}/[a-z]{0,8}", 1..4), 0..4),
        web_seeds in vec("http://[a-z]{1,8}/", 0..3),
        source in of("\\PC{0,20}"),
        comment in of("\\PC{0,60}"),
        created_by in of("\\PC{0,20}"),
        creation_date: Option<i64>,
        private: bool,
        pad: bool,
    ) -> CreateOptions {
        CreateOptions { piece_bytes: None, announce, web_seeds, source, pad, comment, created_by, creation_date, private }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_announce_reply_reads_back(reply in any_reply()) {
        let read = parse_reply(&write_reply(&reply, false, false)).expect("a reply");
        prop_assert_eq!(&read, &reply);
        // Compact: without ids, and the IPv6 ones last.
        let mut compact = reply;
        compact.peers.iter_mut().for_each(|peer| peer.id = None);
        compact.peers.sort_by_key(|peer| peer.addr.is_ipv6());
        let read = parse_reply(&write_reply(&compact, true, false)).expect("a reply");
        prop_assert_eq!(read, compact);
    }

    #[test]
    fn an_announce_query_reads_back(request in any_request(), no_peer_id: bool) {
        prop_assert_eq!(parse_announce(&announce_query(&request, no_peer_id)), Ok(request));
    }

    #[test]
    fn scrapes_read_back(told in btree_map(bytes20(), any::<[u32; 3]>(), 1..74)) {
        let torrents: Vec<InfoHash> = told.keys().map(|hash| InfoHash(*hash)).collect();
        prop_assert_eq!(parse_scrape_query(&scrape_query(&torrents)), Ok(torrents));
        let counts = |[complete, downloaded, incomplete]: [u32; 3]| ScrapeCounts { complete, downloaded, incomplete };
        let told: BTreeMap<_, _> = told.into_iter().map(|(hash, n)| (InfoHash(hash), counts(n))).collect();
        prop_assert_eq!(parse_scrape_reply(&write_scrape(&told)), Ok(told));
    }

    #[test]
    fn a_handshake_reads_back(reserved: [u8; 8], info_hash in bytes20(), peer_id in bytes20()) {
        let handshake = Handshake { reserved, info_hash: InfoHash(info_hash), peer_id: PeerId(peer_id) };
        prop_assert_eq!(Handshake::decode(&handshake.encode()), Some(handshake));
    }

    #[test]
    fn metainfo_reads_back(
        names in btree_set("[a-z]{1,12}", 1..12),
        lens in vec(0..200_000_u64, 12),
        one_file: bool,
        options in any_options(),
        hash in bytes20(),
    ) {
        const PIECE: u32 = 16_384;
        let names: Vec<String> = names.into_iter().collect();
        let first = lens[0] + 1;
        let layout = if one_file {
            Layout::OneFile(first)
        } else {
            let lens = std::iter::once(first).chain(lens[1..].iter().copied());
            let path = |name: &String| vec!["folder".to_owned(), name.clone()];
            Layout::Folder(names.iter().map(path).zip(lens).collect())
        };
        // What the pieces are counted from: every file, and the padding that `encode` puts between.
        let lens = match &layout {
            Layout::OneFile(len) => vec![*len],
            Layout::Folder(files) => files.iter().map(|(_, len)| *len).collect(),
        };
        let padding = match (&layout, options.pad) {
            (Layout::Folder(_), true) => skep_engine::metainfo::create::padding_after(&lens, PIECE),
            _ => Vec::new(),
        };
        let total = lens.iter().chain(&padding).sum::<u64>();
        let hashes = vec![hash; usize::try_from(total.div_ceil(PIECE.into())).expect("few")];
        let bytes = encode("torrent", &layout, PIECE, &hashes, &options);
        let read = Metainfo::parse(&bytes).expect("what is written is right");
        prop_assert_eq!(&read.name, "torrent");
        prop_assert_eq!(read.geometry.total, total);
        prop_assert_eq!(&read.piece_hashes, &hashes);
        prop_assert_eq!(read.private, options.private);
        prop_assert_eq!(&read.source, &options.source);
        prop_assert_eq!(&read.comment, &options.comment);
        prop_assert_eq!(&read.created_by, &options.created_by);
        prop_assert_eq!(read.creation_date, options.creation_date);
        prop_assert_eq!(&read.announce, &options.announce);
        prop_assert_eq!(&read.web_seeds, &options.web_seeds);
        let regular = read.files.iter().filter(|file| file.kind == FileKind::Regular);
        let regular: Vec<(Vec<String>, u64)> = regular.map(|file| (file.path.clone(), file.len)).collect();
        let wanted: Vec<(Vec<String>, u64)> = match layout {
            Layout::OneFile(len) => vec![(vec!["torrent".to_owned()], len)],
            Layout::Folder(files) => {
                let below = |(path, len): (Vec<String>, u64)| ([vec!["torrent".to_owned()], path].concat(), len);
                files.into_iter().map(below).collect()
            }
        };
        prop_assert_eq!(regular, wanted);
    }
}

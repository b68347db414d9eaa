//! Magnet links as found in the wild, as written, and broken ones.

use proptest::prelude::*;

use super::*;

const HEX: &str = "2aa4f5a7e209e54b32803d43670971c4c8caaa05";

fn read(link: &str) -> MagnetLink {
    link.parse()
        .unwrap_or_else(|error| panic!("{link}: {error}"))
}

/// The bytes that an error is about, and which rule they break.
fn refused(link: &str) -> (&str, MagnetProblem) {
    let error = link.parse::<MagnetLink>().expect_err(link);
    (&link[error.at], error.what)
}

#[test]
fn foreign_text_cannot_add_a_parameter() {
    let info = "d6:lengthi1e4:name6:a&tr=b12:piece lengthi1e6:pieces20:hhhhhhhhhhhhhhhhhhhhe";
    let file = format!("d8:announce11:http://t/ä4:info{info}8:url-list4:ws:/e");
    let meta = Metainfo::parse(file.as_bytes()).expect("valid");
    let written = meta.magnet_link();
    assert_eq!(
        written,
        format!(
            "magnet:?xt=urn:btih:{}&dn=a%26tr%3Db&tr=http%3A%2F%2Ft%2F%C3%A4&ws=ws%3A%2F",
            meta.info_hash
        )
    );
    let link = read(&written);
    assert_eq!(link.info_hash, meta.info_hash);
    assert_eq!(link.name.as_deref(), Some("a&tr=b"));
    assert_eq!(link.trackers, ["http://t/ä"]);
}

#[test]
fn hashes_are_read_in_hex_and_base32_and_any_case() {
    let base32 = "FKSPLJ7CBHSUWMUAHVBWOCLRYTEMVKQF";
    for link in [
        format!("magnet:?xt=urn:btih:{HEX}"),
        format!("MAGNET:?XT=URN:BTIH:{}", HEX.to_uppercase()),
        format!("magnet:?dn=x&xt=urn:btih:{base32}"),
        format!("magnet:?xt=urn:btih:{}", base32.to_lowercase()),
        format!("magnet:?xt.1=urn:ed2k:31d6&xt.2=urn:btih:{HEX}&xt=urn:btih:{base32}"),
        format!("magnet:?xt=urn%3Abtih%3A{HEX}&&x&=&y=1"),
    ] {
        assert_eq!(read(&link).info_hash.to_string(), HEX, "{link}");
    }
    let v2 = "1220".to_owned() + &"ab".repeat(32);
    let hybrid = read(&format!("magnet:?xt=urn:btmh:{v2}&xt=urn:btih:{HEX}"));
    assert_eq!(hybrid.v2_info_hash, Some([0xab; 32]));
}

#[test]
fn everything_that_links_say_is_read() {
    let link = read(&format!(
        "magnet:?xt=urn:btih:{HEX}&dn=My+film%20(1).mkv&dn=other&tr=http%3a%2f%2ft%2fann&tr.2=udp://u:1\
         &tr=udp://u:1&tr=&ws=http://w/&x.pe=10.0.0.1:6881&x.pe=[2001:db8::1]:7&x.pe=home.example:99\
         &so=0,2,4-6"
    ));
    assert_eq!(link.name.as_deref(), Some("My film (1).mkv"));
    assert_eq!(link.trackers, ["http://t/ann", "udp://u:1"]);
    assert_eq!(link.web_seeds, ["http://w/"]);
    let peers: Vec<_> = link.peers.iter().map(PeerPlace::to_string).collect();
    assert_eq!(
        peers,
        ["10.0.0.1:6881", "[2001:db8::1]:7", "home.example:99"]
    );
    assert_eq!(link.files, [0..=0, 2..=2, 4..=6]);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    use MagnetProblem::*;
    let with = |rest: &str| format!("magnet:?xt=urn:btih:{HEX}&{rest}");
    for (link, at, what) in [
        (String::new(), "", NotMagnet),
        ("http://t/a".into(), "http://t", NotMagnet),
        ("magnet:".into(), "magnet:", NotMagnet),
        ("magnet:?".into(), "", NoHash),
        ("magnet:?dn=x".into(), "", NoHash),
        ("magnet:?xt=urn:btih:12".into(), "urn:btih:12", BadHash),
        (format!("magnet:?xt=urn:btih:{}g", &HEX[1..]), "", BadHash),
        (
            format!("magnet:?xt=urn:btih:{}", "1".repeat(32)),
            "",
            BadHash,
        ),
        (
            format!("magnet:?xt=urn:btih:{}", "é".repeat(20)),
            "",
            BadHash,
        ),
        (
            "magnet:?xt=urn:btmh:1220".into(),
            "urn:btmh:1220",
            BadMultihash,
        ),
        (
            format!("magnet:?xt=urn:btmh:1220{}", "0".repeat(64)),
            "",
            V2Only,
        ),
        (
            with(&format!("xt=urn:btih:{}", "0".repeat(40))),
            "",
            TwoHashes,
        ),
        (with("dn=a%2"), "%2", BadPercent),
        (with("tr=%zz&dn=x"), "%zz", BadPercent),
        (with("tr=%é"), "", BadPercent),
        (with("tr=%ff"), "%ff", NotUtf8),
        (
            with(&format!("tr=http://{}", "x".repeat(5000))),
            "",
            LongUrl,
        ),
        (with("x.pe=10.0.0.1"), "10.0.0.1", BadPeer),
        (with("x.pe=10.0.0.1:0"), "10.0.0.1:0", BadPeer),
        (with("x.pe=a b:1"), "a b:1", BadPeer),
        (with("x.pe=:1"), ":1", BadPeer),
        (with("so=1,x"), "1,x", BadFiles),
        (with("so=5-1"), "5-1", BadFiles),
        (with(&"&".repeat(LINK_BYTES_MAX)), "", TooLong),
    ] {
        let (place, why) = refused(&link);
        assert_eq!(why, what, "{link:.80}");
        assert!(at.is_empty() || place == at, "{link:.80}: {place}");
    }
}

#[test]
fn lists_are_bounded_and_names_cut() {
    let mut link = format!("magnet:?xt=urn:btih:{HEX}&dn={}", "é".repeat(3000));
    for n in 0..900 {
        link.push_str(&format!("&tr=udp://{n}:1&x.pe=t:{}&so={n}", n + 1));
    }
    let link = read(&link);
    let lengths = [link.trackers.len(), link.peers.len(), link.files.len()];
    assert_eq!(lengths, [LINK_LIST_MAX; 3]);
    assert_eq!(link.name.map(|name| name.len()), Some(1024));
}

#[test]
fn a_metainfo_file_is_made_around_the_info_value() {
    let info = b"d6:lengthi1e4:name1:n12:piece lengthi1e6:pieces20:hhhhhhhhhhhhhhhhhhhhe";
    let link = MagnetLink {
        trackers: vec!["http://t/a".into(), "udp://u:1".into()],
        web_seeds: vec!["http://w/".into()],
        ..read(&format!("magnet:?xt=urn:btih:{HEX}"))
    };
    let meta = Metainfo::parse(&link.metainfo_file(info)).expect("valid");
    assert_eq!(meta.info_bytes, info[..]);
    assert_eq!(meta.announce, [["http://t/a"], ["udp://u:1"]]);
    assert_eq!(meta.web_seeds, ["http://w/"]);
    let bare = MagnetLink::new(link.info_hash).metainfo_file(info);
    assert_eq!(bare, [&b"d4:info"[..], info, b"e"].concat());
}

fn any_link() -> impl Strategy<Value = MagnetLink> {
    let texts = || prop::collection::btree_set("[ -~äß€]{1,20}", 0..4);
    let urls = || {
        let trimmed = |set: std::collections::BTreeSet<String>| {
            let texts = set.into_iter().map(|text| text.trim().to_owned());
            let texts: std::collections::BTreeSet<String> = texts.collect();
            texts.into_iter().filter(|text| !text.is_empty()).collect()
        };
        texts().prop_map(trimmed)
    };
    let peer = prop_oneof![
        (any::<[u8; 4]>(), 1_u16..).prop_map(|a| PeerPlace::Addr(a.into())),
        (any::<[u8; 16]>(), 1_u16..).prop_map(|a| PeerPlace::Addr(a.into())),
        ("[a-z]{1,9}", 1_u16..).prop_map(|(host, port)| PeerPlace::Name(host, port)),
    ];
    let peers = prop::collection::btree_set(peer, 0..4);
    let files = prop::collection::vec((0_u32..99, 0_u32..99), 0..4);
    let hashes = (any::<[u8; 20]>(), any::<Option<[u8; 32]>>());
    let name = prop::option::of("[ -~äß€]{0,40}");
    (hashes, name, urls(), urls(), peers, files).prop_map(
        |((hash, v2_info_hash), name, trackers, web_seeds, peers, files)| MagnetLink {
            info_hash: InfoHash(hash),
            v2_info_hash,
            name,
            trackers,
            web_seeds,
            peers: peers.into_iter().collect(),
            files: files.into_iter().map(|(a, b)| a..=a + b).collect(),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_link_reads_back(link in any_link()) {
        prop_assert_eq!(link.to_string().parse(), Ok(link));
    }

    #[test]
    fn any_text_is_read_or_refused_within_itself(text in "(magnet:\\?)?(xt=urn:btih:|&|=|%|x.pe|so|tr|[ -~é]){0,12}") {
        if let Err(error) = text.parse::<MagnetLink>() {
            prop_assert!(text.get(error.at.clone()).is_some(), "{error:?}");
        }
    }
}

//! Metainfo files as found in the wild: one row per oddity, and what becomes of it.

use proptest::prelude::*;

use super::bencode::{ScanError, ScanProblem};
use super::*;

const HASH: &str = "6:pieces20:hhhhhhhhhhhhhhhhhhhh";
const REST: &str = "12:piece lengthi16384e6:pieces20:hhhhhhhhhhhhhhhhhhhh";

/// A byte string.
fn s(text: &str) -> String {
    format!("{}:{text}", text.len())
}

/// A folder `d` of these entries of `files`, each without its `d` and `e`.
fn folder(entries: &[String]) -> Vec<u8> {
    let files: String = entries.iter().map(|entry| format!("d{entry}e")).collect();
    format!("d4:infod5:filesl{files}e4:name1:d{REST}ee").into_bytes()
}

/// An entry of `files` of one byte with this path.
fn entry(path: &[&str]) -> String {
    let parts: String = path.iter().map(|part| s(part)).collect();
    format!("6:lengthi1e4:pathl{parts}e")
}

fn parsed(file: &[u8]) -> Metainfo {
    Metainfo::parse(file)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(file)))
}

/// The safe paths of files with these names, below `d`.
fn paths(names: &[&[&str]]) -> Vec<String> {
    let entries: Vec<_> = names.iter().map(|name| entry(name)).collect();
    let files = parsed(&folder(&entries)).files;
    files.iter().map(|file| file.path.join("/")).collect()
}

#[test]
fn odd_paths_become_safe_and_stay_distinct() {
    for (oddity, found, expected) in [
        (
            "leads out",
            &[&["..", "..", "etc", "x"][..]][..],
            &["d/etc/x"][..],
        ),
        (
            "leads out in between",
            &[&["a", "..", "..", "x"]],
            &["d/a/x"],
        ),
        ("absolute", &[&["/etc/passwd"]], &["d/_etc_passwd"]),
        (
            "absolute by an empty part",
            &[&["", "etc", "x"]],
            &["d/etc/x"],
        ),
        ("empty parts", &[&["", "", "x", ""]], &["d/x"]),
        ("dots", &[&[".", "x"]], &["d/x"]),
        ("separator", &[&["a/../../x"]], &["d/a_.._.._x"]),
        ("the other separator", &[&["..\\..\\x"]], &["d/.._.._x"]),
        (
            "a drive",
            &[&["C:\\x"]],
            &[if cfg!(windows) { "d/C__x" } else { "d/C:_x" }],
        ),
        ("NUL and escapes", &[&["a\0b\u{1b}[2J"]], &["d/a_b_[2J"]),
        (
            "devices",
            &[&["con"], &["LPT1.txt"], &["x", "aux"]],
            &["d/_con", "d/_LPT1.txt", "d/x/_aux"],
        ),
        (
            "twice",
            &[&["x.y"], &["x.y"], &["x.y"]],
            &["d/x.y", "d/x (2).y", "d/x (3).y"],
        ),
        (
            "alike without case",
            &[&["readme"], &["README"]],
            &["d/readme", "d/README (2)"],
        ),
        (
            "alike when made safe",
            &[&["a/b"], &["a\\b"]],
            &["d/a_b", "d/a_b (2)"],
        ),
        (
            "a file and a folder",
            &[&["a"], &["a", "b"]],
            &["d/a", "d/a (2)/b"],
        ),
        (
            "a folder and a file",
            &[&["a", "b"], &["a"]],
            &["d/a/b", "d/a (2)"],
        ),
        (
            "the name while unfinished",
            &[&["a"], &["a.part"]],
            &["d/a", "d/a (2).part"],
        ),
    ] {
        assert_eq!(paths(found), expected, "{oddity}");
    }
    let long = "ä".repeat(300) + ".flac";
    let cut = &paths(&[&[&long]])[0];
    assert!(cut.len() < 250 && cut.ends_with("ä.flac"), "{cut}");
    let deep = vec!["x"; 128];
    assert_eq!(paths(&[&deep])[0].split('/').count(), 129);
}

#[test]
fn the_name_as_found_is_kept_where_it_differs() {
    let meta = parsed(&folder(&[
        entry(&["..", "a"]),
        entry(&["b"]),
        entry(&["x", "A"]),
    ]));
    let found: Vec<_> = meta
        .files
        .iter()
        .map(|file| file.found.as_deref())
        .collect();
    assert_eq!(found, [Some("../a"), None, None]);
    assert_eq!(meta.found_name, None);
    let meta = parsed(format!("d4:infod6:lengthi1e4:name4:../x{REST}ee").as_bytes());
    assert_eq!(
        (meta.name.as_str(), meta.found_name.as_deref()),
        (".._x", Some("../x"))
    );
}

#[test]
fn what_has_no_safe_name_is_refused() {
    for (path, refused) in [
        (&["..", "."][..], MetainfoError::NoSafeName { file: 2 }),
        (&[], MetainfoError::NoSafeName { file: 2 }),
        (&[""], MetainfoError::NoSafeName { file: 2 }),
        (&["x"; 129], MetainfoError::NoSafeName { file: 2 }),
    ] {
        let file = folder(&[entry(&["good"]), entry(path)]);
        assert_eq!(Metainfo::parse(&file), Err(refused), "{path:?}");
    }
}

#[test]
fn every_oddity_is_taken_or_refused_in_its_own_words() {
    let taken = |info: &str, outer: &str| {
        let file = format!("d{outer}4:infod{info}ee");
        parsed(file.as_bytes());
    };
    let one = "6:lengthi1e4:name1:a";
    // Keys out of order, unknown ones, and ones that are not UTF-8.
    taken(&format!("{HASH}12:piece lengthi1e4:name1:a6:lengthi1e"), "");
    taken(
        &format!("{one}{REST}1:zli1eld1:qlleeeee"),
        "13:creation date5:never",
    );
    taken(
        &format!("{one}{REST}"),
        "13:creation datei-9223372036854775808e",
    );
    taken(
        &format!("{one}{REST}7:private3:yes"),
        "5:nodesll4:hosti99999999eei1ee8:url-listi3e",
    );
    taken(
        &format!("{one}{REST}7:privatei0e6:source0:"),
        "7:comment0:8:encodingi9e",
    );
    taken(
        "6:lengthi1e4:name1:a12:piece lengthi4294967295e6:pieces20:hhhhhhhhhhhhhhhhhhhh",
        "",
    );
    taken(&format!("{one}12:piece lengthi1000e{HASH}"), "");
    // A file that is empty among others.
    parsed(&folder(&[
        entry(&["a"]),
        "6:lengthi0e4:pathl1:bee".replace("ee", "e"),
    ]));
    for (file, says) in [
        (
            format!("d4:infod6:lengthi0e4:name1:a{REST}ee"),
            "no content",
        ),
        (
            format!("d4:infod{one}{REST}ee\n"),
            "bytes follow after the end",
        ),
        (
            format!("d4:infod6:lengthi0001e4:name1:a{REST}ee"),
            "not a well-formed integer",
        ),
        (
            format!("d4:infod6:lengthi99999999999999999999e4:name1:a{REST}ee"),
            "does not fit 64 bits",
        ),
        (
            format!(
                "d4:infod{one}{REST}1:x{}{}ee",
                "l".repeat(31),
                "e".repeat(31)
            ),
            "nested deeper",
        ),
        (
            format!("d4:infod6:lengthi-1e4:name1:a{REST}ee"),
            "a size cannot be negative",
        ),
        (
            format!("d4:infod6:lengthi16385e4:name1:a{REST}ee"),
            "has 1 hashes",
        ),
        (
            format!("d4:infod6:length1:14:name1:a{REST}ee"),
            "it is a byte string, not an integer",
        ),
        (
            format!("d4:infod5:filesi1e4:name1:d{REST}ee"),
            "it is an integer, not a list",
        ),
        (
            format!("d4:infod5:filesli1ee4:name1:d{REST}ee"),
            "not a dictionary",
        ),
        (
            format!("d4:infod5:filesld6:lengthi1eee4:name1:d{REST}ee"),
            "`path` is missing",
        ),
        (
            format!("d4:infod5:filesld4:pathl1:aeee4:name1:d{REST}ee"),
            "`length` is missing",
        ),
        (
            format!("d4:infod5:filesld6:lengthi1e4:path1:aee4:name1:d{REST}ee"),
            "not a list of byte strings",
        ),
        (
            format!("d4:infod5:filesld6:lengthi1e4:pathli1eeee4:name1:d{REST}ee"),
            "not a list of byte strings",
        ),
        (
            "d4:infod9:file treede12:meta versioni2e4:name1:a12:piece lengthi16384eee".into(),
            "BitTorrent v2 only",
        ),
        (
            format!("d4:infod9:file treede12:meta versioni2e4:name1:a{REST}ee"),
            "BitTorrent v2 only",
        ),
        (String::new(), "ends in the middle"),
    ] {
        let error = Metainfo::parse(file.as_bytes()).expect_err(&file);
        assert!(error.to_string().contains(says), "{error}: {file}");
    }
    let twice = format!("d4:infod{one}{REST}e4:infod{one}{REST}ee");
    let refused = Metainfo::parse(twice.as_bytes());
    assert!(matches!(
        refused,
        Err(MetainfoError::Bencode(ScanError {
            what: ScanProblem::DuplicateKey,
            ..
        }))
    ));
}

#[test]
fn a_hybrid_is_used_through_its_v1_part() {
    let info =
        format!("d9:file treed1:ad0:d6:lengthi1eeee6:lengthi1e12:meta versioni2e4:name1:a{REST}e");
    let meta = parsed(format!("d4:info{info}12:piece layersdee").as_bytes());
    assert_eq!((meta.geometry.total, meta.single_file), (1, true));
    use sha2::{Digest, Sha256};
    let v2: [u8; 32] = Sha256::digest(info.as_bytes()).into();
    assert_eq!(meta.v2_info_hash, Some(v2));
    assert!(meta.magnet_link().contains("&xt=urn:btmh:1220"));
    let v1 = parsed(format!("d4:infod6:lengthi1e4:name1:a{REST}ee").as_bytes());
    assert_eq!(v1.v2_info_hash, None);
}

#[test]
fn names_are_read_as_the_file_says() {
    // "тест" in windows-1251, and a key of an entry that is not UTF-8.
    let name = b"\xf2\xe5\xf1\xf2";
    let file = |outer: &str, more: &[u8]| {
        let start = format!("d{outer}4:infod5:filesld6:lengthi1e4:pathl4:");
        [
            start.as_bytes(),
            name,
            b"e",
            more,
            b"ee4:name1:d",
            REST.as_bytes(),
            b"ee",
        ]
        .concat()
    };
    let path = |file: &[u8]| parsed(file).files[0].path.join("/");
    assert_eq!(path(&file("", b"")), "d/\u{fffd}\u{fffd}\u{fffd}\u{fffd}");
    assert_eq!(path(&file("8:encoding12:windows-1251", b"")), "d/тест");
    assert_eq!(
        path(&file("8:encoding7:unknown", b"")),
        "d/\u{fffd}\u{fffd}\u{fffd}\u{fffd}"
    );
    assert_eq!(path(&file("", b"10:path.utf-8l4:teste1:\xff0:")), "d/test");
    assert_eq!(
        path(&file("", b"10:path.utf-8i1e")),
        "d/\u{fffd}\u{fffd}\u{fffd}\u{fffd}"
    );
    let name = format!("d4:infod6:lengthi1e4:name1:a10:name.utf-82:ä{REST}ee");
    assert_eq!(parsed(name.as_bytes()).name, "ä");
}

#[test]
fn attributes_say_what_becomes_of_a_file() {
    let file = folder(&[
        "4:attr1:x6:lengthi5e4:pathl3:rune".into(),
        "4:attr1:p6:lengthi11e4:pathl4:.pad2:11e".into(),
        "4:attr2:hx6:lengthi4e4:pathl1:he".into(),
        "4:attr1:l4:pathl4:linke12:symlink pathl2:..3:etce".into(),
        // By custom; and what only looks like it.
        "6:lengthi7e4:pathl4:.pad1:7e".into(),
        "6:lengthi2e4:pathl4:.pad1:7e".into(),
        // Padding needs no safe name; a link with bytes is a file.
        "4:attr1:p6:lengthi3ee".trim_end_matches('e').to_owned() + "e",
        "4:attr1:l6:lengthi1e4:pathl1:fe".into(),
    ]);
    let meta = parsed(&file);
    let kinds: Vec<_> = meta.files.iter().map(|file| file.kind.clone()).collect();
    let link = FileKind::Link {
        target: "../etc".into(),
    };
    use FileKind::{Padding, Regular};
    assert_eq!(
        kinds,
        [
            Regular, Padding, Regular, link, Padding, Regular, Padding, Regular
        ]
    );
    let flags: Vec<_> = meta
        .files
        .iter()
        .map(|file| (file.executable, file.hidden))
        .collect();
    assert_eq!(&flags[..3], [(true, false), (false, false), (true, true)]);
    assert_eq!(meta.padding(), [5..16, 20..27, 29..32]);
    assert_eq!(meta.geometry.total, 33);
}

#[test]
fn trackers_and_web_seeds_come_in_any_shape() {
    let with = |outer: &str| {
        let file = format!("d{outer}4:infod6:lengthi1e4:name1:a{REST}ee");
        let meta = parsed(file.as_bytes());
        (meta.announce, meta.web_seeds)
    };
    let none: Vec<Vec<String>> = Vec::new();
    assert_eq!(
        with("13:announce-listl1:al1:b0:i3eelei7ee").0,
        [["a"], ["b"]]
    );
    assert_eq!(with("13:announce-listd1:ai1ee8:announce2: x").0, [["x"]]);
    assert_eq!(with("8:announcel1:xe").0, none);
    assert_eq!(with("8:url-list3:u/v").1, ["u/v"]);
    assert_eq!(with("8:url-listl1:u0:i1e1:ve").1, ["u", "v"]);
    assert_eq!(with("8:url-list0:").1, [""; 0]);
}

#[test]
fn a_hundred_thousand_files_are_read_in_passing() {
    let mut entries: Vec<String> = (0..100_000)
        .map(|_| "6:lengthi0e4:pathl1:xe".into())
        .collect();
    entries.push(entry(&["last"]));
    let meta = parsed(&folder(&entries));
    assert_eq!(meta.files.len(), 100_001);
    assert_eq!(meta.files[99_999].path, ["d", "x (100000)"]);
}

proptest! {
    #[test]
    fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Metainfo::parse(&bytes);
    }

    #[test]
    fn a_changed_file_never_panics(at in any::<proptest::sample::Index>(), to: u8, cut in any::<proptest::sample::Index>()) {
        let mut file = folder(&[
            entry(&["a", "b"]),
            "4:attr1:l4:pathl4:linke12:symlink pathl2:..3:etce".into(),
            "4:attr1:p6:lengthi11e4:pathl4:.pad2:11e".into(),
        ]);
        let at = at.index(file.len());
        file[at] = to;
        let _ = Metainfo::parse(&file);
        let _ = Metainfo::parse(&file[..cut.index(file.len())]);
    }

    #[test]
    fn what_parses_is_consistent(
        sizes in proptest::collection::vec((0..40_u64, 0..4_u8), 1..8),
        piece in 1..50_u64,
    ) {
        let total: u64 = sizes.iter().map(|(len, _)| len).sum();
        prop_assume!(total > 0);
        let attr = ["", "4:attr1:p", "4:attr1:x", "4:attr1:l"];
        let files: String = sizes
            .iter()
            .map(|(len, kind)| format!("d{}6:lengthi{len}e4:pathl1:aee", attr[*kind as usize]))
            .collect();
        let hashes = "h".repeat(usize::try_from(total.div_ceil(piece) * 20).expect("few"));
        let file = format!("d4:infod5:filesl{files}e4:name1:d12:piece lengthi{piece}e6:pieces{}ee", s(&hashes));
        let meta = parsed(file.as_bytes());
        let padded: u64 = meta.padding().iter().map(|range| range.end - range.start).sum();
        let padding = sizes.iter().filter(|(_, kind)| *kind == 1).map(|(len, _)| len).sum::<u64>();
        prop_assert_eq!(padded, padding);
        let priorities = piece_priorities(meta.geometry, &meta.files, &[]);
        for piece in meta.geometry.all_pieces() {
            let start = meta.geometry.offset(piece);
            let end = start + u64::from(meta.geometry.piece_len(piece));
            let wanted = meta.files.iter().any(|file| file.is_wanted() && file.len > 0 && file.offset < end && start < file.offset + file.len);
            prop_assert_eq!(priorities[piece.at()] == FilePriority::Normal, wanted);
        }
    }
}

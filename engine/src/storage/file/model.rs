//! The files of a torrent against a flat model in memory: random layouts with empty, padding and
//! unwanted files, whatever is done in whatever order, across restarts.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use tempfile::TempDir;

use super::disk::Disk;
use super::keeper::parts_path;
use super::{FileOptions, OpenMode, Resume};
use crate::ids::{BlockRange, PieceIndex};
use crate::metainfo::create::PieceHasher;
use crate::metainfo::{FileKind, Metainfo};

/// What a file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Regular,
    Padding,
    Link,
}

#[derive(Clone, Debug)]
enum Step {
    /// Writes all blocks of a piece and verifies it.
    Piece(u32),
    /// Writes wrong bytes over an unverified piece.
    Spoil(u32),
    /// Changes which files are wanted.
    Skip(u8),
    /// Closes and opens, as after a clean end, or with everything checked.
    Restart { recheck: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..12_u32).prop_map(Step::Piece),
        1 => (0..12_u32).prop_map(Step::Spoil),
        2 => any::<u8>().prop_map(Step::Skip),
        2 => any::<bool>().prop_map(|recheck| Step::Restart { recheck }),
    ];
    proptest::collection::vec(step, 0..25)
}

/// A torrent of files with these sizes and kinds, and its content.
fn torrent(sizes: &[(u64, Kind)], piece_bytes: u32) -> (Metainfo, Vec<u8>) {
    let mut content = Vec::new();
    let mut files = String::new();
    for (number, (len, kind)) in sizes.iter().enumerate() {
        let len = if *kind == Kind::Link { 0 } else { *len };
        let letter = match kind {
            Kind::Regular => "",
            Kind::Padding => "4:attr1:p",
            Kind::Link => "4:attr1:l",
        };
        files += &format!("d{letter}6:lengthi{len}e4:pathl2:f{number}ee");
        // Never zero, so that nothing is true by chance.
        content.extend((0..len).map(|at| match kind {
            Kind::Padding => 0,
            _ => u8::try_from((at * 7 + number as u64) % 255 + 1).expect("a byte"),
        }));
    }
    let mut hasher = PieceHasher::new(piece_bytes);
    hasher.update(&content);
    let hashes = hasher.finish();
    let hashes = hashes.as_flattened();
    let start = format!(
        "d4:infod5:filesl{files}e4:name1:d12:piece lengthi{piece_bytes}e6:pieces{}:",
        hashes.len()
    );
    let file = [start.as_bytes(), hashes, b"ee"].concat();
    (Metainfo::parse(&file).expect("valid"), content)
}

fn skipped(bits: u8) -> BTreeSet<usize> {
    (0..8).filter(|bit| bits >> bit & 1 == 1).collect()
}

/// Opens the disk and checks what has to be, as a client does at its start.
fn open(
    dir: &Path,
    meta: &Metainfo,
    skipped: &BTreeSet<usize>,
    resume: Resume,
) -> (Disk, Vec<PieceIndex>) {
    let options = FileOptions {
        skipped: skipped.clone(),
        resume,
        ..FileOptions::default()
    };
    let mut disk = Disk::open(dir, meta, OpenMode::Download, &options).expect("opened");
    let mut have: Vec<_> = disk.known.have.iter().collect();
    for piece in disk.known.unchecked.clone().iter() {
        if disk.verify(piece, false).expect("read").good {
            have.push(piece);
        }
    }
    have.sort();
    (disk, have)
}

fn write(disk: &mut Disk, meta: &Metainfo, piece: PieceIndex, content: &[u8], change: u8) {
    for block in 0..meta.geometry.blocks_in(piece) {
        let range = meta.geometry.block(piece, block);
        let at = (meta.geometry.offset(piece) + u64::from(range.begin)) as usize;
        let data: Vec<u8> = content[at..at + range.len as usize]
            .iter()
            .map(|byte| byte ^ change)
            .collect();
        disk.write(range, &Bytes::from(data)).expect("written");
    }
}

fn run(sizes: &[(u64, Kind)], piece_bytes: u32, steps: &[Step]) {
    let (meta, content) = torrent(sizes, piece_bytes);
    let dir = TempDir::new().expect("a directory");
    let mut unwanted = BTreeSet::new();
    let mut have = BTreeSet::new();
    let (mut disk, found) = open(dir.path(), &meta, &unwanted, Resume::Use);
    assert!(found.iter().all(|piece| is_padding(&meta, *piece)));
    for step in steps {
        match step {
            Step::Piece(number) => {
                let piece = PieceIndex(number % meta.geometry.pieces);
                if have.insert(piece) {
                    write(&mut disk, &meta, piece, &content, 0);
                    assert!(disk.verify(piece, false).expect("read").good, "{step:?}");
                }
            }
            Step::Spoil(number) => {
                let piece = PieceIndex(number % meta.geometry.pieces);
                if !have.contains(&piece) {
                    write(&mut disk, &meta, piece, &content, 0x55);
                }
            }
            Step::Skip(bits) => {
                unwanted = skipped(*bits);
                disk.set_skipped(unwanted.clone()).expect("moved");
            }
            Step::Restart { recheck } => {
                drop(disk);
                let resume = if *recheck {
                    Resume::Recheck
                } else {
                    Resume::Use
                };
                let found;
                (disk, found) = open(dir.path(), &meta, &unwanted, resume);
                // Padding alone is true before anybody wrote it, once it is looked at.
                let found: BTreeSet<_> = found.into_iter().collect();
                let more = found
                    .difference(&have)
                    .all(|piece| is_padding(&meta, *piece));
                assert!(have.is_subset(&found) && more, "{found:?}, not {have:?}");
            }
        }
        for piece in &have {
            let len = meta.geometry.piece_len(*piece);
            let range = BlockRange {
                piece: *piece,
                begin: 0,
                len,
            };
            let at = meta.geometry.offset(*piece) as usize;
            assert_eq!(
                disk.read(range).expect("read"),
                content[at..at + len as usize],
                "{step:?}"
            );
        }
    }
    finish(disk, &meta, &content, dir.path(), &have);
}

fn is_padding(meta: &Metainfo, piece: PieceIndex) -> bool {
    let mut touching = meta
        .files
        .iter()
        .filter(|file| file.pieces(meta.geometry).contains(&piece.at()));
    touching.all(|file| file.kind == FileKind::Padding)
}

/// Gets the rest with everything wanted, and looks at every file.
fn finish(
    mut disk: Disk,
    meta: &Metainfo,
    content: &[u8],
    dir: &Path,
    have: &BTreeSet<PieceIndex>,
) {
    disk.set_skipped(BTreeSet::new()).expect("moved");
    for piece in meta.geometry.all_pieces() {
        if !have.contains(&piece) {
            write(&mut disk, meta, piece, content, 0);
        }
        assert!(disk.verify(piece, false).expect("read").good);
    }
    disk.finish().expect("finished");
    drop(disk);
    for file in &meta.files {
        let path = dir.join(file.path.join("/"));
        if file.kind == FileKind::Regular {
            let range = file.offset as usize..(file.offset + file.len) as usize;
            assert_eq!(fs::read(&path).expect("there"), content[range]);
        } else {
            assert!(!path.exists() && fs::symlink_metadata(&path).is_err());
        }
    }
    assert!(!parts_path(dir, meta.info_hash).exists());
}

#[test]
fn unwanted_files_are_not_made_and_their_share_of_a_piece_is_kept() {
    use Kind::Regular;
    let (meta, content) = torrent(&[(15, Regular), (20, Regular), (5, Regular)], 10);
    let dir = TempDir::new().expect("a directory");
    let unwanted = BTreeSet::from([1]);
    let (mut disk, _) = open(dir.path(), &meta, &unwanted, Resume::Use);
    for piece in [0, 1, 3].map(PieceIndex) {
        write(&mut disk, &meta, piece, &content, 0);
        assert!(disk.verify(piece, false).expect("read").good);
    }
    let there = |name: &str| dir.path().join("d").join(name).exists();
    let parts = parts_path(dir.path(), meta.info_hash);
    assert!(there("f0.part") && !there("f1.part") && there("f2.part") && parts.exists());
    disk.finish().expect("finished");
    assert!(there("f0") && !there("f1") && there("f2") && parts.exists());
    assert!(disk.verify(PieceIndex(1), false).expect("read").good);
    drop(disk);
    let (mut disk, have) = open(dir.path(), &meta, &BTreeSet::new(), Resume::Use);
    assert_eq!(
        have,
        [0, 1, 3].map(PieceIndex),
        "brought over when it is wanted"
    );
    assert!(there("f1.part") && !parts.exists());
    write(&mut disk, &meta, PieceIndex(2), &content, 0);
    disk.finish().expect("finished");
    assert_eq!(
        fs::read(dir.path().join("d/f1")).expect("there"),
        content[15..35]
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn files_hold_what_a_flat_model_holds(
        sizes in proptest::collection::vec((prop_oneof![1 => Just(0), 6 => 1..60_u64], prop_oneof![6 => Just(Kind::Regular), 2 => Just(Kind::Padding), 1 => Just(Kind::Link)]), 1..8),
        piece_bytes in 3..40_u32,
        steps in steps(),
    ) {
        let bytes: u64 = sizes.iter().filter(|(_, kind)| *kind != Kind::Link).map(|(len, _)| len).sum();
        prop_assume!(bytes > 0);
        run(&sizes, piece_bytes, &steps);
    }
}

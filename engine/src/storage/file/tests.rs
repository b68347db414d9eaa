//! The files of a torrent from the outside: what is on disk after what was asked.

use std::fs;
use std::io;

use sha1::{Digest, Sha1};
use tempfile::TempDir;

use super::*;
use crate::metainfo::create::{CreateOptions, Layout, PieceHasher, encode};

const PIECE_BYTES: u32 = 20_000;

/// A folder `t` of four files, whose pieces and blocks span files, and its content.
fn torrent() -> (Metainfo, Vec<u8>) {
    let files = [("a", 10_000), ("empty", 0), ("sub/b", 25_000), ("c", 5_001)];
    let content: Vec<u8> = (0..40_001u32)
        .map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[3])
        .collect();
    let mut hasher = PieceHasher::new(PIECE_BYTES);
    hasher.update(&content);
    let parts = |name: &str| name.split('/').map(str::to_owned).collect();
    let layout = Layout::Folder(
        files
            .iter()
            .map(|(name, len)| (parts(name), *len))
            .collect(),
    );
    let bytes = encode(
        "t",
        &layout,
        PIECE_BYTES,
        &hasher.finish(),
        &CreateOptions::default(),
    );
    (Metainfo::parse(&bytes).expect("valid"), content)
}

fn dir() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn open(dir: &Path, mode: OpenMode) -> Result<FileStorage, OpenError> {
    FileStorage::open(dir, &torrent().0, mode, &FileOptions::default())
}

async fn next(storage: &mut FileStorage) -> StorageEvent {
    std::future::poll_fn(|cx| storage.poll_event(cx)).await
}

async fn verified(storage: &mut FileStorage, piece: u32) -> super::super::Verified {
    storage.verify(PieceIndex(piece), false);
    match next(storage).await {
        StorageEvent::Verified(Ok(verified)) => verified,
        other => panic!("{other:?}"),
    }
}

/// Writes the blocks of a piece and returns the first error.
async fn put(storage: &mut FileStorage, piece: u32) -> io::Result<()> {
    let (meta, content) = torrent();
    let (geometry, piece) = (meta.geometry, PieceIndex(piece));
    let mut result = Ok(());
    for block in 0..geometry.blocks_in(piece) {
        let range = geometry.block(piece, block);
        let at = (geometry.offset(piece) + u64::from(range.begin)) as usize;
        storage.write(
            range,
            Bytes::copy_from_slice(&content[at..at + range.len as usize]),
        );
        assert_eq!(storage.unwritten(), u64::from(range.len));
        match next(storage).await {
            StorageEvent::Written {
                result: written, ..
            } => result = result.and(written),
            other => panic!("{other:?}"),
        }
    }
    result
}

async fn finished(storage: &mut FileStorage) -> io::Result<()> {
    storage.finish();
    match next(storage).await {
        StorageEvent::Finished(result) => result,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_download_gets_its_names_when_it_is_finished_and_can_be_seeded() {
    let (dir, (_, content)) = (dir(), torrent());
    let mut storage = open(dir.path(), OpenMode::Download).expect("opened");
    assert!(!storage.may_hold_content());
    for piece in 0..3 {
        assert!(!verified(&mut storage, piece).await.good);
        put(&mut storage, piece).await.expect("written");
        assert!(verified(&mut storage, piece).await.good);
    }
    assert!(dir.path().join("t/sub/b.part").is_file() && !dir.path().join("t/sub/b").exists());
    finished(&mut storage).await.expect("finished");
    assert!(!dir.path().join("t/sub/b.part").exists());
    for (name, range) in [
        ("a", 0..10_000),
        ("empty", 0..0),
        ("sub/b", 10_000..35_000),
        ("c", 35_000..40_001),
    ] {
        assert_eq!(
            fs::read(dir.path().join("t").join(name)).expect(name),
            content[range],
            "{name}"
        );
    }
    assert!(
        verified(&mut storage, 1).await.good,
        "still readable under the new names"
    );
    drop(storage);

    fs::rename(dir.path().join("t"), dir.path().join("renamed")).expect("renamed");
    let mut seed = open(&dir.path().join("renamed"), OpenMode::Seed).expect("opened");
    assert!(seed.may_hold_content());
    // A block that spans three files, one of them empty.
    let range = BlockRange {
        piece: PieceIndex(0),
        begin: 9_000,
        len: 11_000,
    };
    seed.read(9, range);
    match next(&mut seed).await {
        StorageEvent::Read {
            token: 9,
            result: Ok(bytes),
            ..
        } => assert_eq!(bytes, content[9_000..20_000]),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        put(&mut seed, 0).await.map_err(|e| e.kind()),
        Err(io::ErrorKind::PermissionDenied)
    );
    finished(&mut seed).await.expect("nothing to do");
}

#[tokio::test]
async fn a_download_resumes_from_its_part_files() {
    let dir = dir();
    let mut storage = open(dir.path(), OpenMode::Download).expect("opened");
    put(&mut storage, 1).await.expect("written");
    drop(storage);
    let mut storage = open(dir.path(), OpenMode::Download).expect("opened again");
    assert!(storage.may_hold_content());
    assert!(verified(&mut storage, 1).await.good);
    assert!(!verified(&mut storage, 0).await.good);
}

#[tokio::test]
async fn writes_that_are_queued_survive_a_drop() {
    let (dir, (meta, content)) = (dir(), torrent());
    let mut storage = open(dir.path(), OpenMode::Download).expect("opened");
    let range = meta.geometry.block(PieceIndex(2), 0);
    storage.verify(PieceIndex(2), false);
    storage.write(range, Bytes::copy_from_slice(&content[40_000..]));
    drop(storage);
    assert_eq!(
        fs::read(dir.path().join("t/c.part")).expect("there")[5_000..],
        content[40_000..]
    );
}

#[tokio::test]
async fn digests_tell_the_blocks_apart() {
    let (dir, (_, content)) = (dir(), torrent());
    let mut storage = open(dir.path(), OpenMode::Download).expect("opened");
    put(&mut storage, 0).await.expect("written");
    let digest = |bytes: &[u8]| <[u8; 20]>::from(Sha1::digest(bytes));
    let expected = vec![digest(&content[..16_384]), digest(&content[16_384..20_000])];
    storage.verify(PieceIndex(0), true);
    let StorageEvent::Verified(Ok(good)) = next(&mut storage).await else {
        panic!("verified")
    };
    assert!(good.good);
    assert_eq!(good.digests, Some(expected.clone()));
    let wrong = BlockRange {
        piece: PieceIndex(0),
        begin: 16_384,
        len: 1,
    };
    storage.write(wrong, Bytes::from(vec![!content[16_384]]));
    assert!(matches!(
        next(&mut storage).await,
        StorageEvent::Written { result: Ok(()), .. }
    ));
    let bad = verified(&mut storage, 0).await;
    let digests = bad.digests.expect("of a bad piece");
    assert!(!bad.good && digests[0] == expected[0] && digests[1] != expected[1]);
}

#[tokio::test]
async fn a_file_that_was_there_is_used_but_never_written() {
    let (dir, (_, content)) = (dir(), torrent());
    fs::create_dir(dir.path().join("t")).expect("created");
    let a = dir.path().join("t/a");
    fs::write(&a, &content[..10_000]).expect("written");
    let mut storage = open(dir.path(), OpenMode::Download).expect("opened");
    put(&mut storage, 0)
        .await
        .expect("the part that is there already is the same");
    assert!(verified(&mut storage, 0).await.good);
    drop(storage);

    let other = vec![1; 10_000];
    fs::write(&a, &other).expect("written");
    let mut storage = open(dir.path(), OpenMode::Download).expect("the size is right");
    assert!(!verified(&mut storage, 0).await.good);
    let error = put(&mut storage, 0).await.expect_err("a different file");
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    assert!(
        error.to_string().contains("is different") && error.to_string().contains("a: "),
        "{error}"
    );
    assert_eq!(fs::read(&a).expect("there"), other);
}

#[tokio::test]
async fn a_name_taken_meanwhile_is_not_replaced() {
    let dir = dir();
    let mut storage = open(dir.path(), OpenMode::Download).expect("opened");
    fs::write(dir.path().join("t/c"), "mine").expect("written");
    let error = finished(&mut storage).await.expect_err("taken");
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(dir.path().join("t/c")).expect("there"), b"mine");
    fs::remove_file(dir.path().join("t/c")).expect("removed");
    finished(&mut storage).await.expect("can be tried again");
}

#[tokio::test]
async fn a_file_that_shrinks_is_bad_and_cannot_be_read() {
    let dir = dir();
    let mut storage = open(dir.path(), OpenMode::Download).expect("opened");
    put(&mut storage, 0).await.expect("written");
    let part = fs::OpenOptions::new()
        .write(true)
        .open(dir.path().join("t/a.part"));
    part.and_then(|file| file.set_len(5)).expect("shrunk");
    assert!(!verified(&mut storage, 0).await.good);
    storage.read(
        1,
        BlockRange {
            piece: PieceIndex(0),
            begin: 0,
            len: 6,
        },
    );
    let StorageEvent::Read {
        result: Err(error), ..
    } = next(&mut storage).await
    else {
        panic!("read")
    };
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    storage.read(
        2,
        BlockRange {
            piece: PieceIndex(9),
            begin: 0,
            len: 6,
        },
    );
    let StorageEvent::Read {
        result: Err(error), ..
    } = next(&mut storage).await
    else {
        panic!("read")
    };
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn what_is_in_the_way_is_named_and_nothing_is_created() {
    let dir = dir();
    assert!(matches!(
        open(&dir.path().join("none"), OpenMode::Download),
        Err(OpenError::NoDirectory(_))
    ));
    fs::create_dir_all(dir.path().join("t/sub")).expect("created");
    fs::write(dir.path().join("t/c"), "mine").expect("written");
    match open(dir.path(), OpenMode::Download) {
        Err(OpenError::Exists {
            path,
            have: 4,
            need: 5_001,
        }) => assert!(path.ends_with("t/c")),
        other => panic!("{other:?}"),
    }
    assert!(!dir.path().join("t/a.part").exists());
    assert!(matches!(
        open(&dir.path().join("t"), OpenMode::Seed),
        Err(OpenError::Missing(_))
    ));
    fs::write(dir.path().join("t/a"), "short").expect("written");
    assert!(matches!(
        open(&dir.path().join("t"), OpenMode::Seed),
        Err(OpenError::WrongSize { have: 5, .. })
    ));
    fs::remove_file(dir.path().join("t/a")).expect("removed");
    fs::create_dir(dir.path().join("t/a")).expect("created");
    assert!(matches!(
        open(dir.path(), OpenMode::Download),
        Err(OpenError::NotAFile(_))
    ));
}

#[tokio::test]
async fn more_files_than_handles_work() {
    let dir = dir();
    let files = (0..100).map(|i| (vec![format!("f{i}")], 1)).collect();
    let content = [5; 100];
    let mut hasher = PieceHasher::new(100);
    hasher.update(&content);
    let bytes = encode(
        "t",
        &Layout::Folder(files),
        100,
        &hasher.finish(),
        &CreateOptions::default(),
    );
    let meta = Metainfo::parse(&bytes).expect("valid");
    let mut storage = FileStorage::open(
        dir.path(),
        &meta,
        OpenMode::Download,
        &FileOptions::default(),
    )
    .expect("opened");
    storage.write(
        meta.geometry.block(PieceIndex(0), 0),
        Bytes::copy_from_slice(&content),
    );
    assert!(matches!(
        next(&mut storage).await,
        StorageEvent::Written { result: Ok(()), .. }
    ));
    assert!(verified(&mut storage, 0).await.good);
    finished(&mut storage).await.expect("finished");
}

fn opened(dir: &Path, options: &FileOptions) -> FileStorage {
    FileStorage::open(dir, &torrent().0, OpenMode::Download, options).expect("opened")
}

fn known(storage: &FileStorage) -> (Vec<u32>, Vec<u32>) {
    let known = storage.known().expect("files know");
    let numbers = |set: &crate::bits::BitSet| set.iter().map(|piece| piece.0).collect();
    (numbers(&known.have), numbers(&known.unchecked))
}

fn recheck() -> FileOptions {
    FileOptions {
        resume: Resume::Recheck,
        ..FileOptions::default()
    }
}

#[tokio::test]
async fn what_was_verified_is_trusted_as_long_as_it_is_unchanged() {
    // Pieces of 20,000: a and b have 0; b has 1 up to 35,000; c has the rest of 1, and 2.
    let dir = dir();
    let mut storage = opened(dir.path(), &FileOptions::default());
    assert_eq!(known(&storage), (vec![], vec![]));
    for piece in [0, 2] {
        put(&mut storage, piece).await.expect("written");
        assert!(verified(&mut storage, piece).await.good);
    }
    drop(storage);
    let storage = opened(dir.path(), &FileOptions::default());
    assert_eq!(known(&storage), (vec![0, 2], vec![]));
    drop(storage);
    let storage = opened(dir.path(), &recheck());
    assert_eq!(known(&storage), (vec![], vec![0, 1, 2]));
    drop(storage);
    let mut storage = opened(dir.path(), &FileOptions::default());
    assert_eq!(
        known(&storage).1,
        [0, 1, 2],
        "a recheck that did not end goes on"
    );
    for piece in 0..3 {
        assert_eq!(verified(&mut storage, piece).await.good, piece != 1);
    }
    drop(storage);

    // Another time of change is enough.
    let b = dir.path().join("t/sub/b.part");
    let bytes = fs::read(&b).expect("there");
    fs::write(&b, bytes).expect("written");
    let mut storage = opened(dir.path(), &FileOptions::default());
    assert_eq!(known(&storage), (vec![2], vec![0, 1]));
    assert!(verified(&mut storage, 0).await.good);
    drop(storage);
    fs::remove_file(dir.path().join("t/a.part")).expect("removed");
    assert_eq!(known(&opened(dir.path(), &FileOptions::default())).0, [2]);
}

#[tokio::test]
async fn a_complete_torrent_is_known_to_its_seed() {
    let dir = dir();
    let mut storage = opened(dir.path(), &FileOptions::default());
    for piece in 0..3 {
        put(&mut storage, piece).await.expect("written");
        assert!(verified(&mut storage, piece).await.good);
    }
    finished(&mut storage).await.expect("finished");
    let seed = open(&dir.path().join("t"), OpenMode::Seed).expect("readers share it");
    assert_eq!(known(&seed), (vec![0, 1, 2], vec![]));
    drop((seed, storage));
    let again = open(dir.path(), OpenMode::Download).expect("opened");
    assert_eq!(known(&again).0, [0, 1, 2]);
}

#[tokio::test]
async fn useless_resume_data_is_noted_and_everything_is_checked() {
    let dir = dir();
    let mut storage = opened(dir.path(), &FileOptions::default());
    put(&mut storage, 0).await.expect("written");
    assert!(verified(&mut storage, 0).await.good);
    drop(storage);
    let path = keeper::resume_path(dir.path(), torrent().0.info_hash);
    for garbage in [&b"garbage"[..], b"d", b"i1e", &[0; 100]] {
        fs::write(&path, garbage).expect("written");
        let storage = opened(dir.path(), &FileOptions::default());
        assert!(storage.notes()[0].contains("everything is checked"));
        assert_eq!(known(&storage).1, [0, 1, 2]);
    }
}

#[tokio::test]
async fn resume_data_is_saved_while_it_runs() {
    let dir = dir();
    let often = FileOptions {
        resume_interval: Duration::from_millis(5),
        ..FileOptions::default()
    };
    let mut storage = opened(dir.path(), &often);
    put(&mut storage, 0).await.expect("written");
    assert!(verified(&mut storage, 0).await.good);
    let (meta, _) = torrent();
    let path = keeper::resume_path(dir.path(), meta.info_hash);
    let saved = || {
        let bytes = fs::read(&path).expect("it is there for its lock");
        let files = meta.files.len();
        crate::storage::resume::ResumeData::decode(&bytes, meta.info_hash, 3, files)
            .is_ok_and(|data| data.verified.count() == 1)
    };
    while !saved() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let error = FileStorage::open(dir.path(), &meta, OpenMode::Download, &often);
    assert!(matches!(error, Err(OpenError::InUse(_))), "{error:?}");
}

#[cfg(unix)]
#[test]
fn programs_are_executable() {
    use std::os::unix::fs::PermissionsExt;
    let file =
        b"d4:infod4:attr1:x6:lengthi1e4:name1:a12:piece lengthi1e6:pieces20:hhhhhhhhhhhhhhhhhhhhee";
    let meta = Metainfo::parse(file).expect("valid");
    let dir = dir();
    let options = FileOptions::default();
    drop(FileStorage::open(dir.path(), &meta, OpenMode::Download, &options).expect("opened"));
    let found = fs::metadata(dir.path().join("a.part")).expect("there");
    assert_eq!(found.permissions().mode() & 0o100, 0o100);
}

#[test]
fn ten_thousand_files_work() {
    many_files_work(10_000);
}

#[test]
#[ignore = "a minute of making and removing files"]
fn a_hundred_thousand_files_work() {
    many_files_work(100_000);
}

fn many_files_work(files: usize) {
    let dir = dir();
    let count = files;
    let files = (0..count).map(|i| (vec![format!("{}", i % 100), format!("{i}")], 3));
    let layout = Layout::Folder(files.collect());
    let mut content = vec![7; 3 * count];
    content[0] = 1;
    let mut hasher = PieceHasher::new(PIECE_BYTES);
    hasher.update(&content);
    let options = CreateOptions::default();
    let bytes = encode("t", &layout, PIECE_BYTES, &hasher.finish(), &options);
    let meta = Metainfo::parse(&bytes).expect("valid");
    let options = FileOptions::default();
    let open =
        || disk::Disk::open(dir.path(), &meta, OpenMode::Download, &options).expect("opened");
    let mut storage = open();
    let piece = PieceIndex(0);
    for block in 0..meta.geometry.blocks_in(piece) {
        let range = meta.geometry.block(piece, block);
        let at = range.begin as usize;
        storage
            .write(range, &content[at..at + range.len as usize])
            .expect("written");
    }
    assert!(storage.verify(piece, false).expect("read").good);
    drop(storage);
    let known = open().known.clone();
    assert!(known.have.contains(piece) && known.unchecked.is_empty());
}

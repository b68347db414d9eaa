//! Owns the making of a metainfo file from a real file or folder.
//!
//! Invariant: what [`create_from_path`] returns parses back to the same files under the same names.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{CreateOptions, Layout, PieceHasher, encode, padding_after, piece_bytes_for};
use crate::metainfo::{FileEntry, Metainfo, MetainfoError};

/// Bytes read from disk at once.
const READ_BYTES: usize = 256 * 1024;

/// Why no metainfo file was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The disk refused.
    #[error("cannot read {path}: {source}")]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// Nothing to share.
    #[error("{0} holds no bytes, and a torrent needs at least one")]
    Empty(PathBuf),
    /// Neither a file nor a folder.
    #[error("{0} is neither a file nor a folder")]
    NotAFile(PathBuf),
    /// The name would not be the same everywhere.
    #[error("the name of {0} cannot be used on every system; rename it first")]
    UnsafeName(PathBuf),
    /// It changed while it was read.
    #[error("{0} changed its size while it was read")]
    Changed(PathBuf),
    /// A piece of no bytes.
    #[error("the piece length must be at least 1 byte")]
    NoPieceBytes,
    /// The result would not be accepted.
    #[error("the torrent would not be accepted: {0}")]
    Refused(#[from] MetainfoError),
}

/// Makes the metainfo file of a real file or folder, reading all of it once. `progress` hears the
/// bytes done and the total, after every read.
///
/// In a folder the files come in the order of their paths, compared name by name; hidden and empty
/// files are included, empty folders are not. Symbolic links inside it are skipped, as they may
/// lead out of it or in a circle; `path` itself may be one. So is whatever is no regular file.
///
/// # Errors
/// When something cannot be read or changes meanwhile, when there are no bytes, or when a name
/// would not come out of the metainfo file as it went in.
pub fn create_from_path(
    path: &Path,
    options: &CreateOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Vec<u8>, CreateError> {
    if options.piece_bytes == Some(0) {
        return Err(CreateError::NoPieceBytes);
    }
    let at = |source| CreateError::Io {
        path: path.to_owned(),
        source,
    };
    // `.` and `..` have a name, too, once they are spelled out.
    let whole = std::path::absolute(path).map_err(at)?;
    let whole = if whole.file_name().is_some() && !path.ends_with("..") {
        whole
    } else {
        path.canonicalize().map_err(at)?
    };
    let name = whole.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| CreateError::UnsafeName(path.to_owned()))?;
    let kind = fs::metadata(path).map_err(at)?;
    let files = if kind.is_dir() {
        walk(path)?
    } else if kind.is_file() {
        vec![(Vec::new(), kind.len())]
    } else {
        return Err(CreateError::NotAFile(path.to_owned()));
    };
    let total = files
        .iter()
        .fold(0, |sum: u64, (_, len)| sum.saturating_add(*len));
    if total == 0 {
        return Err(CreateError::Empty(path.to_owned()));
    }
    let piece_bytes = options
        .piece_bytes
        .unwrap_or_else(|| piece_bytes_for(total));
    let mut hasher = PieceHasher::new(piece_bytes);
    let mut done = 0;
    let lens: Vec<u64> = files.iter().map(|(_, len)| *len).collect();
    let padding = match options.pad && kind.is_dir() {
        true => padding_after(&lens, piece_bytes),
        false => vec![0; lens.len()],
    };
    for ((parts, len), padding) in files.iter().zip(padding) {
        let file = located(path, parts);
        read_file(&file, *len, &mut |bytes| {
            hasher.update(bytes);
            done += bytes.len() as u64;
            progress(done, total);
        })?;
        feed_zeros(&mut hasher, padding);
    }
    let layout = if kind.is_dir() {
        Layout::Folder(files.clone())
    } else {
        Layout::OneFile(total)
    };
    let bytes = encode(name, &layout, piece_bytes, &hasher.finish(), options);
    let parsed = Metainfo::parse(&bytes)?;
    if parsed.name != name {
        return Err(CreateError::UnsafeName(path.to_owned()));
    }
    let kept = |(entry, (parts, _)): (&FileEntry, &(Vec<String>, u64))| entry.path[1..] == **parts;
    let wanted = || parsed.files.iter().filter(|file| file.is_wanted());
    match wanted().zip(&files).find(|pair| !kept(*pair)) {
        // A file that is called as padding is (BEP 47) would not come out as one.
        None if wanted().count() != files.len() => Err(CreateError::UnsafeName(path.to_owned())),
        Some((_, (parts, _))) => Err(CreateError::UnsafeName(located(path, parts))),
        None => Ok(bytes),
    }
}

fn feed_zeros(hasher: &mut PieceHasher, mut bytes: u64) {
    let zeros = [0; 4096];
    while bytes > 0 {
        let portion = bytes.min(zeros.len() as u64);
        hasher.update(&zeros[..usize::try_from(portion).expect("at most 4096")]);
        bytes -= portion;
    }
}

fn located(root: &Path, parts: &[String]) -> PathBuf {
    parts
        .iter()
        .fold(root.to_owned(), |path, part| path.join(part))
}

/// Every regular file below a folder, with its components and bytes, in the order of the components.
fn walk(root: &Path) -> Result<Vec<(Vec<String>, u64)>, CreateError> {
    let mut files = Vec::new();
    let mut folders = vec![Vec::new()];
    while let Some(parts) = folders.pop() {
        let folder = located(root, &parts);
        let at = |source| CreateError::Io {
            path: folder.clone(),
            source,
        };
        for entry in fs::read_dir(&folder).map_err(at)? {
            let entry = entry.map_err(at)?;
            let kind = entry.file_type().map_err(at)?;
            if !kind.is_dir() && !kind.is_file() {
                continue;
            }
            let name = entry.file_name().into_string();
            let name = name.map_err(|_| CreateError::UnsafeName(entry.path()))?;
            let mut parts = parts.clone();
            parts.push(name);
            if kind.is_dir() {
                folders.push(parts);
            } else {
                files.push((parts, entry.metadata().map_err(at)?.len()));
            }
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Feeds all bytes of a file, which must be exactly `len`.
fn read_file(path: &Path, len: u64, feed: &mut dyn FnMut(&[u8])) -> Result<(), CreateError> {
    let at = |source| CreateError::Io {
        path: path.to_owned(),
        source,
    };
    // One byte more than expected, so that a file that grew is noticed.
    let mut file = File::open(path).map_err(at)?.take(len.saturating_add(1));
    let mut buffer = vec![0; READ_BYTES];
    let mut read = 0;
    loop {
        let portion = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => &buffer[..n],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(at(error)),
        };
        read += portion.len() as u64;
        if read > len {
            break;
        }
        feed(portion);
    }
    if read == len {
        Ok(())
    } else {
        Err(CreateError::Changed(path.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use sha1::{Digest, Sha1};

    use super::super::PIECE_BYTES_MIN;
    use super::*;

    fn content(len: usize) -> Vec<u8> {
        (0..len)
            .map(|i| u8::try_from((i * 7 + i / 251) % 256).expect("below 256"))
            .collect()
    }

    fn hashes(content: &[u8], piece_bytes: u32) -> Vec<[u8; 20]> {
        content
            .chunks(piece_bytes as usize)
            .map(|piece| Sha1::digest(piece).into())
            .collect()
    }

    fn create(path: &Path, options: &CreateOptions) -> Result<Vec<u8>, CreateError> {
        create_from_path(path, options, &mut |_, _| {})
    }

    #[test]
    fn what_is_created_parses_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("one.bin");
        for (len, piece_bytes) in [
            (1, 16384),
            (16384 * 3, 16384),
            (16384 * 3 + 1, 16384),
            (50_001, 20_000),
            (5, 2),
        ] {
            let content = content(len);
            fs::write(&path, &content).expect("written");
            let options = CreateOptions {
                piece_bytes: Some(piece_bytes),
                ..CreateOptions::default()
            };
            let bytes = create(&path, &options).expect("created");
            let meta = Metainfo::parse(&bytes).expect("parses");
            assert_eq!((meta.name.as_str(), meta.single_file), ("one.bin", true));
            assert_eq!(
                (meta.geometry.total, meta.geometry.piece_bytes),
                (len as u64, piece_bytes)
            );
            assert_eq!(meta.piece_hashes, hashes(&content, piece_bytes));
            assert_eq!(
                bytes,
                create(&path, &options).expect("created"),
                "reproducible"
            );
        }
    }

    #[test]
    fn a_folder_is_walked_in_order_without_links() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("album");
        fs::create_dir_all(root.join("b/empty-folder")).expect("created");
        for (name, len) in [("b/2", 30_000), ("b/1", 5), ("a", 0), ("b.txt", 1)] {
            fs::write(root.join(name), content(len)).expect("written");
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink(&root, root.join("b/loop")).expect("linked");
        let mut last = (0, 0);
        let bytes = create_from_path(&root, &CreateOptions::default(), &mut |done, total| {
            last = (done, total)
        });
        let meta = Metainfo::parse(&bytes.expect("created")).expect("parses");
        assert_eq!(last, (30_006, 30_006));
        let files: Vec<_> = meta
            .files
            .iter()
            .map(|f| (f.path.join("/"), f.len))
            .collect();
        let expected = [
            ("album/a", 0),
            ("album/b/1", 5),
            ("album/b/2", 30_000),
            ("album/b.txt", 1),
        ];
        assert_eq!(files, expected.map(|(name, len)| (name.to_owned(), len)));
        let whole = [content(5), content(30_000), content(1)].concat();
        assert_eq!(meta.piece_hashes, hashes(&whole, PIECE_BYTES_MIN));
        assert!(!meta.single_file);
    }

    #[test]
    fn a_padded_folder_has_its_files_at_pieces() {
        let dir = tempfile::tempdir().expect("a directory");
        for (name, len) in [("a", 20_000), ("b", 5), ("c", 16_384)] {
            fs::write(dir.path().join(name), content(len)).expect("written");
        }
        let options = CreateOptions {
            pad: true,
            ..CreateOptions::default()
        };
        let bytes = create(dir.path(), &options).expect("created");
        let meta = Metainfo::parse(&bytes).expect("parses");
        let mut whole = content(20_000);
        whole.resize(2 * 16_384, 0);
        whole.extend(content(5));
        whole.resize(3 * 16_384, 0);
        whole.extend(content(16_384));
        assert_eq!(meta.piece_hashes, hashes(&whole, 16_384));
        assert_eq!(meta.padding(), [20_000..32_768, 32_773..49_152]);
        fs::create_dir(dir.path().join(".pad")).expect("created");
        fs::write(dir.path().join(".pad/7"), "padding").expect("written");
        let error = create(dir.path(), &options);
        assert!(
            matches!(error, Err(CreateError::UnsafeName(_))),
            "{error:?}"
        );
    }

    #[test]
    fn what_cannot_be_shared_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let options = CreateOptions::default();
        fs::write(dir.path().join("empty"), []).expect("written");
        assert!(matches!(
            create(dir.path(), &options),
            Err(CreateError::Empty(_))
        ));
        assert!(matches!(
            create(&dir.path().join("none"), &options),
            Err(CreateError::Io { .. })
        ));
        let zero = CreateOptions {
            piece_bytes: Some(0),
            ..CreateOptions::default()
        };
        assert!(matches!(
            create(dir.path(), &zero),
            Err(CreateError::NoPieceBytes)
        ));
        fs::write(dir.path().join("a"), "1").expect("written");
        assert!(create(dir.path(), &options).is_ok());
        fs::write(dir.path().join("a.part"), "2").expect("written");
        let error = create(dir.path(), &options)
            .expect_err("`a.part` is also what `a` is called while unfinished");
        assert!(matches!(error, CreateError::UnsafeName(path) if path.ends_with("a.part")));
    }
}

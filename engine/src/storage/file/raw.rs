//! Owns what the storage asks of the operating system: reading and writing at a place, making files,
//! names and their durability.
//!
//! Invariant: nothing here knows of torrents. No file is ever replaced.

#[cfg(target_os = "linux")]
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::Preallocate;
use crate::storage::resume::FileStamp;

/// Zeros written at once where a file system cannot reserve room.
const ZEROS_BYTES: usize = 256 * 1024;

/// Files that are synced one by one; of more, the disk is synced as a whole.
#[cfg(target_os = "linux")]
const SYNC_EACH_MAX: usize = 64;

/// The stamp of the regular file at `path`, if there is one.
pub(super) fn stamp_at(path: &Path) -> io::Result<Option<FileStamp>> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(Some(FileStamp {
            len: found.len(),
            modified_ns: modified_ns(&found),
        })),
        Ok(_) => Err(io::ErrorKind::IsADirectory.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
pub(super) fn modified_ns(found: &fs::Metadata) -> i64 {
    use std::os::unix::fs::MetadataExt;
    let seconds = found.mtime().saturating_mul(1_000_000_000);
    seconds.saturating_add(found.mtime_nsec())
}

#[cfg(not(unix))]
pub(super) fn modified_ns(found: &fs::Metadata) -> i64 {
    let at = found.modified().ok();
    let since = at.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let nanos = since.map_or(0, |since| since.as_nanos());
    i64::try_from(nanos).unwrap_or(i64::MAX)
}

/// Makes sure that a file of `len` bytes is there, in folders that are made where they are missing.
/// Bytes that are there stay.
pub(super) fn create(
    path: &Path,
    len: u64,
    executable: bool,
    preallocate: Preallocate,
) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    if executable {
        programs(&mut options);
    }
    let file = options.open(path)?;
    let have = file.metadata()?.len();
    match preallocate {
        Preallocate::None if have < len => file.set_len(len),
        Preallocate::Full if len > 0 => reserve(&file, have, len),
        _ => Ok(()),
    }
}

/// A file made with these options may be run, as far as the user's mask allows.
fn programs(options: &mut OpenOptions) {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o777);
    #[cfg(not(unix))]
    let _ = options;
}

/// Takes the room for a whole file now.
fn reserve(file: &File, have: u64, len: u64) -> io::Result<()> {
    #[cfg(unix)]
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, len) {
        Ok(()) => return Ok(()),
        // A file system that cannot: its room is taken by writing.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
        Err(error) => return Err(error.into()),
    }
    let zeros = vec![0; ZEROS_BYTES];
    let mut at = have;
    while at < len {
        let portion = usize::try_from(len - at).unwrap_or(ZEROS_BYTES);
        let portion = portion.min(ZEROS_BYTES);
        write_all(file, &zeros[..portion], at)?;
        at += portion as u64;
    }
    Ok(())
}

/// Gives a file its final name unless somebody else has taken it.
pub(super) fn publish(partial: &Path, path: &Path) -> io::Result<()> {
    let taken = || {
        let text = "cannot be given its final name: another file has taken it";
        io::Error::new(io::ErrorKind::AlreadyExists, text)
    };
    // A link, unlike a rename, never replaces anything.
    match fs::hard_link(partial, path) {
        Ok(()) => fs::remove_file(partial),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(taken()),
        // A file system without links.
        Err(_) if fs::symlink_metadata(path).is_ok() => Err(taken()),
        Err(_) => fs::rename(partial, path),
    }
}

/// Makes these files durable, each by itself or, when they are many, with everything else on their
/// disk: a sync of its own per file takes milliseconds each.
pub(super) fn sync_files(files: &[PathBuf]) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if files.len() > SYNC_EACH_MAX {
        return sync_disks(files);
    }
    for file in files {
        // Some systems sync only what could be written.
        let synced = OpenOptions::new().write(true).open(file);
        synced
            .and_then(|file| file.sync_all())
            .map_err(|error| named(file, &error))?;
    }
    Ok(())
}

/// Syncs every disk that one of these files is on.
#[cfg(target_os = "linux")]
fn sync_disks(files: &[PathBuf]) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let folders: BTreeSet<&Path> = files.iter().filter_map(|file| file.parent()).collect();
    let mut disks = BTreeSet::new();
    for folder in folders {
        let opened = File::open(folder)?;
        if disks.insert(opened.metadata()?.dev()) {
            rustix::fs::syncfs(&opened)?;
        }
    }
    Ok(())
}

/// Makes new names durable, as far as the system can: not all of them sync folders.
pub(super) fn sync_folder(folder: &Path) {
    if cfg!(unix)
        && let Ok(folder) = File::open(folder)
    {
        let _ = folder.sync_all();
    }
}

/// Puts `bytes` at `path`: a reader finds the old file or the new one, never a part, also after a
/// power failure. `before` is done to the new file while nobody can see it. Returns the new file.
pub(super) fn replace(path: &Path, bytes: &[u8], before: impl FnOnce(&File)) -> io::Result<File> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut new = tempfile::Builder::new()
        .prefix(".skep-")
        .tempfile_in(folder)?;
    new.write_all(bytes)?;
    new.as_file().sync_all()?;
    before(new.as_file());
    let file = new.persist(path)?;
    sync_folder(folder);
    Ok(file)
}

/// Whether `file` is what is at `path` now.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let key = |found: fs::Metadata| (found.dev(), found.ino());
        match (file.metadata(), fs::metadata(path)) {
            (Ok(file), Ok(path)) => key(file) == key(path),
            _ => false,
        }
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

/// Whether the system has no more room for open files.
pub(super) fn is_out_of_handles(error: &io::Error) -> bool {
    #[cfg(unix)]
    {
        let out = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE];
        let code = error.raw_os_error();
        out.iter().any(|errno| code == Some(errno.raw_os_error()))
    }
    #[cfg(not(unix))]
    {
        let _ = error;
        false
    }
}

/// What tells a file from the others of its disk, as far as the system says.
pub(super) fn number(found: &fs::Metadata) -> u64 {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        found.ino()
    }
    #[cfg(not(unix))]
    {
        let _ = found;
        0
    }
}

/// An error with the file that it is about, in its text; its kind stays.
pub(super) fn named(path: &Path, error: &io::Error) -> io::Error {
    let text = if is_out_of_handles(error) {
        "too many open files: allow more (ulimit -n)".to_owned()
    } else {
        error.to_string()
    };
    io::Error::new(error.kind(), format!("{}: {text}", path.display()))
}

/// `path` with more text at its end.
pub(super) fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(unix)]
mod positioned {
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::FileExt;

    pub(super) fn read_some(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        file.read_at(buffer, at)
    }

    pub(crate) fn write_all(file: &File, data: &[u8], at: u64) -> io::Result<()> {
        file.write_all_at(data, at)
    }
}

#[cfg(not(unix))]
mod positioned {
    use std::fs::File;
    use std::io::{self, Read, Seek, SeekFrom, Write};

    pub(super) fn read_some(mut file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        file.seek(SeekFrom::Start(at))?;
        file.read(buffer)
    }

    pub(crate) fn write_all(mut file: &File, data: &[u8], at: u64) -> io::Result<()> {
        file.seek(SeekFrom::Start(at))?;
        file.write_all(data)
    }
}

pub(super) use positioned::write_all;

/// Reads until the buffer is full or the file ends; returns the bytes read.
pub(super) fn read_fully(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match positioned::read_some(file, &mut buffer[read..], at + read as u64) {
            Ok(0) => break,
            Ok(some) => read += some,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_is_whole_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x");
        for bytes in [&b"one"[..], b"", b"three"] {
            let file = replace(&path, bytes, |_| {}).expect("replaced");
            assert!(is_at(&file, &path));
            assert_eq!(fs::read(&path).expect("there"), bytes);
        }
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn full_takes_the_room_and_none_does_not() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().expect("a directory");
        let len = 4 * 1024 * 1024;
        let taken = |name: &str, preallocate| {
            let path = dir.path().join(name);
            create(&path, len, false, preallocate).expect("created");
            let found = fs::metadata(&path).expect("there");
            assert_eq!(found.len(), len);
            found.blocks() * 512
        };
        assert!(taken("none", Preallocate::None) < len / 2);
        assert!(taken("full", Preallocate::Full) >= len);
        assert!(taken("none", Preallocate::Full) >= len, "holes are filled");
    }
}

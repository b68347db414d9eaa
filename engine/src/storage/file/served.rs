//! Owns [`ServedFolder`]: a real directory as a file server reads it.
//!
//! Invariant: nothing outside the directory is opened, whatever a path or a symbolic link says: links are
//! followed as long as they stay inside. Only regular files are read; nothing waits for the other end of a
//! pipe. A file is read in the state in which it was found, or not at all.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real files: they are read by tokio's threads, and how old a change is counts by the clock"
)]

use std::fs::{self, File};
use std::future::Future;
use std::io;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};

use super::raw;
use crate::direct::disk::{Entry, FindError, Found, Listing, ServedDir, ServedFile};
use crate::direct::path::is_served;
use crate::direct::validator::{EntityTag, HttpDate, Version};

/// A file that was changed more recently may change again without its time telling it: the clock of a file
/// system ticks in milliseconds, or in two seconds.
const SETTLED_AFTER: Duration = Duration::from_millis(2500);

/// A directory that is served.
#[derive(Clone, Debug)]
pub struct ServedFolder {
    dir: Arc<Dir>,
}

impl ServedFolder {
    /// Opens the directory; later it may be moved without harm.
    ///
    /// # Errors
    /// When it is none, or cannot be opened.
    pub fn open(path: &Path) -> io::Result<ServedFolder> {
        let dir = Arc::new(Dir::open_ambient_dir(path, ambient_authority())?);
        dir.read_dir(".")?;
        Ok(ServedFolder { dir })
    }
}

/// The date of the system's clock.
#[must_use]
pub fn date() -> HttpDate {
    HttpDate::at(seconds(SystemTime::now()))
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Runs `work` on one of tokio's threads, and begins at once.
fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> impl Future<Output = io::Result<T>> + 'static {
    let running = tokio::task::spawn_blocking(work);
    async {
        match running.await {
            Ok(result) => result,
            Err(ended) if ended.is_panic() => resume_unwind(ended.into_panic()),
            Err(_) => Err(io::Error::other("the runtime is ending")),
        }
    }
}

impl ServedDir for ServedFolder {
    type File = OpenFile;

    fn find(
        &self,
        path: &[String],
        entries_max: usize,
    ) -> impl Future<Output = Result<Found<OpenFile>, FindError>> + 'static {
        let (dir, path) = (Arc::clone(&self.dir), path.iter().collect::<PathBuf>());
        let found = on_a_thread(move || look(&dir, &path, entries_max));
        async { found.await.map_err(find_error) }
    }
}

/// What leads nowhere, or out of the directory, is nothing; so is what we may not read.
fn find_error(error: io::Error) -> FindError {
    use io::ErrorKind as Kind;
    let nothing = matches!(
        error.kind(),
        Kind::NotFound
            | Kind::NotADirectory
            | Kind::PermissionDenied
            | Kind::InvalidInput
            | Kind::InvalidFilename
    );
    // Links that lead to each other have no stable kind.
    #[cfg(unix)]
    let nothing = nothing
        || error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
        || error.raw_os_error() == Some(rustix::io::Errno::XDEV.raw_os_error());
    match nothing {
        true => FindError::Nothing,
        false if raw::is_out_of_handles(&error) => FindError::Busy,
        false => FindError::Disk(error),
    }
}

fn look(dir: &Dir, path: &Path, entries_max: usize) -> io::Result<Found<OpenFile>> {
    if path.as_os_str().is_empty() {
        return list(dir, Path::new("."), entries_max);
    }
    let found = dir.metadata(path)?;
    if found.is_dir() {
        return list(dir, path, entries_max);
    }
    // Opening a pipe or a device may wait, or do something.
    if !found.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use cap_std::fs::OpenOptionsExt;
        // It may have become one since.
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
        options.custom_flags(i32::try_from(flags.bits()).expect("these are low bits"));
    }
    let file = dir.open_with(path, &options)?.into_std();
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let version = version(&found);
    let modified_ns = raw::modified_ns(&found);
    Ok(Found::File(OpenFile {
        file: Arc::new(file),
        version,
        modified_ns,
    }))
}

fn version(found: &fs::Metadata) -> Version {
    let (now, modified) = (SystemTime::now(), found.modified().ok());
    let settled = modified.and_then(|at| now.duration_since(at).ok());
    let weak = settled.is_none_or(|since| since < SETTLED_AFTER);
    let ns = u128::try_from(raw::modified_ns(found)).unwrap_or(0);
    Version {
        len: found.len(),
        tag: EntityTag::of_file(found.len(), ns, raw::number(found), weak),
        // No answer tells of a change that is yet to come (RFC 9110, 8.8.2.1).
        modified: modified.map(|at| HttpDate::at(seconds(at.min(now)))),
    }
}

fn list(dir: &Dir, path: &Path, entries_max: usize) -> io::Result<Found<OpenFile>> {
    let mut listing = Listing::default();
    for entry in dir.read_dir(path)? {
        let entry = entry?;
        let Some(name) = entry
            .file_name()
            .to_str()
            .filter(|name| is_served(name))
            .map(str::to_owned)
        else {
            continue;
        };
        // As it would be found: what a link inside leads to, and not what one outside does.
        let Ok(found) = dir.metadata(path.join(&name)) else {
            continue;
        };
        if !found.is_dir() && !found.is_file() {
            continue;
        }
        if listing.entries.len() >= entries_max {
            listing.cut = true;
            break;
        }
        let modified = found
            .modified()
            .ok()
            .map(|at| HttpDate::at(seconds(at.into_std())));
        listing.entries.push(Entry {
            name,
            len: found.is_file().then(|| found.len()),
            modified,
        });
    }
    Ok(Found::Directory(listing))
}

/// A file that is being served.
#[derive(Debug)]
pub struct OpenFile {
    file: Arc<File>,
    version: Version,
    modified_ns: i64,
}

impl ServedFile for OpenFile {
    fn version(&self) -> &Version {
        &self.version
    }

    fn read(&self, offset: u64, len: u32) -> impl Future<Output = io::Result<Bytes>> + 'static {
        let file = Arc::clone(&self.file);
        let (whole, modified_ns) = (self.version.len, self.modified_ns);
        on_a_thread(move || {
            let mut data = vec![0; len as usize];
            let read = raw::read_fully(&file, &mut data, offset)?;
            // Looked at after the bytes: a change before them shows now, one after them does not matter.
            let now = file.metadata()?;
            if read < data.len() || now.len() != whole || raw::modified_ns(&now) != modified_ns {
                return Err(io::Error::other("the file changed while it was read"));
            }
            Ok(data.into())
        })
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn names(listing: &Listing) -> Vec<&str> {
        let mut names: Vec<_> = listing.entries.iter().map(|e| e.name.as_str()).collect();
        names.sort_unstable();
        names
    }

    async fn found(dir: &ServedFolder, path: &str) -> Result<Found<OpenFile>, FindError> {
        let parts: Vec<_> = path
            .split('/')
            .filter(|p| !p.is_empty())
            .map(str::to_owned)
            .collect();
        dir.find(&parts, 100).await
    }

    #[tokio::test]
    async fn links_lead_inside_only_and_only_files_are_read() {
        let place = tempfile::tempdir().unwrap();
        let (inside, outside) = (place.path().join("in"), place.path().join("out"));
        fs::create_dir_all(inside.join("sub")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "secret").unwrap();
        fs::write(inside.join("sub/file"), "hello").unwrap();
        fs::write(inside.join(".hidden"), "hidden").unwrap();
        symlink("sub/file", inside.join("good")).unwrap();
        symlink("../in/sub/file", inside.join("round")).unwrap();
        symlink(outside.join("secret"), inside.join("absolute")).unwrap();
        symlink("../out/secret", inside.join("relative")).unwrap();
        symlink("../out", inside.join("folder")).unwrap();
        symlink("loop", inside.join("loop")).unwrap();
        symlink("/proc/self/cwd", inside.join("magic")).unwrap();
        // Not by a program: until it is that program, a child holds the locks of the tests beside this one.
        #[cfg(not(target_vendor = "apple"))]
        {
            use rustix::fs::{CWD, FileType, Mode, mknodat};
            mknodat(CWD, inside.join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        }
        let dir = ServedFolder::open(&inside).unwrap();
        for good in ["sub/file", "good"] {
            let Ok(Found::File(file)) = found(&dir, good).await else {
                panic!("{good}");
            };
            assert_eq!(file.version().len, 5);
            assert_eq!(file.read(1, 4).await.unwrap(), "ello");
        }
        for bad in [
            "absolute",
            "relative",
            "folder",
            "folder/secret",
            "loop",
            "magic",
            "magic/in",
            "pipe",
            "round",
            "nothing",
            "sub/file/more",
            &"x".repeat(300),
        ] {
            let result = found(&dir, bad).await;
            assert!(
                matches!(result, Err(FindError::Nothing)),
                "{bad}: {result:?}"
            );
        }
        let Ok(Found::Directory(listing)) = found(&dir, "/").await else {
            panic!("the directory itself");
        };
        assert_eq!(names(&listing), ["good", "sub"]);
        let Ok(Found::Directory(cut)) = dir.find(&[], 1).await else {
            panic!("the directory itself");
        };
        assert!(cut.cut && cut.entries.len() == 1);
    }

    #[test]
    fn what_may_be_found_later_is_told_from_what_is_not_there_and_what_is_broken() {
        use rustix::io::Errno;
        for (errno, why) in [
            (Errno::NOENT, "there is no such file"),
            (Errno::XDEV, "there is no such file"),
            (Errno::MFILE, "too many files are open"),
            (Errno::NFILE, "too many files are open"),
        ] {
            assert_eq!(find_error(errno.into()).to_string(), why, "{errno}");
        }
        let broken = find_error(Errno::IO.into());
        assert!(matches!(broken, FindError::Disk(_)), "{broken:?}");
    }

    #[tokio::test]
    async fn a_change_that_is_yet_to_come_is_told_as_of_now_and_names_no_state() {
        let place = tempfile::tempdir().unwrap();
        let file = File::create(place.path().join("file")).unwrap();
        let hour = Duration::from_secs(3600);
        file.set_modified(SystemTime::now() + hour).unwrap();
        let dir = ServedFolder::open(place.path()).unwrap();
        let Ok(Found::File(file)) = found(&dir, "file").await else {
            panic!("it is there");
        };
        assert!(file.version().modified.unwrap() <= date());
        assert!(file.version().tag.is_weak());
    }

    #[tokio::test]
    async fn a_file_that_changes_is_read_no_further() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        let old = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let dir = ServedFolder::open(place.path()).unwrap();
        for (change, bytes) in [
            ("shorter", "1234567"),
            ("other", "abcdefghij"),
            ("longer", "0123456789a"),
        ] {
            fs::write(&path, "0123456789").unwrap();
            File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_modified(old)
                .unwrap();
            let Ok(Found::File(file)) = found(&dir, "file").await else {
                panic!("it is there");
            };
            assert!(!file.version().tag.is_weak());
            assert_eq!(file.read(0, 5).await.unwrap(), "01234");
            fs::write(&path, bytes).unwrap();
            assert!(file.read(5, 2).await.is_err(), "{change}");
            let Ok(Found::File(file)) = found(&dir, "file").await else {
                panic!("it is there");
            };
            assert!(file.version().tag.is_weak(), "it has just been changed");
        }
    }
}

//! Owns how files appear: whole or not at all, for whom the user's mask allows.
//!
//! Invariant: what was at a path stays there until all of the new file is written beside it.

use std::io::{self, Write};
use std::path::Path;

use crate::failure::{Exit, Failure};

/// Writes a file; with `replace` also over another one.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] when something is there that is not to be replaced; what the disk says.
pub fn write(path: &Path, content: &[u8], replace: bool) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let mut builder = tempfile::Builder::new();
    builder.prefix(".skep-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder.unwrap_or(Path::new(".")))?;
    file.write_all(content)?;
    let written = match replace {
        true => file.persist(path),
        false => file.persist_noclobber(path),
    };
    written.map(|_| ()).map_err(|error| error.error)
}

/// Writes a file over whatever was there.
///
/// # Errors
/// When it cannot be written, in words for the user.
pub fn replace(path: &Path, content: impl AsRef<[u8]>) -> Result<(), Failure> {
    write(path, content.as_ref(), true).map_err(|error| cannot(path, &error))
}

/// A file could not be written.
pub fn cannot(path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("cannot write {}: {error}", path.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_may_read_a_file_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run.json");
        write(&path, b"old", false).expect("written");
        let again = write(&path, b"new", false).expect_err("something is there");
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        replace(&path, "new").expect("replaced");
        assert_eq!(std::fs::read(&path).expect("a file"), b"new");
        let plain = folder.path().join("plain");
        std::fs::write(&plain, "").expect("written");
        let mode = |path: &Path| std::fs::metadata(path).expect("a file").permissions();
        assert_eq!(mode(&path), mode(&plain));
        assert_eq!(folder.path().read_dir().expect("a folder").count(), 2);
    }
}

//! Owns the content of a run: held once however many peers hold it, and however many runs have the same.
//!
//! Invariant: it follows from the torrent alone. What a run does is drawn from its seed; what it moves is the same
//! for every seed, so that runs of one scenario share it.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rand::Rng;
use sha2::{Digest, Sha256};
use skep_engine::metainfo::create::{self, CreateOptions, Layout, PieceHasher};
use skep_engine::metainfo::{Geometry, Metainfo};
use skep_engine::{BlockRange, PieceIndex};

use crate::scenario::plan::TorrentPlan;
use crate::seed;

/// What the last run had, whichever thread made it. The next one mostly has the same.
static LAST: Last = Last(Mutex::new(None));

/// A place for one content.
struct Last(Mutex<Option<Made>>);

/// A content, and what it was generated for.
struct Made {
    plan: TorrentPlan,
    announce: String,
    content: Arc<Content>,
}

impl Last {
    fn of(&self, plan: &TorrentPlan, announce: &str) -> Arc<Content> {
        // What is behind the lock is whole even where somebody panicked.
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut last = lock();
            match &*last {
                Some(made) if made.plan == *plan && made.announce == announce => {
                    return Arc::clone(&made.content);
                }
                // Given up before the next one is made, which may be as large.
                _ => *last = None,
            }
        }
        let content = Arc::new(Content::generate(plan, announce));
        *lock() = Some(Made {
            plan: plan.clone(),
            announce: announce.to_owned(),
            content: Arc::clone(&content),
        });
        content
    }
}

/// The content of a torrent and the metainfo file that describes it.
#[derive(Debug)]
pub struct Content {
    /// The metainfo file, created and read like any other.
    pub metainfo: Metainfo,
    /// Its files, in order, as a server has them below its root.
    pub files: Vec<ContentFile>,
    bytes: Bytes,
}

/// One file of the content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ContentFile {
    /// The parts of its path: the torrent's name, and below a folder the file's own path. So a web seed's
    /// URL is that of the server's root (BEP 19).
    pub path: Vec<String>,
    /// Where it begins in the content.
    pub start: u64,
    /// Its bytes.
    pub len: u64,
}

/// Bytes of the content that are generated at once.
const PART_BYTES: usize = 64 * 1024;

impl Content {
    /// The content of a torrent: that of the last run, if it is the same.
    ///
    /// # Panics
    /// See [`Content::generate`].
    #[must_use]
    pub fn of(plan: &TorrentPlan, announce: &str) -> Arc<Content> {
        LAST.of(plan, announce)
    }

    /// Generates the content of a torrent, and hashes it.
    ///
    /// # Panics
    /// When the plan's sizes make no torrent; a scenario with such sizes is refused earlier.
    #[must_use]
    pub fn generate(plan: &TorrentPlan, announce: &str) -> Content {
        let total = plan.total();
        let mut bytes = vec![0; usize::try_from(total).expect("a scenario's content is bounded")];
        let mut stream = seed::stream(0, "content");
        let mut hasher = PieceHasher::new(plan.piece_bytes);
        // Part by part, while the cache has it. Parts are whole words of the stream: how many there are
        // changes no byte.
        for part in bytes.chunks_mut(PART_BYTES) {
            stream.fill_bytes(part);
            hasher.update(part);
        }
        let layout = match &plan.files[..] {
            [(_, len)] => Layout::OneFile(*len),
            files => {
                let parts = |path: &str| path.split('/').map(str::to_owned).collect();
                Layout::Folder(
                    files
                        .iter()
                        .map(|(path, len)| (parts(path), *len))
                        .collect(),
                )
            }
        };
        let name = match &plan.files[..] {
            [(name, _)] => name.as_str(),
            _ => "content",
        };
        let options = CreateOptions {
            announce: vec![vec![announce.to_owned()]],
            ..CreateOptions::default()
        };
        let mut files = Vec::new();
        let mut start = 0;
        for (path, len) in &plan.files {
            let below = (plan.files.len() > 1).then(|| path.split('/').map(str::to_owned));
            let parts = std::iter::once(name.to_owned());
            files.push(ContentFile {
                path: parts.chain(below.into_iter().flatten()).collect(),
                start,
                len: *len,
            });
            start += len;
        }
        let file = create::encode(name, &layout, plan.piece_bytes, &hasher.finish(), &options);
        let metainfo = Metainfo::parse(&file).expect("what we create can be read");
        Content {
            metainfo,
            files,
            bytes: Bytes::from(bytes),
        }
    }

    /// Its sizes.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.metainfo.geometry
    }

    /// The true bytes of a range inside a piece, uncopied.
    ///
    /// # Panics
    /// When the range is not inside its piece.
    #[must_use]
    pub fn slice(&self, range: BlockRange) -> Bytes {
        let from = usize::try_from(self.geometry().offset(range.piece)).expect("in memory")
            + range.begin as usize;
        self.bytes.slice(from..from + range.len as usize)
    }

    /// The true bytes of a part of a file, uncopied.
    ///
    /// # Panics
    /// When there is no such file, or the part is not inside it.
    #[must_use]
    pub fn file_slice(&self, file: usize, offset: u64, len: u64) -> Bytes {
        let of = &self.files[file];
        assert!(offset + len <= of.len, "inside the file");
        let from = usize::try_from(of.start + offset).expect("in memory");
        self.bytes
            .slice(from..from + usize::try_from(len).expect("in memory"))
    }

    /// The SHA-256 of a file.
    #[must_use]
    pub fn file_sha256(&self, file: usize) -> [u8; 32] {
        Sha256::digest(self.file_slice(file, 0, self.files[file].len)).into()
    }

    /// Whether these are the true bytes of a range: recognised by address, else by comparison.
    #[must_use]
    pub fn is_true(&self, range: BlockRange, data: &[u8]) -> bool {
        let truth = self.slice(range);
        truth.len() == data.len() && (truth.as_ptr() == data.as_ptr() || truth == data)
    }

    /// SHA-1 of a piece as the metainfo file says.
    #[must_use]
    pub fn piece_hash(&self, piece: PieceIndex) -> [u8; 20] {
        self.metainfo.piece_hashes[piece.at()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha1::Sha1;

    #[test]
    fn the_content_is_one_stream_in_whatever_parts_it_is_generated() {
        let total = 3 * PART_BYTES + 4_321;
        let plan = TorrentPlan {
            files: vec![("a".into(), total as u64)],
            piece_bytes: 32_768,
        };
        let content = Content::generate(&plan, "http://10.0.0.1:6969/announce");
        let mut whole = vec![0; total];
        seed::stream(0, "content").fill_bytes(&mut whole);
        assert_eq!(content.file_slice(0, 0, total as u64), whole);
        for piece in content.geometry().all_pieces() {
            let from = piece.at() * 32_768;
            let truth = &whole[from..total.min(from + 32_768)];
            assert_eq!(content.piece_hash(piece)[..], Sha1::digest(truth)[..]);
        }
    }

    #[test]
    fn a_run_has_the_content_of_the_last_one_when_that_is_the_same() {
        let plan = |len| TorrentPlan {
            files: vec![("a".into(), len)],
            piece_bytes: 32_768,
        };
        let (last, url) = (Last(Mutex::new(None)), "http://10.0.0.1:6969/announce");
        let first = last.of(&plan(100_000), url);
        assert!(Arc::ptr_eq(&first, &last.of(&plan(100_000), url)));
        for (len, url) in [(100_001, url), (100_000, "udp://10.0.0.1:6969")] {
            let other = last.of(&plan(len), url);
            assert!(other.geometry().total == len && other.metainfo.announce[0][0] == url);
        }
        let again = last.of(&plan(100_000), url);
        assert!(!Arc::ptr_eq(&first, &again));
        assert_eq!(
            first.file_slice(0, 0, 100_000),
            again.file_slice(0, 0, 100_000)
        );
    }
}

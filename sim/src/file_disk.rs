//! Owns files on simulated disks: what a client has of each file, and what a server reads from.
//!
//! Invariants: bytes that equal the content are counted and not kept; anything else is kept as it came, so
//! that what the client believes it has can be told from what it has. What was appended and not synced is
//! gone when the client's process ends, whichever way.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::{Future, ready};
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use skep_engine::direct::disk::{
    Entry, FetchDisk, FindError, Found, Kept, Listing, Origin, ServedDir, ServedFile,
};
use skep_engine::direct::validator::{EntityTag, Validators, Version};

use crate::content::Content;
use crate::disk::Disk;
use crate::disk::condition::Operation;

/// One file as a client has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Part {
    /// What it is of; `None`: nothing is there.
    origin: Option<Origin>,
    /// Bytes written.
    len: u64,
    /// Of them: those that survive the process.
    synced: u64,
    /// Stretches that differ from the content, by their places; disjoint.
    wrong: BTreeMap<u64, Bytes>,
    /// It has its final name.
    finished: bool,
}

impl Disk {
    /// A client's disk: it kept the first `kept` bytes of the content of an earlier fetch, of these origins.
    #[must_use]
    pub fn of_client(content: Arc<Content>, kept: u64, origin: impl Fn(usize) -> Origin) -> Disk {
        let mut disk = Disk::new(Arc::clone(&content));
        for (file, of) in content.files.iter().enumerate() {
            let len = kept.saturating_sub(of.start).min(of.len);
            let fetched = len == of.len && (len > 0 || kept >= of.start + of.len && kept > 0);
            disk.parts.push(Part {
                origin: (len > 0 && !fetched).then(|| origin(file)),
                len,
                synced: len,
                wrong: BTreeMap::new(),
                finished: fetched,
            });
        }
        disk
    }

    /// A client starts on it: what an earlier life did not sync is gone. Returns the bytes that are there.
    pub fn restart(&mut self) -> u64 {
        self.busy_until = None;
        for file in 0..self.parts.len() {
            let part = &self.parts[file];
            if !part.finished {
                self.cut(file, part.synced);
            }
        }
        self.parts.iter().map(|part| part.len).sum()
    }

    /// A client's user deletes the part of a file. Returns its bytes.
    pub fn drop_file(&mut self, file: usize) -> u64 {
        std::mem::take(&mut self.parts[file]).len
    }

    /// Whether a client has a file under its final name.
    #[must_use]
    pub fn has_file(&self, file: usize) -> bool {
        self.parts[file].finished
    }

    /// Whether what a client has of a file is all of it and true.
    #[must_use]
    pub fn file_is_true(&self, file: usize) -> bool {
        let part = &self.parts[file];
        part.len == self.content.files[file].len && part.wrong.is_empty()
    }

    pub(crate) fn all_parts_finished(&self) -> bool {
        self.parts.iter().all(|part| part.finished)
    }

    pub(crate) fn part_bytes_missing(&self) -> u64 {
        let files = self.content.files.iter().zip(&self.parts);
        files
            .map(|(file, part)| {
                let wrong: u64 = part.wrong.values().map(|w| w.len() as u64).sum();
                file.len - (part.len - wrong).min(file.len)
            })
            .sum()
    }

    fn append(&mut self, file: usize, data: &Bytes) {
        let (part, of) = (&mut self.parts[file], &self.content.files[file]);
        let inside = of.len.saturating_sub(part.len).min(data.len() as u64);
        let truth = self.content.file_slice(file, part.len.min(of.len), inside);
        if truth != data {
            part.wrong.insert(part.len, data.clone());
        }
        part.len += data.len() as u64;
    }

    /// Drops what lies at or behind `len`.
    fn cut(&mut self, file: usize, len: u64) {
        let part = &mut self.parts[file];
        part.len = len;
        part.synced = part.synced.min(len);
        part.wrong.retain(|at, _| *at < len);
        if let Some((at, wrong)) = part.wrong.last_key_value()
            && at + wrong.len() as u64 > len
        {
            let keep = usize::try_from(len - at).expect("in memory");
            let (at, rest) = (*at, wrong.slice(..keep));
            part.wrong.insert(at, rest);
        }
    }

    fn file_sha256(&self, file: usize) -> [u8; 32] {
        let part = &self.parts[file];
        let mut hasher = Sha256::new();
        let mut at = 0;
        for (start, wrong) in &part.wrong {
            hasher.update(self.content.file_slice(file, at, start - at));
            hasher.update(wrong);
            at = start + wrong.len() as u64;
        }
        if at < part.len {
            hasher.update(self.content.file_slice(file, at, part.len - at));
        }
        hasher.finalize().into()
    }
}

/// One file of a client's disk, as one life of its client sees it.
#[derive(Debug)]
pub struct PartDisk {
    disk: Rc<RefCell<Disk>>,
    file: usize,
}

impl PartDisk {
    /// Opens the file.
    #[must_use]
    pub fn open(disk: Rc<RefCell<Disk>>, file: usize) -> PartDisk {
        PartDisk { disk, file }
    }

    /// An operation takes its time, and may fail.
    async fn works(&self, operation: Operation, bytes: u64) -> io::Result<()> {
        let due = self.disk.borrow_mut().reserve(operation, bytes);
        if let Some(due) = due {
            tokio::time::sleep_until(due).await;
        }
        self.disk.borrow().condition.works(operation)
    }
}

impl FetchDisk for PartDisk {
    async fn kept(&mut self) -> io::Result<Option<Kept>> {
        let disk = self.disk.borrow();
        let part = &disk.parts[self.file];
        let origin = part.origin.clone();
        Ok(origin.map(|origin| Kept {
            len: part.len,
            origin,
        }))
    }

    async fn begin(&mut self, origin: &Origin) -> io::Result<()> {
        self.works(Operation::Write, 0).await?;
        self.disk.borrow_mut().parts[self.file] = Part {
            origin: Some(origin.clone()),
            ..Part::default()
        };
        Ok(())
    }

    async fn append(&mut self, data: Bytes) -> io::Result<()> {
        self.works(Operation::Write, data.len() as u64).await?;
        self.disk.borrow_mut().append(self.file, &data);
        Ok(())
    }

    async fn sync(&mut self) -> io::Result<()> {
        let part = &mut self.disk.borrow_mut().parts[self.file];
        part.synced = part.len;
        Ok(())
    }

    async fn sha256(&mut self) -> io::Result<[u8; 32]> {
        let len = self.disk.borrow().parts[self.file].len;
        self.works(Operation::Read, len).await?;
        Ok(self.disk.borrow().file_sha256(self.file))
    }

    async fn finish(&mut self) -> io::Result<()> {
        let part = &mut self.disk.borrow_mut().parts[self.file];
        part.synced = part.len;
        part.finished = true;
        part.origin = None;
        Ok(())
    }
}

/// The state in which every honest server has a file: the content never changes, and the servers of a
/// scenario are copies of each other, so their tags are the same.
#[must_use]
pub fn version(content: &Content, file: usize) -> Version {
    let len = content.files[file].len;
    Version {
        len,
        tag: EntityTag::of_file(len, 0, file as u64, false),
        modified: None,
    }
}

/// What a client notes down of a file that it fetches from `url`.
#[must_use]
pub fn origin(content: &Content, file: usize, url: String) -> Origin {
    let version = version(content, file);
    Origin {
        url,
        validators: Validators {
            tag: Some(version.tag),
            modified: None,
        },
        len: Some(version.len),
    }
}

/// A server's disk: the content, below the torrent's name.
#[derive(Clone, Debug)]
pub struct ServedContent {
    content: Arc<Content>,
    disk: Rc<RefCell<Disk>>,
}

impl ServedContent {
    /// The whole content, on a disk that may be slow or fail.
    #[must_use]
    pub fn new(content: Arc<Content>, disk: Rc<RefCell<Disk>>) -> ServedContent {
        ServedContent { content, disk }
    }

    fn look(&self, path: &[String], entries_max: usize) -> Result<Found<ServedPart>, FindError> {
        let files = &self.content.files;
        if let Some(file) = files.iter().position(|f| f.path == path) {
            return Ok(Found::File(ServedPart {
                version: version(&self.content, file),
                content: Arc::clone(&self.content),
                disk: Rc::clone(&self.disk),
                file,
            }));
        }
        let mut inside: BTreeMap<&str, Option<u64>> = BTreeMap::new();
        for file in files.iter().filter(|f| f.path.starts_with(path)) {
            let len = (file.path.len() == path.len() + 1).then_some(file.len);
            inside.insert(&file.path[path.len()], len);
        }
        if inside.is_empty() {
            return Err(FindError::Nothing);
        }
        let cut = inside.len() > entries_max;
        let entries = inside.into_iter().take(entries_max);
        let entries = entries.map(|(name, len)| Entry {
            name: name.to_owned(),
            len,
            modified: None,
        });
        Ok(Found::Directory(Listing {
            entries: entries.collect(),
            cut,
        }))
    }
}

impl ServedDir for ServedContent {
    type File = ServedPart;

    fn find(
        &self,
        path: &[String],
        entries_max: usize,
    ) -> impl Future<Output = Result<Found<ServedPart>, FindError>> + 'static {
        ready(self.look(path, entries_max))
    }
}

/// A file of the content that is being served.
#[derive(Clone, Debug)]
pub struct ServedPart {
    content: Arc<Content>,
    disk: Rc<RefCell<Disk>>,
    file: usize,
    version: Version,
}

impl ServedFile for ServedPart {
    fn version(&self) -> &Version {
        &self.version
    }

    fn read(&self, offset: u64, len: u32) -> impl Future<Output = io::Result<Bytes>> + 'static {
        let data = self.content.file_slice(self.file, offset, len.into());
        let disk = Rc::clone(&self.disk);
        let due = disk.borrow_mut().reserve(Operation::Read, len.into());
        async move {
            if let Some(due) = due {
                tokio::time::sleep_until(due).await;
            }
            disk.borrow().condition.works(Operation::Read)?;
            Ok(data)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::plan::TorrentPlan;

    fn content() -> Arc<Content> {
        let plan = TorrentPlan {
            files: vec![("a.bin".into(), 1000), ("b/c.bin".into(), 3000)],
            piece_bytes: 1024,
        };
        Arc::new(Content::generate(&plan, "http://10.0.0.1/announce"))
    }

    fn disk(kept: u64) -> Rc<RefCell<Disk>> {
        let content = content();
        let of = Arc::clone(&content);
        let origin = move |file| origin(&of, file, format!("http://s/{file}"));
        Rc::new(RefCell::new(Disk::of_client(content, kept, origin)))
    }

    #[tokio::test]
    async fn a_client_that_kept_a_part_goes_on_behind_it() {
        let disk = disk(1500);
        assert!(disk.borrow().has_file(0) && disk.borrow().file_is_true(0));
        assert_eq!(disk.borrow().missing_bytes(), 2500);
        let mut part = PartDisk::open(Rc::clone(&disk), 1);
        let kept = part.kept().await.expect("a disk").expect("a part");
        assert_eq!((kept.len, kept.origin.url.as_str()), (500, "http://s/1"));
        let rest = disk.borrow().content.file_slice(1, 500, 2500);
        part.append(rest).await.expect("a disk");
        part.finish().await.expect("a disk");
        assert!(disk.borrow().is_whole());
        assert_eq!(disk.borrow().missing_bytes(), 0);
    }

    #[tokio::test]
    async fn what_was_not_synced_is_gone_and_what_is_wrong_is_known() {
        let disk = disk(0);
        let truth = disk.borrow().content.file_slice(1, 0, 600);
        let mut part = PartDisk::open(Rc::clone(&disk), 1);
        assert_eq!(part.kept().await.expect("a disk"), None);
        let origin = origin(&content(), 1, "http://s/1".into());
        part.begin(&origin).await.expect("a disk");
        part.append(truth.slice(..500)).await.expect("a disk");
        part.sync().await.expect("a disk");
        let lie = Bytes::from(vec![7; 100]);
        part.append(lie.clone()).await.expect("a disk");
        assert_eq!(disk.borrow().missing_bytes(), 1000 + 2500);
        let both = [&truth[..500], &lie].concat();
        let digest: [u8; 32] = Sha256::digest(&both).into();
        assert_eq!(part.sha256().await.expect("a disk"), digest);
        assert_eq!(disk.borrow_mut().restart(), 500);
        let mut part = PartDisk::open(Rc::clone(&disk), 1);
        assert_eq!(part.kept().await.expect("a disk").expect("a part").len, 500);
        part.append(truth.slice(500..)).await.expect("a disk");
        let digest: [u8; 32] = Sha256::digest(&truth).into();
        assert_eq!(part.sha256().await.expect("a disk"), digest);
        part.begin(&origin).await.expect("a disk");
        assert_eq!(disk.borrow().missing_bytes(), 4000);
    }

    #[tokio::test]
    async fn a_server_has_the_files_below_the_name_and_their_folders() {
        let served = ServedContent::new(content(), disk(0));
        let find = async |path: &[&str]| {
            let path: Vec<String> = path.iter().map(|p| (*p).to_owned()).collect();
            served.find(&path, 10).await
        };
        let Ok(Found::File(file)) = find(&["content", "b", "c.bin"]).await else {
            panic!("a file");
        };
        assert_eq!(file.version().len, 3000);
        let read = file.read(2990, 10).await.expect("a disk");
        assert_eq!(read, content().file_slice(1, 2990, 10));
        let Ok(Found::Directory(listing)) = find(&["content"]).await else {
            panic!("a folder");
        };
        let names = listing.entries.iter().map(|e| (e.name.as_str(), e.len));
        assert_eq!(
            names.collect::<Vec<_>>(),
            [("a.bin", Some(1000)), ("b", None)]
        );
        assert!(matches!(
            find(&["content", "x"]).await,
            Err(FindError::Nothing)
        ));
        assert!(matches!(find(&["b"]).await, Err(FindError::Nothing)));
    }
}

//! Owns the copies of an `info` value that are being put together, and what is known of bad ones.
//!
//! Invariants: what sources say is kept apart by the size they claim, so a lie about the size spoils
//! nobody else's copy; once a copy of several senders was bad, each sender of that size makes a copy
//! alone, so that the next bad one is proof; only who sent other bytes than the true ones, or bytes of
//! a value of another size, is ever found guilty. At most `metadata_drafts_max` copies are held.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use sha1::{Digest, Sha1};

use crate::ids::InfoHash;
use crate::session::blame::SenderId;
use crate::storage::BlockDigest;
use crate::time::Now;
use crate::wire::metadata::{metadata_block, metadata_blocks};

/// Sizes of which bad copies are remembered; those of smaller sizes are forgotten first.
const BAD_SIZES_MAX: usize = 16;

/// The number of a copy, never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct DraftId(u64);

/// A copy on its way.
#[derive(Debug)]
struct Draft {
    size: u32,
    /// The only sender that may take part.
    alone: Option<SenderId>,
    blocks: Vec<Option<(SenderId, Bytes)>>,
    /// Blocks that somebody is asked for.
    asked: BTreeSet<u32>,
    missing: u32,
    /// When it may be given up for another one.
    until: Now,
}

/// What became of a copy that is whole.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Whole {
    /// Its hash is the info-hash. These sent something else, now or before.
    Good(Bytes, BTreeSet<SenderId>),
    /// Its hash is another one. These sent it; a single one is guilty.
    Bad(BTreeSet<SenderId>),
}

/// All copies, and the digests of bad ones.
#[derive(Debug)]
pub(super) struct Drafts {
    info_hash: InfoHash,
    drafts: BTreeMap<DraftId, Draft>,
    next: u64,
    /// By size: who sent what of a bad copy of several senders.
    bad: BTreeMap<u32, Vec<(u32, SenderId, BlockDigest)>>,
}

impl Drafts {
    pub(super) fn new(info_hash: InfoHash) -> Drafts {
        Drafts {
            info_hash,
            drafts: BTreeMap::new(),
            next: 0,
            bad: BTreeMap::new(),
        }
    }

    /// Copies under way.
    pub(super) fn len(&self) -> usize {
        self.drafts.len()
    }

    /// The copy that a sender who claims this size may take part in.
    pub(super) fn open_to(&self, size: u32, sender: SenderId) -> Option<DraftId> {
        let open = |d: &Draft| d.size == size && d.alone.is_none_or(|alone| alone == sender);
        let found = self.drafts.iter().find(|(_, d)| open(d));
        found.map(|(id, _)| *id)
    }

    /// Begins a copy for a sender; alone, if copies of that size were bad.
    pub(super) fn begin(&mut self, size: u32, sender: SenderId, until: Now) -> DraftId {
        let id = DraftId(self.next);
        self.next += 1;
        let blocks = metadata_blocks(size);
        let draft = Draft {
            size,
            alone: self.bad.contains_key(&size).then_some(sender),
            // Grows as blocks arrive: a claim alone costs nothing.
            blocks: Vec::new(),
            asked: BTreeSet::new(),
            missing: blocks,
            until,
        };
        self.drafts.insert(id, draft);
        id
    }

    /// The copy whose time is over longest, if one's is.
    pub(super) fn overdue(&self, now: Now) -> Option<DraftId> {
        let over = self.drafts.iter().filter(|(_, d)| d.until <= now);
        over.min_by_key(|(_, d)| d.until).map(|(id, _)| *id)
    }

    /// When the first copy's time is over.
    pub(super) fn next_due(&self) -> Now {
        let until = self.drafts.values().map(|d| d.until);
        until.min().unwrap_or(Now::NEVER)
    }

    pub(super) fn forget(&mut self, id: DraftId) {
        self.drafts.remove(&id);
    }

    /// The next block that nobody is asked for; it counts as asked from now on.
    pub(super) fn next_block(&mut self, id: DraftId) -> Option<u32> {
        let draft = self.drafts.get_mut(&id)?;
        let here = |n: u32| draft.blocks.get(n as usize).is_some_and(Option::is_some);
        let free = |n: &u32| !here(*n) && !draft.asked.contains(n);
        let block = (0..metadata_blocks(draft.size)).find(free)?;
        draft.asked.insert(block);
        Some(block)
    }

    /// Nobody is asked for a block any more.
    pub(super) fn release(&mut self, id: DraftId, block: u32) {
        if let Some(draft) = self.drafts.get_mut(&id) {
            draft.asked.remove(&block);
        }
    }

    /// Takes a block that a sender was asked for, of the right length. The copy that it completes is
    /// judged and forgotten.
    pub(super) fn take(
        &mut self,
        id: DraftId,
        sender: SenderId,
        block: u32,
        data: Bytes,
    ) -> Option<Whole> {
        let draft = self.drafts.get_mut(&id)?;
        let at = block as usize;
        if draft.blocks.len() <= at {
            draft.blocks.resize_with(at + 1, || None);
        }
        draft.asked.remove(&block);
        // What lies in a slice of a whole read would keep that.
        let data = Bytes::copy_from_slice(&data);
        if draft.blocks[at].replace((sender, data)).is_none() {
            draft.missing -= 1;
        }
        if draft.missing > 0 {
            return None;
        }
        let draft = self.drafts.remove(&id).expect("just found");
        Some(self.judge(&draft))
    }

    fn judge(&mut self, draft: &Draft) -> Whole {
        let parts = || draft.blocks.iter().flatten();
        let mut info = Vec::with_capacity(draft.size as usize);
        parts().for_each(|(_, data)| info.extend_from_slice(data));
        if <[u8; 20]>::from(Sha1::digest(&info)) == self.info_hash.0 {
            let info = Bytes::from(info);
            let guilty = self.guilty(&info);
            return Whole::Good(info, guilty);
        }
        let senders: BTreeSet<SenderId> = parts().map(|(sender, _)| *sender).collect();
        if senders.len() > 1 {
            if self.bad.len() >= BAD_SIZES_MAX && !self.bad.contains_key(&draft.size) {
                self.bad.pop_first();
            }
            let copy = (0..)
                .zip(parts())
                .map(|(n, (who, data))| (n, *who, digest(data)));
            self.bad.insert(draft.size, copy.collect());
        }
        Whole::Bad(senders)
    }

    /// Who sent anything that is not part of the true value, in bad copies or unfinished ones.
    fn guilty(&self, info: &Bytes) -> BTreeSet<SenderId> {
        let size = u32::try_from(info.len()).expect("it was a copy");
        let truth = |block| metadata_block(size, block).map(|range| digest(&info[range]));
        let mut guilty = BTreeSet::new();
        for (claimed, copy) in &self.bad {
            let lied = copy
                .iter()
                .filter(|(n, _, told)| *claimed != size || truth(*n) != Some(*told));
            guilty.extend(lied.map(|(_, sender, _)| *sender));
        }
        for draft in self.drafts.values() {
            let parts = (0..).zip(&draft.blocks);
            let parts =
                parts.filter_map(|(n, part)| part.as_ref().map(|(who, data)| (n, who, data)));
            let lied =
                parts.filter(|(n, _, data)| draft.size != size || truth(*n) != Some(digest(data)));
            guilty.extend(lied.map(|(_, sender, _)| *sender));
        }
        guilty
    }
}

fn digest(data: &[u8]) -> BlockDigest {
    Sha1::digest(data).into()
}

//! Owns serving the metainfo file's `info` value to peers who have only its hash (BEP 9).
//!
//! Invariants: every request is answered, by the block or by a reject; one connection gets no more than
//! `metadata_copies_max` copies, and none while it does not read what it was sent before. Of private
//! torrents nothing is served: their trackers decide who is a member, and a hash that leaked is no
//! membership (libtorrent does the same).

use bytes::Bytes;

use crate::time::Now;
use crate::wire::metadata::{MetadataMessage, metadata_block, metadata_blocks};

use super::torrent::{Phase, Torrent};

impl Torrent {
    /// Bytes of the `info` value, if it is served.
    pub(super) fn serves_metadata(&self) -> Option<u32> {
        let served = self.config.serve_metadata && !self.private && !self.info_bytes.is_empty();
        let bytes = u32::try_from(self.info_bytes.len()).ok();
        bytes.filter(|_| served)
    }

    /// A peer asks for a block. What it sends or refuses was not asked for, and is skipped.
    pub(super) fn on_metadata(
        &mut self,
        slot: usize,
        payload: &Bytes,
        now: Now,
    ) -> Result<(), &'static str> {
        let Ok(message) = MetadataMessage::read(payload) else {
            return Err("a metadata message that is not bencode");
        };
        let Some(MetadataMessage::Request { block }) = message else {
            return Ok(());
        };
        let total = self.serves_metadata().expect("the caller looked");
        let budget = metadata_blocks(total).saturating_mul(self.config.metadata_copies_max);
        // Beside blocks of the content there must be room for these.
        let backlog_max = self.config.send_backlog_max / 4;
        let running = self.phase == Phase::Running;
        let peer = self.peer(slot);
        let id = peer.said.metadata;
        if id == 0 {
            // It takes no answer.
            return Ok(());
        }
        let ready = running && peer.up.metadata_given < budget && peer.backlog() <= backlog_max;
        let answer = match metadata_block(total, block).filter(|_| ready) {
            Some(range) => {
                peer.up.metadata_given += 1;
                let data = self.info_bytes.slice(range);
                MetadataMessage::Data { block, total, data }
            }
            None => MetadataMessage::Reject { block },
        };
        self.send(slot, answer.message(id), now);
        Ok(())
    }
}

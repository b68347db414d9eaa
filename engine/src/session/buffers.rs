//! Owns how much a session has held in memory, and how much it may.
//!
//! Invariant: each number is the most since the start, noted where it grows; [`Buffered::bound`] is a function of
//! the configuration and the torrent's sizes, whatever peers do.

use serde::Serialize;

use crate::config::{Audit, EngineConfig};
use crate::ids::{BLOCK_BYTES, BlockRange};
use crate::metainfo::Geometry;

use super::event::Event;
use super::torrent::Torrent;

/// What was held at once, at most: of one connection but for `unwritten`, each number of whichever had most.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize)]
pub struct Buffered {
    /// Bytes that the network has not taken, messages included.
    pub unsent: u64,
    /// Requests of the peer that wait.
    pub requests: u64,
    /// Bytes of blocks that are being read for the peer.
    pub reading: u64,
    /// Bytes that came and are not yet a message. The host knows them.
    pub undecoded: u64,
    /// Bytes of blocks that came and that the disk has not taken, of all connections together.
    pub unwritten: u64,
}

/// The longest message of a fixed length, and so the longest answer to a request that is refused.
const FIXED_MAX: u64 = 17;

impl Buffered {
    /// What one engine may hold.
    #[must_use]
    pub fn bound(config: &EngineConfig, geometry: Geometry) -> Buffered {
        let block = u64::from(BLOCK_BYTES) + 13;
        // Who has too much unsent is closed after the input that brought it there: a block, or what a new peer is
        // told, or a word for each of its requests.
        let told = u64::from(geometry.bitfield_bytes()) + config.extended_bytes_max;
        let refused = u64::from(config.request_queue_max).saturating_mul(FIXED_MAX);
        let message = block
            .max(u64::from(geometry.bitfield_bytes()) + 5)
            .max(config.extended_bytes_max.saturating_add(4));
        Buffered {
            unsent: [config.send_backlog_max, block, told, refused]
                .into_iter()
                .fold(0, u64::saturating_add),
            requests: u64::from(config.request_queue_max),
            reading: config.send_buffer.saturating_add(config.request_bytes_max),
            undecoded: message.saturating_add(config.read_bytes_max),
            // At twice the maximum nothing more is read; what was read before that still comes.
            unwritten: config
                .disk_queue_max
                .saturating_mul(2)
                .saturating_add(message)
                .saturating_add(config.read_bytes_max),
        }
    }

    /// Bytes of one connection, were each number that of the same one.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let requests = self.requests.saturating_mul(size_of::<BlockRange>() as u64);
        [self.unsent, requests, self.reading, self.undecoded]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    /// Its numbers by name.
    #[must_use]
    pub fn parts(&self) -> [(&'static str, u64); 5] {
        [
            ("unsent bytes", self.unsent),
            ("waiting requests", self.requests),
            ("bytes being read", self.reading),
            ("undecoded bytes", self.undecoded),
            ("unwritten bytes", self.unwritten),
        ]
    }

    /// Whether some number is more than half as much again as that of `told`.
    fn is_far_above(&self, told: &Buffered) -> bool {
        let parts = self.parts().into_iter().zip(told.parts());
        parts
            .into_iter()
            .any(|((_, now), (_, told))| now > told.saturating_add(told / 2))
    }
}

/// The most so far, and what was told of it.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    most: Buffered,
    told: Buffered,
    grown: bool,
}

impl Buffers {
    pub(super) fn unsent(&mut self, bytes: u64) {
        self.grown |= bytes > self.most.unsent;
        self.most.unsent = self.most.unsent.max(bytes);
    }

    pub(super) fn requests(&mut self, count: usize) {
        let count = count as u64;
        self.grown |= count > self.most.requests;
        self.most.requests = self.most.requests.max(count);
    }

    pub(super) fn reading(&mut self, bytes: u64) {
        self.grown |= bytes > self.most.reading;
        self.most.reading = self.most.reading.max(bytes);
    }

    pub(super) fn unwritten(&mut self, bytes: u64) {
        self.grown |= bytes > self.most.unwritten;
        self.most.unwritten = self.most.unwritten.max(bytes);
    }
}

impl Torrent {
    /// Tells of what has grown by much in this input.
    pub(super) fn tell_growth(&mut self) {
        if std::mem::take(&mut self.buffers.grown)
            && self.buffers.most.is_far_above(&self.buffers.told)
        {
            self.emit_buffered();
        }
    }

    /// Tells how much was held at most.
    pub(super) fn emit_buffered(&mut self) {
        if self.config.audit != Audit::Off {
            self.buffers.told = self.buffers.most;
            self.emit(Event::Buffered(self.buffers.most));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_is_kept_and_told_when_it_grew_by_half() {
        let mut buffers = Buffers::default();
        buffers.unsent(100);
        buffers.unsent(10);
        assert!(buffers.grown && buffers.most.is_far_above(&buffers.told));
        buffers.told = buffers.most;
        buffers.unsent(150);
        assert!(!buffers.most.is_far_above(&buffers.told));
        buffers.requests(1);
        assert!(buffers.most.is_far_above(&buffers.told));
        assert_eq!(buffers.most.bytes(), 150 + 12);
    }

    #[test]
    fn the_bound_follows_the_configuration_and_never_overflows() {
        let geometry = Geometry {
            total: 1 << 20,
            piece_bytes: 1 << 18,
            pieces: 4,
        };
        let bound = Buffered::bound(&EngineConfig::default(), geometry);
        assert_eq!((bound.requests, bound.reading), (2000, 48 * 1024));
        let endless = EngineConfig {
            send_backlog_max: u64::MAX,
            disk_queue_max: u64::MAX,
            ..EngineConfig::default()
        };
        let endless = Buffered::bound(&endless, geometry);
        assert_eq!((endless.unsent, endless.bytes()), (u64::MAX, u64::MAX));
    }
}

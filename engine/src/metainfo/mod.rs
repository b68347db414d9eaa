//! The metainfo file (BEP 3): reading it as found in the wild, writing it, and the strict scanner
//! that every foreign bencode passes first.

pub mod bencode;
pub mod create;
mod entry;
mod error;
mod found;
pub mod geometry;
pub mod magnet;
pub mod parse;
mod paths;
mod priority;
mod reading;
mod web_files;
#[cfg(test)]
mod wild;

pub use entry::{FileEntry, FileKind};
pub use error::MetainfoError;
pub(crate) use found::Found;
pub use geometry::Geometry;
pub use parse::Metainfo;
pub(crate) use paths::PART_SUFFIX;
pub use priority::{Priority, piece_priorities};
pub use web_files::{Part, WebFiles};

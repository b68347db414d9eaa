//! The metainfo file (BEP 3): reading it as found in the wild, writing it, and the strict scanner
//! that every foreign bencode passes first.

pub mod bencode;
pub mod create;
pub mod geometry;
pub mod parse;
mod paths;
pub mod priority;

pub use geometry::Geometry;
pub use parse::{FileEntry, Metainfo, MetainfoError};
pub(crate) use paths::PART_SUFFIX;

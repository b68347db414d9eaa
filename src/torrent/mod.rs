//! Metainfo files on the command line: making, showing and reading them.

pub mod create;
mod excerpt;
pub mod read;
pub mod show;

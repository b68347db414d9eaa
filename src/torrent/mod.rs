//! Metainfo files on the command line: making, showing and reading them, and checking content.

pub mod create;
mod excerpt;
pub mod read;
pub mod show;
pub mod verify;

//! The program `skep`: the command line with nothing of its own beside what Skep has, and its allocator.

use std::process::ExitCode;

/// A swarm of a thousand has hundreds of megabytes that are looked at in no order: in pages of 4 KiB most looks wait
/// for the page's place, too. This allocator asks for large pages (`.cargo/config.toml` says so when it is built).
#[cfg(all(feature = "large-pages", unix, not(target_env = "musl")))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    skep::main_with(&skep_sim::own::NONE)
}

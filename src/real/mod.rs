//! The engine on real sockets: `skep track`, `skep scrape`, `skep seed`, `skep get`, `skep serve`
//! and `skep fetch`.
//!
//! Invariant: nothing here decides anything about the protocol; it sets an engine up, tells it when to
//! leave, and shows what it says.

pub mod choice;
mod disk;
pub mod fetch;
pub mod get;
pub mod limits;
mod magnet;
pub mod peer;
pub mod progress;
pub mod scrape;
pub mod seed;
pub mod serve;
pub mod signals;
pub mod track;
mod watch;

use std::future::Future;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

use crate::failure::{Exit, Failure};

/// Runs a future on one thread with sockets and time, where the engine's tasks may be spawned.
pub fn on_this_thread<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    allow_open_files();
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        let text = format!("the system gives no means to wait for sockets: {error}");
        Failure::new(Exit::Failed, text)
    })?;
    LocalSet::new().block_on(&runtime, future)
}

/// Lifts the limit on open files as far as the user's session allows: it is set low for the sake of
/// programs that wait with `select`, and a thousand connections with a file each are more than that.
fn allow_open_files() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        // Where it is not granted, what is open at once stays less; that is told when it is felt.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

/// A generator seeded by the system: real peers must differ, unlike simulated ones.
fn os_rng() -> Result<ChaCha8Rng, Failure> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("the system gives no random bytes: {error}"),
        )
    })?;
    Ok(ChaCha8Rng::from_seed(seed))
}

/// Why a listening socket could not be had.
fn cannot_listen(at: std::net::SocketAddr, error: &std::io::Error) -> Failure {
    let help = match error.kind() {
        std::io::ErrorKind::AddrInUse => "another program has this port; port 0 takes any free one",
        std::io::ErrorKind::AddrNotAvailable => "this address is not one of this machine's",
        std::io::ErrorKind::PermissionDenied => "ports below 1024 need special rights",
        _ => "port 0 takes any free one",
    };
    Failure::with_help(
        Exit::Failed,
        format!("cannot listen at {at}: {error}"),
        help,
    )
}

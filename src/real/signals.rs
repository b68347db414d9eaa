//! Owns what the user's Ctrl-C means: the first asks to end, the second ends.
//!
//! Invariant: from [`Signals::new`] on no signal is lost, however long something else takes.

use std::io;

use crate::failure::{Exit, Failure, tell};

/// SIGINT and SIGTERM; Ctrl-C where there are no signals.
#[derive(Debug)]
pub struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    asked: bool,
}

impl Signals {
    /// Takes the signals over. Inside a runtime.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new() -> Result<Signals, Failure> {
        Signals::take().map_err(|error| {
            Failure::new(Exit::Failed, format!("cannot listen for signals: {error}"))
        })
    }

    #[cfg(unix)]
    fn take() -> io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            asked: false,
        })
    }

    #[cfg(not(unix))]
    #[expect(clippy::unnecessary_wraps, reason = "as on unix")]
    fn take() -> io::Result<Signals> {
        Ok(Signals { asked: false })
    }

    /// Waits until the user asks to end. Asked again, it ends the process: the user will not wait.
    pub async fn asked(&mut self) {
        #[cfg(unix)]
        {
            use std::pin::pin;
            let (interrupt, terminate) = (self.interrupt.recv(), self.terminate.recv());
            futures_util::future::select(pin!(interrupt), pin!(terminate)).await;
        }
        #[cfg(not(unix))]
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        if self.asked {
            tell("\nended at once\n");
            std::process::exit(Exit::Failed.code().into());
        }
        self.asked = true;
    }
}

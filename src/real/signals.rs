//! Owns what signals mean: the first Ctrl-C asks to end, the second ends; SIGUSR1 asks to check the
//! content again.
//!
//! Invariant: from [`Signals::new`] on no signal is lost, however long something else takes.

use std::io;

use crate::failure::{Exit, Failure, tell};

/// What the user asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// To end.
    End,
    /// To check the content again.
    Recheck,
}

/// SIGINT and SIGTERM, SIGUSR1; Ctrl-C where there are no signals.
#[derive(Debug)]
pub struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    user: tokio::signal::unix::Signal,
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
            user: signal(SignalKind::user_defined1())?,
            asked: false,
        })
    }

    #[cfg(not(unix))]
    #[expect(clippy::unnecessary_wraps, reason = "as on unix")]
    fn take() -> io::Result<Signals> {
        Ok(Signals { asked: false })
    }

    /// Waits until the user asks to end.
    pub async fn end(&mut self) {
        while self.asked().await != Asked::End {}
    }

    /// Waits until the user asks for something. Asked to end again, it ends the process: the user
    /// will not wait.
    pub async fn asked(&mut self) -> Asked {
        #[cfg(unix)]
        {
            use futures_util::future::{Either, select};
            use std::pin::pin;
            let (interrupt, terminate) = (pin!(self.interrupt.recv()), pin!(self.terminate.recv()));
            let end = select(interrupt, terminate);
            if let Either::Right(_) = select(end, pin!(self.user.recv())).await {
                return Asked::Recheck;
            }
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
        Asked::End
    }
}

//! Owns how a command ends when it does not end well: its exit code, and what stderr shows.
//!
//! Invariant: a failure is drawn once, in [`Failure::tell`]; a reader of stdout that went away is no
//! failure. Colours and frames only where the output is a terminal.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use miette::{Diagnostic, GraphicalReportHandler, MietteDiagnostic};

use crate::terminal::theme;

/// Columns of everything that is printed.
pub const COLUMNS: usize = 80;

/// How a command ended.
/// The order is that in which the worst of several is told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Exit {
    /// Everything held, everything is done.
    Ok,
    /// Something that a scenario names never happened.
    Vacuous,
    /// A peer that could have finished did not.
    Liveness,
    /// It did not work out: the content, the disk or the network; an invariant or an expectation.
    Failed,
    /// The command or a file it names is wrong.
    Wrong,
    /// A bug in Skep.
    Bug,
}

impl Exit {
    /// What the system is told.
    pub fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::Liveness => 2,
            Exit::Vacuous => 4,
            Exit::Wrong => 64,
            Exit::Bug => 70,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// Why a command ended early.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    report: Option<Box<dyn Diagnostic + Send + Sync>>,
    excerpt: String,
}

impl Failure {
    /// Said in one sentence.
    pub fn new(exit: Exit, message: impl Display) -> Failure {
        Failure::drawn(exit, MietteDiagnostic::new(message.to_string()))
    }

    /// Said in one sentence, with advice.
    pub fn with_help(exit: Exit, message: impl Display, help: impl Display) -> Failure {
        let said = MietteDiagnostic::new(message.to_string());
        Failure::drawn(exit, said.with_help(help.to_string()))
    }

    /// Drawn with the places in a text.
    pub fn drawn(exit: Exit, report: impl Diagnostic + Send + Sync + 'static) -> Failure {
        Failure {
            exit,
            report: Some(Box::new(report)),
            excerpt: String::new(),
        }
    }

    /// With lines that show the place, below the rest.
    pub fn showing(mut self, excerpt: String) -> Failure {
        self.excerpt = excerpt;
        self
    }

    /// Draws it on stderr; returns the exit code.
    pub fn tell(&self) -> Exit {
        if let Some(report) = &self.report {
            tell(&format!("{}{}", draw(report.as_ref()), self.excerpt));
        }
        self.exit
    }
}

/// A diagnostic as text: with colours and frames on a terminal, plain elsewhere; see [`theme`].
pub fn draw(report: &dyn Diagnostic) -> String {
    let handler = GraphicalReportHandler::new_themed(theme()).with_width(COLUMNS);
    let mut drawn = String::new();
    let done = handler.with_links(false).render_report(&mut drawn, report);
    done.expect("a string takes everything");
    drawn
}

/// Writes to stderr. When that is gone there is nobody to tell.
pub fn tell(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Writes to stdout, at once.
///
/// # Errors
/// When it cannot be written. A reader that has gone away ends the command, as a success.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure {
            exit: Exit::Ok,
            report: None,
            excerpt: String::new(),
        },
        _ => Failure::new(Exit::Failed, format!("cannot write to stdout: {error}")),
    })
}

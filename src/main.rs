//! The program `skep`: the command line with nothing of its own beside what Skep has.

use std::process::ExitCode;

fn main() -> ExitCode {
    skep::main_with(&skep_sim::own::NONE)
}

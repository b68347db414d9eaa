//! Owns the arguments of the commands that tell shells and manuals of this program.

use std::path::PathBuf;

use clap_complete::Shell;

/// Print what a shell needs to complete this program's commands.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  skep completions bash > ~/.local/share/bash-completion/completions/skep
  skep completions zsh > ~/.zfunc/_skep
  skep completions fish > ~/.config/fish/completions/skep.fish")]
pub struct CompletionsArgs {
    /// The shell.
    pub shell: Shell,
}

/// Print the manual page, or write those of all commands.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  skep man | man -l -
  skep man ~/.local/share/man/man1")]
pub struct ManArgs {
    /// Write a page per command into this directory; made if it is not there.
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

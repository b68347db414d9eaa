//! Owns the arguments of `skep report`.

use std::path::PathBuf;

/// Make the page of a folder that `skep run --out` or `skep compare --out` wrote.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
The page is DIR/report.html: one file that needs no network. Both commands make
it already; this makes it again.

Examples:
  skep run scenarios/flash-crowd.toml --out flash-crowd
  skep report flash-crowd")]
pub struct ReportArgs {
    /// The folder.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

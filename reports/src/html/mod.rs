//! Owns pages: one file of HTML that needs no network, of a folder of runs or of a comparison.
//!
//! Invariant: a page is a function of the folder's files. What comes from a scenario is escaped where it is filled in:
//! by the templates as text, by `page::script_json` inside scripts, by `palette::label` in charts.

mod charts;
mod comparison_page;
mod film;
mod page;
mod palette;
mod record;
mod run_page;

pub use comparison_page::comparison_page;
pub use film::{PackedFault, PackedFilm};
pub use page::PageError;
pub use record::{FORMAT, Finding, PeerFile, RunFile, RunSet, run_file};
pub use run_page::{run_page, shown};

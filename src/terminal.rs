//! Owns what depends on who looks: colours, progress, and remarks that are only for the eye.
//!
//! Invariant: colours are where clap has them too: on a terminal, unless NO_COLOR is set; CLICOLOR_FORCE wants them
//! anywhere. Progress is shown on a terminal alone. With `--quiet` there is neither progress nor a remark.

use std::io::{IsTerminal, stderr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use indicatif::{ProgressBar, ProgressStyle};
use miette::GraphicalTheme;
use skep_engine::Now;
use skep_sim::trace::WorldEvent;
use skep_sim::watch::Listener;

use crate::failure::tell;
use crate::humane;

/// `--quiet` was given.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Whether from now on only results and what went wrong are told.
pub fn be_quiet(on: bool) {
    QUIET.store(on, Ordering::Relaxed);
}

/// Whether `--quiet` was given.
pub fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Whether progress is shown.
pub fn shows_progress() -> bool {
    stderr().is_terminal() && !is_quiet()
}

/// How an error is drawn on stderr.
pub fn theme() -> GraphicalTheme {
    if AutoStream::choice(&stderr()) != ColorChoice::Never {
        GraphicalTheme::unicode()
    } else if stderr().is_terminal() {
        GraphicalTheme::unicode_nocolor()
    } else {
        GraphicalTheme::none()
    }
}

/// Writes something to stderr that is only for the eye.
pub fn remark(text: &str) {
    if !is_quiet() {
        tell(text);
    }
}

/// A bar for so many runs, if they are several.
pub fn bar(runs: usize) -> ProgressBar {
    if !shows_progress() || runs < 2 {
        return ProgressBar::hidden();
    }
    let style = "{bar:30} {pos}/{len} runs, {eta} left";
    let style = ProgressStyle::with_template(style).expect("a template of ours");
    let bar = ProgressBar::new(runs as u64).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Turns while something goes on whose end nobody knows.
pub fn spinner(what: &str) -> ProgressBar {
    if !shows_progress() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {msg}, {elapsed}");
    let style = style.expect("a template of ours");
    let spinner = ProgressBar::new_spinner().with_style(style);
    let spinner = spinner.with_message(what.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(200));
    spinner
}

/// Time after which one run shows how far it is.
const SILENT_FOR: Duration = Duration::from_secs(2);
/// Events between two looks at the clock.
const EVENTS: u64 = 1024;

/// Shows how far one run is. It hears the run, which knows nothing of the clock that is read here.
pub struct Ticker {
    bar: ProgressBar,
    shown: Option<ProgressBar>,
    events: u64,
}

impl Ticker {
    /// A listener that shows it; none where nobody watches.
    pub fn new() -> Option<Ticker> {
        shows_progress().then(|| Ticker {
            bar: ProgressBar::hidden(),
            shown: None,
            events: 0,
        })
    }
}

impl Listener for Ticker {
    fn on_event(&mut self, at: Now, _: Option<usize>, _: &str, _: &WorldEvent) {
        self.events += 1;
        if !self.events.is_multiple_of(EVENTS) || self.bar.elapsed() < SILENT_FOR {
            return;
        }
        let spinner = self.shown.get_or_insert_with(|| spinner("begins"));
        let (time, events) = (at.0 / 1_000_000_000, humane::grouped(self.events));
        let time = humane::wait(Duration::from_secs(time));
        spinner.set_message(format!("{time} simulated, {events} events"));
    }

    fn finish(&mut self, _: Now) -> std::io::Result<()> {
        if let Some(spinner) = self.shown.take() {
            spinner.finish_and_clear();
        }
        Ok(())
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        // A run that ends early leaves no line.
        if let Some(spinner) = self.shown.take() {
            spinner.finish_and_clear();
        }
    }
}

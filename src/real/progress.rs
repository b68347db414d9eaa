//! Owns how something that takes a while looks on stderr: a bar on a terminal, plain lines elsewhere.
//!
//! Invariant: stdout is never touched, and without a terminal at most one line comes every
//! [`LINE_EVERY`].

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use crate::failure::tell;
use crate::humane::{percent, rate, size, wait};
use crate::terminal::{remark, shows_progress};

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(3);

/// Redraws per second of a bar.
const REDRAWS: u8 = 10;

/// Shows how far something is.
#[derive(Debug)]
pub struct Screen {
    what: &'static str,
    bar: Option<ProgressBar>,
    /// When the last line was written, and how much was done then.
    last: Option<(Instant, u64)>,
}

impl Screen {
    /// A screen for this: one word that ends in `-ing`.
    pub fn new(what: &'static str) -> Screen {
        let style = |template: &str| {
            let style = ProgressStyle::with_template(template);
            style.expect("the template is sound").progress_chars("=> ")
        };
        let bar = shows_progress().then(|| {
            let target = ProgressDrawTarget::stderr_with_hz(REDRAWS);
            let template = "{prefix} [{bar:20}] {percent}% {binary_bytes}/{binary_total_bytes} \
                            {binary_bytes_per_sec} {msg}, {eta} left";
            ProgressBar::with_draw_target(None, target)
                .with_style(style(template))
                .with_prefix(what)
        });
        Screen {
            what,
            bar,
            last: None,
        }
    }

    /// So many bytes of so many are done; `beside` stands next to it.
    pub fn show(&mut self, done: u64, total: u64, beside: &str) {
        if let Some(bar) = &self.bar {
            if self.last.is_none() {
                // What was there before is no speed.
                bar.set_length(total);
                bar.set_position(done);
                bar.reset_eta();
                self.last = Some((Instant::now(), done));
            }
            bar.set_position(done);
            bar.set_message(beside.to_owned());
            return;
        }
        let Some((time, new)) = self.line_due(done) else {
            return;
        };
        let left = total.saturating_sub(done);
        let eta = match new {
            0 => String::new(),
            _ => format!(", {} left", wait(time.mul_f64(left as f64 / new as f64))),
        };
        let beside = if beside.is_empty() {
            String::new()
        } else {
            format!(", {beside}")
        };
        let speed = rate(new, time);
        let (part, of) = (percent(done, total), size(total));
        remark(&format!(
            "{}: {part} of {of}, {speed}{beside}{eta}\n",
            self.what
        ));
    }

    /// So many bytes went out in all, with no end in sight.
    pub fn show_given(&mut self, sent: u64, beside: &str) {
        if let Some(bar) = &self.bar {
            if self.last.is_none() {
                let style = ProgressStyle::with_template("{prefix}: {msg}");
                bar.set_style(style.expect("the template is sound"));
                self.last = Some((Instant::now(), sent));
            }
            bar.set_message(format!("{} uploaded, {beside}", size(sent)));
            return;
        }
        // Nothing new is no news.
        if self.last.is_some_and(|(_, before)| before == sent) {
            return;
        }
        if let Some((time, new)) = self.line_due(sent) {
            let (sent, speed) = (size(sent), rate(new, time));
            remark(&format!(
                "{}: {sent} uploaded, {speed}, {beside}\n",
                self.what
            ));
        }
    }

    /// Something that the user should know, on a line of its own.
    pub fn note(&self, text: &str) {
        let write = || tell(&format!("{text}\n"));
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// When a line is due: the time since the last one, and what was done in it. The first call only
    /// begins to count.
    fn line_due(&mut self, done: u64) -> Option<(Duration, u64)> {
        let now = Instant::now();
        let (at, before) = *self.last.get_or_insert((now, done));
        let time = now.saturating_duration_since(at);
        if time < LINE_EVERY {
            return None;
        }
        self.last = Some((now, done));
        Some((time, done.saturating_sub(before)))
    }
}

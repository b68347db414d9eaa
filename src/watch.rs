//! Owns the files that a run writes for other tools while it goes on: its events, its traffic, its timeline.
//!
//! Invariant: they are of one run; each is written as a stream, so that memory does not grow with it. What could
//! not be written is told with the name of its file, and the command fails.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use skep_reports::capture::Capture;
use skep_reports::perfetto::Timeline;
use skep_sim::campaign::{self, Job};
use skep_sim::outcome::Outcome;
use skep_sim::scenario::plan::NetworkKind;
use skep_sim::trace::Lines;
use skep_sim::watch::Watchers;

use crate::args::WatchArgs;
use crate::failure::{Exit, Failure};
use crate::run::failed;
use crate::terminal::Ticker;

/// Makes the one run that is to be written down; `option` is one that asks for it.
pub fn run(args: &WatchArgs, option: &str, jobs: &[Job<'_>]) -> Result<Outcome, Failure> {
    let [job] = jobs[..] else {
        let text = format!("{option} takes one run, and these are {}", jobs.len());
        let help = "give one file and --seed N";
        return Err(Failure::with_help(Exit::Wrong, text, help));
    };
    let plan = job.plan().map_err(failed)?;
    if args.pcap.is_some() && plan.network != NetworkKind::Fabric {
        let text = format!("{} runs on turmoil, which has no packets", plan.scenario);
        let help = "--pcap takes a run with --network fabric";
        return Err(Failure::with_help(Exit::Wrong, text, help));
    }
    let mut watchers = Watchers::default();
    if let Some(ticker) = Ticker::new() {
        watchers.listeners.push(Box::new(ticker));
    }
    if let Some(path) = &args.trace {
        watchers.lines = Some(Lines::new(Box::new(Stream::create(path)?)));
    }
    if let Some(path) = &args.perfetto {
        let timeline = Timeline::new(&plan, Stream::create(path)?);
        watchers.listeners.push(Box::new(timeline));
    }
    if let Some(path) = &args.pcap {
        watchers.packets = Some(Box::new(Capture::new(Stream::create(path)?)));
    }
    campaign::run_one(job, watchers).map_err(failed)
}

/// A file that is written bit by bit.
struct Stream {
    out: BufWriter<File>,
    path: PathBuf,
}

impl Stream {
    fn create(path: &Path) -> Result<Stream, Failure> {
        let file =
            File::create(path).map_err(|error| Failure::new(Exit::Wrong, cannot(path, &error)))?;
        Ok(Stream {
            out: BufWriter::new(file),
            path: path.to_owned(),
        })
    }

    fn named<T>(&self, done: io::Result<T>) -> io::Result<T> {
        done.map_err(|error| io::Error::new(error.kind(), cannot(&self.path, &error)))
    }
}

fn cannot(path: &Path, error: &io::Error) -> String {
    format!("cannot write {}: {error}", path.display())
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes);
        self.named(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.out.flush();
        self.named(flushed)
    }
}

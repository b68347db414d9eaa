//! Owns `skep run --check-determinism`: every run in two processes, and the first event that differs.
//!
//! Invariant: the second process is this program started again, with another environment, another
//! directory and another number of threads. A difference is searched in two more runs, compared while they
//! go on, so that no trace is ever held.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, BufWriter, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde::{Deserialize, Serialize};
use skep_sim::campaign::{self, Job};
use skep_sim::outcome::Outcome;
use skep_sim::trace::{Checkpoints, Lines, TraceHash};

use crate::args::RunArgs;
use crate::failure::{COLUMNS, Exit, Failure, print};
use crate::humane;
use crate::run::{failed, run_all};

/// Events shown before the first difference.
const CONTEXT: usize = 3;
/// Pairs of runs in which a difference is searched: one that came by chance may stay away.
const TRIES: usize = 3;

/// What the other process says of a run.
#[derive(Serialize, Deserialize, PartialEq, Eq, Debug)]
struct Told {
    trace_hash: String,
    events: u64,
    every: u64,
    checkpoints: Vec<String>,
}

impl Told {
    fn of(outcome: &Outcome) -> Told {
        let hashes = outcome.checkpoints.hashes.iter();
        Told {
            trace_hash: outcome.trace_hash.clone(),
            events: outcome.events,
            every: outcome.checkpoints.every,
            checkpoints: hashes.map(TraceHash::to_string).collect(),
        }
    }

    fn checkpoints(&self) -> Option<Checkpoints> {
        let hashes = self.checkpoints.iter().map(|hash| hash.parse().ok());
        Some(Checkpoints::of(self.every, hashes.collect::<Option<_>>()?))
    }
}

/// As the other process: says what each run gave, or the events of one.
pub fn probe(args: &RunArgs, jobs: &[Job<'_>]) -> Result<Exit, Failure> {
    if let (Some(from), [job]) = (args.probe_from, jobs) {
        let out = Box::new(BufWriter::new(io::stdout()));
        campaign::run_one(*job, Some(Lines::probe(out, from))).map_err(failed)?;
        return Ok(Exit::Ok);
    }
    for outcome in campaign::run_all(jobs, args.threads, |_| {}).map_err(failed)? {
        let told = serde_json::to_string(&Told::of(&outcome)).expect("numbers and words");
        print(&format!("{told}\n"))?;
    }
    Ok(Exit::Ok)
}

/// Makes all runs here and in another process, and tells of each whether both are the same.
pub fn check(args: &RunArgs, jobs: &[Job<'_>]) -> Result<Exit, Failure> {
    let elsewhere = tempfile::tempdir().map_err(cannot)?;
    let mut files: Vec<&str> = jobs.iter().map(|job| job.scenario.file()).collect();
    files.dedup();
    let mut other = Other::new(args, elsewhere.path());
    other.files(&files)?;
    match (args.seed, &args.seeds) {
        (Some(seed), _) => other.args(["--seed".to_owned(), seed.to_string()]),
        (None, Some(seeds)) => other.args([
            "--seeds".to_owned(),
            format!("{}..{}", seeds.start, seeds.end),
        ]),
        (None, None) => {}
    }
    let threads = match args.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    other.args(["--threads".to_owned(), (threads + 1).to_string()]);
    let mut process = other.start()?;
    let told = process.lines();
    // It writes little: it never waits for us to read.
    let here = run_all(jobs, args.threads)?;
    let told: Vec<String> = told.collect::<io::Result<_>>().map_err(cannot)?;
    process.end()?;
    if told.len() != here.len() {
        return Err(Failure::new(
            Exit::Bug,
            "the other process made other runs than this one",
        ));
    }
    let mut exit = Exit::Ok;
    for ((job, outcome), told) in jobs.iter().zip(&here).zip(&told) {
        let told: Told = serde_json::from_str(told)
            .map_err(|_| Failure::new(Exit::Bug, "the other process cannot be understood"))?;
        let name = format!("{}, seed {}", job.scenario.name(), job.seed);
        if told == Told::of(outcome) {
            let events = humane::count(told.events, "event");
            let hash = &told.trace_hash;
            let text = format!("{name}: the same twice ({hash}, {events})");
            print(&humane::paragraph(&text))?;
            continue;
        }
        exit = Exit::Bug;
        print(&format!(
            "{name}: NOT THE SAME\n  here       {}, {}\n  elsewhere  {}, {}\n",
            outcome.trace_hash,
            humane::count(outcome.events, "event"),
            told.trace_hash,
            humane::count(told.events, "event"),
        ))?;
        let equal_until = told
            .checkpoints()
            .map_or(0, |told| outcome.checkpoints.equal_until(&told));
        print(&search(args, job, elsewhere.path(), equal_until)?)?;
    }
    Ok(exit)
}

fn cannot(error: io::Error) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("the other process cannot be used: {error}"),
    )
}

/// This program, to be started again elsewhere.
struct Other(Command);

impl Other {
    /// Makes the runs of these arguments; which, is said afterwards.
    fn new(args: &RunArgs, folder: &Path) -> Other {
        let program = std::env::current_exe().unwrap_or_else(|_| "skep".into());
        let mut command = Command::new(program);
        command.arg("run").current_dir(folder).env_clear();
        // What a run must not look at, as it is nowhere else.
        let environment = [
            ("TZ", "Pacific/Chatham"),
            ("LANG", "tr_TR.UTF-8"),
            ("HOME", "/nonexistent"),
            ("COLUMNS", "20"),
        ];
        command.envs(environment).arg("--probe");
        for (key, value) in args.set() {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        Other(command)
    }

    fn args(&mut self, args: impl IntoIterator<Item = String>) {
        self.0.args(args);
    }

    fn files(&mut self, files: &[&str]) -> Result<(), Failure> {
        let whole: io::Result<Vec<OsString>> = files
            .iter()
            .map(|file| Ok(std::path::absolute(file)?.into()))
            .collect();
        self.0.args(whole.map_err(cannot)?);
        Ok(())
    }

    fn start(&mut self) -> Result<Process, Failure> {
        self.0.stdout(Stdio::piped()).stderr(Stdio::piped());
        self.0.stdin(Stdio::null());
        Ok(Process(self.0.spawn().map_err(cannot)?))
    }
}

/// Another process of this program; dropping it ends it.
struct Process(Child);

impl Process {
    /// What it prints, once.
    fn lines(&mut self) -> io::Lines<BufReader<ChildStdout>> {
        let out = self.0.stdout.take().expect("piped, and asked for once");
        BufReader::new(out).lines()
    }

    /// It has printed everything: whether it ended well.
    fn end(mut self) -> Result<(), Failure> {
        let mut said = String::new();
        if let Some(mut words) = self.0.stderr.take() {
            // Only for the eye.
            let _ = words.read_to_string(&mut said);
        }
        let status = self.0.wait().map_err(cannot)?;
        if status.success() {
            return Ok(());
        }
        let exit = match status.code() {
            Some(code) if code == i32::from(Exit::Wrong.code()) => Exit::Wrong,
            _ => Exit::Bug,
        };
        let text = format!("the other process ended with {status}");
        Err(Failure::new(exit, text).showing(said))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Searches the first difference in two more runs, from an event on until which they should be equal.
fn search(args: &RunArgs, job: &Job<'_>, folder: &Path, from: u64) -> Result<String, Failure> {
    let start = |from: u64, more: (&str, &str)| {
        let mut other = Other::new(args, folder);
        other.files(&[job.scenario.file()])?;
        other.args(["--seed".to_owned(), job.seed.to_string()]);
        other.args(["--probe-from".to_owned(), from.to_string()]);
        other.0.env(more.0, more.1);
        other.start()
    };
    // Who draws from outside may part earlier in the next two runs.
    let froms = std::iter::once(from).chain(std::iter::repeat_n(0, TRIES));
    for from in froms {
        let mut one = start(from, ("SKEP_RUN", "one"))?;
        let mut two = start(from, ("SKEP_RUN", "another, with a longer environment"))?;
        let found = first_difference(one.lines(), two.lines()).map_err(cannot)?;
        // With nothing before it, the true first difference may lie before what was compared.
        if let Some(found) = found.filter(|found| from == 0 || !found.before.is_empty()) {
            return Ok(found.shown());
        }
    }
    Ok(format!(
        "  {TRIES} more pairs of runs were equal: it happens now and then\n  here and elsewhere were equal until event {}\n",
        humane::grouped(from)
    ))
}

/// Where two runs part.
#[derive(PartialEq, Eq, Debug)]
struct Difference {
    /// The last events that both have.
    before: VecDeque<String>,
    /// The first that differs, in either run; `None`: that run was over.
    sides: [Option<String>; 2],
}

/// Compares two runs while they go on.
fn first_difference(
    mut one: impl Iterator<Item = io::Result<String>>,
    mut two: impl Iterator<Item = io::Result<String>>,
) -> io::Result<Option<Difference>> {
    let mut before = VecDeque::new();
    loop {
        let sides = [one.next().transpose()?, two.next().transpose()?];
        match sides {
            [None, None] => return Ok(None),
            [Some(a), Some(b)] if a == b => {
                if before.len() == CONTEXT {
                    before.pop_front();
                }
                before.push_back(a);
            }
            sides => return Ok(Some(Difference { before, sides })),
        }
    }
}

impl Difference {
    fn shown(&self) -> String {
        let known = self.sides.iter().flatten().next();
        let number = known
            .and_then(|line| event(line))
            .map_or(0, |event| event.n);
        let mut text = format!(
            "  the first difference, of two more runs: event {}\n",
            humane::grouped(number)
        );
        for line in &self.before {
            text.push_str(&entry("    both", line));
        }
        for (side, line) in ["one", "other"].iter().zip(&self.sides) {
            let side = format!("  > {side}");
            match line {
                Some(line) => text.push_str(&entry(&side, line)),
                None => text.push_str(&format!("{side:<11}  (over: no more events)\n")),
            }
        }
        text
    }
}

/// An event as the other process tells it.
struct EventLine {
    n: u64,
    t_ns: u64,
    host: String,
    task: String,
    what: String,
}

fn event(line: &str) -> Option<EventLine> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    let serde_json::Value::Object(mut fields) = value else {
        return None;
    };
    let text = |value: Option<serde_json::Value>| Some(value?.as_str()?.to_owned());
    fields.remove("hash");
    Some(EventLine {
        n: fields.remove("n")?.as_u64()?,
        t_ns: fields.remove("t_ns")?.as_u64()?,
        host: text(fields.remove("host"))?,
        task: text(fields.remove("task"))?,
        what: {
            let name = text(fields.remove("event"))?;
            let rest = fields
                .iter()
                .filter(|(_, value)| value.as_str() != Some(""));
            let rest = rest.map(|(key, value)| format!("{key} {value}"));
            std::iter::once(name)
                .chain(rest)
                .collect::<Vec<_>>()
                .join(", ")
        },
    })
}

/// One event: when, where, by which task, what.
fn entry(side: &str, line: &str) -> String {
    let Some(event) = event(line) else {
        return format!("{side:<11}  {line}\n");
    };
    let moment = event.t_ns as f64 / 1e9;
    let head = format!(
        "{side:<11}  {moment:.6} s, {}, task `{}`\n",
        event.host, event.task
    );
    let what = humane::lines(&event.what, COLUMNS - 13);
    let what = what.iter().map(|line| format!("{:13}{line}\n", ""));
    std::iter::once(head).chain(what).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(numbers: &[u64]) -> impl Iterator<Item = io::Result<String>> {
        let line = |n: &u64| {
            Ok(format!(
                r#"{{"n":{n},"hash":"0","task":"peer","t_ns":{n}000000,"host":"home-0","event":"joined"}}"#
            ))
        };
        numbers.iter().map(line).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn the_first_difference_is_found_with_what_both_had_before() {
        let found = first_difference(lines(&[1, 2, 3, 4, 5, 6]), lines(&[1, 2, 3, 4, 5, 7]));
        let shown = found.unwrap().expect("a difference").shown();
        assert_eq!(
            shown,
            "  the first difference, of two more runs: event 6
    both     0.003000 s, home-0, task `peer`
             joined
    both     0.004000 s, home-0, task `peer`
             joined
    both     0.005000 s, home-0, task `peer`
             joined
  > one      0.006000 s, home-0, task `peer`
             joined
  > other    0.007000 s, home-0, task `peer`
             joined
"
        );
        let over = first_difference(lines(&[1, 2]), lines(&[1])).unwrap();
        assert!(
            over.expect("a difference")
                .shown()
                .contains("no more events")
        );
        assert_eq!(first_difference(lines(&[1]), lines(&[1])).unwrap(), None);
    }
}

//! Owns `skep fetch`: one file over HTTP to a real disk.
//!
//! Invariant: it ends with 0 only when the file is complete, durable and under its final name. No file that was
//! there is changed. With `--json` stdout holds one object and nothing else.

use std::cell::RefCell;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{Either, select};
use serde_json::json;
use skep_engine::direct::client::HttpError;
use skep_engine::direct::fetch::{FetchError, Fresh};
use skep_engine::direct::url::{HttpTarget, UrlError, http_target};
use skep_engine::node::fetcher::{FetchEvent, FetchJob, Fetched, Fetcher};
use skep_engine::node::real::RealNetwork;
use skep_engine::storage::file::fetched::{PartError, PartFile, sha256_of};
use skep_engine::{EngineConfig, Now};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::progress::Screen;
use super::signals::Signals;
use super::{on_this_thread, os_rng};
use crate::args::FetchArgs;
use crate::failure::{Exit, Failure, print};
use crate::humane::{plain, rate, size, wait};
use crate::terminal::remark;

/// Time between two looks at how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Runs the command.
pub fn run(args: &FetchArgs) -> Result<Exit, Failure> {
    let target = http_target(&args.url).map_err(|error| Failure::new(Exit::Wrong, error))?;
    let name = args
        .name
        .clone()
        .or_else(|| target.file_name())
        .ok_or_else(|| {
            Failure::with_help(
                Exit::Wrong,
                "the URL does not end with a name that the file could have here",
                "choose one: --name NAME",
            )
        })?;
    on_this_thread(fetch(args, target, &name))
}

/// What has been seen of the fetch.
#[derive(Debug, Default)]
struct Seen {
    have: u64,
    len: Option<u64>,
    received: u64,
    resumed_from: Option<u64>,
    started_over: u32,
    retries: u32,
    notes: Vec<String>,
}

impl Seen {
    fn hear(&mut self, event: FetchEvent) {
        match event {
            FetchEvent::Asked { .. } | FetchEvent::Completed { .. } | FetchEvent::Failed { .. } => {
            }
            FetchEvent::Moved { to } => {
                let at = format!("http://{}{}", to.authority(), to.path_and_query);
                self.notes.push(format!("redirected to {}", plain(&at)));
            }
            FetchEvent::Began { len } => (self.have, self.len) = (0, len),
            FetchEvent::Resumed { from, len } => {
                // Within one run it is told already that something broke.
                if self.received == 0 {
                    self.resumed_from = Some(from);
                    self.notes
                        .push(format!("resuming: {} are here already", size(from)));
                }
                (self.have, self.len) = (from, len);
            }
            FetchEvent::StartedOver { why, dropped, len } => {
                let why = match why {
                    Fresh::Changed => "the server has another file there now",
                    Fresh::Unknown => "nothing tells whether the server's file is the same one",
                    Fresh::NoRanges => "the server does not send parts",
                };
                let text = format!("starting over: {why}; {} dropped", size(dropped));
                self.notes.push(text);
                self.started_over += 1;
                (self.have, self.len) = (0, len);
            }
            FetchEvent::Received { bytes } => {
                self.have += u64::from(bytes);
                self.received += u64::from(bytes);
            }
            FetchEvent::Retrying { why, after } => {
                let text = format!(
                    "{}; tried again in {}",
                    plain(&why.to_string()),
                    wait(after)
                );
                self.notes.push(text);
                self.retries += 1;
            }
        }
    }

    fn show(&mut self, screen: &mut Screen) {
        for note in self.notes.drain(..) {
            screen.note(&note);
        }
        match self.len {
            Some(len) => screen.show(self.have, len, ""),
            None if self.have > 0 => screen.show(self.have, self.have, "length not known"),
            None => {}
        }
    }
}

async fn fetch(args: &FetchArgs, target: HttpTarget, name: &str) -> Result<Exit, Failure> {
    let mut signals = Signals::new()?;
    let path = args.dir.join(name);
    if path.symlink_metadata().is_ok() {
        return there_already(args, &path);
    }
    let mut disk = match PartFile::open(&args.dir, name) {
        Ok(disk) => disk,
        Err(error) => {
            let (result, seen) = (Err(error.to_string()), Seen::default());
            report(args, &path, &result, &seen, Duration::ZERO)?;
            return Err(not_openable(&error));
        }
    };
    let config = EngineConfig {
        fetch_retries: args.retries,
        ..EngineConfig::default()
    };
    let seen = Rc::new(RefCell::new(Seen::default()));
    let ear = Rc::clone(&seen);
    let hear = move |_: Now, event: FetchEvent| ear.borrow_mut().hear(event);
    let (net, began) = (RealNetwork::new(&config), Instant::now());
    let mut fetcher = Fetcher::new(net, config, os_rng()?, began, hear);
    let job = FetchJob {
        url: args.url.clone(),
        target,
        sha256: args.sha256,
        len: None,
    };
    let mut screen = Screen::new("fetching");
    let result = {
        let mut work = pin!(fetcher.fetch(&job, &mut disk, signals.end()));
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            match select(work.as_mut(), pin!(ticks.tick())).await {
                Either::Left((result, _)) => break result,
                Either::Right(_) => seen.borrow_mut().show(&mut screen),
            }
        }
    };
    seen.borrow_mut().show(&mut screen);
    screen.clear();
    let part = disk.part().to_owned();
    drop(disk);
    let outcome = result.as_ref().copied().map_err(ToString::to_string);
    report(args, &path, &outcome, &seen.borrow(), began.elapsed())?;
    match result {
        Ok(Fetched { len, received }) => {
            let took = began.elapsed();
            remark(&format!(
                "complete: {} ({}), {} received in {} ({})\n",
                shown(&path),
                size(len),
                size(received),
                wait(took),
                rate(received, took)
            ));
            Ok(Exit::Ok)
        }
        Err(error) => Err(failure(&error, &path, &part)),
    }
}

/// A path as it may be shown: its name may come from a server.
fn shown(path: &Path) -> String {
    plain(&path.display().to_string())
}

/// A file of that name is there: all is well if it is known to be the one.
fn there_already(args: &FetchArgs, path: &Path) -> Result<Exit, Failure> {
    let (seen, none) = (Seen::default(), Duration::ZERO);
    let mut failed = exists(path);
    if let Some(wanted) = args.sha256 {
        match sha256_of(path) {
            Ok(digest) if digest == wanted => {
                let len = path.metadata().map_or(0, |found| found.len());
                report(args, path, &Ok(Fetched { len, received: 0 }), &seen, none)?;
                remark(&format!("{}: there already, verified\n", shown(path)));
                return Ok(Exit::Ok);
            }
            Ok(_) => {
                let text = format!(
                    "{} is already there and has another SHA-256 than the one that was given; \
                     it was not touched",
                    shown(path)
                );
                failed = Failure::with_help(Exit::Failed, text, ELSEWHERE);
            }
            Err(error) => {
                let text = format!(
                    "{} is already there and cannot be read: {error}",
                    shown(path)
                );
                failed = Failure::with_help(Exit::Failed, text, ELSEWHERE);
            }
        }
    }
    let why = FetchError::Exists.to_string();
    report(args, path, &Err(why), &seen, none)?;
    Err(failed)
}

/// What to do when the name is taken.
const ELSEWHERE: &str = "move it away, or choose another --name or --dir";

fn exists(path: &Path) -> Failure {
    let text = format!("{} is already there; it was not touched", shown(path));
    Failure::with_help(Exit::Failed, text, ELSEWHERE)
}

/// The object of `--json`.
fn report(
    args: &FetchArgs,
    path: &Path,
    result: &Result<Fetched, String>,
    seen: &Seen,
    took: Duration,
) -> Result<(), Failure> {
    if !args.json {
        return Ok(());
    }
    let object = json!({
        "url": args.url,
        "path": path.display().to_string(),
        "complete": result.is_ok(),
        "bytes": result.as_ref().ok().map(|fetched| fetched.len).or(seen.len),
        "received": seen.received,
        "resumed_from": seen.resumed_from,
        "started_over": seen.started_over,
        "retries": seen.retries,
        "seconds": took.as_secs_f64(),
        "error": result.as_ref().err(),
    });
    print(&format!("{object}\n"))
}

/// Why it did not work out, with advice.
fn failure(error: &FetchError, path: &Path, part: &Path) -> Failure {
    let text = plain(&error.to_string());
    let begun = part.symlink_metadata().is_ok();
    let part = shown(part);
    let again = match begun {
        true => "what is here stays; the same command goes on from there",
        false => "nothing came; the same command tries again",
    };
    let (text, help) = match error {
        FetchError::Exists => return exists(path),
        FetchError::OtherPart => (
            format!("{part} is there and was not fetched from this URL; it was not touched"),
            ELSEWHERE.to_owned(),
        ),
        FetchError::WrongDigest(_) => (
            format!("{}: {text}", shown(path)),
            format!("it stays as {part}: check what was given, or delete it and fetch anew"),
        ),
        FetchError::DiskFull(_) | FetchError::Disk(_) => {
            let how = match error {
                FetchError::DiskFull(_) => "make room",
                _ => "see to the disk",
            };
            let help = format!("what is here stays; {how} and run the same command again");
            (text, help)
        }
        FetchError::Stopped => ("ended before it was complete".to_owned(), again.to_owned()),
        FetchError::Unresolved | FetchError::Http(HttpError::Refused | HttpError::Unreachable)
            if !begun =>
        {
            let help = "check host and port of the URL, and that its server runs".to_owned();
            (text, help)
        }
        FetchError::Http(HttpError::Garbage) if !begun => {
            let help = "check the port of the URL: something else answers there".to_owned();
            (text, help)
        }
        FetchError::Location(UrlError::Https) => (
            "the server redirects to https://, which is not supported: only http:// is".to_owned(),
            "find an address of it that begins with http://".to_owned(),
        ),
        FetchError::Status(404 | 410) => (
            format!("{text}: there is no such file"),
            "check the URL: upper and lower case differ".to_owned(),
        ),
        FetchError::Status(401 | 403) => (
            format!("{text}: not everybody may have it"),
            "ask who runs the server; passwords are not supported".to_owned(),
        ),
        FetchError::Status(_) | FetchError::Redirected | FetchError::Location(_) => (
            text,
            "open the URL in a browser: it may say more".to_owned(),
        ),
        FetchError::Encoded => (text, "find another address of it".to_owned()),
        _ => (text, again.to_owned()),
    };
    Failure::with_help(Exit::Failed, text, help)
}

/// Why the part cannot be opened, with advice.
fn not_openable(error: &PartError) -> Failure {
    let message = plain(&error.to_string());
    match error {
        PartError::NoDirectory(_) => {
            Failure::with_help(Exit::Wrong, message, "make it first: mkdir -p DIR")
        }
        PartError::InUse(_) => {
            Failure::with_help(Exit::Failed, message, "wait until it has ended, or end it")
        }
        PartError::NotAFile(_) => Failure::with_help(Exit::Failed, message, ELSEWHERE),
        _ => Failure::with_help(
            Exit::Failed,
            message,
            "see to the directory, or choose another --dir",
        ),
    }
}

//! Owns `skep serve`: a file server on real sockets and real files.
//!
//! Invariant: it runs until it is asked to end, whatever anybody sends to it; and it only reads.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use skep_engine::node::file_server::{BodyEnd, FileServer, FileServerSetup, ServerEvent};
use skep_engine::node::real::RealNetwork;
use skep_engine::storage::file::served::{ServedFolder, date};
use skep_engine::{EngineConfig, Now};
use tokio::time::Instant;

use super::signals::Signals;
use super::{cannot_listen, on_this_thread};
use crate::args::ServeArgs;
use crate::failure::{Exit, Failure, print};
use crate::humane::{plain, size};
use crate::terminal::remark;

/// Bytes of a connection that wait to be looked at: requests are short.
const UNREAD_MAX: u64 = 16 * 1024;

/// Runs the command.
pub fn run(args: &ServeArgs) -> Result<Exit, Failure> {
    on_this_thread(serve(args))
}

async fn serve(args: &ServeArgs) -> Result<Exit, Failure> {
    let mut signals = Signals::new()?;
    let dir = ServedFolder::open(&args.dir).map_err(|error| {
        let help = match error.kind() {
            ErrorKind::NotADirectory => "serve the directory that it is in",
            ErrorKind::NotFound => "name a directory that is there",
            _ => "name a directory that you may read",
        };
        let text = format!("{} cannot be served: {error}", args.dir.display());
        Failure::with_help(Exit::Wrong, text, help)
    })?;
    let defaults = EngineConfig::default();
    let config = EngineConfig {
        upload_limit: args.upload_limit.unwrap_or(defaults.upload_limit),
        serve_connections_max: args.connections.unwrap_or(defaults.serve_connections_max),
        unread_max: UNREAD_MAX,
        read_bytes_max: UNREAD_MAX,
        ..defaults
    };
    let net = RealNetwork::new(&config);
    let setup = FileServerSetup {
        listen: args.listen,
        dir,
        config,
        epoch: Instant::now(),
        date: Some(date),
    };
    let mut log = Log::default();
    let hear = move |at: Now, event: ServerEvent| {
        if let Some(line) = log.line(at, event) {
            // Without a reader the server goes on all the same.
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    };
    let server =
        FileServer::new(net, setup, hear).map_err(|error| cannot_listen(args.listen, &error))?;
    let at = server.local_addr();
    let url = if at.ip().is_unspecified() {
        format!("http://<this machine's address>:{}/", at.port())
    } else {
        format!("http://{at}/")
    };
    print(&format!("serving {} at {url}\n", args.dir.display()))?;
    match select(pin!(signals.end()), pin!(server.run())).await {
        Either::Left(((), _)) => {
            remark("ended\n");
            Ok(Exit::Ok)
        }
        Either::Right((never, _)) => match never {},
    }
}

/// The log: one line per answer, when it is over. It knows the answers that are under way.
#[derive(Debug, Default)]
struct Log {
    under_way: BTreeMap<u64, (Now, String)>,
}

impl Log {
    fn line(&mut self, at: Now, event: ServerEvent) -> Option<String> {
        let (line, extra) = match event {
            ServerEvent::Answered {
                to,
                request,
                path,
                status,
                first,
                bytes,
            } => {
                let from = if status == 206 {
                    format!(" from byte {first}")
                } else {
                    String::new()
                };
                let line = format!("{to}  {status}  {}{from}", plain(&path));
                if bytes > 0 {
                    self.under_way.insert(request, (at, line));
                    return None;
                }
                let why = match status {
                    500 => ": the disk failed",
                    503 => ": too many files are open; allow more (ulimit -n)",
                    _ => "",
                };
                (line, why.to_owned())
            }
            ServerEvent::Sent { .. } => return None,
            ServerEvent::Ended {
                request,
                bytes,
                how,
                ..
            } => {
                let (began, line) = self.under_way.remove(&request)?;
                let how = match how {
                    BodyEnd::Whole => "",
                    BodyEnd::Gone => ", given up by the client",
                    BodyEnd::Disk => ", cut: the disk failed or the file changed",
                };
                let took = at.since(began).as_secs_f64();
                (line, format!(": {} in {took:.3} s{how}", size(bytes)))
            }
            ServerEvent::TurnedAway { from } => (turned_away(from), String::new()),
        };
        let at = Duration::from_nanos(at.0).as_secs_f64();
        Some(format!("{at:9.3} s  {line}{extra}"))
    }
}

fn turned_away(from: SocketAddr) -> String {
    format!("{from}  turned away: too many connections")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_answer_and_nothing_steers_the_terminal() {
        let to = SocketAddr::from(([10, 0, 0, 1], 5000));
        let answered = |request, path: &str, status, bytes| ServerEvent::Answered {
            to,
            request,
            path: path.to_owned(),
            status,
            first: 7,
            bytes,
        };
        let ended = |request, bytes, how| ServerEvent::Ended {
            to,
            request,
            bytes,
            how,
        };
        let mut log = Log::default();
        let mut lines = Vec::new();
        for (seconds, event) in [
            (1, answered(1, "GET /a", 206, 2048)),
            (1, answered(2, "GET /\u{1b}[31m", 404, 0)),
            (
                2,
                ServerEvent::Sent {
                    to,
                    request: 1,
                    bytes: 1024,
                },
            ),
            (3, ended(1, 1024, BodyEnd::Gone)),
            (4, answered(3, "HEAD /a", 200, 0)),
            (5, ServerEvent::TurnedAway { from: to }),
            (6, answered(4, "GET /a", 503, 0)),
        ] {
            lines.extend(log.line(Now(seconds * 1_000_000_000), event));
        }
        let wanted = [
            "    1.000 s  10.0.0.1:5000  404  GET /\\u{1b}[31m",
            "    3.000 s  10.0.0.1:5000  206  GET /a from byte 7: 1 KiB in 2.000 s, given up by the client",
            "    4.000 s  10.0.0.1:5000  200  HEAD /a",
            "    5.000 s  10.0.0.1:5000  turned away: too many connections",
            "    6.000 s  10.0.0.1:5000  503  GET /a: too many files are open; allow more (ulimit -n)",
        ];
        assert_eq!(lines, wanted);
        assert!(log.under_way.is_empty());
    }
}

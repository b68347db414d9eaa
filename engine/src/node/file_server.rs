//! Owns the loop of a file server's host: HTTP/1.1 by hyper over a [`Network`], files from a [`ServedDir`],
//! everything decided told to an observer.
//!
//! Invariant: bounded in every direction: so many connections, each with a bounded head, a bounded time, and
//! two blocks of one file in memory: it sends while it reads. It only reads, and only what [`parse_path`] and
//! the directory both let through. What is sent of a file is of one state of it: when that changes the
//! connection is cut.

mod body;

use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT_RANGES, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, HOST,
    HeaderName, HeaderValue, LAST_MODIFIED, LOCATION, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version as HttpVersion};
use tokio::time::Instant;

use super::http_server::{self, Activity, Limits};
use super::network::{CloseHow, NetEvent, Network};
use super::spawn::Tasks;
use super::stream::{ConnStream, StreamHub};
use crate::config::EngineConfig;
use crate::direct::disk::{FindError, Found, ServedDir, ServedFile};
use crate::direct::listing;
use crate::direct::path::{AskedPath, escaped, parse_path};
use crate::direct::range::{Asked, ContentRange, parse_range};
use crate::direct::validator::{Condition, HttpDate, Version, condition, range_holds};
use crate::time::Now;
use body::{Answer, Going, Throttle};

/// Bytes a connection may have sent ahead of being read.
const UNREAD_MAX: u64 = 64 * 1024;

/// What a file server did.
#[derive(Clone, PartialEq, Eq, Hash, Debug, serde::Serialize)]
#[serde(tag = "event")]
pub enum ServerEvent {
    /// It answered a request; the body, if any, follows.
    #[serde(rename = "server-answered")]
    Answered {
        /// Who asked.
        to: SocketAddr,
        /// The number of the request at this server.
        request: u64,
        /// What was asked for, as it came: text from outside. At most [`ASKED_BYTES_MAX`] bytes.
        path: String,
        /// Three digits.
        status: u16,
        /// First byte of the file that is sent; 0 unless a part was asked for.
        first: u64,
        /// Bytes of a file that are to follow, told of by [`ServerEvent::Sent`] and [`ServerEvent::Ended`];
        /// pages of the server's own do not count.
        bytes: u64,
    },
    /// It handed a block of a file to the network.
    #[serde(rename = "server-sent")]
    Sent {
        /// To whom.
        to: SocketAddr,
        /// In answer to what.
        request: u64,
        /// Bytes.
        bytes: u32,
    },
    /// The body of an answer is over.
    #[serde(rename = "server-ended")]
    Ended {
        /// To whom.
        to: SocketAddr,
        /// In answer to what.
        request: u64,
        /// Bytes that were handed to the network.
        bytes: u64,
        /// How.
        how: BodyEnd,
    },
    /// It had no place for a connection.
    #[serde(rename = "server-turned-away")]
    TurnedAway {
        /// Who came.
        from: SocketAddr,
    },
}

/// How the body of an answer ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BodyEnd {
    /// All of it is on its way.
    Whole,
    /// The connection was closed before: by the other end, or because it took nothing for too long.
    Gone,
    /// The disk failed, or the file changed meanwhile.
    Disk,
}

/// Bytes of a path that an observer is told.
pub const ASKED_BYTES_MAX: usize = 1024;

/// What a file server is made of.
pub struct FileServerSetup<D> {
    /// Where it listens; port 0: any.
    pub listen: SocketAddr,
    /// What it serves.
    pub dir: D,
    /// Its limits: the fields that begin with `serve_`, and `upload_limit` for all connections together.
    pub config: EngineConfig,
    /// The moment from which its time counts.
    pub epoch: Instant,
    /// The date, where there is one: answers tell it (RFC 9110, 6.6.1).
    pub date: Option<fn() -> HttpDate>,
}

impl<D> fmt::Debug for FileServerSetup<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("FileServerSetup");
        out.field("listen", &self.listen).finish_non_exhaustive()
    }
}

type Observer = Box<dyn FnMut(Now, ServerEvent)>;

/// What all connections share.
struct Desk<D> {
    dir: D,
    config: EngineConfig,
    epoch: Instant,
    date: Option<fn() -> HttpDate>,
    throttle: Rc<RefCell<Throttle>>,
    requests: RefCell<u64>,
    observer: RefCell<Observer>,
}

impl<D> Desk<D> {
    fn tell(&self, event: ServerEvent) {
        let since = Instant::now().saturating_duration_since(self.epoch);
        (self.observer.borrow_mut())(Now::START.after(since), event);
    }
}

/// A file server on one host.
pub struct FileServer<N: Network, D: ServedDir> {
    net: N,
    hub: StreamHub,
    tasks: Tasks,
    local: SocketAddr,
    desk: Rc<Desk<D>>,
}

impl<N: Network, D: ServedDir> fmt::Debug for FileServer<N, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("FileServer");
        out.field("local", &self.local)
            .field("tasks", &self.tasks.len());
        out.finish_non_exhaustive()
    }
}

impl<N: Network, D: ServedDir> FileServer<N, D> {
    /// A server that listens. `observer` hears of everything it does.
    ///
    /// # Errors
    /// When the network cannot listen there.
    pub fn new(
        mut net: N,
        setup: FileServerSetup<D>,
        observer: impl FnMut(Now, ServerEvent) + 'static,
    ) -> io::Result<FileServer<N, D>> {
        let local = net.listen(setup.listen)?;
        let throttle = Throttle::new(setup.config.upload_limit, Instant::now());
        Ok(FileServer {
            net,
            hub: StreamHub::new(UNREAD_MAX),
            tasks: Tasks::new(),
            local,
            desk: Rc::new(Desk {
                dir: setup.dir,
                config: setup.config,
                epoch: setup.epoch,
                date: setup.date,
                throttle: Rc::new(RefCell::new(throttle)),
                requests: RefCell::new(0),
                observer: RefCell::new(Box::new(observer)),
            }),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Serves until the future is dropped, which stops the server at once. It runs inside a
    /// [`tokio::task::LocalSet`].
    ///
    /// # Panics
    /// When the task of a connection panicked: a bug in this program.
    pub async fn run(mut self) -> Infallible {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Infallible> {
        let most = self.desk.config.serve_connections_max as usize;
        while let Poll::Ready(event) = self.hub.poll_network(&mut self.net, cx) {
            // A server has no use for datagrams.
            if let NetEvent::Opened { conn, from, .. } = event {
                if self.tasks.len() >= most {
                    self.net.close(conn, CloseHow::Reset);
                    self.desk.tell(ServerEvent::TurnedAway { from });
                    continue;
                }
                let stream = self.hub.accept(conn);
                let served = serve(stream, from, Rc::clone(&self.desk));
                self.tasks.spawn("file server connection", served);
            }
        }
        self.tasks.poll_panics(cx);
        self.hub.pump(&mut self.net, cx);
        Poll::Pending
    }
}

async fn serve<D: ServedDir>(stream: ConnStream, from: SocketAddr, desk: Rc<Desk<D>>) {
    let limits = Limits {
        head_bytes: usize::try_from(desk.config.serve_head_max).unwrap_or(usize::MAX),
        idle: desk.config.serve_idle_timeout,
    };
    http_server::serve(stream, limits, |activity| {
        service_fn(move |request: Request<Incoming>| {
            let (desk, activity) = (Rc::clone(&desk), activity.clone());
            async move { Ok::<_, Infallible>(desk.answer(&request, from, activity).await) }
        })
    })
    .await;
}

impl<D: ServedDir> Desk<D> {
    async fn answer(
        self: &Rc<Self>,
        request: &Request<Incoming>,
        from: SocketAddr,
        activity: Activity,
    ) -> Response<Answer<D>> {
        let number = {
            let mut requests = self.requests.borrow_mut();
            *requests += 1;
            *requests
        };
        let mut page = self.page(request, &activity).await;
        let mut answer = Response::new(Answer::empty());
        *answer.status_mut() = page.status;
        let (first, bytes) = match &page.body {
            Body::Nothing => (0, 0),
            Body::Text(text) => (0, text.len() as u64),
            Body::File(_, range) => (range.start, range.end - range.start),
        };
        let without_body = request.method() == Method::HEAD;
        self.tell(ServerEvent::Answered {
            to: from,
            request: number,
            path: asked(request),
            status: page.status.as_u16(),
            first,
            bytes: match page.body {
                Body::File(..) if !without_body => bytes,
                _ => 0,
            },
        });
        // 304 has no body, and says nothing of the length that it would have.
        if page.status != StatusCode::NOT_MODIFIED {
            page.says(CONTENT_LENGTH, &bytes.to_string());
        }
        if let Some(date) = self.date {
            page.says(DATE, &date().to_string());
        }
        answer.headers_mut().extend(page.fields);
        if !without_body {
            *answer.body_mut() = match page.body {
                Body::Nothing => Answer::empty(),
                Body::Text(text) => Answer::text(text),
                Body::File(file, range) => Answer::file(Going {
                    desk: Rc::clone(self),
                    file,
                    range,
                    to: from,
                    request: number,
                    activity,
                }),
            };
        }
        answer
    }

    async fn page(&self, request: &Request<Incoming>, activity: &Activity) -> Page<D::File> {
        let hosts = request.headers().get_all(HOST).iter().count();
        if request.version() == HttpVersion::HTTP_11 && hosts != 1 {
            return Page::words(StatusCode::BAD_REQUEST, "one Host field is needed");
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let words = "only GET and HEAD are allowed";
            let mut page = Page::words(StatusCode::METHOD_NOT_ALLOWED, words);
            page.says(ALLOW, "GET, HEAD");
            return page;
        }
        let nothing = || Page::words(StatusCode::NOT_FOUND, "there is no such file");
        let Some(path) = parse_path(request.uri().path()) else {
            return nothing();
        };
        activity.waits_for_us(true);
        let entries_max = self.config.serve_listing_max as usize;
        let found = self.dir.find(&path.parts, entries_max).await;
        activity.waits_for_us(false);
        match found {
            Ok(Found::File(_)) if path.directory => nothing(),
            Ok(Found::File(file)) => file_page(request, &path, file),
            Ok(Found::Directory(_)) if !path.directory => {
                let link: Vec<_> = path.parts.iter().map(|part| escaped(part)).collect();
                let mut page = Page::words(StatusCode::MOVED_PERMANENTLY, "it is a directory");
                page.says(LOCATION, &format!("/{}/", link.join("/")));
                page
            }
            Ok(Found::Directory(entries)) => {
                let page = Page::new(
                    StatusCode::OK,
                    Body::Text(listing::page(&path.parts, &entries).into()),
                );
                page.of_type("text/html; charset=utf-8")
            }
            Err(FindError::Nothing) => nothing(),
            Err(FindError::Busy) => {
                Page::words(StatusCode::SERVICE_UNAVAILABLE, "too many files are open")
            }
            Err(FindError::Disk(_)) => {
                Page::words(StatusCode::INTERNAL_SERVER_ERROR, "the disk failed")
            }
        }
    }
}

/// What is answered for a file.
fn file_page<F: ServedFile>(request: &Request<Incoming>, path: &AskedPath, file: F) -> Page<F> {
    let version = file.version().clone();
    let headers = request.headers();
    let mut page = match condition(headers, &version) {
        Condition::Failed => {
            return Page::words(StatusCode::PRECONDITION_FAILED, "the file is another one");
        }
        Condition::NotModified => Page::new(StatusCode::NOT_MODIFIED, Body::Nothing),
        Condition::Met => {
            let range = headers.get(RANGE).and_then(|field| field.to_str().ok());
            // For HEAD a range means nothing (RFC 9110, 14.2).
            let heeded = request.method() == Method::GET && range_holds(headers, &version);
            let asked = match range.filter(|_| heeded) {
                Some(range) => parse_range(range, version.len),
                None => Asked::Whole,
            };
            match asked {
                Asked::Whole => Page::new(StatusCode::OK, Body::File(file, 0..version.len)),
                Asked::Part(range) => {
                    let said = ContentRange::Part {
                        range: range.clone(),
                        total: Some(version.len),
                    };
                    let body = Body::File(file, range);
                    let mut page = Page::new(StatusCode::PARTIAL_CONTENT, body);
                    page.says(CONTENT_RANGE, &said.to_string());
                    page
                }
                Asked::Unsatisfiable => {
                    let words = "the file is shorter";
                    let mut page = Page::words(StatusCode::RANGE_NOT_SATISFIABLE, words);
                    let said = ContentRange::Unsatisfied { total: version.len };
                    page.says(CONTENT_RANGE, &said.to_string());
                    page.says(ACCEPT_RANGES, "bytes");
                    return page;
                }
            }
        }
    };
    page.describes(&version);
    if page.status == StatusCode::NOT_MODIFIED {
        return page;
    }
    let name = path.parts.last().map_or("", String::as_str);
    let guess = mime_guess::from_path(name).first_or_octet_stream();
    let text = guess.type_() == "text";
    let charset = if text { "; charset=utf-8" } else { "" };
    page.of_type(&format!("{}{charset}", guess.essence_str()))
}

/// What follows a head.
enum Body<F> {
    Nothing,
    Text(Bytes),
    File(F, std::ops::Range<u64>),
}

/// An answer that is being made.
struct Page<F> {
    status: StatusCode,
    fields: Vec<(HeaderName, HeaderValue)>,
    body: Body<F>,
}

impl<F> Page<F> {
    fn new(status: StatusCode, body: Body<F>) -> Page<F> {
        Page {
            status,
            fields: Vec::new(),
            body,
        }
    }

    /// A few words for people.
    fn words(status: StatusCode, words: &'static str) -> Page<F> {
        let text = format!("{}: {words}\n", status.as_u16());
        Page::new(status, Body::Text(text.into())).of_type("text/plain; charset=utf-8")
    }

    fn says(&mut self, name: HeaderName, value: &str) {
        let value = HeaderValue::from_str(value).expect("what we write is ASCII without controls");
        self.fields.push((name, value));
    }

    fn of_type(mut self, media: &str) -> Page<F> {
        self.says(CONTENT_TYPE, media);
        self.says(X_CONTENT_TYPE_OPTIONS, "nosniff");
        self
    }

    fn describes(&mut self, version: &Version) {
        self.says(ACCEPT_RANGES, "bytes");
        self.says(ETAG, &version.tag.to_string());
        if let Some(modified) = version.modified {
            self.says(LAST_MODIFIED, &modified.to_string());
        }
    }
}

/// What was asked for, in bounded length.
fn asked(request: &Request<Incoming>) -> String {
    let mut asked = format!("{} {}", request.method(), request.uri().path());
    asked.truncate(asked.floor_char_boundary(ASKED_BYTES_MAX));
    asked
}

#[cfg(test)]
pub(super) mod tests;

//! Owns [`Fetch`]: one request of the session at a web seed, as one HTTP request for each file that it touches.
//!
//! Invariant: bytes are told only of an answer that says to be those asked for, and only as many; the rest
//! of a connection whose answer was not read to its end is never read.

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::blocks::Cutter;
use crate::direct::client::{Head, HttpConnection, HttpError, Patience, Request};
use crate::direct::range::{ByteRange, ContentRange};
use crate::direct::url::HttpTarget;
use crate::metainfo::{Geometry, Part};
use crate::node::network::Resolving;
use crate::node::stream::ConnStream;
use crate::session::torrent::{FetchFailure, Input};

type Headed = (Option<HttpConnection>, Result<Head, HttpError>);
type Piece = (HttpConnection, Result<Option<Bytes>, HttpError>);
type Pending<T> = Pin<Box<dyn Future<Output = T>>>;

/// What a request needs, or came to.
pub(super) enum Next {
    /// Bytes of this file: whoever asks knows where it is.
    Ask { file: usize },
    /// A connection to this address.
    Connect {
        target: HttpTarget,
        addr: SocketAddr,
    },
    /// The file is there instead.
    Moved { file: usize, target: HttpTarget },
    /// The connection that was kept is gone: another one.
    Again { target: HttpTarget },
    /// A connection is free for the next request to this place.
    Keep {
        target: HttpTarget,
        connection: HttpConnection,
    },
    /// Everything was told.
    Done,
    /// It is of no more use.
    Failed(FetchFailure),
}

enum Step {
    /// Between two parts.
    Idle,
    /// Somebody looks for a way to ask.
    Asking,
    Resolving(HttpTarget, Resolving),
    /// True: on a connection that was kept.
    Head(HttpTarget, bool, Pending<Headed>),
    Body(HttpTarget, Pending<Piece>),
}

/// One request.
pub(super) struct Fetch {
    pub number: u64,
    /// Redirects of the part under way.
    pub redirects: u32,
    parts: VecDeque<Part>,
    /// Bytes of the part under way that have not come.
    left: u64,
    cutter: Cutter,
    step: Step,
}

impl Fetch {
    /// A request for these parts of the content, from byte `start` on.
    pub fn new(number: u64, start: u64, parts: Vec<Part>) -> Fetch {
        Fetch {
            number,
            redirects: 0,
            parts: parts.into(),
            left: 0,
            cutter: Cutter::new(start),
            step: Step::Idle,
        }
    }

    /// The address of the target is looked up.
    pub fn resolve(&mut self, target: HttpTarget, resolving: Resolving) {
        self.step = Step::Resolving(target, resolving);
    }

    /// Asks on a connection that was kept.
    pub fn ask_kept(&mut self, target: HttpTarget, mut connection: HttpConnection) {
        let request = self.request(&target);
        let head = Box::pin(async move {
            let head = connection.send(&request).await;
            (Some(connection), head)
        });
        self.step = Step::Head(target, true, head);
    }

    /// Asks on a new connection.
    pub fn ask_new(&mut self, target: HttpTarget, stream: ConnStream, patience: Patience) {
        let request = self.request(&target);
        let head = Box::pin(async move {
            match HttpConnection::open(stream, patience).await {
                Err(why) => (None, Err(why)),
                Ok(mut connection) => {
                    let head = connection.send(&request).await;
                    (Some(connection), head)
                }
            }
        });
        self.step = Step::Head(target, false, head);
    }

    fn request(&self, target: &HttpTarget) -> Request {
        let (_, range, _) = self.file();
        let mut request = Request::get(target.clone());
        request.range = ByteRange::of(&range);
        request
    }

    /// The file under way: its number, the bytes asked for, and those that it has.
    fn file(&self) -> (usize, Range<u64>, u64) {
        match self.parts.front() {
            Some(Part::File { file, range, len }) => (*file, range.clone(), *len),
            _ => unreachable!("only files are asked for"),
        }
    }

    /// Goes on as far as possible; blocks go to `ready`.
    pub fn poll(
        &mut self,
        geometry: &Geometry,
        ready: &mut VecDeque<Input>,
        cx: &mut Context<'_>,
    ) -> Poll<Next> {
        loop {
            match &mut self.step {
                Step::Idle => match self.parts.front() {
                    None => return Poll::Ready(Next::Done),
                    Some(Part::Zeros(bytes)) => {
                        let bytes = usize::try_from(*bytes).expect("within a request");
                        self.tell(Bytes::from(vec![0; bytes]), geometry, ready);
                        self.parts.pop_front();
                    }
                    Some(Part::File { file, range, .. }) => {
                        self.left = range.end - range.start;
                        self.redirects = 0;
                        let file = *file;
                        self.step = Step::Asking;
                        return Poll::Ready(Next::Ask { file });
                    }
                },
                Step::Asking => return Poll::Pending,
                Step::Resolving(target, resolving) => {
                    let Poll::Ready(found) = resolving.as_mut().poll(cx) else {
                        return Poll::Pending;
                    };
                    let target = target.clone();
                    self.step = Step::Asking;
                    return Poll::Ready(match found {
                        Ok(addr) => Next::Connect { target, addr },
                        Err(_) => Next::Failed(FetchFailure::NoSuchHost),
                    });
                }
                Step::Head(target, kept, head) => {
                    let Poll::Ready((connection, head)) = head.as_mut().poll(cx) else {
                        return Poll::Pending;
                    };
                    let (target, kept) = (target.clone(), *kept);
                    self.step = Step::Asking;
                    let next = match (connection, head) {
                        (_, Err(HttpError::Lost)) if kept => Some(Next::Again { target }),
                        (_, Err(why)) => Some(Next::Failed(failure(why))),
                        (None, Ok(_)) => unreachable!("a head comes on a connection"),
                        (Some(connection), Ok(head)) => self.on_head(target, &head, connection),
                    };
                    if let Some(next) = next {
                        return Poll::Ready(next);
                    }
                }
                Step::Body(target, piece) => {
                    let Poll::Ready((connection, piece)) = piece.as_mut().poll(cx) else {
                        return Poll::Pending;
                    };
                    let target = target.clone();
                    match piece {
                        Err(why) => return Poll::Ready(Next::Failed(failure(why))),
                        Ok(None) if self.left > 0 => {
                            return Poll::Ready(Next::Failed(FetchFailure::Broken));
                        }
                        Ok(None) => {
                            self.step = Step::Idle;
                            self.parts.pop_front();
                            if connection.is_reusable() {
                                return Poll::Ready(Next::Keep { target, connection });
                            }
                        }
                        Ok(Some(data)) if data.len() as u64 > self.left => {
                            return Poll::Ready(Next::Failed(FetchFailure::WrongRange));
                        }
                        Ok(Some(data)) => {
                            self.left -= data.len() as u64;
                            self.tell(data, geometry, ready);
                            self.read(target, connection);
                            // The end of a body is looked for at once: its connection is free again.
                            if self.left > 0 && !ready.is_empty() {
                                cx.waker().wake_by_ref();
                                return Poll::Pending;
                            }
                        }
                    }
                }
            }
        }
    }

    /// The head of an answer: what is next, unless that is its body.
    fn on_head(
        &mut self,
        target: HttpTarget,
        head: &Head,
        connection: HttpConnection,
    ) -> Option<Next> {
        let (file, range, len) = self.file();
        if let Some(moved) = head.redirect(&target) {
            return Some(match moved {
                Ok(target) => Next::Moved { file, target },
                Err(_) => Next::Failed(FetchFailure::Redirected),
            });
        }
        match accepted(head, &range, len) {
            Ok(()) => self.read(target, connection),
            Err(why) => return Some(Next::Failed(why)),
        }
        None
    }

    fn read(&mut self, target: HttpTarget, mut connection: HttpConnection) {
        let piece = Box::pin(async move {
            let piece = connection.piece().await;
            (connection, piece)
        });
        self.step = Step::Body(target, piece);
    }

    fn tell(&mut self, mut data: Bytes, geometry: &Geometry, ready: &mut VecDeque<Input>) {
        while !data.is_empty() {
            if let Some((range, data)) = self.cutter.cut(geometry, &mut data) {
                let fetch = self.number;
                ready.push_back(Input::Fetched { fetch, range, data });
            }
        }
    }
}

/// Whether an answer is the bytes `range` of a file of `len` bytes. The whole file is, too, where the whole file
/// was asked for.
fn accepted(head: &Head, range: &Range<u64>, len: u64) -> Result<(), FetchFailure> {
    let bytes = range.end - range.start;
    let whole = bytes == len;
    let sized = head.length.is_none_or(|length| length == bytes);
    match head.status.as_u16() {
        206 => {
            let right = match &head.range {
                Some(Ok(ContentRange::Part { range: got, total })) => {
                    got == range && total.is_none_or(|total| total == len)
                }
                _ => false,
            };
            match right && sized && !head.encoded {
                true => Ok(()),
                false => Err(FetchFailure::WrongRange),
            }
        }
        200 if whole && sized && !head.encoded => Ok(()),
        200 | 416 => Err(FetchFailure::WrongRange),
        status @ (401 | 403 | 404 | 410) => Err(FetchFailure::Absent(status)),
        429 | 503 => Err(FetchFailure::Busy {
            retry_after: head.retry_after,
        }),
        status => Err(FetchFailure::Status(status)),
    }
}

fn failure(error: HttpError) -> FetchFailure {
    match error {
        HttpError::Refused | HttpError::Unreachable => FetchFailure::Unreachable,
        HttpError::Silent => FetchFailure::TimedOut,
        _ => FetchFailure::Broken,
    }
}

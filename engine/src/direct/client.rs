//! Owns [`HttpConnection`]: a client's end of HTTP/1.1 on one connection, by hyper. One request after the
//! other; each answer is its head, then its body piece by piece.
//!
//! Invariant: nothing is spawned and nothing outlives the value: hyper's connection is polled by whoever waits
//! for a head or a piece, so a reader that stops reading stops the connection, and the other end with it. A
//! head is bounded before it is held in memory, of a body one piece is held, and so is the time for either.
//! Redirects are told, not followed: that takes another connection.

use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, HOST,
    HeaderMap, HeaderName, IF_RANGE, LAST_MODIFIED, LOCATION, RANGE, RETRY_AFTER, USER_AGENT,
};
use hyper::rt::{Read, Write};
use hyper::{Method, StatusCode};

use super::range::{ByteRange, ContentRange};
use super::url::{HttpTarget, UrlError};
use super::validator::{EntityTag, HttpDate, Validators};

/// Bytes of the longest head of an answer, and of one piece of its body.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// What the client calls itself.
const AGENT: &str = concat!("skep/", env!("CARGO_PKG_VERSION"));

/// How long an answer may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// From the request to its head; the time for the connection to stand is part of it.
    pub head: Duration,
    /// Between two pieces of the body, while somebody waits for one.
    pub silence: Duration,
}

/// A request without a body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Where it goes; the connection leads to its host.
    pub target: HttpTarget,
    /// HEAD instead of GET: the answer has no body.
    pub head_only: bool,
    /// The part that is asked for; none: everything.
    pub range: Option<ByteRange>,
    /// The state of which the part must be, as [`Validators::if_range`] has it; without a range it is not sent.
    pub if_range: Option<String>,
    /// No other request follows on this connection.
    pub last: bool,
}

impl Request {
    /// A GET of everything, with others to follow on the connection.
    #[must_use]
    pub fn get(target: HttpTarget) -> Request {
        Request {
            target,
            head_only: false,
            range: None,
            if_range: None,
            last: false,
        }
    }

    fn build(&self) -> Result<hyper::Request<Empty<Bytes>>, HttpError> {
        let method = if self.head_only {
            Method::HEAD
        } else {
            Method::GET
        };
        let mut request = hyper::Request::builder()
            .method(method)
            .uri(&self.target.path_and_query)
            .header(HOST, self.target.authority())
            .header(USER_AGENT, AGENT)
            // A part of what was compressed for the way is no part of the file.
            .header(ACCEPT_ENCODING, "identity");
        if let Some(range) = &self.range {
            request = request.header(RANGE, range.to_string());
            if let Some(state) = &self.if_range {
                request = request.header(IF_RANGE, state);
            }
        }
        if self.last {
            request = request.header(CONNECTION, "close");
        }
        request.body(Empty::new()).map_err(|_| HttpError::Request)
    }
}

/// What the head of an answer says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// Three digits.
    pub status: StatusCode,
    /// Bytes of the body that follows, if the server says so.
    pub length: Option<u64>,
    /// Which bytes follow: `None` when it says nothing, an error when what it says makes no sense.
    pub range: Option<Result<ContentRange, BadField>>,
    /// Which state of the file it is.
    pub validators: Validators,
    /// The body is compressed or otherwise not the file's bytes.
    pub encoded: bool,
    /// Where it is instead, as the server wrote it; [`HttpTarget::join`] reads it.
    pub location: Option<String>,
    /// How long to wait before asking again.
    pub retry_after: Option<Duration>,
}

/// A field of a head that cannot be understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadField;

impl Head {
    fn of(status: StatusCode, headers: &HeaderMap) -> Head {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let date = |name| text(name).and_then(HttpDate::parse);
        let tag = text(ETAG).and_then(EntityTag::parse);
        let retry_after = text(RETRY_AFTER).and_then(|when| match when.trim().parse() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            // By the server's own clock, as ours may differ.
            Err(_) => {
                let (at, now) = (HttpDate::parse(when)?, date(DATE)?);
                Some(Duration::from_secs(
                    at.seconds().saturating_sub(now.seconds()),
                ))
            }
        });
        let encoding = headers.get_all(CONTENT_ENCODING).iter();
        let length = text(CONTENT_LENGTH).and_then(|digits| digits.trim().parse().ok());
        let range = headers.get(CONTENT_RANGE).map(|field| {
            let text = field.to_str().ok();
            text.and_then(ContentRange::parse).ok_or(BadField)
        });
        Head {
            status,
            length,
            range,
            validators: Validators::of(tag, date(LAST_MODIFIED), date(DATE)),
            encoded: encoding
                .into_iter()
                .any(|how| !how.as_bytes().eq_ignore_ascii_case(b"identity")),
            location: text(LOCATION).map(str::to_owned),
            retry_after,
        }
    }

    /// Where a redirect leads from `target`; `None` when this is none.
    #[must_use]
    pub fn redirect(&self, target: &HttpTarget) -> Option<Result<HttpTarget, UrlError>> {
        let moved = matches!(self.status.as_u16(), 301 | 302 | 303 | 307 | 308);
        let location = self.location.as_ref().filter(|_| moved)?;
        Some(target.join(location))
    }
}

/// Why an answer did not come, or not whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// Nobody listens there.
    #[error("the connection was refused")]
    Refused,
    /// No way there, or none in time.
    #[error("the host cannot be reached")]
    Unreachable,
    /// The connection ended before the answer did.
    #[error("the connection was lost")]
    Lost,
    /// Nothing came for too long.
    #[error("no answer in time")]
    Silent,
    /// Not HTTP, or a head longer than [`HEAD_BYTES_MAX`].
    #[error("the answer is not HTTP")]
    Garbage,
    /// The request cannot be written: its target or a validator has characters that no header may have.
    #[error("the request cannot be made")]
    Request,
}

/// hyper's error in our words.
fn failure(error: &hyper::Error) -> HttpError {
    if error.is_parse() {
        return HttpError::Garbage;
    }
    // A request that waited for its connection is told of the connection's error, which has the system's.
    let mut source = error.source();
    let mut kind = None;
    while let (Some(cause), None) = (source, kind) {
        kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        source = cause.source();
    }
    match kind {
        Some(io::ErrorKind::ConnectionRefused) => HttpError::Refused,
        Some(io::ErrorKind::HostUnreachable) => HttpError::Unreachable,
        _ => HttpError::Lost,
    }
}

/// hyper's end of a connection.
enum Wire {
    Live(Pin<Box<dyn Future<Output = Result<(), hyper::Error>>>>),
    /// How it ended; who waited for an answer hears only that it did.
    Ended(Option<HttpError>),
}

impl Wire {
    /// Polls the connection beside what is waited for on it.
    async fn beside<T>(
        &mut self,
        what: impl Future<Output = Result<T, HttpError>>,
    ) -> Result<T, HttpError> {
        let mut what = std::pin::pin!(what);
        let result = poll_fn(|cx| {
            if let Wire::Live(conn) = self
                && let Poll::Ready(ended) = conn.as_mut().poll(cx)
            {
                *self = Wire::Ended(ended.err().map(|error| failure(&error)));
            }
            what.as_mut().poll(cx)
        });
        match (result.await, &*self) {
            (Err(HttpError::Lost), Wire::Ended(Some(why))) => Err(*why),
            (result, _) => result,
        }
    }

    /// The same in bounded time.
    async fn within<T>(
        &mut self,
        time: Duration,
        what: impl Future<Output = Result<T, HttpError>>,
    ) -> Result<T, HttpError> {
        let in_time = tokio::time::timeout(time, self.beside(what)).await;
        in_time.unwrap_or(Err(HttpError::Silent))
    }
}

/// A client's end of a connection. Dropping it closes the connection.
pub struct HttpConnection {
    sender: SendRequest<Empty<Bytes>>,
    wire: Wire,
    body: Option<Incoming>,
    patience: Patience,
}

impl fmt::Debug for HttpConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("HttpConnection");
        out.field("in_body", &self.body.is_some())
            .field("ended", &matches!(self.wire, Wire::Ended(_)));
        out.finish_non_exhaustive()
    }
}

impl HttpConnection {
    /// Speaks HTTP over a stream that stands or is being opened.
    ///
    /// # Errors
    /// [`HttpError::Lost`] when hyper will not have it.
    pub async fn open(
        stream: impl Read + Write + Unpin + 'static,
        patience: Patience,
    ) -> Result<HttpConnection, HttpError> {
        let mut builder = Builder::new();
        builder.max_buf_size(HEAD_BYTES_MAX);
        let (sender, conn) = builder.handshake(stream).await.map_err(|e| failure(&e))?;
        Ok(HttpConnection {
            sender,
            wire: Wire::Live(Box::pin(conn)),
            body: None,
            patience,
        })
    }

    /// Sends a request and waits for the head of its answer. What is left of the body before it is dropped,
    /// and if anything is, the connection is of no more use.
    ///
    /// # Errors
    /// See [`HttpError`]. After one the connection is of no more use.
    pub async fn send(&mut self, request: &Request) -> Result<Head, HttpError> {
        let request = request.build()?;
        self.body = None;
        let HttpConnection {
            sender,
            wire,
            patience,
            ..
        } = self;
        let answer = async {
            sender.ready().await.map_err(|e| failure(&e))?;
            sender.send_request(request).await.map_err(|e| failure(&e))
        };
        let answer = wire.within(patience.head, answer).await?;
        let head = Head::of(answer.status(), answer.headers());
        let body = answer.into_body();
        self.body = (!body.is_end_stream()).then_some(body);
        Ok(head)
    }

    /// The next piece of the body, of at most [`HEAD_BYTES_MAX`] bytes; `None` when it is whole.
    ///
    /// # Errors
    /// See [`HttpError`]. After one the connection is of no more use.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, HttpError> {
        let HttpConnection {
            wire,
            body,
            patience,
            ..
        } = self;
        while let Some(left) = body {
            let frame = wire.within(patience.silence, async { Ok(left.frame().await) });
            match frame.await? {
                None => *body = None,
                Some(Err(error)) => {
                    *body = None;
                    return Err(match (failure(&error), &*wire) {
                        (HttpError::Lost, Wire::Ended(Some(why))) => *why,
                        (why, _) => why,
                    });
                }
                // What is not data are trailers, which say nothing to us.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(Some(data)),
                    _ => {}
                },
            }
        }
        Ok(None)
    }

    /// Whether another request can be sent: the body was read to its end, and neither end has finished.
    /// That may have changed unnoticed since.
    #[must_use]
    pub fn is_reusable(&self) -> bool {
        self.body.is_none() && matches!(self.wire, Wire::Live(_)) && !self.sender.is_closed()
    }
}

#[cfg(test)]
mod tests;

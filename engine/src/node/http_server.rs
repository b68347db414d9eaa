//! Owns one connection of an HTTP server: HTTP/1.1 by hyper, and the time it may take.
//!
//! Invariant: a head is bounded, and a connection on which the other end has neither made a request nor taken
//! a byte for a while is closed; time that it waits for us does not count. hyper has no timer and writes no
//! date: both would read the system's clock.

use std::cell::Cell;
use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Request, Response};
use tokio::time::{Instant, timeout_at};

use super::stream::ConnStream;

/// Fewer bytes hyper does not take for a head.
const HEAD_BYTES_MIN: usize = 8192;

/// What a connection may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Limits {
    /// Bytes of the longest head; a longer one is answered with 431.
    pub(super) head_bytes: usize,
    /// Time without a whole request, or without a byte taken.
    pub(super) idle: Duration,
}

/// When the other end last did something.
#[derive(Clone, Debug)]
pub(super) struct Activity(Rc<Seen>);

#[derive(Debug)]
struct Seen {
    at: Cell<Instant>,
    ours: Cell<bool>,
}

impl Activity {
    fn new() -> Activity {
        let (at, ours) = (Cell::new(Instant::now()), Cell::new(false));
        Activity(Rc::new(Seen { at, ours }))
    }

    /// From now on the other end waits for us, or we wait for it.
    pub(super) fn waits_for_us(&self, ours: bool) {
        self.0.ours.set(ours);
        self.0.at.set(Instant::now());
    }

    fn since(&self) -> Instant {
        if self.0.ours.get() {
            self.0.at.set(Instant::now());
        }
        self.0.at.get()
    }
}

/// Serves one connection until either end closes it, or it is idle for too long. `service` is made with the
/// connection's [`Activity`], which it may tell when the other end waits for it.
pub(super) async fn serve<S, B>(
    stream: ConnStream,
    limits: Limits,
    service: impl FnOnce(Activity) -> S,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>> + 'static,
{
    let activity = Activity::new();
    let service = Heard {
        inner: service(activity.clone()),
        activity: activity.clone(),
    };
    let stream = Watched {
        stream,
        activity: activity.clone(),
    };
    let conn = http1::Builder::new()
        .auto_date_header(false)
        .header_read_timeout(None)
        .max_buf_size(limits.head_bytes.max(HEAD_BYTES_MIN))
        .serve_connection(stream, service);
    let mut conn = pin!(conn);
    loop {
        let deadline = activity.since() + limits.idle;
        // An error of the connection is the other end's doing and ends only this connection.
        let ended = timeout_at(deadline, conn.as_mut()).await.is_ok();
        if ended || activity.since() + limits.idle <= Instant::now() {
            return;
        }
    }
}

/// A service whose requests count as activity.
struct Heard<S> {
    inner: S,
    activity: Activity,
}

impl<S: Service<Request<Incoming>>> Service<Request<Incoming>> for Heard<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, request: Request<Incoming>) -> S::Future {
        self.activity.waits_for_us(false);
        self.inner.call(request)
    }
}

/// A stream on which bytes that could be written count as activity.
struct Watched {
    stream: ConnStream,
    activity: Activity,
}

impl Watched {
    fn wrote(&self, result: &Poll<io::Result<usize>>) {
        if matches!(result, Poll::Ready(Ok(1..))) {
            self.activity.0.at.set(Instant::now());
        }
    }
}

impl Read for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl Write for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

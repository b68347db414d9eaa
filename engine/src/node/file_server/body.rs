//! Owns the body of an answer: a file that is read while it is sent.
//!
//! Invariant: at most two blocks are in memory, one that is being sent and one that is being read ahead; no
//! byte follows one that could not be read; and all connections together keep to the upload limit.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::super::http_server::Activity;
use super::{BodyEnd, Desk, ServerEvent};
use crate::config::RateLimit;
use crate::direct::disk::{ServedDir, ServedFile};

/// Parts of a second's worth that a block may be, where there is an upload limit.
const BLOCKS_PER_SECOND: u64 = 8;
/// Smallest block under an upload limit.
const BLOCK_BYTES_MIN: u64 = 4 * 1024;

/// When the next block may be sent, of whatever connection.
#[derive(Debug)]
pub(super) struct Throttle {
    limit: RateLimit,
    free: Instant,
}

impl Throttle {
    pub(super) fn new(limit: RateLimit, now: Instant) -> Throttle {
        Throttle { limit, free: now }
    }

    /// Takes the time for so many bytes; returns when it begins. Blocks get their turns in the order in which
    /// they ask.
    fn turn(&mut self, bytes: u64, now: Instant) -> Instant {
        let begins = self.free.max(now);
        if self.limit.0 > 0 {
            let ns = u128::from(bytes) * 1_000_000_000 / u128::from(self.limit.0);
            self.free = begins + Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX));
        }
        begins
    }

    /// Bytes of a block, of a configured size or smaller, so that a slow line is shared.
    fn block(&self, configured: u64) -> u64 {
        let share = match self.limit.0 {
            0 => u64::MAX,
            limit => (limit / BLOCKS_PER_SECOND).max(BLOCK_BYTES_MIN),
        };
        configured.min(share).clamp(1, u64::from(u32::MAX))
    }
}

/// What is being sent to whom.
pub(super) struct Going<D: ServedDir> {
    pub(super) desk: Rc<Desk<D>>,
    pub(super) file: D::File,
    pub(super) range: Range<u64>,
    pub(super) to: SocketAddr,
    pub(super) request: u64,
    pub(super) activity: Activity,
}

/// The next block.
enum Block {
    Reading(u32, Pin<Box<dyn Future<Output = io::Result<Bytes>>>>),
    Read(u32, io::Result<Bytes>),
}

/// The body of an answer.
pub(super) struct Answer<D: ServedDir>(Kind<D>);

enum Kind<D: ServedDir> {
    Text(Option<Bytes>),
    File(Box<Sending<D>>),
}

/// A file on its way.
struct Sending<D: ServedDir> {
    going: Going<D>,
    /// The part that nobody has begun to read.
    unread: Range<u64>,
    next: Option<Block>,
    /// A block that waits for its turn.
    held: Option<(Bytes, Pin<Box<Sleep>>)>,
    sent: u64,
    failed: bool,
}

impl<D: ServedDir> Answer<D> {
    pub(super) fn empty() -> Answer<D> {
        Answer(Kind::Text(None))
    }

    pub(super) fn text(text: Bytes) -> Answer<D> {
        Answer(Kind::Text(Some(text).filter(|text| !text.is_empty())))
    }

    pub(super) fn file(going: Going<D>) -> Answer<D> {
        Answer(Kind::File(Box::new(Sending {
            unread: going.range.clone(),
            going,
            next: None,
            held: None,
            sent: 0,
            failed: false,
        })))
    }
}

impl<D: ServedDir> Sending<D> {
    fn left(&self) -> u64 {
        self.going.range.end - self.going.range.start - self.sent
    }

    /// Begins to read the next block, if there is one.
    fn read_ahead(&mut self, cx: &mut Context<'_>) {
        if self.next.is_none() && !self.unread.is_empty() {
            let desk = &self.going.desk;
            let block = desk.throttle.borrow().block(desk.config.serve_block_bytes);
            let bytes = block.min(self.unread.end - self.unread.start);
            let len = u32::try_from(bytes).expect("a block is at most 4 GiB");
            let reading = self.going.file.read(self.unread.start, len);
            self.unread.start += bytes;
            self.next = Some(Block::Reading(len, Box::pin(reading)));
        }
        if let Some(Block::Reading(len, reading)) = &mut self.next
            && let Poll::Ready(result) = reading.as_mut().poll(cx)
        {
            self.next = Some(Block::Read(*len, result));
        }
    }

    fn poll_block(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.failed || self.left() == 0 {
            return Poll::Ready(None);
        }
        if self.held.is_none() {
            self.read_ahead(cx);
            let (len, result) = match self.next.take() {
                Some(Block::Read(len, result)) => (len, result),
                reading => {
                    self.next = reading;
                    return Poll::Pending;
                }
            };
            let data = match result {
                Ok(data) if data.len() as u64 == u64::from(len) => data,
                Ok(_) => return self.fail(io::ErrorKind::UnexpectedEof.into()),
                Err(error) => return self.fail(error),
            };
            let mut throttle = self.going.desk.throttle.borrow_mut();
            let turn = throttle.turn(u64::from(len), Instant::now());
            drop(throttle);
            self.held = Some((data, Box::pin(tokio::time::sleep_until(turn))));
        }
        self.read_ahead(cx);
        if let Some((_, turn)) = &mut self.held
            && turn.deadline() > Instant::now()
        {
            ready!(turn.as_mut().poll(cx));
        }
        Poll::Ready(self.held.take().map(|(data, _)| Ok(data)))
    }

    fn fail(&mut self, error: io::Error) -> Poll<Option<io::Result<Bytes>>> {
        self.failed = true;
        Poll::Ready(Some(Err(error)))
    }
}

impl<D: ServedDir> Drop for Sending<D> {
    fn drop(&mut self) {
        self.going.activity.waits_for_us(false);
        let how = match self.left() {
            _ if self.failed => BodyEnd::Disk,
            0 => BodyEnd::Whole,
            _ => BodyEnd::Gone,
        };
        self.going.desk.tell(ServerEvent::Ended {
            to: self.going.to,
            request: self.going.request,
            bytes: self.sent,
            how,
        });
    }
}

impl<D: ServedDir> Body for Answer<D> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let sending = match &mut self.0 {
            Kind::Text(text) => return Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Kind::File(sending) => sending,
        };
        let polled = sending.poll_block(cx);
        sending.going.activity.waits_for_us(polled.is_pending());
        if let Poll::Ready(Some(Ok(data))) = &polled {
            sending.sent += data.len() as u64;
            sending.going.desk.tell(ServerEvent::Sent {
                to: sending.going.to,
                request: sending.going.request,
                bytes: u32::try_from(data.len()).expect("a block is at most 4 GiB"),
            });
        }
        polled.map(|block| block.map(|result| result.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Text(text) => text.is_none(),
            Kind::File(sending) => sending.left() == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.0 {
            Kind::Text(text) => text.as_ref().map_or(0, |text| text.len() as u64),
            Kind::File(sending) => sending.left(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_follow_each_other_at_the_limit_and_idle_time_is_not_saved_up() {
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        let mut throttle = Throttle::new(RateLimit(100_000), now);
        for (asks, bytes, begins) in [
            (0, 10_000, 0),
            (0, 5_000, 100),
            (20, 5_000, 150),
            (900, 1, 900),
        ] {
            assert_eq!(throttle.turn(bytes, at(asks)), at(begins), "{asks}");
        }
        let mut free = Throttle::new(RateLimit(0), now);
        assert_eq!(
            [free.turn(u64::MAX, now), free.turn(1, at(5))],
            [now, at(5)]
        );
    }

    #[test]
    fn a_slow_line_is_shared_in_smaller_blocks() {
        let now = Instant::now();
        for (limit, block) in [
            (0, 262_144),
            (80_000, 10_000),
            (1, 4096),
            (u64::MAX, 262_144),
        ] {
            let throttle = Throttle::new(RateLimit(limit), now);
            assert_eq!(throttle.block(262_144), block, "{limit}");
        }
    }
}

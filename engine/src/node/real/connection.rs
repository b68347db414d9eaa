//! Owns one TCP connection: the task that moves its bytes, and the [`Link`] between that task and the
//! mailbox.
//!
//! Invariant: bytes leave in the order of [`Link::send`], and events enter the mailbox in the order in
//! which they happened. While more than [`Maxima::unread`] bytes wait in the mailbox nothing is read,
//! so a loop that falls behind slows the other end down instead of filling memory. A connection that
//! was closed and still delivers has one of [`Maxima::lingering`] places, or is reset.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::future::{Either, join, select};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{Notify, Semaphore};

use super::{Mail, Post};
use crate::config::EngineConfig;
use crate::ids::ConnId;
use crate::node::network::{CloseHow, Closed, ConnectError};

/// What a piece of mail takes beside its bytes; counts with them, or many short ones would fill memory.
pub(super) const MAIL_BYTES: usize = 128;

/// Bytes read at once after the end, to be dropped.
const DROPPED_BYTES: usize = 4 * 1024;

/// Buffers handed to the system in one write, at most.
const WRITE_SLICES_MAX: usize = 32;

/// How long a connection that was finished may take to deliver what was queued and to hear that
/// the other end has finished, too.
const LINGER_MAX: Duration = Duration::from_secs(30);

/// What connections may take.
#[derive(Clone, Debug)]
pub(super) struct Maxima {
    /// Bytes of one connection in the mailbox above which nothing more is read; one read may pass it.
    pub(super) unread: usize,
    /// Bytes read at once.
    read: usize,
    /// Places for connections that were closed and still deliver.
    lingering: Arc<Semaphore>,
}

impl Maxima {
    /// Those of an engine.
    pub(super) fn of(config: &EngineConfig) -> Maxima {
        let bytes = |max: u64| usize::try_from(max).unwrap_or(usize::MAX).max(1);
        let lingering = (config.lingering_max as usize).min(Semaphore::MAX_PERMITS);
        Maxima {
            unread: bytes(config.unread_max),
            read: bytes(config.read_bytes_max),
            lingering: Arc::new(Semaphore::new(lingering)),
        }
    }
}

/// What the network and the task of one connection share, on one thread.
#[derive(Debug)]
pub(super) struct Link {
    unread_max: usize,
    queue: RefCell<VecDeque<Bytes>>,
    /// Bytes in `queue`.
    queued: Cell<u64>,
    /// Bytes posted and not yet taken from the mailbox, [`MAIL_BYTES`] for each piece included.
    unread: Cell<usize>,
    /// A [`Mail::Room`] is in the mailbox; it will speak for whatever happens until it is taken.
    room_posted: Cell<bool>,
    /// A write failed: nothing more can be sent.
    broken: Cell<bool>,
    told: Cell<Option<CloseHow>>,
    send_more: Notify,
    read_more: Notify,
    close: Notify,
}

impl Link {
    /// A link without mail; while more than `unread_max` bytes of it are in the mailbox nothing is read.
    pub(super) fn new(unread_max: usize) -> Link {
        Link {
            unread_max,
            queue: RefCell::default(),
            queued: Cell::default(),
            unread: Cell::default(),
            room_posted: Cell::default(),
            broken: Cell::default(),
            told: Cell::default(),
            send_more: Notify::new(),
            read_more: Notify::new(),
            close: Notify::new(),
        }
    }

    /// Queues bytes.
    pub(super) fn send(&self, data: Bytes) {
        if !data.is_empty() {
            self.queued.set(self.queued.get() + data.len() as u64);
            self.queue.borrow_mut().push_back(data);
            self.send_more.notify_one();
        }
    }

    /// Tells the task to end the connection.
    pub(super) fn close(&self, how: CloseHow) {
        self.told.set(Some(how));
        self.close.notify_one();
    }

    /// Notes that bytes were taken from the mailbox.
    pub(super) fn took_data(&self, bytes: usize) {
        self.unread.set(self.unread.get() - bytes - MAIL_BYTES);
        if self.unread.get() <= self.unread_max {
            self.read_more.notify_one();
        }
    }

    /// Notes that the room was taken from the mailbox; returns the bytes queued now.
    pub(super) fn took_room(&self) -> u64 {
        self.room_posted.set(false);
        self.queued.get()
    }

    #[cfg(test)]
    pub(super) fn unread(&self) -> usize {
        self.unread.get()
    }

    async fn until_told(&self) -> CloseHow {
        loop {
            if let Some(how) = self.told.get() {
                return how;
            }
            self.close.notified().await;
        }
    }

    /// Hands the front of the queue, which is not empty, to the system.
    async fn write_some(&self, write: &mut WriteHalf<'_>) -> io::Result<()> {
        let written = poll_fn(|cx| {
            // Borrowed only within one poll: `send` may come between two.
            let queue = self.queue.borrow();
            let mut slices = [IoSlice::new(&[]); WRITE_SLICES_MAX];
            let count = queue.len().min(WRITE_SLICES_MAX);
            for (slice, data) in slices.iter_mut().zip(queue.iter()) {
                *slice = IoSlice::new(data);
            }
            Pin::new(&mut *write).poll_write_vectored(cx, &slices[..count])
        });
        let mut written = written.await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.queued.set(self.queued.get() - written as u64);
        let mut queue = self.queue.borrow_mut();
        while let Some(front) = queue.front_mut().filter(|_| written > 0) {
            let sent = written.min(front.len());
            front.advance(sent);
            written -= sent;
            if front.is_empty() {
                queue.pop_front();
            }
        }
        Ok(())
    }

    fn has_queued(&self) -> bool {
        self.queued.get() > 0
    }
}

/// Opens a connection and drives it to its end.
pub(super) async fn dial(to: SocketAddr, conn: ConnId, link: Rc<Link>, post: Post, maxima: Maxima) {
    let connecting = pin!(TcpStream::connect(to));
    let connected = match select(pin!(link.until_told()), connecting).await {
        Either::Left((CloseHow::Finish, connecting)) if link.has_queued() => connecting.await,
        Either::Left(_) => return,
        Either::Right((connected, _)) => connected,
    };
    match connected {
        Ok(stream) => {
            post.send(Mail::Opened { conn, from: to });
            drive(stream, conn, link, post, maxima).await;
        }
        Err(error) => {
            let why = match error.kind() {
                io::ErrorKind::ConnectionRefused => ConnectError::Refused,
                _ => ConnectError::Unreachable,
            };
            post.send(Mail::Failed { conn, why });
        }
    }
}

/// Moves the bytes of one connection until one of its ends is done with it.
pub(super) async fn drive(
    mut stream: TcpStream,
    conn: ConnId,
    link: Rc<Link>,
    post: Post,
    maxima: Maxima,
) {
    // Small messages do not wait for large ones. A system that cannot do this works all the same.
    let _ = stream.set_nodelay(true);
    let (mut read, mut write) = stream.split();
    let ended = {
        let incoming = pin!(receive(&mut read, conn, &link, &post, maxima.read));
        let outgoing = pin!(transmit(&mut write, conn, &link, &post));
        match select(pin!(link.until_told()), select(incoming, outgoing)).await {
            Either::Left((how, _)) => Ok(how),
            Either::Right((Either::Left((closed, _)), _)) => Err(closed),
            Either::Right((Either::Right((never, _)), _)) => match never {},
        }
    };
    let delivers = match ended {
        Ok(how) => how == CloseHow::Finish,
        Err(how) => {
            post.send(Mail::Closed { conn, how });
            // It may have finished only its own direction.
            how == Closed::ByPeer
        }
    };
    match maxima.lingering.try_acquire() {
        Ok(_place) if delivers => linger(&mut read, &mut write, &link).await,
        // Without this the system would still deliver what it has.
        _ => drop(stream.set_zero_linger()),
    }
}

/// Reads until the other end is done.
async fn receive(
    read: &mut ReadHalf<'_>,
    conn: ConnId,
    link: &Link,
    post: &Post,
    bytes_max: usize,
) -> Closed {
    let mut buffer = BytesMut::new();
    loop {
        while link.unread.get() > link.unread_max {
            link.read_more.notified().await;
        }
        // A new one before what is left of this is too little for a read to be worth it.
        if buffer.capacity() < (bytes_max / 4).max(1) {
            buffer.reserve(bytes_max);
        }
        match read.read_buf(&mut buffer).await {
            Ok(0) if link.broken.get() => return Closed::Reset,
            Ok(0) => return Closed::ByPeer,
            Ok(bytes) => {
                link.unread.set(link.unread.get() + bytes + MAIL_BYTES);
                post.send(Mail::Data {
                    conn,
                    data: buffer.split().freeze(),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Closed::Reset,
        }
    }
}

/// There is no such value: a future of this never ends.
enum Never {}

/// Writes what is queued. When that fails the reader still gets what had arrived before, and ends.
async fn transmit(write: &mut WriteHalf<'_>, conn: ConnId, link: &Link, post: &Post) -> Never {
    loop {
        while !link.has_queued() {
            link.send_more.notified().await;
        }
        if link.write_some(write).await.is_err() {
            link.broken.set(true);
            return pending().await;
        }
        if !link.room_posted.replace(true) {
            post.send(Mail::Room { conn });
        }
    }
}

/// Delivers what is queued, then the end. What still comes in is read and dropped: a socket that is
/// closed with unread bytes resets the connection, and what we sent would be lost with it.
async fn linger(read: &mut ReadHalf<'_>, write: &mut WriteHalf<'_>, link: &Link) {
    let flush = async {
        while link.has_queued() {
            link.write_some(write).await?;
        }
        write.shutdown().await
    };
    let drain = async {
        let mut dropped = vec![0; DROPPED_BYTES];
        while read.read(&mut dropped).await.is_ok_and(|bytes| bytes > 0) {}
    };
    // Nobody is left to hear how it ended.
    let _ = tokio::time::timeout(LINGER_MAX, join(flush, drain)).await;
}

//! Owns the host of a client of direct download: resolves, connects, asks, and writes to its disk what comes,
//! as it comes. What to ask and what an answer is worth is decided elsewhere ([`Fetch`]).
//!
//! Invariant: one connection at a time. A piece is taken from the network only when the one before is with the
//! disk, and the network is not read while too much waits: a slow disk slows the server down and breaks
//! nothing. What the disk was told to make durable is at least all but the last `fetch_sync_bytes`.

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tokio::time::Instant;

use super::network::Network;
use super::stream::{ConnStream, StreamHub};
use crate::config::EngineConfig;
use crate::direct::client::{HttpConnection, HttpError, Patience};
use crate::direct::disk::FetchDisk;
use crate::direct::fetch::{After, Fetch, FetchError, Fresh, Worth};
use crate::direct::url::HttpTarget;
use crate::storage::is_full;
use crate::time::Now;

/// What a client did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FetchEvent {
    /// It asks a server, over a connection that is being opened.
    Asked {
        /// Where.
        server: SocketAddr,
        /// First byte that is asked for.
        from: u64,
    },
    /// It was told to ask elsewhere.
    Moved {
        /// Where.
        to: HttpTarget,
    },
    /// An answer brings everything, and there was nothing.
    Began {
        /// Bytes of the file, if the server says so.
        len: Option<u64>,
    },
    /// An answer goes on where it had ended.
    Resumed {
        /// Bytes that were there already.
        from: u64,
        /// Bytes of the file, if known.
        len: Option<u64>,
    },
    /// An answer brings everything, and what was there is dropped.
    StartedOver {
        /// Why.
        why: Fresh,
        /// Bytes that are dropped.
        dropped: u64,
        /// Bytes of the file, if the server says so.
        len: Option<u64>,
    },
    /// Bytes came and are with the disk.
    Received {
        /// How many.
        bytes: u32,
    },
    /// It failed and is tried again.
    Retrying {
        /// Why.
        why: FetchError,
        /// After this time.
        after: Duration,
    },
    /// It is there, whole, under its final name.
    Completed {
        /// Bytes of it.
        len: u64,
    },
    /// It is given up, or the user stopped it; what is there stays.
    Failed {
        /// Why.
        why: FetchError,
    },
}

/// What to fetch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchJob {
    /// The URL as the user gave it: a part is gone on with only under the same one.
    pub url: String,
    /// What it means.
    pub target: HttpTarget,
    /// Its SHA-256, if that is known.
    pub sha256: Option<[u8; 32]>,
    /// Its bytes, if that is known.
    pub len: Option<u64>,
}

/// A file that was fetched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fetched {
    /// Bytes of it.
    pub len: u64,
    /// Bytes that came for it over the network, this time.
    pub received: u64,
}

/// The network as the work on one file and the host's loop share it.
struct Lines<N> {
    net: RefCell<N>,
    hub: RefCell<StreamHub>,
}

impl<N: Network> Lines<N> {
    fn connect(&self, to: SocketAddr) -> ConnStream {
        let conn = self.net.borrow_mut().connect(to);
        self.hub.borrow_mut().open(conn)
    }

    /// Runs `work` beside the host's loop.
    async fn drive<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|cx| {
            {
                let (mut net, mut hub) = (self.net.borrow_mut(), self.hub.borrow_mut());
                // A client has no use for anything that is not of its own connections.
                while hub.poll_network(&mut *net, cx).is_ready() {}
            }
            let polled = work.as_mut().poll(cx);
            self.hub.borrow_mut().pump(&mut *self.net.borrow_mut(), cx);
            polled
        })
        .await
    }
}

type Observer = Box<dyn FnMut(Now, FetchEvent)>;

/// A client on one host. It fetches one file after the other.
pub struct Fetcher<N: Network> {
    lines: Lines<N>,
    config: EngineConfig,
    rng: ChaCha8Rng,
    epoch: Instant,
    observer: RefCell<Observer>,
}

impl<N: Network> fmt::Debug for Fetcher<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher").finish_non_exhaustive()
    }
}

impl<N: Network> Fetcher<N> {
    /// A client. Its limits are the fields of `config` that begin with `fetch_`; its time counts from `epoch`;
    /// the jitter of its pauses comes from `rng`; `observer` hears of everything it does.
    pub fn new(
        net: N,
        config: EngineConfig,
        rng: ChaCha8Rng,
        epoch: Instant,
        observer: impl FnMut(Now, FetchEvent) + 'static,
    ) -> Fetcher<N> {
        let hub = StreamHub::patient(config.fetch_unread_max);
        Fetcher {
            lines: Lines {
                net: RefCell::new(net),
                hub: RefCell::new(hub),
            },
            config,
            rng,
            epoch,
            observer: RefCell::new(Box::new(observer)),
        }
    }

    /// Fetches one file to a disk, unless `stop` comes first; then what is there is made durable.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn fetch<D: FetchDisk>(
        &mut self,
        job: &FetchJob,
        disk: &mut D,
        stop: impl Future<Output = ()>,
    ) -> Result<Fetched, FetchError> {
        let rng = ChaCha8Rng::seed_from_u64(self.rng.next_u64());
        let work = self.lines.drive(self.work(job, disk, rng));
        let result = {
            let (mut work, mut stop) = (pin!(work), pin!(stop));
            poll_fn(|cx| match stop.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Err(FetchError::Stopped)),
                Poll::Pending => work.as_mut().poll(cx),
            })
            .await
        };
        // The connection, if there is one still, is told that it is over.
        self.lines.drive(std::future::ready(())).await;
        match &result {
            Ok(fetched) => self.tell(FetchEvent::Completed { len: fetched.len }),
            Err(why) => {
                // It failed already: that this fails, too, changes nothing.
                let _ = disk.sync().await;
                self.tell(FetchEvent::Failed { why: why.clone() });
            }
        }
        result
    }

    fn tell(&self, event: FetchEvent) {
        let since = Instant::now().saturating_duration_since(self.epoch);
        (self.observer.borrow_mut())(Now::START.after(since), event);
    }

    async fn work<D: FetchDisk>(
        &self,
        job: &FetchJob,
        disk: &mut D,
        rng: ChaCha8Rng,
    ) -> Result<Fetched, FetchError> {
        let kept = disk.kept().await.map_err(|error| disk_failed(&error))?;
        let target = job.target.clone();
        let mut fetch = Fetch::new(&job.url, target, job.len, kept, &self.config, rng)?;
        let mut received = 0;
        loop {
            let (error, retry_after) = match self.answer(&mut fetch, disk, &mut received).await {
                Ok(true) => break,
                Ok(false) => continue,
                Err(failure) => failure,
            };
            match fetch.failed(error.clone(), retry_after) {
                After::GiveUp(error) => return Err(error),
                After::Pause(after) => {
                    disk.sync().await.map_err(|error| disk_failed(&error))?;
                    let why = error;
                    self.tell(FetchEvent::Retrying { why, after });
                    tokio::time::sleep(after).await;
                }
            }
        }
        if let Some(wanted) = job.sha256 {
            let digest = disk.sha256().await.map_err(|error| disk_failed(&error))?;
            if digest != wanted {
                return Err(FetchError::WrongDigest(digest));
            }
        }
        disk.finish().await.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => FetchError::Exists,
            _ => disk_failed(&error),
        })?;
        Ok(Fetched {
            len: fetch.have(),
            received,
        })
    }

    /// One question and its answer; true when the file is whole.
    async fn answer<D: FetchDisk>(
        &self,
        fetch: &mut Fetch,
        disk: &mut D,
        received: &mut u64,
    ) -> Result<bool, (FetchError, Option<Duration>)> {
        let failed = |error: HttpError| (FetchError::Http(error), None);
        let disk_failed = |error: io::Error| (disk_failed(&error), None);
        let server = self
            .resolve(fetch.target())
            .await
            .map_err(|error| (error, None))?;
        let request = fetch.request();
        let from = request.range.map_or(0, |range| range.first);
        self.tell(FetchEvent::Asked { server, from });
        let patience = Patience {
            head: self.config.fetch_head_timeout,
            silence: self.config.fetch_silence_timeout,
        };
        let stream = self.lines.connect(server);
        let mut connection = HttpConnection::open(stream, patience)
            .await
            .map_err(failed)?;
        let head = connection.send(&request).await.map_err(failed)?;
        let dropped = fetch.have();
        let worth = fetch.judge(&head);
        let len = fetch.origin().len;
        match worth {
            Worth::Complete => return Ok(true),
            Worth::Useless(error, retry_after) => return Err((error, retry_after)),
            Worth::Moved(to) => {
                self.tell(FetchEvent::Moved { to });
                return Ok(false);
            }
            Worth::Behind => self.tell(FetchEvent::Resumed {
                from: fetch.have(),
                len,
            }),
            Worth::FromStart(why) => {
                disk.begin(fetch.origin()).await.map_err(disk_failed)?;
                self.tell(match why {
                    None => FetchEvent::Began { len },
                    Some(why) => FetchEvent::StartedOver { why, dropped, len },
                });
            }
        }
        let mut unsynced = 0;
        while let Some(data) = connection.piece().await.map_err(failed)? {
            let bytes = u32::try_from(data.len()).expect("a piece has a bounded length");
            // Looked at first: what is too much must not get to the disk.
            fetch
                .received(bytes.into())
                .map_err(|error| (error, None))?;
            disk.append(data).await.map_err(disk_failed)?;
            *received += u64::from(bytes);
            self.tell(FetchEvent::Received { bytes });
            unsynced += u64::from(bytes);
            if unsynced >= self.config.fetch_sync_bytes {
                disk.sync().await.map_err(disk_failed)?;
                unsynced = 0;
            }
        }
        fetch.ended().map_err(|error| (error, None))
    }

    /// The address of a host, in bounded time.
    async fn resolve(&self, target: &HttpTarget) -> Result<SocketAddr, FetchError> {
        let resolving = {
            let mut net = self.lines.net.borrow_mut();
            net.resolve(&target.host, target.port)
        };
        match tokio::time::timeout(self.config.fetch_head_timeout, resolving).await {
            Ok(Ok(at)) => Ok(at),
            _ => Err(FetchError::Unresolved),
        }
    }
}

/// A disk's error in our words.
fn disk_failed(error: &io::Error) -> FetchError {
    match is_full(error) {
        true => FetchError::DiskFull(error.to_string()),
        false => FetchError::Disk(error.to_string()),
    }
}

#[cfg(test)]
mod tests;

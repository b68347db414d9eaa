//! Owns a client of direct download: it fetches the content's files one after the other, each from one of
//! the scenario's servers, until it has them all.
//!
//! Invariant: servers are copies of each other, so a part is gone on with wherever it came from; clients
//! begin at the servers in turn, and go on to the next one when one fails for good. As in
//! [`super::engine_peer`], each life is a new client with draws of its own.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use skep_engine::direct::fetch::FetchError;
use skep_engine::direct::path::escaped;
use skep_engine::direct::url::{HttpTarget, http_target};
use skep_engine::node::fetcher::{FetchEvent, FetchJob, Fetcher};
use skep_engine::{EngineConfig, Now};
use tokio::time::Instant;

use super::until_end;
use crate::content::Content;
use crate::disk::Disk;
use crate::file_disk::PartDisk;
use crate::network::{HostNet, Net};
use crate::scenario::plan::{EndKind, HostPlan};
use crate::seed;

/// Port on which every simulated file server listens.
pub const SERVER_PORT: u16 = 80;

/// What a client did.
#[derive(Clone, PartialEq, Eq, Hash, Debug, serde::Serialize)]
#[serde(tag = "event")]
pub enum ClientEvent {
    /// It starts with so many bytes on its disk, of whole files and of parts.
    #[serde(rename = "client-started")]
    Started {
        /// Bytes.
        kept: u64,
    },
    /// It asks a server for a file.
    #[serde(rename = "client-asked")]
    Asked {
        /// Which file of the content.
        file: u32,
        /// Where.
        server: SocketAddr,
        /// First byte that is asked for.
        from: u64,
    },
    /// The answer goes on behind what it has.
    #[serde(rename = "client-resumed")]
    Resumed {
        /// Which file.
        file: u32,
        /// Bytes that were there.
        from: u64,
    },
    /// The answer brings everything, and what was there is dropped.
    #[serde(rename = "client-started-over")]
    StartedOver {
        /// Which file.
        file: u32,
        /// Bytes that are dropped.
        dropped: u64,
        /// Why, in words.
        why: String,
    },
    /// Bytes of a file came and are with the disk.
    #[serde(rename = "client-received")]
    Received {
        /// From whom.
        from: SocketAddr,
        /// How many.
        bytes: u32,
    },
    /// It failed, and tries the same server again.
    #[serde(rename = "client-retrying")]
    Retrying {
        /// Which file.
        file: u32,
        /// Why, in words.
        why: String,
    },
    /// It failed there for good, and goes on to the next server.
    #[serde(rename = "client-gave-up")]
    GaveUp {
        /// Which file.
        file: u32,
        /// Where it failed.
        server: Ipv4Addr,
        /// Why, in words.
        why: String,
    },
    /// Its disk failed, and it waits until that works again.
    #[serde(rename = "client-disk-failed")]
    DiskFailed {
        /// Which file.
        file: u32,
        /// Why, in words.
        why: String,
    },
    /// A file is there under its name.
    #[serde(rename = "client-fetched")]
    Fetched {
        /// Which file.
        file: u32,
    },
    /// Every file is there.
    #[serde(rename = "client-completed")]
    Completed,
}

/// Who hears of what a client does.
pub type ClientObserver = Rc<dyn Fn(Now, ClientEvent)>;

/// What a client needs for all its lives.
#[derive(Clone)]
pub struct DirectClient {
    /// Its plan.
    pub plan: HostPlan,
    /// Its number among the clients of the run.
    pub number: usize,
    /// The master seed.
    pub seed: u64,
    /// The network.
    pub net: Net,
    /// The content, for the names of its files.
    pub content: Arc<Content>,
    /// Its disk.
    pub disk: Rc<RefCell<Disk>>,
    /// The servers, in the order of the file; at least one.
    pub servers: Rc<[Ipv4Addr]>,
    /// It knows what the SHA-256 of each file must be.
    pub digests: bool,
    /// The start of the run.
    pub epoch: Instant,
}

/// The URL of a file at a server.
#[must_use]
pub fn url(content: &Content, file: usize, server: Ipv4Addr) -> String {
    format!("http://{server}/{}", name(content, file))
}

/// What a client notes down as the place of a file: the same for all servers.
#[must_use]
pub fn name(content: &Content, file: usize) -> String {
    let parts: Vec<String> = content.files[file]
        .path
        .iter()
        .map(|part| escaped(part).to_string())
        .collect();
    parts.join("/")
}

impl DirectClient {
    /// Runs one stay, number `life`, until everything is there or the stay ends by plan. Returns how it
    /// ended, if by plan.
    pub async fn stay(
        &self,
        life: usize,
        end: Option<(Now, EndKind)>,
        tell: ClientObserver,
    ) -> Option<EndKind> {
        let net = self.net.attach(self.plan.ip);
        let work = self.fetch_all(net, life, tell);
        // Whether the user ends it or it crashes: what was synced is there the next time.
        until_end(&self.net, self.plan.ip, self.epoch, end, work).await
    }

    async fn fetch_all(&self, net: HostNet, life: usize, tell: ClientObserver) {
        let kept = self.disk.borrow_mut().restart();
        tell(self.now(), ClientEvent::Started { kept });
        let stream = |purpose: &str| {
            seed::stream(
                self.seed,
                &format!("client/{}#{life}/{purpose}", self.plan.name),
            )
        };
        let file = Rc::new(std::cell::Cell::new(0));
        let (heard, of) = (Rc::clone(&tell), Rc::clone(&file));
        let server = std::cell::Cell::new(None);
        let observer = move |at: Now, event: FetchEvent| {
            if let Some(event) = translated(event, of.get(), &server) {
                heard(at, event);
            }
        };
        let config = EngineConfig::clone(&self.plan.engine);
        let pause = config.fetch_retry_max;
        let mut fetcher = Fetcher::new(net, config, stream("fetch"), self.epoch, observer);
        let mut server = self.number % self.servers.len();
        for number in 0..self.content.files.len() {
            file.set(u32::try_from(number).expect("files are bounded"));
            if self.disk.borrow().has_file(number) {
                continue;
            }
            let mut failed = 0;
            while let Err(why) = self.fetch(&mut fetcher, number, server).await {
                if let FetchError::Disk(why) | FetchError::DiskFull(why) = why {
                    // No server's fault: its user starts it again when the disk works.
                    let file = file.get();
                    tell(self.now(), ClientEvent::DiskFailed { file, why });
                    Disk::well(&self.disk).await;
                    continue;
                }
                if matches!(why, FetchError::WrongDigest(_)) {
                    // Nobody can tell which bytes are wrong: its user deletes the part.
                    let dropped = self.disk.borrow_mut().drop_file(number);
                    let (file, why) = (file.get(), why.to_string());
                    tell(self.now(), ClientEvent::StartedOver { file, dropped, why });
                }
                let gave_up = ClientEvent::GaveUp {
                    file: file.get(),
                    server: self.servers[server],
                    why: why.to_string(),
                };
                tell(self.now(), gave_up);
                server = (server + 1) % self.servers.len();
                failed += 1;
                // All have failed: its user waits a while.
                if failed % self.servers.len() == 0 {
                    tokio::time::sleep(pause).await;
                }
            }
            let fetched = ClientEvent::Fetched { file: file.get() };
            tell(self.now(), fetched);
        }
        tell(self.now(), ClientEvent::Completed);
    }

    async fn fetch(
        &self,
        fetcher: &mut Fetcher<HostNet>,
        file: usize,
        server: usize,
    ) -> Result<(), FetchError> {
        let target: HttpTarget =
            http_target(&url(&self.content, file, self.servers[server])).expect("our own address");
        let job = FetchJob {
            url: name(&self.content, file),
            target,
            sha256: self.digests.then(|| self.content.file_sha256(file)),
            len: Some(self.content.files[file].len),
        };
        let mut disk = PartDisk::open(Rc::clone(&self.disk), file);
        let never = std::future::pending();
        fetcher.fetch(&job, &mut disk, never).await.map(|_| ())
    }

    fn now(&self) -> Now {
        Now::START.after(Instant::now().duration_since(self.epoch))
    }
}

/// The engine's event in our words; `server` is the one that was asked last.
fn translated(
    event: FetchEvent,
    file: u32,
    server: &std::cell::Cell<Option<SocketAddr>>,
) -> Option<ClientEvent> {
    Some(match event {
        FetchEvent::Asked { server: at, from } => {
            server.set(Some(at));
            ClientEvent::Asked {
                file,
                server: at,
                from,
            }
        }
        FetchEvent::Resumed { from, .. } => ClientEvent::Resumed { file, from },
        FetchEvent::StartedOver { why, dropped, .. } => ClientEvent::StartedOver {
            file,
            dropped,
            why: format!("{why:?}"),
        },
        FetchEvent::Received { bytes } => ClientEvent::Received {
            from: server.get()?,
            bytes,
        },
        FetchEvent::Retrying { why, .. } => ClientEvent::Retrying {
            file,
            why: why.to_string(),
        },
        // Told by those who know what comes next.
        FetchEvent::Moved { .. }
        | FetchEvent::Began { .. }
        | FetchEvent::Completed { .. }
        | FetchEvent::Failed { .. } => return None,
    })
}

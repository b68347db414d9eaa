//! Owns a fetch without a network: sources that answer as their kind does, and what became of it.
//!
//! Invariants: after the end nothing follows; drafts are never more than the configuration allows.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use sha1::{Digest, Sha1};

use super::super::*;
use crate::wire::handshake::FAST;
use crate::wire::metadata::{MetadataMessage, metadata_block};

pub(super) const SIZE: usize = 16 * 1024 * 4 + 77;
pub(super) const BLOCKS: u32 = 5;
/// The id under which sources take `ut_metadata`.
pub(super) const THEIR_ID: u8 = 9;

pub(super) fn info() -> Bytes {
    Bytes::from((0..SIZE).map(|n| (n * 31 % 251) as u8).collect::<Vec<_>>())
}

pub(super) fn addr(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 6881))
}

/// What a source does with requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Honest,
    /// Wrong bytes of the right size.
    Liar,
    /// Wrong bytes in one block only.
    LiarOfOne(u32),
    /// Another size, and bytes for it.
    WrongSize(u32),
    /// Another size than it claimed.
    Inconsistent,
    Silent,
    Rejects,
    /// Two answers, then it is gone.
    Leaves,
}

pub(super) struct Source {
    pub(super) kind: Kind,
    pub(super) conn: ConnId,
    pub(super) answers: u32,
}

pub(super) struct Rig {
    pub(super) fetch: MetadataFetch,
    pub(super) now: Now,
    pub(super) sources: BTreeMap<u8, Source>,
    /// Requests that wait for an answer, oldest first.
    pub(super) asked: Vec<(u8, u32)>,
    pub(super) dialled: Vec<SocketAddr>,
    pub(super) announced: Vec<AnnounceEvent>,
    pub(super) events: Vec<Event>,
    pub(super) closed: Vec<ConnId>,
    pub(super) left: bool,
    pub(super) slots: u32,
}

impl Rig {
    pub(super) fn new(change: impl FnOnce(&mut EngineConfig)) -> Rig {
        let mut config = EngineConfig::default();
        change(&mut config);
        let fetch = MetadataFetch::new(FetchSetup {
            config,
            info_hash: InfoHash(Sha1::digest(info()).into()),
            peer_id: PeerId([100; 20]),
            port: 6881,
            tiers: vec![1],
            rng: ChaCha8Rng::seed_from_u64(1),
        });
        let mut rig = Rig {
            fetch,
            now: Now::START,
            sources: BTreeMap::new(),
            asked: Vec::new(),
            dialled: Vec::new(),
            announced: Vec::new(),
            events: Vec::new(),
            closed: Vec::new(),
            left: false,
            slots: 0,
        };
        rig.feed(Input::Start);
        rig
    }

    pub(super) fn feed(&mut self, input: Input) {
        self.fetch.handle(input, self.now);
        while let Some(output) = self.fetch.poll_output() {
            assert!(!self.left, "nothing follows the end: {output:?}");
            match output {
                Output::Send { conn, message } => self.on_sent(conn, message),
                Output::Close { conn } => {
                    self.sources.retain(|_, s| s.conn != conn);
                    self.closed.push(conn);
                }
                Output::Connect { addr } => self.dialled.push(addr),
                Output::Announce { request, .. } => self.announced.push(request.event),
                Output::Emit(event) => self.events.push(event),
                Output::Left => self.left = true,
                Output::Handshake { handshake, .. } => {
                    assert!(handshake.speaks(EXTENSIONS) && !handshake.speaks(FAST));
                }
                Output::Abandon { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        let gone: Vec<u8> = self.asked.iter().map(|(n, _)| *n).collect();
        let here = |n: &u8| self.sources.contains_key(n);
        if !gone.iter().all(here) {
            let sources = &self.sources;
            self.asked.retain(|(n, _)| sources.contains_key(n));
        }
        assert!(self.fetch.drafts.len() <= self.fetch.config.metadata_drafts_max as usize);
    }

    pub(super) fn on_sent(&mut self, conn: ConnId, message: Message) {
        let Message::Extended { id, payload } = message else {
            return;
        };
        if id == THEIR_ID
            && let Ok(Some(MetadataMessage::Request { block })) = MetadataMessage::read(&payload)
        {
            let from = self.sources.iter().find(|(_, s)| s.conn == conn);
            let (n, _) = from.expect("it is connected");
            self.asked.push((*n, block));
        }
    }

    pub(super) fn connect(&mut self, n: u8, inbound: bool) -> ConnId {
        let conn = ConnId {
            slot: self.slots,
            generation: 0,
        };
        self.slots += 1;
        self.feed(Input::Connected {
            conn,
            addr: addr(n),
            inbound,
        });
        conn
    }

    pub(super) fn shake(&mut self, conn: ConnId, id: u8) {
        self.feed(Input::Handshake {
            conn,
            handshake: Handshake {
                reserved: reserved(&[EXTENSIONS, FAST]),
                info_hash: self.fetch.info_hash,
                peer_id: PeerId([id; 20]),
            },
        });
    }

    pub(super) fn say(&mut self, conn: ConnId, message: Message) {
        self.feed(Input::Message { conn, message });
    }

    /// A source joins and introduces itself.
    pub(super) fn source(&mut self, n: u8, kind: Kind) {
        let conn = self.connect(n, true);
        if self.closed.contains(&conn) {
            return;
        }
        let answers = 0;
        self.sources.insert(
            n,
            Source {
                kind,
                conn,
                answers,
            },
        );
        self.shake(conn, n);
        let size = match kind {
            Kind::WrongSize(size) => size,
            _ => SIZE as u32,
        };
        let introduction = ExtendedHandshake {
            metadata: Some(THEIR_ID),
            metadata_size: Some(size),
            ..ExtendedHandshake::default()
        };
        self.say(conn, Message::HaveAll);
        self.say(conn, introduction.message());
    }

    /// The request number `at` is answered, as its source does.
    pub(super) fn answer(&mut self, at: usize) {
        let (n, block) = self.asked.remove(at);
        let source = self.sources.get_mut(&n).expect("asked while connected");
        source.answers += 1;
        let (kind, conn) = (source.kind, source.conn);
        let mut total = match kind {
            Kind::WrongSize(size) => size,
            _ => SIZE as u32,
        };
        let range = metadata_block(total, block).expect("a block that there is");
        let mut data = match kind {
            Kind::WrongSize(_) => vec![1; range.len()],
            _ => info()[range].to_vec(),
        };
        let message = match kind {
            Kind::Silent => return,
            Kind::Rejects => MetadataMessage::Reject { block },
            _ => {
                match kind {
                    Kind::Liar => data.iter_mut().for_each(|byte| *byte = !*byte),
                    Kind::LiarOfOne(n) if n == block => data[3] ^= 1,
                    Kind::Inconsistent => total += 1,
                    _ => {}
                }
                let data = Bytes::from(data);
                MetadataMessage::Data { block, total, data }
            }
        };
        self.say(conn, message.message(METADATA_ID));
        let gone = kind == Kind::Leaves && self.sources.get(&n).is_some_and(|s| s.answers == 2);
        if gone {
            self.sources.remove(&n);
            self.feed(Input::Gone { conn });
        }
    }

    /// Answers in the order that `order` draws, and lets time pass when nobody has anything to say.
    pub(super) fn run(&mut self, mut order: impl FnMut(usize) -> usize, limit: Duration) {
        let end = self.now.after(limit);
        while !self.left && self.now < end {
            let speaks = |(_, (n, _)): &(usize, &(u8, u32))| self.sources[n].kind != Kind::Silent;
            let asked = self.asked.iter().enumerate().filter(speaks);
            let ready: Vec<usize> = asked.map(|(at, _)| at).collect();
            if !ready.is_empty() {
                self.answer(ready[order(ready.len()) % ready.len()]);
                continue;
            }
            let due = self.fetch.poll_timeout();
            if due > end {
                break;
            }
            self.now = self.now.max(due);
            let others: Vec<ConnId> = self.sources.values().map(|s| s.conn).collect();
            for conn in others {
                self.say(conn, Message::KeepAlive);
            }
            self.feed(Input::Timer);
            assert!(
                self.fetch.poll_timeout() > self.now || !self.asked.is_empty(),
                "a timer that was served is due again"
            );
        }
    }

    pub(super) fn banned(&self) -> Vec<u8> {
        let banned = self.events.iter().filter_map(|event| match event {
            Event::Banned { peer, .. } => Some(*peer),
            _ => None,
        });
        let mut banned: Vec<u8> = banned
            .map(|addr| match addr.ip() {
                std::net::IpAddr::V4(ip) => ip.octets()[3],
                std::net::IpAddr::V6(ip) => panic!("{ip}"),
            })
            .collect();
        banned.sort_unstable();
        banned
    }

    pub(super) fn found(&mut self) -> Found {
        assert!(self.left, "still at it after {:?}", self.now);
        let found = self.fetch.take_found().expect("found");
        assert_eq!(found.info, info());
        found
    }
}

pub(super) fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

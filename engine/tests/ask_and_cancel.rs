//! A peer that asks for blocks and cancels them in turn does not fill the queue of a slow disk: the host
//! stops to read from the network. The session forgets what was cancelled, the disk cannot.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use skep_engine::bits::BitSet;
use skep_engine::ids::{BLOCK_BYTES, BlockRange, ConnId, InfoHash, PeerId, PieceIndex};
use skep_engine::metainfo::Geometry;
use skep_engine::node::announcer::{Announcer, AnnouncerSetup};
use skep_engine::node::network::{CloseHow, NetEvent, Network};
use skep_engine::node::peer_host::{PeerHost, PeerHostSetup};
use skep_engine::node::web_seeds::WebSeedsSetup;
use skep_engine::session::torrent::{Rngs, Torrent, TorrentSetup};
use skep_engine::storage::{Known, Storage, StorageEvent};
use skep_engine::wire::{Chunk, Handshake, Message};
use skep_engine::{EngineConfig, choker, picker};
use tokio::sync::mpsc::unbounded_channel;

const CONN: ConnId = ConnId {
    slot: 0,
    generation: 0,
};

/// A network on which everything has happened already.
struct Script(Rc<RefCell<VecDeque<NetEvent>>>);

impl Network for Script {
    fn listen(&mut self, at: SocketAddr) -> io::Result<SocketAddr> {
        Ok(at)
    }
    fn connect(&mut self, _: SocketAddr) -> ConnId {
        panic!("nobody is known")
    }
    fn send(&mut self, _: ConnId, _: impl Into<Chunk>) {}
    fn close(&mut self, _: ConnId, how: CloseHow) {
        panic!("closed: {how:?}")
    }
    fn send_to(&mut self, _: SocketAddr, _: Bytes) {}
    fn poll_event(&mut self, _: &mut Context<'_>) -> Poll<NetEvent> {
        let event = self.0.borrow_mut().pop_front();
        event.map_or(Poll::Pending, Poll::Ready)
    }
}

/// A disk that answers nothing; counts what it is asked for.
struct Stuck(Rc<Cell<u64>>);

impl Storage for Stuck {
    fn read(&mut self, _: u64, range: BlockRange) {
        self.0.set(self.0.get() + u64::from(range.len));
    }
    fn write(&mut self, _: BlockRange, _: Bytes) {}
    fn verify(&mut self, _: PieceIndex, _: bool) {}
    fn finish(&mut self) {}
    fn may_hold_content(&self) -> bool {
        true
    }
    fn known(&self) -> Option<Known> {
        None
    }
    fn set_skipped(&mut self, _: BTreeSet<usize>) {}
    fn poll_event(&mut self, _: &mut Context<'_>) -> Poll<StorageEvent> {
        Poll::Pending
    }
}

fn data(messages: &[Message]) -> NetEvent {
    let mut bytes = BytesMut::new();
    messages
        .iter()
        .for_each(|message| message.encode(&mut bytes));
    NetEvent::Data {
        conn: CONN,
        data: bytes.freeze().into(),
    }
}

fn seed(config: EngineConfig) -> Torrent {
    let rng = |seed| ChaCha8Rng::seed_from_u64(seed);
    Torrent::new(TorrentSetup {
        config: config.into(),
        info_hash: InfoHash([7; 20]),
        geometry: Geometry::new(u64::from(BLOCK_BYTES), BLOCK_BYTES).expect("one piece"),
        have: BitSet::full(1),
        priorities: None,
        padding: Vec::new(),
        private: false,
        info_bytes: Bytes::new(),
        banned: Vec::new(),
        peer_id: PeerId([1; 20]),
        port: 6881,
        tiers: Vec::new(),
        web_seeds: Vec::new(),
        picker: picker::by_name("rarest-first", &picker::Params::new()).expect("known"),
        choker: choker::by_name("tit-for-tat", &picker::Params::new()).expect("known"),
        rngs: Rngs {
            picker: rng(1),
            choker: rng(2),
            contacts: rng(3),
        },
    })
}

#[tokio::test(start_paused = true)]
async fn the_disk_is_not_asked_for_more_than_its_queue_holds() {
    let blocks = 10;
    let config = EngineConfig {
        read_queue_max: blocks * u64::from(BLOCK_BYTES),
        ..EngineConfig::default()
    };
    let handshake = Handshake {
        reserved: [0; 8],
        info_hash: InfoHash([7; 20]),
        peer_id: PeerId([2; 20]),
    };
    let range = BlockRange {
        piece: PieceIndex(0),
        begin: 0,
        len: BLOCK_BYTES,
    };
    let opened = NetEvent::Opened {
        conn: CONN,
        from: ([10, 0, 0, 2], 5).into(),
        inbound: true,
    };
    let greeting = NetEvent::Data {
        conn: CONN,
        data: Chunk::copy(&handshake.encode()),
    };
    let mut events = VecDeque::from([opened, greeting, data(&[Message::Interested])]);
    let told = events.len();
    events.extend((0..1000).map(|_| data(&[Message::Request(range), Message::Cancel(range)])));
    let (events, asked) = (Rc::new(RefCell::new(events)), Rc::new(Cell::new(0)));

    let setup = AnnouncerSetup {
        trackers: Vec::new(),
        epoch: tokio::time::Instant::now(),
        rng: ChaCha8Rng::seed_from_u64(4),
    };
    let (_say, commands) = unbounded_channel();
    let host = PeerHost::new(PeerHostSetup {
        net: Script(Rc::clone(&events)),
        storage: Stuck(Rc::clone(&asked)),
        torrent: seed(config.clone()),
        peers: Vec::new(),
        geometry: Geometry::new(u64::from(BLOCK_BYTES), BLOCK_BYTES).expect("one piece"),
        epoch: setup.epoch,
        announcer: Announcer::new(setup, &config),
        web_seeds: WebSeedsSetup::default(),
        config: config.clone(),
        seed_for: None,
        commands,
        observer: Box::new(|_, _| {}),
    });
    let ran = tokio::time::timeout(Duration::from_secs(1), host.run()).await;
    assert!(ran.is_err(), "it seeds until it is told to leave");
    assert_eq!(asked.get(), config.read_queue_max);
    let taken = told + usize::try_from(blocks).expect("few");
    assert_eq!(events.borrow().len(), told + 1000 - taken, "the rest waits");
}

//! Owns the loop of one host with one peer: takes the next fact from the network, the disk, the
//! trackers, the user or the clock, feeds the session, and carries out what it decides.
//!
//! Invariants: the session is drained after every fact; time and the trackers have their turn,
//! however much comes from outside.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use crate::config::EngineConfig;
use crate::ids::{ConnId, PieceIndex};
use crate::metainfo::{Geometry, Priority};
use crate::prefetch;
use crate::session::event::Event;
use crate::session::scratch::Scratch;
use crate::session::torrent::{Input, Output, StorageFailure, Torrent};
use crate::storage::{Storage, StorageEvent};
use crate::time::Now;
use crate::tracker::announce::{Answer, PeerAddr, Question};
use crate::wire::MessageCounts;

use super::alarm::Alarm;
use super::announcer::{Announcer, Told};
use super::bell::Bell;
use super::network::{Coming, NetEvent, Network};
use super::recheck::Recheck;
use super::web_seeds::{WebSeeds, WebSeedsSetup};
use super::whereabouts::Whereabouts;
use super::wires::{Unsent, Wires};

/// What a user may tell a running peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Leave the swarm: announce `stopped`, close the connections.
    Leave,
    /// Hash every verified piece once more. What is not there any more is served no more; it is
    /// fetched again while something is missing, but finished files are not written to.
    Recheck,
    /// Leave the swarm for a while: announce `stopped`, close the connections, keep what is there.
    Pause,
    /// Go on after a pause, or after the disk failed: it may have room again.
    Resume,
    /// Want this from now on.
    Want {
        /// One per piece.
        pieces: Vec<Priority>,
        /// Numbers of the files that are not wanted.
        skipped: BTreeSet<usize>,
    },
}

/// Who hears of every event of a host: traces, checks and reports hang on here, and nowhere else.
pub type Observer = Box<dyn FnMut(Now, &Event)>;

/// What a host needs beside its session.
pub struct PeerHostSetup<N, S> {
    /// The network.
    pub net: N,
    /// The disk.
    pub storage: S,
    /// The session, not started.
    pub torrent: Torrent,
    /// Peers that are known already.
    pub peers: Vec<PeerAddr>,
    /// The sizes of its torrent.
    pub geometry: Geometry,
    /// Its talk with the trackers, which it numbers as the session does.
    pub announcer: Announcer,
    /// Its web seeds, which it numbers as the session does.
    pub web_seeds: WebSeedsSetup,
    /// The session's numbers, of which the host heeds those that bound buffers.
    pub config: EngineConfig,
    /// The moment that the session calls 0.
    pub epoch: Instant,
    /// How long to stay after the content is complete; `None`: until told to leave.
    pub seed_for: Option<Duration>,
    /// What the user says.
    pub commands: UnboundedReceiver<Command>,
    /// Who hears of every event.
    pub observer: Observer,
}

/// Of one value, and the largest of those that could say instead that there is no host: so that is said where the
/// host begins, and not in a line of memory of its own.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Front {
    Host,
}

/// One host with one peer.
#[repr(C)]
pub struct PeerHost<N, S> {
    // What every wake-up looks at lies together, before the rest: in a swarm of thousands a host's memory is
    // cold whenever it is woken.
    front: Front,
    /// When this wake-up began: everything that it does happens then.
    now: Now,
    leave_at: Now,
    disk_queue_max: u64,
    read_queue_max: u64,
    /// Bytes that the disk was asked for and has not read yet.
    reading: u64,
    commanded: Bell,
    alarm: Alarm,
    leaving: bool,
    left: bool,
    net: N,
    wires: Wires,
    storage: S,
    observer: Observer,
    torrent: Torrent,
    announcer: Announcer,
    web_seeds: WebSeeds,
    recheck: Recheck,
    seed_for: Option<Duration>,
    commands: UnboundedReceiver<Command>,
    peers: Vec<PeerAddr>,
    /// Where lies what leads to the host.
    task: usize,
}

/// Lines of a host that most wake-ups look at.
const HOST_LINES: usize = 16;
/// Facts handled in one wake-up before other tasks get their turn.
const FACTS_PER_WAKE: u32 = 512;

/// What hosts fill and empty again within a wake-up: those of a thread have it in turn.
struct Lists {
    session: Scratch,
    unsent: Unsent,
}

impl Lists {
    const NONE: Lists = Lists {
        session: Scratch::NONE,
        unsent: Unsent::new(),
    };
}

thread_local! {
    static LISTS: Cell<Lists> = const { Cell::new(Lists::NONE) };
}

/// A host that runs. Not an `async fn`: its state would lie behind the host, in memory that is as cold.
#[must_use = "a host hears of nothing unless it is polled"]
pub struct Running<N, S>(Option<PeerHost<N, S>>);

impl<N: Network, S: Storage> Running<N, S> {
    /// Asks for what the next turn looks at. Where hosts are many, each does so before its turn, and others have a turn
    /// in between. `task`: where lies what leads to this. Returns whether a block comes in that turn, or one may go.
    pub fn prefetch(&mut self, task: usize) -> bool {
        let Some(host) = &mut self.0 else {
            return false;
        };
        host.task = task;
        host.prefetch()
    }

    /// As [`Running::prefetch`], once that is there: asks for what it leads to.
    pub fn prefetch_lists(&self) {
        if let Some(host) = &self.0 {
            host.prefetch_lists();
        }
    }
}

impl<N: Network + Unpin, S: Storage + Unpin> Future for Running<N, S> {
    type Output = Torrent;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Torrent> {
        let host = self.0.as_mut().expect("not polled after its end");
        ready!(host.on_shared_lists(|host| host.poll(cx)));
        let host = self.0.take().expect("it was there");
        Poll::Ready(host.torrent)
    }
}

impl<N: Network, S: Storage> PeerHost<N, S> {
    /// A host whose network listens already.
    pub fn new(setup: PeerHostSetup<N, S>) -> PeerHost<N, S> {
        PeerHost {
            front: Front::Host,
            net: setup.net,
            storage: setup.storage,
            torrent: setup.torrent,
            peers: setup.peers,
            wires: Wires::new(
                setup.geometry.bitfield_bytes(),
                setup.config.extended_bytes_max,
            ),
            announcer: setup.announcer,
            web_seeds: WebSeeds::new(setup.web_seeds, setup.geometry, &setup.config),
            disk_queue_max: setup.config.disk_queue_max.saturating_mul(2),
            read_queue_max: setup.config.read_queue_max,
            reading: 0,
            now: Now::START,
            alarm: Alarm::new(setup.epoch),
            task: 0,
            recheck: Recheck::default(),
            leaving: false,
            seed_for: setup.seed_for,
            leave_at: Now::NEVER,
            commanded: Bell::default(),
            commands: setup.commands,
            observer: setup.observer,
            left: false,
        }
    }

    /// Counts the messages that peers send in `messages`, which others may count in too.
    #[must_use]
    pub fn counting(mut self, messages: Rc<MessageCounts>) -> PeerHost<N, S> {
        self.wires.messages = messages;
        self
    }

    /// Starts the session at once; what is returned runs until the peer has left, and gives the session with its
    /// books.
    pub fn run(mut self) -> Running<N, S> {
        self.on_shared_lists(PeerHost::begin);
        Running(Some(self))
    }

    fn begin(&mut self) {
        self.now = self.alarm.time_of(self.net.now());
        if self.torrent.finished() {
            self.plan_departure();
        }
        self.feed(Input::Start);
        let peers = std::mem::take(&mut self.peers);
        if !peers.is_empty() {
            self.feed(Input::Peers(peers));
        }
    }

    /// Does something with the lists that all hosts of this thread share.
    fn on_shared_lists<T>(&mut self, what: impl FnOnce(&mut Self) -> T) -> T {
        let mut lists = LISTS.replace(Lists::NONE);
        self.swap_lists(&mut lists);
        let done = what(self);
        self.swap_lists(&mut lists);
        LISTS.replace(lists);
        done
    }

    fn swap_lists(&mut self, lists: &mut Lists) {
        self.torrent.swap_scratch(&mut lists.session);
        self.wires.swap_unsent(&mut lists.unsent);
    }

    /// Asks for what the next turn looks at, found by what was asked for when the host was woken. Returns whether a
    /// block comes in that turn, or one may go.
    fn prefetch(&self) -> bool {
        let mut carries = false;
        self.net
            .expected(|_, coming| carries |= coming.is_of_blocks());
        if carries {
            self.net.prefetch_answers();
        }
        self.commanded.prefetch();
        self.storage.prefetch();
        prefetch::front(&*self.observer);
        self.announcer.prefetch();
        prefetch::value(&self.web_seeds);
        self.torrent.prefetch_lists();
        carries
    }

    fn prefetch_lists(&self) {
        self.net.expected(|conn, coming| {
            self.wires.prefetch_of(conn);
            if let Some(piece) = self.torrent.prefetch_of(conn, coming) {
                self.storage.prefetch_piece(piece);
            }
        });
    }

    /// Tells the network where the host lies, if that is not where it was.
    fn tell_whereabouts(&mut self) {
        if self.torrent.has_moved() {
            let ([peers, rows], rests) = self.torrent.whereabouts();
            self.net.lies_at(Whereabouts {
                task: self.task,
                host: prefetch::address_of(self),
                host_lines: HOST_LINES,
                conns: [peers, rows, self.wires.address()],
                rests,
            });
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.torrent.prefetch();
        self.announcer.prefetch();
        prefetch::value(&self.web_seeds);
        self.now = self.alarm.time_of(self.net.now());
        if let Some(waker) = self.commanded.rung(cx) {
            let mut cx = Context::from_waker(&waker);
            while !self.left && self.poll_command(&mut cx) {}
        }
        let mut ready = true;
        for _ in 0..FACTS_PER_WAKE {
            ready = self.poll_fact(cx);
            if !ready || self.left {
                break;
            }
        }
        self.wires.flush_all(&mut self.net);
        self.announcer.pump(&mut self.net, cx);
        if !self.web_seeds.is_empty() {
            self.web_seeds.pump(&mut self.net, cx);
        }
        self.tell_whereabouts();
        if self.left {
            return Poll::Ready(());
        }
        if ready {
            // However much comes from outside, time and the trackers have their turn.
            self.poll_announce(cx);
            self.poll_timer(cx);
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Does what the user says next; false when that is nothing.
    fn poll_command(&mut self, cx: &mut Context<'_>) -> bool {
        // Who commands may be gone: then nothing more is said.
        let Poll::Ready(Some(command)) = self.commands.poll_recv(cx) else {
            return false;
        };
        match command {
            Command::Leave => self.feed(Input::Leave),
            Command::Recheck => {
                self.recheck.begin(self.torrent.have(), &mut self.storage);
            }
            Command::Pause => self.feed(Input::Pause),
            Command::Resume => self.feed(Input::Resume),
            Command::Want { pieces, skipped } => {
                self.storage.set_skipped(skipped);
                self.feed(Input::Prioritise(pieces));
            }
        }
        true
    }

    /// Handles the next fact; false when there is none. The order is fixed.
    fn poll_fact(&mut self, cx: &mut Context<'_>) -> bool {
        if let Poll::Ready(event) = self.storage.poll_event(cx) {
            self.on_storage(event);
            return true;
        }
        // A disk that is far behind slows the other ends down instead of filling memory.
        // Who leaves has no connections left but the trackers'.
        let behind =
            self.torrent.unwritten() >= self.disk_queue_max || self.reading >= self.read_queue_max;
        let seeded = !self.web_seeds.is_empty();
        if seeded
            && !behind
            && let Poll::Ready(input) = self.web_seeds.poll(&mut self.net, cx)
        {
            self.feed(input);
            return true;
        }
        let full = behind || seeded && self.web_seeds.is_full(cx);
        if (!full || self.leaving)
            && let Poll::Ready(event) = self.net.poll_event(cx)
        {
            self.on_net(event);
            return true;
        }
        self.poll_announce(cx) || self.poll_timer(cx)
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let due = self.torrent.poll_timeout().min(self.leave_at);
        if !self.alarm.poll(due, self.now, cx) {
            return false;
        }
        if self.leave_at <= self.now {
            self.leave_at = Now::NEVER;
            self.feed(Input::Leave);
        } else {
            self.feed(Input::Timer);
        }
        true
    }

    fn poll_announce(&mut self, cx: &mut Context<'_>) -> bool {
        let Poll::Ready(told) = self.announcer.poll(&mut self.net, cx) else {
            return false;
        };
        match told {
            Told::Resent { tracker } => {
                (self.observer)(self.now, &Event::AnnounceResent { tracker });
            }
            Told::Result(result) => {
                let reply = result.map(|answer| match answer {
                    Answer::Announced(reply) => reply,
                    Answer::Scraped(_) => unreachable!("a session announces, it does not scrape"),
                });
                self.feed(Input::announced(reply));
            }
        }
        true
    }

    fn on_storage(&mut self, event: StorageEvent) {
        let failed = |error: std::io::Error| StorageFailure(error.to_string());
        match event {
            StorageEvent::Read {
                token,
                range,
                result,
            } => {
                let conn = conn_of(token);
                self.reading -= u64::from(range.len);
                self.feed(Input::BlockRead {
                    conn,
                    range,
                    result: result.map_err(failed),
                });
            }
            StorageEvent::Verified(Ok(verified))
                if self.recheck.answered(verified.piece, &mut self.storage) =>
            {
                if !verified.good {
                    self.lose(verified.piece);
                }
            }
            StorageEvent::Verified(Ok(verified)) => self.feed(Input::PieceVerified(verified)),
            StorageEvent::Written {
                range,
                result: Ok(()),
            } => self.feed(Input::BlockWritten { range }),
            StorageEvent::Finished(Ok(())) | StorageEvent::Skipped(Ok(())) => {}
            StorageEvent::Written {
                result: Err(error), ..
            }
            | StorageEvent::Finished(Err(error))
            | StorageEvent::Skipped(Err(error))
            | StorageEvent::Verified(Err(error)) => self.feed(Input::StorageFailed(failed(error))),
        }
    }

    fn lose(&mut self, piece: PieceIndex) {
        if self.torrent.finished() {
            let pieces = self.torrent.have().len() as usize;
            self.feed(Input::Prioritise(vec![Priority::Skip; pieces]));
        }
        self.feed(Input::PieceLost { piece });
    }

    fn on_net(&mut self, event: NetEvent) {
        let Some(event) = self.announcer.on_event(&mut self.net, event) else {
            return;
        };
        let Some(event) = self.web_seeds.on_event(event) else {
            return;
        };
        let from = match &event {
            NetEvent::Data { conn, data } => {
                self.torrent.prefetch_peer(*conn, Coming::Data(data));
                Some(*conn)
            }
            NetEvent::Room { conn, .. } => {
                self.torrent.prefetch_peer(*conn, Coming::Room);
                None
            }
            _ => None,
        };
        let mut next = self.wires.on_event(event);
        while let Some(input) = next {
            self.feed(input);
            next = from.and_then(|conn| self.wires.next_input(conn));
        }
    }

    /// Feeds one fact and carries out what follows.
    fn feed(&mut self, input: Input) {
        let now = self.now;
        if matches!(input, Input::Leave) {
            // Who leaves does not wait for a tracker longer than for any answer.
            self.announcer.hurry();
        }
        self.leaving |= matches!(input, Input::Leave);
        self.torrent.handle(input, now);
        while let Some(output) = self.torrent.poll_output() {
            self.carry_out(output, now);
        }
    }

    fn carry_out(&mut self, output: Output, now: Now) {
        let Some(output) = self.wires.carry_out(output, &mut self.net) else {
            return;
        };
        match output {
            Output::ReadBlock { conn, range } => {
                self.reading += u64::from(range.len);
                self.storage.read(token_of(conn), range);
            }
            Output::WriteBlock { range, data } => self.storage.write(range, data),
            Output::VerifyPiece { piece, digests } => self.storage.verify(piece, digests),
            Output::Finish => self.storage.finish(),
            Output::FindWebSeed { seed } => self.web_seeds.find(&mut self.net, seed),
            Output::Fetch { seed, fetch, range } => self.web_seeds.fetch(seed, fetch, range),
            Output::StopFetch { seed, fetch } => self.web_seeds.stop(seed, fetch),
            Output::RestWebSeed { seed } => self.web_seeds.rest(seed),
            Output::Announce { tracker, request } => {
                let question = Question::Announce(request);
                self.announcer.ask(&mut self.net, tracker, question);
            }
            Output::Emit(mut event) => {
                if let Event::Buffered(buffered) = &mut event {
                    buffered.undecoded = self.wires.undecoded_max;
                }
                if matches!(event, Event::Completed | Event::Finished) {
                    self.plan_departure();
                }
                (self.observer)(now, &event);
            }
            Output::Left => self.left = true,
            Output::Handshake { .. }
            | Output::Send { .. }
            | Output::Connect { .. }
            | Output::Abandon { .. }
            | Output::Close { .. } => unreachable!("the wires took it"),
        }
    }

    fn plan_departure(&mut self) {
        if let Some(stay) = self.seed_for {
            self.leave_at = self.now.after(stay);
        }
    }
}

/// The storage's name for a connection.
fn token_of(conn: ConnId) -> u64 {
    u64::from(conn.generation) << 32 | u64::from(conn.slot)
}

fn conn_of(token: u64) -> ConnId {
    let part = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).expect("32 bits");
    ConnId {
        slot: part(token),
        generation: part(token >> 32),
    }
}

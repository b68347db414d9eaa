//! Owns the driver of several sessions that talk to each other.
//!
//! A small swarm without a network: messages arrive in order after a fixed delay, an uplink sends
//! one block after the other at a fixed rate, and the clock jumps from one thing to the next.
//! Invariant: between two that speak the fast extension nothing is answered that was not asked, or
//! twice.

use super::*;

use std::collections::BTreeMap;

use crate::config::{Endgame, PartialFirst, RateLimit};
use crate::metainfo::Priority;
use crate::picker::{Params, by_name};

pub(super) const DELAY: Duration = Duration::from_millis(20);
/// Bytes per second of each uplink.
pub(super) const RATE: u64 = 400_000;

/// What happens at a member at some moment.
pub(super) enum Fact {
    Feed(Input),
    /// So many bytes of a connection left the uplink.
    Left(ConnId, u64),
}

/// The other end of a connection.
#[derive(Clone, Copy)]
pub(super) struct Link {
    pub(super) to: usize,
    pub(super) conn: ConnId,
}

pub(super) struct Member {
    pub(super) torrent: Torrent,
    pub(super) disk: Disk,
    pub(super) links: BTreeMap<ConnId, Link>,
    pub(super) queued: BTreeMap<ConnId, u64>,
    pub(super) uplink_free: Now,
    pub(super) completed: Option<Now>,
    pub(super) sent: u64,
    pub(super) fast: bool,
}

pub(super) struct Swarm {
    pub(super) members: Vec<Member>,
    pub(super) facts: BTreeMap<(Now, u64), (usize, Fact)>,
    pub(super) order: u64,
    pub(super) now: Now,
    pub(super) steps: u32,
    /// Requests without an answer yet, by who asked and whom, where both speak the fast extension.
    pub(super) owed: BTreeMap<(usize, usize), Vec<BlockRange>>,
}

/// What a swarm is made of.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    pub(super) total: u64,
    pub(super) piece_bytes: u32,
    pub(super) seed: u64,
    pub(super) picker: &'static str,
    pub(super) partial_first: PartialFirst,
    pub(super) endgame: Endgame,
    pub(super) leechers: u8,
    /// Who speaks the fast extension, and who the extension protocol: a bit per member.
    pub(super) fast: u8,
    pub(super) extended: u8,
    pub(super) allowed_fast: u32,
    /// Bytes per second that each may send and ask for; 0: any.
    pub(super) upload_limit: u64,
    pub(super) download_limit: u64,
    /// The second block of the content is padding.
    pub(super) padded: bool,
    pub(super) trouble: Trouble,
}

/// What happens in the middle of a download.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trouble {
    Nothing,
    /// The last leecher wants nothing but the first piece, and later everything.
    ChangesItsMind,
    /// The seed loses its first piece once somebody else has it.
    SeedLosesPiece,
    /// The disk of the last leecher fails and works again.
    DiskFails,
}

impl Recipe {
    pub(super) fn member(&self, n: u8) -> Member {
        let mut plan = Plan::sized(self.total, self.piece_bytes);
        if n == 0 {
            plan = plan.seed();
        }
        plan = plan.config(|c| {
            c.partial_first = self.partial_first;
            c.endgame = self.endgame;
            c.fast = self.fast >> n & 1 == 1;
            // Of a lost piece only they can be told who speak extensions.
            let told = self.trouble == Trouble::SeedLosesPiece;
            c.extensions = told || self.extended >> n & 1 == 1;
            c.allowed_fast = self.allowed_fast;
            // Nobody dials here.
            c.pex = false;
            // Nobody dials here, so who parted would be missed afterwards.
            c.close_seed_to_seed = self.trouble == Trouble::Nothing;
            c.upload_limit = RateLimit(self.upload_limit);
            c.download_limit = RateLimit(self.download_limit);
        });
        let rng = |purpose: u64| {
            ChaCha8Rng::seed_from_u64(self.seed ^ (u64::from(n) << 8) ^ (purpose << 32))
        };
        let mut setup = plan.setup();
        setup.peer_id = PeerId([n + 1; 20]);
        let mut disk = Disk::new(plan.geometry, &plan.have);
        if self.padded {
            let end = self.total.min(32768);
            setup.padding = std::iter::once(end.min(16384)..end).collect();
            let bytes = end.min(16384) as usize..end as usize;
            disk.written[bytes.clone()].copy_from_slice(&disk.content[bytes]);
        }
        setup.picker = by_name(self.picker, &Params::new()).expect("known");
        setup.rngs = Rngs {
            picker: rng(1),
            choker: rng(2),
            contacts: rng(3),
        };
        Member {
            disk,
            fast: plan.config.fast,
            torrent: Torrent::new(setup),
            links: BTreeMap::new(),
            queued: BTreeMap::new(),
            uplink_free: Now::START,
            completed: None,
            sent: 0,
        }
    }

    /// One seed and the leechers, everybody connected to everybody.
    pub(super) fn swarm(&self) -> Swarm {
        let mut swarm = Swarm {
            members: (0..=self.leechers).map(|n| self.member(n)).collect(),
            facts: BTreeMap::new(),
            order: 0,
            now: Now::START,
            steps: 0,
            owed: BTreeMap::new(),
        };
        let n = swarm.members.len();
        for member in 0..n {
            swarm.feed(member, Input::Start);
        }
        for a in 0..n {
            for b in a + 1..n {
                swarm.connect(a, b);
            }
        }
        swarm
    }
}

impl Swarm {
    pub(super) fn later(&mut self, at: Now, member: usize, fact: Fact) {
        self.order += 1;
        self.facts.insert((at, self.order), (member, fact));
    }

    pub(super) fn connect(&mut self, from: usize, to: usize) {
        let slot = |n: usize| u32::try_from(n).expect("few members");
        let conn = |to: usize| ConnId {
            slot: slot(to),
            generation: 0,
        };
        for (me, other, inbound) in [(from, to, false), (to, from, true)] {
            let link = Link {
                to: other,
                conn: conn(me),
            };
            self.members[me].links.insert(conn(other), link);
            let addr = addr(u8::try_from(other + 1).expect("few members"));
            let conn = conn(other);
            self.feed(
                me,
                Input::Connected {
                    conn,
                    addr,
                    inbound,
                },
            );
        }
    }

    pub(super) fn feed(&mut self, member: usize, input: Input) {
        self.members[member].torrent.handle(input, self.now);
        while let Some(output) = self.members[member].torrent.poll_output() {
            self.carry_out(member, output);
        }
    }

    pub(super) fn carry_out(&mut self, me: usize, output: Output) {
        let now = self.now;
        let member = &mut self.members[me];
        match output {
            Output::Handshake { conn, handshake } => {
                if let Some(Link { to, conn }) = member.links.get(&conn).copied() {
                    let input = Input::Handshake { conn, handshake };
                    self.later(now.after(DELAY), to, Fact::Feed(input));
                }
            }
            Output::Send { conn, message } => self.send(me, conn, message),
            Output::Close { conn } => {
                if let Some(Link { to, conn: theirs }) = member.links.remove(&conn) {
                    let at = member.uplink_free.max(now).after(DELAY);
                    self.later(at, to, Fact::Feed(Input::Gone { conn: theirs }));
                }
            }
            Output::ReadBlock { conn, range } => {
                let result = Ok(member.disk.read(range));
                let input = Input::BlockRead {
                    conn,
                    range,
                    result,
                };
                self.later(now.after(ms(1)), me, Fact::Feed(input));
            }
            Output::WriteBlock { range, data } => {
                member.disk.write(range, &data);
                self.later(now, me, Fact::Feed(Input::BlockWritten { range }));
            }
            Output::VerifyPiece { piece, digests } => {
                let verified = member.disk.verify(piece, digests);
                assert!(verified.good, "nobody lies here");
                self.later(
                    now.after(ms(1)),
                    me,
                    Fact::Feed(Input::PieceVerified(verified)),
                );
            }
            Output::Emit(event) => match event {
                Event::AuditFailed { .. } | Event::Banned { .. } => panic!("{event:?}"),
                Event::Completed => {
                    // But for the seed, which loses a piece.
                    let before = member.completed.replace(now);
                    assert!(me == 0 || before.is_none());
                    assert_eq!(member.disk.written, member.disk.content);
                }
                _ => {}
            },
            Output::Finish => {}
            Output::FindWebSeed { .. }
            | Output::Fetch { .. }
            | Output::StopFetch { .. }
            | Output::RestWebSeed { .. }
            | Output::Connect { .. }
            | Output::Abandon { .. }
            | Output::Announce { .. }
            | Output::Left => {
                panic!("nobody dials, announces or leaves here")
            }
        }
    }

    /// A message takes its turn at the uplink and arrives after the delay.
    pub(super) fn send(&mut self, me: usize, conn: ConnId, message: Message) {
        let now = self.now;
        let member = &mut self.members[me];
        let Some(link) = member.links.get(&conn).copied() else {
            return;
        };
        let bytes = message.wire_len();
        let to = link.to;
        let member_fast = member.fast;
        if member_fast && self.members[to].fast {
            self.book(me, to, &message);
        }
        let member = &mut self.members[me];
        if let Message::Piece { data, .. } = &message {
            member.sent += data.len() as u64;
        }
        *member.queued.entry(conn).or_default() += bytes;
        let time = Duration::from_nanos(bytes * 1_000_000_000 / RATE);
        let done = member.uplink_free.max(now).after(time);
        member.uplink_free = done;
        self.later(done, me, Fact::Left(conn, bytes));
        let input = Input::Message {
            conn: link.conn,
            message,
        };
        self.later(done.after(DELAY), link.to, Fact::Feed(input));
    }

    /// Keeps the books of one message between two that speak the fast extension.
    pub(super) fn book(&mut self, from: usize, to: usize, message: &Message) {
        if let Message::Request(range) = message {
            self.owed.entry((from, to)).or_default().push(*range);
        }
        if let Some(range) = speakers::answer(message) {
            let owed = self.owed.entry((to, from)).or_default();
            let at = owed.iter().position(|r| *r == range);
            owed.remove(at.expect("one answer to each request"));
        }
    }

    /// Every request over a link that still stands has had its answer.
    pub(super) fn all_answered(&self) {
        for ((from, to), owed) in &self.owed {
            let stands = self.members[*from].links.values().any(|l| l.to == *to);
            assert!(
                !stands || owed.is_empty(),
                "{from} waits for {to}: {owed:?}"
            );
        }
    }

    /// Lets what happens in the middle of a download happen.
    pub(super) fn suffer(&mut self, trouble: Trouble) {
        let last = self.members.len() - 1;
        let pieces = self.members[0].disk.geometry.pieces as usize;
        let pause = |swarm: &mut Swarm, s| {
            let end = swarm.now.after(secs(s));
            while swarm.step(end) {}
            swarm.now = end;
        };
        match trouble {
            Trouble::Nothing => {}
            Trouble::ChangesItsMind => {
                let mut wanted = vec![Priority::Skip; pieces];
                wanted[0] = Priority::High;
                self.feed(last, Input::Prioritise(wanted));
                pause(self, 30);
                assert!(self.members[last].torrent.finished(), "{}", self.stalled());
                self.feed(last, Input::Prioritise(vec![Priority::Normal; pieces]));
            }
            Trouble::SeedLosesPiece => {
                let piece = PieceIndex(0);
                while !self.members[1].torrent.have().contains(piece) {
                    assert!(self.now < Now::START.after(secs(60)), "{}", self.stalled());
                    pause(self, 1);
                }
                self.feed(0, Input::PieceLost { piece });
            }
            Trouble::DiskFails => {
                pause(self, 1);
                let failure = StorageFailure("no space".to_owned());
                self.feed(last, Input::StorageFailed(failure));
                pause(self, 1);
                self.feed(last, Input::Resume);
            }
        }
    }

    /// The next thing; false when `end` comes first.
    pub(super) fn step(&mut self, end: Now) -> bool {
        let timers = self.members.iter().map(|m| m.torrent.poll_timeout());
        let (timer, at) = (0..)
            .zip(timers)
            .map(|(n, due)| (due, n))
            .min()
            .expect("members");
        let fact = self
            .facts
            .first_key_value()
            .map_or(Now::NEVER, |(k, _)| k.0);
        if timer.min(fact) > end {
            return false;
        }
        self.steps += 1;
        if timer < fact {
            self.now = self.now.max(timer);
            self.feed(at, Input::Timer);
            let due = self.members[at].torrent.poll_timeout();
            assert!(due > self.now, "a timer that was served is due again");
            return true;
        }
        let ((when, _), (to, fact)) = self.facts.pop_first().expect("just seen");
        self.now = when;
        match fact {
            Fact::Feed(input) => self.feed(to, input),
            Fact::Left(conn, bytes) => {
                let queued = self.members[to].queued.get_mut(&conn).expect("sent there");
                *queued -= bytes;
                let queued = *queued;
                self.feed(to, Input::SendRoom { conn, queued });
            }
        }
        true
    }

    /// Runs until everybody is complete, then lets what is on its way arrive.
    pub(super) fn run(&mut self, within: Duration) {
        self.run_through(Trouble::Nothing, within);
    }

    pub(super) fn run_through(&mut self, trouble: Trouble, within: Duration) {
        let end = self.now.after(within);
        self.suffer(trouble);
        while !self.members.iter().all(|m| m.torrent.complete()) {
            assert!(
                self.step(end),
                "not complete within {within:?}: {}",
                self.stalled()
            );
        }
        let rest = self.now.after(secs(5));
        while self.step(rest) {}
        self.all_answered();
        for member in &self.members {
            assert_eq!(member.torrent.unwritten(), 0);
        }
    }

    pub(super) fn stalled(&self) -> String {
        let lines = self.members.iter().enumerate().map(|(n, m)| {
            let peers = m.torrent.peers.iter().flatten();
            let peers: Vec<_> = peers
                .map(|p| {
                    (
                        p.addr.ip(),
                        p.unchoked,
                        p.choking_us,
                        p.useful,
                        p.down.open.len(),
                    )
                })
                .collect();
            format!("\n{n}: {} left, {peers:?}", m.torrent.left())
        });
        lines.collect()
    }

    /// What all gained is what all sent, but for what was of no use or never arrived.
    pub(super) fn balance(&self) {
        let gained = self.members.iter().map(|m| m.torrent.totals().gained);
        let gained = gained.sum::<u64>();
        let total = self.members[0].disk.geometry.total;
        assert_eq!(gained, total * (self.members.len() as u64 - 1));
        self.conserved();
    }

    /// What all gained, and what was of no use, others sent, but for what never arrived.
    pub(super) fn conserved(&self) {
        let sum = |f: fn(&Member) -> u64| self.members.iter().map(f).sum::<u64>();
        let gained = sum(|m| m.torrent.totals().gained);
        let wasted = sum(|m| m.torrent.totals().wasted);
        let sent = sum(|m| m.torrent.totals().sent);
        let on_wire = sum(|m| m.sent);
        let total = self.members[0].disk.geometry.total;
        // Blocks for a connection that its end closed meanwhile arrive nowhere.
        assert!(gained + wasted <= on_wire && on_wire <= sent);
        let lost = sent - gained - wasted;
        assert!(
            lost <= total / 10 + 40 * 16384,
            "{lost} bytes lost of {sent}"
        );
    }
}

pub(super) fn recipe() -> Recipe {
    Recipe {
        total: 2_000_000,
        piece_bytes: 65536,
        seed: 1,
        picker: "rarest-first",
        partial_first: PartialFirst::UnlessRarer,
        endgame: Endgame::Bounded,
        leechers: 3,
        fast: 0,
        extended: 0,
        allowed_fast: 0,
        upload_limit: 0,
        download_limit: 0,
        padded: false,
        trouble: Trouble::Nothing,
    }
}

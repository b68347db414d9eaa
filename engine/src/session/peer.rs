//! Owns what a session knows of one connection.
//!
//! Invariant: both directions begin choked and not interested; `useful` is the number of pieces
//! that the peer has and we lack, so interest is `useful > 0` and never recomputed by a scan of
//! messages.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use crate::choker::Terms;
use crate::config::EngineConfig;
use crate::ids::{BlockRange, ConnId, PeerId, PieceIndex};
use crate::prefetch;
use crate::time::Now;

use super::blame::SenderId;
use super::canonical::canonical_priority;
use super::pex::PexTalk;
use super::pipeline::Download;
use super::super_seeding::Hidden;

/// Time's worth of chatter that may come at once.
const CHATTER_AT_ONCE: Duration = Duration::from_secs(10);

/// What a peer said in its extended handshakes (BEP 10).
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Its id for `lt_donthave`; 0: it takes none.
    pub(super) dont_have: u8,
    /// Its id for `ut_metadata`; 0: it takes none.
    pub(super) metadata: u8,
    /// Where it listens.
    pub(super) port: Option<u16>,
    /// It has said what our address is.
    pub(super) our_ip: bool,
}

/// One connection: what nearly every message looks at, one cache line. These lie end to end in the session;
/// the rest lies elsewhere, and is reached as if it lay here.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Peer {
    pub(super) conn: ConnId,
    pub(super) last_received: Now,
    pub(super) last_sent: Now,
    /// Bytes that the network has not taken yet, messages included; saturates.
    backlog: u32,
    /// Which news wait for it; see [`super::news`].
    pub(super) news: u32,
    /// It has wanted nothing since then: it joined, it said so, or we told it of a new piece.
    pub(super) content_from: Now,
    /// Who it is for blame and bans.
    pub(super) sender: SenderId,
    /// Pieces that it has and we lack.
    pub(super) useful: u32,
    /// Its handshake was accepted, or it is a web seed, which needs none.
    active: bool,
    pub(super) am_interested: bool,
    pub(super) choking_us: bool,
    pub(super) interested: bool,
    pub(super) unchoked: bool,
    /// Both ends speak the fast extension.
    pub(super) fast: bool,
    /// A message other than the extended handshake has arrived: no bitfield any more.
    pub(super) greeted: bool,
    /// It wants nothing any more (BEP 21).
    pub(super) upload_only: bool,
    rest: Box<Rest>,
}

/// What few messages look at: in the order in which a block's do, the rare things last.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Rest {
    pub(super) addr: SocketAddr,
    pub(super) down: Download,
    pub(super) up: Upload,
    pub(super) optimistic: bool,
    /// It was choked or unchoked before.
    pub(super) ever_unchoked: bool,
    pub(super) inbound: bool,
    /// It is a web seed: it has everything, and there is nobody who wants or reads anything.
    pub(super) web: bool,
    /// Both ends speak the extension protocol.
    pub(super) extended: bool,
    /// Set by its handshake; before that nothing else counts.
    pub(super) id: Option<PeerId>,
    /// Its canonical priority, and our address that it was computed for.
    rank: Option<(SocketAddr, u32)>,
    pub(super) said: Said,
    /// When interest on either side last changed, or it connected.
    pub(super) interest_changed: Now,
    /// When it was last choked or unchoked, or connected.
    pub(super) choke_changed: Now,
    /// Its place in the queue for a slot; see [`crate::choker::ChokePeer::waiting_since`].
    pub(super) waiting_since: Now,
    pub(super) since: Now,
    pub(super) pex: PexTalk,
    /// When what it said beside payload and news would be what it may say.
    chatter_until: Now,
}

impl Deref for Peer {
    type Target = Rest;

    fn deref(&self) -> &Rest {
        &self.rest
    }
}

impl DerefMut for Peer {
    fn deref_mut(&mut self) -> &mut Rest {
        &mut self.rest
    }
}

/// The upload side of one connection.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Upload {
    /// Requests of the peer that wait here, where choke and cancel can remove them.
    pub(super) queue: VecDeque<BlockRange>,
    /// Bytes handed to the network and not yet drained.
    pub(super) queued_bytes: u64,
    pub(super) reading_bytes: u64,
    /// Payload sent since it was unchoked.
    pub(super) given: u64,
    /// Payload sent in this choke round, to who is unchoked.
    pub(super) sent_now: u64,
    /// What it gets of the bandwidth.
    pub(super) terms: Terms,
    /// How far it is served, where turns are by weight: who is least far is next.
    pub(super) pass: u64,
    /// When the network last took something, or had nothing before.
    pub(super) moved: Now,
    /// Requests refused since the last block was sent, or it was unchoked.
    pub(super) refused: u32,
    /// Blocks being read.
    pub(super) reading: VecDeque<BlockRange>,
    /// Pieces that it may ask for while choked (BEP 6).
    pub(super) allowed: Vec<PieceIndex>,
    /// The last pieces that we suggested.
    pub(super) suggested: VecDeque<PieceIndex>,
    /// It does not know all that we have (BEP 16).
    pub(super) hidden: Option<Box<Hidden>>,
    /// Blocks of metadata sent.
    pub(super) metadata_given: u32,
}

impl Upload {
    /// Whether we have shown the peer other pieces and not this one, if we have it.
    pub(super) fn hides(&self, piece: PieceIndex) -> bool {
        self.hidden.as_ref().is_some_and(|h| !h.shows(piece))
    }
}

impl Peer {
    /// Bytes that the network has not taken yet, messages included.
    pub(super) fn backlog(&self) -> u64 {
        u64::from(self.backlog)
    }

    pub(super) fn set_backlog(&mut self, bytes: u64) {
        self.backlog = u32::try_from(bytes).unwrap_or(u32::MAX);
    }

    /// Where the rest of it lies.
    pub(super) fn rest_address(&self) -> usize {
        prefetch::address_of(&*self.rest)
    }

    pub(super) fn new(
        conn: ConnId,
        addr: SocketAddr,
        inbound: bool,
        now: Now,
        config: &EngineConfig,
    ) -> Peer {
        let rest = Rest {
            addr,
            down: Download::new(now, config),
            up: Upload::default(),
            optimistic: false,
            ever_unchoked: false,
            inbound,
            web: false,
            extended: false,
            id: None,
            said: Said::default(),
            interest_changed: now,
            choke_changed: now,
            waiting_since: now,
            since: now,
            rank: None,
            pex: PexTalk::default(),
            chatter_until: Now::START,
        };
        Peer {
            conn,
            last_received: now,
            last_sent: now,
            backlog: 0,
            news: 0,
            content_from: now,
            sender: SenderId::NOBODY,
            useful: 0,
            active: false,
            am_interested: false,
            choking_us: true,
            interested: false,
            unchoked: false,
            fast: false,
            greeted: false,
            upload_only: false,
            rest: Box::new(rest),
        }
    }

    /// Its handshake was accepted.
    pub(super) fn join(&mut self, id: PeerId) {
        self.active = true;
        self.id = Some(id);
    }

    /// It is no connection, but a web seed.
    pub(super) fn be_web_seed(&mut self) {
        self.active = true;
        self.web = true;
    }

    /// Whether its handshake was accepted; a web seed needs none.
    pub(super) fn active(&self) -> bool {
        self.active
    }

    /// It says something that is neither payload nor news; false when that is too much. `rate`: messages per second in
    /// the long run; 0: there is no limit.
    pub(super) fn bear_chatter(&mut self, rate: u32, now: Now) -> bool {
        if rate == 0 {
            return true;
        }
        let each = Duration::from_secs(1) / rate;
        let until = self.chatter_until.max(now).after(each);
        self.chatter_until = until;
        until.since(now) <= CHATTER_AT_ONCE
    }

    /// Whether payload comes or goes here, or may at any moment.
    pub(super) fn carries(&self) -> bool {
        self.down.gave() || !self.down.open.is_empty() || self.unchoked && self.interested
    }

    /// Its canonical priority for us at this address (BEP 40), which is computed once.
    pub(super) fn rank(&mut self, me: SocketAddr) -> u32 {
        match self.rank {
            Some((to, rank)) if to == me => rank,
            _ => {
                let rank = canonical_priority(me, self.addr);
                self.rank = Some((me, rank));
                rank
            }
        }
    }

    /// Since when nobody has wanted anything here; never, while somebody does, and of web seeds.
    pub(super) fn still_since(&self) -> Now {
        let wanted = self.am_interested || self.interested;
        match self.id.is_some() && !wanted {
            true => self.interest_changed,
            false => Now::NEVER,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_message_looks_at_is_one_cache_line() {
        assert_eq!(size_of::<Option<Peer>>(), 64);
    }

    #[test]
    fn chatter_is_borne_for_ten_seconds_worth_at_once_and_its_rate_afterwards() {
        let conn = ConnId {
            slot: 0,
            generation: 0,
        };
        let addr = "10.0.0.1:1".parse().expect("an address");
        let mut peer = Peer::new(conn, addr, false, Now::START, &EngineConfig::default());
        let at = |ms| Now::START.after(Duration::from_millis(ms));
        let mut borne = |ms, times| {
            (0..times)
                .filter(|_| peer.bear_chatter(100, at(ms)))
                .count()
        };
        assert_eq!(borne(0, 1000), 1000);
        assert_eq!(borne(1000, 100), 100, "as many as have drained");
        assert_eq!(borne(1500, 51), 50);
        assert_eq!(borne(60_000, 2000), 1000, "silence saves up no more");
        assert!((0..100_000).all(|_| peer.bear_chatter(0, at(60_000))));
    }
}

//! Owns what a tracker remembers: the peers of every swarm, and who is told of whom.
//!
//! Invariant: the views of a swarm agree: each peer stands in `peers`, once in the list of its kind
//! and address family at `Peer::at`, once in the count of its source, and once in the queue of
//! expiries at `Peer::queued`. Memory is bounded by [`SwarmConfig::torrents_max`],
//! [`SwarmConfig::peers_max`] and [`SwarmConfig::peers_total_max`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::announce::{
    AnnounceEvent, AnnounceReply, AnnounceRequest, PeerAddr, Retry, ScrapeCounts,
};
use crate::ids::{InfoHash, PeerId};
use crate::time::Now;

/// The numbers and switches of one tracker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SwarmConfig {
    /// Time between announces that peers are told (field: 30 min). A peer that is silent for twice
    /// as long is forgotten.
    pub interval: Duration,
    /// Shortest time between announces that peers are told (field: 1 min).
    pub interval_min: Duration,
    /// Who announces more often than every `interval_min` in the long run is told of nobody in between (ours; most
    /// trackers only say it). By peer id, with [`EARLY_MAX`] announces to spare, for answers that got lost and for
    /// `completed`; a new id is somebody new, within `peers_source_max`.
    pub hold_floor: bool,
    /// Peers in one answer at most (chihaya: 50).
    pub answer_max: u32,
    /// Seeds are told of leechers only.
    pub leechers_only_to_seeds: bool,
    /// Peers remembered per torrent; further ones are refused.
    pub peers_max: usize,
    /// Peers remembered in all; further ones are refused. Each takes about 400 bytes, so the default
    /// is about 80 MB.
    pub peers_total_max: usize,
    /// Peers of one torrent from one source, an IPv4 address or an IPv6 /64; further ones are refused.
    /// High enough for the clients behind one address translator.
    pub peers_source_max: u32,
    /// Torrents remembered; further ones are refused. One without peers is forgotten after
    /// twice the interval, and with it how often it was completed.
    pub torrents_max: usize,
    /// The torrents that are tracked; `None`: all that are announced.
    pub allowed: Option<BTreeSet<InfoHash>>,
    /// How long a UDP connection id is accepted (BEP 15: 2 min).
    pub connection_valid: Duration,
}

/// Announces of one peer that may come before their time and are answered in full.
pub const EARLY_MAX: u32 = 3;

impl Default for SwarmConfig {
    fn default() -> SwarmConfig {
        SwarmConfig {
            interval: Duration::from_secs(1800),
            interval_min: Duration::from_secs(60),
            hold_floor: true,
            answer_max: 50,
            leechers_only_to_seeds: true,
            peers_max: 10_000,
            peers_total_max: 200_000,
            peers_source_max: 100,
            torrents_max: 10_000,
            allowed: None,
            connection_valid: Duration::from_secs(120),
        }
    }
}

/// Which peers an answer can carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Families {
    /// With IPv4 and with IPv6 addresses: HTTP, which has a list for each (BEP 7).
    Both,
    /// Of the asker's family: UDP, where it says which kind of list it is (BEP 15).
    Askers,
}

/// Why an announce is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// The `failure reason`.
    pub reason: &'static str,
    /// Whether trying again may help (BEP 31).
    pub retry: Retry,
}

impl From<&'static str> for Refusal {
    fn from(reason: &'static str) -> Refusal {
        Refusal {
            reason,
            retry: Retry::Unsaid,
        }
    }
}

/// Pause that is asked for when there is no room: some of it is free again by then.
const FULL_RETRY: Retry = Retry::After(Duration::from_secs(5 * 60));

const fn full(reason: &'static str) -> Refusal {
    Refusal {
        reason,
        retry: FULL_RETRY,
    }
}

/// What a peer is to the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Leecher = 0,
    Seed = 1,
}

#[derive(Clone, Debug)]
struct Peer {
    addr: SocketAddr,
    key: u32,
    /// Number of its list, and position in it.
    list: usize,
    at: usize,
    /// No `completed` counts any more: it did already, or the peer was complete when it came.
    completed: bool,
    expires: Now,
    /// When all answers in full that it got would have been due, one per `interval_min`.
    answered: Now,
    /// Its place in the queue of expiries; never later than `expires`.
    queued: Now,
}

#[derive(Clone, Default, Debug)]
struct Swarm {
    peers: BTreeMap<PeerId, Peer>,
    /// Ids by [`Kind`] and family, in no order: the ground for choosing at random.
    lists: [Vec<PeerId>; 4],
    /// Peers by [`source`].
    sources: BTreeMap<IpAddr, u32>,
    completions: u32,
    expires: Now,
}

/// The list of a peer.
fn list_of(kind: Kind, ip: IpAddr) -> usize {
    2 * kind as usize + usize::from(ip.is_ipv6())
}

/// Whoever has one address has all of these: an IPv4 address, the /64 of an IPv6 one.
fn source(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX)).into(),
    }
}

/// All swarms of one tracker.
#[derive(Clone, Debug)]
pub struct Swarms {
    config: SwarmConfig,
    swarms: BTreeMap<InfoHash, Swarm>,
    /// One entry per peer, and one (without id) per torrent.
    expiries: BTreeSet<(Now, InfoHash, Option<PeerId>)>,
}

impl Swarms {
    /// A tracker that knows nobody.
    #[must_use]
    pub fn new(config: SwarmConfig) -> Swarms {
        Swarms {
            config,
            swarms: BTreeMap::new(),
            expiries: BTreeSet::new(),
        }
    }

    /// Takes one announce from a peer that speaks from `from`, and answers it: up to the wanted
    /// number of peers that the answer can carry, chosen at random, never the one that asks.
    ///
    /// # Errors
    /// What to answer with: the torrent is not tracked, the tracker is full, the peer id belongs to
    /// another address with another key, or nobody can listen at port 0.
    pub fn announce(
        &mut self,
        request: &AnnounceRequest,
        from: IpAddr,
        families: Families,
        now: Now,
        rng: &mut ChaCha8Rng,
    ) -> Result<AnnounceReply, Refusal> {
        self.expire(now);
        if request.port == 0 {
            return Err("port must be 1 to 65535".into());
        }
        let allowed = self.config.allowed.as_ref();
        if allowed.is_some_and(|allowed| !allowed.contains(&request.info_hash)) {
            return Err(Refusal {
                reason: "this tracker does not serve this torrent",
                retry: Retry::Never,
            });
        }
        let known = self.swarms.get(&request.info_hash);
        let peer = known.and_then(|s| s.peers.get(&request.peer_id));
        if peer.is_some_and(|p| p.addr.ip() != from && p.key != request.key) {
            return Err("this peer id is in use at another address".into());
        }
        let seed = request.left == 0;
        let mut peers = Vec::new();
        if request.event == AnnounceEvent::Stopped {
            self.remove(request.info_hash, request.peer_id);
        } else {
            if peer.is_none() {
                self.admit(request, from, now)?;
            }
            self.refresh(request, from, now);
            let in_time = self.in_time(request, now);
            if let Some(swarm) = self.swarms.get(&request.info_hash).filter(|_| in_time) {
                let seeds_too = !(seed && self.config.leechers_only_to_seeds);
                let wanted = request.wanted.min(self.config.answer_max) as usize;
                let only = (families == Families::Askers).then_some(from.is_ipv6());
                peers = swarm.choose(request.peer_id, wanted, seeds_too, only, rng);
            }
        }
        let counts = self.scrape(request.info_hash).unwrap_or_default();
        Ok(AnnounceReply {
            interval: Some(self.config.interval),
            interval_min: Some(self.config.interval_min),
            peers,
            complete: Some(counts.complete),
            incomplete: Some(counts.incomplete),
            tracker_id: None,
            warning: None,
            external_ip: None,
        })
    }

    /// Counts of one torrent as last announced; `None` when nobody ever announced it. Changes
    /// nothing: who is due to be forgotten is forgotten at the next announce or [`Swarms::expire`].
    #[must_use]
    pub fn scrape(&self, torrent: InfoHash) -> Option<ScrapeCounts> {
        let swarm = self.swarms.get(&torrent)?;
        let count = |kind: Kind| {
            let both = &swarm.lists[2 * kind as usize..][..2];
            u32::try_from(both.iter().map(Vec::len).sum::<usize>()).unwrap_or(u32::MAX)
        };
        Some(ScrapeCounts {
            complete: count(Kind::Seed),
            downloaded: swarm.completions,
            incomplete: count(Kind::Leecher),
        })
    }

    /// Forgets the peers and torrents that were silent for twice the interval; costs as much as
    /// there is to forget. Every announce does it.
    pub fn expire(&mut self, now: Now) {
        while let Some(&(queued, torrent, id)) = self.expiries.first() {
            if queued > now {
                break;
            }
            self.expiries.pop_first();
            let Some(swarm) = self.swarms.get_mut(&torrent) else {
                continue;
            };
            // The entry was made at an older announce: put it where it belongs now.
            let expires = match id {
                Some(id) => swarm.peers.get_mut(&id).map(|peer| {
                    peer.queued = peer.expires;
                    peer.expires
                }),
                None => Some(swarm.expires),
            };
            match (expires, id) {
                (Some(later), _) if later > now => {
                    self.expiries.insert((later, torrent, id));
                }
                (_, Some(id)) => swarm.take(id).map_or((), drop),
                (_, None) => {
                    self.swarms.remove(&torrent);
                }
            }
        }
    }

    /// Peers remembered, of all torrents.
    #[must_use]
    pub fn peers(&self) -> usize {
        // One entry per peer and one per torrent.
        self.expiries.len() - self.swarms.len()
    }

    fn deadline(&self, now: Now) -> Now {
        now.after(self.config.interval.saturating_mul(2))
    }

    /// Makes a place for a peer that is not known.
    fn admit(&mut self, request: &AnnounceRequest, from: IpAddr, now: Now) -> Result<(), Refusal> {
        let (torrent, id) = (request.info_hash, request.peer_id);
        let expires = self.deadline(now);
        if self.peers() >= self.config.peers_total_max {
            return Err(full("the tracker has no room for another peer"));
        }
        if !self.swarms.contains_key(&torrent) {
            if self.swarms.len() >= self.config.torrents_max {
                return Err(full("the tracker has no room for another torrent"));
            }
            self.expiries.insert((expires, torrent, None));
        }
        let swarm = self.swarms.entry(torrent).or_default();
        // A torrent that the first refusal leaves without peers is forgotten like any other.
        if swarm.peers.is_empty() {
            swarm.expires = swarm.expires.max(expires);
        }
        if swarm.peers.len() >= self.config.peers_max {
            let reason = "the tracker has no room for another peer of this torrent";
            return Err(full(reason));
        }
        let of_source = swarm.sources.get(&source(from)).copied().unwrap_or(0);
        if of_source >= self.config.peers_source_max {
            return Err(full("too many peers of this torrent at this address"));
        }
        swarm.sources.insert(source(from), of_source + 1);
        let seed = request.left == 0;
        let kind = if seed { Kind::Seed } else { Kind::Leecher };
        let list = list_of(kind, from);
        let peer = Peer {
            addr: SocketAddr::new(from, request.port),
            key: request.key,
            list,
            at: swarm.lists[list].len(),
            completed: seed && request.event != AnnounceEvent::Completed,
            expires,
            answered: now,
            queued: expires,
        };
        swarm.lists[list].push(id);
        swarm.peers.insert(id, peer);
        self.expiries.insert((expires, torrent, Some(id)));
        Ok(())
    }

    /// Writes down what a known peer just said.
    fn refresh(&mut self, request: &AnnounceRequest, from: IpAddr, now: Now) {
        let expires = self.deadline(now);
        let id = request.peer_id;
        let Some(swarm) = self.swarms.get_mut(&request.info_hash) else {
            return;
        };
        swarm.expires = expires;
        let seed = request.left == 0;
        let kind = if seed { Kind::Seed } else { Kind::Leecher };
        swarm.set_list(id, list_of(kind, from));
        let Some(peer) = swarm.peers.get_mut(&id) else {
            return;
        };
        let before = source(peer.addr.ip());
        if before != source(from) {
            leave_source(&mut swarm.sources, before);
            *swarm.sources.entry(source(from)).or_default() += 1;
        }
        peer.addr = SocketAddr::new(from, request.port);
        peer.key = request.key;
        peer.expires = expires;
        if seed && request.event == AnnounceEvent::Completed && !peer.completed {
            peer.completed = true;
            swarm.completions = swarm.completions.saturating_add(1);
        }
    }

    /// Whether a peer is told of others now: it did not announce too often so far. Then this answer counts.
    fn in_time(&mut self, request: &AnnounceRequest, now: Now) -> bool {
        let floor = self.config.interval_min;
        let swarm = self.swarms.get_mut(&request.info_hash);
        let Some(peer) = swarm.and_then(|s| s.peers.get_mut(&request.peer_id)) else {
            return true;
        };
        let early = self.config.hold_floor && peer.answered > now.after(floor * EARLY_MAX);
        if !early {
            peer.answered = peer.answered.max(now).after(floor);
        }
        !early
    }

    fn remove(&mut self, torrent: InfoHash, id: PeerId) {
        let swarm = self.swarms.get_mut(&torrent);
        if let Some(peer) = swarm.and_then(|s| s.take(id)) {
            self.expiries.remove(&(peer.queued, torrent, Some(id)));
        }
    }
}

impl Swarm {
    fn take(&mut self, id: PeerId) -> Option<Peer> {
        let peer = self.peers.remove(&id)?;
        self.unlist(peer.list, peer.at);
        leave_source(&mut self.sources, source(peer.addr.ip()));
        Some(peer)
    }

    fn unlist(&mut self, list: usize, at: usize) {
        let list = &mut self.lists[list];
        list.swap_remove(at);
        let moved = list.get(at).and_then(|moved| self.peers.get_mut(moved));
        if let Some(moved) = moved {
            moved.at = at;
        }
    }

    fn set_list(&mut self, id: PeerId, list: usize) {
        let Some(peer) = self.peers.get(&id).filter(|p| p.list != list) else {
            return;
        };
        self.unlist(peer.list, peer.at);
        let at = self.lists[list].len();
        self.lists[list].push(id);
        if let Some(peer) = self.peers.get_mut(&id) {
            (peer.list, peer.at) = (list, at);
        }
    }

    /// Up to `wanted` peers at random but never `asker`; leechers only unless `seeds_too`; those with
    /// IPv6 addresses or those without, if `v6` says.
    fn choose(
        &self,
        asker: PeerId,
        wanted: usize,
        seeds_too: bool,
        v6: Option<bool>,
        rng: &mut ChaCha8Rng,
    ) -> Vec<PeerAddr> {
        let seeds_from = 2 * Kind::Seed as usize;
        let carried = |list: &usize| {
            (seeds_too || *list < seeds_from) && v6.is_none_or(|v6| v6 == (list % 2 == 1))
        };
        let lists: Vec<usize> = (0..self.lists.len()).filter(carried).collect();
        let total: usize = lists.iter().map(|list| self.lists[*list].len()).sum();
        // The lists count as one, and the asker's position is left out of it.
        let own = self.peers.get(&asker).and_then(|peer| {
            let place = lists.iter().position(|list| *list == peer.list)?;
            let before = lists[..place].iter().map(|list| self.lists[*list].len());
            Some(before.sum::<usize>() + peer.at)
        });
        let others = total - usize::from(own.is_some());
        let mut chosen = Vec::new();
        for at in sample(others, wanted, rng) {
            let mut at = at + usize::from(own.is_some_and(|own| at >= own));
            let id = lists.iter().find_map(|list| {
                let list = &self.lists[*list];
                let id = list.get(at);
                at = at.wrapping_sub(list.len());
                id
            });
            if let Some((id, peer)) = id.and_then(|id| self.peers.get_key_value(id)) {
                chosen.push(PeerAddr {
                    addr: peer.addr,
                    id: Some(*id),
                });
            }
        }
        chosen
    }
}

fn leave_source(sources: &mut BTreeMap<IpAddr, u32>, source: IpAddr) {
    if let Some(peers) = sources.get_mut(&source) {
        *peers -= 1;
        if *peers == 0 {
            sources.remove(&source);
        }
    }
}

/// `wanted` different numbers below `total`, in random order: the first steps of a Fisher-Yates
/// shuffle that remembers only what it moved, so its cost does not grow with `total`.
fn sample(total: usize, wanted: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut moved = BTreeMap::new();
    let mut chosen = Vec::new();
    for i in 0..wanted.min(total) {
        let j = rng.random_range(i..total);
        let here = moved.get(&i).copied().unwrap_or(i);
        chosen.push(moved.insert(j, here).unwrap_or(j));
    }
    chosen
}

#[cfg(test)]
mod tests;

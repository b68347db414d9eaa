//! Owns what a tracker remembers: the peers of every swarm, and who is told of whom.
//!
//! Invariant: the three views of a swarm agree: each peer stands in `peers`, once in the list of
//! its kind at `Peer::at`, and once in the queue of expiries at `Peer::expiry`. Memory is bounded by
//! [`SwarmConfig::torrents_max`] and [`SwarmConfig::peers_max`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::announce::{AnnounceEvent, AnnounceReply, AnnounceRequest, PeerAddr, ScrapeCounts};
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
    /// Peers in one answer at most (chihaya: 50).
    pub answer_max: u32,
    /// Seeds are told of leechers only.
    pub leechers_only_to_seeds: bool,
    /// Peers remembered per torrent; further ones are refused.
    pub peers_max: usize,
    /// Torrents remembered; further ones are refused. One without peers is forgotten after
    /// twice the interval, and with it how often it was completed.
    pub torrents_max: usize,
}

impl Default for SwarmConfig {
    fn default() -> SwarmConfig {
        SwarmConfig {
            interval: Duration::from_secs(1800),
            interval_min: Duration::from_secs(60),
            answer_max: 50,
            leechers_only_to_seeds: true,
            peers_max: 10_000,
            torrents_max: 1000,
        }
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
    kind: Kind,
    /// Position in the list of its kind.
    at: usize,
    /// No `completed` counts any more: it did already, or the peer was complete when it came.
    completed: bool,
    expires: Now,
    /// Its place in the queue of expiries; never later than `expires`.
    queued: Now,
}

#[derive(Clone, Default, Debug)]
struct Swarm {
    peers: BTreeMap<PeerId, Peer>,
    /// Ids by [`Kind`], in no order: the ground for choosing at random.
    lists: [Vec<PeerId>; 2],
    completions: u32,
    expires: Now,
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
    /// number of peers, chosen at random, never the one that asks.
    ///
    /// # Errors
    /// The `failure reason` to answer with: the tracker is full, or the peer id belongs to another
    /// address with another key.
    pub fn announce(
        &mut self,
        request: &AnnounceRequest,
        from: IpAddr,
        now: Now,
        rng: &mut ChaCha8Rng,
    ) -> Result<AnnounceReply, &'static str> {
        self.expire(now);
        let known = self.swarms.get(&request.info_hash);
        let peer = known.and_then(|s| s.peers.get(&request.peer_id));
        if peer.is_some_and(|p| p.addr.ip() != from && p.key != request.key) {
            return Err("this peer id is in use at another address");
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
            if let Some(swarm) = self.swarms.get(&request.info_hash) {
                let seeds_too = !(seed && self.config.leechers_only_to_seeds);
                let wanted = request.wanted.min(self.config.answer_max) as usize;
                peers = swarm.choose(request.peer_id, wanted, seeds_too, rng);
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
        })
    }

    /// Counts of one torrent as last announced; `None` when nobody ever announced it. Changes
    /// nothing: who is due to be forgotten is forgotten at the next announce or [`Swarms::expire`].
    #[must_use]
    pub fn scrape(&self, torrent: InfoHash) -> Option<ScrapeCounts> {
        let swarm = self.swarms.get(&torrent)?;
        let count =
            |kind: Kind| u32::try_from(swarm.lists[kind as usize].len()).unwrap_or(u32::MAX);
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
        self.swarms.values().map(|s| s.peers.len()).sum()
    }

    fn deadline(&self, now: Now) -> Now {
        now.after(self.config.interval.saturating_mul(2))
    }

    /// Makes a place for a peer that is not known.
    fn admit(
        &mut self,
        request: &AnnounceRequest,
        from: IpAddr,
        now: Now,
    ) -> Result<(), &'static str> {
        let (torrent, id) = (request.info_hash, request.peer_id);
        let expires = self.deadline(now);
        if !self.swarms.contains_key(&torrent) {
            if self.swarms.len() >= self.config.torrents_max {
                return Err("the tracker has no room for another torrent");
            }
            self.expiries.insert((expires, torrent, None));
        }
        let swarm = self.swarms.entry(torrent).or_default();
        if swarm.peers.len() >= self.config.peers_max {
            return Err("the tracker has no room for another peer of this torrent");
        }
        let seed = request.left == 0;
        let kind = if seed { Kind::Seed } else { Kind::Leecher };
        let peer = Peer {
            addr: SocketAddr::new(from, request.port),
            key: request.key,
            kind,
            at: swarm.lists[kind as usize].len(),
            completed: seed && request.event != AnnounceEvent::Completed,
            expires,
            queued: expires,
        };
        swarm.lists[kind as usize].push(id);
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
        swarm.set_kind(id, if seed { Kind::Seed } else { Kind::Leecher });
        let Some(peer) = swarm.peers.get_mut(&id) else {
            return;
        };
        peer.addr = SocketAddr::new(from, request.port);
        peer.key = request.key;
        peer.expires = expires;
        if seed && request.event == AnnounceEvent::Completed && !peer.completed {
            peer.completed = true;
            swarm.completions = swarm.completions.saturating_add(1);
        }
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
        self.unlist(peer.kind, peer.at);
        Some(peer)
    }

    fn unlist(&mut self, kind: Kind, at: usize) {
        let list = &mut self.lists[kind as usize];
        list.swap_remove(at);
        let moved = list.get(at).and_then(|moved| self.peers.get_mut(moved));
        if let Some(moved) = moved {
            moved.at = at;
        }
    }

    fn set_kind(&mut self, id: PeerId, kind: Kind) {
        let Some(peer) = self.peers.get(&id).filter(|p| p.kind != kind) else {
            return;
        };
        self.unlist(peer.kind, peer.at);
        let list = &mut self.lists[kind as usize];
        let at = list.len();
        list.push(id);
        if let Some(peer) = self.peers.get_mut(&id) {
            (peer.kind, peer.at) = (kind, at);
        }
    }

    /// Up to `wanted` peers at random but never `asker`; leechers only unless `seeds_too`.
    fn choose(
        &self,
        asker: PeerId,
        wanted: usize,
        seeds_too: bool,
        rng: &mut ChaCha8Rng,
    ) -> Vec<PeerAddr> {
        let leechers = &self.lists[Kind::Leecher as usize];
        let seeds = &self.lists[Kind::Seed as usize];
        let total = leechers.len() + if seeds_too { seeds.len() } else { 0 };
        // Both lists count as one, and the asker's position is left out of it.
        let own = self.peers.get(&asker).map(|peer| match peer.kind {
            Kind::Leecher => peer.at,
            Kind::Seed => leechers.len() + peer.at,
        });
        let own = own.filter(|own| *own < total);
        let others = total - usize::from(own.is_some());
        let mut chosen = Vec::new();
        for at in sample(others, wanted, rng) {
            let at = at + usize::from(own.is_some_and(|own| at >= own));
            let id = leechers.get(at).or_else(|| seeds.get(at - leechers.len()));
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
mod tests {
    use super::*;
    use AnnounceEvent::{Completed, Periodic, Started, Stopped};
    use rand::SeedableRng;
    use std::net::Ipv4Addr;

    const T: InfoHash = InfoHash([9; 20]);
    const NOBODY: [u16; 0] = [];
    const HOME: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

    const fn at(seconds: u64) -> Now {
        Now(seconds * 1_000_000_000)
    }

    fn id(n: u32) -> PeerId {
        let mut id = [0; 20];
        id[..4].copy_from_slice(&n.to_be_bytes());
        PeerId(id)
    }

    fn says(peer: u32, event: AnnounceEvent, left: u64) -> AnnounceRequest {
        AnnounceRequest {
            info_hash: T,
            peer_id: id(peer),
            port: 1000 + peer as u16,
            uploaded: 0,
            downloaded: 0,
            left,
            event,
            wanted: 1000,
            key: peer,
            tracker_id: None,
            compact: true,
        }
    }

    struct Tracker {
        swarms: Swarms,
        rng: ChaCha8Rng,
    }

    impl Tracker {
        fn new(change: impl FnOnce(&mut SwarmConfig)) -> Tracker {
            let mut config = SwarmConfig::default();
            change(&mut config);
            Tracker {
                swarms: Swarms::new(config),
                rng: ChaCha8Rng::seed_from_u64(1),
            }
        }
        fn hears(
            &mut self,
            request: &AnnounceRequest,
            now: Now,
        ) -> Result<AnnounceReply, &'static str> {
            let reply = self.swarms.announce(request, HOME, now, &mut self.rng);
            self.audit();
            reply
        }
        /// The ports that peer is told of, sorted.
        fn tells(&mut self, peer: u32, event: AnnounceEvent, left: u64) -> Vec<u16> {
            let reply = self.hears(&says(peer, event, left), at(0)).unwrap();
            let mut ports: Vec<_> = reply.peers.iter().map(|p| p.addr.port()).collect();
            ports.sort_unstable();
            ports
        }
        fn counts(&self) -> (u32, u32, u32) {
            let c = self.swarms.scrape(T).unwrap();
            (c.complete, c.downloaded, c.incomplete)
        }
        fn audit(&self) {
            for (torrent, swarm) in &self.swarms.swarms {
                let listed: usize = swarm.lists.iter().map(Vec::len).sum();
                assert_eq!(listed, swarm.peers.len());
                for (id, peer) in &swarm.peers {
                    assert_eq!(swarm.lists[peer.kind as usize][peer.at], *id);
                    let entry = (peer.queued, *torrent, Some(*id));
                    assert!(self.swarms.expiries.contains(&entry));
                }
            }
            let all = self.swarms.peers() + self.swarms.swarms.len();
            assert_eq!(self.swarms.expiries.len(), all);
        }
    }

    #[test]
    fn peers_learn_of_each_other_but_never_of_themselves() {
        let mut t = Tracker::new(|_| {});
        assert_eq!(t.tells(1, Started, 5), NOBODY);
        assert_eq!(t.tells(2, Started, 5), [1001]);
        assert_eq!(t.tells(3, Started, 0), [1001, 1002]);
        assert_eq!(t.tells(1, Periodic, 5), [1002, 1003]);
        assert_eq!(t.counts(), (1, 0, 2));
    }

    #[test]
    fn seeds_are_told_of_leechers_only_unless_switched_off() {
        for (switch, told) in [(true, vec![1001]), (false, vec![1001, 1002])] {
            let mut t = Tracker::new(|c| c.leechers_only_to_seeds = switch);
            t.tells(1, Started, 5);
            t.tells(2, Started, 0);
            assert_eq!(t.tells(3, Started, 0), told);
        }
    }

    #[test]
    fn a_peer_that_stops_is_gone_and_is_told_nothing() {
        let mut t = Tracker::new(|_| {});
        t.tells(1, Started, 5);
        t.tells(2, Started, 5);
        assert_eq!(t.tells(1, Stopped, 5), NOBODY);
        assert_eq!(t.tells(2, Periodic, 5), NOBODY);
        assert_eq!(t.tells(7, Stopped, 5), NOBODY, "a stranger may stop");
        assert_eq!(t.counts(), (0, 0, 1));
    }

    #[test]
    fn completed_counts_once_per_peer_and_not_for_those_complete_at_start() {
        let mut t = Tracker::new(|_| {});
        t.tells(1, Started, 5);
        t.tells(1, Completed, 0);
        t.tells(1, Completed, 0);
        assert_eq!(t.counts(), (1, 1, 0));
        t.tells(2, Started, 0);
        t.tells(2, Completed, 0);
        assert_eq!(t.counts(), (2, 1, 0));
        t.tells(3, Completed, 0);
        assert_eq!(
            t.counts(),
            (3, 2, 0),
            "its earlier announces may have been lost"
        );
        t.tells(4, Completed, 5);
        assert_eq!(
            t.counts(),
            (3, 2, 1),
            "complete with bytes left is not complete"
        );
    }

    #[test]
    fn a_peer_is_forgotten_after_two_intervals_of_silence() {
        let mut t = Tracker::new(|c| c.interval = Duration::from_secs(100));
        t.hears(&says(1, Started, 5), at(0)).unwrap();
        t.hears(&says(2, Started, 5), at(0)).unwrap();
        t.hears(&says(1, Periodic, 5), at(150)).unwrap();
        let told = t.hears(&says(3, Started, 5), at(199)).unwrap();
        assert_eq!(told.peers.len(), 2);
        let told = t.hears(&says(3, Periodic, 5), at(200)).unwrap();
        assert_eq!(told.peers[0].id, Some(id(1)));
        assert_eq!(told.incomplete, Some(2));
        t.swarms.expire(at(349));
        assert_eq!(t.swarms.peers(), 2);
        t.swarms.expire(at(350));
        t.audit();
        assert_eq!(t.swarms.peers(), 1);
        t.swarms.expire(at(400));
        t.audit();
        assert_eq!((t.swarms.peers(), t.swarms.scrape(T)), (0, None));
    }

    #[test]
    fn answers_are_capped_and_every_peer_is_equally_likely() {
        let mut t = Tracker::new(|c| c.answer_max = 10);
        for peer in 0..100 {
            t.hears(&says(peer, Started, u64::from(peer % 2)), at(0))
                .unwrap();
        }
        let mut told = [0; 100];
        for _ in 0..1000 {
            let reply = t
                .swarms
                .announce(&says(5, Periodic, 1), HOME, at(0), &mut t.rng);
            let peers: BTreeSet<_> = reply.unwrap().peers.into_iter().collect();
            assert_eq!(peers.len(), 10);
            peers
                .iter()
                .for_each(|p| told[usize::from(p.addr.port()) - 1000] += 1);
        }
        // Each is told 101 times on average, with a deviation of 9.5.
        assert_eq!(told[5], 0);
        for (peer, times) in told.iter().enumerate().filter(|(peer, _)| *peer != 5) {
            assert!((55..150).contains(times), "peer {peer}: {times}");
        }
        let mut few = says(5, Periodic, 1);
        few.wanted = 3;
        assert_eq!(t.hears(&few, at(0)).unwrap().peers.len(), 3);
    }

    #[test]
    fn the_same_generator_chooses_the_same_peers() {
        let run = || {
            let mut t = Tracker::new(|c| c.answer_max = 5);
            (0..50)
                .map(|peer| t.tells(peer, Started, 1))
                .collect::<Vec<_>>()
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn memory_is_bounded() {
        let mut t = Tracker::new(|c| (c.peers_max, c.torrents_max) = (2, 1));
        t.tells(1, Started, 5);
        t.tells(2, Started, 5);
        let full = Err("the tracker has no room for another peer of this torrent");
        assert_eq!(t.hears(&says(3, Started, 5), at(0)), full);
        assert_eq!(
            t.tells(2, Periodic, 5),
            [1001],
            "who is known stays welcome"
        );
        let mut other = says(1, Started, 5);
        other.info_hash = InfoHash([8; 20]);
        let full = Err("the tracker has no room for another torrent");
        assert_eq!(t.hears(&other, at(0)), full);
        assert_eq!(t.swarms.scrape(other.info_hash), None);
    }

    #[test]
    fn a_peer_id_cannot_be_taken_over_from_elsewhere_without_its_key() {
        let mut t = Tracker::new(|_| {});
        t.tells(1, Started, 5);
        let elsewhere = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 66));
        let mut thief = says(1, Stopped, 5);
        thief.key = 666;
        let said = t.swarms.announce(&thief, elsewhere, at(0), &mut t.rng);
        assert_eq!(said, Err("this peer id is in use at another address"));
        assert_eq!(t.swarms.peers(), 1);
        let moved = says(1, Periodic, 5);
        assert!(
            t.swarms
                .announce(&moved, elsewhere, at(0), &mut t.rng)
                .is_ok()
        );
        t.audit();
        let told = t.hears(&says(2, Started, 5), at(0)).unwrap();
        assert_eq!(told.peers[0].addr.ip(), elsewhere);
    }

    #[test]
    fn samples_are_different_numbers_and_all_when_all_are_wanted() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for total in 0..20 {
            let mut all = sample(total, 99, &mut rng);
            all.sort_unstable();
            assert_eq!(all, (0..total).collect::<Vec<_>>());
        }
    }
}

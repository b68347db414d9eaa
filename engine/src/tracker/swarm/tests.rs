//! What a tracker remembers and tells.

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

#[test]
fn who_announces_too_often_is_told_of_nobody_in_between() {
    let told = |hold_floor: bool| {
        let mut tracker = Tracker::new(|c| c.hold_floor = hold_floor);
        tracker
            .hears(&says(1, AnnounceEvent::Started, 0), at(0))
            .unwrap();
        let mut told = Vec::new();
        for second in 0..=300 {
            let event = match second {
                0 => AnnounceEvent::Started,
                _ => AnnounceEvent::Periodic,
            };
            let reply = tracker.hears(&says(2, event, 5), at(second)).unwrap();
            assert_eq!(reply.complete, Some(1), "it is answered all the same");
            if !reply.peers.is_empty() {
                told.push(second);
            }
        }
        told
    };
    // Three to spare at once, and then one a minute.
    assert_eq!(told(true), [0, 1, 2, 3, 60, 120, 180, 240, 300]);
    assert_eq!(told(false).len(), 301);
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
        let reply = self.from(request, HOME, now);
        self.audit();
        reply
    }
    fn from(
        &mut self,
        request: &AnnounceRequest,
        from: IpAddr,
        now: Now,
    ) -> Result<AnnounceReply, &'static str> {
        let both = Families::Both;
        let reply = self
            .swarms
            .announce(request, from, both, now, &mut self.rng);
        reply.map_err(|refusal| refusal.reason)
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
            let of_sources: u32 = swarm.sources.values().sum();
            assert_eq!(of_sources as usize, swarm.peers.len());
            for (id, peer) in &swarm.peers {
                assert_eq!(swarm.lists[peer.list][peer.at], *id);
                assert_eq!(peer.list % 2 == 1, peer.addr.is_ipv6());
                let entry = (peer.queued, *torrent, Some(*id));
                assert!(self.swarms.expiries.contains(&entry));
            }
        }
        let all: usize = self.swarms.swarms.values().map(|s| s.peers.len()).sum();
        assert_eq!(self.swarms.peers(), all);
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
    // It is asked a thousand times in a moment, which the floor would not have.
    let mut t = Tracker::new(|c| (c.answer_max, c.hold_floor) = (10, false));
    for peer in 0..100 {
        t.hears(&says(peer, Started, u64::from(peer % 2)), at(0))
            .unwrap();
    }
    let mut told = [0; 100];
    for _ in 0..1000 {
        let reply = t.from(&says(5, Periodic, 1), HOME, at(0));
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
    let said = t.from(&thief, elsewhere, at(0));
    assert_eq!(said, Err("this peer id is in use at another address"));
    assert_eq!(t.swarms.peers(), 1);
    let moved = says(1, Periodic, 5);
    assert!(t.from(&moved, elsewhere, at(0)).is_ok());
    t.audit();
    let told = t.hears(&says(2, Started, 5), at(0)).unwrap();
    assert_eq!(told.peers[0].addr.ip(), elsewhere);
}

#[test]
fn peers_in_all_and_peers_of_one_source_are_bounded() {
    let mut t = Tracker::new(|c| (c.peers_total_max, c.peers_source_max) = (3, 2));
    t.tells(1, Started, 5);
    t.tells(2, Started, 5);
    let crowd = Err("too many peers of this torrent at this address");
    assert_eq!(t.hears(&says(3, Started, 5), at(0)), crowd);
    t.tells(2, Stopped, 5);
    t.tells(3, Started, 5);
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    assert!(t.from(&says(4, Started, 5), ip("10.0.0.2"), at(0)).is_ok());
    let full = Err("the tracker has no room for another peer");
    assert_eq!(t.from(&says(5, Started, 5), ip("10.0.0.3"), at(0)), full);
    t.audit();

    let mut t = Tracker::new(|c| c.peers_source_max = 1);
    assert!(
        t.from(&says(1, Started, 5), ip("2001:db8::1"), at(0))
            .is_ok()
    );
    let neighbour = t.from(&says(2, Started, 5), ip("2001:db8::2:1"), at(0));
    assert_eq!(neighbour, crowd, "the same /64");
    assert!(
        t.from(&says(2, Started, 5), ip("2001:db8:0:1::1"), at(0))
            .is_ok()
    );
    t.audit();
}

#[test]
fn refusals_say_whether_trying_again_helps() {
    let mut t = Tracker::new(|c| {
        c.torrents_max = 0;
        c.allowed = Some([T].into());
    });
    let mut refuses = |request: &AnnounceRequest| {
        let (now, both) = (at(0), Families::Both);
        let said = t.swarms.announce(request, HOME, both, now, &mut t.rng);
        said.unwrap_err().retry
    };
    assert_eq!(refuses(&says(1, Started, 5)), FULL_RETRY);
    let mut other = says(1, Started, 5);
    other.info_hash = InfoHash([8; 20]);
    assert_eq!(refuses(&other), Retry::Never, "it is not on the list");
    let mut deaf = says(1, Started, 5);
    deaf.port = 0;
    assert_eq!(refuses(&deaf), Retry::Unsaid);
}

#[test]
fn over_udp_a_peer_is_told_of_its_own_address_family_only() {
    let mut t = Tracker::new(|_| {});
    let six: IpAddr = "2001:db8::1".parse().unwrap();
    for peer in 0..4 {
        let from = if peer % 2 == 0 { HOME } else { six };
        t.from(&says(peer, Started, 5), from, at(0)).unwrap();
        t.audit();
    }
    let mut told = |peer, from, families| {
        let said = says(peer, Periodic, 5);
        let reply = t.swarms.announce(&said, from, families, at(0), &mut t.rng);
        let peers = reply.unwrap().peers;
        let mut ports: Vec<_> = peers.iter().map(|p| p.addr.port()).collect();
        ports.sort_unstable();
        ports
    };
    assert_eq!(told(0, HOME, Families::Askers), [1002]);
    assert_eq!(told(1, six, Families::Askers), [1003]);
    assert_eq!(told(0, HOME, Families::Both), [1001, 1002, 1003]);
    assert_eq!(told(3, six, Families::Both), [1000, 1001, 1002]);
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

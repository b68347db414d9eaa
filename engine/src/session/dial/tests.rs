//! Tests of the book alone; what becomes of a dial is tested with the session.

use super::*;
use proptest::prelude::*;

use crate::ids::ConnId;
use crate::session::peer::Peer;
use crate::session::roll::Roll;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

fn addr(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 6881))
}

fn book(n: u8) -> (DialBook, EngineConfig) {
    let config = EngineConfig::default();
    let mut book = DialBook::default();
    let peers: Vec<_> = (1..=n)
        .map(|n| PeerAddr {
            addr: addr(n),
            id: None,
        })
        .collect();
    book.learn(&peers, PeerId([0; 20]), &config);
    (book, config)
}

fn choose(book: &mut DialBook, now: Now, room: u32, config: &EngineConfig) -> Vec<SocketAddr> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    book.choose(
        now,
        room,
        Wanted::default(),
        &Roll::default(),
        config,
        &mut rng,
    )
}

#[test]
fn failures_back_off_5_10_20_seconds_up_to_ten_minutes() {
    let (mut book, config) = book(1);
    let mut now = Now::START;
    for wait in [5, 10, 20, 40, 80, 160, 320, 600, 600] {
        assert_eq!(choose(&mut book, now, 9, &config), [addr(1)]);
        book.failed(addr(1), now, &config);
        let due = now.after(Duration::from_secs(wait));
        assert_eq!(book.next_due(true, now, &config), due);
        assert_eq!(choose(&mut book, Now(due.0 - 1), 9, &config), []);
        now = due;
    }
}

#[test]
fn who_did_not_answer_twice_comes_after_all_others() {
    let (mut book, config) = book(2);
    for n in [1, 2] {
        book.failed(addr(n), Now::START, &config);
    }
    book.failed(addr(1), Now::START, &config);
    let later = Now::START.after(Duration::from_secs(60));
    assert_eq!(choose(&mut book, later, 1, &config), [addr(2)]);
    assert_eq!(book.hopeful(later), 1);
    assert_eq!(book.hopeful(later.after(HOPELESS_AFTER)), 0);
    assert_eq!(choose(&mut book, later, 1, &config), [addr(1)]);
}

#[test]
fn a_dial_without_answer_is_given_up_after_the_connect_timeout() {
    let (mut book, config) = book(2);
    assert_eq!(choose(&mut book, Now::START, 1, &config).len(), 1);
    let limit = Now::START.after(config.connect_timeout);
    assert_eq!(book.overdue(Now(limit.0 - 1), &config), []);
    assert_eq!(book.overdue(limit, &config).len(), 1);
    assert_eq!(book.dialling(), 0);
}

#[test]
fn dials_are_bounded_and_never_doubled() {
    let (mut book, config) = book(40);
    assert_eq!(
        choose(&mut book, Now::START, 100, &config).len(),
        config.dials_max as usize
    );
    assert_eq!(choose(&mut book, Now::START, 100, &config), []);
}

#[test]
fn one_address_is_not_dialled_on_all_its_ports() {
    let (mut book, config) = book(0);
    let told = |ip: [u8; 4]| {
        (1..=100).map(move |port| PeerAddr {
            addr: SocketAddr::from((ip, port)),
            id: None,
        })
    };
    let victim: Vec<_> = told([10, 0, 0, 1]).collect();
    book.learn(&victim, PeerId([0; 20]), &config);
    let dials = choose(&mut book, Now::START, 100, &config).len();
    assert_eq!(dials, config.connections_per_address as usize);
}

#[test]
fn an_address_has_one_place_however_it_is_written() {
    let (mut book, config) = book(1);
    let mapped = PeerAddr {
        addr: "[::ffff:10.0.0.1]:6881".parse().expect("an address"),
        id: None,
    };
    book.learn(&[mapped], PeerId([0; 20]), &config);
    assert_eq!(choose(&mut book, Now::START, 9, &config), [addr(1)]);
}

#[test]
fn a_full_book_forgets_who_never_answers() {
    let (mut book, mut config) = book(3);
    config.addresses_max = 3;
    let new = [PeerAddr {
        addr: addr(9),
        id: None,
    }];
    book.learn(&new, PeerId([0; 20]), &config);
    assert_eq!(book.contacts.len(), 3, "nobody failed yet");
    choose(&mut book, Now::START, 1, &config);
    let dialled = book.dialled()[0];
    book.failed(dialled, Now::START, &config);
    book.learn(&new, PeerId([0; 20]), &config);
    assert!(book.knows(addr(9)) && !book.knows(dialled));
}

fn hear(book: &mut DialBook, ports: std::ops::Range<u16>, n: u32, c: &EngineConfig) -> u32 {
    let addrs: Vec<_> = ports
        .map(|port| SocketAddr::from(([10, 9, 9, 9], port)))
        .collect();
    let told = addrs.iter().map(|addr| Told {
        addr,
        seed: false,
        id: None,
    });
    book.learn_from_peer(told, SenderId(n), c)
}

#[test]
fn one_peer_does_not_fill_the_book() {
    let (mut book, mut config) = book(1);
    config.pex_contacts_max = 10;
    assert_eq!(hear(&mut book, 0..8, 1, &config), 7, "port 0 is nobody");
    assert_eq!(hear(&mut book, 0..8, 1, &config), 0, "nothing new");
    assert_eq!(hear(&mut book, 100..200, 1, &config), 3);
    assert_eq!(hear(&mut book, 200..300, 2, &config), 10, "another peer");
    assert_eq!(book.contacts.len(), 21);
}

#[test]
fn what_peers_told_makes_room_for_what_trackers_tell_and_never_the_other_way() {
    let (mut book, mut config) = book(2);
    config.addresses_max = 4;
    assert_eq!(hear(&mut book, 1..9, 1, &config), 2);
    let told = |n| PeerAddr {
        addr: addr(n),
        id: None,
    };
    book.learn(&[told(3), told(4), told(5)], PeerId([0; 20]), &config);
    let known: Vec<_> = book.addrs.iter().collect();
    assert_eq!(known, [1, 2, 3, 4].map(addr));
    for _ in 0..4 {
        choose(&mut book, Now::START, 1, &config);
    }
    for n in 1..=4 {
        book.failed(addr(n), Now::START, &config);
    }
    assert_eq!(
        hear(&mut book, 1..9, 1, &config),
        0,
        "failing ones stay too"
    );
}

#[test]
fn what_trackers_told_is_dialled_first_also_when_a_peer_told_it_before() {
    let (mut book, config) = book(0);
    hear(&mut book, 1..9, 1, &config);
    let told = [1, 2, 3].map(|n| PeerAddr {
        addr: addr(n),
        id: None,
    });
    let again = PeerAddr {
        addr: SocketAddr::from(([10, 9, 9, 9], 5)),
        id: None,
    };
    book.learn(&told, PeerId([0; 20]), &config);
    book.learn(&[again], PeerId([0; 20]), &config);
    let mut first = choose(&mut book, Now::START, 4, &config);
    first.sort_unstable();
    assert_eq!(first, [addr(1), addr(2), addr(3), again.addr]);
    assert_eq!(choose(&mut book, Now::START, 9, &config).len(), 7);
}

#[test]
fn a_peer_that_is_connected_otherwise_is_not_dialled() {
    let (mut book, config) = book(1);
    book.seen_id(addr(1), PeerId([7; 20]));
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let conn = ConnId {
        slot: 0,
        generation: 0,
    };
    let connected_from = |from: SocketAddr| {
        let mut peer = Peer::new(conn, from, true, Now::START, &config);
        peer.id = Some(PeerId([7; 20]));
        let mut roll = Roll::default();
        roll.note(0, Some(&peer));
        roll
    };
    let port = SocketAddr::new(addr(1).ip(), 50_000);
    let other_family = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 50_000));
    for from in [port, other_family] {
        let roll = connected_from(from);
        let chosen = book.choose(Now(0), 5, Wanted::default(), &roll, &config, &mut rng);
        assert_eq!(chosen, []);
    }
    // Who says that id at another address is somebody else, unless ids alone count.
    book.left();
    let roll = connected_from(addr(9));
    let ids_alone = EngineConfig {
        ids_by_address: false,
        ..config.clone()
    };
    let chosen = book.choose(Now(0), 5, Wanted::default(), &roll, &ids_alone, &mut rng);
    assert_eq!(chosen, []);
    book.left();
    let chosen = book.choose(Now(0), 5, Wanted::default(), &roll, &config, &mut rng);
    assert_eq!(chosen, [addr(1)]);
}

/// `victim`: a tracker names a stranger's host on ever new ports.
#[test]
fn a_host_where_nobody_shakes_hands_is_dialled_on_few_of_its_ports() {
    let (mut book, config) = book(0);
    let mut now = Now::START;
    let mut dialled = std::collections::BTreeSet::new();
    let at_port = |port: u16| SocketAddr::from(([10, 0, 0, 9], port));
    for minute in 0..9 {
        let told = (0..50).map(|n| PeerAddr {
            addr: at_port(1000 + 50 * minute + n),
            id: Some(PeerId([n as u8; 20])),
        });
        book.learn(&told.collect::<Vec<_>>(), PeerId([99; 20]), &config);
        now = now.after(Duration::from_secs(60));
        for addr in choose(&mut book, now, 50, &config) {
            dialled.insert(addr);
            book.failed(addr, now, &config);
        }
    }
    assert_eq!(dialled.len(), config.dial_ports_max as usize);
    // One that shakes hands after all shows that it is a host of peers.
    book.seen_id(*dialled.first().expect("some"), PeerId([7; 20]));
    assert!(
        choose(&mut book, now, 50, &config)
            .iter()
            .any(|a| !dialled.contains(a))
    );
}

#[test]
fn further_ports_of_a_host_are_dialled_later() {
    let (mut book, config) = book(0);
    let config = EngineConfig {
        dial_ports_max: 1,
        ..config
    };
    let told = [1000, 1001].map(|port| PeerAddr {
        addr: SocketAddr::from(([10, 0, 0, 9], port)),
        id: None,
    });
    book.learn(&told, PeerId([99; 20]), &config);
    let first = choose(&mut book, Now::START, 1, &config);
    book.failed(first[0], Now::START, &config);
    assert_eq!(choose(&mut book, Now::START, 9, &config), []);
    let retry = Now::START.after(config.dial_backoff_min);
    assert_eq!(book.next_due(true, Now::START, &config), retry);
    assert_eq!(choose(&mut book, retry, 9, &config), first);
    let open = Now::START.after(config.dial_backoff_max);
    assert_eq!(
        book.next_due(true, retry, &config),
        retry.after(config.connect_timeout)
    );
    assert_eq!(
        choose(&mut book, open, 9, &config).len(),
        1,
        "the other port"
    );
}

/// What happens to a book, by numbers that stand for one of what there is.
#[derive(Clone, Copy, Debug)]
enum Happening {
    /// Seconds pass.
    Wait(u8),
    /// Some are dialled.
    Dial { room: u8, wanted: Wanted },
    /// A dial fails.
    Fail(u8),
    /// A dial is answered, by the peer of that address or by a stranger.
    Answer(u8, bool),
    /// A peer dials us from a port that is not in the book, or over IPv6.
    Inbound(u8, bool),
    /// A connection ends, and was of use or not.
    Leave(u8, bool),
    /// A tracker tells of an address.
    Learn(u8),
    /// A peer tells of an address, and perhaps who lives there.
    Hear(u8, bool),
    /// An address has everything.
    Seed(u8),
    /// Whoever is there is of no use.
    Spurn(u8),
}

fn happening() -> impl Strategy<Value = Happening> {
    let wanted = |(seeding, elsewhere)| Wanted { seeding, elsewhere };
    let wanted = (any::<bool>(), prop::bool::weighted(0.1)).prop_map(wanted);
    // Few peers and many dials, so that often nobody is left to dial.
    let peer = 1..4_u8;
    prop_oneof![
        2 => (0..9_u8).prop_map(Happening::Wait),
        4 => (0..4_u8, wanted).prop_map(|(room, wanted)| Happening::Dial { room, wanted }),
        1 => any::<u8>().prop_map(Happening::Fail),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(n, its)| Happening::Answer(n, its)),
        3 => (peer.clone(), any::<bool>()).prop_map(|(n, v6)| Happening::Inbound(n, v6)),
        3 => (any::<u8>(), any::<bool>()).prop_map(|(n, of_use)| Happening::Leave(n, of_use)),
        1 => peer.clone().prop_map(Happening::Learn),
        2 => (peer.clone(), any::<bool>()).prop_map(|(n, named)| Happening::Hear(n, named)),
        1 => peer.clone().prop_map(Happening::Seed),
        1 => peer.prop_map(Happening::Spurn),
    ]
}

/// A book and the connections beside it.
struct World {
    book: DialBook,
    config: EngineConfig,
    now: Now,
    roll: Roll,
    /// By slot: address, identity, and whether we dialled it.
    open: Vec<Option<(SocketAddr, PeerId, bool)>>,
}

impl World {
    fn open(&mut self, addr: SocketAddr, id: PeerId, dialled: bool) {
        let slot = self.open.len();
        let conn = ConnId {
            slot: u32::try_from(slot).expect("few"),
            generation: 0,
        };
        let mut peer = Peer::new(conn, addr, !dialled, self.now, &self.config);
        peer.id = Some(id);
        self.roll.note(slot, Some(&peer));
        self.open.push(Some((addr, id, dialled)));
    }

    fn dialled(&self, n: u8) -> Option<SocketAddr> {
        let dialled = self.book.dialled();
        dialled.get(usize::from(n) % dialled.len().max(1)).copied()
    }

    fn happens(&mut self, what: Happening) {
        let (now, config) = (self.now, self.config.clone());
        let id = |n: u8| PeerId([n; 20]);
        match what {
            Happening::Wait(n) => self.now = now.after(Duration::from_secs(n.into())),
            Happening::Dial { room, wanted } => {
                let mut rng = ChaCha8Rng::seed_from_u64(1);
                let room = u32::from(room);
                self.book
                    .choose(now, room, wanted, &self.roll, &config, &mut rng);
            }
            Happening::Fail(n) => {
                if let Some(addr) = self.dialled(n) {
                    self.book.failed(addr, now, &config);
                }
            }
            Happening::Answer(n, its) => {
                if let Some(addr) = self.dialled(n) {
                    let SocketAddr::V4(v4) = addr else { return };
                    let id = if its { id(v4.ip().octets()[3]) } else { id(n) };
                    self.book.connected(addr);
                    self.book.seen_id(addr, id);
                    self.open(addr, id, true);
                }
            }
            Happening::Inbound(n, v6) => {
                let ip = match v6 {
                    true => std::net::Ipv6Addr::LOCALHOST.into(),
                    false => addr(n).ip(),
                };
                self.open(SocketAddr::new(ip, 50_000), id(n), false);
            }
            Happening::Leave(n, of_use) => {
                let slots = 0..self.open.len();
                let open: Vec<_> = slots.filter(|slot| self.open[*slot].is_some()).collect();
                let Some(slot) = open.get(usize::from(n) % open.len().max(1)) else {
                    return;
                };
                let (addr, _, dialled) = self.open[*slot].take().expect("just found");
                self.roll.note(*slot, None);
                self.book.left();
                if dialled {
                    self.book.ended(addr, of_use, now, &config);
                }
            }
            Happening::Learn(n) => {
                let told = PeerAddr {
                    addr: addr(n),
                    id: None,
                };
                self.book.learn(&[told], PeerId([99; 20]), &config);
            }
            Happening::Hear(n, named) => {
                let (addr, its) = (addr(n), id(n));
                let told = Told {
                    addr: &addr,
                    seed: n % 2 == 0,
                    id: named.then_some(&its),
                };
                self.book
                    .learn_from_peer([told].into_iter(), SenderId(7), &config);
            }
            Happening::Seed(n) => self.book.seen_seed(addr(n)),
            Happening::Spurn(n) => self.book.spurn(addr(n)),
        }
    }

    /// Whom a search finds that goes by what was found before, and one that does not.
    fn finds(&self, seeding: bool) -> [Vec<SocketAddr>; 2] {
        let wanted = Wanted {
            seeding,
            elsewhere: false,
        };
        let find = |mut book: DialBook| {
            let mut rng = ChaCha8Rng::seed_from_u64(2);
            book.choose(self.now, 3, wanted, &self.roll, &self.config, &mut rng)
        };
        let mut anew = self.book.clone();
        anew.quiet = None;
        [find(self.book.clone()), find(anew)]
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_known_of_nobody_to_dial_holds(
        by_address in any::<bool>(),
        ports in 1..3_u32,
        happenings in prop::collection::vec(happening(), 0..120),
    ) {
        let config = EngineConfig {
            ids_by_address: by_address,
            dial_ports_max: ports,
            ..EngineConfig::default()
        };
        let mut world = World {
            book: DialBook::default(),
            config,
            now: Now::START,
            roll: Roll::default(),
            open: Vec::new(),
        };
        for what in happenings {
            world.happens(what);
            for seeding in [false, true] {
                let [found, anew] = world.finds(seeding);
                prop_assert_eq!(found, anew, "after {:?}", what);
            }
        }
    }
}

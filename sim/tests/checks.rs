//! Every invariant can fail: a history that breaks it is found by the check that is there for it,
//! and by no other; one that keeps it is not.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use skep_engine::node::file_server::ServerEvent;
use skep_engine::session::buffers::Buffered;
use skep_engine::session::event::Event;
use skep_engine::{Now, PieceIndex};
use skep_sim::actor::client::ClientEvent;
use skep_sim::check::{self, Addresses, Log, Scene, Seen};
use skep_sim::content::Content;
use skep_sim::disk::Disk;
use skep_sim::file_disk::origin;
use skep_sim::outcome::Verdict;
use skep_sim::scenario::plan::EndKind;
use skep_sim::scenario::{Plan, Scenario};
use skep_sim::trace::WorldEvent;
use skep_sim::world;

const SWARM: &str = r#"
name = "tiny"
about = "A seed and a leecher, for histories made by hand."
[run]
time_limit = "10 min"
[torrent]
size = "64 KiB"
piece = "32 KiB"
[[group]]
name = "seed"
role = "seed"
up = "16 KiB/s"
down = "16 KiB/s"
[[group]]
name = "home"
role = "leecher"
up = "16 KiB/s"
down = "64 KiB/s"
"#;

const SEED: usize = 0;
const HOME: usize = 1;

/// A history: when, whose, what.
type History = Vec<(u64, usize, WorldEvent)>;

struct World {
    plan: Plan,
    content: Arc<Content>,
    disks: Vec<Rc<RefCell<Disk>>>,
}

impl World {
    fn new() -> World {
        World::of(SWARM)
    }

    /// The same two hosts as the ends of direct download; the client's disk holds so many bytes.
    fn direct(held: u64) -> World {
        let text = SWARM
            .replace("\"seed\"", "\"server\"")
            .replace("leecher", "client");
        let mut world = World::of(&text);
        let of = Arc::clone(&world.content);
        let origin = move |file| origin(&of, file, "http://server/".to_owned());
        let disk = Disk::of_client(Arc::clone(&world.content), held, origin);
        world.disks[HOME] = Rc::new(RefCell::new(disk));
        world
    }

    fn of(text: &str) -> World {
        let plan = Scenario::parse("tiny.toml", text)
            .expect("a good file")
            .expand(1);
        let content = Content::generate(&plan.torrent, "http://10.0.0.1:6969/announce");
        let content = Arc::new(content);
        let disks = plan.hosts.iter().map(|_| {
            let mut disk = Disk::new(Arc::clone(&content));
            disk.preload(content.geometry().all_pieces());
            Rc::new(RefCell::new(disk))
        });
        World {
            disks: disks.collect(),
            plan,
            content,
        }
    }

    fn addr(&self, host: usize) -> SocketAddr {
        SocketAddr::from((self.plan.hosts[host].ip, 6881))
    }

    /// Which checks found something in a history.
    fn found(&self, history: &History) -> Vec<&'static str> {
        let addresses = Addresses::of(self.plan.hosts.iter().map(|host| host.ip));
        let scene = Scene {
            plan: &self.plan,
            content: &self.content,
            disks: &self.disks,
            addresses: &addresses,
        };
        let mut found = Vec::new();
        for mut check in check::all(&self.plan) {
            let mut log = Log::default();
            for (ms, host, event) in history {
                let at = Now(ms * 1_000_000);
                check.on_event(
                    &Seen {
                        at,
                        host: Some(*host),
                        event,
                    },
                    &scene,
                    &mut log,
                );
            }
            let end = history.last().map_or(0, |(ms, ..)| ms * 1_000_000);
            check.at_end(Now(end), &scene, &mut log);
            if log.failed > 0 {
                found.push(check.name());
            }
        }
        found
    }

    fn sent(&self, piece: u32, begin: u32) -> WorldEvent {
        let (peer, piece, len) = (self.addr(HOME), PieceIndex(piece), 16_384);
        WorldEvent::Peer(Event::BlockSent {
            peer,
            piece,
            begin,
            len,
        })
    }

    fn received(&self, piece: u32, begin: u32) -> WorldEvent {
        let (peer, piece, len) = (self.addr(SEED), PieceIndex(piece), 16_384);
        WorldEvent::Peer(Event::BlockReceived {
            peer,
            piece,
            begin,
            len,
        })
    }

    /// A run in which everything is right: four blocks, one every two seconds.
    fn honest(&self) -> History {
        let started = |have| WorldEvent::Peer(Event::Started { have });
        let mut history = vec![
            (0, SEED, WorldEvent::Joined),
            (0, SEED, started(2)),
            (0, HOME, WorldEvent::Joined),
        ];
        for block in 0..4u32 {
            let (piece, begin) = (block / 2, block % 2 * 16_384);
            let ms = u64::from(block + 1) * 2000;
            history.push((ms - 1500, SEED, self.sent(piece, begin)));
            history.push((ms, HOME, self.received(piece, begin)));
            if block % 2 == 1 {
                let piece = PieceIndex(piece);
                history.push((ms, HOME, verified(piece)));
            }
        }
        history.push((8000, HOME, WorldEvent::Peer(Event::Completed)));
        history
    }
}

fn verified(piece: PieceIndex) -> WorldEvent {
    WorldEvent::Peer(Event::PieceVerified { piece, good: true })
}

#[test]
fn an_honest_history_breaks_nothing() {
    let world = World::new();
    assert_eq!(world.found(&world.honest()), [""; 0]);
}

#[test]
fn a_piece_called_good_that_is_not_on_disk_is_found() {
    let mut world = World::new();
    let history = world.honest();
    world.disks[HOME] = Rc::new(RefCell::new(Disk::new(Arc::clone(&world.content))));
    // A peer that calls itself complete without the content is in the books, too.
    assert_eq!(world.found(&history), ["no-wrong-byte", "bytes-conserved"]);
}

#[test]
fn an_unverified_piece_that_is_served_is_found() {
    let world = World::new();
    let mut history = world.honest();
    // The leecher never verified anything when it serves this.
    history.insert(4, (600, HOME, world.sent(0, 0)));
    assert_eq!(world.found(&history), ["no-wrong-byte"]);
}

#[test]
fn bytes_out_of_nothing_are_found() {
    let world = World::new();
    let mut history = world.honest();
    let first_sent = history
        .iter()
        .position(|(.., e)| *e == world.sent(0, 0))
        .expect("there");
    history.remove(first_sent);
    // It has not left the seed, and is there all the same.
    let both = ["bytes-conserved", "bound-respected"];
    assert_eq!(world.found(&history), both);
}

#[test]
fn a_piece_verified_with_too_few_bytes_is_found() {
    let world = World::new();
    let mut history = world.honest();
    history.retain(|(.., e)| *e != world.received(0, 0));
    assert_eq!(world.found(&history), ["bytes-conserved"]);
}

#[test]
fn a_completion_before_the_physical_limit_is_found() {
    let world = World::new();
    let mut history = world.honest();
    for (ms, ..) in &mut history {
        *ms /= 4;
    }
    assert_eq!(world.found(&history), ["bound-respected"]);
}

#[test]
fn a_burst_after_an_idle_time_is_found() {
    let world = World::new();
    // Everything is sent long before, so that the uplink and the sums of all are beyond doubt.
    let mut history = world.honest();
    for (ms, host, event) in &mut history {
        if *host == HOME && *event != WorldEvent::Joined {
            *ms = 100_000;
        }
    }
    history.sort_by_key(|(ms, ..)| *ms);
    assert_eq!(world.found(&history), ["bound-respected"]);
    // Two connections may each have had a block on its way.
    let blocks = history
        .iter()
        .rposition(|(.., e)| *e == world.received(0, 16_384));
    for (ms, ..) in &mut history[blocks.expect("there") + 1..] {
        *ms += 1000;
    }
    assert_eq!(world.found(&history), [""; 0]);
}

#[test]
fn a_sender_that_is_faster_than_its_uplink_is_found() {
    // The downlink could carry four times as much.
    let world = World::of(&SWARM.replacen("up = \"16 KiB/s\"", "up = \"7 KiB/s\"", 1));
    let found = world.found(&world.honest());
    assert_eq!(found, ["bound-respected"]);
}

#[test]
fn who_leaves_still_delivers_what_was_sent_and_who_crashes_does_not() {
    let world = World::new();
    let with_end = |kind| {
        let mut history = world.honest();
        history.insert(4, (600, SEED, WorldEvent::Ended(Some(kind))));
        world.found(&history)
    };
    assert_eq!(with_end(EndKind::Leave), [""; 0]);
    for kind in [EndKind::Crash, EndKind::PowerLoss] {
        assert_eq!(with_end(kind), ["bound-respected"], "{kind:?}");
    }
}

#[test]
fn a_buffer_above_its_bound_is_found() {
    let world = World::new();
    let bound = Buffered::bound(&world.plan.hosts[HOME].engine, world.content.geometry());
    let history = |held| {
        let mut history = world.honest();
        history.push((9000, HOME, WorldEvent::Peer(Event::Buffered(held))));
        history
    };
    assert_eq!(world.found(&history(bound)), [""; 0]);
    for grow in [
        |held: &mut Buffered| held.unsent += 1,
        |held: &mut Buffered| held.requests += 1,
        |held: &mut Buffered| held.reading += 1,
        |held: &mut Buffered| held.undecoded += 1,
        |held: &mut Buffered| held.unwritten += 1,
    ] {
        let mut held = bound;
        grow(&mut held);
        assert_eq!(world.found(&history(held)), ["buffers-bounded"], "{held:?}");
    }
}

#[test]
fn every_check_has_its_name_in_the_list_for_scenario_files() {
    let names: Vec<_> = check::all(&World::new().plan)
        .iter()
        .map(|check| check.name())
        .collect();
    assert_eq!(names, check::NAMES);
}

#[test]
fn a_check_that_is_named_and_never_saw_anything_makes_a_run_vacuous() {
    let verdict = |named: &str| {
        // Long enough for a choke round, in which sessions look at all of their books.
        let slow = SWARM.replacen("16 KiB/s", "3 KiB/s", 1);
        let text = format!("{slow}[expect]\nchecks = [{named}]\n");
        let scenario = Scenario::parse("named.toml", &text).expect("valid");
        let outcome = world::run(&scenario.expand(0), None).expect("no trace");
        (outcome.verdict, outcome.failures.len())
    };
    let bans = ["false-bans", "bans-hold"];
    let all_but_bans = check::NAMES.iter().filter(|name| !bans.contains(name));
    let all_but_bans: Vec<_> = all_but_bans.map(|name| format!("\"{name}\"")).collect();
    assert_eq!(verdict(&all_but_bans.join(", ")), (Verdict::Pass, 0));
    assert_eq!(verdict("\"false-bans\""), (Verdict::Vacuous, 1));
}

#[test]
fn wrong_books_of_a_session_are_found() {
    let world = World::new();
    for (availability, check) in [(true, "availability"), (false, "block-states")] {
        let mut history = world.honest();
        let (piece, what) = (PieceIndex(0), "made up");
        let event = WorldEvent::Peer(Event::AuditFailed {
            piece,
            what,
            availability,
        });
        history.push((9000, HOME, event));
        assert_eq!(world.found(&history), [check]);
    }
}

#[test]
fn a_ban_of_an_honest_peer_is_found() {
    let world = World::new();
    let mut history = world.honest();
    let (peer, piece) = (world.addr(SEED), PieceIndex(0));
    history.push((9000, HOME, WorldEvent::Peer(Event::Banned { peer, piece })));
    assert_eq!(world.found(&history), ["false-bans"]);
}

#[test]
fn who_is_a_peer_again_after_a_ban_is_found() {
    let attacker =
        "[[group]]\nname = \"poison\"\nrole = \"attacker\"\nattack = \"corrupt-blocks\"\n";
    let world = World::of(&format!(
        "{SWARM}{attacker}up = \"1 KiB/s\"\ndown = \"1 KiB/s\"\n"
    ));
    let poison = 2;
    let (peer, piece, inbound) = (world.addr(poison), PieceIndex(0), true);
    let joins = |ms, host| {
        (
            ms,
            host,
            WorldEvent::Peer(Event::PeerJoined { peer, inbound }),
        )
    };
    let ban = (9000, HOME, WorldEvent::Peer(Event::Banned { peer, piece }));
    let mut history = world.honest();
    history.extend([joins(8900, HOME), ban.clone(), joins(9100, SEED)]);
    assert_eq!(
        world.found(&history),
        [""; 0],
        "before it, and at somebody else"
    );
    history.push(joins(9200, HOME));
    assert_eq!(world.found(&history), ["bans-hold"]);
    let mut history = world.honest();
    history.extend([ban, (9050, HOME, WorldEvent::Joined), joins(9100, HOME)]);
    assert_eq!(
        world.found(&history),
        [""; 0],
        "a new client knows of no ban"
    );
}

#[test]
fn time_that_goes_back_is_found() {
    let world = World::new();
    let mut history = world.honest();
    history.push((7000, SEED, WorldEvent::Peer(Event::EndgameEntered)));
    assert_eq!(world.found(&history), ["time-advances"]);
}

/// A fetch in which everything is right: four blocks, one every two seconds.
fn honest_fetch(world: &World) -> History {
    let client = |event| WorldEvent::Client(event);
    let mut history = vec![
        (0, SEED, WorldEvent::Joined),
        (0, HOME, WorldEvent::Joined),
        (0, HOME, client(ClientEvent::Started { kept: 0 })),
    ];
    let (to, from, bytes) = (world.addr(HOME), world.addr(SEED), 16_384);
    for block in 0..4u64 {
        let ms = (block + 1) * 2000;
        let sent = ServerEvent::Sent {
            to,
            request: 1,
            bytes,
        };
        history.push((ms - 1500, SEED, WorldEvent::Server(sent)));
        history.push((ms, HOME, client(ClientEvent::Received { from, bytes })));
    }
    history.push((8000, HOME, client(ClientEvent::Fetched { file: 0 })));
    history.push((8000, HOME, client(ClientEvent::Completed)));
    history
}

#[test]
fn an_honest_fetch_breaks_nothing() {
    let world = World::direct(65_536);
    assert_eq!(world.found(&honest_fetch(&world)), [""; 0]);
}

#[test]
fn a_file_with_its_name_that_is_not_on_disk_is_found() {
    let world = World::direct(60_000);
    let found = world.found(&honest_fetch(&world));
    assert_eq!(found, ["no-wrong-byte", "bytes-conserved"]);
}

#[test]
fn bytes_that_no_server_sent_or_no_client_received_are_found() {
    let world = World::direct(65_536);
    for at in [3, 4] {
        let mut history = honest_fetch(&world);
        history.remove(at);
        assert_eq!(world.found(&history), ["bytes-conserved"], "{at}");
    }
}

#[test]
fn a_client_that_drops_what_it_never_had_is_found() {
    let world = World::direct(65_536);
    let mut history = honest_fetch(&world);
    let (file, dropped, why) = (0, 1, "made up".to_owned());
    let event = ClientEvent::StartedOver { file, dropped, why };
    history.insert(3, (0, HOME, WorldEvent::Client(event)));
    assert_eq!(world.found(&history), ["bytes-conserved"]);
}

#[test]
fn a_fetch_before_the_physical_limit_is_found() {
    let world = World::direct(65_536);
    let mut history = honest_fetch(&world);
    for (ms, ..) in &mut history {
        *ms /= 4;
    }
    assert_eq!(world.found(&history), ["bound-respected"]);
}

/// A leecher with a link, a web seed, and a seed that dies at once or not.
fn with_a_link(seed_dies: bool) -> Verdict {
    let mut text = SWARM.replace("time_limit = \"10 min\"", "time_limit = \"20 min\"");
    text.push_str("metainfo = \"magnet\"\n");
    text.push_str("[[group]]\nname = \"server\"\nrole = \"server\"\n");
    text.push_str("up = \"16 KiB/s\"\ndown = \"16 KiB/s\"\n");
    if seed_dies {
        text.push_str("[[fault.crash]]\nat = \"1 ms\"\nwho = \"seed[0]\"\n");
    }
    let scenario = Scenario::parse("link.toml", &text).expect("valid");
    let outcome = world::run(&scenario.expand(0), None).expect("no trace");
    outcome.verdict
}

#[test]
fn a_web_seed_alone_does_not_lead_from_a_link_to_the_content() {
    assert_eq!(with_a_link(true), Verdict::Unfinishable);
    assert_eq!(with_a_link(false), Verdict::Pass);
}

//! Owns the expansion of a scenario with one seed into a [`Plan`].
//!
//! Invariant: every draw comes from a stream named `plan/HOST/PURPOSE`, so that one more peer, another
//! link or another strategy moves nobody else's draws. All moments of a plan are whole milliseconds,
//! the granularity at which a run wakes up; floats appear only inside a draw.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use skep_engine::config::{Audit, RateLimit};
use skep_engine::{EngineConfig, Now};

use super::arrivals;
use super::attacks;
use super::draw;
use super::faults;
use super::model::{Churn, Group, Have, Latency, Link, Model, Strategy};
use super::parse::Scenario;
use super::plan::{
    EndKind, HostPlan, LinkPlan, OnComplete, Plan, Role, SessionPlan, StrategyPlan, TorrentPlan,
};
use super::regions;
use super::strategies::{CHOKERS, Family, PICKERS, PLAYBACK, PLAYING};
use super::trackers;
use super::units::MILLION;
use crate::actor;
use crate::canary::Canary;
use crate::disk::condition::Speed;
use crate::seed;

/// One-way delay of a host when the file names none.
const LATENCY: Duration = Duration::from_millis(20);

impl Scenario {
    /// The plan of this scenario with this seed. The same seed gives the same plan.
    ///
    /// Hosts have the addresses 10.1.0.1 and following in the order of the file; the trackers have
    /// 10.0.0.1 and following. No peer is churned, and none arrives, in the last `settle` of the time limit: who is
    /// away by then and comes back at all comes back at that moment at the latest.
    #[must_use]
    pub fn expand(&self, seed: u64) -> Plan {
        let model = self.model();
        let mut hosts = Vec::new();
        let mut engine = Arc::default();
        for group in &model.groups {
            let own = self::engine(model, group);
            if own != *engine {
                engine = Arc::new(own);
            }
            let mut attacks = attacks::plans(model, group).into_iter();
            let arrivals = arrivals::first(group, seed, model.run.churn_end());
            for (index, arrival) in (0..group.size()).zip(arrivals) {
                let position = u32::try_from(hosts.len()).expect("validated: few hosts");
                let engine = Arc::clone(&engine);
                let mut made = host(model, group, engine, index, position, arrival, seed);
                made.attack = attacks.next();
                let attack = made.attack.as_ref();
                made.web_seed |= attack.is_some_and(|a| actor::plays_server(&a.name));
                hosts.push(made);
            }
        }
        let trackers = trackers::plans(model);
        let faults = faults::plans(model, &trackers, &mut hosts, seed);
        let plan = Plan {
            scenario: model.name.clone(),
            seed,
            network: model.run.network,
            time_limit: Now::START.after(model.run.time_limit()),
            settle: model.run.settle(),
            hash_always: model.run.hash_always,
            torrent: TorrentPlan {
                files: model
                    .torrent
                    .files
                    .iter()
                    .map(|(path, size)| (path.get_ref().clone(), *size.get_ref()))
                    .collect(),
                piece_bytes: u32::try_from(model.torrent.piece_bytes())
                    .expect("validated: at most 256 MiB"),
            },
            trackers,
            regions: model
                .regions
                .as_ref()
                .map_or_else(Vec::new, |r| r.delays.clone()),
            hosts,
            faults,
            expect: model.expect.clone(),
            own: self.own(),
            filmed: self.is_filmed(),
        };
        match self.is_clean() {
            true => plan.without_attackers(),
            false => plan,
        }
    }
}

fn stream(seed: u64, host: &str, purpose: &str) -> ChaCha8Rng {
    seed::stream(seed, &format!("plan/{host}/{purpose}"))
}

/// The rate of playback that a picker brings along.
fn playback(picker: &Strategy) -> Option<RateLimit> {
    let mut given = picker.params.iter();
    let (_, rate) = given.find(|(key, _)| key.get_ref() == PLAYBACK.name)?;
    PLAYING
        .contains(&picker.named.name)
        .then(|| RateLimit(*rate.get_ref() as u64))
}

/// The numbers and switches of a group's engines.
fn engine(model: &Model, group: &Group) -> EngineConfig {
    let mut engine = EngineConfig {
        audit: Audit::Touched,
        ..EngineConfig::default()
    };
    for setting in model.engine.iter().chain(&group.engine) {
        let set = engine.set(setting.field.get_ref(), setting.value.get_ref());
        set.expect("validated: the field takes the value");
    }
    let picker = group.picker.as_ref().map(|picker| picker.get_ref());
    if let Some(rate) = picker.and_then(playback) {
        engine.play_rate = rate;
    }
    engine
}

fn host(
    model: &Model,
    group: &Group,
    engine: Arc<EngineConfig>,
    index: u32,
    position: u32,
    arrival: Duration,
    seed: u64,
) -> HostPlan {
    let name = group.host_name(index);
    let role = *group.role.get_ref();
    let churn = group.churn.as_ref().map(|churn| *churn.get_ref());
    HostPlan {
        group: group.name.get_ref().clone(),
        index,
        role,
        ip: address(position),
        link: link(model, group, &name, seed),
        region: regions::of(model, group),
        have: match role {
            Role::Leecher => have(model, group, &name, seed),
            _ => Vec::new(),
        },
        kept: match (role, group.have.as_ref().map(|have| have.get_ref())) {
            (Role::Client, Some(Have::Share(ppm))) => kept(model.torrent.total(), *ppm),
            _ => 0,
        },
        web_seed: is_web_seed(group),
        sessions: sessions(
            churn,
            arrival,
            model.run.churn_end(),
            &mut stream(seed, &name, "churn"),
        ),
        churn: churn.is_some(),
        on_complete: group
            .on_complete
            .as_ref()
            .map_or(OnComplete::Stay, |o| *o.get_ref()),
        disk: group
            .disk
            .as_ref()
            .map_or(Speed::default(), |disk| disk.get_ref().speed()),
        magnet: group.magnet.as_ref().is_some_and(|m| *m.get_ref()),
        engine,
        picker: strategy(group.picker.as_ref().map(|s| s.get_ref()), &PICKERS),
        choker: strategy(group.choker.as_ref().map(|s| s.get_ref()), &CHOKERS),
        canary: group
            .canary
            .as_ref()
            .and_then(|name| Canary::by_name(name.get_ref())),
        attack: None,
        name,
    }
}

/// 10.1.0.1 and following; no last part is 0 or 255.
fn address(position: u32) -> Ipv4Addr {
    let part = |n: u32| u8::try_from(n).expect("validated: few hosts");
    Ipv4Addr::new(
        10,
        part(1 + position / (254 * 256)),
        part(position / 254 % 256),
        part(1 + position % 254),
    )
}

fn link(model: &Model, group: &Group, name: &str, seed: u64) -> LinkPlan {
    let either =
        |pick: fn(&Link) -> Option<Duration>| pick(&group.link).or_else(|| pick(&model.link));
    let latency = group
        .link
        .latency
        .as_ref()
        .or(model.link.latency.as_ref())
        .map(|l| *l.get_ref());
    let loss = group.link.loss.as_ref().or(model.link.loss.as_ref());
    LinkPlan {
        up: group.up,
        down: group.down,
        latency: match latency.unwrap_or(Latency::Fixed(LATENCY)) {
            Latency::Fixed(latency) => latency,
            Latency::Lognormal { median, p95 } => {
                draw::lognormal(&mut stream(seed, name, "latency"), median, p95)
            }
            // To where there is no region, trackers for one: as within its own.
            Latency::Regions => regions::within(model, group),
        },
        jitter: either(|link| link.jitter.as_ref().map(|j| *j.get_ref())).unwrap_or_default(),
        loss_ppm: loss.map_or(0, |loss| *loss.get_ref()),
        reset_every: either(|link| link.reset.as_ref().map(|r| r.get_ref().mean_gap())),
    }
}

/// Pieces at the start, ascending; a share is rounded to the nearest number of pieces.
fn have(model: &Model, group: &Group, name: &str, seed: u64) -> Vec<u32> {
    match group.have.as_ref().map(|have| have.get_ref()) {
        None => Vec::new(),
        Some(Have::Pieces(pieces)) => pieces.clone(),
        Some(Have::Share(ppm)) => {
            let pieces = u32::try_from(model.torrent.pieces()).expect("validated: few pieces");
            let wanted =
                (u64::from(pieces) * u64::from(*ppm) + u64::from(MILLION / 2)) / u64::from(MILLION);
            let wanted = usize::try_from(wanted).expect("at most the pieces");
            let mut rng = stream(seed, name, "have");
            let mut all: Vec<u32> = (0..pieces).collect();
            for i in 0..wanted {
                let left = all.len() - i;
                let other = usize::try_from(draw::below(&mut rng, left as u64)).expect("an index");
                all.swap(i, i + other);
            }
            all.truncate(wanted);
            all.sort_unstable();
            all
        }
    }
}

/// Whether leechers know of a group's hosts as web seeds: servers, unless the file says otherwise. So are
/// attackers that play a server.
pub(super) fn is_web_seed(group: &Group) -> bool {
    let wanted = group.web_seed.as_ref().is_none_or(|on| *on.get_ref());
    *group.role.get_ref() == Role::Server && wanted
}

/// Bytes of a share of the content, rounded down.
fn kept(total: u64, ppm: u32) -> u64 {
    let bytes = u128::from(total) * u128::from(ppm) / u128::from(MILLION);
    u64::try_from(bytes).expect("at most the content")
}

/// Stays of one host: `arrival`, and with churn stays and absences in turn until `end`.
fn sessions(
    churn: Option<Churn>,
    arrival: Duration,
    end: Duration,
    rng: &mut ChaCha8Rng,
) -> Vec<SessionPlan> {
    let mut join = arrival;
    let mut sessions = Vec::new();
    loop {
        let stay = churn.map(|churn| draw::whole_ms(draw::stay(rng, churn.session)));
        let leave = stay
            .map(|stay| join.saturating_add(stay))
            .filter(|leave| *leave < end);
        let ends = leave.map(|leave| (Now::START.after(leave), EndKind::Leave));
        sessions.push(SessionPlan {
            join: Now::START.after(join),
            end: ends,
        });
        let (Some(churn), Some(leave)) = (churn, leave) else {
            return sessions;
        };
        // Both are drawn, whatever the first says: the next stay's draws stay in their places.
        let back = draw::below(rng, u64::from(MILLION)) < u64::from(churn.rejoin);
        let away = churn.away.map(|(low, high)| draw::uniform(rng, low, high));
        let Some(away) = away.filter(|_| back) else {
            return sessions;
        };
        let earliest = leave + Duration::from_millis(1);
        join = draw::whole_ms(leave.saturating_add(away)).clamp(earliest, end.max(earliest));
    }
}

fn strategy(given: Option<&Strategy>, family: &Family) -> StrategyPlan {
    let Some(given) = given else {
        return family.default_plan();
    };
    let named = given.named;
    let mut params: BTreeMap<String, f64> = named
        .params
        .iter()
        .map(|p| (p.name.to_owned(), p.default))
        .collect();
    params.extend(
        given
            .params
            .iter()
            .map(|(key, value)| (key.get_ref().clone(), *value.get_ref())),
    );
    StrategyPlan {
        name: named.name.to_owned(),
        params,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        Now(seconds * 1_000_000_000)
    }

    fn stay(join: u64, end: Option<u64>) -> SessionPlan {
        SessionPlan {
            join: at(join),
            end: end.map(|end| (at(end), EndKind::Leave)),
        }
    }

    #[test]
    fn addresses_are_in_order_and_none_is_a_network_or_a_broadcast() {
        assert_eq!(address(0), Ipv4Addr::new(10, 1, 0, 1));
        assert_eq!(address(253), Ipv4Addr::new(10, 1, 0, 254));
        assert_eq!(address(254), Ipv4Addr::new(10, 1, 1, 1));
        assert_eq!(address(254 * 256), Ipv4Addr::new(10, 2, 0, 1));
        assert_ne!(address(19_999), address(19_998));
    }

    #[test]
    fn a_host_has_its_groups_link_its_share_of_pieces_and_its_defaults() {
        let text = r#"
name = "two"
torrent = { size = "10 MiB", piece = "1 MiB" }
link = { latency = "40 ms", loss = "1%", reset = "2 per 10 min" }
engine = { upload_slots = 6 }
[[group]]
name = "seed"
role = "seed"
up = "8 Mbit/s"
down = "8 Mbit/s"
latency = "5 ms"
[[group]]
name = "home"
role = "leecher"
count = 2
up = "8 Mbit/s"
down = "8 Mbit/s"
have = "30%"
engine = { upload_slots = 2 }
"#;
        let plan = Scenario::parse("two.toml", text).expect("right").expand(7);
        let names: Vec<_> = plan.hosts.iter().map(|h| h.name.as_str()).collect();
        assert_eq!(names, ["seed", "home-0", "home-1"]);
        let (seed, home) = (&plan.hosts[0], &plan.hosts[1]);
        let ms = Duration::from_millis;
        assert_eq!((seed.link.latency, home.link.latency), (ms(5), ms(40)));
        assert_eq!((seed.link.up, seed.link.loss_ppm), (1_000_000, 10_000));
        assert_eq!(seed.link.reset_every, Some(Duration::from_secs(300)));
        assert_eq!((seed.engine.upload_slots, home.engine.upload_slots), (6, 2));
        assert_eq!((seed.have.len(), home.have.len()), (0, 3));
        assert!(home.have.windows(2).all(|pair| pair[0] < pair[1]));
        assert_ne!(home.have, plan.hosts[2].have, "each host draws its own");
        assert_eq!(home.picker.params["random_first"], 4.0);
        assert_eq!(home.sessions, [stay(0, None)]);
    }
}

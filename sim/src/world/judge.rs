//! Owns the verdict: who is done, who should be, and what the numbers say.
//!
//! Invariant: an outcome's verdict is the worst of its findings: a broken invariant, an expectation
//! that does not hold, a peer that could have finished and did not, something that never happened.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use skep_engine::Now;

use crate::bounds::{self, Bound};
use crate::check::{self, Failure};
use crate::content::Content;
use crate::evaluate;
use crate::network::Net;
use crate::outcome::{Outcome, PeerOutcome, Verdict, attacks_of};
use crate::scenario::expect::ExpectationKind;
use crate::scenario::plan::{FaultKind, HostPlan, Plan, Role};

use super::Ended;
use super::recorder::{Measured, Recorder, Tally, present};
use super::stalls::Stalls;

/// Whether nobody is left to wait for: every leecher and client has finished, or is gone for good.
pub(super) fn done(recorder: &Recorder) -> bool {
    let hosts = recorder.plan.hosts.iter().zip(&recorder.tallies);
    let mut takers = hosts.filter(|(h, _)| h.role.takes());
    takers.all(|(_, t)| t.completed.is_some() || t.whole || t.gone_for_good)
}

/// The least time that what is missing at the honest peers online takes, were everything ideal.
pub(super) fn missing_bound(recorder: &Recorder) -> Duration {
    let (mut up, mut missing, mut longest) = (0, 0, 0.0f64);
    let (mut servers_up, mut fetching) = (0, 0);
    for ((host, tally), disk) in recorder
        .plan
        .hosts
        .iter()
        .zip(&recorder.tallies)
        .zip(&recorder.disks)
    {
        if tally.online_since.is_none() || host.role == Role::Attacker {
            continue;
        }
        let lacks = disk.borrow().missing_bytes();
        missing += lacks;
        longest = longest.max(lacks as f64 / host.link.down.max(1) as f64);
        match host.role {
            Role::Client => fetching += lacks,
            Role::Server => servers_up += host.link.up,
            _ => {}
        }
        if host.role != Role::Client {
            up += host.link.up;
        }
    }
    let share = |bytes: u64, up: u64| bytes as f64 / up.max(1) as f64;
    // A server that is down is no limit of what can be done once it is back.
    let direct = if servers_up > 0 {
        share(fetching, servers_up)
    } else {
        0.0
    };
    Duration::from_secs_f64(longest.max(share(missing, up)).max(direct))
}

fn peer(recorder: &Recorder, host: usize, end: Now, net: &Net) -> PeerOutcome {
    let plan = &recorder.plan.hosts[host];
    let tally: &Tally = &recorder.tallies[host];
    let secs = |at: Option<Now>| at.map(Now::as_secs_f64);
    let online = tally.online_ns + tally.online_since.map_or(0, |since| end.0 - since.0);
    let crowd = recorder.crowds.of(host);
    let wasted = tally.duplicates + tally.unrequested + tally.dropped;
    PeerOutcome {
        name: plan.name.clone(),
        group: plan.group.clone(),
        role: plan.role,
        joined_s: tally.joined.unwrap_or(plan.sessions[0].join).as_secs_f64(),
        completed_s: secs(tally.completed),
        first_block_s: secs(tally.first_block),
        first_piece_s: secs(tally.first_piece),
        downloaded: tally.gained + wasted,
        uploaded: tally.uploaded,
        wasted: wasted + tally.hash_failed,
        duplicates: tally.duplicates,
        hash_failed: tally.hash_failed,
        banned_by: tally.banned_by,
        announces: tally.announces,
        announced: tally.announced(),
        dials_failed: tally.dials_failed,
        online_s: Now(online).as_secs_f64(),
        control: net.sent_to_peers(plan.ip).saturating_sub(tally.uploaded),
        up: plan.link.up,
        attack: plan.attack.as_ref().map(|attack| attack.name.clone()),
        acted: tally.acted,
        first_ban_s: secs(tally.first_ban),
        buffered: tally.buffered,
        measured: Measured::default(),
        told: tally.told,
        connections_max: crowd.connections,
        slots_max: crowd.slots,
        closed: crowd.closed,
    }
}

/// Payload sent over capacity between 10 % and 90 % of the completions.
fn utilisation(recorder: &Recorder) -> Option<f64> {
    let n = recorder.samples.len();
    let (from, to) = (n / 10, (n * 9 / 10).checked_sub(usize::from(n >= 10))?);
    let (first, last) = (recorder.samples.get(from)?, recorder.samples.get(to)?);
    // With few completions, or all at once, the window is from the start to the last of them.
    let (sent, capacity) = if last.capacity > first.capacity {
        (last.sent - first.sent, last.capacity - first.capacity)
    } else {
        (last.sent, last.capacity)
    };
    (capacity > 0.0).then(|| sent as f64 / capacity)
}

/// Everything that a run gives.
pub(super) fn outcome(
    recorder: &mut Recorder,
    content: &Arc<Content>,
    net: &Net,
    bound: Bound,
    ended: Ended,
    end: Now,
) -> Outcome {
    recorder.note_copies();
    let (invariants, checks) = recorder.finish(end);
    let (trace_hash, events) = recorder.trace.hash();
    let totals = net.totals();
    let resets = totals.resets;
    let mut sometimes = recorder.sometimes.clone();
    for (word, times) in [
        ("connection-reset", resets + totals.fault_resets),
        ("connection-stalled", totals.stalls),
        ("connection-resumed", totals.resumed),
        ("connection-timed-out", totals.timed_out),
    ] {
        if times > 0 {
            sometimes.insert(word, times);
        }
    }
    let measures = recorder.measures.take();
    let geometry = recorder.geometry();
    let measured = measures.map_or_else(Vec::new, |measures| measures.finish(geometry, end));
    let peers: Vec<PeerOutcome> = (0..recorder.plan.hosts.len())
        .map(|h| peer(recorder, h, end, net))
        .collect();
    let mut outcome = Outcome {
        scenario: recorder.plan.scenario.clone(),
        seed: recorder.plan.seed,
        network: recorder.plan.network.word(),
        trace_hash: trace_hash.to_string(),
        checkpoints: recorder.trace.checkpoints().clone(),
        events,
        sim_seconds: end.as_secs_f64(),
        cpu_seconds: 0.0,
        blocks: recorder.blocks,
        messages: 0,
        messages_by_kind: BTreeMap::new(),
        captured: None,
        connections: net.connection_slots(),
        bound,
        terms: bounds::terms(&recorder.plan),
        curve: bounds::curve(&recorder.plan),
        little: recorder.present.little(&recorder.plan, &peers, end),
        both_ways: bounds::both_ways(&recorder.plan),
        content_bytes: content.geometry().total,
        pieces: content.geometry().pieces,
        verdict: Verdict::Pass,
        failures: Vec::new(),
        checks,
        buffered_bound: buffered_bound(&recorder.plan),
        copies_min: recorder.copies_min.unwrap_or(0),
        copies_end: recorder.rarest(),
        seed_until_second: recorder.seed_until_second,
        utilisation: utilisation(recorder),
        sometimes,
        random: random(recorder, &peers, resets),
        peers,
        film: recorder.take_film(end),
    };
    for (peer, measured) in outcome.peers.iter_mut().zip(measured) {
        peer.measured = measured;
    }
    let mut findings = Vec::new();
    findings.extend(invariants.into_iter().map(|f| (Verdict::Invariant, f)));
    findings.extend(books(net, end).into_iter().map(|f| (Verdict::Invariant, f)));
    let apart = outcome
        .little
        .and_then(|little| present::wrong(&little, end));
    findings.extend(apart.map(|f| (Verdict::Invariant, f)));
    // What a broken run expected, finished or did is not worth telling.
    if !matches!(ended, Ended::Broken(_)) {
        let expected = evaluate::expectations(&recorder.plan, &outcome);
        findings.extend(expected.into_iter().map(|f| (Verdict::Expectation, f)));
        if let Ended::Deadline(at) = ended {
            findings.extend(liveness(recorder, at));
        }
        findings.extend(
            vacuous(recorder, &outcome.peers, net, &outcome.checks, end)
                .into_iter()
                .map(|f| (Verdict::Vacuous, f)),
        );
    }
    outcome.verdict = findings
        .iter()
        .map(|(v, _)| *v)
        .max()
        .unwrap_or(Verdict::Pass);
    outcome.failures = findings.into_iter().map(|(_, failure)| failure).collect();
    outcome
}

/// The most that a peer of the plan may hold in memory for a connection.
fn buffered_bound(plan: &Plan) -> u64 {
    let hosts = plan.hosts.iter().enumerate();
    let peers = hosts.filter(|(_, host)| host.role.peer());
    let bounds = peers.map(|(host, _)| check::buffers_bound(plan, host).bytes());
    bounds.max().unwrap_or(0)
}

/// The network's own books: what was handed in is delivered, dropped or under way, and nothing took longer
/// than its path.
fn books(net: &Net, end: Now) -> Vec<Failure> {
    let totals = net.totals();
    let under_way = net.under_way();
    let accounted = totals.delivered + totals.dropped + under_way;
    let failure = |message| Failure::of("network-books", end, message);
    let mut failures = Vec::new();
    if totals.sent != accounted {
        failures.push(failure(format!(
            "{} bytes were sent; {} delivered, {} dropped and {under_way} under way",
            totals.sent, totals.delivered, totals.dropped
        )));
    }
    if net.late() > 0 {
        let late = net.late();
        failures.push(failure(format!(
            "{late} messages took longer than their path"
        )));
    }
    failures
}

/// Honest peers that are online at the deadline and not complete, and why.
fn liveness(recorder: &Recorder, at: Now) -> Vec<(Verdict, Failure)> {
    let hosts = recorder.plan.hosts.iter().zip(&recorder.tallies);
    let waiting: Vec<_> = hosts
        .zip(&recorder.disks)
        .enumerate()
        .filter(|(_, ((h, t), _))| h.role.honest() && t.online_since.is_some() && !t.whole)
        .collect();
    let online = |of: &dyn Fn(&HostPlan) -> bool| {
        let mut all = recorder.plan.hosts.iter().zip(&recorder.tallies);
        all.any(|(h, t)| h.role == Role::Server && of(h) && t.online_since.is_some())
    };
    let (served, web_seed) = (online(&|_| true), online(&|host| host.web_seed));
    let copies = recorder.rarest() > 0;
    let lost = recorder.lost_pieces();
    let lost = format!("no copy is left among the honest peers online of {lost}");
    // Whoever has the metainfo gives it to who has only a link; web seeds and attackers do not.
    let informed = |h: &HostPlan, t: &Tally| !h.magnet || t.got_metainfo;
    let mut peers = recorder.plan.hosts.iter().zip(&recorder.tallies);
    let told = peers.any(|(h, t)| {
        let peer = matches!(h.role, Role::Seed | Role::Leecher);
        peer && t.online_since.is_some() && informed(h, t)
    });
    let stalls = Stalls::new(recorder);
    let failures = waiting.iter().map(|(position, ((host, tally), disk))| {
        let (can, why) = match (host.role, served) {
            _ if disk.borrow().condition.ails() => (false, "its disk fails"),
            _ if tally.paused => (false, "its user paused it"),
            (Role::Client, true) => (true, "a server is online"),
            (Role::Client, false) => (false, "no server is online"),
            _ if !told && !informed(host, tally) => {
                (false, "no honest peer online has the metainfo")
            }
            _ if web_seed => (true, "a web seed is online"),
            _ if copies => (true, "every piece has a copy among the honest peers online"),
            _ => (false, lost.as_str()),
        };
        let verdict = if can {
            Verdict::Liveness
        } else {
            Verdict::Unfinishable
        };
        let mut message = format!(
            "not complete when the settling time was over, with {} bytes received: {why}",
            tally.gained
        );
        let peers = host.role == Role::Leecher && can && informed(host, tally);
        let stalls = stalls.as_ref().filter(|_| peers);
        let stall = stalls.map(|stalls| stalls.of(*position));
        if let Some(stall) = &stall {
            message = format!("{message}\n{stall}");
        }
        let failure = Failure {
            peer: Some(host.name.clone()),
            stall: stall.map(Box::new),
            ..Failure::of(verdict.word(), at, message)
        };
        (verdict, failure)
    });
    failures.collect()
}

/// How often the attackers of each kind acted, by their name: those that cannot but act, or those that act by
/// chance.
fn acted(plan: &Plan, peers: &[PeerOutcome], by_chance: bool) -> BTreeMap<String, u64> {
    let mut acted = BTreeMap::new();
    for kind in attacks_of(peers) {
        let attacks = plan.hosts.iter().filter(|host| host.group == kind.group);
        let mut attacks = attacks.filter_map(|host| host.attack.as_ref());
        let its = attacks.find(|attack| attack.name == kind.attack);
        if its.is_some_and(|a| (a.probability_ppm() < 1_000_000) == by_chance) {
            acted.insert(kind.name(), kind.times);
        }
    }
    acted
}

/// What the plan schedules and never happened.
fn vacuous(
    recorder: &Recorder,
    peers: &[PeerOutcome],
    net: &Net,
    checks: &BTreeMap<&'static str, u64>,
    end: Now,
) -> Vec<Failure> {
    let plan = &recorder.plan;
    let mut failures = Vec::new();
    let mut tell = |message: String| failures.push(Failure::of("vacuous", end, message));
    let counted = recorder.firings.iter().zip(&recorder.counters);
    let counted = counted.map(|(told, own)| told + own.get());
    for (number, (fault, firings)) in plan.faults.iter().zip(counted).enumerate() {
        // Of one that is not over when the run is, the network alone knows.
        if firings == 0 && net.cut_hits(number) == 0 {
            let what = match (fault.hosts.is_empty(), &fault.kind) {
                (_, FaultKind::Tracker { .. }) => "met nobody's announce",
                (true, _) => "found nobody to hit",
                (false, _) => "never did anything to anybody",
            };
            tell(format!("the fault {} {what}", fault.name));
        }
    }
    for expectation in &plan.expect {
        if let ExpectationKind::Checks(name) = &expectation.kind
            && checks.get(name.as_str()).is_none_or(|times| *times == 0)
        {
            tell(format!("the invariant {name} was never put to the test"));
        }
    }
    for (kind, times) in acted(plan, peers, false) {
        if times == 0 {
            tell(format!("the attackers of {kind} never acted"));
        }
    }
    failures
}

/// Random disturbances that the plan asks for, and how often each happened in this run.
fn random(recorder: &Recorder, peers: &[PeerOutcome], resets: u64) -> BTreeMap<String, u64> {
    let mut happened = BTreeMap::new();
    for (host, tally) in recorder.plan.hosts.iter().zip(&recorder.tallies) {
        if host.link.reset_every.is_some() {
            happened.insert("connection resets".to_owned(), resets);
        }
        if host.churn {
            let name = format!("churn of {}", host.group);
            *happened.entry(name).or_default() += u64::from(tally.churned);
        }
    }
    for (kind, times) in acted(&recorder.plan, peers, true) {
        happened.insert(format!("attacks of {kind}"), times);
    }
    happened
}

//! Owns what a scenario must be beyond the form of its values: names that exist, times that fit,
//! content that is somewhere, expectations that can be met.
//!
//! Invariant: nothing stops at the first problem; a model that passes can be expanded with every seed.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;

use super::model::{Group, Have, Model};
use super::plan::Role;
use super::problem::{Found, Log, suggest};
use super::selector::{Base, RESERVED, Selector, is_group_name};
use super::units::show_duration;
use super::{attacks, expand, faults, regions, trackers, validate_engine, validate_expect};
use crate::actor;

/// Hosts that one scenario may have.
pub const HOSTS_MAX: u64 = 20_000;
/// Bytes of content that one scenario may have: it is held in memory once.
pub const CONTENT_MAX: u64 = 16 << 30;
/// Pieces that one torrent may have.
pub const PIECES_MAX: u64 = 1_000_000;
/// Bytes that one piece may have.
pub const PIECE_MAX: u64 = 256 << 20;

/// Checks everything; notes what is wrong.
pub(super) fn check(model: &Model, log: &mut Log) {
    let readable = log.is_empty();
    torrent(model, log);
    group_names(model, log);
    for group in &model.groups {
        canary(group, model, log);
        role(group, log);
        have(group, model, log);
        attacks::check(group, log);
    }
    times(model, log);
    regions::check(model, log);
    trackers::check(model, log);
    faults::check(model, log);
    validate_engine::settings(&model.engine, &[], log);
    for group in &model.groups {
        validate_engine::settings(&model.engine, &group.engine, log);
    }
    validate_expect::expectations(model, log);
    if readable && log.is_empty() {
        content(model, log);
    }
}

/// A canary spoils the run it is part of: the file says that this is meant.
fn canary(group: &Group, model: &Model, log: &mut Log) {
    let attacks = group.attacks().iter().map(|attack| &attack.name);
    let attacks = attacks.filter(|name| actor::is_canary(name.get_ref()));
    let meant = model.tags.iter().any(|tag| tag == actor::CANARY);
    for name in attacks.chain(&group.canary) {
        if group.canary.is_some() && !group.role.get_ref().peer() {
            let message = "only honest peers have a canary: seeds and leechers";
            log.push(Found::at(name.span(), message));
        } else if !meant {
            let message = format!("`{}` is there to be caught by a check", name.get_ref());
            let found = Found::at(name.span(), message).label("a canary");
            log.push(found.help("a scenario with a canary says so: `tags = [\"canary\"]`"));
        }
    }
}

fn torrent(model: &Model, log: &mut Log) {
    let torrent = &model.torrent;
    if let Some(piece) = &torrent.piece
        && !(1..=PIECE_MAX).contains(piece.get_ref())
    {
        let found = Found::at(piece.span(), "a piece has 1 B to 256 MiB");
        log.push(found.help(r#"a usual size is "256 KiB""#));
    }
    let mut paths: Vec<&Spanned<String>> = Vec::new();
    for (path, _) in &torrent.files {
        let parts = || path.get_ref().split('/');
        if parts().any(|part| part.is_empty() || part == "." || part == ".." || part.contains('\\'))
        {
            let found = Found::at(path.span(), "this is no relative path inside the torrent");
            log.push(found.help(r#"write "a/b.bin""#));
        }
        if let Some(first) = paths.iter().find(|p| p.get_ref() == path.get_ref()) {
            let found = Found::at(path.span(), "two files have this path").label("again here");
            log.push(found.and(first.span(), "first here"));
        }
        paths.push(path);
    }
    let Some((_, last)) = torrent.files.last() else {
        return;
    };
    let message = match torrent.total() {
        0 => "the content has no bytes".to_owned(),
        total if total > CONTENT_MAX => "the content has more than 16 GiB".to_owned(),
        _ if torrent.piece_bytes() > 0 && torrent.pieces() > PIECES_MAX => {
            format!("{} pieces; at most {PIECES_MAX}", torrent.pieces())
        }
        _ => return,
    };
    log.push(Found::at(last.span(), message));
}

fn group_names(model: &Model, log: &mut Log) {
    let mut peers = 0_u64;
    for (i, group) in model.groups.iter().enumerate() {
        let name = group.name.get_ref();
        peers = peers.saturating_add(u64::from(group.size()));
        if name.is_empty() {
            continue;
        }
        if !is_group_name(name) {
            let found = Found::at(
                group.name.span(),
                format!("`{name}` cannot be a group's name"),
            );
            log.push(
                found.help("write lower-case letters, digits and inner hyphens, a letter first"),
            );
        } else if RESERVED.contains(&name.as_str()) {
            let found = Found::at(
                group.name.span(),
                format!("`{name}` is a word of its own here"),
            );
            log.push(
                found
                    .label("reserved")
                    .help("choose another name for the group"),
            );
        }
        if let Some(other) = model.groups[..i].iter().find(|g| g.name.get_ref() == name) {
            let found = Found::at(group.name.span(), format!("two groups are called `{name}`"));
            log.push(
                found
                    .label("again here")
                    .and(other.name.span(), "first here"),
            );
            continue;
        }
        for other in &model.groups[..i] {
            if let Some(shared) = shared_name(group, other) {
                let message = format!("two hosts would be called `{shared}`");
                let found = Found::at(group.name.span(), message).label("this group");
                log.push(found.and(other.name.span(), "and this one"));
            }
        }
    }
    if peers > HOSTS_MAX {
        let largest = model
            .groups
            .iter()
            .filter_map(|g| g.count.as_ref())
            .max_by_key(|c| *c.get_ref());
        let span = largest.map_or(0..0, Spanned::span);
        let found = Found::at(span, format!("{peers} hosts; at most {HOSTS_MAX}"));
        log.push(found);
    }
}

/// A name that peers of both groups would have.
fn shared_name(a: &Group, b: &Group) -> Option<String> {
    let (name, other) = (a.name.get_ref(), b.name.get_ref());
    let member = |of: &Group, name: &str| {
        let index = name
            .strip_prefix(of.name.get_ref().as_str())?
            .strip_prefix('-')?;
        let number: u32 = index.parse().ok()?;
        (of.count.is_some() && number < of.size() && of.host_name(number) == name)
            .then(|| name.to_owned())
    };
    match (&a.count, &b.count) {
        (None, Some(_)) => member(b, name),
        (Some(_), None) => member(a, other),
        _ => None,
    }
}

/// Keys that a group may not have because of its role.
fn role(group: &Group, log: &mut Log) {
    let role = *group.role.get_ref();
    let mut refuse = |span: Option<Range<usize>>, key: &str, allowed: &[Role], why: &str| {
        if let Some(span) = span.filter(|_| !allowed.contains(&role)) {
            let message = format!("{} has no `{key}`", role.article());
            let found = Found::at(span, message).help(why);
            log.push(found.and(group.role.span(), "because of this role"));
        }
    };
    let spans = |s: &Option<Spanned<super::model::Strategy>>| s.as_ref().map(Spanned::span);
    let peers = [Role::Seed, Role::Leecher];
    let takers = [Role::Leecher, Role::Client];
    let attacker = [Role::Attacker];
    refuse(
        spans(&group.picker),
        "picker",
        &[Role::Leecher],
        "only a leecher picks pieces",
    );
    let why = match role {
        Role::Server => "a server serves whoever asks",
        Role::Client => "a client uploads nothing",
        _ => "an attacker serves as its attack does",
    };
    refuse(spans(&group.choker), "choker", &peers, why);
    let span = group.have.as_ref().map(Spanned::span);
    let why = match role {
        Role::Attacker => "an attacker has what its attack claims",
        _ => "it has everything",
    };
    refuse(span, "have", &takers, why);
    let span = group.on_complete.as_ref().map(Spanned::span);
    let why = match role {
        Role::Client => "a client is done when it has the content: it serves nobody",
        _ => "only a leecher completes and then may stay",
    };
    refuse(span, "on_complete", &[Role::Leecher], why);
    let span = group.magnet.as_ref().map(Spanned::span);
    let why = match role {
        Role::Server | Role::Client => "in direct download there is no metainfo",
        _ => "a seed has the metainfo file that it made, an attacker knows everything",
    };
    refuse(span, "metainfo", &[Role::Leecher], why);
    let span = group.churn.as_ref().map(Spanned::span);
    let why = "churn is for those who wait for content; a [[fault.crash]] ends anybody";
    refuse(span, "churn", &takers, why);
    refuse(
        group.engine.first().map(|s| s.field.span()),
        "engine",
        &[Role::Seed, Role::Leecher, Role::Server, Role::Client],
        "an attacker runs no engine",
    );
    let span = group.web_seed.as_ref().map(Spanned::span);
    let why = "only a server is a web seed";
    refuse(span, "web_seed", &[Role::Server], why);
    let span = group.disk.as_ref().map(Spanned::span);
    let why = "an attacker has no disk";
    let honest = [Role::Seed, Role::Leecher, Role::Server, Role::Client];
    refuse(span, "disk", &honest, why);
    let why = "attackers are a group of their own";
    let span = group.attack.as_ref().map(Spanned::span);
    refuse(span, "attack", &attacker, why);
    let why = "it belongs to an attack";
    let spans = [
        ("with", group.with.as_ref().map(Spanned::span)),
        ("from", group.from.as_ref().map(Spanned::span)),
        ("until", group.until.as_ref().map(Spanned::span)),
    ];
    for (key, span) in spans {
        refuse(span, key, &attacker, why);
    }
}

fn have(group: &Group, model: &Model, log: &mut Log) {
    let Some(have) = &group.have else { return };
    let pieces = model.torrent.pieces();
    let all = match have.get_ref() {
        Have::Share(ppm) => *ppm >= super::units::MILLION,
        Have::Pieces(list) => {
            if let Some(piece) = list.iter().find(|p| u64::from(**p) >= pieces) {
                let message = format!("there is no piece {piece}: the torrent has {pieces}");
                log.push(Found::at(have.span(), message).help("pieces are counted from 0"));
            }
            list.len() as u64 >= pieces
        }
    };
    let client = *group.role.get_ref() == Role::Client;
    if client && matches!(have.get_ref(), Have::Pieces(_)) {
        let found = Found::at(have.span(), "a client knows of no pieces");
        log.push(found.help(r#"write the share that it kept: have = "50%""#));
    } else if all && pieces > 0 {
        let found = match client {
            true => Found::at(have.span(), "a client that has everything fetches nothing")
                .help(r#"write a share below "100%""#),
            false => Found::at(have.span(), "a leecher that has everything is a seed")
                .help(r#"write role = "seed""#),
        };
        log.push(found);
    }
}

fn times(model: &Model, log: &mut Log) {
    let (limit, settle) = (model.run.time_limit(), model.run.settle());
    let limit_span = model.run.time_limit.as_ref().map(Spanned::span);
    if let Some(span) = limit_span.clone().filter(|_| limit == Duration::ZERO) {
        log.push(Found::at(span, "a run lasts longer than zero"));
        return;
    }
    if let Some(span) = model
        .run
        .settle
        .as_ref()
        .map(Spanned::span)
        .filter(|_| settle > limit)
    {
        let found = Found::at(span, "the run ends before anything could settle")
            .label("longer than the run");
        log.push(found.help(format!("the time limit is {}", show_duration(limit))));
        return;
    }
    let mut too_late = |span: Range<usize>, what: &str, end: Duration| {
        if end.saturating_add(settle) > limit {
            let (end, settle, limit) = (
                show_duration(end),
                show_duration(settle),
                show_duration(limit),
            );
            let message =
                format!("the time limit is too short: {what} {end}, and {settle} to settle");
            let help =
                format!("the limit is {limit}; raise `run.time_limit` or lower `run.settle`");
            let found = Found::at(span, message).label("ends too late").help(help);
            log.push(match &limit_span {
                Some(span) => found.and(span.clone(), "the limit"),
                None => found,
            });
        }
    };
    for fault in &model.faults {
        let what = format!("a {} until", fault.kind.words());
        too_late(fault.at.span(), &what, fault.end());
    }
    for group in &model.groups {
        if let Some(arrive) = &group.arrive {
            let end = arrive.get_ref().end(group.size());
            too_late(arrive.span(), "arrivals until", end);
        }
    }
    for group in &model.groups {
        if let Some(churn) = &group.churn
            && model.run.churn_end() == Duration::ZERO
        {
            let found = Found::at(churn.span(), "there is no time for churn");
            log.push(
                found.help("churn ends `run.settle` before the time limit; here both are the same"),
            );
        }
        let until = group.until.as_ref().map_or(limit, |until| *until.get_ref());
        let span = group
            .until
            .as_ref()
            .or(group.from.as_ref())
            .map(Spanned::span);
        let from = group
            .from
            .as_ref()
            .map_or(Duration::ZERO, |from| *from.get_ref());
        if let Some(span) = span.filter(|_| from >= until || until > limit) {
            let found = Found::at(
                span,
                "the attack must begin before it ends, and end within the run",
            );
            log.push(found);
        }
    }
}

/// Checks that a selector means somebody.
pub(super) fn selector(selector: &Spanned<Selector>, model: &Model, log: &mut Log) {
    if let Err(found) = base(&selector.get_ref().base, selector.span(), model) {
        log.push(found);
    }
}

/// How many peers a selector without its share means.
pub(super) fn base(base: &Base, span: Range<usize>, model: &Model) -> Result<u64, Found> {
    let nobody = |span| Found::at(span, "this selects nobody");
    if let Base::Group { name, members } = base {
        let Some(group) = model.groups.iter().find(|g| g.name.get_ref() == name) else {
            let names = model.groups.iter().map(|g| g.name.get_ref().as_str());
            let found =
                Found::at(span, format!("there is no group `{name}`")).label("unknown group");
            return Err(found.help(suggest(name, names)));
        };
        let size = group.size();
        let (low, high) = members.unwrap_or((0, size));
        if high > size {
            let found = Found::at(span, format!("`{name}` has {size} hosts, counted from 0"));
            return Err(found.label("out of range"));
        }
        return if low < high {
            Ok(u64::from(high - low))
        } else {
            Err(nobody(span))
        };
    }
    let counts = |group: &&Group| match base {
        Base::Honest => group.role.get_ref().honest(),
        Base::Attackers => *group.role.get_ref() == Role::Attacker,
        _ => true,
    };
    match model
        .groups
        .iter()
        .filter(counts)
        .map(|g| u64::from(g.size()))
        .sum()
    {
        0 => Err(nobody(span)),
        n => Ok(n),
    }
}

/// Checks that whoever comes for the content can get it from somebody, as far as the file can say: clients
/// from a server, leechers from a web seed or from peers that hold every piece between them.
fn content(model: &Model, log: &mut Log) {
    let of_role = |role: Role| {
        let present = model.groups.iter().filter(|g| g.size() > 0);
        present.filter(move |g| *g.role.get_ref() == role)
    };
    let served = of_role(Role::Server).next().is_some();
    if let Some(client) = of_role(Role::Client).next().filter(|_| !served) {
        let found = Found::at(client.role.span(), "no server has the content");
        let found = found.label("a client fetches from servers");
        log.push(found.help(r#"add a group with role = "server""#));
    }
    let leeches = of_role(Role::Leecher).next().is_some();
    let web_seeds = of_role(Role::Server).any(expand::is_web_seed);
    if of_role(Role::Seed).next().is_some() || web_seeds || (served && !leeches) {
        return;
    }
    let haves: Vec<&Have> = of_role(Role::Leecher)
        .filter_map(|g| Some(g.have.as_ref()?.get_ref()))
        .collect();
    let shares = haves.iter().any(|have| matches!(have, Have::Share(1..)));
    let listed = |piece: u32| {
        haves
            .iter()
            .any(|h| matches!(h, Have::Pieces(p) if p.contains(&piece)))
    };
    let pieces = u32::try_from(model.torrent.pieces()).unwrap_or(u32::MAX);
    let missing = (0..pieces)
        .find(|piece| !listed(*piece))
        .filter(|_| !shares);
    let Some(piece) = missing else { return };
    let first = of_role(Role::Leecher).next().or(model.groups.first());
    let span = first.map_or(0..0, |group| group.role.span());
    let message = if haves.is_empty() {
        "nobody has the content".to_owned()
    } else {
        format!("nobody has piece {piece}, so nobody can finish")
    };
    let found = Found::at(span, message).label("no group is a seed");
    let help = r#"add a group with role = "seed" or "server", or `have` to groups of leechers"#;
    log.push(found.help(help));
}

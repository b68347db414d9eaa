//! Owns how `skep get` comes from a magnet link to a metainfo file: from what it kept of an earlier run,
//! or from other peers.
//!
//! Invariants: what is gone on with has the link's info-hash; it is kept beside the content, in
//! `.INFO-HASH.torrent`, so that nobody is asked twice; a kept file that is another one is not used.

use std::cell::RefCell;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{Either, select};
use skep_engine::metainfo::Metainfo;
use skep_engine::metainfo::magnet::{MagnetError, MagnetLink, PeerPlace};
use skep_engine::node::announcer::{Announcer, AnnouncerSetup};
use skep_engine::node::magnet_host::{MagnetEnd, MagnetHost, MagnetHostSetup};
use skep_engine::node::network::Network;
use skep_engine::node::peer_host::Command;
use skep_engine::node::real::RealNetwork;
use skep_engine::session::event::Event;
use skep_engine::session::metadata_fetch::{FetchSetup, Found, MetadataFetch};
use skep_engine::tracker::announce::PeerAddr;
use skep_engine::{EngineConfig, PeerId};
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::{Instant, timeout};

use super::peer::HeadStart;
use super::signals::{Asked, Signals};
use super::{cannot_listen, os_rng};
use crate::failure::{Exit, Failure, tell};
use crate::humane::{count, plain, size};
use crate::terminal::remark;
use crate::torrent::read::Trackers;

/// Time between two words about how it goes.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// Time for the name of a peer to become an address.
const NAME_TIME: Duration = Duration::from_secs(10);

/// The link, if what was given is one and not the name of a file.
///
/// # Errors
/// [`Exit::Wrong`], with the place of what is wrong.
pub fn link(text: &str) -> Result<Option<MagnetLink>, Failure> {
    let scheme = text.get(.."magnet:".len());
    if !scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("magnet:")) {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error: MagnetError| {
        let failure = Failure::new(Exit::Wrong, format!("the magnet link: {error}"));
        failure.showing(place(text, &error))
    })
}

/// The part of a link that an error is about, with carets below it.
fn place(link: &str, error: &MagnetError) -> String {
    const BEFORE: usize = 20;
    const SHOWN: usize = 70;
    let start = link.floor_char_boundary(error.at.start.saturating_sub(BEFORE));
    let shown: String = plain(&link[start..]).chars().take(SHOWN).collect();
    let before = link[start..error.at.start].chars().count();
    let meant = link[error.at.clone()].chars().count();
    let meant = meant.clamp(1, SHOWN.saturating_sub(before).max(1));
    let carets = " ".repeat(before) + &"^".repeat(meant);
    format!("    {shown}\n    {carets}\n")
}

/// Where the metainfo of a link is kept.
fn kept_at(dir: &Path, link: &MagnetLink) -> PathBuf {
    dir.join(format!(".{}.torrent", link.info_hash))
}

/// The metainfo file that an earlier run kept, if it is still the link's.
pub fn kept(dir: &Path, link: &MagnetLink) -> Option<Metainfo> {
    let file = fs::read(kept_at(dir, link)).ok()?;
    let meta = Metainfo::parse(&file).ok()?;
    // The link may name other trackers than the one before.
    let file = link.metainfo_file(&meta.info_bytes);
    let meta = Metainfo::parse(&file).ok()?;
    (meta.info_hash == link.info_hash).then_some(meta)
}

/// Writes a file under its name only when it is whole.
fn keep(path: &Path, file: &[u8]) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        let text = format!("cannot write {}: {error}", path.display());
        Failure::new(Exit::Failed, text)
    };
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let written = fs::File::create(&part).and_then(|mut out| {
        out.write_all(file)?;
        out.sync_all()
    });
    written
        .and_then(|()| fs::rename(&part, path))
        .map_err(failed)
}

/// The addresses of the peers that a link names; names that nobody knows are left out.
pub async fn addresses(link: &MagnetLink) -> Vec<PeerAddr> {
    let mut net = RealNetwork::new(&EngineConfig::default());
    let mut peers = Vec::new();
    for place in &link.peers {
        let addr = match place {
            PeerPlace::Addr(addr) => Some(*addr),
            PeerPlace::Name(host, port) => {
                let resolved = timeout(NAME_TIME, net.resolve(host, *port)).await;
                resolved.ok().and_then(Result::ok)
            }
        };
        peers.extend(addr.map(|addr| PeerAddr { addr, id: None }));
    }
    peers
}

/// What a user hears of meanwhile.
#[derive(Default)]
struct Heard {
    peers: u64,
    notes: Vec<String>,
}

impl Heard {
    fn on_event(&mut self, event: &Event, trackers: &[String]) {
        let tracker = |n: &u32| trackers.get(*n as usize).map_or("", String::as_str);
        match event {
            Event::PeerJoined { .. } => self.peers += 1,
            Event::PeerGone { .. } => self.peers = self.peers.saturating_sub(1),
            Event::Announced {
                peers, tracker: n, ..
            } if *peers > 0 => {
                let told = count(u64::from(*peers), "peer");
                self.notes.push(format!("{} told of {told}", tracker(n)));
            }
            Event::AnnounceFailed {
                why, tracker: n, ..
            } => self.notes.push(format!("{}: {}", tracker(n), plain(why))),
            Event::MetadataFailed { .. } => {
                let text = "metainfo that peers sent is not the link's; it is fetched again";
                self.notes.push(text.to_owned());
            }
            Event::Banned { peer, .. } => {
                self.notes
                    .push(format!("banned {peer}: it sent wrong metainfo"));
            }
            _ => {}
        }
    }
}

/// Gets the metainfo from other peers and keeps it in `dir`. What listens and was learned meanwhile is
/// there to go on with.
///
/// # Errors
/// When the link leads to nobody, the user ends it, or what peers have is no usable metainfo.
pub async fn fetch(
    link: &MagnetLink,
    dir: &Path,
    listen: SocketAddr,
    config: &EngineConfig,
    signals: &mut Signals,
) -> Result<(Metainfo, HeadStart), Failure> {
    let tiers: Vec<Vec<String>> = link.trackers.iter().map(|url| vec![url.clone()]).collect();
    let trackers = Trackers::of_tiers(&tiers);
    trackers.tell_skipped();
    if trackers.is_empty() && link.peers.is_empty() {
        return Err(Failure::with_help(
            Exit::Failed,
            "the link names no tracker that Skep can ask (http:// or udp://) and no peer",
            match link.web_seeds.is_empty() {
                true => {
                    "a link with `tr=` or `x.pe=` leads to somebody; `skep torrent show` prints such links"
                }
                false => {
                    "its web seeds (`ws=`) have the content, but only peers give the metainfo: a link with `tr=` or `x.pe=` leads to some, or give the .torrent file"
                }
            },
        ));
    }
    let mut net = RealNetwork::new(config);
    let at = net
        .listen(listen)
        .map_err(|error| cannot_listen(listen, &error))?;
    let epoch = Instant::now();
    let peer_id = PeerId::random(&mut os_rng()?);
    let setup = AnnouncerSetup {
        trackers: trackers.targets,
        epoch,
        rng: os_rng()?,
    };
    let (say, commands) = unbounded_channel();
    let heard = Rc::new(RefCell::new(Heard::default()));
    let hears = Rc::clone(&heard);
    let names = trackers.names;
    let host = MagnetHost::new(MagnetHostSetup {
        net,
        fetch: MetadataFetch::new(FetchSetup {
            config: config.clone(),
            info_hash: link.info_hash,
            peer_id,
            port: at.port(),
            tiers: trackers.tiers,
            rng: os_rng()?,
        }),
        peers: link.peers.clone(),
        announcer: Announcer::new(setup, config),
        config: config.clone(),
        epoch,
        commands,
        observer: Box::new(move |_, event| hears.borrow_mut().on_event(event, &names)),
    });
    let name = link
        .name
        .as_deref()
        .map_or_else(|| link.info_hash.to_string(), plain);
    remark(&format!(
        "{name}: looking for peers who have the metainfo\n"
    ));
    let mut host = pin!(host.run());
    let mut leaving = false;
    let end: MagnetEnd<RealNetwork> = loop {
        let turn = timeout(TELL_EVERY, signals.asked());
        let over = match select(host.as_mut(), pin!(turn)).await {
            Either::Left((end, _)) => Some(end),
            Either::Right((Ok(Asked::End), _)) => {
                remark("leaving: the tracker is told (Ctrl-C again ends at once)\n");
                leaving = true;
                // It fails only when the host has ended already.
                let _ = say.send(Command::Leave);
                None
            }
            Either::Right((Ok(Asked::Recheck), _)) => None,
            Either::Right((Err(_), _)) => {
                if !leaving {
                    let peers = count(heard.borrow().peers, "peer");
                    remark(&format!("asking {peers} for the metainfo\n"));
                }
                None
            }
        };
        for note in heard.borrow_mut().notes.drain(..) {
            tell(&format!("{note}\n"));
        }
        if let Some(end) = over {
            break end;
        }
    };
    let Some(found) = end.found else {
        return Err(Failure::with_help(
            Exit::Failed,
            "ended before any peer had given the metainfo",
            "the same command begins again",
        ));
    };
    let Found {
        info,
        peers,
        banned,
    } = found;
    let file = link.metainfo_file(&info);
    let meta = Metainfo::parse(&file).map_err(|error| {
        let text = format!(
            "the link's metainfo cannot be used: {}",
            plain(&error.to_string())
        );
        Failure::new(Exit::Wrong, text)
    })?;
    keep(&kept_at(dir, link), &file)?;
    remark(&format!("got the metainfo ({})\n", size(info.len() as u64)));
    let head_start = HeadStart {
        net: end.net,
        at,
        epoch,
        peer_id,
        announcer: end.announcer,
        peers,
        banned,
    };
    Ok((meta, head_start))
}

/// Writes the metainfo file where the user wants it; nothing is replaced.
///
/// # Errors
/// When there is something already, or it cannot be written.
pub fn save(path: &Path, link: &MagnetLink, meta: &Metainfo) -> Result<(), Failure> {
    if path.exists() {
        return Err(Failure::with_help(
            Exit::Failed,
            format!("{} is already there", path.display()),
            "choose another name for --save-torrent",
        ));
    }
    keep(path, &link.metainfo_file(&meta.info_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_an_error_has_carets_below_it() {
        let text = "magnet:?xt=urn:btih:12&dn=film";
        let error = text.parse::<MagnetLink>().expect_err("too short a hash");
        assert_eq!(
            place(text, &error),
            format!("    {text}\n    {}{}\n", " ".repeat(11), "^".repeat(11))
        );
        assert!(link("film.torrent").expect("a name").is_none());
        assert!(link("MAGNET:?xt=1").is_err());
    }

    #[test]
    fn what_was_kept_is_used_only_when_it_is_the_links() {
        let dir = tempfile::tempdir().expect("a directory");
        let info = b"d6:lengthi1e4:name1:n12:piece lengthi1e6:pieces20:hhhhhhhhhhhhhhhhhhhhe";
        let file = [&b"d4:info"[..], info, b"e"].concat();
        let meta = Metainfo::parse(&file).expect("valid");
        let mut mine = MagnetLink::new(meta.info_hash);
        mine.trackers.push("http://t/a".to_owned());
        assert_eq!(kept(dir.path(), &mine), None);
        keep(&kept_at(dir.path(), &mine), &file).expect("written");
        let found = kept(dir.path(), &mine).expect("kept");
        assert_eq!(found.announce, [["http://t/a"]]);
        let other = MagnetLink::new(skep_engine::InfoHash([7; 20]));
        fs::copy(kept_at(dir.path(), &mine), kept_at(dir.path(), &other)).expect("copied");
        assert_eq!(kept(dir.path(), &other), None);
    }
}

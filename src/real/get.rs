//! Owns `skep get`: gets a torrent's content from its swarm.
//!
//! Invariant: it ends with 0 only when every piece is verified, durable and under its final name. No
//! file that was there is changed. With `--json` stdout holds one object and nothing else.

use std::future::poll_fn;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use skep_engine::EngineConfig;
use skep_engine::PieceIndex;
use skep_engine::bits::BitSet;
use skep_engine::metainfo::Metainfo;
use skep_engine::session::Sender;
use skep_engine::session::torrent::Totals;
use skep_engine::storage::file::{
    FileOptions, FileStorage, OpenError, OpenMode, Preallocate, Resume,
};
use skep_engine::storage::{Storage, StorageEvent, is_full};
use skep_engine::tracker::announce::PeerAddr;

use super::choice::Choice;
use super::magnet;
use super::on_this_thread;
use super::peer::{Ended, HeadStart, Joining, RealPeer, Stay, check};
use super::signals::Signals;
use super::watch::bytes_of;
use crate::args::{GetArgs, HowToPreallocate};
use crate::failure::{Exit, Failure, print};
use crate::humane::{count, plain, rate, size, wait};
use crate::terminal::remark;
use crate::torrent::read::{Trackers, read, web_seeds};

/// Runs the command.
pub fn run(args: &GetArgs) -> Result<Exit, Failure> {
    let Some(link) = magnet::link(&args.torrent)? else {
        if args.save_torrent.is_some() {
            return Err(Failure::new(
                Exit::Wrong,
                "--save-torrent is for magnet links: this is a metainfo file already",
            ));
        }
        let meta = read(Path::new(&args.torrent))?;
        let config = args.config()?;
        let begun = Begun::plain(&meta, args)?;
        return on_this_thread(get(args, &meta, begun, config));
    };
    let config = args.config()?;
    on_this_thread(async {
        let (meta, head_start) = match magnet::kept(&args.dir, &link) {
            Some(meta) => (meta, None),
            None => {
                if !args.dir.is_dir() {
                    return Err(not_openable(&OpenError::NoDirectory(args.dir.clone())));
                }
                let mut signals = Signals::new()?;
                let fetch =
                    magnet::fetch(&link, &args.dir, args.listen, &config, &mut signals).await;
                let (meta, head_start) = fetch?;
                (meta, Some(head_start))
            }
        };
        if let Some(path) = &args.save_torrent {
            magnet::save(path, &link, &meta)?;
        }
        let choice = Choice::of(&args.patterns, &meta)?.among(&link.files, &meta)?;
        let begun = Begun {
            peers: magnet::addresses(&link).await,
            head_start,
            ..Begun::of(choice, &meta, args)?
        };
        get(args, &meta, begun, config).await
    })
}

/// What stands before the content is looked at.
struct Begun {
    choice: Choice,
    disk: FileStorage,
    /// Which files are there under their final names.
    named: Vec<bool>,
    /// Peers that a link names.
    peers: Vec<PeerAddr>,
    head_start: Option<HeadStart>,
}

impl Begun {
    fn plain(meta: &Metainfo, args: &GetArgs) -> Result<Begun, Failure> {
        Begun::of(Choice::of(&args.patterns, meta)?, meta, args)
    }

    fn of(choice: Choice, meta: &Metainfo, args: &GetArgs) -> Result<Begun, Failure> {
        let named = files_there(&args.dir, meta);
        let options = FileOptions {
            preallocate: match args.preallocate {
                HowToPreallocate::None => Preallocate::None,
                HowToPreallocate::Full => Preallocate::Full,
            },
            resume: remembered(args.recheck),
            skipped: choice.skipped(),
            ..FileOptions::default()
        };
        let disk = FileStorage::open(&args.dir, meta, OpenMode::Download, &options);
        let disk = disk.map_err(|error| match &error {
            OpenError::Io { path, source } if is_full(source) => {
                let why = format!("{}: {source}", path.display());
                let wanted = bytes_of(meta.geometry, &choice.wanted(meta));
                full(&args.dir, wanted, &plain(&why))
            }
            _ => not_openable(&error),
        })?;
        Ok(Begun {
            choice,
            disk,
            named,
            peers: Vec::new(),
            head_start: None,
        })
    }
}

/// What is done with what was verified earlier.
pub fn remembered(recheck: bool) -> Resume {
    if recheck {
        Resume::Recheck
    } else {
        Resume::Use
    }
}

/// There is no room for what is missing.
fn full(dir: &Path, left: u64, why: &str) -> Failure {
    Failure::with_help(
        Exit::Failed,
        format!(
            "the disk is full: {} more needed in {} ({why})",
            size(left),
            dir.display()
        ),
        "verified pieces are kept; make room and run the same command again",
    )
}

async fn get(
    args: &GetArgs,
    meta: &Metainfo,
    begun: Begun,
    config: EngineConfig,
) -> Result<Exit, Failure> {
    let Begun {
        choice,
        mut disk,
        named,
        peers,
        head_start,
    } = begun;
    let mut signals = Signals::new()?;
    let have = check(&mut disk, meta.geometry, &mut signals).await?;
    if let Some(file) = different(meta, &have, &named) {
        return Err(Failure::with_help(
            Exit::Failed,
            format!(
                "{} is already there and is not the torrent's; it was not touched",
                args.dir.join(file).display()
            ),
            "move it away, or choose another --dir",
        ));
    }
    let wanted = choice.wanted(meta);
    let here = bytes_of(meta.geometry, &have.and(&wanted));
    let begins = format!("getting {} ({})", plain(&meta.name), choice.described(meta));
    if wanted.count_minus(&have) == 0 {
        // It may have been interrupted between the last piece and the final names.
        finish(&mut disk).await?;
        if args.seed_for == Duration::ZERO {
            remark(&format!("{begins}: all of it is there already, verified\n"));
            report(args, meta, true, Duration::ZERO, Totals::default(), &[])?;
            return Ok(Exit::Ok);
        }
    }
    let trackers = Trackers::of(meta);
    trackers.tell_skipped();
    let web_seeds = match args.no_web_seeds {
        true => Vec::new(),
        false => web_seeds(meta),
    };
    if trackers.is_empty() && web_seeds.is_empty() && peers.is_empty() {
        return Err(Failure::new(
            Exit::Failed,
            "the torrent names no tracker that Skep can ask (http:// or udp://) and no web seed (http://)",
        ));
    }
    let peer = RealPeer::new(Joining {
        meta,
        trackers,
        web_seeds,
        disk,
        have,
        wanted: wanted.clone(),
        priorities: choice.pieces,
        listen: args.listen,
        config,
        peers,
        head_start,
    })?;
    remark(&format!(
        "{begins}, {} of it here already, listening at {}\n",
        size(here),
        peer.at
    ));
    let stay = Stay::AfterComplete(args.seed_for);
    let ended = peer.run(stay, &mut signals).await;
    conclude(args, meta, &wanted, &ended)
}

/// Says how it ended.
fn conclude(
    args: &GetArgs,
    meta: &Metainfo,
    wanted: &BitSet,
    ended: &Ended,
) -> Result<Exit, Failure> {
    let torrent = &ended.torrent;
    let totals = torrent.totals();
    // Also of what was there once and is no more.
    let have = wanted.and(torrent.have());
    let missing = bytes_of(meta.geometry, wanted) - bytes_of(meta.geometry, &have);
    let complete = missing == 0 && ended.durable && ended.failure.is_none();
    report(args, meta, complete, ended.time, totals, torrent.senders())?;
    if let Some(why) = ended.failure.as_ref().filter(|_| ended.disk_full) {
        return Err(full(&args.dir, missing, why));
    }
    if let Some(why) = &ended.failure {
        return Err(Failure::with_help(
            Exit::Failed,
            format!("the disk failed: {why}"),
            "what was verified stays; the same command goes on from there",
        ));
    }
    if !complete {
        return Err(Failure::with_help(
            Exit::Failed,
            format!("ended with {} missing", size(missing)),
            "the same command goes on from there",
        ));
    }
    remark(&format!(
        "complete and verified: {} in {} ({}), from {}; {} uploaded\n",
        size(totals.gained),
        wait(ended.time),
        rate(totals.gained, ended.time),
        giving(torrent.senders()),
        size(totals.sent),
    ));
    Ok(Exit::Ok)
}

/// Who gave something, in words.
fn giving(senders: &[Sender]) -> String {
    let gave = senders.iter().filter(|sender| sender.received > 0);
    let (web, peers): (Vec<_>, Vec<_>) = gave.partition(|sender| sender.url.is_some());
    match (peers.len() as u64, web.len() as u64) {
        (peers, 0) => count(peers, "peer"),
        (0, web) => count(web, "web seed"),
        (peers, web) => format!("{} and {}", count(peers, "peer"), count(web, "web seed")),
    }
}

/// The object of `--json`.
fn report(
    args: &GetArgs,
    meta: &Metainfo,
    complete: bool,
    time: Duration,
    totals: Totals,
    peers: &[Sender],
) -> Result<(), Failure> {
    if !args.json {
        return Ok(());
    }
    let web_seeds = peers.iter().filter_map(|seed| {
        let url = seed.url.as_ref()?;
        Some(json!({
            "url": url,
            "addr": seed.addr.to_string(),
            "received": seed.received,
            "wasted": seed.wasted,
            "banned": seed.banned,
        }))
    });
    let web_seeds: Vec<_> = web_seeds.collect();
    let peers: Vec<_> = peers
        .iter()
        .filter(|peer| peer.url.is_none())
        .map(|peer| {
            json!({
                "addr": peer.addr.to_string(),
                "id": peer.id.to_string(),
                "client": peer.client,
                "received": peer.received,
                "sent": peer.sent,
                "wasted": peer.wasted,
                "banned": peer.banned,
            })
        })
        .collect();
    let object = json!({
        "info_hash": meta.info_hash.to_string(),
        "name": meta.name,
        "bytes": meta.geometry.total,
        "seconds": time.as_secs_f64(),
        "complete": complete,
        "downloaded": totals.gained,
        "uploaded": totals.sent,
        "wasted": totals.wasted,
        "hash_failed": totals.hash_failed,
        "peers": peers,
        "web_seeds": web_seeds,
    });
    print(&format!("{object}\n"))
}

/// Gives the files of complete content their final names.
async fn finish(disk: &mut FileStorage) -> Result<(), Failure> {
    disk.finish();
    let failed = |error| Failure::new(Exit::Failed, format!("the disk failed: {error}"));
    match poll_fn(|cx| disk.poll_event(cx)).await {
        StorageEvent::Finished(result) => result.map_err(failed),
        other => panic!("the answer to finish, not {other:?}"),
    }
}

/// Which of the torrent's files are there under their final names, before anything is created.
fn files_there(dir: &Path, meta: &Metainfo) -> Vec<bool> {
    let files = meta.files.iter();
    files
        .map(|file| dir.join(file.path.join("/")).is_file())
        .collect()
}

/// A file that was there and is proven to be another one: a bad piece lies in such files alone.
fn different(meta: &Metainfo, have: &BitSet, named: &[bool]) -> Option<String> {
    let geometry = meta.geometry;
    let bad = (0..geometry.pieces).map(PieceIndex);
    for piece in bad.filter(|piece| !have.contains(*piece)) {
        let start = geometry.offset(piece);
        let end = start + u64::from(geometry.piece_len(piece));
        let mut touched = meta
            .files
            .iter()
            .zip(named)
            .filter(|(file, _)| file.is_wanted())
            .filter(|(file, _)| file.offset < end && start < file.offset + file.len)
            .peekable();
        let first = touched.peek().map(|(file, _)| file.path.join("/"));
        if first.is_some() && touched.all(|(_, there)| *there) {
            return first;
        }
    }
    None
}

/// Why files cannot be opened, with advice.
pub fn not_openable(error: &OpenError) -> Failure {
    let message = plain(&error.to_string());
    match error {
        OpenError::NoDirectory(_) => {
            Failure::with_help(Exit::Wrong, message, "make it first: mkdir -p DIR")
        }
        OpenError::InUse(_) => {
            Failure::with_help(Exit::Failed, message, "wait until it has ended, or end it")
        }
        OpenError::Exists { .. } | OpenError::NotAFile(_) => Failure::with_help(
            Exit::Failed,
            message,
            "move it away, or choose another --dir",
        ),
        _ => Failure::new(Exit::Failed, message),
    }
}

//! Owns `skep seed`: serves content that is here already.
//!
//! Invariant: nothing is served before every piece was verified, now or when the files were last
//! changed, and no file of the content is changed. With `--json` stdout holds one object and
//! nothing else.

use std::path::Path;

use serde_json::json;
use skep_engine::EngineConfig;
use skep_engine::bits::BitSet;
use skep_engine::metainfo::Metainfo;
use skep_engine::storage::file::{FileOptions, FileStorage, OpenError, OpenMode};

use super::get::remembered;
use super::on_this_thread;
use super::peer::{Joining, RealPeer, Stay, check};
use super::signals::Signals;
use crate::args::SeedArgs;
use crate::failure::{Exit, Failure, print, tell};
use crate::humane::{count, plain, size};
use crate::terminal::remark;
use crate::torrent::read::{Trackers, read};

/// Runs the command.
pub fn run(args: &SeedArgs) -> Result<Exit, Failure> {
    let meta = read(&args.torrent)?;
    let config = EngineConfig {
        super_seeding: args.super_seed,
        ..args.limits.config()?
    };
    let options = FileOptions {
        resume: remembered(args.recheck),
        ..FileOptions::default()
    };
    let disk = FileStorage::open(&args.data, &meta, OpenMode::Seed, &options)
        .map_err(|error| not_seedable(&error))?;
    on_this_thread(seed(args, &meta, disk, config))
}

async fn seed(
    args: &SeedArgs,
    meta: &Metainfo,
    mut disk: FileStorage,
    config: EngineConfig,
) -> Result<Exit, Failure> {
    let mut signals = Signals::new()?;
    let have = check(&mut disk, meta.geometry, &mut signals).await?;
    if !have.is_full() {
        return Err(bad_pieces(&args.data, meta, &have));
    }
    let trackers = Trackers::of(meta);
    trackers.tell_skipped();
    if trackers.is_empty() {
        tell(
            "note: the torrent names no tracker that Skep can ask (http:// or udp://); nobody will be told of this seed\n",
        );
    }
    let peer = RealPeer::new(Joining {
        meta,
        trackers,
        // Whoever has everything needs none.
        web_seeds: Vec::new(),
        disk,
        wanted: have.clone(),
        have,
        priorities: None,
        listen: args.listen,
        config,
        peers: Vec::new(),
        head_start: None,
    })?;
    let begins = format!(
        "seeding {} ({}) at {}\n",
        plain(&meta.name),
        size(meta.geometry.total),
        peer.at
    );
    match args.json {
        true => remark(&begins),
        false => print(&begins)?,
    }
    let ended = peer.run(Stay::UntilAsked, &mut signals).await;
    let sent = ended.torrent.totals().sent;
    let taken = ended.torrent.senders().iter().filter(|peer| peer.sent > 0);
    let taken = taken.count() as u64;
    print(&match args.json {
        true => {
            let object = json!({
                "info_hash": meta.info_hash.to_string(),
                "name": meta.name,
                "seconds": ended.time.as_secs_f64(),
                "uploaded": sent,
                "peers": taken,
            });
            format!("{object}\n")
        }
        false => format!("uploaded {} to {}\n", size(sent), count(taken, "peer")),
    })?;
    let lost = meta.geometry.pieces - ended.torrent.have().count();
    if lost > 0 {
        return Err(Failure::new(
            Exit::Failed,
            format!("{} no longer on the disk", count(u64::from(lost), "piece")),
        ));
    }
    match ended.failure {
        Some(why) => Err(Failure::new(
            Exit::Failed,
            format!("the disk failed: {why}"),
        )),
        None => Ok(Exit::Ok),
    }
}

fn not_seedable(error: &OpenError) -> Failure {
    let help = match error {
        OpenError::Missing(_) => {
            "--data names the file or folder that was given to `skep torrent create`"
        }
        OpenError::InUse(_) => "wait until it has ended, or end it",
        OpenError::WrongSize { .. } => "this is not the content of the torrent",
        _ => "",
    };
    let message = plain(&error.to_string());
    if help.is_empty() {
        Failure::new(Exit::Failed, message)
    } else {
        Failure::with_help(Exit::Failed, message, help)
    }
}

fn bad_pieces(data: &Path, meta: &Metainfo, have: &BitSet) -> Failure {
    let pieces = meta.geometry.pieces;
    let bad = pieces - have.count();
    let first = (0..pieces).find(|piece| !have.contains(skep_engine::PieceIndex(*piece)));
    let message = format!(
        "{} of {} in {} differ from the torrent, the first is number {}",
        bad,
        count(u64::from(pieces), "piece"),
        data.display(),
        first.expect("some piece is bad")
    );
    Failure::with_help(
        Exit::Failed,
        message,
        "the content changed after the torrent was made, or is another one; nothing was served",
    )
}

//! Owns `skep torrent create`: makes a metainfo file of a file or folder.
//!
//! Invariant: the metainfo file appears whole or not at all, and replaces nothing unless told to.

use std::io;
use std::path::Path;

use skep_engine::metainfo::Metainfo;
use skep_engine::metainfo::create::{CreateOptions, create_from_path};
use skep_engine::tracker::target::tracker_target;

use super::show::essentials;
use crate::args::CreateArgs;
use crate::failure::{Exit, Failure, print, tell};
use crate::humane::{count, plain, size};
use crate::real::progress::Screen;
use crate::whole;

/// Runs the command.
pub fn run(args: &CreateArgs) -> Result<Exit, Failure> {
    let output = args.output.as_path();
    if !args.force && output.symlink_metadata().is_ok() {
        return Err(exists(output));
    }
    let mut urls = args.announce.iter().flat_map(|tier| &tier.0);
    if !urls.any(|url| tracker_target(url).is_ok()) {
        tell("note: no tracker here is http:// or udp://, the kinds that Skep itself can ask\n");
    }
    let options = CreateOptions {
        piece_bytes: args.piece,
        announce: args.announce.iter().map(|tier| tier.0.clone()).collect(),
        web_seeds: args.web_seed.clone(),
        source: args.source.clone(),
        pad: args.pad,
        comment: args.comment.clone(),
        created_by: Some(concat!("Skep ", env!("CARGO_PKG_VERSION")).to_owned()),
        creation_date: args.date,
        private: args.private,
    };
    let mut screen = Screen::new("hashing");
    let bytes = create_from_path(&args.path, &options, &mut |done, total| {
        screen.show(done, total, "");
    });
    screen.clear();
    let bytes = bytes.map_err(|error| Failure::new(Exit::Failed, plain(&error.to_string())))?;
    whole::write(output, &bytes, args.force).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(output),
        _ => whole::cannot(output, &error),
    })?;
    let meta = Metainfo::parse(&bytes).expect("create_from_path has parsed it");
    let pieces = count(u64::from(meta.geometry.pieces), "piece");
    let each = size(u64::from(meta.geometry.piece_bytes));
    print(&format!(
        "{}pieces      {pieces} of {each}\nwritten to  {}\n",
        essentials(&meta),
        output.display()
    ))?;
    Ok(Exit::Ok)
}

fn exists(output: &Path) -> Failure {
    Failure::with_help(
        Exit::Failed,
        format!("{} is there already; it was not touched", output.display()),
        "give --force to replace it",
    )
}

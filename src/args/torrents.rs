//! Owns the arguments of the commands that work on metainfo files.

use std::path::PathBuf;

use clap::Subcommand;
use skep_engine::tracker::target::tracker_target;
use skep_sim::scenario::units;

use super::said;

#[derive(Subcommand, Debug)]
#[command(after_help = "\
Examples:
  skep torrent create film.mkv --announce http://127.0.0.1:6969/announce \\
      -o film.torrent
  skep torrent show film.torrent
  skep torrent verify film.torrent --dir downloads")]
pub enum TorrentCommand {
    /// Make a metainfo file of a file or folder.
    Create(CreateArgs),
    /// Show what a metainfo file says.
    Show(ShowArgs),
    /// Check which of a torrent's files are here, whole and right.
    Verify(VerifyArgs),
}

/// Make a metainfo file of a file or folder.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  skep torrent create film.mkv --announce http://127.0.0.1:6969/announce \\
      -o film.torrent
  skep torrent create album --announce http://tracker.example/announce \\
      --piece 256KiB --comment 'recorded in May' -o album.torrent

The same content and options always give the same file: the date is left out
unless --date is given.")]
pub struct CreateArgs {
    /// The file or folder to share.
    pub path: PathBuf,
    /// A tracker. Given more than once, clients try them in this order; several with commas between
    /// them are tried in any order. Skep itself can ask those that
    /// are `http://` or `udp://`.
    #[arg(long, visible_alias = "tracker", value_name = "URL", required_unless_present = "web_seed",
        value_parser = announce_urls)]
    pub announce: Vec<Urls>,
    /// Size of a piece, a power of two; by default at most 2,000 pieces.
    #[arg(long, visible_alias = "piece-length", value_name = "SIZE", value_parser = piece)]
    pub piece: Option<u32>,
    /// The metainfo file to make.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// A text for people.
    #[arg(long, value_name = "TEXT")]
    pub comment: Option<String>,
    /// Peers may come from the trackers only.
    #[arg(long)]
    pub private: bool,
    /// A word that sets apart the same content on another tracker.
    #[arg(long, value_name = "TEXT")]
    pub source: Option<String>,
    /// A web server that has the content; may be given more than once. A URL that ends with `/` is the
    /// folder in which the file or folder is. Skep itself can ask those that are `http://`.
    #[arg(long, value_name = "URL", value_parser = web_seed)]
    pub web_seed: Vec<String>,
    /// Begin every file of a folder with a piece of its own: padding between them (BEP 47).
    #[arg(long)]
    pub pad: bool,
    /// Write down when it was made: seconds since 1970.
    #[arg(long, value_name = "SECONDS")]
    pub date: Option<i64>,
    /// Replace the metainfo file if there is one.
    #[arg(long)]
    pub force: bool,
}

/// Trackers of one tier.
#[derive(Clone, Debug)]
pub struct Urls(pub Vec<String>);

/// Show what a metainfo file says.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  skep torrent show film.torrent")]
pub struct ShowArgs {
    /// The metainfo file.
    #[arg(value_name = "FILE.torrent")]
    pub torrent: PathBuf,
    /// Print one JSON object.
    #[arg(long, conflicts_with = "magnet")]
    pub json: bool,
    /// Print the magnet link alone, on one line.
    #[arg(long)]
    pub magnet: bool,
}

/// Check which of a torrent's files are here, whole and right.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Every piece is hashed; nothing is changed. It ends with 0 when every file is
complete, and with 1 when something is missing or wrong.

Example:
  skep torrent verify film.torrent --dir downloads")]
pub struct VerifyArgs {
    /// The metainfo file.
    #[arg(value_name = "FILE.torrent")]
    pub torrent: PathBuf,
    /// The directory in which the torrent's file or folder is.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Other clients refuse what is no power of two, or smaller than a block.
fn piece(text: &str) -> Result<u32, String> {
    let bytes = units::size(text).map_err(said)?;
    match u32::try_from(bytes) {
        Ok(bytes) if bytes.is_power_of_two() && (14..=28).contains(&bytes.ilog2()) => Ok(bytes),
        _ => Err("a piece is a power of two from 16 KiB to 256 MiB: \"256 KiB\"".to_owned()),
    }
}

/// Any tracker that some client can use; one of ours must also be understood here.
fn announce_url(text: &str) -> Result<String, String> {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    match scheme.map(str::to_ascii_lowercase).as_deref() {
        Some("https") => Ok(text.to_owned()),
        _ => match tracker_target(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(error) => Err(error.to_string()),
        },
    }
}

/// Trackers of one tier, with commas between them.
fn announce_urls(text: &str) -> Result<Urls, String> {
    let urls = text.split(',').map(|url| announce_url(url.trim()));
    urls.collect::<Result<_, _>>().map(Urls)
}

fn web_seed(text: &str) -> Result<String, String> {
    let scheme = text
        .split_once("://")
        .map(|(scheme, _)| scheme.to_ascii_lowercase());
    match scheme.as_deref() {
        Some("http" | "https" | "ftp") => Ok(text.to_owned()),
        _ => Err("a web seed is a URL: \"https://example.org/files/\"".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_powers_of_two() {
        assert_eq!(piece("256KiB"), Ok(256 * 1024));
        assert_eq!(piece("16 KiB"), Ok(16 * 1024));
        for text in ["100 KiB", "8 KiB", "512 MiB", "256", "8 GiB"] {
            assert!(piece(text).is_err(), "{text}");
        }
    }

    #[test]
    fn trackers_have_a_known_scheme() {
        for (url, good) in [
            ("http://10.0.0.1:6969/announce", true),
            ("udp://tracker.example:80", true),
            ("https://tracker.example/announce", true),
            ("udp://tracker.example", false),
            ("http://:80/announce", false),
            ("tracker.example", false),
            ("ftp://tracker.example", false),
        ] {
            assert_eq!(announce_url(url).is_ok(), good, "{url}");
        }
        let tier = announce_urls("http://a/, udp://b:80").expect("both are good");
        assert_eq!(tier.0, ["http://a/", "udp://b:80"]);
        assert!(announce_urls("http://a/,").is_err());
    }
}

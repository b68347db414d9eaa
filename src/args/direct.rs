//! Owns the arguments of the commands of direct download.

use std::net::SocketAddr;
use std::path::PathBuf;

use skep_engine::config::RateLimit;
use skep_engine::direct::url::http_target;

use crate::real::limits::rate;

/// Serve a directory over HTTP: the server of a direct download.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Files are sent while they are read, whole or in parts; directories are listed.
Nothing outside DIR is served: symbolic links are followed as long as they
stay inside, hidden files (.NAME) and what is no file are not there. A line is
printed per answer. A connection beyond --connections is reset. Ctrl-C ends
it.

Examples:
  skep serve films
  skep serve films --listen 0.0.0.0:8000 --upload-limit '10 Mbit/s'")]
pub struct ServeArgs {
    /// The directory.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Where to listen; port 0 takes any free one.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8000")]
    pub listen: SocketAddr,
    /// Send no more than this, over all connections.
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub upload_limit: Option<RateLimit>,
    /// Serve at most so many connections at once; further ones are reset.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: Option<u32>,
}

/// Fetch a file over HTTP: the client of a direct download.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
The file is called NAME.part until it is complete; no file is ever replaced.
After an interruption the same command goes on where it was, if the server's
file is still the same one, and else begins anew. It ends with 0 when the file
is complete and durable, and is the one with that SHA-256 if one is given.
Ctrl-C keeps what is there and ends with 1.

Examples:
  skep fetch http://127.0.0.1:8000/film.mkv --dir downloads
  skep fetch http://mirror.example/disk.img --json \\
      --sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
pub struct FetchArgs {
    /// Where it is: `http://` only.
    #[arg(value_name = "URL", value_parser = url)]
    pub url: String,
    /// An existing directory for the file.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
    /// What to call it; by default as the URL does.
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub name: Option<String>,
    /// The SHA-256 that it must have: 64 hexadecimal digits.
    #[arg(long, value_name = "HEX", value_parser = sha256)]
    pub sha256: Option<[u8; 32]>,
    /// Give up after so many failures in a row without a byte gained.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub retries: u32,
    /// Print one JSON object at the end.
    #[arg(long)]
    pub json: bool,
}

fn url(text: &str) -> Result<String, String> {
    if text.contains(char::is_control) {
        return Err("a URL has no control characters".to_owned());
    }
    let text = text.trim();
    let target = http_target(text);
    target
        .map(|_| text.to_owned())
        .map_err(|error| match error {
            skep_engine::direct::url::UrlError::Https => {
                "https:// is not supported, only http:// is".to_owned()
            }
            error => error.to_string(),
        })
}

/// One name, not a path.
fn name(text: &str) -> Result<String, String> {
    let bad = |c: char| c.is_control() || matches!(c, '/' | '\\');
    if text.is_empty() || text == "." || text == ".." || text.len() > 240 || text.contains(bad) {
        return Err("a name of at most 240 bytes, without slashes".to_owned());
    }
    Ok(text.to_owned())
}

/// 64 hexadecimal digits.
fn sha256(text: &str) -> Result<[u8; 32], String> {
    let wrong = "a SHA-256 has 64 hexadecimal digits";
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(wrong.to_owned());
    }
    let mut digest = [0; 32];
    for (byte, digits) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).map_err(|_| wrong.to_owned())?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong.to_owned())?;
    }
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_has_sixty_four_digits() {
        let digest = sha256(&"0aF1".repeat(16)).unwrap();
        assert_eq!(digest[..3], [0x0a, 0xf1, 0x0a]);
        for text in ["", "00", &"0g".repeat(32), &"\u{e9}".repeat(32)] {
            assert!(sha256(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_http_can_be_fetched_and_a_name_is_no_path() {
        assert_eq!(url(" http://h/a ").as_deref(), Ok("http://h/a"));
        for text in ["https://h/a", "ftp://h/a", "h/a", "http://h/a\nb"] {
            assert!(url(text).is_err(), "{text}");
        }
        assert!(name("a b.mkv").is_ok());
        for text in ["", ".", "..", "a/b", "a\\b", "a\0"] {
            assert!(name(text).is_err(), "{text}");
        }
    }
}

//! Owns the clients nobody here wrote: how each is started, how it says that it is complete, how it is asked
//! to end.
//!
//! Invariant: DHT, local discovery, PEX, uTP and port mapping are off, but where a row asks for one: they
//! find each other through the tracker alone. Encryption is as each has it by default.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::json;

use crate::place::{Place, free_port};
use crate::support::{Ended, Process, until};

/// A client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Client {
    Aria2,
    Transmission,
    Libtorrent,
}

pub const ALL: [Client; 3] = [Client::Aria2, Client::Transmission, Client::Libtorrent];

/// Where a client shall take part.
pub struct Joining<'a> {
    pub at: &'a Place,
    pub torrent: &'a Path,
    /// The directory that holds or gets the content; its name is the client's.
    pub home: &'a Path,
    /// Most KiB it sends per second; 0 for no limit.
    pub up_kib_s: u64,
}

/// A running client.
pub struct Peer {
    client: Client,
    process: Process,
}

impl Client {
    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            Client::Aria2 => "aria2",
            Client::Transmission => "Transmission",
            Client::Libtorrent => "libtorrent",
        }
    }

    /// The first bytes of its peer ids.
    pub fn id_prefix(self) -> &'static str {
        match self {
            Client::Aria2 => "A2-",
            Client::Transmission => "-TR",
            Client::Libtorrent => "-LT",
        }
    }

    /// Transmission 3.00 does not create files without content.
    pub fn creates_empty_files(self) -> bool {
        self != Client::Transmission
    }

    /// What it says when every piece is there and verified.
    fn complete(self) -> &'static str {
        match self {
            Client::Aria2 => "&event=completed&",
            Client::Transmission => "to \"Complete\"",
            Client::Libtorrent => "\"complete\"",
        }
    }

    /// Starts it; it stays in the swarm until it is asked to end.
    pub fn start(self, joining: &Joining<'_>) -> Peer {
        self.start_with(joining, &[])
    }

    /// Starts it with more arguments of its own.
    pub fn start_with(self, joining: &Joining<'_>, more: &[&str]) -> Peer {
        let mut command = match self {
            Client::Aria2 => aria2(joining),
            Client::Transmission => transmission(joining),
            Client::Libtorrent => libtorrent(joining),
        };
        command.args(more);
        let home = joining.home;
        let name = home.file_name().and_then(|name| name.to_str());
        let dir = home.parent().expect("a directory in the scene's");
        Peer {
            client: self,
            process: Process::start(dir, name.expect("a name"), command),
        }
    }
}

impl Peer {
    /// Waits until it has everything.
    pub fn complete(&self) {
        self.says(self.client.complete());
    }

    /// Waits until it says this.
    pub fn says(&self, words: &str) {
        until(&format!("{} says {words:?}", self.client.name()), || {
            self.process.said().contains(words).then_some(())
        });
    }

    /// Waits until it says this, and returns the number that follows.
    pub fn value(&self, words: &str) -> u64 {
        until(&format!("{} says {words:?}", self.client.name()), || {
            let said = self.process.said();
            let (_, rest) = said.split_once(words)?;
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().ok()
        })
    }

    /// Asks it to end and waits for that: only then all is surely on its disk.
    pub fn ended(self) -> Ended {
        match self.client {
            Client::Aria2 => self.process.signal("INT"),
            Client::Transmission => self.process.signal("TERM"),
            // The end of its input.
            Client::Libtorrent => {}
        }
        self.process.ended()
    }
}

fn aria2(joining: &Joining<'_>) -> Command {
    let mut command = joining.at.command("aria2c");
    command
        .args(["--no-conf", "--enable-dht=false", "--enable-dht6=false"])
        .args(["--bt-enable-lpd=false", "--enable-peer-exchange=false"])
        .args(["--disable-ipv6=true", "--file-allocation=none"])
        .args(["--seed-time=60", "--seed-ratio=0", "--check-integrity=true"])
        .args(["--console-log-level=info", "--show-console-readout=false"])
        .arg(format!("--max-upload-limit={}K", joining.up_kib_s))
        .arg(format!("--listen-port={}", free_port()))
        .arg(format!("--dir={}", joining.home.display()))
        .arg(joining.torrent);
    command
}

fn transmission(joining: &Joining<'_>) -> Command {
    let config = joining.home.with_extension("config");
    let watch = config.join("watch");
    fs::create_dir_all(&watch).expect("a directory");
    let settings = json!({
        "dht-enabled": false,
        "lpd-enabled": false,
        "pex-enabled": false,
        "utp-enabled": false,
        "port-forwarding-enabled": false,
        "download-dir": joining.home,
        "watch-dir": watch,
        "watch-dir-enabled": true,
        "peer-port": free_port(),
        "rpc-enabled": false,
        "speed-limit-up-enabled": joining.up_kib_s > 0,
        "speed-limit-up": joining.up_kib_s,
    });
    fs::write(config.join("settings.json"), settings.to_string()).expect("written");
    fs::copy(joining.torrent, watch.join("album.torrent")).expect("copied");
    let mut command = joining.at.command("transmission-daemon");
    command.args(["--foreground", "--log-debug", "--config-dir"]);
    command.arg(config);
    command
}

fn libtorrent(joining: &Joining<'_>) -> Command {
    let python = python().expect("the row needs it");
    let mut command = joining.at.command(python);
    command
        .arg(script("lt_peer.py"))
        .arg(joining.torrent)
        .arg(joining.home)
        .arg(format!("{}:0", joining.at.ip))
        .args(["--up", &(joining.up_kib_s * 1024).to_string()]);
    command
}

/// A file beside this one.
pub fn script(name: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop");
    here.join(name)
}

/// A Python that can import libtorrent: the one that is named, the one that `.ci/run` makes, or the system's.
pub fn python() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/interop-venv/bin/python");
        let named = env::var_os("SKEP_INTEROP_PYTHON").map(PathBuf::from);
        let mut tried = named.into_iter().chain([ours, "python3".into()]);
        tried.find(|python| {
            let import = Command::new(python)
                .args(["-c", "import libtorrent"])
                .output();
            import.is_ok_and(|done| done.status.success())
        })
    };
    FOUND.get_or_init(find).as_deref()
}

/// A program that can be started.
pub fn installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

//! Owns where a client runs: on loopback, at this machine's own address, or in a network namespace of its
//! own.
//!
//! Transmission ignores peers in 127.0.0.0/8, and knows one peer per address; so it meets one other peer
//! at the machine's own address, and a whole swarm only where each client has a namespace.
//! Invariant: what was made is removed with its value. Nothing appears in the machine's own namespace.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};

/// A place for a client.
#[derive(Clone, Debug)]
pub struct Place {
    /// The address at which others find it.
    pub ip: Ipv4Addr,
    namespace: Option<String>,
}

impl Place {
    /// 127.0.0.1.
    pub fn loopback() -> Place {
        Place {
            ip: Ipv4Addr::LOCALHOST,
            namespace: None,
        }
    }

    /// This machine's own address. Nothing is sent to find it.
    pub fn own() -> Result<Place, String> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(|e| e.to_string())?;
        // An address for documentation: it only chooses the way out.
        let way = socket.connect((Ipv4Addr::new(203, 0, 113, 1), 9));
        way.map_err(|error| format!("no address but loopback: {error}"))?;
        match socket.local_addr().map(|at| at.ip()) {
            Ok(IpAddr::V4(ip)) if !ip.is_loopback() => Ok(Place {
                ip,
                namespace: None,
            }),
            _ => Err("no address but loopback".to_owned()),
        }
    }

    /// A command that will run here.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        match &self.namespace {
            None => Command::new(program),
            Some(name) => {
                // It becomes the program, under the same process id.
                let mut command = Command::new("ip");
                command.args(["netns", "exec", name]).arg(program);
                command
            }
        }
    }
}

/// A port that nobody had a moment ago, for programs that cannot choose one and say which.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Namespaces that see each other and nothing else.
pub struct Lan {
    names: Vec<String>,
    /// One per host.
    pub places: Vec<Place>,
}

impl Lan {
    /// So many hosts; why not, where this is not allowed.
    pub fn new(hosts: u8) -> Result<Lan, String> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let hub = format!("skep-{}-{number}", process::id());
        let mut lan = Lan {
            names: Vec::new(),
            places: Vec::new(),
        };
        lan.add_namespace(&hub)?;
        ip(&format!("-n {hub} link add br0 type bridge"))?;
        ip(&format!("-n {hub} link set br0 up"))?;
        for host in 1..=hosts {
            let name = format!("{hub}-{host}");
            let address = Ipv4Addr::new(10, 77, 0, host);
            lan.add_namespace(&name)?;
            ip(&format!(
                "link add v{host} netns {hub} type veth peer name eth0 netns {name}"
            ))?;
            ip(&format!("-n {hub} link set v{host} master br0 up"))?;
            ip(&format!("-n {name} addr add {address}/24 dev eth0"))?;
            ip(&format!("-n {name} link set eth0 up"))?;
            ip(&format!("-n {name} link set lo up"))?;
            lan.places.push(Place {
                ip: address,
                namespace: Some(name),
            });
        }
        Ok(lan)
    }

    fn add_namespace(&mut self, name: &str) -> Result<(), String> {
        ip(&format!("netns add {name}"))?;
        self.names.push(name.to_owned());
        Ok(())
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for name in &self.names {
            // Its links go with it.
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

/// Runs `ip` with these words.
fn ip(words: &str) -> Result<(), String> {
    let done = Command::new("ip").args(words.split(' ')).output();
    let done = done.map_err(|error| format!("ip: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(format!("ip {words}: {}", said.trim()))
}

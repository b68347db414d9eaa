//! Owns the rows of direct download: curl and wget fetch from our server, and we fetch from nginx; each is
//! interrupted and goes on where it was.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::place::{Place, free_port};
use crate::row::{Need, Row, Shown};
use crate::scene::Scene;
use crate::support::{Process, until};

/// The file, and its bytes.
const FILE: (&str, u64) = ("album/a side.flac", 11 * 1024 * 1024 + 1);

/// Its name as a URL has it.
const NAME: &str = "a%20side.flac";

pub fn rows() -> Vec<Row> {
    let row = |name: &str, needs: &[&'static str], run: fn() -> Shown| Row {
        name: name.to_owned(),
        needs: needs.iter().map(|program| Need::Program(program)).collect(),
        run: Box::new(run),
    };
    vec![
        row("curl from skep serve, interrupted", &["curl"], || {
            theirs(curl)
        }),
        row("wget from skep serve, interrupted", &["wget"], || {
            theirs(wget)
        }),
        row("skep fetch from nginx, interrupted", &["nginx"], from_nginx),
        row(
            "skep fetch from nginx, changed meanwhile",
            &["nginx"],
            changed_at_nginx,
        ),
    ]
}

/// `curl --continue-at -`.
fn curl(at: &Place, url: &str, rate: Option<&str>) -> Command {
    let mut command = at.command("curl");
    command.args(["--disable", "--noproxy", "*"]);
    command.args(["--silent", "--show-error", "--fail", "--continue-at", "-"]);
    command.args(["--output", "a side.flac", url]);
    if let Some(rate) = rate {
        command.args(["--limit-rate", rate]);
    }
    command
}

/// `wget --continue`.
fn wget(at: &Place, url: &str, rate: Option<&str>) -> Command {
    let mut command = at.command("wget");
    command.args([
        "--no-config",
        "--no-verbose",
        "--no-proxy",
        "--continue",
        url,
    ]);
    command.args(rate.map(|rate| format!("--limit-rate={rate}")));
    command
}

fn same(scene: &Scene, got: &Path) {
    let read = |path: &Path| fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(read(got) == read(&scene.path(FILE.0)), "it differs");
}

/// Waits until there is something at a path.
fn begun(path: &Path) -> u64 {
    until("something is there", || {
        let len = fs::metadata(path).ok()?.len();
        (len > 0).then_some(len)
    })
}

fn theirs(client: fn(&Place, &str, Option<&str>) -> Command) -> Shown {
    let (scene, at) = (Scene::new(), Place::loopback());
    let listen = format!("{}:0", at.ip);
    let mut server = scene.skep(&at, "serve", &["serve", "album", "--listen", &listen]);
    let url = format!("http://{}{NAME}", server.says("at http://"));
    let home = scene.home("theirs");
    let got = home.join("a side.flac");
    let slow = Process::start(&home, "slow", client(&at, &url, Some("2M")));
    begun(&got);
    slow.signal("KILL");
    slow.ended();
    let from = fs::metadata(&got).expect("a part").len();
    assert!(from < FILE.1, "it was interrupted");
    let ended = Process::start(&home, "again", client(&at, &url, None)).ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    same(&scene, &got);
    server.signal("INT");
    let log = server.ended().out;
    assert!(
        log.contains(&format!("206  GET /{NAME} from byte {from}")),
        "{log}"
    );
    Shown {
        bytes: FILE.1,
        note: format!("resumed at {from}"),
    }
}

/// nginx that serves a directory, with a configuration of its own; the URL of the directory. A rate of 0: no limit.
pub fn nginx(scene: &Scene, at: &Place, root: &Path, rate: &str) -> (Process, String) {
    let port = free_port();
    let home: PathBuf = scene.home("nginx");
    let config = format!(
        "daemon off;\nmaster_process off;\nworker_processes 1;\npid {0}/pid;\nerror_log {0}/error.log;\n\
         events {{ worker_connections 64; }}\n\
         http {{\n access_log off;\n client_body_temp_path {0}/body;\n proxy_temp_path {0}/proxy;\n\
         fastcgi_temp_path {0}/fastcgi;\n uwsgi_temp_path {0}/uwsgi;\n scgi_temp_path {0}/scgi;\n\
         server {{ listen {1}:{port}; root \"{2}\"; limit_rate {rate}; }}\n}}\n",
        home.display(),
        at.ip,
        root.display(),
    );
    fs::write(home.join("nginx.conf"), config).expect("written");
    let mut command = at.command("nginx");
    command.arg("-e").arg(home.join("error.log"));
    command
        .arg("-p")
        .arg(&home)
        .arg("-c")
        .arg(home.join("nginx.conf"));
    let process = Process::start(scene.dir(), "nginx-said", command);
    until("nginx listens", || {
        TcpStream::connect((at.ip, port)).ok().map(drop)
    });
    (process, format!("http://{}:{port}/", at.ip))
}

/// Our client, interrupted when something is there; then again, to its end. What that reports.
fn twice(scene: &Scene, at: &Place, url: &str, between: impl FnOnce()) -> Value {
    let home = scene.home("ours");
    let args = ["fetch", url, "--dir", "ours", "--json"];
    let slow = scene.skep(at, "slow", &args);
    begun(&home.join("a side.flac.part"));
    slow.signal("INT");
    let ended = slow.ended();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    between();
    let ended = scene.skep(at, "again", &args).ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    same(scene, &home.join("a side.flac"));
    serde_json::from_str(&ended.out).expect("one object")
}

fn from_nginx() -> Shown {
    let (scene, at) = (Scene::new(), Place::loopback());
    let (_nginx, root) = nginx(&scene, &at, &scene.path("album"), "4m");
    let report = twice(&scene, &at, &format!("{root}{NAME}"), || {});
    let from = report["resumed_from"].as_u64().expect("it was resumed");
    assert_eq!(report["received"], FILE.1 - from, "{report}");
    Shown {
        bytes: FILE.1,
        note: format!("resumed at {from}"),
    }
}

fn changed_at_nginx() -> Shown {
    let (scene, at) = (Scene::new(), Place::loopback());
    let (_nginx, root) = nginx(&scene, &at, &scene.path("album"), "4m");
    let file = scene.path(FILE.0);
    let report = twice(&scene, &at, &format!("{root}{NAME}"), || {
        let mut bytes = fs::read(&file).expect("it is there");
        bytes.rotate_left(1);
        bytes.pop();
        fs::write(&file, bytes).expect("written");
    });
    assert_eq!(report["started_over"], 1, "{report}");
    assert_eq!(report["received"], FILE.1 - 1, "{report}");
    Shown {
        bytes: FILE.1 - 1,
        note: "began anew".to_owned(),
    }
}

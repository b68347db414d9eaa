use super::*;
use crate::config::RateLimit;
use crate::direct::client::{HttpConnection, HttpError, Patience, Request as Ask};
use crate::direct::disk::{Entry, Listing};
use crate::direct::range::ByteRange;
use crate::direct::url::http_target;
use crate::direct::validator::EntityTag;
use crate::node::stream::fake::{FakeNet, addr, pair};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;
use tokio::task::LocalSet;

/// A directory in memory: files by their paths. Each read takes a moment.
#[derive(Clone, Default)]
pub(in super::super) struct MemDir {
    pub(in super::super) files: BTreeMap<String, Rc<Vec<u8>>>,
    /// Bytes of a file that can still be read before it is another one.
    pub(in super::super) lasts: Rc<Cell<Option<u64>>>,
    /// Bytes in blocks that were read and not yet dropped by their reader.
    reads: Rc<Cell<u64>>,
}

pub(in super::super) struct MemFile {
    bytes: Rc<Vec<u8>>,
    version: Version,
    dir: MemDir,
}

impl ServedFile for MemFile {
    fn version(&self) -> &Version {
        &self.version
    }

    fn read(&self, offset: u64, len: u32) -> impl Future<Output = io::Result<Bytes>> + 'static {
        let from = usize::try_from(offset).unwrap();
        let data = Bytes::copy_from_slice(&self.bytes[from..from + len as usize]);
        self.dir.reads.set(self.dir.reads.get() + 1);
        let changed = self.dir.lasts.get().is_some_and(|lasts| offset >= lasts);
        async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            match changed {
                true => Err(io::Error::other("it is another file")),
                false => Ok(data),
            }
        }
    }
}

impl ServedDir for MemDir {
    type File = MemFile;

    fn find(
        &self,
        path: &[String],
        entries_max: usize,
    ) -> impl Future<Output = Result<Found<MemFile>, FindError>> + 'static {
        let (dir, path) = (self.clone(), path.join("/"));
        async move {
            match path.as_str() {
                "busy" => return Err(FindError::Busy),
                "broken" => return Err(FindError::Disk(io::ErrorKind::Other.into())),
                _ => {}
            }
            if let Some(bytes) = dir.files.get(&path).cloned() {
                let version = Version {
                    len: bytes.len() as u64,
                    tag: EntityTag::of_file(bytes.len() as u64, 7, 7, false),
                    modified: Some(HttpDate::at(1_000_000)),
                };
                return Ok(Found::File(MemFile {
                    bytes,
                    version,
                    dir,
                }));
            }
            let under = if path.is_empty() { path } else { path + "/" };
            let inside = dir.files.iter().filter_map(|(name, bytes)| {
                let rest = name.strip_prefix(&under)?;
                let (name, len) = match rest.split_once('/') {
                    Some((folder, _)) => (folder, None),
                    None => (rest, Some(bytes.len() as u64)),
                };
                Some(Entry {
                    name: name.to_owned(),
                    len,
                    modified: None,
                })
            });
            let entries: Vec<_> = inside.take(entries_max).collect();
            if entries.is_empty() && !under.is_empty() {
                return Err(FindError::Nothing);
            }
            Ok(Found::Directory(Listing {
                entries,
                cut: false,
            }))
        }
    }
}

type Heard = Rc<RefCell<Vec<ServerEvent>>>;

/// A server with these files on one host, and `client` on the other, which gets its network.
pub(in super::super) async fn with_server<T, F: Future<Output = T>>(
    dir: MemDir,
    config: EngineConfig,
    client: impl FnOnce(FakeNet) -> F,
) -> (T, Vec<ServerEvent>) {
    let heard = Heard::default();
    let ear = Rc::clone(&heard);
    let (net, server_net) = pair();
    let setup = FileServerSetup {
        listen: addr(1, 80),
        dir,
        config,
        epoch: Instant::now(),
        date: Some(|| HttpDate::at(2_000_000)),
    };
    let observer = move |_, event| ear.borrow_mut().push(event);
    let server = FileServer::new(server_net, setup, observer).unwrap();
    let both = async {
        let (mut client, mut server) = (pin!(client(net)), pin!(server.run()));
        poll_fn(|cx| {
            let done = client.as_mut().poll(cx);
            assert!(server.as_mut().poll(cx).is_pending());
            done
        })
        .await
    };
    let result = LocalSet::new().run_until(both).await;
    let heard = heard.take();
    (result, heard)
}

pub(in super::super) fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| (n / 251 + n).to_le_bytes()[0]).collect()
}

pub(in super::super) fn dir() -> MemDir {
    let files = [
        ("a.txt", content(100)),
        ("empty", Vec::new()),
        ("films/big one.mkv", content(1_000_000)),
    ];
    MemDir {
        files: files
            .map(|(name, bytes)| (name.to_owned(), Rc::new(bytes)))
            .into(),
        ..MemDir::default()
    }
}

/// Drives a client's work over a patient hub.
async fn over<T, F: Future<Output = T>>(
    net: &mut FakeNet,
    work: impl FnOnce(ConnStream) -> F,
) -> T {
    let mut hub = StreamHub::patient(100_000);
    let stream = hub.open(net.connect(addr(1, 80)));
    let mut work = pin!(work(stream));
    poll_fn(|cx| {
        let _ = hub.poll_network(net, cx);
        let polled = work.as_mut().poll(cx);
        hub.pump(net, cx);
        polled
    })
    .await
}

const PATIENCE: Patience = Patience {
    head: Duration::from_secs(20),
    silence: Duration::from_secs(20),
};

fn ask(path: &str) -> Ask {
    Ask::get(http_target(&format!("http://10.0.0.2{path}")).unwrap())
}

async fn body(connection: &mut HttpConnection) -> Result<Vec<u8>, HttpError> {
    let mut body = Vec::new();
    while let Some(piece) = connection.piece().await? {
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

#[tokio::test(start_paused = true)]
async fn files_and_their_parts_arrive_whole_over_one_connection() {
    let big = content(1_000_000);
    let config = EngineConfig {
        serve_block_bytes: 10_000,
        ..EngineConfig::default()
    };
    let ((), heard) = with_server(dir(), config, |mut net| async move {
        over(&mut net, async |stream| {
            let mut connection = HttpConnection::open(stream, PATIENCE).await.unwrap();
            let path = "/films/big%20one.mkv";
            let head = connection.send(&ask(path)).await.unwrap();
            assert_eq!((head.status.as_u16(), head.length), (200, Some(1_000_000)));
            assert_eq!(body(&mut connection).await.unwrap(), big);
            let tag = head.validators.if_range();
            assert!(tag.is_some());
            for range in [0..1, 9_999..10_001, 123_456..654_321, 999_999..1_000_000] {
                let mut part = ask(path);
                part.range = ByteRange::of(&range);
                part.if_range.clone_from(&tag);
                let head = connection.send(&part).await.unwrap();
                let said = ContentRange::Part {
                    range: range.clone(),
                    total: Some(1_000_000),
                };
                assert_eq!((head.status.as_u16(), head.range), (206, Some(Ok(said))));
                let wanted = range.start as usize..range.end as usize;
                assert_eq!(body(&mut connection).await.unwrap(), big[wanted]);
            }
            let mut part = ask(path);
            part.range = Some(ByteRange::from(1));
            part.if_range = Some("\"another\"".to_owned());
            let head = connection.send(&part).await.unwrap();
            assert_eq!((head.status.as_u16(), head.length), (200, Some(1_000_000)));
            assert_eq!(body(&mut connection).await.unwrap(), big);
            // The time of change names the state as well, and no other time does.
            for (at, status) in [(1_000_000, 206), (1_000_001, 200), (999_999, 200)] {
                part.if_range = Some(HttpDate::at(at).to_string());
                let head = connection.send(&part).await.unwrap();
                let from = if status == 206 { 1 } else { 0 };
                assert_eq!(head.status.as_u16(), status, "{at}");
                assert_eq!(head.range.is_some(), status == 206, "{at}");
                assert_eq!(body(&mut connection).await.unwrap(), big[from..]);
            }
            part.if_range = None;
            part.range = Some(ByteRange::from(1_000_000));
            let head = connection.send(&part).await.unwrap();
            let said = ContentRange::Unsatisfied { total: 1_000_000 };
            assert_eq!((head.status.as_u16(), head.range), (416, Some(Ok(said))));
            body(&mut connection).await.unwrap();
            let head = connection.send(&ask("/empty")).await.unwrap();
            assert_eq!((head.status.as_u16(), head.length), (200, Some(0)));
            assert_eq!(body(&mut connection).await.unwrap(), b"");
        })
        .await;
    })
    .await;
    let whole = heard.iter().filter(|event| {
        matches!(
            event,
            ServerEvent::Ended {
                bytes: 1_000_000,
                how: BodyEnd::Whole,
                ..
            }
        )
    });
    assert_eq!(whole.count(), 4);
    let sent: u64 = heard
        .iter()
        .map(|event| match event {
            ServerEvent::Sent { bytes, .. } => u64::from(*bytes),
            _ => 0,
        })
        .sum();
    assert_eq!(sent, 4_000_000 + 999_999 + 1 + 2 + 530_865 + 1);
}

/// What raw bytes are answered with, until the connection ends or nothing comes any more.
async fn raw(net: &mut FakeNet, request: &str) -> String {
    let conn = net.connect(addr(1, 80));
    net.send(conn, Bytes::from(request.replace('\n', "\r\n")));
    let mut got = Vec::new();
    loop {
        let next = tokio::time::timeout(Duration::from_secs(5), poll_fn(|cx| net.poll_event(cx)));
        match next.await {
            Ok(NetEvent::Data { data, .. }) => got.extend_from_slice(&data),
            Ok(NetEvent::Closed { .. }) => {
                got.extend_from_slice(b"[closed]");
                break;
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    net.close(conn, CloseHow::Reset);
    String::from_utf8_lossy(&got).into_owned()
}

#[tokio::test(start_paused = true)]
async fn every_request_has_its_answer() {
    let tag = EntityTag::of_file(100, 7, 7, false);
    let date = HttpDate::at(1_000_000);
    let checks = [
        (
            "GET /a.txt",
            String::new(),
            200,
            vec![
                "accept-ranges: bytes",
                "content-type: text/plain; charset=utf-8",
                "content-length: 100",
                "last-modified: Mon, 12 Jan 1970 13:46:40 GMT",
                "date: Sat, 24 Jan 1970 03:33:20 GMT",
            ],
        ),
        (
            "HEAD /a.txt",
            String::new(),
            200,
            vec!["content-length: 100"],
        ),
        (
            "HEAD /a.txt",
            "Range: bytes=1-2\n".into(),
            200,
            vec!["content-length: 100"],
        ),
        (
            "GET /a.txt",
            format!("If-None-Match: {tag}\n"),
            304,
            vec!["etag: "],
        ),
        (
            "GET /a.txt",
            format!("If-Modified-Since: {date}\n"),
            304,
            vec![],
        ),
        ("GET /a.txt", "If-Match: \"x\"\n".into(), 412, vec![]),
        (
            "GET /a.txt",
            "Range: bytes=90-\n".into(),
            206,
            vec!["content-range: bytes 90-99/100", "content-length: 10"],
        ),
        (
            "GET /a.txt",
            "Range: bytes=0-1,5-6\n".into(),
            200,
            vec!["content-length: 100"],
        ),
        (
            "GET /a.txt",
            "Range: bytes=100-\n".into(),
            416,
            vec!["content-range: bytes */100"],
        ),
        ("GET /a.txt?x=1", String::new(), 200, vec![]),
        ("GET /a.txt/", String::new(), 404, vec![]),
        (
            "GET /films",
            String::new(),
            301,
            vec!["location: /films/\r"],
        ),
        (
            "GET /films/",
            String::new(),
            200,
            vec!["text/html", "href=\"big%20one.mkv\"", ">1000000<"],
        ),
        (
            "GET /",
            String::new(),
            200,
            vec!["href=\"films/\"", "href=\"a.txt\""],
        ),
        ("GET /nothing", String::new(), 404, vec![]),
        ("GET /busy", String::new(), 503, vec![]),
        ("GET /broken", String::new(), 500, vec![]),
        ("GET /../a.txt", String::new(), 404, vec![]),
        ("GET /films/%2e%2e/a.txt", String::new(), 404, vec![]),
        (
            "POST /a.txt",
            "Content-Length: 0\n".into(),
            405,
            vec!["allow: GET, HEAD"],
        ),
    ];
    let ((), heard) = with_server(dir(), EngineConfig::default(), |mut net| async move {
        for (line, fields, status, says) in checks {
            let answer = raw(&mut net, &format!("{line} HTTP/1.1\nHost: x\n{fields}\n")).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{line}: {answer}"
            );
            for words in says {
                assert!(answer.contains(words), "{line}: {words}: {answer}");
            }
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            if line.starts_with("HEAD") || status == 304 {
                assert_eq!(body, "", "{line}");
                assert!(status != 304 || !head.contains("content-length"), "{head}");
            }
        }
        let answer = raw(&mut net, "GET / HTTP/1.1\n\n").await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "no host: {answer}");
        let answer = raw(&mut net, "GET / HTTP/1.0\n\n").await;
        assert!(
            answer.starts_with("HTTP/1.0 200 ") && answer.ends_with("[closed]"),
            "{answer}"
        );
    })
    .await;
    assert!(heard.len() >= 20);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_much_is_refused_and_the_server_lives_on() {
    let config = EngineConfig {
        serve_connections_max: 2,
        ..EngineConfig::default()
    };
    let (answers, heard) = with_server(dir(), config, |mut net| async move {
        let long = format!("GET / HTTP/1.1\nHost: x\nX: {}\n\n", "x".repeat(40_000));
        let long = raw(&mut net, &long).await;
        let garbage = raw(&mut net, "no HTTP at all\n\n").await;
        // Two who say nothing take the places; later they are idle for too long.
        let held = [net.connect(addr(1, 80)), net.connect(addr(1, 80))];
        let third = raw(&mut net, "GET /a.txt HTTP/1.1\nHost: x\n\n").await;
        let mut closed = Vec::new();
        while closed.len() < 2 {
            if let NetEvent::Closed { conn, .. } = poll_fn(|cx| net.poll_event(cx)).await {
                closed.push(conn);
            }
        }
        assert_eq!(closed, held);
        let later = raw(&mut net, "GET /a.txt HTTP/1.1\nHost: x\n\n").await;
        [long, garbage, third, later]
    })
    .await;
    let [long, garbage, third, later] = answers;
    assert!(
        long.starts_with("HTTP/1.1 431 ") && long.ends_with("[closed]"),
        "{long}"
    );
    assert!(garbage.starts_with("HTTP/1.1 400 "), "{garbage}");
    assert_eq!(third, "[closed]");
    assert!(later.starts_with("HTTP/1.1 200 "), "{later}");
    let turned_away = |event: &&ServerEvent| matches!(event, ServerEvent::TurnedAway { .. });
    assert_eq!(heard.iter().filter(turned_away).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_changes_meanwhile_cuts_the_connection() {
    let (dir, config) = (
        dir(),
        EngineConfig {
            serve_block_bytes: 10_000,
            ..EngineConfig::default()
        },
    );
    dir.lasts.set(Some(300_000));
    let (result, heard) = with_server(dir, config, |mut net| async move {
        over(&mut net, async |stream| {
            let mut connection = HttpConnection::open(stream, PATIENCE).await?;
            connection.send(&ask("/films/big%20one.mkv")).await?;
            body(&mut connection).await
        })
        .await
    })
    .await;
    assert_eq!(result, Err(HttpError::Lost));
    let how = |event: &ServerEvent| match event {
        ServerEvent::Ended { bytes, how, .. } => Some((*bytes, *how)),
        _ => None,
    };
    assert_eq!(heard.iter().find_map(how), Some((300_000, BodyEnd::Disk)));
}

#[tokio::test(start_paused = true)]
async fn it_sends_while_it_reads_and_reads_no_further_than_one_block_ahead() {
    let config = EngineConfig {
        serve_block_bytes: 50_000,
        ..EngineConfig::default()
    };
    let (dir, reads) = {
        let dir = dir();
        let reads = Rc::clone(&dir.reads);
        (dir, reads)
    };
    let ((), heard) = with_server(dir, config, |mut net| async move {
        // The network takes what it gets and never says that there is room.
        let conn = net.connect(addr(1, 80));
        net.send(
            conn,
            Bytes::from_static(b"GET /films/big%20one.mkv HTTP/1.1\r\nHost: x\r\n\r\n"),
        );
        net.hold_room_of_the_other_end();
        let mut got = 0;
        loop {
            match poll_fn(|cx| net.poll_event(cx)).await {
                NetEvent::Data { data, .. } => got += data.len() as u64,
                NetEvent::Closed { .. } => break,
                _ => {}
            }
        }
        // The file would be a million bytes: it was given up, as nobody took any.
        assert!(got <= super::super::stream::UNSENT_MAX, "{got}");
        assert!((2..=6).contains(&reads.get()), "{}", reads.get());
    })
    .await;
    let gone = |event: &ServerEvent| {
        matches!(
            event,
            ServerEvent::Ended {
                how: BodyEnd::Gone,
                ..
            }
        )
    };
    assert!(heard.iter().any(gone));
}

#[tokio::test(start_paused = true)]
async fn all_connections_together_keep_to_the_upload_limit() {
    let config = EngineConfig {
        upload_limit: RateLimit(100_000),
        // Waiting for one's turn is not idling.
        serve_idle_timeout: Duration::from_millis(50),
        ..EngineConfig::default()
    };
    let (took, _) = with_server(dir(), config, |mut net| async move {
        let began = Instant::now();
        over(&mut net, async |stream| {
            let mut connection = HttpConnection::open(stream, PATIENCE).await.unwrap();
            connection.send(&ask("/films/big%20one.mkv")).await.unwrap();
            assert_eq!(body(&mut connection).await.unwrap().len(), 1_000_000);
        })
        .await;
        began.elapsed()
    })
    .await;
    let seconds = took.as_secs_f64();
    assert!((9.5..10.5).contains(&seconds), "{seconds}");
}

use super::*;
use crate::direct::disk::{Kept, Origin};
use crate::direct::url::http_target;
use crate::ids::ConnId;
use crate::node::file_server::tests::{content, dir, with_server};
use crate::node::network::{CloseHow, NetEvent};
use crate::node::stream::fake::{FakeNet, addr, pair};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::future::pending;
use std::rc::Rc;

/// A disk in memory; what was not synced is lost in a crash.
#[derive(Clone, Default)]
struct MemDisk {
    bytes: Vec<u8>,
    synced: usize,
    origin: Origin,
    /// Time that each write takes.
    slow: Duration,
    /// Bytes that fit.
    room: Option<usize>,
    finished: bool,
}

impl MemDisk {
    fn crash(&mut self) {
        self.bytes.truncate(self.synced);
    }
}

impl FetchDisk for MemDisk {
    async fn kept(&mut self) -> io::Result<Option<Kept>> {
        let (len, origin) = (self.bytes.len() as u64, self.origin.clone());
        Ok((len > 0).then_some(Kept { len, origin }))
    }
    async fn begin(&mut self, origin: &Origin) -> io::Result<()> {
        (self.bytes, self.synced) = (Vec::new(), 0);
        self.origin = origin.clone();
        Ok(())
    }
    async fn append(&mut self, data: Bytes) -> io::Result<()> {
        tokio::time::sleep(self.slow).await;
        if self
            .room
            .is_some_and(|room| self.bytes.len() + data.len() > room)
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(&data);
        Ok(())
    }
    async fn sync(&mut self) -> io::Result<()> {
        self.synced = self.bytes.len();
        Ok(())
    }
    async fn sha256(&mut self) -> io::Result<[u8; 32]> {
        Ok(Sha256::digest(&self.bytes).into())
    }
    async fn finish(&mut self) -> io::Result<()> {
        self.finished = true;
        Ok(())
    }
}

type Heard = Rc<RefCell<Vec<FetchEvent>>>;

fn fetcher(net: FakeNet, config: EngineConfig) -> (Fetcher<FakeNet>, Heard) {
    let heard = Heard::default();
    let ear = Rc::clone(&heard);
    let observer = move |_, event| match event {
        FetchEvent::Received { .. } | FetchEvent::Asked { .. } => {}
        event => ear.borrow_mut().push(event),
    };
    let rng = ChaCha8Rng::seed_from_u64(1);
    (
        Fetcher::new(net, config, rng, Instant::now(), observer),
        heard,
    )
}

fn job(path: &str) -> FetchJob {
    let url = format!("http://10.0.0.2{path}");
    FetchJob {
        target: http_target(&url).unwrap(),
        url,
        sha256: None,
        len: None,
    }
}

const BIG: &str = "/films/big%20one.mkv";

#[tokio::test(start_paused = true)]
async fn a_slow_disk_slows_a_fast_server_down_and_breaks_nothing() {
    let config = EngineConfig {
        fetch_unread_max: 10_000,
        ..EngineConfig::default()
    };
    let (disk, _) = with_server(dir(), config.clone(), |net| async move {
        let (mut fetcher, heard) = fetcher(net, config);
        let mut disk = MemDisk {
            slow: Duration::from_secs(2),
            ..MemDisk::default()
        };
        let fetched = fetcher.fetch(&job(BIG), &mut disk, pending()).await;
        let all = Fetched {
            len: 1_000_000,
            received: 1_000_000,
        };
        assert_eq!(fetched, Ok(all));
        let len = 1_000_000;
        let events = [
            FetchEvent::Began { len: Some(len) },
            FetchEvent::Completed { len },
        ];
        assert_eq!(heard.take(), events);
        disk
    })
    .await;
    assert!(disk.finished && disk.bytes == content(1_000_000));
}

#[tokio::test(start_paused = true)]
async fn stopped_in_the_middle_it_goes_on_there_and_a_crash_costs_what_was_not_synced() {
    let config = EngineConfig {
        fetch_sync_bytes: 100_000,
        ..EngineConfig::default()
    };
    for crash in [false, true] {
        let config = config.clone();
        with_server(dir(), config.clone(), |net| async move {
            let (mut fetcher, heard) = fetcher(net, config);
            let mut disk = MemDisk {
                slow: Duration::from_millis(100),
                ..MemDisk::default()
            };
            let mut job = job(BIG);
            job.sha256 = Some(Sha256::digest(content(1_000_000)).into());
            let some_time = Duration::from_secs(1);
            if crash {
                let work = fetcher.fetch(&job, &mut disk, pending());
                assert!(tokio::time::timeout(some_time, work).await.is_err());
                disk.crash();
            } else {
                let stop = tokio::time::sleep(some_time);
                let stopped = fetcher.fetch(&job, &mut disk, stop).await;
                assert_eq!(stopped, Err(FetchError::Stopped));
                assert_eq!(disk.synced, disk.bytes.len());
            }
            let from = disk.bytes.len() as u64;
            assert!((100_000..900_000).contains(&from), "{from}");
            heard.take();
            disk.slow = Duration::ZERO;
            let fetched = fetcher.fetch(&job, &mut disk, pending()).await.unwrap();
            assert_eq!(
                (fetched.len, fetched.received),
                (1_000_000, 1_000_000 - from)
            );
            let len = Some(1_000_000);
            assert_eq!(heard.take()[0], FetchEvent::Resumed { from, len });
            assert!(disk.finished && disk.bytes == content(1_000_000));
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn another_file_under_the_url_is_fetched_from_its_start() {
    with_server(dir(), EngineConfig::default(), |net| async move {
        let (mut fetcher, heard) = fetcher(net, EngineConfig::default());
        let mut disk = MemDisk {
            bytes: vec![9; 50],
            origin: Origin {
                url: job("/a.txt").url,
                validators: crate::direct::validator::Validators {
                    tag: crate::direct::validator::EntityTag::parse("\"old\""),
                    modified: None,
                },
                len: Some(100),
            },
            ..MemDisk::default()
        };
        fetcher
            .fetch(&job("/a.txt"), &mut disk, pending())
            .await
            .unwrap();
        assert_eq!(disk.bytes, content(100));
        let over = FetchEvent::StartedOver {
            why: Fresh::Changed,
            dropped: 50,
            len: Some(100),
        };
        assert_eq!(heard.take()[0], over);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_had_is_given_up_with_its_reason() {
    with_server(dir(), EngineConfig::default(), |net| async move {
        let (mut fetcher, _) = fetcher(net, EngineConfig::default());
        let mut disk = MemDisk::default();
        let result = fetcher.fetch(&job("/nothing"), &mut disk, pending()).await;
        assert_eq!(result, Err(FetchError::Status(404)));
        let mut wrong = job("/a.txt");
        wrong.sha256 = Some([7; 32]);
        let result = fetcher.fetch(&wrong, &mut disk, pending()).await;
        let digest = Sha256::digest(content(100)).into();
        assert_eq!(result, Err(FetchError::WrongDigest(digest)));
        assert!(
            !disk.finished && disk.bytes.len() == 100,
            "it stays as the part"
        );
        // With the right one it is complete without another byte.
        wrong.sha256 = Some(digest);
        let fetched = fetcher.fetch(&wrong, &mut disk, pending()).await.unwrap();
        assert_eq!((fetched.len, fetched.received), (100, 0));
        let mut small = MemDisk {
            room: Some(500_000),
            ..MemDisk::default()
        };
        let result = fetcher.fetch(&job(BIG), &mut small, pending()).await;
        assert!(matches!(result, Err(FetchError::DiskFull(_))), "{result:?}");
        assert_eq!(small.synced, small.bytes.len());
    })
    .await;
}

/// A server that answers each connection as it is told: what it says, and how it ends.
async fn scripted(
    script: Vec<(&'static str, Option<CloseHow>)>,
) -> (
    Result<Fetched, FetchError>,
    MemDisk,
    Vec<FetchEvent>,
    Vec<String>,
) {
    let (net, mut server) = pair();
    server.listen(addr(1, 80)).unwrap();
    let (mut fetcher, heard) = fetcher(net, EngineConfig::default());
    let (mut disk, job) = (MemDisk::default(), job("/f"));
    let mut asked = Vec::new();
    let result = {
        let mut work = pin!(fetcher.fetch(&job, &mut disk, pending()));
        let mut script = script.into_iter();
        let asked = &mut asked;
        poll_fn(move |cx| {
            let polled = work.as_mut().poll(cx);
            while let Poll::Ready(event) = server.poll_event(cx) {
                if let NetEvent::Data { conn, data } = event {
                    asked.push(String::from_utf8_lossy(&data).into_owned());
                    let (says, close) = script.next().expect("no more questions than answers");
                    answer(&mut server, conn, says, close);
                }
            }
            polled
        })
        .await
    };
    (result, disk, heard.take(), asked)
}

fn answer(server: &mut FakeNet, conn: ConnId, says: &str, close: Option<CloseHow>) {
    server.send(conn, Bytes::from(says.replace('\n', "\r\n")));
    if let Some(how) = close {
        server.close(conn, how);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_breaks_stalls_and_is_busy_is_asked_until_the_file_is_whole() {
    let reset = Some(CloseHow::Reset);
    let (result, disk, heard, asked) = scripted(vec![
        ("HTTP/1.1 302 F\nLocation: g\nContent-Length: 0\n\n", None),
        (
            "HTTP/1.1 503 B\nRetry-After: 30\nContent-Length: 0\n\n",
            None,
        ),
        (
            "HTTP/1.1 200 OK\nETag: \"a\"\nContent-Length: 9\n\nabc",
            reset,
        ),
        (
            "HTTP/1.1 206 P\nETag: \"a\"\nContent-Range: bytes 3-8/9\nContent-Length: 6\n\nde",
            None,
        ),
        (
            "HTTP/1.1 206 P\nETag: \"a\"\nContent-Range: bytes 4-8/9\nContent-Length: 5\n\nwrong",
            None,
        ),
        (
            "HTTP/1.1 200 OK\nETag: \"a\"\nContent-Length: 9\n\nabcdefghi",
            None,
        ),
    ])
    .await;
    let fetched = Fetched {
        len: 9,
        received: 3 + 2 + 9,
    };
    assert_eq!(
        (result, disk.bytes.as_slice()),
        (Ok(fetched), b"abcdefghi".as_slice())
    );
    let kinds: Vec<_> = heard
        .iter()
        .map(|event| match event {
            FetchEvent::Retrying { why, .. } => format!("again: {why}"),
            FetchEvent::Moved { to } => format!("moved to {}", to.path_and_query),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "moved to /g",
            "again: the server answers 503",
            "Began { len: Some(9) }",
            "again: the connection was lost",
            "Resumed { from: 3, len: Some(9) }",
            "again: no answer in time",
            "again: the server's answer makes no sense",
            "StartedOver { why: NoRanges, dropped: 5, len: Some(9) }",
            "Completed { len: 9 }",
        ]
    );
    let lines: Vec<_> = asked
        .iter()
        .map(|asked| {
            let range = asked.lines().find(|line| line.starts_with("range"));
            format!(
                "{} {}",
                asked.split(' ').nth(1).unwrap(),
                range.unwrap_or("")
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            "/f ",
            "/g ",
            "/f ",
            "/f range: bytes=3-",
            "/f range: bytes=5-",
            "/f "
        ]
    );
    let pause = heard.iter().find_map(|event| match event {
        FetchEvent::Retrying { after, .. } => Some(*after),
        _ => None,
    });
    assert_eq!(pause, Some(Duration::from_secs(30)), "as the server said");
}

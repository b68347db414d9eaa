use super::*;
use std::future::poll_fn;
use std::task::Waker;

use bytes::Bytes;

use crate::direct::range::{Asked, ContentRange, parse_range};
use crate::ids::{BLOCK_BYTES, ConnId};
use crate::metainfo::create::{CreateOptions, Layout, PieceHasher, encode};
use crate::node::network::CloseHow;
use crate::node::stream::fake::{FakeNet, addr, pair};

const BLOCK: u64 = BLOCK_BYTES as u64;

/// How a server answers a request for a path and a range, if it has one; and whether it then closes.
type Answer = Box<dyn FnMut(&str, Option<&str>) -> (Vec<u8>, Option<CloseHow>)>;

/// A host with web seeds, and a web server at the other end of the network.
struct Scene {
    net: FakeNet,
    server: FakeNet,
    web: WebSeeds,
    geometry: Geometry,
    content: Vec<u8>,
    answer: Answer,
    /// Connections that the server saw, and lines of the requests with their ranges.
    opened: u32,
    asked: Vec<String>,
    heads: BTreeMap<ConnId, Vec<u8>>,
}

/// A folder of two files of 40,000 and 60,000 bytes with padding between them where asked, in pieces of two blocks.
fn meta(pad: bool) -> (Metainfo, Vec<u8>) {
    let lens = [40_000_u64, 60_000];
    let layout = Layout::Folder(vec![
        (vec!["one file".to_owned()], lens[0]),
        (vec!["sub".to_owned(), "two".to_owned()], lens[1]),
    ]);
    let options = CreateOptions {
        pad,
        ..CreateOptions::default()
    };
    let mut content: Vec<u8> = (0..lens[0]).map(|i| (i * 7 / 3) as u8).collect();
    if pad {
        content.resize(2 * 2 * BLOCK as usize, 0);
    }
    content.extend((0..lens[1]).map(|i| (i * 11 / 5) as u8));
    let mut hasher = PieceHasher::new(2 * BLOCK_BYTES);
    hasher.update(&content);
    let hashes = hasher.finish();
    let file = encode("folder", &layout, 2 * BLOCK_BYTES, &hashes, &options);
    (Metainfo::parse(&file).expect("just made"), content)
}

impl Scene {
    fn new(
        pad: bool,
        answer: impl FnMut(&str, Option<&str>) -> (Vec<u8>, Option<CloseHow>) + 'static,
    ) -> Scene {
        let (meta, content) = meta(pad);
        let (net, mut server) = pair();
        server.listen(addr(1, 80)).expect("it listens");
        let urls = [
            "http://10.0.0.2/d/".to_owned(),
            "https://10.0.0.2/".to_owned(),
        ];
        let setup = WebSeedsSetup::of(&meta, &urls);
        assert_eq!(setup.urls.len(), 1, "TLS is not spoken");
        Scene {
            net,
            server,
            web: WebSeeds::new(setup, meta.geometry, &EngineConfig::default()),
            geometry: meta.geometry,
            content,
            answer: Box::new(answer),
            opened: 0,
            asked: Vec::new(),
            heads: BTreeMap::new(),
        }
    }

    fn serve(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(event) = self.server.poll_event(cx) {
            match event {
                NetEvent::Opened { .. } => self.opened += 1,
                NetEvent::Data { conn, data } => {
                    let head = self.heads.entry(conn).or_default();
                    head.extend_from_slice(&data);
                    if !head.ends_with(b"\r\n\r\n") {
                        continue;
                    }
                    let text = String::from_utf8(std::mem::take(head)).expect("ASCII");
                    let path = text.split(' ').nth(1).expect("a path").to_owned();
                    let range = text.lines().find_map(|l| l.strip_prefix("range: "));
                    self.asked.push(format!("{path} {}", range.unwrap_or("-")));
                    let (answer, close) = (self.answer)(&path, range);
                    self.server.send(conn, Bytes::from(answer));
                    if let Some(how) = close {
                        self.server.close(conn, how);
                    }
                }
                _ => {}
            }
        }
    }

    /// The next input for the session; `None` when nothing happens any more.
    async fn next(&mut self) -> Option<Input> {
        let found = poll_fn(|cx| {
            loop {
                let polled = self.web.poll(&mut self.net, cx);
                self.web.pump(&mut self.net, cx);
                self.serve(cx);
                if polled.is_ready() {
                    return polled;
                }
                let Poll::Ready(event) = self.net.poll_event(cx) else {
                    return Poll::Pending;
                };
                assert!(self.web.on_event(event).is_none());
            }
        });
        tokio::time::timeout(Duration::from_secs(3600), found)
            .await
            .ok()
    }

    /// Fetches a range and checks every byte; why it failed, if it did.
    async fn get(&mut self, number: u64, range: Range<u64>) -> Option<FetchFailure> {
        self.web.fetch(0, number, range.clone());
        let mut at = range.start;
        while at < range.end {
            match self.next().await.expect("an answer or a failure") {
                Input::Fetched { fetch, range, data } => {
                    assert_eq!(fetch, number);
                    let start = self.geometry.offset(range.piece) + u64::from(range.begin);
                    assert_eq!((start, data.len()), (at, range.len as usize));
                    assert_eq!(data[..], self.content[at as usize..][..data.len()]);
                    at += data.len() as u64;
                }
                Input::FetchFailed { fetch, why } => {
                    assert_eq!(fetch, number);
                    return Some(why);
                }
                other => panic!("{other:?}"),
            }
        }
        None
    }
}

fn file(path: &str, content: &[u8]) -> Option<Vec<u8>> {
    match path {
        "/d/folder/one%20file" => Some(content[..40_000].to_vec()),
        "/d/folder/sub/two" => Some(content[content.len() - 60_000..].to_vec()),
        _ => None,
    }
}

fn head(status: &str, fields: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{fields}\r\n").into_bytes()
}

/// The answer of a good server to a request for a range.
fn good(pad: bool) -> impl FnMut(&str, Option<&str>) -> (Vec<u8>, Option<CloseHow>) {
    let (_, content) = meta(pad);
    move |path, range| {
        let Some(file) = file(path, &content) else {
            return (head("404 Not Found", "content-length: 0\r\n"), None);
        };
        let len = file.len() as u64;
        let Asked::Part(part) = parse_range(range.expect("a range is asked for"), len) else {
            panic!("{range:?}");
        };
        let said = ContentRange::Part {
            range: part.clone(),
            total: Some(len),
        };
        let bytes = &file[part.start as usize..part.end as usize];
        let fields = format!(
            "content-range: {said}\r\ncontent-length: {}\r\n",
            bytes.len()
        );
        (
            [head("206 Partial Content", &fields), bytes.to_vec()].concat(),
            None,
        )
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_is_looked_up_and_told() {
    let mut scene = Scene::new(false, good(false));
    scene.web.find(&mut scene.net, 0);
    let Some(Input::WebSeedFound { seed: 0, found }) = scene.next().await else {
        panic!("not found");
    };
    assert_eq!(found, Ok(addr(1, 80)));
    assert_eq!(scene.opened, 0, "a connection is opened when it is needed");
}

#[tokio::test(start_paused = true)]
async fn a_piece_that_spans_files_is_asked_for_file_by_file_on_one_connection() {
    let mut scene = Scene::new(false, good(false));
    assert_eq!(scene.get(1, 2 * BLOCK..4 * BLOCK).await, None);
    let total = scene.geometry.total;
    assert_eq!(scene.get(2, 4 * BLOCK..total).await, None);
    assert_eq!(
        scene.asked,
        [
            "/d/folder/one%20file bytes=32768-39999",
            "/d/folder/sub/two bytes=0-25535",
            "/d/folder/sub/two bytes=25536-59999",
        ]
    );
    assert_eq!(scene.opened, 1);
}

#[tokio::test(start_paused = true)]
async fn padding_is_made_here() {
    let mut scene = Scene::new(true, good(true));
    let total = scene.geometry.total;
    assert_eq!(scene.get(1, 0..total).await, None);
    assert_eq!(
        scene.asked,
        [
            "/d/folder/one%20file bytes=0-39999",
            "/d/folder/sub/two bytes=0-59999",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_kept_connection_that_the_server_closed_is_opened_anew() {
    let mut answer = good(false);
    let mut scene = Scene::new(false, move |path, range| {
        let (bytes, _) = answer(path, range);
        (bytes, Some(CloseHow::Finish))
    });
    for number in 0..3 {
        assert_eq!(scene.get(number, 0..2 * BLOCK).await, None);
    }
    assert_eq!(scene.opened, 3);
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_not_what_was_asked_for() {
    let body = |n: usize| vec![b'x'; n];
    let part = |range: &str, n: usize| {
        let fields = format!("content-range: {range}\r\ncontent-length: {n}\r\n");
        [head("206 Partial Content", &fields), body(n)].concat()
    };
    let wrong = FetchFailure::WrongRange;
    let cases: Vec<(Vec<u8>, FetchFailure)> = vec![
        (part("bytes 1-32768/40000", 32_768), wrong),
        (part("bytes 0-32767/40001", 32_768), wrong),
        (part("bytes 0-32766/40000", 32_767), wrong),
        (part("nonsense", 32_768), wrong),
        (
            [
                head("206 Partial Content", "content-length: 32768\r\n"),
                body(32_768),
            ]
            .concat(),
            wrong,
        ),
        (
            [head("200 OK", "content-length: 40000\r\n"), body(40_000)].concat(),
            wrong,
        ),
        (
            head(
                "206 Partial Content",
                "content-range: bytes 0-32767/40000\r\ncontent-encoding: gzip\r\n",
            ),
            wrong,
        ),
        (
            head("416 Range Not Satisfiable", "content-length: 0\r\n"),
            wrong,
        ),
        (
            head("404 Not Found", "content-length: 0\r\n"),
            FetchFailure::Absent(404),
        ),
        (
            head("410 Gone", "content-length: 0\r\n"),
            FetchFailure::Absent(410),
        ),
        (
            head("503 Busy", "retry-after: 7\r\ncontent-length: 0\r\n"),
            FetchFailure::Busy {
                retry_after: Some(Duration::from_secs(7)),
            },
        ),
        (
            head("500 Oh", "content-length: 0\r\n"),
            FetchFailure::Status(500),
        ),
        (b"SSH-2.0-x\r\n\r\n".to_vec(), FetchFailure::Broken),
        (
            head(
                "302 Found",
                "location: https://10.0.0.2/\r\ncontent-length: 0\r\n",
            ),
            FetchFailure::Redirected,
        ),
    ];
    for (answer, why) in cases {
        let text = String::from_utf8_lossy(&answer[..40.min(answer.len())]).into_owned();
        let mut scene = Scene::new(false, move |_, _| (answer.clone(), None));
        assert_eq!(scene.get(1, 0..2 * BLOCK).await, Some(why), "{text}");
        assert_eq!(scene.next().await.map(|input| format!("{input:?}")), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_whole_file_may_come_without_a_range() {
    let (_, content) = meta(true);
    let mut scene = Scene::new(true, move |path, _| {
        let file = file(path, &content).expect("a file of the torrent");
        let fields = format!("content-length: {}\r\n", file.len());
        ([head("200 OK", &fields), file].concat(), None)
    });
    let total = scene.geometry.total;
    assert_eq!(scene.get(1, 0..total).await, None);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_stops_midway_tells_what_came_and_fails() {
    for (close, why) in [
        (Some(CloseHow::Finish), FetchFailure::Broken),
        (Some(CloseHow::Reset), FetchFailure::Broken),
        (None, FetchFailure::TimedOut),
    ] {
        let mut answer = good(false);
        let mut scene = Scene::new(false, move |path, range| {
            let (mut bytes, _) = answer(path, range);
            bytes.truncate(bytes.len() - 10_000);
            (bytes, close)
        });
        scene.web.fetch(0, 1, 0..2 * BLOCK);
        let first = scene.next().await;
        assert!(matches!(first, Some(Input::Fetched { .. })), "{first:?}");
        let Some(Input::FetchFailed { why: got, .. }) = scene.next().await else {
            panic!("no failure");
        };
        assert_eq!(got, why);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_there_is_told_and_so_is_a_name_that_nobody_knows() {
    let mut scene = Scene::new(false, good(false));
    let (net, _nobody) = pair();
    scene.net = net;
    let why = scene.get(1, 0..BLOCK).await;
    assert_eq!(why, Some(FetchFailure::Unreachable));
    scene.web.seeds[0].url = "http://unknown.example/".to_owned();
    scene.web.find(&mut scene.net, 0);
    let Some(Input::WebSeedFound { found, .. }) = scene.next().await else {
        panic!("no answer");
    };
    assert_eq!(found, Err(FetchFailure::NoSuchHost));
}

#[tokio::test(start_paused = true)]
async fn redirects_are_followed_remembered_and_bounded() {
    let mut answer = good(false);
    let mut scene = Scene::new(false, move |path, range| {
        match path.strip_prefix("/elsewhere") {
            Some(path) => answer(path, range),
            None => {
                let there = format!("location: /elsewhere{path}\r\ncontent-length: 0\r\n");
                (head("302 Found", &there), None)
            }
        }
    });
    assert_eq!(scene.get(1, 0..BLOCK).await, None);
    assert_eq!(scene.get(2, BLOCK..2 * BLOCK).await, None);
    assert_eq!(
        scene.asked,
        [
            "/d/folder/one%20file bytes=0-16383",
            "/elsewhere/d/folder/one%20file bytes=0-16383",
            "/elsewhere/d/folder/one%20file bytes=16384-32767",
        ]
    );
    let mut scene = Scene::new(false, |path, _| {
        let there = format!("location: {path}x\r\ncontent-length: 0\r\n");
        (head("301 Moved", &there), None)
    });
    let why = scene.get(1, 0..BLOCK).await;
    assert_eq!(why, Some(FetchFailure::Redirected));
    assert_eq!(scene.asked.len(), 6, "one, and five redirects");
}

#[tokio::test(start_paused = true)]
async fn two_requests_go_side_by_side_and_one_that_is_stopped_says_nothing_more() {
    let mut scene = Scene::new(false, good(false));
    scene.web.fetch(0, 1, 0..2 * BLOCK);
    scene.web.fetch(0, 2, 2 * BLOCK..4 * BLOCK);
    let first = scene.next().await;
    assert!(
        matches!(first, Some(Input::Fetched { fetch: 1, .. })),
        "{first:?}"
    );
    scene.web.stop(0, 1);
    let mut blocks = 0;
    while let Some(input) = scene.next().await {
        assert!(
            matches!(input, Input::Fetched { fetch: 2, .. }),
            "{input:?}"
        );
        blocks += 1;
    }
    assert_eq!((blocks, scene.opened), (2, 2));
    // Who rests keeps no connection.
    scene.web.rest(0);
    scene
        .web
        .pump(&mut scene.net, &Context::from_waker(Waker::noop()));
    assert!(scene.web.hub.is_empty());
}

#[tokio::test(start_paused = true)]
async fn bytes_wait_unread_while_the_session_takes_none() {
    let mut scene = Scene::new(false, good(false));
    scene.web.hub = StreamHub::patient(BLOCK);
    scene.web.fetch(0, 1, 0..2 * BLOCK);
    let mut cx = Context::from_waker(Waker::noop());
    // The first polls open the connection and send the request.
    for _ in 0..3 {
        assert!(scene.web.poll(&mut scene.net, &mut cx).is_pending());
        scene.web.pump(&mut scene.net, &cx);
        while let Poll::Ready(event) = scene.net.poll_event(&mut cx) {
            scene.web.on_event(event);
        }
        scene.serve(&mut cx);
    }
    while let Poll::Ready(event) = scene.net.poll_event(&mut cx) {
        scene.web.on_event(event);
    }
    assert!(scene.web.is_full(&cx));
    assert_eq!(scene.get(2, 0..0).await, None);
    while scene.next().await.is_some() {}
    assert!(!scene.web.is_full(&cx));
}

use super::*;
use crate::direct::url::http_target;
use crate::ids::ConnId;
use crate::node::network::{CloseHow, NetEvent, Network};
use crate::node::stream::StreamHub;
use crate::node::stream::fake::{FakeNet, addr, drive, pair};
use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

const PATIENCE: Patience = Patience {
    head: Duration::from_secs(30),
    silence: Duration::from_secs(10),
};

/// What a server does when it has got the next whole request.
type Answers = Vec<(Vec<u8>, Option<CloseHow>)>;

/// Runs `client` over a connection to a server that gives these answers; returns what it got, too.
async fn against<T, F: Future<Output = T>>(
    answers: Answers,
    client: impl FnOnce(crate::node::stream::ConnStream) -> F,
) -> (T, String) {
    let (mut net, mut server) = pair();
    server.listen(addr(1, 80)).unwrap();
    let mut hub = StreamHub::new(1 << 20);
    let stream = hub.open(net.connect(addr(1, 80)));
    let got = Rc::new(RefCell::new(Vec::new()));
    let mut answers = answers.into_iter();
    let mut heard = 0;
    let mut client = pin!(client(stream));
    let both = poll_fn(|cx| {
        let polled = client.as_mut().poll(cx);
        while let Poll::Ready(event) = server.poll_event(cx) {
            if let NetEvent::Data { conn, data } = event {
                let mut got = got.borrow_mut();
                got.extend_from_slice(&data);
                let whole = got.windows(4).filter(|w| w == b"\r\n\r\n").count();
                while heard < whole {
                    heard += 1;
                    if let Some((answer, close)) = answers.next() {
                        reply(&mut server, conn, answer, close);
                    }
                }
            }
        }
        polled
    });
    let result = drive(&mut net, &mut hub, both).await;
    let got = got.borrow().clone();
    (result, String::from_utf8(got).unwrap())
}

fn reply(server: &mut FakeNet, conn: ConnId, answer: Vec<u8>, close: Option<CloseHow>) {
    if !answer.is_empty() {
        server.send(conn, Bytes::from(answer));
    }
    if let Some(how) = close {
        server.close(conn, how);
    }
}

fn get(path: &str) -> Request {
    Request::get(http_target(&format!("http://h.example:81{path}")).unwrap())
}

/// Everything that is left of the body.
async fn rest(connection: &mut HttpConnection) -> Result<Vec<u8>, HttpError> {
    let mut body = Vec::new();
    while let Some(piece) = connection.piece().await? {
        assert!(!piece.is_empty() && piece.len() <= HEAD_BYTES_MAX);
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

fn raw(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

#[tokio::test(start_paused = true)]
async fn requests_follow_each_other_on_one_connection() {
    let answers = vec![
        (
            raw(
                "HTTP/1.1 206 P\nContent-Length: 3\nContent-Range: bytes 1-3/9\nETag: \"a\"\n\nbcd",
            ),
            None,
        ),
        (raw("HTTP/1.1 200 OK\nContent-Length: 9\n\n"), None),
        (
            raw("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\nxyz\n0\n\n"),
            None,
        ),
        (
            raw("HTTP/1.1 200 OK\nConnection: close\n\nend"),
            Some(CloseHow::Finish),
        ),
    ];
    let ((), got) = against(answers, async |stream| {
        let mut connection = HttpConnection::open(stream, PATIENCE).await.unwrap();
        let mut part = get("/a");
        part.range = ByteRange::of(&(1..4));
        part.if_range = Some("\"a\"".to_owned());
        let head = connection.send(&part).await.unwrap();
        let range = Some(Ok(ContentRange::Part {
            range: 1..4,
            total: Some(9),
        }));
        assert_eq!(
            (head.status.as_u16(), head.length, head.range),
            (206, Some(3), range)
        );
        assert_eq!(head.validators.if_range().as_deref(), Some("\"a\""));
        assert!(!connection.is_reusable(), "its body is not read yet");
        assert_eq!(rest(&mut connection).await.unwrap(), b"bcd");
        assert!(connection.is_reusable());
        let mut only = get("/b");
        only.head_only = true;
        let head = connection.send(&only).await.unwrap();
        assert_eq!((head.length, head.range), (Some(9), None));
        assert_eq!(rest(&mut connection).await.unwrap(), b"");
        let head = connection.send(&get("/c")).await.unwrap();
        assert_eq!(head.length, None);
        assert_eq!(rest(&mut connection).await.unwrap(), b"xyz");
        let mut last = get("/d");
        last.last = true;
        connection.send(&last).await.unwrap();
        assert_eq!(rest(&mut connection).await.unwrap(), b"end");
        assert!(!connection.is_reusable());
    })
    .await;
    for line in [
        "GET /a HTTP/1.1\r\n",
        "host: h.example:81\r\n",
        "range: bytes=1-3\r\n",
        "if-range: \"a\"\r\n",
        "accept-encoding: identity\r\n",
        "HEAD /b HTTP/1.1\r\n",
        "connection: close\r\n",
    ] {
        assert!(got.contains(line), "{line}: {got}");
    }
    assert_eq!(got.matches("range: ").count(), 2, "only where there is one");
}

#[tokio::test(start_paused = true)]
async fn a_head_is_read_as_rfc_9110_has_it() {
    let seconds = |s| Some(Duration::from_secs(s));
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    for (fields, check) in [
        (
            "Retry-After: 120\n".to_owned(),
            Head {
                retry_after: seconds(120),
                ..plain()
            },
        ),
        (
            format!("Date: {date}\nRetry-After: Sun, 06 Nov 1994 08:50:37 GMT\n"),
            Head {
                retry_after: seconds(60),
                ..plain()
            },
        ),
        (
            "Retry-After: Sun, 06 Nov 1994 08:50:37 GMT\n".to_owned(),
            plain(),
        ),
        ("Retry-After: soon\n".to_owned(), plain()),
        (
            "Content-Encoding: gzip\n".to_owned(),
            Head {
                encoded: true,
                ..plain()
            },
        ),
        ("Content-Encoding: identity\n".to_owned(), plain()),
        (
            "Content-Range: bytes 9-1/5\n".to_owned(),
            Head {
                range: Some(Err(BadField)),
                ..plain()
            },
        ),
        ("ETag: no tag\n".to_owned(), plain()),
        (format!("Last-Modified: {date}\nDate: {date}\n"), plain()),
        (
            "Location: /there\n".to_owned(),
            Head {
                location: Some("/there".to_owned()),
                ..plain()
            },
        ),
    ] {
        let answer = raw(&format!("HTTP/1.1 200 OK\nContent-Length: 0\n{fields}\n"));
        let (head, _) = against(vec![(answer, None)], async |stream| {
            let mut connection = HttpConnection::open(stream, PATIENCE).await.unwrap();
            connection.send(&get("/")).await.unwrap()
        })
        .await;
        assert_eq!(head, check, "{fields}");
    }
}

fn plain() -> Head {
    Head {
        status: StatusCode::OK,
        length: Some(0),
        range: None,
        validators: Validators::default(),
        encoded: false,
        location: None,
        retry_after: None,
    }
}

#[test]
fn only_a_redirect_with_a_place_leads_elsewhere() {
    let target = http_target("http://t/a/b").unwrap();
    for (status, location, leads) in [
        (302, Some("../c"), Some(Ok("/c"))),
        (308, Some("https://t/"), Some(Err(UrlError::Https))),
        (302, None, None),
        (200, Some("/c"), None),
        (304, Some("/c"), None),
    ] {
        let head = Head {
            status: StatusCode::from_u16(status).unwrap(),
            location: location.map(str::to_owned),
            ..plain()
        };
        let to = head
            .redirect(&target)
            .map(|to| to.map(|to| to.path_and_query));
        assert_eq!(to, leads.map(|to| to.map(str::to_owned)), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_goes_wrong_has_a_name() {
    let long = format!("HTTP/1.1 200 OK\nX: {}\n\n", "x".repeat(2 * HEAD_BYTES_MAX));
    let half = "HTTP/1.1 200 OK\nContent-Length: 9\n\nhalf";
    for (case, answer, close, error) in [
        ("no HTTP", "SSH-2.0-x\n\n", None, HttpError::Garbage),
        ("long head", &long, None, HttpError::Garbage),
        ("closed", "", Some(CloseHow::Finish), HttpError::Lost),
        ("reset", "", Some(CloseHow::Reset), HttpError::Lost),
        ("no head", "", None, HttpError::Silent),
        ("cut", half, Some(CloseHow::Finish), HttpError::Lost),
        (
            "cut by a reset",
            half,
            Some(CloseHow::Reset),
            HttpError::Lost,
        ),
        ("half", half, None, HttpError::Silent),
        (
            "bad chunks",
            "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\nzz\nxyz\n",
            None,
            HttpError::Lost,
        ),
    ] {
        let (result, _) = against(vec![(raw(answer), close)], async |stream| {
            let mut connection = HttpConnection::open(stream, PATIENCE).await?;
            connection.send(&get("/")).await?;
            rest(&mut connection).await
        })
        .await;
        assert_eq!(result, Err(error), "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_there_is_a_refusal() {
    let (mut net, _nobody) = pair();
    let mut hub = StreamHub::new(1000);
    let stream = hub.open(net.connect(addr(1, 80)));
    let asks = async {
        let mut connection = HttpConnection::open(stream, PATIENCE).await?;
        connection.send(&get("/")).await
    };
    assert_eq!(
        drive(&mut net, &mut hub, asks).await,
        Err(HttpError::Refused)
    );
}

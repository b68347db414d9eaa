//! Owns one announce, or one scrape, over one connection: HTTP/1.1 by hyper, one request, one answer.
//!
//! Invariant: nothing outlives the call and nothing is spawned. The tracker's answer is bounded before it is
//! held in memory, and so is the time for it. A redirect is told, not followed: that takes another
//! connection.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::StatusCode;

use super::stream::ConnStream;
use crate::direct::client::{HEAD_BYTES_MAX, HttpConnection, HttpError, Patience, Request};
use crate::tracker::announce::{AnnounceFailure, Answer, Question};
use crate::tracker::http::{
    HttpTarget, announce_query, parse_reply, parse_scrape_reply, redirect_target, scrape_query,
};

/// What a hub with streams for these calls must let one connection hold unread: a whole answer of at
/// most `reply_bytes`, which may arrive before it is looked at, and its head.
#[must_use]
pub fn unread_max(reply_bytes: u64) -> u64 {
    reply_bytes.saturating_mul(2).max(HEAD_BYTES_MAX as u64)
}

/// What a tracker may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// From now to the whole answer.
    pub time: Duration,
    /// Bytes of the answer, without its head.
    pub reply_bytes: u64,
}

/// What came of a question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    /// The answer.
    Answer(Answer),
    /// The tracker is elsewhere: ask there, with [`ask`] told so.
    Moved(HttpTarget),
}

/// Asks over `stream`, a connection to `target` that stands or is being opened. `moved`: the target came
/// from [`Heard::Moved`] and holds the question already. The target of a scrape is made of a [`crate::tracker::http::scrape_url`]; its answer
/// may name other torrents than those asked for.
///
/// # Errors
/// See [`AnnounceFailure`].
pub async fn ask(
    stream: ConnStream,
    target: &HttpTarget,
    question: &Question,
    moved: bool,
    limits: Limits,
) -> Result<Heard, AnnounceFailure> {
    let query = match question {
        Question::Announce(request) => announce_query(request, request.compact),
        Question::Scrape(torrents) => scrape_query(torrents),
    };
    let mut request = Request::get(target.clone());
    request.last = true;
    if !moved {
        request.target.path_and_query = target.with_query(&query);
    }
    let exchange = exchange(stream, &request, limits);
    let page = match tokio::time::timeout(limits.time, exchange).await {
        Ok(page) => page?,
        Err(_) => return Err(AnnounceFailure::TimedOut),
    };
    match page {
        Page::Moved(status, location) => redirect_target(target, &location, &query)
            .map(Heard::Moved)
            .map_err(|_| AnnounceFailure::Status(status.as_u16())),
        Page::Whole(body) => Ok(Heard::Answer(match question {
            Question::Announce(_) => Answer::Announced(parse_reply(&body)?),
            Question::Scrape(_) => Answer::Scraped(parse_scrape_reply(&body)?),
        })),
    }
}

/// What a server answers.
enum Page {
    Whole(Bytes),
    Moved(StatusCode, String),
}

async fn exchange(
    stream: ConnStream,
    request: &Request,
    limits: Limits,
) -> Result<Page, AnnounceFailure> {
    // One limit for all of it stands above this.
    let patience = Patience {
        head: limits.time,
        silence: limits.time,
    };
    let mut connection = HttpConnection::open(stream, patience).await?;
    let head = connection.send(request).await?;
    if head.status != StatusCode::OK {
        let location = head.location.filter(|_| head.status.is_redirection());
        return match location {
            Some(to) => Ok(Page::Moved(head.status, to)),
            None => Err(AnnounceFailure::Status(head.status.as_u16())),
        };
    }
    let too_long = |bytes: u64| bytes > limits.reply_bytes;
    let mut body = BytesMut::new();
    if head.length.is_some_and(too_long) {
        return Err(AnnounceFailure::Garbage("it is too long"));
    }
    while let Some(piece) = connection.piece().await? {
        body.extend_from_slice(&piece);
        if too_long(body.len() as u64) {
            return Err(AnnounceFailure::Garbage("it is too long"));
        }
    }
    Ok(Page::Whole(body.freeze()))
}

impl From<HttpError> for AnnounceFailure {
    fn from(error: HttpError) -> AnnounceFailure {
        match error {
            HttpError::Garbage => AnnounceFailure::Garbage("it is not HTTP"),
            HttpError::Silent => AnnounceFailure::TimedOut,
            _ => AnnounceFailure::Unreachable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ConnId, InfoHash, PeerId};
    use crate::node::network::{CloseHow, NetEvent, Network};
    use crate::node::stream::StreamHub;
    use crate::node::stream::fake::{addr, drive, pair};
    use crate::tracker::announce::{AnnounceEvent, AnnounceReply, AnnounceRequest};
    use crate::tracker::http::announce_target;
    use std::future::{Future, poll_fn};
    use std::pin::pin;
    use std::task::Poll;

    const LIMITS: Limits = Limits {
        time: Duration::from_secs(15),
        reply_bytes: 1024 * 1024,
    };

    async fn announce(
        stream: ConnStream,
        target: &HttpTarget,
        request: &AnnounceRequest,
        limits: Limits,
    ) -> Result<AnnounceReply, AnnounceFailure> {
        let question = Question::Announce(Box::new(request.clone()));
        match ask(stream, target, &question, false, limits).await? {
            Heard::Answer(Answer::Announced(reply)) => Ok(reply),
            other => panic!("{other:?}"),
        }
    }

    fn request() -> AnnounceRequest {
        AnnounceRequest {
            info_hash: InfoHash([0xab; 20]),
            peer_id: PeerId(*b"-SK0001-............"),
            port: 6881,
            uploaded: 0,
            downloaded: 0,
            left: 1,
            event: AnnounceEvent::Started,
            wanted: 50,
            key: 1,
            tracker_id: None,
            compact: true,
        }
    }

    /// What the client makes of a server that answers the first bytes it gets with `reply`, and
    /// then closes the connection or not; and what the server got.
    async fn asks(
        reply: Vec<u8>,
        close: Option<CloseHow>,
    ) -> (Result<AnnounceReply, AnnounceFailure>, String) {
        let (mut net, mut server) = pair();
        server.listen(addr(1, 80)).unwrap();
        let mut hub = StreamHub::new(unread_max(LIMITS.reply_bytes));
        let stream = hub.open(net.connect(addr(1, 80)));
        let target = announce_target("http://10.0.0.2/announce?k=1").unwrap();
        let (mut got, mut reply) = (Vec::new(), Some(reply));
        let request = request();
        let mut client = pin!(announce(stream, &target, &request, LIMITS));
        let both = poll_fn(|cx| {
            let polled = client.as_mut().poll(cx);
            while let Poll::Ready(event) = server.poll_event(cx) {
                if let NetEvent::Data { conn, data } = event {
                    got.extend_from_slice(&data);
                    if let Some(reply) = reply.take() {
                        answer(&mut server, conn, reply, close);
                    }
                }
            }
            polled
        });
        let result = drive(&mut net, &mut hub, both).await;
        (result, String::from_utf8(got).unwrap())
    }

    fn answer(server: &mut impl Network, conn: ConnId, reply: Vec<u8>, close: Option<CloseHow>) {
        if !reply.is_empty() {
            server.send(conn, Bytes::from(reply));
        }
        if let Some(how) = close {
            server.close(conn, how);
        }
    }

    /// A `200 OK` with this body and its length.
    fn ok(body: &[u8]) -> Vec<u8> {
        let mut reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        reply.push_str(&String::from_utf8_lossy(body));
        reply.into_bytes()
    }

    #[tokio::test(start_paused = true)]
    async fn an_announce_is_one_get_with_all_its_headers() {
        let (reply, got) = asks(ok(b"d8:intervali77ee"), None).await;
        assert_eq!(reply.unwrap().interval, Some(Duration::from_secs(77)));
        let hash = "%AB".repeat(20);
        let first =
            format!("GET /announce?k=1&info_hash={hash}&peer_id=-SK0001-............&port=6881");
        assert!(got.starts_with(&first), "{got}");
        assert!(got.contains("\r\nhost: 10.0.0.2\r\n"), "{got}");
        assert!(got.contains("\r\nconnection: close\r\n"), "{got}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_may_end_with_its_connection() {
        let reply = b"HTTP/1.0 200 OK\r\n\r\nd8:intervali77ee".to_vec();
        let (reply, _) = asks(reply, Some(CloseHow::Finish)).await;
        assert_eq!(reply.unwrap().interval, Some(Duration::from_secs(77)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_wrong_has_a_name() {
        let refused = AnnounceFailure::Refused {
            reason: "no".to_owned(),
            retry: crate::tracker::announce::Retry::Never,
        };
        let moved = b"HTTP/1.1 302 Found\r\nLocation: https://x/\r\nContent-Length: 0\r\n\r\n";
        let broken = b"HTTP/1.1 503 Busy\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n";
        let huge = vec![b'x'; 1024 * 1024 + 1];
        let mut endless = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        endless.extend_from_slice(&huge);
        let cut = ok(b"d8:intervali77ee")[..45].to_vec();
        let head = [
            b"HTTP/1.1 200 OK\r\nX: ".as_slice(),
            &huge[..HEAD_BYTES_MAX],
        ]
        .concat();
        let finish = Some(CloseHow::Finish);
        let unreachable = AnnounceFailure::Unreachable;
        let too_long = AnnounceFailure::Garbage("it is too long");
        for (case, reply, close, failure) in [
            (
                "refused",
                ok(b"d14:failure reason2:no8:retry in5:nevere"),
                None,
                refused,
            ),
            (
                "redirect to where we cannot go",
                moved.to_vec(),
                None,
                AnnounceFailure::Status(302),
            ),
            (
                "status",
                broken.to_vec(),
                None,
                AnnounceFailure::Status(503),
            ),
            (
                "web page",
                ok(b"<html>"),
                None,
                AnnounceFailure::Garbage("it is not bencoded"),
            ),
            (
                "no HTTP",
                b"SSH-2.0-x\r\n\r\n".to_vec(),
                None,
                AnnounceFailure::Garbage("it is not HTTP"),
            ),
            ("huge", ok(&huge), None, too_long.clone()),
            ("endless", endless, None, too_long),
            (
                "long head",
                head,
                None,
                AnnounceFailure::Garbage("it is not HTTP"),
            ),
            ("closed", Vec::new(), finish, unreachable.clone()),
            (
                "reset",
                Vec::new(),
                Some(CloseHow::Reset),
                unreachable.clone(),
            ),
            ("cut", cut.clone(), finish, unreachable),
            ("silent", Vec::new(), None, AnnounceFailure::TimedOut),
            ("half", cut, None, AnnounceFailure::TimedOut),
        ] {
            assert_eq!(asks(reply, close).await.0, Err(failure), "{case}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_tracker_that_is_not_there_is_unreachable() {
        let (mut net, _server) = pair();
        let mut hub = StreamHub::new(unread_max(LIMITS.reply_bytes));
        let stream = hub.open(net.connect(addr(1, 80)));
        let target = announce_target("http://10.0.0.2/announce").unwrap();
        let request = request();
        let result = drive(
            &mut net,
            &mut hub,
            announce(stream, &target, &request, LIMITS),
        )
        .await;
        assert_eq!(result, Err(AnnounceFailure::Unreachable));
    }
}

//! The mailbox on real sockets.

use std::future::{Future, poll_fn};
use std::time::Duration;

use tokio::task::LocalSet;
use tokio::time::timeout;

use super::*;

const MIB: usize = 1024 * 1024;

fn any_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

async fn local(test: impl Future<Output = ()>) {
    let guarded = timeout(Duration::from_secs(60), test);
    LocalSet::new().run_until(guarded).await.expect("in time");
}

async fn next(net: &mut RealNetwork) -> NetEvent {
    poll_fn(|cx| net.poll_event(cx)).await
}

/// What happens next, if anything does soon.
async fn soon(net: &mut RealNetwork) -> Option<NetEvent> {
    timeout(Duration::from_millis(200), next(net)).await.ok()
}

/// Two networks with one connection, and its name on either side.
async fn pair() -> (RealNetwork, ConnId, RealNetwork, ConnId) {
    let (mut a, mut b) = (RealNetwork::default(), RealNetwork::default());
    let at = b.listen(any_port()).expect("listening");
    let here = a.connect(at);
    let NetEvent::Opened {
        conn,
        inbound: false,
        from,
    } = next(&mut a).await
    else {
        panic!("opened")
    };
    assert_eq!((conn, from), (here, at));
    let NetEvent::Opened {
        conn: there,
        inbound: true,
        ..
    } = next(&mut b).await
    else {
        panic!("opened")
    };
    (a, here, b, there)
}

/// Bytes whose order matters.
fn pattern(bytes: usize) -> Bytes {
    (0..bytes)
        .map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[3])
        .collect()
}

/// Sends all of `data` with at most 64 KiB queued while receiving as much; returns what came.
async fn exchange(mut net: RealNetwork, conn: ConnId, mut data: Bytes) -> (RealNetwork, Vec<u8>) {
    let (mut got, whole) = (Vec::new(), data.len());
    let mut queued = 0;
    while !data.is_empty() || got.len() < whole || queued > 0 {
        if queued < 64 * 1024 && !data.is_empty() {
            let block = data.split_to(data.len().min(10_000));
            queued += block.len() as u64;
            net.send(conn, block);
            continue;
        }
        match next(&mut net).await {
            NetEvent::Data { data, .. } => got.extend_from_slice(&data),
            NetEvent::Room { queued: left, .. } => queued = left,
            other => panic!("{other:?}"),
        }
    }
    (net, got)
}

#[tokio::test]
async fn eight_mib_cross_in_both_directions() {
    local(async {
        let (a, here, b, there) = pair().await;
        let data = pattern(8 * MIB);
        let ((_a, to_a), (_b, to_b)) = futures_util::future::join(
            exchange(a, here, data.clone()),
            exchange(b, there, data.clone()),
        )
        .await;
        assert!(to_a == data && to_b == data);
    })
    .await;
}

#[tokio::test]
async fn a_slow_reader_stops_the_sender_and_loses_nothing() {
    local(async {
        let (mut a, here, mut b, there) = pair().await;
        let block = pattern(MIB);
        (0..64).for_each(|_| a.send(here, block.clone()));
        let mut queued = u64::MAX;
        while let Some(NetEvent::Room { queued: left, .. }) = soon(&mut a).await {
            queued = left;
        }
        assert!(
            queued > 0,
            "64 MiB do not fit between two ends of which one does not read"
        );
        let unread = b.link(there).expect("stands").unread();
        let config = EngineConfig::default();
        let most = config.unread_max + config.read_bytes_max + connection::MAIL_BYTES as u64;
        assert!(unread as u64 <= most, "{unread}");
        a.close(here, CloseHow::Finish);
        let mut got = 0;
        loop {
            match next(&mut b).await {
                NetEvent::Data { data, .. } => {
                    for (at, portion) in data.chunks(1).enumerate() {
                        assert_eq!(portion[0], block[(got + at) % MIB]);
                    }
                    got += data.len();
                }
                NetEvent::Closed {
                    how: Closed::ByPeer,
                    ..
                } => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(got, 64 * MIB);
    })
    .await;
}

#[tokio::test]
async fn finishing_delivers_everything_even_with_bytes_unread() {
    local(async {
        let (mut a, here, mut b, there) = pair().await;
        b.send(there, pattern(100_000));
        let data = pattern(3 * MIB);
        a.send(here, data.clone());
        a.close(here, CloseHow::Finish);
        a.send(here, Bytes::from_static(b"too late"));
        let mut got = Vec::new();
        loop {
            match next(&mut b).await {
                NetEvent::Data { data, .. } => got.extend_from_slice(&data),
                NetEvent::Room { .. } => {}
                NetEvent::Closed { conn, how } => {
                    assert_eq!((conn, how), (there, Closed::ByPeer));
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(got, data);
        assert!(soon(&mut a).await.is_none(), "nothing follows a close");
    })
    .await;
}

#[tokio::test]
async fn a_reset_is_heard_and_the_place_is_used_again() {
    local(async {
        let (mut a, here, mut b, there) = pair().await;
        a.close(here, CloseHow::Reset);
        let closed = next(&mut b).await;
        assert!(
            matches!(closed, NetEvent::Closed { conn, how: Closed::Reset } if conn == there),
            "{closed:?}"
        );
        b.send(there, Bytes::from_static(b"nobody"));
        b.close(there, CloseHow::Reset);
        let again = a.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
        assert_eq!(
            again,
            ConnId {
                slot: here.slot,
                generation: here.generation + 1
            }
        );
        assert!(soon(&mut b).await.is_none());
    })
    .await;
}

#[tokio::test]
async fn a_dial_that_nobody_answers_fails_or_can_be_given_up() {
    local(async {
        let mut net = RealNetwork::default();
        let closed = std::net::TcpListener::bind(any_port()).and_then(|socket| socket.local_addr());
        let closed = closed.expect("a port that is free again");
        let conn = net.connect(closed);
        let failed = next(&mut net).await;
        assert!(
            matches!(failed, NetEvent::Failed { conn: c, why: ConnectError::Refused } if c == conn),
            "{failed:?}"
        );
        let given_up = net.connect(closed);
        net.close(given_up, CloseHow::Finish);
        assert!(soon(&mut net).await.is_none());
    })
    .await;
}

#[tokio::test]
async fn ipv6_through_a_socket_for_both_families() {
    local(async {
        let (mut a, mut b) = (RealNetwork::default(), RealNetwork::default());
        // Not every machine that builds this has IPv6.
        let Ok(at) = b.listen(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))) else {
            return;
        };
        for ip in [
            IpAddr::from(Ipv6Addr::LOCALHOST),
            Ipv4Addr::LOCALHOST.into(),
        ] {
            let to = SocketAddr::new(ip, at.port());
            a.connect(to);
            let opened = next(&mut b).await;
            assert!(
                matches!(opened, NetEvent::Opened { from, .. } if from.ip() == ip),
                "{opened:?}"
            );
            assert!(matches!(next(&mut a).await, NetEvent::Opened { .. }));
        }
    })
    .await;
}

#[tokio::test]
async fn datagrams_go_to_the_listening_port_and_back() {
    local(async {
        let (mut a, mut b) = (RealNetwork::default(), RealNetwork::default());
        let at = b.listen(any_port()).expect("listening");
        // `a` does not listen: it gets a socket when it needs one.
        a.send_to(at, Bytes::from_static(b"ping"));
        let NetEvent::Datagram { from, data } = next(&mut b).await else {
            panic!("datagram")
        };
        assert_eq!(data, "ping");
        b.send_to(
            SocketAddr::new(at.ip(), from.port()),
            Bytes::from_static(b"pong"),
        );
        let answer = next(&mut a).await;
        assert!(
            matches!(&answer, NetEvent::Datagram { from, data } if *from == at && data == "pong"),
            "{answer:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn names_and_literals_are_resolved() {
    local(async {
        let mut net = RealNetwork::default();
        let found = net
            .resolve("localhost", 80)
            .await
            .expect("every machine knows itself");
        assert!(found.ip().is_loopback() && found.port() == 80);
        let literal = net.resolve("[::1]", 6881).await.expect("a literal");
        assert_eq!(literal, SocketAddr::from((Ipv6Addr::LOCALHOST, 6881)));
    })
    .await;
}

#[tokio::test]
async fn connections_that_still_deliver_are_counted_and_more_are_reset() {
    local(async {
        let mut a = RealNetwork::default();
        let mut b = RealNetwork::new(&EngineConfig {
            lingering_max: 2,
            ..EngineConfig::default()
        });
        let at = b.listen(any_port()).expect("listening");
        for _ in 0..3 {
            a.connect(at);
        }
        let mut inbound = Vec::new();
        while inbound.len() < 3 {
            if let NetEvent::Opened { conn, .. } = next(&mut b).await {
                inbound.push(conn);
            }
        }
        // The other end does not finish: two places are taken until it does.
        for conn in inbound {
            b.close(conn, CloseHow::Finish);
        }
        let mut ends = Vec::new();
        while ends.len() < 3 {
            let event =
                futures_util::future::select(Box::pin(next(&mut a)), Box::pin(next(&mut b)));
            if let futures_util::future::Either::Left((NetEvent::Closed { how, .. }, _)) =
                event.await
            {
                ends.push(how);
            }
        }
        let resets = ends.iter().filter(|how| **how == Closed::Reset).count();
        assert_eq!(resets, 1, "{ends:?}");
    })
    .await;
}

#[tokio::test]
async fn datagrams_above_the_maximum_are_lost() {
    local(async {
        let mut a = RealNetwork::default();
        let mut b = RealNetwork::new(&EngineConfig {
            datagrams_max: 3,
            ..EngineConfig::default()
        });
        let at = b.listen(any_port()).expect("listening");
        for _ in 0..10 {
            a.send_to(at, Bytes::from_static(b"x"));
        }
        // Both tasks run, the loop of `b` does not.
        let _ = soon(&mut a).await;
        let mut got = 0;
        while soon(&mut b).await.is_some() {
            got += 1;
        }
        assert_eq!(got, 3);
    })
    .await;
}

#[tokio::test]
async fn bytes_that_come_one_by_one_do_not_fill_the_mailbox_with_mail() {
    local(async {
        let mut a = RealNetwork::default();
        let unread_max = 2000;
        let mut b = RealNetwork::new(&EngineConfig {
            unread_max,
            ..EngineConfig::default()
        });
        let at = b.listen(any_port()).expect("listening");
        let conn = a.connect(at);
        let NetEvent::Opened { conn: there, .. } = next(&mut b).await else {
            panic!("opened")
        };
        while !matches!(next(&mut a).await, NetEvent::Opened { .. }) {}
        // Each is read before the next is sent, as long as anything is.
        for _ in 0..100 {
            a.send(conn, Bytes::from_static(b"x"));
            let _ = timeout(Duration::from_millis(5), next(&mut a)).await;
        }
        let most = unread_max as usize + 100 + connection::MAIL_BYTES;
        let unread = b.link(there).expect("stands").unread();
        assert!(unread > unread_max as usize && unread <= most, "{unread}");
        let (mut mail, mut got) = (0, 0);
        while got < 100 {
            if let NetEvent::Data { data, .. } = next(&mut b).await {
                got += data.len();
                mail += 1;
            }
        }
        assert!(
            mail < 50,
            "{mail} pieces: what was not read meanwhile came at once"
        );
    })
    .await;
}

//! Owns one client's talk with one UDP tracker (BEP 15): connect, then ask, sending again until an
//! answer comes or patience ends. No I/O: datagrams and moments in, datagrams out.
//!
//! Invariant: one question is asked at a time. A datagram counts only if it is long enough, carries
//! the number of the request under way, comes from the tracker's address and is of the action that
//! was asked for (or an error), checked in this order; every other changes nothing.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::packet::{Reply, Request, parse_reply, txid_of_reply, write_request};
use crate::config::EngineConfig;
use crate::time::Now;
use crate::tracker::announce::{AnnounceFailure, Answer, Question, Retry};

/// When a client sends again and when it gives up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UdpTimes {
    /// First wait for an answer; doubles with each sending in vain.
    pub retry: Duration,
    /// Sendings in vain after the first, before the question has failed.
    pub retries: u32,
    /// How long a connection id is used after it came.
    pub connection_use: Duration,
}

impl UdpTimes {
    /// The times of a configuration; `alone`: there is no other tracker to ask instead.
    #[must_use]
    pub fn of(config: &EngineConfig, alone: bool) -> UdpTimes {
        UdpTimes {
            retry: config.udp_retry,
            retries: if alone {
                config.udp_retries
            } else {
                config.udp_retries_failover
            },
            connection_use: config.udp_connection_use,
        }
    }
}

/// The question under way.
#[derive(Clone, Debug)]
struct Exchange {
    question: Question,
    /// Path and query of the URL (BEP 41).
    url_data: String,
    txid: u32,
    /// Waits for a connection id first.
    connecting: bool,
    /// Sendings in vain since the last answer.
    in_vain: u32,
    due: Now,
    deadline: Now,
    /// First wait for an answer.
    retry: Duration,
}

/// Part of a limited time after which a question is sent again: three sendings fit.
const HURRIES: u32 = 5;

/// A client of one UDP tracker.
#[derive(Clone, Debug)]
pub struct UdpClient {
    tracker: SocketAddr,
    times: UdpTimes,
    /// The connection id, and until when it is used.
    connection: Option<(u64, Now)>,
    exchange: Option<Exchange>,
    outgoing: Option<Bytes>,
    result: Option<Result<Answer, AnnounceFailure>>,
    resent: u32,
}

impl UdpClient {
    /// A client that has not spoken yet.
    #[must_use]
    pub fn new(tracker: SocketAddr, times: UdpTimes) -> UdpClient {
        UdpClient {
            tracker,
            times,
            connection: None,
            exchange: None,
            outgoing: None,
            result: None,
            resent: 0,
        }
    }

    /// Where the tracker is.
    #[must_use]
    pub fn tracker(&self) -> SocketAddr {
        self.tracker
    }

    /// Asks; a question under way is dropped. `limit`: the question has failed when no answer came by
    /// then, whatever the times say. Drain [`UdpClient::poll_send`] after this and every other call.
    pub fn ask(
        &mut self,
        question: Question,
        url_data: &str,
        limit: Option<Duration>,
        now: Now,
        rng: &mut ChaCha8Rng,
    ) {
        self.result = None;
        self.exchange = Some(Exchange {
            question,
            url_data: url_data.to_owned(),
            txid: 0,
            connecting: true,
            in_vain: 0,
            due: Now::NEVER,
            deadline: limit.map_or(Now::NEVER, |limit| now.after(limit)),
            retry: limit.map_or(self.times.retry, |limit| {
                self.times.retry.min(limit / HURRIES)
            }),
        });
        self.next_step(now, rng);
    }

    /// The question under way has failed when no answer comes within `limit` from now.
    pub fn hurry(&mut self, limit: Duration, now: Now) {
        if let Some(exchange) = &mut self.exchange {
            exchange.deadline = exchange.deadline.min(now.after(limit));
            exchange.retry = exchange.retry.min(limit / HURRIES);
            exchange.due = exchange.due.min(now.after(exchange.retry));
        }
    }

    /// The next datagram to send to [`UdpClient::tracker`].
    pub fn poll_send(&mut self) -> Option<Bytes> {
        self.outgoing.take()
    }

    /// What became of the question, once.
    pub fn poll_result(&mut self) -> Option<Result<Answer, AnnounceFailure>> {
        self.result.take()
    }

    /// Datagrams that were sent again since the last call.
    pub fn take_resent(&mut self) -> u32 {
        std::mem::take(&mut self.resent)
    }

    /// When [`UdpClient::on_timer`] is next due. A spurious call does nothing.
    #[must_use]
    pub fn poll_timeout(&self) -> Now {
        let exchange = self.exchange.as_ref();
        exchange.map_or(Now::NEVER, |e| e.due.min(e.deadline))
    }

    /// Time has passed: sends again, or gives up.
    pub fn on_timer(&mut self, now: Now, rng: &mut ChaCha8Rng) {
        let retries = self.times.retries;
        let Some(exchange) = &mut self.exchange else {
            return;
        };
        let in_vain = exchange.due <= now;
        if exchange.deadline <= now || (in_vain && exchange.in_vain >= retries) {
            return self.end(Err(AnnounceFailure::TimedOut));
        }
        if !in_vain {
            return;
        }
        exchange.in_vain += 1;
        self.resent = self.resent.saturating_add(1);
        let known = self.connection.is_some_and(|(_, until)| now < until);
        if exchange.connecting || known {
            self.send(now);
        } else {
            self.next_step(now, rng);
        }
    }

    /// A datagram arrived. Returns whether it was an answer to the request under way.
    pub fn on_datagram(
        &mut self,
        from: SocketAddr,
        datagram: &[u8],
        now: Now,
        rng: &mut ChaCha8Rng,
    ) -> bool {
        let Some(exchange) = &mut self.exchange else {
            return false;
        };
        if txid_of_reply(datagram) != Ok(exchange.txid) || from != self.tracker {
            return false;
        }
        let Ok(reply) = parse_reply(datagram, self.tracker.is_ipv6()) else {
            return false;
        };
        match (reply, &exchange.question) {
            (Reply::Connect { connection, .. }, _) if exchange.connecting => {
                self.connection = Some((connection, now.after(self.times.connection_use)));
                exchange.in_vain = 0;
                self.next_step(now, rng);
            }
            (Reply::Announce { reply, .. }, Question::Announce(_)) if !exchange.connecting => {
                self.end(Ok(Answer::Announced(reply)));
            }
            (Reply::Scrape { counts, .. }, Question::Scrape(torrents)) if !exchange.connecting => {
                let told = torrents.iter().copied().zip(counts).collect();
                self.end(Ok(Answer::Scraped(told)));
            }
            (Reply::Error { message, .. }, _) => {
                // The id itself may be what is wrong.
                self.connection = None;
                self.end(Err(AnnounceFailure::Refused {
                    reason: message,
                    retry: Retry::Unsaid,
                }));
            }
            _ => return false,
        }
        true
    }

    fn end(&mut self, result: Result<Answer, AnnounceFailure>) {
        self.exchange = None;
        self.outgoing = None;
        self.result = Some(result);
    }

    /// Begins the next request of the exchange, under a new number: a connect when there is no
    /// connection id to use, else the question.
    fn next_step(&mut self, now: Now, rng: &mut ChaCha8Rng) {
        let known = self.connection.is_some_and(|(_, until)| now < until);
        if let Some(exchange) = &mut self.exchange {
            exchange.connecting = !known;
            exchange.txid = rng.next_u32();
        }
        self.send(now);
    }

    fn send(&mut self, now: Now) {
        let Some(exchange) = &mut self.exchange else {
            return;
        };
        let txid = exchange.txid;
        let connection = self.connection.map_or(0, |(id, _)| id);
        let request = match &exchange.question {
            _ if exchange.connecting => Request::Connect { txid },
            Question::Announce(announce) => Request::Announce {
                connection,
                txid,
                announce: (**announce).clone(),
            },
            Question::Scrape(torrents) => Request::Scrape {
                connection,
                txid,
                torrents: torrents.clone(),
            },
        };
        let factor = 1_u32.checked_shl(exchange.in_vain).unwrap_or(u32::MAX);
        exchange.due = now.after(exchange.retry.saturating_mul(factor));
        self.outgoing = Some(Bytes::from(write_request(&request, &exchange.url_data)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{InfoHash, PeerId};
    use crate::tracker::announce::{AnnounceEvent, AnnounceReply, AnnounceRequest, ScrapeCounts};
    use crate::tracker::udp::packet::{parse_request, write_reply};
    use rand::SeedableRng;

    const T: InfoHash = InfoHash([9; 20]);

    const fn at(seconds: u64) -> Now {
        Now(seconds * 1_000_000_000)
    }

    fn tracker() -> SocketAddr {
        "10.0.0.1:6969".parse().unwrap()
    }

    fn announce() -> Question {
        Question::Announce(Box::new(AnnounceRequest {
            info_hash: T,
            peer_id: PeerId([1; 20]),
            port: 6881,
            uploaded: 0,
            downloaded: 0,
            left: 1,
            event: AnnounceEvent::Started,
            wanted: 50,
            key: 1,
            tracker_id: None,
            compact: true,
        }))
    }

    struct Rig {
        client: UdpClient,
        rng: ChaCha8Rng,
    }

    impl Rig {
        fn asks(question: Question) -> Rig {
            let times = UdpTimes::of(&EngineConfig::default(), true);
            let mut rig = Rig {
                client: UdpClient::new(tracker(), times),
                rng: ChaCha8Rng::seed_from_u64(1),
            };
            rig.ask(question, at(0));
            rig
        }
        fn ask(&mut self, question: Question, now: Now) {
            self.client.ask(question, "", None, now, &mut self.rng);
        }
        fn sent(&mut self) -> Option<Request> {
            let sent = self.client.poll_send()?;
            Some(parse_request(&sent).expect("what it sends is a request"))
        }
        /// The number of the connect request that was sent.
        fn connects(&mut self) -> u32 {
            match self.sent() {
                Some(Request::Connect { txid }) => txid,
                other => panic!("a connect, not {other:?}"),
            }
        }
        /// Number and connection id of the announce that was sent.
        fn announces(&mut self) -> (u32, u64) {
            match self.sent() {
                Some(Request::Announce {
                    txid, connection, ..
                }) => (txid, connection),
                other => panic!("an announce, not {other:?}"),
            }
        }
        fn hears(&mut self, reply: &Reply, now: Now) -> bool {
            let bytes = write_reply(reply, false);
            self.client
                .on_datagram(tracker(), &bytes, now, &mut self.rng)
        }
        /// Answers the connect; returns the number of the announce that follows.
        fn connected(&mut self, now: Now) -> u32 {
            let txid = self.connects();
            let connection = 77;
            assert!(self.hears(&Reply::Connect { txid, connection }, now));
            let (txid, connection) = self.announces();
            assert_eq!(connection, 77);
            txid
        }
        fn answers(&mut self, txid: u32, now: Now) -> bool {
            let reply = AnnounceReply::default();
            self.hears(&Reply::Announce { txid, reply }, now)
        }
        /// Moves on to the next timer; returns its moment in seconds.
        fn waits(&mut self) -> u64 {
            let due = self.client.poll_timeout();
            assert_ne!(due, Now::NEVER);
            self.client.on_timer(due, &mut self.rng);
            due.0 / 1_000_000_000
        }
    }

    #[test]
    fn it_connects_and_then_announces_under_another_number() {
        let mut rig = Rig::asks(announce());
        let first = rig.client.exchange.as_ref().unwrap().txid;
        let second = rig.connected(at(1));
        assert_ne!(first, second);
        assert!(rig.answers(second, at(2)));
        assert!(matches!(
            rig.client.poll_result(),
            Some(Ok(Answer::Announced(_)))
        ));
        assert_eq!(rig.client.poll_timeout(), Now::NEVER);
    }

    #[test]
    fn without_an_answer_it_sends_again_after_15_seconds_times_powers_of_two_and_gives_up_after_nine()
     {
        let mut rig = Rig::asks(announce());
        let txid = rig.connects();
        let mut moments = Vec::new();
        while rig.client.exchange.is_some() {
            moments.push(rig.waits());
            if rig.client.exchange.is_some() {
                assert_eq!(rig.connects(), txid, "the same request");
            }
        }
        assert_eq!(
            moments,
            [15, 45, 105, 225, 465, 945, 1905, 3825, 7665],
            "15 * 2^n, n = 0..8"
        );
        assert_eq!(
            rig.client.poll_result(),
            Some(Err(AnnounceFailure::TimedOut))
        );
        assert_eq!(rig.client.take_resent(), 8);
        assert_eq!(rig.client.take_resent(), 0);
    }

    #[test]
    fn when_the_connection_id_expired_meanwhile_it_connects_afresh_and_keeps_waiting_longer() {
        // The example of BEP 15: announces at 2, 17 and 47 s, a connect at 107 s, the next at 227 s.
        let mut rig = Rig::asks(announce());
        let txid = rig.connected(at(2));
        assert_eq!((rig.waits(), rig.announces().0), (17, txid));
        assert_eq!((rig.waits(), rig.announces().0), (47, txid));
        assert_eq!(rig.waits(), 107);
        assert_ne!(rig.connects(), txid);
        assert_eq!(rig.waits(), 227);
        rig.connected(at(228));
        assert_eq!(rig.client.poll_timeout(), at(243), "an answer begins anew");
    }

    #[test]
    fn a_connection_id_is_used_for_a_minute() {
        let mut rig = Rig::asks(announce());
        let txid = rig.connected(at(1));
        rig.answers(txid, at(2));
        rig.ask(announce(), at(60));
        let (txid, connection) = rig.announces();
        assert_eq!(connection, 77);
        rig.answers(txid, at(60));
        rig.ask(announce(), at(61));
        rig.connects();
    }

    #[test]
    fn what_does_not_belong_to_the_request_is_ignored() {
        let mut rig = Rig::asks(announce());
        let txid = rig.connected(at(1));
        let reply = AnnounceReply::default();
        let good = write_reply(&Reply::Announce { txid, reply }, false);
        let wrong_number = write_reply(
            &Reply::Announce {
                txid: txid ^ 1,
                reply: AnnounceReply::default(),
            },
            false,
        );
        let elsewhere: SocketAddr = "10.0.0.1:6970".parse().unwrap();
        let counts = Vec::new();
        let wrong_action = write_reply(&Reply::Scrape { txid, counts }, false);
        let late = write_reply(
            &Reply::Connect {
                txid,
                connection: 5,
            },
            false,
        );
        for (what, from, datagram) in [
            ("nothing", tracker(), &[][..]),
            ("too short", tracker(), &good[..19]),
            ("another number", tracker(), &wrong_number),
            ("another sender", elsewhere, &good),
            ("another action", tracker(), &wrong_action),
            ("a connection id again", tracker(), &late),
            ("half a peer", tracker(), &[&good[..], &[1, 2, 3]].concat()),
        ] {
            let heard = rig.client.on_datagram(from, datagram, at(2), &mut rig.rng);
            assert!(!heard, "{what}");
            assert_eq!(rig.client.poll_result(), None, "{what}");
        }
        assert!(rig.answers(txid, at(2)));
        assert!(!rig.answers(txid, at(2)), "once");
    }

    #[test]
    fn an_error_is_a_refusal_and_the_connection_id_is_not_used_again() {
        let mut rig = Rig::asks(announce());
        let txid = rig.connected(at(1));
        let message = "not here".to_owned();
        assert!(rig.hears(&Reply::Error { txid, message }, at(2)));
        let refused = AnnounceFailure::Refused {
            reason: "not here".to_owned(),
            retry: Retry::Unsaid,
        };
        assert_eq!(rig.client.poll_result(), Some(Err(refused)));
        rig.ask(announce(), at(3));
        rig.connects();
    }

    #[test]
    fn a_limit_ends_it_early_and_leaving_shortens_it() {
        let mut rig = Rig::asks(announce());
        rig.client.hurry(Duration::from_secs(20), at(10));
        let waits = (rig.waits(), rig.waits(), rig.waits());
        assert_eq!(
            waits,
            (14, 22, 30),
            "sent twice more in the time that is left"
        );
        assert_eq!(
            rig.client.poll_result(),
            Some(Err(AnnounceFailure::TimedOut))
        );
    }

    #[test]
    fn counts_belong_to_the_torrents_in_their_order() {
        let torrents = vec![InfoHash([8; 20]), T];
        let mut rig = Rig::asks(Question::Scrape(torrents.clone()));
        let txid = rig.connects();
        rig.hears(
            &Reply::Connect {
                txid,
                connection: 3,
            },
            at(0),
        );
        let Some(Request::Scrape {
            txid,
            torrents: asked,
            ..
        }) = rig.sent()
        else {
            panic!("a scrape")
        };
        assert_eq!(asked, torrents);
        let told = ScrapeCounts {
            complete: 1,
            downloaded: 2,
            incomplete: 3,
        };
        let counts = vec![ScrapeCounts::default(), told];
        rig.hears(&Reply::Scrape { txid, counts }, at(0));
        let Some(Ok(Answer::Scraped(answer))) = rig.client.poll_result() else {
            panic!("an answer")
        };
        assert_eq!(answer[&T], told);
    }

    #[test]
    fn the_same_generator_gives_the_same_numbers() {
        let number = || Rig::asks(announce()).connects();
        assert_eq!(number(), number());
    }
}

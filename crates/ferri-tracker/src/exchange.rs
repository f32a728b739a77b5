//! One announce or scrape over UDP, from the first packet to the answer ([BEP 15]). No I/O: packets in, packets out.
//!
//! It does not resolve names and does not check where a packet came from; both are the socket's business.
//!
//! [BEP 15]: https://www.bittorrent.org/beps/bep_0015.html

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ferri_metainfo::InfoHash;

use crate::announce::{
    Announce, AnnounceResponse, RetryIn, Scrape, TrackerError, bounded_text, interval_from_seconds,
};
use crate::limits::REQUEST_TIME_MAX;
use crate::random::Random;
use crate::udp::{Family, PacketError, Request, Response};

/// How long each packet waits for its answer before it is sent again. BEP 15 says 15 s doubling for over an hour; that
/// suits a client with one tracker and nothing else to do. Here a tracker has [`REQUEST_TIME_MAX`] in all, then the
/// next one is tried and the schedule backs off by itself; three tries spread over that time, ever farther apart, get
/// through a link that loses packets and spare one that is congested.
const WAITS: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(10), Duration::from_secs(15)];

/// A connection id may be used for a minute after it came (BEP 15).
const CONNECTION_LIFETIME: Duration = Duration::from_secs(60);

/// Connection ids remembered at once; a session talks to a few dozen trackers.
const CONNECTIONS_MAX: usize = 64;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// An announce.
    Announce(Announce),
    /// Numbers of these swarms, at most [`SCRAPE_MAX`](crate::limits::SCRAPE_MAX).
    Scrape(Vec<InfoHash>),
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To an announce.
    Announce(AnnounceResponse),
    /// To a scrape, in the order of the query.
    Scrape(Vec<Scrape>),
}

/// What happens to an exchange.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A packet came from the tracker's address.
    Datagram(&'a [u8]),
    /// The instant of [`Exchange::poll_timeout`] has come.
    Timeout,
}

/// What an exchange wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this packet to the tracker.
    Send(Vec<u8>),
    /// It is over. Comes once, last.
    Done(Result<Answer, TrackerError>),
}

/// A tracker's permission to ask, bound to our address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    id: u64,
    received: Instant,
}

impl Connection {
    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.received) < CONNECTION_LIFETIME
    }
}

/// Connection ids by tracker address, so that announces of several torrents share one. Keep one for each local socket
/// address: an id belongs to the address that asked for it.
#[derive(Clone, Debug, Default)]
pub struct Connections(BTreeMap<SocketAddr, Connection>);

impl Connections {
    /// The id to use with this tracker, if there is one that is fresh.
    pub fn get(&self, tracker: SocketAddr, now: Instant) -> Option<Connection> {
        self.0.get(&tracker).copied().filter(|connection| connection.is_fresh(now))
    }

    /// Remembers what [`Exchange::connection`] says after an exchange. `None` forgets the tracker's id.
    pub fn set(&mut self, tracker: SocketAddr, connection: Option<Connection>) {
        match connection {
            Some(connection) => self.0.insert(tracker, connection),
            None => self.0.remove(&tracker),
        };
        if CONNECTIONS_MAX < self.0.len() {
            let oldest = self.0.iter().min_by_key(|(_, connection)| connection.received);
            if let Some((&tracker, _)) = oldest {
                self.0.remove(&tracker);
            }
        }
    }
}

/// One question and its answer.
#[derive(Debug)]
pub struct Exchange {
    query: Query,
    url_data: Vec<u8>,
    family: Family,
    random: Random,
    phase: Phase,
    connection: Option<Connection>,
    /// The id is from an earlier exchange; the tracker may have forgotten it.
    reused: bool,
    /// The query itself has been sent, so the tracker may know us.
    asked: bool,
    /// Of the packet under way and its repetitions.
    transaction: u32,
    /// How often that packet was repeated.
    repeats: usize,
    repeat_at: Instant,
    deadline: Instant,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    Asking,
    Over,
}

impl Exchange {
    /// Begins an exchange with the tracker behind a socket of `family`. `url_data` is the URL's path and query,
    /// `connection` an id that may still be good, and `seed` makes the transaction numbers: it must not be guessable, for
    /// they are what tells the tracker's packets from forged ones.
    pub fn new(
        query: Query,
        url_data: Vec<u8>,
        family: Family,
        connection: Option<Connection>,
        seed: u64,
        now: Instant,
    ) -> Self {
        let mut exchange = Self {
            query,
            url_data,
            family,
            random: Random::new(seed),
            phase: Phase::Connecting,
            connection: connection.filter(|connection| connection.is_fresh(now)),
            reused: false,
            asked: false,
            transaction: 0,
            repeats: 0,
            repeat_at: now,
            deadline: now + REQUEST_TIME_MAX,
            outputs: VecDeque::new(),
        };
        if exchange.connection.is_some() {
            exchange.reused = true;
            exchange.begin(Phase::Asking, now);
        } else {
            exchange.begin(Phase::Connecting, now);
        }
        exchange
    }

    /// Takes note of what happened.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        if self.phase == Phase::Over {
            return;
        }
        match input {
            Input::Datagram(packet) => self.datagram(packet, now),
            Input::Timeout => self.timeout(now),
        }
    }

    /// What to do; ask until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to hand in [`Input::Timeout`]. `None` when it is over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (self.phase != Phase::Over).then(|| self.repeat_at.min(self.deadline))
    }

    /// The transaction that the next packet from the tracker will carry, for sockets that many exchanges share; see
    /// [`Response::transaction`].
    pub fn transaction(&self) -> u32 {
        self.transaction
    }

    /// The connection id at the end, for [`Connections::set`].
    pub fn connection(&self) -> Option<Connection> {
        self.connection
    }

    fn datagram(&mut self, packet: &[u8], now: Instant) {
        // BEP 15: a packet of another transaction is an old answer, or not the tracker's.
        if Response::transaction(packet) != Some(self.transaction) {
            return;
        }
        match (Response::decode(packet, self.family), self.phase) {
            (Ok(Response::Connect { connection, .. }), Phase::Connecting) => {
                self.connection = Some(Connection { id: connection, received: now });
                self.begin(Phase::Asking, now);
            }
            // The tracker was restarted, or our address changed: the id is no longer good.
            (Ok(Response::Error { .. }), Phase::Asking) if self.reused => self.reconnect(now),
            (Ok(Response::Error { message, .. }), _) => {
                self.finish(Err(TrackerError::Failure { reason: message, retry_in: RetryIn::Unspecified }));
            }
            (Ok(response), Phase::Asking) => self.answer(response),
            (Ok(_), _) => self.malformed("it answered something that was not asked"),
            (Err(PacketError::NotConnect | PacketError::TooShort(_) | PacketError::UnknownAction(_)), _) => {
                self.malformed("its packet makes no sense");
            }
        }
    }

    fn answer(&mut self, response: Response) {
        match (response, &self.query) {
            (Response::Announce { interval, leechers, seeders, peers, .. }, Query::Announce(_)) => {
                let interval = interval_from_seconds(i64::from(interval));
                self.finish(Ok(Answer::Announce(AnnounceResponse {
                    peers,
                    seeders: plausible(seeders),
                    leechers: plausible(leechers),
                    ..AnnounceResponse::new(interval)
                })));
            }
            (Response::Scrape { swarms, .. }, Query::Scrape(asked)) if swarms.len() == asked.len() => {
                self.finish(Ok(Answer::Scrape(swarms)));
            }
            (Response::Scrape { .. }, Query::Scrape(_)) => {
                self.malformed("it answered for another number of swarms");
            }
            _ => self.malformed("it answered something that was not asked"),
        }
    }

    fn timeout(&mut self, now: Instant) {
        if self.deadline <= now {
            let error = if self.asked {
                TrackerError::TimedOut
            } else {
                let seconds = REQUEST_TIME_MAX.as_secs();
                TrackerError::Unreachable {
                    why: format!("no answer to a connect request in {seconds} seconds"),
                }
            };
            self.finish(Err(error));
        } else if self.repeat_at <= now {
            let stale = self.connection.is_some_and(|connection| !connection.is_fresh(now));
            if self.phase == Phase::Asking && (self.reused || stale) {
                self.reconnect(now);
            } else {
                self.repeats += 1;
                self.send(now);
            }
        }
    }

    fn reconnect(&mut self, now: Instant) {
        self.connection = None;
        self.reused = false;
        self.begin(Phase::Connecting, now);
    }

    fn begin(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.transaction = self.random.next_u32();
        self.repeats = 0;
        self.send(now);
    }

    fn send(&mut self, now: Instant) {
        let wait = WAITS.get(self.repeats).copied().unwrap_or(WAITS[WAITS.len() - 1]);
        self.repeat_at = now + wait;
        let transaction = self.transaction;
        let request = match (self.connection, &self.query) {
            (None, _) => Request::Connect { transaction },
            (Some(connection), Query::Announce(announce)) => Request::Announce {
                connection: connection.id,
                transaction,
                announce: announce.clone(),
                url_data: self.url_data.clone(),
            },
            (Some(connection), Query::Scrape(info_hashes)) => {
                Request::Scrape { connection: connection.id, transaction, info_hashes: info_hashes.clone() }
            }
        };
        self.asked |= self.connection.is_some();
        self.outputs.push_back(Output::Send(request.encode()));
    }

    fn malformed(&mut self, why: &str) {
        self.finish(Err(TrackerError::Malformed { why: bounded_text(why.as_bytes()) }));
    }

    fn finish(&mut self, result: Result<Answer, TrackerError>) {
        self.phase = Phase::Over;
        self.outputs.push_back(Output::Done(result));
    }
}

/// Numbers that would be negative as the signed integers that some trackers think in are not known.
pub(crate) fn plausible(number: u32) -> Option<u32> {
    i32::try_from(number).is_ok().then_some(number)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn start() -> Instant {
        Instant::now()
    }

    fn exchange(connection: Option<Connection>, now: Instant) -> Exchange {
        let announce = Announce::new(InfoHash::from([1; 20]), [2; 20], 6881);
        Exchange::new(Query::Announce(announce), Vec::new(), Family::V4, connection, 5, now)
    }

    fn sent(exchange: &mut Exchange) -> Request {
        match exchange.poll_output() {
            Some(Output::Send(packet)) => Request::decode(&packet).unwrap(),
            other => panic!("expected a packet, got {other:?}"),
        }
    }

    fn hear(exchange: &mut Exchange, response: &Response, now: Instant) {
        exchange.handle(Input::Datagram(&response.encode()), now);
    }

    fn announce_answer(transaction: u32) -> Response {
        Response::Announce { transaction, interval: 1800, leechers: 1, seeders: u32::MAX, peers: Vec::new() }
    }

    /// Connects, announces and answers; returns the exchange when it is over.
    fn connected(now: Instant) -> Exchange {
        let mut exchange = exchange(None, now);
        let Request::Connect { transaction } = sent(&mut exchange) else { panic!() };
        hear(&mut exchange, &Response::Connect { transaction, connection: 77 }, now);
        let Request::Announce { connection: 77, transaction, .. } = sent(&mut exchange) else { panic!() };
        hear(&mut exchange, &announce_answer(transaction), now);
        exchange
    }

    #[test]
    fn four_packets_make_an_announce() {
        let mut exchange = connected(start());
        let Some(Output::Done(Ok(Answer::Announce(answer)))) = exchange.poll_output() else { panic!() };
        assert_eq!((answer.leechers, answer.seeders), (Some(1), None));
        assert_eq!(answer.interval, 1800 * SECOND);
        assert_eq!((exchange.poll_output(), exchange.poll_timeout()), (None, None));
    }

    #[test]
    fn a_silent_tracker_is_asked_three_times_and_given_up_after_thirty_seconds() {
        let now = start();
        let mut exchange = exchange(None, now);
        let mut packets = Vec::new();
        let mut times = Vec::new();
        loop {
            match exchange.poll_output() {
                Some(Output::Send(packet)) => packets.push(packet),
                Some(Output::Done(result)) => {
                    assert!(matches!(result, Err(TrackerError::Unreachable { .. })));
                    break;
                }
                None => {
                    let at = exchange.poll_timeout().unwrap();
                    times.push((at - now).as_secs());
                    exchange.handle(Input::Timeout, at);
                }
            }
        }
        assert_eq!(times, [5, 15, 30]);
        assert_eq!(packets.len(), 3);
        assert!(packets.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn silence_after_the_announce_means_that_it_may_have_been_heard() {
        let now = start();
        let mut exchange = exchange(None, now);
        let Request::Connect { transaction } = sent(&mut exchange) else { panic!() };
        hear(&mut exchange, &Response::Connect { transaction, connection: 77 }, now + 4 * SECOND);
        assert_eq!(exchange.poll_timeout(), Some(now + 9 * SECOND));
        exchange.handle(Input::Timeout, now + 30 * SECOND);
        assert!(matches!(sent(&mut exchange), Request::Announce { .. }));
        assert_eq!(exchange.poll_output(), Some(Output::Done(Err(TrackerError::TimedOut))));
    }

    #[test]
    fn a_connection_is_used_again_for_a_minute() {
        let now = start();
        let first = connected(now);
        let tracker = "192.0.2.1:80".parse().unwrap();
        let mut connections = Connections::default();
        connections.set(tracker, first.connection());
        let mut second = exchange(connections.get(tracker, now + 59 * SECOND), now + 59 * SECOND);
        assert!(matches!(sent(&mut second), Request::Announce { connection: 77, .. }));
        assert_eq!(connections.get(tracker, now + 60 * SECOND), None);
        connections.set(tracker, None);
        assert_eq!(connections.get(tracker, now), None);
    }

    #[test]
    fn a_connection_that_the_tracker_forgot_is_made_anew() {
        let now = start();
        let stale = connected(now).connection();
        let mut refused = exchange(stale, now);
        let Request::Announce { transaction, .. } = sent(&mut refused) else { panic!() };
        hear(&mut refused, &Response::Error { transaction, message: "connection id".to_owned() }, now);
        assert!(matches!(sent(&mut refused), Request::Connect { .. }));

        let mut unanswered = exchange(stale, now);
        sent(&mut unanswered);
        unanswered.handle(Input::Timeout, now + 5 * SECOND);
        assert!(matches!(sent(&mut unanswered), Request::Connect { .. }));
    }

    #[test]
    fn packets_of_other_transactions_are_not_looked_at() {
        let now = start();
        let mut exchange = exchange(None, now);
        let Request::Connect { transaction } = sent(&mut exchange) else { panic!() };
        for packet in [&b""[..], &[0; 7], &[0; 16], &[0xff; 100]] {
            exchange.handle(Input::Datagram(packet), now);
        }
        hear(&mut exchange, &Response::Connect { transaction: !transaction, connection: 1 }, now);
        assert_eq!(exchange.poll_output(), None);
        assert_eq!(exchange.transaction(), transaction);
    }

    #[test]
    fn nonsense_with_our_transaction_ends_it_in_words() {
        let now = start();
        let mut exchange = exchange(None, now);
        let Request::Connect { transaction } = sent(&mut exchange) else { panic!() };
        hear(&mut exchange, &announce_answer(transaction), now);
        assert!(matches!(exchange.poll_output(), Some(Output::Done(Err(TrackerError::Malformed { .. })))));
        // Nothing follows once it is over.
        hear(&mut exchange, &Response::Connect { transaction, connection: 1 }, now);
        exchange.handle(Input::Timeout, now + 60 * SECOND);
        assert_eq!(exchange.poll_output(), None);
    }

    #[test]
    fn a_scrape_must_answer_for_every_swarm() {
        let now = start();
        let fresh = connected(now).connection();
        for (count, good) in [(2, true), (1, false), (3, false)] {
            let hashes = vec![InfoHash::from([1; 20]), InfoHash::from([2; 20])];
            let mut exchange = Exchange::new(Query::Scrape(hashes), Vec::new(), Family::V4, fresh, 1, now);
            let Request::Scrape { transaction, .. } = sent(&mut exchange) else { panic!() };
            hear(
                &mut exchange,
                &Response::Scrape { transaction, swarms: vec![Scrape::default(); count] },
                now,
            );
            let Some(Output::Done(result)) = exchange.poll_output() else { panic!() };
            assert_eq!(result.is_ok(), good, "{count}");
        }
    }

    #[test]
    fn only_so_many_connections_are_remembered_and_the_newest_stay() {
        let now = start();
        let mut connections = Connections::default();
        for port in 1..=200u16 {
            let received = now + Duration::from_millis(u64::from(port));
            connections.set(([192, 0, 2, 1], port).into(), Some(Connection { id: 1, received }));
        }
        assert_eq!(connections.0.len(), CONNECTIONS_MAX);
        assert!(connections.get(([192, 0, 2, 1], 200).into(), now).is_some());
        assert!(connections.get(([192, 0, 2, 1], 1).into(), now).is_none());
    }
}

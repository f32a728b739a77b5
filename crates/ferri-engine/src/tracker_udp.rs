//! Talking to UDP trackers, for all torrents of a session ([BEP 15]).
//!
//! Everything goes by the session's sockets, where an answer counts from the address that was asked alone, and a
//! refusal (ICMP) comes to the task that asked. The torrents share the connection id of an address, which belongs to
//! those sockets: one of them asks for it while the others wait.
//!
//! [BEP 15]: https://www.bittorrent.org/beps/bep_0015.html

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ferri_tracker::TrackerError;
use ferri_tracker::exchange::{Answer, Connection, Connections, Exchange, Input, Output, Query};
use ferri_tracker::udp::Family;
use ferri_tracker::url::UdpTarget;
use tokio::time::{sleep_until, timeout_at};

use crate::address_policy::{Named, judge_datagram};
use crate::egress::{Egress, LookupError, is_without_route};
use crate::udp::{Reply, Sockets};

/// How long an address may be silent while there is another one to be tried.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// Addresses of one family that are tried; with their silence and the time of an announce they stay within the time
/// that the schedule gives.
const ADDRESSES_MAX: usize = 3;
/// Addresses that are asked at once and share a connection id. Beyond that each question asks for its own.
const LINES_MAX: usize = 1024;
/// Names of which it is remembered which address answered.
const WORKED_MAX: usize = 256;

/// The way to all UDP trackers of a session.
#[derive(Debug)]
pub(crate) struct UdpTrackers {
    egress: Arc<Egress>,
    sockets: Sockets,
    /// The addresses that are asked at this moment.
    lines: Mutex<BTreeMap<SocketAddr, Arc<Line>>>,
    connections: Mutex<Connections>,
    /// Which address of a name answered last, for each family.
    worked: Mutex<BTreeMap<(String, u16, bool), SocketAddr>>,
}

/// The questions to one address that are under way.
#[derive(Debug, Default)]
struct Line {
    /// Held by the one that asks for a connection id; why the last one got none.
    connecting: tokio::sync::Mutex<Option<(Instant, Failure)>>,
}

type Turn<'a> = tokio::sync::MutexGuard<'a, Option<(Instant, Failure)>>;

/// Why an address brought nothing.
#[derive(Debug, Clone)]
enum Failure {
    /// It did not say a word: another one may.
    Silent(TrackerError),
    /// It did.
    Spoke(TrackerError),
}

/// A question, and the address that is asked.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) target: &'a UdpTarget,
    pub(crate) query: Query,
    /// `None` is any.
    pub(crate) family: Option<Family>,
    pub(crate) named: Named,
}

impl UdpTrackers {
    /// Asks by way of `sockets`, which another task reads, and looks up names by way of `egress`.
    pub(crate) fn new(egress: Arc<Egress>, sockets: Sockets) -> Self {
        Self {
            egress,
            sockets,
            lines: Mutex::default(),
            connections: Mutex::default(),
            worked: Mutex::default(),
        }
    }

    /// Asks the tracker's addresses one after the other: the next one at once when one refuses, or after [`SILENCE_MAX`] when
    /// it is silent. The one that answered comes first the next time.
    pub(crate) async fn ask(&self, question: Question<'_>) -> Result<Answer, TrackerError> {
        let addrs = self.addresses(&question).await?;
        self.ask_in_turn(&addrs, &question).await
    }

    async fn ask_in_turn(
        &self,
        addrs: &[SocketAddr],
        question: &Question<'_>,
    ) -> Result<Answer, TrackerError> {
        let mut failure = None;
        for (number, &addr) in addrs.iter().enumerate() {
            let is_last = number + 1 == addrs.len();
            match self.ask_at(addr, question, (!is_last).then_some(SILENCE_MAX)).await {
                Err(Failure::Silent(error)) => failure = Some(error),
                Err(Failure::Spoke(error)) => return Err(error),
                Ok(answer) => {
                    self.remember(question.target, addr);
                    return Ok(answer);
                }
            }
        }
        Err(failure.unwrap_or_else(no_address))
    }

    /// Those that may be asked, the one that answered last first.
    async fn addresses(&self, question: &Question<'_>) -> Result<Vec<SocketAddr>, TrackerError> {
        let target = question.target;
        let found = self.egress.look_up(&target.host, target.port, question.family).await;
        let found = found.map_err(|error| TrackerError::Unreachable {
            why: match error {
                LookupError::Unknown(_) => "its name does not resolve".to_owned(),
                error => error.to_string(),
            },
        })?;
        let mut refused = None;
        let mut allowed = Vec::new();
        for addr in found {
            match judge_datagram(question.named, addr.ip()) {
                Ok(()) => allowed.push(addr),
                Err(refusal) => refused = Some(refusal),
            }
        }
        let worked = lock(&self.worked);
        let is_known = |addr: &SocketAddr| worked.get(&key(target, *addr)) == Some(addr);
        allowed.sort_by_key(|addr| !is_known(addr));
        allowed.truncate(ADDRESSES_MAX);
        match refused {
            _ if !allowed.is_empty() => Ok(allowed),
            Some(refusal) => Err(TrackerError::Unreachable { why: refusal.to_string() }),
            None => Err(no_address()),
        }
    }

    fn remember(&self, target: &UdpTarget, addr: SocketAddr) {
        let mut worked = lock(&self.worked);
        if WORKED_MAX <= worked.len() {
            worked.clear();
        }
        worked.insert(key(target, addr), addr);
    }

    /// Asks one address, which is given up when it is silent for as long as `patience`.
    async fn ask_at(
        &self,
        addr: SocketAddr,
        question: &Question<'_>,
        patience: Option<Duration>,
    ) -> Result<Answer, Failure> {
        let line = self.line(addr);
        let came_at = Instant::now();
        let give_up_at = patience.map(|patience| came_at + patience);
        let connection = lock(&self.connections).get(addr, came_at);
        if connection.is_some() {
            return self.exchange(addr, question, connection, give_up_at, &mut None).await;
        }
        // One asks for a connection id, the others use it.
        let turn = line.connecting.lock();
        let turn = match give_up_at {
            Some(at) => {
                timeout_at(at.into(), turn).await.map_err(|_| Failure::Silent(silent(SILENCE_MAX)))?
            }
            None => turn.await,
        };
        let now = Instant::now();
        let connection = lock(&self.connections).get(addr, now);
        if connection.is_some() {
            drop(turn);
            return self.exchange(addr, question, connection, give_up_at, &mut None).await;
        }
        if let Some((at, failure)) = &*turn
            && came_at <= *at
        {
            return Err(failure.clone());
        }
        let mut turn = Some(turn);
        let answer = self.exchange(addr, question, None, give_up_at, &mut turn).await;
        if let (Some(turn), Err(failure)) = (&mut turn, &answer) {
            **turn = Some((Instant::now(), failure.clone()));
        }
        answer
    }

    /// That of the others who ask this address, if any do.
    fn line(&self, addr: SocketAddr) -> Arc<Line> {
        let mut lines = lock(&self.lines);
        lines.retain(|other, line| *other == addr || 1 < Arc::strong_count(line));
        if LINES_MAX <= lines.len() && !lines.contains_key(&addr) {
            return Arc::default();
        }
        lines.entry(addr).or_default().clone()
    }

    /// A datagram that cannot leave for a moment is repeated like one that was lost.
    fn send(&self, addr: SocketAddr, datagram: &[u8]) -> Result<(), Failure> {
        match self.sockets.send(addr, datagram) {
            Err(error) if is_without_route(&error) => {
                // Without an address of ours to come from, it is not the tracker that fails.
                let is_ours = self.egress.source().is_none();
                let why = error.to_string();
                Err(Failure::Silent(match is_ours {
                    true => TrackerError::NoWay { why },
                    false => TrackerError::Unreachable { why },
                }))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// `turn` ends when there is a connection id.
    async fn exchange(
        &self,
        addr: SocketAddr,
        question: &Question<'_>,
        connection: Option<Connection>,
        give_up_at: Option<Instant>,
        turn: &mut Option<Turn<'_>>,
    ) -> Result<Answer, Failure> {
        let (query, url_data) = (question.query.clone(), question.target.url_data.clone());
        let now = Instant::now();
        let mut exchange = Exchange::new(query, url_data, Family::of(addr), connection, rand::random(), now);
        let mut answers = self.sockets.answers(addr);
        let (mut known, mut heard) = (connection, false);
        let failure = |error, heard| if heard { Failure::Spoke(error) } else { Failure::Silent(error) };
        loop {
            while let Some(output) = exchange.poll_output() {
                match output {
                    Output::Send(datagram) => {
                        answers.expect(exchange.transaction());
                        self.send(addr, &datagram)?;
                    }
                    Output::Done(result) => return result.map_err(|error| failure(error, heard)),
                }
            }
            let repeat_at = exchange.poll_timeout().unwrap_or_else(Instant::now);
            let give_up_at = give_up_at.filter(|_| !heard);
            let due = give_up_at.map_or(repeat_at, |at| at.min(repeat_at));
            tokio::select! {
                reply = answers.next() => match reply {
                    Reply::Datagram(datagram) => {
                        heard = true;
                        exchange.handle(Input::Datagram(&datagram), Instant::now());
                    }
                    Reply::Refused(error) => {
                        return Err(failure(TrackerError::Unreachable { why: error.to_string() }, heard));
                    }
                },
                () = sleep_until(due.into()) => {
                    if give_up_at.is_some_and(|at| at <= Instant::now()) {
                        return Err(Failure::Silent(silent(SILENCE_MAX)));
                    }
                    exchange.handle(Input::Timeout, Instant::now());
                }
            }
            if exchange.connection() != known {
                known = exchange.connection();
                lock(&self.connections).set(addr, known);
                *turn = None;
            }
        }
    }
}

fn key(target: &UdpTarget, addr: SocketAddr) -> (String, u16, bool) {
    (target.host.clone(), target.port, addr.is_ipv4())
}

fn silent(time: Duration) -> TrackerError {
    TrackerError::Unreachable { why: format!("no answer within {} seconds", time.as_secs()) }
}

fn no_address() -> TrackerError {
    TrackerError::NoWay { why: "it has no address of the family that is asked for".to_owned() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use ferri_tracker::Announce;
    use ferri_tracker::udp::{Request, Response};
    use tokio::net::UdpSocket;

    use super::*;

    fn unbound() -> UdpTrackers {
        let egress = Arc::new(Egress::new(None));
        let sockets = Sockets::bind(&egress, 0).unwrap();
        // Until the runtime of the test ends.
        tokio::spawn(sockets.clone().read(None));
        UdpTrackers::new(egress, sockets)
    }

    /// A tracker on loopback that answers, and the actions it was asked for.
    async fn tracker(ip: &str) -> (SocketAddr, Arc<Mutex<Vec<u32>>>) {
        let socket = UdpSocket::bind((ip, 0)).await.unwrap();
        let addr = socket.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 2048];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                let (action, response) = match Request::decode(&buffer[..length]).unwrap() {
                    Request::Connect { transaction } => (0, Response::Connect { transaction, connection: 7 }),
                    Request::Announce { transaction, connection: 7, .. } => {
                        let peers = vec![SocketAddr::from(([10, 0, 0, 1], 6881))];
                        let (interval, leechers, seeders) = (1800, 1, 0);
                        (1, Response::Announce { transaction, interval, leechers, seeders, peers })
                    }
                    other => panic!("{other:?}"),
                };
                lock(&log).push(action);
                socket.send_to(&response.encode(), from).await.unwrap();
            }
        });
        (addr, seen)
    }

    fn target(addr: SocketAddr) -> UdpTarget {
        UdpTarget { host: addr.ip().to_string(), port: addr.port(), url_data: Vec::new() }
    }

    fn question(target: &UdpTarget) -> Question<'_> {
        let query = Query::Announce(Announce::new([1; 20].into(), [2; 20], 6881));
        Question { target, query, family: None, named: Named::ByUser }
    }

    #[tokio::test]
    async fn torrents_share_a_connection_id_and_the_first_request_for_it() {
        let (addr, seen) = tracker("127.0.0.1").await;
        let (udp, target) = (unbound(), target(addr));
        let (a, b, c) =
            tokio::join!(udp.ask(question(&target)), udp.ask(question(&target)), udp.ask(question(&target)));
        assert!(a.is_ok() && b.is_ok() && c.is_ok(), "{a:?} {b:?} {c:?}");
        assert!(udp.ask(question(&target)).await.is_ok());
        let mut seen = lock(&seen).clone();
        assert_eq!(seen.remove(0), 0);
        assert_eq!(seen, [1; 4], "one connects, all announce");
        assert!(lock(&udp.lines).values().all(|line| Arc::strong_count(line) == 1), "nobody asks any more");
        udp.line(SocketAddr::from(([10, 0, 0, 1], 1)));
        assert_eq!(lock(&udp.lines).len(), 1, "what nobody uses goes");
    }

    #[tokio::test]
    async fn the_next_address_is_asked_and_remembered() {
        let (addr, seen) = tracker("127.0.0.1").await;
        let udp = unbound();
        let target = target(addr);
        let refusing = SocketAddr::new([127, 0, 0, 2].into(), addr.port());
        let asked_at = Instant::now();
        assert!(udp.ask_in_turn(&[refusing, addr], &question(&target)).await.is_ok());
        assert!(asked_at.elapsed() < SILENCE_MAX, "refused: at once");
        assert_eq!(lock(&udp.worked).values().collect::<Vec<_>>(), [&addr]);
        let nobody = std::net::UdpSocket::bind(refusing).unwrap();
        let asked_at = Instant::now();
        assert!(udp.ask_in_turn(&[refusing, addr], &question(&target)).await.is_ok());
        assert!(SILENCE_MAX <= asked_at.elapsed(), "silent: after a while");
        drop(nobody);
        assert_eq!(*lock(&seen), [0, 1, 1]);
    }

    #[tokio::test]
    async fn an_address_that_refuses_costs_nothing_and_a_silent_one_three_seconds() {
        let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let refusing = nobody.local_addr().unwrap();
        let udp = unbound();
        let asked_at = Instant::now();
        let silent = udp.ask_at(refusing, &question(&target(refusing)), Some(SILENCE_MAX)).await;
        assert!(matches!(silent, Err(Failure::Silent(_))), "{silent:?}");
        assert!(SILENCE_MAX <= asked_at.elapsed());
        drop(nobody);
        let asked_at = Instant::now();
        let target = target(refusing);
        let error = udp.ask(question(&target)).await.unwrap_err();
        assert!(error.to_string().contains("refused"), "{error}");
        assert!(asked_at.elapsed() < SILENCE_MAX);
    }

    #[tokio::test]
    async fn the_address_that_worked_comes_first() {
        let udp = unbound();
        let target = UdpTarget { host: "localhost".to_owned(), port: 9, url_data: Vec::new() };
        let addrs = udp.addresses(&question(&target)).await.unwrap();
        let last = *addrs.last().unwrap();
        udp.remember(&target, last);
        assert_eq!(udp.addresses(&question(&target)).await.unwrap()[0], last);
    }

    #[tokio::test]
    async fn a_family_without_an_address_is_no_way() {
        let target = UdpTarget { host: "127.0.0.1".to_owned(), port: 9, url_data: Vec::new() };
        let asked = Question { family: Some(Family::V6), ..question(&target) };
        let error = unbound().ask(asked).await.unwrap_err();
        assert!(matches!(error, TrackerError::NoWay { .. }), "{error:?}");
    }
}

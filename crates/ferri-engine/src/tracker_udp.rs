//! Talking to UDP trackers, for all torrents of a session ([BEP 15]).
//!
//! Each address of a tracker has one line: a socket that is connected to it, so that the kernel drops what others send and
//! tells when nobody is there. The torrents share it and its connection id, which belongs to the socket's address; answers are told apart by
//! their transaction. There is no task: whoever waits for an answer reads, also for the others.
//!
//! [BEP 15]: https://www.bittorrent.org/beps/bep_0015.html

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ferri_tracker::TrackerError;
use ferri_tracker::exchange::{Answer, Connection, Connections, Exchange, Input, Output, Query};
use ferri_tracker::udp::{Family, Response};
use ferri_tracker::url::UdpTarget;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, sleep_until, timeout_at};

use crate::address_policy::{Named, judge_datagram};
use crate::egress::{Egress, LookupError, is_without_route};

/// A tracker's datagram: room for a full UDP packet.
const DATAGRAM_MAX: usize = 64 << 10;
/// How long an address may be silent while there is another one to be tried.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// Addresses of one family that are tried; with their silence and the time of an announce they stay within the time that the schedule gives.
const ADDRESSES_MAX: usize = 3;
/// Lines that are kept for the next announce, each with a descriptor.
const LINES_MAX: usize = 64;
/// A connection id lives that long (BEP 15), and a line with it.
const LINE_LIFETIME: Duration = Duration::from_secs(60);
/// Names of which it is remembered which address answered.
const WORKED_MAX: usize = 256;

/// The lines to all UDP trackers of a session.
#[derive(Debug)]
pub(crate) struct UdpTrackers {
    egress: Arc<Egress>,
    lines: Mutex<BTreeMap<SocketAddr, Arc<Line>>>,
    added: Notify,
    connections: Mutex<Connections>,
    /// Which address of a name answered last, for each family.
    worked: Mutex<BTreeMap<(String, u16, bool), SocketAddr>>,
}

/// The way to one address.
#[derive(Debug)]
struct Line {
    socket: UdpSocket,
    opened_at: Instant,
    /// Who waits for the answer to which transaction.
    waiting: Mutex<BTreeMap<u32, mpsc::UnboundedSender<Vec<u8>>>>,
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

/// A question, and to whom.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) target: &'a UdpTarget,
    pub(crate) query: Query,
    /// `None` is any.
    pub(crate) family: Option<Family>,
    pub(crate) named: Named,
}

impl UdpTrackers {
    /// Asks by way of `egress`.
    pub(crate) fn new(egress: Arc<Egress>) -> Self {
        Self {
            egress,
            lines: Mutex::default(),
            added: Notify::new(),
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

    /// Closes lines whose connection ids are too old to be used. Ends when dropped.
    pub(crate) async fn close_idle(&self) {
        loop {
            if self.drop_old(Instant::now()) {
                sleep(LINE_LIFETIME / 4).await;
            } else {
                self.added.notified().await;
            }
        }
    }

    /// Whether any is left.
    fn drop_old(&self, now: Instant) -> bool {
        let connections = lock(&self.connections);
        let mut lines = lock(&self.lines);
        lines.retain(|addr, line| {
            let is_young = now.saturating_duration_since(line.opened_at) < LINE_LIFETIME;
            1 < Arc::strong_count(line) || is_young || connections.get(*addr, now).is_some()
        });
        !lines.is_empty()
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
        let line = self.line(addr).await?;
        let came_at = Instant::now();
        let give_up_at = patience.map(|patience| came_at + patience);
        let connection = lock(&self.connections).get(addr, came_at);
        if connection.is_some() {
            return self.exchange(&line, addr, question, connection, give_up_at, &mut None).await;
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
            return self.exchange(&line, addr, question, connection, give_up_at, &mut None).await;
        }
        if let Some((at, failure)) = &*turn
            && came_at <= *at
        {
            return Err(failure.clone());
        }
        let mut turn = Some(turn);
        let answer = self.exchange(&line, addr, question, None, give_up_at, &mut turn).await;
        if let (Some(turn), Err(failure)) = (&mut turn, &answer) {
            **turn = Some((Instant::now(), failure.clone()));
        }
        answer
    }

    async fn line(&self, addr: SocketAddr) -> Result<Arc<Line>, Failure> {
        if let Some(line) = lock(&self.lines).get(&addr) {
            return Ok(line.clone());
        }
        let line = Line::open(&self.egress, addr).await.map_err(|error| {
            // Without an address of ours to come from, it is not the tracker that fails.
            let is_ours = self.egress.source().is_none() && is_without_route(&error);
            let why = error.to_string();
            Failure::Silent(match is_ours {
                true => TrackerError::NoWay { why },
                false => TrackerError::Unreachable { why },
            })
        })?;
        self.drop_old(line.opened_at);
        // An id belongs to the socket that asked for it.
        let mut lines = lock(&self.lines);
        if LINES_MAX <= lines.len() {
            return Ok(Arc::new(line));
        }
        self.added.notify_one();
        Ok(lines.entry(addr).or_insert_with(|| Arc::new(line)).clone())
    }

    /// `turn` ends when there is a connection id.
    async fn exchange(
        &self,
        line: &Line,
        addr: SocketAddr,
        question: &Question<'_>,
        connection: Option<Connection>,
        give_up_at: Option<Instant>,
        turn: &mut Option<Turn<'_>>,
    ) -> Result<Answer, Failure> {
        let (query, url_data) = (question.query.clone(), question.target.url_data.clone());
        let now = Instant::now();
        let mut exchange = Exchange::new(query, url_data, Family::of(addr), connection, rand::random(), now);
        let mut inbox = Inbox::new(line);
        let mut known = connection;
        let mut buffer = vec![0; DATAGRAM_MAX];
        loop {
            while let Some(output) = exchange.poll_output() {
                match output {
                    // A datagram that cannot leave now is repeated like one that was lost.
                    Output::Send(datagram) => {
                        inbox.listen(exchange.transaction());
                        drop(line.socket.send(&datagram).await);
                    }
                    Output::Done(result) => return result.map_err(|error| inbox.failure(error)),
                }
            }
            let repeat_at = exchange.poll_timeout().unwrap_or_else(Instant::now);
            let give_up_at = give_up_at.filter(|_| !inbox.heard);
            let due = give_up_at.map_or(repeat_at, |at| at.min(repeat_at));
            tokio::select! {
                Some(datagram) = inbox.datagrams.recv() => {
                    inbox.heard = true;
                    exchange.handle(Input::Datagram(&datagram), Instant::now());
                }
                read = line.read(&mut buffer) => if let Err(error) = read {
                    return Err(inbox.failure(TrackerError::Unreachable { why: error.to_string() }));
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

impl Line {
    async fn open(egress: &Egress, addr: SocketAddr) -> io::Result<Self> {
        let socket = egress.datagrams_to(addr).await?;
        let opened_at = Instant::now();
        Ok(Self { socket, opened_at, waiting: Mutex::default(), connecting: tokio::sync::Mutex::default() })
    }

    /// Hands on what has come, to whom it is for.
    async fn read(&self, buffer: &mut [u8]) -> io::Result<()> {
        // That nobody is there makes a socket erroneous, not readable.
        let ready = self.socket.ready(Interest::READABLE | Interest::ERROR).await?;
        if ready.is_error() {
            let taken = self.socket.try_io(Interest::ERROR, || {
                let error = self.socket.take_error()?;
                Err::<(), _>(error.unwrap_or_else(|| io::ErrorKind::WouldBlock.into()))
            });
            if let Err(error) = taken
                && error.kind() != io::ErrorKind::WouldBlock
            {
                return Err(error);
            }
        }
        loop {
            match self.socket.try_recv(buffer) {
                Ok(length) => {
                    let datagram = &buffer[..length];
                    let Some(transaction) = Response::transaction(datagram) else { continue };
                    if let Some(inbox) = lock(&self.waiting).get(&transaction) {
                        // Whoever waited may be gone.
                        let _ = inbox.send(datagram.to_vec());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Waits for the answers to one exchange.
struct Inbox<'a> {
    line: &'a Line,
    transaction: Option<u32>,
    sender: mpsc::UnboundedSender<Vec<u8>>,
    datagrams: mpsc::UnboundedReceiver<Vec<u8>>,
    /// Something came.
    heard: bool,
}

impl<'a> Inbox<'a> {
    fn new(line: &'a Line) -> Self {
        let (sender, datagrams) = mpsc::unbounded_channel();
        Self { line, transaction: None, sender, datagrams, heard: false }
    }

    fn listen(&mut self, transaction: u32) {
        let mut waiting = lock(&self.line.waiting);
        if let Some(old) = self.transaction.replace(transaction) {
            waiting.remove(&old);
        }
        waiting.insert(transaction, self.sender.clone());
    }

    fn failure(&self, error: TrackerError) -> Failure {
        if self.heard { Failure::Spoke(error) } else { Failure::Silent(error) }
    }
}

impl Drop for Inbox<'_> {
    fn drop(&mut self) {
        if let Some(transaction) = self.transaction {
            lock(&self.line.waiting).remove(&transaction);
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
    use ferri_tracker::udp::Request;

    use super::*;

    fn unbound() -> UdpTrackers {
        UdpTrackers::new(Arc::new(Egress::new(None)))
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
        let now = Instant::now();
        assert!(udp.drop_old(now + Duration::from_secs(50)));
        assert!(!udp.drop_old(now + Duration::from_secs(61)), "and the line ends with the id");
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

//! The crowd over HTTP: a connection a client, each from an address of its own and a peer of every swarm, as programs that
//! share many torrents are.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ferri_sim::Chance;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use socket2::{Domain, Socket, Type};

use super::crowd::Crowd;
use super::{Askers, Load, Phase, Transport};

/// Nothing came for so long: the tracker does not answer.
const SILENCE_MAX: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };

/// No answers that wait on one connection are longer: one that names 200 peers has 2 KiB.
const RECEIVED_MAX: usize = 1 << 20;

/// Connections that are looked at between two waits.
const EVENTS: usize = 256;

/// Info hashes of a scrape; their URL has 1,500 bytes.
const SCRAPE_MAX: u32 = 20;

/// A tracker that ends connections without an answer so often in a row does not answer.
const IN_VAIN_MAX: u32 = 20;

/// All connections.
pub(super) struct Http {
    crowd: Crowd,
    to: SocketAddr,
    numwant: u32,
    depth: usize,
    poll: OwnedFd,
    clients: Vec<Client>,
}

/// One connection.
struct Client {
    number: u32,
    stream: TcpStream,
    /// What came and is no whole answer yet.
    received: Vec<u8>,
    /// Requests whose answers are awaited, in order.
    waiting: Vec<String>,
    /// Connections in a row that ended without an answer.
    in_vain: u32,
}

impl Http {
    pub(super) fn new(crowd: Crowd, load: &Load) -> Result<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let depth = load.depth.unwrap_or(1);
        ensure!(0 < depth, "a depth of at least 1");
        let mut clients = Vec::new();
        for number in 0..crowd.peers() {
            let stream = connect(&crowd, number, load.to, &poll)?;
            clients.push(Client { number, stream, received: Vec::new(), waiting: Vec::new(), in_vain: 0 });
        }
        Ok(Self { crowd, to: load.to, numwant: load.numwant, depth, poll, clients })
    }

    /// Every client sends the requests that `next` has for it, until there are none and all are answered. Each answer's body goes to
    /// `judge`.
    fn drive(
        &mut self,
        mut next: impl FnMut(&Crowd, u32) -> Option<String>,
        mut judge: impl FnMut(&[u8], &mut Phase) -> Result<()>,
    ) -> Result<Phase> {
        let mut phase = Phase::default();
        let mut waiting = 0;
        for client in &mut self.clients {
            let number = client.number;
            let requests = std::iter::from_fn(|| next(&self.crowd, number)).take(self.depth);
            waiting += client.ask(requests.collect())?;
        }
        let mut events = Vec::with_capacity(EVENTS);
        while 0 < waiting {
            events.clear();
            epoll::wait(&self.poll, spare_capacity(&mut events), Some(&SILENCE_MAX))?;
            ensure!(!events.is_empty(), "the tracker answers no more; {waiting} requests wait");
            for event in &events {
                let client = &mut self.clients[event.data.u64() as usize];
                let is_open = client.read()?;
                let count = client.take_answers(&mut phase, &mut judge)?;
                waiting -= count;
                client.in_vain = if count == 0 { client.in_vain } else { 0 };
                if !is_open {
                    phase.lost += client.waiting.len() as u64;
                    client.in_vain += 1;
                    ensure!(client.in_vain < IN_VAIN_MAX, "the tracker ends connections without an answer");
                    client.received.clear();
                    client.stream = connect(&self.crowd, client.number, self.to, &self.poll)?;
                    let lost = std::mem::take(&mut client.waiting);
                    client.ask(lost)?;
                }
                let number = client.number;
                let requests = std::iter::from_fn(|| next(&self.crowd, number)).take(count);
                waiting += client.ask(requests.collect())?;
            }
        }
        Ok(phase)
    }
}

impl Client {
    /// Sends requests in one piece, and says how many.
    fn ask(&mut self, requests: Vec<String>) -> Result<usize> {
        let count = requests.len();
        if count == 0 {
            return Ok(0);
        }
        match self.stream.write_all(requests.concat().as_bytes()) {
            // The thread that reads from the connection sees its end.
            Err(error) if !is_the_end(&error) => return Err(error).context("asking"),
            _ => self.waiting.extend(requests),
        }
        Ok(count)
    }

    /// Takes what is there; false at the end of the connection.
    fn read(&mut self) -> Result<bool> {
        let mut buffer = [0; 16 << 10];
        loop {
            let count = match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) if is_the_end(&error) => return Ok(false),
                Err(error) => return Err(error).context("reading an answer"),
            };
            self.received.extend_from_slice(&buffer[..count]);
            ensure!(self.received.len() <= RECEIVED_MAX, "answers without an end");
            if count < buffer.len() {
                return Ok(true);
            }
        }
    }

    /// Judges whole answers, and says how many there were.
    fn take_answers(
        &mut self,
        phase: &mut Phase,
        judge: &mut impl FnMut(&[u8], &mut Phase) -> Result<()>,
    ) -> Result<usize> {
        let (mut at, mut count) = (0, 0);
        while let Some((body, length)) = answer(&self.received[at..])? {
            ensure!(count < self.waiting.len(), "an answer without a question");
            judge(body, phase)?;
            (at, count) = (at + length, count + 1);
        }
        self.received.drain(..at);
        self.waiting.drain(..count);
        phase.answers += count as u64;
        Ok(count)
    }
}

impl Transport for Http {
    fn prepare(&mut self) -> Result<()> {
        Ok(())
    }

    fn fill(&mut self) -> Result<Phase> {
        let mut next = vec![0; self.clients.len()];
        let (swarms, numwant) = (self.crowd.swarms(), self.numwant);
        let requests = move |crowd: &Crowd, client: u32| {
            let swarm = &mut next[client as usize];
            *swarm += 1;
            (*swarm <= swarms).then(|| announce(crowd, client, *swarm - 1, numwant, "&event=started"))
        };
        self.drive(requests, count_peers)
    }

    fn registered(&mut self) -> Result<u64> {
        let (mut first, swarms, mut registered) = (0, self.crowd.swarms(), 0);
        let requests = |crowd: &Crowd, client| {
            if client != 0 || swarms <= first {
                return None;
            }
            let end = swarms.min(first + SCRAPE_MAX);
            let hashes = (first..end).map(|swarm| format!("info_hash={}", escaped(&crowd.info_hash(swarm))));
            let hashes: Vec<_> = hashes.collect();
            first = end;
            Some(request(&format!("/scrape?{}", hashes.join("&"))))
        };
        let judge = |body: &[u8], _: &mut Phase| {
            for key in ["8:completei", "10:incompletei"] {
                registered += numbers_after(body, key).sum::<u64>();
            }
            Ok(())
        };
        self.drive(requests, judge)?;
        Ok(registered)
    }

    fn ask(&mut self, askers: Askers, answers: u64, limit: Duration) -> Result<Phase> {
        let (mut chance, mut left) = (Chance::new(answers), answers);
        let (swarms, numwant, end) = (self.crowd.swarms(), self.numwant, Instant::now() + limit);
        let requests = move |crowd: &Crowd, client: u32| {
            // The clock is looked at now and then only.
            if left.is_multiple_of(64) && end < Instant::now() {
                left = 0;
            }
            // A peer that is the client in one swarm is it in all.
            let is_seed = crowd.peer(client).is_seed;
            if left == 0 || (askers != Askers::All && is_seed != (askers == Askers::Seeds)) {
                return None;
            }
            left -= 1;
            Some(announce(crowd, client, chance.index(swarms as usize) as u32, numwant, ""))
        };
        self.drive(requests, count_peers)
    }
}

fn announce(crowd: &Crowd, client: u32, swarm: u32, numwant: u32, event: &str) -> String {
    let number = swarm * crowd.peers() + client;
    let left = if crowd.peer(number).is_seed { 0 } else { 1 << 30 };
    let peer_id = crowd.peer_id(number);
    request(&format!(
        "/announce?info_hash={}&peer_id={}&port=6881&uploaded=0&downloaded=0&left={left}&compact=1&numwant={numwant}\
         &key={number:08x}{event}",
        escaped(&crowd.info_hash(swarm)),
        String::from_utf8_lossy(&peer_id),
    ))
}

fn request(target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: tracker\r\nUser-Agent: ferri-bench\r\nConnection: keep-alive\r\n\r\n"
    )
}

/// A connection from the client's own address.
fn connect(crowd: &Crowd, client: u32, to: SocketAddr, poll: &OwnedFd) -> Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    let from = SocketAddr::new(crowd.ip(client), 0);
    socket.bind(&from.into()).with_context(|| format!("{from} is to be an address of this machine"))?;
    socket.connect(&to.into()).with_context(|| format!("connecting to {to}"))?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    let stream = TcpStream::from(socket);
    epoll::add(poll, &stream, epoll::EventData::new_u64(client.into()), epoll::EventFlags::IN)?;
    Ok(stream)
}

fn is_the_end(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

/// The body of the first answer and the length of the whole; `None` while it is not there in full.
fn answer(received: &[u8]) -> Result<Option<(&[u8], usize)>> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(head) = received.windows(END.len()).position(|window| window == END) else { return Ok(None) };
    let (head, body) = (&received[..head], &received[head + END.len()..]);
    let head = std::str::from_utf8(head).context("a head that is no text")?;
    ensure!(head.starts_with("HTTP/1.1 200 ") || head.starts_with("HTTP/1.0 200 "), "not a 200: {head}");
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
    });
    let Some(length) = length.transpose()? else { bail!("an answer without its length: {head}") };
    ensure!(length <= RECEIVED_MAX, "an answer of {length} bytes");
    Ok(body.get(..length).map(|body| (body, head.len() + END.len() + length)))
}

/// Looks at the answer to an announce.
fn count_peers(body: &[u8], phase: &mut Phase) -> Result<()> {
    // aquatic_http ends the body with an empty line.
    let body = body.trim_ascii_end();
    ensure!(
        body.starts_with(b"d") && body.ends_with(b"e"),
        "not an answer: {}",
        String::from_utf8_lossy(body)
    );
    if has(body, b"14:failure reason") {
        phase.errors += 1;
        if phase.complaint.is_empty() {
            phase.complaint = String::from_utf8_lossy(body).into_owned();
        }
        return Ok(());
    }
    ensure!(numbers_after(body, "8:intervali").any(|interval| 0 < interval), "no interval");
    let (mut bytes, mut bytes6) = (numbers_after(body, "5:peers"), numbers_after(body, "6:peers6"));
    let (bytes, bytes6) = (bytes.next().unwrap_or(0), bytes6.next().unwrap_or(0));
    ensure!(bytes % 6 == 0 && bytes6 % 18 == 0, "no whole number of peers");
    phase.peers += bytes / 6 + bytes6 / 18;
    Ok(())
}

fn has(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}

/// What stands behind each place of this key. The key looks like no other bytes of an answer, as good as surely.
fn numbers_after<'a>(body: &'a [u8], key: &'a str) -> impl Iterator<Item = u64> + 'a {
    let places = body.windows(key.len()).enumerate().filter(|(_, window)| *window == key.as_bytes());
    places.filter_map(|(at, _)| {
        let rest = &body[at + key.len()..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
    })
}

fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("%{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_when_they_are_whole() {
        let text = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nd1:aeHTTP/1.1 200 OK\r\n";
        assert_eq!(answer(text).expect("an answer"), Some((&b"d1:ae"[..], 43)));
        assert_eq!(answer(&text[..42]).expect("a part"), None);
        assert!(answer(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n").is_err());
        assert!(answer(b"HTTP/1.1 200 OK\r\n\r\n").is_err(), "no length");
    }

    #[test]
    fn what_an_answer_names_is_counted() {
        let mut phase = Phase::default();
        count_peers(b"d8:intervali600e5:peers12:abcdefghijkl6:peers618:abcdefghijklmnopqre", &mut phase)
            .expect("an answer");
        assert_eq!((phase.peers, phase.errors), (3, 0));
        count_peers(b"d14:failure reason2:noe", &mut phase).expect("a refusal");
        assert_eq!(phase.errors, 1);
        assert!(count_peers(b"d8:intervali600e5:peers5:abcdee", &mut phase).is_err());
        count_peers(b"d8:intervali120e5:peers0:6:peers60:e\r\n", &mut phase).expect("with an empty line");
        assert!(count_peers(b"<html>", &mut phase).is_err());
        let scrape = b"d5:filesd20:aaaaaaaaaaaaaaaaaaaad8:completei1e10:incompletei2ee20:baaaaaaaaaaaaaaaaaaad8:completei4eeee";
        assert_eq!(numbers_after(scrape, "8:completei").sum::<u64>(), 5);
    }
}

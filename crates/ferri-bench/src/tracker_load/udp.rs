//! The crowd over UDP ([BEP 15](https://www.bittorrent.org/beps/bep_0015.html)): one socket, and a source address in each
//! datagram (`IP_PKTINFO`), so that millions of clients need no socket each.

use std::io::IoSlice;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ferri_sim::Chance;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, recv, sendmsg, setsockopt, sockopt};

use super::crowd::Crowd;
use super::{Askers, Load, Phase, Transport};

/// Requests that wait for an answer: enough to keep a tracker on two cores busy, and few enough for the 212,992 bytes
/// that a socket buffers by default.
const DEPTH: usize = 128;

/// An answer that takes longer was lost.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);

/// Between two looks for lost ones, and the longest wait for a datagram.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// A request that is lost so often in a row is not lost: the tracker does not answer.
const TRIES_MAX: u32 = 20;

/// Trackers take a connection id for a minute at least.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(40);

/// Peers that are announced between two looks at the age of the connection ids.
const FILLED_AT_ONCE: u32 = 50_000;

/// BEP 15: about 74 fit; aquatic takes 70.
const SCRAPE_MAX: u32 = 70;

/// Of our socket, so that no answer is lost here.
const RECEIVE_BUFFER: usize = 64 << 20;

const PROTOCOL: u64 = 0x0417_2710_1980;
const CONNECT: u32 = 0;
const ANNOUNCE: u32 = 1;
const SCRAPE: u32 = 2;
const ERROR: u32 = 3;

/// One question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// For the connection id of an address.
    Connect(u32),
    Announce {
        peer: u32,
        is_new: bool,
    },
    /// About so many swarms from the first on.
    Scrape {
        first: u32,
        count: u32,
    },
}

/// One that waits for its answer. Its place and generation are the transaction.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    question: Question,
    sent: Instant,
    tries: u32,
}

/// The crowd, and what it is asking.
pub(super) struct Udp {
    crowd: Crowd,
    numwant: u32,
    socket: UdpSocket,
    to: SockaddrStorage,
    entry: usize,
    places: Vec<Option<Waiting>>,
    generations: Vec<u32>,
    /// By address; 0 where there is none yet.
    connections: Vec<u64>,
    connected: Option<Instant>,
    packet: Vec<u8>,
    /// Counted by scrapes.
    registered: u64,
}

impl Udp {
    pub(super) fn new(crowd: Crowd, load: &Load) -> Result<Self> {
        let unspecified = if load.to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(unspecified)?;
        socket.set_read_timeout(Some(LOOK_INTERVAL))?;
        // As root; else with what the system grants.
        if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
        }
        let depth = load.depth.unwrap_or(DEPTH);
        ensure!((1..=usize::from(u16::MAX)).contains(&depth), "a depth between 1 and 65535");
        Ok(Self {
            numwant: load.numwant,
            socket,
            to: load.to.into(),
            entry: if load.to.is_ipv4() { 6 } else { 18 },
            places: vec![None; depth],
            generations: vec![0; depth],
            connections: vec![0; crowd.addresses() as usize],
            connected: None,
            packet: Vec::with_capacity(2048),
            registered: 0,
            crowd,
        })
    }

    /// Connection ids for all addresses, unless they are fresh.
    fn connect(&mut self) -> Result<()> {
        if self.connected.is_none_or(|then| CONNECTION_AGE_MAX < then.elapsed()) {
            let now = Instant::now();
            self.drive((0..self.crowd.addresses()).map(Question::Connect))?;
            self.connected = Some(now);
        }
        Ok(())
    }

    /// Asks until the questions end and all are answered.
    fn drive(&mut self, mut questions: impl Iterator<Item = Question>) -> Result<Phase> {
        let mut phase = Phase::default();
        let mut free: Vec<usize> = (0..self.places.len()).rev().collect();
        let mut buffer = [0; 4096];
        let mut looked = Instant::now();
        self.places.fill(None);
        loop {
            while let Some(place) = free.pop() {
                let Some(question) = questions.next() else {
                    free.push(place);
                    break;
                };
                self.send(place, question, 0)?;
            }
            if free.len() == self.places.len() {
                return Ok(phase);
            }
            let mut flags = MsgFlags::empty();
            loop {
                match recv(self.socket.as_raw_fd(), &mut buffer, flags) {
                    Ok(length) => free.extend(self.answered(&buffer[..length], &mut phase)?),
                    // Nothing more is there.
                    Err(Errno::EAGAIN) => break,
                    // An earlier datagram met a closed port; it gets no answer.
                    Err(Errno::ECONNREFUSED) => bail!("no server listens there"),
                    Err(error) => return Err(error).context("receiving"),
                }
                flags = MsgFlags::MSG_DONTWAIT;
                // Else the tracker would run dry while a long queue is read.
                if self.places.len() / 2 <= free.len() {
                    break;
                }
            }
            if LOOK_INTERVAL <= looked.elapsed() {
                looked = Instant::now();
                self.repeat_lost(&mut phase)?;
            }
        }
    }

    fn repeat_lost(&mut self, phase: &mut Phase) -> Result<()> {
        for place in 0..self.places.len() {
            let Some(waiting) = self.places[place].filter(|waiting| ANSWER_LIMIT < waiting.sent.elapsed())
            else {
                continue;
            };
            ensure!(waiting.tries < TRIES_MAX, "the tracker does not answer {:?}", waiting.question);
            phase.lost += 1;
            self.send(place, waiting.question, waiting.tries + 1)?;
        }
        Ok(())
    }

    fn send(&mut self, place: usize, question: Question, tries: u32) -> Result<()> {
        self.generations[place] = self.generations[place].wrapping_add(1);
        let transaction = (self.generations[place] << 16) | place as u32;
        let address = self.write(question, transaction);
        let from = self.crowd.ip(address);
        let fd = self.socket.as_raw_fd();
        let packet = [IoSlice::new(&self.packet)];
        let sent = match from {
            IpAddr::V4(ip) => {
                let source = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                let source = [ControlMessage::Ipv4PacketInfo(&source)];
                sendmsg(fd, &packet, &source, MsgFlags::empty(), Some(&self.to))
            }
            IpAddr::V6(ip) => {
                let source =
                    libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: ip.octets() }, ipi6_ifindex: 0 };
                let source = [ControlMessage::Ipv6PacketInfo(&source)];
                sendmsg(fd, &packet, &source, MsgFlags::empty(), Some(&self.to))
            }
        };
        sent.with_context(|| format!("sending from {from}"))?;
        self.places[place] = Some(Waiting { question, sent: Instant::now(), tries });
        Ok(())
    }

    /// Puts the packet into the buffer, and says from which address it goes.
    fn write(&mut self, question: Question, transaction: u32) -> u32 {
        self.packet.clear();
        let (address, action) = match question {
            Question::Connect(address) => (address, CONNECT),
            Question::Announce { peer, .. } => (self.crowd.peer(peer).address, ANNOUNCE),
            Question::Scrape { first, .. } => (first % self.crowd.addresses(), SCRAPE),
        };
        let connection = if action == CONNECT { PROTOCOL } else { self.connections[address as usize] };
        self.packet.extend_from_slice(&connection.to_be_bytes());
        self.packet.extend_from_slice(&action.to_be_bytes());
        self.packet.extend_from_slice(&transaction.to_be_bytes());
        match question {
            Question::Connect(_) => {}
            Question::Announce { peer: number, is_new } => {
                let peer = self.crowd.peer(number);
                self.packet.extend_from_slice(&self.crowd.info_hash(peer.swarm));
                self.packet.extend_from_slice(&self.crowd.peer_id(number));
                let left = if peer.is_seed { 0 } else { 1 << 30 };
                for bytes in [0_u64, left, 0] {
                    self.packet.extend_from_slice(&bytes.to_be_bytes());
                }
                let started = if is_new { 2 } else { 0 };
                for word in [started, 0, number, self.numwant] {
                    self.packet.extend_from_slice(&word.to_be_bytes());
                }
                self.packet.extend_from_slice(&peer.port.to_be_bytes());
            }
            Question::Scrape { first, count } => {
                for swarm in first..first + count {
                    self.packet.extend_from_slice(&self.crowd.info_hash(swarm));
                }
            }
        }
        address
    }

    /// Takes note of a datagram, and says which place it frees.
    fn answered(&mut self, packet: &[u8], phase: &mut Phase) -> Result<Option<usize>> {
        let Some((head, body)) = packet.split_first_chunk::<8>() else {
            bail!("a datagram of {} bytes", packet.len())
        };
        let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (action, transaction) = (word(0), word(4));
        let place = (transaction & 0xffff) as usize;
        // One that was taken for lost comes late.
        let Some(waiting) = self.places.get(place).copied().flatten() else { return Ok(None) };
        if transaction != (self.generations[place] << 16) | place as u32 {
            return Ok(None);
        }
        match (action, waiting.question) {
            (CONNECT, Question::Connect(address)) => {
                let id = body.first_chunk().context("a connection id of less than 8 bytes")?;
                self.connections[address as usize] = u64::from_be_bytes(*id);
            }
            (ANNOUNCE, Question::Announce { .. }) => phase.peers += named(body, self.entry)?,
            (SCRAPE, Question::Scrape { count, .. }) => {
                ensure!(body.len() == 12 * count as usize, "{} bytes about {count} swarms", body.len());
                for swarm in body.as_chunks::<4>().0.chunks(3) {
                    self.registered += u64::from(u32::from_be_bytes(swarm[0]));
                    self.registered += u64::from(u32::from_be_bytes(swarm[2]));
                }
            }
            (ERROR, _) => {
                phase.errors += 1;
                if phase.complaint.is_empty() {
                    phase.complaint = String::from_utf8_lossy(body).into_owned();
                }
            }
            (action, question) => bail!("an answer of kind {action} to {question:?}"),
        }
        self.places[place] = None;
        phase.answers += 1;
        Ok(Some(place))
    }
}

/// Peers that an answer to an announce names; behind action and transaction.
fn named(body: &[u8], entry: usize) -> Result<u64> {
    let (numbers, peers) = body.split_first_chunk::<12>().context("an answer without numbers")?;
    ensure!(numbers[..4] != [0; 4], "an interval of 0");
    ensure!(peers.len() % entry == 0, "{} bytes of peers of {entry} bytes", peers.len());
    let mut entries = peers.chunks(entry);
    ensure!(entries.all(|peer| peer[entry - 2..] != [0; 2]), "a peer with port 0");
    Ok((peers.len() / entry) as u64)
}

impl Transport for Udp {
    fn prepare(&mut self) -> Result<()> {
        self.connect()
    }

    fn fill(&mut self) -> Result<Phase> {
        let mut phase = Phase::default();
        let mut first = 0;
        while first < self.crowd.total() {
            // On a slow machine the filling outlives the connection ids.
            self.connect()?;
            let end = self.crowd.total().min(first + FILLED_AT_ONCE);
            let part = self.drive((first..end).map(|peer| Question::Announce { peer, is_new: true }))?;
            phase.answers += part.answers;
            phase.peers += part.peers;
            phase.errors += part.errors;
            phase.lost += part.lost;
            if phase.complaint.is_empty() {
                phase.complaint = part.complaint;
            }
            first = end;
        }
        Ok(phase)
    }

    fn registered(&mut self) -> Result<u64> {
        self.connect()?;
        self.registered = 0;
        let swarms = self.crowd.swarms();
        let questions = (0..swarms.div_ceil(SCRAPE_MAX)).map(move |n| {
            let first = n * SCRAPE_MAX;
            Question::Scrape { first, count: SCRAPE_MAX.min(swarms - first) }
        });
        self.drive(questions)?;
        Ok(self.registered)
    }

    fn ask(&mut self, askers: Askers, answers: u64, limit: Duration) -> Result<Phase> {
        let (crowd, mut chance) = (self.crowd.clone(), Chance::new(answers));
        let end = Instant::now() + limit;
        let mut asked = 0_u32;
        let questions = std::iter::from_fn(move || {
            asked = asked.wrapping_add(1);
            // The clock is looked at now and then only.
            if asked.is_multiple_of(256) && end < Instant::now() {
                return None;
            }
            loop {
                let peer = chance.index(crowd.total() as usize) as u32;
                let is_seed = crowd.peer(peer).is_seed;
                if askers == Askers::All || is_seed == (askers == Askers::Seeds) {
                    return Some(Question::Announce { peer, is_new: false });
                }
            }
        });
        self.drive(questions.fuse().take(answers as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_of_an_answer_are_counted_and_looked_at() {
        let mut body = vec![0, 0, 7, 8, 0, 0, 0, 1, 0, 0, 0, 2];
        assert_eq!(named(&body, 6).expect("nobody is named"), 0);
        body.extend_from_slice(&[127, 0, 0, 1, 0x1a, 0xe1, 127, 0, 0, 2, 0, 1]);
        assert_eq!(named(&body, 6).expect("two"), 2);
        assert!(named(&body, 18).is_err(), "no whole number of peers");
        body[22..].fill(0);
        assert!(named(&body, 6).is_err(), "port 0");
        assert!(named(&[0; 12], 6).is_err(), "interval 0");
    }
}

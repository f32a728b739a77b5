//! Leechers that throw everything away unread: hundreds of them on two threads.

use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{Timespec, epoll};
use rustix::net::{AddressFamily, RecvFlags, SocketType, bind, connect, recv, socket};

use crate::protocol::{self, BLOCK_LENGTH, CHOKE, PIECE, PIECE_HEAD_LEN, UNCHOKE};
use crate::torrent::Torrent;
use crate::{nth_address, say};

/// Requests on their way at once; below what any client accepts from one peer (250 and more).
const PIPELINE: usize = 200;

/// All leechers of a process share these.
const THREADS: u8 = 2;

/// When nothing has come for this long, nothing will.
const IDLE_LIMIT: Duration = Duration::from_secs(30);

/// Between two attempts to connect.
const LOOK_INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// A block of the torrent: piece, begin, length.
pub(crate) type Block = (u32, u32, u32);

/// Fetches the torrent over `count` connections, each its share, and throws it away. Prints one JSON line.
///
/// # Errors
/// When the seed misbehaves, or nothing comes for a while.
pub(crate) fn discard(torrent: &Torrent, from: SocketAddr, count: u8, bind_base: IpAddr) -> Result<()> {
    let start = Instant::now();
    let totals: Vec<Result<u64>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS.min(count))
            .map(|thread| {
                scope.spawn(move || {
                    let numbers = (thread..count).step_by(usize::from(THREADS)).collect();
                    let open = |n| {
                        Leecher::open(torrent, from, SocketAddr::new(nth_address(bind_base, n), 0), n, count)
                    };
                    drain(numbers, open)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a leecher does not panic")).collect()
    });
    let mut bytes = 0;
    for total in totals {
        bytes += total?;
    }
    say(&format!("{{\"seconds\":{:.6},\"bytes\":{bytes}}}", start.elapsed().as_secs_f64()))
}

/// Serves the leechers of these numbers until each has its share. A connection ends with its share, as that frees its
/// seed's slot. A seed that was told a moment ago that its torrent is complete may refuse the first connections, and one
/// that has too many refuses the last ones: they try again.
fn drain<'a>(mut waiting: VecDeque<u8>, open: impl Fn(u8) -> Result<Leecher<'a>>) -> Result<u64> {
    /// Connections that one wait can report.
    const EVENTS: usize = 64;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut leechers: HashMap<u8, Leecher<'a>> = HashMap::new();
    let (mut total, mut progress) = (0, Instant::now());
    let mut events = Vec::with_capacity(EVENTS);
    while !(waiting.is_empty() && leechers.is_empty()) {
        for _ in 0..waiting.len() {
            let Some(n) = waiting.pop_front() else { break };
            match open(n) {
                Ok(leecher) => {
                    let data = epoll::EventData::new_u64(u64::from(n));
                    epoll::add(&poll, &leecher.stream, data, epoll::EventFlags::IN)?;
                    leechers.insert(n, leecher);
                }
                Err(error) if progress.elapsed() > IDLE_LIMIT => return Err(error),
                Err(_) => waiting.push_back(n),
            }
        }
        ensure!(progress.elapsed() < IDLE_LIMIT, "nothing came for a while, {} wait", leechers.len());
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), Some(&LOOK_INTERVAL))?;
        for event in &events {
            let n = u8::try_from(event.data.u64())?;
            let leecher = leechers.get_mut(&n).context("an event of no leecher")?;
            let before = leecher.total;
            let ended = match leecher.receive() {
                Ok(is_done) => is_done,
                Err(_) if leecher.total == 0 => {
                    waiting.push_back(n);
                    true
                }
                Err(error) => return Err(error),
            };
            total += leecher.total - before;
            if before < leecher.total {
                progress = Instant::now();
            }
            if ended {
                leechers.remove(&n);
            }
        }
    }
    Ok(total)
}

/// One connection and its share of the torrent.
struct Leecher<'a> {
    stream: TcpStream,
    blocks: Box<dyn Iterator<Item = Block> + Send + 'a>,
    /// In the order of their requests.
    outstanding: VecDeque<Block>,
    is_choked: bool,
    /// Of the next message, what is here.
    head: [u8; PIECE_HEAD_LEN],
    filled: usize,
    /// Of the last message, what is still to be thrown away.
    rest: usize,
    /// Where thrown away bytes would go.
    sink: Box<[u8]>,
    total: u64,
}

impl<'a> Leecher<'a> {
    /// The `n`-th of `count`: every `count`-th piece from the `n`-th on.
    fn open(torrent: &'a Torrent, from: SocketAddr, local: SocketAddr, n: u8, count: u8) -> Result<Self> {
        let pieces = (u32::from(n)..torrent.piece_count()).step_by(usize::from(count));
        let mut stream = connect_from(local, from)?;
        stream.set_nodelay(true)?;
        greet(torrent, &mut stream, n)?;
        Ok(Self {
            stream,
            blocks: Box::new(pieces.flat_map(|piece| blocks(torrent, piece))),
            outstanding: VecDeque::new(),
            is_choked: true,
            head: [0; PIECE_HEAD_LEN],
            filled: 0,
            rest: 0,
            sink: vec![0; BLOCK_LENGTH as usize].into(),
            total: 0,
        })
    }

    /// Takes what is there; `true` when it has its share.
    fn receive(&mut self) -> Result<bool> {
        loop {
            let taken = if self.rest > 0 { self.throw_away() } else { self.read_head() };
            match taken {
                Err(rustix::io::Errno::AGAIN) => return Ok(false),
                taken => ensure!(taken? > 0, "the seed hung up after {} bytes", self.total),
            }
            while self.rest == 0 && self.take_message()? {}
            if self.rest == 0 && !self.is_choked && self.request()? == 0 {
                return Ok(true);
            }
        }
    }

    /// The kernel drops the bytes without copying them (tcp(7), MSG_TRUNC).
    fn throw_away(&mut self) -> rustix::io::Result<usize> {
        let length = self.rest.min(self.sink.len());
        let (_, count) =
            recv(&self.stream, &mut self.sink[..length], RecvFlags::TRUNC | RecvFlags::DONTWAIT)?;
        self.rest -= count;
        Ok(count)
    }

    fn read_head(&mut self) -> rustix::io::Result<usize> {
        let (_, count) = recv(&self.stream, &mut self.head[self.filled..], RecvFlags::DONTWAIT)?;
        self.filled += count;
        Ok(count)
    }

    /// The message that begins in `head`; `false` when too little of it is here.
    fn take_message(&mut self) -> Result<bool> {
        if self.filled < 5 {
            return Ok(false);
        }
        let length = 4 + protocol::number(&self.head, 0) as usize;
        let id = if length == 4 { None } else { Some(self.head[4]) };
        if id == Some(PIECE) {
            if self.filled < PIECE_HEAD_LEN {
                return Ok(false);
            }
            self.note_block(protocol::number(&self.head, 5), protocol::number(&self.head, 9));
        }
        match id {
            // Without the fast extension a choke discards what was asked for.
            Some(CHOKE) => self.is_choked = true,
            Some(UNCHOKE) => {
                self.is_choked = false;
                self.send_requests(0)?;
            }
            _ => {}
        }
        let here = length.min(self.filled);
        self.head.copy_within(here..self.filled, 0);
        self.filled -= here;
        self.rest = length - here;
        Ok(true)
    }

    /// A block that was on its way when we were choked comes twice; the second one belongs to no request.
    fn note_block(&mut self, piece: u32, begin: u32) {
        let at = self.outstanding.iter().position(|block| (block.0, block.1) == (piece, begin));
        if let Some((_, _, length)) = at.and_then(|at| self.outstanding.remove(at)) {
            self.total += u64::from(length);
        }
    }

    /// Keeps the seed busy; how many blocks are still to come.
    fn request(&mut self) -> Result<usize> {
        if self.outstanding.len() <= PIPELINE / 2 {
            self.send_requests(self.outstanding.len())?;
        }
        Ok(self.outstanding.len())
    }

    /// Requests what is outstanding from the `from`-th on, and more until the pipeline is full.
    fn send_requests(&mut self, from: usize) -> Result<()> {
        let more = PIPELINE - self.outstanding.len();
        self.outstanding.extend(self.blocks.by_ref().take(more));
        let batch: Vec<Block> = self.outstanding.range(from..).copied().collect();
        Ok(self.stream.write_all(&requests(&batch))?)
    }
}

/// The beginning of a connection: handshakes, and that we are interested.
pub(crate) fn greet(torrent: &Torrent, stream: &mut TcpStream, n: u8) -> Result<()> {
    stream.write_all(&protocol::handshake(&torrent.info_hash, n))?;
    // aria2 bans a peer whose next message comes before its own handshake went out.
    protocol::read_handshake(stream, &torrent.info_hash)?;
    Ok(stream.write_all(&protocol::leech_greeting())?)
}

/// Every block of a piece.
pub(crate) fn blocks(torrent: &Torrent, piece: u32) -> impl Iterator<Item = Block> + use<> {
    let length = torrent.piece_len(piece);
    let begins = (0..length).step_by(BLOCK_LENGTH as usize);
    begins.map(move |begin| (piece, begin, BLOCK_LENGTH.min(length - begin)))
}

/// Requests for these blocks, as they go out.
pub(crate) fn requests(blocks: &[Block]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(blocks.len() * protocol::REQUEST_LEN);
    for &(piece, begin, length) in blocks {
        protocol::push_request(&mut bytes, piece, begin, length);
    }
    bytes
}

pub(crate) fn connect_from(local: SocketAddr, to: SocketAddr) -> Result<TcpStream> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family, SocketType::STREAM, None)?;
    bind(&socket, &local)?;
    connect(&socket, &to)?;
    Ok(TcpStream::from(socket))
}

//! Two leechers: one throws everything away unread, one downloads with the least work.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::net::{AddressFamily, RecvFlags, SocketType, bind, connect, recv, socket};

use crate::protocol::{self, BLOCK_LENGTH, CHOKE, PIECE, PIECE_HEAD_LEN};
use crate::torrent::Torrent;
use crate::{nth_address, say};

/// Requests on their way at once; below what any client accepts from one peer (250 and more).
const PIPELINE: usize = 200;

/// Pieces that the floor has requested beyond the one that it receives: 4 MiB at 1 MiB a piece, about what other
/// clients keep in flight.
const PIECES_AHEAD: usize = 4;

/// From the first attempt to talk to a seed to the last.
const GREET_LIMIT: Duration = Duration::from_secs(20);

const GREET_RETRY: Duration = Duration::from_millis(50);

/// A block of the torrent: piece, begin, length.
type Block = (u32, u32, u32);

/// Fetches the torrent over `count` connections, each its share, and throws it away. Prints one JSON line.
///
/// # Errors
/// When a connection fails or ends early.
pub(crate) fn discard(torrent: &Torrent, from: SocketAddr, count: u8, bind_base: IpAddr) -> Result<()> {
    let start = Instant::now();
    let totals: Vec<Result<u64>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|n| {
                let local = SocketAddr::new(nth_address(bind_base, n), 0);
                scope.spawn(move || discard_share(torrent, from, local, n, count))
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

/// Every `count`-th piece from the `n`-th on.
fn discard_share(torrent: &Torrent, from: SocketAddr, local: SocketAddr, n: u8, count: u8) -> Result<u64> {
    let mut stream = connect_and_greet(torrent, from, local, n)?;
    let pieces = (u32::from(n)..torrent.piece_count()).step_by(usize::from(count));
    let mut blocks = pieces.flat_map(|piece| blocks(torrent, piece));
    let mut outstanding = 0;
    let mut total = 0;
    let mut sink = vec![0; BLOCK_LENGTH as usize];
    loop {
        if outstanding <= PIPELINE / 2 {
            let batch: Vec<Block> = blocks.by_ref().take(PIPELINE - outstanding).collect();
            outstanding += batch.len();
            stream.write_all(&requests(&batch))?;
        }
        if outstanding == 0 {
            return Ok(total);
        }
        let mut head = [0; PIECE_HEAD_LEN];
        stream.read_exact(&mut head[..5])?;
        let length = protocol::number(&head, 0);
        match head[4] {
            _ if length == 0 => bail!("a keep-alive in the middle of a transfer"),
            PIECE => {
                stream.read_exact(&mut head[5..])?;
                throw_away(&stream, &mut sink, length as usize - 9)?;
                total += u64::from(length - 9);
                outstanding -= 1;
            }
            CHOKE => bail!("choked by {from} after {total} bytes"),
            _ => drop(protocol::skip_message(&mut stream, length - 1)?),
        }
    }
}

/// A seed that was told a moment ago that its torrent is complete may refuse the first connections.
fn connect_and_greet(torrent: &Torrent, from: SocketAddr, local: SocketAddr, n: u8) -> Result<TcpStream> {
    let start = Instant::now();
    loop {
        let attempt = connect_from(local, from).and_then(|mut stream| {
            stream.set_nodelay(true)?;
            greet(torrent, &mut stream, n)?;
            Ok(stream)
        });
        match attempt {
            Err(_) if start.elapsed() < GREET_LIMIT => thread::sleep(GREET_RETRY),
            attempt => return attempt.with_context(|| format!("connecting {local} to {from}")),
        }
    }
}

/// The kernel drops the bytes without copying them (tcp(7), MSG_TRUNC).
fn throw_away(stream: &TcpStream, sink: &mut [u8], mut left: usize) -> Result<()> {
    while left > 0 {
        let length = left.min(sink.len());
        let (_, count) = recv(stream, &mut sink[..length], RecvFlags::TRUNC | RecvFlags::WAITALL)?;
        ensure!(count > 0, "the connection ended inside a block");
        left -= count;
    }
    Ok(())
}

/// Downloads the torrent from all peers at once into `path`.
///
/// # Errors
/// When a connection fails, a piece is wrong or the disk is full.
pub(crate) fn download(torrent: &Torrent, path: &Path, peers: &[SocketAddr]) -> Result<()> {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    let next = AtomicU32::new(0);
    thread::scope(|scope| {
        let threads: Vec<_> = (0_u8..)
            .zip(peers)
            .map(|(n, &peer)| {
                let (file, next) = (&file, &next);
                scope.spawn(move || Connection::open(torrent, peer, n)?.download(torrent, file, next))
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a leecher does not panic"))
    })
}

/// One connection of the floor: payload goes from the socket straight to its place in a piece, as much with one
/// system call as there is.
struct Connection {
    stream: TcpStream,
}

impl Connection {
    fn open(torrent: &Torrent, peer: SocketAddr, n: u8) -> Result<Self> {
        let mut stream = TcpStream::connect(peer).with_context(|| format!("connecting to {peer}"))?;
        stream.set_nodelay(true)?;
        greet(torrent, &mut stream, n)?;
        Ok(Self { stream })
    }

    /// Takes pieces until there are none left. The next ones are always requested before one is received, so that the
    /// seed has work while we hash and write.
    fn download(mut self, torrent: &Torrent, file: &File, next: &AtomicU32) -> Result<()> {
        let mut pieces = std::iter::from_fn(|| {
            let piece = next.fetch_add(1, Ordering::Relaxed);
            (piece < torrent.piece_count()).then_some(piece)
        });
        let mut buffer = vec![0; torrent.piece_len(0) as usize];
        let mut coming = VecDeque::new();
        loop {
            while coming.len() <= PIECES_AHEAD {
                let Some(piece) = pieces.next() else { break };
                self.request(torrent, piece)?;
                coming.push_back(piece);
            }
            let Some(piece) = coming.pop_front() else { return Ok(()) };
            let bytes = &mut buffer[..torrent.piece_len(piece) as usize];
            self.receive_piece(piece, bytes)?;
            ensure!(torrent.matches(piece, bytes), "piece {piece} is wrong");
            file.write_all_at(bytes, torrent.piece_offset(piece))?;
        }
    }

    fn request(&mut self, torrent: &Torrent, piece: u32) -> Result<()> {
        let blocks: Vec<Block> = blocks(torrent, piece).collect();
        Ok(self.stream.write_all(&requests(&blocks))?)
    }

    /// Blocks come in the order in which they were requested; other clients may not rely on that, our own seed does.
    fn receive_piece(&mut self, piece: u32, bytes: &mut [u8]) -> Result<()> {
        /// Places that one system call may fill (IOV_MAX).
        const PLACES_MAX: usize = 1024;
        let count = bytes.len().div_ceil(BLOCK_LENGTH as usize);
        let mut heads = vec![[0; PIECE_HEAD_LEN]; count];
        let mut places: Vec<IoSliceMut<'_>> = Vec::with_capacity(2 * count);
        for (head, block) in heads.iter_mut().zip(bytes.chunks_mut(BLOCK_LENGTH as usize)) {
            places.push(IoSliceMut::new(head));
            places.push(IoSliceMut::new(block));
        }
        let mut left = places.as_mut_slice();
        while !left.is_empty() {
            let now = left.len().min(PLACES_MAX);
            let count = self.stream.read_vectored(&mut left[..now])?;
            ensure!(count > 0, "the connection ended");
            IoSliceMut::advance_slices(&mut left, count);
        }
        for (n, (head, block)) in heads.iter().zip(bytes.chunks(BLOCK_LENGTH as usize)).enumerate() {
            let begin = u32::try_from(n)? * BLOCK_LENGTH;
            let expected = protocol::piece_head(piece, begin, u32::try_from(block.len())?);
            ensure!(*head == expected, "not the block that was requested next");
        }
        Ok(())
    }
}

/// The beginning of a connection, until the peer lets us request.
fn greet(torrent: &Torrent, stream: &mut TcpStream, n: u8) -> Result<()> {
    stream.write_all(&protocol::handshake(&torrent.info_hash, n))?;
    // aria2 bans a peer whose next message comes before its own handshake went out.
    protocol::read_handshake(stream, &torrent.info_hash)?;
    stream.write_all(&protocol::leech_greeting())?;
    protocol::wait_for_unchoke(stream)
}

fn blocks(torrent: &Torrent, piece: u32) -> impl Iterator<Item = Block> + use<> {
    let length = torrent.piece_len(piece);
    let begins = (0..length).step_by(BLOCK_LENGTH as usize);
    begins.map(move |begin| (piece, begin, BLOCK_LENGTH.min(length - begin)))
}

fn requests(blocks: &[Block]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(blocks.len() * protocol::REQUEST_LEN);
    for &(piece, begin, length) in blocks {
        protocol::push_request(&mut bytes, piece, begin, length);
    }
    bytes
}

fn connect_from(local: SocketAddr, to: SocketAddr) -> Result<TcpStream> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family, SocketType::STREAM, None)?;
    bind(&socket, &local)?;
    connect(&socket, &to)?;
    Ok(TcpStream::from(socket))
}

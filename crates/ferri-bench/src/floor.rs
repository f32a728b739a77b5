//! The floor of a download: the least work that the protocol, the kernel and the hash leave to be done.
//!
//! Payload goes from the socket straight to its place in a piece; pieces that are complete are hashed together, each
//! once, and written with one call each; their memory is used again. It trusts its peers to answer in order.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::mem;
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, poll};

use crate::leech::{blocks, greet, requests};
use crate::protocol::{self, BLOCK_LENGTH, PIECE_HEAD_LEN};
use crate::torrent::Torrent;

/// Requested from a peer and not received yet, in bytes. Less than a receive window, so that a peer sends on its own
/// time: what waits for a window to open leaves while we acknowledge, and the kernel books it on us.
const AHEAD: u64 = 1 << 20;

/// Complete pieces wait until they fill this much, and are hashed together.
const HASHED_TOGETHER: usize = 4 << 20;

/// Blocks that one read may fill.
const BLOCKS_A_READ: usize = 64;

/// Downloads the torrent from all peers at once into `path`.
///
/// # Errors
/// When a connection fails, a piece is wrong or the disk is full.
pub(crate) fn download(torrent: &Torrent, path: &Path, peers: &[SocketAddr]) -> Result<()> {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    let mut download = Download {
        torrent,
        file: &file,
        unrequested: 0..torrent.piece_count(),
        complete: Vec::new(),
        complete_bytes: 0,
        spare: Vec::new(),
    };
    let mut connections = Vec::new();
    for (n, &peer) in (0_u8..).zip(peers) {
        let mut connection = Connection::open(torrent, peer, n)?;
        download.request(&mut connection)?;
        connections.push(connection);
    }
    while !connections.is_empty() {
        let mut polled: Vec<PollFd<'_>> =
            connections.iter().map(|connection| PollFd::new(&connection.stream, PollFlags::IN)).collect();
        poll(&mut polled, None)?;
        let ready: Vec<bool> = polled.iter().map(|polled| !polled.revents().is_empty()).collect();
        for (connection, _) in connections.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
            download.serve(connection)?;
        }
        connections.retain(|connection| !connection.coming.is_empty());
    }
    download.finish()
}

/// What is not received, what is not verified, and memory that is free.
struct Download<'a> {
    torrent: &'a Torrent,
    file: &'a File,
    unrequested: Range<u32>,
    complete: Vec<(u32, Vec<u8>)>,
    complete_bytes: usize,
    /// Fresh memory costs a page fault every 4 KiB, so pieces live in old one.
    spare: Vec<Vec<u8>>,
}

impl Download<'_> {
    /// A connection has data.
    fn serve(&mut self, connection: &mut Connection) -> Result<()> {
        if connection.coming[0].bytes.is_empty() {
            let length = self.torrent.piece_len(connection.coming[0].piece) as usize;
            connection.coming[0].bytes = self.spare.pop().unwrap_or_default();
            connection.coming[0].bytes.resize(length, 0);
        }
        connection.receive()?;
        let Some((piece, bytes)) = connection.take_complete()? else { return Ok(()) };
        self.request(connection)?;
        self.complete_bytes += bytes.len();
        self.complete.push((piece, bytes));
        if self.complete_bytes < HASHED_TOGETHER { Ok(()) } else { self.finish() }
    }

    /// The next pieces are requested before the one that comes is whole, so that the peer always has work.
    fn request(&mut self, connection: &mut Connection) -> Result<()> {
        let mut bytes = Vec::new();
        while connection.coming.len() < 2 || connection.ahead < AHEAD {
            let Some(piece) = self.unrequested.next() else { break };
            bytes.extend(requests(&blocks(self.torrent, piece).collect::<Vec<_>>()));
            connection.ahead += u64::from(self.torrent.piece_len(piece));
            connection.coming.push_back(Coming { piece, bytes: Vec::new(), heads: Vec::new(), received: 0 });
        }
        Ok(connection.stream.write_all(&bytes)?)
    }

    /// Hashes and writes what is complete.
    fn finish(&mut self) -> Result<()> {
        self.torrent.ensure_match(&self.complete)?;
        for (piece, bytes) in mem::take(&mut self.complete) {
            self.file.write_all_at(&bytes, self.torrent.piece_offset(piece))?;
            self.spare.push(bytes);
        }
        self.complete_bytes = 0;
        Ok(())
    }
}

/// A piece that was requested.
struct Coming {
    piece: u32,
    /// Empty until the first of it arrives.
    bytes: Vec<u8>,
    heads: Vec<[u8; PIECE_HEAD_LEN]>,
    /// Bytes on the wire, heads included, that are here.
    received: usize,
}

/// One peer, and what it was asked for, in this order.
struct Connection {
    stream: TcpStream,
    coming: VecDeque<Coming>,
    /// Bytes in `coming`.
    ahead: u64,
}

impl Connection {
    fn open(torrent: &Torrent, peer: SocketAddr, n: u8) -> Result<Self> {
        let mut stream = TcpStream::connect(peer).with_context(|| format!("connecting to {peer}"))?;
        stream.set_nodelay(true)?;
        greet(torrent, &mut stream, n)?;
        protocol::wait_for_unchoke(&mut stream)?;
        Ok(Self { stream, coming: VecDeque::new(), ahead: 0 })
    }

    /// One read into the piece that comes: heads to the heads, blocks to their places.
    fn receive(&mut self) -> Result<()> {
        const WIRE_BLOCK: usize = PIECE_HEAD_LEN + BLOCK_LENGTH as usize;
        let coming = &mut self.coming[0];
        coming.heads.resize(coming.bytes.len().div_ceil(BLOCK_LENGTH as usize), [0; PIECE_HEAD_LEN]);
        let (first, inside) = (coming.received / WIRE_BLOCK, coming.received % WIRE_BLOCK);
        let blocks = coming.bytes.chunks_mut(BLOCK_LENGTH as usize);
        let mut places: Vec<IoSliceMut<'_>> = Vec::with_capacity(2 * BLOCKS_A_READ);
        for (head, block) in coming.heads.iter_mut().zip(blocks).skip(first).take(BLOCKS_A_READ) {
            places.push(IoSliceMut::new(head));
            places.push(IoSliceMut::new(block));
        }
        let mut places = places.as_mut_slice();
        IoSliceMut::advance_slices(&mut places, inside);
        let count = self.stream.read_vectored(places)?;
        ensure!(count > 0, "the connection ended");
        coming.received += count;
        Ok(())
    }

    /// The piece that came, if all of it did.
    fn take_complete(&mut self) -> Result<Option<(u32, Vec<u8>)>> {
        let coming = &self.coming[0];
        if coming.received < coming.bytes.len() + coming.heads.len() * PIECE_HEAD_LEN {
            return Ok(None);
        }
        // Blocks come in the order in which they were requested; other clients may not rely on that, our own seed does.
        for (n, (head, block)) in
            (0..).zip(coming.heads.iter().zip(coming.bytes.chunks(BLOCK_LENGTH as usize)))
        {
            let expected = protocol::piece_head(coming.piece, n * BLOCK_LENGTH, u32::try_from(block.len())?);
            ensure!(*head == expected, "not the block that was requested next");
        }
        let Coming { piece, bytes, .. } = self.coming.pop_front().expect("one was just looked at");
        self.ahead -= bytes.len() as u64;
        Ok(Some((piece, bytes)))
    }
}

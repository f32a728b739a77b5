//! A seed that does the least: one thread a connection, a header, then `sendfile`. It may be slow, or stall, if told to.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::fs::sendfile;
use rustix::net::{SendFlags, send};

use crate::protocol::{self, REQUEST, REQUEST_LEN};
use crate::torrent::Torrent;
use crate::{nth_address, say};

/// Requests that one read can bring: 3,855.
const READ_LEN: usize = 64 << 10;

/// How the peer at one address sends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    /// As fast as it can.
    Free,
    /// This many bytes a second.
    Limited(u64),
    /// A few blocks, half of another one, and then nothing, though it takes requests on.
    Stalling,
    /// Blocks of the first half of each piece, and never one of the second, though it takes requests on.
    Halving,
}

/// What a stalling peer sends before it stalls: twenty blocks and a half, so it stops inside a piece and inside a block.
const STALLS_AFTER: u64 = 20 * 16384 + 8192;

/// Serves `path`, one address for each of `manners` from `base` on, until killed. Says `ready` when all of them listen.
///
/// # Errors
/// When an address is taken or the file cannot be opened.
pub(crate) fn serve(torrent: &Torrent, path: &Path, manners: &[Manner], base: SocketAddr) -> Result<()> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut listeners = Vec::new();
    for (n, &manner) in (0..).zip(manners) {
        let address = SocketAddr::new(nth_address(base.ip(), n), base.port());
        let listener = TcpListener::bind(address).with_context(|| format!("listening on {address}"))?;
        listeners.push((n, manner, listener));
    }
    say("ready")?;
    thread::scope(|scope| {
        for (n, manner, listener) in &listeners {
            let file = &file;
            scope.spawn(move || {
                for stream in listener.incoming().flatten() {
                    let sender = Sender { torrent, file, manner: *manner, free_at: Instant::now(), sent: 0 };
                    // A peer that ends or misbehaves ends its own connection only.
                    scope.spawn(move || drop(talk(sender, stream, *n)));
                }
            });
        }
    });
    Ok(())
}

fn talk(mut sender: Sender<'_>, mut stream: TcpStream, number: u8) -> Result<()> {
    let torrent = sender.torrent;
    stream.set_nodelay(true)?;
    protocol::read_handshake(&mut stream, &torrent.info_hash)?;
    let mut greeting = protocol::handshake(&torrent.info_hash, number);
    greeting.extend_from_slice(&protocol::seed_greeting(&torrent.full_bitfield()));
    stream.write_all(&greeting)?;
    let mut buffer = vec![0; READ_LEN];
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..])? {
            0 => return Ok(()),
            count => filled += count,
        }
        let mut at = 0;
        while let Some(length) = message_len(&buffer[at..filled]) {
            ensure!(length <= READ_LEN, "a message of {length} bytes");
            let Some(message) = buffer[at..filled].get(..length) else { break };
            if message.len() == REQUEST_LEN && message[4] == REQUEST {
                let number = |at| protocol::number(message, at);
                sender.send_block(&stream, number(5), number(9), number(13))?;
            }
            at += length;
        }
        buffer.copy_within(at..filled, 0);
        filled -= at;
    }
}

/// Length of the message that begins here, prefix included.
fn message_len(bytes: &[u8]) -> Option<usize> {
    (bytes.len() >= 4).then(|| 4 + protocol::number(bytes, 0) as usize)
}

/// The sending half of a connection.
struct Sender<'a> {
    torrent: &'a Torrent,
    file: &'a File,
    manner: Manner,
    /// When a limited peer may send its next block.
    free_at: Instant,
    sent: u64,
}

impl Sender<'_> {
    fn send_block(&mut self, stream: &TcpStream, piece: u32, begin: u32, length: u32) -> Result<()> {
        ensure!(begin.saturating_add(length) <= self.torrent.piece_len(piece), "a request outside its piece");
        let allowed = self.allowed(piece, begin, length);
        if allowed == 0 {
            return Ok(());
        }
        // The header waits in the kernel for the data, so both leave in the same segments.
        let head = protocol::piece_head(piece, begin, length);
        let mut sent = 0;
        while sent < head.len() {
            sent += send(stream, &head[sent..], SendFlags::MORE | SendFlags::NOSIGNAL)?;
        }
        let mut offset = self.torrent.piece_offset(piece) + u64::from(begin);
        let mut left = allowed;
        while left > 0 {
            let count = sendfile(stream, self.file, Some(&mut offset), left)?;
            ensure!(count > 0, "the file is shorter than its torrent says");
            left -= count;
        }
        self.sent += allowed as u64;
        Ok(())
    }

    /// How much of a block may be sent; a limited peer waits here until it may send all of it.
    fn allowed(&mut self, piece: u32, begin: u32, length: u32) -> usize {
        match self.manner {
            Manner::Free => {}
            Manner::Limited(rate) => {
                let takes = Duration::from_nanos(u64::from(length) * 1_000_000_000 / rate);
                self.free_at = self.free_at.max(Instant::now()) + takes;
                thread::sleep(self.free_at.saturating_duration_since(Instant::now()));
            }
            Manner::Halving if self.torrent.piece_len(piece) / 2 <= begin => return 0,
            Manner::Halving => {}
            Manner::Stalling => return u64::from(length).min(STALLS_AFTER - self.sent) as usize,
        }
        length as usize
    }
}

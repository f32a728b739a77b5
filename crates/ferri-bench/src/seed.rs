//! A seed that does the least: one thread a connection, a header, then `sendfile`.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, ensure};
use rustix::fs::sendfile;
use rustix::net::{SendFlags, send};

use crate::protocol::{self, REQUEST, REQUEST_LEN};
use crate::torrent::Torrent;
use crate::{nth_address, say};

/// Requests that one read can bring: 3,855.
const READ_LEN: usize = 64 << 10;

/// Serves `path` at `count` addresses from `base` on, until killed. Says `ready` when all of them listen.
///
/// # Errors
/// When an address is taken or the file cannot be opened.
pub(crate) fn serve(torrent: &Torrent, path: &Path, count: u8, base: SocketAddr) -> Result<()> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut listeners = Vec::new();
    for n in 0..count {
        let address = SocketAddr::new(nth_address(base.ip(), n), base.port());
        listeners.push((n, TcpListener::bind(address).with_context(|| format!("listening on {address}"))?));
    }
    say("ready")?;
    thread::scope(|scope| {
        for (n, listener) in &listeners {
            let file = &file;
            scope.spawn(move || {
                for stream in listener.incoming().flatten() {
                    // A peer that ends or misbehaves ends its own connection only.
                    scope.spawn(move || drop(talk(torrent, file, stream, *n)));
                }
            });
        }
    });
    Ok(())
}

fn talk(torrent: &Torrent, file: &File, mut stream: TcpStream, number: u8) -> Result<()> {
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
                send_block(torrent, file, &stream, number(5), number(9), number(13))?;
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

fn send_block(
    torrent: &Torrent,
    file: &File,
    stream: &TcpStream,
    piece: u32,
    begin: u32,
    length: u32,
) -> Result<()> {
    ensure!(begin.saturating_add(length) <= torrent.piece_len(piece), "a request outside its piece");
    // The header waits in the kernel for the data, so both leave in the same segments.
    let head = protocol::piece_head(piece, begin, length);
    let mut sent = 0;
    while sent < head.len() {
        sent += send(stream, &head[sent..], SendFlags::MORE | SendFlags::NOSIGNAL)?;
    }
    let mut offset = torrent.piece_offset(piece) + u64::from(begin);
    let mut left = length as usize;
    while left > 0 {
        let count = sendfile(stream, file, Some(&mut offset), left)?;
        ensure!(count > 0, "the file is shorter than its torrent says");
        left -= count;
    }
    Ok(())
}

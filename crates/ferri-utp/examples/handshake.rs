//! A BitTorrent handshake with a peer over uTP, and the whole shell that the machine needs:
//!
//! `cargo run -p ferri-utp --example handshake -- 127.0.0.1:6881 0123456789abcdef0123456789abcdef01234567`

#![allow(missing_docs, clippy::print_stdout)]

use std::collections::hash_map::RandomState;
use std::error::Error;
use std::hash::BuildHasher;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use ferri_utp::{ConnectionKey, Input, Multiplexer, Options, Output};

/// Bytes of a handshake (BEP 3).
const HANDSHAKE_LEN: usize = 68;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(peer), Some(info_hash)) = (args.next(), args.next()) else {
        return Err("give the address of a peer, and an info hash in hexadecimal".into());
    };
    let peer: SocketAddr = peer.parse()?;
    let info_hash =
        (0..20).map(|at| u8::from_str_radix(info_hash.get(2 * at..2 * at + 2).unwrap_or("-"), 16));
    let info_hash: Vec<u8> = info_hash.collect::<Result<_, _>>()?;
    let handshake =
        [&b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\x05"[..], &info_hash, b"-FS0100-utp-example-"].concat();

    let socket = UdpSocket::bind(if peer.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    let mut utp = Multiplexer::new(Options::default(), seed(), Instant::now());
    let key = utp.connect(peer, Instant::now())?;
    let mut answer = Vec::new();
    let mut written = 0;
    while answer.len() < HANDSHAKE_LEN {
        written += utp.write(key, &handshake[written..], Instant::now());
        send(&mut utp, &socket)?;
        while let Some(output) = utp.poll_output() {
            println!("{output:?}");
            if let Output::Closed { reason, .. } = output {
                return Err(format!("the connection ended: {reason:?}").into());
            }
        }
        read(&mut utp, key, &mut answer);
        wait(&mut utp, &socket)?;
    }
    println!("{}", answer.escape_ascii());
    println!("{:?}", utp.status(key));

    // Both sides say that they have no more to say; ours answers for some seconds more.
    utp.close(key, Instant::now());
    let until = Instant::now() + Duration::from_secs(20);
    while !utp.is_empty() && Instant::now() < until {
        send(&mut utp, &socket)?;
        wait(&mut utp, &socket)?;
    }
    println!("{} connections are left", utp.len());
    Ok(())
}

/// Sends all that can be sent. A run of datagrams could be handed over in one call.
fn send(utp: &mut Multiplexer, socket: &UdpSocket) -> io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(transmit) = utp.poll_transmit(&mut buffer, Instant::now()) {
        for datagram in buffer.chunks(transmit.segment) {
            socket.send_to(datagram, transmit.to)?;
        }
    }
    Ok(())
}

fn read(utp: &mut Multiplexer, key: ConnectionKey, answer: &mut Vec<u8>) {
    let mut bytes = [0; 4096];
    while let Some(count) = utp.read(key, &mut bytes, Instant::now()).filter(|count| *count != 0) {
        answer.extend(&bytes[..count]);
    }
}

/// Waits for a datagram or the next timeout, and hands in what came.
fn wait(utp: &mut Multiplexer, socket: &UdpSocket) -> io::Result<()> {
    let due = utp.poll_timeout().map(|at| at.saturating_duration_since(Instant::now()));
    socket.set_read_timeout(Some(due.unwrap_or(Duration::from_secs(1)).max(Duration::from_millis(1))))?;
    let mut datagram = [0; 65_536];
    match socket.recv_from(&mut datagram) {
        Ok((length, from)) => {
            utp.handle(Input::Datagram { from, bytes: &datagram[..length] }, Instant::now());
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            utp.handle(Input::Timeout, Instant::now());
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Secret numbers without a crate for them: the keys of the standard library's hash tables.
fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    for (part, bytes) in (0u8..).zip(seed.chunks_mut(8)) {
        bytes.copy_from_slice(&RandomState::new().hash_one(part).to_be_bytes());
    }
    seed
}

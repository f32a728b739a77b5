//! A siege of a seed: a crowd of connections that say they are interested, ask for nothing, and connect again when the seed
//! closes them. Measured is how long a newcomer, which connects meanwhile and takes a MiB, waits for it.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::Args;

use crate::leech::{blocks, connect_from, greet, requests};
use crate::protocol::{self, PIECE, PIECE_HEAD_LEN};
use crate::say;
use crate::torrent::Torrent;

/// When a newcomer comes, in seconds since the crowd began to.
const NEWCOMERS: [u64; 4] = [5, 10, 20, 40];
/// Bytes that a newcomer takes.
const TAKES: usize = 1 << 20;
/// A newcomer that waits longer is not served.
const PATIENCE: Duration = Duration::from_secs(60);
/// A connection that the seed closed is made again after this.
const BACK_AFTER: Duration = Duration::from_millis(500);
/// Threads that share the crowd.
const THREADS: usize = 4;

/// What is asked for.
#[derive(Debug, Args)]
pub(crate) struct Siege {
    #[arg(long)]
    torrent: PathBuf,
    /// The seed
    #[arg(long)]
    connect: SocketAddr,
    /// Connections that the crowd tries to hold
    #[arg(long, default_value_t = 300)]
    crowd: u32,
    /// Addresses that they come from
    #[arg(long)]
    addresses: u32,
    /// The first of them; the next ones follow it
    #[arg(long)]
    crowd_base: IpAddr,
    /// The first newcomer's address; the next ones follow it
    #[arg(long)]
    newcomer_base: IpAddr,
}

/// Runs it. Prints one JSON line.
///
/// # Errors
/// When the seed does not serve a newcomer even without the crowd.
pub(crate) fn run(siege: &Siege) -> Result<()> {
    let torrent = Torrent::load(&siege.torrent)?;
    ensure!(TAKES as u64 <= torrent.piece_offset(torrent.piece_count()), "a torrent of a MiB at least");
    let newcomer = |n| local(siege.newcomer_base, n);
    let alone = waits(&torrent, newcomer(0), siege.connect)?;
    let (over, held) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (mut waited, mut most) = (Vec::new(), 0);
    thread::scope(|scope| -> Result<()> {
        for part in 0..THREADS {
            let (torrent, over, held) = (&torrent, &over, &held);
            scope.spawn(move || crowd(siege, torrent, part, over, held));
        }
        let start = Instant::now();
        for (n, at) in (1..).zip(NEWCOMERS) {
            thread::sleep(Duration::from_secs(at).saturating_sub(start.elapsed()));
            most = most.max(held.load(Ordering::Relaxed));
            let time = waits(&torrent, newcomer(n), siege.connect);
            if time.is_err() {
                over.store(true, Ordering::Relaxed);
            }
            waited.push(time?.as_secs_f64());
        }
        over.store(true, Ordering::Relaxed);
        Ok(())
    })?;
    let worst = waited.iter().copied().fold(0.0, f64::max);
    let alone = alone.as_secs_f64();
    say(&format!("{{\"alone\":{alone:.3},\"worst\":{worst:.3},\"waited\":{waited:.3?},\"held\":{most}}}"))
}

fn local(base: IpAddr, n: u32) -> SocketAddr {
    let ip = match base {
        IpAddr::V4(ip) => IpAddr::V4((u32::from(ip) + n).into()),
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) + u128::from(n)).into()),
    };
    SocketAddr::new(ip, 0)
}

/// One of the threads of the crowd: keeps its connections, and opens again those that were closed.
fn crowd(siege: &Siege, torrent: &Torrent, part: usize, over: &AtomicBool, held: &AtomicUsize) {
    let own = (part as u32..siege.crowd).step_by(THREADS);
    let mut places: Vec<(u32, Option<TcpStream>, Instant)> = own.map(|n| (n, None, Instant::now())).collect();
    let mut sink = [0; 4096];
    while !over.load(Ordering::Relaxed) {
        for (n, place, again) in &mut places {
            match place {
                Some(stream) => {
                    let gone = match stream.read(&mut sink) {
                        Ok(0) => true,
                        Ok(_) => false,
                        Err(error) => error.kind() != ErrorKind::WouldBlock,
                    };
                    if gone {
                        (*place, *again) = (None, Instant::now() + BACK_AFTER);
                        held.fetch_sub(1, Ordering::Relaxed);
                    }
                }
                None if *again <= Instant::now() => {
                    *again = Instant::now() + BACK_AFTER;
                    let from = local(siege.crowd_base, *n % siege.addresses.max(1));
                    *place = stays(torrent, from, siege.connect, *n).ok();
                    held.fetch_add(usize::from(place.is_some()), Ordering::Relaxed);
                }
                None => {}
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// A connection that is interested, and never asks.
fn stays(torrent: &Torrent, from: SocketAddr, to: SocketAddr, n: u32) -> Result<TcpStream> {
    let mut stream = connect_from(from, to)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    greet(torrent, &mut stream, (n % 250) as u8)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// How long it takes until a newcomer from there has its bytes. When the seed closes its connection, it connects again.
fn waits(torrent: &Torrent, from: SocketAddr, to: SocketAddr) -> Result<Duration> {
    let start = Instant::now();
    loop {
        match takes(torrent, from, to) {
            Ok(()) => return Ok(start.elapsed()),
            Err(error) if PATIENCE < start.elapsed() => {
                bail!("nothing in {} s: {error:#}", PATIENCE.as_secs())
            }
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn takes(torrent: &Torrent, from: SocketAddr, to: SocketAddr) -> Result<()> {
    let mut stream = connect_from(from, to)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    greet(torrent, &mut stream, 251)?;
    protocol::wait_for_unchoke(&mut stream)?;
    let all = (0..torrent.piece_count()).flat_map(|piece| blocks(torrent, piece));
    let mut wanted = 0;
    let some: Vec<_> = all
        .take_while(|(_, _, length)| {
            let is_wanted = wanted < TAKES;
            wanted += *length as usize;
            is_wanted
        })
        .collect();
    stream.write_all(&requests(&some))?;
    let mut left = some.len();
    while left != 0 {
        let mut head = [0; 4];
        stream.read_exact(&mut head)?;
        let length = protocol::number(&head, 0) as usize;
        ensure!(length <= PIECE_HEAD_LEN + (16 << 10), "a message of {length} bytes");
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        left -= usize::from(body.first() == Some(&PIECE));
    }
    Ok(())
}

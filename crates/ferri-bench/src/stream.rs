//! One plain TCP stream of a file: what a link can carry without BitTorrent.

use std::fs::File;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::fs::sendfile;
use rustix::net::{RecvFlags, recv};

use crate::say;

/// Asked of the kernel at once.
const STEP: usize = 1 << 20;

/// Sends the file to each client that connects, one after the other, until killed. Says `ready` when it listens.
///
/// # Errors
/// When the address is taken or the file cannot be read.
pub(crate) fn push(path: &Path, listen: SocketAddr) -> Result<()> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let listener = TcpListener::bind(listen).with_context(|| format!("listening on {listen}"))?;
    say("ready")?;
    for stream in listener.incoming() {
        let stream = stream?;
        let mut offset = 0;
        while sendfile(&stream, &file, Some(&mut offset), STEP)? > 0 {}
    }
    Ok(())
}

/// Receives until the end and throws it away.
///
/// # Errors
/// When the connection fails or brings nothing.
pub(crate) fn pull(from: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(from).with_context(|| format!("connecting to {from}"))?;
    ensure!(stream.read(&mut [0])? > 0, "an empty stream");
    let mut sink = vec![0; STEP];
    while recv(&stream, &mut sink[..], RecvFlags::TRUNC)?.1 > 0 {}
    Ok(())
}

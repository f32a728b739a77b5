//! An HTTP tracker that knows one answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::say;

/// No request for an announce is longer.
const REQUEST_MAX: usize = 16 << 10;

const READ_LIMIT: Duration = Duration::from_secs(5);

/// Answers until killed. Says `ready` when it listens.
///
/// # Errors
/// When the address is taken.
pub(crate) fn serve(listen: SocketAddr, peers: &[SocketAddr]) -> Result<()> {
    let listener = TcpListener::bind(listen).with_context(|| format!("listening on {listen}"))?;
    let answer = answer(peers);
    say("ready")?;
    for stream in listener.incoming().flatten() {
        // A client that breaks off has only itself to blame.
        drop(reply(stream, &answer));
    }
    Ok(())
}

fn reply(mut stream: TcpStream, answer: &[u8]) -> Result<()> {
    stream.set_read_timeout(Some(READ_LIMIT))?;
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        let count = stream.read(&mut buffer)?;
        ensure!(count > 0 && request.len() < REQUEST_MAX, "not a request");
        request.extend_from_slice(&buffer[..count]);
    }
    Ok(stream.write_all(answer)?)
}

fn answer(peers: &[SocketAddr]) -> Vec<u8> {
    let mut compact = Vec::new();
    for peer in peers {
        if let SocketAddr::V4(peer) = peer {
            compact.extend_from_slice(&peer.ip().octets());
            compact.extend_from_slice(&peer.port().to_be_bytes());
        }
    }
    // Transmission takes every peer for a seed, and a seed hangs up on it, when no peer is incomplete.
    let counts = format!("d8:completei{}e10:incompletei1e8:intervali1800e", peers.len());
    let mut body = counts.into_bytes();
    body.extend_from_slice(format!("5:peers{}:", compact.len()).as_bytes());
    body.extend_from_slice(&compact);
    body.push(b'e');
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(&body);
    answer
}

#[cfg(test)]
mod tests {
    use super::answer;

    #[test]
    fn somebody_is_always_incomplete() {
        let answer = answer(&["10.77.0.11:6881".parse().expect("an address")]);
        let body = b"d8:completei1e10:incompletei1e8:intervali1800e5:peers6:\x0aM\x00\x0b\x1a\xe1e";
        assert!(answer.ends_with(body));
    }
}

//! The tracker over real sockets: everything here listens on port 0 of loopback addresses.

#![allow(clippy::unwrap_used, missing_docs)]

mod flood;
mod lists;
mod proxy;
mod state;
mod tls;
mod udp;
mod web;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use ferri_tracker_server::{Options, TrackerServer};
use socket2::{Domain, Socket, Type};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn tracker() -> TrackerServer {
    TrackerServer::start(Options { workers: 2, ..Options::on("127.0.0.1:0") }).unwrap()
}

/// The last byte of a loopback address to ask from: each is another client.
fn who(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

/// A client of the tracker over TCP.
struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// An answer over HTTP.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    fn new(to: SocketAddr) -> Self {
        Self::from(to, who(1))
    }

    fn from(to: SocketAddr, from: IpAddr) -> Self {
        Self::try_from(to, from).unwrap()
    }

    fn try_from(to: SocketAddr, from: IpAddr) -> std::io::Result<Self> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
        socket.connect(&to.into())?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.set_tcp_nodelay(true)?;
        Ok(Self { stream: socket.into(), unread: Vec::new() })
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Asks as clients do that keep the connection.
    fn get(&mut self, target: &str) -> Answer {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: tracker\r\n\r\n"));
        self.answer()
    }

    fn answer(&mut self) -> Answer {
        let head = loop {
            if let Some(at) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.fill(), "hung up after {:?}", String::from_utf8_lossy(&self.unread));
        };
        let text = String::from_utf8(self.unread.drain(..head).collect()).unwrap();
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
        let length: usize = length.parse().unwrap();
        while self.unread.len() < length {
            assert!(self.fill(), "hung up in the body after {text}");
        }
        Answer { status, head: text, body: self.unread.drain(..length).collect() }
    }

    /// `false` at the end.
    fn fill(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let length = self.stream.read(&mut buffer).unwrap();
        self.unread.extend_from_slice(&buffer[..length]);
        length != 0
    }

    fn is_at_end(&mut self) -> bool {
        self.unread.is_empty() && !self.fill()
    }
}

/// The target of an announce to a swarm whose hash is `swarm` twenty times, by a peer likewise.
fn announce(swarm: u8, peer: u8, left: u64) -> String {
    let hash = format!("%{swarm:02x}").repeat(20);
    let id = format!("%{peer:02x}").repeat(20);
    format!(
        "/announce?info_hash={hash}&peer_id={id}&port={}&left={left}&uploaded=0&downloaded=0&compact=1",
        6000 + u16::from(peer)
    )
}

//! A worker with sockets of loopback addresses and a clock of the test's.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::Ipv4Addr;

use ferri_tracker::server::{Access, Registry, RegistryOptions};
use socket2::{Domain, Socket, Type};

use super::connection::State;
use super::*;
use crate::proxy::Proxies;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

struct Bench {
    worker: Worker,
    buffers: WorkerBuffers,
    addr: SocketAddr,
    begun: Instant,
}

impl Bench {
    fn new(connections: usize, bytes: usize) -> Self {
        let begun = Instant::now();
        let registry = Registry::new(RegistryOptions::default(), [1; 16], begun);
        let service = Arc::new(Service::new(registry, Access::default(), Proxies::default()));
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let addr = socket.local_addr().unwrap();
        let listeners = vec![Listener { socket, tls: None }];
        let (buffers, stop) = (WorkerBuffers::new(service.view()), Arc::new(Stop::new().unwrap()));
        let bounds = Bounds { connections, bytes };
        Self { worker: Worker::new(listeners, service, stop, bounds, begun).unwrap(), buffers, addr, begun }
    }

    /// A client at 127.0.0.`last` that sends this.
    fn client(&self, last: u8, text: &str) -> TcpStream {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)).into()).unwrap();
        socket.connect(&self.addr.into()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = TcpStream::from(socket);
        stream.write_all(text.as_bytes()).unwrap();
        stream
    }

    /// Turns at this second until something holds.
    fn turn_until(&mut self, second: u64, holds: impl Fn(&Worker) -> bool) {
        let now = self.begun + Duration::from_secs(second);
        let begun = Instant::now();
        while !holds(&self.worker) {
            assert!(begun.elapsed() < PATIENCE);
            self.worker.turn(&mut self.buffers, Duration::from_secs(1), || now).unwrap();
        }
    }

    /// One turn that waits for nothing.
    fn turn(&mut self, second: u64) {
        let now = self.begun + Duration::from_secs(second);
        self.worker.turn(&mut self.buffers, Duration::ZERO, || now).unwrap();
    }
}

impl Worker {
    fn open(&self) -> usize {
        self.connections.len() - self.free.len()
    }
}

/// What a client reads until it is hung up on.
fn rest(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    // A reset is an end too.
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

const HALF: &str = "GET /announce?info_hash=";

#[test]
fn without_descriptors_nobody_is_taken_until_the_next_look() {
    let mut bench = Bench::new(16, 1 << 20);
    let waiting = bench.client(2, "GET / HTTP/1.0\r\n\r\n");
    // No connection here could be closed.
    assert!(!bench.worker.relieve(bench.begun));
    bench.turn(0);
    bench.turn(0);
    assert!(bench.worker.is_paused && bench.worker.open() == 0);
    bench.turn(1);
    assert!(!bench.worker.is_paused);
    bench.turn_until(1, |worker| !worker.connections.is_empty());
    assert!(rest(waiting).starts_with("HTTP/1.1 "));
    // With connections to close no newcomer waits.
    let mut half = bench.client(2, HALF);
    bench.turn_until(1, |worker| worker.open() == 1);
    assert!(bench.worker.relieve(bench.begun) && !bench.worker.is_paused);
    assert_eq!(bench.worker.open(), 0);
    assert!(half.read(&mut [0; 9]).map_or(true, |length| length == 0));
}

#[test]
fn a_shortage_is_told_once_a_minute() {
    let mut bench = Bench::new(16, 1 << 20);
    let at = |second| bench.begun + Duration::from_secs(second);
    let told: Vec<bool> = [0, 1, 59, 60, 119, 120]
        .map(|second| {
            bench.worker.relieve(at(second));
            bench.worker.warned == Some(at(second))
        })
        .to_vec();
    assert_eq!(told, [true, false, false, true, false, true]);
}

#[test]
fn whoever_holds_the_most_bytes_makes_room_and_connections_at_rest_stay() {
    let mut bench = Bench::new(64, 50_000);
    let kept = bench.client(9, "GET /stats HTTP/1.1\r\n\r\n");
    bench.turn_until(0, |worker| worker.open() == 1);
    let honest = bench.client(3, HALF);
    bench.turn_until(0, |worker| 0 < worker.bytes);
    let large = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(12_000));
    let flood: Vec<TcpStream> = (0..8)
        .map(|number| {
            let client = bench.client(9, &large);
            // They come one after the other, and each is there whole before the next one.
            let before = bench.worker.bytes;
            let closed = &bench.worker.service.clone().tally.closed_for_room;
            let made = closed.load(Ordering::Relaxed);
            bench.turn_until(number, |worker| {
                before + 12_000 <= worker.bytes || made < closed.load(Ordering::Relaxed)
            });
            assert!(bench.worker.bytes <= 50_000, "{} bytes", bench.worker.bytes);
            client
        })
        .collect();
    // The one at rest, the honest one, and as many of the eight as have room.
    assert_eq!(bench.worker.open(), 6);
    let ends: Vec<bool> = flood
        .iter()
        .map(|stream| {
            stream.set_nonblocking(true).unwrap();
            (&mut &*stream).read(&mut [0; 9]).is_ok_and(|length| length == 0)
        })
        .collect();
    assert_eq!(ends, [true, true, true, true, false, false, false, false]);
    drop((kept, honest));
}

#[test]
fn a_request_that_stays_half_sent_is_told_why_it_is_given_up() {
    let mut bench = Bench::new(16, 1 << 20);
    let half = bench.client(2, HALF);
    let silent = bench.client(3, "");
    bench.turn_until(0, |worker| worker.open() == 2 && 0 < worker.bytes);
    bench.turn(15);
    assert_eq!(bench.worker.open(), 2);
    bench.turn_until(16, |worker| worker.open() == 1);
    // Two more seconds to read it.
    bench.turn_until(19, |worker| worker.open() == 0);
    let said = rest(half);
    assert!(said.starts_with("HTTP/1.1 408 ") && said.contains("d14:failure reason"), "{said}");
    assert_eq!(rest(silent), "");
}

#[test]
fn a_connection_at_rest_is_kept_for_a_minute() {
    let mut bench = Bench::new(16, 1 << 20);
    let _kept = bench.client(2, "GET /stats HTTP/1.1\r\n\r\n");
    bench.turn_until(0, |worker| worker.open() == 1);
    bench.turn_until(0, |worker| worker.connections[0].connection.as_ref().unwrap().state == State::Idle);
    bench.turn(60);
    assert_eq!(bench.worker.open(), 1);
    bench.turn(62);
    assert_eq!(bench.worker.open(), 0);
}

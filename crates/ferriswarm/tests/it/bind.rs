//! `--bind ADDRESS`: every packet leaves from there. On this machine 127.0.0.2 is an address of ours like any other.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ferriswarm::Exit;

use crate::swarm::{desk_with_payload, stop};
use crate::{Desk, PATIENCE, Running};

const HERE: &str = "127.0.0.2";
/// The parts that would say nothing on loopback, and a port of its own.
const FLAGS: [&str; 6] = ["--bind", HERE, "--port", "0", "--no-lsd", "--no-port-mapping"];

/// Who came to which of the servers.
#[derive(Clone, Default)]
struct Visitors(Arc<Mutex<BTreeMap<&'static str, BTreeSet<IpAddr>>>>);

impl Visitors {
    fn note(&self, server: &'static str, from: SocketAddr) {
        self.0.lock().unwrap().entry(server).or_default().insert(from.ip());
    }

    /// Takes connections, says `answer` to each, and gives the address.
    fn tcp(&self, name: &'static str, answer: Vec<u8>) -> String {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = server.local_addr().unwrap();
        let visitors = self.clone();
        std::thread::spawn(move || {
            while let Ok((mut stream, from)) = server.accept() {
                visitors.note(name, from);
                let _ = stream.read(&mut [0; 4096]);
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", answer.len());
                let _ = stream.write_all(&[head.as_bytes(), &answer].concat());
            }
        });
        addr.to_string()
    }

    /// Takes datagrams and says nothing.
    fn udp(&self, name: &'static str) -> String {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let addr = server.local_addr().unwrap();
        let visitors = self.clone();
        std::thread::spawn(move || {
            while let Ok((_, from)) = server.recv_from(&mut [0; 2048]) {
                visitors.note(name, from);
            }
        });
        addr.to_string()
    }

    /// Waits until a connection came to each of these, and checks that all came from [`HERE`].
    #[track_caller]
    fn all_came(&self, servers: &[&'static str], running: Option<&Running>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.0.lock().unwrap().clone();
            if servers.iter().all(|name| seen.contains_key(name)) {
                let here = BTreeSet::from([HERE.parse().unwrap()]);
                assert!(seen.values().all(|from| *from == here), "{seen:?}");
                return;
            }
            let text = running.map(|running| format!("{}{}", running.stdout.text(), running.stderr.text()));
            assert!(Instant::now() < deadline, "{seen:?} is not {servers:?}: {text:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The servers of one test, and the flags that name them.
struct Servers {
    visitors: Visitors,
    document: String,
    flags: Vec<String>,
}

const ALL: [&str; 4] = ["HTTP tracker", "UDP tracker", "peer", "DHT router"];

fn servers(desk: &Desk) -> Servers {
    let visitors = Visitors::default();
    let document = format!("http://{}/p.torrent", visitors.tcp("document", desk.read("p.torrent")));
    let flags = vec![
        format!(
            "--tracker=http://{}/announce",
            visitors.tcp("HTTP tracker", b"d8:intervali60e5:peers0:e".to_vec())
        ),
        format!("--tracker=udp://{}", visitors.udp("UDP tracker")),
        format!("--peer={}", visitors.tcp("peer", Vec::new())),
        format!("--dht-router={}", visitors.udp("DHT router")),
    ];
    Servers { visitors, document, flags }
}

fn words<'a>(command: &[&'a str], servers: &'a Servers) -> Vec<&'a str> {
    command.iter().copied().chain(servers.flags.iter().map(String::as_str)).chain(FLAGS).collect()
}

#[test]
fn a_download_by_address_leaves_from_the_address_it_is_bound_to() {
    let desk = desk_with_payload();
    let servers = servers(&desk);
    let running = desk.start(&words(&["get", &servers.document, "-o", "here"], &servers));
    servers.visitors.all_came(&[&ALL[..], &["document"]].concat(), Some(&running));
    stop(running).is(Exit::Interrupted);
    servers.visitors.all_came(&ALL, None);
}

#[test]
fn so_does_a_seed_by_address() {
    let desk = desk_with_payload();
    let servers = servers(&desk);
    let running = desk.start(&words(&["seed", &servers.document, "there"], &servers));
    servers.visitors.all_came(&["document", "HTTP tracker", "UDP tracker", "DHT router"], Some(&running));
    stop(running).is(Exit::Done);
}

#[test]
fn so_does_the_search_for_a_magnet_link() {
    let desk = desk_with_payload();
    let commands = [&["get"][..], &["torrent"], &["show", "--fetch"]];
    std::thread::scope(|scope| {
        for (digit, command) in commands.iter().enumerate() {
            let desk = &desk;
            scope.spawn(move || {
                let servers = servers(desk);
                let link = format!("magnet:?xt=urn:btih:{}", digit.to_string().repeat(40));
                let running = desk.start(&words(&[command, &[link.as_str()][..]].concat(), &servers));
                servers.visitors.all_came(&ALL, Some(&running));
                stop(running).is(Exit::Interrupted);
                servers.visitors.all_came(&ALL, None);
            });
        }
    });
}

#[test]
fn so_do_commands_that_only_look() {
    let desk = desk_with_payload();
    let servers = servers(&desk);
    desk.run(&["show", &servers.document, "--bind", HERE]).is(Exit::Done);
    desk.run(&["torrent", &servers.document, "--bind", HERE]).failed(Exit::Usage, "is a torrent already");
    desk.run(&["magnet", &servers.document, "--bind", HERE]).is(Exit::Done);
    desk.run(&["verify", &servers.document, "there", "--bind", HERE]).is(Exit::Done);
    servers.visitors.all_came(&["document"], None);
    let flags: Vec<&str> = servers.flags[..2].iter().map(String::as_str).collect();
    let running = desk.start(&[&["show", "--scrape", "p.torrent", "--bind", HERE], &flags[..]].concat());
    servers.visitors.all_came(&["HTTP tracker", "UDP tracker"], Some(&running));
    stop(running).is(Exit::Interrupted);
    servers.visitors.all_came(&["document"], None);
    // No peer is asked for what is on this machine.
    for words in [&["show", "p.torrent"][..], &["magnet", "p.torrent"], &["verify", "p.torrent", "there"]] {
        desk.run(&[words, &["--bind", HERE]].concat()).failed(Exit::Usage, "--bind does nothing here");
    }
}

#[test]
fn so_do_the_lists_of_a_tracker() {
    let desk = Desk::new();
    let visitors = Visitors::default();
    let list = format!("http://{}/list", visitors.tcp("list", format!("{}\n", "ab".repeat(20)).into_bytes()));
    for flag in ["--allow", "--deny"] {
        let running =
            desk.start(&["tracker", "-l", "127.0.0.1:0", "--no-state", flag, &list, "--bind", HERE]);
        running.wait_for("stats ");
        stop(running).is(Exit::Done);
    }
    visitors.all_came(&["list"], None);
}

#[test]
fn so_does_a_node_of_the_dht() {
    let desk = Desk::new();
    let visitors = Visitors::default();
    let router = visitors.udp("DHT router");
    let running = desk.start(&["dht", "node", "--dht-router", &router, "--bind", HERE, "--dht-port", "0"]);
    visitors.all_came(&["DHT router"], Some(&running));
    stop(running);
    visitors.all_came(&["DHT router"], None);
}

//! Any requests to our own tracker.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ferri_tracker::server::http::{Request, Via};
use ferri_tracker::server::udp::ANSWER_BYTES_MAX;
use ferri_tracker::server::{self, Access, IpParameter, Registry, RegistryOptions};
use ferri_tracker::udp::{Family, Response};
use ferri_tracker::{TrackerError, http};

use crate::script::Script;

pub(crate) const OPTIONS: RegistryOptions = RegistryOptions {
    interval: Duration::from_secs(600),
    min_interval: Duration::from_secs(60),
    peer_lifetime: Duration::from_secs(1260),
    swarms_max: 4,
    address_peers_max: 3,
    peers_max: 20,
    numwant_default: 50,
    numwant_max: 200,
    ip_parameter: IpParameter::FromLoopback,
    shards: 2,
};

/// Bytes of the longest answer that a registry so small can give to anyone.
const REPLY_BYTES_MAX: usize = 32 << 10;

/// Requests of all kinds from a few addresses, while time passes. Whatever is asked, the registry keeps its bounds,
/// answers are short and can be read by our own client, and no unproven address gets more bytes over UDP than it sent.
pub fn tracker_server(data: &[u8]) {
    let mut script = Script::new(data);
    let mut now = Instant::now();
    let registry = Registry::new(OPTIONS, [7; 16], now);
    // The connection id that each address has been given.
    let mut connections = [None; 8];
    while !script.is_empty() {
        let kind = script.u8();
        let who = usize::from(kind >> 4) % connections.len();
        let from = address(who);
        match kind % 8 {
            0 => now += Duration::from_secs(u64::from(script.u16())),
            1 => ask_http(&registry, &String::from_utf8_lossy(script.short()), from.ip(), now),
            2 => {
                let path = String::from_utf8_lossy(script.short());
                ask_http(&registry, &format!("/announce?{}&{path}", query(&mut script)), from.ip(), now);
            }
            3 => {
                let _ = ask_udp(&registry, script.short(), from, now);
            }
            4 => {
                let connect =
                    [&0x0417_2710_1980_u64.to_be_bytes()[..], &[0; 4], &script.bytes::<4>()].concat();
                match ask_udp(&registry, &connect, from, now) {
                    Some(Response::Connect { connection, .. }) => connections[who] = Some(connection),
                    other => panic!("{other:?} to a connect request"),
                }
            }
            action => {
                // An announce or a scrape with the id that belongs to an address, often the right one.
                let owner = if kind & 8 == 0 { who } else { script.below(connections.len()) };
                let id = connections[owner].unwrap_or(7);
                let head = [&id.to_be_bytes()[..], &[0, 0, 0, action - 4], &script.bytes::<4>()].concat();
                let _ = ask_udp(&registry, &[&head[..], script.short()].concat(), from, now);
            }
        }
        assert!(registry.census().swarms <= OPTIONS.swarms_max);
        assert!(registry.census().peers <= OPTIONS.peers_max);
    }
    ask_http(&registry, "/stats", address(0).ip(), now);
    ask_http(&registry, "/scrape", address(0).ip(), now);
    ask_http(&registry, "/announce", address(0).ip(), now);
}

/// The parameters an announce must have, from a few bytes.
fn query(script: &mut Script<'_>) -> String {
    let (swarm, peer) = (script.u8() % 8, script.u8());
    let events = ["", "&event=started", "&event=completed", "&event=stopped", "&event=paused"];
    let event = events[script.below(events.len())];
    let left = script.u8() % 2;
    let hash = format!("%{swarm:02x}").repeat(20);
    let id = format!("%{peer:02x}").repeat(20);
    format!(
        "info_hash={hash}&peer_id={id}&port={}&left={left}&compact={}{event}",
        1 + u16::from(peer),
        swarm % 2
    )
}

fn address(who: usize) -> SocketAddr {
    let hosts = [
        "127.0.0.1",
        "10.0.0.1",
        "10.0.0.2",
        "::1",
        "2001:db8::1",
        "2001:db8::2",
        "::ffff:10.0.0.1",
        "0.0.0.0",
    ];
    let ip: IpAddr = hosts[who].parse().expect("an address");
    SocketAddr::new(ip, 1000 + who as u16)
}

fn ask_http(registry: &Registry, path: &str, from: IpAddr, now: Instant) {
    let request = Request { method: b"GET", target: path.as_bytes(), from, via: Via::Direct };
    let mut body = Vec::new();
    let status = server::http::answer(registry, &Access::default(), &request, now, &mut body);
    assert!(matches!(status.code, 200 | 400 | 403 | 404), "status {}", status.code);
    assert!(!body.is_empty() && body.len() <= REPLY_BYTES_MAX, "{} bytes", body.len());
    match path.split('?').next() {
        Some("/announce") => match http::announce_answer(status.code, &body) {
            Ok(answer) => assert!(answer.peers.len() <= OPTIONS.peers_max),
            Err(TrackerError::Failure { .. }) => {}
            Err(error) => panic!("our own answer: {error}"),
        },
        Some("/scrape") => match http::scrape_answer(status.code, &body) {
            Ok(_) | Err(TrackerError::Failure { .. }) => {}
            Err(error) => panic!("our own answer: {error}"),
        },
        Some("/stats") => assert!(std::str::from_utf8(&body).is_ok()),
        _ => {}
    }
}

fn ask_udp(registry: &Registry, packet: &[u8], from: SocketAddr, now: Instant) -> Option<Response> {
    let mut out = [0; ANSWER_BYTES_MAX];
    let length = server::udp::answer(registry, &Access::default(), packet, from, now, &mut out)?;
    let reply = &out[..length];
    let response = Response::decode(reply, Family::of(from)).expect("our own answer");
    assert_eq!(packet.get(12..16), reply.get(4..8), "the transaction of the request");
    match &response {
        Response::Announce { peers, .. } => assert!(peers.len() <= OPTIONS.peers_max),
        Response::Scrape { swarms, .. } => assert!(12 * swarms.len() <= packet.len()),
        // A client without a connection id may have made its address up.
        Response::Connect { .. } | Response::Error { .. } => {
            assert!(reply.len() <= packet.len(), "{} bytes became {}", packet.len(), reply.len());
        }
    }
    Some(response)
}

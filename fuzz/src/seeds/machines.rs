//! Seeds that are scripts for machines: the resume journal, the announce schedule, our own tracker, the swarm.

use std::net::IpAddr;
use std::time::Instant;

use ferri_tracker::server::http::{self, Request, Via};
use ferri_tracker::server::{Access, Registry, RegistryOptions};

use super::{Seed, add};
use crate::tracker_files::snapshot;

/// Those of this file.
pub(super) fn all(seeds: &mut Vec<Seed>) {
    journals(seeds);
    schedules(seeds);
    servers(seeds);
    tracker_files(seeds);
    tracker_requests(seeds);
    swarms(seeds);
    searches(seeds);
}

/// Piece count (two bytes, little-endian, and one that adds 65,536), file count, then kind, length and payload of each record.
fn journals(seeds: &mut Vec<Seed>) {
    let session = [&[2, 24][..], &[3; 16], &[1, 0, 0, 0, 0, 0, 0, 0]].concat();
    let intent = [3, 12, 5, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];
    let written = [4, 4, 5, 0, 0, 0];
    let stamp = [&[5, 28, 1, 0, 0, 0][..], &[7; 24]].concat();
    let durable = [6, 8, 5, 0, 0, 0, 1, 0, 0, 0];
    let bits = [9, 6, 8, 0, 0, 0, 0b101, 0xff];
    let closed = [11, 0];
    let mut seed = |name, records: &[&[u8]]| {
        add(seeds, "journal", name, [&[100, 0, 0, 2][..], &records.concat()].concat());
    };
    seed("clean", &[&session, &intent, &stamp, &written, &durable, &bits, &closed]);
    seed("killed", &[&session, &intent, &stamp]);
    seed("beyond-the-end", &[&session, &[6, 8, 90, 0, 0, 0, 11, 0, 0, 0]]);
    seed("unknown-kind", &[&session, &[12, 0], &closed]);
    seed("range-that-overflows", &[&session, &[8, 8, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0]]);
    add(seeds, "journal", "not-one", b"ferrijnX\x01\0");
    add(seeds, "journal", "newer", b"ferrijnl\x02\0");
}

fn schedules(seeds: &mut Vec<Seed>) {
    // One tier of two, one of one; no extension of the seed.
    let tiers = [0x40, 2, 0, 1, 1, 2, 0, 0, 0, 9];
    let mut seed = |name, steps: &[u8]| add(seeds, "schedule", name, [&tiers, steps].concat());
    seed("start-answer-stop", &[0, 13, 0xed, 0x07, 0x08, 12, 1, 13, 5, 0, 60]);
    seed("dead-trackers", &[0, 12, 12, 12, 12, 12, 12, 12, 12]);
    seed("completed", &[2, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 13, 5, 7, 8, 3, 13, 5, 7, 8, 1]);
    seed("stop-and-start", &[0, 13, 5, 7, 8, 1, 0, 12, 13, 5, 7, 8, 12, 1, 12]);
    seed("refused-for-good", &[0, 13, 2, 0, 0, 13, 2, 0, 0, 12, 13, 2, 0, 0, 6, 12]);
    add(
        seeds,
        "schedule",
        "turns",
        [&[0x42][..], &tiers[1..], &[0, 12, 28, 3, 9, 12, 13, 5, 7, 8, 12, 1]].concat(),
    );
    let mut seed = |name, steps: &[u8]| add(seeds, "schedule", name, [&tiers, steps].concat());
    seed("users", &[0, 5, 5, 6, 7, 8, 0x1a, 0xe1, 4, 13, 0xe5, 7, 8, 9, 25, 10, 0x0e, 0x10]);
}

fn servers(seeds: &mut Vec<Seed>) {
    let http = |who: u8, path: &str| [&[who << 4 | 1, path.len() as u8][..], path.as_bytes()].concat();
    let announce = |who: u8, swarm: u8, peer: u8, event: u8| vec![who << 4 | 2, 0, swarm, peer, event, 1];
    let hash = "a".repeat(20);
    let mut seed = |name, requests: &[Vec<u8>]| add(seeds, "tracker_server", name, requests.concat());
    seed("two-peers", &[announce(1, 0, 1, 1), announce(2, 0, 2, 1), announce(1, 0, 1, 3)]);
    seed("full", &(0..10).map(|number| announce(number % 7, number % 8, number, 1)).collect::<Vec<_>>());
    seed(
        "scrape",
        &[
            announce(1, 0, 1, 1),
            http(0, "/scrape?info_hash=%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00"),
        ],
    );
    seed(
        "ip-parameter",
        &[http(0, &format!("/announce?info_hash={hash}&peer_id={hash}&port=1&ip=10.9.8.7&numwant=-1"))],
    );
    seed("stats", &[http(0, "/stats"), http(4, "/stats?format=json"), http(0, "/%ff")]);
    seed("expiry", &[announce(1, 0, 1, 1), vec![0, 0x10, 0], announce(2, 0, 2, 1)]);
    let mut udp = vec![0x14, 0, 0, 0, 1, 0x15, 0, 0, 0, 2, 82];
    udp.extend([0x61; 40]);
    udp.extend([0; 24]);
    udp.extend([0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x1a, 0xe1]);
    udp.extend([0x16, 0, 0, 0, 3, 20]);
    udp.extend([0x61; 20]);
    seed("udp", &[udp.clone()]);
    // The same under another address's id.
    udp[5] = 0x2d;
    seed("udp-of-somebody-else", &[udp]);
}

/// What our own tracker reads from files.
fn tracker_files(seeds: &mut Vec<Seed>) {
    let (v1, v2) = ("0123456789abcdef0123456789ABCDEF01234567", "fedcba98".repeat(8));
    let torrents = format!("\u{feff}# ours\r\n{v1} # the first\r\n\n{v2}\n{}\n", "mfrggzdf".repeat(4));
    add(seeds, "tracker_lists", "torrents", torrents);
    add(
        seeds,
        "tracker_lists",
        "users",
        "alice-0001 peers=3 torrents=20 announces=60 # a user\nbob_000002\n",
    );
    add(
        seeds,
        "tracker_lists",
        "faults",
        "short\nno\x1b[31m\nsecret-key peers=many\nsecret-key another-key\nsec/ret\n",
    );
    let now = Instant::now();
    // Small, for the memory of targets is measured meanwhile.
    let options = RegistryOptions { shards: 2, peers_max: 1_000, ..RegistryOptions::default() };
    let registry = Registry::new(options, [7; 16], now);
    for number in 0..9_u8 {
        let from = match number % 3 {
            0 => IpAddr::from([0x2001, 0xdb8, 0, u16::from(number), 0, 0, 0, 1]),
            _ => IpAddr::from([10, 0, 0, number]),
        };
        let hash = format!("%{:02x}", number % 4).repeat(20);
        let id = format!("%{number:02x}").repeat(20);
        let event = ["", "&event=completed", "&event=paused"][usize::from(number / 3)];
        let target = format!("/announce?info_hash={hash}&peer_id={id}&port=6881&left={}{event}", number % 2);
        let request = Request { method: b"GET", target: target.as_bytes(), from, via: Via::Direct };
        http::answer(&registry, &Access::default(), &request, now, &mut Vec::new());
    }
    let whole = snapshot(&registry, now);
    add(seeds, "tracker_snapshot", "cut", &whole[..whole.len() / 2]);
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    add(seeds, "tracker_snapshot", "damaged", damaged);
    add(seeds, "tracker_snapshot", "whole", &whole);
    // Without the secret of users, then without that of connections too.
    let mut old = whole;
    old[11] = 2;
    old.drain(36..52);
    add(seeds, "tracker_snapshot", "version-2", old.clone());
    old[11] = 1;
    old.drain(20..36);
    add(seeds, "tracker_snapshot", "version-1", old);
}

/// What clients, proxies and lost strangers send to our own tracker over HTTP.
fn tracker_requests(seeds: &mut Vec<Seed>) {
    let mut seed = |name, text: &str| add(seeds, "tracker_request", name, text);
    let announce = "GET /announce?info_hash=%01abc&peer_id=-XX0001-000000000000&port=6881&left=0 HTTP/1.1";
    seed("announce", &format!("{announce}\r\nHost: tracker.example:6969\r\nUser-Agent: x\r\n\r\n"));
    seed("in-a-row", &format!("{announce}\r\n\r\nHEAD /stats HTTP/1.1\r\nConnection: close\r\n\r\nGET /sc"));
    seed("version-1-0", "GET /scrape HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
    seed("whole-address", "GET http://tracker.example/announce?a=b HTTP/1.1\r\n\r\n");
    seed("body", "POST /announce HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n");
    seed(
        "forwarded-for",
        &format!(
            "{announce}\r\nX-Forwarded-For: 192.0.2.7, 127.0.0.1\r\nx-forwarded-for: 2001:db8::1\r\n\r\n"
        ),
    );
    seed("real-ip", "GET /a HTTP/1.1\r\nX-Real-IP: [2001:db9::7]:80\r\n\r\n");
    seed(
        "forwarded",
        "GET /a HTTP/1.1\r\nForwarded: for=\"[2001:db9::7]\";proto=https, for=127.0.0.1;by=_x\r\n\r\n",
    );
    seed("blanks", "GET /announce?info_hash=a b HTTP/1.1\r\n\r\n");
    seed("tls", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0");
    seed("version-2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    seed("many-headers", &format!("GET / HTTP/1.1\r\n{}\r\n", "X: a\r\n".repeat(65)));
    seed("long", &format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(8 << 10)));
}

/// How scripts for the swarm begin: flags, total length in units of 8 bytes, seed. This one has 40,000 bytes in pieces of
/// 16 KiB and nothing yet.
const LEECH: [u8; 4] = [0, 0x13, 0x88, 1];
/// The same with everything there.
const SEED: [u8; 4] = [0x60, 0x13, 0x88, 1];

/// A peer 10.0.0.x with all extensions and an id of its own calls. See `World::step` for what the numbers mean.
fn accept(host: u8) -> Vec<u8> {
    vec![7, 0xc0 | host, 1, 0, host]
}

/// A message about a piece.
fn message(peer: u8, piece: u8, kind: u8) -> Vec<u8> {
    vec![9, peer, piece, kind]
}

/// The peer unchokes us and is interested.
fn open_up(peer: u8) -> Vec<u8> {
    vec![31, peer]
}

/// The peer answers as many requests.
fn answer(peer: u8, count: usize) -> Vec<u8> {
    [13, peer].repeat(count)
}

/// A peer that has everything calls and opens up.
fn generous(host: u8, peer: u8) -> Vec<u8> {
    [accept(host), message(peer, 0, 14), open_up(peer)].concat()
}

/// What happens to a peer that lacks something.
fn swarms(seeds: &mut Vec<Seed>) {
    let mut seed = |name, head: &[u8], steps: &[Vec<u8>]| {
        add(seeds, "swarm", name, [head, &steps.concat()].concat());
    };
    let good = vec![21, 7, 21, 7, 21, 7, 0, 0];
    let one_is_bad = vec![21, 0, 21, 7, 21, 7, 0, 0];
    seed("download-from-one", &LEECH, &[generous(1, 0), answer(0, 3), good]);
    seed("one-piece-is-wrong", &LEECH, &[generous(1, 0), answer(0, 3), one_is_bad.clone()]);
    seed("endless-deadline", &LEECH, &[accept(1), vec![28, 0, 4, 255, 0]]);
    let recorded = [&[0x80], &LEECH[1..]].concat();
    seed("recorded", &recorded, &[generous(1, 0), answer(0, 3), one_is_bad]);
    let mixed =
        [answer(0, 1), answer(1, 1), answer(0, 1), answer(1, 1), vec![21, 0, 0], answer(0, 1), answer(1, 1)];
    let again = [answer(0, 3), answer(1, 3), vec![21, 7, 5, 0]];
    let large_pieces = [2, 0x13, 0x88, 1];
    seed(
        "two-senders-one-lies",
        &large_pieces,
        &[generous(1, 0), generous(2, 1), mixed.concat(), again.concat()],
    );
    let found = vec![4, 1, 3, 0xc1, 1, 0xc2, 1, 0xc3, 1];
    seed("dial", &LEECH, &[found, vec![5, 0, 1, 0, 9], vec![5, 0, 0], vec![0, 0, 0]]);
    seed("disk-fails", &LEECH, &[generous(1, 0), answer(0, 3), vec![21, 2, 21, 7, 29, 0, 0]]);
    seed("pause-and-resume", &LEECH, &[generous(1, 0), vec![28, 0, 0, 28, 0, 1], accept(2)]);
    seed("skip-everything", &LEECH, &[generous(1, 0), vec![28, 0, 3, 3, 0, 0, 0], answer(0, 1)]);
    seed("nonsense", &LEECH, &(0..7).map(|kind| vec![30, 1, 2, kind]).collect::<Vec<_>>());
    uploads(seeds);
}

/// What happens to a peer that has everything.
fn uploads(seeds: &mut Vec<Seed>) {
    let mut seed = |name, steps: &[Vec<u8>]| {
        add(seeds, "swarm", name, [&SEED, &steps.concat()[..]].concat());
    };
    let has_nothing = || message(0, 0, 15);
    let request = |piece: u8| vec![9, 0, piece, 8, 0];
    let cancel = |piece: u8| vec![9, 0, piece, 11, 0];
    seed(
        "upload",
        &[
            accept(1),
            has_nothing(),
            open_up(0),
            vec![0, 0, 0],
            request(0),
            request(1),
            vec![25, 0, 2],
            cancel(2),
        ],
    );
    seed("flood-of-requests", &[accept(1), open_up(0), request(0).repeat(40)]);
    let payload = b"d1:md11:lt_donthavei3ee4:reqqi9e1:v1:xe";
    let extension = |id: u8, payload: &[u8]| [&[9, 0, 0, 18, id, payload.len() as u8], payload].concat();
    seed("extensions", &[accept(1), extension(0, payload), extension(3, &[0, 0, 0, 1])]);
}

/// Searches for an info dictionary of two parts. The first byte makes it private (0) or not.
fn searches(seeds: &mut Vec<Seed>) {
    let accept = |host: u8| vec![4, host, 0, 0, host];
    let hello = |peer: u8, more: u8| vec![6, peer, more];
    // 0 rejects, 1 lies, the rest is true.
    let answer = |peer: u8, way: u8| vec![8, peer, way];
    let mut seed = |name, private: u8, steps: &[Vec<u8>]| {
        add(seeds, "metadata_swarm", name, [&[private], &steps.concat()[..]].concat());
    };
    let one = [accept(1), hello(0, 0)].concat();
    let two = [accept(1), accept(2), hello(0, 0), hello(1, 0)].concat();
    seed("one-honest-peer", 1, &[one.clone(), answer(0, 7), answer(0, 7)]);
    seed("one-liar", 1, &[one.clone(), answer(0, 1), answer(0, 7)]);
    seed(
        "a-reject-and-a-wait",
        1,
        &[one, answer(0, 0), answer(0, 0), vec![0, 0, 0, 0], answer(0, 7), answer(0, 7)],
    );
    let again = [vec![0, 0], answer(0, 1), answer(0, 1), answer(1, 7), answer(0, 7), answer(0, 7)].concat();
    seed("one-of-two-lies", 1, &[two.clone(), answer(0, 1), answer(1, 7), answer(0, 1), answer(1, 7), again]);
    let sizes = [accept(1), accept(2), hello(0, 1), hello(1, 0), answer(0, 7), answer(1, 7), answer(1, 7)];
    seed("two-sizes", 1, &sizes);
    let pieces = (0..11).map(|kind| vec![12, 0, 0, 9, kind, 0xff]).collect::<Vec<_>>().concat();
    seed("pieces-meanwhile", 1, &[two.clone(), pieces, answer(0, 7), answer(0, 7), answer(1, 7)]);
    let strangers = vec![2, 6, 2, 1, 0, 2, 0, 2, 1, 1, 3, 0, 3, 0, 1, 0, 9, 3, 0, 1, 0, 8];
    let served = [hello(0, 0), answer(0, 7), answer(0, 7)].concat();
    seed("private-and-strangers", 0, &[strangers, served]);
    seed("pause-and-resume", 1, &[two, vec![15, 0, 15, 1], accept(3), hello(0, 0)]);
}

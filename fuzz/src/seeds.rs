//! The inputs that the corpora start with: small, named, and made here so that they can be made again.
//!
//! `cargo run --manifest-path fuzz/Cargo.toml --example seeds` writes them to `fuzz/corpus/`. Crashers that were fixed lie beside
//! them under names of their own.

mod dht;
mod machines;
mod torrent;
mod traces;
mod utp;

use bytes::BytesMut;
use ferri_tracker::udp::{Request, Response};
use ferri_tracker::{Announce, Scrape};
use ferri_wire::{HashRange, Message, encode};

/// One file of a corpus.
#[derive(Clone, Debug)]
pub struct Seed {
    /// Which target it is for.
    pub target: &'static str,
    /// The name of the file.
    pub name: &'static str,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// All of them.
pub fn all() -> Vec<Seed> {
    let mut seeds = Vec::new();
    bencode(&mut seeds);
    wire(&mut seeds);
    extensions(&mut seeds);
    torrent::all(&mut seeds);
    tracker(&mut seeds);
    ip_filter(&mut seeds);
    lsd(&mut seeds);
    mse(&mut seeds);
    machines::all(&mut seeds);
    traces::traces(&mut seeds);
    dht::all(&mut seeds);
    utp::all(&mut seeds);
    seeds
}

fn add(seeds: &mut Vec<Seed>, target: &'static str, name: &'static str, bytes: impl AsRef<[u8]>) {
    seeds.push(Seed { target, name, bytes: bytes.as_ref().to_vec() });
}

fn bencode(seeds: &mut Vec<Seed>) {
    let mut seed = |name, bytes: &[u8]| add(seeds, "bencode", name, bytes);
    seed("all-kinds", b"d4:dictd1:ai1e1:bi-2ee3:inti42e4:listl1:a2:bbi0elee3:str5:helloe");
    seed("empty-string", b"0:");
    seed("empty-list", b"le");
    seed("extremes", b"li9223372036854775807ei-9223372036854775808ei0ee");
    seed("unsorted-keys", b"d1:bi1e1:ai2ee");
    seed("duplicate-key", b"d1:ai1e1:ai2ee");
    seed("leading-zero", b"i01e");
    seed("leading-zero-of-a-length", b"d03:abci1ee");
    seed("negative-zero", b"i-0e");
    seed("trailing-data", b"i1eXYZ");
    seed("overflow", b"i9223372036854775808e");
    seed("length-beyond-end", b"99999999999:a");
    seed("depth-64", &[b"l".repeat(64), b"e".repeat(64)].concat());
    seed("depth-65", &[b"l".repeat(65), b"e".repeat(65)].concat());
    seed("long-string", &[b"300:".to_vec(), vec![b'x'; 300]].concat());
}

fn wire(seeds: &mut Vec<Seed>) {
    let range = HashRange { pieces_root: [7; 32], base_layer: 2, index: 512, length: 2, proof_layers: 9 };
    let messages = [
        Message::HaveAll,
        Message::Bitfield(vec![0xff, 0x80].into()),
        Message::Extended { id: 0, payload: (&b"d1:md6:ut_pexi1eee"[..]).into() },
        Message::AllowedFast { piece: 7 },
        Message::Unchoke,
        Message::Interested,
        Message::Have { piece: 3 },
        Message::Request { piece: 1, begin: 16384, length: 16384 },
        Message::Piece { piece: 1, begin: 16384, data: vec![7; 40].into() },
        Message::KeepAlive,
        Message::Reject { piece: 1, begin: 0, length: 16384 },
        Message::Cancel { piece: 1, begin: 0, length: 16384 },
        Message::Suggest { piece: 2 },
        Message::Port(6881),
        Message::Unknown { id: 99, length: 5 },
        Message::HaveNone,
        Message::NotInterested,
        Message::Choke,
        Message::HashRequest(range),
        Message::Hashes { range, hashes: vec![9; 64].into() },
        Message::HashReject(range),
    ];
    let mut stream = BytesMut::new();
    for message in &messages {
        encode(message, &mut stream);
    }
    add(seeds, "wire", "every-message-at-once", [&[255], &stream[..]].concat());
    add(seeds, "wire", "every-message-byte-by-byte", [&[0], &stream[..]].concat());
    let mut seed = |name, bytes: &[u8]| add(seeds, "wire", name, bytes);
    seed("too-long", b"\x03\xff\xff\xff\xff\x07");
    seed("piece-too-long", b"\x03\0\x02\0\x0a\x07");
    seed("piece-too-short", b"\x03\0\0\0\x08\x07\0\0\0\0\0\0\0");
    seed("choke-with-a-body", b"\x03\0\0\0\x02\0\0");
    seed("extension-handshake-too-long", b"\x03\0\x01\0\x03\x14\0");
    seed("extended-without-number", b"\x03\0\0\0\x01\x14\0\0\0\0");

    let mut hello = b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\x05".to_vec();
    hello.extend([0xaa; 20]);
    for (name, id) in [
        ("azureus-style", b"-FS0100-abcdefghijkl"),
        ("mainline-style", b"M7-10-5--abcdefghijk"),
        ("shadow-style", b"S58B-----abcdefghijk"),
        ("dotted-version", b"-ML2.7.2-kgjjfkdabcd"),
        ("zeros", &[0; 20]),
    ] {
        add(seeds, "handshake", name, [&hello[..], id].concat());
    }
    add(seeds, "handshake", "http", b"GET / HTTP/1.1\r\nHost: 127.0.0.1:6881\r\n\r\n");

    let mut seed = |name, bytes: &[u8]| add(seeds, "extension", name, bytes);
    seed("bep-10", "d1:md11:LT_metadatai1e7:µT_PEXi2ee1:pi6881e1:v13:µTorrent 1.2e".as_bytes());
    seed(
        "every-field",
        b"d12:complete_agoi60e4:ipv44:\x05\x06\x07\x084:ipv616:\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\
          1:md11:lt_donthavei7e6:ut_pexi1ee13:metadata_sizei31235e1:pi51413e4:reqqi500e11:upload_onlyi1e\
          1:v16:Ferriswarm 0.1.06:yourip4:\x01\x02\x03\x04e",
    );
    seed("several", b"\x18d1:md6:ut_pexi1ee1:v1:xe\x12d1:md6:ut_pexi0eee\x04\0\0\0\x01\x01\x01");
    seed("negative-numbers", b"d1:pi-1e4:reqqi-1e13:metadata_sizei-1ee");
}

/// What extension messages carry.
fn extensions(seeds: &mut Vec<Seed>) {
    let mut seed = |name, bytes: &[u8]| add(seeds, "metadata", name, bytes);
    seed("request", b"d8:msg_typei0e5:piecei0ee");
    seed("reject", b"d8:msg_typei2e5:piecei0ee");
    seed("data", &[&b"d8:msg_typei1e5:piecei1e10:total_sizei16484ee"[..], &[b'x'; 100]].concat());
    seed("data-beyond-the-end", b"d8:msg_typei1e5:piecei2e10:total_sizei16484eex");
    seed("unknown-kind", b"d8:msg_typei9e5:piecei0ee");
    seed("unsorted-keys", b"d5:piecei0e8:msg_typei0ee");

    let mut seed = |name, bytes: &[u8]| add(seeds, "pex", name, bytes);
    let v6 = b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x1a\xe1";
    let both = [&b"d5:added6:\x0a\0\0\x01\x1a\xe17:added.f1:\x126:added618:"[..], v6, b"8:added6.f1:\x02e"];
    seed("both-families", &both.concat());
    seed("dropped", &[&b"d7:dropped6:\x0a\0\0\x01\x1a\xe18:dropped618:"[..], v6, b"e"].concat());
    seed("half-an-entry", b"d5:added7:\x0a\0\0\x01\x1a\xe1\x0ae");
    seed("no-port", b"d5:added12:\x0a\0\0\x01\0\0\x0a\0\0\x02\0\x017:added.f2:\x01\x02e");
    seed("mapped", b"d6:added618:\0\0\0\0\0\0\0\0\0\0\xff\xff\x01\x02\x03\x04\x1a\xe1e");
}

/// Options, two times a byte of chance and the lengths of two paddings, a payload, a cut, changes.
fn mse(seeds: &mut Vec<Seed>) {
    let mut seed = |name, options: u8, lengths: [[u8; 4]; 2], changes: &[u8]| {
        let [ours, theirs] = lengths;
        let bytes = [&[options, 7][..], &ours, &[9], &theirs, b"\x05hello\x10", changes].concat();
        add(seeds, "mse", name, bytes);
    };
    let short = [[0, 3, 0, 4], [0, 5, 0, 6]];
    let long = [[2, 0, 2, 0]; 2];
    seed("plaintext", 0b0101, short, b"");
    seed("rc4", 0b1111, short, b"");
    seed("rc4-whole-too", 0b10_1011, long, b"");
    seed("not-wanted", 0b0001, short, b"");
    seed("unknown-torrent", 0b1_0101, short, b"");
    seed("weak-key-of-a-dialer", 0b0101, [[0; 4]; 2], b"\0\x02\0\0\xff");
    seed("weak-key-of-a-listener", 0b0101, [[0; 4]; 2], b"\x01\x02\0\0\xff");
    seed("padding-too-long", 0b10_0101, long, b"\0\x01\x02\x60\x01x");
    seed("another-torrent", 0b10_0101, short, b"\x02\0\0\x14\x01");
    seed("offer-changed", 0b10_0101, short, b"\x02\0\0\x33\x02");
    seed("padding-changed", 0b10_0101, short, b"\x02\0\0\x34\xff");
    seed("payload-cut", 0b10_1010, short, b"\x02\x03\0\x40");
    seed("choice-changed", 0b10_0101, short, b"\x03\0\0\x0b\x03");
    seed("more-behind-the-end", 0b10_1111, short, b"\x02\x01\xff\xff\x05world\x03\x01\xff\xff\x02ok");
}

fn ip_filter(seeds: &mut Vec<Seed>) {
    let mut seed = |name, text: &str| add(seeds, "ip_filter", name, text.as_bytes());
    seed("p2p", "# a list\nSome Organisation, Inc:1.2.3.4-1.2.3.255\nb:2001:db8::1-2001:db8::f\n");
    seed("dat", "001.002.003.004 - 001.002.003.255 , 100 , words\r\n9.9.9.9-9.9.9.10,128,allowed\r\n");
    seed("cidr", "10.0.0.0/8\n2001:db8::/32\n::ffff:1.2.3.0/120\n::/0 # all\n4.4.4.4\n");
    seed("page", "<!DOCTYPE html>\n<p>nothing here\n1.2.3.4\n");
}

fn lsd(seeds: &mut Vec<Seed>) {
    let head = "BT-SEARCH * HTTP/1.1\r\nHost: 239.192.152.143:6771\r\n";
    let hash = "Infohash: 0123456789abcdef0123456789abcdef01234567\r\n";
    let mut seed = |name, text: String| add(seeds, "lsd", name, text);
    seed("one", format!("{head}Port: 6881\r\n{hash}cookie: 0badcafe\r\n\r\n\r\n"));
    seed("full", format!("{head}Port: 6881\r\n{}\r\n\r\n", hash.repeat(23)));
    seed("too-many", format!("BT-SEARCH * HTTP/1.1\nPort:1\n{}\n", hash.repeat(25).replace('\r', "")));
    seed("port-twice", format!("{head}Port: 1\r\nPort: 1\r\n{hash}\r\n"));
    seed("port-zero", format!("{head}Port: 0\r\n{hash}\r\n"));
    seed("base32", format!("{head}Port: 1\r\nInfohash: ABCDEFGHIJKLMNOPQRSTUVWXYZ234567\r\n\r\n"));
    seed(
        "ssdp",
        "M-SEARCH * HTTP/1.1\r\nHost: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\n\r\n".to_owned(),
    );
}

fn tracker(seeds: &mut Vec<Seed>) {
    let mut seed = |name, bytes: &[u8]| add(seeds, "tracker_announce", name, bytes);
    seed(
        "compact",
        b"d8:completei3e10:incompletei2e8:intervali1800e5:peers12:\x7f\0\0\x01\x1a\xe1\x0a\0\0\x02\0\x50e",
    );
    seed("compact-v6", b"d8:intervali1800e6:peers618:\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x1a\xe1e");
    seed("wordy", b"d8:intervali1800e5:peersld2:ip9:127.0.0.17:peer id20:aaaaaaaaaaaaaaaaaaaa4:porti6881eed2:ip3:::14:porti1eeee");
    seed("failure", b"d14:failure reason9:not today8:retry in1:5e");
    seed("failure-never", b"d14:failure reason4:gone8:retry in5:nevere");
    seed(
        "everything",
        b"d8:completei1e10:downloadedi9e11:external ip4:\x01\x02\x03\x0410:incompletei0e8:intervali-5e\
          12:min intervali999999999e5:peers0:10:tracker id3:abc15:warning message4:slowe",
    );
    seed("web-page", b"<!DOCTYPE html><html><head><title>404 \x1b[31m</title></head></html>");
    seed("unsorted-with-space", b"\n d5:peers0:8:intervali60ee\n");

    let mut scrape = b"d5:filesd20:".to_vec();
    scrape.extend([0xaa; 20]);
    scrape.extend(b"d8:completei5e10:downloadedi50e11:downloadersi1e10:incompletei10eee5:flagsd20:min_request_intervali900eee");
    add(seeds, "tracker_scrape", "one-swarm", scrape);
    add(seeds, "tracker_scrape", "failure", b"d14:failure reason2:noe");
    add(seeds, "tracker_scrape", "no-files", b"de");

    for (name, url) in [
        ("http", "http://tracker.example/announce?passkey=abc"),
        ("https-v6", "https://[2001:db8::1]:8443/x/announce.php#part"),
        ("udp", "udp://tracker.example:6969/announce?a=b"),
        ("udp-without-port", "udp://tracker.example/announce"),
        ("udp-v6", "udp://[::1]:80"),
        ("other-scheme", "wss://tracker.example"),
        ("with-a-space", "http://tracker.example/a b"),
        ("without-a-host", "http:///announce"),
    ] {
        add(seeds, "tracker_url", name, url);
    }
    packets(seeds);
}

fn packets(seeds: &mut Vec<Seed>) {
    let announce =
        Announce { numwant: Some(50), left: 1 << 30, ..Announce::new([0xaa; 20].into(), [0x62; 20], 6881) };
    let (connection, transaction) = (0x0102_0304_0506_0708, 0x1122_3344);
    let url_data = b"/announce?passkey=abc".to_vec();
    let requests = [
        ("connect", Request::Connect { transaction }),
        ("announce", Request::Announce { connection, transaction, announce, url_data }),
        (
            "scrape",
            Request::Scrape {
                connection,
                transaction,
                info_hashes: vec![[0xaa; 20].into(), [0xbb; 20].into()],
            },
        ),
    ];
    for (name, request) in requests {
        add(seeds, "tracker_packet", name, request.encode());
    }
    let peers = vec![([10, 0, 0, 1], 6881).into(), ([10, 0, 0, 2], 6882).into()];
    let swarms = vec![Scrape { seeders: 1, leechers: 2, downloaded: 3, downloaders: None }];
    let answers = [
        ("connect-answer", Response::Connect { transaction, connection }),
        (
            "announce-answer",
            Response::Announce { transaction, interval: 1800, leechers: 2, seeders: 1, peers },
        ),
        ("scrape-answer", Response::Scrape { transaction, swarms }),
        ("error-answer", Response::Error { transaction, message: "no such swarm".to_owned() }),
    ];
    for (name, answer) in &answers {
        add(seeds, "tracker_packet", name, answer.encode());
    }
    for (name, kinds) in [
        ("connect-and-announce", &[0, 1][..]),
        ("connect-and-error", &[0, 3]),
        ("error-at-once", &[3]),
        ("announce-before-connect", &[1]),
        ("answer-to-another-question", &[0, 2]),
    ] {
        add(seeds, "tracker_udp", name, exchange(0, kinds.iter().map(|&kind| answers[kind].1.encode())));
    }
    add(seeds, "tracker_udp", "connect-and-scrape", exchange(1, [0, 2].map(|kind| answers[kind].1.encode())));
    add(seeds, "tracker_udp", "silence", exchange(0, []));
}

/// The script of an exchange: an announce (0) or a scrape of that many swarms, then these packets one after another.
fn exchange(swarms: u8, packets: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut script = vec![0, swarms];
    let query = if swarms == 0 { 20 + 4 + 4 + 8 + 1 + 4 + 1 + 20 + 2 } else { 20 * usize::from(swarms) };
    script.extend(vec![0x61; query]);
    if swarms == 0 {
        // The length of the tracker id.
        script[2 + 41] = 0;
    }
    // No URL data, the seed.
    script.extend([0, 0, 0, 0, 7]);
    for packet in packets {
        // A packet of the right transaction after a second: the action, then what comes behind the transaction.
        script.extend([2, 0x03, 0xe8, packet.len() as u8 - 4]);
        script.extend(&packet[..4]);
        script.extend(&packet[8..]);
    }
    script
}

//! The inputs that the corpora start with: small, named, and made here so that they can be made again.
//!
//! `cargo run --manifest-path fuzz/Cargo.toml --example seeds` writes them to `fuzz/corpus/`. Crashers that were fixed lie beside
//! them under names of their own.

use bytes::BytesMut;
use ferri_wire::{Message, encode};

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
    seed("negative-zero", b"i-0e");
    seed("trailing-data", b"i1eXYZ");
    seed("overflow", b"i9223372036854775808e");
    seed("length-beyond-end", b"99999999999:a");
    seed("depth-64", &[b"l".repeat(64), b"e".repeat(64)].concat());
    seed("depth-65", &[b"l".repeat(65), b"e".repeat(65)].concat());
    seed("long-string", &[b"300:".to_vec(), vec![b'x'; 300]].concat());
}

fn wire(seeds: &mut Vec<Seed>) {
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

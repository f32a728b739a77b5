//! Seeds for uTP: packets as clients send them, and scripts for two machines.

use super::{Seed, add};

/// Those of this file.
pub(super) fn all(seeds: &mut Vec<Seed>) {
    let mut seed = |name, parts: &[&[u8]]| add(seeds, "utp_packet", name, parts.concat());
    let head = b"\x12\x34\0\0\0\x09\0\0\0\0\0\x04\0\0\0\x01\xff\xff";
    seed("syn-of-transmission", &[b"\x41\x02", head, b"\0\x08\0\0\0\0\0\0\0\0"]);
    seed("data", &[b"\x01\0", head, b"\x13BitTorrent protocol"]);
    seed("selective-ack", &[b"\x21\x01", head, b"\0\x04\x05\0\0\x80"]);
    seed("fin-of-libtorrent", &[b"\x11\x03", head, b"\0\x04\0\0\0\x01"]);
    seed("two-extensions", &[b"\x21\x02", head, b"\x01\x02ab\0\x04\xff\xff\xff\xff"]);
    seed("extension-too-long", &[b"\x21\x01", head, b"\0\xff\x01"]);
    seed("extensions-without-end", &[b"\x21\x02", head, &[2, 0].repeat(40)]);
    seed("reset", &[b"\x31\0", head]);

    let mut seed = |name, flags: u8, parts: &[&[u8]]| {
        add(seeds, "utp_stream", name, [&[flags][..], &parts.concat()].concat());
    };
    // Actions: 0 deliver, 5 lose, 6 repeat, 7 change, 8 inject, 9 and 10 sleep, 11 write, 12 read, 13 finish, 14 leave, 15
    // too long; the highest bit is the side.
    let (greet, deliver): (&[u8], &[u8]) = (&[0, 0, 0, 0, 9, 0, 20, 0, 0], &[0; 40]);
    let (write, back): (&[u8], &[u8]) = (&[11, 0, 9, 0], &[0x8b, 0, 9, 0]);
    let read: &[u8] = &[12, 0, 11, 0xb7, 0x8c, 0, 11, 0xb7];
    seed("both-sides", 0, &[greet, write, back, deliver, read, deliver, write, read]);
    seed("small-packets", 1, &[greet, write, back, deliver, read, deliver, write, deliver, read]);
    seed("loss", 1, &[greet, write, &[5, 3, 5, 2, 0, 1], deliver, &[9, 0, 200], deliver, read]);
    seed("order-and-copies", 1, &[greet, write, &[6, 2, 0, 5, 0, 3, 0, 1, 6, 0], deliver, read]);
    seed("no-room", 0, &[greet, &write.repeat(4), &deliver.repeat(2), &[10, 0, 100], deliver, read, deliver]);
    seed("leave", 0, &[greet, write, &[14, 0, 0], deliver, read, deliver]);
    seed("leave-at-once", 0, &[write, &[14, 0, 0], deliver]);
    seed("break-off", 0, &[greet, write, &[0x8e, 0, 1], deliver, read]);
    seed("finish", 0, &[greet, write, &[13, 0, 0x8d, 0], deliver, read, &[10, 0, 60]]);
    seed("silence", 0, &[greet, write, &[5, 0].repeat(8), &[10, 0, 250].repeat(20)]);
    seed("too-long", 0, &[greet, write, deliver, &[15, 0, 5, 0], write, deliver, read]);
    let syn = b"\x41\0\x77\x77\0\0\0\x09\0\0\0\0\0\0\0\0\0\x01\0\0";
    seed("stranger", 2, &[&[0x88, 0, 20], syn, deliver, greet, &[7, 0, 1, 0x70], deliver]);
    seed("changes", 2, &[greet, write, &[7, 0, 17, 1, 7, 0, 1, 1, 7, 0, 19, 3], deliver, read, deliver]);
}

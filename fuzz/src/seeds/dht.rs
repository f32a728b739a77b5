//! Seeds for the DHT: messages from the BEPs, saved nodes, and scripts for the node.

use std::net::SocketAddr;

use ferri_dht::{NodeId, State};

use super::{Seed, add};

/// Those of this file.
pub(super) fn all(seeds: &mut Vec<Seed>) {
    messages(seeds);
    states(seeds);
    nodes(seeds);
}

fn messages(seeds: &mut Vec<Seed>) {
    let mut seed = |name, bytes: &[u8]| add(seeds, "krpc", name, bytes);
    seed("ping", b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe");
    seed("pong", b"d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re");
    seed("error", b"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee");
    seed(
        "find-node",
        b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz1234564:wantl2:n42:n6ee1:q9:find_node1:t2:aa1:y1:qe",
    );
    seed(
        "get-peers",
        b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz1234566:noseedi1e6:scrapei1ee1:q9:get_peers2:roi1e1:t2:aa1:y1:qe",
    );
    seed(
        "peers",
        b"d2:ip6:\x01\x02\x03\x04\x1a\xe11:rd2:id20:abcdefghij01234567895:token8:aoeusnth6:valuesl6:axje.u6:idhtnm18:0123456789abcdefghee1:t2:aa1:v4:LT\x01\x021:y1:re",
    );
    seed(
        "announce",
        b"d1:ad2:id20:abcdefghij012345678912:implied_porti1e9:info_hash20:mnopqrstuvwxyz1234564:porti6881e4:seedi1e5:token8:aoeusnthe1:q13:announce_peer1:t2:aa1:y1:qe",
    );
    let mut node = b"d1:rd2:id20:abcdefghij01234567895:nodes26:".to_vec();
    node.extend(b"mnopqrstuvwxyz123456\x01\x02\x03\x04\x1a\xe1e1:t2:aa1:y1:re");
    seed("nodes", &node);
    seed(
        "get",
        b"d1:ad2:id20:abcdefghij01234567893:seqi4e6:target20:mnopqrstuvwxyz123456e1:q3:get1:t2:aa1:y1:qe",
    );
    let (key, signature) = ("k".repeat(32), "s".repeat(64));
    let put = format!(
        "d1:ad3:casi1e2:id20:abcdefghij01234567891:k32:{key}4:salt6:foobar3:seqi2e3:sig64:{signature}5:token8:aoeusnth1:v12:Hello World!e1:q3:put1:t2:aa1:y1:qe"
    );
    seed("put", put.as_bytes());
    let item = format!(
        "d1:rd2:id20:abcdefghij01234567891:k32:{key}3:seqi2e3:sig64:{signature}1:vd1:ai1e1:bl1:ceee1:t2:aa1:y1:re"
    );
    seed("item", item.as_bytes());
    seed(
        "samples",
        b"d1:rd2:id20:abcdefghij01234567898:intervali21600e3:numi2e7:samples40:aaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbe1:t2:aa1:y1:re",
    );
    let filter = "f".repeat(256);
    let filters =
        format!("d1:rd4:BFpe256:{filter}4:BFsd256:{filter}2:id20:abcdefghij0123456789e1:t2:aa1:y1:re");
    seed("filters", filters.as_bytes());
    seed("keys-out-of-order", b"d1:y1:q1:t2:aa1:q4:ping1:ad2:id20:abcdefghij0123456789ee");
    seed("query-without-id", b"d1:ade1:q4:ping1:t2:aa1:y1:qe");
    seed("unknown", b"d1:ad2:id20:abcdefghij0123456789e1:q4:vote1:t2:aa1:y1:qe");
}

fn states(seeds: &mut Vec<Seed>) {
    let v4: SocketAddr = ([80, 1, 2, 3], 6881).into();
    let v6: SocketAddr = ([0x2a00, 0, 0, 0, 0, 0, 0, 1], 6882).into();
    let id = Some(NodeId::from(*b"abcdefghij0123456789"));
    let mut seed = |name, bytes: &[u8]| add(seeds, "dht_state", name, bytes);
    seed("nothing", &State::default().encode());
    seed("both-families", &State { id_v4: id, id_v6: id, nodes: vec![v4, v6] }.encode());
    seed("one-family", &State { id_v4: id, id_v6: None, nodes: vec![v4; 5] }.encode());
    seed("newer", b"d7:versioni2ee");
    seed("damaged", b"d2:id3:abc5:nodes7:1234567:versioni1ee");
    seed("no-address", b"d5:nodes12:\0\0\0\0\0\0\xe0\0\0\x01\x1a\xe17:versioni1ee");
}

/// The node has both families and no memory; its seed is 1.
const HEAD: [u8; 2] = [0, 1];

/// Addresses of eleven hosts, as if they had been saved.
const CONTACTS: [u8; 3] = [15, 11, 0];

/// A node answers the query of that number with two nodes, a token and a peer.
fn answer(query: u8, host: u8) -> Vec<u8> {
    let parts = [0, 0x21, 4, b't', b'o', b'k', host, host, 0, host + 1, 1];
    let answer = [1, 0, 0b1111, host, 0, 1, 0x1a, 0xe1, 0, 80, 0, 3, host, 0];
    [&[4, query][..], &parts, &answer].concat()
}

/// A node that was not named asks: the method, and what it reads of the script.
fn question(host: u8, method: u8, arguments: &[u8]) -> Vec<u8> {
    // The transaction id has two bytes, everything else of the parts is empty.
    let parts = [2, b'a', host, 0];
    [&[1, host][..], &parts, &[7, 0, 3, method], arguments, &[host, 0, 0]].concat()
}

/// A wish of the caller: name 1, place 3.
fn wish(kind: u8, more: &[u8]) -> Vec<u8> {
    [&[12, 1, 3, 0, kind], more].concat()
}

fn nodes(seeds: &mut Vec<Seed>) {
    let network: Vec<u8> =
        [&HEAD[..], &CONTACTS, &(0..12).flat_map(|host| answer(0, host)).collect::<Vec<u8>>()].concat();
    let answers: Vec<u8> = (0..6).flat_map(|host| answer(0, host * 2)).collect();
    let timeouts = vec![9; 12];
    let mut seed = |name, steps: &[&[u8]]| add(seeds, "dht_node", name, steps.concat());
    seed("alone", &[&HEAD, &timeouts]);
    seed("a-network", &[&network, &timeouts, &[19, 18]]);
    seed("an-hour", &[&network, &[11, 0xff, 0xff, 9, 11, 0xff, 0xff, 9, 11, 0xff, 0xff], &timeouts]);
    for (name, kind, more) in [
        ("get-peers", 0, &[][..]),
        ("announce", 2, &[0x1a, 0xe1]),
        ("scrape", 3, &[]),
        ("get", 4, &[]),
        ("get-mutable", 5, &[]),
        ("put", 6, &[]),
        ("sample", 7, &[]),
    ] {
        seed(name, &[&network, &wish(kind, more), &answers, &timeouts, &answers]);
    }
    seed("many-wishes", &[&network, &wish(0, &[]), &wish(0, &[]), &[12, 2, 3, 0, 0], &[14, 1], &answers]);
    for (name, method, arguments) in [
        ("asked-ping", 0, &[][..]),
        ("asked-find-node", 1, &[]),
        ("asked-get-peers", 2, &[3]),
        ("asked-get", 5, &[0, 4]),
        ("asked-sample", 8, &[]),
        ("asked-unknown", 9, &[0]),
    ] {
        let asked: Vec<u8> = (16..20).flat_map(|host| question(host, method, arguments)).collect();
        seed(name, &[&network, &asked, &answers, &asked, &timeouts]);
    }
    // Asked for peers, it gives tokens to hosts that have answered; they store something.
    let ask: Vec<u8> = (0..12).flat_map(|host| question(host, 2, &[0])).collect();
    let announce: Vec<u8> =
        (0..12).flat_map(|host| [16, host, 0, 0, 0, 0, 3, 0, 0x1a, 0xe1, host, 0, 0]).collect();
    let put: Vec<u8> = (0..12).flat_map(|host| [16, host, 0, 0, 2, 0, 9, b'x', 0, 1, host, 0, 0]).collect();
    seed("stores", &[&network, &ask, &answers, &ask, &announce, &put, &[19], &timeouts]);
    seed("moves", &[&network, &[17, 1, 10, 17, 0], &timeouts, &answers, &[17, 2], &ask, &[17, 3], &ask]);
    seed("garbage", &[&HEAD, &[0, 3, 5, b'd', b'1', b':', b'y', b'e', 0, 4, 2, b'd', b'e', 0, 5, 1, b'i']]);
    seed("one-family", &[&[1, 1], &CONTACTS, &timeouts, &answers]);
    seed("saved-nodes", &[&[16, 15, 1], &timeouts, &answers, &timeouts]);
    seed("read-only", &[&[4, 1], &CONTACTS, &answers, &ask]);
}

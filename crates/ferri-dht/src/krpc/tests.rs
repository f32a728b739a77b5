//! The codec with the examples of BEP 5, with what strangers send, and with any message there is.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::bloom::Bloom;
use crate::id::NodeId;
use ferri_metainfo::InfoHash;

const ASKER: [u8; 20] = *b"abcdefghij0123456789";

const ANSWERER: [u8; 20] = *b"mnopqrstuvwxyz123456";

fn message(body: Body<'_>) -> Message<'_> {
    Message { transaction: b"aa", client: None, ip: None, read_only: false, body }
}

fn query(method: Method<'_>) -> Message<'_> {
    message(Body::Query(Query { id: NodeId::from(ASKER), want: None, method }))
}

fn check(datagram: &[u8], expected: &Message<'_>) {
    let document = parse(datagram).unwrap();
    assert_eq!(read(&document).as_ref(), Ok(expected));
    assert_eq!(String::from_utf8_lossy(&expected.encode()), String::from_utf8_lossy(datagram));
}

#[test]
fn the_queries_of_bep_5_are_read_and_written() {
    check(b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe", &query(Method::Ping));
    check(
        b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q9:find_node1:t2:aa1:y1:qe",
        &query(Method::FindNode { target: NodeId::from(ANSWERER) }),
    );
    check(
        b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e1:q9:get_peers1:t2:aa1:y1:qe",
        &query(Method::GetPeers { info_hash: InfoHash::from(ANSWERER), noseed: false, scrape: false }),
    );
    check(
        b"d1:ad2:id20:abcdefghij012345678912:implied_porti1e9:info_hash20:mnopqrstuvwxyz1234564:porti6881e5:token8:aoeusnthe1:q13:announce_peer1:t2:aa1:y1:qe",
        &query(Method::AnnouncePeer(Announce {
            info_hash: InfoHash::from(ANSWERER),
            port: 6881,
            implied_port: true,
            seed: false,
            token: b"aoeusnth",
        })),
    );
}

#[test]
fn the_answers_of_bep_5_are_read_and_written() {
    check(
        b"d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re",
        &message(Body::Response(Response::new(NodeId::from(ANSWERER)))),
    );
    check(
        b"d1:rd2:id20:abcdefghij01234567895:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re",
        &message(Body::Response(Response {
            token: Some(b"aoeusnth"),
            values: vec![compact::addr(b"axje.u").unwrap(), compact::addr(b"idhtnm").unwrap()],
            ..Response::new(NodeId::from(ASKER))
        })),
    );
    check(
        b"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee",
        &message(Body::Error(Fault { code: code::GENERIC, text: b"A Generic Error Ocurred" })),
    );
}

#[test]
fn what_is_no_message_is_refused() {
    let refused: [&[u8]; 8] = [
        b"",
        b"hello",
        b"i1e",
        b"de",
        b"d1:t2:aa1:y1:xe",
        b"d1:rd2:id4:abcde1:t2:aa1:y1:re",
        b"d1:t33:0123456789012345678901234567890121:y1:ee",
        b"d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re\0",
    ];
    for datagram in refused {
        let document = parse(datagram);
        assert!(document.as_ref().is_err() || read(document.as_ref().unwrap()).is_err(), "{datagram:?}");
    }
    assert!(parse(&[b'1'; DATAGRAM_IN_MAX + 1]).is_err());
}

#[test]
fn a_query_with_wrong_arguments_can_be_answered() {
    let check = |datagram: &[u8], argument| {
        let document = parse(datagram).unwrap();
        assert_eq!(read(&document), Err(ReadError::Query { transaction: b"aa", argument }));
    };
    check(b"d1:q4:ping1:t2:aa1:y1:qe", "a");
    check(b"d1:ad2:id2:xxe1:q4:ping1:t2:aa1:y1:qe", "id");
    check(b"d1:ad2:id20:abcdefghij0123456789e1:q9:find_node1:t2:aa1:y1:qe", "target");
    check(
        b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz1234564:porti0e5:token1:xe1:q13:announce_peer1:t2:aa1:y1:qe",
        "port",
    );
    check(
        b"d1:ad2:id20:abcdefghij01234567891:k32:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa5:token1:x1:vi1ee1:q3:put1:t2:aa1:y1:qe",
        "seq",
    );
}

#[test]
fn an_unknown_method_keeps_the_place_it_asks_about() {
    let datagram = b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q4:vote1:t2:aa1:y1:qe";
    check(datagram, &query(Method::Unknown { name: b"vote", target: Some(NodeId::from(ANSWERER)) }));
}

#[test]
fn a_hybrid_list_of_values_is_read() {
    let datagram =
        b"d1:rd2:id20:mnopqrstuvwxyz1234566:valuesl6:axje.u18:aaaaaaaaaaaaaaaabb3:xxxi7eee1:t2:aa1:y1:re";
    let document = parse(datagram).unwrap();
    let Body::Response(response) = read(&document).unwrap().body else { panic!("not an answer") };
    assert_eq!(response.values.len(), 2);
}

fn ids() -> impl Strategy<Value = NodeId> {
    any::<[u8; 20]>().prop_map(NodeId::from)
}

fn addrs() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![any::<[u8; 6]>().prop_map(Vec::from), any::<[u8; 18]>().prop_map(Vec::from)]
        .prop_map(|bytes| compact::addr(&bytes).unwrap())
}

fn text(max: usize) -> impl Strategy<Value = &'static [u8]> {
    proptest::collection::vec(any::<u8>(), 0..max).prop_map(|bytes| &*bytes.leak())
}

fn methods() -> impl Strategy<Value = Method<'static>> {
    let announce = (any::<[u8; 20]>(), 1..u16::MAX, any::<bool>(), any::<bool>(), text(TOKEN_MAX)).prop_map(
        |(info_hash, port, implied_port, seed, token)| {
            let info_hash = InfoHash::from(info_hash);
            Method::AnnouncePeer(Announce { info_hash, port, implied_port, seed, token })
        },
    );
    let author = (any::<[u8; 32]>(), text(80), any::<i64>(), any::<[u8; 32]>(), any::<Option<i64>>())
        .prop_map(|(public_key, salt, seq, half, cas)| {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&half);
            PutAuthor { public_key, salt, seq, signature, cas }
        });
    let put =
        (text(TOKEN_MAX), any::<i64>(), proptest::option::of(author)).prop_map(|(token, value, author)| {
            Method::Put(Put { token, value: format!("i{value}e").into_bytes().leak(), author })
        });
    prop_oneof![
        Just(Method::Ping),
        ids().prop_map(|target| Method::FindNode { target }),
        (any::<[u8; 20]>(), any::<bool>(), any::<bool>()).prop_map(|(info_hash, noseed, scrape)| {
            Method::GetPeers { info_hash: InfoHash::from(info_hash), noseed, scrape }
        }),
        announce,
        (ids(), any::<Option<i64>>()).prop_map(|(target, seq)| Method::Get { target, seq }),
        put,
        ids().prop_map(|target| Method::SampleInfohashes { target }),
        proptest::option::of(ids()).prop_map(|target| Method::Unknown { name: b"new", target }),
    ]
}

fn responses() -> impl Strategy<Value = Response<'static>> {
    let nodes = || proptest::option::of(text(210));
    let storage = (proptest::option::of(any::<i64>()), any::<Option<i64>>(), any::<Option<[u8; 32]>>());
    let blooms = proptest::option::of(any::<u8>());
    let sample =
        proptest::option::of((proptest::collection::vec(any::<[u8; 20]>(), 0..5), 0..1000u64, 0..21_600u32));
    let values = proptest::collection::vec(addrs(), 0..9);
    (ids(), nodes(), nodes(), proptest::option::of(text(TOKEN_MAX)), values, blooms, storage, sample)
        .prop_map(|(id, nodes, nodes6, token, values, blooms, (value, seq, public_key), sample)| Response {
            id,
            nodes,
            nodes6,
            token,
            values,
            blooms: blooms.map(|byte| Box::new([Bloom::from([byte; 256]), Bloom::from([!byte; 256])])),
            value: value.map(|value| &*format!("i{value}e").into_bytes().leak()),
            public_key,
            seq,
            signature: public_key.map(|key| [key[0]; 64]),
            sample: sample.map(|(info_hashes, total, interval)| Sample {
                info_hashes: info_hashes.leak(),
                total,
                interval,
            }),
        })
}

fn wants() -> impl Strategy<Value = Option<Want>> {
    prop_oneof![
        Just(None),
        Just(Some(Want { v4: true, v6: false })),
        Just(Some(Want { v4: false, v6: true })),
        Just(Some(Want { v4: true, v6: true })),
    ]
}

fn bodies() -> impl Strategy<Value = Body<'static>> {
    prop_oneof![
        (ids(), wants(), methods()).prop_map(|(id, want, method)| Body::Query(Query { id, want, method })),
        responses().prop_map(Body::Response),
        (any::<i64>(), text(40)).prop_map(|(code, text)| Body::Error(Fault { code, text })),
    ]
}

proptest! {
    #[test]
    fn any_message_comes_back(
        body in bodies(),
        transaction in text(TRANSACTION_MAX),
        client in proptest::option::of(text(9)),
        ip in proptest::option::of(addrs()),
        read_only in any::<bool>(),
    ) {
        let message = Message { transaction, client, ip, read_only, body };
        let datagram = message.encode();
        let document = parse(&datagram).unwrap();
        prop_assert!(document.irregularities().is_empty());
        prop_assert_eq!(read(&document), Ok(message));
    }

    #[test]
    fn any_bytes_are_read_or_refused(datagram in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(document) = parse(&datagram) {
            let _ = read(&document);
        }
    }
}

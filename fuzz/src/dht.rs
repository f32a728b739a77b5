//! The DHT: its messages, the nodes that it saves, and the node itself among strangers who say anything.

mod grammar;
mod node;

use std::time::Instant;

use ferri_bencode::Document;
use ferri_dht::krpc::{self, DATAGRAM_IN_MAX, Message};
use ferri_dht::{Node, Options, State, StateError};

use crate::script::Script;

pub use node::dht_node;

/// A datagram, read as a message (BEP 5); and a message made of the same bytes, written and read again. What was read comes
/// out the same after it was written, and what we write is canonical.
pub fn krpc(data: &[u8]) {
    if let Ok(document) = krpc::parse(data)
        && let Ok(message) = krpc::read(&document)
    {
        comes_back(&message);
    }
    let mut script = Script::new(data);
    let mut parts = grammar::Parts::new(&mut script);
    comes_back(&parts.message(&mut script));
}

fn comes_back(message: &Message<'_>) {
    let bytes = message.encode();
    // What was left out by the sender is written with its default, for which there may be no room.
    if DATAGRAM_IN_MAX < bytes.len() {
        return;
    }
    let document = krpc::parse(&bytes).expect("what we write is bencode");
    assert_eq!(krpc::read(&document).as_ref(), Ok(message));
    assert_eq!(krpc::read(&document).map(|message| message.encode()), Ok(bytes.clone()));
}

/// Nodes saved by an earlier run, or whatever is in that file. What was read is small, is written the same, and a node
/// starts from it.
pub fn dht_state(data: &[u8]) {
    match State::decode(data) {
        Ok(state) => {
            assert!(state.nodes.len() <= 2 * State::NODES_MAX);
            let bytes = state.encode();
            assert!(Document::parse(&bytes).is_ok() && bytes.len() <= 8 << 10);
            // Nodes of both families may stand in any order, those read stand in the order written.
            assert_eq!(State::decode(&bytes), Ok(state.clone()));
            let now = Instant::now();
            let node = Node::new(Options::default(), Some(state), [1; 32], now);
            assert!(node.state().nodes.len() <= 2 * State::NODES_MAX);
        }
        Err(StateError::Version(version)) => assert_ne!(version, 1),
        Err(StateError::Unreadable) => {}
    }
}

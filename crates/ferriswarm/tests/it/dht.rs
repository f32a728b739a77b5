//! `dht`: nodes on loopback that find each other, and values that go from one to another.

use ferriswarm::Exit;

use super::{Desk, Outcome, Running};

/// Nodes of the network, all in this process.
const NODES: usize = 6;

struct Network<'a> {
    desk: &'a Desk,
    nodes: Vec<Running>,
    router: String,
}

#[allow(clippy::unwrap_used)]
impl<'a> Network<'a> {
    fn new(desk: &'a Desk) -> Self {
        let mut network = Self { desk, nodes: Vec::new(), router: String::new() };
        for n in 0..NODES {
            let node = network.begin(&["dht", "node"], &format!("node-{n}"));
            let said = node.wait_for("UDP port ");
            let port: String =
                said.split("UDP port ").nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
            network.nodes.push(node);
            if n == 0 {
                network.router = format!("127.0.0.1:{port}");
            }
        }
        network
    }

    /// A command with a node of its own, which enters by the first node.
    fn begin(&self, words: &[&str], state: &str) -> Running {
        let mut words = words.to_vec();
        words.extend(["--bind", "127.0.0.1", "--state-dir", state]);
        if !self.router.is_empty() {
            words.extend(["--dht-router", &self.router]);
        }
        self.desk.start(&words)
    }

    fn run(&self, words: &[&str]) -> Outcome {
        self.begin(words, "state").finish()
    }

    fn end(self) -> Vec<Outcome> {
        self.nodes
            .into_iter()
            .map(|node| {
                node.interrupt();
                node.finish()
            })
            .collect()
    }
}

#[test]
fn values_are_stored_found_and_replaced() {
    let desk = Desk::new();
    let network = Network::new(&desk);

    let put = network.run(&["dht", "put", "Hello World!"]);
    assert_eq!(put.exit, Exit::Done, "{put:?}");
    let target = "e5f96f6f38320f0f33959cb4d3d656452117aadb";
    assert_eq!(put.stdout.lines().next(), Some(target), "the target of BEP 44's example");
    let got = network.run(&["dht", "get", target]);
    assert_eq!((got.exit, &*got.stdout), (Exit::Done, "Hello World!"), "{got:?}");

    let put = |value: &str| network.run(&["dht", "put", "--key", "me.key", "--salt", "news", value]);
    let key = put("one").stdout.lines().find(|line| line.len() == 64).map(str::to_owned).unwrap_or_default();
    assert_eq!(put("two").exit, Exit::Done);
    let got = network.run(&["dht", "get", &key, "--salt", "news", "--json"]);
    let facts: serde_json::Value = serde_json::from_str(&got.stdout).unwrap_or_default();
    assert_eq!((facts["text"].as_str(), facts["seq"].as_i64()), (Some("two"), Some(2)), "{got:?}");
    let old = network.run(&["dht", "put", "--key", "me.key", "--salt", "news", "--seq", "1", "old"]);
    assert_eq!(old.exit, Exit::Network, "an older version is refused: {old:?}");

    let info_hash = "0123456789abcdef0123456789abcdef01234567";
    let named = network.run(&["dht", "put", "--key", "me.key", "--info-hash", info_hash]);
    assert_eq!(named.exit, Exit::Done, "{named:?}");
    let got = network.run(&["dht", "get", &key, "--json"]);
    assert!(got.stdout.contains(info_hash), "{got:?}");

    let missing = network.run(&["dht", "get", info_hash]);
    assert_eq!(missing.exit, Exit::NotFound, "{missing:?}");
    for node in network.end() {
        assert_eq!(node.exit, Exit::Done, "{node:?}");
        assert!(node.stdout.contains("good") && node.stdout.contains("127.0.0.1:"), "{node:?}");
    }
}

#[test]
fn what_makes_no_sense_is_said_before_anybody_is_asked() {
    let desk = Desk::new();
    let long = "x".repeat(1000);
    for words in [
        &["dht", "get", "xyz"][..],
        &["dht", "put", "--bencode", "d1:b"],
        &["dht", "put", &long],
        &["dht", "put", "--info-hash", "xyz"],
        &["dht", "put", "--salt", "s", "value"],
    ] {
        let outcome = desk.run(words);
        assert_eq!(outcome.exit, Exit::Usage, "{words:?}: {outcome:?}");
    }
}

#[test]
fn nobody_to_ask_is_told_when_interrupted() {
    let mut desk = Desk::new();
    desk.is_tty = true;
    let target = "e5f96f6f38320f0f33959cb4d3d656452117aadb";
    let lonely = desk.start(&["dht", "get", target, "--bind", "127.0.0.1"]);
    lonely.wait_for("entering the DHT");
    lonely.interrupt();
    assert_eq!(lonely.finish().exit, Exit::Interrupted);
}

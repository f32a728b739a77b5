//! Traces: a short life of each machine.

use std::time::{Duration, Instant};

use ferri_dht::{ContactKind, Lookup, Node};
use ferri_metainfo::{Bitfield, InfoHashes, Layout};
use ferri_swarm::{Direction, Input, MetadataSwarm, PeerKey, Source, Swarm, SwarmOptions};
use ferri_trace::machines::{NodeStart, PaceStart, ScheduleStart, SearchStart, SwarmStart};
use ferri_trace::{Machine, Recorder, first_line};
use ferri_tracker::pace::Pace;
use ferri_tracker::{Schedule, ScheduleOptions};
use ferri_wire::{Handshake, Message, PeerId, Reserved};

use super::{Seed, add};

/// What happens a tenth of a second apart, and what comes of it.
fn life<M: Machine>(of: &str, start: M::Start, inputs: Vec<M::Input>) -> Vec<String> {
    let since = Instant::now();
    let (mut recorder, line) = Recorder::<M>::new(of, &start, since, since);
    let mut machine = M::begin(start, since).expect("a start that fits");
    let mut lines = vec![line];
    for (number, input) in (1..).zip(inputs) {
        let now = since + number * Duration::from_millis(100);
        lines.extend(recorder.input(&input, now));
        machine.handle(input, now);
        let outputs = std::iter::from_fn(|| machine.poll_output());
        lines.extend(outputs.filter_map(|output| recorder.output(&output)));
    }
    lines
}

pub(super) fn traces(seeds: &mut Vec<Seed>) {
    let mut seed = |name, lines: Vec<String>| {
        let lines = std::iter::once(first_line("seeds")).chain(lines);
        add(seeds, "trace", name, lines.collect::<Vec<_>>().join("\n"));
    };
    let swarm = swarm();
    seed("no-start", swarm[1..2].to_vec());
    seed("only-a-start", swarm[..1].to_vec());
    seed("one-block", swarm);
    seed("search", search());
    seed("schedule", schedule());
    seed("pace", pace());
    seed("node", node());
    seed("not-json", vec!["{\"machine\":".to_owned()]);
    add(seeds, "trace", "other-version", "{\"trace\":1}");
}

fn options() -> SwarmOptions {
    SwarmOptions {
        client: "Ferriswarm".to_owned(),
        ..SwarmOptions::new([1; 20].into(), PeerId::from([2; 20]))
    }
}

fn connected(peer: PeerKey) -> Input {
    let reserved = Reserved::NONE.with_fast().with_extensions();
    let handshake = Handshake { reserved, info_hash: [1; 20].into(), peer_id: PeerId::from([3; 20]) };
    let addr = ([10, 0, 0, 1], 6881).into();
    Input::PeerConnected { peer, addr, direction: Direction::Outgoing, handshake, crowd: 0 }
}

/// A peer connects, offers everything, sends one block and leaves.
fn swarm() -> Vec<String> {
    let layout = Layout::single(16_384, 20_000).expect("a small torrent");
    let have = Bitfield::new(layout.piece_count());
    let start = SwarmStart { options: options(), layout, have, seed: 7 };
    let peer = PeerKey(1);
    let tell = |message| Input::PeerMessage { peer, message };
    let inputs = vec![
        Input::PeersFound { source: Source::Tracker, addrs: vec![([10, 0, 0, 1], 6881).into()] },
        connected(peer),
        tell(Message::HaveAll),
        tell(Message::Unchoke),
        tell(Message::Extended { id: 0, payload: b"d1:md6:ut_pexi1eee".to_vec().into() }),
        tell(Message::Piece { piece: 0, begin: 0, data: vec![0; 16_384].into() }),
        Input::PieceVerified { piece: 0, ok: true, digests: vec![5] },
        Input::Deadline { piece: 1, within: Some(Duration::from_secs(1)) },
        Input::PeerDisconnected { peer },
        Input::Timeout,
    ];
    life::<Swarm>("01", start, inputs)
}

fn search() -> Vec<String> {
    let wanted = InfoHashes { v1: Some([1; 20].into()), v2: None };
    let peer = PeerKey(1);
    let shake = b"d1:md11:ut_metadatai3ee13:metadata_sizei99ee".to_vec().into();
    let inputs = vec![
        connected(peer),
        Input::PeerMessage { peer, message: Message::Extended { id: 0, payload: shake } },
        Input::Stop,
    ];
    life::<MetadataSwarm>("01", SearchStart::new(options(), wanted, 7), inputs)
}

fn schedule() -> Vec<String> {
    use ferri_tracker::Input;
    let options = ScheduleOptions { paced: true, ..ScheduleOptions::new([1; 20].into(), [2; 20], 6881) };
    let tiers = vec![vec!["http://t.example/announce".to_owned()], vec!["udp://t.example:1".to_owned()]];
    let inputs = vec![
        Input::Stats { uploaded: 0, downloaded: 0, left: 9 },
        Input::Start,
        Input::Turn { wait: Duration::ZERO },
        Input::AddTracker { url: "ftp://t.example".to_owned() },
        Input::Reannounce,
        Input::Stop,
    ];
    life::<Schedule>("01", ScheduleStart { tiers, options, seed: 7 }, inputs)
}

fn pace() -> Vec<String> {
    use ferri_tracker::pace::Input;
    let host = || "t.example:80".to_owned();
    let inputs = vec![
        Input::Ask { torrent: [1; 20].into(), host: host(), had: false },
        Input::Begun { host: host() },
        Input::Over { host: host() },
    ];
    life::<Pace>("session", PaceStart {}, inputs)
}

fn node() -> Vec<String> {
    use ferri_dht::Input;
    let start = NodeStart { options: ferri_dht::Options::default(), state: None, seed: [7; 32] };
    let from = ([203, 0, 113, 1], 6881).into();
    let ping = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe".to_vec().into();
    let inputs = vec![
        Input::Contacts { addrs: vec![from], kind: ContactKind::Router },
        Input::Datagram { from, bytes: ping },
        Input::GetPeers { lookup: Lookup(1), info_hash: [1; 20].into() },
        Input::Timeout,
    ];
    life::<Node>("session", start, inputs)
}

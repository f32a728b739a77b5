//! Each machine lives a little, and its replay says the same.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferri_dht::{ContactKind, Lookup, Node};
use ferri_metainfo::{Bitfield, InfoHashes, Layout};
use ferri_swarm::{Direction, Input, MetadataSwarm, Output, PeerKey, Source, Swarm, SwarmOptions};
use ferri_tracker::pace::Pace;
use ferri_tracker::{AnnounceResponse, Schedule, ScheduleOptions, TrackerError};
use ferri_wire::{Handshake, Message, PeerId, Reserved};

use super::*;
use crate::machines::{NodeStart, PaceStart, ScheduleStart, SearchStart, SwarmStart};

/// A machine that is recorded.
struct Recorded<M: Machine> {
    machine: M,
    recorder: Recorder<M>,
    now: Instant,
    lines: Vec<String>,
}

impl<M: Machine> Recorded<M> {
    /// Made five seconds after the trace began.
    fn new(of: &str, start: M::Start) -> Self {
        let since = Instant::now();
        let now = since + Duration::from_secs(5);
        let (recorder, line) = Recorder::new(of, &start, since, now);
        let machine = M::begin(start, now).unwrap();
        Self { machine, recorder, now, lines: vec![first_line("a test"), line] }
    }

    fn handle(&mut self, input: M::Input) -> Vec<M::Output> {
        self.now += Duration::from_millis(10);
        self.lines.extend(self.recorder.input(&input, self.now));
        self.machine.handle(input, self.now);
        let outputs: Vec<_> = std::iter::from_fn(|| self.machine.poll_output()).collect();
        self.lines.extend(outputs.iter().filter_map(|output| self.recorder.output(output)));
        outputs
    }
}

/// Feeds all lines; the machines that the trace left.
fn replayed(lines: &[String]) -> Replay {
    // Another time than that of the recording.
    let mut replay = Replay::new(Instant::now() + Duration::from_secs(1000));
    for line in lines {
        replay.feed(line).unwrap_or_else(|error| panic!("{error}\n{line}"));
    }
    assert_eq!(replay.lines(), lines.len() as u64);
    replay
}

fn extended(peer: PeerKey, id: u8, payload: &[u8]) -> Input {
    Input::PeerMessage { peer, message: Message::Extended { id, payload: Bytes::copy_from_slice(payload) } }
}

fn connected(peer: PeerKey, addr: SocketAddr, info_hash: ferri_metainfo::InfoHash) -> Input {
    let reserved = Reserved::NONE.with_fast().with_extensions();
    let handshake = Handshake { reserved, info_hash, peer_id: PeerId::from([3; 20]) };
    Input::PeerConnected { peer, addr, direction: Direction::Outgoing, handshake, crowd: 0 }
}

/// A seed is dialled, unchokes us and sends the torrent.
fn swarm() -> Recorded<Swarm> {
    let layout = Layout::single(32 << 10, 100_000).unwrap();
    let mut options = SwarmOptions::new([1; 20].into(), PeerId::from([2; 20]));
    options.metadata = Some(Bytes::from(vec![5; 20_000]));
    let have = Bitfield::new(layout.piece_count());
    let mut swarm = Recorded::<Swarm>::new("01", SwarmStart { options, layout, have, seed: 7 });
    let (peer, addr) = (PeerKey(1), "10.0.0.1:6881".parse().unwrap());
    let tell = |message| Input::PeerMessage { peer, message };
    let mut inputs = vec![
        Input::PeersFound { source: Source::Tracker, addrs: vec![addr] },
        connected(peer, addr, [1; 20].into()),
        extended(peer, 0, b"d1:md11:ut_metadatai3eee"),
        extended(peer, 2, b"d8:msg_typei0e5:piecei0ee"),
        tell(Message::HaveAll),
        tell(Message::Unchoke),
    ];
    while let Some(input) = (!inputs.is_empty()).then(|| inputs.remove(0)) {
        for output in swarm.handle(input) {
            match output {
                Output::Send { message: Message::Request { piece, begin, length }, .. } => {
                    let data = Bytes::from(vec![9; length as usize]);
                    inputs.push(tell(Message::Piece { piece, begin, data }));
                }
                Output::VerifyPiece { piece, .. } => {
                    let piece = piece.get();
                    inputs.push(Input::PieceVerified { piece, ok: true, digests: Vec::new() });
                }
                _ => {}
            }
        }
    }
    assert!(swarm.machine.have().is_full());
    swarm
}

#[test]
fn a_swarm_says_again_what_its_trace_says() {
    let lines = swarm().lines;
    let part = |line: &&String| line.contains("Extended { id: 3, payload: 164");
    assert_eq!(lines.iter().filter(part).count(), 1, "a part of the info dictionary is served");
    assert!(lines.iter().all(|line| line.len() < 2_000), "payload is recorded as its length");
    let replay = replayed(&lines);
    let (of, machine) = replay.swarms().next().unwrap();
    assert!(of == "01" && machine.have().is_full());
}

#[test]
fn a_search_finds_again_what_it_found() {
    let info = b"d6:lengthi1e4:name1:a12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaae";
    let hash = ferri_metainfo::Info::parse(info).unwrap().info_hashes().wire();
    let wanted = InfoHashes { v1: Some(hash), v2: None };
    let options = SwarmOptions::new(hash, PeerId::from([2; 20]));
    let start = SearchStart::new(options, wanted, 3);
    let mut search = Recorded::<MetadataSwarm>::new("02", start);
    let peer = PeerKey(1);
    search.handle(connected(peer, "10.0.0.1:6881".parse().unwrap(), hash));
    let shake = format!("d1:md11:ut_metadatai3ee13:metadata_sizei{}ee", info.len());
    search.handle(extended(peer, 0, shake.as_bytes()));
    let head = format!("d8:msg_typei1e5:piecei0e10:total_sizei{}ee", info.len());
    // The number by which we asked for it to be sent.
    let outputs = search.handle(extended(peer, 2, &[head.as_bytes(), info].concat()));
    assert!(outputs.iter().any(|output| matches!(output, Output::Metadata { .. })), "{outputs:?}");
    assert_eq!(replayed(&search.lines).count(Kind::Search), 1);
}

#[test]
fn a_schedule_announces_again_and_no_passkey_is_written_down() {
    let url = |n: u8| format!("http://t{n}.example/deadbeef{n}/announce?passkey=sesame{n}");
    let options = ScheduleOptions { paced: true, ..ScheduleOptions::new([1; 20].into(), [2; 20], 6881) };
    let tiers = vec![vec![url(1), url(2)], vec!["ftp://deadbeef.example".to_owned()]];
    let mut schedule = Recorded::<Schedule>::new("01", ScheduleStart { tiers, options, seed: 3 });
    use ferri_tracker::{Input as In, Output as Out};
    let mut inputs = vec![In::Stats { uploaded: 0, downloaded: 0, left: 9 }, In::Start];
    let edited = In::SetTrackers { tiers: vec![vec![url(4)], vec![url(2)]], beside: vec![url(5)] };
    inputs.extend([In::AddTracker { url: url(3) }, In::Timeout, In::Reannounce, edited, In::Stop]);
    let (mut answers, mut announced) = (0, 0);
    while let Some(input) = (!inputs.is_empty()).then(|| inputs.remove(0)) {
        for output in schedule.handle(input) {
            match output {
                Out::WantTurn { .. } => inputs.insert(0, In::Turn { wait: Duration::ZERO }),
                Out::Announce { tracker, url, .. } => {
                    announced += 1;
                    let mut answer = AnnounceResponse::new(Duration::from_secs(1800));
                    answer.peers = vec!["10.0.0.9:1".parse().unwrap()];
                    let fails = url.contains("t1.example");
                    let result = if fails { Err(TrackerError::TimedOut) } else { Ok(answer) };
                    inputs.insert(0, In::Answer { tracker, result });
                }
                Out::Event(ferri_tracker::Notice::Answered { .. }) => answers += 1,
                _ => {}
            }
        }
    }
    assert!(1 < answers && 4 < announced, "{answers} {announced}");
    let text = schedule.lines.join("\n");
    assert!(text.contains("retry_at") && text.contains("t1.example"));
    for secret in ["deadbeef", "sesame"] {
        assert!(!text.contains(secret), "{text}");
    }
    assert_eq!(replayed(&schedule.lines).count(Kind::Schedule), 1);
}

#[test]
fn turns_are_given_again() {
    let mut pace = Recorded::<Pace>::new("session", PaceStart {});
    for n in 0..30 {
        let host = "t.example:80".to_owned();
        let outputs =
            pace.handle(ferri_tracker::pace::Input::Ask { torrent: [n; 20].into(), host, had: false });
        assert_eq!(outputs.len(), 1);
    }
    assert_eq!(replayed(&pace.lines).count(Kind::Pace), 1);
}

#[test]
fn a_node_sends_the_same_datagrams_again() {
    let options = ferri_dht::Options { restrict_networks: false, ..ferri_dht::Options::default() };
    let start = |seed| NodeStart { options: options.clone(), state: None, seed: [seed; 32] };
    let mut nodes = [Recorded::<Node>::new("one", start(1)), Recorded::<Node>::new("other", start(2))];
    let addrs: [SocketAddr; 2] = ["203.0.113.1:6881".parse().unwrap(), "198.51.100.2:6881".parse().unwrap()];
    use ferri_dht::{Input as In, Output as Out};
    let contacts = In::Contacts { addrs: vec![addrs[1]], kind: ContactKind::Saved };
    let lookup = In::GetPeers { lookup: Lookup(1), info_hash: [7; 20].into() };
    let mut queue = vec![(0, contacts), (0, lookup)];
    let mut datagrams = 0;
    while let Some((node, input)) = (!queue.is_empty() && datagrams < 100).then(|| queue.remove(0)) {
        for output in nodes[node].handle(input) {
            if let Out::Send { to, bytes } = output
                && to == addrs[1 - node]
            {
                datagrams += 1;
                queue.push((1 - node, In::Datagram { from: addrs[node], bytes }));
            }
        }
    }
    assert!(4 < datagrams, "{datagrams}");
    for node in nodes {
        assert_eq!(replayed(&node.lines).count(Kind::Dht), 1);
    }
}

#[test]
fn machines_of_a_session_share_a_trace() {
    let [mut one, other] = [
        swarm().lines,
        swarm().lines.into_iter().map(|line| line.replace("\"of\":\"01\"", "\"of\":\"02\"")).collect(),
    ];
    let mixed = one.drain(..1).collect::<Vec<_>>().into_iter();
    let mixed: Vec<String> =
        mixed.chain(one.iter().zip(&other[1..]).flat_map(|(a, b)| [a.clone(), b.clone()])).collect();
    assert_eq!(replayed(&mixed).swarms().count(), 2);
}

#[test]
fn a_machine_that_says_something_else_is_found_out() {
    let changed = swarm().lines.into_iter().map(|line| line.replace("HaveNone", "HaveAll"));
    let mut replay = Replay::new(Instant::now());
    let error = changed.map(|line| replay.feed(&line)).find_map(Result::err).unwrap();
    assert!(matches!(error, ReplayError::Differs { .. }), "{error}");
}

#[test]
fn what_is_no_trace_is_refused() {
    let error = |lines: &[&str]| {
        let mut replay = Replay::new(Instant::now());
        lines.iter().map(|line| replay.feed(line)).find_map(Result::err).unwrap()
    };
    let lines = swarm().lines;
    let (first, start, input) = (&*lines[0], &*lines[1], &*lines[2]);
    assert!(matches!(error(&["", start]), ReplayError::NoVersion { line: 2 }));
    // What was written before there were versions.
    assert!(matches!(error(&["{\"swarm\":\"01\",\"start\":{}}"]), ReplayError::NoVersion { line: 1 }));
    let later = "{\"trace\":3,\"more\":[]}";
    assert!(matches!(error(&[later]), ReplayError::OtherVersion { found: 3 }));
    assert!(matches!(error(&[first, "{}"]), ReplayError::Unreadable { line: 2, .. }));
    assert!(matches!(error(&[first, &start[..50]]), ReplayError::Unreadable { line: 2, .. }));
    assert!(matches!(error(&[first, input]), ReplayError::NoStart { line: 2 }));
    let nothing = "{\"machine\":\"pace\",\"of\":\"session\"}";
    assert!(matches!(error(&[first, nothing]), ReplayError::Senseless { line: 2 }));
    let unfit = start.replace("\"piece_length\":32768", "\"piece_length\":16384");
    assert_ne!(unfit, start);
    assert!(matches!(error(&[first, &unfit]), ReplayError::Unfit { line: 2, .. }));
    let other = "{\"machine\":\"dht\",\"of\":\"x\",\"input\":\"Pause\"}";
    assert!(matches!(error(&[first, other]), ReplayError::Unreadable { line: 2, .. }));
}

/// A machine that says all it hears.
#[derive(Debug, Default)]
struct Parrot(Vec<String>);

impl Machine for Parrot {
    const KIND: Kind = Kind::Pace;
    const BYTES_MAX: u64 = 1000;
    type Start = PaceStart;
    type Input = String;
    type Output = String;
    type Mask = ();

    fn begin(_: PaceStart, _: Instant) -> Result<Self, &'static str> {
        Ok(Self::default())
    }

    fn handle(&mut self, input: String, _: Instant) {
        self.0.push(input);
    }

    fn poll_output(&mut self) -> Option<String> {
        self.0.pop()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn text(output: &String, _: &(), _: Instant) -> String {
        output.clone()
    }

    fn shown_input<'a>(input: &'a String, _: &mut ()) -> Cow<'a, String> {
        Cow::Borrowed(input)
    }
}

#[test]
fn the_trace_of_a_talkative_machine_ends_in_order() {
    let mut parrot = Recorded::<Parrot>::new("p", PaceStart {});
    for _ in 0..50 {
        parrot.handle("x".repeat(100));
    }
    let bytes: usize = parrot.lines.iter().map(String::len).sum();
    assert!(bytes < 1500, "{bytes}");
    let ends = |line: &&String| line.contains("\"end\":");
    assert_eq!(parrot.lines.iter().filter(ends).count(), 1);
    assert!(parrot.lines.last().unwrap().contains("\"end\":"));
    // Every input that is there has its output.
    let count = |what: &str| parrot.lines.iter().filter(|line| line.contains(what)).count();
    assert_eq!(count("\"input\":"), count("\"output\":"));
}

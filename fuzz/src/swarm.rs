//! The swarm machine in a world that does anything: peers that lie, flood and vanish, a disk that fails, a user who changes
//! limits. What the machine may never do is checked after every input.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferri_metainfo::{Bitfield, Block, Layout};
use ferri_swarm::{Direction, Input, Output, PeerKey, Priority, Source, Swarm, SwarmEvent, SwarmOptions};
use ferri_trace::machines::SwarmStart;
use ferri_trace::{Machine, Recorder, Replay, first_line};
use ferri_wire::{Handshake, HashRange, Message, PeerId, Reserved};

use crate::script::{Script, Sleeper};

const OUR_ID: [u8; 20] = *b"-FS0100-abcdefghijkl";
const INFO_HASH: [u8; 20] = [0xaa; 20];
/// What a hybrid is called too.
const OTHER_HASH: [u8; 20] = [0xcc; 20];

/// Data of all blocks; what is in it is nothing to the machine.
const ZEROS: &[u8] = &[0; 128 << 10];

/// Outputs that one input may cause. Every peer may be told of every piece, and every request be refilled.
const OUTPUTS_MAX: usize = 20_000;

/// How long the machine waits for the answer to a dial.
const DIAL_TIME_MAX: Duration = Duration::from_secs(60);

/// The same script twice gives the same outputs, whenever it begins, and so does the replay of its trace.
pub fn swarm(data: &[u8]) {
    let start = Instant::now();
    let first = World::new(&mut Script::new(data), start).run();
    let mut second = World::new(&mut Script::new(data), start + Duration::from_secs(1));
    let is_recorded = data.first().is_some_and(|flags| flags & 128 != 0);
    if is_recorded {
        second.trace.replay = Some(Replay::new(start));
    }
    assert_eq!(first, second.run(), "the same script, other outputs");
}

/// Records what happens and feeds it to another machine, line by line.
#[derive(Debug)]
struct Trace {
    recorder: Recorder<Swarm>,
    start: String,
    replay: Option<Replay>,
}

impl Trace {
    fn feed(&mut self, line: impl FnOnce(&mut Recorder<Swarm>) -> Option<String>) {
        let Some(replay) = &mut self.replay else { return };
        if replay.lines() == 0 {
            replay.feed(&first_line("a fuzzer")).expect("the first line");
            replay.feed(&self.start).expect("the start");
        }
        let line = line(&mut self.recorder).expect("the trace of a swarm has no bound");
        if let Err(error) = replay.feed(&line) {
            panic!("the replay differs: {error}");
        }
    }
}

/// What the world knows of a connection.
#[derive(Debug)]
struct Peer {
    fast: bool,
    extensions: bool,
    /// Requests that were sent and neither answered nor cancelled, oldest first.
    asked: Vec<(u32, u32, u32)>,
    /// Blocks that were released to it and not reported as sent.
    released: Vec<Block>,
}

struct World<'a> {
    script: Script<'a>,
    swarm: Swarm,
    layout: Layout,
    now: Instant,
    peers: BTreeMap<PeerKey, Peer>,
    next_key: u64,
    /// Addresses that are being dialled, and since when.
    dialled: Vec<(SocketAddr, Instant)>,
    /// Blocks that are kept for pieces that are not verified, by piece: their starts.
    stored: BTreeMap<u32, BTreeSet<u32>>,
    /// Pieces whose verification is under way.
    verifying: BTreeSet<u32>,
    have: BTreeSet<u32>,
    /// Pieces being verified whose digests are wanted even when they are good.
    compared: BTreeSet<u32>,
    /// The last reject that was sent.
    rejected: Option<(PeerKey, u32, u32, u32)>,
    /// No more connections than this, ever.
    peers_max: usize,
    half_open_max: usize,
    outputs: DefaultHasher,
    trace: Trace,
}

impl Sleeper for World<'_> {
    const WAKES_MAX: usize = 8;

    fn clock(&mut self) -> &mut Instant {
        &mut self.now
    }

    fn due(&self) -> Option<Instant> {
        self.swarm.poll_timeout()
    }

    fn wake(&mut self) {
        self.handle(Input::Timeout);
    }
}

impl<'a> World<'a> {
    fn new(script: &mut Script<'a>, now: Instant) -> Self {
        let flags = script.u8();
        let piece_length = 16_384 << (flags & 3);
        let total = 1 + u64::from(script.u16()) * 8;
        let layout = Layout::single(piece_length, total).expect("a small torrent");
        let mut options = SwarmOptions::new(INFO_HASH.into(), PeerId::from(OUR_ID));
        options.other_hash = Some(OTHER_HASH.into());
        options.listen_port = Some(6881);
        options.dht_port = Some(6881);
        options.metadata = Some(zeros(40_000));
        options.sequential = flags & 4 != 0;
        options.upload = flags & 8 == 0;
        (options.peers_max, options.half_open_max) = (6, 3);
        options.memory_bytes = if flags & 16 == 0 { 64 << 20 } else { 40_000 };
        let mut have = Bitfield::new(layout.piece_count());
        for piece in 0..layout.piece_count() {
            if flags & 32 != 0 && (flags & 64 != 0 || piece % 3 == 0) {
                have.set(piece);
            }
        }
        let seed = u64::from(script.u8());
        let begun = SwarmStart { options, layout: layout.clone(), have: have.clone(), seed };
        let (recorder, start) = Recorder::new("a swarm", &begun, now, now);
        let swarm = Swarm::begin(begun, now).expect("a start that fits");
        Self {
            script: Script::new(script.rest()),
            swarm,
            layout,
            now,
            peers: BTreeMap::new(),
            next_key: 0,
            dialled: Vec::new(),
            stored: BTreeMap::new(),
            verifying: BTreeSet::new(),
            have: have.iter_ones().collect(),
            compared: BTreeSet::new(),
            rejected: None,
            peers_max: 6,
            half_open_max: 3,
            outputs: DefaultHasher::new(),
            trace: Trace { recorder, start, replay: None },
        }
    }

    /// Runs the script and says what came out, as a digest.
    fn run(mut self) -> u64 {
        self.drain();
        while !self.script.is_empty() {
            self.step();
            self.check();
        }
        // Whatever happened, a stop ends it.
        self.handle(Input::Stop);
        assert!(self.peers.is_empty(), "connections after the end");
        for _ in 0..4 {
            self.sleep();
        }
        assert!(self.dialled.len() <= self.half_open_max);
        self.outputs.finish()
    }

    fn step(&mut self) {
        let kind = self.script.u8();
        match kind % 32 {
            0..=2 => self.sleep(),
            3 => {
                self.now += Duration::from_millis(u64::from(self.script.u16()));
                self.handle(Input::Timeout);
            }
            4 => self.find_peers(),
            5 | 6 => self.answer_dial(),
            7 | 8 => self.accept(),
            9..=12 => self.message(),
            13..=20 => self.answer_request(kind >> 6),
            21..=24 => self.finish_piece(),
            25 => self.report_sent(),
            26 => self.hang_up(),
            27 => self.limits(),
            28 => self.user(),
            29 => self.lose_piece(),
            30 => self.nonsense(),
            _ => {
                // A well-behaved peer opens up.
                if let Some(peer) = self.some_peer() {
                    self.tell(peer, Message::Unchoke);
                    self.tell(peer, Message::Interested);
                }
            }
        }
    }

    fn find_peers(&mut self) {
        let sources =
            [Source::Explicit, Source::Tracker, Source::Resume, Source::Lsd, Source::Pex, Source::Dht];
        let source = sources[self.script.below(sources.len())];
        let addrs = (0..self.script.u8() % 8).map(|_| self.addr()).collect();
        self.handle(Input::PeersFound { source, addrs });
    }

    fn addr(&mut self) -> SocketAddr {
        let (host, port) = (self.script.u8(), 6880 + u16::from(self.script.u8() % 4));
        match host >> 5 {
            0 => ([127, 0, 0, 1], port).into(),
            1 => ([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(host)], port).into(),
            2 => ([224 | host, host, 0, 1], port - 6880).into(),
            _ => ([10, 0, 0, host], port).into(),
        }
    }

    fn answer_dial(&mut self) {
        if self.dialled.is_empty() {
            return;
        }
        let (addr, _) = self.dialled.swap_remove(self.script.below(self.dialled.len()));
        if self.script.u8().is_multiple_of(4) {
            self.handle(Input::ConnectFailed { addr });
        } else {
            self.connect(addr, Direction::Outgoing);
        }
    }

    fn accept(&mut self) {
        let addr = self.addr();
        self.connect(addr, Direction::Incoming);
    }

    fn connect(&mut self, addr: SocketAddr, direction: Direction) {
        let flags = self.script.u8();
        let mut reserved = Reserved::NONE;
        if flags & 1 == 0 {
            reserved = reserved.with_fast();
        }
        if flags & 2 == 0 {
            reserved = reserved.with_extensions();
        }
        let info_hash = match flags & 0x1c {
            0x1c => [0xbb; 20],
            0x14 => OTHER_HASH,
            _ => INFO_HASH,
        };
        let crowd = if flags & 0x1c == 0x08 { 4 } else { 0 };
        let peer_id = PeerId::from(if flags & 0xe0 == 0xe0 { OUR_ID } else { [self.script.u8(); 20] });
        // A peer that calls need not be called any more.
        self.dialled.retain(|(dialled, _)| *dialled != addr);
        let key = PeerKey(self.next_key);
        self.next_key += 1;
        let peer = Peer {
            fast: reserved.has_fast(),
            extensions: reserved.has_extensions(),
            asked: Vec::new(),
            released: Vec::new(),
        };
        self.peers.insert(key, peer);
        let handshake = Handshake { reserved, info_hash: info_hash.into(), peer_id };
        self.handle(Input::PeerConnected { peer: key, addr, direction, handshake, crowd });
    }

    fn some_peer(&mut self) -> Option<PeerKey> {
        let number = self.script.below(self.peers.len());
        self.peers.keys().nth(number).copied()
    }

    fn tell(&mut self, peer: PeerKey, message: Message) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            match message {
                // BEP 6: a reject is the answer to a request; without that extension a choke answers them all.
                Message::Reject { piece, begin, length } if peer.fast => {
                    peer.asked.retain(|asked| *asked != (piece, begin, length));
                }
                Message::Choke if !peer.fast => peer.asked.clear(),
                Message::Piece { piece, begin, ref data } => {
                    peer.asked.retain(|asked| *asked != (piece, begin, data.len() as u32));
                }
                _ => {}
            }
        }
        self.handle(Input::PeerMessage { peer, message });
    }

    /// Any message, its numbers mostly near what makes sense.
    fn message(&mut self) {
        let Some(peer) = self.some_peer() else { return };
        let piece = self.piece();
        let message = match self.script.u8() % 20 {
            0 => Message::KeepAlive,
            1 => Message::Choke,
            2 => Message::Unchoke,
            3 => Message::Interested,
            4 => Message::NotInterested,
            5 | 6 => Message::Have { piece },
            7 => Message::Bitfield(Bytes::copy_from_slice(self.script.short())),
            8 | 9 => {
                let (begin, length) = self.range();
                Message::Request { piece, begin, length }
            }
            10 => {
                let (begin, length) = self.range();
                Message::Piece { piece, begin, data: zeros(length) }
            }
            11 => {
                let (begin, length) = self.range();
                Message::Cancel { piece, begin, length }
            }
            12 => Message::Port(self.script.u16()),
            13 => Message::Suggest { piece },
            14 => Message::HaveAll,
            15 => Message::HaveNone,
            16 => {
                let (begin, length) = self.range();
                Message::Reject { piece, begin, length }
            }
            17 => Message::AllowedFast { piece },
            18 => Message::Extended {
                id: self.script.u8() % 8,
                payload: Bytes::copy_from_slice(self.script.short()),
            },
            _ => match self.script.u32() % 1000 {
                index @ 0..300 => Message::HashRequest(HashRange {
                    pieces_root: [7; 32],
                    base_layer: 0,
                    index,
                    length: 512,
                    proof_layers: 3,
                }),
                length => Message::Unknown { id: 99, length },
            },
        };
        self.tell(peer, message);
    }

    fn piece(&mut self) -> u32 {
        match self.script.u8() {
            255 => self.script.u32(),
            number => u32::from(number) % (self.layout.piece_count() + u32::from(number >= 250)),
        }
    }

    fn range(&mut self) -> (u32, u32) {
        match self.script.u8() {
            255 => (self.script.u32(), self.script.u32()),
            number => (u32::from(number % 8) * 16_384, if number < 250 { 16_384 } else { u32::from(number) }),
        }
    }

    /// A peer answers a request: with the block, or in ways it should not.
    fn answer_request(&mut self, way: u8) {
        let Some(key) = self.some_peer() else { return };
        let peer = self.peers.get_mut(&key).expect("it was just found");
        if peer.asked.is_empty() {
            return;
        }
        let at = if way == 1 { peer.asked.len() - 1 } else { 0 };
        let (piece, begin, length) = peer.asked[at];
        if way == 2 {
            return self.tell(key, Message::Reject { piece, begin, length });
        }
        if way == 3 && !self.script.u8().is_multiple_of(4) {
            let length = u32::from(self.script.u16());
            return self.tell(key, Message::Piece { piece, begin, data: zeros(length) });
        }
        peer.asked.remove(at);
        self.tell(key, Message::Piece { piece, begin, data: zeros(length) });
    }

    /// The disk answers: the hash matched or did not.
    fn finish_piece(&mut self) {
        let Some(&piece) = self.verifying.first() else { return };
        self.verifying.remove(&piece);
        self.stored.remove(&piece);
        let blocks = self.layout.piece(piece).map_or(0, |piece| self.layout.block_count(piece));
        let is_compared = self.compared.remove(&piece);
        let (ok, digests) = match self.script.u8() % 8 {
            0 | 1 => (false, (0..blocks).map(u64::from).collect()),
            // A caller that keeps no digests.
            2 => (false, Vec::new()),
            _ if is_compared => {
                let differ = self.script.u8();
                let digest = |block: u32| u64::from(block + 99 * u32::from(differ >> (block % 8) & 1));
                (true, (0..blocks).map(digest).collect())
            }
            _ => (true, Vec::new()),
        };
        if ok {
            self.have.insert(piece);
        }
        self.handle(Input::PieceVerified { piece, ok, digests });
    }

    fn report_sent(&mut self) {
        let Some(key) = self.some_peer() else { return };
        let peer = self.peers.get_mut(&key).expect("it was just found");
        let count = usize::from(self.script.u8());
        if 128 <= count && !peer.released.is_empty() {
            let block = peer.released.remove(0);
            let (fast, piece, begin, length) =
                (peer.fast, block.piece().get(), block.begin(), block.length());
            self.rejected = None;
            self.handle(Input::BlockUnreadable { peer: key, piece, begin, length });
            let expected = fast.then_some((key, piece, begin, length));
            return assert_eq!(self.rejected, expected, "every request has one answer");
        }
        let count = count.min(peer.released.len());
        let bytes = peer.released.drain(..count).map(|block| u64::from(block.length())).sum();
        self.handle(Input::BlocksSent { peer: key, blocks: count as u32, bytes });
    }

    fn hang_up(&mut self) {
        if let Some(peer) = self.some_peer() {
            self.peers.remove(&peer);
            self.handle(Input::PeerDisconnected { peer });
        }
    }

    fn limits(&mut self) {
        let (peers_max, half_open_max) = (self.script.below(8), self.script.below(5));
        // What is open stays open when there is nothing against it.
        self.peers_max = self.peers_max.max(peers_max);
        self.half_open_max = self.half_open_max.max(half_open_max);
        let (slots, memory) = (self.script.u8(), self.script.u8());
        self.handle(Input::Budget {
            peers_max,
            half_open_max,
            upload_slots: (slots < 128).then_some(usize::from(slots % 8)),
            memory_bytes: u64::from(memory) << 12,
        });
    }

    fn user(&mut self) {
        let piece = self.piece();
        let levels = [Priority::Skip, Priority::Low, Priority::Normal, Priority::High];
        let input = match self.script.u8() % 8 {
            0 => {
                // The dials of a paused torrent are given up on both sides.
                self.dialled.clear();
                Input::Pause
            }
            1 | 2 => Input::Resume,
            3 => {
                let levels = self.script.short().iter().map(|level| levels[usize::from(level % 4)]);
                Input::Priorities { priorities: levels.collect() }
            }
            4 => {
                // One in 256 is beyond the end of time.
                let within = match self.script.u8() {
                    u8::MAX => Duration::MAX,
                    seconds => Duration::from_secs(u64::from(seconds)),
                };
                Input::Deadline { piece, within: Some(within) }
            }
            5 => Input::Deadline { piece, within: None },
            6 => Input::Sequential { sequential: piece.is_multiple_of(2) },
            _ => {
                // An address that turns out to be our own is forgotten, as are those that are banned.
                let own = SocketAddr::new(self.addr().ip(), 6881);
                self.dialled.retain(|(dialled, _)| *dialled != own);
                Input::ExternalAddress { ip: own.ip() }
            }
        };
        self.handle(input);
    }

    fn lose_piece(&mut self) {
        let piece = self.piece();
        self.have.remove(&piece);
        self.handle(Input::PieceLost { piece });
    }

    /// What no careful caller says; it must be of no effect.
    fn nonsense(&mut self) {
        let peer = PeerKey(u64::MAX - u64::from(self.script.u8()));
        let piece = u32::MAX - u32::from(self.script.u8());
        let input = match self.script.u8() % 8 {
            0 => Input::PeerMessage { peer, message: Message::HaveAll },
            1 => Input::PeerDisconnected { peer },
            2 => Input::BlocksSent { peer, blocks: 1, bytes: u64::MAX },
            3 => Input::PieceVerified { piece, ok: true, digests: Vec::new() },
            4 => Input::PieceVerified { piece, ok: false, digests: vec![0, 1, u64::MAX] },
            5 => Input::BlockUnreadable { peer, piece, begin: u32::MAX, length: u32::MAX },
            7 => Input::Ban { addrs: vec![([10, 9, 9, 9], 1).into()] },
            _ => Input::ConnectFailed { addr: ([10, 9, 9, 9], 1).into() },
        };
        self.handle(input);
    }

    fn handle(&mut self, input: Input) {
        self.trace.feed(|recorder| recorder.input(&input, self.now));
        self.swarm.handle(input, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        let mut count = 0;
        while let Some(output) = self.swarm.poll_output() {
            count += 1;
            assert!(count < OUTPUTS_MAX, "no end of outputs");
            format!("{output:?}").hash(&mut self.outputs);
            self.trace.feed(|recorder| recorder.output(&output));
            self.output(output);
        }
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Connect { addr } => {
                // A dial without a report is given up.
                self.dialled.retain(|(_, since)| self.now < *since + DIAL_TIME_MAX);
                assert!(
                    self.dialled.iter().all(|(dialled, _)| *dialled != addr),
                    "{addr} is being dialled already"
                );
                assert!(addr.port() != 0 && !addr.ip().is_multicast() && !addr.ip().is_unspecified());
                self.dialled.push((addr, self.now));
                assert!(self.dialled.len() <= self.half_open_max, "too many connections being opened");
            }
            Output::Send { peer, message } => self.sent(peer, message),
            Output::SendBlock { peer, block } => {
                assert!(self.have.contains(&block.piece().get()), "{block:?} is not ours to send");
                self.peers.get_mut(&peer).expect("a connected peer").released.push(block);
            }
            Output::Disconnect { peer, reason } => {
                assert!(!reason.to_string().is_empty());
                assert!(self.peers.remove(&peer).is_some(), "{peer:?} was gone already");
            }
            Output::StoreBlock { block, data } => {
                let piece = block.piece().get();
                assert_eq!(data.len(), block.length() as usize);
                assert!(!self.verifying.contains(&piece) && !self.have.contains(&piece), "{block:?} is late");
                let is_new = self.stored.entry(piece).or_default().insert(block.begin());
                assert!(is_new, "{block:?} is stored twice");
            }
            Output::VerifyPiece { piece, digests } => {
                if digests {
                    self.compared.insert(piece.get());
                }
                let blocks = self.stored.get(&piece.get()).map_or(0, BTreeSet::len);
                assert_eq!(blocks, self.layout.block_count(piece) as usize, "piece {piece} is not complete");
                assert!(self.verifying.insert(piece.get()), "piece {piece} is being verified already");
            }
            Output::DiscardPiece { piece } => {
                assert!(!self.verifying.contains(&piece.get()), "piece {piece} is being verified");
                self.stored.remove(&piece.get());
            }
            Output::Event(SwarmEvent::Banned { addr, .. }) => {
                self.dialled.retain(|(dialled, _)| dialled.ip() != addr.ip());
            }
            Output::Metadata { .. } => panic!("this machine has the metadata"),
            Output::DhtNode { addr } => assert!(addr.port() != 0),
            Output::WantPeers | Output::SeenAs { .. } | Output::Event(_) => {}
        }
    }

    fn sent(&mut self, key: PeerKey, message: Message) {
        let peer = self.peers.get_mut(&key).expect("a connected peer");
        assert!(peer.fast || !message.is_fast(), "{message:?} to a peer without the fast extension");
        match message {
            Message::Request { piece, begin, length } => {
                let block = self.layout.block(piece, begin, length);
                assert!(block.is_some(), "a request for {length} bytes at {begin} of piece {piece}");
                assert!(
                    !self.have.contains(&piece) && !self.verifying.contains(&piece),
                    "piece {piece} is there"
                );
                assert!(!peer.asked.contains(&(piece, begin, length)), "the same request twice");
                peer.asked.push((piece, begin, length));
            }
            Message::Cancel { piece, begin, length } => {
                peer.asked.retain(|asked| *asked != (piece, begin, length));
            }
            Message::Have { piece } => assert!(self.have.contains(&piece), "piece {piece} is not verified"),
            Message::HaveAll => assert_eq!(self.have.len(), self.layout.piece_count() as usize),
            Message::Bitfield(bits) => {
                let bits = Bitfield::from_wire(&bits, self.layout.piece_count()).expect("a good bitfield");
                assert!(
                    bits.iter_ones().all(|piece| self.have.contains(&piece)),
                    "pieces that are not verified"
                );
            }
            Message::Reject { piece, begin, length } => self.rejected = Some((key, piece, begin, length)),
            Message::Piece { .. } => panic!("payload goes out as `SendBlock`"),
            Message::Extended { .. } => assert!(peer.extensions, "the peer knows no extensions"),
            _ => {}
        }
    }

    /// What holds between inputs.
    fn check(&self) {
        assert!(
            self.swarm.have().iter_ones().eq(self.have.iter().copied()),
            "it has other pieces than were verified"
        );
        let stats = self.swarm.stats();
        assert_eq!(stats.have_pieces as usize, self.have.len());
        assert_eq!(stats.peers, self.peers.len());
        assert!(self.peers.len() <= self.peers_max, "{} connections", self.peers.len());
        assert!(stats.wanted_have_pieces <= stats.wanted_pieces && stats.wasted <= stats.downloaded);
        for peer in self.swarm.peers() {
            assert!(self.peers.contains_key(&peer.peer));
            assert!(peer.pieces <= self.layout.piece_count() && (0.0..=1.0).contains(&peer.progress));
        }
    }
}

fn zeros(length: u32) -> Bytes {
    Bytes::from_static(ZEROS).slice(..ZEROS.len().min(length as usize))
}

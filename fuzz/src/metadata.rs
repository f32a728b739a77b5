//! The search for an info dictionary in a world that does anything: peers that send parts of the true one, of others, or
//! nothing; and the swarm that is handed what was learnt.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferri_metainfo::{Bitfield, Info};
use ferri_swarm::{
    Direction, Input, METADATA_BYTES_MAX, MetadataSwarm, Output, PeerKey, Source, Swarm, SwarmOptions,
};
use ferri_wire::extension::metadata::{Metadata, part_length};
use ferri_wire::extension::{self, HANDSHAKE_ID};
use ferri_wire::{Handshake, Message, PeerId, Reserved};

use crate::script::Script;

const OUR_ID: [u8; 20] = *b"-FS0100-abcdefghijkl";
/// The peers' number for metadata.
const THEIRS: u8 = 3;
/// How long the machine waits for the answer to a dial.
const DIAL_TIME_MAX: Duration = Duration::from_secs(60);
/// Outputs that one input may cause: every peer may be asked for something and hung up on.
const OUTPUTS_MAX: usize = 2_000;

/// Whatever peers do, only the true dictionary is found, and what is handed over is understood.
pub fn metadata_swarm(data: &[u8]) {
    let mut script = Script::new(data);
    let private = script.u8().is_multiple_of(4);
    let info = info(private);
    let mut world = World::new(script, info);
    while !world.script.is_empty() {
        world.step();
        world.check();
    }
    world.hand_over();
}

/// An info dictionary of 1000 pieces: two parts.
fn info(private: bool) -> Bytes {
    let head = b"d6:lengthi16384000e4:name1:x12:piece lengthi16384e6:pieces20000:";
    let tail: &[u8] = if private { b"7:privatei1ee" } else { b"e" };
    [&head[..], &[7; 20_000], tail].concat().into()
}

struct World<'a> {
    script: Script<'a>,
    machine: MetadataSwarm,
    options: SwarmOptions,
    info: Bytes,
    now: Instant,
    /// Connections, and the parts each was asked for and has not answered about.
    peers: BTreeMap<PeerKey, Vec<u32>>,
    sizes: BTreeMap<PeerKey, u32>,
    next_key: u64,
    /// Addresses that are being dialled, and since when.
    dialled: Vec<(SocketAddr, Instant)>,
    found: bool,
}

impl<'a> World<'a> {
    fn new(script: Script<'a>, info: Bytes) -> Self {
        let now = Instant::now();
        let wanted = Info::parse(&info).expect("a good one").info_hashes();
        let mut options = SwarmOptions::new(wanted.wire(), PeerId::from(OUR_ID));
        options.listen_port = Some(6881);
        (options.peers_max, options.half_open_max) = (6, 3);
        let machine = MetadataSwarm::new(options.clone(), wanted, 7, now);
        let (peers, sizes) = (BTreeMap::new(), BTreeMap::new());
        Self {
            script,
            machine,
            options,
            info,
            now,
            peers,
            sizes,
            next_key: 0,
            dialled: Vec::new(),
            found: false,
        }
    }

    fn step(&mut self) {
        match self.script.u8() % 16 {
            0 | 1 => self.sleep(),
            2 => self.find_peers(),
            3 => self.answer_dial(),
            4 | 5 => self.accept(),
            6 | 7 => self.hello(),
            8..=11 => self.answer(),
            12 | 13 => self.message(),
            14 => {
                if let Some(peer) = self.some_peer() {
                    self.peers.remove(&peer);
                    self.handle(Input::PeerDisconnected { peer });
                }
            }
            _ => self.user(),
        }
    }

    fn sleep(&mut self) {
        if let Some(at) = self.machine.poll_timeout() {
            self.now = self.now.max(at);
            self.handle(Input::Timeout);
            let next = self.machine.poll_timeout();
            assert!(next.is_none_or(|next| self.now < next), "it wants to be woken again and again");
        }
    }

    fn find_peers(&mut self) {
        let source = Source::ALL[self.script.below(Source::ALL.len())];
        let addrs = (0..self.script.u8() % 8).map(|_| self.addr()).collect();
        self.handle(Input::PeersFound { source, addrs });
    }

    fn addr(&mut self) -> SocketAddr {
        ([10, 0, 0, self.script.u8()], 6880 + u16::from(self.script.u8() % 4)).into()
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
        if flags & 6 != 6 {
            reserved = reserved.with_extensions();
        }
        self.dialled.retain(|(dialled, _)| *dialled != addr);
        let peer = PeerKey(self.next_key);
        self.next_key += 1;
        self.peers.insert(peer, Vec::new());
        let peer_id = PeerId::from([self.script.u8(); 20]);
        let handshake = Handshake { reserved, info_hash: self.options.info_hash, peer_id };
        self.handle(Input::PeerConnected { peer, addr, direction, handshake, crowd: 0 });
    }

    fn some_peer(&mut self) -> Option<PeerKey> {
        let number = self.script.below(self.peers.len());
        self.peers.keys().nth(number).copied()
    }

    /// A peer says that it has a dictionary, of the true size or another.
    fn hello(&mut self) {
        let Some(peer) = self.some_peer() else { return };
        let size = match self.script.u8() {
            255 => self.script.u32(),
            254 => METADATA_BYTES_MAX,
            other => self.info.len() as u32 + u32::from(other % 4),
        };
        self.sizes.insert(peer, size);
        let m = [("ut_metadata".to_owned(), THEIRS), ("ut_pex".to_owned(), 1)].into();
        let hello = extension::ExtensionHandshake { m, metadata_size: Some(size), ..Default::default() };
        self.tell(peer, Message::Extended { id: HANDSHAKE_ID, payload: hello.encode().into() });
    }

    /// A peer answers a request: truly, with lies, or not.
    fn answer(&mut self) {
        let Some(peer) = self.some_peer() else { return };
        let asked = self.peers.get_mut(&peer).expect("it was just found");
        if asked.is_empty() {
            return;
        }
        let part = asked.remove(0);
        let way = self.script.u8() % 8;
        let total_size = self.sizes.get(&peer).copied().unwrap_or(0);
        let length = part_length(part, total_size).unwrap_or(0) as usize;
        let begin = part as usize * 16_384;
        let data = match self.info.get(begin..begin + length) {
            Some(bytes) if way != 1 => Bytes::copy_from_slice(bytes),
            _ => vec![0; length].into(),
        };
        let message = match way {
            0 => Metadata::Reject { part },
            _ => Metadata::Data { part, total_size, data },
        };
        self.tell(peer, Message::Extended { id: 2, payload: message.encode().into() });
    }

    /// Any message.
    fn message(&mut self) {
        let Some(peer) = self.some_peer() else { return };
        let piece = u32::from(self.script.u16());
        let message = match self.script.u8() % 12 {
            0 => Message::Unchoke,
            1 => Message::Interested,
            2 => Message::Have { piece },
            3 => Message::HaveAll,
            4 => Message::HaveNone,
            5 => Message::Bitfield(vec![self.script.u8(); 125].into()),
            6 => Message::Bitfield(Bytes::copy_from_slice(self.script.short())),
            7 => Message::AllowedFast { piece },
            8 => Message::Request { piece, begin: 0, length: 16_384 },
            9 => Message::Port(self.script.u16()),
            10 => Message::Suggest { piece },
            _ => Message::Extended {
                id: self.script.u8() % 8,
                payload: Bytes::copy_from_slice(self.script.short()),
            },
        };
        self.tell(peer, message);
    }

    fn user(&mut self) {
        let input = match self.script.u8() % 8 {
            0 => {
                self.dialled.clear();
                Input::Pause
            }
            1..=3 => Input::Resume,
            4 => Input::Ban { addrs: vec![self.addr()] },
            5 => Input::PieceVerified { piece: 1, ok: true, digests: Vec::new() },
            6 => Input::ExternalAddress { ip: [10, 0, 0, self.script.u8()].into() },
            _ => Input::Sequential { sequential: true },
        };
        self.handle(input);
    }

    fn tell(&mut self, peer: PeerKey, message: Message) {
        self.handle(Input::PeerMessage { peer, message });
    }

    fn handle(&mut self, input: Input) {
        self.machine.handle(input, self.now);
        let mut count = 0;
        while let Some(output) = self.machine.poll_output() {
            count += 1;
            assert!(count < OUTPUTS_MAX, "no end of outputs");
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
                self.dialled.push((addr, self.now));
            }
            Output::Send { peer, message } => self.sent(peer, &message),
            Output::Disconnect { peer, .. } => {
                assert!(self.peers.remove(&peer).is_some(), "{peer:?} was gone already");
            }
            Output::Metadata { bytes } => {
                assert!(!std::mem::replace(&mut self.found, true), "it is found twice");
                assert_eq!(bytes, self.info);
            }
            Output::DhtNode { addr } => assert!(addr.port() != 0),
            Output::WantPeers | Output::SeenAs { .. } | Output::Event(_) => {}
            other => panic!("there are no pieces: {other:?}"),
        }
    }

    fn sent(&mut self, peer: PeerKey, message: &Message) {
        let asked = self.peers.get_mut(&peer).expect("a connected peer");
        match message {
            Message::Extended { id: THEIRS, payload } => {
                let message = Metadata::decode(payload).expect("a good message").expect("of a known kind");
                if let Metadata::Request { part } = message {
                    asked.push(part);
                }
            }
            Message::Extended { .. } | Message::KeepAlive | Message::Reject { .. } => {}
            other => panic!("{other:?} without knowing the torrent"),
        }
    }

    fn check(&self) {
        let stats = self.machine.stats();
        assert_eq!(stats.peers, self.peers.len());
        assert!(stats.peers <= 6 && stats.parts_had <= stats.parts && stats.size <= METADATA_BYTES_MAX);
        assert!(stats.without <= stats.peers && stats.asked <= stats.peers);
        assert_eq!(self.machine.peers().count(), stats.peers);
    }

    /// The swarm understands what it is told, and knows the peers it should.
    fn hand_over(mut self) {
        let info = Info::parse(&self.info).expect("a good one");
        let handed = self.machine.hand_over(&info);
        for (peer, reason) in handed.disconnects {
            assert!(info.is_private() && !reason.to_string().is_empty());
            assert!(self.peers.remove(&peer).is_some());
        }
        self.options.private = info.is_private();
        let have = Bitfield::new(info.layout().piece_count());
        let mut swarm = Swarm::new(self.options, info.layout().clone(), have, 1, self.now);
        for input in handed.inputs {
            if let Input::PeerConnected { peer, .. } = &input {
                assert!(self.peers.contains_key(peer), "{peer:?} was gone");
            }
            swarm.handle(input, self.now);
            while let Some(output) = swarm.poll_output() {
                match output {
                    Output::Connect { addr } => {
                        let under_way = |(dialled, since): &(SocketAddr, Instant)| {
                            *dialled == addr && self.now < *since + DIAL_TIME_MAX
                        };
                        assert!(!self.dialled.iter().any(under_way), "{addr} is being dialled already");
                    }
                    Output::Disconnect { peer, .. } => drop(self.peers.remove(&peer)),
                    _ => {}
                }
            }
        }
        assert!(swarm.peers().all(|peer| self.peers.contains_key(&peer.peer)));
        assert_eq!(swarm.stats().peers, self.peers.len());
        swarm.handle(Input::Timeout, self.now + Duration::from_secs(1));
    }
}

//! uTP: its packets, and two machines with a network between them that does what the bytes say.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ferri_utp::packet::{HEADER_LEN, Packet};
use ferri_utp::{CloseReason, ConnectionKey, Input, Multiplexer, Options, Output};

use crate::script::Script;

/// Datagrams under way. More are lost.
const UNDER_WAY_MAX: usize = 64;
/// Bytes of the buffers of each connection.
const BUFFER: usize = 4 << 10;
/// Connections of each machine.
const CONNECTIONS_MAX: usize = 4;

/// How often a machine has something to do at one moment, at most.
const WAKES_MAX: usize = 10;

/// A datagram, read as a packet. The payload is the end of it, the mask ascends, and what is written again is read as the
/// same.
pub fn utp_packet(data: &[u8]) {
    let Ok(packet) = Packet::decode(data) else { return };
    assert!(HEADER_LEN <= data.len() && data.ends_with(packet.payload));
    let mut bytes = Vec::new();
    if let Some(mask) = packet.selective_ack {
        let offsets: Vec<u16> = mask.offsets().collect();
        assert!(offsets.is_sorted() && offsets.iter().all(|offset| 2 <= *offset && *offset < 2 + 8 * 255));
        let mut bits = vec![0; 252];
        let within = || offsets.iter().map(|offset| usize::from(offset - 2)).filter(|bit| bit / 8 < 252);
        within().for_each(|bit| bits[bit / 8] |= 1 << (bit % 8));
        packet.header.write_selective(&bits, &mut bytes);
        let again = Packet::decode(&bytes).expect("what we write is a packet");
        let offsets_again =
            again.selective_ack.into_iter().flat_map(|mask| mask.offsets().collect::<Vec<_>>());
        assert!(offsets_again.map(|offset| usize::from(offset - 2)).eq(within()));
    } else {
        packet.header.write(&mut bytes);
        bytes.extend_from_slice(packet.payload);
        assert_eq!(Packet::decode(&bytes), Ok(packet));
    }
}

/// Two machines. What is read is the beginning of what was written, unless strangers were let in; then nothing panics, and
/// bounds hold. A machine without connections sends no more than it was sent. It sleeps when there is nothing to do. At the
/// end the network is kind, and connections come to theirs.
pub fn utp_stream(data: &[u8]) {
    let mut script = Script::new(data);
    let flags = script.u8();
    let now = Instant::now();
    let options = Options {
        connections_max: CONNECTIONS_MAX,
        receive_buffer: BUFFER,
        send_buffer: BUFFER,
        datagram_max_v4: if flags & 1 == 0 { 1_472 } else { 100 },
        run_max: 3,
        ..Options::default()
    };
    let machine = |seed| Multiplexer::new(options.clone(), [seed; 32], now);
    let mut world = World {
        machines: [machine(1), machine(2)],
        sides: [Side::default(), Side::default()],
        under_way: Vec::new(),
        now,
        is_hostile: flags & 2 != 0,
        came: [0; 2],
        left: [0; 2],
        buffer: Vec::new(),
    };
    let to = addr(1);
    world.sides[0].key = world.machines[0].connect(to, now).ok();
    while !script.is_empty() {
        world.step(&mut script);
        world.drain();
    }
    world.end();
}

/// One end of the connection that is watched.
#[derive(Debug, Default)]
struct Side {
    key: Option<ConnectionKey>,
    written: u64,
    read: u64,
    closed: Option<CloseReason>,
    /// Its user left or broke it off.
    left: bool,
}

#[derive(Debug)]
struct World {
    machines: [Multiplexer; 2],
    sides: [Side; 2],
    /// Who it goes to, and what it is.
    under_way: Vec<(usize, Vec<u8>)>,
    now: Instant,
    /// Strangers send, too, and change what others send.
    is_hostile: bool,
    came: [usize; 2],
    left: [usize; 2],
    buffer: Vec<u8>,
}

fn addr(machine: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, machine as u8], 6_881))
}

fn byte(side: usize, at: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8 ^ side as u8
}

impl World {
    fn step(&mut self, script: &mut Script<'_>) {
        let action = script.u8();
        let at = usize::from(action >> 7);
        let which = script.below(self.under_way.len());
        match action & 0x0f {
            0..=4 => self.deliver(which),
            5 if !self.under_way.is_empty() => drop(self.under_way.swap_remove(which)),
            6 if !self.under_way.is_empty() => self.under_way.push(self.under_way[which].clone()),
            7 if self.is_hostile && !self.under_way.is_empty() => {
                let place = script.below(self.under_way[which].1.len());
                self.under_way[which].1[place] ^= script.u8();
            }
            8 if self.is_hostile => self.arrive(at, script.short()),
            9 => self.sleep(Duration::from_millis(u64::from(script.u8()))),
            10 => self.sleep(Duration::from_millis(100 * u64::from(script.u8()))),
            11 => self.write(at, u64::from(script.u16()) % 3_000),
            12 => self.read(at, usize::from(script.u16()) % 3_000),
            13 => self.finish(at),
            14 => self.leave(at, script.u8()),
            15 => {
                let length = usize::from(script.u16());
                self.machines[at].handle(Input::TooLong { to: addr(1 - at), length }, self.now);
            }
            _ => self.deliver(which),
        }
    }

    fn deliver(&mut self, which: usize) {
        if !self.under_way.is_empty() {
            let (to, bytes) = self.under_way.remove(which);
            self.arrive(to, &bytes);
        }
    }

    fn arrive(&mut self, to: usize, bytes: &[u8]) {
        self.came[to] += bytes.len();
        self.machines[to].handle(Input::Datagram { from: addr(1 - to), bytes }, self.now);
    }

    fn sleep(&mut self, time: Duration) {
        self.now += time;
        for machine in 0..2 {
            for wakes in 0.. {
                assert!(wakes < WAKES_MAX, "it wants to be woken again and again");
                if self.machines[machine].poll_timeout().is_none_or(|due| self.now < due) {
                    break;
                }
                self.machines[machine].handle(Input::Timeout, self.now);
                self.drain();
            }
        }
    }

    fn write(&mut self, at: usize, count: u64) {
        let Some(key) = self.key(at) else { return };
        let from = self.sides[at].written;
        let bytes: Vec<u8> = (from..from + count).map(|place| byte(at, place)).collect();
        self.sides[at].written += self.machines[at].write(key, &bytes, self.now) as u64;
        assert!(self.machines[at].room(key) <= BUFFER);
    }

    fn read(&mut self, at: usize, count: usize) {
        let Some(key) = self.key(at) else { return };
        let mut bytes = vec![0; count.max(1)];
        let count = self.machines[at].read(key, &mut bytes, self.now).unwrap_or(0);
        if !self.is_hostile {
            let from = self.sides[at].read;
            let expected = (from..).take(count).map(|place| byte(1 - at, place));
            assert!(expected.eq(bytes[..count].iter().copied()), "what is read was never written");
        }
        self.sides[at].read += count as u64;
        let (front, back) = self.machines[at].peek(key);
        // One packet that is longer than the buffer, in addition.
        assert!(front.len() + back.len() <= BUFFER + (64 << 10));
    }

    fn finish(&mut self, at: usize) {
        if let Some(key) = self.key(at) {
            self.machines[at].finish(key, self.now);
            // What is written from here on is refused.
            assert_eq!(self.machines[at].write(key, b"x", self.now), 0);
        }
    }

    fn leave(&mut self, at: usize, how: u8) {
        let Some(key) = self.key(at) else { return };
        self.sides[at].left = true;
        if how & 1 == 0 {
            self.machines[at].close(key, self.now)
        } else {
            self.machines[at].reset(key, self.now)
        }
        assert_eq!(self.machines[at].status(key), None);
        assert_eq!(self.machines[at].read(key, &mut [0; 9], self.now), Some(0));
    }

    fn key(&self, at: usize) -> Option<ConnectionKey> {
        self.sides[at].key.filter(|_| self.sides[at].closed.is_none() && !self.sides[at].left)
    }

    fn drain(&mut self) {
        for from in 0..2 {
            while let Some(transmit) = self.machines[from].poll_transmit(&mut self.buffer, self.now) {
                assert!(!self.buffer.is_empty() && 0 < transmit.segment && transmit.segment <= 1_472);
                assert_eq!(transmit.to, addr(1 - from));
                let datagrams = self.buffer.chunks(transmit.segment);
                assert!(datagrams.len() <= 3);
                for datagram in datagrams {
                    assert!(Packet::decode(datagram).is_ok());
                    self.left[from] += datagram.len();
                    if self.under_way.len() < UNDER_WAY_MAX {
                        self.under_way.push((1 - from, datagram.to_vec()));
                    }
                }
            }
            if self.machines[from].is_empty() && self.sides[from].key.is_none() {
                assert!(self.left[from] <= self.came[from], "a stranger gets more than it sent");
            }
            assert!(self.machines[from].len() <= CONNECTIONS_MAX);
            while let Some(output) = self.machines[from].poll_output() {
                self.hear(from, output);
            }
        }
    }

    fn hear(&mut self, at: usize, output: Output) {
        let side = &mut self.sides[at];
        match output {
            Output::Accepted { key, from } => {
                assert_eq!(from, addr(1 - at));
                // A packet that was late can begin a connection again; its user does not want it.
                if *side.key.get_or_insert(key) != key {
                    self.machines[at].close(key, self.now);
                }
            }
            Output::Closed { key, reason } if side.key == Some(key) => {
                assert!(side.closed.is_none() && !side.left, "a key that is void is told of");
                side.closed = Some(reason);
            }
            Output::Connected { key } | Output::Readable { key } | Output::Writable { key } => {
                assert!(side.key != Some(key) || (side.closed.is_none() && !side.left));
            }
            Output::Closed { .. } => {}
        }
    }

    /// From here on nothing is lost, and both sides finish and read.
    fn end(&mut self) {
        for _ in 0..2_000 {
            for at in 0..2 {
                self.finish(at);
                self.read(at, 3_000);
            }
            self.drain();
            if self.under_way.is_empty() {
                self.sleep(Duration::from_millis(500));
            } else {
                self.now += Duration::from_millis(1);
                self.deliver(0);
            }
            self.drain();
        }
        if !self.is_hostile {
            assert!(self.machines.iter().all(Multiplexer::is_empty), "a connection does not end");
            if self.sides.iter().all(|side| side.closed == Some(CloseReason::Finished)) {
                assert_eq!(self.sides[0].read, self.sides[1].written);
                assert_eq!(self.sides[1].read, self.sides[0].written);
            }
        }
    }
}

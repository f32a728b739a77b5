//! A user of a connection: writes bytes that can be foretold, and looks whether what it reads is what was written.

use std::time::Duration;

use ferri_utp::{CloseReason, ConnectionKey, Output};

use crate::network::Network;

/// What one side of a connection does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// Bytes to write, and then the end.
    pub(crate) bytes: u64,
    /// Bytes of one write.
    pub(crate) write: u64,
    /// Bytes that are read at once, and how often nothing is read at all.
    pub(crate) read: u64,
    pub(crate) lazy: f64,
}

impl Plan {
    pub(crate) fn bytes(bytes: u64) -> Self {
        Self { bytes, write: 16 << 10, read: 64 << 10, lazy: 0.0 }
    }
}

/// One side of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    pub(crate) host: usize,
    pub(crate) key: Option<ConnectionKey>,
    plan: Plan,
    pub(crate) written: u64,
    pub(crate) read: u64,
    finished: bool,
    /// The last write was not taken whole.
    is_refused: bool,
    /// The end of the peer's stream was read.
    pub(crate) ended: bool,
    pub(crate) closed: Option<CloseReason>,
    /// Bytes to write, or that were read.
    scratch: Vec<u8>,
}

impl Side {
    pub(crate) fn new(host: usize, plan: Plan) -> Self {
        Self {
            host,
            key: None,
            plan,
            written: 0,
            read: 0,
            finished: false,
            is_refused: false,
            ended: false,
            closed: None,
            scratch: Vec::new(),
        }
    }

    /// Writes and reads what can be written and read. Whether it read or wrote anything.
    pub(crate) fn act(&mut self, network: &mut Network) -> bool {
        let Some(key) = self.key.filter(|_| self.closed.is_none()) else { return false };
        let now = network.now();
        let before = self.written + self.read;
        while self.written < self.plan.bytes {
            let count = self.plan.write.min(self.plan.bytes - self.written);
            if network.hosts[self.host].utp.room(key) == 0 && self.is_refused {
                break;
            }
            self.scratch.clear();
            self.scratch.extend((self.written..self.written + count).map(|at| byte(self.host, at)));
            let taken = network.hosts[self.host].utp.write(key, &self.scratch, now) as u64;
            self.written += taken;
            self.is_refused = taken < count;
            if self.is_refused {
                break;
            }
        }
        if self.written == self.plan.bytes && !self.finished {
            self.finished = true;
            network.hosts[self.host].utp.finish(key, now);
        }
        if network.chance.happens(self.plan.lazy) {
            return true;
        }
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.resize(self.plan.read as usize, 0);
        match network.hosts[self.host].utp.read(key, &mut bytes, now) {
            Some(0) => self.ended = true,
            Some(count) => {
                for (at, found) in (self.read..).zip(&bytes[..count]) {
                    assert_eq!(*found, byte(1 - self.host, at), "byte {at} read by host {}", self.host);
                }
                self.read += count as u64;
            }
            None => {}
        }
        self.scratch = bytes;
        before != self.written + self.read
    }

    fn hear(&mut self, output: Output) {
        if let Output::Closed { key, reason } = output
            && self.key == Some(key)
        {
            self.closed = Some(reason);
            self.ended |= reason == CloseReason::Finished;
        }
    }
}

/// The byte that a host writes at this place.
fn byte(host: usize, at: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8 ^ host as u8
}

/// A connection from host 0 to host 1, both sides.
pub(crate) fn pair(plans: [Plan; 2], network: &mut Network) -> [Side; 2] {
    let [ours, theirs] = plans;
    let mut sides = [Side::new(0, ours), Side::new(1, theirs)];
    let to = network.hosts[1].addr;
    let now = network.now();
    sides[0].key = Some(network.hosts[0].utp.connect(to, now).expect("there is room"));
    sides
}

/// Lets both sides act until both are closed, or `limit` is reached.
pub(crate) fn run(sides: &mut [Side; 2], network: &mut Network, limit: Duration) {
    loop {
        hear(std::slice::from_mut(sides), network);
        if limit <= network.elapsed() || sides.iter().all(|side| side.closed.is_some()) {
            return;
        }
        let acted = sides.iter_mut().map(|side| side.act(network)).fold(false, |any, acted| any | acted);
        // A lazy reader comes back after a while without having been told of anything new.
        let pause = network.elapsed() + Duration::from_millis(20);
        network.step(if acted { limit.min(pause) } else { limit });
    }
}

/// Tells the sides of all connections what their hosts said. Those that were accepted come in the order of the calls.
pub(crate) fn hear(pairs: &mut [[Side; 2]], network: &mut Network) {
    for host in 0..2 {
        for output in std::mem::take(&mut network.hosts[host].outputs) {
            let mut sides = pairs.iter_mut().flatten().filter(|side| side.host == host);
            if let Output::Accepted { key, .. } = output {
                if let Some(side) = sides.find(|side| side.key.is_none()) {
                    side.key = Some(key);
                }
            } else {
                sides.for_each(|side| side.hear(output));
            }
        }
    }
}

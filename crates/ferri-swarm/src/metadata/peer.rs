//! A peer of a swarm without metadata: what it said about its pieces, kept until the number of pieces is known.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferri_metainfo::limits::PIECES_MAX;
use ferri_wire::{BITFIELD_BYTES_MAX, Handshake, Message, extension};

use crate::input::{Direction, Source};
use crate::rate::Bucket;
use crate::reason::Misbehavior;

/// Pieces that are remembered which a peer lets us ask for while choked, and which it suggests (BEP 6). Real sets have ten.
const HINTS_MAX: usize = 64;
/// Requests to one peer that are not answered: programs that serve metadata refuse floods.
const REQUESTS_MAX: usize = 4;
/// Requests that are not waited for any more, and whose answers are still no fault.
const LATE_MAX: usize = 16;
/// A part that has not come for so long is asked of another peer.
const PART_TIMEOUT: Duration = Duration::from_secs(10);
/// A peer that rejected a part or let us wait is not asked for so long, twice as long each time.
const PAUSE_FIRST: Duration = Duration::from_secs(2);
/// And no longer than this.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// A request for a part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) size: u32,
    pub(crate) part: u32,
    at: Instant,
}

/// What we know of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) addr: SocketAddr,
    pub(crate) direction: Direction,
    pub(crate) source: Source,
    pub(crate) handshake: Handshake,
    pub(crate) connected: Instant,
    pub(crate) last_received: Instant,
    pub(crate) last_sent: Instant,
    /// Its extension handshakes, taken together. `None`: there was none.
    pub(crate) extension: Option<extension::ExtensionHandshake>,
    pub(crate) listens: Option<SocketAddr>,
    /// When the last part came.
    pub(crate) gave_at: Option<Instant>,
    pub(crate) seen_as: bool,
    pub(crate) dht_port: Option<u16>,
    pub(crate) kept: Kept,
    pub(crate) asked: Vec<Asked>,
    late: Vec<Asked>,
    /// Not asked before.
    pub(crate) rests_until: Instant,
    /// Rejects and silences since the last part.
    pub(crate) failures: u32,
    /// The failures were rejects.
    pub(crate) rejects: bool,
    /// Messages without effect.
    pub(crate) control: Bucket,
    pub(crate) extensions: Bucket,
    pub(crate) pex: Bucket,
}

/// What it said about pieces and choking.
#[derive(Debug)]
pub(crate) struct Kept {
    first: First,
    /// The pieces it has, one bit each. As long as the last one needs, 256 KiB at most.
    bits: Vec<u8>,
    choking: bool,
    interested: bool,
    allowed: Vec<u32>,
    suggested: Vec<u32>,
    bitfields: Bucket,
    haves: Bucket,
}

/// Its first word about its pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    /// None so far.
    Due,
    /// There was none before something else.
    Missed,
    All,
    None,
    /// A bitfield of so many bytes.
    Bits(usize),
}

impl Peer {
    pub(crate) fn new(
        addr: SocketAddr,
        direction: Direction,
        source: Source,
        handshake: Handshake,
        now: Instant,
    ) -> Self {
        Self {
            addr,
            direction,
            source,
            handshake,
            connected: now,
            last_received: now,
            last_sent: now,
            extension: None,
            listens: None,
            gave_at: None,
            seen_as: false,
            dht_port: None,
            kept: Kept::new(now),
            asked: Vec::new(),
            late: Vec::new(),
            rests_until: now,
            failures: 0,
            rejects: false,
            control: Bucket::new(300, 2, now),
            // The parts we ask for are paid for by our asking.
            extensions: Bucket::new(100, 2, now),
            pex: Bucket::slow(4, 30, now),
        }
    }

    /// Where it can be dialled: also what it is known by when it is gone.
    pub(crate) fn dial_addr(&self) -> SocketAddr {
        self.listens.unwrap_or(self.addr)
    }

    /// The size of the dictionary, in its words, if it serves parts of it and the size is not beyond reason.
    pub(crate) fn claim(&self) -> Option<u32> {
        let extension = self.extension.as_ref()?;
        extension.id(extension::UT_METADATA)?;
        extension.metadata_size.filter(|size| (1..=super::METADATA_BYTES_MAX).contains(size))
    }

    /// How many more requests it may get.
    pub(crate) fn room(&self, now: Instant) -> usize {
        if now < self.rests_until { 0 } else { REQUESTS_MAX.saturating_sub(self.asked.len()) }
    }

    pub(crate) fn ask(&mut self, size: u32, part: u32, now: Instant) {
        self.asked.push(Asked { size, part, at: now });
    }

    /// The request that an answer about `part` belongs to; it is answered now. Of a part that is not waited for any
    /// more, `None` inside.
    pub(crate) fn answered(&mut self, part: u32) -> Option<(u32, bool)> {
        if let Some(at) = self.asked.iter().position(|asked| asked.part == part) {
            return Some((self.asked.remove(at).size, true));
        }
        let at = self.late.iter().position(|late| late.part == part)?;
        Some((self.late.remove(at).size, false))
    }

    /// Takes back the requests that were not answered in time.
    pub(crate) fn overdue(&mut self, now: Instant) -> Vec<Asked> {
        let is_late = |asked: &Asked| PART_TIMEOUT <= now.saturating_duration_since(asked.at);
        let (late, waiting): (Vec<_>, Vec<_>) = self.asked.drain(..).partition(is_late);
        self.asked = waiting;
        if !late.is_empty() {
            self.failed(now);
            self.rejects = false;
        }
        self.no_longer(&late);
        late
    }

    /// Takes back all requests.
    pub(crate) fn take_back(&mut self) -> Vec<Asked> {
        let all = std::mem::take(&mut self.asked);
        self.no_longer(&all);
        all
    }

    fn no_longer(&mut self, asked: &[Asked]) {
        self.late.extend(asked);
        let beyond = self.late.len().saturating_sub(LATE_MAX);
        self.late.drain(..beyond);
    }

    /// It rejected a part, or let us wait. What was asked at the same time counts once.
    pub(crate) fn failed(&mut self, now: Instant) {
        if now < self.rests_until {
            return;
        }
        let pause = PAUSE_FIRST.saturating_mul(2u32.saturating_pow(self.failures)).min(PAUSE_MAX);
        self.failures += 1;
        self.rests_until = now + pause;
    }

    /// Everything it said that concerns pieces, in an order in which it could have been said.
    pub(crate) fn retell(mut self, pieces: u32) -> Vec<Message> {
        let mut messages = Vec::new();
        if let Some(mut extension) = self.extension.take() {
            if self.seen_as {
                // That vote was counted.
                extension.yourip = None;
            }
            let payload = Bytes::from(extension.encode());
            messages.push(Message::Extended { id: extension::HANDSHAKE_ID, payload });
        }
        self.kept.retell(pieces, &mut messages);
        messages
    }
}

impl Kept {
    fn new(now: Instant) -> Self {
        Self {
            first: First::Due,
            bits: Vec::new(),
            choking: true,
            interested: false,
            allowed: Vec::new(),
            suggested: Vec::new(),
            bitfields: Bucket::new(64, 1, now),
            haves: Bucket::new(500, 5, now),
        }
    }

    pub(crate) fn choking(&self) -> bool {
        self.choking
    }

    pub(crate) fn interested(&self) -> bool {
        self.interested
    }

    /// Pieces it has, as far as that can be counted without knowing how many there are.
    pub(crate) fn count(&self) -> u32 {
        self.bits.iter().map(|byte| byte.count_ones()).sum()
    }

    /// It has everything.
    pub(crate) fn is_seed(&self) -> bool {
        self.first == First::All
    }

    /// Takes note of a message about pieces, choking or interest; other messages are not its business.
    ///
    /// # Errors
    /// The peer may not say that.
    pub(crate) fn hear(&mut self, message: &Message, now: Instant) -> Result<(), Misbehavior> {
        match message {
            Message::Choke => self.choking = true,
            Message::Unchoke => self.choking = false,
            Message::Interested => self.interested = true,
            Message::NotInterested => self.interested = false,
            Message::Have { piece } => return self.have(*piece, now),
            Message::Bitfield(bits) => return self.bitfield(bits, now),
            Message::HaveAll => return self.first(First::All),
            Message::HaveNone => return self.first(First::None),
            Message::AllowedFast { piece } => keep(&mut self.allowed, *piece)?,
            Message::Suggest { piece } => keep(&mut self.suggested, *piece)?,
            _ => {}
        }
        Ok(())
    }

    /// It no longer has a piece (BEP 54).
    pub(crate) fn lost(&mut self, piece: u32) {
        // Of a peer that came with everything it is not kept: its reject will tell.
        if let Some(byte) = self.bits.get_mut(piece as usize / 8) {
            *byte &= !(0x80 >> (piece % 8));
        }
    }

    fn first(&mut self, first: First) -> Result<(), Misbehavior> {
        if self.first != First::Due {
            return Err(Misbehavior::LateBitfield);
        }
        self.first = first;
        Ok(())
    }

    fn have(&mut self, piece: u32, now: Instant) -> Result<(), Misbehavior> {
        if PIECES_MAX <= piece {
            return Err(Misbehavior::NoSuchPiece { piece });
        }
        if self.first == First::Due {
            self.first = First::Missed;
        }
        let (at, bit) = (piece as usize / 8, 0x80 >> (piece % 8));
        if self.is_seed() || self.bits.get(at).is_some_and(|byte| byte & bit != 0) {
            return if self.haves.take(now) { Ok(()) } else { Err(Misbehavior::HaveFlood) };
        }
        if self.bits.len() <= at {
            self.bits.resize(at + 1, 0);
        }
        self.bits[at] |= bit;
        Ok(())
    }

    fn bitfield(&mut self, bits: &[u8], now: Instant) -> Result<(), Misbehavior> {
        if (BITFIELD_BYTES_MAX as usize) < bits.len() {
            return Err(Misbehavior::BadBitfield);
        }
        if self.first == First::Due {
            self.first = First::Bits(bits.len());
            self.bits = bits.to_vec();
            return Ok(());
        }
        if !self.bitfields.take(now) {
            return Err(Misbehavior::LateBitfield);
        }
        if self.bits.len() < bits.len() {
            self.bits.resize(bits.len(), 0);
        }
        self.bits.iter_mut().zip(bits).for_each(|(old, new)| *old |= new);
        Ok(())
    }

    /// Says it again. What does not fit a torrent of so many pieces is said as it was, to be found out there.
    fn retell(mut self, pieces: u32, messages: &mut Vec<Message>) {
        let expected = pieces.div_ceil(8) as usize;
        let last = self.bits.iter().rposition(|byte| *byte != 0);
        match self.first {
            First::All => messages.push(Message::HaveAll),
            First::Bits(length) if length != expected => {
                self.bits.resize(length, 0);
                messages.push(Message::Bitfield(self.bits.into()));
            }
            _ if last.is_some_and(|last| expected <= last) => {
                let piece = last.map_or(0, |last| last as u32 * 8 + self.bits[last].leading_zeros());
                messages.push(Message::Have { piece });
            }
            First::None if last.is_none() => messages.push(Message::HaveNone),
            _ if last.is_none() => {}
            _ => {
                self.bits.resize(expected, 0);
                messages.push(Message::Bitfield(self.bits.into()));
            }
        }
        messages.extend(self.allowed.iter().map(|piece| Message::AllowedFast { piece: *piece }));
        messages.extend(self.suggested.iter().map(|piece| Message::Suggest { piece: *piece }));
        messages.extend((!self.choking).then_some(Message::Unchoke));
        messages.extend(self.interested.then_some(Message::Interested));
    }
}

fn keep(list: &mut Vec<u32>, piece: u32) -> Result<(), Misbehavior> {
    if PIECES_MAX <= piece {
        return Err(Misbehavior::NoSuchPiece { piece });
    }
    if list.len() < HINTS_MAX && !list.contains(&piece) {
        list.push(piece);
    }
    Ok(())
}

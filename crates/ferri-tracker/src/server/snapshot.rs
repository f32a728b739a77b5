//! The registry as bytes, so that a restart loses no peer. Made and read in pieces of bounded size; writing them to a
//! file is the caller's business.
//!
//! A snapshot is a head and chunks. The head is the magic, a version, the second of its making, the secret of the
//! connection ids of UDP and that of the hashes that users are known by; a peer of a user has such a hash, and no
//! passkey is in it. Each chunk has a length, a checksum and some swarms; an empty one ends it. Ages are kept, and the
//! time until it is read is added to them: a peer that was silent for too long by then is left out.

use std::net::SocketAddr;
use std::time::Instant;

use ferri_metainfo::InfoHash;

use super::clock::Moment;
use super::group::{Compact, Has, Marks, Peer};
use super::registry::{Registry, UsersSecret};
use super::swarm::{Known, Swarm};
use super::udp::CONNECTION_SECONDS;
use crate::siphash::siphash;

const MAGIC: [u8; 8] = *b"ferritrk";
const VERSION: u32 = 3;

/// Without a secret.
const VERSION_1: u32 = 1;

/// Without users and their secret.
const VERSION_2: u32 = 2;

/// Bytes at which a chunk is done. A shard is locked while one is made, for some hundred microseconds; only a single larger
/// swarm makes a larger one.
const CHUNK_BYTES: usize = 256 << 10;

/// Bytes of a chunk that is worth reading: a swarm of 67 million IPv6 peers would not fit, and no machine would hold it.
const CHUNK_BYTES_MAX: usize = 1 << 30;

/// Before a chunk: its length, and the checksum of it.
const CHUNK_HEAD_LENGTH: usize = 4 + 8;

/// A swarm without its peers: info hash, downloads, peers of each family.
const SWARM_HEAD_LENGTH: usize = 20 + 4 + 4 + 4;

/// Beside its address, a peer has seconds of silence, its identity and marks; one of a user has the user's id as well.
const PEER_TAIL_LENGTH: usize = 4 + 4 + 1;

/// Against damage, not against forgery: a program that can write the file can write anything.
const CHECKSUM_KEY: [u8; 16] = *b"tracker snapshot";

const MARK_ENOUGH: u8 = 1;
const MARK_ALL: u8 = 2;
const MARK_COMPLETED: u8 = 4;

/// The id of its user follows.
const MARK_OWNED: u8 = 8;

/// Makes a snapshot, chunk by chunk, while the registry goes on.
#[derive(Debug)]
pub struct Snapshot<'a> {
    registry: &'a Registry,
    now: Moment,
    shard: usize,
    /// Swarms of the shard not written yet. From the end: what goes meanwhile is replaced from the end, so that a swarm may be
    /// written twice and none is left out.
    swarms: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Swarms,
    Ended,
}

impl<'a> Snapshot<'a> {
    /// Begins one: appends its head to `out`. `unix` is the second of the calendar.
    pub fn begin(registry: &'a Registry, now: Instant, unix: u64, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&unix.to_be_bytes());
        out.extend_from_slice(&registry.connections.secret);
        out.extend_from_slice(&registry.users.0);
        Self { registry, now: registry.moment(now), shard: 0, swarms: usize::MAX, state: State::Swarms }
    }

    /// Appends the next chunk to `out`. `false` when there was none left.
    pub fn next_chunk(&mut self, out: &mut Vec<u8>) -> bool {
        if self.state == State::Ended {
            return false;
        }
        let head = out.len();
        out.extend_from_slice(&[0; CHUNK_HEAD_LENGTH]);
        let begin = out.len();
        while out.len() - begin < CHUNK_BYTES && self.shard < self.registry.shards() {
            let shard = self.registry.lock_shard(self.shard);
            self.swarms = self.swarms.min(shard.swarms().len());
            while out.len() - begin < CHUNK_BYTES && 0 < self.swarms {
                self.swarms -= 1;
                encode_swarm(self.registry, &shard.swarms()[self.swarms], self.now, out);
            }
            if self.swarms == 0 {
                (self.shard, self.swarms) = (self.shard + 1, usize::MAX);
            }
        }
        if out.len() == begin {
            self.state = State::Ended;
        }
        let checksum = siphash(&CHECKSUM_KEY, &out[begin..]);
        let length = u32::try_from(out.len() - begin).unwrap_or(u32::MAX);
        out[head..head + 4].copy_from_slice(&length.to_be_bytes());
        out[head + 4..begin].copy_from_slice(&checksum.to_be_bytes());
        true
    }
}

fn encode_swarm(registry: &Registry, swarm: &Swarm, now: Moment, out: &mut Vec<u8>) {
    out.extend_from_slice(swarm.info_hash.as_bytes());
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    for number in [swarm.downloaded(), count(swarm.v4().len()), count(swarm.v6().len())] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    swarm.v4().iter().for_each(|peer| encode_peer(registry, peer, now, out));
    swarm.v6().iter().for_each(|peer| encode_peer(registry, peer, now, out));
}

fn encode_peer<A: Compact>(registry: &Registry, peer: &Peer<A>, now: Moment, out: &mut Vec<u8>) {
    let has = match peer.marks.has() {
        Has::Some => 0,
        Has::Enough => MARK_ENOUGH,
        Has::All => MARK_ALL,
    };
    let completed = if peer.marks.has_completed() { MARK_COMPLETED } else { 0 };
    out.extend_from_slice(peer.addr.bytes());
    out.extend_from_slice(&registry.shared().clock.silence(peer.seen, now).to_be_bytes());
    out.extend_from_slice(&peer.identity.to_be_bytes());
    let user = registry.shared().ledger.id(peer.marks.owner());
    out.push(has | completed | user.map_or(0, |_| MARK_OWNED));
    out.extend(user.into_iter().flat_map(u64::to_be_bytes));
}

/// What was taken from a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Peers that are in the registry.
    pub peers: usize,
    /// Peers that were silent for too long.
    pub silent: usize,
    /// Peers that found no room.
    pub no_room: usize,
}

/// Why a snapshot cannot be used, or not to its end. Chunks before the damage were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// It begins like something else.
    #[error("this is no snapshot of a tracker")]
    NotASnapshot,
    /// Made by a newer program.
    #[error("a newer program wrote it: its version is {0}, and this one reads {VERSION}")]
    Version(u32),
    /// The file was cut.
    #[error("it ends at byte {at}, in the middle")]
    Cut {
        /// Where.
        at: usize,
    },
    /// Bytes are not what was written.
    #[error("damaged between bytes {begin} and {end}")]
    Damaged {
        /// Where the chunk begins.
        begin: usize,
        /// Where it ends.
        end: usize,
    },
}

/// What a snapshot begins with.
struct Head {
    /// The second of the calendar.
    made: u64,
    connections: Option<[u8; 16]>,
    users: Option<[u8; 16]>,
}

impl Head {
    fn take(fields: &mut Fields<'_>) -> Result<Self, SnapshotError> {
        if fields.take() != Some(MAGIC) {
            return Err(SnapshotError::NotASnapshot);
        }
        let cut = SnapshotError::Cut { at: fields.bytes.len() };
        let version = fields.u32().ok_or(cut)?;
        if VERSION < version {
            return Err(SnapshotError::Version(version));
        }
        if version < VERSION_1 {
            return Err(SnapshotError::Damaged { begin: MAGIC.len(), end: fields.at });
        }
        let made = u64::from_be_bytes(fields.take().ok_or(cut)?);
        let connections = if version == VERSION_1 { None } else { Some(fields.take().ok_or(cut)?) };
        let users = if version <= VERSION_2 { None } else { Some(fields.take().ok_or(cut)?) };
        Ok(Self { made, connections, users })
    }
}

/// The secret of the connection ids that the registry of a snapshot gave, if any of them may still be in use. For
/// [`Registry::share_connections`]. `unix` is the second of the calendar.
pub fn connections(bytes: &[u8], unix: u64) -> Option<[u8; 16]> {
    let head = Head::take(&mut Fields { bytes, at: 0 }).ok()?;
    head.connections.filter(|_| unix.abs_diff(head.made) <= CONNECTIONS_KEPT)
}

/// The secret of the hashes that users are known by in a snapshot. For [`Registry::share_users`]. The first [`HEAD_BYTES`] of it will do.
pub fn users(bytes: &[u8]) -> Option<[u8; 16]> {
    Head::take(&mut Fields { bytes, at: 0 }).ok()?.users
}

/// The longest head: magic, version, second and two secrets.
pub const HEAD_BYTES: usize = MAGIC.len() + 4 + 8 + 16 + 16;

/// Beyond this no client has an id any more: it is good for two minutes at most, and snapshots are a minute apart, more
/// when a disk was full.
const CONNECTIONS_KEPT: u64 = 10 * CONNECTION_SECONDS;

/// Takes what a snapshot says into a registry. `unix` is the second of the calendar; the time since the snapshot was
/// made counts as silence of all peers.
///
/// # Errors
/// Where it is damaged. What was whole before that is in the registry, with how much it was.
pub fn restore(
    registry: &Registry,
    bytes: &[u8],
    now: Instant,
    unix: u64,
) -> Result<Restored, (SnapshotError, Restored)> {
    let mut restored = Restored::default();
    restore_into(registry, bytes, now, unix, &mut restored).map_err(|error| (error, restored))?;
    Ok(restored)
}

fn restore_into(
    registry: &Registry,
    bytes: &[u8],
    now: Instant,
    unix: u64,
    restored: &mut Restored,
) -> Result<(), SnapshotError> {
    let mut fields = Fields { bytes, at: 0 };
    let Head { made, users, .. } = Head::take(&mut fields)?;
    let cut = SnapshotError::Cut { at: bytes.len() };
    let off = u32::try_from(unix.saturating_sub(made)).unwrap_or(u32::MAX);
    let origin = Origin { now: registry.moment(now), off, users: users.map(UsersSecret) };
    loop {
        let begin = fields.at;
        let length = fields.u32().ok_or(cut)? as usize;
        let checksum = u64::from_be_bytes(fields.take().ok_or(cut)?);
        if CHUNK_BYTES_MAX < length {
            return Err(SnapshotError::Damaged { begin, end: begin + CHUNK_HEAD_LENGTH });
        }
        let chunk = fields.slice(length).ok_or(cut)?;
        let damaged = SnapshotError::Damaged { begin, end: fields.at };
        if siphash(&CHECKSUM_KEY, chunk) != checksum {
            return Err(damaged);
        }
        if chunk.is_empty() {
            return Ok(());
        }
        let mut swarms = Fields { bytes: chunk, at: 0 };
        while swarms.at < chunk.len() {
            decode_swarm(registry, &mut swarms, origin, restored).ok_or(damaged)?;
        }
    }
}

/// When a snapshot was made, and what its users are known by.
#[derive(Clone, Copy)]
struct Origin {
    /// When it is read.
    now: Moment,
    /// Seconds between the two.
    off: u32,
    users: Option<UsersSecret>,
}

/// `None` when the chunk says something that was never written.
fn decode_swarm(
    registry: &Registry,
    fields: &mut Fields<'_>,
    origin: Origin,
    restored: &mut Restored,
) -> Option<()> {
    let info_hash = InfoHash::from(fields.take::<20>()?);
    let downloaded = fields.u32()?;
    let (v4, v6) = (fields.u32()?, fields.u32()?);
    let mut shard = registry.lock_shard_of(&info_hash);
    let mut put = |addr: SocketAddr, fields: &mut Fields<'_>| {
        let silence = fields.u32()?.saturating_add(origin.off);
        let identity = fields.u32()?;
        let [marks] = fields.take()?;
        let has = match marks & (MARK_ALL | MARK_ENOUGH) {
            0 => Has::Some,
            MARK_ENOUGH => Has::Enough,
            _ => Has::All,
        };
        let fresh = Marks::new(has);
        let fresh = if marks & MARK_COMPLETED == 0 { fresh } else { fresh.completed() };
        let user = if marks & MARK_OWNED == 0 { None } else { Some(u64::from_be_bytes(fields.take()?)) };
        let seen = registry.shared().clock.tick_before(origin.now, silence);
        let Some(seen) = seen else {
            restored.silent += 1;
            return Some(());
        };
        // A hash under another secret stands for no user.
        let user = user.filter(|_| origin.users == Some(registry.users));
        let owner = user.map_or(0, |id| registry.shared().ledger.restore(id, origin.now.seconds));
        let known = Known { seen, identity, marks: fresh.owned_by(owner) };
        let is_in = shard.restore(registry.shared(), info_hash, downloaded, addr, known);
        restored.peers += usize::from(is_in);
        restored.no_room += usize::from(!is_in);
        Some(())
    };
    for _ in 0..v4 {
        let addr = fields.take::<6>()?.addr();
        put(addr, fields)?;
    }
    for _ in 0..v6 {
        let addr = fields.take::<18>()?.addr();
        put(addr, fields)?;
    }
    Some(())
}

/// Takes fields off a snapshot and knows where it is.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let slice = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(slice)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.slice(N)?.first_chunk().copied()
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }
}

const _: () = assert!(SWARM_HEAD_LENGTH + 6 + PEER_TAIL_LENGTH < CHUNK_BYTES);

#[cfg(test)]
mod tests;

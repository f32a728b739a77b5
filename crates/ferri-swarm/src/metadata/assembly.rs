//! Info dictionaries in the making: which parts there are, which peers sent them, which peers are asked for the others.
//!
//! Peers may tell different sizes, and of one size different contents. Each size is put together from the peers that
//! tell it. When the result has the wrong hash and came from several peers, the size is distrusted: from then on each
//! dictionary of it comes from one peer alone, so that the next wrong one proves which peer lies.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ferri_wire::extension::metadata::{part_count, part_length};

use crate::input::PeerKey;

/// Dictionaries that are put together at a time. Each may grow to the size limit, if peers send as much.
pub(crate) const ASSEMBLIES_MAX: usize = 3;
/// For so long an assembly keeps its place, twice as long each time its size gets one; then it makes room for a size
/// that waits. A liar's size delays the others only for a while, and a large one that is true is not given up again and
/// again for new lies.
pub(crate) const LEASE: Duration = Duration::from_secs(30);
/// The longest such time is `LEASE` times two to this power.
const DOUBLINGS_MAX: u32 = 6;
/// Peers that are asked for the same part at a time, once all parts have been asked for: the fastest of them counts.
const ASKED_MAX: u8 = 3;
/// Distrusted sizes that are remembered; there are no more than peers that tell them.
const DISTRUSTED_MAX: usize = 64;

/// One dictionary in the making.
#[derive(Debug)]
pub(crate) struct Assembly {
    size: u32,
    /// The only peer that is asked; any peer that tells this size if `None`.
    only: Option<PeerKey>,
    parts: Vec<Option<Box<[u8]>>>,
    had: u32,
    /// How many peers are being asked for each part.
    asked: Vec<u8>,
    /// Its place is its own until then.
    leased_until: Instant,
    /// Who sent parts, by key and address: the peer may be gone when the hash is known to be wrong.
    senders: BTreeMap<PeerKey, SocketAddr>,
}

/// What a peer says about the size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) peer: PeerKey,
    pub(crate) size: u32,
    /// It can be asked, or is being asked.
    pub(crate) is_awake: bool,
}

/// What became of a part.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Took {
    /// It is kept.
    Part,
    /// It was there, or no peer wants it any more.
    Nothing,
    /// It was the last one.
    All(Whole),
}

/// A dictionary with all its parts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    pub(crate) bytes: Vec<u8>,
    pub(crate) senders: BTreeMap<PeerKey, SocketAddr>,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Assemblies {
    all: Vec<Assembly>,
    distrusted: BTreeSet<u32>,
    /// How often each waiting size has had a place: those that had none come first.
    turns: BTreeMap<u32, u32>,
}

impl Assembly {
    fn new(size: u32, only: Option<PeerKey>, leased_until: Instant) -> Self {
        let count = part_count(size) as usize;
        Self {
            size,
            only,
            parts: std::iter::repeat_with(|| None).take(count).collect(),
            had: 0,
            asked: vec![0; count],
            leased_until,
            senders: BTreeMap::new(),
        }
    }

    fn is_for(&self, peer: PeerKey, size: u32) -> bool {
        self.size == size && self.only.is_none_or(|only| only == peer)
    }
}

impl Assemblies {
    /// The part to ask this peer for, which tells this size and has not been asked for those in `mine`.
    pub(crate) fn ask(&mut self, peer: PeerKey, size: u32, mine: &[u32]) -> Option<u32> {
        let assembly = self.of(peer, size)?;
        let missing = |part: &usize| assembly.parts[*part].is_none() && !mine.contains(&(*part as u32));
        let part = (0..assembly.parts.len()).filter(missing).min_by_key(|part| assembly.asked[*part])?;
        if ASKED_MAX <= assembly.asked[part] {
            return None;
        }
        assembly.asked[part] += 1;
        Some(part as u32)
    }

    /// The peer will not answer, or is no longer waited for.
    pub(crate) fn give_back(&mut self, peer: PeerKey, size: u32, part: u32) {
        if let Some(assembly) = self.of(peer, size)
            && let Some(asked) = assembly.asked.get_mut(part as usize)
        {
            *asked = asked.saturating_sub(1);
        }
    }

    /// A part that this peer was asked for arrived. Its length is right for its size.
    pub(crate) fn take(
        &mut self,
        peer: PeerKey,
        addr: SocketAddr,
        size: u32,
        part: u32,
        data: &[u8],
    ) -> Took {
        let Some(at) = self.all.iter().position(|assembly| assembly.is_for(peer, size)) else {
            return Took::Nothing;
        };
        let assembly = &mut self.all[at];
        let Some(place) = assembly.parts.get_mut(part as usize).filter(|place| place.is_none()) else {
            return Took::Nothing;
        };
        debug_assert_eq!(part_length(part, size), Some(data.len() as u32));
        // A copy: what it would share is a whole buffer of the connection.
        *place = Some(data.into());
        assembly.had += 1;
        assembly.senders.insert(peer, addr);
        if (assembly.had as usize) < assembly.parts.len() {
            return Took::Part;
        }
        let assembly = self.all.swap_remove(at);
        let mut bytes = Vec::with_capacity(size as usize);
        assembly.parts.iter().flatten().for_each(|part| bytes.extend_from_slice(part));
        Took::All(Whole { bytes, senders: assembly.senders })
    }

    /// A dictionary of this size and of several senders had the wrong hash.
    pub(crate) fn distrust(&mut self, size: u32) {
        self.distrusted.insert(size);
        if DISTRUSTED_MAX < self.distrusted.len() {
            self.distrusted.pop_first();
        }
    }

    /// The peer is gone, or tells another size from here on: nothing is begun with it alone any more.
    pub(crate) fn left(&mut self, peer: PeerKey) {
        self.all.retain(|assembly| assembly.only != Some(peer));
    }

    /// Begins what peers that have nothing to do wait for, and forgets what no peer claims any more.
    pub(crate) fn begin(&mut self, claims: &[Claim], now: Instant) {
        self.all.retain(|assembly| claims.iter().any(|claim| assembly.is_for(claim.peer, claim.size)));
        self.turns.retain(|size, _| claims.iter().any(|claim| claim.size == *size));
        loop {
            let waiting = claims.iter().filter(|claim| claim.is_awake && !self.has(claim.peer, claim.size));
            // The peer that waited longest, then what most say, then what is done soonest.
            let next = waiting.min_by_key(|claim| {
                let count = claims.iter().filter(|other| other.size == claim.size).count();
                (self.turns_of(claim.size), usize::MAX - count, claim.size, claim.peer)
            });
            let Some(Claim { peer, size, .. }) = next.copied() else { return };
            if ASSEMBLIES_MAX <= self.all.len() && !self.make_room(claims, now) {
                return;
            }
            let only = self.distrusted.contains(&size).then_some(peer);
            let lease = LEASE * (1 << self.turns_of(size).min(DOUBLINGS_MAX));
            self.all.push(Assembly::new(size, only, now + lease));
            *self.turns.entry(size).or_default() += 1;
        }
    }

    fn turns_of(&self, size: u32) -> u32 {
        self.turns.get(&size).copied().unwrap_or(0)
    }

    /// Parts that arrived, parts in all, and size, of the dictionary that is nearest to completion.
    pub(crate) fn progress(&self) -> Option<(u32, u32, u32)> {
        let nearest = self.all.iter().max_by_key(|assembly| {
            // As a share, in 1/2^20; the sizes are small enough for that.
            (u64::from(assembly.had) << 20) / assembly.parts.len().max(1) as u64
        })?;
        Some((nearest.had, nearest.parts.len() as u32, nearest.size))
    }

    /// Whether there is something that this peer may be asked for.
    fn has(&self, peer: PeerKey, size: u32) -> bool {
        self.all.iter().any(|assembly| assembly.is_for(peer, size))
    }

    fn of(&mut self, peer: PeerKey, size: u32) -> Option<&mut Assembly> {
        self.all.iter_mut().find(|assembly| assembly.is_for(peer, size))
    }

    /// Gives up assemblies whose time is over, or that have no peer left to ask; the oldest first.
    fn make_room(&mut self, claims: &[Claim], now: Instant) -> bool {
        let can_go_on = |assembly: &Assembly| {
            claims.iter().any(|claim| claim.is_awake && assembly.is_for(claim.peer, claim.size))
        };
        let over = |assembly: &Assembly| assembly.leased_until <= now || !can_go_on(assembly);
        let over = (0..self.all.len()).filter(|at| over(&self.all[*at]));
        let oldest = over.min_by_key(|at| self.all[*at].leased_until);
        oldest.map(|at| self.all.swap_remove(at)).is_some()
    }
}

impl Whole {
    /// The only sender, if there is one.
    pub(crate) fn only_sender(&self) -> Option<PeerKey> {
        self.senders.keys().next().copied().filter(|_| self.senders.len() == 1)
    }
}

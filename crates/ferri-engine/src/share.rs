//! What the torrents of a session share: connections, dials under way, memory for pieces.
//!
//! Each torrent may have an equal share of it, and beyond that half of what is unused: so one busy torrent among many
//! idle ones has nearly all, and gives back what is above its share when others come. No torrent is told: each says
//! from time to time what it uses, and hears what it may use. A torrent at rest has no part in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::SessionLimits;

/// No torrent has fewer connections than this, however many there are: fewer make no swarm.
const PEERS_MIN: u64 = 4;
/// Nor fewer dials under way.
const DIALS_MIN: u64 = 2;

/// What a session allows all of its torrents together.
#[derive(Debug)]
pub(crate) struct Shares {
    peers: Common,
    dials: Common,
    memory: Common,
    peers_per_torrent: AtomicU64,
    /// [`ADAPTS`] for as many as the line carries.
    upload_slots: AtomicUsize,
}

/// In [`Shares::upload_slots`].
const ADAPTS: usize = usize::MAX;

/// Something of which there is only so much.
#[derive(Debug)]
struct Common {
    max: AtomicU64,
    used: AtomicU64,
    sharers: AtomicU64,
}

/// What a torrent uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Use {
    /// Connections.
    pub(crate) peers: usize,
    /// Dials under way.
    pub(crate) dials: usize,
    /// Bytes of pieces that are not verified.
    pub(crate) memory: u64,
    /// Whether it wants memory at all.
    pub(crate) fetches: bool,
}

/// What a torrent may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) peers_max: usize,
    pub(crate) half_open_max: usize,
    pub(crate) upload_slots: Option<usize>,
    pub(crate) memory: u64,
}

/// A torrent's part. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    shares: Arc<Shares>,
    peers: Portion,
    dials: Portion,
    memory: Portion,
}

/// What one torrent has of one thing.
#[derive(Debug, Default)]
struct Portion {
    used: u64,
    counted: bool,
}

impl Shares {
    pub(crate) fn new(limits: &SessionLimits) -> Self {
        let common = || Common { max: 0.into(), used: 0.into(), sharers: 0.into() };
        let shares = Self {
            peers: common(),
            dials: common(),
            memory: common(),
            peers_per_torrent: 0.into(),
            upload_slots: ADAPTS.into(),
        };
        shares.set(limits);
        shares
    }

    /// Changes what there is. Each torrent hears of it when it says again what it uses.
    pub(crate) fn set(&self, limits: &SessionLimits) {
        self.peers.max.store(limits.peers_max as u64, Ordering::Relaxed);
        self.dials.max.store(limits.half_open_max as u64, Ordering::Relaxed);
        self.memory.max.store(limits.memory, Ordering::Relaxed);
        self.peers_per_torrent.store(limits.peers_per_torrent as u64, Ordering::Relaxed);
        self.upload_slots.store(limits.upload_slots.unwrap_or(ADAPTS), Ordering::Relaxed);
    }

    /// Memory for pieces, all torrents together.
    pub(crate) fn memory(&self) -> u64 {
        self.memory.max.load(Ordering::Relaxed)
    }
}

impl Claim {
    /// A part of nothing yet.
    pub(crate) fn new(shares: Arc<Shares>) -> Self {
        Self { shares, peers: Portion::default(), dials: Portion::default(), memory: Portion::default() }
    }

    /// Takes note of what is used, and says what may be.
    pub(crate) fn renew(&mut self, uses: Use) -> Budget {
        let shares = &*self.shares;
        let peers = shares.peers.renew(&mut self.peers, uses.peers as u64, true);
        let dials = shares.dials.renew(&mut self.dials, uses.dials as u64, true);
        let memory = shares.memory.renew(&mut self.memory, uses.memory, uses.fetches);
        let slots = shares.upload_slots.load(Ordering::Relaxed);
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Budget {
            peers_max: count(peers.max(PEERS_MIN).min(shares.peers_per_torrent.load(Ordering::Relaxed))),
            half_open_max: count(dials.max(DIALS_MIN)),
            upload_slots: (slots != ADAPTS).then_some(slots),
            // With nothing at all no piece would be begun.
            memory: memory.max(1),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        for (common, portion) in [
            (&self.shares.peers, &mut self.peers),
            (&self.shares.dials, &mut self.dials),
            (&self.shares.memory, &mut self.memory),
        ] {
            common.renew(portion, 0, false);
        }
    }
}

impl Common {
    /// `counts`: whether it is one of those that have a right to an equal share.
    fn renew(&self, portion: &mut Portion, used: u64, counts: bool) -> u64 {
        let before = std::mem::replace(portion, Portion { used, counted: counts });
        // Sums may be seen between the two steps of another torrent; the next look is right again.
        self.used.fetch_add(used.wrapping_sub(before.used), Ordering::Relaxed);
        match (before.counted, counts) {
            (false, true) => self.sharers.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.sharers.fetch_sub(1, Ordering::Relaxed),
            _ => 0,
        };
        let max = self.max.load(Ordering::Relaxed);
        allowance(max, self.used.load(Ordering::Relaxed), used, self.sharers.load(Ordering::Relaxed))
    }
}

/// How much one of `sharers` may have of `max`, when all together have `used`, of which it has `own`.
fn allowance(max: u64, used: u64, own: u64, sharers: u64) -> u64 {
    let equal = max / sharers.max(1);
    let by_need = match max.checked_sub(used) {
        Some(free) => own + free / 2,
        None => own.saturating_sub(used - max),
    };
    by_need.clamp(equal, max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: Use = Use { peers: 400, dials: 40, memory: 60 << 20, fetches: true };
    const IDLE: Use = Use { peers: 0, dials: 0, memory: 0, fetches: false };

    fn shares() -> Arc<Shares> {
        Arc::new(Shares::new(&SessionLimits { peers_per_torrent: 450, ..SessionLimits::default() }))
    }

    #[test]
    fn what_there_is_may_change_and_is_shared_anew_at_the_next_look() {
        let shares = shares();
        let mut claim = Claim::new(shares.clone());
        assert_eq!(claim.renew(BUSY).upload_slots, None);
        let limits = SessionLimits {
            memory: 1 << 20,
            peers_max: 100,
            peers_per_torrent: 90,
            half_open_max: 7,
            upload_slots: Some(3),
            ..SessionLimits::default()
        };
        shares.set(&limits);
        let less = Budget { peers_max: 90, half_open_max: 7, upload_slots: Some(3), memory: 1 << 20 };
        assert_eq!((claim.renew(BUSY), shares.memory()), (less, 1 << 20));
        shares.set(&SessionLimits::default());
        let more = claim.renew(BUSY);
        assert_eq!((more.peers_max, more.half_open_max, more.upload_slots), (200, 50, None));
    }

    #[test]
    fn one_torrent_alone_may_have_everything() {
        let budget = Claim::new(shares()).renew(BUSY);
        assert_eq!((budget.peers_max, budget.half_open_max, budget.memory), (450, 50, 64 << 20));
    }

    #[test]
    fn idle_torrents_leave_a_busy_one_nearly_everything() {
        let shares = shares();
        let mut idle: Vec<_> = (0..99).map(|_| Claim::new(shares.clone())).collect();
        for claim in &mut idle {
            claim.renew(IDLE);
        }
        let budget = Claim::new(shares).renew(BUSY);
        assert_eq!((budget.peers_max, budget.half_open_max, budget.memory), (450, 45, 64 << 20));
    }

    #[test]
    fn who_has_more_than_a_share_gives_back_when_another_comes() {
        let shares = shares();
        let (mut first, mut second) = (Claim::new(shares.clone()), Claim::new(shares));
        let mut uses = BUSY;
        first.renew(uses);
        let newcomer = second.renew(Use { peers: 250, ..BUSY });
        assert_eq!(newcomer.peers_max, 250);
        // Each time it looks it comes closer to its share.
        for _ in 0..10 {
            uses.peers = uses.peers.min(first.renew(uses).peers_max);
        }
        assert_eq!(uses.peers, 250);
    }

    #[test]
    fn what_a_torrent_had_is_free_when_it_is_gone() {
        let shares = shares();
        let mut gone = Claim::new(shares.clone());
        gone.renew(BUSY);
        drop(gone);
        assert_eq!(shares.peers.used.load(Ordering::Relaxed), 0);
        assert_eq!(shares.peers.sharers.load(Ordering::Relaxed), 0);
        assert_eq!(shares.memory.sharers.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn all_together_have_at_most_twice_the_maximum_and_soon_no_more_than_it() {
        let (max, torrents) = (1000, 7);
        let mut own = vec![0u64; torrents];
        for _ in 0..50 {
            for n in 0..torrents {
                own[n] = allowance(max, own.iter().sum(), own[n], torrents as u64);
                assert!(own.iter().sum::<u64>() <= 2 * max);
            }
        }
        assert!(own.iter().sum::<u64>() <= max, "{own:?}");
    }
}

//! Whose check is next: on each device a few at a time, in the order in which their torrents were added.
//!
//! Two checks of one hard disk make it seek, and a torrent that shares its threads with a thousand others is not usable
//! for hours, though it is small. So checks wait here, each once, and cost nothing until their turn.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::Check;

/// Where a torrent stands among those to be checked: by when it was added. See [`Pool::number`](super::Pool::number).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckNumber(pub(super) u64);

/// How many checks come before one, at any moment. Cheap to clone and to ask.
#[derive(Debug, Clone)]
pub struct CheckPlace {
    /// How many began, or will begin, before it, counted as in [`Counts::begun`].
    at: Arc<AtomicU64>,
    counts: Arc<Counts>,
}

/// What a device's checks have in common.
#[derive(Debug, Default)]
struct Counts {
    /// Checks that began and were first in the line then.
    begun: AtomicU64,
    running: AtomicUsize,
}

/// In [`CheckPlace::at`]: its turn came, or it waits no longer.
const BEGUN: u64 = u64::MAX;

impl CheckPlace {
    /// A place that does not change, for who shows one.
    #[must_use]
    pub fn with_ahead(count: usize) -> Self {
        Self { at: Arc::new(AtomicU64::new(count as u64)), counts: Arc::default() }
    }

    /// Checks on the same device that are under way or begin before it. `None`: it does not wait any more.
    #[must_use]
    pub fn ahead(&self) -> Option<usize> {
        match self.at.load(Ordering::Relaxed) {
            BEGUN => None,
            at => {
                let before = at.saturating_sub(self.counts.begun.load(Ordering::Relaxed));
                let before = usize::try_from(before).unwrap_or(usize::MAX);
                Some(before.saturating_add(self.counts.running.load(Ordering::Relaxed)))
            }
        }
    }
}

/// All devices.
pub(super) struct Turns {
    /// Checks of one device at the same time; at least 1.
    at_once: usize,
    /// Only devices that have a check.
    devices: BTreeMap<u64, Line>,
    /// Tells orders with the same number apart.
    entered: u64,
}

#[derive(Default)]
struct Line {
    /// As many as torrents that were added and have not been checked: the caller that adds them bounds this.
    waiting: BTreeMap<Key, (Arc<Check>, CheckPlace)>,
    counts: Arc<Counts>,
}

/// A check that entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(CheckNumber, u64);

impl Turns {
    pub(super) fn new(at_once: usize) -> Self {
        Self { at_once: at_once.max(1), devices: BTreeMap::new(), entered: 0 }
    }

    /// Changes how many checks of a device there are at the same time; at least one. Those whose turn has come with it. Of
    /// those under way none is broken off.
    pub(super) fn set_at_once(&mut self, at_once: usize) -> Vec<Arc<Check>> {
        self.at_once = at_once.max(1);
        let devices: Vec<_> = self.devices.keys().copied().collect();
        let mut begin = Vec::new();
        for device in devices {
            begin.extend(std::iter::from_fn(|| self.next(device)));
        }
        begin
    }

    /// Takes a check in, and gives the one whose turn it is, if there is one.
    pub(super) fn enter(
        &mut self,
        device: u64,
        number: CheckNumber,
        check: Arc<Check>,
    ) -> (Key, CheckPlace, Option<Arc<Check>>) {
        self.entered += 1;
        let key = Key(number, self.entered);
        let line = self.devices.entry(device).or_default();
        let place = CheckPlace { at: Arc::new(AtomicU64::new(0)), counts: line.counts.clone() };
        line.waiting.insert(key, (check, place.clone()));
        line.number_from(key);
        (key, place, self.next(device))
    }

    /// Takes a check out whose turn has not come.
    pub(super) fn leave(&mut self, device: u64, key: Key) -> Option<Arc<Check>> {
        let line = self.devices.get_mut(&device)?;
        let (check, place) = line.waiting.remove(&key)?;
        place.at.store(BEGUN, Ordering::Relaxed);
        line.number_from(key);
        Some(check)
    }

    /// A check of this device is over; the one whose turn it is.
    pub(super) fn ended(&mut self, device: u64) -> Option<Arc<Check>> {
        let line = self.devices.get(&device)?;
        line.counts.running.fetch_sub(1, Ordering::Relaxed);
        let next = self.next(device);
        self.devices.retain(|_, line| !line.is_over());
        next
    }

    /// Takes out all whose turn has not come.
    pub(super) fn drain(&mut self) -> Vec<Arc<Check>> {
        let waiting =
            self.devices.values_mut().flat_map(|line| std::mem::take(&mut line.waiting).into_values());
        let checks = waiting.map(|(check, place)| {
            place.at.store(BEGUN, Ordering::Relaxed);
            check
        });
        checks.collect()
    }

    /// Checks that wait for their turn.
    pub(super) fn waiting(&self) -> usize {
        self.devices.values().map(|line| line.waiting.len()).sum()
    }

    fn next(&mut self, device: u64) -> Option<Arc<Check>> {
        let line = self.devices.get_mut(&device)?;
        if self.at_once <= line.counts.running.load(Ordering::Relaxed) {
            return None;
        }
        let (_, (check, place)) = line.waiting.pop_first()?;
        place.at.store(BEGUN, Ordering::Relaxed);
        line.counts.begun.fetch_add(1, Ordering::Relaxed);
        line.counts.running.fetch_add(1, Ordering::Relaxed);
        Some(check)
    }
}

impl Line {
    fn is_over(&self) -> bool {
        self.waiting.is_empty() && self.counts.running.load(Ordering::Relaxed) == 0
    }

    /// Counts anew those from `key` on. Mostly that is the last one: torrents are added one after the other, and those that
    /// leave before their turn are few.
    fn number_from(&self, key: Key) {
        let before = match self.waiting.range(..key).next_back() {
            Some((_, (_, place))) => place.at.load(Ordering::Relaxed) + 1,
            None => self.counts.begun.load(Ordering::Relaxed),
        };
        for (at, (_, (_, place))) in (before..).zip(self.waiting.range(key..)) {
            place.at.store(at, Ordering::Relaxed);
        }
    }
}

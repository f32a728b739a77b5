//! How many connections the session has with each network, over all torrents and searches: what no torrent sees alone.
//!
//! A crowd is of no interest while half of the slots are free. What is done about one is decided by the machine that the
//! next connection is for.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ferri_swarm::Network;

/// All connections of a session, by network.
#[derive(Debug)]
pub(crate) struct Crowds {
    /// Connections that the session allows itself.
    max: AtomicUsize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    /// None of them is 0.
    of: BTreeMap<Network, u32>,
}

/// One connection that is counted, until it is dropped.
#[derive(Debug)]
pub(crate) struct Pass {
    crowds: Arc<Crowds>,
    network: Network,
}

impl Crowds {
    pub(crate) fn new(max: usize) -> Self {
        Self { max: max.into(), counts: Mutex::default() }
    }

    /// Another number of connections is allowed.
    pub(crate) fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Counts one more connection. Beside it how many others there are to that network; 0 while half of the slots are free.
    pub(crate) fn enter(self: &Arc<Self>, ip: IpAddr) -> (Pass, u32) {
        let network = Network::of(ip);
        let mut counts = self.counts();
        let is_half_full = self.max.load(Ordering::Relaxed) <= 2 * counts.all;
        counts.all += 1;
        let count = counts.of.entry(network).or_default();
        *count += 1;
        let others = if is_half_full { *count - 1 } else { 0 };
        (Pass { crowds: self.clone(), network }, others)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut counts = self.crowds.counts();
        counts.all -= 1;
        if let Some(count) = counts.of.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                counts.of.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crowds_count_once_half_of_the_slots_are_taken_and_not_after_they_are_gone() {
        let crowds = Arc::new(Crowds::new(10));
        let enter = |ip: [u8; 4]| crowds.enter(ip.into());
        let first: Vec<_> = (0..5).map(|_| enter([10, 0, 0, 1])).collect();
        assert!(first.iter().all(|(_, crowd)| *crowd == 0));
        let (_stranger, crowd) = enter([10, 0, 0, 2]);
        assert_eq!(crowd, 0);
        let (sixth, crowd) = enter([10, 0, 0, 1]);
        assert_eq!(crowd, 5);
        drop((first, sixth));
        assert_eq!(enter([10, 0, 0, 1]).1, 0);
        assert_eq!(crowds.counts().of.len(), 1);
    }
}

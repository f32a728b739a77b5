//! What a session keeps of a torrent for its next start: the record in its handle, which follows what the torrent is told.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ferri_storage::Totals;
use tokio::sync::oneshot;

use super::Torrent;
use super::account::Moved;
use super::command::Order;
use super::refused::Refused;
use super::task::Task;
use crate::options::RateLimits;
use crate::store::{KNOWN_PEERS_MAX, Record, Reply, StoreError};

/// What was kept of a torrent that is added.
#[derive(Debug, Default)]
pub(crate) struct Earlier {
    /// What is to be kept of it; `None` in a session that keeps nothing.
    pub(crate) record: Option<Arc<Record>>,
    /// What was done for it, as far as a store knows.
    pub(crate) totals: Option<Totals>,
}

/// A record that follows its torrent; `None` once it is forgotten.
pub(super) type Kept = Mutex<Option<Arc<Record>>>;

/// What an order changes in a record.
pub(super) type Change = Box<dyn FnOnce(&mut Record) + Send>;

impl Torrent {
    /// What is kept of it at this moment.
    pub(crate) fn record(&self) -> Option<Arc<Record>> {
        let kept = self.inner.kept.as_ref()?;
        kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes what is kept of it. `reply` hears when it is so; in a session that keeps nothing, at once.
    pub(crate) fn keep(&self, change: impl FnOnce(&mut Record), reply: Reply) {
        let services = self.inner.services.upgrade();
        let store = services.as_ref().and_then(|services| services.disk.store.as_ref());
        let (Some(kept), Some(store)) = (&self.inner.kept, store) else { return reply(Ok(())) };
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *kept {
            Some(record) => {
                change(Arc::make_mut(record));
                // Under the lock: of two changes the second is kept last.
                store.put(record.clone(), reply);
            }
            None => reply(Ok(())),
        }
    }

    /// Answers an order that was done or refused: one that is done, and changes what is kept, once it is kept.
    pub(super) fn answer(
        &self,
        change: Option<Change>,
        result: Result<(), Refused>,
        reply: oneshot::Sender<Result<(), Refused>>,
    ) {
        match (result, change) {
            (Ok(()), Some(change)) => {
                let reply =
                    |result: Result<(), StoreError>| drop(reply.send(result.map_err(Refused::NotKept)));
                self.keep(change, Box::new(reply));
            }
            // The caller may have stopped waiting.
            (result, _) => drop(reply.send(result)),
        }
    }

    /// Changes what is kept of it, and waits until it is.
    pub(crate) async fn keep_now(&self, change: impl FnOnce(&mut Record)) -> Result<(), StoreError> {
        let (reply, kept) = oneshot::channel();
        self.keep(change, Box::new(|result| drop(reply.send(result))));
        kept.await.unwrap_or_else(|_| Err(StoreError::new("the session is over")))
    }

    /// Keeps it no longer, whatever it is told from here on. When the store cannot do that, everything is as it was before.
    pub(crate) async fn forget(&self) -> Result<(), StoreError> {
        let (reply, forgotten) = oneshot::channel();
        let Some(record) = self.begin_to_forget(Box::new(|result| drop(reply.send(result)))) else {
            return Ok(());
        };
        let result = forgotten.await.unwrap_or_else(|_| Err(StoreError::new("the session is over")));
        if result.is_err()
            && let Some(kept) = &self.inner.kept
        {
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(record);
        }
        result
    }

    pub(super) fn begin_to_forget(&self, reply: Reply) -> Option<Arc<Record>> {
        let services = self.inner.services.upgrade()?;
        let (kept, store) = (self.inner.kept.as_ref()?, services.disk.store.as_ref()?);
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let record = kept.take()?;
        store.remove(record.info_hash(), reply);
        Some(record)
    }
}

impl Order {
    /// What is to be kept of it once it is done; `None`: nothing.
    pub(super) fn change(&self) -> Option<Change> {
        Some(match self {
            Self::Pause => Box::new(|record| record.paused = true),
            Self::Resume => Box::new(|record| record.paused = false),
            Self::AddPeers(peers) => {
                let peers = peers.clone();
                Box::new(move |record| record.add_peers(&peers))
            }
            Self::SetPriorities(priorities) => {
                let priorities = priorities.clone();
                Box::new(move |record| record.priorities = priorities)
            }
            Self::SetLimits { down, up } => {
                let limits = RateLimits { down: *down, up: *up };
                Box::new(move |record| record.limits = limits)
            }
            Self::Set(setting) => {
                let setting = *setting;
                Box::new(move |record| setting.keep(record))
            }
            Self::Rename(name) => {
                let name = name.clone();
                Box::new(move |record| record.names.torrent = name)
            }
            Self::Stop | Self::Reannounce => return None,
        })
    }
}

impl Task {
    /// Notes what the torrent did in all its sessions, and where its peers are, if it is time.
    pub(super) fn keep_account(&mut self, now: Instant) {
        if !self.account.is_due(now) {
            return;
        }
        if let Some(totals) = self.account.take_news(Moved::from(&self.crew.machine().stats()), now) {
            self.keep_totals(totals);
            if !self.disk.note(totals) {
                self.account.failed(now);
            }
        }
        if self.account.are_peers_due(now) && self.keep_peers() {
            self.account.peers_kept(now);
        }
    }

    /// Totals for a store that keeps them beside the state folder.
    pub(super) fn keep_totals(&self, totals: Totals) {
        if let Some(store) = &self.services.disk.store
            && self.torrent.record().is_some()
        {
            store.put_totals(self.torrent.id(), totals);
        }
    }

    /// Keeps where peers are, if that is news. `false` when it is not.
    pub(super) fn keep_peers(&self) -> bool {
        let Some(record) = self.torrent.record() else { return false };
        let known = self.crew.machine().known_addresses(KNOWN_PEERS_MAX);
        let is_news = record.known_peers.iter().collect::<BTreeSet<_>>() != known.iter().collect();
        // Those of an earlier session are better than none.
        if known.is_empty() || !is_news {
            return false;
        }
        self.torrent.keep(|record| record.known_peers = known, Box::new(|_| {}));
        true
    }
}

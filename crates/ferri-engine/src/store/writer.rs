//! Hands a store what changes: from one thread, in the order in which it happened, and as much at once as has come
//! meanwhile. Of a torrent that changes often only the last record waits.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use ferri_metainfo::InfoHash;
use ferri_storage::Totals;

use super::{Record, Store, StoreError};
use crate::panics::caught_now;

/// Called once the change is kept, or is not; must not wait.
pub(crate) type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// A session's way to its store.
#[derive(Debug)]
pub(crate) struct Writer {
    waiting: Arc<Waiting>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Waiting {
    changes: Mutex<Changes>,
    changed: Condvar,
}

/// What the store has not been told: at most one change and one total a torrent.
#[derive(Default)]
struct Changes {
    records: BTreeMap<InfoHash, Change>,
    totals: BTreeMap<InfoHash, Totals>,
    is_over: bool,
}

/// Of one torrent.
struct Change {
    /// What is to be kept; `None`: nothing any more.
    record: Option<Arc<Record>>,
    /// Those who want to know.
    replies: Vec<Reply>,
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changes").field("records", &self.records.len()).finish_non_exhaustive()
    }
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives none.
    pub(crate) fn start(store: Arc<dyn Store>) -> std::io::Result<Self> {
        let waiting = Arc::<Waiting>::default();
        let work = waiting.clone();
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(move || work.run(&*store))?;
        Ok(Self { waiting, thread: Mutex::new(Some(thread)) })
    }

    /// Keeps a record in the place of the one before.
    pub(crate) fn put(&self, record: Arc<Record>, reply: Reply) {
        self.change(record.info_hash(), Some(record), reply);
    }

    /// Keeps a torrent no longer.
    pub(crate) fn remove(&self, info_hash: InfoHash, reply: Reply) {
        self.change(info_hash, None, reply);
    }

    /// Keeps totals. No reply comes.
    pub(crate) fn put_totals(&self, info_hash: InfoHash, totals: Totals) {
        let mut changes = self.waiting.lock();
        if !changes.is_over {
            changes.totals.insert(info_hash, totals);
            drop(changes);
            self.waiting.changed.notify_one();
        }
    }

    /// Takes nothing more, and does not wait for what is left; that is done all the same.
    pub(crate) fn end(&self) {
        self.waiting.lock().is_over = true;
        self.waiting.changed.notify_one();
    }

    /// Waits until everything is kept. Call [`Self::end`] before.
    pub(crate) fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It catches what may panic.
            let _ = thread.join();
        }
    }

    fn change(&self, info_hash: InfoHash, record: Option<Arc<Record>>, reply: Reply) {
        let mut changes = self.waiting.lock();
        if changes.is_over {
            drop(changes);
            return reply(Err(StoreError::new("the session is over")));
        }
        if record.is_none() {
            changes.totals.remove(&info_hash);
        }
        let change = changes.records.entry(info_hash).or_insert(Change { record: None, replies: Vec::new() });
        change.record = record;
        change.replies.push(reply);
        drop(changes);
        self.waiting.changed.notify_one();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end();
    }
}

impl Waiting {
    fn run(&self, store: &dyn Store) {
        loop {
            let mut changes = self.lock();
            while changes.records.is_empty() && changes.totals.is_empty() {
                if changes.is_over {
                    return;
                }
                changes = self.changed.wait(changes).unwrap_or_else(PoisonError::into_inner);
            }
            let records = std::mem::take(&mut changes.records);
            let totals: Vec<_> = std::mem::take(&mut changes.totals).into_iter().collect();
            drop(changes);
            write(store, records);
            if !totals.is_empty()
                && let Err(error) = guarded(|| store.put_totals(&totals))
            {
                tracing::warn!(%error, torrents = totals.len(), "totals are not kept; they come again");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write(store: &dyn Store, changes: BTreeMap<InfoHash, Change>) {
    let (mut put, mut remove) = (Vec::new(), Vec::new());
    for (info_hash, change) in &changes {
        match &change.record {
            Some(record) => put.push(record.clone()),
            None => remove.push(*info_hash),
        }
    }
    let put = if put.is_empty() { Ok(()) } else { guarded(|| store.put(&put)) };
    let removed = if remove.is_empty() { Ok(()) } else { guarded(|| store.remove(&remove)) };
    let is_one = changes.len() == 1;
    for (info_hash, change) in changes {
        let all = if change.record.is_some() { &put } else { &removed };
        let result = match (all, &change.record) {
            (Err(error), _) if is_one => Err(error.clone()),
            // One of them is in the way; the others are not to suffer for it.
            (Err(_), Some(record)) => guarded(|| store.put(std::slice::from_ref(record))),
            (Err(_), None) => guarded(|| store.remove(&[info_hash])),
            (Ok(()), _) => Ok(()),
        };
        if let Err(error) = &result {
            tracing::error!(%info_hash, %error, "a torrent's change is not kept");
        }
        change.replies.into_iter().for_each(|reply| reply(result.clone()));
    }
}

/// A store is code of the library's user, which may panic.
fn guarded(call: impl FnOnce() -> Result<(), StoreError>) -> Result<(), StoreError> {
    caught_now(call).unwrap_or_else(|panic| {
        Err(StoreError::new(format!("the store failed by a fault of its own ({panic})")))
    })
}

#[cfg(test)]
mod tests;

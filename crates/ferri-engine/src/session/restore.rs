//! The torrents that a store had come back: a few at a time, in the order in which they were added.

use std::sync::Arc;

use ferri_metainfo::InfoHashes;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Restored, Session};
use crate::Error;
use crate::store::Listed;

/// Torrents that are opened at the same time: disks have something to do, and none waits for all others.
const AT_ONCE: usize = 16;

/// Adds all of them, and says what became of it.
pub(super) async fn all(session: Session, listed: Listed, done: watch::Sender<Option<Restored>>) {
    let mut restored = Restored { damaged: listed.damaged, ..Restored::default() };
    for words in &restored.damaged {
        tracing::warn!("{words}");
    }
    let mut opening = JoinSet::new();
    for kept in listed.torrents {
        if AT_ONCE <= opening.len()
            && let Some(Ok((hashes, result))) = opening.join_next().await
        {
            restored.take(hashes, result);
        }
        let session = session.clone();
        opening.spawn(async move { (kept.record.info_hashes(), session.take_back(kept).await.map(drop)) });
    }
    while let Some(opened) = opening.join_next().await {
        if let Ok((hashes, result)) = opened {
            restored.take(hashes, result);
        }
    }
    done.send_replace(Some(restored));
}

impl Restored {
    fn take(&mut self, hashes: InfoHashes, result: Result<(), Error>) {
        match result {
            // One that was added meanwhile is there.
            Ok(()) | Err(Error::AlreadyRunning(_)) => self.torrents += 1,
            Err(error) => {
                let info_hash = hashes.wire();
                tracing::warn!(%info_hash, %error, "a torrent of the list is not there; it stays in the list");
                self.failed.push((hashes, Arc::new(error)));
            }
        }
    }
}

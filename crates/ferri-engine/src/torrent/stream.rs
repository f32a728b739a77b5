//! What a reader of a file and its torrent's task tell each other. Neither waits for the other: the reader says which pieces
//! it needs and leaves a waker, the task says which of them are there and wakes it.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use ferri_metainfo::FileIndex;
use ferri_storage::Store;

/// Why a reader gets nothing more. It is inside of the `io::Error` that a read fails with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The torrent has stopped.
    #[error("the torrent has stopped")]
    Stopped,
    /// The bytes are not here, and the torrent only serves what is.
    #[error("these bytes are not here, and the torrent fetches nothing; add it without `seed_only`")]
    OnlyServes,
    /// Somebody changed these bytes on disk after the file was complete. Nothing is fetched in their place.
    #[error(
        "somebody changed these bytes on disk, and nothing is fetched in their place; move the file away to fetch it anew"
    )]
    Changed,
}

/// One reader, as it and the torrent's task see it.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) file: FileIndex,
    needs: Mutex<Needs>,
}

#[derive(Debug)]
struct Needs {
    /// Pieces that the reader needs, the next one first.
    window: Range<u32>,
    /// Of these there is everything up to here, as far as is known. A hint: what is read is verified.
    ready: u32,
    /// Why there will be no more, for now.
    failure: Option<ReadError>,
    /// The reader found a piece not to be what it should be.
    doubt: Option<u32>,
    is_open: bool,
    /// Where the bytes are; `None` once the torrent ended.
    storage: Option<Arc<Store>>,
    waker: Option<Waker>,
}

/// What a reader needs at one moment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) window: Range<u32>,
    pub(super) doubt: Option<u32>,
    pub(super) is_open: bool,
}

/// What becomes of a wish.
#[derive(Debug)]
pub(super) enum Granted {
    /// The first piece may be read from here.
    Here(Arc<Store>),
    /// The reader is woken when there is something new.
    Wait,
    Never(ReadError),
}

impl Stream {
    pub(super) fn new(file: FileIndex) -> Self {
        let needs = Needs {
            window: 0..0,
            ready: 0,
            failure: None,
            doubt: None,
            is_open: true,
            storage: None,
            waker: None,
        };
        Self { file, needs: Mutex::new(needs) }
    }

    /// The reader's word: it needs these pieces, which are not none. Whether the task has to hear of that.
    pub(super) fn ask(&self, window: Range<u32>, waker: &Waker) -> (Granted, bool) {
        let mut needs = self.lock();
        let is_news = needs.window != window;
        if is_news {
            // What is there of the old window is there.
            if !(needs.window.start..=needs.ready).contains(&window.start) {
                needs.ready = window.start;
            }
            (needs.window, needs.failure) = (window, None);
        }
        let Some(storage) = &needs.storage else { return (Granted::Never(ReadError::Stopped), false) };
        if needs.window.start < needs.ready {
            return (Granted::Here(storage.clone()), is_news);
        }
        if let Some(failure) = needs.failure {
            return (Granted::Never(failure), is_news);
        }
        needs.waker = Some(waker.clone());
        (Granted::Wait, is_news)
    }

    /// The reader's word: this piece is not what it should be.
    pub(super) fn doubt(&self, piece: u32) {
        let mut needs = self.lock();
        needs.doubt = Some(piece);
        needs.ready = needs.ready.min(piece);
    }

    /// The reader's last word.
    pub(super) fn close(&self) {
        self.lock().is_open = false;
    }

    /// The task's question.
    pub(super) fn take_wish(&self) -> Wish {
        let mut needs = self.lock();
        Wish { window: needs.window.clone(), doubt: needs.doubt.take(), is_open: needs.is_open }
    }

    /// The task's word: where the bytes are.
    pub(super) fn open(&self, storage: &Arc<Store>) {
        self.lock().storage = Some(storage.clone());
    }

    /// The task's word: of the window there is everything up to `ready`, and of what follows nothing will come if there is
    /// a `failure`.
    pub(super) fn tell(&self, window: &Range<u32>, ready: u32, failure: Option<ReadError>) {
        let mut needs = self.lock();
        // The reader may have gone elsewhere meanwhile; the task hears of that next.
        if needs.window != *window {
            return;
        }
        (needs.ready, needs.failure) = (ready, failure);
        if window.start < ready || failure.is_some() {
            wake(needs);
        }
    }

    /// The task's last word.
    pub(super) fn end(&self) {
        let mut needs = self.lock();
        needs.storage = None;
        wake(needs);
    }

    fn lock(&self) -> MutexGuard<'_, Needs> {
        // Every change is whole.
        self.needs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A waker may do anything, and does it without the lock.
fn wake(mut needs: MutexGuard<'_, Needs>) {
    let waker = needs.waker.take();
    drop(needs);
    if let Some(waker) = waker {
        waker.wake();
    }
}

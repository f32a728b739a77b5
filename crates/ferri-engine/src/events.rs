//! What happens to a torrent, told to those who listen to it or to the whole session: a queue for each listener, which takes
//! memory only for what its listener has not heard yet. Of what happens before the first one asks, little is kept.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ferri_metainfo::InfoHash;
use tokio::sync::Notify;

use crate::Event;

/// Events kept for a listener that is slow; it is told how many it missed.
const EVENTS_MAX: usize = 4096;
/// The same for a listener to all torrents of a session.
const SESSION_EVENTS_MAX: usize = 16_384;
/// Events kept for the first listener before it asks: enough for one that asks right after a torrent was added, and little
/// for ten thousand torrents without a listener.
const EVENTS_UNASKED: usize = 64;
/// The same when the torrent came to rest for the second time before it asked. The first time may be the end of a short download,
/// a moment after it was added.
const EVENTS_AT_REST: usize = 8;

/// Why there is no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EventsError {
    /// So many events came and went unheard before the next one: the listener is slow, or asked late.
    #[error("{0} events were missed")]
    Missed(u64),
    /// The torrent and its handles are gone: there will be no more.
    #[error("there are no more events")]
    Ended,
}

/// Something that happened in a session.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SessionEvent {
    /// A torrent was added.
    Added {
        /// Which: the hash by which peers know it.
        info_hash: InfoHash,
    },
    /// A torrent is no longer in the session.
    Removed {
        /// Which.
        info_hash: InfoHash,
    },
    /// Something happened to a torrent.
    Torrent {
        /// Which.
        info_hash: InfoHash,
        /// What.
        event: Event,
    },
}

/// A torrent's events, for one listener.
#[derive(Debug)]
pub struct Events {
    queue: Arc<Queue<Event>>,
}

/// The events of a whole session, for one listener.
#[derive(Debug)]
pub struct SessionEvents {
    queue: Arc<Queue<SessionEvent>>,
}

/// A torrent's listeners. Clones are the same; with the last one the events end.
#[derive(Debug, Clone)]
pub(crate) struct EventLog(Arc<Listeners>);

/// A session's listeners. With it the events end.
#[derive(Debug, Default)]
pub(crate) struct SessionLog {
    queues: Mutex<Vec<Weak<Queue<SessionEvent>>>>,
    /// Without listeners ten thousand torrents need not meet at the lock.
    has_listeners: AtomicBool,
}

#[derive(Debug)]
struct Listeners {
    queues: Mutex<Queues>,
    /// Who listens to the whole session, and as what it knows the torrent.
    session: (InfoHash, Arc<SessionLog>),
}

#[derive(Debug)]
struct Queues {
    /// What happened last, until the first listener asks for it.
    first: Option<Arc<Queue<Event>>>,
    others: Vec<Weak<Queue<Event>>>,
    has_rested: bool,
}

#[derive(Debug)]
struct Queue<E> {
    waiting: Mutex<Waiting<E>>,
    changed: Notify,
}

#[derive(Debug)]
struct Waiting<E> {
    events: VecDeque<E>,
    missed: u64,
    ended: bool,
}

impl Events {
    /// The next event. May be dropped while it waits.
    ///
    /// # Errors
    /// [`EventsError::Missed`] once for events that were missed before the next one, [`EventsError::Ended`] from the end on.
    pub async fn recv(&mut self) -> Result<Event, EventsError> {
        self.queue.next().await
    }

    /// The next event; `None` when it has not happened yet.
    ///
    /// # Errors
    /// As for [`Self::recv`].
    pub fn try_recv(&mut self) -> Result<Option<Event>, EventsError> {
        self.queue.try_next()
    }
}

impl SessionEvents {
    /// The next event. May be dropped while it waits.
    ///
    /// # Errors
    /// [`EventsError::Missed`] once for events that were missed before the next one, [`EventsError::Ended`] once the session
    /// is over.
    pub async fn recv(&mut self) -> Result<SessionEvent, EventsError> {
        self.queue.next().await
    }

    /// The next event; `None` when it has not happened yet.
    ///
    /// # Errors
    /// As for [`Self::recv`].
    pub fn try_recv(&mut self) -> Result<Option<SessionEvent>, EventsError> {
        self.queue.try_next()
    }
}

impl EventLog {
    /// Of the torrent `info_hash`.
    pub(crate) fn of(info_hash: InfoHash, session: Arc<SessionLog>) -> Self {
        let queues = Queues { first: Some(Arc::default()), others: Vec::new(), has_rested: false };
        Self(Arc::new(Listeners { queues: Mutex::new(queues), session: (info_hash, session) }))
    }

    /// Tells every listener.
    pub(crate) fn send(&self, event: Event) {
        let (info_hash, session) = &self.0.session;
        session.send(|| SessionEvent::Torrent { info_hash: *info_hash, event: event.clone() });
        let mut queues = self.0.lock();
        queues.others.retain(|queue| match queue.upgrade() {
            Some(queue) => {
                queue.push(event.clone(), EVENTS_MAX);
                true
            }
            None => false,
        });
        if let Some(first) = &queues.first {
            first.push(event, EVENTS_UNASKED);
        }
    }

    /// What happened last and what comes for the first who asks, what comes for others.
    pub(crate) fn subscribe(&self) -> Events {
        let mut queues = self.0.lock();
        let queue = queues.first.take().unwrap_or_default();
        queues.others.push(Arc::downgrade(&queue));
        Events { queue }
    }

    /// The torrent goes to rest: what has no listener must not grow for weeks.
    pub(crate) fn rest(&self) {
        let mut queues = self.0.lock();
        queues.others.retain(|queue| queue.strong_count() != 0);
        queues.others.shrink_to_fit();
        let most = if queues.has_rested { EVENTS_AT_REST } else { EVENTS_UNASKED };
        queues.has_rested = true;
        if let Some(first) = &queues.first {
            first.trim(most);
        }
    }
}

impl SessionLog {
    /// Tells every listener.
    pub(crate) fn send(&self, event: impl Fn() -> SessionEvent) {
        if !self.has_listeners.load(Ordering::Acquire) {
            return;
        }
        let mut queues = self.lock();
        queues.retain(|queue| match queue.upgrade() {
            Some(queue) => {
                queue.push(event(), SESSION_EVENTS_MAX);
                true
            }
            None => false,
        });
        self.has_listeners.store(!queues.is_empty(), Ordering::Release);
    }

    /// What comes from here on.
    pub(crate) fn subscribe(&self) -> SessionEvents {
        let queue = Arc::default();
        let mut queues = self.lock();
        queues.push(Arc::downgrade(&queue));
        self.has_listeners.store(true, Ordering::Release);
        SessionEvents { queue }
    }

    /// Nothing will happen any more.
    pub(crate) fn end(&self) {
        self.has_listeners.store(false, Ordering::Release);
        std::mem::take(&mut *self.lock()).iter().filter_map(Weak::upgrade).for_each(|queue| queue.end());
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Queue<SessionEvent>>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SessionLog {
    fn drop(&mut self) {
        self.end();
    }
}

impl Listeners {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.lock().others.iter().filter_map(Weak::upgrade).for_each(|queue| queue.end());
    }
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        let waiting = Waiting { events: VecDeque::new(), missed: 0, ended: false };
        Self { waiting: Mutex::new(waiting), changed: Notify::new() }
    }
}

impl<E> Queue<E> {
    async fn next(&self) -> Result<E, EventsError> {
        loop {
            match self.try_next()? {
                Some(event) => return Ok(event),
                None => self.changed.notified().await,
            }
        }
    }

    fn try_next(&self) -> Result<Option<E>, EventsError> {
        let mut waiting = self.lock();
        match std::mem::take(&mut waiting.missed) {
            0 => {}
            missed => return Err(EventsError::Missed(missed)),
        }
        match waiting.events.pop_front() {
            Some(event) => Ok(Some(event)),
            None if waiting.ended => Err(EventsError::Ended),
            None => Ok(None),
        }
    }

    fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_one();
    }

    fn push(&self, event: E, events_max: usize) {
        let mut waiting = self.lock();
        if events_max <= waiting.events.len() {
            waiting.events.pop_front();
            waiting.missed += 1;
        }
        waiting.events.push_back(event);
        drop(waiting);
        self.changed.notify_one();
    }

    fn trim(&self, count: usize) {
        let mut waiting = self.lock();
        while count < waiting.events.len() {
            waiting.events.pop_front();
            waiting.missed += 1;
        }
        waiting.events.shrink_to_fit();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<E>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn piece(event: Result<Option<Event>, EventsError>) -> Result<Option<u32>, EventsError> {
        Ok(event?.map(|event| match event {
            Event::PieceVerified { piece } => piece,
            other => panic!("{other:?} was not sent"),
        }))
    }

    fn tell(log: &EventLog, pieces: std::ops::Range<u32>) {
        pieces.for_each(|piece| log.send(Event::PieceVerified { piece }));
    }

    fn log_of(pieces: std::ops::Range<u32>) -> EventLog {
        let log = EventLog::of([1; 20].into(), Arc::default());
        tell(&log, pieces);
        log
    }

    #[test]
    fn the_first_listener_hears_everything_and_others_what_comes() {
        let log = log_of(0..2);
        let (mut first, mut second) = (log.subscribe(), log.subscribe());
        tell(&log, 2..3);
        assert_eq!((0..3).map(|_| piece(first.try_recv()).unwrap().unwrap()).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(piece(second.try_recv()), Ok(Some(2)));
        assert_eq!(piece(second.try_recv()), Ok(None));
    }

    #[test]
    fn a_slow_listener_misses_the_oldest_and_is_told() {
        let log = EventLog::of([1; 20].into(), Arc::default());
        let mut events = log.subscribe();
        tell(&log, 0..EVENTS_MAX as u32 + 5);
        assert_eq!(piece(events.try_recv()), Err(EventsError::Missed(5)));
        assert_eq!(piece(events.try_recv()), Ok(Some(5)));
    }

    #[test]
    fn for_a_listener_that_has_not_asked_yet_little_is_kept() {
        let log = log_of(0..10_000);
        let mut events = log.subscribe();
        assert_eq!(piece(events.try_recv()), Err(EventsError::Missed(10_000 - EVENTS_UNASKED as u64)));
        let kept = std::iter::from_fn(|| piece(events.try_recv()).unwrap());
        assert_eq!(kept.collect::<Vec<_>>(), (10_000 - EVENTS_UNASKED as u32..10_000).collect::<Vec<_>>());
        // From here on it has room.
        tell(&log, 0..EVENTS_MAX as u32);
        assert_eq!(piece(events.try_recv()), Ok(Some(0)));
    }

    #[test]
    fn at_rest_little_is_kept_for_who_never_asks() {
        for (rests, missed) in [(1, 36), (2, 92), (3, 92)] {
            let log = log_of(0..100);
            (0..rests).for_each(|_| log.rest());
            let mut events = log.subscribe();
            assert_eq!(piece(events.try_recv()), Err(EventsError::Missed(missed)));
            assert_eq!(piece(events.try_recv()), Ok(Some(missed as u32)));
        }
    }

    #[test]
    fn a_listener_to_the_session_hears_of_all_torrents_and_of_each_by_its_name() {
        let session = Arc::new(SessionLog::default());
        let [first, second] = [1, 2].map(|n| InfoHash::from([n; 20]));
        let logs = [first, second].map(|name| EventLog::of(name, session.clone()));
        logs[0].send(Event::Completed);
        let mut events = session.subscribe();
        assert!(events.try_recv().unwrap().is_none(), "nothing is kept for who has not asked");
        tell(&logs[1], 7..8);
        tell(&logs[0], 8..9);
        for (name, number) in [(second, 7), (first, 8)] {
            let event = events.try_recv().unwrap();
            let Some(SessionEvent::Torrent { info_hash, event: Event::PieceVerified { piece } }) = event
            else {
                panic!("{event:?}")
            };
            assert_eq!((info_hash, piece), (name, number));
        }
        tell(&logs[0], 0..SESSION_EVENTS_MAX as u32 + 3);
        assert_eq!(events.try_recv().unwrap_err(), EventsError::Missed(3));
        // The torrent's own listener has heard it all the same.
        assert!(logs[1].subscribe().try_recv().unwrap().is_some());
        session.end();
        let rest = std::iter::from_fn(|| events.try_recv().unwrap_or(None)).count();
        assert_eq!((rest, events.try_recv().unwrap_err()), (SESSION_EVENTS_MAX, EventsError::Ended));
    }

    #[tokio::test]
    async fn a_waiting_listener_wakes_for_an_event_and_for_the_end() {
        let log = log_of(0..0);
        let mut events = log.subscribe();
        let listener = tokio::spawn(async move { (events.recv().await, events.recv().await) });
        tokio::task::yield_now().await;
        log.send(Event::Completed);
        tokio::task::yield_now().await;
        drop(log);
        let (event, end) = listener.await.unwrap();
        assert!(matches!(event, Ok(Event::Completed)));
        assert_eq!(end.unwrap_err(), EventsError::Ended);
    }
}

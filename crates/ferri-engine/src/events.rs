//! What happens to a torrent, told to whoever listens: a queue for each listener, which takes memory only for what its
//! listener has not heard yet. Of what happens before the first one asks, little is kept.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use crate::Event;

/// Events kept for a listener that is slow; it is told how many it missed.
const EVENTS_MAX: usize = 4096;
/// Events kept for the first listener before it asks: enough for one that asks right after a torrent was added, and little
/// for ten thousand torrents that nobody listens to.
const EVENTS_UNASKED: usize = 64;
/// The same when the torrent came to rest before it asked.
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

/// A torrent's events, for one listener.
#[derive(Debug)]
pub struct Events {
    queue: Arc<Queue>,
}

/// A torrent's listeners. Clones are the same; with the last one the events end.
#[derive(Debug, Clone)]
pub(crate) struct EventLog(Arc<Listeners>);

#[derive(Debug)]
struct Listeners(Mutex<Queues>);

#[derive(Debug)]
struct Queues {
    /// What happened last, until somebody asks for it.
    first: Option<Arc<Queue>>,
    others: Vec<Weak<Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Event>,
    missed: u64,
    ended: bool,
}

impl Events {
    /// The next event. May be dropped while it waits.
    ///
    /// # Errors
    /// [`EventsError::Missed`] once for events that were missed before the next one, [`EventsError::Ended`] from the end on.
    pub async fn recv(&mut self) -> Result<Event, EventsError> {
        loop {
            match self.try_recv()? {
                Some(event) => return Ok(event),
                None => self.queue.changed.notified().await,
            }
        }
    }

    /// The next event; `None` when it has not happened yet.
    ///
    /// # Errors
    /// As for [`Self::recv`].
    pub fn try_recv(&mut self) -> Result<Option<Event>, EventsError> {
        let mut waiting = self.queue.lock();
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
}

impl EventLog {
    pub(crate) fn new() -> Self {
        let queues = Queues { first: Some(Arc::default()), others: Vec::new() };
        Self(Arc::new(Listeners(Mutex::new(queues))))
    }

    /// Tells everybody.
    pub(crate) fn send(&self, event: Event) {
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

    /// The torrent goes to rest: what nobody has asked for must not grow for weeks.
    pub(crate) fn rest(&self) {
        let mut queues = self.0.lock();
        queues.others.retain(|queue| queue.strong_count() != 0);
        queues.others.shrink_to_fit();
        if let Some(first) = &queues.first {
            first.trim(EVENTS_AT_REST);
        }
    }
}

impl Listeners {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        for queue in self.lock().others.iter().filter_map(Weak::upgrade) {
            queue.lock().ended = true;
            queue.changed.notify_one();
        }
    }
}

impl Queue {
    fn push(&self, event: Event, events_max: usize) {
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

    fn lock(&self) -> MutexGuard<'_, Waiting> {
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
        let log = EventLog::new();
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
        let log = EventLog::new();
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
        let log = log_of(0..100);
        log.rest();
        let mut events = log.subscribe();
        assert_eq!(piece(events.try_recv()), Err(EventsError::Missed(92)));
        assert_eq!(piece(events.try_recv()), Ok(Some(92)));
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

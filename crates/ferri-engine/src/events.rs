//! What happens to a torrent, told to whoever listens: a queue for each listener, which takes memory only for what its
//! listener has not heard yet.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::Event;

/// Events kept for a listener that is slow; it is told how many it missed.
const EVENTS_MAX: usize = 4096;
/// Events kept for the first listener, when the torrent came to rest before it asked.
const EVENTS_AT_REST: usize = 8;

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
    /// Everything from the beginning, until somebody asks for it.
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
    /// `Lagged` when events were missed before the next one, `Closed` when the torrent and its handles are gone.
    pub async fn recv(&mut self) -> Result<Event, RecvError> {
        loop {
            match self.try_recv() {
                Ok(event) => return Ok(event),
                Err(TryRecvError::Lagged(missed)) => return Err(RecvError::Lagged(missed)),
                Err(TryRecvError::Closed) => return Err(RecvError::Closed),
                Err(TryRecvError::Empty) => self.queue.changed.notified().await,
            }
        }
    }

    /// The next event, if it has happened.
    ///
    /// # Errors
    /// As for [`Self::recv`], and `Empty`.
    pub fn try_recv(&mut self) -> Result<Event, TryRecvError> {
        let mut waiting = self.queue.lock();
        match std::mem::take(&mut waiting.missed) {
            0 => {}
            missed => return Err(TryRecvError::Lagged(missed)),
        }
        match waiting.events.pop_front() {
            Some(event) => Ok(event),
            None if waiting.ended => Err(TryRecvError::Closed),
            None => Err(TryRecvError::Empty),
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
                queue.push(event.clone());
                true
            }
            None => false,
        });
        if let Some(first) = &queues.first {
            first.push(event);
        }
    }

    /// Events from the beginning for the first who asks, from here on for others.
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
    fn push(&self, event: Event) {
        let mut waiting = self.lock();
        if EVENTS_MAX <= waiting.events.len() {
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

    fn piece(event: Result<Event, TryRecvError>) -> Result<u32, TryRecvError> {
        event.map(|event| match event {
            Event::PieceVerified { piece } => piece,
            other => panic!("{other:?} was not sent"),
        })
    }

    fn log_of(pieces: std::ops::Range<u32>) -> EventLog {
        let log = EventLog::new();
        pieces.for_each(|piece| log.send(Event::PieceVerified { piece }));
        log
    }

    #[test]
    fn the_first_listener_hears_everything_and_others_what_comes() {
        let log = log_of(0..2);
        let (mut first, mut second) = (log.subscribe(), log.subscribe());
        log.send(Event::PieceVerified { piece: 2 });
        assert_eq!((0..3).map(|_| piece(first.try_recv()).unwrap()).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(piece(second.try_recv()), Ok(2));
        assert_eq!(piece(second.try_recv()), Err(TryRecvError::Empty));
    }

    #[test]
    fn a_slow_listener_misses_the_oldest_and_is_told() {
        let log = log_of(0..EVENTS_MAX as u32 + 5);
        let mut events = log.subscribe();
        assert_eq!(piece(events.try_recv()), Err(TryRecvError::Lagged(5)));
        assert_eq!(piece(events.try_recv()), Ok(5));
    }

    #[test]
    fn at_rest_little_is_kept_for_who_never_asks() {
        let log = log_of(0..100);
        log.rest();
        let mut events = log.subscribe();
        assert_eq!(piece(events.try_recv()), Err(TryRecvError::Lagged(92)));
        assert_eq!(piece(events.try_recv()), Ok(92));
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
        assert_eq!(end.unwrap_err(), RecvError::Closed);
    }
}

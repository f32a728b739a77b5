//! A stream that people or programs read, written by a thread of its own: a thread that has something to say does not
//! wait for a reader that has stopped, and a stream that cannot be written decides about nothing.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// A stream that several parts of a command write to. Clones are the same stream.
#[derive(Clone)]
pub struct Sink(Arc<Handle>);

/// The last one lets the thread end.
struct Handle {
    shared: Arc<Shared>,
    /// Without a thread, which a process at its limit may not get, writes are made where they are asked for.
    direct: Option<Mutex<Writer>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<u8>,
    is_writing: bool,
    /// How many wait until all is written.
    deliveries: u32,
    /// Nothing more will be said.
    is_closed: bool,
    /// The reader has taken nothing for [`PATIENCE`]; it is not waited for until it does.
    is_stalled: bool,
    /// Nothing can be written any more.
    is_dead: bool,
    /// Why a write failed the last time.
    failure: Option<io::Error>,
    /// How many writes failed.
    failures: u64,
    /// Why it failed was not asked yet.
    is_news: bool,
    /// Lines left out since the last question.
    lost: u64,
}

/// Bytes that may wait for the reader: some ten thousand lines.
const WAITING_MAX: usize = 1 << 20;
/// Bytes given to the system at once, so that a slow reader is seen to move.
const BATCH_MAX: usize = 16 << 10;
/// The same while a caller waits until all is written, however slow the reader is. A file takes it with fewer calls.
const DELIVERY_MAX: usize = 256 << 10;
/// A reader that takes nothing for so long has stopped: a pager that waits for a key, a pipe that is not emptied.
const PATIENCE: Duration = Duration::from_millis(500);

impl Sink {
    /// Writes go to `writer`, in the order in which they were asked for.
    pub fn new(writer: impl Write + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let writer = Writer { to: Box::new(writer), is_cut: false };
        // Moved into the thread only once there is one.
        let slot = Arc::new(Mutex::new(Some(writer)));
        let spawned = {
            let (shared, slot) = (shared.clone(), slot.clone());
            thread::Builder::new().name("output".to_owned()).spawn(move || {
                let writer = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(writer) = writer {
                    shared.write_all(writer);
                }
            })
        };
        let direct = match spawned {
            Ok(_) => None,
            Err(_) => slot.lock().unwrap_or_else(PoisonError::into_inner).take().map(Mutex::new),
        };
        Self(Arc::new(Handle { shared, direct }))
    }

    /// Writes `bytes` soon. Waits only for a reader that is slower than its writer, never for one that has stopped: then
    /// they are left out.
    pub(crate) fn say(&self, bytes: &[u8]) {
        if self.write_directly(bytes) {
            return;
        }
        let shared = &self.0.shared;
        let mut state = shared.lock();
        while WAITING_MAX < state.waiting.len() + bytes.len() && !state.waiting.is_empty() {
            if state.is_dead {
                return;
            }
            if state.is_stalled {
                state.lost += lines(bytes);
                return;
            }
            state = shared.wait(state);
        }
        if !state.is_dead {
            state.waiting.extend(bytes);
            shared.changed.notify_all();
        }
    }

    /// Writes `bytes` and waits until they are written, however long the reader takes.
    ///
    /// # Errors
    /// They could not be written.
    pub(crate) fn deliver(&self, bytes: &[u8]) -> io::Result<()> {
        let shared = &self.0.shared;
        let failures = shared.lock().failures;
        self.write_directly(bytes);
        let mut state = shared.lock();
        state.deliveries += 1;
        let parts = if self.0.direct.is_some() { [].chunks(1) } else { bytes.chunks(DELIVERY_MAX) };
        for part in parts {
            while WAITING_MAX < state.waiting.len() + part.len() && !state.is_dead {
                state = shared.sleep(state);
            }
            if !state.is_dead {
                state.waiting.extend(part);
                shared.changed.notify_all();
            }
        }
        while !state.is_idle() {
            state = shared.sleep(state);
        }
        state.deliveries -= 1;
        state.is_news = false;
        match &state.failure {
            Some(error) if state.is_dead || failures != state.failures => Err(copy(error)),
            _ => Ok(()),
        }
    }

    /// Waits until everything said so far is written, unless the reader has stopped.
    pub(crate) fn settle(&self) {
        let shared = &self.0.shared;
        let mut state = shared.lock();
        while !state.is_idle() && !state.is_stalled {
            state = shared.wait(state);
        }
    }

    /// Why it cannot be written, told once.
    pub(crate) fn take_failure(&self) -> Option<io::Error> {
        let mut state = self.0.shared.lock();
        if !std::mem::take(&mut state.is_news) {
            return None;
        }
        state.failure.as_ref().map(copy)
    }

    /// How many lines were left out since this was asked, once the reader moves again.
    pub(crate) fn take_lost(&self) -> u64 {
        let mut state = self.0.shared.lock();
        if state.is_stalled || state.is_dead { 0 } else { std::mem::take(&mut state.lost) }
    }

    fn write_directly(&self, bytes: &[u8]) -> bool {
        let Some(writer) = &self.0.direct else { return false };
        let result = writer.lock().unwrap_or_else(PoisonError::into_inner).write(bytes);
        self.0.shared.lock().note(result);
        true
    }
}

/// For the log: each write is whole, and none fails.
impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.say(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sink")
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until something changed.
    fn sleep<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// The same; a reader that lets us wait too long has stopped.
    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout(state, PATIENCE);
        let (mut state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_stalled |= timeout.timed_out();
        state
    }

    /// The thread: writes until nothing more can be said.
    fn write_all(&self, mut writer: Writer) {
        while let Some(batch) = self.next_batch() {
            let result = writer.write(&batch);
            let mut state = self.lock();
            (state.is_writing, state.is_stalled) = (false, false);
            state.note(result);
            drop(state);
            self.changed.notify_all();
        }
    }

    fn next_batch(&self) -> Option<Vec<u8>> {
        let mut state = self.lock();
        while state.waiting.is_empty() {
            if state.is_closed {
                return None;
            }
            state = self.sleep(state);
        }
        state.is_writing = true;
        let (front, _) = state.waiting.as_slices();
        let most = if 0 < state.deliveries { DELIVERY_MAX } else { BATCH_MAX };
        let batch = front[..front.len().min(most)].to_vec();
        state.waiting.drain(..batch.len());
        Some(batch)
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.is_writing
    }

    fn note(&mut self, result: Result<(), (io::Error, u64)>) {
        let Err((error, lost)) = result else { return };
        self.lost += lost;
        self.failures += 1;
        // What has been told about a full disk need not be told with each line.
        self.is_news |= self.failures == 1;
        if !is_full(&error) {
            self.is_dead = true;
            self.waiting.clear();
        }
        self.failure = Some(error);
    }
}

/// A stream, and how its last line stands.
struct Writer {
    to: Box<dyn Write + Send>,
    /// The line that was written last has no end.
    is_cut: bool,
}

impl Writer {
    /// Writes all of it, or says why not and how many lines are missing.
    fn write(&mut self, bytes: &[u8]) -> Result<(), (io::Error, u64)> {
        if self.is_cut {
            self.to.write_all(b"\n").map_err(|error| (error, lines(bytes)))?;
            self.is_cut = false;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.to.write(rest) {
                Ok(0) => return Err(self.failed(io::ErrorKind::WriteZero.into(), bytes, rest)),
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error, bytes, rest)),
            }
        }
        self.to.flush().map_err(|error| (error, 0))
    }

    fn failed(&mut self, error: io::Error, bytes: &[u8], rest: &[u8]) -> (io::Error, u64) {
        let written = &bytes[..bytes.len() - rest.len()];
        self.is_cut = !written.is_empty() && !written.ends_with(b"\n");
        (error, lines(rest))
    }
}

fn lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// A disk that is full now may have room later.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// Standard output or standard error without a buffer of its own, which would be written once more at the end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Standard {
    Output,
    Error,
}

impl Write for Standard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let written = match self {
                Self::Output => rustix::io::write(io::stdout(), bytes),
                Self::Error => rustix::io::write(io::stderr(), bytes),
            };
            match written {
                // Programs that share a terminal or a pipe with us may have made it so for us too.
                Err(rustix::io::Errno::AGAIN) => self.wait()?,
                written => return Ok(written?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Standard {
    /// Until there is room.
    fn wait(self) -> io::Result<()> {
        use rustix::event::{PollFd, PollFlags, poll};
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let stream = match self {
            Self::Output => PollFd::new(&stdout, PollFlags::OUT),
            Self::Error => PollFd::new(&stderr, PollFlags::OUT),
        };
        match poll(&mut [stream], None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::mpsc;

    use super::*;

    /// Takes what it is told to, writes down what it took.
    struct Scripted {
        answers: mpsc::Receiver<io::Result<usize>>,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Without any more orders everything is taken.
            let room = self.answers.recv().unwrap_or(Ok(usize::MAX))?;
            let length = room.min(bytes.len());
            self.taken.lock().unwrap().extend_from_slice(&bytes[..length]);
            Ok(length)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn scripted(answers: Vec<io::Result<usize>>) -> (Sink, impl Fn() -> String) {
        let (orders, inbox) = mpsc::channel();
        for answer in answers {
            orders.send(answer).unwrap();
        }
        let taken = Arc::new(Mutex::new(Vec::new()));
        let sink = Sink::new(Scripted { answers: inbox, taken: taken.clone() });
        (sink, move || String::from_utf8(taken.lock().unwrap().clone()).unwrap())
    }

    fn full() -> io::Result<usize> {
        Err(io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error()))
    }

    #[test]
    fn what_is_said_is_written_in_order() {
        let (sink, taken) = scripted(vec![Ok(1), Err(io::ErrorKind::Interrupted.into()), Ok(2)]);
        sink.say(b"one\n");
        sink.deliver(b"two\n").unwrap();
        assert_eq!(taken(), "one\ntwo\n");
    }

    #[test]
    fn a_reader_that_left_is_told_once_and_nothing_more_is_written() {
        let (sink, taken) = scripted(vec![Ok(99), Err(io::ErrorKind::BrokenPipe.into())]);
        sink.say(b"one\n");
        sink.settle();
        sink.say(b"two\n");
        sink.settle();
        sink.say(b"three\n");
        assert_eq!(sink.take_failure().unwrap().kind(), io::ErrorKind::BrokenPipe);
        assert!(sink.take_failure().is_none());
        assert_eq!(sink.deliver(b"four\n").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(taken(), "one\n");
    }

    #[test]
    fn a_disk_that_was_full_is_tried_again_and_a_line_that_was_cut_ends() {
        let (sink, taken) = scripted(vec![Ok(2), full(), full()]);
        for line in [b"one\n", b"two\n", b"six\n"] {
            sink.say(line);
            sink.settle();
        }
        assert_eq!(taken(), "on\nsix\n");
        assert!(sink.take_failure().is_some());
        assert_eq!(sink.take_lost(), 2);
    }

    #[test]
    fn a_reader_that_stopped_costs_patience_once_and_hears_later_what_it_missed() {
        let (orders, inbox) = mpsc::channel();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let sink = Sink::new(Scripted { answers: inbox, taken: taken.clone() });
        let line = [b"a".repeat(1023), b"\n".to_vec()].concat();
        let started = std::time::Instant::now();
        let said = 3 * WAITING_MAX / line.len();
        for _ in 0..said {
            sink.say(&line);
        }
        sink.settle();
        assert!(started.elapsed() < 4 * PATIENCE, "{:?}", started.elapsed());
        // It goes on reading.
        drop(orders);
        sink.deliver(b"").unwrap();
        let heard = taken.lock().unwrap().len() / line.len();
        assert_eq!(heard as u64 + sink.take_lost(), said as u64);
        assert!(WAITING_MAX <= heard * line.len() && heard < said, "{heard}");
    }
}

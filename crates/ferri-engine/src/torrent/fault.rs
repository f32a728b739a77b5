//! What becomes of a torrent whose task panics: an error that all callers see, in a session that goes on.

use std::sync::Arc;

use ferri_storage::Store;
use tracing::{Instrument, Span};

use super::{TaskSlot, Torrent};
use crate::events::EventLog;
use crate::feed::Snapshots;
use crate::panics::{Panic, caught};
use crate::services::Services;
use crate::status::{ErrorReason, Event, State};

/// What is left of a torrent when its task is gone.
pub(super) struct Remains {
    pub(super) services: Arc<Services>,
    pub(super) torrent: Torrent,
    /// `None` while it has no files.
    pub(super) storage: Option<Arc<Store>>,
    pub(super) status: Snapshots,
    pub(super) events: EventLog,
}

impl Remains {
    /// Runs the torrent's task. When it panics the torrent ends with an error, and may be added again.
    pub(super) fn spawn(self, task: impl Future<Output = ()> + Send + 'static, span: Span) {
        let tasks = self.services.tasks.clone();
        let watched = async move {
            if let Err(panic) = caught(task).await {
                self.fail(&panic).await;
            }
        };
        tasks.spawn(watched.instrument(span));
    }

    async fn fail(self, panic: &Panic) {
        tracing::error!(%panic, "a torrent failed by a fault of ours; the others go on");
        // Its place in the registry is free since its task is gone.
        *self.torrent.task_slot() = TaskSlot::Empty;
        self.services.hide(&self.torrent.info_hashes());
        if let Some(trace) = &self.services.trace {
            trace.flush();
        }
        if let Some(storage) = self.storage {
            let close = move || {
                // What cannot be closed in order is looked at by the next start.
                let _ = storage.close();
                storage.leave();
            };
            let _ = tokio::task::spawn_blocking(close).await;
        }
        let state = State::Error {
            reason: ErrorReason::Fault,
            text: format!(
                "this is a fault of the program ({panic}), please report it; \
                 what was verified is kept, and goes on when the torrent is added again"
            ),
            recoverable: false,
        };
        self.status.change(|status| {
            status.state = state.clone();
            (status.wait, status.eta) = (None, None);
            (status.down_rate, status.up_rate, status.peers, status.seeds) = (0, 0, 0, 0);
        });
        self.events.send(Event::StateChanged(state));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fmt::Debug;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use ferri_metainfo::Metainfo;
    use ferri_metainfo::magnet::Magnet;
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Level, Metadata, Subscriber};

    use super::super::command::Command;
    use crate::{AddTorrent, ErrorReason, Session, SessionOptions, State, Torrent};

    /// Nothing here takes this long unless it hangs.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn metainfo(name: &str) -> Metainfo {
        let hash = "x".repeat(20);
        let torrent = format!("d4:infod6:lengthi9e4:name1:{name}12:piece lengthi16384e6:pieces20:{hash}ee");
        Metainfo::parse(torrent.as_bytes()).unwrap()
    }

    async fn failed(torrent: &Torrent) -> String {
        let mut status = torrent.watch();
        let failed = status.wait_for(|status| matches!(status.state, State::Error { .. }));
        let status = tokio::time::timeout(PATIENCE, failed).await.unwrap().unwrap();
        let State::Error { reason: ErrorReason::Fault, text, recoverable: false } = status.state else {
            panic!("{status:?}")
        };
        text
    }

    #[tokio::test]
    async fn a_torrent_that_panics_ends_with_an_error_and_the_others_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let session = Session::start(SessionOptions::on_loopback(folder.path())).await.unwrap();
        let add = |name| session.add(AddTorrent::new(metainfo(name), folder.path()));
        let (faulty, sound) = (add("a").await.unwrap(), add("b").await.unwrap());
        let mut events = faulty.events();
        assert!(faulty.command(Command::Panic).await);
        let text = failed(&faulty).await;
        assert!(text.contains("(on purpose at ") && text.contains("task.rs:"), "{text}");
        assert_eq!(session.torrents().len(), 1);
        tokio::time::timeout(PATIENCE, faulty.wait_done()).await.expect("nobody waits for it any more");
        assert!(faulty.stop().await.is_err(), "it has ended");
        let mut last = None;
        while let Ok(Some(event)) = events.try_recv() {
            last = Some(event);
        }
        assert!(matches!(last, Some(crate::Event::StateChanged(State::Error { .. }))), "{last:?}");

        // It can be added again, and the other one never noticed.
        let again = add("a").await.unwrap();
        again.pause().await.unwrap();
        let mut status = again.watch();
        let paused = status.wait_for(|status| status.state == State::Paused);
        tokio::time::timeout(PATIENCE, paused).await.unwrap().unwrap();
        assert_eq!(sound.status().state, State::Downloading);
        session.shutdown().await;
        assert_eq!((sound.status().state, again.status().state), (State::Stopped, State::Stopped));
    }

    #[tokio::test]
    async fn log_lines_name_the_torrent_and_the_session_in_each_state() {
        let lines = Lines::default();
        // With one subscriber alone, what a thread without it is the first to log is taken for unwanted everywhere.
        let _second = tracing::Dispatch::new(Lines::default());
        let _guard = tracing::subscriber::set_default(lines.clone());
        let folder = tempfile::tempdir().unwrap();
        let session = Session::start(SessionOptions::on_loopback(folder.path())).await.unwrap();
        let known = AddTorrent::new(metainfo("a"), folder.path());
        let sought = AddTorrent::magnet(Magnet::from_metainfo(&metainfo("b")), folder.path());
        for add in [known, sought] {
            let torrent = session.add(add).await.unwrap();
            assert!(torrent.command(Command::Panic).await);
            failed(&torrent).await;
            let place = format!(
                "session{{listen={}}}: torrent{{info_hash={}}}: ",
                session.listen_addr(),
                torrent.id()
            );
            let lines = lines.0.lock().unwrap().lines.clone();
            assert!(lines.iter().any(|line| line.starts_with(&place)), "{place} in {lines:?}");
        }
        session.shutdown().await;
    }

    /// Log lines of level warn and above, each behind its spans.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Log>>);

    #[derive(Default)]
    struct Log {
        /// Those of each span, by its number.
        spans: Vec<String>,
        entered: Vec<u64>,
        lines: Vec<String>,
    }

    impl Log {
        fn inside(&self, span: Option<u64>) -> String {
            let span = span.and_then(|number| self.spans.get(usize::try_from(number).ok()? - 1));
            span.cloned().unwrap_or_default()
        }
    }

    /// The fields of a span or a line.
    #[derive(Default)]
    struct Fields(String);

    impl Visit for Fields {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            self.0 += &format!("{}={value:?}", field.name());
        }
    }

    impl Subscriber for Lines {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            *metadata.level() <= Level::WARN
        }

        fn new_span(&self, span: &Attributes<'_>) -> Id {
            let mut fields = Fields::default();
            span.record(&mut fields);
            let mut log = self.0.lock().unwrap();
            let around = match span.parent() {
                Some(parent) => Some(parent.into_u64()),
                None => log.entered.last().copied().filter(|_| span.is_contextual()),
            };
            let text = format!("{}{}{{{}}}: ", log.inside(around), span.metadata().name(), fields.0);
            log.spans.push(text);
            Id::from_u64(log.spans.len() as u64)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            let mut fields = Fields::default();
            event.record(&mut fields);
            let mut log = self.0.lock().unwrap();
            let line = log.inside(log.entered.last().copied()) + &fields.0;
            log.lines.push(line);
        }

        fn enter(&self, span: &Id) {
            self.0.lock().unwrap().entered.push(span.into_u64());
        }

        fn exit(&self, span: &Id) {
            let mut log = self.0.lock().unwrap();
            if let Some(at) = log.entered.iter().rposition(|entered| *entered == span.into_u64()) {
                log.entered.remove(at);
            }
        }
    }
}

//! The channels of a crew: what reaches it, who may send it, and when nothing is on its way any more.

use std::sync::Arc;

use ferri_swarm::PeerKey;
use tokio::sync::mpsc;

use crate::handshake::Arrival;
use crate::mailbox::{Mail, Mailbox};
use crate::peer::Report;
use crate::trackers::Answer;

/// Reports of peers waiting for the torrent's task, each up to 256 KiB of blocks; beyond that peers wait, and TCP slows them.
const REPORTS_MAX: usize = 8;
/// Connections waiting to be admitted.
const ARRIVALS_MAX: usize = 64;
/// Reports of peers taken at once, each a batch of messages itself.
const BATCH_MAX: usize = 64;

/// Everything that reaches a crew.
#[derive(Debug)]
pub(crate) struct Inbox {
    mail: Arc<Mailbox>,
    // A channel has room for 32 messages from the start, and there may be thousands of torrents: large ones are boxed.
    arrivals: mpsc::Receiver<Box<Arrival>>,
    reports: mpsc::Receiver<(PeerKey, Report)>,
    /// Bounded by the announces in flight, one a tracker.
    pub(super) answers: mpsc::UnboundedReceiver<Box<Answer>>,
    /// The reports that [`Happened::Reports`] tells of.
    batch: Vec<(PeerKey, Report)>,
}

/// Where a crew's own children report to.
#[derive(Debug, Clone)]
pub(crate) struct Senders {
    pub(super) arrivals: mpsc::Sender<Box<Arrival>>,
    pub(super) reports: mpsc::Sender<(PeerKey, Report)>,
    pub(super) answers: mpsc::UnboundedSender<Box<Answer>>,
}

/// How others reach a crew.
#[derive(Debug, Clone)]
pub(crate) struct CrewHandle {
    pub(crate) arrivals: mpsc::Sender<Box<Arrival>>,
    pub(crate) mail: Arc<Mailbox>,
}

/// What reached a crew.
#[derive(Debug)]
pub(crate) enum Happened {
    Mail(Mail),
    Answer(Answer),
    Arrival(Arrival),
    /// Those of [`Inbox::reports`].
    Reports,
}

/// The channels of a crew: for others, for itself, and their ends.
pub(crate) fn channels() -> (CrewHandle, Senders, Inbox) {
    let (arrivals, arrival_inbox) = mpsc::channel(ARRIVALS_MAX);
    let (reports, report_inbox) = mpsc::channel(REPORTS_MAX);
    let (answers, answer_inbox) = mpsc::unbounded_channel();
    let mail = Arc::<Mailbox>::default();
    let inbox = Inbox {
        mail: mail.clone(),
        arrivals: arrival_inbox,
        reports: report_inbox,
        answers: answer_inbox,
        batch: Vec::new(),
    };
    (CrewHandle { arrivals: arrivals.clone(), mail }, Senders { arrivals, reports, answers }, inbox)
}

impl Inbox {
    /// The next thing that reaches the crew. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> Happened {
        tokio::select! {
            biased;
            () = self.mail.changed() => Happened::Mail(self.mail.take()),
            Some(answer) = self.answers.recv() => Happened::Answer(*answer),
            Some(arrival) = self.arrivals.recv() => Happened::Arrival(*arrival),
            _ = self.reports.recv_many(&mut self.batch, BATCH_MAX) => Happened::Reports,
        }
    }

    /// The reports that came at once.
    pub(crate) fn reports(&mut self) -> impl Iterator<Item = (PeerKey, Report)> {
        self.batch.drain(..)
    }

    /// Nothing waits, and nothing but the crew and the torrent's slot could send anything: no dial, peer or announce is
    /// under way.
    pub(crate) fn is_quiet(&self) -> bool {
        let senders = (
            self.arrivals.sender_strong_count(),
            self.reports.sender_strong_count(),
            self.answers.sender_strong_count(),
        );
        senders == (2, 1, 1)
            // It is written to under the lock of that slot alone.
            && self.mail.is_empty()
            && self.arrivals.is_empty()
            && self.reports.is_empty()
            && self.answers.is_empty()
    }
}

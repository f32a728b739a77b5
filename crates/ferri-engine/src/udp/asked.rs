//! Who waits for an answer from which address, by the transaction that the answer repeats (BEP 15).

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use ferri_tracker::udp::Response;
use tokio::sync::mpsc;

use super::Sockets;
use super::unreached::Unreached;

/// Answers to one question that wait to be looked at. A tracker sends one, perhaps twice; more are a flood.
const REPLIES_MAX: usize = 4;

/// What became of a question.
#[derive(Debug)]
pub(crate) enum Reply {
    /// It was answered.
    Datagram(Bytes),
    /// No server is there.
    Refused(io::Error),
}

/// All tasks that wait.
#[derive(Debug, Default)]
pub(super) struct Asked(Mutex<BTreeMap<(SocketAddr, u32), mpsc::Sender<Reply>>>);

impl Asked {
    pub(super) fn came(&self, from: SocketAddr, bytes: &[u8]) {
        let Some(transaction) = Response::transaction(bytes) else { return };
        if let Some(waits) = self.lock().get(&(from, transaction)) {
            let _ = waits.try_send(Reply::Datagram(Bytes::copy_from_slice(bytes)));
        }
    }

    /// Tells the one whose datagram it was; all who ask that address when too little of it came back to tell.
    pub(super) fn refused(&self, unreached: &Unreached) {
        if unreached.error.kind() != io::ErrorKind::ConnectionRefused {
            // Routers say other things in passing; the question is repeated.
            return;
        }
        let transaction = unreached.datagram.get(TRANSACTION).and_then(|bytes| bytes.try_into().ok());
        let (first, last) = match transaction.map(u32::from_be_bytes) {
            Some(transaction) => (transaction, transaction),
            None => (0, u32::MAX),
        };
        let waiting = self.lock();
        for (_, waits) in waiting.range((unreached.to, first)..=(unreached.to, last)) {
            let _ = waits.try_send(Reply::Refused(unreached.error.kind().into()));
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(SocketAddr, u32), mpsc::Sender<Reply>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a question has its transaction: behind the connection id and the action.
const TRANSACTION: std::ops::Range<usize> = 12..16;

/// Waits for the answers of one address.
#[derive(Debug)]
pub(crate) struct Answers {
    sockets: Sockets,
    from: SocketAddr,
    transaction: Option<u32>,
    sender: mpsc::Sender<Reply>,
    replies: mpsc::Receiver<Reply>,
}

impl Answers {
    pub(super) fn new(sockets: Sockets, from: SocketAddr) -> Self {
        let (sender, replies) = mpsc::channel(REPLIES_MAX);
        Self { sockets, from, transaction: None, sender, replies }
    }

    /// Waits for this transaction instead of the one before.
    pub(crate) fn expect(&mut self, transaction: u32) {
        if self.transaction != Some(transaction) {
            self.forget();
            self.transaction = Some(transaction);
            self.sockets.0.asked.lock().insert((self.from, transaction), self.sender.clone());
        }
    }

    /// The next word. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> Reply {
        match self.replies.recv().await {
            Some(reply) => reply,
            // We hold a sender ourselves.
            None => std::future::pending().await,
        }
    }

    fn forget(&mut self) {
        if let Some(transaction) = self.transaction.take() {
            self.sockets.0.asked.lock().remove(&(self.from, transaction));
        }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.forget();
    }
}

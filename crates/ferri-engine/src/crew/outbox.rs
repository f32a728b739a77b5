//! What the swarm wants sent, gathered per peer, so that one drain costs one hand-over and one write a peer.
//!
//! Messages, not bytes: how they are encoded, and whether at all, is the other side's business.

use ferri_metainfo::Block;
use ferri_wire::Message;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::peer::writer::Item;
use crate::peer::{COMMANDS_MAX, Ends};

/// The torrent's side of one connection.
#[derive(Debug)]
pub(crate) struct Outbox {
    items: Vec<Item>,
    commands: mpsc::Sender<Vec<Item>>,
    cancel: CancellationToken,
}

impl Outbox {
    /// Both sides.
    pub(crate) fn new() -> (Self, Ends) {
        let cancel = CancellationToken::new();
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let ends = Ends { commands: inbox, cancel: cancel.clone() };
        (Self { items: Vec::new(), commands, cancel }, ends)
    }

    /// Nothing was gathered since the last [`Self::flush`].
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(crate) fn message(&mut self, message: Message) {
        self.items.push(Item::Message(message));
    }

    pub(crate) fn block(&mut self, block: Block) {
        self.items.push(Item::Block(block));
    }

    /// Hands over what was gathered. A peer whose queue is full has stopped reading and is hung up on: its task
    /// reports the end as for any other cause.
    pub(crate) fn flush(&mut self) {
        if self.commands.try_send(std::mem::take(&mut self.items)).is_err() {
            self.cancel.cancel();
        }
    }

    /// Lets the connection end.
    pub(crate) fn close(mut self) {
        if !self.is_empty() {
            self.flush();
        }
        self.cancel.cancel();
    }
}

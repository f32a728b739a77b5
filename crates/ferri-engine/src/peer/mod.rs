//! One connection: a task that owns the link, decodes what comes, writes what must go, and decides nothing.
//!
//! Downstream is the torrent's task, behind a bounded channel: while it is busy this task stops reading, and TCP
//! tells the peer. Upstream commands never wait: a peer that does not take its small messages is hung up on.

pub(crate) mod link;
#[cfg(test)]
pub(crate) mod memory;
pub(crate) mod reader;
pub(crate) mod writer;

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ferri_metainfo::Block;
use ferri_storage::{BlockBytes, BlockPool, Done, Job, Pool, Rejected, StorageError, Store};
use ferri_swarm::PeerKey;
use ferri_wire::Message;
use tokio::io::Interest;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use self::link::Link;
use self::reader::{ReadError, Reader};
use self::writer::{Fill, Item, Sent, Writer};
use crate::clock;
use crate::panics::caught;
use crate::rate::{Grant, Limits};

/// Batches waiting for one peer's socket. Small messages only, since blocks are read when their turn comes; a peer
/// that leaves this many unread has stopped reading.
pub(crate) const COMMANDS_MAX: usize = 256;

/// What a peer's task tells its torrent.
#[derive(Debug)]
pub(crate) enum Report {
    /// Messages, in order; never empty.
    Messages(Vec<Message>),
    /// Blocks that left.
    Sent(Sent),
    /// A block of ours could not be read and is not sent.
    Unreadable {
        /// Which.
        block: Block,
        /// Why.
        error: Box<StorageError>,
    },
    /// The connection is over; the last report.
    Gone(String),
}

/// Where the connections of a torrent read blocks: empty while only its hash is known, and set once then.
pub(crate) type PieceSource = Arc<OnceLock<Arc<Store>>>;

/// The connection's side of an outbox.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) commands: mpsc::Receiver<Vec<Item>>,
    pub(crate) cancel: CancellationToken,
}

/// What a connection is made of; everything it may touch.
pub(crate) struct Connection {
    pub(crate) key: PeerKey,
    pub(crate) link: Link,
    pub(crate) ends: Ends,
    pub(crate) reports: mpsc::Sender<(PeerKey, Report)>,
    pub(crate) blocks: BlockPool,
    pub(crate) source: PieceSource,
    pub(crate) pool: Pool,
    pub(crate) down: Limits,
    pub(crate) up: Limits,
}

impl Connection {
    /// As [`Self::run`]; also a connection whose task panics tells its torrent that it is over.
    pub(crate) async fn run_watched(self) {
        let (key, reports) = (self.key, self.reports.clone());
        if let Err(panic) = caught(self.run()).await {
            tracing::error!(?key, %panic, "a connection failed by a fault of ours");
            let _ = reports.send((key, Report::Gone(FAULT.to_owned()))).await;
        }
    }

    /// Runs until the peer, the torrent or an error ends it; then says so.
    pub(crate) async fn run(self) {
        let (key, reports) = (self.key, self.reports.clone());
        let Ends { mut commands, cancel } = self.ends;
        let mut talk = Talk {
            link: self.link,
            reader: Reader::new(self.blocks.clone()),
            writer: Writer::new(self.blocks.clone(), self.source.clone()),
            key,
            reports: self.reports,
            source: self.source,
            pool: self.pool,
            down: self.down,
            up: self.up,
            read_at: None,
            write_at: None,
            loading: None,
            blocks: self.blocks,
        };
        let last = tokio::select! {
            biased;
            () = cancel.cancelled() => Report::Gone("we closed the connection".to_owned()),
            end = talk.run(&mut commands) => Report::Gone(end.to_string()),
        };
        // The torrent may be gone already; then nothing is left to tell.
        let _ = reports.send((key, last)).await;
    }
}

struct Talk {
    link: Link,
    reader: Reader,
    writer: Writer,
    key: PeerKey,
    reports: mpsc::Sender<(PeerKey, Report)>,
    source: PieceSource,
    pool: Pool,
    down: Limits,
    up: Limits,
    /// Reading rests until then; the download limit says so.
    read_at: Option<Instant>,
    /// Sending blocks rests until then; the upload limit, or a block that could not be read, says so.
    write_at: Option<Instant>,
    /// The answer of the disk thread that reads the next block.
    loading: Option<(Block, oneshot::Receiver<Result<BlockBytes, StorageError>>)>,
    blocks: BlockPool,
}

impl Talk {
    async fn run(&mut self, commands: &mut mpsc::Receiver<Vec<Item>>) -> End {
        loop {
            match self.turn(commands).await {
                Ok(()) => {}
                Err(end) => return end,
            }
        }
    }

    async fn turn(&mut self, commands: &mut mpsc::Receiver<Vec<Item>>) -> Result<(), End> {
        let reads = self.read_at.is_none();
        let writes = self.write_at.is_none() && self.writer.has_work();
        let interest = match (reads, writes) {
            (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
            (true, false) => Some(Interest::READABLE),
            (false, true) => Some(Interest::WRITABLE),
            (false, false) => None,
        };
        let wake = [self.read_at, self.write_at].into_iter().flatten().min();
        tokio::select! {
            biased;
            items = commands.recv() => self.command(items.ok_or(End::Closed)?).await,
            data = wait_loaded(&mut self.loading) => self.loaded(data?).await,
            () = sleep_until(wake) => {
                let now = clock::now();
                self.read_at = self.read_at.filter(|at| now < *at);
                self.write_at = self.write_at.filter(|at| now < *at);
                Ok(())
            }
            ready = ready(&self.link, interest) => {
                let ready = ready?;
                if writes && ready.is_writable() {
                    self.write().await?;
                }
                if reads && (ready.is_readable() || ready.is_read_closed()) {
                    self.read().await?;
                }
                Ok(())
            }
        }
    }

    async fn command(&mut self, items: Vec<Item>) -> Result<(), End> {
        self.writer.push(items);
        if OWED_MAX < self.writer.owed() {
            return Err(End::Unread);
        }
        // Most of the time the socket has room: no need to ask the reactor first.
        if self.write_at.is_none() { self.write().await } else { Ok(()) }
    }

    async fn loaded(&mut self, data: Result<BlockBytes, StorageError>) -> Result<(), End> {
        let block = self.loading.take().map(|(block, _)| block);
        match (data, block) {
            (Ok(data), _) => {
                let link = &mut self.link;
                self.writer.loaded(data, |bytes| link.seal(bytes));
                self.write().await
            }
            (Err(error), Some(block)) => {
                self.writer.skip();
                self.write_at = Some(clock::now() + UNREADABLE_PAUSE);
                let report = Report::Unreadable { block, error: Box::new(error) };
                self.reports.send((self.key, report)).await.map_err(|_| End::Closed)
            }
            (Err(_), None) => Ok(()),
        }
    }

    async fn read(&mut self) -> Result<(), End> {
        let want = self.reader.wants();
        let limit = if self.down.is_limited() {
            match self.down.take(want, 1, clock::now()) {
                Grant::Bytes(bytes) => bytes,
                Grant::Wait(until) => {
                    self.read_at = Some(until);
                    return Ok(());
                }
            }
        } else {
            usize::MAX
        };
        let mut messages = Vec::new();
        let link = &mut self.link;
        let result = self.reader.read(limit, &mut messages, |slices| link.try_read(slices));
        if limit != usize::MAX {
            self.down.refund(limit.saturating_sub(*result.as_ref().unwrap_or(&0)));
        }
        match result {
            Ok(0) => return Err(End::Eof),
            Ok(_) => {}
            Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => {
                self.report(messages).await?;
                return Err(End::Read(error));
            }
        }
        self.report(messages).await
    }

    async fn report(&self, messages: Vec<Message>) -> Result<(), End> {
        if messages.is_empty() {
            return Ok(());
        }
        self.reports.send((self.key, Report::Messages(messages))).await.map_err(|_| End::Closed)
    }

    /// Fills and writes until the socket is full, the limit is reached or nothing is left.
    async fn write(&mut self) -> Result<(), End> {
        let mut sent = Sent::default();
        let result = self.write_some(&mut sent);
        if 0 < sent.blocks {
            self.reports.send((self.key, Report::Sent(sent))).await.map_err(|_| End::Closed)?;
        }
        result
    }

    fn write_some(&mut self, sent: &mut Sent) -> Result<(), End> {
        // A peer that takes everything at once must not keep the thread from others.
        for _ in 0..WRITES_PER_TURN {
            let mut blocks_max = usize::MAX;
            if self.up.is_limited() {
                blocks_max = 1;
                if let Some(length) = self.writer.next_block_len() {
                    match self.up.take(length, length, clock::now()) {
                        Grant::Bytes(_) => {}
                        Grant::Wait(until) => {
                            self.write_at = Some(until);
                            return Ok(());
                        }
                    }
                }
            }
            let link = &mut self.link;
            if let Fill::Load(block) = self.writer.fill(blocks_max, |bytes| link.seal(bytes)) {
                self.load(block)?;
            }
            let link = &self.link;
            match self.writer.write(|slices| link.try_write(slices)) {
                Ok(now) => {
                    sent.blocks += now.blocks;
                    sent.bytes += now.bytes;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(End::Write(error)),
            }
            if !self.writer.has_work() || self.write_at.is_some() {
                break;
            }
        }
        Ok(())
    }

    fn load(&mut self, block: Block) -> Result<(), End> {
        // Blocks are asked for only where there are any.
        let storage = self.source.get().cloned().ok_or(End::Closed)?;
        let (reply, answer) = oneshot::channel();
        let job = Job::ReadBlocks {
            storage,
            blocks: vec![block],
            buffers: self.blocks.clone(),
            reply: Box::new(move |done| {
                if let Done::Blocks(blocks) = done
                    && let Some((_, result)) = blocks.into_iter().next()
                {
                    // The connection may have ended meanwhile.
                    let _ = reply.send(result);
                }
            }),
        };
        match self.pool.submit(job) {
            Ok(()) => self.loading = Some((block, answer)),
            // More peers want blocks than the device gives; this one's turn comes.
            Err(Rejected::Full(_)) => {
                self.writer.put_off();
                if self.up.is_limited() {
                    self.up.refund(block.length() as usize);
                }
                self.write_at = Some(clock::now() + NO_ROOM_PAUSE);
            }
            Err(Rejected::Closed(_)) => return Err(End::Closed),
        }
        Ok(())
    }
}

/// When a block that the disk threads had no room for is asked for again.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(50);

/// After a block that could not be read: a peer that asks for it again and again costs no more than this lets it.
const UNREADABLE_PAUSE: Duration = Duration::from_millis(20);

/// Bytes of answers that wait for one peer. Parts of the info dictionary are the longest: a peer that wants 64 of them and
/// takes none only costs memory.
const OWED_MAX: usize = 1 << 20;

/// Vectored writes of one turn.
const WRITES_PER_TURN: usize = 8;

/// What is said of a connection that ended by a panic.
const FAULT: &str = "it failed by a fault of this program";

/// Why a connection ended, in words for the log and the peer list.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the peer closed the connection")]
    Eof,
    #[error("{0}")]
    Read(ReadError),
    #[error("sending failed: {0}")]
    Write(io::Error),
    #[error("the torrent ended")]
    Closed,
    #[error("the peer asks and does not read the answers")]
    Unread,
}

async fn ready(link: &Link, interest: Option<Interest>) -> Result<tokio::io::Ready, End> {
    match interest {
        Some(interest) => link.ready(interest).await.map_err(|error| End::Read(error.into())),
        None => std::future::pending().await,
    }
}

async fn wait_loaded(
    loading: &mut Option<(Block, oneshot::Receiver<Result<BlockBytes, StorageError>>)>,
) -> Result<Result<BlockBytes, StorageError>, End> {
    match loading {
        Some((_, answer)) => answer.await.map_err(|_| End::Closed),
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;

//! Reading a file of a torrent while it is fetched.
//!
//! A reader has the pieces before it fetched first, waits for each, reads it from disk as a whole and compares its hash: what
//! it hands out are the bytes that were hashed, so nobody gets a wrong byte, whoever writes to the file meanwhile. It holds
//! one piece, or [`CHUNK_MAX`] bytes of one that is larger.

use std::io::{self, SeekFrom};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ferri_metainfo::{FileIndex, Layout, PieceIndex};
use ferri_storage::StorageError;
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::Torrent;
use super::command::Command;
use super::refused::Refused;
use super::stream::{Granted, Stream};
use super::work::Work;
use crate::mailbox::Mailbox;

/// Bytes before a reader that are fetched with it, unless it says otherwise.
const READ_AHEAD: u64 = 8 << 20;
/// At most this many: what is due soon is fetched in order, and the rarest pieces have to wait for it.
const READ_AHEAD_MAX: u64 = 256 << 20;
/// However short its pieces are.
const WINDOW_PIECES_MAX: u32 = 1024;
/// Bytes of a piece that a reader keeps. A larger piece is read and hashed once for each part of this size.
const CHUNK_MAX: u32 = 16 << 20;

/// Reads a file of a torrent, whether its bytes are here yet or not; made by [`Torrent::reader`].
///
/// A read waits until the piece that it needs is verified: for peers, for a disk, for a check, and while the torrent is
/// paused. It fails with an [`io::Error`] that has a [`ReadError`](super::ReadError) inside when nothing will come any more,
/// or a [`StorageError`] when the disk cannot be read; after a seek, or later, it may be tried again. The pieces before the
/// reader are fetched before all others; what is behind it is fetched as the torrent's priorities say. Any number of
/// tasks may read, each with a reader of its own, up to 64 a torrent.
///
/// As long as it lives, the torrent has a task and fetches the file also when it is not wanted; the bytes of one that is
/// not wanted are kept in the state folder, and the file does not appear. With the last reader the file is as wanted as
/// before. Dropping a reader takes back what it needed.
#[derive(Debug)]
pub struct FileReader {
    stream: Arc<Stream>,
    mail: Arc<Mailbox>,
    runtime: Handle,
    layout: Layout,
    /// Where the file lies in piece space.
    place: Range<u64>,
    /// In the file.
    position: u64,
    read_ahead: u64,
    chunk: Chunk,
    job: Option<Job>,
}

/// Bytes that were hashed, and where in the file they begin.
#[derive(Debug, Default)]
struct Chunk {
    start: u64,
    bytes: Vec<u8>,
}

/// A read under way.
#[derive(Debug)]
struct Job {
    piece: PieceIndex,
    /// Where in the file the first byte belongs.
    start: u64,
    answer: JoinHandle<Result<Option<Vec<u8>>, StorageError>>,
}

impl Torrent {
    /// Reads a file of the torrent, in any state but a stopped one. What is missing is fetched for it. Needs the session's
    /// runtime.
    ///
    /// # Errors
    /// [`Refused::Stopped`], [`Refused::Unresolved`], [`Refused::NoSuchFile`] (padding is none), [`Refused::TooManyReaders`].
    pub async fn reader(&self, file: FileIndex) -> Result<FileReader, Refused> {
        // The torrent does not rest as long as this can be sent to.
        let handle = self.handle(|handle| (handle.commands.clone(), handle.crew.mail.clone()));
        let Some((commands, mail)) = handle else { return Err(Refused::Stopped) };
        let layout = self.info().ok_or(Refused::Unresolved)?.layout().clone();
        if layout.file_count() <= file.as_usize() || layout.is_pad(file) {
            return Err(Refused::NoSuchFile { file: file.0 });
        }
        let stream = Arc::new(Stream::new(file));
        let (reply, answer) = oneshot::channel();
        // A task that ended drops the reply.
        let _ = commands.send(Command::Work(Work::Read(stream.clone(), reply))).await;
        answer.await.unwrap_or(Err(Refused::Stopped))?;
        Ok(FileReader {
            stream,
            mail,
            runtime: Handle::current(),
            place: layout.file_range(file),
            layout,
            position: 0,
            read_ahead: READ_AHEAD,
            chunk: Chunk::default(),
            job: None,
        })
    }
}

impl FileReader {
    /// How many bytes before the reader are fetched with it: 8 MiB unless this says otherwise, at most 256 MiB and 1,024
    /// pieces. With 0 it is only the piece that it needs.
    #[must_use]
    pub fn with_read_ahead(mut self, bytes: u64) -> Self {
        self.read_ahead = bytes.min(READ_AHEAD_MAX);
        self
    }

    /// Bytes of the file.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.place.end - self.place.start
    }

    /// Where the next byte comes from. May lie behind the end, as that of a file may.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The pieces that are needed, the one at the position first. Only before the end.
    fn window(&self) -> Range<u32> {
        window(&self.layout, &self.place, self.position, self.read_ahead)
    }

    /// Reads the piece at the position, which is there.
    fn begin(&mut self, storage: Arc<ferri_storage::Store>, piece: PieceIndex) {
        let piece_start = u64::from(piece.get()) * u64::from(self.layout.piece_length());
        let inside = |at: u64| u32::try_from(at - piece_start).unwrap_or(u32::MAX);
        let begin = inside(piece_start.max(self.place.start));
        let end = inside(self.place.end).min(self.layout.piece_len(piece));
        // The part of the piece that the position lies in.
        let skipped = (inside(self.place.start + self.position) - begin) / CHUNK_MAX * CHUNK_MAX;
        let range = begin + skipped..end.min((begin + skipped).saturating_add(CHUNK_MAX));
        let start = piece_start + u64::from(range.start) - self.place.start;
        let answer = self.runtime.spawn_blocking(move || {
            loop {
                match (storage.read_verified(piece, range.clone()), storage.files()) {
                    // A matter of moments.
                    (Err(StorageError::BeingMoved { .. }), Some(files)) => files.wait_until_moved(),
                    (answer, _) => return answer,
                }
            }
        });
        self.job = Some(Job { piece, start, answer });
    }

    /// Takes what a read gave.
    fn take(&mut self, job: &Job, bytes: Option<Vec<u8>>) {
        match bytes {
            Some(bytes) => self.chunk = Chunk { start: job.start, bytes },
            None => {
                // It is looked at again, and fetched again if need be.
                self.stream.doubt(job.piece.get());
                self.mail.read();
            }
        }
    }

    /// Goes on until the position lies in the chunk.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.chunk.contains(self.position) {
            if let Some(mut job) = self.job.take() {
                let Poll::Ready(answer) = Pin::new(&mut job.answer).poll(cx) else {
                    self.job = Some(job);
                    return Poll::Pending;
                };
                use StorageError::{Changed, Missing, Truncated};
                match answer.map_err(io::Error::other)? {
                    Ok(bytes) => self.take(&job, bytes),
                    Err(Missing { .. } | Truncated { .. } | Changed { .. }) => self.take(&job, None),
                    Err(error) => return Poll::Ready(Err(io::Error::other(error))),
                }
                continue;
            }
            let window = self.window();
            let piece = window.start;
            let (granted, is_news) = self.stream.ask(window, cx.waker());
            if is_news {
                self.mail.read();
            }
            match (granted, self.layout.piece(piece)) {
                (Granted::Here(storage), Some(piece)) => self.begin(storage, piece),
                (Granted::Wait, _) => return Poll::Pending,
                (Granted::Never(reason), _) => return Poll::Ready(Err(io::Error::other(reason))),
                // The window lies in the file.
                (Granted::Here(_), None) => return Poll::Ready(Ok(())),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The pieces of a file, which lies at `place`, from `position` on.
fn window(layout: &Layout, place: &Range<u64>, position: u64, read_ahead: u64) -> Range<u32> {
    let piece_at = |at: u64| u32::try_from(at / u64::from(layout.piece_length())).unwrap_or(u32::MAX);
    let at = place.start + position;
    let last = at.saturating_add(read_ahead).min(place.end - 1);
    let first = piece_at(at);
    first..(piece_at(last) + 1).min(first.saturating_add(WINDOW_PIECES_MAX))
}

impl Chunk {
    fn contains(&self, position: u64) -> bool {
        self.start <= position && position < self.start + self.bytes.len() as u64
    }

    fn from(&self, position: u64) -> &[u8] {
        let skipped = usize::try_from(position - self.start).unwrap_or(usize::MAX);
        self.bytes.get(skipped..).unwrap_or_default()
    }
}

impl AsyncRead for FileReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 || self.length() <= self.position {
            return Poll::Ready(Ok(()));
        }
        std::task::ready!(self.poll_chunk(cx))?;
        let bytes = self.chunk.from(self.position);
        let bytes = &bytes[..bytes.len().min(buffer.remaining())];
        buffer.put_slice(bytes);
        self.position += bytes.len() as u64;
        Poll::Ready(Ok(()))
    }
}

impl AsyncSeek for FileReader {
    fn start_seek(mut self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        let target = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.length().checked_add_signed(by),
        };
        self.position = target.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "this lies before the beginning of the file")
        })?;
        Ok(())
    }

    fn poll_complete(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Poll::Ready(Ok(self.position))
    }
}

impl Drop for FileReader {
    fn drop(&mut self) {
        self.stream.close();
        self.mail.read();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ferri_metainfo::Version;

    use super::*;

    #[test]
    fn a_window_begins_at_the_position_and_ends_with_the_file() {
        let layout = Layout::new(Version::V1, 100, [(150, false), (1_000, false), (5, false)]).unwrap();
        let place = layout.file_range(FileIndex(1));
        for (position, read_ahead, expected) in [
            (0, 0, 1..2),
            (49, 0, 1..2),
            (50, 0, 2..3),
            (50, 99, 2..3),
            (50, 100, 2..4),
            (0, u64::MAX, 1..12),
            (999, 0, 11..12),
            (999, 1_000, 11..12),
        ] {
            assert_eq!(window(&layout, &place, position, read_ahead), expected, "{position} {read_ahead}");
        }
        let tiny = Layout::new(Version::V1, 1, [(5_000, false)]).unwrap();
        assert_eq!(window(&tiny, &(0..5_000), 10, 1 << 20), 10..10 + WINDOW_PIECES_MAX);
    }
}

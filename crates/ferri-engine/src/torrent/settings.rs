//! What a torrent was told and what it has, read back, and settings of its machine. Looking wakes no torrent.

use std::ffi::OsString;
use std::path::PathBuf;

use ferri_metainfo::Bitfield;
use tokio::sync::oneshot;

use super::command::{Command, Order};
use super::look::{Look, Seen};
use super::refused::Refused;
use super::rest::Resting;
use super::setting::Setting;
use super::task::Task;
use super::{TaskSlot, Torrent};
use crate::FilePriority;
use crate::clock;

/// What a torrent was told, as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TorrentSettings {
    /// How wanted each file is, in the torrent's order with padding included. What readers fetch beyond that does not show
    /// here.
    pub priorities: Vec<FilePriority>,
    /// Download limit of this torrent, bytes per second.
    pub down_limit: Option<u64>,
    /// Upload limit of this torrent, bytes per second.
    pub up_limit: Option<u64>,
    /// Pieces come in order, not the rarest first.
    pub sequential: bool,
    /// The user wants it to do nothing.
    pub paused: bool,
    /// Nothing is fetched, and nothing in its folder is changed.
    pub seed_only: bool,
    /// The folder that holds the torrent's file or folder; absolute. Empty when its pieces do not lie in files.
    pub folder: PathBuf,
    /// What the torrent's folder or only file is called in there; empty when the files lie in the folder itself.
    pub name: OsString,
    /// Its trackers by tier, in the order in which they are listed. Those that the user added come last, each in a tier of
    /// its own.
    pub trackers: Vec<Vec<String>>,
}

/// Where the pieces of a torrent are, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PieceMap {
    /// Pieces that are verified and here.
    pub have: Bitfield,
    /// Pieces that are being fetched or verified.
    pub under_way: Bitfield,
    /// How many of the connected peers have each piece.
    pub availability: Vec<u32>,
}

impl Torrent {
    /// Fetches pieces in order.
    ///
    /// # Errors
    /// [`Refused::Stopped`].
    pub async fn fetch_in_order(&self) -> Result<(), Refused> {
        self.order(Order::Set(Setting::Sequential(true))).await
    }

    /// Fetches the rarest pieces first.
    ///
    /// # Errors
    /// [`Refused::Stopped`].
    pub async fn fetch_rarest_first(&self) -> Result<(), Refused> {
        self.order(Order::Set(Setting::Sequential(false))).await
    }

    /// What it was told, as it stands. In every state; a torrent that rests goes on resting.
    ///
    /// # Errors
    /// [`Refused::Stopped`], [`Refused::Unresolved`].
    pub async fn settings(&self) -> Result<TorrentSettings, Refused> {
        self.look(settings).await
    }

    /// Where its pieces are. While files are checked, those count that the journal vouches for; with 2 million pieces the
    /// answer has 8 MB.
    ///
    /// # Errors
    /// [`Refused::Stopped`], [`Refused::Unresolved`].
    pub async fn piece_map(&self) -> Result<PieceMap, Refused> {
        self.look(piece_map).await
    }

    /// Lets `read` look at the torrent's state, in its task if it has one.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Seen<'_>) -> T + Send + 'static,
    ) -> Result<T, Refused> {
        let read = {
            let task_slot = self.task_slot();
            match &*task_slot {
                TaskSlot::Resting(resting) => return Ok(read(&resting.seen())),
                TaskSlot::Awake(_) | TaskSlot::Empty => read,
            }
        };
        let (reply, answer) = oneshot::channel();
        // The asker may have stopped waiting.
        let look = Look::new(move |seen| drop(reply.send(seen.map(read).ok_or(Refused::Unresolved))));
        self.command(Command::Look(look)).await;
        answer.await.unwrap_or(Err(Refused::Stopped))
    }
}

impl Task {
    pub(super) fn show_to(&self, look: Look) {
        look.at(&Seen {
            swarm: self.crew.machine(),
            files: &self.files,
            trackers: self.crew.trackers(),
            limits: self.crew.limits().rates(),
            storage: self.disk.storage(),
            is_paused: self.view.is_paused,
            seed_only: self.seed_only,
        });
    }
}

impl Resting {
    fn seen(&self) -> Seen<'_> {
        Seen {
            swarm: &self.crew.machine,
            files: &self.files,
            trackers: &self.crew.trackers,
            limits: self.crew.limits.rates(),
            storage: &self.storage,
            is_paused: self.view.is_paused,
            seed_only: self.seed_only,
        }
    }
}

fn settings(seen: &Seen<'_>) -> TorrentSettings {
    TorrentSettings {
        priorities: seen.files.wishes(),
        down_limit: seen.limits.0,
        up_limit: seen.limits.1,
        sequential: seen.swarm.is_sequential(),
        paused: seen.is_paused,
        seed_only: seen.seed_only,
        folder: seen.storage.files().map(|files| files.place().root.clone()).unwrap_or_default(),
        name: seen.storage.files().map(|files| files.places().top().to_owned()).unwrap_or_default(),
        trackers: seen.trackers.tiers(clock::now()),
    }
}

fn piece_map(seen: &Seen<'_>) -> PieceMap {
    let have = seen.swarm.have().clone();
    let mut under_way = Bitfield::new(have.len());
    for piece in seen.swarm.pieces_under_way() {
        under_way.set(piece.get());
    }
    PieceMap { have, under_way, availability: seen.swarm.availability() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use ferri_metainfo::Metainfo;

    use crate::{AddTorrent, Check, Session, SessionOptions};

    #[tokio::test]
    async fn who_only_looks_wakes_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let session = Session::start(SessionOptions::on_loopback(folder.path())).await.unwrap();
        let hash = "x".repeat(20);
        let torrent = format!("d4:infod6:lengthi9e4:name1:a12:piece lengthi16384e6:pieces20:{hash}ee");
        let mut add = AddTorrent::new(Metainfo::parse(torrent.as_bytes()).unwrap(), folder.path());
        // Nothing is there and nothing is fetched.
        (add.seed_only, add.check) = (true, Check::Trust(ferri_metainfo::Bitfield::new(1)));
        (add.limits.down, add.sequential) = (Some(7), true);
        let torrent = session.add(add).await.unwrap();
        let rests = async {
            while !torrent.is_resting() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), rests).await.unwrap();
        let settings = torrent.settings().await.unwrap();
        assert_eq!((settings.down_limit, settings.up_limit), (Some(7), None));
        assert!(settings.sequential && settings.seed_only && !settings.paused);
        assert_eq!((&*settings.folder, settings.name.to_str()), (folder.path(), Some("a")));
        let map = torrent.piece_map().await.unwrap();
        assert_eq!((map.have.count_ones(), map.under_way.count_ones(), &*map.availability), (0, 0, &[0][..]));
        assert!(torrent.is_resting());
        session.shutdown().await;
    }
}

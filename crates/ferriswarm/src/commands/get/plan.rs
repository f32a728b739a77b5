//! What the flags of `get` and `seed` mean, for each of their torrents.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ferri_engine::{AddTorrent, Check, Halt, Places, Session, SessionOptions, Stored};
use ferri_metainfo::Metainfo;
use ferri_metainfo::magnet::Magnet;

use super::Wishes;
use crate::args::{Network, Report};
use crate::exit::{Exit, Failure};
use crate::facts::Facts;
use crate::judged::Odd;
use crate::place::{self, Place};
use crate::seek::Found;
use crate::select::{Part, Selection};
use crate::session::Hearing;
use crate::space::{self, Room};
use crate::talk::TrackerTalk;
use crate::watch::{Goal, Setup, Watched};
use crate::{network, seek, session};

/// What is done with each torrent.
#[derive(Debug)]
pub(super) enum Kind {
    Get(Wishes),
    Seed {
        /// The payload or the folder that holds it.
        path: PathBuf,
        /// The same as a person wrote it.
        typed: PathBuf,
        selection: Selection,
    },
}

/// What the flags mean.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) kind: Kind,
    pub(super) goal: Goal,
    pub(super) network: Network,
    pub(super) report: Report,
    pub(super) session: SessionOptions,
    /// `--peer`, with the addresses of its names.
    pub(super) peers: Vec<SocketAddr>,
    /// What has not moved for so long is given up.
    pub(super) patience: Option<Duration>,
    /// How many are downloaded at once.
    pub(super) at_once: usize,
    pub(super) on_done: Option<OsString>,
}

impl Plan {
    /// A link whose torrent is to be found.
    pub(super) fn on_hold(&self, magnet: &Magnet) -> AddTorrent {
        network::on_hold(magnet.clone(), &self.network, &self.peers)
    }

    /// What to add for a torrent, which came of `magnet` or of a file.
    pub(super) fn add(&self, metainfo: Metainfo, magnet: Option<&Magnet>) -> Result<AddTorrent, Failure> {
        match &self.kind {
            Kind::Get(wishes) => wishes.add(metainfo, magnet),
            Kind::Seed { path, typed, selection } => {
                let priorities = selection.priorities(&metainfo, None)?;
                let payload = place::payload_at(&metainfo, path, typed)?;
                let output = payload.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned);
                let mut add = AddTorrent::new(metainfo, output);
                add.priorities = priorities;
                add.payload = Some(payload);
                add.check = Check::Full;
                add.seed_only = true;
                Ok(add)
            }
        }
    }

    /// How much of what is wanted is not on disk yet, and the room there is for it.
    pub(super) async fn measure(
        &self,
        mut add: AddTorrent,
        metainfo: &Metainfo,
    ) -> Result<Measured, Failure> {
        // A torrent may have a million files, and a disk may sleep.
        let halt = Halt::default();
        let _halt_on_drop = halt.raise_on_drop();
        let metainfo = metainfo.clone();
        let measured = tokio::task::spawn_blocking(move || {
            let info = metainfo.info();
            let (place, odd, missing, room) = match (add.seed_only, &add.payload) {
                (true, Some(payload)) => {
                    let place = Place::of_payload(info, payload, &halt)?;
                    let odd = Odd::find(info, &place, &add.priorities, &halt)?;
                    (place, odd, 0, None)
                }
                _ => {
                    let place = Place::in_folder(info, &add.output, &halt)?;
                    let missing = space::missing(&metainfo, &place, &add.priorities, &halt)?;
                    (place, Odd::default(), missing, space::room(&add.output))
                }
            };
            let (path, lies_at) = (place.payload().to_owned(), place.lies_at(info));
            let places = place.into_places();
            let lies = Lies { path, lies_at, places: Arc::new(places.clone()), odd };
            add.stored = Some(Stored::At(places));
            Ok(Measured { add, lies, missing, room })
        });
        measured
            .await
            .map_err(|error| Failure::new(Exit::Internal, format!("looking at files failed: {error}")))?
    }

    /// Adds a torrent to the session, or lets one go on that was found.
    pub(super) async fn start(
        &self,
        session: &Arc<Session>,
        metainfo: &Metainfo,
        (mut add, lies): (AddTorrent, Lies),
        found: Option<Found>,
    ) -> Result<Watched, Failure> {
        add.extra_trackers.clone_from(&self.network.tracker);
        add.no_trackers = self.network.no_trackers;
        add.peers.clone_from(&self.peers);
        let (waiting, talk) = match found {
            Some(found) => (Some(found.torrent), found.talk),
            None => (None, TrackerTalk::default()),
        };
        let setup = Setup {
            facts: Facts::new(metainfo).found_at(lies.places),
            path: lies.path,
            lies_at: lies.lies_at,
            odd: lies.odd,
            port: session.listen_addr().port(),
            goal: self.goal,
            is_seeder: add.seed_only,
            part: Part::new(metainfo, &add.priorities).filter(|_| add.seed_only),
            talk,
        };
        let added = match waiting {
            Some(torrent) => session::choose(torrent, add).await?,
            None => session::add(session, add, Hearing::Events).await?,
        };
        Ok(Watched::new(added, setup))
    }

    /// Nothing moved for as long as was allowed.
    pub(super) fn stalled(&self, why: &str) -> Failure {
        seek::stalled(why, self.patience)
    }
}

/// Where a torrent's files are, as they were found before it is added.
#[derive(Debug)]
pub(super) struct Lies {
    /// Its file or folder by its name.
    path: PathBuf,
    /// The same as it lies.
    lies_at: PathBuf,
    places: Arc<Places>,
    /// Of what is only served.
    odd: Odd,
}

/// What is known of a torrent before it is added.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) add: AddTorrent,
    pub(super) lies: Lies,
    /// Bytes of what is wanted that are not on disk yet.
    pub(super) missing: u64,
    /// What there is for them.
    pub(super) room: Option<Room>,
}

//! What goes into a schedule and what comes out of it.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ferri_metainfo::InfoHash;

use crate::announce::{Announce, AnnounceResponse, Event, Scrape, TrackerError};
use crate::udp::Family;

/// What a schedule is made for.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ScheduleOptions {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Our peer id.
    pub peer_id: [u8; 20],
    /// Where we listen for peers.
    pub port: u16,
    /// Peers asked for while we want some of the payload.
    pub numwant_leeching: u32,
    /// Peers asked for while we only give: they find us, but some cannot be reached by other peers.
    pub numwant_seeding: u32,
    /// How the tiers relate.
    pub order: Order,
    /// An address of ours to announce; see [`Announce::ip`].
    pub ip: Option<IpAddr>,
    /// The families that we speak. A tracker is told of us by each of them (BEP 7).
    pub families: Vec<Family>,
    /// Whether regular announces take turns with those of other torrents (see [`pace`](crate::pace)) and are a little late, by
    /// chance, so that those that were due together drift apart.
    pub paced: bool,
}

impl ScheduleOptions {
    /// The usual options.
    pub fn new(info_hash: InfoHash, peer_id: [u8; 20], port: u16) -> Self {
        Self {
            info_hash,
            peer_id,
            port,
            numwant_leeching: 200,
            numwant_seeding: 50,
            order: Order::Sequential,
            ip: None,
            families: vec![Family::V4, Family::V6],
            paced: false,
        }
    }
}

/// How the tiers of a torrent relate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Order {
    /// Later tiers stand in for earlier ones (BEP 12).
    #[default]
    Sequential,
    /// One tracker of every tier is used at the same time, as some clients do. When there are many tiers, the first
    /// [`TIERS_AT_ONCE`](super::TIERS_AT_ONCE) are, and further ones stand in for those that fail.
    EveryTier,
}

/// One request to one tracker. An answer quotes it, so that late answers to requests given up are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TrackerId {
    /// The tracker's number.
    index: u32,
    request: u32,
}

impl TrackerId {
    pub(super) fn new(number: u32, request: u32) -> Self {
        Self { index: number, request }
    }

    pub(super) fn number(self) -> u32 {
        self.index
    }

    pub(super) fn request(self) -> u32 {
        self.request
    }
}

/// What a torrent that lacks something wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Role {
    /// What it lacks.
    #[default]
    Downloading,
    /// Nothing: the user chose some files, and they are here (BEP 21).
    PartialSeed,
}

/// What happens to a schedule.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Input {
    /// The torrent starts, or goes on after a stop.
    Start,
    /// How far it has come. To be handed in before `Start` and whenever it changes; totals may count from any moment.
    Stats {
        /// Payload bytes sent to peers.
        uploaded: u64,
        /// Payload bytes received from peers.
        downloaded: u64,
        /// Bytes of the torrent that are not here. `u64::MAX` when that is not known yet.
        left: u64,
    },
    /// What it wants of what is left.
    Role(Role),
    /// The last missing byte has come. Makes `left` 0.
    Completed,
    /// Peers run short.
    NeedPeers,
    /// The answer to [`Output::WantTurn`].
    Turn {
        /// Nothing when it is our turn. Else the turn comes after this time; what is due is asked for again then.
        wait: Duration,
    },
    /// How an [`Output::Announce`] went.
    Answer {
        /// The output's.
        tracker: TrackerId,
        /// The answer.
        result: Result<AnnounceResponse, TrackerError>,
    },
    /// How an [`Output::Scrape`] went.
    ScrapeAnswer {
        /// The output's.
        tracker: TrackerId,
        /// The answer for our torrent.
        result: Result<Scrape, TrackerError>,
    },
    /// A tracker beside the tiers of the torrent, which is asked in any case. One that is listed stays where it is.
    AddTracker {
        /// Its URL.
        url: String,
    },
    /// The user changed the list: these take the place of all trackers. Each URL counts once, and only the first
    /// [`TRACKERS_MAX`](crate::limits::TRACKERS_MAX) do. Those that were listed before go on as they are, in their new place; those that
    /// are listed no more hear `stopped` if they may have heard `started`; those that are new are asked at once while a session
    /// lasts, [`NEW_AT_ONCE`](super::NEW_AT_ONCE) at most, the others when it is their turn.
    SetTrackers {
        /// The tiers.
        tiers: Vec<Vec<String>>,
        /// Trackers beside them, as by [`Self::AddTracker`].
        beside: Vec<String>,
    },
    /// The user wants to be announced now. It happens as soon as the trackers allow.
    Reannounce,
    /// The user wants to know the numbers of seeders and leechers.
    Scrape,
    /// We listen elsewhere. Trackers hear of it as soon as they allow.
    ListenPort(u16),
    /// The torrent stops. [`Output::Stopped`] follows when every tracker that must know has been told, or could not be. What it
    /// is owed goes first, within [`OWED_TIME`](super::OWED_TIME).
    Stop,
    /// The instant of [`Schedule::poll_timeout`](super::Schedule::poll_timeout) has come.
    Timeout,
}

/// What a schedule wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Announce, within [`REQUEST_TIME_MAX`](crate::limits::REQUEST_TIME_MAX), and report with [`Input::Answer`].
    Announce {
        /// To be quoted.
        tracker: TrackerId,
        /// The tracker's URL, http, https or udp.
        url: String,
        /// Only by this family. Where the tracker or we have none of it, that is [`TrackerError::NoWay`].
        family: Family,
        /// What to say.
        announce: Announce,
    },
    /// Scrape, within [`REQUEST_TIME_MAX`](crate::limits::REQUEST_TIME_MAX), and report with [`Input::ScrapeAnswer`].
    Scrape {
        /// To be quoted.
        tracker: TrackerId,
        /// For HTTP the whole scrape URL, for UDP the tracker's.
        url: String,
        /// The torrent.
        info_hash: InfoHash,
    },
    /// Something regular is due: ask [`Pace`](crate::pace::Pace) for a turn, and answer with [`Input::Turn`] before time
    /// goes on.
    WantTurn {
        /// Host and port of the tracker that is asked first.
        host: String,
        /// A turn was given for this, and has come.
        had: bool,
    },
    /// This announce is not waited for any longer. It may be dropped.
    Cancel {
        /// The announce.
        tracker: TrackerId,
    },
    /// Peers of the swarm, at most [`PEERS_MAX`](crate::limits::PEERS_MAX).
    Peers(Vec<SocketAddr>),
    /// Something worth telling.
    Event(Notice),
    /// The schedule has come to rest after [`Input::Stop`].
    Stopped,
}

/// What a tracker did. Text is as it came from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It is being asked, by one family or by both.
    Asked {
        /// The tracker's URL. May hold a passkey.
        url: String,
        /// What it is told.
        event: Option<Event>,
    },
    /// It answered; again if the answer by the other family brought something.
    Answered {
        /// The tracker's URL. May hold a passkey.
        url: String,
        /// What it was told.
        event: Option<Event>,
        /// Its answer; the peers are in [`Output::Peers`], and not here.
        response: AnnounceResponse,
        /// Peers it named, by both families together.
        peers: usize,
    },
    /// It did not, by any family.
    Failed {
        /// The tracker's URL. May hold a passkey.
        url: String,
        /// What it was to be told.
        event: Option<Event>,
        /// Why.
        error: TrackerError,
        /// Not before this instant is it tried again; `None` for never.
        retry_at: Option<Instant>,
    },
    /// It answered a scrape.
    Scraped {
        /// The tracker's URL. May hold a passkey.
        url: String,
        /// The numbers.
        scrape: Scrape,
    },
    /// The URL is none that we can use.
    Unusable {
        /// The tracker's URL.
        url: String,
        /// Why.
        error: TrackerError,
    },
    /// The torrent lists more trackers than we use.
    LeftOut {
        /// So many are not used.
        trackers: usize,
    },
}

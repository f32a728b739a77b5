//! Torrents at work become live lines, plain lines or JSON lines, until each has reached its goal.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ferri_engine::{ErrorReason, EventsError, State, Torrent, TorrentStatus, unfinished_beside};
use ferri_metainfo::display::redact_url;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::console::{Area, Console};
use crate::env::Interrupts;
use crate::events::{JsonEvent, Progress, state_word};
use crate::exit::{Exit, Failure};
use crate::facts::{self, Facts, local_text};
use crate::hook::Done;
use crate::judged::Odd;
use crate::loading::Loads;
use crate::place::UNFINISHED;
use crate::progress::{self, View, wait_words};
use crate::seek::Seekers;
use crate::select::Part;
use crate::talk::TrackerTalk;
use crate::text::{harmless, shell_quote};
use crate::units;
use crate::work::looks;

/// When a torrent has done what it was started for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    /// Everything wanted is verified.
    Verified,
    /// Then served for good.
    SeedForGood,
    /// Then served until one of these is reached.
    SeedUntil { ratio: Option<f64>, time: Option<Duration> },
}

impl Goal {
    fn is_reached(self, status: &TorrentStatus) -> bool {
        match self {
            Self::Verified => status.is_done(),
            Self::SeedForGood => false,
            Self::SeedUntil { ratio, time } => {
                // A disk that is in the way does not stop the clock.
                let is_served = matches!(status.state, State::Seeding | State::Error { .. });
                let reached_ratio = ratio.is_some_and(|ratio| ratio <= status.ratio);
                let reached_time =
                    time.is_some_and(|time| time <= status.all_time.seeding.at(Instant::now()));
                is_served && status.complete_since.is_some() && (reached_ratio || reached_time)
            }
        }
    }
}

/// Why watching ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Every torrent has reached its goal.
    Reached,
    /// Ctrl-C.
    Interrupted,
}

type Events = ferri_engine::Events;

/// What a torrent was started for.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) facts: Facts,
    /// Where its file or folder is by its name.
    pub(crate) path: PathBuf,
    /// Where it lies at the start, which differs while a single file is unfinished or another client's.
    pub(crate) lies_at: PathBuf,
    /// Of a seeder: files that are not what the torrent says.
    pub(crate) odd: Odd,
    /// Where peers reach us.
    pub(crate) port: u16,
    pub(crate) goal: Goal,
    /// Nothing is fetched: what is there is served.
    pub(crate) is_seeder: bool,
    /// Of a seeder: what it serves, if that is not all.
    pub(crate) part: Option<Part>,
    /// What its trackers said before.
    pub(crate) talk: TrackerTalk,
}

/// One torrent and what was already said about it.
#[derive(Debug)]
pub(crate) struct Watched {
    torrent: Torrent,
    /// Until [`watch`] takes them.
    events: Option<Events>,
    facts: Facts,
    info_hash: String,
    /// Where its file or folder is by its name.
    path: PathBuf,
    /// Where it lay at the start.
    lay_at: PathBuf,
    odd: Odd,
    port: u16,
    goal: Goal,
    is_seeder: bool,
    part: Option<Part>,
    started: Instant,
    state: &'static str,
    /// The last tenth that was told, on a plain output.
    tenth: u64,
    told_at: Instant,
    done: End,
    /// Pieces that were verified when downloading began; the rest was fetched now.
    found: Option<u64>,
    talk: TrackerTalk,
    waiting: Option<Waiting>,
    /// When a useful byte came, and how many had.
    moved: (Instant, u64),
    is_done_taken: bool,
    has_ended: bool,
    is_web_seed_told: bool,
    /// A state that cannot get better by waiting.
    failure: Option<Failure>,
    /// The disk is in the way now; with Ctrl-C this is how the program ends.
    trouble: Option<Exit>,
}

/// Whether a download is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Not as far as was seen.
    Unseen,
    /// It is, and what led to that may not be told yet.
    Seen,
    /// It is, and that is told.
    Told,
}

impl Watched {
    pub(crate) fn new((torrent, events): (Torrent, Events), setup: Setup) -> Self {
        let Setup { facts, path, lies_at, odd, port, goal, is_seeder, part, talk } = setup;
        let info_hash = torrent.info_hashes().wire().to_string();
        let now = Instant::now();
        Self {
            events: Some(events),
            torrent,
            facts,
            info_hash,
            path,
            lay_at: lies_at,
            odd,
            port,
            goal,
            is_seeder,
            part,
            started: now,
            state: "",
            tenth: 0,
            told_at: now,
            done: End::Unseen,
            found: None,
            talk,
            waiting: None,
            moved: (now, 0),
            is_done_taken: false,
            has_ended: false,
            is_web_seed_told: false,
            failure: None,
            trouble: None,
        }
    }

    /// A seeder wants nothing more; what it shows is how much of the whole it has.
    pub(crate) fn status(&self) -> TorrentStatus {
        let mut status = self.torrent.status();
        if self.is_seeder {
            status.wanted = self.part.as_ref().map_or(status.total, |part| part.bytes);
            status.wanted_done = status.wanted.min(status.wanted_done);
        }
        status
    }

    /// What lies on disk was not looked at to the end.
    pub(crate) fn is_unchecked(&self) -> bool {
        self.found.is_none() && self.torrent.status().pieces_done == 0
    }

    /// Everything wanted is there, whatever the torrent does now.
    pub(crate) fn is_complete(&self) -> bool {
        is_complete(&self.status())
    }

    pub(crate) fn name(&self) -> &str {
        &self.facts.name
    }

    pub(crate) fn info_hash(&self) -> &str {
        &self.info_hash
    }

    pub(crate) fn torrent(&self) -> &Torrent {
        &self.torrent
    }

    /// Nothing more is told or expected of it.
    pub(crate) fn end(&mut self) {
        self.has_ended = true;
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// A state that cannot get better by waiting, once.
    pub(crate) fn take_failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }

    /// Once, when it is complete. `source` is how it was named.
    pub(crate) fn take_done(&mut self, source: &str) -> Option<Done> {
        if self.done != End::Told || std::mem::replace(&mut self.is_done_taken, true) {
            return None;
        }
        let status = self.status();
        Some(Done {
            name: self.facts.name.clone(),
            info_hash: self.info_hash.clone(),
            path: self.lies_at(&status),
            source: source.to_owned(),
            size: status.wanted,
            downloaded: status.downloaded,
            uploaded: status.uploaded,
        })
    }

    /// Where its file or folder lies.
    fn lies_at(&self, status: &TorrentStatus) -> PathBuf {
        status.lies_at.as_ref().map_or_else(|| self.path.clone(), |path| path.to_path_buf())
    }

    /// Whether it wants something and nothing useful came for so long. To be asked now and then.
    pub(crate) fn has_stalled(&mut self, patience: Duration) -> bool {
        let status = self.torrent.status();
        let is_waiting = matches!(status.state, State::Downloading | State::Error { .. });
        let useful = status.downloaded.saturating_sub(status.wasted);
        // All bytes are there, and something is in the way of the last step.
        let lacks_touches = matches!(status.state, State::Error { .. }) && self.done != End::Told;
        let is_served = status.complete_since.is_some() && !lacks_touches;
        if self.moved.1 < useful || !is_waiting || is_served {
            self.moved = (Instant::now(), self.moved.1.max(useful));
        }
        patience <= self.moved.0.elapsed()
    }

    /// How it stands when that is so.
    pub(crate) fn why_stalled(&self) -> String {
        let status = self.status();
        let name = &self.facts.name;
        let have = units::size_of(status.wanted_done, status.wanted);
        let why = match (&status.state, status.peers) {
            (State::Error { text, .. }, _) => text.clone(),
            (_, 0) if !self.facts.web_seeds.is_empty() => format!("no peer has it; {}", facts::NO_WEB_SEEDS),
            (_, 0) => "no peer has it".to_owned(),
            (_, peers) => format!("{} sent nothing", units::count(peers as u64, "peer", "peers")),
        };
        format!("{name}: {why}; {have} are here")
    }

    pub(crate) fn has_reached_its_goal(&self) -> bool {
        let status = self.status();
        (self.done == End::Told || !is_complete(&status)) && self.goal.is_reached(&status)
    }

    /// How the program ends when it is interrupted while this torrent waits for a disk.
    pub(crate) fn trouble(&self) -> Option<Exit> {
        self.trouble
    }

    /// What it is, before anything moves.
    pub(crate) fn introduce(&self, console: &Console) {
        let (info_hash, facts) = (self.info_hash.as_str(), &self.facts);
        let path = local_text(&self.lay_at);
        let wanted_size = self.status().wanted;
        console.event(&JsonEvent::Added { info_hash, facts: facts.redacted(), wanted_size, path: &path });
        console.line(&facts.headline(console));
        let hashes = [("info hash", &facts.info_hash_v1), ("info hash v2", &facts.info_hash_v2)];
        for (what, hash) in hashes {
            if let Some(hash) = hash {
                console.line(&format!("  {what} {hash}"));
            }
        }
        for (tier, urls) in facts.trackers.iter().enumerate() {
            let urls: Vec<String> = urls.iter().map(|url| redact_url(url)).collect();
            console.news(&format!("  tracker {}", tier + 1), &urls.join("  "));
        }
        console.line(&format!("  into {}", harmless(&path)));
    }

    fn on_event(&mut self, event: &ferri_engine::Event, console: &Console) {
        use ferri_engine::Event as Engine;
        let info_hash = self.info_hash.clone();
        let info_hash = info_hash.as_str();
        match event {
            Engine::TrackerAnswered { .. } | Engine::TrackerFailed { .. } => {
                self.talk.hear(event, info_hash, &self.facts.name, console);
            }
            Engine::PieceVerified { piece } => {
                console.event(&JsonEvent::Piece { info_hash, piece: *piece, ok: true });
            }
            Engine::PieceFailed { piece } => {
                console.event(&JsonEvent::Piece { info_hash, piece: *piece, ok: false });
            }
            Engine::FilesCompleted { files } => {
                for file in files.iter() {
                    if let Some(path) = self.facts.files.path(*file) {
                        let number = self.facts.files.number(*file);
                        console.event(&JsonEvent::File { info_hash, number, path: &path });
                    }
                }
            }
            Engine::Note(note) => {
                let text = note.to_string();
                console.event(&JsonEvent::Note { info_hash, message: &text });
                console.news(&self.facts.name, &text);
            }
            Engine::StateChanged(State::Seeding) | Engine::Completed => self.look(console),
            // The end is told when its own event comes, after all that led to it.
            Engine::StateChanged(_) if self.is_at_its_end(&self.status()) => {}
            Engine::StateChanged(_) => self.look(console),
            _ => {}
        }
    }

    fn say(&self, console: &Console, text: &str) {
        console.line(&format!("{}  {}", console.name(&self.facts.name), harmless(text)));
    }

    /// Tells what changed since the last look.
    fn look(&mut self, console: &Console) {
        let status = self.status();
        let state = state_word(&status.state);
        let is_new_state = state != self.state;
        self.state = state;
        if !matches!(status.state, State::Resolving | State::Checking { .. }) && self.found.is_none() {
            self.found = Some(status.wanted_done);
        }
        if is_new_state {
            self.tell_state(&status, console);
        }
        if self.is_at_its_end(&status) {
            self.done = End::Told;
            self.tell_done(&status, console);
        }
        self.tell_web_seeds(&status, console);
    }

    /// Four times a second. What led to the end is told before it: that comes with its event, and without one, when too much
    /// happened for them to be heard, at the second look.
    fn look_in_passing(&mut self, console: &Console) {
        if self.done == End::Unseen && self.is_at_its_end(&self.status()) {
            self.done = End::Seen;
            return;
        }
        self.look(console);
    }

    /// It is complete, which is not told yet.
    fn is_at_its_end(&self, status: &TorrentStatus) -> bool {
        is_complete(status) && matches!(status.state, State::Seeding) && self.done != End::Told
    }

    /// That those who have it cannot be asked yet.
    fn tell_web_seeds(&mut self, status: &TorrentStatus, console: &Console) {
        let is_alone = status.peers == 0 && status.downloaded == 0 && !is_complete(status) && !self.is_seeder;
        if self.is_web_seed_told
            || self.facts.web_seeds.is_empty()
            || !is_alone
            || self.started.elapsed() < LONELY_AFTER
        {
            return;
        }
        self.is_web_seed_told = true;
        let message = format!("no peer was found so far; {}", facts::NO_WEB_SEEDS);
        console.event(&JsonEvent::Note { info_hash: &self.info_hash, message: &message });
        self.say(console, &message);
    }

    fn tell_state(&mut self, status: &TorrentStatus, console: &Console) {
        let info_hash = self.info_hash.as_str();
        match &status.state {
            // What is watched is known.
            State::Resolving => {}
            State::Checking { done, total } => {
                console.event(&JsonEvent::Checking { info_hash, done: *done, total: *total });
            }
            State::Downloading if 0 < status.wanted_done => {
                self.trouble = None;
                let have = units::size_of(status.wanted_done, status.wanted);
                self.say(console, &format!("continues: {have} are verified"));
            }
            State::Error { reason: ErrorReason::Fault, text, .. } => {
                console.event(&JsonEvent::Error {
                    info_hash,
                    message: text,
                    recoverable: false,
                    missing: None,
                });
                let failure = Failure::new(Exit::Internal, format!("{}: {text}", status.name));
                self.failure = Some(failure.hint("run the same command again: it goes on where it was"));
            }
            State::Error { reason, text, recoverable } => {
                let recoverable = *recoverable;
                let (exit, missing) = match reason {
                    ErrorReason::DiskFull { missing } => (Exit::DiskFull, Some(*missing)),
                    ErrorReason::InTheWay => (Exit::WouldOverwrite, None),
                    _ => (Exit::Io, None),
                };
                self.trouble = Some(exit);
                console.event(&JsonEvent::Error { info_hash, message: text, recoverable, missing });
                if !recoverable {
                    self.failure = Some(
                        Failure::new(exit, format!("{}: {text}", status.name))
                            .hint("mend that, then run the same command again: it goes on where it was"),
                    );
                } else if !console.is_json() {
                    let missing = missing.filter(|bytes| 0 < *bytes);
                    let missing = missing.map(|bytes| format!(" ({} are missing)", units::size(bytes)));
                    console.warn(&format!("{}: {text}{}", status.name, missing.unwrap_or_default()));
                }
            }
            State::Seeding if !is_complete(status) => self.tell_partial(status, console),
            // A caller that stops one here on purpose does not look at it any more.
            State::Stopped => {
                let message = format!("{} was stopped before it was done", status.name);
                self.failure = Some(
                    Failure::new(self.trouble.unwrap_or(Exit::Internal), message)
                        .hint("run the same command again: it goes on where it was"),
                );
            }
            _ => self.trouble = None,
        }
    }

    fn tell_done(&self, status: &TorrentStatus, console: &Console) {
        if let Some(odd) = self.odd.words() {
            return self.tell_odd(&odd, status, console);
        }
        let time = self.started.elapsed();
        let path = local_text(&self.lies_at(status));
        let fetched = status.wanted_done.saturating_sub(self.found.unwrap_or(0));
        let rate = units::mean_rate(fetched, time);
        console.event(&JsonEvent::Done {
            info_hash: &self.info_hash,
            name: &self.facts.name,
            path: &path,
            size: status.wanted,
            downloaded: status.downloaded,
            uploaded: status.uploaded,
            wasted: status.wasted,
            seconds: time.as_secs_f64(),
            rate,
            ratio: status.ratio,
        });
        let size = units::size(status.wanted);
        let what = if fetched == 0 {
            format!("complete: {size} verified")
        } else {
            let (fetched, took, rate) = (units::size(fetched), units::took(time), units::rate(rate));
            let sent = units::size(status.all_time.uploaded);
            format!("done: {fetched} in {took} ({rate}), sent {sent}, ratio {:.2}", status.ratio)
        };
        self.say(console, &format!("{what}, in {path}"));
        if self.goal != Goal::Verified {
            self.tell_seeding(status, console);
        }
    }

    /// `seed` of a payload whose pieces all match, though a file is not what the torrent says.
    fn tell_odd(&self, odd: &str, status: &TorrentStatus, console: &Console) {
        let message =
            format!("all pieces match, and yet it is not what the torrent says: {odd}; serving the pieces");
        console.event(&JsonEvent::Note { info_hash: &self.info_hash, message: &message });
        self.say(console, &message);
        self.tell_seeding(status, console);
    }

    fn tell_seeding(&self, status: &TorrentStatus, console: &Console) {
        let (info_hash, name, port) = (self.info_hash.as_str(), self.facts.name.as_str(), self.port);
        console.event(&JsonEvent::Seeding { info_hash, name, size: status.wanted_done, port });
        self.say(console, &format!("seeding on port {port}; Ctrl-C stops"));
    }

    /// `seed` of a payload that is not whole: what matches is served, if anything does.
    fn tell_partial(&mut self, status: &TorrentStatus, console: &Console) {
        let path = local_text(&self.path);
        if status.pieces_done == 0 {
            let message = format!("nothing of {} is in {path}", self.facts.name);
            if let Some(beside) = unfinished_beside(&self.path) {
                let message = format!("{message}, but {} lies beside it", beside.display());
                self.failure = Some(Failure::new(Exit::VerifyFailed, message).hint(UNFINISHED));
                return;
            }
            let quoted = shell_quote([path.as_str()]);
            self.failure = Some(Failure::new(Exit::VerifyFailed, message).hint(format!(
                "name the file or folder that holds it, or the one above: `ferriswarm seed SOURCE PATH`; \
                 `ferriswarm verify SOURCE {quoted}` says what differs there"
            )));
            return;
        }
        let have = status.pieces_done;
        let all = self.part.as_ref().map_or(status.pieces_total as usize, |part| part.pieces.len());
        let odd = self.odd.words().map(|odd| format!(" ({odd})")).unwrap_or_default();
        self.say(console, &format!("only {have} of {all} pieces match{odd}; serving those"));
        self.tell_seeding(status, console);
    }

    /// On an output that cannot be rewritten: a line each tenth, or each `every`.
    fn tell_progress(&mut self, console: &Console, every: Option<Duration>) {
        // On a terminal the live line shows it.
        if console.is_live() {
            return;
        }
        let status = self.status();
        if console.is_json() {
            if self.told_at.elapsed() < every.unwrap_or(JSON_EVERY) {
                return;
            }
            self.told_at = Instant::now();
            let progress = Progress::new(&status);
            return console.event(&JsonEvent::Progress { info_hash: &self.info_hash, progress });
        }
        self.tell_wait(&status, console);
        let tenth = match status.state {
            State::Checking { done, total } => 10 * done / total.max(1),
            _ => 10 * status.wanted_done / status.wanted.max(1),
        };
        let is_due = match every {
            Some(every) => every <= self.told_at.elapsed(),
            None => tenth != self.tenth && self.done != End::Told,
        };
        self.tenth = tenth;
        if !is_due {
            return;
        }
        self.told_at = Instant::now();
        console.line(&progress::plain_line(PLAIN_COLUMNS, &View::of_torrent(&status)));
    }
}

/// What was said of a wait, on an output that cannot be rewritten.
#[derive(Debug)]
struct Waiting {
    few: String,
    since: Instant,
    is_told: bool,
}

impl Watched {
    /// A wait is told once, when it has lasted.
    fn tell_wait(&mut self, status: &TorrentStatus, console: &Console) {
        let Some((few, many)) = wait_words(status) else {
            self.waiting = None;
            return;
        };
        if self.waiting.as_ref().is_none_or(|waiting| waiting.few != few) {
            self.waiting = Some(Waiting { few, since: Instant::now(), is_told: false });
        }
        let Some(waiting) = self.waiting.as_mut() else { return };
        if waiting.is_told || waiting.since.elapsed() < WAIT_TOLD_AFTER {
            return;
        }
        waiting.is_told = true;
        self.say(console, &many);
    }
}

/// Shorter waits are not worth a line that stays.
const WAIT_TOLD_AFTER: Duration = Duration::from_secs(10);
/// A peer that is found at all is found within this time, mostly.
const LONELY_AFTER: Duration = Duration::from_secs(10);

fn is_complete(status: &TorrentStatus) -> bool {
    status.wanted_done == status.wanted && !matches!(status.state, State::Checking { .. })
}

/// Between two JSON progress lines of a torrent.
const JSON_EVERY: Duration = Duration::from_secs(1);

/// A plain line has no terminal to fit; this only keeps a hostile name from filling a screen.
const PLAIN_COLUMNS: usize = 240;

/// A listener that hears what happens meanwhile.
pub(crate) trait Audience {
    /// Each event, before it is told here.
    fn hear(&mut self, event: &ferri_engine::Event, console: &Console);

    /// Four times a second.
    fn tick(&mut self, console: &Console);
}

/// No listener.
impl Audience for () {
    fn hear(&mut self, _event: &ferri_engine::Event, _console: &Console) {}

    fn tick(&mut self, _console: &Console) {}
}

/// Looks at torrents until they have reached their goals, one cannot, or Ctrl-C is pressed.
#[cfg_attr(not(feature = "tracker-server"), expect(dead_code, reason = "only `tracker` or `demo` needs it"))]
pub(crate) async fn watch(
    torrents: Vec<Watched>,
    audience: &mut dyn Audience,
    console: &Console,
    interrupts: &Interrupts,
) -> Result<Ended, Failure> {
    let (nobody, nothing) = (Seekers::new(None, None), Loads::<()>::new());
    let mut crew = Crew::new(console);
    torrents.into_iter().enumerate().for_each(|(place, watched)| crew.add(watched, place));
    let mut ticks = looks();
    loop {
        tokio::select! {
            biased;
            () = interrupts.pressed(1) => return Ok(Ended::Interrupted),
            heard = crew.next() => crew.hear(heard, audience, console),
            _ = ticks.tick() => {
                console.look_at_output();
                audience.tick(console);
                crew.tick(&nobody, &nothing, console);
            }
        }
        if let Some(failure) = crew.torrents.iter_mut().find_map(Watched::take_failure) {
            return Err(failure);
        }
        if crew.torrents.iter().all(Watched::has_reached_its_goal) {
            return Ok(Ended::Reached);
        }
    }
}

/// Torrents at work: what they say is told, and how far they are is shown.
#[derive(Debug)]
pub(crate) struct Crew {
    /// In the order in which they were started.
    torrents: Vec<Watched>,
    /// Of each, its place among the sources: the order of the live lines.
    places: Vec<usize>,
    streams: JoinSet<()>,
    events: (mpsc::Sender<Heard>, mpsc::Receiver<Heard>),
    area: Area,
}

/// Which torrent said what, or how many words of it came too fast to be heard.
type Heard = (usize, Result<ferri_engine::Event, u64>);

impl Crew {
    pub(crate) fn new(console: &Console) -> Self {
        Self {
            torrents: Vec::new(),
            places: Vec::new(),
            streams: JoinSet::new(),
            events: mpsc::channel(EVENTS_MAX),
            area: console.live_area(),
        }
    }

    /// One more. `place` is its own among the sources.
    pub(crate) fn add(&mut self, mut watched: Watched, place: usize) {
        let events = watched.events.take().unwrap_or_else(|| watched.torrent.events());
        self.streams.spawn(forward(self.torrents.len(), events, self.events.0.clone()));
        self.torrents.push(watched);
        self.places.push(place);
    }

    pub(crate) fn torrents(&self) -> &[Watched] {
        &self.torrents
    }

    pub(crate) fn torrents_mut(&mut self) -> &mut [Watched] {
        &mut self.torrents
    }

    /// The next thing that happens, for [`Self::hear`]. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> Heard {
        match self.events.1.recv().await {
            Some(heard) => heard,
            // We hold a sender ourselves.
            None => std::future::pending().await,
        }
    }

    /// Tells what happened.
    pub(crate) fn hear(&mut self, (at, event): Heard, audience: &mut dyn Audience, console: &Console) {
        let event = match event {
            Ok(event) => event,
            // What it was shows in the next snapshot; a script may have counted on the lines.
            Err(missed) => return console.event(&JsonEvent::Lost { lines: missed }),
        };
        audience.hear(&event, console);
        let watched = &mut self.torrents[at];
        if !watched.has_ended {
            watched.on_event(&event, console);
        }
    }

    /// Four times a second: how everything stands.
    pub(crate) fn tick<T: Send + 'static>(&mut self, seekers: &Seekers, loads: &Loads<T>, console: &Console) {
        for watched in self.torrents.iter_mut().filter(|watched| !watched.has_ended) {
            watched.look_in_passing(console);
            watched.tell_progress(console, seekers.every());
        }
        self.show(seekers, loads, console);
    }

    /// The live lines, and nothing elsewhere.
    fn show<T: Send + 'static>(&self, seekers: &Seekers, loads: &Loads<T>, console: &Console) {
        if !console.is_live() {
            return;
        }
        let at_work = self.places.iter().zip(&self.torrents).filter(|(_, watched)| !watched.has_ended);
        let mut torrents: Vec<_> = at_work.collect();
        torrents.sort_by_key(|(place, _)| **place);
        let torrents = torrents.into_iter().map(|(_, watched)| View::of_torrent(&watched.status()));
        let views: Vec<View> = loads.views().chain(seekers.views()).chain(torrents).collect();
        self.area.set(console.table(&views));
    }
}

/// Events of all torrents that wait to be told.
const EVENTS_MAX: usize = 256;

async fn forward(index: usize, mut events: Events, to: mpsc::Sender<Heard>) {
    loop {
        let heard = match events.recv().await {
            Ok(event) => Ok(event),
            Err(EventsError::Missed(missed)) => Err(missed),
            Err(EventsError::Ended) => return,
        };
        if to.send((index, heard)).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;

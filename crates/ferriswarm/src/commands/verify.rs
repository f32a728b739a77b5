//! `verify`: which files and pieces on disk are what the torrent says.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use ferri_engine::{FilePriority, Found, Halt};
use ferri_metainfo::{Bitfield, FileIndex, Metainfo};
use serde::{Serialize, Serializer};

use crate::args::VerifyArgs;
use crate::args::files::FileWishes;
use crate::console::Console;
use crate::ends::{self, End, Outcome};
use crate::env::{Env, Interrupts};
use crate::exit::{Exit, Failure};
use crate::facts;
use crate::judged::FileStatus;
use crate::place::Place;
use crate::select::{Part, Selection};
use crate::text::harmless;
use crate::work::{Progress, look};
use crate::{loading, session, source, units};

pub(crate) async fn run(
    env: &mut Env,
    console: &Console,
    args: &VerifyArgs,
    interrupts: Interrupts,
) -> Result<Exit, Failure> {
    let (sources, typed) = source::split(&args.words, env)?;
    let wanted = Wanted {
        bind: args.fetch.bind,
        state_dir: args
            .state_dir
            .as_deref()
            .map_or_else(|| env.default_state_dir(), |dir| Some(env.path(dir))),
        path: env.path(&typed),
        typed,
        selection: Arc::new(Selection::new(&args.files, &FileWishes::default())),
        console,
        interrupts: &interrupts,
    };
    if let [source] = &sources[..] {
        let metainfo = load(env, source, &wanted).await?.ok_or_else(loading::interrupted)?;
        return match wanted.verify(source, &metainfo).await?.ok_or_else(interrupted)? {
            Outcome::Failed(differs) => Ok(differs.exit),
            _ => Ok(Exit::Done),
        };
    }
    let mut ends: Vec<End> = sources.into_iter().map(End::new).collect();
    for at in 0..ends.len() {
        match one_of(env, &wanted, &mut ends, at).await {
            Ok(Some(outcome)) => ends[at].outcome = Some(outcome),
            Ok(None) => break,
            Err(failure) => {
                console.failure_of(&ends::short_name(&ends[at].source), &failure);
                ends[at].outcome = Some(Outcome::Failed(failure));
            }
        }
    }
    for end in &mut ends {
        end.outcome.get_or_insert(Outcome::Stopped(Exit::Interrupted));
    }
    ends::list(&ends, console);
    Ok(ends::worst(&ends))
}

/// What is wanted of each torrent.
struct Wanted<'a> {
    /// Where torrents are fetched from.
    bind: Option<IpAddr>,
    /// Where earlier runs left what magnet links stand for.
    state_dir: Option<PathBuf>,
    /// The payload, or the folder that holds it.
    path: PathBuf,
    /// The same as a person wrote it.
    typed: PathBuf,
    selection: Arc<Selection>,
    console: &'a Console,
    interrupts: &'a Interrupts,
}

/// `None`: Ctrl-C.
async fn load(env: &mut Env, source: &OsStr, wanted: &Wanted<'_>) -> Result<Option<Metainfo>, Failure> {
    let torrent = loading::torrent(wanted.bind, wanted.state_dir.clone());
    loading::load(env, source, torrent, &wanted.console.aside(), wanted.interrupts).await
}

/// Verifies one of several. `None`: Ctrl-C.
async fn one_of(
    env: &mut Env,
    wanted: &Wanted<'_>,
    ends: &mut [End],
    at: usize,
) -> Result<Option<Outcome>, Failure> {
    let source = ends[at].source.clone();
    let Some(metainfo) = load(env, &source, wanted).await? else { return Ok(None) };
    let hashes = metainfo.info().info_hashes();
    let is_twin = |end: &End| end.hashes.is_some_and(|other| ends::is_same(&hashes, &other));
    let twin = ends.iter().position(is_twin);
    ends[at].hashes = Some(hashes);
    match twin {
        Some(twin) => Ok(Some(Outcome::SameAs(twin))),
        None => wanted.verify(&source, &metainfo).await,
    }
}

fn interrupted() -> Failure {
    Failure::new(Exit::Interrupted, "stopped before the end; nothing was changed")
        .hint("the same command begins anew")
}

impl Wanted<'_> {
    /// Compares and tells; data that differs is told already, as a failure it is for a summary. `None`: Ctrl-C.
    async fn verify(&self, source: &OsStr, metainfo: &Metainfo) -> Result<Option<Outcome>, Failure> {
        let console = self.console;
        let source = ends::short_name(source);
        for warning in metainfo.warnings() {
            console.warn(&format!("{source}: {warning}"));
        }
        let started = Instant::now();
        let Some(verdict) = self.compare(source, metainfo.clone()).await? else { return Ok(None) };
        if console.is_json() {
            let answered = console.answer_json(&Report::new(&verdict));
            // That the data is bad is worth more than that it could not be told.
            if verdict.is_good() {
                answered?;
            }
        } else {
            tell(&verdict, started, console);
        }
        if verdict.is_good() {
            return Ok(Some(Outcome::Done));
        }
        Ok(Some(Outcome::Failed(Failure::new(Exit::VerifyFailed, verdict.what_differs()))))
    }

    /// On a thread that may wait for the disk, from the first look at a file to the last. `None`: Ctrl-C.
    async fn compare(&self, source: String, metainfo: Metainfo) -> Result<Option<Verdict>, Failure> {
        let progress = Arc::new(Progress::new(metainfo.info().layout().total_length()));
        let work = {
            let (progress, selection) = (progress.clone(), self.selection.clone());
            let (path, typed) = (self.path.clone(), self.typed.clone());
            move || {
                let halt = progress.halt();
                let place = Place::at(&metainfo, &path, &typed, halt)?;
                let priorities = selection.priorities(&metainfo, None)?;
                let look = Look::new(&metainfo, &place, &priorities, halt)?;
                let Some(have) = check_pieces(&metainfo, &place, &look.pieces, &progress)? else {
                    return Ok(None);
                };
                Verdict::new(source, &metainfo, place, look, &have, halt).map(Some)
            }
        };
        Ok(look("verifying", work, &progress, self.console, self.interrupts).await?.flatten())
    }
}

/// Those of these pieces on disk that match. `None`: Ctrl-C.
fn check_pieces(
    metainfo: &Metainfo,
    place: &Place,
    pieces: &[u32],
    progress: &Progress,
) -> Result<Option<Bitfield>, Failure> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let report = |done, total| progress.set(done, total);
    let (info, places) = (metainfo.shared_info(), place.places().clone());
    ferri_engine::verify_places(&info, place.root(), places, pieces, threads, progress.halt(), &report)
        .map_err(|error| session::failure(&error))
}

/// What is looked at.
#[derive(Debug)]
struct Look {
    /// The chosen files and their numbers.
    files: Vec<(usize, FileIndex)>,
    /// Pieces that touch one of them, ascending.
    pieces: Vec<u32>,
    /// Bytes of those.
    bytes: u64,
    /// Pieces that also touch a file that was not chosen and is not whole: nothing can be said of them.
    undecidable: BTreeSet<u32>,
}

impl Look {
    fn new(
        metainfo: &Metainfo,
        place: &Place,
        priorities: &[FilePriority],
        halt: &Halt,
    ) -> Result<Self, Failure> {
        let layout = metainfo.info().layout();
        let is_chosen = |file: FileIndex| priorities.get(file.as_usize()) != Some(&FilePriority::Skip);
        let all = (1..).zip(layout.files().filter(|file| !layout.is_pad(*file)));
        let (files, others): (Vec<_>, Vec<_>) = all.partition(|(_, file)| is_chosen(*file));
        let Some(Part { pieces, bytes }) = Part::new(metainfo, priorities) else {
            let pieces = (0..layout.piece_count()).collect();
            return Ok(Self { files, pieces, bytes: layout.total_length(), undecidable: BTreeSet::new() });
        };
        // A piece in the middle of such a file touches no other.
        let edges = |file: FileIndex| {
            let pieces = layout.file_pieces(file);
            [pieces.clone().next(), pieces.last()]
        };
        let mut undecidable = BTreeSet::new();
        place.look_at(others.into_iter().map(|(_, file)| file), halt, |file, found| {
            let is_whole = matches!(found, Found::File { length, .. } if layout.file_len(file) <= length);
            if !is_whole {
                undecidable.extend(edges(file).into_iter().flatten());
            }
        })?;
        Ok(Self { files, pieces, bytes, undecidable })
    }
}

/// What was found. Files are described when they are asked for: there may be a million.
#[derive(Debug)]
struct Verdict {
    source: String,
    metainfo: Metainfo,
    place: Place,
    /// That were looked at.
    pieces: usize,
    /// Their bytes.
    bytes: u64,
    bytes_bad: u64,
    bad_pieces: Vec<u32>,
    undecided_pieces: Vec<u32>,
    files: Vec<Judged>,
    bad_files: usize,
}

/// A file and what is wrong with it.
#[derive(Debug, Clone, Copy)]
struct Judged {
    number: usize,
    file: FileIndex,
    status: FileStatus,
}

/// The answer of `verify --json`.
#[derive(Serialize)]
struct Report<'a> {
    /// As it was typed.
    source: &'a str,
    name: &'a str,
    /// What is odd in the torrent and could be understood.
    warnings: Vec<String>,
    /// That were looked at.
    pieces: usize,
    /// How many do not match.
    bad: usize,
    bytes_bad: u64,
    bad_pieces: &'a [u32],
    /// Pieces that differ, perhaps only because of a file that was not chosen and is not whole.
    undecided_pieces: &'a [u32],
    #[serde(serialize_with = "bad_paths")]
    bad_files: &'a Verdict,
    #[serde(serialize_with = "file_verdicts")]
    files: &'a Verdict,
}

#[derive(Debug, Serialize)]
struct FileVerdict<'a> {
    number: usize,
    path: String,
    /// Where it lies or would lie.
    disk_path: Option<String>,
    /// Why it does not lie where its name says.
    disk_note: Option<String>,
    size: u64,
    status: FileStatus,
    /// Pieces that touch this file and do not match.
    bad_pieces: &'a [u32],
}

impl Verdict {
    fn new(
        source: String,
        metainfo: &Metainfo,
        place: Place,
        look: Look,
        have: &Bitfield,
        halt: &Halt,
    ) -> Result<Self, Failure> {
        let info = metainfo.info();
        let layout = info.layout();
        let Look { files: chosen, pieces, bytes, undecidable } = look;
        let differ = pieces.iter().copied().filter(|piece| !have.get(*piece));
        let (undecided_pieces, bad_pieces): (Vec<u32>, Vec<u32>) =
            differ.partition(|piece| undecidable.contains(piece));
        let mut files = Vec::with_capacity(chosen.len());
        let mut numbers = chosen.iter().map(|(number, _)| *number);
        place.look_at(chosen.iter().map(|(_, file)| *file), halt, |file, found| {
            let is_link = info.file(file).is_some_and(|file| file.attributes.symlink);
            let has_bad_pieces = !touching(&bad_pieces, layout.file_pieces(file)).is_empty();
            let status = FileStatus::of(found, layout.file_len(file), is_link, has_bad_pieces);
            files.extend(numbers.next().map(|number| Judged { number, file, status }));
        })?;
        let lengths = bad_pieces.iter().filter_map(|piece| layout.piece(*piece));
        Ok(Self {
            source,
            metainfo: metainfo.clone(),
            place,
            pieces: pieces.len(),
            bytes,
            bytes_bad: lengths.map(|piece| u64::from(layout.piece_len(piece))).sum(),
            bad_files: files.iter().filter(|file| file.status.is_bad()).count(),
            bad_pieces,
            undecided_pieces,
            files,
        })
    }

    fn is_good(&self) -> bool {
        self.bad_pieces.is_empty() && self.bad_files == 0
    }

    fn bad(&self) -> impl Iterator<Item = &Judged> {
        self.files.iter().filter(|file| file.status.is_bad())
    }

    /// Those that are not there and that a download would make.
    fn absent(&self) -> impl Iterator<Item = &Judged> {
        let absent = self.files.iter().filter(|file| file.status == FileStatus::Absent);
        absent.filter(|judged| self.place.path(judged.file).is_some())
    }

    fn path_of(&self, file: FileIndex) -> String {
        self.metainfo.info().file(file).map(|file| facts::path(&file)).unwrap_or_default()
    }

    fn disk_path_of(&self, file: FileIndex) -> Option<String> {
        self.place.path(file).map(|path| facts::local_text(&path))
    }

    fn bad_pieces_of(&self, file: FileIndex) -> &[u32] {
        touching(&self.bad_pieces, self.metainfo.info().layout().file_pieces(file))
    }

    fn describe(&self, &Judged { number, file, status }: &Judged) -> FileVerdict<'_> {
        FileVerdict {
            number,
            path: self.path_of(file),
            disk_path: self.disk_path_of(file),
            disk_note: self.place.alias(file).map(|alias| alias.to_string()),
            size: self.metainfo.info().layout().file_len(file),
            status,
            bad_pieces: self.bad_pieces_of(file),
        }
    }

    fn what_differs(&self) -> String {
        format!(
            "{} of {} differ, {} of {} pieces ({})",
            self.bad_files,
            units::count(self.files.len() as u64, "file", "files"),
            self.bad_pieces.len(),
            self.pieces,
            units::size(self.bytes_bad),
        )
    }
}

impl<'a> Report<'a> {
    fn new(verdict: &'a Verdict) -> Self {
        Self {
            source: &verdict.source,
            name: verdict.metainfo.info().name(),
            warnings: verdict.metainfo.warnings().iter().map(ToString::to_string).collect(),
            pieces: verdict.pieces,
            bad: verdict.bad_pieces.len(),
            bytes_bad: verdict.bytes_bad,
            bad_pieces: &verdict.bad_pieces,
            undecided_pieces: &verdict.undecided_pieces,
            bad_files: verdict,
            files: verdict,
        }
    }
}

fn bad_paths<S: Serializer>(verdict: &Verdict, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(verdict.bad().map(|judged| verdict.path_of(judged.file)))
}

fn file_verdicts<S: Serializer>(verdict: &Verdict, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(verdict.files.iter().map(|judged| verdict.describe(judged)))
}

/// Those of `pieces`, which ascend, that are in `range`: a million files need not look at a million pieces each.
fn touching(pieces: &[u32], range: Range<u32>) -> &[u32] {
    let from = pieces.partition_point(|piece| *piece < range.start);
    let to = pieces.partition_point(|piece| *piece < range.end).max(from);
    &pieces[from..to]
}

fn tell(verdict: &Verdict, started: Instant, console: &Console) {
    let moved =
        verdict.files.iter().filter_map(|judged| Some((judged.file, verdict.place.alias(judged.file)?)));
    for (file, note) in moved.clone().take(MOVED_TOLD_MAX) {
        let lies_at = verdict.disk_path_of(file).unwrap_or_default();
        console.line(&format!(
            "{}  lies at {}: {note}",
            harmless(&verdict.path_of(file)),
            harmless(&lies_at)
        ));
    }
    let more = moved.count().saturating_sub(MOVED_TOLD_MAX) as u64;
    if more != 0 {
        let files = units::count(more, "more file has", "more files have");
        console.line(&format!("{files} another name on disk"));
    }
    // A million lines are not handed on one by one.
    let mut lines = String::new();
    for judged in verdict.bad() {
        let what = judged.status.word();
        if PORTION < lines.len() {
            console.line(&std::mem::take(&mut lines));
        }
        if !lines.is_empty() {
            lines.push('\n');
        }
        // Writing to a string cannot fail.
        let _ = write!(lines, "{what:<9}  {}", harmless(&verdict.path_of(judged.file)));
        let pieces = verdict.bad_pieces_of(judged.file);
        if !pieces.is_empty() {
            let count = units::count(pieces.len() as u64, "piece:", "pieces:");
            let _ = write!(lines, "  {count} {}", ranges(pieces));
        }
    }
    if !lines.is_empty() {
        console.line(&lines);
    }
    tell_undecided(&verdict.undecided_pieces, console);
    tell_absent(verdict, console);
    let time = started.elapsed();
    let took = format!(
        "{} in {} ({})",
        units::size(verdict.bytes),
        units::took(time),
        units::rate(units::mean_rate(verdict.bytes, time))
    );
    let name = harmless(verdict.metainfo.info().name());
    if verdict.is_good() {
        let pieces = units::count(verdict.pieces as u64, "piece", "pieces");
        console.line(&format!("{name}  good: {pieces}, {took}"));
        return;
    }
    console.line(&format!("{name}  {}, {took}", verdict.what_differs()));
    console.line("`ferriswarm get SOURCE -o DIR --check` fetches what differs; a file of yours it writes over only with --overwrite");
}

fn tell_undecided(pieces: &[u32], console: &Console) {
    if !pieces.is_empty() {
        console.line(&format!(
            "unsure     {} {}: shared with a file that is not chosen and not whole",
            units::count(pieces.len() as u64, "piece:", "pieces:"),
            ranges(pieces)
        ));
    }
}

fn tell_absent(verdict: &Verdict, console: &Console) {
    let count = verdict.absent().count();
    if count == 0 {
        return;
    }
    let some = verdict.absent().take(ABSENT_TOLD_MAX).map(|judged| verdict.path_of(judged.file));
    let mut names = some.map(|path| harmless(&path)).collect::<Vec<_>>().join(", ");
    if ABSENT_TOLD_MAX < count {
        names.push_str(", …");
    }
    let count = units::count(count as u64, "empty file:", "empty files:");
    console.line(&format!(
        "absent     {count} {names}: no data is missing; `ferriswarm get SOURCE -o DIR` makes what is absent"
    ));
}

/// `0-3, 7, 9-…`: enough to see where, not so much that it fills a screen.
fn ranges(pieces: &[u32]) -> String {
    let mut runs: Vec<RangeInclusive<u32>> = Vec::new();
    for &piece in pieces {
        match runs.last_mut() {
            Some(run) if *run.end() + 1 == piece => *run = *run.start()..=piece,
            _ => runs.push(piece..=piece),
        }
    }
    let shown = runs.iter().take(RUNS_MAX).map(|run| match (run.start(), run.end()) {
        (start, end) if start == end => start.to_string(),
        (start, end) => format!("{start}-{end}"),
    });
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if RUNS_MAX < runs.len() {
        text.push_str(", …");
    }
    text
}

/// Bytes of text that are printed at once.
const PORTION: usize = 16 << 10;

/// So many files that have another name on disk are told one by one; the JSON form has all.
const MOVED_TOLD_MAX: usize = 5;

/// So many empty files that are absent are named; the JSON form has all.
const ABSENT_TOLD_MAX: usize = 5;

/// The JSON form lists all of them.
const RUNS_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_become_ranges() {
        assert_eq!(ranges(&[0, 1, 2, 7, 9, 10]), "0-2, 7, 9-10");
        let every_other: Vec<u32> = (0..100).step_by(2).collect();
        assert!(ranges(&every_other).ends_with("36, 38, …"));
    }
}

//! `verify`: which files and pieces on disk are what the torrent says.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use ferri_engine::FilePriority;
use ferri_metainfo::{Bitfield, FileIndex, Info, Metainfo};
use serde::Serialize;

use crate::args::VerifyArgs;
use crate::args::files::Wishes;
use crate::console::Console;
use crate::ends::{self, End, Outcome};
use crate::env::{Env, Interrupts};
use crate::exit::{Exit, Failure};
use crate::facts;
use crate::place::Place;
use crate::select::{Part, Selection};
use crate::text::harmless;
use crate::work::{Progress, follow};
use crate::{loading, session, source, units};

pub(crate) async fn run(
    env: &mut Env,
    console: &Console,
    args: &VerifyArgs,
    interrupts: Interrupts,
) -> Result<Exit, Failure> {
    let (sources, typed) = source::split(&args.words, env)?;
    let wanted = Wanted {
        path: env.path(&typed),
        typed,
        selection: Selection::new(&args.files, &Wishes::default()),
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
    /// The payload, or the folder that holds it.
    path: PathBuf,
    /// The same as a person wrote it.
    typed: PathBuf,
    selection: Selection,
    console: &'a Console,
    interrupts: &'a Interrupts,
}

/// `None`: Ctrl-C.
async fn load(env: &mut Env, source: &OsStr, wanted: &Wanted<'_>) -> Result<Option<Metainfo>, Failure> {
    let torrent = loading::torrent(None, env.default_state_dir());
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
        let place = Place::at(metainfo, &self.path, &self.typed)?;
        let priorities = self.selection.priorities(metainfo, None)?;
        let look = Look::new(metainfo, &place, &priorities);
        let started = Instant::now();
        let (info, pieces) = (metainfo.shared_info(), look.pieces.clone());
        let checked = check_pieces(&info, &place, pieces, "verifying", console, self.interrupts).await?;
        let Some(have) = checked else { return Ok(None) };
        let verdict = Verdict::new(source, metainfo, &place, &look, &have);
        if console.is_json() {
            let answered = console.answer_json(&verdict);
            // That the data is bad is worth more than that nobody could be told.
            if verdict.is_good() {
                answered?;
            }
        } else {
            tell(&verdict, look.bytes, started, console);
        }
        if verdict.is_good() {
            return Ok(Some(Outcome::Done));
        }
        Ok(Some(Outcome::Failed(Failure::new(Exit::VerifyFailed, verdict.what_differs()))))
    }
}

/// Those of these pieces on disk that match. `None`: Ctrl-C.
async fn check_pieces(
    info: &Arc<Info>,
    place: &Place,
    pieces: Vec<u32>,
    what: &str,
    console: &Console,
    interrupts: &Interrupts,
) -> Result<Option<Bitfield>, Failure> {
    let progress = Arc::new(Progress::new(info.layout().total_length()));
    let work = {
        let (progress, info, payload) = (progress.clone(), info.clone(), place.payload().to_owned());
        move || {
            let threads = thread::available_parallelism().map_or(1, usize::from);
            let report = |done, total| progress.set(done, total);
            ferri_engine::verify_pieces(&info, &payload, &pieces, threads, progress.cancel_flag(), &report)
                .map_err(|error| session::failure(&error))
        }
    };
    Ok(follow(what, work, &progress, console, interrupts).await?.flatten())
}

/// What is looked at.
#[derive(Debug)]
struct Look {
    /// The chosen files and their numbers.
    files: Vec<(usize, FileIndex, String)>,
    /// Pieces that touch one of them, ascending.
    pieces: Vec<u32>,
    /// Bytes of those.
    bytes: u64,
    /// Pieces that also touch a file that was not chosen and is not whole: nothing can be said of them.
    undecidable: BTreeSet<u32>,
}

impl Look {
    fn new(metainfo: &Metainfo, place: &Place, priorities: &[FilePriority]) -> Self {
        let layout = metainfo.info().layout();
        let is_chosen = |file: FileIndex| priorities.get(file.as_usize()) != Some(&FilePriority::Skip);
        let all = facts::visible_files(metainfo).into_iter().zip(1..);
        let (chosen, others): (Vec<_>, Vec<_>) = all.partition(|((file, _), _)| is_chosen(*file));
        let files = chosen.into_iter().map(|((file, path), number)| (number, file, path)).collect();
        let Some(Part { pieces, bytes }) = Part::new(metainfo, priorities) else {
            let pieces = (0..layout.piece_count()).collect();
            return Self { files, pieces, bytes: layout.total_length(), undecidable: BTreeSet::new() };
        };
        let is_whole = |file: FileIndex| {
            place.metadata(file).is_some_and(|meta| meta.is_file() && layout.file_len(file) <= meta.len())
        };
        // A piece in the middle of such a file touches no other.
        let edges = |file: FileIndex| {
            let pieces = layout.file_pieces(file);
            [pieces.clone().next(), pieces.last()]
        };
        let broken = others.iter().map(|((file, _), _)| *file).filter(|file| !is_whole(*file));
        let undecidable = broken.flat_map(edges).flatten().collect();
        Self { files, pieces, bytes, undecidable }
    }
}

/// The answer of `verify --json`.
#[derive(Debug, Serialize)]
struct Verdict {
    /// As it was typed.
    source: String,
    name: String,
    /// What is odd in the torrent and could be understood.
    warnings: Vec<String>,
    /// That were looked at.
    pieces: usize,
    /// How many do not match.
    bad: usize,
    bytes_bad: u64,
    bad_pieces: Vec<u32>,
    /// Pieces that differ, perhaps only because of a file that was not chosen and is not whole.
    undecided_pieces: Vec<u32>,
    bad_files: Vec<String>,
    files: Vec<FileVerdict>,
}

#[derive(Debug, Serialize)]
struct FileVerdict {
    number: usize,
    path: String,
    /// Where it lies or would lie.
    disk_path: Option<String>,
    /// Why it does not lie where its name says.
    disk_note: Option<String>,
    size: u64,
    status: FileStatus,
    /// Pieces that touch this file and do not match.
    bad_pieces: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum FileStatus {
    Good,
    /// A piece that touches it does not match.
    Bad,
    Missing,
    Short,
    /// Its pieces match, but bytes follow that are not the torrent's.
    Long,
}

impl Verdict {
    fn new(source: String, metainfo: &Metainfo, place: &Place, look: &Look, have: &Bitfield) -> Self {
        let layout = metainfo.info().layout();
        let differ = look.pieces.iter().copied().filter(|piece| !have.get(*piece));
        let (undecided_pieces, bad_pieces): (Vec<u32>, Vec<u32>) =
            differ.partition(|piece| look.undecidable.contains(piece));
        let verdict = |(number, index, path): &(usize, FileIndex, String)| {
            let range = layout.file_pieces(*index);
            // Ascending: a million files need not look at a million pieces each.
            let from = bad_pieces.partition_point(|piece| *piece < range.start);
            let to = bad_pieces.partition_point(|piece| *piece < range.end).max(from);
            let bad_pieces = bad_pieces[from..to].to_vec();
            let size = layout.file_len(*index);
            let is_link = metainfo.info().file(*index).is_some_and(|file| file.attributes.symlink);
            let status = status(place, *index, size, is_link, !bad_pieces.is_empty());
            let disk_path = place.path(*index).map(|path| facts::local_text(&path));
            let disk_note = place.alias(*index).map(|alias| alias.to_string());
            FileVerdict {
                number: *number,
                path: path.clone(),
                disk_path,
                disk_note,
                size,
                status,
                bad_pieces,
            }
        };
        let files: Vec<FileVerdict> = look.files.iter().map(verdict).collect();
        let lengths = bad_pieces.iter().filter_map(|piece| layout.piece(*piece));
        Self {
            source,
            name: metainfo.info().name().to_owned(),
            warnings: metainfo.warnings().iter().map(ToString::to_string).collect(),
            pieces: look.pieces.len(),
            bad: bad_pieces.len(),
            bytes_bad: lengths.map(|piece| u64::from(layout.piece_len(piece))).sum(),
            undecided_pieces,
            bad_files: files.iter().filter(|file| !file.is_good()).map(|file| file.path.clone()).collect(),
            bad_pieces,
            files,
        }
    }

    fn is_good(&self) -> bool {
        self.bad == 0 && self.bad_files.is_empty()
    }

    fn what_differs(&self) -> String {
        format!(
            "{} of {} differ, {} of {} pieces ({})",
            self.bad_files.len(),
            units::count(self.files.len() as u64, "file", "files"),
            self.bad,
            self.pieces,
            units::size(self.bytes_bad),
        )
    }
}

impl FileVerdict {
    fn is_good(&self) -> bool {
        self.status == FileStatus::Good
    }
}

fn status(place: &Place, file: FileIndex, size: u64, is_link: bool, has_bad_pieces: bool) -> FileStatus {
    let Some(meta) = place.metadata(file) else { return FileStatus::Missing };
    if is_link {
        return FileStatus::Good;
    }
    match meta.len() {
        _ if !meta.is_file() => FileStatus::Missing,
        length if length < size => FileStatus::Short,
        _ if has_bad_pieces => FileStatus::Bad,
        length if size < length => FileStatus::Long,
        _ => FileStatus::Good,
    }
}

fn tell(verdict: &Verdict, total: u64, started: Instant, console: &Console) {
    let moved = verdict.files.iter().filter_map(|file| Some((file, file.disk_note.as_deref()?)));
    for (file, note) in moved.clone().take(MOVED_TOLD_MAX) {
        let lies_at = file.disk_path.as_deref().unwrap_or_default();
        console.line(&format!("{}  lies at {}: {note}", harmless(&file.path), harmless(lies_at)));
    }
    let more = moved.count().saturating_sub(MOVED_TOLD_MAX) as u64;
    if more != 0 {
        let files = units::count(more, "more file has", "more files have");
        console.line(&format!("{files} another name on disk"));
    }
    // A million lines are not handed on one by one.
    let mut lines = String::new();
    for file in verdict.files.iter().filter(|file| !file.is_good()) {
        let what = match file.status {
            FileStatus::Good => "good",
            FileStatus::Bad => "bad",
            FileStatus::Missing => "missing",
            FileStatus::Short => "too short",
            FileStatus::Long => "too long",
        };
        let pieces = match file.bad_pieces.len() as u64 {
            0 => String::new(),
            count => {
                format!("  {} {}", units::count(count, "piece:", "pieces:"), ranges(&file.bad_pieces))
            }
        };
        let line = format!("{what:<9}  {}{pieces}", harmless(&file.path));
        if PORTION < lines.len() + line.len() {
            console.line(&std::mem::take(&mut lines));
        }
        if !lines.is_empty() {
            lines.push('\n');
        }
        lines.push_str(&line);
    }
    if !lines.is_empty() {
        console.line(&lines);
    }
    tell_undecided(&verdict.undecided_pieces, console);
    let time = started.elapsed();
    let took = format!(
        "{} in {} ({})",
        units::size(total),
        units::took(time),
        units::rate(units::mean_rate(total, time))
    );
    let name = harmless(&verdict.name);
    if verdict.is_good() {
        let pieces = units::count(verdict.pieces as u64, "piece", "pieces");
        console.line(&format!("{name}  good: {pieces}, {took}"));
        return;
    }
    console.line(&format!("{name}  {}, {took}", verdict.what_differs()));
    console.line("`ferriswarm get SOURCE -o DIR --check` fetches what differs");
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

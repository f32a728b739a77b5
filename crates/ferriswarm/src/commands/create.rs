//! `create`: a torrent of each file or folder, hashed by all cores.

mod choice;
mod hashing;
mod output;
mod preview;
mod walk;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use ferri_metainfo::create::{Builder, CreateError, Plan};
use ferri_metainfo::{InfoHashes, Metainfo, Version};
use serde::Serialize;

use crate::args::{About, CreateArgs};
use crate::console::Console;
use crate::ends::{self, End, Outcome};
use crate::env::{Env, Interrupts};
use crate::exit::{Exit, Failure};
use crate::facts::{Facts, Redacted, local_text};
use crate::out::{Existing, Identity, Out};
use crate::work::{Progress, follow};
use crate::{text, units};
use choice::Choice;
use walk::LeftOut;

pub(crate) async fn run(
    env: &Env,
    console: &Console,
    args: &CreateArgs,
    interrupts: Interrupts,
) -> Result<Exit, Failure> {
    output::refuse_for_several(env, args)?;
    let targets: Vec<_> = args.paths.iter().map(|path| Target::new(env, args, path)).collect();
    output::refuse_doubled(&targets)?;
    if let [Ok(Target { out: Out::Stdout, .. })] = &targets[..]
        && console.is_json()
        && !args.dry_run
    {
        return Err(Failure::usage("--json and -o - both want standard output")
            .hint("write the torrent to a file with -o, or leave --json away"));
    }
    // A torrent that is written first is no part of a folder that is shared next: everything is walked before.
    let replaced: Vec<Identity> =
        targets.iter().flatten().filter_map(|target| target.out.replaced()).collect();
    let progress = Arc::new(Progress::of_files());
    let walk = {
        let (progress, args) = (progress.clone(), args.clone());
        move || Ok(targets.into_iter().map(|target| Job::new(target?, &args, &replaced, &progress)).collect())
    };
    let wait = console.aside();
    match follow("looking at files", walk, &progress, &wait, &interrupts).await? {
        Some(jobs) => several(jobs, console, args, &interrupts).await,
        None => Err(walk::stopped()),
    }
}

/// Makes all; what is wrong with one does not end the others.
async fn several(
    jobs: Vec<Result<Job, Failure>>,
    console: &Console,
    args: &CreateArgs,
    interrupts: &Interrupts,
) -> Result<Exit, Failure> {
    let is_single = jobs.len() == 1;
    let mut ends: Vec<End> = args.paths.iter().map(|path| End::new(path.clone().into_os_string())).collect();
    for (end, job) in ends.iter_mut().zip(jobs) {
        let made = match job {
            Ok(job) => job.make(console, args, is_single, interrupts).await,
            Err(failure) => Err(failure),
        };
        match made {
            Ok(Some(hashes)) => {
                end.hashes = hashes;
                end.outcome = Some(Outcome::Done);
            }
            Ok(None) if is_single => {
                return Err(walk::stopped());
            }
            Ok(None) => break,
            Err(failure) if is_single => return Err(failure),
            Err(failure) => {
                console.failure_of(&ends::short_name(&end.source), &failure);
                end.outcome = Some(Outcome::Failed(failure));
            }
        }
    }
    for end in &mut ends {
        end.outcome.get_or_insert(Outcome::Stopped(Exit::Interrupted));
    }
    if !is_single {
        ends::list(&ends, console);
    }
    Ok(ends::worst(&ends))
}

/// A payload, and where its torrent goes.
struct Target {
    /// As a person wrote it.
    typed: PathBuf,
    root: PathBuf,
    name: String,
    out: Out,
}

impl Target {
    fn new(env: &Env, args: &CreateArgs, typed: &Path) -> Result<Self, Failure> {
        let root = env.path(typed);
        let root = root.canonicalize().map_err(|error| Failure::file("read", typed, &error))?;
        let name = name(args, typed, &root)?;
        // Before anything is hashed.
        let out = Out::new(env, output::of(env, args, &name), Existing::with_force(args.force))?;
        Ok(Self { typed: typed.to_owned(), root, name, out })
    }
}

/// A torrent that can be made.
struct Job {
    target: Target,
    plan: Plan,
    paths: walk::Paths,
    left_out: LeftOut,
}

impl Job {
    /// `replaced` are the files that this command writes over.
    fn new(
        target: Target,
        args: &CreateArgs,
        replaced: &[Identity],
        progress: &Progress,
    ) -> Result<Self, Failure> {
        let choice = Choice::new(&args.choice, &target.name)?;
        let payload = walk::payload(&target.root, replaced, &choice, progress)?;
        let plan = builder(&args.about, &target.name, &payload)
            .plan()
            .map_err(|error| refused(&target.typed, &error))?;
        let walk::Payload { paths, left_out, .. } = payload;
        Ok(Self { target, plan, paths, left_out })
    }

    /// Gives the hashes of the torrent, if it was made. `None`: Ctrl-C.
    async fn make(
        self,
        console: &Console,
        args: &CreateArgs,
        is_single: bool,
        interrupts: &Interrupts,
    ) -> Result<Option<Option<InfoHashes>>, Failure> {
        let Self { target, plan, paths, left_out } = self;
        let quiet = console.quiet();
        let console = match target.out {
            Out::Stdout if !args.dry_run => &quiet,
            _ => console,
        };
        let of = if is_single { String::new() } else { format!("{}: ", target.name) };
        tell_left_out(&left_out, &of, console);
        if args.dry_run {
            preview::tell(&plan, &target.name, &target.out, &left_out, console)?;
            return Ok(Some(None));
        }
        let started = Instant::now();
        let progress = Arc::new(Progress::new(plan.total_length()));
        let hashing = {
            let progress = progress.clone();
            move || hashing::hash(plan, &paths, &progress)
        };
        let Some(bytes) = follow("hashing", hashing, &progress, console, interrupts).await? else {
            return Ok(None);
        };
        target.out.write(&bytes, console)?;
        let metainfo = Metainfo::parse(&bytes).map_err(|error| {
            Failure::new(Exit::Internal, format!("our own torrent does not parse: {error}"))
        })?;
        if let Out::File { path, typed, .. } = &target.out {
            tell(&metainfo, (path, typed), &left_out, started, console);
        }
        Ok(Some(Some(metainfo.info().info_hashes())))
    }
}

/// Why there is no torrent of it, and what to do.
fn refused(typed: &Path, error: &CreateError) -> Failure {
    let message = format!("{}: {error}", typed.display());
    let what_to_do = match error {
        CreateError::Empty => "share something with data in it; --include NAME takes what is left out",
        CreateError::TooManyFiles(_) => "leave some out with --exclude, or make several torrents",
        CreateError::TooLong => "make several torrents of it",
        CreateError::PieceLength(_) | CreateError::NotPowerOfTwo(_) => {
            "give a power of two from 16k to 128M with -l, or leave -l away"
        }
        CreateError::TooManyPieces { .. } | CreateError::TorrentTooLarge(_) => {
            "give longer pieces with -l, up to 128M, or make several torrents"
        }
        CreateError::Name { .. } => {
            "rename it, leave it out with --exclude, or give the whole another name with --name"
        }
        CreateError::Url { what: "web seed", .. } => {
            "give the whole address, as in -w https://example.org/folder/"
        }
        CreateError::Url { .. } => "give the whole address, as in -t udp://tracker.example:6969/announce",
        CreateError::WrongLength { .. } | CreateError::TooMuchData => {
            "run it again when nothing writes to the files"
        }
        CreateError::NoSuchPiece(_) | CreateError::WrongHash(_) | CreateError::Unfinished { .. } => {
            return Failure::new(Exit::Internal, message);
        }
    };
    Failure::usage(message).hint(what_to_do)
}

/// The torrent's name: what `--name` says, else that of the payload.
fn name(args: &CreateArgs, typed: &Path, root: &Path) -> Result<String, Failure> {
    if let Some(name) = &args.about.name {
        return Ok(name.clone());
    }
    let Some(name) = root.file_name() else {
        return Err(Failure::usage(format!("{} has no name", typed.display())).hint("give one with --name"));
    };
    name.to_str().map(str::to_owned).ok_or_else(|| {
        Failure::usage(format!("{}: its name is no UTF-8 text", typed.display())).hint("give one with --name")
    })
}

/// What the flags mean, for this payload.
fn builder(about: &About, name: &str, payload: &walk::Payload) -> Builder {
    let version = match about {
        About { v2: true, .. } => Version::V2,
        About { hybrid: true, .. } => Version::Hybrid,
        _ => Version::V1,
    };
    let mut builder = Builder::new(version, name, payload.content.clone());
    builder.piece_length = about.piece_length;
    builder.trackers = about.tracker.iter().map(|tier| words(tier)).collect();
    builder.web_seeds.clone_from(&about.web_seed);
    builder.private = about.private;
    builder.source.clone_from(&about.source);
    builder.comment.clone_from(&about.comment);
    let program = concat!("ferriswarm ", env!("CARGO_PKG_VERSION"));
    builder.created_by = (!about.no_created_by).then(|| program.to_owned());
    builder.creation_date = about.date.then(|| jiff::Timestamp::now().as_second());
    builder
}

/// `a,b` is one tier of two.
fn words(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Says what is not shared: links and the like by name, as the user may miss them, the rest by number. `of` says whose
/// they are, where that is not clear.
fn tell_left_out(left_out: &LeftOut, of: &str, console: &Console) {
    for (path, why) in &left_out.specials {
        console.warn(&format!("{of}left out {}: {why}", path.display()));
    }
    let more = left_out.special - left_out.specials.len() as u64;
    if more != 0 {
        console.warn(&format!("{of}left out {more} more that are neither files nor folders"));
    }
    let of = text::harmless(of);
    if left_out.litter != 0 {
        let names: Vec<&str> = left_out.litter_names.iter().map(String::as_str).collect();
        console.line(&format!(
            "{of}left out {} of operating systems ({}); --include NAME takes one",
            units::count(left_out.litter, "entry", "entries"),
            text::harmless(&names.join(", "))
        ));
    }
    for (count, why) in [(left_out.hidden, "hidden"), (left_out.excluded, "unwanted")] {
        if count != 0 {
            console.line(&format!("{of}left out {count} {why}"));
        }
    }
}

/// `written` is where the torrent is, and how the person wrote that.
fn tell(
    metainfo: &Metainfo,
    written: (&Path, &Path),
    left_out: &LeftOut,
    started: Instant,
    console: &Console,
) {
    #[derive(Serialize)]
    struct Created<'a> {
        output: String,
        left_out: &'a LeftOut,
        #[serde(flatten)]
        facts: Redacted<'a>,
    }
    let facts = Facts::new(metainfo);
    let (path, typed) = written;
    if console.is_json() {
        console.event(&Created { output: local_text(path), left_out, facts: facts.redacted() });
        return;
    }
    console.line(&facts.headline(console));
    for (what, hash) in [("info hash v1", &facts.info_hash_v1), ("info hash v2", &facts.info_hash_v2)] {
        if let Some(hash) = hash {
            console.line(&format!("  {what}  {hash}"));
        }
    }
    let piece_length = units::size(facts.piece_length.into());
    let (took, rate) = (started.elapsed(), units::mean_rate(facts.total_size, started.elapsed()));
    console.line(&format!(
        "  {} of {piece_length}, hashed in {} ({})",
        units::count(facts.piece_count.into(), "piece", "pieces"),
        units::took(took),
        units::rate(rate)
    ));
    console.line(&format!("  written to {}", text::harmless(&typed.to_string_lossy())));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_says_what_to_do() {
        let typed = Path::new("a");
        let url = |what| CreateError::Url { what, url: "x".to_owned() };
        for error in [
            CreateError::Empty,
            CreateError::TooManyFiles(1),
            CreateError::TooLong,
            CreateError::PieceLength(1),
            CreateError::NotPowerOfTwo(3),
            CreateError::TooManyPieces { count: 1, piece_length: 1 },
            CreateError::Name { path: "x".to_owned(), problem: "is odd" },
            url("tracker"),
            url("web seed"),
            CreateError::WrongLength { piece: 0, expected: 2, got: 1 },
            CreateError::TooMuchData,
            CreateError::TorrentTooLarge(1),
        ] {
            let failure = refused(typed, &error);
            assert_eq!((failure.exit, failure.hint.is_some()), (Exit::Usage, true), "{error}");
            assert!(failure.message.starts_with("a: "), "{failure}");
        }
        let unfinished = CreateError::Unfinished { missing: 1, total: 2 };
        for error in [CreateError::NoSuchPiece(0), CreateError::WrongHash(0), unfinished] {
            assert_eq!(refused(typed, &error).exit, Exit::Internal, "{error}");
        }
    }
}

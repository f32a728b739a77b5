//! Sources on their way: read and fetched on threads of their own, told of when it takes long, given up on Ctrl-C.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferri_metainfo::Metainfo;
use ferri_metainfo::display::redact_url;
use tokio::task::JoinSet;

use crate::console::Console;
use crate::env::{Env, Input, Interrupts};
use crate::events::JsonEvent;
use crate::exit::{Exit, Failure};
use crate::progress::{Doing, Flow, View};
use crate::source::{self, Source};
use crate::text::harmless;
use crate::work::wait_for;

/// How a source is loaded, on a thread that may wait.
pub(crate) type Load<T> = Arc<dyn Fn(&mut Env, &OsStr) -> Result<T, Failure> + Send + Sync>;

/// Sources on their way.
#[derive(Debug)]
pub(crate) struct Loads<T> {
    tasks: JoinSet<(usize, Result<T, Failure>)>,
    under_way: BTreeMap<usize, UnderWay>,
}

#[derive(Debug)]
struct UnderWay {
    doing: &'static str,
    /// Harmless already.
    name: String,
    since: Instant,
    is_told: bool,
    is_far: bool,
}

/// A user without a live display hears of a source that takes longer than this.
const TOLD_AFTER: Duration = Duration::from_secs(1);

impl<T: Send + 'static> Loads<T> {
    pub(crate) fn new() -> Self {
        Self { tasks: JoinSet::new(), under_way: BTreeMap::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.under_way.len()
    }

    /// Whether one of them is on this machine, and so soon here.
    pub(crate) fn has_near(&self) -> bool {
        self.under_way.values().any(|load| !load.is_far)
    }

    /// Begins to load `source`. Standard input is read by the first one that asks for it.
    pub(crate) fn start(&mut self, id: usize, env: &mut Env, source: OsString, load: Load<T>) {
        let text = source.to_string_lossy();
        let is_far = is_far(&source);
        let (doing, name) = match (is_far, source.as_encoded_bytes()) {
            (true, _) => ("fetching", redact_url(&text)),
            (_, b"-") => ("reading", "standard input".to_owned()),
            _ => ("reading", text.into_owned()),
        };
        let (name, since) = (harmless(&name), Instant::now());
        self.under_way.insert(id, UnderWay { doing, name, since, is_told: false, is_far });
        let mut env = if source == "-" { env.lend() } else { env.without_stdin() };
        // A terminal, a pipe or a disk may let a reader wait for ever.
        self.tasks.spawn_blocking(move || (id, load(&mut env, &source)));
    }

    /// The next one that is here; never while none is under way. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> (usize, Result<T, Failure>) {
        loop {
            match self.tasks.join_next().await {
                Some(Ok((id, loaded))) => {
                    self.under_way.remove(&id);
                    return (id, loaded);
                }
                Some(Err(error)) => {
                    // Which one it was is not known; the only one there is can be told.
                    let failure = Failure::new(Exit::Internal, format!("reading a source failed: {error}"));
                    if let Some((id, _)) = self.under_way.pop_first() {
                        return (id, Err(failure));
                    }
                }
                None => std::future::pending().await,
            }
        }
    }

    /// Now and then: says once what is waited for, where nothing is rewritten.
    pub(crate) fn tell(&mut self, console: &Console) {
        for load in self.under_way.values_mut() {
            if !load.is_told && TOLD_AFTER <= load.since.elapsed() {
                load.is_told = true;
                let words = format!("{} {}", load.doing, load.name);
                console.event(&JsonEvent::Loading { message: &words });
                if !console.is_live() {
                    console.line(&words);
                }
            }
        }
    }

    /// What is waited for.
    pub(crate) fn views(&self) -> impl Iterator<Item = View> {
        self.under_way.values().map(|load| View {
            name: load.name.clone(),
            done: None,
            wanted: None,
            doing: Doing::Says(vec![load.doing.to_owned()]),
            flow: Flow { lasts: Some(load.since.elapsed()), ..Flow::default() },
        })
    }
}

/// Whether another machine has it.
pub(crate) fn is_far(source: &OsStr) -> bool {
    let start = source.as_encoded_bytes();
    [&b"http://"[..], b"https://"]
        .iter()
        .any(|scheme| start.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
}

/// What [`load`] and [`Loads`] do for a command that takes torrents and magnet links. What is fetched is fetched from `bind`.
pub(crate) fn any(
    bind: Option<IpAddr>,
) -> impl Fn(&mut Env, &OsStr) -> Result<Source, Failure> + Send + Sync + 'static {
    move |env, source| alone(source::load(env, source, bind))
}

/// The same for a command that needs the torrent itself, which an earlier run may have kept in `state_dir`.
pub(crate) fn torrent(
    bind: Option<IpAddr>,
    state_dir: Option<PathBuf>,
) -> impl Fn(&mut Env, &OsStr) -> Result<Metainfo, Failure> + Send + Sync + 'static {
    move |env, source| alone(source::load_torrent(env, source, bind, state_dir.as_deref()))
}

/// Runs `load` on this thread, whatever becomes of the program's own runtime: it is not waited for after Ctrl-C.
pub(crate) fn alone<T>(load: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Exit::Internal, format!("cannot wait: {error}")))?;
    let loaded = runtime.block_on(load);
    runtime.shutdown_background();
    loaded
}

/// How the command ends when Ctrl-C was pressed while its source was loaded.
pub(crate) fn interrupted() -> Failure {
    Failure::new(Exit::Interrupted, "stopped before anything was started")
}

/// Loads one source. `None`: Ctrl-C.
pub(crate) async fn load<T: Send + 'static>(
    env: &mut Env,
    source: &OsStr,
    load: impl Fn(&mut Env, &OsStr) -> Result<T, Failure> + Send + Sync + 'static,
    console: &Console,
    interrupts: &Interrupts,
) -> Result<Option<T>, Failure> {
    let mut loads = Loads::new();
    loads.start(0, env, source.to_owned(), Arc::new(load));
    let live = console.live_area();
    let next = async |loads: &mut Loads<T>| loads.next().await.1.map(Some);
    let tell = |loads: &mut Loads<T>| {
        loads.tell(console);
        live.set(console.table(&loads.views().collect::<Vec<_>>()));
        Ok(())
    };
    wait_for(&mut loads, next, tell, interrupts).await
}

impl Env {
    /// The same surroundings, with standard input; here it is empty from then on.
    fn lend(&mut self) -> Self {
        let stdin = std::mem::replace(&mut self.stdin, Input(Box::new(std::io::empty())));
        Self { stdin, ..self.without_stdin() }
    }

    fn without_stdin(&self) -> Self {
        Self {
            args: self.args.clone(),
            dir: self.dir.clone(),
            stdin: Input(Box::new(std::io::empty())),
            stdout: self.stdout.clone(),
            stderr: self.stderr.clone(),
            is_tty: self.is_tty,
            is_err_tty: self.is_err_tty,
            width: self.width,
            vars: self.vars.clone(),
            interrupts: self.interrupts.clone(),
            start_logging: self.start_logging,
        }
    }
}

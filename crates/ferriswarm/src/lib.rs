//! The program: commands and what they print.
//!
//! | module | what |
//! |---|---|
//! | [`env`](Env) | what a command may touch; handed in, so that tests run commands in their own process |
//! | `args`, `help` | what was typed |
//! | `exit` | how commands end |
//! | `commands` | one module a command: what was typed becomes what it means, then is done |
//! | `network` | what the network flags mean |
//! | `source`, `loading` | a file, an address or standard input becomes a torrent |
//! | `session` | the only module that starts the engine |
//! | `seek` | magnet links become torrents |
//! | `watch`, `talk`, `events` | torrents at work become live lines, plain lines or JSON |
//! | `progress` | what is worked on, as a table that fits the terminal; words for waits |
//! | `select` | which files, and how much |
//! | `hook`, `space`, `log` | who is told besides, and whether there is room |
//! | `sink`, `console`, `json`, `text`, `units`, `out` | printing and parsing |

mod args;
mod commands;
mod console;
mod ends;
mod env;
mod events;
mod exit;
mod facts;
mod help;
mod hook;
mod json;
mod judged;
mod loading;
mod log;
mod network;
mod out;
mod place;
mod progress;
mod seek;
mod select;
mod session;
mod sink;
mod source;
mod space;
#[cfg(test)]
mod stutter;
mod talk;
#[cfg(test)]
mod testing;
mod text;
mod units;
mod watch;
mod work;

use std::io;

use clap::{CommandFactory, FromArgMatches};
use tokio::runtime::Runtime;

use crate::args::{Cli, Command};
use crate::console::{Console, Wanted};
#[cfg(feature = "tracker-server")]
use crate::env::Hangups;
use crate::env::Interrupts;
use crate::exit::Failure;
use crate::log::Log;

pub use crate::env::{Env, Input, InterruptSource, Width};
pub use crate::exit::Exit;
pub use crate::sink::Sink;

/// Runs one command line to its end and says how it went. Prints only through `env`.
#[must_use]
pub fn run(mut env: Env) -> Exit {
    let exit = run_in(&mut env);
    // What was said last has still to leave; a reader that has stopped is not waited for.
    env.stdout.settle();
    env.stderr.settle();
    exit
}

fn run_in(env: &mut Env) -> Exit {
    let cli = match parse(env) {
        Ok(cli) => cli,
        Err(exit) => return exit,
    };
    let (log, unopened) = open_log(env, &cli);
    match &log {
        // What happens inside goes there too, and leaves the terminal alone.
        Some(log) => (env.start_logging)(cli.common.verbose.max(1), log.sink()),
        None => (env.start_logging)(cli.common.verbose, env.stderr.clone()),
    }
    let mut wanted = wanted(&cli);
    if log.is_some() {
        wanted.verbose = 0;
    }
    let console = Console::new(env, wanted, log.clone());
    if let Some(why) = unopened {
        console.warn(&why);
    }
    let exit = finish(dispatch(env, &console, cli), &console);
    if let Some(log) = log {
        log.sink().settle();
    }
    exit
}

fn finish(result: Result<Exit, Failure>, console: &Console) -> Exit {
    match result {
        Ok(exit) => exit,
        // The reader of the answer has seen enough, as `| head` does.
        Err(failure) if failure.is_reader_gone => Exit::Done,
        Err(failure) => {
            console.failure(&failure);
            failure.exit
        }
    }
}

/// The log that is wanted, and why there is none, which is no reason not to begin.
fn open_log(env: &Env, cli: &Cli) -> (Option<Log>, Option<String>) {
    let Some(path) = &cli.common.log_file else { return (None, None) };
    match Log::open(&env.path(path)) {
        Ok(log) => (Some(log), None),
        Err(error) => {
            let path = path.display();
            (None, Some(format!("cannot write the log file {path}: {error}; this goes on without it")))
        }
    }
}

/// The command line, or how the program ends because it asked for help or makes no sense.
fn parse(env: &Env) -> Result<Cli, Exit> {
    let refuse = |failure: Failure| {
        // Nothing is known yet of how to print.
        let json = env.args.iter().any(|word| word == "--json");
        Console::new(env, Wanted { json, ..Wanted::default() }, None).failure(&failure);
        failure.exit
    };
    let words = args::verb::with_verb(&env.args, &env.dir).map_err(refuse)?;
    let command = Cli::command().term_width(usize::from(env.width.columns()).clamp(40, HELP_WIDTH_MAX));
    let parsed = command.try_get_matches_from(words).and_then(|matches| {
        let cli = Cli::from_arg_matches(&matches)?;
        Ok((matches, cli))
    });
    let (matches, cli) = parsed.map_err(|error| told(env, &error))?;
    args::useless::refuse(&matches).map_err(refuse)?;
    Ok(cli)
}

/// What the parser has to say: help for who asks for it, or what is wrong with the command line.
fn told(env: &Env, error: &clap::Error) -> Exit {
    let text = error.render();
    let no_colour = env.var("NO_COLOR").is_some();
    let is_tty = if error.use_stderr() { env.is_err_tty } else { env.is_tty };
    let text = if is_tty && !no_colour { text.ansi().to_string() } else { text.to_string() };
    if error.use_stderr() {
        env.stderr.say(text.as_bytes());
        return Exit::Usage;
    }
    // Help is the answer to who asks for it.
    match env.stdout.deliver(text.as_bytes()).map_err(|error| Failure::unanswered(&error)) {
        Err(failure) if !failure.is_reader_gone => {
            env.stderr.say(format!("error: {failure}\n").as_bytes());
            failure.exit
        }
        _ => Exit::Done,
    }
}

/// Wider lines of prose are hard to read.
const HELP_WIDTH_MAX: usize = 110;

fn wanted(cli: &Cli) -> Wanted {
    let json = match &cli.command {
        Command::Get(args) => args.report.json,
        Command::Seed(args) => args.report.json,
        Command::Create(args) => args.json,
        Command::Show(args) => args.json,
        Command::Torrent(args) => args.json,
        Command::Magnet(_) => false,
        Command::Verify(args) => args.json,
        #[cfg(feature = "dht")]
        Command::Dht(args) => args.command.node().json,
        #[cfg(feature = "tracker-server")]
        Command::Tracker(_) | Command::Demo(_) => false,
        Command::Replay(_) | Command::Completions(_) | Command::Man => false,
    };
    Wanted { json, quiet: cli.common.quiet, verbose: cli.common.verbose }
}

fn dispatch(env: &mut Env, console: &Console, cli: Cli) -> Result<Exit, Failure> {
    match cli.command {
        Command::Completions(args) => commands::completions(console, args.shell),
        Command::Man => commands::man(console),
        Command::Show(args) => interruptible(env, async |env, interrupts| {
            commands::show::run(env, console, &args, interrupts).await
        }),
        Command::Magnet(args) => interruptible(env, async |env, interrupts| {
            commands::magnet::run(env, console, &args, interrupts).await
        }),
        Command::Torrent(args) => interruptible(env, async |env, interrupts| {
            commands::torrent::run(env, console, &args, interrupts).await
        }),
        Command::Create(args) => interruptible(env, async |env, interrupts| {
            commands::create::run(env, console, &args, interrupts).await
        }),
        Command::Get(args) => interruptible(env, async |env, interrupts| {
            commands::get::get(env, console, &args, interrupts).await
        }),
        Command::Seed(args) => interruptible(env, async |env, interrupts| {
            commands::get::seed(env, console, &args, interrupts).await
        }),
        #[cfg(feature = "tracker-server")]
        Command::Tracker(args) => reloadable(env, async |env, interrupts, hangups| {
            commands::tracker::run(env, console, &args, interrupts, hangups).await
        }),
        #[cfg(feature = "dht")]
        Command::Dht(args) => interruptible(env, async |env, interrupts| {
            commands::dht::run(env, console, *args, interrupts).await
        }),
        #[cfg(feature = "tracker-server")]
        Command::Demo(args) => interruptible(env, async |env, interrupts| {
            commands::demo::run(env, console, &args, interrupts).await
        }),
        Command::Verify(args) => interruptible(env, async |env, interrupts| {
            commands::verify::run(env, console, &args, interrupts).await
        }),
        Command::Replay(args) => commands::replay::run(env, console, &args),
    }
}

/// Runs a command that listens to the first Ctrl-C itself; the second one ends it wherever it is.
fn interruptible(
    env: &mut Env,
    command: impl AsyncFnOnce(&mut Env, Interrupts) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    listening(env, |source| (source.listen(), ()), async |env, interrupts, ()| command(env, interrupts).await)
}

/// The same for a command that reads its files again on SIGHUP.
#[cfg(feature = "tracker-server")]
fn reloadable(
    env: &mut Env,
    command: impl AsyncFnOnce(&mut Env, Interrupts, Hangups) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    listening(env, InterruptSource::listen_apart, command)
}

fn listening<T>(
    env: &mut Env,
    listen: impl FnOnce(&InterruptSource) -> (Interrupts, T),
    command: impl AsyncFnOnce(&mut Env, Interrupts, T) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let (interrupts, others) = listen(&env.interrupts);
        tokio::select! {
            biased;
            () = interrupts.pressed(2) => Ok(Exit::Killed),
            result = command(env, interrupts.clone(), others) => result,
        }
    });
    // What still runs there has been told to stop; waiting for it would keep a person waiting.
    runtime.shutdown_background();
    result
}

fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error: io::Error| Failure::new(Exit::Internal, format!("cannot start threads: {error}")))
}

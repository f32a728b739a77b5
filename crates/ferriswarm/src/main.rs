//! The process around the program: its surroundings in, its exit code out, logs to standard error.

use std::io::Write;
use std::process::ExitCode;

use ferriswarm::{Env, Exit, Sink};

fn main() -> ExitCode {
    let exit = match Env::of_process(start_logging) {
        Ok(env) => ferriswarm::run(env),
        Err(error) => {
            // If standard error is closed too it cannot be told.
            let _ = writeln!(std::io::stderr(), "error: the working folder is gone: {error}");
            Exit::Io
        }
    };
    ExitCode::from(exit.code())
}

/// Nothing without `-v` (what goes wrong is told to the person by then), what happens with one, every detail with two.
/// `RUST_LOG` wins.
fn start_logging(verbose: u8, to: Sink) {
    let default = match verbose {
        0 => "off",
        1 => "info,ferri_engine=debug",
        _ => "debug,ferri_engine=trace,ferri_swarm=trace",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || to.clone());
    // Already set means that another part does the logging.
    let _ = logs.with_ansi(false).try_init();
}

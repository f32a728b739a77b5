//! How long commands wait, how many things they do at once, and which programs they tell.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};

use crate::units::parse_duration;

/// Several downloads in one command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Batch {
    /// More sources, from a file with one a line (-: standard input)
    #[arg(short, long, value_name = "LIST", value_hint = ValueHint::FilePath)]
    pub(crate) input: Option<PathBuf>,

    /// Download at most N at once; the others wait in order
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) at_once: Option<u16>,

    /// Run PROGRAM when a torrent is complete
    #[arg(long, value_name = "PROGRAM", value_hint = ValueHint::ExecutablePath)]
    pub(crate) on_done: Option<OsString>,
}

/// The end of waiting.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Patience {
    /// Give up what has not moved for this long (exit code 5)
    #[arg(long, value_name = "DURATION", value_parser = parse_patience)]
    pub(crate) stop_after_stalled: Option<Duration>,
}

fn parse_patience(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("0 would give up at once".to_owned()),
        patience => Ok(patience),
    }
}

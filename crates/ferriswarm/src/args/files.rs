//! Which files of a torrent are meant.

use clap::Args;

use crate::select::{Ranges, Wish};

/// A choice among a torrent's files; without any of them it is all.
#[derive(Debug, Args, Clone, Default)]
#[command(next_help_heading = "Files")]
pub(crate) struct Files {
    /// Only these files, by their numbers in `show`: 1-3,7
    #[arg(long, value_name = "LIST", conflicts_with = "only")]
    pub(crate) select: Option<Ranges>,

    /// Only files whose path or name matches, or all in a folder: '*.flac', subs/; repeatable
    #[arg(long, value_name = "GLOB")]
    pub(crate) only: Vec<String>,

    /// None of the files that match, chosen as by --only; repeatable
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
}

/// How much the chosen files are wanted.
#[derive(Debug, Args, Clone, Default)]
#[command(next_help_heading = "Files")]
pub(crate) struct FileWishes {
    /// How much files are wanted, by number or pattern: 3=high, 4-9=low, '*.nfo=skip'; repeatable, the last one counts
    #[arg(long, value_name = "FILES=LEVEL")]
    pub(crate) priority: Vec<Wish>,
}

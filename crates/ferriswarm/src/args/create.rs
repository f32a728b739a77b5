//! The flags of `create`.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use ferri_metainfo::limits::{PIECE_LENGTH_MAX_MADE, PIECE_LENGTH_MIN};

use crate::units::parse_size;

#[derive(Debug, Clone, Args)]
pub(crate) struct CreateArgs {
    /// The files or folders to share, a torrent each
    #[arg(value_name = "PATH", required = true, value_hint = ValueHint::AnyPath)]
    pub(crate) paths: Vec<PathBuf>,

    /// The .torrent file to write, a folder for it, - for standard output [default: the name with .torrent]
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,

    /// Overwrite OUT, if it is a plain file
    #[arg(short, long)]
    pub(crate) force: bool,

    /// Say what would be made; hash and write nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,

    #[command(flatten)]
    pub(crate) about: About,

    #[command(flatten)]
    pub(crate) choice: ChoiceArgs,

    /// Print each result as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// What stands in the torrent beside the files.
#[derive(Debug, Clone, Args)]
pub(crate) struct About {
    /// The name in the torrent [default: that of PATH]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// A tracker, or a tier of them separated by commas; repeatable, one tier each
    #[arg(short, long, value_name = "URL[,URL...]", value_hint = ValueHint::Url)]
    pub(crate) tracker: Vec<String>,

    /// A web server that has the payload too; repeatable
    ///
    /// For a folder, the address that the folder's name is put behind, with a slash at its end; for a file, the file's
    /// own address without one (WebTorrent takes no other). Of those who were tried, libtorrent, qBittorrent,
    /// Transmission, aria2 and WebTorrent load from web servers, rqbit and rtorrent do not. aria2 also asks for the
    /// padding of a hybrid torrent of several files, which no server has, and never ends.
    #[arg(short, long, value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) web_seed: Vec<String>,

    /// A power of two from 16k to 128M [default: by size, as libtorrent chooses it]
    ///
    /// Longer pieces are read, but not made, as some clients refuse them: libtorrent 2.1.1 those of 512M, and users of
    /// qBittorrent 5.0 report those of 256M.
    #[arg(short = 'l', long, value_name = "SIZE", value_parser = parse_piece_length)]
    pub(crate) piece_length: Option<u32>,

    /// A version 1 torrent (the default): for every client
    #[arg(long, group = "format")]
    pub(crate) v1: bool,

    /// A version 2 torrent: for libtorrent 2 and what is built on it
    #[arg(long, group = "format")]
    pub(crate) v2: bool,

    /// Version 1 and version 2 in one
    ///
    /// Every client of either version loads it; those of version 1 see padding files between the others, and some write
    /// them to the disk. aria2 cannot complete one of several files from a web server, as it asks that for the padding.
    #[arg(long, group = "format")]
    pub(crate) hybrid: bool,

    /// Peers come from the trackers only
    #[arg(short, long)]
    pub(crate) private: bool,

    /// A tag inside the info hash, as some trackers want
    #[arg(short, long, value_name = "S")]
    pub(crate) source: Option<String>,

    /// Free text
    #[arg(short, long, value_name = "S")]
    pub(crate) comment: Option<String>,

    /// Record the time of creation; without it the same input gives the same bytes
    #[arg(short, long)]
    pub(crate) date: bool,

    /// Do not record the program that made it
    #[arg(long)]
    pub(crate) no_created_by: bool,
}

/// Which files of a folder.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Files of a folder")]
pub(crate) struct ChoiceArgs {
    /// Only files whose path or name matches, or that lie in a folder that does; also what is left out otherwise (hidden
    /// files, what systems leave behind); repeatable
    #[arg(long, value_name = "GLOB")]
    pub(crate) include: Vec<String>,

    /// Leave out files and folders whose path or name matches; goes before --include; repeatable
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,

    /// Leave out files and folders whose name begins with a dot
    #[arg(long)]
    pub(crate) no_hidden: bool,

    /// Share what symbolic links lead to; without it they are left out
    #[arg(long)]
    pub(crate) follow_symlinks: bool,
}

fn parse_piece_length(text: &str) -> Result<u32, String> {
    let wanted = parse_size(text)?;
    let length = u32::try_from(wanted).ok().filter(|length| length.is_power_of_two());
    length
        .filter(|length| (PIECE_LENGTH_MIN..=PIECE_LENGTH_MAX_MADE).contains(length))
        .ok_or_else(|| format!("{wanted} bytes are no piece length: a power of two from 16k to 128M"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn piece_lengths_are_powers_of_two_in_range() {
        assert_eq!(parse_piece_length("16k"), Ok(16 << 10));
        assert_eq!(parse_piece_length("128M"), Ok(128 << 20));
        for text in ["0", "8k", "20k", "100k", "256M", "512M", "1G", "16kB", "100T", "16k?"] {
            assert!(parse_piece_length(text).is_err(), "{text}");
        }
    }
}

//! Files of the same name that are somebody else's are not overwritten unasked.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ferri_engine::{AddTorrent, Check, FilePriority};

use crate::commands::verify::check;
use crate::console::Console;
use crate::env::Interrupts;
use crate::events::Event;
use crate::exit::{Exit, Failure};
use crate::facts;
use crate::place::Place;

/// Looks at what lies where `add` will write. What its journal vouches for is ours; anything else is hashed here,
/// and is either part of the torrent, which is then believed, or in the way. `None`: Ctrl-C.
pub(crate) async fn guard(
    mut add: AddTorrent,
    state_dir: &Path,
    console: &Console,
    interrupts: &Interrupts,
) -> Result<Option<AddTorrent>, Failure> {
    let info = add.metainfo.shared_info();
    let Some(info_hash) = info.info_hashes().v1 else { return Ok(Some(add)) };
    let place = Place::in_folder(&info, &add.output)?;
    let layout = info.layout();
    if place.payload().symlink_metadata().is_err() {
        // A million files need not be looked for in a folder that is not there.
        return Ok(Some(add));
    }
    let mut found = None;
    for (file, _) in facts::visible_files(&add.metainfo) {
        let is_wanted = add.priorities.get(file.as_usize()) != Some(&FilePriority::Skip);
        let Some(meta) = place.metadata(file).filter(|meta| is_wanted && meta.is_file()) else { continue };
        let path = place.path(file).unwrap_or_default();
        if layout.file_len(file) < meta.len() {
            return Err(in_the_way(&path, "is longer than the torrent's file"));
        }
        // A file without a single block on disk holds nothing that could be lost.
        if meta.blocks() != 0 && found.is_none() {
            found = Some(path);
        }
    }
    let Some(found) = found else { return Ok(Some(add)) };
    // The folder alone may hold nothing but what a magnet link stands for.
    if state_dir.join("torrents").join(info_hash.to_string()).join("journal").exists() {
        return Ok(Some(add));
    }
    let total = layout.total_length();
    console.event(&Event::Checking { info_hash: &info_hash.to_string(), done: 0, total });
    let Some(have) = check(&info, &place, "checking what is there", console, interrupts).await? else {
        return Ok(None);
    };
    if have.count_ones() == 0 {
        return Err(in_the_way(&found, "holds nothing of this torrent"));
    }
    add.check = Check::Trust(have);
    Ok(Some(add))
}

fn in_the_way(path: &Path, why: &str) -> Failure {
    Failure::new(Exit::WouldOverwrite, format!("{} is there already and {why}", path.display()))
        .hint("move it away, choose another folder with -o, or replace it with --overwrite")
}

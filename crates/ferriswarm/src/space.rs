//! Whether what is to be downloaded fits the file system it goes to.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ferri_engine::FilePriority;
use ferri_metainfo::Metainfo;

use crate::facts;
use crate::place::Place;

/// A block of `stat(2)`, whatever the file system's own are.
const STAT_BLOCK: u64 = 512;

/// The room of one file system, as seen from a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) device: u64,
    /// Bytes that we may still use.
    pub(crate) free: u64,
    /// The folder.
    pub(crate) folder: PathBuf,
}

/// Bytes of the wanted files that are not on disk yet.
pub(crate) fn missing(metainfo: &Metainfo, place: &Place, priorities: &[FilePriority]) -> u64 {
    let layout = metainfo.info().layout();
    let is_wanted = |index: usize| priorities.get(index) != Some(&FilePriority::Skip);
    let wanted = facts::visible_files(metainfo).into_iter().filter(|(file, _)| is_wanted(file.as_usize()));
    let missing = wanted.map(|(file, _)| {
        let here =
            place.metadata(file).filter(|meta| meta.is_file()).map_or(0, |meta| meta.blocks() * STAT_BLOCK);
        layout.file_len(file).saturating_sub(here)
    });
    missing.sum()
}

/// The room at `folder`, or where it will be made. `None` when nobody can tell.
pub(crate) fn room(folder: &Path) -> Option<Room> {
    let there = folder.ancestors().find(|folder| folder.is_dir())?;
    let stat = rustix::fs::statvfs(there).ok()?;
    let device = there.metadata().ok()?.dev();
    Some(Room { device, free: stat.f_bavail.saturating_mul(stat.f_frsize), folder: there.to_owned() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const TWO_FILES: &[u8] = b"d4:infod5:filesld6:lengthi100000e4:pathl1:aeed6:lengthi200000e4:pathl1:beee\
        4:name3:set12:piece lengthi524288e6:pieces20:....................ee";

    #[test]
    fn what_is_wanted_and_not_on_disk_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let metainfo = Metainfo::parse(TWO_FILES).unwrap();
        let place = Place::in_folder(metainfo.info(), folder.path()).unwrap();
        let all = [FilePriority::Normal, FilePriority::Normal];
        assert_eq!(missing(&metainfo, &place, &all), 300_000);
        assert_eq!(missing(&metainfo, &place, &[FilePriority::Skip, FilePriority::Normal]), 200_000);
        std::fs::create_dir(folder.path().join("set")).unwrap();
        std::fs::write(folder.path().join("set/a"), vec![1; 100_000]).unwrap();
        // A hole is not room that was taken.
        std::fs::File::create(folder.path().join("set/b")).unwrap().set_len(200_000).unwrap();
        assert_eq!(missing(&metainfo, &place, &all), 200_000);
    }

    #[test]
    fn a_folder_that_is_to_be_made_has_the_room_of_the_one_it_will_be_in() {
        let folder = tempfile::tempdir().unwrap();
        let there = room(folder.path()).unwrap();
        let later = room(&folder.path().join("to/be/made")).unwrap();
        assert_eq!((later.device, &later.folder), (there.device, &there.folder));
        assert!(0 < there.free);
    }
}

//! Whether what is to be downloaded fits the file system it goes to.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ferri_engine::{FilePriority, Found, Halt};
use ferri_metainfo::{FileIndex, Metainfo};

use crate::exit::Failure;
use crate::place::Place;

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
pub(crate) fn missing(
    metainfo: &Metainfo,
    place: &Place,
    priorities: &[FilePriority],
    halt: &Halt,
) -> Result<u64, Failure> {
    let layout = metainfo.info().layout();
    let is_wanted = |file: &FileIndex| {
        !layout.is_pad(*file) && priorities.get(file.as_usize()) != Some(&FilePriority::Skip)
    };
    let mut missing = 0;
    place.look_at(layout.files().filter(is_wanted), halt, |file, found| {
        let here = if let Found::File { allocated, .. } = found { allocated } else { 0 };
        missing += layout.file_len(file).saturating_sub(here);
    })?;
    Ok(missing)
}

/// The room at `folder`, or where it will be made. `None` when the system cannot tell.
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
        let place = Place::in_folder(metainfo.info(), folder.path(), &Halt::default()).unwrap();
        let missing =
            |priorities: &[FilePriority]| missing(&metainfo, &place, priorities, &Halt::default()).unwrap();
        let all = [FilePriority::Normal, FilePriority::Normal];
        assert_eq!(missing(&all), 300_000);
        assert_eq!(missing(&[FilePriority::Skip, FilePriority::Normal]), 200_000);
        std::fs::create_dir(folder.path().join("set")).unwrap();
        std::fs::write(folder.path().join("set/a"), vec![1; 100_000]).unwrap();
        let halt = Halt::default();
        halt.raise();
        assert!(
            super::missing(&metainfo, &place, &all, &halt).is_err(),
            "nobody looks who was asked to stop"
        );
        // A hole is not room that was taken.
        std::fs::File::create(folder.path().join("set/b")).unwrap().set_len(200_000).unwrap();
        assert_eq!(missing(&all), 200_000);
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

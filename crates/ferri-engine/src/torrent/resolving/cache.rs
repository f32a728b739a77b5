//! Info dictionaries that were fetched once, in the state folder: `torrents/<info hash>/info`, beside the torrent's journal
//! and with its end gone too. Believed by their hash alone.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ferri_metainfo::{Info, InfoHashes};
use ferri_storage::{StorageError, atomic_write_private, create_state_folder};
use ferri_swarm::METADATA_BYTES_MAX;

/// What an earlier run left.
#[derive(Debug)]
pub(super) enum Cached {
    /// The info dictionary of the link.
    Info(Box<Info>),
    /// Nothing.
    Nothing,
    /// Something else, which was set aside or cannot be read: why, for a person.
    Damaged(String),
}

/// Looks for the info dictionary that has these hashes. Waits for the disk.
pub(super) fn read(state_dir: &Path, wanted: &InfoHashes) -> Cached {
    let path = place(state_dir, wanted);
    let bytes = match read_bounded(&path) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Cached::Nothing,
        Err(error) => return Cached::Damaged(format!("{}: {error}; it is fetched again", path.display())),
    };
    match Info::parse(&bytes) {
        Ok(info) if is_wanted(&info, wanted) => Cached::Info(Box::new(info)),
        Ok(_) => set_aside(&path, "its hash is another one"),
        Err(error) => set_aside(&path, &error.to_string()),
    }
}

/// The same for who only looks.
pub(super) fn peek(state_dir: &Path, wanted: &InfoHashes) -> Option<Info> {
    let bytes = read_bounded(&place(state_dir, wanted)).ok().flatten()?;
    Info::parse(&bytes).ok().filter(|info| is_wanted(info, wanted))
}

/// Keeps the info dictionary of a link for the next run. Waits for the disk.
pub(super) fn write(state_dir: &Path, wanted: &InfoHashes, bytes: &[u8]) -> Result<(), StorageError> {
    let path = place(state_dir, wanted);
    if let Some(folder) = path.parent() {
        // Whether that worked shows when the file is written.
        let _ = create_state_folder(folder);
    }
    atomic_write_private(&path, bytes)
}

/// Whether it has every hash that the link names.
pub(super) fn is_wanted(info: &Info, wanted: &InfoHashes) -> bool {
    let hashes = info.info_hashes();
    let same_v1 = wanted.v1.is_none_or(|v1| hashes.v1 == Some(v1));
    let same_v2 = wanted.v2.is_none_or(|v2| hashes.v2 == Some(v2));
    same_v1 && same_v2
}

fn place(state_dir: &Path, wanted: &InfoHashes) -> PathBuf {
    state_dir.join("torrents").join(wanted.wire().to_string()).join("info")
}

/// `None`: there is no such file.
fn read_bounded(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    // One byte more than there can be is enough for its hash to be wrong.
    file.take(u64::from(METADATA_BYTES_MAX) + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// A damaged file stays for a user who wants to know what happened; of several the last one.
fn set_aside(path: &Path, why: &str) -> Cached {
    let aside = path.with_file_name("info.aside");
    Cached::Damaged(match fs::rename(path, &aside) {
        Ok(()) => format!("the torrent's description was set aside as {}: {why}", aside.display()),
        Err(error) => format!("{}: {why}, and it cannot be set aside: {error}", path.display()),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use ferri_bencode::Encoder;
    use ferri_metainfo::InfoHash;

    use super::*;

    fn info() -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.begin_dict().key(b"length").int(1).key(b"name").bytes(b"a");
        encoder.key(b"piece length").int(16 << 10).key(b"pieces").bytes(&[7; 20]).end();
        encoder.into_bytes()
    }

    fn hashes(bytes: &[u8]) -> InfoHashes {
        InfoHashes { v1: Some(InfoHash::from(ferri_hash::sha1(bytes))), v2: None }
    }

    #[test]
    fn what_was_kept_is_read_and_nothing_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = hashes(&info());
        assert!(matches!(read(dir.path(), &wanted), Cached::Nothing));
        write(dir.path(), &wanted, &info()).unwrap();
        let Cached::Info(found) = read(dir.path(), &wanted) else { panic!("it is there") };
        assert_eq!(found.bytes(), info());
    }

    #[test]
    fn what_is_not_the_info_dictionary_is_set_aside_and_missing_next_time() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = hashes(&info());
        let other = [&info()[..info().len() - 1], b"x"].concat();
        let endless = vec![b'1'; METADATA_BYTES_MAX as usize + 9];
        let another = String::from_utf8_lossy(&info()).replace("1:a", "1:b");
        for bytes in [&b""[..], &other, &endless, another.as_bytes()] {
            write(dir.path(), &wanted, bytes).unwrap();
            let Cached::Damaged(why) = read(dir.path(), &wanted) else { panic!("it was believed") };
            assert!(why.contains("info.aside"), "{why}");
            assert!(matches!(read(dir.path(), &wanted), Cached::Nothing));
        }
    }

    #[test]
    fn every_hash_of_the_link_counts() {
        let info = Info::parse(&info()).unwrap();
        let v1 = info.info_hashes().v1;
        assert!(is_wanted(&info, &InfoHashes { v1, v2: None }));
        assert!(!is_wanted(&info, &InfoHashes { v1, v2: Some([1; 32].into()) }));
        assert!(!is_wanted(&info, &InfoHashes { v1: Some([1; 20].into()), v2: None }));
    }
}

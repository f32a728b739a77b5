//! The file that a signing key lives in: 64 hex digits, the secret seed of an ed25519 key (RFC 8032), or 128, the
//! expanded form of BEP 44. Only its owner can read it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use ferri_engine::dht::SigningKey;

use crate::exit::{Exit, Failure};

/// Longer files are no keys.
const KEY_BYTES_MAX: u64 = 1024;

/// Whether the key was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Read,
    Made,
}

/// The key in `path`. A file that is missing is made, with a new key.
pub(super) fn read_or_make(path: &Path) -> Result<(SigningKey, Origin), Failure> {
    match fs::metadata(path) {
        Ok(found) if KEY_BYTES_MAX < found.len() => Err(not_a_key(path)),
        Ok(_) => read(path).map(|key| (key, Origin::Read)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path).map(|key| (key, Origin::Made)),
        Err(error) => Err(Failure::file("read", path, &error)),
    }
}

fn read(path: &Path) -> Result<SigningKey, Failure> {
    let text = fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))?;
    let bytes = HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes()).map_err(|_| not_a_key(path))?;
    if let Ok(seed) = <[u8; 32]>::try_from(bytes.as_slice()) {
        return Ok(SigningKey::from_seed(&seed));
    }
    let expanded = <[u8; 64]>::try_from(bytes.as_slice()).map_err(|_| not_a_key(path))?;
    Ok(SigningKey::from_expanded(&expanded))
}

fn make(path: &Path) -> Result<SigningKey, Failure> {
    let seed: [u8; 32] = rand::random();
    let result = File::options().write(true).create_new(true).mode(0o600).open(path).and_then(|mut file| {
        file.write_all(format!("{}\n", HEXLOWER.encode(&seed)).as_bytes())?;
        file.sync_all()
    });
    result.map_err(|error| Failure::file("write", path, &error))?;
    Ok(SigningKey::from_seed(&seed))
}

fn not_a_key(path: &Path) -> Failure {
    Failure::new(Exit::Usage, format!("{} is no key", path.display())).hint(
        "a key is 64 hex digits (a seed) or 128 (expanded); name a file that does not exist to make one",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_that_was_made_is_read_again_and_only_its_owner_can() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let (made, origin) = read_or_make(&path).unwrap();
        assert_eq!(origin, Origin::Made);
        let (read, origin) = read_or_make(&path).unwrap();
        assert_eq!((made.public_key(), origin), (read.public_key(), Origin::Read));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_is_no_key_is_said_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        for text in ["", "abc", &"g".repeat(64), &"a".repeat(62), &"a".repeat(4000)] {
            fs::write(&path, text).unwrap();
            assert_eq!(read_or_make(&path).unwrap_err().exit, Exit::Usage, "{text:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}

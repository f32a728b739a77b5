//! Who may use the tracker: info hashes that are allowed or denied, and passkeys. Text in, tables out; reading files is the
//! shell's business.
//!
//! A passkey is a secret of one user. Only keyed hashes of it are kept here, so nothing that prints, logs or counts can
//! give it away, and how long a look-up takes tells nothing of how much of a guess was right.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use ferri_metainfo::{InfoHash, InfoHashV2};

use crate::siphash::siphash;

/// Bytes of a list that are worth reading: [`ENTRIES_MAX`] lines with a remark each.
pub const LIST_BYTES_MAX: usize = 512 << 20;

/// Entries of one list, also those that it has twice. Twice what the largest index of torrents knows, and 160 MiB of memory.
pub const ENTRIES_MAX: usize = 8 << 20;

/// Faulty lines that are named; more are counted. A file of another kind has a fault in every line.
pub const FAULTS_NAMED_MAX: usize = 10;

/// A shorter passkey can be guessed: 8 letters and digits are 48 bits.
pub const PASSKEY_LENGTH_MIN: usize = 8;

/// Longer than any passkey in use (32 hex digits are usual), and short enough for a path.
pub const PASSKEY_LENGTH_MAX: usize = 128;

/// Characters of a faulty line that are shown. It may be a passkey, in a file given by mistake.
const EXCERPT_CHARS_MAX: usize = 4;

/// What the tracker lets in. The default lets all clients in.
///
/// Made for being swapped whole: build another one with the lists that changed and the [`Arc`]s of those that did not.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Only these torrents, where there is such a list.
    pub allowed: Option<Arc<InfoHashList>>,
    /// Never these torrents, whatever else is said.
    pub denied: Option<Arc<InfoHashList>>,
    /// Only users with one of these, where there is such a list: the announce address is `/KEY/announce`.
    pub passkeys: Option<Arc<Passkeys>>,
}

impl Access {
    pub(super) fn torrent(&self, info_hash: &InfoHash) -> Result<(), AccessRefusal> {
        if self.denied.as_ref().is_some_and(|list| list.contains(info_hash)) {
            return Err(AccessRefusal::Denied);
        }
        if self.allowed.as_ref().is_some_and(|list| !list.contains(info_hash)) {
            return Err(AccessRefusal::NotAllowed);
        }
        Ok(())
    }

    /// `Ok(None)` on a tracker without passkeys. There a key is as wrong as any other path.
    pub(super) fn user(&self, key: Option<&[u8]>) -> Result<Option<User>, AccessRefusal> {
        match (&self.passkeys, key) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(AccessRefusal::NoSuchPath),
            (Some(_), None) => Err(AccessRefusal::NoPasskey),
            (Some(passkeys), Some(key)) => passkeys.find(key).map(Some).ok_or(AccessRefusal::UnknownPasskey),
        }
    }
}

/// Why a client may not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AccessRefusal {
    Denied,
    NotAllowed,
    NoSuchPath,
    NoPasskey,
    UnknownPasskey,
}

/// Why a list cannot be used at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// More entries than a tracker takes.
    #[error("line {line}: more than {ENTRIES_MAX} entries")]
    TooManyEntries {
        /// Where the first one too many is, from 1.
        line: usize,
    },
}

/// Lines that were left out of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// How many there are.
    pub count: usize,
    /// The first of them, at most [`FAULTS_NAMED_MAX`].
    pub first: Vec<LineFault>,
}

impl Faults {
    fn add(&mut self, line: usize, why: String) {
        self.count += 1;
        if self.first.len() < FAULTS_NAMED_MAX {
            self.first.push(LineFault { line, why });
        }
    }
}

/// One line that was left out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineFault {
    /// From 1, as editors count.
    pub line: usize,
    /// What is wrong with it. Names no passkey.
    pub why: String,
}

impl fmt::Display for LineFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

/// A set of torrents.
///
/// Not a hash table: the author of a list that the operator fetches could choose hashes that collide in it.
pub struct InfoHashList {
    /// Ascending, each once.
    hashes: Box<[InfoHash]>,
}

impl InfoHashList {
    /// Reads one info hash a line: 40 hex digits or 32 base32 digits, or the 64 hex digits of a v2 torrent, which trackers
    /// know by its first 20 bytes (BEP 52). `#` begins a remark. Lines that are something else are not in the list, but among the
    /// faults; `ferriswarm tracker` refuses a list that has any.
    ///
    /// # Errors
    /// More than [`ENTRIES_MAX`] entries.
    pub fn parse(text: &[u8]) -> Result<(Self, Faults), ListError> {
        let mut hashes = Vec::new();
        let mut faults = Faults::default();
        for (line, content) in lines(text) {
            match parse_info_hash(content) {
                Some(_) if hashes.len() == ENTRIES_MAX => {
                    return Err(ListError::TooManyEntries { line });
                }
                Some(info_hash) => hashes.push(info_hash),
                None => faults.add(
                    line,
                    format!(
                        "\"{}\" is no info hash (40 or 64 hex digits, or 32 base32 digits)",
                        excerpt(content)
                    ),
                ),
            }
        }
        hashes.sort_unstable();
        hashes.dedup();
        Ok((Self { hashes: hashes.into_boxed_slice() }, faults))
    }

    /// How many torrents are in it.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether no torrent is in it.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whether this torrent is in it.
    pub fn contains(&self, info_hash: &InfoHash) -> bool {
        self.hashes.binary_search(info_hash).is_ok()
    }
}

impl fmt::Debug for InfoHashList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InfoHashList({} info hashes)", self.len())
    }
}

/// What one user may do. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Peers registered at the same time, over all torrents: a client in 20 torrents is 20, and 40 when it comes by IPv4 and IPv6.
    pub peers: Option<u32>,
    /// Torrents with a peer of this user at the same time.
    pub torrents: Option<u32>,
    /// Announces in one minute.
    pub announces: Option<u32>,
}

/// The users of a private tracker, by the hashes of their keys.
pub struct Passkeys {
    /// Keys the hashes.
    secret: [u8; 16],
    /// By the first hash, the second one. Together they are as good as the key.
    users: HashMap<u64, (u64, Limits), BuildHasherDefault<AsItIs>>,
}

/// Who announces, on a private tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct User {
    /// The same after the list was read again, and after a restart with the same secret.
    pub(super) id: u64,
    pub(super) limits: Limits,
}

impl Passkeys {
    /// Reads one user a line: `KEY [peers=N] [torrents=N] [announces=N] [# remark]`, where `announces` is for a minute. A key is
    /// letters, digits, `-` and `_`. Lines that are something else are not in the list, but among the faults, without the key;
    /// `ferriswarm tracker` refuses a list that has any.
    ///
    /// `secret` is the one that the registry knows users by, each time the list is read: the one that it was made with, or that of
    /// [`Registry::share_users`](super::Registry::share_users). Limits are counted by it.
    ///
    /// # Errors
    /// More than [`ENTRIES_MAX`] users.
    pub fn parse(text: &[u8], secret: [u8; 16]) -> Result<(Self, Faults), ListError> {
        let mut passkeys = Self { secret, users: HashMap::default() };
        let mut faults = Faults::default();
        for (line, content) in lines(text) {
            let (key, limits) = match parse_user(content) {
                Ok(user) => user,
                Err(why) => {
                    faults.add(line, why);
                    continue;
                }
            };
            if passkeys.users.len() == ENTRIES_MAX {
                return Err(ListError::TooManyEntries { line });
            }
            let (id, check) = passkeys.hashes(key);
            if passkeys.users.insert(id, (check, limits)).is_some() {
                faults.add(line, "this passkey is in the list twice".to_owned());
            }
        }
        Ok((passkeys, faults))
    }

    /// How many users there are.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there are no users.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    fn find(&self, key: &[u8]) -> Option<User> {
        if PASSKEY_LENGTH_MAX < key.len() {
            return None;
        }
        let (id, check) = self.hashes(key);
        let (expected, limits) = self.users.get(&id)?;
        (check == *expected).then_some(User { id, limits: *limits })
    }

    fn hashes(&self, key: &[u8]) -> (u64, u64) {
        let other = self.secret.map(|byte| byte ^ 0x5c);
        (siphash(&self.secret, key), siphash(&other, key))
    }
}

impl fmt::Debug for Passkeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Passkeys({} users)", self.len())
    }
}

/// Lines with something in them, numbered from 1, without remarks, blanks around them and the mark that some editors put
/// before UTF-8.
fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let lines = text.split(|byte| *byte == b'\n').enumerate();
    lines.filter_map(|(number, line)| {
        let content = line.split(|byte| *byte == b'#').next().unwrap_or(line).trim_ascii();
        (!content.is_empty()).then_some((number + 1, content))
    })
}

fn parse_info_hash(content: &[u8]) -> Option<InfoHash> {
    let text = std::str::from_utf8(content).ok()?;
    if text.len() == 64 {
        return text.parse::<InfoHashV2>().ok().map(|info_hash| info_hash.truncated());
    }
    text.parse().ok()
}

fn parse_user(content: &[u8]) -> Result<(&[u8], Limits), String> {
    let mut words = content.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let key = words.next().unwrap_or_default();
    let is_key_byte = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !key.iter().all(is_key_byte) {
        return Err("a passkey has letters, digits, - and _ only".to_owned());
    }
    if !(PASSKEY_LENGTH_MIN..=PASSKEY_LENGTH_MAX).contains(&key.len()) {
        let length = key.len();
        return Err(format!(
            "a passkey has {PASSKEY_LENGTH_MIN} to {PASSKEY_LENGTH_MAX} characters, not {length}"
        ));
    }
    let mut limits = Limits::default();
    for word in words {
        let word = std::str::from_utf8(word).unwrap_or_default();
        let (name, number) = word.split_once('=').unwrap_or((word, ""));
        let limit = match name {
            "peers" => &mut limits.peers,
            "torrents" => &mut limits.torrents,
            "announces" => &mut limits.announces,
            // The word may be a second passkey, so it is not repeated.
            _ => {
                return Err(
                    "behind the passkey stand peers=N, torrents=N, announces=N or a # remark".to_owned()
                );
            }
        };
        *limit = Some(number.parse().map_err(|_| format!("{name}= needs a number"))?);
    }
    Ok((key, limits))
}

fn excerpt(content: &[u8]) -> String {
    let text = String::from_utf8_lossy(content);
    let mut shown: String = text.chars().take(EXCERPT_CHARS_MAX).flat_map(char::escape_debug).collect();
    if EXCERPT_CHARS_MAX < text.chars().count() {
        shown.push('…');
    }
    shown
}

/// For tables whose keys are keyed hashes: those are random already, and no client can make them collide.
#[derive(Default)]
pub(super) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    /// Only numbers are keys.
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn hashes(text: &str) -> (usize, Vec<String>) {
        let (list, faults) = InfoHashList::parse(text.as_bytes()).unwrap();
        (list.len(), faults.first.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_list_takes_every_form_of_an_info_hash() {
        let hex = "ab".repeat(20);
        let base32 = "v".repeat(32);
        let v2 = format!("{}{}", "cd".repeat(20), "ef".repeat(12));
        let text = format!(
            "\u{feff}{hex}\r\n# a remark\n\n  {}  # upper case, the same\n{base32}\n{v2}\n",
            hex.to_uppercase()
        );
        let (list, faults) = InfoHashList::parse(text.as_bytes()).unwrap();
        assert_eq!((list.len(), faults), (3, Faults::default()));
        assert!(list.contains(&InfoHash::from([0xab; 20])) && list.contains(&InfoHash::from([0xcd; 20])));
        assert!(!list.contains(&InfoHash::from([0xef; 20])));
    }

    /// Whatever the hashes have in common, one look costs the logarithm of the list.
    #[test]
    fn a_list_of_hashes_that_begin_alike_is_as_any_other() {
        let hash = |number: u32| {
            let mut hash = [0xab; 20];
            hash[16..].copy_from_slice(&number.to_le_bytes());
            InfoHash::from(hash)
        };
        let text: String = (0..200_000).map(|number| format!("{}\n", hash(number / 2))).collect();
        let (list, faults) = InfoHashList::parse(text.as_bytes()).unwrap();
        assert_eq!((list.len(), faults.count), (100_000, 0));
        assert!(list.hashes.is_sorted_by(|one, other| one < other));
        assert!((0..100_000).all(|number| list.contains(&hash(number))) && !list.contains(&hash(100_000)));
    }

    #[test]
    fn bad_lines_are_counted_and_the_first_ones_named() {
        let hex = "ab".repeat(20);
        let (count, named) = hashes(&format!("{hex}\n{}\n\nno\u{1b}[31m\n", &hex[1..]));
        assert_eq!(count, 1);
        assert!(named[0].starts_with("line 2: \"baba…\" is no info hash"), "{named:?}");
        assert_eq!(
            named[1],
            "line 4: \"no\\u{1b}[…\" is no info hash (40 or 64 hex digits, or 32 base32 digits)"
        );
        let (_, faults) = InfoHashList::parse("x\n".repeat(1000).as_bytes()).unwrap();
        assert_eq!((faults.count, faults.first.len()), (1000, FAULTS_NAMED_MAX));
        let (_, faults) = InfoHashList::parse(&[0xff; 5000]).unwrap();
        assert!(faults.first[0].why.len() < 500);
    }

    const SECRET: [u8; 16] = [9; 16];

    #[test]
    fn a_passkey_has_limits_and_leaves_no_trace() {
        let text = "alice-0001 peers=3 torrents=20 announces=60 # the boss\nbob_000002 # nobody special\n";
        let (passkeys, faults) = Passkeys::parse(text.as_bytes(), SECRET).unwrap();
        assert_eq!((passkeys.len(), faults), (2, Faults::default()));
        let alice = passkeys.find(b"alice-0001").unwrap();
        assert_eq!(alice.limits, Limits { peers: Some(3), torrents: Some(20), announces: Some(60) });
        assert_eq!(passkeys.find(b"bob_000002").unwrap().limits, Limits::default());
        assert_eq!(passkeys.find(b"alice-0002"), None);
        assert_eq!(passkeys.find(b""), None);
        assert!(!format!("{passkeys:?} {alice:?}").contains("0001"));
        let (again, _) = Passkeys::parse(text.as_bytes(), SECRET).unwrap();
        assert_eq!(again.find(b"alice-0001"), Some(alice));
    }

    fn check_user_fault(line: &str, why: &str) {
        let (passkeys, faults) = Passkeys::parse(format!("{line}\n").as_bytes(), SECRET).unwrap();
        assert_eq!(faults.first, [LineFault { line: 1, why: why.to_owned() }], "{line}");
        assert!(passkeys.is_empty());
    }

    #[test]
    fn a_faulty_line_of_passkeys_is_told_without_the_key() {
        let twice = Passkeys::parse(b"secret-key\nsecret-key peers=1\n", SECRET).unwrap().1;
        assert_eq!(twice.first[0].to_string(), "line 2: this passkey is in the list twice");
        check_user_fault("short", "a passkey has 8 to 128 characters, not 5");
        check_user_fault(&"k".repeat(129), "a passkey has 8 to 128 characters, not 129");
        check_user_fault("sec/ret-key", "a passkey has letters, digits, - and _ only");
        check_user_fault("secret-key peers=many", "peers= needs a number");
        check_user_fault("secret-key peers=-1", "peers= needs a number");
        let why = "behind the passkey stand peers=N, torrents=N, announces=N or a # remark";
        check_user_fault("secret-key another-key", why);
    }

    #[test]
    fn who_may_come_in_is_decided_by_the_lists_there_are() {
        let list = |byte: u8| {
            let (list, _) = InfoHashList::parse(format!("{byte:02x}").repeat(20).as_bytes()).unwrap();
            Some(Arc::new(list))
        };
        let torrent = |access: &Access, byte: u8| access.torrent(&InfoHash::from([byte; 20]));
        let open = Access::default();
        assert_eq!((torrent(&open, 1), open.user(None)), (Ok(()), Ok(None)));
        assert_eq!(open.user(Some(b"anything")), Err(AccessRefusal::NoSuchPath));
        let allowed = Access { allowed: list(1), ..Access::default() };
        assert_eq!((torrent(&allowed, 1), torrent(&allowed, 2)), (Ok(()), Err(AccessRefusal::NotAllowed)));
        let denied = Access { denied: list(1), allowed: list(1), ..Access::default() };
        assert_eq!(
            (torrent(&denied, 1), torrent(&denied, 2)),
            (Err(AccessRefusal::Denied), Err(AccessRefusal::NotAllowed))
        );
        let (passkeys, _) = Passkeys::parse(b"secret-key", SECRET).unwrap();
        let private = Access { passkeys: Some(Arc::new(passkeys)), ..Access::default() };
        assert_eq!(private.user(None), Err(AccessRefusal::NoPasskey));
        assert_eq!(private.user(Some(b"secret-kex")), Err(AccessRefusal::UnknownPasskey));
        assert!(private.user(Some(b"secret-key")).unwrap().is_some());
    }
}

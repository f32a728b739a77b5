//! Where in a torrent we are, for messages: a chain on the stack that becomes text only when something is wrong.

use std::fmt;

use ferri_bencode::{Dict, Kind, List, Value};

use crate::error::{MetainfoError, MetainfoErrorKind};
use crate::warning::{Warning, WarningKind};

/// A place in the bencode, as in `info.files[3].length`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'p> {
    up: Option<&'p Self>,
    step: Step<'p>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'p> {
    Root,
    Key(&'p [u8]),
    Index(usize),
}

/// What a value should have been.
const AN_INTEGER: &str = "an integer";

/// Letters of a key that messages show.
const KEY_SHOWN_MAX: usize = 80;

impl<'p> Place<'p> {
    /// The whole document.
    pub(super) const ROOT: Place<'static> = Place { up: None, step: Step::Root };

    /// The value of a key.
    pub(super) fn key(&'p self, key: &'p [u8]) -> Self {
        Self { up: Some(self), step: Step::Key(key) }
    }

    /// A value of a list.
    pub(super) fn index(&'p self, index: usize) -> Self {
        Self { up: Some(self), step: Step::Index(index) }
    }

    /// Something is wrong here.
    pub(super) fn error(&self, offset: Option<usize>, kind: MetainfoErrorKind) -> MetainfoError {
        MetainfoError { path: self.to_string(), offset, kind }
    }

    /// Something is odd here.
    pub(super) fn warning(&self, kind: WarningKind) -> Warning {
        Warning { path: self.to_string(), kind }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(up) = self.up else { return Ok(()) };
        // The chain is as long as our own call stack, not as the input is deep.
        up.fmt(f)?;
        match self.step {
            Step::Root => Ok(()),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key) => {
                if up.up.is_some() {
                    f.write_str(".")?;
                }
                fmt::Display::fmt(&Shown(key), f)
            }
        }
    }
}

/// Bytes from outside, made harmless and short.
pub(super) struct Shown<'a>(pub(super) &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy(&self.0[..self.0.len().min(KEY_SHOWN_MAX)]);
        f.write_str(&crate::display::sanitize(&text))?;
        if KEY_SHOWN_MAX < self.0.len() { f.write_str("...") } else { Ok(()) }
    }
}

/// A dictionary whose place is known.
#[derive(Clone, Copy)]
pub(super) struct Table<'d, 'p> {
    pub(super) dict: Dict<'d>,
    pub(super) place: &'p Place<'p>,
    /// The values of [`FILE_KEYS`], where they were looked up at once.
    of_file: Option<[Option<Value<'d>>; FILE_KEYS.len()]>,
}

/// What is read of each of a million files.
const FILE_KEYS: [&str; 5] = ["attr", "length", "path", "path.utf-8", "symlink path"];

impl<'d, 'p> Table<'d, 'p> {
    /// Unless `value` is a dictionary.
    pub(super) fn new(value: Value<'d>, place: &'p Place<'p>) -> Result<Self, MetainfoError> {
        match value.as_dict() {
            Some(dict) => Ok(Self { dict, place, of_file: None }),
            None => Err(place.error(Some(value.offset()), MetainfoErrorKind::NotA("a dictionary"))),
        }
    }

    /// The same for a file: its keys are looked up in one go.
    pub(super) fn of_file(value: Value<'d>, place: &'p Place<'p>) -> Result<Self, MetainfoError> {
        let table = Self::new(value, place)?;
        let mut found = [None; FILE_KEYS.len()];
        for (key, value) in table.dict.iter() {
            if let Some(at) = FILE_KEYS.iter().position(|name| name.as_bytes() == key) {
                // Of doubled keys the first one counts.
                found[at] = found[at].or(Some(value));
            }
        }
        Ok(Self { of_file: Some(found), ..table })
    }

    /// The value of a key, of any kind.
    pub(super) fn get(&self, key: &str) -> Option<Value<'d>> {
        if let Some(found) = &self.of_file
            && let Some(at) = FILE_KEYS.iter().position(|name| *name == key)
        {
            return found[at];
        }
        self.dict.get(key.as_bytes())
    }

    /// An integer, if the key is there.
    pub(super) fn int(&self, key: &str) -> Result<Option<i64>, MetainfoError> {
        self.typed(key, AN_INTEGER, Value::as_int)
    }

    /// A string, if the key is there.
    pub(super) fn bytes(&self, key: &str) -> Result<Option<&'d [u8]>, MetainfoError> {
        self.typed(key, "a string", Value::as_bytes)
    }

    /// A list, if the key is there.
    pub(super) fn list(&self, key: &str) -> Result<Option<List<'d>>, MetainfoError> {
        self.typed(key, "a list", Value::as_list)
    }

    /// An integer that is a number of bytes, if the key is there.
    pub(super) fn length(&self, key: &str) -> Result<Option<u64>, MetainfoError> {
        let Some(value) = self.int(key)? else { return Ok(None) };
        let length =
            u64::try_from(value).map_err(|_| self.error(key, MetainfoErrorKind::OutOfRange(value)))?;
        Ok(Some(length))
    }

    /// Something is wrong with the value of a key, or with its absence.
    pub(super) fn error(&self, key: &str, kind: MetainfoErrorKind) -> MetainfoError {
        let offset = self.get(key).map_or_else(|| self.dict.value().offset(), Value::offset);
        self.place.key(key.as_bytes()).error(Some(offset), kind)
    }

    /// Something is odd with the value of a key.
    pub(super) fn warning(&self, key: &str, kind: WarningKind) -> Warning {
        self.place.key(key.as_bytes()).warning(kind)
    }

    fn typed<T>(
        &self,
        key: &str,
        what: &'static str,
        of: impl FnOnce(Value<'d>) -> Option<T>,
    ) -> Result<Option<T>, MetainfoError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        of(value).map(Some).ok_or_else(|| {
            // The only integers that are none are those beyond 64 bits.
            let is_int = value.kind() == Kind::Int && what == AN_INTEGER;
            self.error(key, if is_int { MetainfoErrorKind::Overflow } else { MetainfoErrorKind::NotA(what) })
        })
    }
}

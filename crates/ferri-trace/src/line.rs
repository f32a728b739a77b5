//! The lines of a trace.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The version of the format that is written, and the only one that is read. Versions before 2 had no first line and knew the
/// swarm alone.
pub const VERSION: u32 = 2;

/// Which machine a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `ferri_swarm::Swarm`, of a torrent.
    Swarm,
    /// `ferri_swarm::MetadataSwarm`, of a magnet link.
    Search,
    /// `ferri_tracker::Schedule`, of a torrent or a magnet link.
    Schedule,
    /// `ferri_tracker::pace::Pace`, of a session.
    Pace,
    /// `ferri_dht::Node`, of a session.
    Dht,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Swarm => "swarm",
            Self::Search => "search",
            Self::Schedule => "schedule",
            Self::Pace => "pace",
            Self::Dht => "dht",
        })
    }
}

/// The line that a trace begins with, without its end. `by` is the program that writes it.
pub fn first_line(by: &str) -> String {
    write(&First { trace: VERSION, by: Cow::Borrowed(by) })
}

/// What a trace begins with.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct First<'a> {
    pub(crate) trace: u32,
    #[serde(default)]
    pub(crate) by: Cow<'a, str>,
}

/// The version alone, of whatever else there may be in later ones.
#[derive(Debug, Deserialize)]
pub(crate) struct Version {
    pub(crate) trace: u32,
}

/// Which machine a line is about, whatever else it says.
#[derive(Debug, Deserialize)]
pub(crate) struct Head {
    pub(crate) machine: Kind,
}

/// One line about a machine. One of `start`, `input`, `output` and `end` is there.
#[derive(Debug, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    bound(
        serialize = "S: Serialize, I: Serialize",
        deserialize = "S: Deserialize<'de>, I: Deserialize<'de>"
    )
)]
pub(crate) struct Line<'a, S, I> {
    pub(crate) machine: Kind,
    /// Whose it is.
    pub(crate) of: Cow<'a, str>,
    /// Nanoseconds since the trace began; an output has the time of the input before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) at: Option<u64>,
    /// It was made. Of two of the same name, the newer one counts from here on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) start: Option<S>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) input: Option<I>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) output: Option<Cow<'a, str>>,
    /// Nothing more is written about it, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) end: Option<Cow<'a, str>>,
}

impl<'a, S, I> Line<'a, S, I> {
    pub(crate) fn new(machine: Kind, of: &'a str) -> Self {
        Self { machine, of: Cow::Borrowed(of), at: None, start: None, input: None, output: None, end: None }
    }
}

/// No map with odd keys, no number out of range: there is nothing that JSON cannot say.
pub(crate) fn write(line: &impl Serialize) -> String {
    serde_json::to_string(line).unwrap_or_default()
}

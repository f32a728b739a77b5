//! Reading: a trace goes to fresh machines, and what they say is compared.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

#[cfg(feature = "dht")]
use ferri_dht::Node;
use ferri_swarm::{MetadataSwarm, Swarm};
use ferri_tracker::Schedule;
use ferri_tracker::pace::Pace;

use crate::line::{Head, Kind, Line, VERSION, Version};
use crate::machines::Machine;

/// Why a trace cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It does not begin as a trace of this version does.
    #[error("line {line} is not what a trace of version {VERSION} begins with")]
    NoVersion {
        /// Counted from 1.
        line: u64,
    },
    /// It is of another version.
    #[error("the trace is of version {found}; this program reads version {VERSION}")]
    OtherVersion {
        /// The version that it names.
        found: u32,
    },
    /// Not a line of a trace.
    #[error("line {line} is not a line of a trace: {source}")]
    Unreadable {
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A line that says nothing, or two things.
    #[error("line {line} has not one of start, input, output and end")]
    Senseless {
        /// Counted from 1.
        line: u64,
    },
    /// An input or output of a machine that was never started, or whose trace has ended.
    #[error("line {line} is about a machine whose start is missing")]
    NoStart {
        /// Counted from 1.
        line: u64,
    },
    /// Parts of a start do not fit.
    #[error("line {line}: {why}")]
    Unfit {
        /// Counted from 1.
        line: u64,
        /// What does not fit.
        why: &'static str,
    },
    /// A line about a machine that this build leaves out.
    #[error("line {line} is about a node of the DHT, and this build is made without the feature `dht`")]
    NotBuilt {
        /// Counted from 1.
        line: u64,
    },
    /// The machine says something else than it did.
    #[error("line {line}: the trace says\n  {expected}\nbut the machine says\n  {found}")]
    Differs {
        /// Counted from 1.
        line: u64,
        /// What the trace says.
        expected: String,
        /// What came.
        found: String,
    },
}

/// A line, once its machine agreed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which machine.
    pub machine: Kind,
    /// Whose it is.
    pub of: String,
    /// What the line says.
    pub what: What,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The machine was made.
    Start,
    /// It heard something.
    Input {
        /// When, since the trace began.
        at: Duration,
        /// What, in words.
        text: String,
    },
    /// It said what the trace says.
    Output {
        /// What, in words.
        text: String,
    },
    /// Nothing more is written about it.
    End {
        /// Why.
        why: String,
    },
}

/// Machines by whose they are.
type Machines<M> = BTreeMap<String, M>;

/// Feeds a trace to fresh machines and compares what they say.
#[derive(Debug)]
pub struct Replay {
    swarms: Machines<Swarm>,
    searches: Machines<MetadataSwarm>,
    schedules: Machines<Schedule>,
    paces: Machines<Pace>,
    #[cfg(feature = "dht")]
    nodes: Machines<Node>,
    start: Instant,
    line: u64,
    /// The first line was read.
    has_begun: bool,
}

impl Replay {
    /// Nothing replayed yet. `start` stands for the instant at which the trace began; any will do.
    pub fn new(start: Instant) -> Self {
        Self {
            swarms: Machines::new(),
            searches: Machines::new(),
            schedules: Machines::new(),
            paces: Machines::new(),
            #[cfg(feature = "dht")]
            nodes: Machines::new(),
            start,
            line: 0,
            has_begun: false,
        }
    }

    /// Replays the next line. `None` for an empty one, and for the first one.
    ///
    /// # Errors
    /// The line is none, or the machine disagrees with it.
    pub fn feed(&mut self, text: &str) -> Result<Option<Step>, ReplayError> {
        self.line += 1;
        if text.trim().is_empty() {
            return Ok(None);
        }
        let line = self.line;
        if !self.has_begun {
            let version: Version = serde_json::from_str(text).map_err(|_| ReplayError::NoVersion { line })?;
            if version.trace != VERSION {
                return Err(ReplayError::OtherVersion { found: version.trace });
            }
            self.has_begun = true;
            return Ok(None);
        }
        let head: Head =
            serde_json::from_str(text).map_err(|source| ReplayError::Unreadable { line, source })?;
        let at = (self.start, line);
        let step = match head.machine {
            Kind::Swarm => step(&mut self.swarms, text, at),
            Kind::Search => step(&mut self.searches, text, at),
            Kind::Schedule => step(&mut self.schedules, text, at),
            Kind::Pace => step(&mut self.paces, text, at),
            #[cfg(feature = "dht")]
            Kind::Dht => step(&mut self.nodes, text, at),
            #[cfg(not(feature = "dht"))]
            Kind::Dht => Err(ReplayError::NotBuilt { line }),
        };
        step.map(Some)
    }

    /// Lines read so far.
    pub fn lines(&self) -> u64 {
        self.line
    }

    /// The swarms, as the trace left them, by their info hashes.
    pub fn swarms(&self) -> impl Iterator<Item = (&str, &Swarm)> {
        self.swarms.iter().map(|(of, swarm)| (of.as_str(), swarm))
    }

    /// How many machines of a kind the trace left.
    pub fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Swarm => self.swarms.len(),
            Kind::Search => self.searches.len(),
            Kind::Schedule => self.schedules.len(),
            Kind::Pace => self.paces.len(),
            #[cfg(feature = "dht")]
            Kind::Dht => self.nodes.len(),
            #[cfg(not(feature = "dht"))]
            Kind::Dht => 0,
        }
    }
}

fn step<M: Machine>(
    machines: &mut Machines<M>,
    text: &str,
    (since, line): (Instant, u64),
) -> Result<Step, ReplayError> {
    let parsed: Line<'_, M::Start, M::Input> =
        serde_json::from_str(text).map_err(|source| ReplayError::Unreadable { line, source })?;
    let Line { machine, of, at, start, input, output, end } = parsed;
    let at = Duration::from_nanos(at.unwrap_or(0));
    let of = of.into_owned();
    let what = match (start, input, output, end) {
        (Some(start), None, None, None) => {
            let begun = M::begin(start, since + at).map_err(|why| ReplayError::Unfit { line, why })?;
            machines.insert(of.clone(), begun);
            What::Start
        }
        (None, Some(input), None, None) => {
            let machine = machines.get_mut(&of).ok_or(ReplayError::NoStart { line })?;
            let text = format!("{input:?}");
            machine.handle(input, since + at);
            What::Input { at, text }
        }
        (None, None, Some(expected), None) => {
            let machine = machines.get_mut(&of).ok_or(ReplayError::NoStart { line })?;
            let found = machine.poll_output();
            let found = found.map(|output| M::text(&output, &M::Mask::default(), since));
            let found = found.unwrap_or_else(|| "nothing".to_owned());
            if found != expected {
                return Err(ReplayError::Differs { line, expected: expected.into_owned(), found });
            }
            What::Output { text: found }
        }
        (None, None, None, Some(why)) => {
            machines.remove(&of).ok_or(ReplayError::NoStart { line })?;
            What::End { why: why.into_owned() }
        }
        _ => return Err(ReplayError::Senseless { line }),
    };
    Ok(Step { machine, of, what })
}

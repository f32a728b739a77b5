//! Traces (feature `serde`): everything a swarm hears and says as JSON lines, and their replay.
//!
//! A bug report is a trace, and a trace is a test: the machine has no clock and no chance of its own, so the same inputs at
//! the same times give the same outputs. Payload is recorded as its length, and is zeros in the replay. Lines of several
//! swarms may be mixed in one file; each names its swarm.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ferri_metainfo::{Bitfield, InfoHash, Layout};
use serde::{Deserialize, Serialize};

use crate::input::Input;
use crate::options::SwarmOptions;
use crate::output::Output;
use crate::swarm::Swarm;

/// One line of a trace.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    /// Which swarm.
    swarm: InfoHash,
    #[serde(flatten)]
    what: What,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum What {
    /// A swarm was made. Of two with the same name, the newer one counts from here on.
    Start(Box<Start>),
    Input {
        /// Nanoseconds since the swarm was made.
        at: u64,
        input: Input,
    },
    Output(String),
}

#[derive(Debug, Serialize, Deserialize)]
struct Start {
    options: SwarmOptions,
    layout: Layout,
    have: Bitfield,
    seed: u64,
}

/// The info dictionary as its length: what it says is in the layout, and what is served of it is shown as a length too.
pub(crate) mod metadata {
    use bytes::Bytes;
    use ferri_metainfo::limits::TORRENT_BYTES_MAX;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(bytes: &Option<Bytes>, serializer: S) -> Result<S::Ok, S::Error> {
        bytes.as_ref().map(Bytes::len).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Bytes>, D::Error> {
        let length = Option::<usize>::deserialize(deserializer)?;
        if length.is_some_and(|length| TORRENT_BYTES_MAX < length) {
            return Err(D::Error::custom("an info dictionary beyond the limit"));
        }
        Ok(length.map(|length| Bytes::from(vec![0; length])))
    }
}

/// Writes the trace of one swarm.
#[derive(Debug)]
pub struct Recorder {
    swarm: InfoHash,
    start: Instant,
}

impl Recorder {
    /// Begins a trace: takes what [`Swarm::new`] takes, and returns the first line (without its end).
    pub fn new(
        options: &SwarmOptions,
        layout: &Layout,
        have: &Bitfield,
        seed: u64,
        now: Instant,
    ) -> (Self, String) {
        let recorder = Self { swarm: options.info_hash, start: now };
        let start = Start { options: options.clone(), layout: layout.clone(), have: have.clone(), seed };
        let line = recorder.line(What::Start(Box::new(start)));
        (recorder, line)
    }

    /// The line of an input, to be written before its outputs.
    pub fn input(&self, input: &Input, now: Instant) -> String {
        let at = now.saturating_duration_since(self.start).as_nanos();
        self.line(What::Input { at: u64::try_from(at).unwrap_or(u64::MAX), input: input.clone() })
    }

    /// The line of an output.
    pub fn output(&self, output: &Output) -> String {
        self.line(What::Output(text(output)))
    }

    fn line(&self, what: What) -> String {
        let line = Line { swarm: self.swarm, what };
        // No map with odd keys, no number out of range: there is nothing that JSON cannot say.
        serde_json::to_string(&line).unwrap_or_default()
    }
}

/// An output as people and comparisons see it: payload as its length.
fn text(output: &Output) -> String {
    match output {
        Output::StoreBlock { block, data } => {
            format!("StoreBlock {{ block: {block:?}, data: {} bytes }}", data.len())
        }
        other => format!("{other:?}"),
    }
}

/// Why a trace cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Not a line of a trace.
    #[error("line {line} is not a line of a trace: {source}")]
    Unreadable {
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// An input or output of a swarm that was never started.
    #[error("line {line} is about a swarm whose start is missing")]
    NoStart {
        /// Counted from 1.
        line: u64,
    },
    /// Have and layout do not fit.
    #[error("line {line}: the pieces do not fit the torrent")]
    Unfit {
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

/// What a line of a trace was, once the machine agreed.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A swarm was made.
    Start {
        /// Its name.
        swarm: InfoHash,
    },
    /// It heard something.
    Input {
        /// Which.
        swarm: InfoHash,
        /// When, since it was made.
        at: Duration,
        /// What.
        input: Input,
    },
    /// It said what the trace says.
    Output {
        /// Which.
        swarm: InfoHash,
        /// What.
        text: String,
    },
}

/// Feeds a trace to fresh machines and compares what they say.
#[derive(Debug)]
pub struct Replay {
    swarms: BTreeMap<InfoHash, Swarm>,
    start: Instant,
    line: u64,
}

impl Replay {
    /// Nothing replayed yet. `start` stands for the instant at which each swarm was made; any will do.
    pub fn new(start: Instant) -> Self {
        Self { swarms: BTreeMap::new(), start, line: 0 }
    }

    /// Replays the next line. `None` for an empty one.
    ///
    /// # Errors
    /// The line is none, or the machine disagrees with it.
    pub fn feed(&mut self, line: &str) -> Result<Option<Step>, ReplayError> {
        self.line += 1;
        if line.trim().is_empty() {
            return Ok(None);
        }
        let number = self.line;
        let Line { swarm: name, what } =
            serde_json::from_str(line).map_err(|source| ReplayError::Unreadable { line: number, source })?;
        if let What::Start(start) = what {
            if start.have.len() != start.layout.piece_count() {
                return Err(ReplayError::Unfit { line: number });
            }
            let swarm = Swarm::new(start.options, start.layout, start.have, start.seed, self.start);
            self.swarms.insert(name, swarm);
            return Ok(Some(Step::Start { swarm: name }));
        }
        let Some(swarm) = self.swarms.get_mut(&name) else {
            return Err(ReplayError::NoStart { line: number });
        };
        match what {
            What::Start(_) => Ok(None),
            What::Input { at, input } => {
                let at = Duration::from_nanos(at);
                swarm.handle(input.clone(), self.start + at);
                Ok(Some(Step::Input { swarm: name, at, input }))
            }
            What::Output(expected) => {
                let found = swarm.poll_output().map_or_else(|| "nothing".to_owned(), |output| text(&output));
                if found != expected {
                    return Err(ReplayError::Differs { line: number, expected, found });
                }
                Ok(Some(Step::Output { swarm: name, text: found }))
            }
        }
    }

    /// Lines read so far.
    pub fn lines(&self) -> u64 {
        self.line
    }

    /// The machines, as the trace left them.
    pub fn swarms(&self) -> impl Iterator<Item = (&InfoHash, &Swarm)> {
        self.swarms.iter()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;
    use ferri_wire::{Handshake, Message, PeerId, Reserved};

    use super::*;
    use crate::input::{Direction, PeerKey, Source};

    /// A short life of a swarm: a seed is dialled, unchokes us and sends the torrent.
    fn trace() -> Vec<String> {
        let now = Instant::now();
        let layout = Layout::single(32 << 10, 100_000).unwrap();
        let mut options = SwarmOptions::new([1; 20].into(), PeerId::from([2; 20]));
        options.metadata = Some(Bytes::from(vec![5; 20_000]));
        let have = Bitfield::new(layout.piece_count());
        let (recorder, first) = Recorder::new(&options, &layout, &have, 7, now);
        let mut lines = vec![first];
        let mut swarm = Swarm::new(options, layout.clone(), have, 7, now);
        let addr = "10.0.0.1:6881".parse().unwrap();
        let peer = PeerKey(1);
        let handshake = Handshake {
            reserved: Reserved::NONE.with_fast().with_extensions(),
            info_hash: [1; 20].into(),
            peer_id: PeerId::from([3; 20]),
        };
        let mut inputs = vec![
            Input::PeersFound { source: Source::Tracker, addrs: vec![addr] },
            Input::PeerConnected { peer, addr, direction: Direction::Outgoing, handshake, crowd: 0 },
            Input::PeerMessage { peer, message: extended(0, b"d1:md11:ut_metadatai3eee") },
            Input::PeerMessage { peer, message: extended(2, b"d8:msg_typei0e5:piecei0ee") },
            Input::PeerMessage { peer, message: Message::HaveAll },
            Input::PeerMessage { peer, message: Message::Unchoke },
        ];
        let mut at = now;
        while let Some(input) = (!inputs.is_empty()).then(|| inputs.remove(0)) {
            at += Duration::from_millis(10);
            lines.push(recorder.input(&input, at));
            swarm.handle(input, at);
            while let Some(output) = swarm.poll_output() {
                lines.push(recorder.output(&output));
                match output {
                    Output::Send { message: Message::Request { piece, begin, length }, .. } => {
                        let data = Bytes::from(vec![9; length as usize]);
                        inputs.push(Input::PeerMessage {
                            peer,
                            message: Message::Piece { piece, begin, data },
                        });
                    }
                    Output::VerifyPiece { piece } => {
                        inputs.push(Input::PieceVerified { piece: piece.get(), ok: true });
                    }
                    _ => {}
                }
            }
        }
        assert!(swarm.have().is_full());
        lines
    }

    fn extended(id: u8, payload: &'static [u8]) -> Message {
        Message::Extended { id, payload: Bytes::from_static(payload) }
    }

    #[test]
    fn a_replay_says_what_the_trace_says() {
        let lines = trace();
        let part = |line: &&String| line.contains("Extended { id: 3, payload: 164");
        assert_eq!(lines.iter().filter(part).count(), 1, "a part of the info dictionary is served");
        let mut replay = Replay::new(Instant::now());
        for line in &lines {
            replay.feed(line).unwrap().unwrap();
        }
        assert!(replay.swarms().all(|(_, swarm)| swarm.have().is_full()));
        assert_eq!(replay.lines(), lines.len() as u64);
    }

    #[test]
    fn a_machine_that_says_something_else_is_found_out() {
        let lines = trace();
        let mut replay = Replay::new(Instant::now());
        let changed = lines.iter().map(|line| line.replace("HaveNone", "HaveAll"));
        let error = changed.map(|line| replay.feed(&line)).find_map(Result::err).unwrap();
        assert!(matches!(error, ReplayError::Differs { .. }), "{error}");
    }

    #[test]
    fn lines_that_are_none_are_refused() {
        let mut replay = Replay::new(Instant::now());
        assert!(matches!(replay.feed(""), Ok(None)));
        assert!(matches!(replay.feed("{}"), Err(ReplayError::Unreadable { line: 2, .. })));
        let orphan = trace().remove(1);
        assert!(matches!(replay.feed(&orphan), Err(ReplayError::NoStart { line: 3 })));
    }

    #[test]
    fn payload_is_recorded_as_its_length() {
        assert!(trace().iter().all(|line| line.len() < 2_000));
    }
}

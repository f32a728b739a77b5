//! One list, read as it comes.

use crate::builder::{Builder, RANGES_MAX};
use crate::line::{self, Line};

/// A longer line makes no sense: descriptions have some hundred bytes.
const LINE_MAX: usize = 4_096;

/// So many lines that make no sense are named.
const NAMED_MAX: usize = 5;

/// A list that is being read. Its format is told from each line, so that a list may mix them:
/// - **p2p** (PeerGuardian): `words:1.2.3.4-1.2.3.255`;
/// - **dat** (eMule): `001.002.003.004 - 001.002.003.255 , 100 , words`; a level of 128 or more means that the addresses
///   are allowed, and the line says nothing then;
/// - **CIDR**: `1.2.3.0/24`, `2001:db8::/32`, or one address.
///
/// Blank lines and those that begin with `#`, `;` or `//` are comments. What is not in UTF-8 is of no interest: the words are
/// not read.
#[derive(Debug)]
pub struct List<'b> {
    builder: &'b mut Builder,
    /// How many ranges of each family there were before it.
    before: (usize, usize),
    /// A line whose end did not come yet.
    begun: Vec<u8>,
    is_too_long: bool,
    is_first: bool,
    is_full: bool,
    report: Report,
}

/// What was found in a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Lines that give a range to be blocked.
    pub ranges: usize,
    /// Lines whose access level allows their addresses.
    pub allowed: usize,
    /// Lines that make no sense; they were left out.
    pub bad: usize,
    /// The first few of those.
    pub named: Vec<BadLine>,
    lines: usize,
}

/// A line that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Its number, from 1.
    pub number: usize,
    /// How it begins. Unsafe to print as it is: it came from elsewhere.
    pub text: String,
}

/// Why a list is of no use. Nothing of it is in the filter then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// There is not one byte: a download that failed looks so.
    #[error("it is empty")]
    Empty,
    /// More lines make no sense than say something: it is something else, a web page perhaps.
    #[error("it is no list of addresses: {bad} of {lines} lines make no sense, the first is line {first}", bad = .0.bad, lines = .0.lines, first = .0.named.first().map_or(0, |line| line.number))]
    NoList(Report),
    /// All lists together have more ranges than are held.
    #[error("there are more than {RANGES_MAX} ranges in the lists")]
    TooMany,
}

impl<'b> List<'b> {
    /// Begins a list. What it says counts once it is [finished](Self::finish).
    pub fn new(builder: &'b mut Builder) -> Self {
        let before = builder.counts();
        let report = Report::default();
        let begun = Vec::new();
        Self { builder, before, begun, is_too_long: false, is_first: true, is_full: false, report }
    }

    /// Takes the next bytes, cut anywhere.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            bytes = rest;
            if self.begun.is_empty() && !self.is_too_long {
                self.take(line);
            } else {
                self.hold(line);
                self.end_line();
            }
        }
        self.hold(bytes);
    }

    /// The end of the list.
    ///
    /// # Errors
    /// [`ListError`]; the fault is the list's.
    pub fn finish(mut self) -> Result<Report, ListError> {
        if !self.begun.is_empty() || self.is_too_long {
            self.end_line();
        }
        let report = std::mem::take(&mut self.report);
        let error = if self.is_full {
            ListError::TooMany
        } else if self.is_first {
            ListError::Empty
        } else if report.ranges + report.allowed < report.bad {
            ListError::NoList(report)
        } else {
            return Ok(report);
        };
        self.builder.forget_after(self.before);
        Err(error)
    }

    fn hold(&mut self, bytes: &[u8]) {
        let room = LINE_MAX.saturating_sub(self.begun.len());
        self.is_too_long |= room < bytes.len();
        self.begun.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.begun);
        self.take(&line);
        self.begun = line;
        self.begun.clear();
        self.is_too_long = false;
    }

    fn take(&mut self, mut line: &[u8]) {
        if std::mem::take(&mut self.is_first) {
            // The byte order mark of UTF-8.
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        self.report.lines += 1;
        let found = if self.is_too_long || LINE_MAX < line.len() { None } else { line::parse(line) };
        match found {
            Some(Line::Nothing) => {}
            Some(Line::Allowed) => self.report.allowed += 1,
            Some(range) => {
                self.report.ranges += 1;
                self.is_full |= !self.builder.add(range);
            }
            None => {
                self.report.bad += 1;
                if self.report.named.len() < NAMED_MAX {
                    let text = String::from_utf8_lossy(&line[..line.len().min(60)]).into_owned();
                    self.report.named.push(BadLine { number: self.report.lines, text });
                }
            }
        }
    }
}

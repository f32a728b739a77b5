//! What is wrong with a document, and at which byte.

/// Why bytes are not the bencode we accept, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {offset}")]
pub struct Error {
    /// Bytes from the start of the input to the offending one.
    pub offset: usize,
    /// What is wrong there.
    pub kind: ErrorKind,
}

/// The rule that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The input stops inside a value.
    #[error("the data ends in the middle of a value")]
    UnexpectedEnd,
    /// A byte that cannot stand here.
    #[error("unexpected byte 0x{0:02x}")]
    UnexpectedByte(u8),
    /// `ie`, `i-e`.
    #[error("an integer without digits")]
    MissingDigits,
    /// `i03e`, `04:spam`.
    #[error("a number with a leading zero")]
    LeadingZero,
    /// `i-0e`.
    #[error("negative zero")]
    NegativeZero,
    /// An integer outside of -2^63..2^63, or a string length that no machine has.
    #[error("a number that is out of range")]
    Overflow,
    /// A dictionary key that is not a string.
    #[error("a dictionary key that is not a string")]
    KeyNotString,
    /// A dictionary that ends after a key.
    #[error("a dictionary key without a value")]
    MissingValue,
    /// A key that should have come before its predecessor.
    #[error("dictionary keys are not sorted")]
    UnsortedKeys,
    /// A key that was there before.
    #[error("a dictionary key appears twice")]
    DuplicateKey,
    /// Bytes behind the document.
    #[error("there is more data behind the end")]
    TrailingData,
    /// More than [`DEPTH_MAX`](crate::DEPTH_MAX) containers inside each other.
    #[error("lists and dictionaries are nested too deeply")]
    TooDeep,
    /// More than [`CONTAINERS_MAX`](crate::CONTAINERS_MAX) lists and dictionaries, or far more than a document of this
    /// size needs.
    #[error("too many lists and dictionaries")]
    TooManyContainers,
    /// More than [`INPUT_MAX`](crate::INPUT_MAX) bytes.
    #[error("the document is too long")]
    InputTooLong,
}

//! Why a client gets no peers, in words for its user and as a name for metrics.

use std::fmt;

use super::access::{AccessRefusal, PASSKEY_LENGTH_MAX};
use super::ledger::LimitReached;
use super::query::Fault;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Fault(Fault),
    AccessRefusal(AccessRefusal),
    Limit(LimitReached),
    /// No room for another torrent, and no peer has taken more than a fair share.
    TorrentsFull,
    /// No room for another peer. No client hears of it: such a peer is served, but not remembered.
    PeersFull,
    /// An HTTP method other than GET.
    Method,
    NoSuchPath,
    /// UDP: a connection id that is not this address's, or no longer.
    NotConnected,
    /// UDP: the datagram ends before its fields do.
    TooShort(usize),
    /// UDP: a scrape has no room for a passkey.
    PrivateScrape,
}

/// When it is worth asking again (BEP 31).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    /// Nothing is said.
    Unsaid,
    Minutes(u32),
    Never,
}

/// What metrics call a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Malformed,
    NotConnected,
    TorrentDenied,
    TorrentNotAllowed,
    Passkey,
    PasskeyLimit,
    Full,
    NoSuchPath,
}

impl Reason {
    pub(super) const COUNT: usize = 8;
    pub(super) const ALL: [(Self, &'static str); Self::COUNT] = [
        (Self::Malformed, "malformed"),
        (Self::NotConnected, "not_connected"),
        (Self::TorrentDenied, "torrent_denied"),
        (Self::TorrentNotAllowed, "torrent_not_allowed"),
        (Self::Passkey, "passkey"),
        (Self::PasskeyLimit, "passkey_limit"),
        (Self::Full, "full"),
        (Self::NoSuchPath, "no_such_path"),
    ];
}

/// What UDP says to unknown connection ids.
pub(super) const NOT_CONNECTED: &str = "connection id unknown";

impl Refusal {
    pub(super) fn reason(self) -> Reason {
        match self {
            Self::Fault(_) | Self::Method | Self::TooShort(_) => Reason::Malformed,
            Self::NotConnected => Reason::NotConnected,
            Self::AccessRefusal(AccessRefusal::Denied) => Reason::TorrentDenied,
            Self::AccessRefusal(AccessRefusal::NotAllowed) => Reason::TorrentNotAllowed,
            Self::AccessRefusal(AccessRefusal::NoPasskey | AccessRefusal::UnknownPasskey)
            | Self::PrivateScrape => Reason::Passkey,
            Self::Limit(_) => Reason::PasskeyLimit,
            Self::TorrentsFull | Self::PeersFull => Reason::Full,
            Self::NoSuchPath | Self::AccessRefusal(AccessRefusal::NoSuchPath) => Reason::NoSuchPath,
        }
    }

    pub(super) fn retry(self) -> Retry {
        match self {
            Self::AccessRefusal(AccessRefusal::Denied) => Retry::Never,
            Self::Limit(LimitReached::Announces(_)) => Retry::Minutes(1),
            // Lists are read again now and then, and room is made by those who leave.
            Self::AccessRefusal(_) | Self::Limit(_) | Self::TorrentsFull | Self::PeersFull => {
                Retry::Minutes(RETRY_MINUTES)
            }
            _ => Retry::Unsaid,
        }
    }
}

/// When lists may have changed.
const RETRY_MINUTES: u32 = 15;

/// At most 90 bytes each but for faults: an error over UDP is no longer than the request, and an announce has 98. What shorter
/// requests can get has the point in its first words.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::AccessRefusal(AccessRefusal::Denied) => {
                f.write_str("this tracker does not serve this torrent")
            }
            Self::AccessRefusal(AccessRefusal::NotAllowed) => {
                f.write_str("this tracker serves listed torrents only, and this one is not listed")
            }
            Self::AccessRefusal(AccessRefusal::NoPasskey) => {
                f.write_str("this tracker is private: its address has a passkey in it, /KEY/announce")
            }
            Self::AccessRefusal(AccessRefusal::UnknownPasskey) => {
                f.write_str("this passkey is not known; fetch the torrent file again where you got it")
            }
            Self::AccessRefusal(AccessRefusal::NoSuchPath) => {
                f.write_str("this tracker takes no passkeys: its address is /announce")
            }
            Self::Limit(LimitReached::Peers(limit)) => {
                write!(
                    f,
                    "this passkey may have {limit} peers, one a torrent and client: stop a torrent first"
                )
            }
            Self::Limit(LimitReached::Torrents(limit)) => {
                write!(f, "this passkey may have {limit} torrents at a time; stop one of yours first")
            }
            Self::Limit(LimitReached::Announces(limit)) => {
                write!(f, "this passkey may announce {limit} times a minute; wait one")
            }
            Self::TorrentsFull => f.write_str("this tracker has no room for another torrent"),
            Self::PeersFull => f.write_str("this tracker has no room for another peer"),
            Self::Method => f.write_str("this tracker answers GET requests only"),
            Self::NoSuchPath => f.write_str("there is nothing at this path"),
            Self::NotConnected => f.write_str(NOT_CONNECTED),
            Self::TooShort(length) => write!(f, "too short: {length} bytes"),
            Self::PrivateScrape => f.write_str("scrape over HTTP: UDP has no room for a passkey"),
        }
    }
}

const _: () = assert!(PASSKEY_LENGTH_MAX < u8::MAX as usize, "a passkey fits one option of BEP 41");

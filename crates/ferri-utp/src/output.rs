//! What the machine wants done or has to tell.

use std::net::SocketAddr;
use std::time::Duration;

/// Names a connection until its [`Output::Closed`]. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionKey {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// Something for the caller to know. A connection has at most one of each waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// A peer began a connection, and answered from where it says that it is.
    Accepted {
        /// The connection.
        key: ConnectionKey,
        /// The peer.
        from: SocketAddr,
    },
    /// A connection that we began was answered.
    Connected {
        /// The connection.
        key: ConnectionKey,
    },
    /// There is something to read, or the end was reached. Said once, and again for what comes after a read.
    Readable {
        /// The connection.
        key: ConnectionKey,
    },
    /// There is room again, after a write that was not taken whole.
    Writable {
        /// The connection.
        key: ConnectionKey,
    },
    /// The connection is over. Its key is void.
    Closed {
        /// The connection.
        key: ConnectionKey,
        /// Why.
        reason: CloseReason,
    },
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CloseReason {
    /// Both sides said that they have no more to say, and have everything.
    Finished,
    /// The peer broke it off, or does not know it.
    Reset,
    /// Our SYN was not answered.
    NotAnswered,
    /// The peer stopped answering.
    TimedOut,
}

/// Datagrams to send: a run of the same length to one address, one after the other in the caller's buffer. Only the last
/// may be shorter. It can be handed to the system in one call (UDP GSO).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where they go.
    pub to: SocketAddr,
    /// The length of each datagram but the last, in bytes.
    pub segment: usize,
    /// It must not be fragmented on its way, because it probes the path's MTU (`IP_PMTUDISC_PROBE`). All others may be:
    /// a packet cannot be divided after it was sent once.
    pub dont_fragment: bool,
}

/// A connection at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionStatus {
    /// The peer.
    pub addr: SocketAddr,
    /// The smoothed round-trip time; a guess of 100 ms before the first measurement.
    pub rtt: Duration,
    /// How long our packets wait in queues, as far as the peer told.
    pub queue: Option<Duration>,
    /// Bytes that may be under way to the peer.
    pub window: u32,
    /// Bytes that are.
    pub in_flight: u32,
    /// The length of full datagrams in bytes, without the headers of IP and UDP.
    pub datagram: u16,
}

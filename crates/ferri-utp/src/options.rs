//! What the caller may choose.

use std::time::Duration;

/// Bounds and times of a [`Multiplexer`](crate::Multiplexer).
#[derive(Clone, Debug)]
pub struct Options {
    /// Connections, whichever side began them. Beyond this, SYNs are not answered and `connect` refuses.
    pub connections_max: usize,
    /// Connections that we began and that have not been answered yet.
    pub connecting_max: usize,
    /// Whether peers may begin connections.
    pub accept: bool,
    /// Bytes that a connection keeps for its reader, out-of-order packets included. It is the window that the peer is
    /// told, so a stream gets at most this much in a round trip. One packet that is longer is taken nevertheless.
    pub receive_buffer: usize,
    /// Bytes that a connection keeps until the peer has acknowledged them.
    pub send_buffer: usize,
    /// The longest datagram to an IPv4 address, without the headers of IP and UDP (28 bytes).
    pub datagram_max_v4: u16,
    /// The longest datagram to an IPv6 address, without the headers of IP and UDP (48 bytes).
    pub datagram_max_v6: u16,
    /// Datagrams that one [`Transmit`](crate::Transmit) has at most.
    pub run_max: usize,
    /// How often a SYN is sent before the connection has failed. The pauses are 1, 2, 4, … seconds.
    pub syn_attempts: u32,
    /// How often data is sent again without any answer before the connection is lost. The pauses double up to 15 s.
    pub timeouts_max: u32,
    /// After so long without a packet from the peer a connection is lost.
    pub idle_timeout: Duration,
    /// After so long without sending anything we send an empty packet, so that routers remember the connection.
    pub keep_alive: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections_max: 1_000,
            connecting_max: 200,
            accept: true,
            receive_buffer: 1 << 20,
            send_buffer: 1 << 20,
            datagram_max_v4: 1_500 - 28,
            datagram_max_v6: 1_500 - 48,
            run_max: 16,
            syn_attempts: 3,
            timeouts_max: 6,
            // A peer that says nothing says so every two minutes (BEP 3).
            idle_timeout: Duration::from_secs(150),
            // Routers forget a flow over UDP after 30 s.
            keep_alive: Duration::from_secs(29),
        }
    }
}

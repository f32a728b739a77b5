//! uTP, the transport of BitTorrent over UDP, without I/O ([BEP 29]).
//!
//! A uTP connection is what a TCP connection is: a stream of bytes in each direction, complete and in order. It differs in
//! two things. It runs over UDP, so one socket carries all connections and goes through routers as the DHT does. And it
//! is polite: it measures how long its packets wait in queues, and makes room before other traffic feels it.
//!
//! [`Multiplexer`] is the machine. Datagrams and the passing of time go in, datagrams and news come out; it owns no
//! socket and no clock, and what it needs of chance comes from a seed. `examples/handshake.rs` is a shell around it.
//!
//! # How it works
//!
//! ```text
//!   write ─► send ──► connection/outgoing ─► multiplexer ─► datagrams in runs
//!            ▲  ▲ acknowledged, lost
//!       mtu ─┘  └─ ledbat ◄─ delay, rtt ◄─┐
//!   read ◄── receive ◄── connection/incoming ◄─ multiplexer ◄─ datagrams
//! ```
//!
//! **A connection begins** with a SYN, which the other side answers. The SYN names the id that packets to its sender
//! carry; packets in the other direction carry that id plus one. Together with the address it is the name of the
//! connection. A SYN makes no connection yet: the address may be forged, so the answer carries a number that can be
//! computed again, and the connection exists when a packet comes back with it (`multiplexer/strangers.rs`).
//!
//! **Packets are numbered, not bytes** (`seq.rs`). A number has 16 bits and wraps. A packet that was sent once cannot be
//! divided afterwards: the other side may have it, or those behind it. So a packet is a range of the stream, kept until it
//! is acknowledged (`send.rs`); the receiver keeps what comes too early (`receive.rs`).
//!
//! **Acknowledgements** name the last packet that came in order, and a mask of those that came after a gap. One leaves
//! after two packets, after 20 ms, or at once if something is missing. Packets that arrive in one batch are answered once.
//!
//! **A packet is lost** when one that was sent three packets later has arrived, or later in time by more than a round trip.
//! If nothing comes back at all, the last packet is sent again to learn what is missing; half a second or more without
//! progress makes everything count as lost (`rtt.rs`).
//!
//! **How much is under way** is decided by LEDBAT (`ledbat.rs`) from the queueing delay (`delay.rs`), and bounded by the
//! room that the peer has. A peer without room is asked again now and then, because it may have told us in vain.
//!
//! **How long datagrams are** is found out on the way (`mtu.rs`): one that must not be fragmented is sent now and then, and
//! if it arrives the others get as long.
//!
//! **A connection ends** when both sides have sent a FIN, which has a number as data has, and acknowledged that of the
//! other. A RESET breaks it off; it counts only if it names a packet that we sent. After its end a connection answers for
//! some seconds more, because the last acknowledgement may be lost.
//!
//! # What it costs
//!
//! A byte is copied once on its way in (from the datagram to the reader's buffer) and once on its way out (from the
//! writer's buffer to the run of datagrams). Nothing is allocated for a packet once buffers have grown: the packets of a
//! connection are a ring, and what comes too early waits in buffers that are used again. The next timeout is the top of a
//! heap. All that a peer can make us keep is bounded by [`Options`].
//!
//! [BEP 29]: https://www.bittorrent.org/beps/bep_0029.html

mod budget;
mod connection;
mod delay;
mod ledbat;
mod mtu;
mod multiplexer;
mod options;
mod output;
pub mod packet;
mod pool;
mod random;
mod receive;
mod rtt;
mod send;
mod seq;
mod time;
mod timers;

pub use multiplexer::{ConnectError, Input, Multiplexer};
pub use options::Options;
pub use output::{CloseReason, ConnectionKey, ConnectionStatus, Output, Transmit};
pub use seq::Seq;

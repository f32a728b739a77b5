//! Our side of one swarm: which peers to know, which blocks to ask of them, which to send to, which to disconnect.
//!
//! No I/O: no sockets, files, clock, threads or chance of its own. [`Swarm`] is a machine: [`Swarm::handle`] takes an
//! [`Input`] (a message came, a connection ended, a piece was verified, time passed), after which
//! [`Swarm::poll_output`] is drained for what is to be done, and [`Swarm::poll_timeout`] says when to come back at the
//! latest. The same seed and the same inputs give the same outputs.
//!
//! The way of a block: a peer announces pieces, the picker chooses (rarest first) and a `Request` goes out, as many at
//! a time as the peer's window holds; the `Piece` that answers becomes [`Output::StoreBlock`], the last one of a piece
//! [`Output::VerifyPiece`], and [`Input::PieceVerified`] makes it a `Have` to all peers that lack it. A piece is never
//! announced before that.
//!
//! A torrent of which only the info hash is known begins with [`MetadataSwarm`], which is driven in the same way: it finds
//! peers, asks them for the parts of the info dictionary (BEP 9), and when that is there [`MetadataSwarm::hand_over`] gives the
//! first inputs of the [`Swarm`]: connections go on, and what peers said meanwhile is not lost.
//!
//! Peers tell each other addresses (BEP 11), as which address they see us, and the ports of their DHT nodes. The first stays
//! inside, within quotas for each source and teller; the others leave as [`Output::SeenAs`] and [`Output::DhtNode`]. A private torrent
//! ([`SwarmOptions::private`], BEP 27) neither tells nor hears any of it.

mod admission;
mod bans;
mod bep40;
mod blame;
mod candidates;
mod choker;
mod duplicate;
mod extensions;
mod input;
mod metadata;
mod network;
mod options;
mod output;
mod peer;
mod pex;
mod picker;
mod pieces;
mod rate;
mod reason;
mod requests;
mod rng;
#[cfg(feature = "serde")]
mod serial;
mod status;
mod swarm;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod upload;

pub use input::{Direction, Input, PeerKey, Priority, Source};
pub use metadata::{HandOver, METADATA_BYTES_MAX, MetadataStats, MetadataSwarm};
pub use network::Network;
pub use options::SwarmOptions;
pub use output::{Output, SwarmEvent};
pub use reason::{DisconnectReason, Misbehavior};
pub use status::{Dials, PeerFlags, PeerStats, Role, SourceCounts, Standstill, SwarmStats};
pub use swarm::Swarm;

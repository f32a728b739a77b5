//! Our side of one swarm: which peers to know, which block to ask of whom, whom to send to, whom to throw out.
//!
//! No I/O: no sockets, files, clock, threads or chance of its own. [`Swarm`] is a machine: [`Swarm::handle`] takes an
//! [`Input`] (a message came, a connection ended, a piece was verified, time passed), after which
//! [`Swarm::poll_output`] is drained for what is to be done, and [`Swarm::poll_timeout`] says when to come back at the
//! latest. The same seed and the same inputs give the same outputs.
//!
//! The way of a block: a peer announces pieces, the picker chooses (rarest first) and a `Request` goes out, as many at a
//! time as the peer's window holds; the `Piece` that answers becomes [`Output::StoreBlock`], the last one of a piece
//! [`Output::VerifyPiece`], and [`Input::PieceVerified`] makes it a `Have` to everybody who lacks it. A piece is never
//! announced before that.

mod bep40;
mod blame;
mod candidates;
mod choker;
mod input;
mod metadata;
mod options;
mod output;
mod peer;
mod picker;
mod pieces;
mod rate;
mod reason;
mod requests;
mod rng;
mod status;
mod swarm;
#[cfg(feature = "serde")]
pub mod trace;
mod upload;

pub use input::{Direction, Input, PeerKey, Priority, Source};
pub use metadata::{HandOver, METADATA_BYTES_MAX, MetadataStats, MetadataSwarm};
pub use options::SwarmOptions;
pub use output::{Event, Output};
pub use reason::{DisconnectReason, Misbehavior};
pub use status::{PeerFlags, PeerStatus, Role, SwarmStats};
pub use swarm::Swarm;

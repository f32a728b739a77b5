//! Bytes between peers: handshake, messages, extensions. No I/O: bytes in, messages out, and the way back.
//!
//! A connection starts with a [`Handshake`] each way ([BEP 3]), after which both sides send [`Message`]s, each behind
//! a four-byte length. Peers that both set the bit for it also speak the extension protocol ([BEP 10]): a
//! bencoded [`extension::ExtensionHandshake`] that gives names to further messages. Beside connections, peers of one network find
//! each other by [`lsd`] ([BEP 14]). In front of all of it a connection may have the key exchange of [`mse`], after which
//! the stream can be encrypted.
//!
//! What the peer claims is not believed here and not checked against a torrent either: indexes are bare `u32`s, because
//! this layer knows no torrent. What is checked is form: each message has exactly the length its type allows, and a
//! length is looked at before anything is kept for it.
//!
//! [BEP 3]: https://www.bittorrent.org/beps/bep_0003.html
//! [BEP 10]: https://www.bittorrent.org/beps/bep_0010.html
//! [BEP 14]: https://www.bittorrent.org/beps/bep_0014.html

mod codec;
pub mod extension;
mod fast;
mod handshake;
mod hashes;
pub mod lsd;
mod message;
pub mod mse;
mod peer_id;
#[cfg(feature = "serde")]
mod serial;

pub use codec::{
    BITFIELD_BYTES_MAX, DecodeError, EXTENDED_HANDSHAKE_BYTES_MAX, HASHES_BYTES_MAX, MESSAGE_LEN_MAX,
    PIECE_DATA_MAX, PIECE_HEADER_LEN, PieceHeader, UNKNOWN_LEN_MAX, decode, encode, encode_piece_header,
    encoded_len, frame_len, piece_header,
};
pub use fast::{ALLOWED_FAST_MAX, allowed_fast_set};
pub use handshake::{Greeting, HANDSHAKE_LEN, Handshake, Reserved};
pub use hashes::HashRange;
pub use message::Message;
pub use peer_id::PeerId;

//! Message Stream Encryption ([MSE]): a key exchange before the handshake of BEP 3, after which both sides of a connection
//! encrypt what they send, or send it as it is. No I/O: bytes in, bytes out, and chance is given.
//!
//! A [`Dialer`] or a [`Listener`] is fed with what comes until it is [`Established`]: whether the connection is encrypted,
//! and how the stream begins. Which of it we want is an [`Encryption`].
//!
//! This hides what a connection carries from boxes on the way that look at each packet alone. It keeps nothing from the
//! peer, nor from an attacker who knows the info hash and sits in between: the key exchange proves no identity, and RC4
//! is a broken cipher. Nothing about it is secret but the private exponents, so only the exponentiation takes the same
//! time for all values.
//!
//! [MSE]: https://wiki.vuze.com/w/Message_Stream_Encryption

mod dh;
mod dialer;
mod listener;
mod parts;
mod policy;
mod rc4;

pub use dh::PUBLIC_KEY_LEN;
pub use dialer::Dialer;
pub use listener::{Listener, Step};
pub use parts::{CHANCE_LEN, Chance, Ciphers, Established, MseError, PAD_MAX, TorrentDigest, torrent_digest};
pub use policy::{Encryption, Method};
pub use rc4::Rc4;

#[cfg(test)]
mod tests;

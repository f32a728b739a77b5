//! Bytes between peers: handshake, messages, extensions.

//! What can be set about a swarm when it is made. Plain data with defaults; limits that change later come as `Input::Budget`.

use bytes::Bytes;
use ferri_metainfo::InfoHash;
use ferri_wire::PeerId;

/// How our side of one swarm behaves. Read once, by [`Swarm::new`](crate::Swarm::new).
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SwarmOptions {
    /// The swarm's name on the wire; a handshake for another torrent is refused.
    pub info_hash: InfoHash,
    /// Its other name there: the beginning of the version 2 hash of a hybrid torrent. Peers that once met version 2 at an
    /// address call it by that name.
    #[cfg_attr(feature = "serde", serde(default))]
    pub other_hash: Option<InfoHash>,
    /// Our own id: a connection on which it comes back is one to ourselves.
    pub peer_id: PeerId,
    /// The port we listen on, told to peers (BEP 10 `p`); `None` while we do not listen.
    pub listen_port: Option<u16>,
    /// Name and version of the client, told to peers (BEP 10 `v`).
    pub client: String,
    /// Requests a peer may have waiting with us, told to peers (BEP 10 `reqq`).
    pub reqq: u32,
    /// The info dictionary, which peers that lack it may ask for (BEP 9); `None` does not serve it. A trace keeps its
    /// length only, and it comes back as zeros.
    #[cfg_attr(feature = "serde", serde(default, with = "crate::serial::metadata"))]
    pub metadata: Option<Bytes>,
    /// Whether addresses of peers are exchanged (BEP 11). `false` neither offers it nor listens to it.
    #[cfg_attr(feature = "serde", serde(default))]
    pub pex: bool,
    /// The UDP port of our DHT node, told to peers that have one too (BEP 5); `None` while there is none.
    #[cfg_attr(feature = "serde", serde(default))]
    pub dht_port: Option<u16>,
    /// The torrent is private (BEP 27): addresses come from trackers, the user and peers that call us, from no other
    /// source.
    #[cfg_attr(feature = "serde", serde(default))]
    pub private: bool,
    /// Whether payload is sent at all. `false` chokes all peers for good.
    pub upload: bool,
    /// Whether pieces are fetched in their order instead of the rarest first.
    pub sequential: bool,
    /// Connections, both directions; more come as [`Input::Budget`](crate::Input::Budget).
    pub peers_max: usize,
    /// Outgoing connections that are not established yet.
    pub half_open_max: usize,
    /// Peers that are sent payload at the same time; `None` lets the number follow the upload rate.
    pub upload_slots: Option<usize>,
    /// Bytes that pieces between their first request and their verification may occupy. One piece is always allowed.
    pub memory_bytes: u64,
}

impl SwarmOptions {
    /// Whether the swarm goes by this name on the wire.
    pub(crate) fn is_named(&self, info_hash: InfoHash) -> bool {
        self.info_hash == info_hash || self.other_hash == Some(info_hash)
    }

    /// The defaults, for the torrent and the peer id that have none.
    pub fn new(info_hash: InfoHash, peer_id: PeerId) -> Self {
        Self {
            info_hash,
            other_hash: None,
            peer_id,
            listen_port: None,
            client: concat!("Ferriswarm ", env!("CARGO_PKG_VERSION")).to_owned(),
            reqq: crate::upload::INCOMING_REQUESTS_MAX as u32,
            metadata: None,
            pex: true,
            dht_port: None,
            private: false,
            upload: true,
            sequential: false,
            peers_max: 100,
            half_open_max: 16,
            upload_slots: None,
            memory_bytes: 64 << 20,
        }
    }
}

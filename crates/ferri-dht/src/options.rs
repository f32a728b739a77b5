//! What the caller sets once.

/// How a [`Node`](crate::Node) behaves. The defaults are for a node on the public network.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Options {
    /// Take part in the IPv4 DHT.
    pub ipv4: bool,
    /// Take part in the IPv6 DHT (BEP 32), which has a table and an id of its own.
    pub ipv6: bool,
    /// Ask, but answer no queries (BEP 43): for nodes that cannot be reached, or whose traffic is dear.
    pub read_only: bool,
    /// Limit how many nodes of one network are kept in a bucket and asked in a lookup. Addresses of local networks are
    /// exempt. Off for test networks whose nodes have public addresses side by side.
    pub restrict_networks: bool,
    /// The `v` of our messages: two letters for the client (BEP 20), two bytes for its version.
    pub client: [u8; 4],
    /// Info hashes for which peers are stored.
    pub torrents_max: usize,
    /// Peers of one family stored for one info hash. BEP 33: at most 6,000.
    pub peers_per_torrent_max: usize,
    /// Peers stored in all.
    pub peers_max: usize,
    /// Items (BEP 44) stored, of up to 1,000 bytes each.
    pub items_max: usize,
    /// Queries that one address (IPv4) or /64 (IPv6) is answered in a second, on average; bursts are four times that.
    pub queries_per_address: u32,
    /// Bytes of answers in a second, all addresses together; bursts are twice that.
    pub answer_bytes_per_second: u32,
    /// Bytes in a second by which answers to addresses that are not proven may exceed what came from them, all
    /// addresses together. With 0 a stranger gets no byte more than it sent until it has answered a ping, so that no
    /// address can be flooded through us.
    pub unproven_bytes_per_second: u32,
    /// Lookups of the caller under way at once; further ones wait for their turn.
    pub lookups_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ipv4: true,
            ipv6: true,
            read_only: false,
            restrict_networks: true,
            client: *b"FS\x00\x01",
            torrents_max: 5_000,
            peers_per_torrent_max: 1_000,
            peers_max: 200_000,
            items_max: 1_000,
            queries_per_address: 10,
            answer_bytes_per_second: 500_000,
            unproven_bytes_per_second: 0,
            lookups_max: 32,
        }
    }
}

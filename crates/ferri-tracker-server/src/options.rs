//! What a tracker is told at its start.

use std::path::PathBuf;
use std::time::Duration;

use ferri_tracker::server::RegistryOptions;

use crate::limits;
use crate::lists::{Fetch, Lists};
use crate::notice::Listener;
use crate::proxy::{Cidr, ProxyHeader};
use crate::tls::TlsFiles;

/// How a tracker behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is served where.
    pub listen: Vec<Listen>,
    /// Threads for each kind of request; 0 is one for each core.
    pub workers: usize,
    /// Connections over HTTP at once; 0 is as many as the system's limit of descriptors allows.
    pub connections_max: usize,
    /// Reverse proxies that are believed when they say which client they ask for.
    pub proxies: Vec<Cidr>,
    /// Where these say it.
    pub proxy_header: ProxyHeader,
    /// Who may use the tracker.
    pub lists: Lists,
    /// What fetches lists that are addresses.
    pub fetch: Option<Fetch>,
    /// The certificate for [`Scheme::Https`].
    pub tls: Option<TlsFiles>,
    /// The file that a restart begins with; without one everything is in memory only.
    pub state: Option<PathBuf>,
    /// How often it is written.
    pub state_interval: Duration,
    /// Who hears of what happens.
    pub listener: Listener,
    /// What peers are told, and how much is remembered.
    pub registry: RegistryOptions,
}

/// What a crash may lose: announces of this time, which come again within the interval.
const STATE_INTERVAL: Duration = Duration::from_secs(60);

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: vec![Listen { place: "127.0.0.1:6969".to_owned(), scheme: Scheme::Http }],
            workers: 0,
            connections_max: 0,
            proxies: Vec::new(),
            lists: Lists::default(),
            fetch: None,
            tls: None,
            state: None,
            state_interval: STATE_INTERVAL,
            listener: Listener::default(),
            proxy_header: ProxyHeader::default(),
            registry: RegistryOptions::default(),
        }
    }
}

impl Options {
    /// With room for as many torrents and peers as fit a part of this machine's memory.
    #[must_use]
    pub fn for_this_machine() -> Self {
        let mut options = Self::default();
        options.registry.peers_max = limits::peers();
        options
    }

    /// A tracker on one address.
    #[must_use]
    pub fn on(place: impl ToString) -> Self {
        Self { listen: vec![Listen { place: place.to_string(), scheme: Scheme::Http }], ..Self::default() }
    }
}

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// `IP:PORT` or `HOST:PORT`. Port 0 is any free one.
    pub place: String,
    /// What is spoken there.
    pub scheme: Scheme,
}

/// What is spoken on an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP, and the UDP protocol on the same port.
    Http,
    /// HTTP over TLS.
    Https,
}

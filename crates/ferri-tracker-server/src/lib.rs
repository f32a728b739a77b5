//! A BitTorrent tracker: the sockets, threads and files around [`ferri_tracker::server`].
//!
//! One worker a core for HTTP and one a core and address for UDP, each with its own sockets (`SO_REUSEPORT`), so that the kernel
//! deals out requests and workers share nothing but the registry. There is no runtime: the workers are threads.
//!
//! Start reading at [`TrackerServer`], then `datagrams.rs` and `web.rs`.

mod bind;
mod datagrams;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod keeper;
mod limits;
mod lists;
mod network;
mod notice;
mod options;
mod plain;
mod proxy;
mod server;
mod service;
mod state;
mod sweeper;
mod tls;
mod web;

pub use error::Error;
pub use lists::{Fetch, Lists, Source, Unusable};
pub use notice::{Listener, Notice};
pub use options::{Listen, Options, Scheme};
pub use proxy::{Cidr, CidrError, ProxyHeader};
pub use server::TrackerServer;
pub use tls::TlsFiles;

/// What has happened so far, and how a registry behaves.
pub use ferri_tracker::server::{Counters, IpParameter, PEERS_LIMIT, RegistryOptions, Requests};

//! Parts of the engine that a build may leave out.

use std::fmt;

/// A part of the engine that a build may leave out: a Cargo feature of this crate. Its `Display` is the feature's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Feature {
    /// The distributed hash table (BEP 5).
    Dht,
    /// Local discovery (BEP 14).
    Lsd,
    /// Ports that the gateway forwards, by PCP, NAT-PMP or UPnP.
    PortMapping,
    /// HTTPS, for trackers and documents.
    Tls,
}

impl Feature {
    /// Whether this build has it.
    #[must_use]
    pub const fn is_built(self) -> bool {
        match self {
            Self::Dht => cfg!(feature = "dht"),
            Self::Lsd => cfg!(feature = "lsd"),
            Self::PortMapping => cfg!(feature = "port-mapping"),
            Self::Tls => cfg!(feature = "tls"),
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dht => "dht",
            Self::Lsd => "lsd",
            Self::PortMapping => "port-mapping",
            Self::Tls => "tls",
        })
    }
}

/// The build leaves out what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this build leaves that out: it is made without the feature `{0}`")]
pub struct NotBuilt(pub Feature);

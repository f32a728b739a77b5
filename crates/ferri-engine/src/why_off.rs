//! Why a session does not look around: at the local network, or at a gateway.

use crate::feature::NotBuilt;

/// Why something that looks for others is off.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WhyOff {
    /// The networks have not been looked at yet.
    #[error("not looked yet")]
    NotYet,
    /// The session's options say so.
    #[error("switched off")]
    SwitchedOff,
    /// The build leaves it out.
    #[error(transparent)]
    NotBuilt(NotBuilt),
    /// The session reaches no other host.
    #[error("the session is bound to this host alone")]
    ThisHostAlone,
    /// The port of the local discovery is not to be had; with what the system said.
    #[error("its port is not to be had: {0}")]
    NoPort(String),
    /// No gateway can be asked; with what the routing table lacks, in words.
    #[error("{0}")]
    NoGateway(String),
}

//! The session's ports at the gateway: asked for by PCP (RFC 6887), NAT-PMP (RFC 6886) or UPnP, kept while the session
//! runs, given back at its end.
//!
//! The gateway is the one in the routing table, and no other host is asked: PCP and NAT-PMP ask its address, and a UPnP
//! device counts only when its answer, its description and its controls are all at that address. `lease` decides what
//! is done when, `ask` does it, `keep` carries on, `upnp` knows what routers grant in which way. Only IPv4 is mapped: most gateways of
//! IPv6 have no address that PCP can be spoken to from the address that is to be opened, as it has to be.

#[cfg(feature = "port-mapping")]
mod ask;
#[cfg_attr(not(feature = "port-mapping"), path = "off.rs")]
mod keep;
#[cfg(feature = "port-mapping")]
mod lease;
#[cfg(feature = "port-mapping")]
mod upnp;

use std::fmt;
use std::net::IpAddr;

pub(crate) use self::keep::{Ours, Told, run};
use crate::external::{Scope, scope};
use crate::why_off::WhyOff;

/// What a port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// How a gateway was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MappingProtocol {
    /// The Port Control Protocol, RFC 6887.
    Pcp,
    /// Its predecessor, RFC 6886.
    NatPmp,
    /// The Internet Gateway Device of UPnP.
    Upnp,
}

impl fmt::Display for MappingProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pcp => "PCP",
            Self::NatPmp => "NAT-PMP",
            Self::Upnp => "UPnP",
        })
    }
}

/// A port that the gateway forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MappedPort {
    /// What it is for.
    pub transport: Transport,
    /// Ours. Never 0.
    pub internal: u16,
    /// The gateway's, for the world; it chooses. Never 0.
    pub external: u16,
}

/// What became of the session's ports at the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PortMappingStatus {
    /// No gateway is asked.
    Off {
        /// Why.
        why: WhyOff,
    },
    /// The gateway has not answered yet.
    Asking {
        /// The gateway that is asked.
        gateway: IpAddr,
    },
    /// It forwards.
    Mapped {
        /// Who.
        gateway: IpAddr,
        /// How it was asked.
        protocol: MappingProtocol,
        /// What it forwards.
        ports: Vec<MappedPort>,
        /// Its own address on the other side, as far as it said. Where that is a private one there is another gateway
        /// behind it, and peers do not come through.
        outside: Option<IpAddr>,
    },
    /// It does not; it is asked again later.
    Failed {
        /// Who.
        gateway: IpAddr,
        /// What came of it.
        why: MappingFailure,
    },
}

/// Why a gateway forwards nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MappingFailure {
    /// It did not grant it by any protocol; what each brought, in words.
    #[error("{0}")]
    Refused(String),
    /// What it granted ended, and it does not answer any more.
    #[error("the lease ended, and it does not answer")]
    LeaseEnded,
}

impl fmt::Display for PortMappingStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off { why } => write!(f, "off: {why}"),
            Self::Asking { gateway } => write!(f, "asking the gateway {gateway}"),
            Self::Failed { gateway, why } => write!(f, "the gateway {gateway} opens no port ({why})"),
            Self::Mapped { gateway, protocol, ports, outside } => {
                for (n, port) in ports.iter().enumerate() {
                    let comma = if n == 0 { "" } else { ", " };
                    write!(f, "{comma}{} {}", port.transport, port.external)?;
                    if port.external != port.internal {
                        write!(f, " (here {})", port.internal)?;
                    }
                }
                write!(f, " open at the gateway {gateway}, by {protocol}")?;
                match outside {
                    Some(ip) if scope(*ip) != Scope::World => {
                        write!(f, "; but it is behind another gateway itself, at {ip}")
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_the_ports_is_said_in_words() {
        let gateway = IpAddr::from([192, 168, 1, 1]);
        let port = |transport, external| MappedPort { transport, internal: 6881, external };
        let mapped = |outside: [u8; 4]| PortMappingStatus::Mapped {
            gateway,
            protocol: MappingProtocol::NatPmp,
            ports: vec![port(Transport::Tcp, 6881), port(Transport::Udp, 7000)],
            outside: Some(outside.into()),
        };
        let words = "TCP 6881, UDP 7000 (here 6881) open at the gateway 192.168.1.1, by NAT-PMP";
        assert_eq!(mapped([9, 9, 9, 9]).to_string(), words);
        let behind = format!("{words}; but it is behind another gateway itself, at 10.0.0.2");
        assert_eq!(mapped([10, 0, 0, 2]).to_string(), behind);
    }
}

//! Asking a gateway for ports: PCP first, NAT-PMP where it is older than that, UPnP where it speaks neither.
//!
//! UPnP looks for its device while the others are still waiting for an answer, but asks for nothing before they failed:
//! so there are never two mappings of one port.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use crab_nat::{
    InternetProtocol, PortMapping, PortMappingOptions, PortMappingType, TimeoutConfig, natpmp, pcp,
};

use super::lease::{Granted, Wish};
use super::upnp;
use super::{MappedPort, MappingProtocol, Transport};
use crate::egress::Egress;

/// What is asked for; gateways give less, some more.
const LIFETIME: Duration = Duration::from_secs(60 * 60);
/// Three questions in less than two seconds: the gateway is next door (RFC 6886, section 3.1, begins the same way).
const PATIENCE: TimeoutConfig = TimeoutConfig {
    initial_timeout: Duration::from_millis(250),
    max_retries: 2,
    max_retry_timeout: Some(Duration::from_secs(1)),
};

/// What a gateway granted, and how to ask it once more.
#[derive(Debug, Clone)]
pub(super) enum Held {
    /// By PCP or NAT-PMP.
    Pmp { mappings: Vec<PortMapping>, outside: Option<IpAddr> },
    /// By UPnP.
    Upnp(upnp::Mappings),
}

/// Asks by whatever the gateway speaks; `before` is what was held until then.
pub(super) async fn ask(egress: &Arc<Egress>, wish: &Wish, before: Option<Held>) -> Result<Held, String> {
    let pmp = ask_pmp(wish, before.as_ref());
    let search = upnp::search(egress, wish);
    tokio::pin!(pmp, search);
    let mut device = None;
    let pmp_failed = loop {
        tokio::select! {
            biased;
            result = &mut pmp => match result {
                Ok(held) => return Ok(held),
                Err(why) => break why,
            },
            found = &mut search, if device.is_none() => device = Some(found),
        }
    };
    let device = match device {
        Some(found) => found,
        None => search.await,
    };
    let upnp = match device {
        Ok(gateway) => {
            let before = before.as_ref().map(|held| held.granted().ports).unwrap_or_default();
            gateway.map(wish, &before).await.map(Held::Upnp)
        }
        Err(why) => Err(why),
    };
    upnp.map_err(|why| format!("{pmp_failed}; UPnP: {why}"))
}

impl Held {
    /// What it is, without how it was had.
    pub(super) fn granted(&self) -> Granted {
        match self {
            Self::Pmp { mappings, outside } => {
                let is_pcp =
                    mappings.iter().any(|one| matches!(one.mapping_type(), PortMappingType::Pcp { .. }));
                let lifetime = mappings.iter().map(PortMapping::lifetime).min().unwrap_or_default();
                Granted {
                    protocol: if is_pcp { MappingProtocol::Pcp } else { MappingProtocol::NatPmp },
                    ports: mappings.iter().map(mapped).collect(),
                    lifetime: Duration::from_secs(lifetime.into()),
                    outside: *outside,
                }
            }
            Self::Upnp(mappings) => Granted {
                protocol: MappingProtocol::Upnp,
                ports: mappings.ports(),
                lifetime: upnp::LIFETIME,
                outside: mappings.outside(),
            },
        }
    }

    /// Asks for the same once more.
    pub(super) async fn renew(self) -> Result<Self, String> {
        match self {
            Self::Pmp { mut mappings, .. } => {
                for mapping in &mut mappings {
                    // A gateway that forgot everything and grants anew is as good.
                    mapping.renew().await.map_err(|error| error.to_string())?;
                }
                let outside = outside_of(&mappings).await;
                Ok(Self::Pmp { mappings, outside })
            }
            Self::Upnp(mappings) => mappings.renew().await.map(Self::Upnp),
        }
    }

    /// Gives everything back. A gateway that does not listen forgets it when the lease ends.
    pub(super) async fn remove(self) {
        match self {
            Self::Pmp { mappings, .. } => {
                for mapping in mappings {
                    if let Err((error, mapping)) = mapping.try_drop().await {
                        tracing::debug!(port = mapping.external_port(), %error, "a port was not given back");
                    }
                }
            }
            Self::Upnp(mappings) => mappings.remove().await,
        }
    }
}

/// PCP, or NAT-PMP when the gateway does not speak PCP, or does not want to.
async fn ask_pmp(wish: &Wish, before: Option<&Held>) -> Result<Held, String> {
    let (first, rest) = wish.ports.split_first().ok_or("nothing is wanted")?;
    let first = Question::new(wish, *first, before, None)?;
    let (one, is_pcp) = match first.by_pcp().await {
        Ok(mapping) => (mapping, true),
        Err(pcp) => {
            let mapping = first.by_natpmp().await;
            (mapping.map_err(|natpmp| format!("PCP: {pcp}; NAT-PMP: {natpmp}"))?, false)
        }
    };
    // All at the same number, where the gateway can.
    let external = one.external_port();
    let mut mappings = vec![one];
    for port in rest {
        let question = Question::new(wish, *port, before, Some(external))?;
        let mapping = if is_pcp {
            question.by_pcp().await.map_err(|error| error.to_string())
        } else {
            question.by_natpmp().await.map_err(|error| error.to_string())
        };
        // The first port is worth having without the others.
        match mapping {
            Ok(mapping) => mappings.push(mapping),
            Err(error) => tracing::debug!(port = port.1, error, "only the first port is mapped"),
        }
    }
    let outside = outside_of(&mappings).await;
    Ok(Held::Pmp { mappings, outside })
}

/// One port that is asked for by PCP or NAT-PMP.
struct Question {
    base: pcp::BaseMapRequest,
    options: PortMappingOptions,
    /// By which the gateway knows that a mapping is ours (RFC 6887, section 11.3): with another one it would refuse.
    nonce: Option<pcp::Nonce>,
}

impl Question {
    /// `like`: the external port, if the port had none before.
    fn new(
        wish: &Wish,
        (transport, internal): (Transport, u16),
        before: Option<&Held>,
        like: Option<NonZeroU16>,
    ) -> Result<Self, String> {
        let internal = NonZeroU16::new(internal).ok_or("port 0 cannot be mapped")?;
        let mappings = match before {
            Some(Held::Pmp { mappings, .. }) => &mappings[..],
            _ => &[],
        };
        let same = mappings.iter().find(|one| {
            let one = mapped(one);
            (one.transport, one.internal) == (transport, internal.get())
        });
        let nonce = same.and_then(|one| match one.mapping_type() {
            PortMappingType::Pcp { nonce, .. } => Some(nonce),
            PortMappingType::NatPmp => None,
        });
        Ok(Self {
            base: pcp::BaseMapRequest::new(
                wish.gateway.into(),
                wish.local.into(),
                protocol(transport),
                internal,
            ),
            options: PortMappingOptions {
                external_port: Some(same.map(PortMapping::external_port).or(like).unwrap_or(internal)),
                lifetime_seconds: u32::try_from(LIFETIME.as_secs()).ok(),
                timeout_config: Some(PATIENCE),
            },
            nonce,
        })
    }

    async fn by_pcp(&self) -> Result<PortMapping, pcp::Failure> {
        pcp::port_mapping(self.base, self.nonce, None, self.options).await
    }

    async fn by_natpmp(&self) -> Result<PortMapping, natpmp::Failure> {
        natpmp::port_mapping(self.base.gateway, self.base.protocol, self.base.internal_port, self.options)
            .await
    }
}

/// The gateway's own address on the other side.
async fn outside_of(mappings: &[PortMapping]) -> Option<IpAddr> {
    let mapping = mappings.first()?;
    match mapping.mapping_type() {
        PortMappingType::Pcp { external_ip, .. } => Some(external_ip.to_canonical()),
        PortMappingType::NatPmp => {
            natpmp::external_address(mapping.gateway(), Some(PATIENCE)).await.ok().map(IpAddr::V4)
        }
    }
}

fn mapped(mapping: &PortMapping) -> MappedPort {
    let transport = match mapping.protocol() {
        InternetProtocol::Tcp => Transport::Tcp,
        InternetProtocol::Udp => Transport::Udp,
    };
    MappedPort { transport, internal: mapping.internal_port().get(), external: mapping.external_port().get() }
}

fn protocol(transport: Transport) -> InternetProtocol {
    match transport {
        Transport::Tcp => InternetProtocol::Tcp,
        Transport::Udp => InternetProtocol::Udp,
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::Ipv4Addr;
    use std::sync::Mutex;

    use tokio::net::UdpSocket;

    use super::*;

    /// A gateway of the time before PCP: what it grants is a thousand above what is asked for, for two minutes. It keeps
    /// the lifetimes it was asked for.
    async fn old_gateway(at: Ipv4Addr) -> Arc<Mutex<Vec<u32>>> {
        let socket = UdpSocket::bind((at, crab_nat::GATEWAY_PORT)).await.unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let notes = asked.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                // RFC 6886, sections 3.2, 3.3 and 3.5.
                let answer = match &buffer[..length] {
                    [0, 0] => vec![0, 128, 0, 0, 0, 0, 0, 9, 44, 0, 0, 1],
                    [0, kind, _, _, a, b, _, _, lifetime @ ..] => {
                        let lifetime = u32::from_be_bytes(lifetime.try_into().unwrap());
                        notes.lock().unwrap().push(lifetime);
                        let internal = u16::from_be_bytes([*a, *b]);
                        let (external, granted) =
                            if lifetime == 0 { (0, 0) } else { (internal + 1000, 120u32) };
                        let mut answer = vec![0, 128 + kind, 0, 0, 0, 0, 0, 9, *a, *b];
                        answer.extend(external.to_be_bytes());
                        answer.extend(granted.to_be_bytes());
                        answer
                    }
                    _ => vec![0, 128, 0, 1, 0, 0, 0, 9],
                };
                socket.send_to(&answer, from).await.unwrap();
            }
        });
        asked
    }

    #[tokio::test]
    async fn a_gateway_that_knows_no_pcp_is_asked_by_its_predecessor_and_told_the_end() {
        let gateway = Ipv4Addr::new(127, 0, 0, 78);
        let asked = old_gateway(gateway).await;
        let ports = vec![(Transport::Tcp, 6881), (Transport::Udp, 6881)];
        let wish = Wish { gateway, local: Ipv4Addr::LOCALHOST, ports };
        let held = ask_pmp(&wish, None).await.unwrap();
        let port = |transport| MappedPort { transport, internal: 6881, external: 7881 };
        let expected = Granted {
            protocol: MappingProtocol::NatPmp,
            ports: vec![port(Transport::Tcp), port(Transport::Udp)],
            lifetime: Duration::from_secs(120),
            outside: Some([44, 0, 0, 1].into()),
        };
        assert_eq!(held.granted(), expected);
        let held = held.renew().await.unwrap();
        assert_eq!(held.granted(), expected);
        held.remove().await;
        assert_eq!(*asked.lock().unwrap(), [3600, 3600, 120, 120, 0, 0]);
    }

    #[tokio::test]
    async fn a_gateway_that_is_not_there_maps_nothing() {
        let wish = Wish {
            gateway: Ipv4Addr::new(127, 0, 0, 79),
            local: Ipv4Addr::LOCALHOST,
            ports: vec![(Transport::Tcp, 6881)],
        };
        let why = ask_pmp(&wish, None).await.unwrap_err();
        assert!(why.starts_with("PCP: ") && why.contains("; NAT-PMP: "), "{why}");
    }
}

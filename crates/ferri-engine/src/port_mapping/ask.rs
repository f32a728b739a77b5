//! Asking a gateway for ports: PCP first, NAT-PMP where it is older than that, UPnP where it speaks neither.
//!
//! UPnP looks for its device while the others are still waiting for an answer, but asks for nothing before they failed:
//! so there are never two mappings of one port.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::num::NonZeroU16;
use std::time::Duration;

use crab_nat::{
    InternetProtocol, PortMapping, PortMappingOptions, PortMappingType, TimeoutConfig, natpmp, pcp,
};
use igd_next::aio::Gateway;
use igd_next::aio::tokio::{Tokio, search_gateway};
use igd_next::{AddPortError, GatewayIpVersion, PortMappingProtocol, SearchOptions};

use super::lease::Granted;
use super::{MappedPort, MappingProtocol, Transport, Wish};

/// What is asked for; gateways give less, some more.
const LIFETIME: Duration = Duration::from_secs(60 * 60);
/// Three questions in less than two seconds: the gateway is next door (RFC 6886, section 3.1, begins the same way).
const PATIENCE: TimeoutConfig = TimeoutConfig {
    initial_timeout: Duration::from_millis(250),
    max_retries: 2,
    max_retry_timeout: Some(Duration::from_secs(1)),
};
/// A UPnP device answers within this, and describes itself.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Where UPnP devices are asked (UPnP Device Architecture 1.1, section 1.3.2): all of a network, or one.
const SSDP_GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);
const SSDP_PORT: u16 = 1900;
/// What the gateway's owner reads in its list.
const DESCRIPTION: &str = "Ferriswarm";

/// What a gateway granted, and how to ask it once more.
#[derive(Debug, Clone)]
pub(super) enum Held {
    /// By PCP or NAT-PMP.
    Pmp { mappings: Vec<PortMapping>, outside: Option<IpAddr> },
    /// By UPnP.
    Upnp { gateway: Gateway<Tokio>, local: Ipv4Addr, ports: Vec<MappedPort>, outside: Option<IpAddr> },
}

/// Asks by whatever the gateway speaks; `before` is what was held until then.
pub(super) async fn ask(wish: &Wish, before: Option<Held>) -> Result<Held, String> {
    let pmp = ask_pmp(wish, before.as_ref());
    let search = search(wish);
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
            ask_upnp(wish, gateway, &before).await
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
            Self::Upnp { ports, outside, .. } => Granted {
                protocol: MappingProtocol::Upnp,
                ports: ports.clone(),
                lifetime: LIFETIME,
                outside: *outside,
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
            Self::Upnp { gateway, local, mut ports, .. } => {
                for port in &mut ports {
                    port.external =
                        add(&gateway, local, port.transport, port.internal, port.external).await?;
                }
                let outside = gateway.get_external_ip().await.ok();
                Ok(Self::Upnp { gateway, local, ports, outside })
            }
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
            Self::Upnp { gateway, ports, .. } => {
                for port in ports {
                    if let Err(error) =
                        gateway.remove_port(upnp_protocol(port.transport), port.external).await
                    {
                        tracing::debug!(port = port.external, %error, "a port was not given back");
                    }
                }
            }
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

/// Looks for the gateway's UPnP device: asks it alone, and everybody for gateways that only hear that.
///
/// Anybody on the network can answer and name any address to be asked for anything. So the description must lie at the
/// address that the answer came from, the controls must lie there too (`igd-next` sees to both), and all that must be the
/// gateway of the routing table.
async fn search(wish: &Wish) -> Result<Gateway<Tokio>, String> {
    let at = |ip| {
        let mut options = SearchOptions::default();
        options.bind_addr = SocketAddrV4::new(wish.local, 0).into();
        options.broadcast_address = SocketAddr::new(IpAddr::V4(ip), SSDP_PORT);
        options.timeout = Some(SEARCH_TIMEOUT);
        options.single_search_timeout = Some(SEARCH_TIMEOUT);
        options.gateway_ip_version = GatewayIpVersion::V4;
        async {
            let gateway = search_gateway(options).await.map_err(|error| error.to_string())?;
            match gateway.addr.ip() {
                ip if ip == IpAddr::V4(wish.gateway) => Ok(gateway),
                ip => Err(format!("the device at {ip} is not the gateway, and is not asked")),
            }
        }
    };
    let (alone, all) = (at(wish.gateway), at(SSDP_GROUP));
    tokio::pin!(alone, all);
    // Whoever answers first may be an impostor; then the other question counts.
    tokio::select! {
        first = &mut alone => match first {
            Ok(gateway) => Ok(gateway),
            Err(_) => all.await,
        },
        first = &mut all => match first {
            Ok(gateway) => Ok(gateway),
            Err(why) => alone.await.map_err(|_| why),
        },
    }
}

async fn ask_upnp(wish: &Wish, gateway: Gateway<Tokio>, before: &[MappedPort]) -> Result<Held, String> {
    let mut ports: Vec<MappedPort> = Vec::with_capacity(wish.ports.len());
    for &(transport, internal) in &wish.ports {
        let same = before.iter().find(|port| (port.transport, port.internal) == (transport, internal));
        let external = same.or_else(|| ports.first()).map_or(internal, |port| port.external);
        match add(&gateway, wish.local, transport, internal, external).await {
            Ok(external) => ports.push(MappedPort { transport, internal, external }),
            Err(why) if ports.is_empty() => return Err(why),
            Err(why) => tracing::debug!(port = internal, why, "only the first port is mapped"),
        }
    }
    let outside = gateway.get_external_ip().await.ok();
    Ok(Held::Upnp { gateway, local: wish.local, ports, outside })
}

/// Asks for one port, and for any when that one is taken; the one that was had.
async fn add(
    gateway: &Gateway<Tokio>,
    local: Ipv4Addr,
    transport: Transport,
    internal: u16,
    external: u16,
) -> Result<u16, String> {
    let here = SocketAddrV4::new(local, internal).into();
    let lifetime = u32::try_from(LIFETIME.as_secs()).expect("an hour");
    let protocol = upnp_protocol(transport);
    let asked = gateway.add_port(protocol, external, here, lifetime, DESCRIPTION).await;
    let asked = match asked {
        // Some gateways know no end; then the end of the session is it.
        Err(AddPortError::OnlyPermanentLeasesSupported) => {
            gateway.add_port(protocol, external, here, 0, DESCRIPTION).await
        }
        asked => asked,
    };
    match asked {
        Ok(()) => Ok(external),
        // Somebody has it, or nobody may.
        Err(error @ (AddPortError::PortInUse | AddPortError::ActionNotAuthorized)) => {
            let any = gateway.add_any_port(protocol, here, lifetime, DESCRIPTION).await;
            any.map_err(|any| format!("port {external}: {error}; any other: {any}"))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn upnp_protocol(transport: Transport) -> PortMappingProtocol {
    match transport {
        Transport::Tcp => PortMappingProtocol::TCP,
        Transport::Udp => PortMappingProtocol::UDP,
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::{Arc, Mutex};

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

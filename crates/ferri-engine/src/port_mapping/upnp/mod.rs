//! Ports by the Internet Gateway Device of UPnP: found by SSDP, described in XML, asked by SOAP over HTTP.
//!
//! Routers have several services, some of them dead, and refuse what others grant. All services of all devices of the
//! gateway are tried, those that say they are connected first, and [`attempts`] finds out what each of them grants.

mod attempts;
mod description;
mod discover;
mod elements;
mod http;
mod soap;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use hyper::Request as HttpRequest;

use self::attempts::{Attempts, Lease, Outside, Request};
use self::description::Service;
use self::soap::{Answer, Fault};
use super::lease::Wish;
use super::{MappedPort, Transport};
use crate::egress::Egress;

/// What is asked for where a mapping can end.
pub(super) const LIFETIME: Duration = Duration::from_secs(60 * 60);
/// What the gateway's owner reads in its list.
const DESCRIPTION: &str = "Ferriswarm";
/// Ports by chance come from here: where no program listens by custom.
const CHANCE_PORTS: std::ops::Range<u16> = 10_000..60_000;

/// The services of a gateway that map ports.
#[derive(Debug)]
pub(super) struct Gateway {
    egress: Arc<Egress>,
    services: Vec<Service>,
}

/// Looks for the gateway's services.
///
/// # Errors
/// There are none; why, in words.
pub(super) async fn search(egress: &Arc<Egress>, wish: &Wish) -> Result<Gateway, String> {
    let services = discover::search(egress, wish).await?;
    Ok(Gateway { egress: egress.clone(), services })
}

impl Gateway {
    /// Asks for all ports of the wish, as they were `before`, where they were had.
    ///
    /// # Errors
    /// Not even the first is to be had; why, in words.
    pub(super) async fn map(self, wish: &Wish, before: &[MappedPort]) -> Result<Mappings, String> {
        let mut troubles: Vec<String> = Vec::new();
        let Self { egress, services } = self;
        for service in by_likelihood(&egress, services, wish.local).await {
            let kind = service.kind;
            let control = Control { egress: egress.clone(), service, local: wish.local };
            match control.map(wish, before).await {
                Ok(mappings) => return Ok(mappings),
                Err(why) => {
                    tracing::debug!(%kind, why, "a service maps no port");
                    if !troubles.contains(&why) {
                        troubles.push(why);
                    }
                }
            }
        }
        Err(troubles.join("; "))
    }
}

/// Those first that say they are connected, and last those that say they are not.
async fn by_likelihood(egress: &Arc<Egress>, services: Vec<Service>, local: Ipv4Addr) -> Vec<Service> {
    if services.len() == 1 {
        return services;
    }
    let mut ranked = Vec::with_capacity(services.len());
    for service in services {
        let control = Control { egress: egress.clone(), service, local };
        let answer = control.ask("GetStatusInfo", &[]).await;
        let rank = match answer.as_ref().map(|answer| answer.get("NewConnectionStatus")) {
            Ok(Some("Connected")) => 0,
            Ok(Some(_)) => 2,
            // It does not say; that means nothing.
            Ok(None) | Err(_) => 1,
        };
        ranked.push((rank, control.service));
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, service)| service).collect()
}

/// What a service granted, and how to ask it once more.
#[derive(Debug, Clone)]
pub(super) struct Mappings {
    control: Control,
    ports: Vec<(MappedPort, Lease)>,
    outside: Option<IpAddr>,
}

impl Mappings {
    /// What is mapped.
    pub(super) fn ports(&self) -> Vec<MappedPort> {
        self.ports.iter().map(|(port, _)| *port).collect()
    }

    /// The gateway's address on the other side, if it said so.
    pub(super) fn outside(&self) -> Option<IpAddr> {
        self.outside
    }

    /// Asks for the same once more.
    pub(super) async fn renew(mut self) -> Result<Self, String> {
        for (port, lease) in &mut self.ports {
            let Request { outside, lease: granted } =
                self.control.map_one(port.transport, port.internal, port.external, *lease).await?;
            (port.external, *lease) = (number(outside), granted);
        }
        self.outside = self.control.outside().await;
        Ok(self)
    }

    /// Gives everything back.
    pub(super) async fn remove(self) {
        for (port, _) in &self.ports {
            let external = port.external.to_string();
            let arguments = [
                ("NewRemoteHost", ""),
                ("NewExternalPort", &external),
                ("NewProtocol", protocol(port.transport)),
            ];
            if let Err(fault) = self.control.ask("DeletePortMapping", &arguments).await {
                tracing::debug!(port = port.external, %fault, "a port was not given back");
            }
        }
    }
}

/// A service, and how it is spoken to.
#[derive(Debug, Clone)]
struct Control {
    egress: Arc<Egress>,
    service: Service,
    /// Our address as the gateway sees it.
    local: Ipv4Addr,
}

impl Control {
    async fn map(self, wish: &Wish, before: &[MappedPort]) -> Result<Mappings, String> {
        let (mut ports, mut lease): (Vec<(MappedPort, Lease)>, _) = (Vec::new(), Lease::Ending);
        for &(transport, internal) in &wish.ports {
            let same = before.iter().find(|port| (port.transport, port.internal) == (transport, internal));
            let first = ports.first().map(|(port, _)| port);
            // All at the same number, where the gateway can.
            let external = same.or(first).map_or(internal, |port| port.external);
            match self.map_one(transport, internal, external, lease).await {
                Ok(granted) => {
                    lease = granted.lease;
                    ports
                        .push((MappedPort { transport, internal, external: number(granted.outside) }, lease));
                }
                Err(why) if ports.is_empty() => return Err(why),
                // The first port is worth having without the others.
                Err(why) => tracing::debug!(port = internal, why, "only the first port is mapped"),
            }
        }
        let outside = self.outside().await;
        Ok(Mappings { control: self, ports, outside })
    }

    /// Asks for one port, and for what else the service may grant; what was granted.
    async fn map_one(
        &self,
        transport: Transport,
        internal: u16,
        external: u16,
        lease: Lease,
    ) -> Result<Request, String> {
        let mut attempts = Attempts::new(internal, external, self.service.kind.has_any_port(), lease);
        let mut first = None;
        loop {
            let request = attempts.request();
            let fault = match self.add(transport, internal, request).await {
                Ok(outside) => return Ok(Request { outside, ..request }),
                Err(Trouble::Silent(why)) => return Err(why),
                Err(Trouble::Refused(fault)) => fault,
            };
            tracing::debug!(?request, %fault, "a port was refused");
            if !attempts.refused(fault.code, rand::random_range(CHANCE_PORTS)) {
                let first = first.unwrap_or_else(|| fault.to_string());
                let last = fault.to_string();
                let also = if first == last { String::new() } else { format!("; at last {last}") };
                return Err(format!("port {external}: {first}{also}"));
            }
            first.get_or_insert_with(|| fault.to_string());
        }
    }

    async fn add(&self, transport: Transport, internal: u16, request: Request) -> Result<Outside, Trouble> {
        let (action, external) = match request.outside {
            Outside::Port(port) => ("AddPortMapping", port),
            Outside::Any(port) => ("AddAnyPortMapping", port),
        };
        let seconds = match request.lease {
            Lease::Ending => LIFETIME.as_secs().to_string(),
            Lease::Permanent => "0".to_owned(),
        };
        let (outside, inside, local) = (external.to_string(), internal.to_string(), self.local.to_string());
        // The order of the specification, which some routers insist on.
        let arguments = [
            ("NewRemoteHost", ""),
            ("NewExternalPort", &outside),
            ("NewProtocol", protocol(transport)),
            ("NewInternalPort", &inside),
            ("NewInternalClient", &local),
            ("NewEnabled", "1"),
            ("NewPortMappingDescription", DESCRIPTION),
            ("NewLeaseDuration", &seconds),
        ];
        let answer = self.ask(action, &arguments).await?;
        match request.outside {
            Outside::Port(_) => Ok(request.outside),
            Outside::Any(_) => match answer.get("NewReservedPort").and_then(|port| port.parse().ok()) {
                Some(port) if port != 0 => Ok(Outside::Port(port)),
                _ => Err(Trouble::Refused(Fault::new("it does not say which port it opened"))),
            },
        }
    }

    /// The gateway's own address on the other side.
    async fn outside(&self) -> Option<IpAddr> {
        let answer = self.ask("GetExternalIPAddress", &[]).await.ok()?;
        let ip = answer.get("NewExternalIPAddress")?.parse::<Ipv4Addr>().ok()?;
        (!ip.is_unspecified()).then_some(ip.into())
    }

    async fn ask(&self, action: &str, arguments: &[(&str, &str)]) -> Result<Answer, Trouble> {
        let kind = self.service.kind;
        let request = HttpRequest::post("/")
            .header("SOAPAction", soap::header(kind, action))
            .header("Content-Type", "text/xml; charset=\"utf-8\"");
        let body = soap::request(kind, action, arguments);
        let answering = http::exchange(&self.egress, self.local, &self.service.control, request, body);
        let (status, document) = answering.await.map_err(Trouble::Silent)?;
        soap::read(status, &document).map_err(Trouble::Refused)
    }
}

/// Why a service did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    /// It gave no answer: it is not asked for anything else.
    #[error("{0}")]
    Silent(String),
    /// It does not want to.
    #[error("{0}")]
    Refused(Fault),
}

fn number(outside: Outside) -> u16 {
    match outside {
        Outside::Port(port) | Outside::Any(port) => port,
    }
}

fn protocol(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "TCP",
        Transport::Udp => "UDP",
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;

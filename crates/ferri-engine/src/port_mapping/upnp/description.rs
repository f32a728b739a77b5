//! A device's description (UPnP Device Architecture 1.1, section 2.3): which of its services map ports, and where they are
//! controlled. No I/O.

use std::fmt;
use std::net::IpAddr;

use url::Url;

use super::elements::{self, Event};

/// Services of one device that are remembered. Real ones have one or two.
const SERVICES_MAX: usize = 8;

/// What maps ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `WANIPConnection`, of this version.
    Ip(u8),
    /// `WANPPPConnection`, of this version.
    Ppp(u8),
}

impl Kind {
    fn read(service_type: &str) -> Option<Self> {
        let (name, version) = service_type.trim().strip_prefix(PREFIX)?.rsplit_once(':')?;
        let version = version.parse().ok()?;
        match name {
            "WANIPConnection" => Some(Self::Ip(version)),
            "WANPPPConnection" => Some(Self::Ppp(version)),
            _ => None,
        }
    }

    /// Whether it can be asked for whichever port is free (WANIPConnection:2, section 2.5.21).
    pub(super) fn has_any_port(self) -> bool {
        matches!(self, Self::Ip(version) if 2 <= version)
    }
}

/// The type, as requests name it.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(version) => write!(f, "{PREFIX}WANIPConnection:{version}"),
            Self::Ppp(version) => write!(f, "{PREFIX}WANPPPConnection:{version}"),
        }
    }
}

/// A service that maps ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) kind: Kind,
    /// At the address of its description.
    pub(super) control: Url,
}

/// The services in a description that was found at `location`, in its order.
///
/// A document that ends in something unreadable counts as far as it goes: many were written by hand.
///
/// # Errors
/// There is none, in words.
pub(super) fn read(document: &[u8], location: &Url) -> Result<Vec<Service>, String> {
    let (mut base, mut drafts, mut draft) = (None, Vec::new(), Draft::default());
    let outcome = elements::walk(document, |event| match event {
        Event::Begin("service") => draft = Draft::default(),
        Event::End("service", _) if drafts.len() < SERVICES_MAX => drafts.push(std::mem::take(&mut draft)),
        Event::End("serviceType", text) => draft.kind = Kind::read(text),
        Event::End("controlURL", text) => draft.control = text.trim().to_owned(),
        Event::End("URLBase", text) => base = Url::parse(text.trim()).ok(),
        Event::Begin(_) | Event::End(..) => {}
    });
    let (mut services, mut astray): (Vec<Service>, Option<String>) = (Vec::new(), None);
    for Draft { kind, control } in drafts {
        let Some(kind) = kind else { continue };
        match resolve(&control, base.as_ref(), location) {
            Some(control) => {
                let service = Service { kind, control };
                if !services.contains(&service) {
                    services.push(service);
                }
            }
            None => astray = Some(control),
        }
    }
    if !services.is_empty() {
        return Ok(services);
    }
    Err(match (astray, outcome) {
        (Some(control), _) => format!("its controls are elsewhere: {control:?}"),
        (None, Err(why)) => format!("its description cannot be read: {why}"),
        (None, Ok(())) => "it has no service that maps ports".to_owned(),
    })
}

/// A service as far as it was read.
#[derive(Debug, Default)]
struct Draft {
    kind: Option<Kind>,
    control: String,
}

/// Where the controls are: beside `URLBase`, where that is right, or else beside the description. Nowhere but at the
/// description's own address, for the device that answered could have us speak to any host.
fn resolve(control: &str, base: Option<&Url>, location: &Url) -> Option<Url> {
    let here = ip_of(location)?;
    let is_here = |url: &Url| {
        url.scheme() == "http"
            && ip_of(url) == Some(here)
            && url.username().is_empty()
            && url.password().is_none()
    };
    if control.is_empty() {
        return None;
    }
    let beside = |base: &Url| base.join(control).ok().filter(is_here);
    base.filter(|base| is_here(base)).and_then(beside).or_else(|| beside(location))
}

/// The address in a URL. A name is no address.
pub(super) fn ip_of(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

const PREFIX: &str = "urn:schemas-upnp-org:service:";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn location() -> Url {
        Url::parse("http://192.168.1.1:5000/device/d.xml").unwrap()
    }

    fn service(kind: &str, control: &str) -> String {
        format!(
            "<service><serviceType>{PREFIX}{kind}</serviceType><controlURL>{control}</controlURL>\
             <SCPDURL>/x.xml</SCPDURL></service>"
        )
    }

    fn document(base: &str, services: &[String]) -> String {
        format!(
            "<?xml version=\"1.0\"?>\n<root xmlns=\"urn:schemas-upnp-org:device-1-0\">{base}<device><deviceList><device>\
             <serviceList>{}</serviceList></device></deviceList></device></root>",
            services.concat()
        )
    }

    /// What the controls of a service resolve to.
    fn control(base: &str, control: &str) -> Option<String> {
        let document = document(base, &[service("WANIPConnection:1", control)]);
        Some(read(document.as_bytes(), &location()).ok()?[0].control.to_string())
    }

    #[test]
    fn all_services_that_map_ports_are_found_in_their_order() {
        let services = [
            service("WANPPPConnection:1", "/ppp"),
            service("Layer3Forwarding:1", "/l3"),
            service("WANIPConnection:2", "/ip"),
            service("WANIPConnection:2", "/ip"),
        ];
        let found = read(document("", &services).as_bytes(), &location()).unwrap();
        assert_eq!(found.iter().map(|service| service.kind).collect::<Vec<_>>(), [Kind::Ppp(1), Kind::Ip(2)]);
        assert_eq!(found[1].kind.to_string(), "urn:schemas-upnp-org:service:WANIPConnection:2");
        assert_eq!(found[1].control.as_str(), "http://192.168.1.1:5000/ip");
        assert!(found[1].kind.has_any_port() && !found[0].kind.has_any_port());
    }

    #[test]
    fn controls_are_beside_the_description_or_the_base() {
        let check =
            |base: &str, given: &str, url: &str| assert_eq!(control(base, given).as_deref(), Some(url));
        check("", "ctl", "http://192.168.1.1:5000/device/ctl");
        check("", "/ctl?x=1", "http://192.168.1.1:5000/ctl?x=1");
        check("", " http://192.168.1.1:80/ctl\n", "http://192.168.1.1/ctl");
        check("<URLBase>http://192.168.1.1:49152/</URLBase>", "ctl", "http://192.168.1.1:49152/ctl");
        check("<URLBase>http://192.168.1.1:49152</URLBase>", "/ctl", "http://192.168.1.1:49152/ctl");
        // A base that is wrong is none.
        check("<URLBase>http://10.0.0.1:49152/</URLBase>", "/ctl", "http://192.168.1.1:5000/ctl");
        check("<URLBase>here</URLBase>", "/ctl", "http://192.168.1.1:5000/ctl");
    }

    #[test]
    fn nobody_has_us_speak_to_somebody_else() {
        for astray in [
            "http://192.168.1.2/ctl",
            "http://127.0.0.1/ctl",
            "https://192.168.1.1/ctl",
            "http://router.lan/ctl",
            "//8.8.8.8/ctl",
            "http://a:b@192.168.1.1/ctl",
            "",
        ] {
            assert_eq!(control("", astray), None, "{astray}");
        }
    }

    #[test]
    fn what_is_written_by_hand_counts_as_far_as_it_can_be_read() {
        let whole = document("", &[service("WANIPConnection:1", "/ip")]);
        let odd = [
            format!("\n \u{feff}{whole}"),
            whole.replace("</serviceList>", "</serviceList><modelURL>http://x/?a=1&b=2</modelURL>"),
            whole.replace("</root>", ""),
            whole.replace("version=\"1.0\"", "version=\"1.0\" encoding=\"GB2312\""),
            whole.replace("<serviceList>", "<!-- \u{e9} & < --><serviceList>"),
            format!("{whole}\0\0"),
        ];
        for document in odd {
            assert!(read(document.as_bytes(), &location()).is_ok(), "{document}");
        }
        let latin = [b"<root><friendlyName>Caf\xe9</friendlyName>".as_slice(), whole.as_bytes()].concat();
        let latin = String::from_utf8_lossy(&latin).replace("<?xml version=\"1.0\"?>\n", "");
        assert!(read(latin.as_bytes(), &location()).is_ok());
    }

    #[test]
    fn why_there_is_none_is_said() {
        let why = |document: &str| read(document.as_bytes(), &location()).unwrap_err();
        assert_eq!(why(&document("", &[])), "it has no service that maps ports");
        assert!(why("<html><body>Login<br></body>").starts_with("its description cannot be read"));
        let astray = document("", &[service("WANIPConnection:1", "http://1.2.3.4/x")]);
        assert_eq!(why(&astray), "its controls are elsewhere: \"http://1.2.3.4/x\"");
    }
}

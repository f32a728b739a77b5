//! Finding the gateway's devices by SSDP (UPnP Device Architecture 1.1, section 1.3).
//!
//! Any host on the network can answer and name any address to be asked for anything. So only answers from the gateway
//! of the routing table count, and the description must lie at its address.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hyper::Request;
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until, timeout_at};
use url::Url;

use super::description::{self, Service, ip_of};
use super::http;
use crate::egress::Egress;
use crate::port_mapping::lease::Wish;

/// Where devices are asked: all of a network.
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);
/// The port of SSDP, of the group and of each device.
const PORT: u16 = 1900;
/// Devices answer within this, and describe themselves.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The question is asked at once and after these times: datagrams get lost, and devices wait up to a second.
const AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_millis(2_500)];
/// After the first device of use, others of the same gateway get this long.
const GRACE: Duration = Duration::from_millis(300);
/// Devices of the gateway that are looked at.
const DEVICES_MAX: usize = 8;
/// Longer answers are none.
const ANSWER_MAX: usize = 2_048;

/// What is asked for: gateways, and services that map ports, for routers that answer to one of them alone.
const TARGETS: [&str; 5] = [
    "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
    "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
];

/// All services of the gateway's devices that map ports, in the order in which they were found; at least one.
///
/// # Errors
/// There is none; why, in words.
pub(super) async fn search(egress: &Egress, wish: &Wish) -> Result<Vec<Service>, String> {
    let socket = egress.datagrams_from(wish.local).await.map_err(|error| error.to_string())?;
    let start = Instant::now();
    let mut looked_at: Vec<Url> = Vec::new();
    let (mut services, mut trouble): (Vec<Service>, Option<String>) = (Vec::new(), None);
    let mut rounds = AGAIN.into_iter().map(|after| start + after);
    let mut deadline = start + TIMEOUT;
    let mut next = ask(&socket, wish.gateway).await.map(|()| rounds.next())?;
    let mut buffer = [0; ANSWER_MAX];
    // A device that answers without end does not keep us here.
    while Instant::now() < deadline {
        let wake = next.map_or(deadline, |next| next.min(deadline));
        let received = tokio::select! {
            biased;
            received = socket.recv_from(&mut buffer) => Some(received),
            () = sleep_until(wake) => None,
        };
        match received {
            Some(Ok((length, from))) => match location(&buffer[..length], from.ip(), wish.gateway.into()) {
                Ok(url) if looked_at.contains(&url) || DEVICES_MAX <= looked_at.len() => {}
                Ok(url) => {
                    looked_at.push(url.clone());
                    match describe(egress, wish.local, &url, deadline).await {
                        Ok(found) => {
                            services.extend(found);
                            deadline = deadline.min(Instant::now() + GRACE);
                        }
                        Err(why) => trouble = Some(why),
                    }
                }
                Err(why) => trouble = trouble.or(Some(why)),
            },
            Some(Err(error)) => trouble = Some(error.to_string()),
            None if deadline <= Instant::now() => {}
            None => {
                // What was asked before may still be answered.
                let _ = ask(&socket, wish.gateway).await;
                next = rounds.next();
            }
        }
    }
    if services.is_empty() {
        return Err(trouble.unwrap_or_else(|| "no device answered".to_owned()));
    }
    Ok(services)
}

/// Asks the gateway alone, and the whole group for gateways that only hear that.
async fn ask(socket: &UdpSocket, gateway: Ipv4Addr) -> Result<(), String> {
    let mut outcome = Err("nothing could be sent".to_owned());
    for to in [gateway, GROUP] {
        for target in TARGETS {
            let question = format!(
                "M-SEARCH * HTTP/1.1\r\nHOST: {to}:{PORT}\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: {target}\r\n\r\n"
            );
            match socket.send_to(question.as_bytes(), SocketAddr::new(to.into(), PORT)).await {
                Ok(_) => outcome = Ok(()),
                Err(error) if outcome.is_err() => outcome = Err(error.to_string()),
                Err(_) => {}
            }
        }
    }
    outcome
}

/// Where the description lies that an answer from `from` names.
fn location(answer: &[u8], from: IpAddr, gateway: IpAddr) -> Result<Url, String> {
    if from != gateway {
        return Err(format!("the device at {from} is not the gateway, and is not asked"));
    }
    let text = String::from_utf8_lossy(answer);
    let mut lines = text.lines();
    let is_answer = lines.next().is_some_and(|first| first.starts_with("HTTP/1.") && first.contains(" 200"));
    let value = lines.filter_map(|line| line.split_once(':'));
    let mut value =
        value.filter(|(name, _)| name.trim().eq_ignore_ascii_case("location")).map(|(_, value)| value.trim());
    let (true, Some(value)) = (is_answer, value.next()) else {
        return Err("its answer names no description".to_owned());
    };
    let url = Url::parse(value).map_err(|error| format!("its description is at {value:?}: {error}"))?;
    if url.scheme() != "http" || ip_of(&url) != Some(gateway) || !url.username().is_empty() {
        return Err(format!("its description is elsewhere: {value:?}"));
    }
    Ok(url)
}

async fn describe(
    egress: &Egress,
    local: Ipv4Addr,
    url: &Url,
    deadline: Instant,
) -> Result<Vec<Service>, String> {
    let exchange = http::exchange(egress, local, url, Request::get("/"), String::new());
    let fetched = timeout_at(deadline, exchange).await;
    let (status, document) = fetched.map_err(|_| "its description did not come in time".to_owned())??;
    match status {
        200..300 => description::read(&document, url),
        status => Err(format!("its description is not to be had: HTTP {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &str, from: [u8; 4], expected: Result<&str, &str>) {
        let found = location(answer.as_bytes(), from.into(), [192, 168, 1, 1].into());
        assert_eq!(found.as_ref().map(Url::as_str).map_err(String::as_str), expected, "{answer}");
    }

    #[test]
    fn a_description_lies_at_the_gateway_that_answered() {
        let gateway = [192, 168, 1, 1];
        let at = |url: &str| format!("HTTP/1.1 200 OK\r\nST: x\r\nLOCATION: {url}\r\n\r\n");
        check(&at("http://192.168.1.1:5000/d.xml"), gateway, Ok("http://192.168.1.1:5000/d.xml"));
        let lower = "HTTP/1.0 200 OK\nlocation:http://192.168.1.1/d.xml?a=b:c\n";
        check(lower, gateway, Ok("http://192.168.1.1/d.xml?a=b:c"));
        let stranger = Err("the device at 192.168.1.2 is not the gateway, and is not asked");
        check(&at("http://192.168.1.1:5000/d.xml"), [192, 168, 1, 2], stranger);
        for astray in [
            "http://192.168.1.2/",
            "http://127.0.0.1/",
            "https://192.168.1.1/",
            "http://router/",
            "http://u@192.168.1.1/",
        ] {
            let why = format!("its description is elsewhere: {astray:?}");
            check(&at(astray), gateway, Err(&why));
        }
        check("HTTP/1.1 200 OK\r\n\r\n", gateway, Err("its answer names no description"));
        check(
            "NOTIFY * HTTP/1.1\r\nLOCATION: http://192.168.1.1/\r\n\r\n",
            gateway,
            Err("its answer names no description"),
        );
    }
}

//! Routers as they are found in homes, each with its own ways.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

use super::*;

const INTERNAL: u16 = 6_999;

/// What a router is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    path: String,
    action: String,
    external: u16,
    is_ending: bool,
}

/// How the body of an answer ends.
#[derive(Clone, Copy)]
enum Framing {
    Length,
    Chunked,
    HangUp,
}

/// A router's ways.
#[derive(Clone)]
struct Ways {
    /// What is before the devices of the description; `{base}` is where the router is.
    base: &'static str,
    /// Types and controls.
    services: &'static [(&'static str, &'static str)],
    location: &'static str,
    framing: Framing,
    /// The error that a request brings, if any; 0 is none that could be read.
    refuse: Refuse,
}

/// What a request brings, when this port was asked for first.
type Refuse = fn(&Asked, first: u16) -> Option<u16>;

const PLAIN: Ways = Ways {
    base: "",
    services: &[("WANIPConnection:1", "/ip")],
    location: "LOCATION",
    framing: Framing::Length,
    refuse: |_, _| None,
};

/// One at work, until it is dropped.
struct Router {
    at: Ipv4Addr,
    asked: Arc<Mutex<Vec<Asked>>>,
    _tasks: JoinSet<()>,
}

impl Router {
    async fn start(last: u8, ways: Ways) -> Self {
        let at = Ipv4Addr::new(127, 0, 77, last);
        let listener = TcpListener::bind((at, 0)).await.unwrap();
        let socket = UdpSocket::bind((at, 1900)).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(answer_searches(socket, format!("{}: {base}/device/d.xml", ways.location)));
        tasks.spawn(serve(listener, ways, base, asked.clone()));
        Self { at, asked, _tasks: tasks }
    }

    fn wish(&self) -> Wish {
        let ports = vec![(Transport::Tcp, INTERNAL), (Transport::Udp, INTERNAL)];
        Wish { gateway: self.at, local: Ipv4Addr::LOCALHOST, ports }
    }

    async fn map(&self) -> Result<Mappings, String> {
        search(&Arc::new(Egress::new(None)), &self.wish()).await?.map(&self.wish(), &[]).await
    }

    /// What was asked for with an action whose name begins so.
    fn asked(&self, action: &str) -> Vec<Asked> {
        self.asked.lock().unwrap().iter().filter(|asked| asked.action.starts_with(action)).cloned().collect()
    }
}

async fn answer_searches(socket: UdpSocket, location: String) {
    let mut buffer = [0; 2_048];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        assert!(buffer[..length].starts_with(b"M-SEARCH * HTTP/1.1\r\n"));
        let answer =
            format!("HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nEXT:\r\n{location}\r\nST: x\r\n\r\n");
        socket.send_to(answer.as_bytes(), from).await.unwrap();
    }
}

async fn serve(listener: TcpListener, ways: Ways, base: String, asked: Arc<Mutex<Vec<Asked>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (ways, base, asked) = (ways.clone(), base.clone(), asked.clone());
        // A connection ends with its answer.
        let _ = answer(stream, &ways, &base, &asked).await;
    }
}

async fn answer(
    mut stream: TcpStream,
    ways: &Ways,
    base: &str,
    asked: &Mutex<Vec<Asked>>,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    let (head, body) = loop {
        let mut part = [0; 4_096];
        let length = stream.read(&mut part).await?;
        if length == 0 {
            return Ok(());
        }
        request.extend_from_slice(&part[..length]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let lower = head.to_ascii_lowercase();
        let wanted =
            lower.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
        if wanted.unwrap_or(0) <= body.len() {
            break (head.to_owned(), body.to_owned());
        }
    };
    let path = head.split(' ').nth(1).unwrap();
    let (status, document) = match path {
        "/device/d.xml" => (200, description(ways, base)),
        path => control(ways, path, &head, &body, asked),
    };
    let start = format!("HTTP/1.1 {status} X\r\nContent-Type: text/xml\r\n");
    let end = match ways.framing {
        Framing::Length => format!("Content-Length: {}\r\n\r\n{document}", document.len()),
        Framing::Chunked => {
            format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{document}\r\n0\r\n\r\n", document.len())
        }
        Framing::HangUp => format!("Connection: close\r\n\r\n{document}"),
    };
    stream.write_all(format!("{start}{end}").as_bytes()).await
}

fn description(ways: &Ways, base: &str) -> String {
    let service = |(kind, control): &(&str, &str)| {
        format!(
            "<service><serviceType>urn:schemas-upnp-org:service:{kind}</serviceType><controlURL>{control}</controlURL></service>"
        )
    };
    let services: String = ways.services.iter().map(service).collect();
    let head = ways.base.replace("{base}", base);
    format!(
        "<?xml version=\"1.0\"?><root xmlns=\"urn:schemas-upnp-org:device-1-0\">{head}<device><deviceList><device>\
         <serviceList>{services}</serviceList></device></deviceList></device></root>"
    )
}

fn control(ways: &Ways, path: &str, head: &str, body: &str, log: &Mutex<Vec<Asked>>) -> (u16, String) {
    let field = |name: &str| {
        let rest = body.split_once(&format!("<{name}>"))?.1;
        Some(rest.split_once('<')?.0.to_owned())
    };
    let action = head.split_once('#').unwrap().1.split('"').next().unwrap().to_owned();
    let asked = Asked {
        path: path.to_owned(),
        action: action.clone(),
        external: field("NewExternalPort").and_then(|port| port.parse().ok()).unwrap_or(0),
        is_ending: field("NewLeaseDuration").is_some_and(|lease| lease != "0"),
    };
    let first = log
        .lock()
        .unwrap()
        .iter()
        .find(|asked| asked.external != 0)
        .map_or(asked.external, |asked| asked.external);
    log.lock().unwrap().push(asked.clone());
    let is_dead = path == "/dead";
    let said = match action.as_str() {
        "GetStatusInfo" => format!(
            "<NewConnectionStatus>{}</NewConnectionStatus>",
            if is_dead { "Disconnected" } else { "Connected" }
        ),
        "GetExternalIPAddress" => "<NewExternalIPAddress>44.0.0.1</NewExternalIPAddress>".to_owned(),
        "AddAnyPortMapping" => "<NewReservedPort>7777</NewReservedPort>".to_owned(),
        _ => String::new(),
    };
    let is_adding = action.starts_with("Add");
    match (ways.refuse)(&asked, first).filter(|_| is_adding) {
        Some(0) => (500, "<html><br>Internal Error</html>".to_owned()),
        Some(code) => (
            500,
            format!(
                "<s:Envelope xmlns:s=\"e\"><s:Body><s:Fault><detail><UPnPError><errorCode>{code}</errorCode>\
                 <errorDescription>No</errorDescription></UPnPError></detail></s:Fault></s:Body></s:Envelope>"
            ),
        ),
        None => (
            200,
            format!(
                "<s:Envelope xmlns:s=\"e\"><s:Body><u:{action}Response xmlns:u=\"x\">{said}</u:{action}Response></s:Body></s:Envelope>"
            ),
        ),
    }
}

/// Maps, renews and gives back both ports at such a router.
async fn check(last: u8, name: &str, ways: Ways) {
    let router = Router::start(last, ways).await;
    let mappings = router.map().await.unwrap_or_else(|why| panic!("{name}: {why}; {:?}", router.asked("")));
    let ports = mappings.ports();
    assert_eq!(
        ports.iter().map(|port| port.transport).collect::<Vec<_>>(),
        [Transport::Tcp, Transport::Udp],
        "{name}"
    );
    assert_eq!(mappings.outside(), Some([44, 0, 0, 1].into()), "{name}");
    let asked = router.asked("Add").len();
    let mappings = mappings.renew().await.unwrap();
    assert_eq!(mappings.ports(), ports, "{name}");
    assert_eq!(router.asked("Add").len(), asked + 2, "{name}: what was found out is asked for at once");
    mappings.remove().await;
    let closed: Vec<_> = router.asked("Delete").iter().map(|asked| asked.external).collect();
    assert_eq!(closed, ports.iter().map(|port| port.external).collect::<Vec<_>>(), "{name}");
}

#[tokio::test]
async fn routers_that_refuse_what_is_usual_are_asked_for_what_they_grant() {
    let refusals: [(&str, Refuse); 9] = [
        ("plain", |_, _| None),
        ("725", |asked, _| asked.is_ending.then_some(725)),
        ("718", |asked, first| (asked.external == first).then_some(718)),
        ("725 and 718", |asked, first| match asked.is_ending {
            true => Some(725),
            false => (asked.external == first).then_some(718),
        }),
        ("402 to a lease", |asked, _| asked.is_ending.then_some(402)),
        ("501 to a lease", |asked, _| asked.is_ending.then_some(501)),
        ("no clear error to a lease", |asked, _| asked.is_ending.then_some(0)),
        ("724", |asked, _| (asked.external != INTERNAL).then_some(724)),
        ("606 to low ports", |asked, _| (asked.external < 10_000).then_some(606)),
    ];
    for (last, (name, refuse)) in (1..).zip(refusals) {
        check(last, name, Ways { refuse, ..PLAIN }).await;
    }
}

#[tokio::test]
async fn descriptions_and_answers_of_all_shapes_are_understood() {
    let shapes = [
        ("relative", Ways { services: &[("WANIPConnection:1", "ctl/ip")], ..PLAIN }),
        (
            "base",
            Ways { base: "<URLBase>{base}/</URLBase>", services: &[("WANIPConnection:1", "ip")], ..PLAIN },
        ),
        ("wrong base", Ways { base: "<URLBase>http://10.9.8.7/</URLBase>", ..PLAIN }),
        ("lower case", Ways { location: "location", ..PLAIN }),
        ("chunked", Ways { framing: Framing::Chunked, ..PLAIN }),
        ("no length", Ways { framing: Framing::HangUp, ..PLAIN }),
        ("version 2", Ways { services: &[("WANIPConnection:2", "/ip")], ..PLAIN }),
        ("PPP", Ways { services: &[("WANPPPConnection:1", "/ppp")], ..PLAIN }),
    ];
    for (last, (name, ways)) in (20..).zip(shapes) {
        check(last, name, ways).await;
    }
}

#[tokio::test]
async fn the_service_that_is_alive_is_asked_first() {
    let services: &[(&str, &str)] = &[("WANPPPConnection:1", "/dead"), ("WANIPConnection:1", "/ip")];
    let router = Router::start(40, Ways { services, ..PLAIN }).await;
    let mappings = router.map().await.unwrap();
    assert!(router.asked("Add").iter().all(|asked| asked.path == "/ip"));
    mappings.remove().await;
}

#[tokio::test]
async fn a_service_that_maps_nothing_is_followed_by_the_next() {
    let services: &[(&str, &str)] = &[("WANIPConnection:1", "/none"), ("WANIPConnection:2", "/ip")];
    let refuse = |asked: &Asked, _| (asked.path == "/none").then_some(501);
    let router = Router::start(41, Ways { services, refuse, ..PLAIN }).await;
    let mappings = router.map().await.unwrap();
    assert_eq!(mappings.ports().len(), 2);
    mappings.remove().await;
    let router = Router::start(42, Ways { refuse: |_, _| Some(501), ..PLAIN }).await;
    assert_eq!(router.map().await.unwrap_err(), "port 6999: error 501, No");
}

#[tokio::test]
async fn a_service_that_can_choose_a_port_does() {
    let refuse =
        |asked: &Asked, _| (asked.external == INTERNAL && asked.action == "AddPortMapping").then_some(718);
    let router = Router::start(43, Ways { services: &[("WANIPConnection:2", "/ip")], refuse, ..PLAIN }).await;
    let mappings = router.map().await.unwrap();
    assert_eq!(mappings.ports()[0].external, 7_777);
}

#[tokio::test]
async fn a_gateway_without_a_device_is_said_to_be_silent() {
    let wish = Wish {
        gateway: Ipv4Addr::new(127, 0, 77, 99),
        local: Ipv4Addr::LOCALHOST,
        ports: vec![(Transport::Tcp, INTERNAL)],
    };
    assert_eq!(search(&Arc::new(Egress::new(None)), &wish).await.unwrap_err(), "no device answered");
}

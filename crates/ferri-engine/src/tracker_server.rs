//! Being a tracker: the sockets around [`ferri_tracker::server`], HTTP and UDP on one port.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferri_tracker::server::http::Via;
use ferri_tracker::server::udp::ANSWER_BYTES_MAX;
use ferri_tracker::server::{self, Access, Registry, RegistryOptions};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Error;

/// HTTP connections served at once; the next dialer waits in the backlog.
const CONNECTIONS_MAX: usize = 512;
/// A client has this long to send its request and take its answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(20);
/// As the registry wants it.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Larger than any request of BEP 15 with options.
const DATAGRAM_MAX: usize = 2048;

/// A running tracker. It keeps what peers told it in memory only.
#[derive(Debug)]
pub struct TrackerServer {
    addr: SocketAddr,
    registry: Arc<Registry>,
    cancel: CancellationToken,
    tasks: TaskTracker,
}

impl TrackerServer {
    /// Serves HTTP and UDP on `addr` (port 0 picks one, the same for both) until [`Self::shutdown`].
    ///
    /// # Errors
    /// [`Error::Listen`] when the address is taken or not ours.
    pub async fn start(addr: SocketAddr) -> Result<Self, Error> {
        let (listener, socket) = bind_both(addr).await?;
        let addr = listener.local_addr().map_err(|source| Error::Listen { addr, source })?;
        let server = Self {
            addr,
            registry: Arc::new(Registry::new(RegistryOptions::default(), rand::random(), Instant::now())),
            cancel: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let cancel = server.cancel.clone();
        let http = serve_http(listener, server.registry.clone(), server.tasks.clone(), cancel.clone());
        server.tasks.spawn(cancel.clone().run_until_cancelled_owned(http));
        server.tasks.spawn(cancel.clone().run_until_cancelled_owned(sweep(server.registry.clone())));
        server.tasks.spawn(cancel.run_until_cancelled_owned(serve_udp(socket, server.registry.clone())));
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its announce address over HTTP.
    #[must_use]
    pub fn http_url(&self) -> String {
        format!("http://{}/announce", self.addr)
    }

    /// Its announce address over UDP.
    #[must_use]
    pub fn udp_url(&self) -> String {
        format!("udp://{}/announce", self.addr)
    }

    /// Swarms and peers known now.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let census = self.registry.census();
        (census.swarms, census.peers)
    }

    /// Stops serving and waits until every connection is closed.
    pub async fn shutdown(self) {
        self.cancel.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// One port for both: with port 0 the UDP socket follows the port that TCP got, and another is tried when that one
/// is taken.
async fn bind_both(addr: SocketAddr) -> Result<(TcpListener, UdpSocket), Error> {
    let mut tries = if addr.port() == 0 { 16 } else { 1 };
    loop {
        tries -= 1;
        let listener = TcpListener::bind(addr).await.map_err(|source| Error::Listen { addr, source })?;
        let bound = listener.local_addr().map_err(|source| Error::Listen { addr, source })?;
        match UdpSocket::bind(bound).await {
            Ok(socket) => return Ok((listener, socket)),
            Err(source) if tries == 0 => return Err(Error::Listen { addr: bound, source }),
            Err(_) => {}
        }
    }
}

async fn serve_http(
    listener: TcpListener,
    registry: Arc<Registry>,
    tasks: TaskTracker,
    cancel: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: connections that end make room.
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let connection = serve_connection(stream, from, registry.clone());
        let connection = cancel.clone().run_until_cancelled_owned(connection);
        tasks.spawn(async move {
            let _permit = permit;
            let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
        });
    }
}

async fn serve_connection(stream: TcpStream, from: SocketAddr, registry: Arc<Registry>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = answer(&request, from.ip(), &registry);
        async move { Ok::<_, Infallible>(response) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CONNECTION_TIMEOUT)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%from, %error, "HTTP connection ended");
    }
}

fn answer(request: &Request<Incoming>, from: IpAddr, registry: &Registry) -> Response<Full<Bytes>> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let question = server::http::Request {
        method: request.method().as_str().as_bytes(),
        target: path.as_bytes(),
        from: unmapped(from),
        via: Via::Direct,
    };
    let mut body = Vec::new();
    let status = server::http::answer(registry, &Access::default(), &question, Instant::now(), &mut body);
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = hyper::header::HeaderValue::from_static(status.body.content_type());
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, content_type);
    response
}

/// Forgets peers that went away without a word.
async fn sweep(registry: Arc<Registry>) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    loop {
        ticks.tick().await;
        registry.sweep(Instant::now());
    }
}

async fn serve_udp(socket: UdpSocket, registry: Arc<Registry>) {
    let mut buffer = [0; DATAGRAM_MAX];
    let mut reply = [0; ANSWER_BYTES_MAX];
    loop {
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // An ICMP answer to an earlier datagram; nothing is wrong with the socket.
            Err(error) => {
                tracing::debug!(%error, "UDP receive");
                continue;
            }
        };
        let asker = SocketAddr::new(unmapped(from.ip()), from.port());
        let datagram = &buffer[..length];
        let answer =
            server::udp::answer(&registry, &Access::default(), datagram, asker, Instant::now(), &mut reply);
        if let Some(length) = answer {
            // A full socket buffer drops the answer as the network might have; the asker asks again.
            let _ = socket.try_send_to(&reply[..length], from);
        }
    }
}

/// An IPv4 peer on a dual-stack socket is an IPv4 peer.
fn unmapped(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

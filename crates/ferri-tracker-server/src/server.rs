//! A running tracker: its threads, and the handle that stops them.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use ferri_tracker::server::{Access, Registry};

use crate::bind::{Bound, bind_all, reachable};
use crate::error::Error;
use crate::options::{Options, Scheme};
use crate::proxy::Proxies;
use crate::service::Service;
use crate::web::{Listener, Stop, Worker};
use crate::{datagrams, limits};

/// A running tracker. It ends when this is dropped.
#[derive(Debug)]
pub struct TrackerServer {
    service: Arc<Service>,
    stop: Arc<Stop>,
    places: Vec<(SocketAddr, Scheme)>,
    datagrams: Vec<Arc<UdpSocket>>,
    threads: Vec<JoinHandle<()>>,
}

impl TrackerServer {
    /// Begins to serve.
    ///
    /// # Errors
    /// When an address is taken or not ours.
    pub fn start(options: Options) -> Result<Self, Error> {
        let workers = if options.workers == 0 { limits::cores() } else { options.workers };
        let bound = bind_all(&options.listen, workers)?;
        let proxies = Proxies::new(options.proxies, options.proxy_header);
        let registry = Registry::new(options.registry, rand::random(), Instant::now());
        let mut server = Self {
            service: Arc::new(Service::new(registry, Access::default(), proxies)),
            stop: Arc::new(Stop::new().map_err(Error::Worker)?),
            places: bound.iter().map(|bound| (bound.addr, bound.scheme)).collect(),
            datagrams: Vec::new(),
            threads: Vec::new(),
        };
        let connections = limits::connections(options.connections_max);
        server.spawn_all(bound, workers, connections.div_ceil(workers)).map_err(Error::Worker)?;
        Ok(server)
    }

    /// Every thread is joined by [`Self::end`], also when a later one cannot be started.
    fn spawn_all(&mut self, bound: Vec<Bound>, workers: usize, connections_max: usize) -> io::Result<()> {
        let mut listeners: Vec<Vec<Listener>> = (0..workers).map(|_| Vec::new()).collect();
        for place in bound {
            for (socket, listeners) in place.tcp.into_iter().zip(&mut listeners) {
                listeners.push(Listener { socket, tls: None });
            }
            for socket in place.udp {
                let socket = Arc::new(socket);
                self.datagrams.push(socket.clone());
                let (service, stop) = (self.service.clone(), self.stop.clone());
                self.spawn("tracker-udp", move || datagrams::serve(&socket, &service, stop.is_asked()))?;
            }
        }
        for listeners in listeners {
            let worker = Worker::new(listeners, self.service.clone(), self.stop.clone(), connections_max)?;
            self.spawn("tracker-http", move || worker.run())?;
        }
        Ok(())
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(std::thread::Builder::new().name(name.to_owned()).spawn(work)?);
        Ok(())
    }

    /// Where it listens first.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.places[0].0
    }

    /// Everywhere it listens.
    #[must_use]
    pub fn addrs(&self) -> Vec<SocketAddr> {
        self.places.iter().map(|(addr, _)| *addr).collect()
    }

    /// An address to announce to over HTTP, which others can reach.
    #[must_use]
    pub fn http_url(&self) -> String {
        format!("http://{}/announce", reachable(self.addr())[0])
    }

    /// An address to announce to over UDP, which others can reach.
    #[must_use]
    pub fn udp_url(&self) -> String {
        format!("udp://{}/announce", reachable(self.addr())[0])
    }

    /// Swarms and peers known now.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        self.service.counts()
    }

    /// Stops serving, and waits until every thread has ended.
    pub fn shutdown(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.ask();
        self.datagrams.drain(..).for_each(|socket| datagrams::wake(&socket));
        for thread in self.threads.drain(..) {
            // A worker that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Drop for TrackerServer {
    fn drop(&mut self) {
        self.end();
    }
}

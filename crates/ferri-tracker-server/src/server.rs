//! A running tracker: its threads, and the handle that stops them.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Instant;

use ferri_tracker::server::{Counters, Registry};
use rustls::ServerConfig;

use crate::bind::{Bound, bind_all, reachable};
use crate::error::Error;
use crate::keeper::{Keeper, ORDERS_MAX, Reload, Rounds};
use crate::lists::{self, InUse, Tools, WallClock};
use crate::notice::Notice;
use crate::options::{Options, Scheme};
use crate::proxy::Proxies;
use crate::service::Service;
use crate::state::State;
use crate::tls::{self, Certificate};
use crate::web::{Bounds, Listener, Stop, Worker};
use crate::{datagrams, limits, sweeper};

/// A running tracker. It ends when this is dropped.
#[derive(Debug)]
pub struct TrackerServer {
    service: Arc<Service>,
    stop: Arc<Stop>,
    places: Vec<(SocketAddr, Scheme)>,
    /// Of these, what others can ask.
    reachable: Vec<(SocketAddr, Scheme)>,
    lists: Vec<Notice>,
    /// A worker that ends by accident takes its socket along, and the others get what came there.
    datagrams: Vec<Weak<UdpSocket>>,
    /// Dropping it wakes the keeper.
    orders: Option<SyncSender<Reload>>,
    /// The threads that answer.
    threads: Vec<JoinHandle<()>>,
    /// Ends when the sender is dropped, after the threads that answer.
    sweeper: Option<(Sender<()>, JoinHandle<()>)>,
    /// Ends last: a list that it reads may take a while.
    keeper: Option<JoinHandle<()>>,
}

impl TrackerServer {
    /// Begins to serve.
    ///
    /// # Errors
    /// When an address is taken or not ours, or a list, the certificate or the state file cannot be used.
    pub fn start(options: Options) -> Result<Self, Error> {
        let certificate = options.tls.map(Certificate::read).transpose().map_err(Error::Tls)?.map(Arc::new);
        let config = certificate.clone().map(tls::config).transpose().map_err(Error::Tls)?;
        if config.is_none() && options.listen.iter().any(|listen| listen.scheme == Scheme::Https) {
            return Err(Error::Tls("HTTPS needs a certificate and its key".to_owned()));
        }
        let mut state =
            options.state.map(|path| State::new(path, options.state_interval, options.listener.clone()));
        let secret = state.as_ref().and_then(State::users).unwrap_or_else(rand::random);
        let tools = Tools { fetch: options.fetch, secret };
        let (lists, access) = lists::read_all(options.lists, &tools, &mut WallClock)
            .map_err(|(list, why)| Error::List { list, why })?;
        let workers = if options.workers == 0 { limits::cores() } else { options.workers };
        let bound = bind_all(&options.listen, workers)?;

        let mut registry = Registry::new(options.registry, rand::random(), Instant::now());
        registry.share_users(tools.secret);
        let proxies = Proxies::new(options.proxies, options.proxy_header);
        state.as_mut().map_or(Ok(()), |state| state.begin(&mut registry))?;
        let service = Arc::new(Service::new(registry, access, proxies));
        let (orders, taken) = sync_channel(ORDERS_MAX);
        let mut server = Self {
            service: service.clone(),
            stop: Arc::new(Stop::new().map_err(Error::Worker)?),
            places: bound.iter().map(|bound| (bound.addr, bound.scheme)).collect(),
            reachable: all_reachable(&bound),
            lists: lists.iter().map(InUse::first_read).collect(),
            datagrams: Vec::new(),
            orders: Some(orders),
            threads: Vec::new(),
            sweeper: None,
            keeper: None,
        };
        let rounds = Rounds::begin(Instant::now());
        let stop = server.stop.clone();
        let keeper = Keeper { service, lists, tools, certificate, listener: options.listener, rounds, stop };
        let bounds = Bounds {
            connections: limits::connections(options.connections_max).div_ceil(workers),
            bytes: limits::buffers().div_ceil(workers),
        };
        server
            .spawn_keeper(move || keeper.run(&taken))
            .and_then(|()| server.spawn_sweeper(state))
            .and_then(|()| server.spawn_workers(bound, workers, bounds, config.as_ref()))
            .map_err(Error::Worker)?;
        Ok(server)
    }

    fn spawn_keeper(&mut self, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.keeper = Some(spawn("tracker-keeper", work)?);
        Ok(())
    }

    fn spawn_sweeper(&mut self, state: Option<State>) -> io::Result<()> {
        let (end, ended) = channel();
        let service = self.service.clone();
        let work = move || sweeper::run(&service, state.as_ref(), &ended);
        self.sweeper = Some((end, spawn("tracker-sweeper", work)?));
        Ok(())
    }

    /// Every thread is joined by [`Self::end`], also when a later one cannot be started.
    fn spawn_workers(
        &mut self,
        bound: Vec<Bound>,
        workers: usize,
        bounds: Bounds,
        tls: Option<&Arc<ServerConfig>>,
    ) -> io::Result<()> {
        let mut listeners: Vec<Vec<Listener>> = (0..workers).map(|_| Vec::new()).collect();
        for place in bound {
            let tls = tls.filter(|_| place.scheme == Scheme::Https);
            for (socket, listeners) in place.tcp.into_iter().zip(&mut listeners) {
                listeners.push(Listener { socket, tls: tls.cloned() });
            }
            for socket in place.udp {
                let socket = Arc::new(socket);
                self.datagrams.push(Arc::downgrade(&socket));
                let (service, stop) = (self.service.clone(), self.stop.clone());
                self.spawn("tracker-udp", move || datagrams::serve(&socket, &service, stop.is_asked()))?;
            }
        }
        for listeners in listeners {
            let worker =
                Worker::new(listeners, self.service.clone(), self.stop.clone(), bounds, Instant::now())?;
            self.spawn("tracker-http", move || worker.run())?;
        }
        Ok(())
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(spawn(name, work)?);
        Ok(())
    }

    /// Where it listens first.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.places[0].0
    }

    /// Everywhere it listens, and what is spoken there.
    #[must_use]
    pub fn places(&self) -> &[(SocketAddr, Scheme)] {
        &self.places
    }

    /// An address to announce to over HTTP, which others can reach.
    #[must_use]
    pub fn http_url(&self) -> String {
        format!("http://{}/announce", self.reachable[0].0)
    }

    /// An address to announce to over UDP, which others can reach.
    #[must_use]
    pub fn udp_url(&self) -> String {
        format!("udp://{}/announce", self.reachable[0].0)
    }

    /// All addresses to announce to that others can reach, by HTTP, HTTPS and UDP. None has a passkey in it.
    #[must_use]
    pub fn announce_urls(&self) -> Vec<String> {
        let mut urls = Vec::new();
        for (addr, scheme) in &self.reachable {
            match scheme {
                Scheme::Http => {
                    urls.extend([format!("http://{addr}/announce"), format!("udp://{addr}/announce")]);
                }
                Scheme::Https => urls.push(format!("https://{addr}/announce")),
            }
        }
        urls
    }

    /// The lists in use, as they were read at the start.
    #[must_use]
    pub fn lists(&self) -> &[Notice] {
        &self.lists
    }

    /// Swarms and peers known now.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        self.service.counts()
    }

    /// The pages for people.
    #[must_use]
    pub fn stats_urls(&self) -> Vec<String> {
        let page = |(addr, scheme): &(SocketAddr, Scheme)| {
            let scheme = if *scheme == Scheme::Https { "https" } else { "http" };
            format!("{scheme}://{addr}/stats")
        };
        self.reachable.iter().map(page).collect()
    }

    /// What has happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.service.registry.counters()
    }

    /// Reads all lists and the certificate again. What becomes of it is told to the listener.
    pub fn reload(&self) {
        // Where there is no room, one waits that asks for the same.
        let _ = self.orders.as_ref().map(|orders| orders.try_send(Reload));
    }

    /// Stops serving, and waits until every thread has ended.
    pub fn shutdown(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.ask();
        for socket in self.datagrams.drain(..).filter_map(|socket| socket.upgrade()) {
            datagrams::wake(&socket);
        }
        self.orders = None;
        for thread in self.threads.drain(..) {
            // A worker that panicked has said so.
            let _ = thread.join();
        }
        // What is written last holds everything that was answered.
        if let Some((end, thread)) = self.sweeper.take() {
            drop(end);
            let _ = thread.join();
        }
        if let Some(thread) = self.keeper.take() {
            let _ = thread.join();
        }
    }
}

/// Each once, however many of our addresses lead to it.
fn all_reachable(bound: &[Bound]) -> Vec<(SocketAddr, Scheme)> {
    let mut all = Vec::new();
    for place in bound {
        for addr in reachable(place.addr, place.only_v6) {
            if !all.contains(&(addr, place.scheme)) {
                all.push((addr, place.scheme));
            }
        }
    }
    all
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work)
}

impl Drop for TrackerServer {
    fn drop(&mut self) {
        self.end();
    }
}

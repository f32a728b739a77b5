//! How large a swarm is, as its trackers say ([BEP 48]): asked without a session, and without taking part.
//!
//! [BEP 48]: https://www.bittorrent.org/beps/bep_0048.html

use std::net::IpAddr;
use std::sync::Arc;

use ferri_metainfo::InfoHash;
use ferri_tracker::limits::REQUEST_TIME_MAX;
use ferri_tracker::url::Transport;
use ferri_tracker::{Scrape, TrackerError, http as tracker_http};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::Error;
use crate::egress::Egress;
use crate::http::Http;
use crate::tracker_client::{self, Client};
use crate::tracker_udp::UdpTrackers;
use crate::udp::Sockets;

/// Asks trackers for the numbers of swarms.
#[derive(Debug, Clone)]
pub struct Scraper {
    egress: Arc<Egress>,
    http: Arc<Http>,
    udp: Arc<OnceCell<Udp>>,
}

/// What is opened when it is needed.
#[derive(Debug)]
struct Udp {
    sockets: Sockets,
    trackers: Arc<UdpTrackers>,
}

impl Scraper {
    /// Asks from `bind`, when given.
    #[must_use]
    pub fn new(bind: Option<IpAddr>) -> Self {
        let egress = Arc::new(Egress::new(bind));
        Self { http: Arc::new(Http::new(egress.clone())), udp: Arc::default(), egress }
    }

    /// Asks the tracker with this announce address, which a torrent or a magnet link names: it is not asked where that
    /// could do harm in the local network. `None`: it does not know the torrent.
    ///
    /// # Errors
    /// What the tracker or the way to it says; [`TrackerError::BadUrl`] when it cannot be asked for numbers. There is an
    /// answer or an error within 30 seconds.
    pub async fn ask(&self, url: &str, info_hash: InfoHash) -> Result<Option<Scrape>, TrackerError> {
        self.ask_as(url, info_hash, false).await
    }

    /// As [`Self::ask`], for a tracker that the user himself names.
    ///
    /// # Errors
    /// As for [`Self::ask`].
    pub async fn ask_typed(&self, url: &str, info_hash: InfoHash) -> Result<Option<Scrape>, TrackerError> {
        self.ask_as(url, info_hash, true).await
    }

    async fn ask_as(
        &self,
        url: &str,
        info_hash: InfoHash,
        is_typed: bool,
    ) -> Result<Option<Scrape>, TrackerError> {
        let udp = self.udp().await?;
        let client = Client { http: self.http.clone(), udp: udp.trackers.clone(), is_typed };
        let address = match Transport::of(url)? {
            Transport::Udp => url.to_owned(),
            Transport::Http => {
                let why =
                    "a tracker is asked for numbers where its path ends in /announce, and this does not";
                tracker_http::scrape_url(url, &[info_hash])
                    .ok_or_else(|| TrackerError::BadUrl { why: why.to_owned() })?
            }
        };
        let asking = tracker_client::scrape_if_known(&client, &address, info_hash);
        tokio::select! {
            // The caller that asks reads, also for others.
            () = udp.sockets.clone().read(None) => Err(TrackerError::TimedOut),
            asked = timeout(REQUEST_TIME_MAX, asking) => asked.unwrap_or(Err(TrackerError::TimedOut)),
        }
    }

    async fn udp(&self) -> Result<&Udp, TrackerError> {
        let open = async || {
            let sockets = Sockets::bind(&self.egress, 0)?;
            let trackers = Arc::new(UdpTrackers::new(self.egress.clone(), sockets.clone()));
            Ok(Udp { sockets, trackers })
        };
        let opened = self.udp.get_or_try_init(open).await;
        opened.map_err(|error: Error| TrackerError::NoWay { why: error.to_string() })
    }
}

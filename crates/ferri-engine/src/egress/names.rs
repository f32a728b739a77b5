//! Names become addresses here: a bounded number at once, within a deadline.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Names looked up at once. Each has a thread until the system gives up, which takes half a minute where no name server
/// answers; the runtime has some hundred for everything.
const NAMES_MAX: usize = 32;
/// Two name servers that are dead have had their five seconds each by then, and the third has answered.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(15);
/// Addresses of one name.
const ADDRESSES_MAX: usize = 64;

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// It is no name with a port.
    #[error("it should be HOST:PORT")]
    NoPlace,
    /// No server knows it, or none can be asked.
    #[error("the name does not resolve: {0}")]
    Unknown(io::Error),
    /// There was no answer in time.
    #[error("no server said in time what the name stands for")]
    TimedOut,
}

type Ask = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// Looks up names.
pub(super) struct Names {
    turns: Arc<Semaphore>,
    /// May take long.
    ask: Arc<Ask>,
}

impl Names {
    /// As this machine resolves names: hosts file, name servers and whatever else it is set up for.
    pub(super) fn of_the_system() -> Self {
        Self::asking(NAMES_MAX, |host, port| {
            Ok((host, port).to_socket_addrs()?.take(ADDRESSES_MAX).collect())
        })
    }

    fn asking(
        at_once: usize,
        ask: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self { turns: Arc::new(Semaphore::new(at_once)), ask: Arc::new(ask) }
    }

    /// The addresses of `host`, in the system's order. An address is its own, at once.
    pub(super) async fn look_up(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, LookupError> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let (turns, ask, host) = (self.turns.clone(), self.ask.clone(), host.to_owned());
        let asking = async move {
            // A semaphore that is never closed.
            let turn = turns.acquire_owned().await.map_err(io::Error::other)?;
            // The turn ends with the thread, which goes on when it is not waited for any more.
            let asked = tokio::task::spawn_blocking(move || {
                let found = ask(&host, port);
                drop(turn);
                found
            });
            asked.await.map_err(io::Error::other)?
        };
        match timeout(LOOKUP_TIMEOUT, asking).await {
            Ok(found) => found.map_err(LookupError::Unknown),
            Err(_) => Err(LookupError::TimedOut),
        }
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("turns", &self.turns).finish_non_exhaustive()
    }
}

/// Host and port of `HOST:PORT`, without the brackets of an IPv6 address; `None` when it is something else.
pub(crate) fn host_and_port(place: &str) -> Option<(&str, u16)> {
    let (host, port) = place.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(host) => host.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    Some((host, port.parse().ok()?)).filter(|_| !host.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Mutex;
    use std::sync::mpsc as threads;

    use tokio::sync::mpsc;
    use tokio::task::JoinSet;

    use super::*;

    /// Name servers that say nothing until they are let: `entered` hears of each question, `gate` lets one answer.
    fn silent(at_once: usize) -> (Arc<Names>, mpsc::UnboundedReceiver<()>, threads::Sender<()>) {
        let (enter, entered) = mpsc::unbounded_channel();
        let (gate, opened) = threads::channel();
        let opened = Mutex::new(opened);
        let names = Names::asking(at_once, move |_, port| {
            enter.send(()).unwrap();
            // It is not opened any more: the test is over.
            let _ = opened.lock().unwrap().recv();
            Ok(vec![([10, 0, 0, 1], port).into()])
        });
        (Arc::new(names), entered, gate)
    }

    #[tokio::test]
    async fn more_names_than_the_bound_wait_for_their_turn() {
        let (names, mut entered, gate) = silent(2);
        let mut asking = JoinSet::new();
        for port in 0..4 {
            let names = names.clone();
            asking.spawn(async move { names.look_up("tracker.example", port).await.unwrap()[0].port() });
        }
        let mut answered = Vec::new();
        entered.recv().await.unwrap();
        for left in (0..4).rev() {
            if 0 < left {
                entered.recv().await.unwrap();
                assert!(entered.is_empty(), "two are asked, the others wait");
            }
            gate.send(()).unwrap();
            answered.push(asking.join_next().await.unwrap().unwrap());
        }
        answered.sort_unstable();
        assert_eq!(answered, [0, 1, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_server_that_says_nothing_is_given_up_and_its_thread_still_counts() {
        let (names, mut entered, gate) = silent(1);
        let ask = |names: Arc<Names>| tokio::spawn(async move { names.look_up("tracker.example", 1).await });
        let first = ask(names.clone());
        entered.recv().await.unwrap();
        tokio::time::advance(LOOKUP_TIMEOUT).await;
        assert!(matches!(first.await.unwrap(), Err(LookupError::TimedOut)));
        let second = ask(names.clone());
        tokio::task::yield_now().await;
        tokio::time::advance(LOOKUP_TIMEOUT).await;
        assert!(matches!(second.await.unwrap(), Err(LookupError::TimedOut)), "no turn was to be had");
        assert!(entered.is_empty());
        gate.send(()).unwrap();
        gate.send(()).unwrap();
        assert_eq!(names.look_up("tracker.example", 1).await.unwrap().len(), 1);
        // Without asking a server.
        assert_eq!(names.look_up("::1", 1).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_name_of_nobody_is_an_error() {
        let names = Names::asking(1, |_, _| Err(io::ErrorKind::NotFound.into()));
        assert!(matches!(names.look_up("nobody.example", 1).await, Err(LookupError::Unknown(_))));
    }

    #[test]
    fn host_and_port_are_told_apart() {
        assert_eq!(host_and_port("router.example:6881"), Some(("router.example", 6881)));
        assert_eq!(host_and_port("10.0.0.1:1"), Some(("10.0.0.1", 1)));
        assert_eq!(host_and_port("[::1]:7"), Some(("::1", 7)));
        for wrong in ["router.example", "::1:7", "[::1:7", ":7", "a:b", "a:70000", ""] {
            assert_eq!(host_and_port(wrong), None, "{wrong}");
        }
    }
}

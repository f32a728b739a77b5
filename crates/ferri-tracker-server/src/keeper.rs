//! The thread that looks after everything that no request asks for: peers that went away, lists and certificates that changed.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use ferri_tracker::server::Access;

use crate::lists::{InUse, Tools};
use crate::notice::{Listener, Notice};
use crate::service::Service;
use crate::tls::Certificate;

/// How often files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// How often addresses are fetched.
const FETCH_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// What a keeper is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Read everything again, changed or not.
    Reload,
    Stop,
}

/// Keeps lists and certificates as their files are.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) service: Arc<Service>,
    pub(crate) lists: Vec<InUse>,
    pub(crate) tools: Tools,
    pub(crate) certificate: Option<Arc<Certificate>>,
    pub(crate) listener: Listener,
}

impl Keeper {
    /// Looks at files and addresses until it is asked to stop, or nobody is left who could.
    pub(crate) fn run(mut self, orders: &Receiver<Order>) {
        let mut fetched = Instant::now();
        loop {
            match orders.recv_timeout(LOOK_INTERVAL) {
                Ok(Order::Reload) => {
                    self.read_lists(|_| true);
                    self.read_certificate();
                    fetched = Instant::now();
                }
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    let is_due = FETCH_INTERVAL <= fetched.elapsed();
                    if is_due {
                        fetched = Instant::now();
                    }
                    self.read_lists(|list| list.is_changed() || is_due && list.is_url());
                    if self.certificate.as_ref().is_some_and(|certificate| certificate.is_changed()) {
                        self.read_certificate();
                    }
                }
            }
        }
    }

    fn read_lists(&mut self, which: impl Fn(&InUse) -> bool) {
        for list in self.lists.iter_mut().filter(|list| which(list)) {
            let mut access = Access::clone(&self.service.access());
            match list.read(&self.tools, &mut access) {
                Ok(entries) => {
                    self.service.set_access(access);
                    self.listener.tell(&list.read_again(entries));
                }
                Err(why) => {
                    let why = why.to_string();
                    self.listener.tell(&Notice::ListKept { list: list.describe(), why });
                }
            }
        }
    }

    fn read_certificate(&self) {
        let Some(certificate) = &self.certificate else { return };
        self.listener.tell(&match certificate.read_again() {
            Ok(()) => Notice::CertificateRead,
            Err(why) => Notice::CertificateKept { why },
        });
    }
}

//! The thread that looks after everything that no request asks for: lists and certificates that changed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use ferri_tracker::server::Access;

use crate::lists::{InUse, Now, Tools};
use crate::notice::{Listener, Notice};
use crate::service::Service;
use crate::tls::Certificate;
use crate::web::Stop;

/// How often files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// The first look: a list that was written to around the start may have been read too early.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// How often a list is looked at that is to be read as soon as it is not written to any more.
const WANTED_INTERVAL: Duration = Duration::from_millis(250);

/// How often addresses are fetched.
const FETCH_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// Orders that wait: one is for everything, so that a second one would ask for the same.
pub(crate) const ORDERS_MAX: usize = 1;

/// Read everything again, changed or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reload;

/// Keeps lists and certificates as their files are.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) service: Arc<Service>,
    pub(crate) lists: Vec<InUse>,
    pub(crate) tools: Tools,
    pub(crate) certificate: Option<Arc<Certificate>>,
    pub(crate) listener: Listener,
    pub(crate) rounds: Rounds,
    /// Goes before every order, and before the next list.
    pub(crate) stop: Arc<Stop>,
}

/// When everything is looked at next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rounds {
    look: Instant,
    fetch: Instant,
}

impl Rounds {
    /// Of a keeper whose lists have just been read.
    pub(crate) fn begin(now: Instant) -> Self {
        Self { look: now + FIRST_LOOK, fetch: now + FETCH_INTERVAL }
    }
}

impl Keeper {
    /// Looks at files and addresses until it is to stop, or the last handle that could order anything is gone.
    pub(crate) fn run(mut self, orders: &Receiver<Reload>) {
        while !self.is_to_stop() {
            let now = Instant::now();
            let order = orders.recv_timeout(self.due(now).saturating_duration_since(now));
            match order {
                Err(RecvTimeoutError::Disconnected) => return,
                _ if self.is_to_stop() => return,
                Ok(Reload) => self.reload(Now::get()),
                Err(RecvTimeoutError::Timeout) => self.look(Now::get()),
            }
        }
    }

    fn is_to_stop(&self) -> bool {
        self.stop.is_asked().load(Ordering::Relaxed)
    }

    /// When there is something to look at.
    fn due(&self, now: Instant) -> Instant {
        let is_any_wanted = self.lists.iter().any(InUse::is_wanted);
        if is_any_wanted { self.rounds.look.min(now + WANTED_INTERVAL) } else { self.rounds.look }
    }

    /// Reads everything again: files as soon as they are not written to any more.
    fn reload(&mut self, now: Now) {
        self.lists.iter_mut().for_each(|list| list.want(now));
        self.read_due(now);
        self.read_certificate();
        self.rounds.fetch = now.instant + FETCH_INTERVAL;
    }

    /// Reads what is due.
    fn look(&mut self, now: Now) {
        if self.rounds.look <= now.instant {
            self.rounds.look = now.instant + LOOK_INTERVAL;
            let is_fetched = self.rounds.fetch <= now.instant;
            if is_fetched {
                self.rounds.fetch = now.instant + FETCH_INTERVAL;
            }
            let changed = |list: &&mut InUse| list.is_changed() || is_fetched && list.is_url();
            self.lists.iter_mut().filter(changed).for_each(|list| list.want(now));
            if self.certificate.as_ref().is_some_and(|certificate| certificate.is_changed(now.calendar)) {
                self.read_certificate();
            }
        }
        self.read_due(now);
    }

    fn read_due(&mut self, now: Now) {
        for list in self.lists.iter_mut().filter(|list| list.is_due(now)) {
            if self.stop.is_asked().load(Ordering::Relaxed) {
                return;
            }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs::{self, File};
    use std::path::Path;
    use std::sync::Mutex;
    use std::sync::mpsc::sync_channel;
    use std::time::SystemTime;

    use ferri_tracker::server::{Registry, RegistryOptions};

    use super::*;
    use crate::lists::{Fetch, Lists, Source, WallClock, read_all};
    use crate::proxy::Proxies;

    /// A keeper of a file and an address, whose time is what the test says.
    struct Watched {
        keeper: Keeper,
        begun: Now,
        told: Arc<Mutex<Vec<Notice>>>,
        fetched: Arc<Mutex<usize>>,
    }

    /// Of denied torrents, as if it had been written before or after now.
    fn write(path: &Path, entries: usize, at: SystemTime) {
        let text: String = (0..entries).map(|number| format!("{number:040x}\n")).collect();
        fs::write(path, text).unwrap();
        File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
    }

    impl Watched {
        fn new(path: &Path) -> Self {
            let begun = Now::get();
            write(path, 1, begun.calendar - Duration::from_secs(100));
            let fetched = Arc::new(Mutex::new(0));
            let count = fetched.clone();
            let fetch = move |_: &str, _: usize| {
                *count.lock().unwrap() += 1;
                Ok(Vec::new())
            };
            let tools = Tools { fetch: Some(Fetch(Arc::new(fetch))), secret: [1; 16] };
            let lists = Lists {
                allow: Some(Source::Url("http://x/all".to_owned())),
                deny: Some(Source::File(path.to_owned())),
                passkeys: None,
            };
            let (lists, access) = read_all(lists, &tools, &mut WallClock).unwrap();
            let registry = Registry::new(RegistryOptions::default(), [1; 16], begun.instant);
            let told = Arc::new(Mutex::new(Vec::new()));
            let hears = told.clone();
            let keeper = Keeper {
                service: Arc::new(Service::new(registry, access, Proxies::default())),
                lists,
                tools,
                certificate: None,
                listener: Listener(Arc::new(move |notice| hears.lock().unwrap().push(notice.clone()))),
                rounds: Rounds::begin(begun.instant),
                stop: Arc::new(Stop::new().unwrap()),
            };
            Self { keeper, begun, told, fetched }
        }

        fn at(&self, seconds: f64) -> Now {
            let passed = Duration::from_secs_f64(seconds);
            Now { instant: self.begun.instant + passed, calendar: self.begun.calendar + passed }
        }

        /// Seconds until it wants to be woken.
        fn wait(&self, seconds: f64) -> f64 {
            let now = self.at(seconds).instant;
            self.keeper.due(now).saturating_duration_since(now).as_secs_f64()
        }

        /// Lets it look, and gives how many entries were read of the file, if it was.
        fn look(&mut self, seconds: f64) -> Option<usize> {
            self.keeper.look(self.at(seconds));
            self.read()
        }

        fn read(&self) -> Option<usize> {
            let told = std::mem::take(&mut *self.told.lock().unwrap());
            told.into_iter().find_map(|notice| match notice {
                Notice::ListRead { list, entries } if list.contains("denied") => Some(entries),
                _ => None,
            })
        }

        fn fetched(&self) -> usize {
            std::mem::take(&mut *self.fetched.lock().unwrap())
        }
    }

    #[test]
    fn a_file_is_looked_at_each_minute_and_first_after_a_few_seconds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deny");
        let mut watched = Watched::new(&path);
        assert_eq!(watched.wait(0.0), 3.0);
        // It was read too early.
        write(&path, 2, watched.at(0.5).calendar);
        assert_eq!(watched.look(2.9), None);
        assert_eq!(watched.look(3.0), Some(2));
        assert_eq!(watched.wait(3.0), 60.0);
        write(&path, 3, watched.at(10.0).calendar);
        assert_eq!(watched.look(62.9), None);
        assert_eq!(watched.look(63.0), Some(3));
        assert_eq!(watched.look(123.0), None, "nobody changed it");
    }

    #[test]
    fn a_file_that_is_being_written_is_read_when_that_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deny");
        let mut watched = Watched::new(&path);
        assert_eq!(watched.look(3.0), None);
        write(&path, 2, watched.at(62.0).calendar);
        assert_eq!(watched.look(63.0), None);
        assert_eq!(watched.wait(63.0), 0.25);
        write(&path, 3, watched.at(63.5).calendar);
        assert_eq!(watched.look(65.0), None);
        assert_eq!(watched.look(65.5), Some(3));
        assert_eq!(watched.wait(65.5), 57.5);
    }

    #[test]
    fn an_order_to_read_everything_waits_for_whoever_writes_and_for_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deny");
        let mut watched = Watched::new(&path);
        watched.fetched();
        watched.keeper.reload(watched.at(5.0));
        assert_eq!((watched.read(), watched.fetched()), (Some(1), 1));
        write(&path, 2, watched.at(9.0).calendar);
        watched.keeper.reload(watched.at(10.0));
        assert_eq!((watched.read(), watched.fetched()), (None, 1));
        assert_eq!(watched.look(10.9), None);
        assert_eq!(watched.look(11.0), Some(2));
        // A file that never rests is read after a minute.
        write(&path, 4, watched.at(940.5).calendar);
        watched.keeper.reload(watched.at(941.0));
        write(&path, 5, watched.at(1_000.9).calendar);
        assert_eq!(watched.look(1_000.9), None);
        assert_eq!(watched.look(1_001.0), Some(5));
    }

    #[test]
    fn nothing_is_read_when_it_is_to_stop() {
        let folder = tempfile::tempdir().unwrap();
        let watched = Watched::new(&folder.path().join("deny"));
        watched.fetched();
        let (orders, taken) = sync_channel(ORDERS_MAX);
        orders.try_send(Reload).unwrap();
        watched.keeper.stop.ask();
        let fetched = watched.fetched.clone();
        watched.keeper.run(&taken);
        assert_eq!((*fetched.lock().unwrap(), watched.told.lock().unwrap().len()), (0, 0));
    }

    #[test]
    fn a_list_after_the_one_that_is_read_waits_for_nobody_who_stops() {
        let folder = tempfile::tempdir().unwrap();
        let mut watched = Watched::new(&folder.path().join("deny"));
        let stop = watched.keeper.stop.clone();
        let stops = move |_: &str, _: usize| {
            stop.ask();
            Ok(Vec::new())
        };
        watched.keeper.tools.fetch = Some(Fetch(Arc::new(stops)));
        watched.keeper.reload(watched.at(5.0));
        assert_eq!(watched.read(), None);
    }

    #[test]
    fn an_address_is_fetched_each_quarter_of_an_hour() {
        let folder = tempfile::tempdir().unwrap();
        let mut watched = Watched::new(&folder.path().join("deny"));
        assert_eq!(watched.fetched(), 1);
        let mut at = 3.0;
        while at < 900.0 {
            watched.look(at);
            at += watched.wait(at);
        }
        assert_eq!(watched.fetched(), 0);
        watched.look(at);
        assert_eq!((watched.fetched(), at), (1, 903.0));
        // An order counts as one.
        watched.keeper.reload(watched.at(1_000.0));
        assert_eq!(watched.fetched(), 1);
        watched.look(1_899.0);
        assert_eq!(watched.fetched(), 0);
        watched.look(1_960.0);
        assert_eq!(watched.fetched(), 1);
    }
}

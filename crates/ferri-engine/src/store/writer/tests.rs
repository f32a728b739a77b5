//! A store in memory that waits, fails and panics when it is told to.

#![allow(clippy::unwrap_used)]

use std::sync::mpsc;
use std::time::SystemTime;

use ferri_metainfo::Metainfo;

use super::*;
use crate::options::AddTorrent;
use crate::store::{Listed, Store};

/// A call: each torrent that it names, and whether it is paused; `None` where it was removed.
type Call = Vec<(InfoHash, Option<bool>)>;

/// What it was told, call by call.
#[derive(Debug, Default)]
struct Told {
    calls: Mutex<Vec<Call>>,
    totals: Mutex<Vec<(InfoHash, Totals)>>,
    /// Its records fail, or panic.
    bad: Option<(InfoHash, bool)>,
    /// Held by a test to let it wait.
    gate: Mutex<()>,
}

impl Told {
    fn take(&self, call: Call) -> Result<(), StoreError> {
        drop(self.gate.lock().unwrap_or_else(PoisonError::into_inner));
        let is_bad = |bad: InfoHash| call.iter().any(|(name, _)| *name == bad);
        let result = match self.bad {
            Some((name, true)) if is_bad(name) => panic!("on purpose"),
            Some((name, false)) if is_bad(name) => Err(StoreError::new("on purpose")),
            _ => Ok(()),
        };
        self.calls.lock().unwrap().push(call);
        result
    }
}

impl Store for Arc<Told> {
    fn list(&self) -> Result<Listed, StoreError> {
        Ok(Listed::default())
    }

    fn put(&self, records: &[Arc<Record>]) -> Result<(), StoreError> {
        self.take(records.iter().map(|record| (record.info_hash(), Some(record.paused))).collect())
    }

    fn remove(&self, torrents: &[InfoHash]) -> Result<(), StoreError> {
        self.take(torrents.iter().map(|name| (*name, None)).collect())
    }

    fn put_totals(&self, totals: &[(InfoHash, Totals)]) -> Result<(), StoreError> {
        self.totals.lock().unwrap().extend(totals);
        Ok(())
    }
}

fn record(name: char, paused: bool) -> Arc<Record> {
    let hash = "x".repeat(20);
    let torrent = format!("d4:infod6:lengthi9e4:name1:{name}12:piece lengthi16384e6:pieces20:{hash}ee");
    let add = AddTorrent { paused, ..AddTorrent::new(Metainfo::parse(torrent.as_bytes()).unwrap(), "/srv") };
    Arc::new(Record::new(&add, SystemTime::UNIX_EPOCH))
}

type Results = mpsc::Receiver<Result<(), StoreError>>;

fn replies() -> (impl Fn() -> Reply, Results) {
    let (sender, receiver) = mpsc::channel();
    let reply = move || {
        let sender = sender.clone();
        Box::new(move |result| drop(sender.send(result))) as Reply
    };
    (reply, receiver)
}

#[test]
fn what_came_while_the_store_was_busy_is_one_call_and_the_last_record_of_each() {
    let told = Arc::<Told>::default();
    let writer = Writer::start(Arc::new(told.clone())).unwrap();
    let (reply, results) = replies();
    let [first, a, b] = ['f', 'a', 'b'].map(|name| record(name, false));
    let busy = told.gate.lock().unwrap();
    writer.put(first, reply());
    while !writer.waiting.lock().records.is_empty() {
        std::thread::yield_now();
    }
    for _ in 0..100 {
        writer.put(a.clone(), reply());
        writer.put(record('a', true), reply());
    }
    writer.put(b.clone(), reply());
    writer.put_totals(b.info_hash(), Totals { uploaded: 1, ..Totals::default() });
    writer.remove(b.info_hash(), reply());
    writer.put_totals(a.info_hash(), Totals { uploaded: 2, ..Totals::default() });
    drop(busy);
    writer.end();
    writer.join();
    assert_eq!(results.try_iter().filter(Result::is_ok).count(), 203);
    let calls = told.calls.lock().unwrap();
    assert_eq!(calls[1..], [vec![(a.info_hash(), Some(true))], vec![(b.info_hash(), None)]]);
    assert_eq!(
        told.totals.lock().unwrap()[..],
        [(a.info_hash(), Totals { uploaded: 2, ..Totals::default() })]
    );
    // After the end nothing is taken.
    writer.put(a, reply());
    assert!(results.recv().unwrap().is_err());
}

#[test]
fn one_that_cannot_be_kept_is_told_so_and_the_others_are_kept() {
    for panics in [false, true] {
        let [bad, good] = ['a', 'b'].map(|name| record(name, false));
        let told = Arc::new(Told { bad: Some((bad.info_hash(), panics)), ..Told::default() });
        let writer = Writer::start(Arc::new(told.clone())).unwrap();
        let (bads, bad_results) = replies();
        let (goods, good_results) = replies();
        let busy = told.gate.lock().unwrap();
        writer.remove([7; 20].into(), goods());
        while !writer.waiting.lock().records.is_empty() {
            std::thread::yield_now();
        }
        writer.put(bad, bads());
        writer.put(good.clone(), goods());
        drop(busy);
        let error = bad_results.recv().unwrap().unwrap_err().to_string();
        assert!(error.contains("on purpose"), "{error}");
        assert!(good_results.recv().unwrap().is_ok() && good_results.recv().unwrap().is_ok());
        assert_eq!(told.calls.lock().unwrap().last().unwrap()[..], [(good.info_hash(), Some(false))]);
    }
}

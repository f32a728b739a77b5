//! An HTTP tracker that counts: how many announces come in each second, and which events they carry.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::say;

/// No peer is in the swarm, come again in half an hour.
const BODY: &str = "d8:completei1e10:incompletei0e8:intervali1800e5:peers0:e";

/// No line of a request is longer.
const LINE_MAX: u64 = 8 << 10;

#[derive(Debug, Default)]
struct Counts {
    /// By second since the first one; without those that say `stopped`, which a session sends in a hurry when it ends.
    seconds: BTreeMap<u64, u64>,
    started: u64,
    stopped: u64,
    first: Option<Instant>,
}

/// Says `ready URL`, answers until standard input ends, then says what it counted as a line of JSON.
///
/// # Errors
/// When the address is taken.
pub(crate) fn serve(listen: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen).with_context(|| format!("listening on {listen}"))?;
    say(&format!("ready http://{}/announce", listener.local_addr()?))?;
    let counts = Arc::new(Mutex::new(Counts::default()));
    let counted = counts.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let counts = counts.clone();
            // A client that breaks off has only itself to blame.
            thread::spawn(move || drop(talk(stream, &counts)));
        }
    });
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let counts = counted.lock().unwrap_or_else(PoisonError::into_inner);
    let seconds: Vec<_> =
        counts.seconds.iter().map(|(second, count)| format!("[{second},{count}]")).collect();
    say(&format!(
        r#"{{"announces":{},"started":{},"stopped":{},"a_second":[{}]}}"#,
        counts.seconds.values().sum::<u64>() + counts.stopped,
        counts.started,
        counts.stopped,
        seconds.join(",")
    ))
}

fn talk(stream: TcpStream, counts: &Mutex<Counts>) -> Result<()> {
    let mut out = stream.try_clone()?;
    let mut requests = BufReader::new(stream);
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    loop {
        let mut first = String::new();
        if requests.by_ref().take(LINE_MAX).read_line(&mut first)? == 0 {
            return Ok(());
        }
        let mut line = String::new();
        while !matches!(&line[..], "\r\n" | "\n") {
            line.clear();
            if requests.by_ref().take(LINE_MAX).read_line(&mut line)? == 0 {
                return Ok(());
            }
        }
        counts.lock().unwrap_or_else(PoisonError::into_inner).count(&first);
        out.write_all(answer.as_bytes())?;
    }
}

impl Counts {
    fn count(&mut self, request: &str) {
        let second = self.first.get_or_insert_with(Instant::now).elapsed().as_secs();
        self.started += u64::from(request.contains("event=started"));
        if request.contains("event=stopped") {
            self.stopped += 1;
        } else {
            *self.seconds.entry(second).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announces_are_counted_by_second_and_event() {
        let mut counts = Counts::default();
        for event in ["started", "started", "stopped"] {
            counts.count(&format!("GET /announce?event={event} HTTP/1.1\r\n"));
        }
        assert_eq!((counts.started, counts.stopped), (2, 1));
        assert_eq!(counts.seconds.values().sum::<u64>(), 2);
    }
}

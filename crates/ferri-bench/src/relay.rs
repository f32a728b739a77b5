//! A link with a delay: packets go from one TUN device to another, at a rate and after a time.
//!
//! The kernel of a small machine may lack netem; a relay above TCP would end the round trip at itself. So packets are
//! taken below TCP: what is sent into one device comes out of the other, each direction by itself. A packet takes its
//! time on the link (`rate`), then on the way (`delay`); what would wait longer for the link than a queue allows is
//! dropped, as a router does. No loss besides, no jitter, no reordering.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tappers::{Interface, Tun};

use crate::say;

/// No packet is longer, whatever the devices' MTU.
const PACKET_MAX: usize = 65_535;

/// A packet that would wait longer for the link is dropped: a queue of as many bytes as the link carries in this time.
/// Longer than windows of 32 MiB fill at 1 Gbit/s, so that speeds do not depend on when the first loss comes.
const QUEUE_MAX: Duration = Duration::from_millis(400);

/// What the link is like, each way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// From the end of a packet's sending to its arrival.
    pub(crate) delay: Duration,
    /// Bits a second.
    pub(crate) rate: u64,
}

/// Makes two devices of these names, says `ready` and joins them until killed. The caller sets up their addresses.
///
/// # Errors
/// When a device cannot be made, or is taken away.
pub(crate) fn run(link: Link, names: [&str; 2]) -> Result<()> {
    let device = |name: &str| {
        Tun::new_named(Interface::new(name)?).with_context(|| format!("making the TUN device {name}"))
    };
    let (one, other) = (device(names[0])?, device(names[1])?);
    say("ready")?;
    thread::scope(|scope| {
        for (from, to) in [(&one, &other), (&other, &one)] {
            let (sender, receiver) = channel();
            scope.spawn(move || send(to, &receiver));
            scope.spawn(move || receive(from, link, &sender));
        }
    });
    Ok(())
}

/// A packet, and when it is at the other end.
type Travelling = (Instant, Vec<u8>);

/// Takes packets off a device until it is gone.
fn receive(from: &Tun, link: Link, on: &Sender<Travelling>) {
    let mut buffer = vec![0; PACKET_MAX];
    let mut link_free = Instant::now();
    // A device that is not up yet or has no peer says so with an error; the process ends by being killed.
    loop {
        let Ok(length) = from.recv(&mut buffer) else {
            thread::sleep(Duration::from_millis(1));
            continue;
        };
        let now = Instant::now();
        link_free = link_free.max(now);
        if QUEUE_MAX < link_free - now {
            continue;
        }
        link_free += Duration::from_nanos(length as u64 * 8 * 1_000_000_000 / link.rate);
        if on.send((link_free + link.delay, buffer[..length].to_vec())).is_err() {
            return;
        }
    }
}

/// Puts packets on a device when their time has come.
fn send(to: &Tun, travelling: &Receiver<Travelling>) {
    for (at, packet) in travelling {
        let early = at.saturating_duration_since(Instant::now());
        if !early.is_zero() {
            thread::sleep(early);
        }
        // A packet that the device does not take is lost; TCP sends it again.
        drop(to.send(&packet));
    }
}

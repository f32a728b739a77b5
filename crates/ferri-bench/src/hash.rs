//! What the hash functions reach on one core, as all other crates get them: one stream, and many inputs of equal
//! length.
//!
//! Counted in this thread's processor time, the best of a few rounds: other programs on the machine take time, not speed.

use std::hint::black_box;
use std::time::Duration;

use anyhow::Result;
use ferri_hash::{sha1_many, sha256_many};
use rustix::time::{ClockId, clock_gettime};

use crate::protocol::BLOCK_LENGTH;
use crate::say;

/// Inputs hashed together, each as long as a block.
const COUNTS: [usize; 4] = [1, 4, 16, 64];

const ROUNDS: usize = 5;

const ROUND: Duration = Duration::from_millis(50);

/// Prints GB/s (10^9 bytes) for each of `COUNTS` as one JSON line.
///
/// # Errors
/// When standard output is gone.
pub(crate) fn run() -> Result<()> {
    let bytes = vec![0x5a; COUNTS[COUNTS.len() - 1] * BLOCK_LENGTH as usize];
    let rates = |hash: &mut dyn FnMut(&[&[u8]])| {
        let rates = COUNTS.map(|count| {
            let inputs: Vec<&[u8]> = bytes.chunks(BLOCK_LENGTH as usize).take(count).collect();
            format!("{:.3}", rate(count * BLOCK_LENGTH as usize, || hash(black_box(&inputs))))
        });
        rates.join(",")
    };
    let sha1 = rates(&mut |inputs| sha1_many(inputs, &mut vec![[0; 20]; inputs.len()]));
    let sha256 = rates(&mut |inputs| sha256_many(inputs, &mut vec![[0; 32]; inputs.len()]));
    say(&format!("{{\"inputs\":{COUNTS:?},\"sha1\":[{sha1}],\"sha256\":[{sha256}]}}"))
}

/// Bytes a nanosecond. The first call, which picks the kernels, does not count.
fn rate(bytes: usize, mut hash: impl FnMut()) -> f64 {
    hash();
    let mut best = 0.0;
    for _ in 0..ROUNDS {
        let (begun, mut calls) = (cpu_time(), 0);
        while cpu_time() - begun < ROUND {
            hash();
            calls += 1;
        }
        best = f64::max(best, (calls * bytes) as f64 / (cpu_time() - begun).as_nanos() as f64);
    }
    best
}

/// Processor time of this thread.
pub(crate) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

//! What the kernel has noted about a process: processor time and memory.

use std::fs;
use std::time::Instant;

use anyhow::Result;

use super::Phase;

/// The tracker's process, if it was named, and our own.
#[derive(Debug)]
pub(super) struct Books {
    process: Option<u32>,
}

impl Books {
    pub(super) fn open(process: Option<u32>) -> Self {
        Self { process }
    }

    /// Runs a phase, and adds what it took.
    pub(super) fn watch(&self, work: impl FnOnce() -> Result<Phase>) -> Result<Phase> {
        let own = std::process::id();
        let (cpu, own_cpu, start) = (self.cpu(), cpu_seconds(own), Instant::now());
        let phase = work()?;
        let seconds = start.elapsed().as_secs_f64();
        Ok(Phase { seconds, cpu: self.cpu() - cpu, own_cpu: cpu_seconds(own) - own_cpu, ..phase })
    }

    /// Bytes that are resident; 0 of a process that was not named.
    pub(super) fn memory(&self) -> u64 {
        self.process.map_or(0, |process| status(process, "VmRSS:"))
    }

    /// The most bytes that were resident.
    pub(super) fn memory_peak(&self) -> u64 {
        self.process.map_or(0, |process| status(process, "VmHWM:"))
    }

    fn cpu(&self) -> f64 {
        self.process.map_or(0.0, cpu_seconds)
    }
}

/// User and system time of all threads that a process has, from the scheduler's books, which count nanoseconds.
fn cpu_seconds(process: u32) -> f64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else { return 0.0 };
    let spent = tasks.flatten().filter_map(|task| {
        // A thread may end while we look.
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    spent.sum::<u64>() as f64 / 1e9
}

fn status(process: u32, key: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_has_used_time_and_memory() {
        let books = Books::open(Some(std::process::id()));
        let before = books.cpu();
        let mut sum = 0_u64;
        while books.cpu() <= before {
            sum = (0..1_000_000).fold(sum, |sum, n| sum.wrapping_add(n));
        }
        assert!(books.memory() > 0 && books.memory() <= books.memory_peak(), "{sum}");
        assert_eq!(Books::open(None).memory(), 0);
    }
}

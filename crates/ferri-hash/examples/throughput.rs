//! How fast this processor hashes: each kernel alone, and what is chosen for how many inputs.
//!
//! `cargo run --release -p ferri-hash --example throughput`

#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use ferri_hash::kernels::{self, Block, Kernel, LANES_MAX, Lane};
use ferri_hash::{sha1_many, sha256_many};

/// Bytes of an input.
const LENGTHS: [usize; 3] = [16 << 10, 256 << 10, 1 << 20];

/// Inputs hashed together.
const COUNTS: [usize; 12] = [1, 2, 3, 4, 6, 8, 12, 15, 16, 20, 32, 64];

/// Measurements, of which the best counts, and how long each takes.
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(10);

fn main() {
    println!("GB/s (10^9 bytes), {ROUNDS} rounds, the best\n");
    println!("{:<28}{}", "inputs of", LENGTHS.map(|length| format!("{:>10} KiB", length >> 10)).concat());
    let blocks: Vec<Block> = (0..COUNTS[COUNTS.len() - 1] * LENGTHS[2] / 64).map(|n| [n as u8; 64]).collect();
    for kernel in kernels::sha1() {
        alone("SHA-1", &kernel, &blocks);
    }
    for kernel in kernels::sha256() {
        alone("SHA-256", &kernel, &blocks);
    }
    for count in COUNTS {
        many(&format!("SHA-1 of {count}"), &blocks, count, |inputs| {
            sha1_many(inputs, &mut vec![[0; 20]; count]);
        });
    }
    for count in COUNTS {
        many(&format!("SHA-256 of {count}"), &blocks, count, |inputs| {
            sha256_many(inputs, &mut vec![[0; 32]; count]);
        });
    }
}

/// A kernel with all its lanes in use.
fn alone<const WORDS: usize>(function: &str, kernel: &Kernel<WORDS>, blocks: &[Block]) {
    let rates = LENGTHS.map(|length| {
        let count = length / 64;
        let mut states = [[0; WORDS]; LANES_MAX];
        rate(kernel.lanes() * length, || {
            let inputs = states.iter_mut().zip(blocks.chunks(count)).take(kernel.lanes());
            let mut lanes: Vec<_> = inputs.map(|(state, blocks)| Lane { state, blocks }).collect();
            kernel.compress(black_box(&mut lanes), count);
        })
    });
    row(&format!("{function} {kernel:?}"), rates);
}

fn many(what: &str, blocks: &[Block], count: usize, mut hash: impl FnMut(&[&[u8]])) {
    let rates = LENGTHS.map(|length| {
        let inputs: Vec<&[u8]> = blocks.as_flattened().chunks(length).take(count).collect();
        rate(count * length, || hash(black_box(&inputs)))
    });
    row(what, rates);
}

/// Bytes a nanosecond.
fn rate(bytes: usize, mut run: impl FnMut()) -> f64 {
    run();
    let mut best = 0.0;
    for _ in 0..ROUNDS {
        let (begun, mut runs) = (Instant::now(), 0);
        while begun.elapsed() < ROUND {
            run();
            runs += 1;
        }
        best = f64::max(best, (runs * bytes) as f64 / begun.elapsed().as_nanos() as f64);
    }
    best
}

fn row(what: &str, rates: [f64; LENGTHS.len()]) {
    println!("{what:<28}{}", rates.map(|rate| format!("{rate:>14.2}")).concat());
}

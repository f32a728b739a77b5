//! Load generators for benchmarks.

fn main() {}

//! Feeds a fuzzer's bytes to `ferri_fuzz::swarm`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ferri_fuzz::swarm(data));

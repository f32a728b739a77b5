//! Feeds a fuzzer's bytes to `ferri_fuzz::dht_state`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ferri_fuzz::dht_state(data));

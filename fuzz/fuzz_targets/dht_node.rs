//! Feeds a fuzzer's bytes to `ferri_fuzz::dht_node`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ferri_fuzz::dht_node(data));

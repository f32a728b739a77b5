//! Feeds a fuzzer's bytes to `ferri_fuzz::tracker_request`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ferri_fuzz::tracker_request(data));

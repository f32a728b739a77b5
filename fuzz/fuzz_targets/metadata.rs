//! Feeds a fuzzer's bytes to `ferri_fuzz::metadata`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ferri_fuzz::metadata(data));

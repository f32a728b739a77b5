//! Feeds a fuzzer's bytes to `ferri_fuzz::ip_filter`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ferri_fuzz::ip_filter(data));

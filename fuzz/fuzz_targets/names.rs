//! Feeds a fuzzer's bytes to `ferri_fuzz::names`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ferri_fuzz::names(data));

//! Feeds a fuzzer's bytes to `ferri_fuzz::info`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ferri_fuzz::info(data));

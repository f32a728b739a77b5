//! Feeds a fuzzer's bytes to `ferri_fuzz::pex`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ferri_fuzz::pex(data));

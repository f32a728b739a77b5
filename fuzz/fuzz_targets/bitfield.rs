//! Feeds a fuzzer's bytes to `ferri_fuzz::bitfield`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ferri_fuzz::bitfield(data));

//! Feeds a fuzzer's bytes to `ferri_fuzz::utp_packet`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ferri_fuzz::utp_packet(data));
